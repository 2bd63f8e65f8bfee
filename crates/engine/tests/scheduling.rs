//! Queue, cancelling, stopping and errors, on a tiny random model: the text is noise, the rules are not.
#![allow(clippy::unwrap_used, missing_docs)]

mod tiny;

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use engine::{
    CancelHandle, DeviceChoice, EngineEvent, EngineOptions, GenerateRequest, Generator, LocalEngine, Outcome,
    SubmitError,
};
use protocol::{FinishReason, Mode, Parameters, TextEvent};

fn load(change: impl Fn(&mut EngineOptions)) -> LocalEngine {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_model(dir.path(), tiny::Kind::Llama);
    tiny::write_adapter(dir.path());
    let mut options = EngineOptions::new(dir.path());
    options.adapters = vec![("strong".into(), dir.path().into())];
    options.threads = Some(1);
    change(&mut options);
    LocalEngine::load(options, |_| {}).unwrap()
}

fn request(prompt: &str, tokens: u32) -> GenerateRequest {
    let mut parameters = Parameters::published(Mode::Pretrain);
    (parameters.max_new_tokens, parameters.temperature, parameters.seed) = (tokens, 1.5, Some(1));
    (parameters.top_p, parameters.top_k) = (1.0, 0);
    GenerateRequest::new(prompt.into(), None, parameters)
}

fn submit(
    engine: &LocalEngine,
    request: GenerateRequest,
) -> Result<(CancelHandle, Receiver<EngineEvent>), SubmitError> {
    let (sender, receiver) = channel();
    let cancel = engine.submit(request, Box::new(move |event| sender.send(event).unwrap_or(())))?;
    Ok((cancel, receiver))
}

/// All events of a run, and that its text events add up to its text.
fn end(events: &Receiver<EngineEvent>) -> Outcome {
    let mut text = String::new();
    loop {
        match events.recv_timeout(Duration::from_secs(60)).unwrap() {
            EngineEvent::Text { at, text: added, .. } => {
                TextEvent { run: String::new(), choice: 0, seq: 0, at, text: added }.apply(&mut text);
            }
            EngineEvent::Done(outcome) => {
                assert_eq!(text, outcome.text);
                assert!(events.recv().is_err(), "nothing comes after the end");
                return outcome;
            }
            _ => {}
        }
    }
}

#[test]
fn runs_side_by_side_say_what_they_say_alone() {
    let alone = load(|o| (o.active, o.prefix_cache) = (1, 0));
    let together = load(|o| o.threads = Some(2));
    let prompt = |i: usize| {
        "A beginning that all of these prompts share, longer than one chunk of tokens is, ".repeat(2) + &"x".repeat(i)
    };
    let requests: Vec<GenerateRequest> = (0..12)
        .map(|i| GenerateRequest { adapter: (i % 3 == 0).then(|| "strong".into()), ..request(&prompt(i), 30) })
        .collect();
    let running: Vec<_> = requests.iter().map(|r| submit(&together, r.clone()).unwrap().1).collect();
    let together: Vec<String> = running.iter().map(|r| end(r).text).collect();
    for (request, text) in requests.into_iter().zip(&together) {
        assert_eq!(&alone.generate(request, |_| {}).unwrap().text, text);
    }
    assert_ne!(together[0], together[1], "the adapter changes the text");
}

#[test]
fn the_seed_decides_the_text() {
    let engine = load(|_| {});
    let text = |seed| {
        let mut r = request("Once", 40);
        r.parameters.seed = seed;
        engine.generate(r, |_| {}).unwrap().text
    };
    assert_eq!(text(Some(5)), text(Some(5)));
    assert_ne!(text(Some(5)), text(Some(6)));
    assert_ne!(text(None), text(None));
}

#[test]
fn the_candle_backend_answers_too() {
    let (cpu, candle) = (load(|_| {}), load(|o| o.device = DeviceChoice::Candle));
    let mut r = request("Once upon a time", 20);
    r.parameters.temperature = 0.0;
    assert_eq!(cpu.generate(r.clone(), |_| {}).unwrap().text, candle.generate(r, |_| {}).unwrap().text);
    assert!(candle.model().backend.starts_with("candle"));
}

/// Submits a run that stops the engine's thread at its first event of a kind, until the gate is dropped.
fn hold(
    engine: &LocalEngine,
    request: GenerateRequest,
    at: fn(&EngineEvent) -> bool,
) -> (CancelHandle, Sender<()>, Receiver<EngineEvent>) {
    let (sender, receiver) = channel();
    let (gate, closed) = channel::<()>();
    let (reached, wait) = channel();
    let sink = move |event: EngineEvent| {
        if at(&event) {
            reached.send(()).unwrap_or(());
            // Ends when the test drops its end of the gate.
            closed.recv().unwrap_or(());
        }
        sender.send(event).unwrap_or(());
    };
    let cancel = engine.submit(request, Box::new(sink)).unwrap();
    wait.recv_timeout(Duration::from_secs(60)).unwrap();
    (cancel, gate, receiver)
}

#[test]
fn a_full_queue_refuses_and_says_so() {
    let engine = load(|o| (o.active, o.queue) = (1, 2));
    let (_, gate, first) = hold(&engine, request("a", 9), |e| matches!(e, EngineEvent::Started { .. }));
    let second = submit(&engine, request("b", 9)).unwrap().1;
    let third = submit(&engine, request("c", 9)).unwrap().1;
    let error = submit(&engine, request("d", 9)).unwrap_err();
    assert_eq!(error.to_string(), "The server is busy: 2 runs are waiting. Try again in a moment.");
    assert!(error.is_busy());
    drop(gate);
    // What was accepted is run, in order, and told its place.
    for (events, places) in [(first, vec![]), (second, vec![0]), (third, vec![1, 0])] {
        let events: Vec<EngineEvent> = events.iter().collect();
        let told: Vec<u32> = events
            .iter()
            .filter_map(|e| if let EngineEvent::Queued { position } = e { Some(*position) } else { None })
            .collect();
        assert_eq!(told, places);
        assert!(matches!(events.last(), Some(EngineEvent::Done(_))));
    }
}

#[test]
fn cancelling_keeps_the_text_so_far_and_frees_the_place() {
    let engine = load(|o| o.active = 1);
    let (cancel, gate, events) = hold(&engine, request("a", 290), |e| matches!(e, EngineEvent::Text { .. }));
    let (waiting, never_started) = submit(&engine, request("b", 9)).unwrap();
    let next = submit(&engine, request("c", 9)).unwrap().1;
    cancel.cancel();
    waiting.cancel();
    drop(gate);
    let outcome = end(&events);
    assert_eq!(outcome.finish_reason, FinishReason::Cancelled);
    // A first character can be several tokens.
    assert!(outcome.completion_tokens <= 4, "it ends at the next step");
    assert!(!outcome.text.is_empty());
    let outcome = end(&never_started);
    assert_eq!((outcome.finish_reason, outcome.text.as_str()), (FinishReason::Cancelled, ""));
    assert_ne!(end(&next).finish_reason, FinishReason::Cancelled);
}

#[test]
fn draining_lets_runs_finish_up_to_the_limit() {
    let engine = load(|_| {});
    let (_, events) = submit(&engine, request("a", 5)).unwrap();
    engine.drain(Duration::from_secs(60));
    assert_eq!(end(&events).finish_reason, FinishReason::Length);
    assert_eq!(submit(&engine, request("a", 5)).unwrap_err(), SubmitError::Stopping);

    let engine = load(|o| o.active = 1);
    let (_, gate, running) = hold(&engine, request("a", 290), |e| matches!(e, EngineEvent::Text { .. }));
    let waiting = submit(&engine, request("b", 9)).unwrap().1;
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| engine.drain(Duration::ZERO));
        // The run is let go on only when new ones are refused, that is, when the engine is being drained.
        while engine.submit(request("c", 1), Box::new(|_| {})).err() != Some(SubmitError::Stopping) {}
        drop(gate);
        drained.join().unwrap();
    });
    let outcome = end(&running);
    assert_eq!(outcome.finish_reason, FinishReason::Interrupted);
    assert!(outcome.completion_tokens <= 4, "it ends at the next step");
    assert_eq!(end(&waiting).finish_reason, FinishReason::Interrupted);
}

#[test]
fn what_cannot_run_is_refused_with_a_sentence() {
    let engine = load(|_| {});
    let error = |r: &GenerateRequest| {
        let error = engine.check(r).unwrap_err();
        assert_eq!(engine.submit(r.clone(), Box::new(|_| {})).unwrap_err(), error, "check and submit agree");
        error.to_string()
    };
    assert_eq!(error(&request("", 5)), "The prompt is empty. Type something for the model to continue.");
    assert_eq!(
        error(&request(&"x".repeat(310), 5)),
        "The prompt has 310 tokens, but this model reads at most 300, answer included. Shorten it by at least 11 tokens."
    );
    let mut r = request("a", 5);
    r.adapter = Some("weak".into());
    assert_eq!(error(&r), "There is no adapter \"weak\". Loaded: strong.");
    let mut r = request("a", 5);
    r.parameters.temperature = 9.0;
    assert_eq!(error(&r), "temperature: must be a number from 0 to 2; it is 9");
    assert_eq!(engine.check(&request("four", 5)).unwrap(), 4);
    // The manifest that is assumed of an adapter without one asks for the beginning-of-text token.
    assert_eq!(engine.check(&GenerateRequest { adapter: Some("strong".into()), ..request("four", 5) }).unwrap(), 5);
}

#[test]
fn an_answer_never_leaves_the_context() {
    let engine = load(|_| {});
    let outcome = engine.generate(request(&"x".repeat(295), 100), |_| {}).unwrap();
    assert!(outcome.completion_tokens <= 5);
    assert!([FinishReason::Length, FinishReason::Stop].contains(&outcome.finish_reason));
}

#[test]
fn files_that_are_no_model_are_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "not a model").unwrap();
    let error = |path: &std::path::Path| LocalEngine::load(EngineOptions::new(path), |_| {}).err().unwrap().to_string();
    assert!(error(&path).ends_with("notes.txt is no GGUF file: it does not begin with the letters GGUF"));
    assert!(error(&dir.path().join("missing.gguf")).contains("missing.gguf cannot be read"));
    assert!(error(dir.path()).contains("config.json cannot be read"));
    tiny::write_model(dir.path(), tiny::Kind::Llama);
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    assert!(error(dir.path()).contains("there is no tokenizer.json in the folder"));
}

#[test]
fn beams_run_beside_ordinary_runs_and_give_the_same_text_again() {
    let engine = load(|_| {});
    let mut beams = request("Once upon a time", 30);
    beams.parameters.beams = 5;
    let alone = engine.generate(beams.clone(), |_| {}).unwrap();
    assert!(!alone.text.is_empty());
    let others: Vec<_> = (0..3).map(|i| submit(&engine, request(&"y".repeat(i + 1), 40)).unwrap().1).collect();
    let (_, events) = submit(&engine, beams.clone()).unwrap();
    assert_eq!(end(&events).text, alone.text);
    others.iter().for_each(|events| assert_eq!(end(events).error, None));
    // Also by the tensor library, whose caches are written in place.
    let candle = load(|o| o.device = DeviceChoice::Candle);
    assert_eq!(candle.generate(beams, |_| {}).unwrap().text, alone.text);
}

#[test]
fn a_bias_can_forbid_a_token_and_must_be_a_number() {
    let engine = load(|_| {});
    let mut r = request("a", 30);
    r.parameters.temperature = 0.0;
    let text = engine.generate(r.clone(), |_| {}).unwrap().text;
    // The tokens are bytes.
    let byte = *text.as_bytes().iter().find(|byte| byte.is_ascii()).unwrap();
    r.logit_bias = vec![(u32::from(byte), -100.0)];
    assert!(!engine.generate(r.clone(), |_| {}).unwrap().text.as_bytes().contains(&byte));
    r.logit_bias = vec![(u32::from(byte), f32::NAN)];
    let error = engine.submit(r, Box::new(|_| {})).unwrap_err().to_string();
    assert!(error.starts_with("logit_bias: must be a number from -100 to 100;"), "{error}");
}

#[test]
fn an_adapter_comes_and_goes_while_runs_go_on() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_adapter(folder.path());
    let engine = load(|o| o.adapters.clear());
    let with = |name: Option<&str>| GenerateRequest {
        adapter: name.map(str::to_owned),
        ..request("A beginning that both of them share, base and adapter", 40)
    };
    let said = |name| engine.generate(with(name), |_| {}).map(|outcome| outcome.text);
    let base = said(None).unwrap();
    assert!(matches!(said(Some("late")), Err(SubmitError::UnknownAdapter { .. })));

    assert_eq!(engine.load_adapter("late", folder.path()).unwrap().rank, 5);
    let again = engine.load_adapter("late", folder.path()).unwrap_err().to_string();
    assert_eq!(again, "There is an adapter \"late\" already. Unload it first, or choose another name.");
    let tuned = said(Some("late")).unwrap();
    assert_ne!(tuned, base);
    let status = engine.status();
    assert!(status.ready && status.cache_bytes > 0 && status.adapters[0].bytes > 0);

    assert_eq!(engine.status().adapters[0].runs, 0, "who was told of the end finds none");
    let ((sender, running), (go, wait)) = (channel(), channel());
    let sink = move |event| {
        if matches!(event, EngineEvent::Started { .. }) {
            wait.recv().unwrap();
        }
        sender.send(event).unwrap_or(());
    };
    engine.submit(with(Some("late")), Box::new(sink)).unwrap();
    assert_eq!(engine.status().adapters[0].runs, 1);
    engine.unload_adapter("late").unwrap();
    go.send(()).unwrap();
    assert_eq!(end(&running).text, tuned, "it ends with the adapter that it began with");
    assert!(said(Some("late")).is_err() && engine.unload_adapter("late").is_err());
    assert_eq!(said(None).unwrap(), base);
    engine.load_adapter("late", folder.path()).unwrap();
    assert_eq!(said(Some("late")).unwrap(), tuned);
}

#[test]
fn answers_with_seeds_one_after_the_other_are_those_of_each_seed() {
    let engine = load(|_| {});
    let with = |seed| {
        let mut request = request("A prompt that is long enough to be remembered and read only once", 30);
        request.parameters.seed = Some(seed);
        request
    };
    let together: Vec<_> = (5..8).map(|seed| submit(&engine, with(seed)).unwrap().1).collect();
    let texts: Vec<String> = together.iter().map(|events| end(events).text).collect();
    for (seed, text) in (5..8).zip(&texts) {
        assert_eq!(&engine.generate(with(seed), |_| {}).unwrap().text, text);
    }
    assert!(texts[0] != texts[1] && texts[1] != texts[2]);
}
