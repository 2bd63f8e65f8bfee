//! `knowlm work-on-weights`: the hidden command that the server has model files worked on with.

use clap::Args;

use super::{CliError, download::set};
use crate::jobs::{process, work::Setting};

/// Options of `work-on-weights`: what the environment and knowlm.toml say for `weights` and `download`.
#[derive(Debug, Args)]
pub struct JobArgs {
    /// Threads that compute and write [default: one for each core]
    #[arg(long, env = "KNOWLM_THREADS", value_name = "NUMBER")]
    threads: Option<usize>,
    /// Address of another hub
    #[arg(long, env = "KNOWLM_MIRROR", value_name = "URL")]
    mirror: Option<String>,
    /// Token for models that ask who fetches them
    #[arg(long, env = "KNOWLM_HUB_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
}

pub fn run(args: JobArgs) -> Result<(), CliError> {
    let setting = Setting {
        threads: args.threads,
        mirror: args.mirror.or_else(|| set("HF_ENDPOINT")),
        token: args.token.or_else(|| set("HF_TOKEN")),
    };
    process::say(&setting).map_err(CliError::failed)
}
