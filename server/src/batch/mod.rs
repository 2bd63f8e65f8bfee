//! Whole files of texts through a schema, from the pages.
//!
//! A file is read at once and becomes rows ([`upload`]); when its columns are chosen the rows are stored with a session of
//! their own, and a thread works on those that are wanted ([`drive`]). What came of a row is stored whole, so that after a kill the
//! rows that are not done are simply done. A batch has few runs with the engine at a time, and as an asker of its own: a
//! person's single run does not wait for it.

mod drive;
pub mod export;
mod found;
#[cfg(test)]
mod tests;
pub mod upload;
mod view;

use std::{
    collections::{BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use app::services::{Owner, ServiceError};
use protocol::{
    Parameters, Sentence,
    batch::{NewBatch, RowState, SAMPLE},
    view::NamedSchema,
};
use rand::seq::index;
use serde_json::Value;

use crate::{
    held,
    pool::{Pool, refused_by_store},
    store::{Batch, BatchRow, Store, StoreError, new_id},
};

/// The most rows of a batch on the pages; `knowlm extract` has no such limit.
pub const MAX_ROWS: usize = 100_000;

/// Between two times of tidying.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Files read at a time.
const READING: usize = 2;

/// All batches of the server.
pub struct Batches {
    store: Store,
    pool: Pool,
    uploads: PathBuf,
    going: Mutex<HashMap<String, Arc<Going>>>,
    /// Held while a batch begins or ends to be worked on.
    change: tokio::sync::Mutex<()>,
    /// Files read at a time: each is in memory as a whole.
    reading: tokio::sync::Semaphore,
    closing: AtomicBool,
}

/// A batch that is being worked on.
#[derive(Debug, Default)]
struct Going {
    stop: AtomicBool,
    /// Asked to go on while it was about to end.
    again: AtomicBool,
    /// The rows that the engine is asked about.
    rows: Mutex<BTreeSet<i64>>,
}

/// What a person does with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Every row is wanted.
    All,
    /// The wanted rows go on.
    On,
    /// Rows that failed are tried again.
    Retry,
    /// No more rows; what is being asked is asked again when it goes on.
    Stop,
}

impl Act {
    /// By its name in addresses.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "on" => Self::On,
            "retry" => Self::Retry,
            "stop" => Self::Stop,
            _ => return None,
        })
    }
}

impl Batches {
    /// The batches of a data folder.
    pub fn new(store: Store, pool: Pool, data_dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            store,
            pool,
            uploads: data_dir.join("uploads"),
            going: Mutex::default(),
            change: tokio::sync::Mutex::default(),
            reading: tokio::sync::Semaphore::new(READING),
            closing: AtomicBool::new(false),
        })
    }

    /// Goes on with what was being worked on when the server ended, and removes files that nobody needs.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn resume(self: &Arc<Self>) -> Result<usize, StoreError> {
        upload::tidy(&self.uploads, &self.store.uploads().await?);
        let mut resumed = 0;
        for (owner, session) in self.store.running_batches().await? {
            match self.store.batch(owner, &session).await {
                Ok((batch, _)) => {
                    self.go(batch).await;
                    resumed += 1;
                }
                // The others, and the server, do not wait for one that a newer version wrote or a disk damaged.
                Err(error) => tracing::error!(%error, session, "a batch cannot be read, and does not go on"),
            }
        }
        Ok(resumed)
    }

    /// Tidies the store once a day for as long as the server runs, and removes the files of uploads that went with it.
    pub async fn tidy_daily(self: Arc<Self>) {
        loop {
            tokio::time::sleep(DAY).await;
            match self.store.tidy().await {
                Ok(gone) => gone.iter().for_each(|id| upload::remove(&self.uploads, id)),
                Err(error) => {
                    tracing::error!(%error, "the data folder could not be tidied; it is tried again tomorrow")
                }
            }
        }
    }

    /// Ends all work, at most in a time; what is not done goes on at the next start.
    pub async fn close(&self, limit: Duration) {
        self.closing.store(true, Ordering::Relaxed);
        self.all_going().values().for_each(|going| going.stop.store(true, Ordering::Relaxed));
        let until = tokio::time::Instant::now() + limit;
        while !self.all_going().is_empty() && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Begins a batch with an uploaded file; its session's id.
    ///
    /// # Errors
    /// The file is gone, a column is not there, ids are not unique, there are too many rows.
    pub async fn begin(
        self: &Arc<Self>,
        owner: Owner,
        new: &NewBatch,
        schema: NamedSchema,
        parameters: Parameters,
    ) -> Result<String, ServiceError> {
        // In a task of its own: a batch accepted begins even if the one who asked for it is gone.
        let (batches, new) = (Arc::clone(self), new.clone());
        let task = tokio::spawn(async move { batches.begin_whole(owner, &new, schema, parameters).await });
        task.await.unwrap_or_else(|e| Err(upload::lost(&e)))
    }

    async fn begin_whole(
        self: &Arc<Self>,
        owner: Owner,
        new: &NewBatch,
        schema: NamedSchema,
        parameters: Parameters,
    ) -> Result<String, ServiceError> {
        let adapter = self.pool.adapter().map(|adapter| adapter.name);
        if new.compare && adapter.is_none() {
            return Err(ServiceError::invalid(
                "There is no adapter to compare the base with: start the server with --adapter NAME=PATH.",
                "没有可与基座对比的适配器：请用 --adapter NAME=PATH 启动服务器。",
            ));
        }
        let upload = self.store.upload(owner.0, &new.upload).await.map_err(refused_by_store)?;
        let (file, text, id) = (self.uploads.join(&upload.id), new.text_column.clone(), new.id_column.clone());
        let name = upload.name.clone();
        let _place = self.reading.acquire().await;
        let read = tokio::task::spawn_blocking(move || upload::rows(&file, &name, &text, id.as_deref())).await;
        let rows = read.map_err(|e| upload::lost(&e))??;
        let columns = upload.columns.iter();
        let own = |column: &&String| **column != new.text_column && Some(*column) != new.id_column.as_ref();
        let batch = Batch {
            session: new_id(),
            owner: owner.0,
            schema,
            compare: new.compare,
            adapter,
            asking: new.asking.clone(),
            parameters: Parameters { seed: Some(parameters.seed.unwrap_or(0)), ..parameters },
            columns: columns.filter(own).cloned().collect(),
            text_column: new.text_column.clone(),
            id_column: new.id_column.clone(),
            running: true,
            reason: None,
            busy: crate::store::Busy::default(),
        };
        let rows = wanted(rows, new.all);
        self.store.insert_batch(&batch, &upload, &rows).await.map_err(refused_by_store)?;
        drop(rows);
        let session = batch.session.clone();
        upload::remove(&self.uploads, &upload.id);
        self.go(batch).await;
        Ok(session)
    }

    /// Does what a person asks of a batch.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn act(self: &Arc<Self>, owner: Owner, session: &str, act: Act) -> Result<(), ServiceError> {
        let (batch, _) = self.store.batch(owner.0, session).await.map_err(refused_by_store)?;
        match act {
            Act::Stop => return self.stop(owner, session).await.map_err(refused_by_store),
            Act::All => self.store.want_rows(owner.0, session, false).await.map_err(refused_by_store)?,
            Act::Retry => self.store.want_rows(owner.0, session, true).await.map_err(refused_by_store)?,
            Act::On => {}
        }
        self.go(batch).await;
        Ok(())
    }

    /// Stops the batch of a session that is the owner's, deleted or not. One that is no batch, or does not go on, is no
    /// error.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn stop(&self, owner: Owner, session: &str) -> Result<(), StoreError> {
        let _change = self.change.lock().await;
        if let Some(going) = self.all_going().get(session) {
            going.again.store(false, Ordering::Relaxed);
            going.stop.store(true, Ordering::Relaxed);
        }
        self.store.set_batch_running(owner.0, session, false, None).await
    }

    /// The rows of a batch that the engine is asked about, if it is being worked on or about to be again.
    fn running(&self, session: &str) -> Option<Vec<i64>> {
        let all = self.all_going();
        let goes_on = |going: &&Arc<Going>| !going.stop.load(Ordering::Relaxed) || going.again.load(Ordering::Relaxed);
        let going = all.get(session).filter(goes_on)?;
        Some(held(&going.rows).iter().copied().collect())
    }

    fn all_going(&self) -> MutexGuard<'_, HashMap<String, Arc<Going>>> {
        held(&self.going)
    }

    /// Works on a batch, in a thread of its own.
    async fn go(self: &Arc<Self>, batch: Batch) {
        let _change = self.change.lock().await;
        if self.closing.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.store.set_batch_running(batch.owner, &batch.session, true, None).await {
            tracing::error!(%error, "a batch could not be marked as running");
        }
        let going = {
            let mut all = self.all_going();
            if let Some(going) = all.get(&batch.session) {
                going.again.store(true, Ordering::Relaxed);
                return;
            }
            let going = Arc::new(Going::default());
            all.insert(batch.session.clone(), Arc::clone(&going));
            going
        };
        let (batches, runtime) = (Arc::clone(self), tokio::runtime::Handle::current());
        tokio::task::spawn_blocking(move || batches.work(&going, &batch, &runtime));
    }

    fn work(&self, going: &Going, batch: &Batch, runtime: &tokio::runtime::Handle) {
        loop {
            let drive = drive::Drive { batches: self, going, batch, runtime };
            // A fault of ours must not leave the batch looking as if it went on.
            let reason = catch_unwind(AssertUnwindSafe(|| drive::drive(&drive))).unwrap_or_else(|_| Some(broken()));
            held(&going.rows).clear();
            let ended = runtime.block_on(async {
                let _change = self.change.lock().await;
                let closing = self.closing.load(Ordering::Relaxed);
                if going.again.swap(false, Ordering::Relaxed) && !closing {
                    going.stop.store(false, Ordering::Relaxed);
                    return false;
                }
                // What the end of the server cuts off goes on at its next start.
                if !closing {
                    let done = self.store.set_batch_running(batch.owner, &batch.session, false, reason.as_ref()).await;
                    if let Err(error) = done {
                        tracing::error!(%error, "a batch could not be marked as stopped");
                    }
                }
                // Not before: a page that finds it stopped asks no more, and is to find the reason too.
                self.all_going().remove(&batch.session);
                true
            });
            if ended {
                return;
            }
        }
    }
}

/// Rows as they are stored: all wanted, or as many as are tried first, drawn at random.
fn wanted(rows: Vec<documents::rows::Row>, all: bool) -> Vec<BatchRow> {
    let mut rows: Vec<BatchRow> = rows.into_iter().enumerate().map(|(position, row)| stored(position, row)).collect();
    let waiting: Vec<usize> =
        rows.iter().enumerate().filter(|(_, row)| row.state == RowState::Waiting).map(|(i, _)| i).collect();
    let some = if all { waiting.len() } else { SAMPLE.min(waiting.len()) };
    for chosen in index::sample(&mut rand::rng(), waiting.len(), some) {
        if let Some(row) = waiting.get(chosen).and_then(|at| rows.get_mut(*at)) {
            row.wanted = true;
        }
    }
    rows
}

/// A row as it is stored. One without text has nothing to be found in.
fn stored(position: usize, row: documents::rows::Row) -> BatchRow {
    let (state, error, text) = match row.text {
        Ok(text) if text.trim().is_empty() => (RowState::Nothing, None, String::new()),
        Ok(text) => (RowState::Waiting, None, text),
        Err(reason) => (RowState::Failed, Some(reason), String::new()),
    };
    BatchRow {
        position: position as i64,
        line: row.line as i64,
        id: row.id,
        document: (state == RowState::Waiting).then(new_id),
        chars: text.chars().count() as i64,
        text,
        extra: row.extra,
        wanted: state != RowState::Waiting,
        state,
        error,
        found: 0,
    }
}

/// An id or a field as text.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Why a batch stops that a fault of the program ended.
fn broken() -> Sentence {
    Sentence::new(
        "It stopped because of a fault in the program; the server's log says where. What is done is kept, and the rest can go on.",
        "程序出错，批处理已停止，位置见服务器日志。已完成的部分已保存，其余可以继续。",
    )
}

/// Why a batch stops when nothing can be stored.
fn stopped_by(error: &dyn std::fmt::Display) -> Sentence {
    Sentence::new(
        format!(
            "It stopped: what was found could not be stored ({error}). Make room on the disk of the data folder, then go on."
        ),
        format!("已停止：结果无法保存（{error}）。请确认数据目录所在磁盘有剩余空间，然后继续。"),
    )
}
