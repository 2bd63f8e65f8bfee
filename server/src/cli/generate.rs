//! `knowlm generate`: one answer, or a conversation of single answers.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::mpsc,
};

use clap::{ArgGroup, Args, builder::RangedU64ValueParser};
use engine::{ChatMessage, EngineEvent, GenerateRequest, Generator, Grammar, LocalEngine, Outcome};
use protocol::{AdapterManifest, FinishReason, Language, Mode, Parameters, TokenLogprob};
use serde::Serialize;

use super::{
    CliError,
    beams::BestSoFar,
    load::{Adapters, ModelArgs, load},
    out, out_json,
    sampling::SamplingArgs,
};
use crate::defaults::Defaults;

/// Options of `generate`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("ask").args(["prompt", "instruction", "chat", "interactive"]).required(true).multiple(true),
    after_help = "Examples:\n  knowlm generate --prompt 'The capital of France is' --max-new-tokens 20\n  \
        knowlm generate --instruction 'Extract the names.' --input 'Ada met Charles.' --json\n  \
        knowlm generate --prompt 'Born in the year' --guide-regex ' [0-9]{4}'\n  \
        knowlm generate --prompt 'Ada met Charles. Who? ' --guide-span 'Ada met Charles.'\n  \
        knowlm generate --chat 'Why is the sky blue?' --n 3 --temperature 0.8 --json\n  knowlm generate --interactive"
)]
pub struct GenerateArgs {
    /// Text to go on from, as it is (pretrain mode)
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["instruction", "interactive"])]
    prompt: Option<String>,
    /// What to do (LoRA mode: the prompt template, and the adapter)
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// What to do it with
    #[arg(long, value_name = "TEXT", requires = "instruction", conflicts_with = "interactive")]
    input: Option<String>,
    /// A message to the model, written as one turn of a conversation in the model's own chat template
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["prompt", "instruction", "interactive"])]
    chat: Option<String>,
    /// Answer each line of standard input: inputs to --instruction, instructions with --adapter, else prompts
    #[arg(long)]
    interactive: bool,
    /// Adapter to answer with: a name, a path or `none` [default: in LoRA mode the model's own]
    #[arg(long, env = "KNOWLM_ADAPTER", value_name = "NAME")]
    adapter: Option<String>,
    /// Answer with JSON that fits the JSON Schema in this file
    #[arg(long, value_name = "FILE", group = "guide", help_heading = "Guided decoding")]
    guide_json_schema: Option<PathBuf>,
    /// Answer with text that matches this regular expression as a whole
    #[arg(long, value_name = "REGEX", group = "guide", help_heading = "Guided decoding", allow_hyphen_values = true)]
    guide_regex: Option<String>,
    /// Answer with text that the Lark grammar in this file derives
    #[arg(long, value_name = "FILE", group = "guide", help_heading = "Guided decoding")]
    guide_lark: Option<PathBuf>,
    /// Answer with words of this text, one after the other
    #[arg(long, value_name = "TEXT", group = "guide", help_heading = "Guided decoding", allow_hyphen_values = true)]
    guide_span: Option<String>,
    /// Compute every token by itself; without this, what the prompt or an earlier answer makes likely is computed in one
    /// step. The text is the same either way
    #[arg(long)]
    no_lookup: bool,
    /// So many answers, drawn with one seed after the other; the prompt is read once
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=32))]
    n: usize,
    /// With --json: each token's log-probability, with so many alternatives
    #[arg(long, value_name = "NUMBER", requires = "json", value_parser = clap::value_parser!(u8).range(0..=20))]
    logprobs: Option<u8>,
    /// Added to a token's score, from -100 to 100: its number in the vocabulary, or its text
    #[arg(long, value_name = "TOKEN=NUMBER", allow_hyphen_values = true)]
    logit_bias: Vec<String>,
    /// Print one JSON object for each answer
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    text: &'a str,
    finish_reason: &'a str,
    prompt_tokens: u32,
    completion_tokens: u32,
    model: &'a str,
    adapter: Option<&'a str>,
    parameters: &'a Parameters,
    timings: protocol::Timings,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a [TokenLogprob]>,
}

/// What `--json` prints of several.
#[derive(Debug, Serialize)]
struct Answers<'a> {
    choices: Vec<Choice<'a>>,
    prompt_tokens: u32,
    completion_tokens: u32,
    model: &'a str,
    adapter: Option<&'a str>,
    parameters: &'a Parameters,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: usize,
    seed: Option<u64>,
    text: &'a str,
    finish_reason: &'a str,
    completion_tokens: u32,
    timings: protocol::Timings,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a [TokenLogprob]>,
}

pub fn run(args: &GenerateArgs) -> Result<(), CliError> {
    // Before the model is loaded: a mistyped flag is told at once.
    args.sampling.over(Defaults::of(None, None).lora).map_err(|e| CliError::Usage(e.to_string()))?;
    let blank = |text: &Option<String>| text.as_ref().is_some_and(|t| t.trim().is_empty());
    if blank(&args.prompt) || blank(&args.instruction) || blank(&args.chat) {
        return Err(CliError::Failed("the prompt is empty: give --prompt, --instruction or --chat some text".into()));
    }
    let guide = guide(args)?;
    let mode = match (&args.instruction, &args.adapter) {
        (Some(_), _) => Mode::Lora,
        // A conversation is no extraction, but has its sampling: it is to answer, not to write on.
        (None, _) if args.chat.is_some() => Mode::Lora,
        (None, Some(adapter)) if args.interactive && adapter != "none" => Mode::Lora,
        (None, _) => Mode::Pretrain,
    };
    let given: Option<Vec<String>> = args.adapter.clone().map(|a| vec![a]);
    let adapters = match (&given, mode) {
        (Some(given), _) => Adapters::Given(given),
        (None, Mode::Lora) if args.chat.is_none() => Adapters::Default,
        (None, _) => Adapters::None,
    };
    let engine = load(&args.model, adapters, |options| options.active = options.active.max(args.n))?;
    let adapter = engine.adapters().into_iter().next();
    let defaults = Defaults::of(engine.entry(), adapter.as_ref().map(|a| &a.manifest));
    let parameters = args.sampling.over(defaults.mode(mode).clone()).map_err(|e| CliError::Usage(e.to_string()))?;
    let parameters = Parameters { guided: guide.is_some(), ..parameters };
    check_numbers(args, &parameters)?;
    let logit_bias = args.logit_bias.iter().map(|given| bias(&engine, given)).collect::<Result<_, _>>()?;
    let asked = Asked {
        engine: &engine,
        adapter: adapter.as_ref().map(|a| a.name.clone()),
        parameters,
        guide,
        logit_bias,
        logprobs: args.logprobs,
        lookup: !args.no_lookup,
        n: args.n,
        json: args.json,
    };

    let manifest = adapter.as_ref().map(|a| &a.manifest);
    if args.interactive {
        return converse(&asked, mode, args.instruction.as_deref(), manifest);
    }
    match (&args.prompt, &args.instruction, &args.chat) {
        (Some(prompt), ..) => asked.answer(prompt.clone()),
        (None, Some(instruction), _) => {
            asked.answer(extract::prompt::prompt(manifest, None, instruction, args.input.as_deref()))
        }
        (None, None, Some(message)) => asked.answer(turn(&engine, message)?),
        (None, None, None) => Ok(()),
    }
}

/// Refuses numbers that cannot go together.
fn check_numbers(args: &GenerateArgs, parameters: &Parameters) -> Result<(), CliError> {
    if args.n > 1 && (parameters.beams > 1 || parameters.temperature == 0.0) {
        let sentence = "--n gives different answers only where they are drawn: use --temperature above 0 and one beam";
        return Err(CliError::Usage(sentence.into()));
    }
    if args.logprobs.is_some() && parameters.beams > 1 {
        return Err(CliError::Usage("--logprobs cannot be had with beams: use --beams 1".into()));
    }
    Ok(())
}

/// A message as one turn in the model's own chat template.
fn turn(engine: &LocalEngine, message: &str) -> Result<String, CliError> {
    let template = engine.chat_template().ok_or_else(|| {
        CliError::Failed(
            "this model has no chat template: write the prompt out with --prompt, or use --instruction".into(),
        )
    })?;
    let message = ChatMessage { role: "user".into(), content: message.to_owned() };
    template.render(&[message], true).map_err(CliError::failed)
}

/// A token and what is added to its score, of `TOKEN=NUMBER`.
fn bias(engine: &LocalEngine, given: &str) -> Result<(u32, f32), CliError> {
    let wrong = |what: String| CliError::Usage(format!("--logit-bias {given}: {what}; write it as TOKEN=NUMBER"));
    let (token, number) = given.rsplit_once('=').ok_or_else(|| wrong("there is no =".into()))?;
    let number = number.parse().map_err(|_| wrong(format!("\"{number}\" is no number")))?;
    if let Ok(id) = token.parse() {
        return Ok((id, number));
    }
    match engine.tokenize(token).map_err(CliError::failed)?.as_slice() {
        [id] => Ok((*id, number)),
        tokens => Err(wrong(format!("\"{token}\" is {} tokens, not one", tokens.len()))),
    }
}

/// What the answer must look like, as given.
fn guide(args: &GenerateArgs) -> Result<Option<Grammar>, CliError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|e| {
            CliError::Failed(format!("{} cannot be read: {e}. Give the path of a text file.", path.display()))
        })
    };
    if let Some(path) = &args.guide_json_schema {
        let schema = serde_json::from_str(&read(path)?)
            .map_err(|e| CliError::Failed(format!("{} is not JSON: {e}. Give a JSON Schema.", path.display())))?;
        return Ok(Some(Grammar::JsonSchema(schema)));
    }
    if let Some(path) = &args.guide_lark {
        return Ok(Some(Grammar::Lark(read(path)?)));
    }
    if let Some(text) = &args.guide_span {
        return Ok(Some(Grammar::Span { text: text.clone() }));
    }
    Ok(args.guide_regex.clone().map(Grammar::Regex))
}

fn converse(
    asked: &Asked<'_>,
    mode: Mode,
    instruction: Option<&str>,
    manifest: Option<&AdapterManifest>,
) -> Result<(), CliError> {
    let terminal = std::io::stdin().is_terminal();
    let invite = || {
        if terminal {
            eprint!("> ");
            let _ = std::io::stderr().flush();
        }
    };
    invite();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| CliError::Failed(format!("standard input cannot be read: {e}")))?;
        if !line.trim().is_empty() {
            let prompt = match (mode, instruction) {
                (Mode::Pretrain, _) => line,
                (Mode::Lora, Some(instruction)) => extract::prompt::prompt(manifest, None, instruction, Some(&line)),
                (Mode::Lora, None) => extract::prompt::prompt(manifest, None, &line, None),
            };
            // One answer that fails is told and does not end the conversation.
            if let Err(error) = asked.answer(prompt) {
                eprintln!("knowlm: {error}");
            }
        }
        invite();
    }
    Ok(())
}

struct Asked<'a> {
    engine: &'a LocalEngine,
    adapter: Option<String>,
    parameters: Parameters,
    guide: Option<Grammar>,
    logit_bias: Vec<(u32, f32)>,
    logprobs: Option<u8>,
    lookup: bool,
    n: usize,
    json: bool,
}

impl Asked<'_> {
    fn request(&self, prompt: String, parameters: Parameters) -> GenerateRequest {
        GenerateRequest {
            guide: self.guide.clone(),
            logit_bias: self.logit_bias.clone(),
            logprobs: self.logprobs,
            lookup: Some(self.lookup),
            ..GenerateRequest::new(prompt, self.adapter.clone(), parameters)
        }
    }

    fn answer(&self, prompt: String) -> Result<(), CliError> {
        let mut parameters = self.parameters.clone();
        parameters.seed.get_or_insert_with(|| u64::from(rand::random::<u32>()));
        if self.n > 1 {
            return self.answers(&prompt, &parameters);
        }
        let request = self.request(prompt, parameters.clone());
        let whole = parameters.beams > 1;
        let outcome = if self.json || whole {
            let mut best = whole.then(BestSoFar::new).flatten();
            let follow = move |event: &EngineEvent| {
                if let Some(best) = &mut best {
                    best.follow(event);
                }
            };
            self.engine.generate(request, follow).map_err(CliError::failed)?
        } else {
            self.stream(request)?
        };
        if outcome.finish_reason == FinishReason::Error {
            return Err(CliError::Failed(outcome.error.unwrap_or_else(|| "the model could not answer".into())));
        }
        if !self.json {
            if whole {
                out(&format!("{}\n", outcome.text))?;
            }
            eprintln!("{} {}", outcome.finish_reason.sentence(Language::En), figures(&outcome));
            return Ok(());
        }
        out_json(&Answer {
            text: &outcome.text,
            finish_reason: outcome.finish_reason.name(),
            prompt_tokens: outcome.prompt_tokens,
            completion_tokens: outcome.completion_tokens,
            model: &self.engine.model().name,
            adapter: self.adapter.as_deref(),
            parameters: &parameters,
            timings: outcome.timings,
            logprobs: self.logprobs.map(|_| outcome.logprobs.as_slice()),
        })
    }

    /// Several answers, generated side by side.
    fn answers(&self, prompt: &str, parameters: &Parameters) -> Result<(), CliError> {
        let seed = |i: usize| parameters.seed.map(|seed| seed.wrapping_add(i as u64));
        let mut waiting = Vec::new();
        for i in 0..self.n {
            let (said, heard) = mpsc::channel();
            let request = self.request(prompt.to_owned(), Parameters { seed: seed(i), ..parameters.clone() });
            let sink = move |event| {
                if let EngineEvent::Done(outcome) = event {
                    // Fails only when another answer has failed.
                    let _ = said.send(outcome);
                }
            };
            self.engine.submit(request, Box::new(sink)).map_err(CliError::failed)?;
            waiting.push(heard);
        }
        let mut outcomes = Vec::new();
        for (i, heard) in waiting.into_iter().enumerate() {
            let outcome = heard.recv().map_err(|_| CliError::Failed("the model could not answer".into()))?;
            if outcome.finish_reason == FinishReason::Error {
                return Err(CliError::Failed(outcome.error.unwrap_or_else(|| "the model could not answer".into())));
            }
            if !self.json {
                out(&format!("[{}/{}]\n{}\n", i + 1, self.n, outcome.text))?;
                eprintln!("{} {} tokens.", outcome.finish_reason.sentence(Language::En), outcome.completion_tokens);
            }
            outcomes.push(outcome);
        }
        if !self.json {
            return Ok(());
        }
        let mut choices = Vec::new();
        for (index, outcome) in outcomes.iter().enumerate() {
            choices.push(Choice {
                index,
                seed: seed(index),
                text: &outcome.text,
                finish_reason: outcome.finish_reason.name(),
                completion_tokens: outcome.completion_tokens,
                timings: outcome.timings,
                logprobs: self.logprobs.map(|_| outcome.logprobs.as_slice()),
            });
        }
        out_json(&Answers {
            choices,
            prompt_tokens: outcomes.first().map_or(0, |o| o.prompt_tokens),
            completion_tokens: outcomes.iter().map(|o| o.completion_tokens).sum(),
            model: &self.engine.model().name,
            adapter: self.adapter.as_deref(),
            parameters,
        })
    }

    /// Prints the answer as it comes.
    fn stream(&self, request: GenerateRequest) -> Result<Outcome, CliError> {
        let (said, heard) = mpsc::channel();
        let printer = std::thread::spawn(move || print(heard));
        let outcome = self.engine.generate(request, move |event| {
            // Fails only when standard output has.
            let _ = said.send(event.clone());
        });
        match printer.join() {
            Ok(printed) => printed?,
            Err(_) => return Err(CliError::Failed("the answer could not be printed".into())),
        }
        outcome.map_err(CliError::failed)
    }
}

/// How much was generated, and where the time went.
fn figures(outcome: &Outcome) -> String {
    let t = &outcome.timings;
    let mut text = format!(
        "{} tokens, {:.1} tokens/s; waited {:.0} ms, read the prompt in {:.0} ms, answered in {:.0} ms",
        outcome.completion_tokens, t.tokens_per_second, t.queue_ms, t.prefill_ms, t.decode_ms
    );
    if t.mask_ms > 0.0 {
        text += &format!(", of which {:.1} ms to guide it", t.mask_ms);
    }
    if t.guessed > 0 {
        text += &format!("; {} of {} guesses right", t.accepted, t.guessed);
    }
    text + "."
}

/// What is printed cannot be taken back: when the engine cuts a loop off, what was printed of it stays, and the
/// summary says why the answer ended.
fn print(heard: mpsc::Receiver<EngineEvent>) -> Result<(), CliError> {
    let mut printed = 0;
    for event in heard {
        match event {
            EngineEvent::Text { at, text, .. } => {
                let end = at + text.chars().count();
                let new: String = text.chars().skip(printed.max(at) - at).collect();
                out(&new)?;
                printed = printed.max(end);
            }
            EngineEvent::Done(_) => out("\n")?,
            EngineEvent::Queued { .. } | EngineEvent::Started { .. } => {}
        }
    }
    Ok(())
}
