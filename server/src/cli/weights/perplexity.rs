//! `knowlm weights perplexity`: how well a model foretells a text.

use std::path::{Path, PathBuf};

use checkpoint::find;
use clap::Args;
use engine::{LoadAs, Perplexity, PerplexityOptions, perplexity};
use serde_json::json;

use crate::{
    cli::{CliError, load::Shown, out, out_json},
    weights::{EXCERPT, text_of},
};

/// Options of `weights perplexity`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights perplexity\n  \
    knowlm weights perplexity model.gguf --text wiki.test.raw --chunks 100 --json\n\n\
    Counted as llama.cpp's llama-perplexity counts it: chunks of 512 tokens, the second half of each scored. Numbers of\n\
    two models can be compared when they have the same tokenizer.")]
pub struct PerplexityArgs {
    /// A GGUF file, a Hugging Face folder, or the name of a known model [default: the default model]
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// A text in UTF-8 [default: a built-in excerpt]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Score no more than so many chunks
    #[arg(long, value_name = "NUMBER")]
    chunks: Option<usize>,
    /// Round unquantized weights to eight bits while loading
    #[arg(long = "load-8bit", conflicts_with = "load_4bit")]
    load_8bit: bool,
    /// Round unquantized weights to four bits while loading
    #[arg(long = "load-4bit")]
    load_4bit: bool,
    /// Threads that compute [default: one for each core]
    #[arg(long, env = "KNOWLM_THREADS", value_name = "NUMBER")]
    threads: Option<usize>,
    /// Where models are sought by name [default: the platform's data folder]
    #[arg(long, env = "KNOWLM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &PerplexityArgs) -> Result<(), CliError> {
    let model = find::find_model(args.model.as_deref(), args.data_dir.as_deref()).map_err(CliError::failed)?;
    let text = text_of(args.text.as_deref(), EXCERPT).map_err(CliError::Failed)?;
    let load_as = match (args.load_8bit, args.load_4bit) {
        (true, _) => LoadAs::EightBit,
        (_, true) => LoadAs::FourBit,
        _ => LoadAs::Stored,
    };
    let options = PerplexityOptions { model: model.clone(), load_as, threads: args.threads, chunks: args.chunks };
    let found = score(&options, &text)?;
    if args.json {
        return out_json(&as_json(&model, &found));
    }
    out(&format!("{}: {}\n", model.display(), line(&found)))
}

/// Scores a text, with progress on standard error.
pub fn score(options: &PerplexityOptions, text: &str) -> Result<Perplexity, CliError> {
    let shown = Shown::start();
    shown.step(&format!("Reading {}", options.model.display()));
    let found = perplexity(options, text, |done, chunks, value| {
        shown.step(&format!("chunk {done} of {chunks}: perplexity {value:.4} so far"));
    });
    shown.finish();
    found.map_err(CliError::failed)
}

/// What a perplexity is, in a line.
pub fn line(found: &Perplexity) -> String {
    format!(
        "perplexity {:.4} ± {:.4} over {} tokens ({} chunks of {})",
        found.value, found.error, found.scored, found.chunks, found.chunk_tokens
    )
}

/// A perplexity as `--json` prints it.
pub fn as_json(model: &Path, found: &Perplexity) -> serde_json::Value {
    json!({
        "model": model, "perplexity": found.value, "error": found.error, "tokens": found.tokens,
        "scored": found.scored, "chunks": found.chunks, "chunk_tokens": found.chunk_tokens,
    })
}
