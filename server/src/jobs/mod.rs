//! Work on model files, from the pages: what `knowlm weights` and `knowlm download` do, as jobs.
//!
//! A job is stored before it is begun ([`crate::store::Job`]). One is worked on at a time, in the order in which they
//! were asked for, in a process of its own ([`process`]); looking into a file takes moments and waits for nobody. What a
//! person stops, or what the end of the server cuts off, goes on where it was: the operations resume by themselves.

mod found;
pub mod process;
mod quantize;
mod report;
mod request;
mod setup;
#[cfg(test)]
mod tests;
mod view;
pub mod work;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use app::services::{Owner, ServiceError};
use protocol::{
    Sentence,
    job::{JobRequest, JobState, Operation, RefusedJob},
};
use tokio::sync::Notify;

use crate::{
    adapters::for_the_owner,
    held,
    pool::refused_by_store,
    store::{Job, Store, StoreError},
    weights::unfinished,
};
use process::Going;
use request::{Place, plan};

/// How often the end of the server may cut a job off before somebody has to ask for it again.
const CUT_OFF: i64 = 3;

/// All jobs of the server.
pub struct Jobs {
    store: Store,
    data_dir: PathBuf,
    going: Mutex<HashMap<String, Arc<Going>>>,
    /// Held while a job begins, ends, or becomes another state.
    change: tokio::sync::Mutex<()>,
    wake: Notify,
    closing: AtomicBool,
}

/// What a person does with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// No more of it for now.
    Stop,
    /// It goes on, or is tried again.
    On,
    /// It is taken off the list, and what it left unfinished is removed.
    Forget,
}

impl Act {
    /// By its name in addresses.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "stop" => Self::Stop,
            "on" => Self::On,
            "forget" => Self::Forget,
            _ => return None,
        })
    }
}

/// Why a job was not begun.
#[derive(Clone, Debug, PartialEq)]
pub enum NotBegun {
    /// What was entered cannot be meant so.
    Refused(RefusedJob),
    /// Something else.
    Failed(ServiceError),
}

impl From<ServiceError> for NotBegun {
    fn from(error: ServiceError) -> Self {
        Self::Failed(error)
    }
}

impl Jobs {
    /// The jobs of a data folder.
    pub fn new(store: Store, data_dir: &Path) -> Arc<Self> {
        // A path in a sentence or a manifest should say where it is.
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        Arc::new(Self {
            store,
            data_dir,
            going: Mutex::default(),
            change: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            closing: AtomicBool::new(false),
        })
    }

    /// Begins to work on what waits, and on what the end of the server cut off.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn resume(self: &Arc<Self>) -> Result<usize, StoreError> {
        let mut again = 0;
        for mut job in self.store.cut_off_jobs().await? {
            job.cut_off += 1;
            job.state = JobState::Waiting;
            if job.cut_off >= CUT_OFF {
                job.state = JobState::Stopped;
                job.error = Some(Sentence::new(
                    format!(
                        "The server ended {CUT_OFF} times while this was being worked on, so it did not begin again by itself."
                    ),
                    format!("处理此任务期间服务器已 {CUT_OFF} 次退出，因此没有自动继续。"),
                ));
            } else {
                again += 1;
            }
            self.store.update_job(&job).await?;
        }
        tokio::spawn(Arc::clone(self).drive());
        Ok(again)
    }

    /// Ends all work, at most in a time; it goes on at the next start.
    pub async fn close(&self, limit: Duration) {
        self.closing.store(true, Ordering::SeqCst);
        self.wake.notify_one();
        // One that was about to begin is there after this.
        drop(self.change.lock().await);
        self.all_going().values().for_each(|going| going.stop());
        let until = tokio::time::Instant::now() + limit;
        while !self.all_going().is_empty() && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Says what is wrong with a request, without beginning it.
    ///
    /// # Errors
    /// The asker is not the owner of the server, or the database refuses.
    pub async fn check(&self, owner: Owner, request: &JobRequest) -> Result<Option<RefusedJob>, ServiceError> {
        for_the_owner(owner)?;
        Ok(self.planned(request).await?.err())
    }

    async fn planned(&self, request: &JobRequest) -> Result<Result<request::Work, RefusedJob>, ServiceError> {
        let taken = self.store.job_places().await.map_err(refused_by_store)?;
        let (request, data_dir) = (request.clone(), self.data_dir.clone());
        in_background(move || plan(&request, &data_dir, &Place::New(&taken))).await
    }

    /// Takes a job on; its id.
    ///
    /// # Errors
    /// What was entered cannot be meant so, the asker is not the owner of the server, or the database refuses.
    pub async fn begin(self: &Arc<Self>, owner: Owner, request: JobRequest) -> Result<String, NotBegun> {
        for_the_owner(owner)?;
        // Two jobs that are asked for at once do not get one place.
        let change = self.change.lock().await;
        let work = self.planned(&request).await?.map_err(NotBegun::Refused)?;
        let mut job = Job::new(owner.0, request, work.place().map(|place| place.display().to_string()));
        let now = job.request.operation == Operation::Inspect && !self.closing.load(Ordering::SeqCst);
        let id = job.id.clone();
        if now {
            job.state = JobState::Running;
        }
        self.store.insert_job(&job).await.map_err(refused_by_store)?;
        if now {
            let going = self.enter(&job);
            tokio::spawn(Arc::clone(self).work(job, going));
        }
        drop(change);
        self.wake.notify_one();
        Ok(id)
    }

    /// Does what a person asks of a job.
    ///
    /// # Errors
    /// It is not the owner's, or cannot be done now.
    pub async fn act(&self, owner: Owner, id: &str, act: Act) -> Result<(), ServiceError> {
        for_the_owner(owner)?;
        let _change = self.change.lock().await;
        let mut job = self.store.job(owner.0, id).await.map_err(refused_by_store)?;
        match (act, job.state) {
            (Act::Stop, JobState::Waiting) => {
                job.state = JobState::Stopped;
                self.store.update_job(&job).await.map_err(refused_by_store)
            }
            (Act::Stop, _) => {
                if let Some(going) = self.all_going().get(id) {
                    going.stop();
                }
                Ok(())
            }
            (Act::On, JobState::Stopped | JobState::Failed) => {
                (job.state, job.error, job.cut_off) = (JobState::Waiting, None, 0);
                self.store.update_job(&job).await.map_err(refused_by_store)?;
                self.wake.notify_one();
                Ok(())
            }
            (Act::On, _) => Ok(()),
            (Act::Forget, JobState::Waiting | JobState::Running) => {
                Err(ServiceError::invalid("This job has not ended. Stop it first.", "此任务尚未结束，请先停止它。"))
            }
            (Act::Forget, state) => {
                if let (JobState::Stopped | JobState::Failed, Some(place)) = (state, job.place.clone()) {
                    let models = self.data_dir.join("models");
                    in_background(move || remove_unfinished(Path::new(&place), &models)).await?;
                }
                self.store.delete_job(owner.0, id).await.map_err(refused_by_store)
            }
        }
    }

    fn all_going(&self) -> MutexGuard<'_, HashMap<String, Arc<Going>>> {
        held(&self.going)
    }

    fn enter(&self, job: &Job) -> Arc<Going> {
        let going = Arc::new(Going::begun());
        self.all_going().insert(job.id.clone(), Arc::clone(&going));
        going
    }

    /// Works on one job after the other until the server ends.
    async fn drive(self: Arc<Self>) {
        loop {
            match self.take().await {
                Ok(Some((job, going))) => Arc::clone(&self).work(job, going).await,
                Ok(None) if self.closing.load(Ordering::SeqCst) => return,
                Ok(None) => self.wake.notified().await,
                Err(error) => {
                    tracing::error!(%error, "the next job could not be read");
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
        }
    }

    /// The next job, begun.
    async fn take(&self) -> Result<Option<(Job, Arc<Going>)>, StoreError> {
        let _change = self.change.lock().await;
        if self.closing.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let Some(mut job) = self.store.next_job().await? else { return Ok(None) };
        (job.state, job.progress, job.error) = (JobState::Running, None, None);
        self.store.update_job(&job).await?;
        let going = self.enter(&job);
        Ok(Some((job, going)))
    }

    /// Works on a job to its end, and stores what came of it.
    async fn work(self: Arc<Self>, mut job: Job, going: Arc<Going>) {
        let (request, place, data_dir) = (job.request.clone(), job.place.clone(), self.data_dir.clone());
        let known = Arc::clone(&going);
        let worked = in_background(move || {
            // What was there when it was asked for may be gone.
            let place = place.as_deref().map_or(Place::New(&[]), |place| Place::Known(Path::new(place)));
            let work = plan(&request, &data_dir, &place).map_err(|refused| refused.sentence)?;
            process::run(&work, &known)
        });
        let ended = worked.await;
        job.busy_ms += going.busy_ms();
        job.notes = going.notes();
        let _change = self.change.lock().await;
        let stopped = going.is_stopped();
        match ended {
            Ok(Ok(outcome)) => (job.state, job.outcome) = (JobState::Done, Some(outcome)),
            // It stays as it is, and goes on at the next start.
            Ok(Err(_)) if stopped && self.closing.load(Ordering::SeqCst) => {}
            Ok(Err(_)) if stopped => (job.state, job.progress) = (JobState::Stopped, Some(going.progress())),
            Ok(Err(sentence)) => (job.state, job.error) = (JobState::Failed, Some(sentence)),
            Err(error) => {
                let sentence = |language| error.sentence(language);
                let sentence = Sentence::new(sentence(protocol::Language::En), sentence(protocol::Language::Zh));
                (job.state, job.error) = (JobState::Failed, Some(sentence));
            }
        }
        if let Err(error) = self.store.update_job(&job).await {
            tracing::error!(%error, "what came of a job could not be stored");
        }
        self.all_going().remove(&job.id);
    }
}

/// Removes what a job left unfinished that will not go on, only where jobs write.
fn remove_unfinished(place: &Path, models: &Path) {
    if place.parent() == Some(models)
        && let Err(error) = unfinished::remove(place)
    {
        tracing::warn!(%error, place = %place.display(), "what a job left could not be removed");
    }
}

/// Does something that reads from disks, away from the threads that answer people.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a job broke down");
        ServiceError::Internal(Sentence::new(
            "The server could not do this; its log says why.",
            "服务器未能完成，原因见服务器日志。",
        ))
    })
}
