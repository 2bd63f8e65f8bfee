//! Guided answers of the default model and its adapter.
//!
//! These tests need the model's file. Where it is missing they say so and pass; `make model` fetches it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeMap,
    sync::{OnceLock, mpsc::channel},
};

use checkpoint::find::{find_adapter, find_model};
use engine::{EngineEvent, EngineOptions, GenerateRequest, Generator, Grammar, LocalEngine, Outcome, SubmitError};
use extract::{
    output::Extraction,
    score::{self, Comparison, Interval, Pair, Scored},
};
use protocol::{FinishReason, Language, Mode, Parameters, SchemaChoice, Task};
use serde_json::{Value, json};

const ADAPTER: &str = "ie-smollm2";

fn engine() -> Option<&'static LocalEngine> {
    static ENGINE: OnceLock<Option<LocalEngine>> = OnceLock::new();
    let load = || match find_model(None, None) {
        Ok(model) => {
            let mut options = EngineOptions::new(model);
            options.adapters = vec![(ADAPTER.into(), find_adapter(ADAPTER, None).unwrap())];
            options.queue = 4096;
            Some(LocalEngine::load(options, |_| {}).unwrap())
        }
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    };
    ENGINE.get_or_init(load).as_ref()
}

fn complete(prompt: &str, max_new_tokens: u32, guide: Grammar) -> Outcome {
    let parameters = Parameters { max_new_tokens, ..Parameters::neutral() };
    let request = GenerateRequest { guide: Some(guide), ..GenerateRequest::new(prompt.to_owned(), None, parameters) };
    engine().unwrap().generate(request, |_| {}).unwrap()
}

/// What a taught schema asks of a text.
fn question(schema: &str, text: &str) -> (SchemaChoice, GenerateRequest) {
    let info = engine().unwrap().adapters().remove(0);
    let taught = info.manifest.schema(schema).unwrap();
    let choice = SchemaChoice {
        task: taught.task,
        language: taught.language,
        types: taught.types.clone(),
        roles: taught.roles.clone(),
        asking: Default::default(),
    };
    let prompt = extract::prompt::alpaca(&extract::prompt::instruction(Some(&info.manifest), &choice), Some(text));
    let parameters = Parameters::published(Mode::Lora).with(&info.manifest.decoding);
    let guide = extract::guide::lark(Some(&info.manifest), &choice, text).map(Grammar::Records);
    (choice, GenerateRequest { guide, ..GenerateRequest::new(prompt, Some(ADAPTER.into()), parameters) })
}

#[test]
fn an_answer_is_json_that_fits_the_schema() {
    if engine().is_none() {
        return;
    }
    let schema = json!({
        "type": "object",
        "properties": { "city": { "type": "string", "maxLength": 20 }, "inhabitants": { "type": "integer" } },
        "required": ["city", "inhabitants"],
        "additionalProperties": false
    });
    let outcome = complete("A city and how many people live in it:\n", 60, Grammar::JsonSchema(schema));
    assert_eq!(outcome.finish_reason, FinishReason::Stop, "{}", outcome.text);
    let value: Value = serde_json::from_str(&outcome.text).unwrap();
    assert!(value["city"].is_string() && value["inhabitants"].is_i64(), "{value}");
    assert!(outcome.timings.mask_ms > 0.0);
}

#[test]
fn an_answer_matches_the_expression_and_ends_with_it() {
    if engine().is_none() {
        return;
    }
    let outcome = complete("Once upon a time", 60, Grammar::Regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}".into()));
    assert_eq!(outcome.finish_reason, FinishReason::Stop);
    let parts: Vec<usize> = outcome.text.split('-').map(str::len).collect();
    assert!(parts == [4, 2, 2] && outcome.text.chars().all(|c| c == '-' || c.is_ascii_digit()), "{}", outcome.text);
}

/// The answer, its tokens with probabilities, and how often its text was told to have grown.
fn told(request: GenerateRequest) -> (Outcome, usize) {
    let (said, heard) = channel();
    let outcome = engine().unwrap().generate(request, move |event| said.send(event.clone()).unwrap()).unwrap();
    (outcome, heard.into_iter().filter(|event| matches!(event, EngineEvent::Text { .. })).count())
}

#[test]
fn what_must_come_costs_no_step_and_changes_nothing_where_probabilities_are_wanted() {
    if engine().is_none() {
        return;
    }
    let schema = json!({
        "type": "object",
        "properties": { "name_of_the_city": { "type": "string", "maxLength": 12 }, "inhabitants": { "type": "integer" } },
        "required": ["name_of_the_city", "inhabitants"],
        "additionalProperties": false
    });
    for temperature in [0.0, 1.2] {
        let parameters = Parameters { temperature, seed: Some(5), max_new_tokens: 60, ..Parameters::neutral() };
        let request = GenerateRequest {
            lookup: Some(false),
            guide: Some(Grammar::JsonSchema(schema.clone())),
            ..GenerateRequest::new("A city and how many people live in it:\n".into(), None, parameters)
        };
        let plain = told(request.clone()).0;
        let (outcome, steps) = told(GenerateRequest { logprobs: Some(0), ..request });
        assert_eq!(outcome.text, plain.text, "at temperature {temperature}");
        assert!(outcome.logprobs.len() > 10 && steps < outcome.logprobs.len(), "{steps} steps: {}", outcome.text);
        assert!(outcome.logprobs.iter().all(|token| token.chosen.logprob > f32::NEG_INFINITY));
        let said: Vec<u8> = outcome.logprobs.iter().flat_map(|token| token.chosen.bytes.clone()).collect();
        assert_eq!(String::from_utf8(said).unwrap(), outcome.text);
    }
}

#[test]
fn a_loop_ends_an_answer_unless_it_may_or_a_grammar_will() {
    if engine().is_none() {
        return;
    }
    let again = engine().unwrap().tokenize(" again").unwrap()[0];
    let ask = |stop_repeats, guide| {
        let parameters = Parameters { max_new_tokens: 90, stop_repeats, ..Parameters::neutral() };
        let request = GenerateRequest::new("Say it".into(), None, parameters);
        let outcome = GenerateRequest { logit_bias: vec![(again, 100.0)], guide, ..request };
        let outcome = engine().unwrap().generate(outcome, |_| {}).unwrap();
        (outcome.finish_reason, outcome.text.matches(" again").count())
    };
    assert_eq!(ask(true, None), (FinishReason::Repeat, 1));
    assert_eq!(ask(false, None), (FinishReason::Length, 90));
    let grammar = Grammar::Regex("( again){80}".into());
    assert_eq!(ask(true, Some(grammar)), (FinishReason::Stop, 80), "cut off it would not match");
}

#[test]
fn an_answer_is_a_span_of_the_text() {
    if engine().is_none() {
        return;
    }
    for text in ["In 1998 Maria Jensen founded Nordwind in Berlin.", "2019年12月22日，阳光城集团收购协信地产🙂。"]
    {
        let prompt = format!("{text}\nCopy the most important words of it:\n");
        let outcome = complete(&prompt, 40, Grammar::Span { text: text.into() });
        assert!(!outcome.text.is_empty() && text.contains(&outcome.text), "{}", outcome.text);
    }
}

#[test]
fn a_bad_grammar_is_refused_before_anything_runs() {
    let Some(engine) = engine() else { return };
    let mut request = question("wikigold", "Ada").1;
    request.guide = Some(Grammar::Lark("start: missing".into()));
    let refused = engine.check(&request).unwrap_err();
    assert!(matches!(&refused, SubmitError::Grammar { reason } if reason.contains("missing")), "{refused}");
    assert!(refused.sentence(Language::Zh).starts_with("无法使用回答的语法"));
}

#[test]
fn the_adapter_answers_in_its_own_form_with_words_of_the_text() {
    let Some(engine) = engine() else { return };
    // Hot sampling would break any form and invent words.
    for (schema, text) in [
        ("wikigold", "In 1998 Maria Jensen (born Olsen), of Oslo, left the University of Oslo for Nordwind, Inc."),
        ("phee", "A 54-year-old woman developed severe hepatitis after treatment with methotrexate."),
        ("fewfc-ee", "2019年12月22日,阳光城集团(000671)收购协信地产40%股份,作价12.5亿元。"),
    ] {
        let (choice, mut request) = question(schema, text);
        (request.parameters.temperature, request.parameters.top_k, request.parameters.top_p) = (1.5, 0, 1.0);
        for seed in 0..3 {
            request.parameters.seed = Some(seed);
            let outcome = engine.generate(request.clone(), |_| {}).unwrap();
            let parsed = extract::parse::records(&outcome.text, text, Some(&choice), true);
            // An answer may say a thing twice, and be cut off.
            let fine = |kind| match kind {
                // An answer may also name what the adapter was taught besides.
                extract::IssueKind::Duplicate | extract::IssueKind::NotInSchema => true,
                extract::IssueKind::BrokenOff => outcome.finish_reason != FinishReason::Stop,
                _ => false,
            };
            let wrong: Vec<_> = parsed.issues.iter().filter(|issue| !fine(issue.kind)).collect();
            assert!(wrong.is_empty(), "{schema}, {:?}: {}\n{wrong:?}", outcome.finish_reason, outcome.text);
        }
    }
}

#[derive(serde::Deserialize)]
struct Row {
    task: String,
    input: String,
    output: String,
}

/// What should have been found in a text, and what was, by answers without and with a guide.
struct Answered<'r> {
    row: &'r Row,
    task: Task,
    right: Extraction,
    free: Extraction,
    guided: Extraction,
}

impl<'r> Answered<'r> {
    fn of(row: &'r Row, [free, guided]: [&str; 2]) -> Self {
        let choice = question(&row.task, &row.input).0;
        let read =
            |answer: &str| Extraction::of_all(extract::parse::records(answer, &row.input, Some(&choice), true).records);
        Self { row, task: choice.task, right: read(&row.output), free: read(free), guided: read(guided) }
    }
}

/// How often the texts are drawn again, and with which seed.
const RESAMPLES: usize = 10_000;
const SEED: u64 = 1;

/// F1 of guided answers (the first) and of free ones over the same texts, and the difference.
fn compared(scored: Scored, texts: &[&Answered<'_>]) -> Comparison {
    let pairs: Vec<Pair<'_>> =
        texts.iter().map(|text| Pair { id: &text.row.task, gold: &text.right, pred: &text.guided }).collect();
    let free: Vec<&Extraction> = texts.iter().map(|text| &text.free).collect();
    score::compare(scored, &pairs, &free, RESAMPLES, SEED)
}

/// What the 95 % interval of the difference says: guided answers are at least as good unless all of it lies below zero.
fn verdict(difference: Interval) -> &'static str {
    match difference {
        Interval { low, .. } if low > 0.0 => "guided is better",
        Interval { high, .. } if high < 0.0 => "guided is worse",
        _ => "guided is as good",
    }
}

/// Asks every row free and guided, all at once; the answers are in the order of the rows.
fn answers(engine: &LocalEngine, rows: &[Row]) -> Vec<[Outcome; 2]> {
    let (sender, receiver) = channel();
    for (index, row) in rows.iter().enumerate() {
        for guided in [false, true] {
            let mut request = question(&row.task, &row.input).1;
            request.guide.take_if(|_| !guided);
            let sender = sender.clone();
            let sink = move |event| {
                if let EngineEvent::Done(outcome) = event {
                    sender.send(((index, guided), outcome)).unwrap();
                }
            };
            engine.submit(request, Box::new(sink)).unwrap();
        }
    }
    drop(sender);
    let mut outcomes: BTreeMap<(usize, bool), Outcome> = receiver.into_iter().collect();
    (0..rows.len()).map(|index| [false, true].map(|guided| outcomes.remove(&(index, guided)).unwrap())).collect()
}

/// Holds guided answers against free ones, over the file that `KNOWLM_ANSWERS` names (rows of `task`, `input` and the
/// right `output`), every `KNOWLM_EVERY`th row of it: micro F1 of both for every set and task, and by how much they differ with
/// its interval. Over all texts of a task that must not lie below zero ([`verdict`]).
#[test]
#[ignore = "for developers: takes minutes, and a file of right answers"]
fn guided_answers_are_at_least_as_good() {
    let Some(engine) = engine() else { return };
    let file = std::fs::read_to_string(std::env::var_os("KNOWLM_ANSWERS").unwrap()).unwrap();
    let every = std::env::var("KNOWLM_EVERY").map_or(1, |n| n.parse().unwrap());
    let rows: Vec<Row> = file.lines().step_by(every).map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes = answers(engine, &rows);
    for (row, [free, guided]) in rows.iter().zip(&outcomes) {
        if free.text != guided.text {
            let (free, guided) = (&free.text, &guided.text);
            println!("{}: {}\n  right  {}\n  free   {free}\n  guided {guided}", row.task, row.input, row.output);
        }
    }
    let count = |of: &dyn Fn(&[Outcome; 2]) -> bool| outcomes.iter().filter(|pair| of(pair)).count();
    let ended = |at: usize| count(&|pair| pair[at].finish_reason == FinishReason::Stop);
    let changed = count(&|[free, guided]| free.text != guided.text);
    println!("{changed} of {} answers differ; {} free and {} guided ended", rows.len(), ended(0), ended(1));
    let mask_ms: f64 = outcomes.iter().map(|[_, guided]| guided.timings.mask_ms).sum();
    let tokens: f64 = outcomes.iter().map(|[_, guided]| f64::from(guided.completion_tokens)).sum();
    println!("masks: {:.3} ms a token", mask_ms / tokens);

    let texts: Vec<Answered<'_>> =
        rows.iter().zip(&outcomes).map(|(row, [free, guided])| Answered::of(row, [&free.text, &guided.text])).collect();
    let mut worse = Vec::new();
    for task in Task::ALL {
        let all: Vec<&Answered<'_>> = texts.iter().filter(|text| text.task == task).collect();
        let mut sets: BTreeMap<&str, Vec<&Answered<'_>>> = BTreeMap::new();
        for text in all.iter().copied() {
            sets.entry(&text.row.task).or_default().push(text);
        }
        let sets = sets.into_iter().chain((!all.is_empty()).then_some(("all", all)));
        for (set, texts) in sets {
            for scored in Scored::of(task) {
                let Comparison { first, second, difference } = compared(*scored, &texts);
                let said = verdict(difference);
                println!(
                    "{:9} {set:20} {:4} texts  free {:5.1}  guided {:5.1}  {:+5.1} [{:+5.1}, {:+5.1}]  {said}",
                    scored.name(),
                    texts.len(),
                    100.0 * second.value,
                    100.0 * first.value,
                    100.0 * difference.value,
                    100.0 * difference.low,
                    100.0 * difference.high,
                );
                if set == "all" && difference.high < 0.0 {
                    worse.push(scored.name());
                }
            }
        }
    }
    assert!(worse.is_empty(), "guided answers are worse: {worse:?}");
}

#[test]
fn guided_is_as_good_unless_the_whole_interval_lies_below_zero() {
    let said = |low, high| verdict(Interval { value: (low + high) / 2.0, low, high });
    assert_eq!((said(0.01, 0.02), said(-0.02, -0.01)), ("guided is better", "guided is worse"));
    assert_eq!(
        (said(-0.02, 0.0), said(0.0, 0.0), said(-0.01, 0.05)),
        ("guided is as good", "guided is as good", "guided is as good")
    );
}
