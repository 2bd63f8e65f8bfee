//! Developer commands behind the Makefile: `cargo xtask build | model | e2e | bench | bench-weights | lint-browser | docs`.
//!
//! What must run before Rust can is in `scripts/setup.sh`; everything after that is here, so that it
//! is typed, tested and the same on every machine.

mod bench;
mod bench_weights;
mod browser;
mod docs;
mod e2e;
mod files;
mod model;
mod process;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Developer commands of KnowLM Studio.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the pages' browser half into target/site, then the binary target/release/knowlm.
    Build {
        /// Faster to build, larger to load: no optimisation of the browser half. The binary is the same.
        #[arg(long)]
        dev: bool,
        /// Only the browser half.
        #[arg(long)]
        site_only: bool,
    },
    /// Fetches the default model into the data folder, unless it is there already.
    Model,
    /// Runs the browser tests against target/release/knowlm; fetches what they need.
    E2e {
        /// Names of test files or parts of them; all when empty.
        filter: Vec<String>,
    },
    /// Prints this machine's prefill and decode speed, beside llama.cpp's where that is on the PATH.
    Bench {
        /// Passed on to `knowlm bench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measures time and memory of recovering, merging and converting a large made-up model, beside a copy of the same
    /// bytes and, with --python, beside torch, transformers and peft. Takes a good three times the model's room on the disk.
    BenchWeights {
        /// The model's size in 16 bits, in GB.
        #[arg(long, default_value_t = 8.0)]
        gigabytes: f64,
        /// Where its files go; must not be there yet, and is removed [default: target/bench-weights].
        #[arg(long)]
        dir: Option<PathBuf>,
        /// A Python with torch, transformers and peft.
        #[arg(long)]
        python: Option<String>,
    },
    /// Runs clippy over the crates that go to the browser, for the browser's target.
    LintBrowser,
    /// Writes docs/parameters.md from the parameter table.
    Docs,
}

fn main() -> ExitCode {
    match perform(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("       because {cause}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Build { dev, site_only } => {
            browser::build_site(dev)?;
            if site_only { Ok(()) } else { browser::build_server() }
        }
        Command::Model => model::fetch_default(),
        Command::E2e { filter } => e2e::run_tests(&filter),
        Command::Bench { args } => bench::bench(&args),
        Command::BenchWeights { gigabytes, dir, python } => bench_weights::bench(gigabytes, dir, python.as_deref()),
        Command::LintBrowser => browser::lint(),
        Command::Docs => docs::write(),
    }
}
