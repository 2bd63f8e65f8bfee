//! `knowlm cases`: the published cases, or a file of one's own, each marked by how it ended.

use std::{collections::BTreeMap, path::Path};

use clap::Args;
use engine::{GenerateRequest, Generator, LocalEngine};
use protocol::{FinishReason, Mode, ParameterPatch, Parameters, params::MAX_BEAMS};
use serde::Serialize;

use super::{
    CliError,
    load::{Adapters, ModelArgs, load},
    out, out_json,
};
use crate::{
    assets,
    cases::{self, Case, CaseGroup},
    defaults::Defaults,
};

/// Options of `cases`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm cases pretrain --limit 3\n  knowlm cases ie --json\n  \
    knowlm cases mine.json\n\nA file of your own: {\"defaults\": {\"temperature\": 0}, \"cases\": [{\"prompt\": \"Once\"},\n  \
    {\"instruction\": \"Extract the names.\", \"input\": \"Ada met Charles.\", \"parameters\": {\"max_new_tokens\": 64}}]}")]
pub struct CasesArgs {
    /// `pretrain`, `ie` or `general` for the published cases, or a JSON file of the same form
    #[arg(value_name = "pretrain|ie|general|FILE")]
    cases: String,
    /// Run only the first so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Adapter of cases with an instruction: a name, a path or `none` [default: the model's own]
    #[arg(long, env = "KNOWLM_ADAPTER", value_name = "NAME")]
    adapter: Option<String>,
    /// Print one JSON object with all results at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    adapter: Option<String>,
    cases: Vec<CaseResult>,
    summary: BTreeMap<String, usize>,
}

#[derive(Debug, Serialize)]
struct CaseResult {
    group: String,
    topic: Option<String>,
    prompt: Option<String>,
    instruction: Option<String>,
    input: Option<String>,
    /// As it was run.
    parameters: Parameters,
    published_mark: Option<String>,
    mark: String,
    finish_reason: String,
    error: Option<String>,
    text: String,
    prompt_tokens: u32,
    completion_tokens: u32,
    timings: protocol::Timings,
}

pub fn run(args: &CasesArgs) -> Result<(), CliError> {
    let groups = groups(&args.cases)?;
    let given: Option<Vec<String>> = args.adapter.clone().map(|a| vec![a]);
    let adapters = given.as_deref().map_or(Adapters::Default, Adapters::Given);
    let engine = load(&args.model, adapters, |_| {})?;
    let adapter = engine.adapters().into_iter().next();
    let defaults = Defaults::of(engine.entry(), adapter.as_ref().map(|a| &a.manifest));
    let adapter = adapter.map(|a| a.name);

    let all: Vec<(String, ParameterPatch, Case)> = groups
        .into_iter()
        .flat_map(|(name, group)| group.cases.into_iter().map(move |c| (name.clone(), group.defaults.clone(), c)))
        .take(args.limit.unwrap_or(usize::MAX))
        .collect();
    let mut results = Vec::with_capacity(all.len());
    let mut told_of_beams = false;
    let count = all.len();
    for (number, (group, patch, case)) in all.into_iter().enumerate() {
        let Some((mode, prompt)) = case.prompt() else { continue };
        let mut parameters = defaults.mode(mode).clone().with(&patch).with(&case.parameters);
        if parameters.beams > MAX_BEAMS {
            if !told_of_beams {
                eprintln!(
                    "knowlm: these cases ask for more than {MAX_BEAMS} beams; they are searched with {MAX_BEAMS}."
                );
                told_of_beams = true;
            }
            parameters.beams = MAX_BEAMS;
        }
        let adapter = adapter.clone().filter(|_| mode == Mode::Lora);
        let result = answer(&engine, GenerateRequest::new(prompt, adapter, parameters), group, case);
        if args.json {
            eprintln!("{}/{count} {}", number + 1, result.mark);
        } else {
            print(number + 1, count, &result)?;
        }
        results.push(result);
    }
    let mut summary: BTreeMap<String, usize> =
        ["finished", "cut off", "repeated"].into_iter().map(|mark| (mark.to_owned(), 0)).collect();
    for result in &results {
        *summary.entry(result.mark.clone()).or_default() += 1;
    }
    if args.json {
        return out_json(&Report { model: engine.model().name, adapter, cases: results, summary });
    }
    let marks: Vec<String> = summary.iter().map(|(mark, count)| format!("{mark} {count}")).collect();
    out(&format!("{count} cases: {}\n", marks.join(", ")))
}

fn groups(name: &str) -> Result<Vec<(String, CaseGroup)>, CliError> {
    if let Some(group) = assets::cases().get(name) {
        return Ok(vec![(name.to_owned(), group.clone())]);
    }
    let path = Path::new(name);
    let json = std::fs::read_to_string(path).map_err(|e| {
        CliError::Failed(format!("there are no cases \"{name}\" (pretrain, ie, general), and as a file: {e}"))
    })?;
    let file = cases::read(&json).map_err(|reason| CliError::Failed(format!("{name} {reason}")))?;
    Ok(file.into_iter().collect())
}

fn answer(engine: &LocalEngine, mut request: GenerateRequest, group: String, case: Case) -> CaseResult {
    request.parameters.seed.get_or_insert(0);
    let mut result = CaseResult {
        group,
        topic: case.topic,
        prompt: case.prompt,
        instruction: case.instruction,
        input: case.input,
        parameters: request.parameters.clone(),
        published_mark: case.published_mark,
        mark: FinishReason::Error.mark().into(),
        finish_reason: FinishReason::Error.name().into(),
        error: None,
        text: String::new(),
        prompt_tokens: 0,
        completion_tokens: 0,
        timings: protocol::Timings::default(),
    };
    match engine.generate(request, |_| {}) {
        Ok(outcome) => {
            result.mark = outcome.finish_reason.mark().into();
            result.finish_reason = outcome.finish_reason.name().into();
            result.error = outcome.error;
            result.text = outcome.text;
            result.prompt_tokens = outcome.prompt_tokens;
            result.completion_tokens = outcome.completion_tokens;
            result.timings = outcome.timings;
        }
        Err(error) => result.error = Some(error.to_string()),
    }
    result
}

fn print(number: usize, count: usize, result: &CaseResult) -> Result<(), CliError> {
    let asked = match (&result.prompt, &result.instruction, &result.input) {
        (Some(prompt), _, _) => prompt.clone(),
        (None, Some(instruction), Some(input)) => format!("{instruction}\n{input}"),
        (None, instruction, _) => instruction.clone().unwrap_or_default(),
    };
    let topic = result.topic.as_deref().unwrap_or("-");
    let published = result.published_mark.as_ref().map(|mark| format!(" (published: {mark})")).unwrap_or_default();
    let answer = result.error.as_ref().unwrap_or(&result.text);
    out(&format!(
        "[{number}/{count}] {topic}: {}{published}, {} tokens, {:.1} tokens/s\n> {}\n{}\n\n",
        result.mark,
        result.completion_tokens,
        result.timings.tokens_per_second,
        asked.replace('\n', "\n> "),
        answer.trim(),
    ))
}
