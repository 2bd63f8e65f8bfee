//! `knowlm bench`: how fast this machine generates.

use std::{
    io::IsTerminal,
    sync::mpsc,
    time::{Duration, Instant},
};

use clap::Args;
use engine::{EngineEvent, GenerateRequest, Generator, LocalEngine, Outcome};
use protocol::Parameters;
use serde::Serialize;

use super::{
    CliError,
    load::{Adapters, ModelArgs, load},
    out, out_json,
};

/// Tokens of `decode`, prompt tokens of `prefill_512`, runs of `decode_16`, and tokens of each of those.
const DECODE_TOKENS: u32 = 128;
const PREFILL_TOKENS: u32 = 512;
const RUNS: usize = 16;
const TOKENS_EACH: u32 = 64;
/// Samples taken at most until a measurement has its tokens; the model may end a text early.
const MAX_SAMPLES: u64 = 16;

/// Options of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm bench\n  knowlm bench --only decode,prefill_512 --json")]
pub struct BenchArgs {
    /// Measurements, of decode, prefill_512 and decode_16 [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
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
}

type Measure = fn(&LocalEngine) -> Result<(u32, f64), CliError>;
const ALL: [(&str, Measure); 3] = [("decode", decode), ("prefill_512", prefill), ("decode_16", decode_together)];

pub fn run(args: &BenchArgs) -> Result<(), CliError> {
    let names = ALL.map(|(name, _)| name);
    if let Some(unknown) = args.only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(CliError::Usage(format!("there is no measurement \"{unknown}\"; there are {}", names.join(", "))));
    }
    let engine = load(&args.model, Adapters::None, |options| options.active = RUNS)?;
    // The first run touches every weight once; it is no measurement.
    generate(&engine, "Warm up.", 8, 0)?;
    let mut results = Vec::new();
    for (name, measure) in ALL {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        if std::io::stderr().is_terminal() {
            eprintln!("{name} …");
        }
        let (tokens, seconds) = measure(&engine)?;
        results.push(Measured { name, tokens_per_second: f64::from(tokens) / seconds, tokens, seconds });
    }
    let info = engine.model();
    let report = Report { machine: machine(), model: info.name, format: info.format, results };
    if args.json {
        return out_json(&report);
    }
    let cpu = report.machine.cpu.as_deref().unwrap_or(report.machine.arch);
    out(&format!("{} ({}), {cpu}, {} cores\n", report.model, report.format, report.machine.cores))?;
    report.results.iter().try_for_each(|r| {
        out(&format!(
            "{:<12} {:>10.1} tokens/s   {:>5} tokens in {:.2} s\n",
            r.name, r.tokens_per_second, r.tokens, r.seconds
        ))
    })
}

/// One run: tokens after the first over the time they took.
fn decode(engine: &LocalEngine) -> Result<(u32, f64), CliError> {
    let (mut tokens, mut ms) = (0, 0.0);
    for seed in 0..MAX_SAMPLES {
        let outcome = generate(engine, "Once upon a time", DECODE_TOKENS - tokens + 1, seed)?;
        tokens += outcome.completion_tokens.saturating_sub(1);
        ms += outcome.timings.decode_ms;
        if tokens >= DECODE_TOKENS {
            break;
        }
    }
    measured(tokens, ms / 1000.0)
}

/// One prompt of 512 tokens, until its first token.
fn prefill(engine: &LocalEngine) -> Result<(u32, f64), CliError> {
    let request = |words: usize| {
        let prompt = (0..words).map(|n| format!(" {}", n % 10)).collect::<String>();
        plain(format!("Count:{prompt}"), parameters(1, 0))
    };
    let tokens = |words: usize| engine.check(&request(words)).map_err(CliError::failed);
    // The longest prompt of this form with at most 512 tokens.
    let (mut fits, mut too_long) = (1, PREFILL_TOKENS as usize + 1);
    while too_long - fits > 1 {
        let middle = fits.midpoint(too_long);
        if tokens(middle)? <= PREFILL_TOKENS { fits = middle } else { too_long = middle }
    }
    let outcome = engine.generate(request(fits), |_| {}).map_err(CliError::failed)?;
    measured(outcome.prompt_tokens, outcome.timings.prefill_ms / 1000.0)
}

/// Sixteen runs at once: all their tokens over the time from the first token of any to the last of all.
fn decode_together(engine: &LocalEngine) -> Result<(u32, f64), CliError> {
    let (said, heard) = mpsc::channel();
    for seed in 0..RUNS as u64 {
        let said = said.clone();
        let prompt = format!("Story {seed}. Once upon a time");
        let request = plain(prompt, parameters(TOKENS_EACH, seed));
        let sink = move |event| {
            let _ = said.send((Instant::now(), event));
        };
        engine.submit(request, Box::new(sink)).map_err(CliError::failed)?;
    }
    drop(said);
    let (mut first, mut last) = (None, None);
    let mut tokens = 0;
    for (at, event) in heard {
        match event {
            EngineEvent::Text { .. } => {
                first.get_or_insert(at);
                last = Some(at);
            }
            EngineEvent::Done(outcome) => tokens += outcome.completion_tokens,
            EngineEvent::Queued { .. } | EngineEvent::Started { .. } => {}
        }
    }
    let time = first.zip(last).map_or(Duration::ZERO, |(first, last): (Instant, Instant)| last - first);
    measured(tokens, time.as_secs_f64())
}

fn generate(engine: &LocalEngine, prompt: &str, tokens: u32, seed: u64) -> Result<Outcome, CliError> {
    engine.generate(plain(prompt.into(), parameters(tokens, seed)), |_| {}).map_err(CliError::failed)
}

/// A run of the base that computes every token: what is measured is the model, not how well it can be guessed.
fn plain(prompt: String, parameters: Parameters) -> GenerateRequest {
    GenerateRequest { lookup: Some(false), ..GenerateRequest::new(prompt, None, parameters) }
}

/// Varied text, so that no loop ends it early.
fn parameters(max_new_tokens: u32, seed: u64) -> Parameters {
    Parameters { temperature: 1.0, top_k: 40, max_new_tokens, seed: Some(seed), ..Parameters::neutral() }
}

fn measured(tokens: u32, seconds: f64) -> Result<(u32, f64), CliError> {
    if tokens == 0 || seconds <= 0.0 {
        return Err(CliError::Failed("the model ended every text at once; nothing could be measured".into()));
    }
    Ok((tokens, seconds))
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
