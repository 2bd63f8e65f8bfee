//! Texts that a person has gone through, and what they changed of a session's graph.

use protocol::Judgement;
use sqlx::{QueryBuilder, Sqlite};

use super::{Store, StoreError, now_ms, part::listed};

impl Store {
    /// The texts of a session that its owner has gone through.
    ///
    /// # Errors
    /// The session is not the owner's.
    pub async fn reviewed(&self, owner: i64, session: &str) -> Result<Vec<String>, StoreError> {
        self.known_session(owner, session).await?;
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT r.document_id FROM review r JOIN document d ON d.id = r.document_id
             WHERE d.session_id = ? AND d.owner_id = ? AND r.owner_id = ? ORDER BY r.created_at, r.document_id",
        )
        .bind(session)
        .bind(owner)
        .bind(owner)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Those of some texts that their owner has gone through.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn reviewed_of(&self, owner: i64, texts: &[String]) -> Result<Vec<String>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT document_id FROM review WHERE owner_id = ");
        query.push_bind(owner);
        let rows: Vec<(String,)> =
            listed(&mut query, "document_id", texts).build_query_as().fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Files judgements of a text and notes that it has been gone through: all of it or nothing. Records that are judged
    /// already keep their judgement.
    ///
    /// # Errors
    /// The document is not the owner's.
    pub async fn accept(&self, owner: i64, document: &str, judgements: &[Judgement]) -> Result<(), StoreError> {
        let now = now_ms();
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let done = sqlx::query(
            "INSERT INTO review (document_id, owner_id, created_at)
             SELECT d.id, d.owner_id, ? FROM document d WHERE d.id = ? AND d.owner_id = ?
             ON CONFLICT (document_id, owner_id) DO UPDATE SET created_at = excluded.created_at",
        )
        .bind(now)
        .bind(document)
        .bind(owner)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Missing("text"));
        }
        for judgement in judgements {
            sqlx::query(
                "INSERT INTO judgement (document_id, record_key, owner_id, judgement, created_at) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (document_id, record_key) DO NOTHING",
            )
            .bind(document)
            .bind(judgement.record.key())
            .bind(owner)
            .bind(serde_json::to_string(&judgement.clone().without_certainty())?)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        }
        super::document::touch(&mut tx, document).await?;
        Ok(tx.commit().await?)
    }

    /// Takes back that a text has been gone through; its judgements stay. One that never was is no error.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn reopen(&self, owner: i64, document: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM review WHERE document_id = ? AND owner_id = ?")
            .bind(document)
            .bind(owner)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// What the owner changed of a session's graph, as JSON; `None` while nothing is.
    ///
    /// # Errors
    /// The session is not the owner's.
    pub async fn graph_edits(&self, owner: i64, session: &str) -> Result<Option<String>, StoreError> {
        self.known_session(owner, session).await?;
        let row: Option<(String,)> =
            sqlx::query_as("SELECT edits FROM graph_edits WHERE session_id = ? AND owner_id = ?")
                .bind(session)
                .bind(owner)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|(edits,)| edits))
    }

    /// Keeps what the owner changed of a session's graph, in place of what was kept before.
    ///
    /// # Errors
    /// The session is not the owner's.
    pub async fn set_graph_edits(&self, owner: i64, session: &str, edits: &str) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO graph_edits (session_id, owner_id, edits, updated_at)
             SELECT s.id, s.owner_id, ?, ? FROM session s WHERE s.id = ? AND s.owner_id = ? AND s.deleted_at IS NULL
             ON CONFLICT (session_id, owner_id) DO UPDATE SET edits = excluded.edits, updated_at = excluded.updated_at",
        )
        .bind(edits)
        .bind(now_ms())
        .bind(session)
        .bind(owner)
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 0 { Err(StoreError::Missing("session")) } else { Ok(()) }
    }

    pub(super) async fn known_session(&self, owner: i64, session: &str) -> Result<(), StoreError> {
        let known: Option<(i64,)> =
            sqlx::query_as("SELECT 1 FROM session WHERE id = ? AND owner_id = ? AND deleted_at IS NULL")
                .bind(session)
                .bind(owner)
                .fetch_optional(&self.pool)
                .await?;
        known.map(|_| ()).ok_or(StoreError::Missing("session"))
    }
}
