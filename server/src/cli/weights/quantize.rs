//! `knowlm weights quantize`: a model in eight or four bits, and what that cost.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use checkpoint::{
    quantize::{LayerError, TensorError, by_layer},
    write::WriteError,
};
use clap::{Args, ValueEnum};
use engine::{LoadAs, Perplexity, PerplexityOptions};
use protocol::{Sentence, job::Phase};
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
        load::Shown,
        out, out_json,
    },
    held,
    weights::{
        EXCERPT,
        calibrate::{DTYPE, Outputs, To, sweep},
        quantize::{Asked, Quantized, Witness, quantize},
        text_of,
        unfinished::is_begun,
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
    #[arg(long, value_name = "FILE", conflicts_with = "no_perplexity")]
    text: Option<PathBuf>,
    /// Measure no perplexity
    #[arg(long)]
    no_perplexity: bool,
    /// Score no more than so many chunks of the text
    #[arg(long, value_name = "NUMBER", conflicts_with = "no_perplexity")]
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
    let to = if args.to == Written::Gptq { To::Groups } else { To::Blocks(format) };
    let text = match args.no_perplexity {
        true => None,
        false => Some(text_of(args.text.as_deref(), EXCERPT).map_err(CliError::Failed)?),
    };
    let calibration = args.gptq.calibration(to)?;
    let source = open(&args.input)?;
    let write = args.write.options("quantize");
    // Said before the long work, not after it.
    if calibration.is_some() && args.out.exists() && !is_begun(&args.out) && !write.overwrite {
        sweep(&args.out);
        return Err(CliError::failed(WriteError::Exists { path: args.out.clone() }));
    }
    let asked = Asked {
        out: &args.out,
        to,
        calibration: calibration.as_ref().map(|(text, tokens)| (text.as_str(), *tokens)),
        text: text.as_deref(),
        goes_on: false,
        write,
    };
    let terminal = Terminal { args, threads: asked.write.threads, now: Mutex::default(), notes: Mutex::default() };
    let done = quantize(&source, &asked, &terminal);
    terminal.clear();
    let Quantized { errors, outputs, before, after, .. } = done.map_err(CliError::Failed)?;
    let notes = std::mem::take(&mut *held(&terminal.notes));
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
        perplexity_after: after.map(|found| as_json(&args.out, &found)),
        notes: &notes,
    };
    if args.write.json { out_json(&report) } else { out(&table(&report, before, after)) }
}

/// Says how far the work is, on standard error; its notes come with the result.
struct Terminal<'a> {
    args: &'a QuantizeArgs,
    threads: usize,
    now: Mutex<Option<(Phase, Bar)>>,
    notes: Mutex<Vec<String>>,
}

/// How a part of the work is shown.
enum Bar {
    Layers(Shown),
    Bytes(ByteBar),
}

impl Terminal<'_> {
    /// Takes away what is shown.
    fn clear(&self) {
        match held(&self.now).take() {
            Some((_, Bar::Layers(shown))) => shown.finish(),
            Some((_, Bar::Bytes(bar))) => bar.finish(),
            None => {}
        }
    }

    fn begin(&self, phase: Phase) -> Bar {
        match phase {
            Phase::Rounding => Bar::Layers(Shown::start()),
            phase => Bar::Bytes(ByteBar::new(self.args.write.json || phase != Phase::Writing)),
        }
    }
}

impl Witness for Terminal<'_> {
    fn progress(&self, phase: Phase, done: u64, total: u64) {
        if held(&self.now).as_ref().is_some_and(|(now, _)| *now != phase) {
            self.clear();
        }
        match &held(&self.now).get_or_insert_with(|| (phase, self.begin(phase))).1 {
            Bar::Layers(shown) if total == 0 => shown.step("GPTQ: reading the calibration text"),
            Bar::Layers(shown) => shown.step(&format!("GPTQ: layer {done} of {total}")),
            Bar::Bytes(bar) => bar.show(done, total),
        }
    }

    fn note(&self, note: Sentence) {
        held(&self.notes).push(note.en);
    }

    fn score(&self, _: Phase, model: &Path, text: &str) -> Result<Perplexity, Sentence> {
        self.clear();
        let (load_as, threads, chunks) = (LoadAs::Stored, Some(self.threads), self.args.chunks);
        score(&PerplexityOptions { model: model.into(), load_as, threads, chunks }, text).map_err(|error| {
            let said = error.to_string();
            Sentence::new(said.as_str(), said.as_str())
        })
    }
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
