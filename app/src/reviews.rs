//! What the pages that look at all texts of a session ask of the server, however many there are: its review, and the graph of its
//! names. `server` puts an implementation in the context of every request.

#[cfg(feature = "ssr")]
use std::sync::Arc;

#[cfg(feature = "ssr")]
use async_trait::async_trait;
use extract::graph::Edits;
use leptos::{prelude::*, server_fn::codec::Json};
use protocol::{
    Column, Judgement, Record, Sentence, SessionView, Span,
    review::{Order, Part, Wanted},
};
use serde::{Deserialize, Serialize};

use crate::services::ServiceError;
#[cfg(feature = "ssr")]
use crate::services::{Owner, owner};

/// The texts of a review.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReviewView {
    /// The session with the texts that are shown.
    pub session: SessionView,
    /// Those of them that were gone through.
    pub reviewed: Vec<String>,
    /// Those that have no answer at all, each with why.
    pub failed: Vec<(String, Sentence)>,
    /// Which part of the session it is; `None`: all of it, and the page orders it.
    pub part: Option<Part>,
}

/// What the graph of a session's names is drawn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorpusView {
    /// The session, without its texts.
    pub session: SessionView,
    /// What a person changed of the graph.
    pub edits: Edits,
    /// What was found.
    pub found: CorpusFound,
}

/// What was found in the texts of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CorpusFound {
    /// They are many, and being read.
    Reading {
        /// So many are.
        read: usize,
        /// Of so many.
        total: usize,
    },
    /// They are read.
    Read(CorpusTexts),
}

/// The records of a session's texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CorpusTexts {
    /// Text by text.
    pub texts: Vec<CorpusText>,
    /// The lists of names that were asked for, by which colours are given.
    pub names: Vec<Vec<String>>,
    /// The records are those of the most frequent names alone.
    pub most: Option<Most>,
}

/// How much of a large session is in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Most {
    /// Names that are in it.
    pub names: usize,
    /// Names that there are; of very many only about so many.
    pub of: usize,
    /// Places of a name or link that are kept at most.
    pub places: usize,
    /// Texts that were read.
    pub texts: usize,
}

/// What was found in a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorpusText {
    /// Its id.
    pub document: String,
    /// Who found what; base before tuned.
    pub columns: Vec<(Column, Vec<Record>)>,
    /// What people said of it.
    pub judgements: Vec<Judgement>,
}

/// Words of a text around a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The text.
    pub document: String,
    /// Where in it they begin, in code points.
    pub at: usize,
    /// The words.
    pub text: String,
}

/// The services behind these pages.
#[cfg(feature = "ssr")]
#[async_trait]
pub trait ReviewServices: Send + Sync {
    /// The texts of a review; of a batch a page of them.
    async fn review(&self, owner: Owner, session: &str, wanted: Wanted) -> Result<ReviewView, ServiceError>;

    /// The next text of a batch in an order that nobody has gone through, after one, else from the beginning.
    async fn next_open(
        &self,
        owner: Owner,
        session: &str,
        order: Order,
        after: &str,
    ) -> Result<Option<String>, ServiceError>;

    /// What the graph of a session is drawn from.
    async fn corpus(&self, owner: Owner, session: &str) -> Result<CorpusView, ServiceError>;

    /// Words of a session's texts, so many characters before and after each place.
    async fn excerpts(
        &self,
        owner: Owner,
        session: &str,
        places: Vec<(String, Span)>,
        around: usize,
    ) -> Result<Vec<Excerpt>, ServiceError>;
}

#[cfg(feature = "ssr")]
fn services() -> Result<Arc<dyn ReviewServices>, ServiceError> {
    use_context().ok_or_else(|| {
        let sentence = Sentence::new("no reviews in this request's context", "本次请求缺少审核服务上下文");
        ServiceError::Internal(sentence)
    })
}

/// The answer, with the status of the response that belongs to it.
#[cfg(feature = "ssr")]
fn told<T>(answer: Result<T, ServiceError>) -> Result<T, ServiceError> {
    answer.inspect_err(ServiceError::set_status)
}

#[server(prefix = "/_fn", endpoint = "review", input = Json)]
pub async fn get_review(session: String, wanted: Wanted) -> Result<ReviewView, ServiceError> {
    told(services()?.review(owner()?, &session, wanted).await)
}

#[server(prefix = "/_fn", endpoint = "next_open", input = Json)]
pub async fn next_open(session: String, order: Order, after: String) -> Result<Option<String>, ServiceError> {
    told(services()?.next_open(owner()?, &session, order, &after).await)
}

#[server(prefix = "/_fn", endpoint = "corpus", input = Json)]
pub async fn get_corpus(session: String) -> Result<CorpusView, ServiceError> {
    told(services()?.corpus(owner()?, &session).await)
}

#[server(prefix = "/_fn", endpoint = "excerpts", input = Json)]
pub async fn get_excerpts(
    session: String,
    places: Vec<(String, Span)>,
    around: usize,
) -> Result<Vec<Excerpt>, ServiceError> {
    told(services()?.excerpts(owner()?, &session, places, around).await)
}
