//! `knowlm weights quantize`: a model in eight or four bits, and what that cost.

use std::path::{Path, PathBuf};

use checkpoint::{
    BlockFormat, convert,
    quantize::{LayerError, TensorError, by_layer, compare},
    write::{UNFINISHED, WriteError},
};
use clap::{Args, ValueEnum};
use engine::{LoadAs, Perplexity, PerplexityOptions};
use serde::Serialize;

use super::{
    common::{Form, WriteArgs, dtype, open},
    gptq::{self, GptqArgs},
    perplexity::{as_json, line, score},
};
use crate::{
    cli::{
        CliError,
        bytes::{ByteBar, size},
        out, out_json,
    },
    weights::{
        EXCERPT,
        calibrate::{DTYPE, Outputs, Same, To},
        text_of,
    },
};

/// The form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Written {
    /// One GGUF file
    Gguf,
    /// A folder of Hugging Face's form with the matrices packed as GPTQ models have them: 4 bits, groups of 128
    Gptq,
}

/// Options of `weights quantize`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights quantize zhixi-13b --dtype q4_k --out zhixi-13b.q4_k.gguf\n  \
    knowlm weights quantize model --dtype q8_0 --out model.gguf --text sample.txt --json\n  \
    knowlm weights quantize zhixi-13b --gptq --out zhixi-13b.gptq.gguf\n  \
    knowlm weights quantize model --gptq --dtype q4_0 --calibration texts.txt --out model.gguf\n  \
    knowlm weights quantize zhixi-13b --gptq --to gptq --out zhixi-13b-gptq\n\n\
    q8_0 keeps eight bits a number, q6_k six, q4_0, q4_1 and q4_k four; q4_k is the most exact of those. The error of a\n\
    layer is the root of the mean squared difference over that of the numbers. Perplexity is measured before and after,\n\
    on --text or on a built-in excerpt.\n\n\
    --gptq lets the model read a calibration text, one layer in memory at a time, and rounds so that what the layers\n\
    make of it changes least. The blocks are those of the same formats, so the file runs wherever they do. Numbers by\n\
    themselves are farther off then; outputs are nearer. It takes minutes for small models, hours for large ones.\n\
    With --to gptq the result is a folder that other programs read too (AutoGPTQ, GPTQModel): groups of 128 numbers of a\n\
    row share a scale and a whole zero.")]
pub struct QuantizeArgs {
    /// The model: a folder of Hugging Face's form, an original LLaMA folder, or a GGUF file
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// q8_0, q6_k, q4_0, q4_1 or q4_k [default with --gptq: q4_1]
    #[arg(long, value_name = "TYPE", required_unless_present = "gptq")]
    dtype: Option<String>,
    /// The form of the result; gptq only with --gptq and of a Hugging Face folder
    #[arg(long, value_enum, default_value = "gguf", requires_if("gptq", "gptq"))]
    to: Written,
    /// The result: a file for gguf, else a folder
    #[arg(long, value_name = "O")]
    out: PathBuf,
    /// The text whose perplexity is measured, in UTF-8 [default: a built-in excerpt]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Measure no perplexity
    #[arg(long)]
    no_perplexity: bool,
    /// Score no more than so many chunks of the text
    #[arg(long, value_name = "NUMBER")]
    chunks: Option<usize>,
    #[command(flatten)]
    gptq: GptqArgs,
    #[command(flatten)]
    write: WriteArgs,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    out: &'a Path,
    dtype: &'static str,
    bytes_before: u64,
    bytes_after: u64,
    layers: Vec<LayerError>,
    tensors: &'a [TensorError],
    /// Where GPTQ rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    gptq: Option<Outputs>,
    perplexity_before: Option<serde_json::Value>,
    perplexity_after: Option<serde_json::Value>,
    notes: &'a [String],
}

pub fn run(args: &QuantizeArgs) -> Result<(), CliError> {
    if args.to == Written::Gguf {
        args.write.fit(Form::Gguf)?;
    } else if args.dtype.is_some() {
        return Err(CliError::Usage("--to gptq has one way to store numbers: leave --dtype out".into()));
    }
    let name = args.dtype.as_deref().unwrap_or(DTYPE);
    let format = dtype(Some(name), Form::Gguf)?.filter(|format| format.block() > 1);
    let Some(format) = format else {
        let dtype = name;
        return Err(CliError::Usage(format!("--dtype {dtype} rounds nothing: use `knowlm weights convert` for it")));
    };
    let text = match args.no_perplexity {
        true => None,
        false => Some(text_of(args.text.as_deref(), EXCERPT).map_err(CliError::Failed)?),
    };
    let source = open(&args.input)?;
    let options = args.write.options("quantize");
    let threads = options.threads;
    let mut notes = Vec::new();
    let rounded = if args.gptq.gptq {
        // Said before the long work, not after it.
        let begun = args.out.join(UNFINISHED).is_dir();
        if args.out.exists() && !begun && !options.overwrite {
            return Err(CliError::failed(WriteError::Exists { path: args.out.clone() }));
        }
        let to = if args.to == Written::Gptq { To::Groups } else { To::Blocks(format) };
        let (kept, outputs, note) = args.gptq.round(&source, to, &args.out, threads)?;
        notes.extend(note.map(|note| note.en));
        Some((kept, outputs))
    } else {
        None
    };
    let bar = ByteBar::new(args.write.json);
    let show = |done, total| {
        bar.show(done, total);
        true
    };
    let done = match &rounded {
        Some((kept, _)) if args.to == Written::Gptq => convert::to_packed(&source, kept, &args.out, &options, &show),
        Some((kept, _)) => convert::to_gguf_with(&source, kept, &args.out, format, &options, &show),
        None => convert::to_gguf(&source, &args.out, Some(format), &options, &show),
    };
    bar.finish();
    notes.extend(done.map_err(CliError::failed)?.notes.into_iter().map(|note| note.en));
    // A packed folder is not computed with: its perplexity is that of the same numbers in a file.
    let same = match args.to == Written::Gptq && text.is_some() {
        true => Some(Same::write(&args.out, threads).map_err(CliError::Failed)?),
        false => None,
    };
    let outputs = rounded.map(|(_, outputs)| outputs);
    let is_rounded = |name: &str| BlockFormat::ALL.iter().any(|f| f.name() == name && f.block() > 1);
    if source.infos().iter().any(|info| is_rounded(info.element.name())) {
        notes.push("the original was rounded already: errors are on top of those it has".into());
    }

    let bar = ByteBar::new(true);
    let after = open(&args.out)?;
    let errors = compare(&source, &after, threads, &|done, total| bar.show(done, total)).map_err(CliError::failed);
    bar.finish();
    let errors = errors?;

    let measure = |model: &Path, text: &str| {
        let options = PerplexityOptions {
            model: model.into(),
            load_as: LoadAs::Stored,
            threads: Some(threads),
            chunks: args.chunks,
        };
        score(&options, text)
    };
    let (mut before, mut now) = (None, None);
    if let Some(text) = &text {
        // A form that is only converted cannot be computed.
        match measure(&args.input, text) {
            Ok(found) => before = Some(found),
            Err(error) => notes.push(format!("no perplexity of the original: {error}")),
        }
        match measure(same.as_ref().map_or(args.out.as_path(), Same::path), text) {
            Ok(found) => now = Some(found),
            Err(error) => notes.push(format!("no perplexity of the result: {error}")),
        }
    }
    let sum = |part: fn(&TensorError) -> u64| errors.iter().map(part).sum();
    let report = Report {
        out: &args.out,
        dtype: if args.to == Written::Gptq { "GPTQ" } else { format.name() },
        bytes_before: sum(|e| e.bytes_before),
        bytes_after: sum(|e| e.bytes_after),
        layers: by_layer(&errors),
        tensors: &errors,
        gptq: outputs,
        perplexity_before: before.map(|found| as_json(&args.input, &found)),
        perplexity_after: now.map(|found| as_json(&args.out, &found)),
        notes: &notes,
    };
    if args.write.json { out_json(&report) } else { out(&table(&report, before, now)) }
}

fn table(report: &Report<'_>, before: Option<Perplexity>, now: Option<Perplexity>) -> String {
    let mut text = format!(
        "{}: {} of {} before\n\n  error, relative\n",
        report.out.display(),
        size(report.bytes_after),
        size(report.bytes_before)
    );
    for layer in &report.layers {
        let name = layer.layer.map_or("outside layers".to_owned(), |n| format!("layer {n}"));
        text += &format!("  {name:<14}  {:.5}\n", layer.relative_rms);
    }
    if let Some(worst) = report.tensors.iter().max_by(|a, b| a.relative_rms.total_cmp(&b.relative_rms)) {
        text += &format!("  the most: {} ({}), {:.5}\n", worst.name, worst.after, worst.relative_rms);
    }
    if let Some(outputs) = &report.gptq {
        text += &gptq::table(outputs);
    }
    text += "\n";
    for (name, found) in [("before", before), ("after", now)] {
        if let Some(found) = found {
            text += &format!("  {name:<6}  {}\n", line(&found));
        }
    }
    if let (Some(before), Some(now)) = (before, now) {
        text += &format!("  that is {:+.2} %\n", (now.value / before.value - 1.0) * 100.0);
    }
    for note in report.notes {
        text += &format!("  note: {note}\n");
    }
    text
}
