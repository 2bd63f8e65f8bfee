//! `knowlm weights verify`: whether files are whole and the ones they are meant to be.

use std::path::PathBuf;

use checkpoint::verify::{FileState, VerifyOptions, VerifyReport, verify};
use clap::Args;

use crate::cli::{
    CliError,
    bytes::{ByteBar, size},
    out, out_json,
};

/// Options of `weights verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights verify models/zhixi-13b-diff\n  \
    knowlm weights verify llama-13b --md5 checklist.chk\n  knowlm weights verify base --known zhixi-13b-base-fp32 --json\n\n\
    Without --md5 and --known, files are held against lists that lie beside them (checklist.chk, MD5SUMS, SHA256SUMS),\n\
    against the published checksums where names and sums tell what they are, and against knowlm-manifest.json.\n\
    A base that was recovered into other files than the original program wrote (safetensors, or .bin files of this one)\n\
    has other checksums; --known zhixi-13b-base-fp32 tells it by the published sum of its numbers. For fp16 no such sum\n\
    was published, and nothing tells it.\n\
    The exit code is 0 only when nothing is wrong.")]
pub struct VerifyArgs {
    /// A file of weights, or the folder of a model or adapter
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// A list as md5sum or sha256sum writes it
    #[arg(long, visible_alias = "sums", value_name = "LIST")]
    md5: Option<PathBuf>,
    /// Hold the files against the published checksums of this name, such as zhixi-13b-diff
    #[arg(long, value_name = "NAME")]
    known: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &VerifyArgs) -> Result<(), CliError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = VerifyOptions { list: args.md5.clone(), known: args.known.clone(), threads };
    let bar = ByteBar::new(args.json);
    let report = verify(&args.path, &options, &|done, total| bar.show(done, total));
    bar.finish();
    let report = report.map_err(CliError::failed)?;
    if args.json {
        out_json(&report)?;
    } else {
        out(&table(&report))?;
    }
    if report.ok {
        return Ok(());
    }
    let (wrong, all) = (report.problems.len(), args.path.display());
    Err(CliError::Failed(format!("{all}: {wrong} {} wrong", if wrong == 1 { "thing is" } else { "things are" })))
}

/// A report for people.
pub fn table(report: &VerifyReport) -> String {
    let mut text = String::new();
    if let Some(name) = &report.known_as {
        text += &format!("{}: {name}\n", report.path.display());
    }
    let wide = report.files.iter().map(|f| f.file.chars().count()).max().unwrap_or(0);
    for file in &report.files {
        let bytes = file.bytes.map(size).unwrap_or_default();
        let state = match file.state {
            FileState::Right => "right",
            FileState::Readable => "whole",
            FileState::Wrong => "WRONG",
            FileState::Missing => "MISSING",
        };
        let by = match (file.algorithm, &file.list) {
            (Some(algorithm), Some(list)) => format!("  {algorithm} of {list}"),
            _ => String::new(),
        };
        text += &format!("{:<wide$}  {bytes:>8}  {state}{by}\n", file.file);
    }
    if let Some(tensors) = &report.tensors {
        text += &format!("{} of {} tensors are as {} says\n", tensors.right, tensors.checked, tensors.manifest);
    }
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    // A damaged file may have thousands of tensors that are wrong.
    const SHOWN: usize = 40;
    for problem in report.problems.iter().take(SHOWN) {
        let tensor = problem.tensor.as_ref().map(|t| format!(", tensor {t}")).unwrap_or_default();
        text += &format!("wrong: {}{tensor}: {}\n       {}\n", problem.file, problem.what, problem.remedy);
    }
    if report.problems.len() > SHOWN {
        text += &format!("and {} more; --json shows all\n", report.problems.len() - SHOWN);
    }
    if report.ok {
        text += "Nothing is wrong.\n";
    }
    text
}
