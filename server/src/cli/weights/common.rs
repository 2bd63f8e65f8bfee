//! What the commands that write weights have in common: their options, progress, and what they say at the end.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use checkpoint::{
    BlockFormat, Element, Source,
    diff::{ModelOptions, Outcome},
    known::PublishedSum,
    write::{Container, Manifest, SHARD_BYTES, WriteOptions},
};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{
    cli::{
        CliError,
        bytes::{ByteBar, size},
        out, out_json,
    },
    weights::bytes_of,
};

/// The form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A folder of Hugging Face's form with safetensors
    Hf,
    /// A folder of Hugging Face's form with PyTorch's .bin files
    Pytorch,
    /// One GGUF file
    Gguf,
}

impl Form {
    pub fn container(self) -> Container {
        match self {
            Self::Pytorch => Container::PyTorch,
            Self::Hf | Self::Gguf => Container::Safetensors,
        }
    }
}

/// Options of every command that writes weights.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// Longest file, such as 5GB or 500MB
    #[arg(long, value_name = "SIZE", value_parser = bytes_of)]
    shard_size: Option<u64>,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
    /// Threads that compute and write [default: one for each core]
    #[arg(long, env = "KNOWLM_THREADS", value_name = "NUMBER")]
    threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl WriteArgs {
    /// Refuses what the form does not have.
    pub fn fit(&self, form: Form) -> Result<(), CliError> {
        match (form, self.shard_size) {
            (Form::Gguf, Some(_)) => Err(CliError::Usage("a GGUF file is one file: leave --shard-size out".into())),
            _ => Ok(()),
        }
    }

    pub fn options(&self, operation: &str) -> WriteOptions {
        let mut options = WriteOptions::new(operation);
        options.shard_bytes = self.shard_size.unwrap_or(SHARD_BYTES);
        options.overwrite = self.overwrite;
        options.threads = self.threads.unwrap_or(options.threads).max(1);
        options
    }

    pub fn model_options(&self, operation: &str, element: Option<Element>, form: Form) -> ModelOptions {
        let mut write = self.options(operation);
        write.sums = true;
        ModelOptions { element, container: form.container(), rotary: false, write }
    }
}

/// The format that a `--dtype` names, of those that can be written.
pub fn dtype(name: Option<&str>, form: Form) -> Result<Option<BlockFormat>, CliError> {
    use BlockFormat::{Bf16, F16, F32, Q4_0, Q4_1, Q4K, Q6K, Q8_0};
    let known: &[BlockFormat] = match form {
        Form::Gguf => &[F32, F16, Bf16, Q8_0, Q4_0, Q4_1, Q4K, Q6K],
        Form::Hf | Form::Pytorch => &[F32, F16, Bf16],
    };
    let Some(name) = name else { return Ok(None) };
    let found = known.iter().find(|format| format.name().eq_ignore_ascii_case(name));
    found.copied().map(Some).ok_or_else(|| {
        let names: Vec<String> = known.iter().map(|f| f.name().to_lowercase()).collect();
        CliError::Usage(format!("there is no --dtype {name} for this form; there are {}", names.join(", ")))
    })
}

/// Opens a set of tensors.
pub fn open(path: &Path) -> Result<Source, CliError> {
    Source::open(path).map_err(CliError::failed)
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    operation: &'a str,
    out: &'a Path,
    tensors: usize,
    bytes: u64,
    seconds: f64,
    sum: Option<f32>,
    exact_sum: Option<f64>,
    /// The published model that has this sum.
    known_sum: Option<&'a str>,
    /// What the published sums say of it, where one of a model of this size was published: `equal`, `different`, or
    /// `unknown` for numbers of 16 bits.
    published_sum: Option<&'static str>,
    manifest: PathBuf,
    notes: Vec<&'a str>,
}

/// Does the work under a bar, and says how it went.
pub fn report<E: std::fmt::Display>(
    args: &WriteArgs,
    to: &Path,
    work: impl FnOnce(&(dyn Fn(u64, u64) -> bool + Sync)) -> Result<Outcome, E>,
) -> Result<(), CliError> {
    let started = Instant::now();
    let bar = ByteBar::new(args.json);
    let done = work(&|done, total| {
        bar.show(done, total);
        true
    });
    bar.finish();
    let Outcome { manifest, notes } = done.map_err(CliError::failed)?;
    let published = manifest.published_sum();
    let report = Report {
        operation: &manifest.operation,
        out: to,
        tensors: manifest.tensors.len(),
        bytes: bytes(&manifest, to),
        seconds: started.elapsed().as_secs_f64(),
        sum: manifest.sum,
        exact_sum: manifest.exact_sum,
        known_sum: match published {
            Some(PublishedSum::Equal(model)) => Some(&model.name),
            _ => None,
        },
        published_sum: published.map(|said| match said {
            PublishedSum::Equal(_) => "equal",
            PublishedSum::Different(..) => "different",
            PublishedSum::Unknown(_) => "unknown",
        }),
        manifest: checkpoint::write::manifest_path(to),
        notes: notes.iter().map(|note| note.en.as_str()).collect(),
    };
    if args.json {
        return out_json(&report);
    }
    out(&format!("{}: {} tensors, {} in {:.1} s\n", to.display(), report.tensors, size(report.bytes), report.seconds))?;
    if let (Some(sum), Some(exact)) = (report.sum, report.exact_sum) {
        let said = published.map(|said| said_of_sum(&said)).unwrap_or_default();
        out(&format!("  sum of all numbers {sum:.4}, exactly {exact:.4}{said}\n"))?;
    }
    notes.iter().try_for_each(|note| out(&format!("  {note}\n")))?;
    out(&format!("  checksums of every tensor are in {}\n", report.manifest.display()))
}

/// Bytes of the files of weights.
fn bytes(manifest: &Manifest, to: &Path) -> u64 {
    let mut files: Vec<&str> = manifest.tensors.iter().map(|t| t.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let folder = if to.is_dir() { to } else { to.parent().unwrap_or(Path::new("")) };
    files.iter().filter_map(|file| folder.join(file).metadata().ok()).map(|m| m.len()).sum()
}

/// What follows a sum of a model as large as a published one.
fn said_of_sum(said: &PublishedSum) -> String {
    match said {
        PublishedSum::Equal(model) => format!(": that of {}", model.title),
        PublishedSum::Different(model, known) => format!(
            "\n  this is not the published sum of {} ({} give or take {}): if it was to be that model, `knowlm weights \
             verify` tells which of the files it was made of is wrong",
            model.title, known.value, known.tolerance
        ),
        PublishedSum::Unknown(model) => format!(
            "\n  no sum was published for numbers of 16 bits, so it does not tell whether this is {}; that the files it \
             was made of are the right ones, `knowlm weights verify` tells",
            model.title.split(',').next().unwrap_or(&model.title)
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_that_the_form_has() {
        assert_eq!(dtype(Some("Q4_k"), Form::Gguf).unwrap(), Some(BlockFormat::Q4K));
        let error = dtype(Some("q4_k"), Form::Hf).unwrap_err().to_string();
        assert_eq!(error, "there is no --dtype q4_k for this form; there are f32, f16, bf16");
    }
}
