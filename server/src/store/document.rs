//! Texts, and what people said of the records found in them.

use std::collections::HashMap;

use protocol::{Judgement, view::DocumentView};
use sqlx::{QueryBuilder, Sqlite};

use super::{Store, StoreError, now_ms, part::listed};

impl Store {
    /// The texts of a session, oldest first, with their judgements.
    pub(super) async fn documents(&self, owner: i64, session: &str) -> Result<Vec<DocumentView>, StoreError> {
        let texts: Vec<(String, String)> =
            sqlx::query_as("SELECT id, text FROM document WHERE session_id = ? AND owner_id = ? ORDER BY id")
                .bind(session)
                .bind(owner)
                .fetch_all(&self.pool)
                .await?;
        let mut judgements = self.judgements_in(owner, session).await?;
        Ok(texts.into_iter().map(|text| with_judgements(text, &mut judgements)).collect())
    }

    /// Of some texts those that a session has, with their judgements; the others are not even read.
    ///
    /// # Errors
    /// The session is not the owner's.
    pub async fn documents_with(
        &self,
        owner: i64,
        session: &str,
        texts: &[&str],
    ) -> Result<Vec<DocumentView>, StoreError> {
        self.known_session(owner, session).await?;
        let mut query = QueryBuilder::<Sqlite>::new("SELECT id, text FROM document WHERE session_id = ");
        query.push_bind(session).push(" AND owner_id = ").push_bind(owner);
        listed(&mut query, "text", texts).push(" ORDER BY id");
        let found: Vec<(String, String)> = query.build_query_as().fetch_all(&self.pool).await?;
        let ids: Vec<String> = found.iter().map(|(id, _)| id.clone()).collect();
        let mut judgements = self.judgements_of(owner, &ids).await?;
        Ok(found.into_iter().map(|found| with_judgements(found, &mut judgements)).collect())
    }

    /// Files a judgement, in place of an earlier one of the same record. It keeps the earlier one's place in the list.
    ///
    /// # Errors
    /// The document is not the owner's.
    pub async fn judge(&self, owner: i64, document: &str, judgement: &Judgement) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        let done = sqlx::query(
            "INSERT INTO judgement (document_id, record_key, owner_id, judgement, created_at)
             SELECT d.id, ?, d.owner_id, ?, ? FROM document d WHERE d.id = ? AND d.owner_id = ?
             ON CONFLICT (document_id, record_key) DO UPDATE SET judgement = excluded.judgement",
        )
        .bind(judgement.record.key())
        .bind(serde_json::to_string(&judgement.clone().without_certainty())?)
        .bind(now_ms())
        .bind(document)
        .bind(owner)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Missing("text"));
        }
        touch(&mut tx, document).await?;
        Ok(tx.commit().await?)
    }

    /// Takes a judgement back. One that was never filed is no error.
    ///
    /// # Errors
    /// The document is not the owner's.
    pub async fn unjudge(&self, owner: i64, document: &str, key: &str) -> Result<(), StoreError> {
        // It reads before it writes: begun as a reader, it would be refused when another has written in between.
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let known: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM document WHERE id = ? AND owner_id = ?")
            .bind(document)
            .bind(owner)
            .fetch_optional(&mut *tx)
            .await?;
        if known.is_none() {
            return Err(StoreError::Missing("text"));
        }
        sqlx::query("DELETE FROM judgement WHERE document_id = ? AND record_key = ? AND owner_id = ?")
            .bind(document)
            .bind(key)
            .bind(owner)
            .execute(&mut *tx)
            .await?;
        touch(&mut tx, document).await?;
        Ok(tx.commit().await?)
    }
}

/// A text by its id with what was said of it.
pub(super) fn with_judgements(
    (id, text): (String, String),
    said: &mut HashMap<String, Vec<Judgement>>,
) -> DocumentView {
    DocumentView { judgements: said.remove(&id).unwrap_or_default(), id, text }
}

pub(super) async fn touch(tx: &mut sqlx::SqliteConnection, document: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE session SET updated_at = ? WHERE id = (SELECT session_id FROM document WHERE id = ?)")
        .bind(now_ms())
        .bind(document)
        .execute(tx)
        .await?;
    Ok(())
}
