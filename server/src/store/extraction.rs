//! Extractions: a text asked for a whole schema, stored with the runs that it takes.

use protocol::{
    Column, RunView,
    view::{ExtractionView, NamedSchema},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Store, StoreError,
    run::{self, column_name},
};

pub(super) const COLUMNS: &str =
    "id, session_id, document_id, variant, schema, schema_name, schema_id, schema_version, created_at";

impl Store {
    /// The extractions of a session, oldest first.
    pub(super) async fn extractions(&self, owner: i64, session: &str) -> Result<Vec<ExtractionView>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM extraction WHERE session_id = ? AND owner_id = ? ORDER BY id");
        let rows = sqlx::query(&sql).bind(session).bind(owner).fetch_all(&self.pool).await?;
        rows.iter().map(view).collect()
    }

    /// The session of an extraction, and those of its runs that have not ended.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn unfinished(&self, owner: i64, extraction: &str) -> Result<(String, Vec<String>), StoreError> {
        let session: Option<(String,)> =
            sqlx::query_as("SELECT session_id FROM extraction WHERE id = ? AND owner_id = ?")
                .bind(extraction)
                .bind(owner)
                .fetch_optional(&self.pool)
                .await?;
        let (session,) = session.ok_or(StoreError::Missing("extraction"))?;
        let runs: Vec<(String,)> = sqlx::query_as(
            "SELECT id FROM run WHERE extraction_id = ? AND owner_id = ? AND status IN ('queued', 'running') ORDER BY id",
        )
        .bind(extraction)
        .bind(owner)
        .fetch_all(&self.pool)
        .await?;
        Ok((session, runs.into_iter().map(|(id,)| id).collect()))
    }
}

/// The ways in which a run ends without an answer of its own.
const MISSING: &str = "('cancelled', 'interrupted', 'failed')";

impl Store {
    /// The text of an extraction, and those of its runs that were stopped, interrupted or failed, oldest first.
    ///
    /// # Errors
    /// It is not the owner's, or its session is deleted.
    pub async fn missing_runs(&self, owner: i64, extraction: &str) -> Result<(String, Vec<RunView>), StoreError> {
        let text: Option<(String,)> = sqlx::query_as(
            "SELECT d.text FROM extraction e JOIN document d ON d.id = e.document_id JOIN session s ON s.id = e.session_id
             WHERE e.id = ? AND e.owner_id = ? AND s.deleted_at IS NULL",
        )
        .bind(extraction)
        .bind(owner)
        .fetch_optional(&self.pool)
        .await?;
        let (text,) = text.ok_or(StoreError::Missing("extraction"))?;
        let sql = format!(
            "SELECT {} FROM run r WHERE r.extraction_id = ? AND r.owner_id = ? AND r.status IN {MISSING} ORDER BY r.id",
            run::COLUMNS
        );
        let rows = sqlx::query(&sql).bind(extraction).bind(owner).fetch_all(&self.pool).await?;
        Ok((text, rows.iter().map(run::view).collect::<Result<_, _>>()?))
    }

    /// Queues runs again that ended without an answer; what they had is forgotten. All of them or none.
    ///
    /// # Errors
    /// One of them is not the owner's, or has been queued again already.
    pub async fn requeue_runs(&self, owner: i64, runs: &[RunView]) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        let sql = format!(
            "UPDATE run SET status = 'queued', finish_reason = NULL, error = NULL, text = '', prompt_tokens = NULL,
             completion_tokens = 0, timings = NULL, hesitations = NULL, samples = NULL, ended_at = NULL
             WHERE id = ? AND owner_id = ? AND status IN {MISSING}"
        );
        for run in runs {
            let done = sqlx::query(&sql).bind(&run.id).bind(owner).execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::Missing("run"));
            }
        }
        Ok(tx.commit().await?)
    }
}

/// Stores an extraction; its runs follow.
pub(super) async fn insert(tx: &mut SqliteConnection, owner: i64, new: &ExtractionView) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO extraction (id, owner_id, session_id, document_id, variant, schema, schema_name, schema_id,
         schema_version, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&new.id)
    .bind(owner)
    .bind(&new.session)
    .bind(&new.document)
    .bind(column_name(new.column))
    .bind(&new.schema.json)
    .bind(&new.schema.name)
    .bind(&new.schema.id)
    .bind(new.schema.version)
    .bind(new.created_at)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) fn view(row: &SqliteRow) -> Result<ExtractionView, StoreError> {
    let column: String = row.try_get("variant")?;
    Ok(ExtractionView {
        id: row.try_get("id")?,
        session: row.try_get("session_id")?,
        document: row.try_get("document_id")?,
        column: if column == "base" { Column::Base } else { Column::Tuned },
        schema: NamedSchema {
            name: row.try_get("schema_name")?,
            id: row.try_get("schema_id")?,
            version: row.try_get("schema_version")?,
            json: row.try_get("schema")?,
        },
        created_at: row.try_get("created_at")?,
    })
}
