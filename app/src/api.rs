//! Server functions: what the pages call once they run in the browser, and while they are rendered.

use leptos::{prelude::*, server_fn::codec::Json};
use protocol::{
    Bench, Judgement, SessionSummary, SessionView, StartRuns, Started,
    view::{NewShare, ShareView, Snapshot},
};

use crate::services::ServiceError;
#[cfg(feature = "ssr")]
use crate::services::{owner, services};

type Answer<T> = Result<T, ServiceError>;

/// The answer, with the status of the response that belongs to it.
#[cfg(feature = "ssr")]
fn told<T>(answer: Answer<T>) -> Answer<T> {
    if let Err(error) = &answer {
        error.set_status();
    }
    answer
}

#[server(prefix = "/_fn", endpoint = "bench", input = Json)]
pub async fn get_bench() -> Answer<Bench> {
    owner()?;
    told(services()?.bench().await)
}

#[server(prefix = "/_fn", endpoint = "start", input = Json)]
pub async fn start(request: StartRuns) -> Answer<Started> {
    told(services()?.start(owner()?, request).await)
}

#[server(prefix = "/_fn", endpoint = "stop", input = Json)]
pub async fn stop(runs: Vec<String>) -> Answer<()> {
    told(services()?.stop(owner()?, runs).await)
}

#[server(prefix = "/_fn", endpoint = "sessions", input = Json)]
pub async fn sessions(search: String) -> Answer<Vec<SessionSummary>> {
    told(services()?.sessions(owner()?, &search).await)
}

#[server(prefix = "/_fn", endpoint = "session", input = Json)]
pub async fn session(id: String) -> Answer<SessionView> {
    told(services()?.session(owner()?, &id).await)
}

#[server(prefix = "/_fn", endpoint = "rename", input = Json)]
pub async fn rename(id: String, title: String) -> Answer<()> {
    told(services()?.rename(owner()?, &id, &title).await)
}

#[server(prefix = "/_fn", endpoint = "set_deleted", input = Json)]
pub async fn set_deleted(id: String, deleted: bool) -> Answer<()> {
    told(services()?.set_deleted(owner()?, &id, deleted).await)
}

#[server(prefix = "/_fn", endpoint = "judge", input = Json)]
pub async fn judge(document: String, judgement: Judgement) -> Answer<()> {
    told(services()?.judge(owner()?, &document, judgement).await)
}

#[server(prefix = "/_fn", endpoint = "unjudge", input = Json)]
pub async fn unjudge(document: String, key: String) -> Answer<()> {
    told(services()?.unjudge(owner()?, &document, &key).await)
}

#[server(prefix = "/_fn", endpoint = "share", input = Json)]
pub async fn share(session: String, note: String, origin: String) -> Answer<NewShare> {
    told(services()?.share(owner()?, &session, &note, &origin).await)
}

#[server(prefix = "/_fn", endpoint = "annotate", input = Json)]
pub async fn annotate(share: String, note: String) -> Answer<ShareView> {
    told(services()?.annotate(owner()?, &share, &note).await)
}

#[server(prefix = "/_fn", endpoint = "revoke", input = Json)]
pub async fn revoke(share: String) -> Answer<()> {
    told(services()?.revoke(owner()?, &share).await)
}

#[server(prefix = "/_fn", endpoint = "snapshot", input = Json)]
pub async fn get_snapshot(token: String) -> Answer<Snapshot> {
    told(services()?.snapshot(&token).await)
}
