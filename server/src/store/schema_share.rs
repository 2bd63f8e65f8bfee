//! Links to saved schemas. Only a hash of a link's token is stored; a link shows one version, whatever is saved later.

use protocol::{
    manifest::Title,
    view::{SchemaView, ShareView},
};

use super::{Store, StoreError, now_ms};

impl Store {
    /// Stores a link to the newest version of an owner's schema under the hash of a token; the link as it is listed.
    ///
    /// # Errors
    /// The schema is not the owner's, or is deleted.
    pub async fn insert_schema_share(
        &self,
        owner: i64,
        id: &str,
        token_hash: &str,
        schema: &str,
    ) -> Result<ShareView, StoreError> {
        let row: Option<(String, i64, u32)> = sqlx::query_as(
            "INSERT INTO schema_share (id, owner_id, schema_id, version, token_hash, created_at)
             SELECT ?, s.owner_id, s.id, (SELECT max(version) FROM schema_version WHERE schema_id = s.id), ?, ?
             FROM schema s WHERE s.id = ? AND s.owner_id = ? AND s.deleted_at IS NULL
             RETURNING id, created_at, version",
        )
        .bind(id)
        .bind(token_hash)
        .bind(now_ms())
        .bind(schema)
        .bind(owner)
        .fetch_optional(&self.pool)
        .await?;
        row.map(listed).ok_or(StoreError::Missing("schema"))
    }

    /// The open links of a schema, oldest first; each is named by its version.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn schema_shares(&self, owner: i64, schema: &str) -> Result<Vec<ShareView>, StoreError> {
        let rows: Vec<(String, i64, u32)> = sqlx::query_as(
            "SELECT id, created_at, version FROM schema_share
             WHERE schema_id = ? AND owner_id = ? AND revoked_at IS NULL ORDER BY id",
        )
        .bind(schema)
        .bind(owner)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(listed).collect())
    }

    /// Closes a link for good, and gives the schema that it showed.
    ///
    /// # Errors
    /// The link is not the owner's. One already closed is no error.
    pub async fn revoke_schema_share(&self, owner: i64, share: &str) -> Result<String, StoreError> {
        let row: Option<(String,)> = sqlx::query_as(
            "UPDATE schema_share SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? AND owner_id = ?
             RETURNING schema_id",
        )
        .bind(now_ms())
        .bind(share)
        .bind(owner)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|(schema,)| schema).ok_or(StoreError::Missing("link"))
    }

    /// What an open link shows, whoever asks: the version that it was made for, without its id. Links to deleted schemas are
    /// closed while those are.
    ///
    /// # Errors
    /// There is no open link with this token.
    pub async fn open_schema_share(&self, token_hash: &str) -> Result<SchemaView, StoreError> {
        let row: Option<(String, u32, String, i64)> = sqlx::query_as(
            "SELECT s.name, v.version, v.json, v.created_at FROM schema_share h
             JOIN schema s ON s.id = h.schema_id AND s.deleted_at IS NULL
             JOIN schema_version v ON v.schema_id = h.schema_id AND v.version = h.version
             WHERE h.token_hash = ? AND h.revoked_at IS NULL",
        )
        .bind(token_hash)
        .fetch_optional(&self.pool)
        .await?;
        let (name, version, json, updated_at) = row.ok_or(StoreError::Missing("link"))?;
        let language = extract::Schema::from_json(&json).ok().and_then(|schema| schema.language);
        Ok(SchemaView {
            id: String::new(),
            title: Title { en: name.clone(), zh: name },
            language,
            version: Some(version),
            json,
            updated_at,
        })
    }
}

/// A link as it is listed: named by the version that it shows.
fn listed((id, created_at, version): (String, i64, u32)) -> ShareView {
    ShareView { id, created_at, note: format!("v{version}") }
}
