//! KnowLM Studio's server and command line: the binary `knowlm`.
//!
//! - [`cli`]: the subcommands.
//! - [`http`]: routes, guards, the page's forms without scripts, the public API.
//! - [`auth`]: who asks.
//! - [`services`]: what the pages ask for, answered from the next three.
//! - [`pool`]: the way of a run, from request to stored answer.
//! - [`hub`]: runs going on and their event streams.
//! - [`store`]: the SQLite file; the only place with SQL.

pub mod assets;
pub mod auth;
pub mod cases;
pub mod cli;
pub mod defaults;
pub mod http;
pub mod hub;
pub mod pool;
pub mod services;
pub mod store;
pub mod warmup;
