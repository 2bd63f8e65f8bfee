//! `knowlm weights convert`: a model in another form.

use std::path::PathBuf;

use checkpoint::{Element, convert};
use clap::Args;

use super::common::{Form, WriteArgs, dtype, open, report};
use crate::cli::CliError;

/// Options of `weights convert`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights convert LLaMA/13B --to hf --out llama-13b\n  \
    knowlm weights convert zhixi-13b --to gguf --dtype q4_k --out zhixi-13b.gguf\n  \
    knowlm weights convert model.gguf --to hf --out model\n  \
    knowlm weights convert zhixi-13b-lora --to hf --out zhixi-13b-lora-safetensors\n\n\
    An adapter stays an adapter: --to hf makes adapter_model.safetensors of it, --to pytorch adapter_model.bin.\n\
    What is read: folders of Hugging Face's form (safetensors or PyTorch, with or without index), the original LLaMA's\n\
    consolidated.NN.pth with params.json, GGUF files, single files, and NumPy's .npz. The tokenizer comes along:\n\
    tokenizer.model becomes tokenizer.json, and either becomes metadata of a GGUF file.\n\
    A link that lies in a model's folder is followed, wherever it leads: the caches of model hubs are made of links.")]
pub struct ConvertArgs {
    /// The model
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The form that it gets
    #[arg(long, value_enum)]
    to: Form,
    /// The result: a file for gguf, else a folder
    #[arg(long, value_name = "O")]
    out: PathBuf,
    /// What numbers are stored as: f32, f16, bf16, and for gguf q8_0, q4_0, q4_1, q4_k, q6_k [default: as they are]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// Write the rotary buffers that conversions of 2023 wrote (rotary_emb.inv_freq); of an original LLaMA, into a folder
    #[arg(long)]
    rotary: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub fn run(args: &ConvertArgs) -> Result<(), CliError> {
    args.write.fit(args.to)?;
    if args.rotary && args.to == Form::Gguf {
        return Err(CliError::Usage("a GGUF file has no rotary buffers: leave --rotary out".into()));
    }
    let format = dtype(args.dtype.as_deref(), args.to)?;
    let source = open(&args.input)?;
    report(&args.write, &args.out, |progress| match args.to {
        Form::Gguf => convert::to_gguf(&source, &args.out, format, &args.write.options("convert"), progress),
        Form::Hf | Form::Pytorch => {
            let mut options = args.write.model_options("convert", format.map(Element::Block), args.to);
            // Nothing was computed that a sum would tell something about.
            options.write.sums = false;
            options.rotary = args.rotary;
            convert::to_folder(&source, &args.out, &options, progress)
        }
    })
}
