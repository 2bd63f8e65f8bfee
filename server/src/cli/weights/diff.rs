//! `knowlm weights diff`: what tuning changed.

use std::path::PathBuf;

use checkpoint::{
    Element,
    diff::{Direction, combine},
};
use clap::Args;

use super::common::{Form, WriteArgs, dtype, open, report};
use crate::cli::CliError;

/// Options of `weights diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights diff --raw llama-13b --tuned zhixi-13b --out zhixi-13b-diff\n  \
    knowlm weights diff --raw llama-13b --tuned zhixi-13b --out diff --dtype f16 --shard-size 1GB\n\n\
    Every number of the result is tuned - raw, computed in 32 bits. Each model may be a folder of Hugging Face's form\n\
    (safetensors or PyTorch), an original LLaMA folder (consolidated.NN.pth) or a GGUF file.")]
pub struct DiffArgs {
    /// The model that was tuned
    #[arg(long, value_name = "A")]
    raw: PathBuf,
    /// What it became
    #[arg(long, value_name = "B")]
    tuned: PathBuf,
    /// The folder that the difference is written to
    #[arg(long, value_name = "D")]
    out: PathBuf,
    /// What numbers are stored as: f32, f16 or bf16 [default: as those of the tuned model]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// The form of the result
    #[arg(long, value_enum, default_value = "hf")]
    to: Form,
    #[command(flatten)]
    write: WriteArgs,
}

pub fn run(args: &DiffArgs) -> Result<(), CliError> {
    super::no_gguf(args.to)?;
    let element = dtype(args.dtype.as_deref(), args.to)?.map(Element::Block);
    let (raw, tuned) = (open(&args.raw)?, open(&args.tuned)?);
    let options = args.write.model_options("diff", element, args.to);
    report(&args.write, &args.out, |progress| combine(Direction::Diff, &raw, &tuned, &args.out, &options, progress))
}
