//! Finding and loading a model and its adapters, with visible progress.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use checkpoint::find;
use clap::Args;
use engine::{EngineOptions, LoadAs, LocalEngine};
use indicatif::ProgressBar;

use super::CliError;
use crate::weights::bytes_of;

/// Options of every command that loads a model.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// A GGUF file, a Hugging Face folder, or the name of a known model [default: SmolLM2-135M-Instruct]
    #[arg(long, env = "KNOWLM_MODEL", value_name = "PATH_OR_NAME")]
    pub model: Option<String>,
    /// Where database, models and adapters lie [default: the platform's data folder, such as ~/.local/share/knowlm]
    #[arg(long, env = "KNOWLM_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Threads that compute [default: one for each core]
    #[arg(long, env = "KNOWLM_THREADS", value_name = "NUMBER")]
    pub threads: Option<usize>,
    /// Tokens of prompt and answer together: fewer than the model's context, or more where its rotary scaling is dynamic
    /// [default: the model's context]
    #[arg(long, env = "KNOWLM_CONTEXT", value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Memory for the keys and values of what is being generated, and of prompts remembered, such as 512MB or 4GB; it bounds the
    /// longest context [default: a quarter of the machine's, at most 2 GB or one context of the model]
    #[arg(long, env = "KNOWLM_CACHE_MEMORY", value_name = "SIZE", value_parser = bytes_of)]
    pub cache_memory: Option<u64>,
    /// Round unquantized weights to eight bits while loading: half the memory of 16 bits
    #[arg(long = "load-8bit", env = "KNOWLM_LOAD_8BIT", conflicts_with = "load_4bit")]
    pub load_8bit: bool,
    /// Round unquantized weights to four bits while loading: a quarter of the memory, somewhat worse answers
    #[arg(long = "load-4bit", env = "KNOWLM_LOAD_4BIT")]
    pub load_4bit: bool,
}

/// Which adapters to load.
#[derive(Clone, Copy, Debug)]
pub enum Adapters<'a> {
    /// None.
    None,
    /// The model's own, if it is there.
    Default,
    /// These, each `NAME`, `PATH` or `NAME=PATH`; `none` for none.
    Given(&'a [String]),
}

/// Loads a model. `tune` changes the engine's options before.
pub fn load(
    args: &ModelArgs,
    adapters: Adapters<'_>,
    tune: impl FnOnce(&mut EngineOptions),
) -> Result<LocalEngine, CliError> {
    let data_dir = args.data_dir.as_deref();
    let model = find::find_model(args.model.as_deref(), data_dir).map_err(CliError::failed)?;
    let mut options = EngineOptions::new(&model);
    options.adapters = match adapters {
        Adapters::None => Vec::new(),
        Adapters::Default => own_adapter(args.model.as_deref(), &model, data_dir),
        Adapters::Given(given) => given_adapters(given, data_dir)?,
    };
    options.threads = args.threads;
    options.context = args.context;
    options.cache_bytes = args.cache_memory;
    options.load_as = match (args.load_8bit, args.load_4bit) {
        (_, true) => LoadAs::FourBit,
        (true, _) => LoadAs::EightBit,
        _ => LoadAs::Stored,
    };
    tune(&mut options);

    let shown = Shown::start();
    let engine = LocalEngine::load(options, |step| shown.step(step));
    shown.finish();
    engine.map_err(CliError::failed)
}

/// The adapter that a known model's entry names.
fn own_adapter(asked: Option<&str>, model: &Path, data_dir: Option<&Path>) -> Vec<(String, PathBuf)> {
    let is_known = |entry: &&protocol::ModelEntry| {
        asked.is_none() || model.file_name().is_some_and(|name| name == entry.file.as_str())
    };
    let entry = find::known_models().iter().find(is_known);
    let Some(name) = entry.and_then(|entry| entry.adapter.as_deref()) else { return Vec::new() };
    match find::find_adapter(name, data_dir) {
        Ok(folder) => vec![(name.to_owned(), folder)],
        Err(error) => {
            eprintln!("knowlm: going on without an adapter. {error}");
            Vec::new()
        }
    }
}

fn given_adapters(given: &[String], data_dir: Option<&Path>) -> Result<Vec<(String, PathBuf)>, CliError> {
    if given.iter().any(|a| a == "none") {
        return match given {
            [_] => Ok(Vec::new()),
            _ => Err(CliError::Usage("--adapter none cannot stand beside another --adapter".into())),
        };
    }
    given.iter().map(|one| adapter(one, data_dir)).collect()
}

fn adapter(given: &str, data_dir: Option<&Path>) -> Result<(String, PathBuf), CliError> {
    let (name, place) = match given.split_once('=') {
        Some((name, place)) => (Some(name), place),
        None => (None, given),
    };
    let folder = find::find_adapter(place, data_dir).map_err(CliError::failed)?;
    let own_name = || Path::new(place).file_name().map(|n| n.to_string_lossy().into_owned());
    match name.map(str::to_owned).or_else(own_name).filter(|n| !n.is_empty()) {
        Some(name) => Ok((name, folder)),
        None => Err(CliError::Usage(format!("--adapter {given} has no name; write it as NAME=PATH"))),
    }
}

/// The folder of the database.
pub fn data_folder(args: &ModelArgs) -> Result<PathBuf, CliError> {
    args.data_dir.clone().or_else(find::platform_data_dir).ok_or_else(|| {
        CliError::Failed("this system names no folder for programs' data; choose one with --data-dir".into())
    })
}

/// Progress: a spinner on a terminal, lines otherwise; on standard error, so that output stays clean.
pub struct Shown(Option<ProgressBar>);

impl Shown {
    pub fn start() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(Some(bar))
    }

    pub fn step(&self, step: &str) {
        match &self.0 {
            Some(bar) => bar.set_message(step.to_owned()),
            None => eprintln!("{step}"),
        }
    }

    pub fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}
