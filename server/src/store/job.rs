//! Work on model files: what was asked for, and what came of it.

use protocol::{
    Sentence,
    job::{JobProgress, JobRequest, JobState, Outcome},
};
use sqlx::{Row, sqlite::SqliteRow};

use super::{Store, StoreError, now_ms};

/// A stored job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: i64,
    /// What was asked for.
    pub request: JobRequest,
    /// What it writes.
    pub place: Option<String>,
    /// Where it is.
    pub state: JobState,
    /// How often the server ended while it was being worked on.
    pub cut_off: i64,
    /// How far it was when it stopped.
    pub progress: Option<JobProgress>,
    /// What is worth knowing of it.
    pub notes: Vec<Sentence>,
    /// Why it failed or stopped by itself.
    pub error: Option<Sentence>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// When it was asked for.
    pub created_at: i64,
    /// How long it was worked on, in milliseconds.
    pub busy_ms: i64,
}

impl Job {
    /// One that waits.
    pub fn new(owner: i64, request: JobRequest, place: Option<String>) -> Self {
        Self {
            id: super::new_id(),
            owner,
            request,
            place,
            state: JobState::Waiting,
            cut_off: 0,
            progress: None,
            notes: vec![],
            error: None,
            outcome: None,
            created_at: now_ms(),
            busy_ms: 0,
        }
    }
}

impl Store {
    /// Stores a new job.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn insert_job(&self, job: &Job) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO job (id, owner_id, request, place, state, created_at) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&job.id)
            .bind(job.owner)
            .bind(serde_json::to_string(&job.request)?)
            .bind(&job.place)
            .bind(job.state.name())
            .bind(job.created_at)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// A job.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn job(&self, owner: i64, id: &str) -> Result<Job, StoreError> {
        let query = sqlx::query("SELECT * FROM job WHERE id = ? AND owner_id = ?").bind(id).bind(owner);
        let row = query.fetch_optional(&self.pool).await?.ok_or(StoreError::Missing("job"))?;
        job(&row)
    }

    /// The newest jobs of an owner, the newest first, and every one that still has to be worked on.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn jobs(&self, owner: i64, most: i64) -> Result<Vec<Job>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM job WHERE owner_id = ?1 AND (state IN ('waiting', 'running') OR id IN
             (SELECT id FROM job WHERE owner_id = ?1 ORDER BY id DESC LIMIT ?2)) ORDER BY id DESC",
        )
        .bind(owner)
        .bind(most)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(job).collect()
    }

    /// The job of anybody that has waited longest.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn next_job(&self) -> Result<Option<Job>, StoreError> {
        let sql = "SELECT * FROM job WHERE state = 'waiting' ORDER BY id LIMIT 1";
        sqlx::query(sql).fetch_optional(&self.pool).await?.as_ref().map(job).transpose()
    }

    /// The places that jobs of anybody write to that have not come to their end.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn job_places(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT place FROM job WHERE place IS NOT NULL AND state IN ('waiting', 'running', 'stopped')";
        let places: Vec<(String,)> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        Ok(places.into_iter().map(|(place,)| place).collect())
    }

    /// Stores where a job is now, and what came of it.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn update_job(&self, job: &Job) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE job SET state = ?, cut_off = ?, progress = ?, notes = ?, error = ?, outcome = ?, busy_ms = ?
             WHERE id = ? AND owner_id = ?",
        )
        .bind(job.state.name())
        .bind(job.cut_off)
        .bind(job.progress.as_ref().map(serde_json::to_string).transpose()?)
        .bind(serde_json::to_string(&job.notes)?)
        .bind(job.error.as_ref().map(serde_json::to_string).transpose()?)
        .bind(job.outcome.as_ref().map(serde_json::to_string).transpose()?)
        .bind(job.busy_ms)
        .bind(&job.id)
        .bind(job.owner)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Forgets a job.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn delete_job(&self, owner: i64, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM job WHERE id = ? AND owner_id = ?").bind(id).bind(owner).execute(&self.pool).await?;
        Ok(())
    }

    /// The jobs of anybody that were being worked on when the server ended.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn cut_off_jobs(&self) -> Result<Vec<Job>, StoreError> {
        let rows = sqlx::query("SELECT * FROM job WHERE state = 'running' ORDER BY id").fetch_all(&self.pool).await?;
        rows.iter().map(job).collect()
    }
}

/// A note as it is stored: in both languages, or, before there were two, in English alone.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Note {
    Both(Sentence),
    English(String),
}

impl Note {
    fn sentence(self) -> Sentence {
        match self {
            Self::Both(sentence) => sentence,
            Self::English(text) => Sentence::new(text.clone(), text),
        }
    }
}

fn job(row: &SqliteRow) -> Result<Job, StoreError> {
    fn json<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, StoreError> {
        let text: Option<String> = row.try_get(column)?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }
    let state: String = row.try_get("state")?;
    Ok(Job {
        id: row.try_get("id")?,
        owner: row.try_get("owner_id")?,
        request: json(row, "request")?.unwrap_or_default(),
        place: row.try_get("place")?,
        // The table has no other names.
        state: JobState::from_name(&state).unwrap_or(JobState::Failed),
        cut_off: row.try_get("cut_off")?,
        progress: json(row, "progress")?,
        notes: json::<Vec<Note>>(row, "notes")?.unwrap_or_default().into_iter().map(Note::sentence).collect(),
        error: json(row, "error")?,
        outcome: json(row, "outcome")?,
        created_at: row.try_get("created_at")?,
        busy_ms: row.try_get("busy_ms")?,
    })
}
