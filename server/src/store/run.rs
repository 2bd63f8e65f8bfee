//! Runs: stored before they start, kept up to date while they go on.

use protocol::{Column, FinishReason, Hesitation, Mode, RunStatus, RunView, Span};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{Store, StoreError, now_ms};

/// What changes of a run while it goes on, and when it ends.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The run.
    pub id: String,
    /// Where it is.
    pub status: RunStatus,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
    /// The sentence of an error.
    pub error: Option<String>,
    /// The answer so far.
    pub text: String,
    /// Tokens of the prompt, once known.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// Where the time went.
    pub timings: Option<protocol::Timings>,
    /// Where the model hesitated.
    pub hesitations: Option<Vec<Hesitation>>,
    /// What the same question was answered when it was asked again.
    pub samples: Vec<String>,
}

pub(super) const COLUMNS: &str = "r.id, r.session_id, r.document_id, r.mode, r.variant, r.model, r.adapter, r.schema, \
    r.instruction, r.prompt, r.parameters, r.status, r.finish_reason, r.error, r.text, r.prompt_tokens, \
    r.completion_tokens, r.timings, r.created_at, r.extraction_id, r.part_start, r.part_end, r.hesitations, r.samples";

impl Store {
    /// A run of a session that is not deleted.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn run(&self, owner: i64, id: &str) -> Result<RunView, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM run r JOIN session s ON s.id = r.session_id
             WHERE r.id = ? AND r.owner_id = ? AND s.deleted_at IS NULL"
        );
        let row = sqlx::query(&sql).bind(id).bind(owner).fetch_optional(&self.pool).await?;
        view(&row.ok_or(StoreError::Missing("run"))?)
    }

    /// The runs of a session, oldest first.
    pub(super) async fn runs(&self, owner: i64, session: &str) -> Result<Vec<RunView>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM run r WHERE r.session_id = ? AND r.owner_id = ? ORDER BY r.id");
        let rows = sqlx::query(&sql).bind(session).bind(owner).fetch_all(&self.pool).await?;
        rows.iter().map(view).collect()
    }

    /// Brings runs up to date, all in one transaction.
    ///
    /// # Errors
    /// The database refuses; nothing is changed then.
    pub async fn update_runs(&self, runs: &[Progress]) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        for run in runs {
            let timings = run.timings.as_ref().map(serde_json::to_string).transpose()?;
            let hesitations = run.hesitations.as_ref().map(serde_json::to_string).transpose()?;
            sqlx::query(
                "UPDATE run SET status = ?, finish_reason = ?, error = ?, text = ?, prompt_tokens = ?,
                 completion_tokens = ?, timings = ?, hesitations = ?, samples = ?, ended_at = ? WHERE id = ?",
            )
            .bind(run.status.name())
            .bind(run.finish_reason.map(FinishReason::name))
            .bind(&run.error)
            .bind(&run.text)
            .bind(run.prompt_tokens)
            .bind(run.completion_tokens)
            .bind(timings)
            .bind(hesitations)
            .bind(samples_json(&run.samples)?)
            .bind(run.status.is_final().then(now_ms))
            .bind(&run.id)
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Marks every unfinished run as interrupted; its text so far stays.
    pub(super) async fn mark_interrupted(&self) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE run SET status = 'interrupted', finish_reason = 'interrupted', ended_at = ?
             WHERE status IN ('queued', 'running')",
        )
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}

/// Stores a run as it is.
pub(super) async fn insert(tx: &mut SqliteConnection, owner: i64, run: &RunView) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO run (id, owner_id, session_id, document_id, mode, variant, model, adapter, schema, instruction,
         prompt, parameters, status, finish_reason, error, text, prompt_tokens, completion_tokens, created_at, ended_at,
         extraction_id, task, part_start, part_end, timings, hesitations, samples)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&run.id)
    .bind(owner)
    .bind(&run.session)
    .bind(&run.document)
    .bind(mode_name(run.mode))
    .bind(column_name(run.column))
    .bind(&run.model)
    .bind(&run.adapter)
    .bind(run.schema.as_ref().map(serde_json::to_string).transpose()?)
    .bind(&run.instruction)
    .bind(&run.prompt)
    .bind(serde_json::to_string(&run.parameters)?)
    .bind(run.status.name())
    .bind(run.finish_reason.map(FinishReason::name))
    .bind(&run.error)
    .bind(&run.text)
    .bind(run.prompt_tokens)
    .bind(run.completion_tokens)
    .bind(run.created_at)
    .bind(run.status.is_final().then_some(run.created_at))
    .bind(&run.extraction)
    .bind(run.schema.as_ref().map(|choice| choice.task.code()))
    .bind(run.part.map(|part| part.start as i64))
    .bind(run.part.map(|part| part.end as i64))
    .bind(run.timings.as_ref().map(serde_json::to_string).transpose()?)
    .bind(run.hesitations.as_ref().map(serde_json::to_string).transpose()?)
    .bind(samples_json(&run.samples)?)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) fn view(row: &SqliteRow) -> Result<RunView, StoreError> {
    use sqlx::Row;
    let schema: Option<String> = row.try_get("schema")?;
    let (timings, hesitations): (Option<String>, Option<String>) =
        (row.try_get("timings")?, row.try_get("hesitations")?);
    let samples: Option<String> = row.try_get("samples")?;
    let parameters: String = row.try_get("parameters")?;
    let status: String = row.try_get("status")?;
    let finish: Option<String> = row.try_get("finish_reason")?;
    let mode: String = row.try_get("mode")?;
    let column: String = row.try_get("variant")?;
    let (start, end): (Option<i64>, Option<i64>) = (row.try_get("part_start")?, row.try_get("part_end")?);
    let part = start.zip(end).map(|(start, end)| Span { start: start as usize, end: end as usize });
    Ok(RunView {
        id: row.try_get("id")?,
        session: row.try_get("session_id")?,
        document: row.try_get("document_id")?,
        mode: if mode == "pretrain" { Mode::Pretrain } else { Mode::Lora },
        column: if column == "base" { Column::Base } else { Column::Tuned },
        model: row.try_get("model")?,
        adapter: row.try_get("adapter")?,
        schema: schema.as_deref().map(serde_json::from_str).transpose()?,
        extraction: row.try_get("extraction_id")?,
        part,
        instruction: row.try_get("instruction")?,
        prompt: row.try_get("prompt")?,
        parameters: serde_json::from_str(&parameters)?,
        status: RunStatus::from_name(&status).unwrap_or(RunStatus::Failed),
        finish_reason: finish.as_deref().and_then(FinishReason::from_name),
        error: row.try_get("error")?,
        text: row.try_get("text")?,
        prompt_tokens: row.try_get("prompt_tokens")?,
        completion_tokens: row.try_get("completion_tokens")?,
        timings: timings.as_deref().map(serde_json::from_str).transpose()?,
        hesitations: hesitations.as_deref().map(serde_json::from_str).transpose()?,
        samples: samples.as_deref().map(serde_json::from_str).transpose()?.unwrap_or_default(),
        position: None,
        created_at: row.try_get("created_at")?,
    })
}

/// Nothing for a run that has none, as most.
fn samples_json(samples: &[String]) -> Result<Option<String>, StoreError> {
    Ok((!samples.is_empty()).then(|| serde_json::to_string(samples)).transpose()?)
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Pretrain => "pretrain",
        Mode::Lora => "lora",
    }
}

pub(super) fn column_name(column: Column) -> &'static str {
    match column {
        Column::Base => "base",
        Column::Tuned => "tuned",
    }
}
