//! What the pages ask of the server. `server` puts an implementation in the context of every request.

#[cfg(feature = "ssr")]
use std::sync::Arc;

#[cfg(feature = "ssr")]
use async_trait::async_trait;
#[cfg(feature = "ssr")]
use extract::graph::Edits;
#[cfg(feature = "ssr")]
use leptos::prelude::use_context;
#[cfg(feature = "ssr")]
use protocol::{
    AdminView, Bench, Judgement, RunView, SessionSummary, SessionView, StartRuns, Started,
    review::Shared,
    view::{NewShare, SaveSchema, SchemaVersion, SchemaView, ShareView},
};
use protocol::{Language, Sentence};
use serde::{Deserialize, Serialize};

#[cfg(feature = "ssr")]
use crate::scores::SessionScores;

/// The person who asks, as far as the request tells. `None` in place of it: nobody is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub i64);

/// The person who set the server up. The model is theirs to change.
pub const FIRST_OWNER: Owner = Owner(1);

/// Whether people log in, and so can log out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logins(pub bool);

/// Why a request could not be served, as a sentence for the person who made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ServiceError {
    /// The request itself is wrong. The sentence says what and what to do.
    #[error("{0}")]
    Invalid(Sentence),
    /// There is no such thing, or it is not the asker's.
    #[error("{0}")]
    NotFound(Sentence),
    /// Too many runs are waiting.
    #[error("The server is busy: {waiting} runs are waiting. Try again in a few seconds; nothing you typed is lost.")]
    Busy {
        /// Runs in the queue.
        waiting: u32,
    },
    /// The request did not get there, or no answer came back: trying again may help. Only the browser says this.
    #[error("The server cannot be reached. Nothing you typed is lost; try again when it is back.")]
    Unreachable,
    /// Something on our side failed; the details are in the server's log.
    #[error("{0}")]
    Internal(Sentence),
}

impl ServiceError {
    /// [`ServiceError::Invalid`] from its sentence in both languages.
    pub fn invalid(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self::Invalid(Sentence::new(en, zh))
    }

    /// Gives the response that this error ends its status.
    #[cfg(feature = "ssr")]
    pub fn set_status(&self) {
        use axum::http::StatusCode;
        if let Some(response) = use_context::<leptos_axum::ResponseOptions>() {
            response.set_status(match self {
                Self::Invalid(_) => StatusCode::BAD_REQUEST,
                Self::NotFound(_) => StatusCode::NOT_FOUND,
                Self::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
                Self::Internal(_) | Self::Unreachable => StatusCode::INTERNAL_SERVER_ERROR,
            });
        }
    }

    /// The sentence in a language.
    pub fn sentence(&self, language: Language) -> String {
        match (self, language) {
            (Self::Invalid(s) | Self::NotFound(s) | Self::Internal(s), _) => s.in_language(language).to_owned(),
            (Self::Busy { waiting }, Language::Zh) => {
                format!("服务器繁忙，有 {waiting} 个运行在排队。请几秒后再试，已输入的内容不会丢失。")
            }
            (Self::Unreachable, Language::Zh) => "无法连接服务器。已输入的内容不会丢失，请稍后再试。".into(),
            (Self::Busy { .. } | Self::Unreachable, Language::En) => self.to_string(),
        }
    }
}

#[cfg(feature = "ssr")]
/// The services behind the pages. Every call is on behalf of an owner, who sees only what is theirs.
#[async_trait]
pub trait Services: Send + Sync {
    /// Model, adapter, defaults, examples, schemas: what the work pages are drawn from.
    async fn bench(&self, owner: Owner) -> Result<Bench, ServiceError>;

    /// Validates, stores and queues runs. All are on disk when it returns.
    async fn start(&self, owner: Owner, request: StartRuns) -> Result<Started, ServiceError>;

    /// Stops runs; what they have is kept. Ended or unknown runs are left alone.
    async fn stop(&self, owner: Owner, runs: Vec<String>) -> Result<(), ServiceError>;

    /// Asks the parts of an extraction again that were stopped, interrupted or failed; gives their runs. All are queued on
    /// disk when it returns.
    async fn ask_missing(
        &self,
        owner: Owner,
        extraction: &str,
        language: Language,
    ) -> Result<Vec<RunView>, ServiceError>;

    /// A run.
    async fn run(&self, owner: Owner, run: &str) -> Result<RunView, ServiceError>;

    /// Sessions, newest first; with `search`, those whose title, texts or answers hold the words.
    async fn sessions(&self, owner: Owner, search: &str) -> Result<Vec<SessionSummary>, ServiceError>;

    /// A whole session.
    async fn session(&self, owner: Owner, session: &str) -> Result<SessionView, ServiceError>;

    /// Gives a session a new title.
    async fn rename(&self, owner: Owner, session: &str, title: &str) -> Result<(), ServiceError>;

    /// Deletes a session, or brings it back.
    async fn set_deleted(&self, owner: Owner, session: &str, deleted: bool) -> Result<(), ServiceError>;

    /// Schemas to choose from: the owner's own, newest first, then the ready ones.
    async fn schemas(&self, owner: Owner) -> Result<Vec<SchemaView>, ServiceError>;

    /// A saved or ready schema with its versions, newest first; a ready one has none.
    async fn schema(&self, owner: Owner, id: &str) -> Result<(SchemaView, Vec<SchemaVersion>), ServiceError>;

    /// Reads a schema written in JSON or YAML, and gives it back as JSON.
    async fn read_schema(&self, text: &str) -> Result<String, ServiceError>;

    /// Saves a schema, or a new version of one.
    async fn save_schema(&self, owner: Owner, request: SaveSchema) -> Result<SchemaView, ServiceError>;

    /// Gives a saved schema a new name.
    async fn rename_schema(&self, owner: Owner, id: &str, name: &str) -> Result<(), ServiceError>;

    /// Deletes a saved schema, or brings it back.
    async fn set_schema_deleted(&self, owner: Owner, id: &str, deleted: bool) -> Result<(), ServiceError>;

    /// Makes a link to the newest version of a saved schema. `origin` is the address the asker uses.
    async fn share_schema(&self, owner: Owner, id: &str, origin: &str) -> Result<NewShare, ServiceError>;

    /// The open links of a saved schema.
    async fn schema_links(&self, owner: Owner, id: &str) -> Result<Vec<ShareView>, ServiceError>;

    /// The schema that a link shows, for anybody who has it.
    async fn shared_schema(&self, token: &str) -> Result<SchemaView, ServiceError>;

    /// Saves the schema that a link shows as one of the owner's own.
    async fn take_schema(&self, owner: Owner, token: &str) -> Result<SchemaView, ServiceError>;

    /// Files a judgement of a document's record, in place of an earlier one with the same key.
    async fn judge(&self, owner: Owner, document: &str, judgement: Judgement) -> Result<(), ServiceError>;

    /// Takes the judgement of a record back.
    async fn unjudge(&self, owner: Owner, document: &str, key: &str) -> Result<(), ServiceError>;

    /// Files judgements of a text where there are none yet, and notes that it has been gone through.
    async fn accept(&self, owner: Owner, document: &str, judgements: Vec<Judgement>) -> Result<(), ServiceError>;

    /// Takes back that a text has been gone through.
    async fn reopen(&self, owner: Owner, document: &str) -> Result<(), ServiceError>;

    /// A session's columns against what its owner said; two of them against each other, chosen by their names.
    async fn scores(
        &self,
        owner: Owner,
        session: &str,
        first: Option<String>,
        second: Option<String>,
    ) -> Result<SessionScores, ServiceError>;

    /// Keeps what the owner changed of a session's graph.
    async fn set_graph_edits(&self, owner: Owner, session: &str, edits: Edits) -> Result<(), ServiceError>;

    /// Freezes a session as it is and makes a link to it. `origin` is the address the asker uses.
    async fn share(&self, owner: Owner, session: &str, note: &str, origin: &str) -> Result<NewShare, ServiceError>;

    /// Changes the note of an open link.
    async fn annotate(&self, owner: Owner, share: &str, note: &str) -> Result<ShareView, ServiceError>;

    /// Closes a link to a session or schema; gives the path of the page of what it showed.
    async fn revoke(&self, owner: Owner, share: &str) -> Result<String, ServiceError>;

    /// The model, its adapters, and those that could be loaded; for the owner of the server.
    async fn admin(&self, owner: Owner) -> Result<AdminView, ServiceError>;

    /// Loads an adapter that lies where adapters are sought, by its folder's name.
    async fn load_adapter(&self, owner: Owner, name: &str) -> Result<(), ServiceError>;

    /// Takes an adapter out of use; what runs with it goes on.
    async fn unload_adapter(&self, owner: Owner, name: &str) -> Result<(), ServiceError>;

    /// What a link shows, of many texts a page, from 1; for anybody who has it.
    async fn shared(&self, token: &str, page: usize) -> Result<Shared, ServiceError>;
}

#[cfg(feature = "ssr")]
/// The services of this request.
///
/// # Errors
/// When the server did not provide any; a mistake in its wiring.
pub fn services() -> Result<Arc<dyn Services>, ServiceError> {
    use_context().ok_or_else(|| {
        ServiceError::Internal(Sentence::new("no services in this request's context", "本次请求缺少服务上下文"))
    })
}

#[cfg(feature = "ssr")]
/// Who asks.
///
/// # Errors
/// Nobody is logged in.
pub fn owner() -> Result<Owner, ServiceError> {
    use_context().ok_or_else(|| {
        ServiceError::invalid("Please log in first; nothing you typed is lost.", "请先登录，已输入的内容不会丢失。")
    })
}

impl leptos::server_fn::error::FromServerFnError for ServiceError {
    type Encoder = leptos::server_fn::codec::JsonEncoding;

    fn from_server_fn_error(error: leptos::server_fn::error::ServerFnErrorErr) -> Self {
        use leptos::server_fn::error::ServerFnErrorErr as Cause;
        match error {
            Cause::Request(_) => Self::Unreachable,
            Cause::Deserialization(text) | Cause::Args(text) | Cause::MissingArg(text) => {
                Self::invalid(format!("The request could not be read: {text}"), format!("无法读取请求：{text}"))
            }
            other => Self::Internal(Sentence::new(other.to_string(), other.to_string())),
        }
    }
}
