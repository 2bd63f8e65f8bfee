//! Links to frozen copies of sessions. Only a hash of a link's token is stored.

use protocol::view::{ShareView, Snapshot};

use super::{Store, StoreError, now_ms};

impl Store {
    /// Stores a snapshot of an owner's session under the hash of a token.
    ///
    /// # Errors
    /// The session is not the owner's.
    pub async fn insert_share(
        &self,
        owner: i64,
        id: &str,
        token_hash: &str,
        snapshot: &Snapshot,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO share (id, owner_id, session_id, token_hash, note, snapshot, created_at)
             SELECT ?, s.owner_id, s.id, ?, ?, ?, ? FROM session s
             WHERE s.id = ? AND s.owner_id = ? AND s.deleted_at IS NULL",
        )
        .bind(id)
        .bind(token_hash)
        .bind(&snapshot.note)
        .bind(serde_json::to_string(snapshot)?)
        .bind(snapshot.shared_at)
        .bind(&snapshot.session.id)
        .bind(owner)
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 0 { Err(StoreError::Missing("session")) } else { Ok(()) }
    }

    /// The open links of a session, oldest first.
    pub(super) async fn shares(&self, owner: i64, session: &str) -> Result<Vec<ShareView>, StoreError> {
        let rows: Vec<(String, i64, String)> = sqlx::query_as(
            "SELECT id, created_at, note FROM share
             WHERE session_id = ? AND owner_id = ? AND revoked_at IS NULL ORDER BY id",
        )
        .bind(session)
        .bind(owner)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(id, created_at, note)| ShareView { id, created_at, note }).collect())
    }

    /// Changes the note of an open link.
    ///
    /// # Errors
    /// The link is not the owner's, or closed.
    pub async fn annotate(&self, owner: i64, share: &str, note: &str) -> Result<ShareView, StoreError> {
        let row: Option<(String, i64, String)> = sqlx::query_as(
            "UPDATE share SET note = ? WHERE id = ? AND owner_id = ? AND revoked_at IS NULL
             RETURNING id, created_at, note",
        )
        .bind(note)
        .bind(share)
        .bind(owner)
        .fetch_optional(&self.pool)
        .await?;
        let (id, created_at, note) = row.ok_or(StoreError::Missing("link"))?;
        Ok(ShareView { id, created_at, note })
    }

    /// Closes a link for good; what it showed is kept no longer.
    ///
    /// # Errors
    /// The link is not the owner's. One already closed is no error.
    pub async fn revoke(&self, owner: i64, share: &str) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE share SET revoked_at = coalesce(revoked_at, ?), snapshot = '', note = '' WHERE id = ? AND owner_id = ?",
        )
        .bind(now_ms())
        .bind(share)
        .bind(owner)
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 0 { Err(StoreError::Missing("link")) } else { Ok(()) }
    }

    /// What an open link shows, whoever asks. Links to deleted sessions are closed while those are.
    ///
    /// # Errors
    /// There is no open link with this token.
    pub async fn snapshot(&self, token_hash: &str) -> Result<Snapshot, StoreError> {
        let row: Option<(String, String)> = sqlx::query_as(
            "SELECT h.snapshot, h.note FROM share h JOIN session s ON s.id = h.session_id
             WHERE h.token_hash = ? AND h.revoked_at IS NULL AND s.deleted_at IS NULL",
        )
        .bind(token_hash)
        .fetch_optional(&self.pool)
        .await?;
        let (json, note) = row.ok_or(StoreError::Missing("link"))?;
        let snapshot: Snapshot = serde_json::from_str(&json)?;
        Ok(Snapshot { note, ..snapshot })
    }
}
