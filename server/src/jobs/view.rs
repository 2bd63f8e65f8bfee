//! What the page shows of jobs and of the files that they work on.

use app::{
    services::{Owner, ServiceError},
    weights::WeightServices,
};
use async_trait::async_trait;
use protocol::job::{JobRequest, JobState, JobView, Operation, Outcome, Verified, WeightsView};

use super::{Jobs, found, in_background};
use crate::{adapters::for_the_owner, pool::refused_by_store, store::Job};

/// Jobs in the list.
const LISTED: i64 = 30;

#[async_trait]
impl WeightServices for Jobs {
    async fn weights(&self, owner: Owner, entered: Option<JobRequest>) -> Result<WeightsView, ServiceError> {
        for_the_owner(owner)?;
        let data_dir = self.data_dir.clone();
        let (folder, free, models, adapters) = in_background(move || {
            let folder = data_dir.join("models");
            (folder.display().to_string(), found::free(&folder), found::models(&data_dir), found::adapters(&data_dir))
        })
        .await?;
        let refused = match entered {
            Some(request) => self.check(owner, &request).await?,
            None => None,
        };
        let with_sums = checkpoint::known::published().models.iter().filter(|model| !model.md5.is_empty());
        Ok(WeightsView {
            folder,
            free,
            models,
            adapters,
            published: found::published().map(|model| (model.name.clone(), model.title.clone())).collect(),
            with_sums: with_sums.map(|model| model.name.clone()).collect(),
            jobs: self.jobs(owner).await?,
            refused,
        })
    }

    async fn jobs(&self, owner: Owner) -> Result<Vec<JobView>, ServiceError> {
        for_the_owner(owner)?;
        let jobs = self.store.jobs(owner.0, LISTED).await.map_err(refused_by_store)?;
        let going = queue(&jobs);
        Ok(jobs.into_iter().map(|job| short(self.view(job, &going))).collect())
    }

    async fn job(&self, owner: Owner, id: &str) -> Result<JobView, ServiceError> {
        for_the_owner(owner)?;
        let job = self.store.job(owner.0, id).await.map_err(refused_by_store)?;
        let going = match job.state {
            JobState::Waiting => queue(&self.store.jobs(owner.0, LISTED).await.map_err(refused_by_store)?),
            _ => Vec::new(),
        };
        Ok(self.view(job, &going))
    }
}

impl Jobs {
    /// A job with how far it is now; `going` are the jobs that have not ended.
    fn view(&self, job: Job, going: &[String]) -> JobView {
        let live = self.all_going().get(&job.id).cloned();
        JobView {
            before: match job.state {
                JobState::Waiting => going.iter().filter(|id| **id < job.id).count(),
                _ => 0,
            },
            progress: live.as_ref().map(|live| live.progress()).or(job.progress),
            notes: live.as_ref().map_or(job.notes, |live| live.notes()),
            busy_ms: job.busy_ms + live.as_ref().map_or(0, |live| live.busy_ms()),
            id: job.id,
            request: job.request,
            state: job.state,
            error: job.error,
            place: job.place,
            outcome: job.outcome,
            created_at: job.created_at,
        }
    }
}

/// The jobs that others wait for.
fn queue(jobs: &[Job]) -> Vec<String> {
    let counts = |job: &&Job| job.state.is_going() && job.request.operation != Operation::Inspect;
    jobs.iter().filter(counts).map(|job| job.id.clone()).collect()
}

/// Without what only the page of the job shows.
fn short(job: JobView) -> JobView {
    let outcome = match job.outcome {
        Some(Outcome::Verified(found)) => Some(Outcome::Verified(Verified { ok: found.ok, ..Verified::default() })),
        _ => None,
    };
    JobView { outcome, ..job }
}
