//! Batches: the rows of a file, where each is, and what came of it. A row is finished in one transaction with all that was found, so
//! that a kill leaves it either done or not begun.

use app::doubts::Weight;
use protocol::{
    Asking, Parameters, RunView, Sentence,
    batch::{Counts, RowState, UploadView},
    view::{ExtractionView, NamedSchema, Page},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{BatchRow, Store, StoreError, extraction, now_ms, run};

/// A batch, without its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Its session.
    pub session: String,
    /// Whose it is.
    pub owner: i64,
    /// What is asked for.
    pub schema: NamedSchema,
    /// Whether the base is asked too.
    pub compare: bool,
    /// The adapter that answers; without one the base alone.
    pub adapter: Option<String>,
    /// How it is asked, where that is not the adapter's own way.
    pub asking: Asking,
    /// With which parameters.
    pub parameters: Parameters,
    /// The columns that pass through, in the file's order.
    pub columns: Vec<String>,
    /// The column of the texts.
    pub text_column: String,
    /// The column of the ids.
    pub id_column: Option<String>,
    /// Whether it is to be worked on.
    pub running: bool,
    /// Why it stopped by itself.
    pub reason: Option<Sentence>,
    /// What has been measured.
    pub busy: Busy,
}

/// Work on a batch: how long, and what was done in that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// Milliseconds.
    pub ms: i64,
    /// Code points of the texts done.
    pub chars: i64,
    /// Tokens written.
    pub tokens: i64,
    /// Texts done.
    pub rows: i64,
}

/// What came of a row.
#[derive(Clone, Debug)]
pub struct FinishedRow {
    /// Which.
    pub position: i64,
    /// Done, nothing or failed.
    pub state: RowState,
    /// Why it failed.
    pub error: Option<Sentence>,
    /// Records found.
    pub found: usize,
    /// How doubtful they are, and how far variants disagree; `None` where nobody has looked.
    pub weight: Option<Weight>,
    /// The extractions; none of a row that failed.
    pub extractions: Vec<ExtractionView>,
    /// Their runs, ended.
    pub runs: Vec<RunView>,
}

impl Store {
    /// Stores a batch with its rows, opens its session with the name of the file and forgets the file: all of it or
    /// nothing, so that a file becomes one batch however often it is asked for.
    ///
    /// # Errors
    /// The file is not the owner's, or a batch already.
    pub async fn insert_batch(&self, batch: &Batch, upload: &UploadView, rows: &[BatchRow]) -> Result<(), StoreError> {
        let now = now_ms();
        let mut tx = self.pool.begin().await?;
        let taken = sqlx::query("DELETE FROM upload WHERE id = ? AND owner_id = ?")
            .bind(&upload.id)
            .bind(batch.owner)
            .execute(&mut *tx)
            .await?;
        if taken.rows_affected() == 0 {
            return Err(StoreError::Missing("file"));
        }
        let page = if batch.compare { Page::Compare } else { Page::Extract };
        sqlx::query(
            "INSERT INTO session (id, owner_id, title, page, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&batch.session)
        .bind(batch.owner)
        .bind(&upload.name)
        .bind(page.name())
        .bind(now)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO batch (session_id, owner_id, schema, compare, adapter, asking, parameters, columns, text_column,
             id_column, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&batch.session)
        .bind(batch.owner)
        .bind(serde_json::to_string(&batch.schema)?)
        .bind(batch.compare)
        .bind(&batch.adapter)
        .bind((!batch.asking.is_default()).then(|| serde_json::to_string(&batch.asking)).transpose()?)
        .bind(serde_json::to_string(&batch.parameters)?)
        .bind(serde_json::to_string(&batch.columns)?)
        .bind(&batch.text_column)
        .bind(&batch.id_column)
        .bind(if batch.running { "running" } else { "stopped" })
        .execute(&mut *tx)
        .await?;
        for row in rows {
            if let Some(document) = &row.document {
                sqlx::query("INSERT INTO document (id, owner_id, session_id, text, created_at) VALUES (?, ?, ?, ?, ?)")
                    .bind(document)
                    .bind(batch.owner)
                    .bind(&batch.session)
                    .bind(&row.text)
                    .bind(now)
                    .execute(&mut *tx)
                    .await?;
            }
            sqlx::query(
                "INSERT INTO batch_row (session_id, position, owner_id, document_id, line, row_id, extra, chars, wanted,
                 state, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&batch.session)
            .bind(row.position)
            .bind(batch.owner)
            .bind(&row.document)
            .bind(row.line)
            .bind(row.id.to_string())
            .bind(serde_json::to_string(&row.extra)?)
            .bind(row.chars)
            .bind(row.wanted)
            .bind(row.state.name())
            .bind(row.error.as_ref().map(serde_json::to_string).transpose()?)
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    /// A batch of a session that is not deleted, with the session's title.
    ///
    /// # Errors
    /// It is not the owner's, or no batch.
    pub async fn batch(&self, owner: i64, session: &str) -> Result<(Batch, String), StoreError> {
        let row = sqlx::query(
            "SELECT a.*, s.title FROM batch a JOIN session s ON s.id = a.session_id
             WHERE a.session_id = ? AND a.owner_id = ? AND s.deleted_at IS NULL",
        )
        .bind(session)
        .bind(owner)
        .fetch_optional(&self.pool)
        .await?;
        let row = row.ok_or(StoreError::Missing("batch"))?;
        Ok((batch(&row)?, row.try_get("title")?))
    }

    /// The newest batches of an owner: session, title, last change.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn batches(&self, owner: i64, most: i64) -> Result<Vec<(Batch, String, i64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT a.*, s.title, s.updated_at FROM batch a JOIN session s ON s.id = a.session_id
             WHERE a.owner_id = ? AND s.deleted_at IS NULL ORDER BY a.session_id DESC LIMIT ?",
        )
        .bind(owner)
        .bind(most)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((batch(row)?, row.try_get("title")?, row.try_get("updated_at")?))).collect()
    }

    /// The batches of anybody that were being worked on when the server ended.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn running_batches(&self) -> Result<Vec<(i64, String)>, StoreError> {
        let sql = "SELECT a.owner_id, a.session_id FROM batch a JOIN session s ON s.id = a.session_id
                   WHERE a.state = 'running' AND s.deleted_at IS NULL ORDER BY a.session_id";
        Ok(sqlx::query_as(sql).fetch_all(&self.pool).await?)
    }

    /// Says whether a batch is to be worked on, and why it is not.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn set_batch_running(
        &self,
        owner: i64,
        session: &str,
        running: bool,
        reason: Option<&Sentence>,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE batch SET state = ?, reason = ? WHERE session_id = ? AND owner_id = ?")
            .bind(if running { "running" } else { "stopped" })
            .bind(reason.map(serde_json::to_string).transpose()?)
            .bind(session)
            .bind(owner)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Asks for every row; with `failed` only those that failed and have a text, which wait again.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn want_rows(&self, owner: i64, session: &str, failed: bool) -> Result<(), StoreError> {
        let sql = if failed {
            "UPDATE batch_row SET wanted = 1, state = 'waiting', error = NULL
             WHERE session_id = ? AND owner_id = ? AND state = 'failed' AND document_id IS NOT NULL"
        } else {
            "UPDATE batch_row SET wanted = 1 WHERE session_id = ? AND owner_id = ? AND wanted = 0"
        };
        sqlx::query(sql).bind(session).bind(owner).execute(&self.pool).await?;
        Ok(())
    }

    /// How many rows are where, and the code points of those that are wanted and of all that are not done.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn batch_counts(&self, owner: i64, session: &str) -> Result<(Counts, i64, i64), StoreError> {
        let rows: Vec<(String, bool, i64, i64, i64)> = sqlx::query_as(
            "SELECT state, wanted, count(*), count(document_id), sum(chars) FROM batch_row
             WHERE session_id = (SELECT session_id FROM batch WHERE session_id = ? AND owner_id = ?)
             GROUP BY state, wanted",
        )
        .bind(session)
        .bind(owner)
        .fetch_all(&self.pool)
        .await?;
        let (mut counts, mut wanted_chars, mut all_chars) = (Counts::default(), 0, 0);
        for (state, wanted, count, readable, chars) in rows {
            let (count, readable) = (count as usize, readable as usize);
            counts.total += count;
            counts.wanted += if wanted { count } else { 0 };
            match RowState::from_name(&state) {
                Some(RowState::Done) => counts.done += count,
                Some(RowState::Nothing) => counts.nothing += count,
                Some(RowState::Failed) => {
                    counts.failed += count;
                    counts.unreadable += count - readable;
                }
                _ => {
                    all_chars += chars;
                    if wanted {
                        counts.waiting += count;
                        wanted_chars += chars;
                    }
                }
            }
        }
        Ok((counts, wanted_chars, all_chars))
    }

    /// Stores what came of rows, and the time that it took: all of it or nothing. What an earlier try left behind goes.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn finish_rows(&self, batch: &Batch, rows: &[FinishedRow], busy: Busy) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        for row in rows {
            finish(&mut tx, batch, row).await?;
        }
        sqlx::query(
            "UPDATE batch SET busy_ms = busy_ms + ?, busy_chars = busy_chars + ?, busy_tokens = busy_tokens + ?,
             busy_rows = busy_rows + ? WHERE session_id = ?",
        )
        .bind(busy.ms)
        .bind(busy.chars)
        .bind(busy.tokens)
        .bind(busy.rows)
        .bind(&batch.session)
        .execute(&mut *tx)
        .await?;
        sqlx::query("UPDATE session SET updated_at = ? WHERE id = ?")
            .bind(now_ms())
            .bind(&batch.session)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}

async fn finish(tx: &mut SqliteConnection, batch: &Batch, row: &FinishedRow) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM extraction WHERE owner_id = ? AND document_id =
         (SELECT document_id FROM batch_row WHERE session_id = ? AND position = ?)",
    )
    .bind(batch.owner)
    .bind(&batch.session)
    .bind(row.position)
    .execute(&mut *tx)
    .await?;
    for one in &row.extractions {
        extraction::insert(tx, batch.owner, one).await?;
    }
    for one in &row.runs {
        run::insert(tx, batch.owner, one).await?;
    }
    sqlx::query(
        "UPDATE batch_row SET state = ?, error = ?, found = ?, doubt = ?, differs = ?
         WHERE session_id = ? AND position = ?",
    )
    .bind(row.state.name())
    .bind(row.error.as_ref().map(serde_json::to_string).transpose()?)
    .bind(row.found as i64)
    .bind(row.weight.map_or(-1, |weight| weight.doubt as i64))
    .bind(row.weight.map_or(0, |weight| weight.differs as i64))
    .bind(&batch.session)
    .bind(row.position)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

fn batch(row: &SqliteRow) -> Result<Batch, StoreError> {
    let json = |name: &str| row.try_get::<String, _>(name);
    let reason: Option<String> = row.try_get("reason")?;
    let asking: Option<String> = row.try_get("asking")?;
    Ok(Batch {
        session: row.try_get("session_id")?,
        owner: row.try_get("owner_id")?,
        schema: serde_json::from_str(&json("schema")?)?,
        compare: row.try_get("compare")?,
        adapter: row.try_get("adapter")?,
        asking: asking.as_deref().map(serde_json::from_str).transpose()?.unwrap_or_default(),
        parameters: serde_json::from_str(&json("parameters")?)?,
        columns: serde_json::from_str(&json("columns")?)?,
        text_column: row.try_get("text_column")?,
        id_column: row.try_get("id_column")?,
        running: json("state")? == "running",
        reason: reason.as_deref().map(serde_json::from_str).transpose()?,
        busy: Busy {
            ms: row.try_get("busy_ms")?,
            chars: row.try_get("busy_chars")?,
            tokens: row.try_get("busy_tokens")?,
            rows: row.try_get("busy_rows")?,
        },
    })
}
