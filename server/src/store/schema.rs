//! Saved schemas. What a version asks for never changes: a change is a new version.

use protocol::{
    Language,
    manifest::Title,
    view::{SchemaVersion, SchemaView},
};

use super::{Store, StoreError, new_id, now_ms};

/// The most versions of a schema that are listed.
const MAX_VERSIONS: i64 = 100;

/// A schema's row with its newest version.
#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    language: Option<String>,
    version: u32,
    json: String,
    updated_at: i64,
}

impl From<Row> for SchemaView {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            title: Title { en: row.name.clone(), zh: row.name },
            language: row.language.as_deref().and_then(Language::from_code),
            version: Some(row.version),
            json: row.json,
            updated_at: row.updated_at,
        }
    }
}

const NEWEST: &str = "SELECT s.id, s.name, s.language, v.version, v.json, s.updated_at
    FROM schema s JOIN schema_version v ON v.schema_id = s.id
    AND v.version = (SELECT max(version) FROM schema_version WHERE schema_id = s.id)";

impl Store {
    /// An owner's schemas that are not deleted, newest first.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn schemas(&self, owner: i64) -> Result<Vec<SchemaView>, StoreError> {
        let sql =
            format!("{NEWEST} WHERE s.owner_id = ? AND s.deleted_at IS NULL ORDER BY s.updated_at DESC, s.id DESC");
        let rows: Vec<Row> = sqlx::query_as(&sql).bind(owner).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// A schema that is not deleted.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn schema(&self, owner: i64, id: &str) -> Result<SchemaView, StoreError> {
        let sql = format!("{NEWEST} WHERE s.id = ? AND s.owner_id = ? AND s.deleted_at IS NULL");
        let row: Option<Row> = sqlx::query_as(&sql).bind(id).bind(owner).fetch_optional(&self.pool).await?;
        Ok(row.ok_or(StoreError::Missing("schema"))?.into())
    }

    /// The versions of a schema, newest first; also of a deleted one, which old extractions may have used.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn schema_versions(&self, owner: i64, id: &str) -> Result<Vec<SchemaVersion>, StoreError> {
        let rows: Vec<(u32, String, i64)> = sqlx::query_as(
            "SELECT version, json, created_at FROM schema_version WHERE schema_id = ? AND owner_id = ?
             ORDER BY version DESC LIMIT ?",
        )
        .bind(id)
        .bind(owner)
        .bind(MAX_VERSIONS)
        .fetch_all(&self.pool)
        .await?;
        let version = |(version, json, created_at)| SchemaVersion { version, json, created_at };
        Ok(rows.into_iter().map(version).collect())
    }

    /// Saves a schema: a new one, or a new version of one if it asks for something else than the newest. Gives its id.
    ///
    /// # Errors
    /// The schema to change is not the owner's, or is deleted.
    pub async fn save_schema(
        &self,
        owner: i64,
        id: Option<&str>,
        name: &str,
        language: Option<Language>,
        json: &str,
    ) -> Result<String, StoreError> {
        let now = now_ms();
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let id = match id {
            None => {
                let id = new_id();
                sqlx::query(
                    "INSERT INTO schema (id, owner_id, name, language, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
                )
                .bind(&id)
                .bind(owner)
                .bind(name)
                .bind(language.map(Language::code))
                .bind(now)
                .bind(now)
                .execute(&mut *tx)
                .await?;
                id
            }
            Some(id) => {
                let done = sqlx::query(
                    "UPDATE schema SET name = ?, language = ?, updated_at = ?
                     WHERE id = ? AND owner_id = ? AND deleted_at IS NULL",
                )
                .bind(name)
                .bind(language.map(Language::code))
                .bind(now)
                .bind(id)
                .bind(owner)
                .execute(&mut *tx)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::Missing("schema"));
                }
                id.to_owned()
            }
        };
        sqlx::query(
            "INSERT INTO schema_version (schema_id, version, owner_id, json, created_at)
             SELECT ?1, coalesce(max(version), 0) + 1, ?2, ?3, ?4 FROM schema_version WHERE schema_id = ?1
             HAVING ?3 IS NOT (SELECT json FROM schema_version WHERE schema_id = ?1 ORDER BY version DESC LIMIT 1)",
        )
        .bind(&id)
        .bind(owner)
        .bind(json)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Gives a schema a new name.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn rename_schema(&self, owner: i64, id: &str, name: &str) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE schema SET name = ? WHERE id = ? AND owner_id = ? AND deleted_at IS NULL")
            .bind(name)
            .bind(id)
            .bind(owner)
            .execute(&self.pool)
            .await?;
        if done.rows_affected() == 0 { Err(StoreError::Missing("schema")) } else { Ok(()) }
    }

    /// Deletes a schema, or brings it back.
    ///
    /// # Errors
    /// It is not the owner's, or purged already.
    pub async fn set_schema_deleted(&self, owner: i64, id: &str, deleted: bool) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE schema SET deleted_at = ? WHERE id = ? AND owner_id = ?")
            .bind(deleted.then(now_ms))
            .bind(id)
            .bind(owner)
            .execute(&self.pool)
            .await?;
        if done.rows_affected() == 0 { Err(StoreError::Missing("schema")) } else { Ok(()) }
    }

    /// Removes the schemas deleted before a time. Extractions keep what they asked for.
    pub(super) async fn purge_schemas(&self, deleted_before: i64) -> Result<u64, StoreError> {
        let done =
            sqlx::query("DELETE FROM schema WHERE deleted_at < ?").bind(deleted_before).execute(&self.pool).await?;
        Ok(done.rows_affected())
    }
}
