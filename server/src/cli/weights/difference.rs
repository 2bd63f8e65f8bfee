//! `knowlm weights diff` and `knowlm weights recover`: what tuning changed, and the model that it makes again.

use std::path::{Path, PathBuf};

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
    #[command(flatten)]
    result: ResultArgs,
}

/// Options of `weights recover`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights recover --raw llama-13b --diff zhixi-13b-diff --out zhixi-13b\n  \
    knowlm weights recover --raw LLaMA/13B --diff zhixi-13b-diff-fp16 --out zhixi-13b-fp16 --to pytorch\n\n\
    Every number of the result is raw + difference, computed in 32 bits. A run that was ended goes on with the same\n\
    command. The sum of all numbers is printed: each tensor's is added up in 32 bits as PyTorch does it on one thread,\n\
    those are added up in 32 bits in the order of the model. It is compared with the published sum of ZhiXi-13B in 32 bits\n\
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
    #[command(flatten)]
    result: ResultArgs,
}

/// How either result is written.
#[derive(Debug, Args)]
struct ResultArgs {
    /// What numbers are stored as: f32, f16 or bf16 [default: as those of the tuned model, or of the difference]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// The form of the result
    #[arg(long, value_enum, default_value = "hf")]
    to: Form,
    #[command(flatten)]
    write: WriteArgs,
}

pub fn diff(args: &DiffArgs) -> Result<(), CliError> {
    args.result.write(Direction::Diff, &args.raw, &args.tuned, &args.out)
}

pub fn recover(args: &RecoverArgs) -> Result<(), CliError> {
    args.result.write(Direction::Recover, &args.raw, &args.diff, &args.out)
}

impl ResultArgs {
    fn write(&self, direction: Direction, raw: &Path, other: &Path, out: &Path) -> Result<(), CliError> {
        super::no_gguf(self.to)?;
        let element = dtype(self.dtype.as_deref(), self.to)?.map(Element::Block);
        let (raw, other) = (open(raw)?, open(other)?);
        let operation = if direction == Direction::Diff { "diff" } else { "recover" };
        let options = self.write.model_options(operation, element, self.to);
        report(&self.write, out, |progress| combine(direction, &raw, &other, out, &options, progress))
    }
}
