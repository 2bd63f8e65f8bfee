//! What the page of model files asks of the server. `server` puts an implementation in the context of every request.

#[cfg(feature = "ssr")]
use std::sync::Arc;

#[cfg(feature = "ssr")]
use async_trait::async_trait;
use leptos::{prelude::*, server_fn::codec::Json};
use protocol::job::{JobRequest, JobView, WeightsView};

use crate::services::ServiceError;
#[cfg(feature = "ssr")]
use crate::services::{Owner, owner};

/// The services of work on model files, for the owner of the server. What changes something comes as forms.
#[cfg(feature = "ssr")]
#[async_trait]
pub trait WeightServices: Send + Sync {
    /// What is there and what is being done; with something entered, what is wrong with that.
    async fn weights(&self, owner: Owner, entered: Option<JobRequest>) -> Result<WeightsView, ServiceError>;

    /// The newest jobs, the newest first.
    async fn jobs(&self, owner: Owner) -> Result<Vec<JobView>, ServiceError>;

    /// A job with all that came of it.
    async fn job(&self, owner: Owner, id: &str) -> Result<JobView, ServiceError>;
}

#[cfg(feature = "ssr")]
fn services() -> Result<Arc<dyn WeightServices>, ServiceError> {
    use_context().ok_or_else(|| {
        let sentence = protocol::Sentence::new("no jobs in this request's context", "本次请求缺少任务服务上下文");
        ServiceError::Internal(sentence)
    })
}

/// The answer, with the status of the response that belongs to it.
#[cfg(feature = "ssr")]
fn told<T>(answer: Result<T, ServiceError>) -> Result<T, ServiceError> {
    answer.inspect_err(ServiceError::set_status)
}

#[server(prefix = "/_fn", endpoint = "weights", input = Json)]
pub async fn get_weights(entered: Option<JobRequest>) -> Result<WeightsView, ServiceError> {
    told(services()?.weights(owner()?, entered).await)
}

#[server(prefix = "/_fn", endpoint = "jobs", input = Json)]
pub async fn get_jobs() -> Result<Vec<JobView>, ServiceError> {
    told(services()?.jobs(owner()?).await)
}

#[server(prefix = "/_fn", endpoint = "job", input = Json)]
pub async fn get_job(id: String) -> Result<JobView, ServiceError> {
    told(services()?.job(owner()?, &id).await)
}
