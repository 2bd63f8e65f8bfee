//! `knowlm weights merge`: a base and its adapters as one model.

use std::path::PathBuf;

use checkpoint::{
    BlockFormat, Element, find,
    merge::{self, Lora},
};
use clap::Args;

use super::common::{Form, WriteArgs, dtype, open, report};
use crate::cli::CliError;

/// Options of `weights merge`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights merge --base zhixi-13b --adapter zhixi-13b-lora --out merged\n  \
    knowlm weights merge --base zhixi-13b --adapter zhixi-13b-lora --out merged --fp16 --shard-size 1GB\n  \
    knowlm weights merge --base zhixi-13b --adapter zhixi-13b-lora --to gguf --dtype q4_k --out merged.gguf\n  \
    knowlm weights merge --base llama --adapter a=0.7 --adapter b=0.3 --out mixed\n\n\
    Every changed matrix is base + scale B A, computed in 32 bits; the result keeps the type of the base's numbers.\n\
    Of a GGUF base, --to gguf keeps tokenizer and metadata, unpacks what is changed and packs it again. A weight is how far\n\
    the base is brought towards what the adapter makes of it: a matrix with DoRA or a module that was saved whole lies\n\
    between the two.")]
pub struct MergeArgs {
    /// The base: a folder of Hugging Face's form, an original LLaMA folder, or a GGUF file
    #[arg(long, value_name = "A")]
    base: PathBuf,
    /// An adapter in PEFT's form, `PATH` or `PATH=WEIGHT`; several are added one after the other
    #[arg(long = "adapter", value_name = "L", required = true)]
    adapters: Vec<String>,
    /// The result: a file for gguf, else a folder
    #[arg(long, value_name = "M")]
    out: PathBuf,
    /// The form of the result
    #[arg(long, value_enum, default_value = "hf")]
    to: Form,
    /// What numbers are stored as: f32, f16, bf16, and for gguf q8_0, q4_0, q4_1, q4_k, q6_k [default: as the base's]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// The same as --dtype f16
    #[arg(long, conflicts_with = "dtype")]
    fp16: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub fn run(args: &MergeArgs) -> Result<(), CliError> {
    args.write.fit(args.to)?;
    let format = if args.fp16 { Some(BlockFormat::F16) } else { dtype(args.dtype.as_deref(), args.to)? };
    let base = open(&args.base)?;
    let adapters = args.adapters.iter().map(|a| adapter(a)).collect::<Result<Vec<_>, _>>()?;
    report(&args.write, &args.out, |progress| match args.to {
        Form::Gguf => merge::to_gguf(&base, &adapters, &args.out, format, &args.write.options("merge"), progress),
        Form::Hf | Form::Pytorch => {
            let options = args.write.model_options("merge", format.map(Element::Block), args.to);
            merge::to_folder(&base, &adapters, &args.out, &options, progress)
        }
    })
}

/// Opens `PATH` or `PATH=WEIGHT`; a path that is there is never cut.
fn adapter(given: &str) -> Result<Lora, CliError> {
    let weighted = given.rsplit_once('=').filter(|_| find::find_adapter(given, None).is_err());
    let (path, weight) = match weighted {
        Some((path, weight)) => {
            let number = weight.parse::<f32>().ok().filter(|w| w.is_finite());
            (path, number.ok_or_else(|| CliError::Usage(format!("the weight \"{weight}\" of {path} is no number")))?)
        }
        None => (given, 1.0),
    };
    let folder = find::find_adapter(path, None).map_err(CliError::failed)?;
    Lora::open(&folder, weight).map_err(CliError::failed)
}
