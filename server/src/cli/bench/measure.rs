//! The measurements of `knowlm bench`.

use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use engine::{EngineEvent, GenerateRequest, Generator, LocalEngine, Outcome};
use extract::prompt;
use protocol::Parameters;
use serde::Deserialize;

use crate::{assets, cli::CliError};

/// Tokens of `decode`, prompt tokens of `prefill_512`, runs of `decode_16`, and tokens of each of those.
const DECODE_TOKENS: u32 = 128;
const PREFILL_TOKENS: u32 = 512;
pub const RUNS: usize = 16;
const TOKENS_EACH: u32 = 64;
/// Tokens of an extraction.
const ANSWER_TOKENS: u32 = 64;
/// Comparisons are measured so often in turn.
const ROUNDS: u64 = 5;

/// The instruction and the texts of `extract_64`.
const EXTRACTIONS: &str = include_str!("../../../../assets/bench.json");

/// What was computed and how long it took; `ratio` where two ways of computing it are compared.
pub struct Measurement {
    pub tokens: u32,
    pub seconds: f64,
    pub ratio: Option<f64>,
}

impl Measurement {
    fn of(tokens: u32, seconds: f64) -> Option<Self> {
        Some(Self { tokens, seconds, ratio: None })
    }
}

/// Nothing where there is no adapter and one is needed.
type Measure = fn(&Bench) -> Result<Option<Measurement>, CliError>;

pub const ALL: [(&str, Measure); 7] = [
    ("decode", decode),
    ("prefill_512", prefill),
    ("decode_16", decode_together),
    ("pair", pair),
    ("pair_request", pair_request),
    ("lookup", lookup),
    ("extract_64", extract_together),
];

/// The engine, and what it is given to read.
pub struct Bench {
    pub engine: LocalEngine,
    /// Prompts of extractions, for the adapter.
    prompts: Vec<String>,
}

#[derive(Deserialize)]
struct Extractions {
    instruction: String,
    texts: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    text: String,
}

impl Bench {
    pub fn new(engine: LocalEngine, texts: Option<&Path>) -> Result<Self, CliError> {
        let adapters = engine.adapters();
        let taught = adapters.first().map(|a| a.manifest.taught.clone()).unwrap_or_default();
        let prompt = |instruction: &str, text: &str| prompt::alpaca(instruction, Some(text));
        let prompts = match texts {
            Some(path) => {
                let failed = |what: &dyn std::fmt::Display| CliError::Failed(format!("{}: {what}", path.display()));
                let file = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
                let instruction = taught.first().map(|t| t.instruction.clone()).unwrap_or_default();
                let one = |(i, line)| match serde_json::from_str::<Line>(line) {
                    Ok(line) => Ok(prompt(&instruction, &line.text)),
                    Err(e) => Err(failed(&format!("line {}: {e}", i + 1))),
                };
                let lines = file.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
                lines.map(one).collect::<Result<Vec<_>, _>>()?
            }
            None => assets::examples()
                .iter()
                .filter_map(|example| {
                    let taught = taught.iter().find(|t| t.name == example.schema)?;
                    Some(prompt(&taught.instruction, &example.text))
                })
                .collect(),
        };
        Ok(Self { engine, prompts })
    }

    /// Touches every weight, and memory for all the runs; this is no measurement.
    pub fn warm_up(&self) -> Result<(), CliError> {
        together(self, (0..RUNS).map(|i| self.varied(format!("Warm up {i}."), None, TOKENS_EACH, i as u64)))?;
        Ok(())
    }

    fn generate(&self, request: GenerateRequest) -> Result<Outcome, CliError> {
        self.engine.generate(request, |_| {}).map_err(CliError::failed)
    }

    fn adapter(&self) -> Option<String> {
        self.engine.adapters().first().map(|a| a.name.clone())
    }

    /// So many tokens of varied text: neither a loop nor an end token, which is forbidden, ends it early.
    fn varied(&self, prompt: String, adapter: Option<String>, tokens: u32, seed: u64) -> GenerateRequest {
        let parameters = Parameters {
            temperature: 1.0,
            top_k: 40,
            max_new_tokens: tokens,
            seed: Some(seed),
            ..Parameters::neutral()
        };
        let logit_bias = self.engine.end_tokens().iter().map(|token| (*token, -100.0)).collect();
        GenerateRequest { logit_bias, ..plain(prompt, adapter, parameters) }
    }
}

/// A run that computes every token: what is measured is the model, not how well it can be guessed.
fn plain(prompt: String, adapter: Option<String>, parameters: Parameters) -> GenerateRequest {
    GenerateRequest { lookup: Some(false), ..GenerateRequest::new(prompt, adapter, parameters) }
}

fn greedy(max_new_tokens: u32) -> Parameters {
    Parameters { max_new_tokens, ..Parameters::neutral() }
}

/// Runs some requests at once: their ends, and the time from the first token of any to the last of all, and from the
/// first request on.
struct Together {
    outcomes: Vec<Outcome>,
    answering: Duration,
    all: Duration,
}

fn together(bench: &Bench, requests: impl IntoIterator<Item = GenerateRequest>) -> Result<Together, CliError> {
    let (said, heard) = mpsc::channel();
    let start = Instant::now();
    for request in requests {
        let said = said.clone();
        let sink = move |event| {
            let _ = said.send((Instant::now(), event));
        };
        bench.engine.submit(request, Box::new(sink)).map_err(CliError::failed)?;
    }
    drop(said);
    let (mut first, mut last, mut end) = (None, None, start);
    let mut outcomes = Vec::new();
    for (at, event) in heard {
        match event {
            EngineEvent::Text { .. } => {
                first.get_or_insert(at);
                last = Some(at);
            }
            EngineEvent::Done(outcome) => {
                outcomes.push(outcome);
                end = at;
            }
            EngineEvent::Queued { .. } | EngineEvent::Started { .. } => {}
        }
    }
    let answering = first.zip(last).map_or(Duration::ZERO, |(first, last): (Instant, Instant)| last - first);
    Ok(Together { outcomes, answering, all: end - start })
}

fn tokens(outcomes: &[Outcome]) -> u32 {
    outcomes.iter().map(|o| o.completion_tokens).sum()
}

/// One run: tokens after the first over the time they took.
fn decode(bench: &Bench) -> Result<Option<Measurement>, CliError> {
    let outcome = bench.generate(bench.varied("Once upon a time".into(), None, DECODE_TOKENS + 1, 0))?;
    Ok(Measurement::of(outcome.completion_tokens.saturating_sub(1), outcome.timings.decode_ms / 1000.0))
}

/// One prompt of 512 tokens, until its first token.
fn prefill(bench: &Bench) -> Result<Option<Measurement>, CliError> {
    let request = |words: usize| {
        let prompt = (0..words).map(|n| format!(" {}", n % 10)).collect::<String>();
        plain(format!("Count:{prompt}"), None, greedy(1))
    };
    let tokens = |words: usize| bench.engine.check(&request(words)).map_err(CliError::failed);
    // The longest prompt of this form with at most 512 tokens.
    let (mut fits, mut too_long) = (1, PREFILL_TOKENS as usize + 1);
    while too_long - fits > 1 {
        let middle = fits.midpoint(too_long);
        if tokens(middle)? <= PREFILL_TOKENS { fits = middle } else { too_long = middle }
    }
    let outcome = bench.generate(request(fits))?;
    Ok(Measurement::of(outcome.prompt_tokens, outcome.timings.prefill_ms / 1000.0))
}

/// Sixteen runs at once: all their tokens over the time from the first token of any to the last of all.
fn decode_together(bench: &Bench) -> Result<Option<Measurement>, CliError> {
    let request = |i| bench.varied(format!("Story {i}. Once upon a time"), None, TOKENS_EACH, i as u64);
    let run = together(bench, (0..RUNS).map(request))?;
    Ok(Measurement::of(tokens(&run.outcomes), run.answering.as_secs_f64()))
}

/// Base and adapter at once: time for a token of each against time for a token of the base alone, in turn.
fn pair(bench: &Bench) -> Result<Option<Measurement>, CliError> {
    let Some(adapter) = bench.adapter() else { return Ok(None) };
    let (mut count, mut seconds, mut ratios) = (0, 0.0, Vec::new());
    for seed in 0..ROUNDS {
        let request = |adapter| bench.varied("Once upon a time".into(), adapter, DECODE_TOKENS, seed);
        let alone = together(bench, [request(None)])?;
        let both = together(bench, [request(None), request(Some(adapter.clone()))])?;
        // Steps in which both were answering; an adapter may have an end token of its own.
        let ms = |outcomes: &[Outcome]| {
            let shortest = outcomes.iter().min_by_key(|o| o.completion_tokens);
            shortest.map_or(0.0, |o| o.timings.decode_ms / f64::from(o.completion_tokens.max(2) - 1))
        };
        ratios.push(ms(&both.outcomes) / ms(&alone.outcomes));
        count += tokens(&both.outcomes);
        seconds += both.answering.as_secs_f64();
    }
    Ok(Some(Measurement { tokens: count, seconds, ratio: middle(ratios) }))
}

/// Base and adapter on an extraction, both at once and from the beginning, against the base alone.
fn pair_request(bench: &Bench) -> Result<Option<Measurement>, CliError> {
    let Some(adapter) = bench.adapter() else { return Ok(None) };
    let extractions = extractions()?;
    let (mut count, mut seconds, mut ratios) = (0, 0.0, Vec::new());
    // Two texts a round, each never seen before; otherwise the prefix of the prompt would be remembered.
    for (round, texts) in extractions.texts.chunks_exact(2).take(ROUNDS as usize).enumerate() {
        let request = |text: &str, adapter| {
            let instruction = format!("{round}. {}", extractions.instruction);
            plain(prompt::alpaca(&instruction, Some(text)), adapter, greedy(ANSWER_TOKENS))
        };
        let alone = together(bench, [request(&texts[0], None)])?;
        // A beginning of its own, so that nothing is remembered of the one before.
        let other = |adapter| {
            let request: GenerateRequest = request(&texts[0], adapter);
            GenerateRequest { prompt: format!("Again. {}", request.prompt), ..request }
        };
        let both = together(bench, [other(None), other(Some(adapter.clone()))])?;
        ratios.push(both.all.as_secs_f64() / alone.all.as_secs_f64());
        count += tokens(&both.outcomes);
        seconds += both.all.as_secs_f64();
    }
    Ok(Some(Measurement { tokens: count, seconds, ratio: middle(ratios) }))
}

/// Extractions one after another, each asked for the first time: decoding without guesses against decoding with them.
fn lookup(bench: &Bench) -> Result<Option<Measurement>, CliError> {
    let Some(adapter) = bench.adapter() else { return Ok(None) };
    let (mut count, mut with, mut without) = (0, 0.0, 0.0);
    for prompt in &bench.prompts {
        // Unguessed first: what guesses learn from is only remembered of runs that guess.
        for guess in [false, true] {
            let request = plain(prompt.clone(), Some(adapter.clone()), greedy(160));
            let outcome = bench.generate(GenerateRequest { lookup: Some(guess), ..request })?;
            if guess {
                count += outcome.completion_tokens.saturating_sub(1);
                with += outcome.timings.decode_ms;
            } else {
                without += outcome.timings.decode_ms;
            }
        }
    }
    Ok(Some(Measurement { tokens: count, seconds: with / 1000.0, ratio: Some(without / with) }))
}

/// 64 extractions that share an instruction, by the base, all asked at once.
fn extract_together(bench: &Bench) -> Result<Option<Measurement>, CliError> {
    let Extractions { instruction, texts } = extractions()?;
    let request = |text: &String| {
        let prompt = prompt::alpaca(&instruction, Some(text));
        GenerateRequest::new(prompt, None, greedy(ANSWER_TOKENS))
    };
    let run = together(bench, texts.iter().map(request))?;
    Ok(Measurement::of(tokens(&run.outcomes), run.all.as_secs_f64()))
}

fn extractions() -> Result<Extractions, CliError> {
    serde_json::from_str(EXTRACTIONS).map_err(CliError::failed)
}

fn middle(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}
