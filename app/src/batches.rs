//! What the pages of batches ask of the server. `server` puts an implementation in the context of every request.

#[cfg(feature = "ssr")]
use std::sync::Arc;

#[cfg(feature = "ssr")]
use async_trait::async_trait;
use leptos::{prelude::*, server_fn::codec::Json};
use protocol::SessionView;
use protocol::batch::{BatchSummary, BatchView, RowCard, RowState, UploadView};

use crate::services::ServiceError;
#[cfg(feature = "ssr")]
use crate::services::{Owner, owner};

/// The services of batches. What changes one comes as forms, which need no scripts.
#[cfg(feature = "ssr")]
#[async_trait]
pub trait BatchServices: Send + Sync {
    /// A file that waits for its columns to be chosen.
    async fn upload(&self, owner: Owner, id: &str) -> Result<UploadView, ServiceError>;

    /// The owner's newest batches.
    async fn batches(&self, owner: Owner) -> Result<Vec<BatchSummary>, ServiceError>;

    /// A batch with a page of its rows, from 1; of those in one state only, if one is named.
    async fn batch(
        &self,
        owner: Owner,
        session: &str,
        page: usize,
        only: Option<RowState>,
    ) -> Result<BatchView, ServiceError>;

    /// The batch of a session with the session itself, without its texts; `None` for a session that is no batch.
    async fn find(&self, owner: Owner, session: &str) -> Result<Option<(SessionView, BatchView)>, ServiceError>;

    /// A row with its text and what was found.
    async fn row(&self, owner: Owner, session: &str, position: usize) -> Result<RowCard, ServiceError>;
}

#[cfg(feature = "ssr")]
fn services() -> Result<Arc<dyn BatchServices>, ServiceError> {
    use_context().ok_or_else(|| {
        let sentence = protocol::Sentence::new("no batches in this request's context", "本次请求缺少批处理服务上下文");
        ServiceError::Internal(sentence)
    })
}

/// The answer, with the status of the response that belongs to it.
#[cfg(feature = "ssr")]
fn told<T>(answer: Result<T, ServiceError>) -> Result<T, ServiceError> {
    answer.inspect_err(ServiceError::set_status)
}

#[server(prefix = "/_fn", endpoint = "upload", input = Json)]
pub async fn get_upload(id: String) -> Result<UploadView, ServiceError> {
    told(services()?.upload(owner()?, &id).await)
}

#[server(prefix = "/_fn", endpoint = "batches", input = Json)]
pub async fn get_batches() -> Result<Vec<BatchSummary>, ServiceError> {
    told(services()?.batches(owner()?).await)
}

#[server(prefix = "/_fn", endpoint = "batch", input = Json)]
pub async fn get_batch(session: String, page: usize, only: Option<RowState>) -> Result<BatchView, ServiceError> {
    told(services()?.batch(owner()?, &session, page, only).await)
}

#[server(prefix = "/_fn", endpoint = "find_batch", input = Json)]
pub async fn find_batch(session: String) -> Result<Option<(SessionView, BatchView)>, ServiceError> {
    told(services()?.find(owner()?, &session).await)
}

#[server(prefix = "/_fn", endpoint = "batch_row", input = Json)]
pub async fn get_row(session: String, position: usize) -> Result<RowCard, ServiceError> {
    told(services()?.row(owner()?, &session, position).await)
}
