//! Everything that outlives the program: one SQLite file in the data folder.
//!
//! SQL is written in this module only. Every query is bound to an owner, but for those that serve the whole
//! machine (marking interrupted runs, purging) and for opening a share by its token.
//!
//! Write-ahead logging with full synchronisation: what a call has stored is on disk when it returns.

mod batch;
mod batch_rows;
mod document;
mod extraction;
mod job;
mod owner;
mod part;
mod queue;
mod review;
mod run;
mod schema;
mod schema_share;
mod session;
mod share;
#[cfg(test)]
mod tests;
mod upload;

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use batch::{Batch, Busy, FinishedRow};
pub use batch_rows::{BatchRow, FullRow};
pub use job::Job;
pub use owner::Account;
pub use part::Texts;
pub use queue::{List, QueueCounts, QueuePage, Start};
pub use run::Progress;
pub use session::NewRuns;
pub use share::OpenShare;
#[cfg(test)]
pub(crate) use tests::bounds::{answered as answered_batch, batch as batch_of, fail as fail_rows};

/// How long a deleted session can be brought back.
const KEEP_DELETED: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long an uploaded file waits for its columns to be chosen.
const KEEP_UPLOADS: Duration = Duration::from_secs(24 * 3600);

/// Why the store could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder cannot be made or written to.
    #[error("the data folder {} cannot be written to ({reason}); make it writable or choose another with --data-dir", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Another server has the data folder open.
    #[error(
        "another `knowlm serve` is using the data folder {}; stop it first, or give this one its own with --data-dir",
        .0.display()
    )]
    InUse(PathBuf),
    /// The file is no database of ours, or a newer version's.
    #[error(
        "{} cannot be used ({reason}); it is damaged or was written by a newer version: move it away, or use that version",
        .file.display()
    )]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What the database said.
        reason: String,
    },
    /// There is no such row, or it is not the asker's.
    #[error("there is no such {0}")]
    Missing(&'static str),
    /// A query failed.
    #[error("the database refused: {0}")]
    Query(#[from] sqlx::Error),
    /// A stored value cannot be read.
    #[error("a stored value cannot be read: {0}")]
    Value(#[from] serde_json::Error),
}

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens or creates `knowlm.db` in a folder and brings its tables up to date.
    ///
    /// # Errors
    /// The folder cannot be written to, or the file is not ours.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let refused =
            |e: &dyn std::fmt::Display| StoreError::Folder { folder: folder.to_owned(), reason: e.to_string() };
        std::fs::create_dir_all(folder).map_err(|e| refused(&e))?;
        let probe = folder.join(".knowlm-write-test");
        std::fs::write(&probe, b"").map_err(|e| refused(&e))?;
        std::fs::remove_file(&probe).map_err(|e| refused(&e))?;
        let file = folder.join("knowlm.db");
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let unusable = |e: &dyn std::fmt::Display| StoreError::Unusable { file: file.clone(), reason: e.to_string() };
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.map_err(|e| unusable(&e))?;
        sqlx::migrate!("../migrations").run(&pool).await.map_err(|e| unusable(&e))?;
        Ok(Self { pool })
    }

    /// What a server does before it serves: marks what a killed one left unfinished, and tidies. Returns the number of
    /// runs marked.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn start(&self) -> Result<u64, StoreError> {
        let interrupted = self.mark_interrupted().await?;
        self.tidy().await?;
        Ok(interrupted)
    }

    /// Purges what was deleted long ago and uploads that nobody came back to, whose ids are returned: their files are
    /// needed no more.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn tidy(&self) -> Result<Vec<String>, StoreError> {
        let long_ago = now_ms() - KEEP_DELETED.as_millis() as i64;
        self.purge(long_ago).await?;
        self.purge_schemas(long_ago).await?;
        self.purge_uploads(now_ms() - KEEP_UPLOADS.as_millis() as i64).await
    }

    /// The connection pool, for the login sessions' own table.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Holds a data folder for one server: its start marks every unfinished run as interrupted, which would be wrong
/// under the feet of a running one. The lock is the system's, and falls with the process however it ends.
#[derive(Debug)]
pub struct FolderLock {
    _connection: SqliteConnection,
}

impl FolderLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// Another server has it.
    pub async fn take(folder: &Path) -> Result<Self, StoreError> {
        let refused =
            |e: &dyn std::fmt::Display| StoreError::Folder { folder: folder.to_owned(), reason: e.to_string() };
        std::fs::create_dir_all(folder).map_err(|e| refused(&e))?;
        let mut connection = SqliteConnectOptions::new()
            .filename(folder.join("knowlm.lock"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Delete)
            .busy_timeout(Duration::from_millis(200))
            .connect()
            .await
            .map_err(|e| match is_locked(&e) {
                true => StoreError::InUse(folder.to_owned()),
                false => refused(&e),
            })?;
        match sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await {
            Ok(_) => Ok(Self { _connection: connection }),
            Err(e) => {
                connection.close().await.ok();
                Err(if is_locked(&e) { StoreError::InUse(folder.to_owned()) } else { refused(&e) })
            }
        }
    }
}

fn is_locked(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|e| e.message().contains("locked"))
}

/// A new id.
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Now, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// A `LIKE` pattern that finds words anywhere, whatever signs they hold; used with `ESCAPE '\'`.
fn like(words: &str) -> String {
    let mut pattern = String::with_capacity(words.len() + 2);
    pattern.push('%');
    for c in words.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
