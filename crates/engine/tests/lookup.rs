//! Guessing tokens, beams, log-probabilities and memory on the default model: what they save, and that they change
//! nothing.
//!
//! These tests need the model's file. Where it is missing they say so and pass; `make model` fetches it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{OnceLock, mpsc::channel};

use checkpoint::find::{find_adapter, find_model};
use engine::{EngineEvent, EngineOptions, GenerateRequest, Generator, LocalEngine, Outcome};
use protocol::{FinishReason, Mode, Parameters};

const ADAPTER: &str = "ie-smollm2";

/// Sentences as people bring them, with names, lists and numbers.
const TEXTS: [&str; 10] = [
    "In 1998 Maria Jensen left the University of Oslo and founded Nordwind Software in Berlin.",
    "Angela Merkel met Emmanuel Macron in Paris before the summit of the European Union.",
    "The 65th also controlled the operations of attached tactical fighter squadrons deployed to Spain.",
    "Apple and Microsoft announced that Tim Cook and Satya Nadella would speak at Stanford University.",
    "Although there were plans for races at Zandvoort before World War II, the first street race was held in June 1939.",
    "Toyota opened a plant in Kentucky, while Honda stayed in Ohio and Nissan went to Tennessee.",
    "The River Thames flows through Oxford, Reading, Windsor and London.",
    "Johann Sebastian Bach was born in Eisenach and worked in Arnstadt, Weimar, Köthen and Leipzig.",
    "NASA and the European Space Agency launched the Hubble Space Telescope from Florida.",
    "Lionel Messi left Barcelona for Paris Saint-Germain and later joined Inter Miami.",
];

fn load(change: impl Fn(&mut EngineOptions)) -> Option<LocalEngine> {
    let model = match find_model(None, None) {
        Ok(model) => model,
        Err(error) => {
            println!("skipped: {error}");
            return None;
        }
    };
    let mut options = EngineOptions::new(model);
    options.adapters = vec![(ADAPTER.into(), find_adapter(ADAPTER, None).unwrap())];
    change(&mut options);
    Some(LocalEngine::load(options, |_| {}).unwrap())
}

fn engine() -> Option<&'static LocalEngine> {
    static ENGINE: OnceLock<Option<LocalEngine>> = OnceLock::new();
    ENGINE.get_or_init(|| load(|_| {})).as_ref()
}

/// The alpaca template around a taught instruction, greedy.
fn extraction(engine: &LocalEngine, text: &str) -> GenerateRequest {
    let info = engine.adapters().remove(0);
    let instruction = &info.manifest.schema("wikigold").unwrap().instruction;
    let prompt = format!(
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{text}\n\n### Response:\n"
    );
    let mut parameters = Parameters::published(Mode::Lora).with(&info.manifest.decoding);
    parameters.max_new_tokens = 96;
    GenerateRequest::new(prompt, Some(ADAPTER.into()), parameters)
}

fn with_lookup(request: &GenerateRequest, lookup: bool) -> GenerateRequest {
    GenerateRequest { lookup: Some(lookup), ..request.clone() }
}

/// All at once.
fn together(engine: &LocalEngine, requests: Vec<GenerateRequest>) -> Vec<Outcome> {
    let run = |request| {
        let (sender, receiver) = channel();
        engine.submit(request, Box::new(move |event| sender.send(event).unwrap_or(()))).unwrap();
        receiver
    };
    let running: Vec<_> = requests.into_iter().map(run).collect();
    let end = |event| if let EngineEvent::Done(outcome) = event { Some(outcome) } else { None };
    running.iter().map(|events| events.iter().find_map(end).unwrap()).collect()
}

#[test]
fn guessing_saves_steps_and_changes_no_text() {
    let Some(engine) = engine() else { return };
    let requests: Vec<GenerateRequest> = TEXTS.iter().map(|text| extraction(engine, text)).collect();
    let plain: Vec<Outcome> =
        requests.iter().map(|r| engine.generate(with_lookup(r, false), |_| {}).unwrap()).collect();
    let guessed: Vec<Outcome> =
        requests.iter().map(|r| engine.generate(with_lookup(r, true), |_| {}).unwrap()).collect();
    let (mut tokens, mut tried, mut accepted) = (0, 0, 0);
    for (plain, guessed) in plain.iter().zip(&guessed) {
        assert_eq!((&plain.text, plain.completion_tokens), (&guessed.text, guessed.completion_tokens));
        assert_eq!((plain.timings.guessed, plain.timings.accepted), (0, 0));
        tokens += guessed.completion_tokens;
        tried += guessed.timings.guessed;
        accepted += guessed.timings.accepted;
    }
    println!("{tokens} tokens, {tried} guessed, {accepted} accepted");
    assert!(accepted * 4 > tokens, "of {tokens} tokens only {accepted} were guessed right");
    assert!(accepted * 4 > tried, "of {tried} guesses only {accepted} were right");
    // The same in one batch, half of them guessing.
    let mixed = requests.iter().enumerate().map(|(i, r)| with_lookup(r, i % 2 == 0)).collect();
    for (plain, mixed) in plain.iter().zip(together(engine, mixed)) {
        assert_eq!(plain.text, mixed.text);
    }
}

#[test]
fn guessing_changes_no_drawn_text_either() {
    let Some(engine) = engine() else { return };
    for seed in 0..4 {
        let mut request = extraction(engine, TEXTS[seed as usize]);
        (request.parameters.temperature, request.parameters.top_p, request.parameters.top_k) = (0.8, 0.95, 0);
        (request.parameters.repetition_penalty, request.parameters.presence_penalty) = (1.05, 0.1);
        (request.parameters.min_p, request.parameters.seed) = (0.02, Some(seed));
        let text = |lookup| engine.generate(with_lookup(&request, lookup), |_| {}).unwrap().text;
        assert_eq!(text(true), text(false));
    }
}

#[test]
fn beams_answer_beside_others_and_always_the_same() {
    let Some(engine) = engine() else { return };
    let mut beams = extraction(engine, TEXTS[0]);
    beams.parameters.beams = 4;
    let alone = engine.generate(beams.clone(), |_| {}).unwrap();
    assert_eq!(alone.finish_reason, FinishReason::Stop);
    for pair in ["(Maria Jensen, person)", "(University of Oslo, organization)", "(Berlin, location)"] {
        assert!(alone.text.contains(pair), "{pair} in {}", alone.text);
    }
    let greedy = extraction(engine, TEXTS[1]);
    let text = engine.generate(greedy.clone(), |_| {}).unwrap().text;
    let both = together(engine, vec![beams, greedy]);
    assert_eq!((&both[0].text, &both[1].text), (&alone.text, &text));
}

#[test]
fn log_probabilities_are_those_of_the_tokens_that_were_said() {
    let Some(engine) = engine() else { return };
    let request = extraction(engine, TEXTS[0]);
    let plain = engine.generate(request.clone(), |_| {}).unwrap();
    let outcome = engine.generate(GenerateRequest { logprobs: Some(3), ..request }, |_| {}).unwrap();
    assert_eq!(outcome.text, plain.text);
    assert!(plain.logprobs.is_empty());
    let bytes: Vec<u8> = outcome.logprobs.iter().flat_map(|l| l.chosen.bytes.clone()).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), outcome.text);
    for said in &outcome.logprobs {
        // Greedy: the likeliest was said.
        assert_eq!((said.top.len(), said.top[0].id), (3, said.chosen.id));
        assert!(said.chosen.logprob <= 0.0 && said.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        assert!(said.top.iter().map(|t| t.logprob.exp()).sum::<f32>() < 1.0001);
    }
}

#[test]
fn runs_that_do_not_fit_the_memory_together_take_turns() {
    // 24 pages of 64 tokens in half precision: three or four of the ten runs at a time.
    let Some(engine) = load(|o| (o.cache_bytes, o.active) = (Some(24 * 64 * 23_040), 10)) else { return };
    let requests: Vec<GenerateRequest> = TEXTS.iter().map(|text| extraction(&engine, text)).collect();
    assert_eq!(engine.model().context_length, 21 * 64);
    let outcomes = together(&engine, requests.clone());
    for (request, outcome) in requests.into_iter().zip(outcomes) {
        assert_eq!(outcome.error, None);
        assert_eq!(outcome.text, engine.generate(with_lookup(&request, false), |_| {}).unwrap().text);
    }
}
