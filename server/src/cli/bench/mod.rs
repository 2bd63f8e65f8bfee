//! `knowlm bench`: how fast this machine generates.

mod measure;

use std::{io::IsTerminal, path::PathBuf};

use clap::Args;
use engine::Generator;
use serde::Serialize;

use super::{
    CliError,
    load::{Adapters, ModelArgs, load},
    out, out_json,
};
use measure::{ALL, Bench, Measurement, RUNS};

/// Options of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "Measurements:
  decode       one run, 128 tokens
  prefill_512  one prompt of 512 tokens
  decode_16    sixteen runs at once
  pair         base and adapter on one input, both at once; ratio: a step of both over a step of the base alone
  pair_request the same, whole requests; ratio: the time of both over the time of the base alone
  lookup       greedy extractions, guessing from the prompt; ratio: the same without, over with
  extract_64   64 extractions with one instruction of 200 tokens, at once

Examples:
  knowlm bench
  knowlm bench --only decode,prefill_512 --json")]
pub struct BenchArgs {
    /// Some of the measurements [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Texts for `lookup`: a file of JSON lines with \"text\" [default: the shipped examples]
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    model: String,
    format: String,
    results: Vec<Measured>,
}

#[derive(Debug, Serialize)]
struct Machine {
    os: &'static str,
    arch: &'static str,
    cpu: Option<String>,
    cores: usize,
}

#[derive(Debug, Serialize)]
struct Measured {
    name: &'static str,
    tokens_per_second: f64,
    tokens: u32,
    seconds: f64,
    /// Of the measurements that are a comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

pub fn run(args: &BenchArgs) -> Result<(), CliError> {
    let names = ALL.map(|(name, _)| name);
    if let Some(unknown) = args.only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(CliError::Usage(format!("there is no measurement \"{unknown}\"; there are {}", names.join(", "))));
    }
    let engine = load(&args.model, Adapters::Default, |options| options.active = RUNS)?;
    let bench = Bench::new(engine, args.texts.as_deref())?;
    bench.warm_up()?;
    let mut results = Vec::new();
    for (name, measure) in ALL {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        if std::io::stderr().is_terminal() {
            eprintln!("{name} …");
        }
        let Some(Measurement { tokens, seconds, ratio }) = measure(&bench)? else {
            eprintln!("knowlm: {name} needs an adapter, and this model has none; left out");
            continue;
        };
        if tokens == 0 || seconds <= 0.0 {
            return Err(CliError::Failed("the model ended every text at once; nothing could be measured".into()));
        }
        results.push(Measured { name, tokens_per_second: f64::from(tokens) / seconds, tokens, seconds, ratio });
    }
    let info = bench.engine.model();
    let report = Report { machine: machine(), model: info.name, format: info.format, results };
    if args.json {
        return out_json(&report);
    }
    let cpu = report.machine.cpu.as_deref().unwrap_or(report.machine.arch);
    out(&format!("{} ({}), {}, {cpu}, {} cores\n", report.model, report.format, info.backend, report.machine.cores))?;
    report.results.iter().try_for_each(|r| {
        let ratio = r.ratio.map_or(String::new(), |ratio| format!("   ratio {ratio:.2}"));
        out(&format!(
            "{:<12} {:>10.1} tokens/s   {:>5} tokens in {:.2} s{ratio}\n",
            r.name, r.tokens_per_second, r.tokens, r.seconds
        ))
    })
}

fn machine() -> Machine {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu =
        cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, v)| v.trim().to_owned()));
    Machine {
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        cpu,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    }
}
