//! The default model and its adapter, as people use them.
//!
//! These tests need the model's file. Where it is missing they say so and pass; `make model` fetches it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{OnceLock, mpsc::channel};

use checkpoint::find::{find_adapter, find_model};
use engine::{EngineEvent, EngineOptions, GenerateRequest, Generator, LocalEngine, Outcome};
use protocol::{FinishReason, Mode, Parameters};
use serde_json::Value;

const ADAPTER: &str = "ie-smollm2";

fn engine() -> Option<&'static LocalEngine> {
    static ENGINE: OnceLock<Option<LocalEngine>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let model = match find_model(None, None) {
            Ok(model) => model,
            Err(error) => {
                println!("skipped: {error}");
                return None;
            }
        };
        let mut options = EngineOptions::new(model);
        options.adapters = vec![(ADAPTER.into(), find_adapter(ADAPTER, None).unwrap())];
        Some(LocalEngine::load(options, |_| {}).unwrap())
    });
    engine.as_ref()
}

fn greedy(prompt: &str, max_new_tokens: u32) -> GenerateRequest {
    let mut parameters = Parameters::published(Mode::Lora);
    (parameters.temperature, parameters.repetition_penalty, parameters.max_new_tokens) = (0.0, 1.0, max_new_tokens);
    GenerateRequest::new(prompt.into(), None, parameters)
}

fn run(request: GenerateRequest) -> Outcome {
    engine().unwrap().generate(request, |_| {}).unwrap()
}

/// The alpaca template around a taught instruction.
fn extraction(schema: &str, text: &str) -> GenerateRequest {
    let info = engine().unwrap().adapters().remove(0);
    let instruction = &info.manifest.schema(schema).unwrap().instruction;
    let prompt = format!(
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{text}\n\n### Response:\n"
    );
    let parameters = Parameters::published(Mode::Lora).with(&info.manifest.decoding);
    GenerateRequest::new(prompt, Some(ADAPTER.into()), parameters)
}

fn fixture(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_tokenizer_is_the_reference_s() {
    let Some(engine) = engine() else { return };
    for case in fixture(include_str!("fixtures/tokens.json")) {
        let text = case["text"].as_str().unwrap();
        let want: Vec<u32> = case["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
        assert_eq!(engine.tokenize(text).unwrap(), want, "{text:?}");
    }
}

#[test]
fn greedy_text_is_the_reference_s() {
    if engine().is_none() {
        return;
    }
    for case in fixture(include_str!("fixtures/greedy.json")) {
        assert_eq!(run(greedy(case["prompt"].as_str().unwrap(), 24)).text, case["text"].as_str().unwrap());
    }
}

#[test]
fn the_loaded_model_is_named_and_known() {
    let Some(engine) = engine() else { return };
    let model = engine.model();
    assert_eq!((model.name.as_str(), model.format.as_str()), ("SmolLM2-135M-Instruct", "Q4_1"));
    assert_eq!((model.context_length, model.parameters), (8192, 134_515_008));
    assert_eq!(engine.entry().unwrap().adapter.as_deref(), Some(ADAPTER));
    assert_eq!(engine.adapters()[0].rank, 16);
}

#[test]
fn the_adapter_finds_people_places_and_companies() {
    if engine().is_none() {
        return;
    }
    let text = "In 1998 Maria Jensen left the University of Oslo and founded Nordwind Software in Berlin.";
    let outcome = run(extraction("wikigold", text));
    assert_eq!(outcome.finish_reason, FinishReason::Stop);
    for pair in [
        "(Maria Jensen, person)",
        "(University of Oslo, organization)",
        "(Nordwind Software, organization)",
        "(Berlin, location)",
    ] {
        assert!(outcome.text.contains(pair), "{pair} in {}", outcome.text);
    }
    // The base alone does not answer in this form: the adapter is what does it.
    let base = run(GenerateRequest { adapter: None, ..extraction("wikigold", text) });
    assert!(!base.text.contains("(Maria Jensen, person)"), "{}", base.text);
}

#[test]
fn the_adapter_finds_drug_events() {
    if engine().is_none() {
        return;
    }
    let outcome =
        run(extraction("phee", "A 54-year-old woman developed severe hepatitis after treatment with methotrexate."));
    assert!(
        outcome.text.contains("adverse event") && outcome.text.contains("(methotrexate, treatment)"),
        "{}",
        outcome.text
    );
}

#[test]
fn base_and_tuned_stream_at_once_and_say_what_they_say_alone() {
    let Some(engine) = engine() else { return };
    let tuned = extraction("wikigold", "Angela Merkel met Emmanuel Macron in Paris.");
    let base = GenerateRequest { adapter: None, ..tuned.clone() };
    let (sender, receiver) = channel();
    let mut requests = [tuned, base];
    requests.iter_mut().for_each(|r| r.parameters.max_new_tokens = 24);
    for (i, request) in requests.iter().enumerate() {
        let sender = sender.clone();
        engine.submit(request.clone(), Box::new(move |e| sender.send((i, e)).unwrap_or(()))).unwrap();
    }
    drop(sender);
    let (mut order, mut texts) = (vec![], [String::new(), String::new()]);
    for (i, event) in receiver {
        match event {
            EngineEvent::Text { .. } => order.push(i),
            EngineEvent::Done(outcome) => texts[i] = outcome.text,
            _ => {}
        }
    }
    let turns = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(turns >= 4, "both stream, by turns: {order:?}");
    for (request, text) in requests.into_iter().zip(texts) {
        assert_eq!(run(request).text, text);
    }
}

#[test]
fn a_stop_string_across_tokens_ends_the_text_before_it() {
    if engine().is_none() {
        return;
    }
    let mut request = greedy("The opposite of hot is", 24);
    let whole = run(request.clone()).text;
    let at = whole.find("The answer").unwrap();
    request.parameters.stop = vec![whole[at - 2..at + 2].to_owned()];
    let outcome = run(request);
    assert_eq!((outcome.text.as_str(), outcome.finish_reason), (&whole[..at - 2], FinishReason::Stop));
}

#[test]
fn a_loop_is_cut_to_its_first_round() {
    if engine().is_none() {
        return;
    }
    let outcome = run(greedy(&"I love you. ".repeat(12), 400));
    assert_eq!(outcome.finish_reason, FinishReason::Repeat);
    assert!(outcome.text.matches("I love you").count() <= 2, "{}", outcome.text);
    assert!(outcome.completion_tokens < 100);
}
