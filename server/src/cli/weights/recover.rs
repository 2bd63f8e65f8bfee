//! `knowlm weights recover`: a model from the one that was tuned and the published difference.

use std::path::PathBuf;

use checkpoint::{
    Element,
    diff::{Direction, combine},
};
use clap::Args;

use super::common::{Form, WriteArgs, dtype, open, report};
use crate::cli::CliError;

/// Options of `weights recover`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights recover --raw llama-13b --diff zhixi-13b-diff --out zhixi-13b\n  \
    knowlm weights recover --raw LLaMA/13B --diff zhixi-13b-diff-fp16 --out zhixi-13b-fp16 --to pytorch\n\n\
    Every number of the result is raw + difference, computed in 32 bits. A run that was ended goes on with the same\n\
    command. The sum of all numbers is printed: each tensor's is added up in 64 bits and rounded to 32, those are added\n\
    up in 32 bits in the order of the model. It is compared with the published sum of ZhiXi-13B in 32 bits\n\
    (94052.2891, give or take 0.01); for 16 bits none was published.")]
pub struct RecoverArgs {
    /// The model that was tuned
    #[arg(long, value_name = "A")]
    raw: PathBuf,
    /// The difference
    #[arg(long, value_name = "D")]
    diff: PathBuf,
    /// The folder that the model is written to
    #[arg(long, value_name = "B")]
    out: PathBuf,
    /// What numbers are stored as: f32, f16 or bf16 [default: as those of the difference]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// The form of the result
    #[arg(long, value_enum, default_value = "hf")]
    to: Form,
    #[command(flatten)]
    write: WriteArgs,
}

pub fn run(args: &RecoverArgs) -> Result<(), CliError> {
    super::no_gguf(args.to)?;
    let element = dtype(args.dtype.as_deref(), args.to)?.map(Element::Block);
    let (raw, diff) = (open(&args.raw)?, open(&args.diff)?);
    let options = args.write.model_options("recover", element, args.to);
    report(&args.write, &args.out, |progress| combine(Direction::Recover, &raw, &diff, &args.out, &options, progress))
}
