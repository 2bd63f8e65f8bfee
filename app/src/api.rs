//! Server functions: what the pages call once they run in the browser, and while they are rendered.

use extract::graph::Edits;
use leptos::{prelude::*, server_fn::codec::Json};
use protocol::{
    AdminView, Bench, Judgement, Language, RunView, SessionSummary, SessionView, StartRuns, Started,
    review::Shared,
    view::{NewShare, SaveSchema, SchemaVersion, SchemaView, ShareView},
};

#[cfg(feature = "ssr")]
use crate::services::{owner, services};
use crate::{scores::SessionScores, services::ServiceError};

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
    told(services()?.bench(owner()?).await)
}

#[server(prefix = "/_fn", endpoint = "start", input = Json)]
pub async fn start(request: StartRuns) -> Answer<Started> {
    told(services()?.start(owner()?, request).await)
}

#[server(prefix = "/_fn", endpoint = "stop", input = Json)]
pub async fn stop(runs: Vec<String>) -> Answer<()> {
    told(services()?.stop(owner()?, runs).await)
}

#[server(prefix = "/_fn", endpoint = "ask_missing", input = Json)]
pub async fn ask_missing(extraction: String, language: Language) -> Answer<Vec<RunView>> {
    told(services()?.ask_missing(owner()?, &extraction, language).await)
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

#[server(prefix = "/_fn", endpoint = "schemas", input = Json)]
pub async fn schemas() -> Answer<Vec<SchemaView>> {
    told(services()?.schemas(owner()?).await)
}

#[server(prefix = "/_fn", endpoint = "schema", input = Json)]
pub async fn schema(id: String) -> Answer<(SchemaView, Vec<SchemaVersion>)> {
    told(services()?.schema(owner()?, &id).await)
}

#[server(prefix = "/_fn", endpoint = "read_schema", input = Json)]
pub async fn read_schema(text: String) -> Answer<String> {
    owner()?;
    told(services()?.read_schema(&text).await)
}

#[server(prefix = "/_fn", endpoint = "keep_schema", input = Json)]
pub async fn keep_schema(request: SaveSchema) -> Answer<SchemaView> {
    told(services()?.save_schema(owner()?, request).await)
}

#[server(prefix = "/_fn", endpoint = "rename_schema", input = Json)]
pub async fn rename_schema(id: String, name: String) -> Answer<()> {
    told(services()?.rename_schema(owner()?, &id, &name).await)
}

#[server(prefix = "/_fn", endpoint = "delete_schema", input = Json)]
pub async fn set_schema_deleted(id: String, deleted: bool) -> Answer<()> {
    told(services()?.set_schema_deleted(owner()?, &id, deleted).await)
}

#[server(prefix = "/_fn", endpoint = "share_schema", input = Json)]
pub async fn share_schema(id: String, origin: String) -> Answer<NewShare> {
    told(services()?.share_schema(owner()?, &id, &origin).await)
}

#[server(prefix = "/_fn", endpoint = "schema_links", input = Json)]
pub async fn schema_links(id: String) -> Answer<Vec<ShareView>> {
    told(services()?.schema_links(owner()?, &id).await)
}

#[server(prefix = "/_fn", endpoint = "shared_schema", input = Json)]
pub async fn shared_schema(token: String) -> Answer<SchemaView> {
    told(services()?.shared_schema(&token).await)
}

#[server(prefix = "/_fn", endpoint = "judge", input = Json)]
pub async fn judge(document: String, judgement: Judgement) -> Answer<()> {
    told(services()?.judge(owner()?, &document, judgement).await)
}

#[server(prefix = "/_fn", endpoint = "unjudge", input = Json)]
pub async fn unjudge(document: String, key: String) -> Answer<()> {
    told(services()?.unjudge(owner()?, &document, &key).await)
}

#[server(prefix = "/_fn", endpoint = "accept", input = Json)]
pub async fn accept(document: String, judgements: Vec<Judgement>) -> Answer<()> {
    told(services()?.accept(owner()?, &document, judgements).await)
}

#[server(prefix = "/_fn", endpoint = "reopen", input = Json)]
pub async fn reopen(document: String) -> Answer<()> {
    told(services()?.reopen(owner()?, &document).await)
}

#[server(prefix = "/_fn", endpoint = "scores", input = Json)]
pub async fn scores(session: String, first: Option<String>, second: Option<String>) -> Answer<SessionScores> {
    told(services()?.scores(owner()?, &session, first, second).await)
}

#[server(prefix = "/_fn", endpoint = "set_graph_edits", input = Json)]
pub async fn set_graph_edits(session: String, edits: Edits) -> Answer<()> {
    told(services()?.set_graph_edits(owner()?, &session, edits).await)
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
pub async fn revoke(share: String) -> Answer<String> {
    told(services()?.revoke(owner()?, &share).await)
}

#[server(prefix = "/_fn", endpoint = "admin", input = Json)]
pub async fn admin() -> Answer<AdminView> {
    told(services()?.admin(owner()?).await)
}

#[server(prefix = "/_fn", endpoint = "load_adapter", input = Json)]
pub async fn load_adapter(name: String) -> Answer<()> {
    told(services()?.load_adapter(owner()?, &name).await)
}

#[server(prefix = "/_fn", endpoint = "unload_adapter", input = Json)]
pub async fn unload_adapter(name: String) -> Answer<()> {
    told(services()?.unload_adapter(owner()?, &name).await)
}

#[server(prefix = "/_fn", endpoint = "shared", input = Json)]
pub async fn get_shared(token: String, page: usize) -> Answer<Shared> {
    told(services()?.shared(&token, page).await)
}
