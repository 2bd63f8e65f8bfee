//! `knowlm weights quantize`: a model in eight or four bits, and what that cost.

use std::path::{Path, PathBuf};

use checkpoint::{
    BlockFormat, convert,
    quantize::{LayerError, TensorError, by_layer, compare},
};
use clap::Args;
use engine::{LoadAs, Perplexity, PerplexityOptions};
use serde::Serialize;

use super::{
    common::{Form, WriteArgs, dtype, open},
    perplexity::{as_json, line, score, text},
};
use crate::cli::{
    CliError,
    bytes::{ByteBar, size},
    out, out_json,
};

/// Options of `weights quantize`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights quantize zhixi-13b --dtype q4_k --out zhixi-13b.q4_k.gguf\n  \
    knowlm weights quantize model --dtype q8_0 --out model.gguf --text sample.txt --json\n\n\
    q8_0 keeps eight bits a number, q6_k six, q4_0, q4_1 and q4_k four; q4_k is the most exact of those. The error of a\n\
    layer is the root of the mean squared difference over that of the numbers. Perplexity is measured before and after,\n\
    on --text or on a built-in excerpt.")]
pub struct QuantizeArgs {
    /// The model: a folder of Hugging Face's form, an original LLaMA folder, or a GGUF file
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// q8_0, q6_k, q4_0, q4_1 or q4_k
    #[arg(long, value_name = "TYPE")]
    dtype: String,
    /// The GGUF file to write
    #[arg(long, value_name = "FILE")]
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
    perplexity_before: Option<serde_json::Value>,
    perplexity_after: Option<serde_json::Value>,
    notes: &'a [String],
}

pub fn run(args: &QuantizeArgs) -> Result<(), CliError> {
    args.write.fit(Form::Gguf)?;
    let format = dtype(Some(&args.dtype), Form::Gguf)?.filter(|format| format.block() > 1);
    let Some(format) = format else {
        let dtype = &args.dtype;
        return Err(CliError::Usage(format!("--dtype {dtype} rounds nothing: use `knowlm weights convert` for it")));
    };
    let text = if args.no_perplexity { None } else { Some(text(args.text.as_deref())?) };
    let source = open(&args.input)?;
    let bar = ByteBar::new(args.write.json);
    let options = args.write.options("quantize");
    let threads = options.threads;
    let done = convert::to_gguf(&source, &args.out, Some(format), &options, &|done, total| {
        bar.show(done, total);
        true
    });
    bar.finish();
    let mut notes = done.map_err(CliError::failed)?.notes;
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
        match measure(&args.out, text) {
            Ok(found) => now = Some(found),
            Err(error) => notes.push(format!("no perplexity of the result: {error}")),
        }
    }
    let sum = |part: fn(&TensorError) -> u64| errors.iter().map(part).sum();
    let report = Report {
        out: &args.out,
        dtype: format.name(),
        bytes_before: sum(|e| e.bytes_before),
        bytes_after: sum(|e| e.bytes_after),
        layers: by_layer(&errors),
        tensors: &errors,
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
