//! `knowlm weights`: everything that is done to model files.

mod common;
mod convert;
mod difference;
mod gptq;
mod inspect;
mod merge;
mod perplexity;
mod quantize;
mod setup;
mod verify;

use clap::{Args, Subcommand};

use self::common::Form;
use super::CliError;

/// Options of `weights`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights inspect\n  knowlm weights verify models/zhixi-13b-diff\n  \
    knowlm weights COMMAND --help")]
pub struct WeightsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Go the whole road: original weights, difference and adapter to a folder that can be served
    Setup(setup::SetupArgs),
    /// Write a model in another form: Hugging Face's, PyTorch's, GGUF
    Convert(convert::ConvertArgs),
    /// Write what tuning changed, tensor by tensor
    Diff(difference::DiffArgs),
    /// Make a tuned model of the original one and a published difference
    Recover(difference::RecoverArgs),
    /// Make one model of a base and its adapters
    Merge(merge::MergeArgs),
    /// Check whether files are whole and the ones they are meant to be
    Verify(verify::VerifyArgs),
    /// Show what a file or folder holds, and what it takes to run it
    Inspect(inspect::InspectArgs),
    /// Round a model to eight or four bits, and tell what that cost
    Quantize(quantize::QuantizeArgs),
    /// Measure how well a model foretells a text
    Perplexity(perplexity::PerplexityArgs),
}

pub fn run(args: WeightsArgs) -> Result<(), CliError> {
    match args.command {
        Command::Setup(args) => setup::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Diff(args) => difference::diff(&args),
        Command::Recover(args) => difference::recover(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
    }
}

/// For results that are folders.
fn no_gguf(form: Form) -> Result<(), CliError> {
    match form {
        Form::Gguf => Err(CliError::Usage("this result is a folder: --to hf or --to pytorch".into())),
        Form::Hf | Form::Pytorch => Ok(()),
    }
}
