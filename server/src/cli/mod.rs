//! The command line.
//!
//! Errors are one sentence on standard error, `knowlm: …`; the exit code is 2 for a command that was not understood
//! and 1 for one that failed.

mod beams;
mod bench;
mod bytes;
mod cases;
mod config;
mod download;
mod eval;
mod export;
mod extract;
mod generate;
mod job;
mod layers;
mod load;
mod sampling;
mod serve;
mod weights;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use config::ConfigError;

/// Extraction and completion with a LLaMA-family model and its adapters, on your own machine.
#[derive(Debug, Parser)]
#[command(
    name = "knowlm",
    version,
    after_help = "Examples:\n  knowlm serve\n  knowlm generate --prompt 'The capital of France is'\n\n\
        Every option can also stand in the environment (KNOWLM_LISTEN for --listen) or in knowlm.toml\n\
        (listen = \"127.0.0.1:7860\") in the working directory; the command line wins, then the environment."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the web pages and the HTTP API
    Serve(serve::ServeArgs),
    /// One answer on the terminal
    Generate(generate::GenerateArgs),
    /// Run the published cases, or a file of your own, and mark how each ends
    Cases(cases::CasesArgs),
    /// Put a whole file of texts through a schema, into a file of records
    Extract(extract::ExtractArgs),
    /// Score predictions against gold
    Eval(eval::EvalArgs),
    /// Write records for tables, annotation tools, graph databases and people
    Export(export::ExportArgs),
    /// Fetch a model by its name, resumed and checked
    Download(download::DownloadArgs),
    /// Verify, inspect, convert, recover, merge and quantize model files
    Weights(weights::WeightsArgs),
    /// Measure how fast this machine generates
    Bench(bench::BenchArgs),
    /// Read one document and print what is in it, as the other commands have it done
    #[command(hide = true, after_help = "Example:\n  knowlm read-document pdf report.pdf")]
    ReadDocument {
        /// Ending of its name
        ending: String,
        /// The file
        path: std::path::PathBuf,
        /// Most rows of a table
        #[arg(long, default_value_t = documents::limits::ROWS)]
        rows: usize,
        /// Most fields of a table, all rows together
        #[arg(long, default_value_t = documents::limits::CELLS)]
        cells: usize,
    },
    /// Do one piece of work on model files, told on standard input, as the server has it done
    #[command(hide = true, after_help = "Example:\n  knowlm work-on-weights < work.json")]
    WorkOnWeights(job::JobArgs),
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// It cannot be meant as given.
    #[error("{0}")]
    Usage(String),
    /// It failed.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    match run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("knowlm: {}", error.to_string().trim_end());
            ExitCode::from(if matches!(error, CliError::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let command = config::apply(Cli::command()).map_err(|e| CliError::Usage(e.to_string()))?;
    let matches = command.try_get_matches_from(arguments).map_err(misunderstood)?;
    let cli = Cli::from_arg_matches(&matches).map_err(misunderstood)?;
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Generate(args) => generate::run(&args),
        Command::Cases(args) => cases::run(&args),
        Command::Extract(args) => extract::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Download(args) => download::run(args),
        Command::Weights(args) => weights::run(args),
        Command::Bench(args) => bench::run(&args),
        Command::ReadDocument { ending, path, rows, cells } => {
            let reading = documents::Reading { lines: false, rows, cells };
            crate::files::say(&path, &ending, reading).map_err(CliError::failed)
        }
        Command::WorkOnWeights(args) => job::run(args),
    }
}

/// What was asked for as help is printed, and ends the program; the rest becomes one sentence.
fn misunderstood(error: clap::Error) -> CliError {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.exit()
        }
        _ => {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            let sentence = first.trim_start_matches("error:").split_whitespace().collect::<Vec<_>>().join(" ");
            CliError::Usage(format!("{sentence}; see --help"))
        }
    }
}

/// Writes to standard output. A reader that has gone, such as `head`, ends the program quietly.
fn out(text: &str) -> Result<(), CliError> {
    use std::io::{ErrorKind, Write};
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        done => done.map_err(|e| CliError::Failed(format!("standard output cannot be written to: {e}"))),
    }
}

/// Writes a value to standard output as one line of JSON.
fn out_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let json = serde_json::to_string(value).map_err(CliError::failed)?;
    out(&format!("{json}\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_shows_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains(&format!("knowlm {}", command.get_name())), "{}", command.get_name());
        }
    }

    #[test]
    fn mistakes_are_one_sentence() {
        let sentence = |line: &str| run(line.split(' ').map(OsString::from)).unwrap_err().to_string();
        assert_eq!(sentence("knowlm bogus"), "unrecognized subcommand 'bogus'; see --help");
        let missing = sentence("knowlm generate");
        assert!(missing.contains("--prompt") && !missing.contains('\n'), "{missing}");
        assert!(sentence("knowlm serve --listen nowhere").contains("'nowhere'"));
        assert!(sentence("knowlm generate --prompt x --temperature 7").contains("from 0 to 2"));
    }

    #[test]
    fn commands_are_read() {
        let read = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(read("knowlm generate --prompt Hi --temperature 0 --stop a --stop b --json").is_ok());
        assert!(read("knowlm generate --interactive --adapter none").is_ok());
        assert!(read("knowlm serve --adapter a=b --adapter c=d --auth login --listen 0.0.0.0:80").is_ok());
        assert!(read("knowlm generate").is_err());
        assert!(read("knowlm generate --prompt a --instruction b").is_err());
        assert!(read("knowlm generate --input b").is_err());
    }
}
