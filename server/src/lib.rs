//! KnowLM Studio's server and command line: the binary `knowlm`.
//!
//! - [`cli`]: the subcommands.
//! - [`http`]: routes, guards, the page's forms without scripts, the public API.
//! - [`auth`]: who asks.
//! - [`services`]: what the pages ask for, answered from the next three.
//! - [`schemas`]: schemas as people write them, read with sentences for what is wrong.
//! - [`adapters`]: those that can be loaded, and loading them while the server runs.
//! - [`pool`]: the way of a run, from request to stored answer.
//! - [`questions`]: what a schema comes to, for the pool and for `knowlm extract`.
//! - [`samples`]: a question asked more than once.
//! - [`batch`]: files of texts through a schema.
//! - [`jobs`]: work on model files, from the pages.
//! - [`weights`]: what the command line and those jobs have in common.
//! - [`files`]: files of texts that people give.
//! - [`review`]: scores of a session against what people said.
//! - [`reviews`]: the pages that look at all texts of a session, however many.
//! - [`corpus`]: what is kept of a large session for its graph.
//! - [`links`]: sessions as they are sent to others.
//! - [`hub`]: runs going on and their event streams.
//! - [`store`]: the SQLite file; the only place with SQL.

pub mod adapters;
pub mod assets;
pub mod auth;
pub mod batch;
pub mod cases;
pub mod cli;
pub mod corpus;
pub mod defaults;
pub mod exports;
pub mod files;
pub mod http;
pub mod hub;
pub mod jobs;
pub mod links;
pub mod pool;
pub mod questions;
pub mod review;
pub mod reviews;
pub mod samples;
pub mod schemas;
pub mod services;
pub mod store;
pub mod warmup;
pub mod weights;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locked, also after a panic elsewhere: nothing that our locks guard can be half done.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
