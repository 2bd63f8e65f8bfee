//! Rules of the scheduler on a model that computes nothing: thousands of runs in a moment, and faults on demand.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use protocol::Parameters;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    adapters::Lease,
    backend::{Page, Segment},
    request::{CancelHandle, Outcome},
    tiny,
    weights::Source,
    worker::Worker,
};

const VOCABULARY: usize = 259;
/// Prompts with these: the step panics, fails, gives scores that are no numbers.
const PANIC: u32 = 250;
const FAIL: u32 = 251;
const NAN: u32 = 252;

/// Pages that live, and the most that ever did.
#[derive(Default)]
struct Count {
    live: AtomicUsize,
    most: AtomicUsize,
}

struct FakePage {
    tokens: Vec<u32>,
    count: Arc<Count>,
}

impl FakePage {
    fn new(tokens: Vec<u32>, count: Arc<Count>) -> Self {
        let live = count.live.fetch_add(1, Ordering::SeqCst) + 1;
        count.most.fetch_max(live, Ordering::SeqCst);
        Self { tokens, count }
    }
}

impl Clone for FakePage {
    fn clone(&self) -> Self {
        Self::new(self.tokens.clone(), self.count.clone())
    }
}

impl Drop for FakePage {
    fn drop(&mut self) {
        self.count.live.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Default)]
struct FakeCache {
    pages: Vec<Arc<FakePage>>,
    length: usize,
}

impl FakeCache {
    fn tokens(&self) -> Vec<u32> {
        self.pages.iter().flat_map(|page| page.tokens.clone()).take(self.length).collect()
    }
}

/// What comes next depends on the last two tokens and, now and then, on all; so answers repeat themselves somewhat.
#[derive(Default)]
struct Fake {
    count: Arc<Count>,
    steps: Arc<AtomicUsize>,
    adapters: Vec<Option<Arc<u64>>>,
    faults: Arc<Faults>,
}

/// What goes wrong with the device itself.
#[derive(Default)]
struct Faults {
    /// Every step panics, until the model is loaded again.
    broken: AtomicBool,
    /// Making a cache panics, once.
    slip: AtomicBool,
    /// So many attempts to load it again fail.
    loads: AtomicUsize,
}

const POSITIONS: usize = 4;

fn scores(tokens: &[u32], adapter: Option<u64>) -> Vec<f32> {
    let of = |tokens: &[u32]| BuildHasherDefault::<DefaultHasher>::default().hash_one((tokens, adapter));
    let mut scores = vec![-9.0; VOCABULARY];
    let near = of(&tokens[tokens.len().saturating_sub(2)..]);
    let far = of(tokens);
    for i in 0..24u64 {
        let token = (near.rotate_left(i as u32) % 200) as usize;
        scores[token] = 6.0 - i as f32 + if far.is_multiple_of(5) { (far >> i & 3) as f32 } else { 0.0 };
    }
    scores[257] = if far.is_multiple_of(16) { 8.0 } else { -9.0 };
    if tokens.contains(&NAN) {
        scores[7] = f32::NAN;
    }
    scores
}

impl Backend for Fake {
    type Cache = FakeCache;
    type Adapter = u64;

    fn set_adapter(&mut self, index: usize, adapter: Option<Arc<u64>>) {
        self.adapters.resize(self.adapters.len().max(index + 1), None);
        self.adapters[index] = adapter;
    }

    fn cache(&self) -> FakeCache {
        assert!(!self.faults.slip.swap(false, Ordering::SeqCst), "a slip");
        FakeCache::default()
    }

    fn length(cache: &FakeCache) -> usize {
        cache.length
    }

    fn truncate(cache: &mut FakeCache, length: usize) {
        cache.length = cache.length.min(length);
        cache.pages.truncate(cache.length.div_ceil(POSITIONS));
    }

    fn page(&self) -> Page {
        Page { positions: POSITIONS, bytes: 1 }
    }

    fn pages(cache: &FakeCache) -> impl Iterator<Item = usize> {
        cache.pages.iter().map(|page| Arc::as_ptr(page) as usize)
    }

    fn forward(&mut self, segments: &mut [Segment<'_, FakeCache>], rows: &mut Vec<f32>) -> Result<(), String> {
        assert!(!self.faults.broken.load(Ordering::SeqCst), "the device is gone");
        self.steps.fetch_add(1, Ordering::SeqCst);
        rows.clear();
        for segment in segments {
            assert!(!segment.tokens.is_empty(), "nothing to compute");
            for (i, token) in segment.tokens.iter().enumerate() {
                let cache = &mut *segment.cache;
                if cache.length.is_multiple_of(POSITIONS) {
                    cache.pages.truncate(cache.length / POSITIONS);
                    cache.pages.push(Arc::new(FakePage::new(vec![], self.count.clone())));
                }
                let page = Arc::make_mut(cache.pages.last_mut().unwrap());
                page.tokens.truncate(cache.length % POSITIONS);
                page.tokens.push(*token);
                cache.length += 1;
                assert_ne!(*token, PANIC, "told to");
                if *token == FAIL {
                    return Err("told to".into());
                }
                if i + segment.scores >= segment.tokens.len() {
                    let weights = |i: usize| self.adapters.get(i).and_then(Option::as_deref);
                    rows.extend(scores(
                        &cache.tokens(),
                        segment.adapter.map(|i| weights(i).copied().unwrap_or(i as u64)),
                    ));
                }
            }
        }
        Ok(())
    }
}

fn tokenizer() -> Arc<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_model(folder.path(), tiny::Kind::Llama);
    let Source::HuggingFace(tiny) = Source::open(folder.path()).unwrap() else { panic!("a folder") };
    Arc::new(Tokenizer::from_huggingface(&tiny, VOCABULARY).unwrap())
}

struct Engine {
    queue: Arc<Queue>,
    count: Arc<Count>,
    steps: Arc<AtomicUsize>,
    adapters: Arc<Slots<u64>>,
    faults: Arc<Faults>,
    worker: Option<std::thread::JoinHandle<()>>,
}

fn engine(active: usize, prefixes: usize, pages: u64) -> Engine {
    let queue = Arc::new(Queue::new(100_000));
    let fake = Fake::default();
    let (count, steps, faults) = (fake.count.clone(), fake.steps.clone(), fake.faults.clone());
    let memory = Memory::new(fake.page(), pages);
    let limits = Limits { active, prefixes, context: memory.context(), memory };
    let adapters = Arc::new(Slots::default());
    let (of, asked) = ((count.clone(), steps.clone()), faults.clone());
    let again = Box::new(move || {
        if asked.loads.load(Ordering::SeqCst) > 0 {
            asked.loads.fetch_sub(1, Ordering::SeqCst);
            return Err("the file is gone".to_owned());
        }
        asked.broken.store(false, Ordering::SeqCst);
        Ok(Fake { count: of.0.clone(), steps: of.1.clone(), faults: asked.clone(), adapters: vec![] })
    });
    let worker = Worker { tokenizer: tokenizer(), limits, queue: queue.clone(), adapters: adapters.clone(), again };
    let worker = std::thread::spawn(move || worker.work(fake));
    Engine { queue, count, steps, adapters, faults, worker: Some(worker) }
}

/// A job without those who wait for it.
#[derive(Clone, Debug)]
struct Asked {
    prompt: Vec<u32>,
    adapter: Option<usize>,
    beams: u32,
    tokens: u32,
    temperature: f64,
    lookup: bool,
    owner: Option<u64>,
}

fn asked(prompt: &[u32], tokens: u32) -> Asked {
    let prompt = prompt.to_vec();
    Asked { prompt, adapter: None, beams: 1, tokens, temperature: 0.0, lookup: false, owner: None }
}

impl Engine {
    fn submit(&self, asked: &Asked) -> (CancelHandle, Receiver<EngineEvent>) {
        let (sender, receiver) = channel();
        let sink = Box::new(move |event| sender.send(event).unwrap_or(()));
        (self.submit_to(asked, sink), receiver)
    }

    fn submit_to(&self, asked: &Asked, sink: crate::request::Sink) -> CancelHandle {
        self.submit_with(asked, None, sink)
    }

    fn load(&self, adapter: u64) -> Arc<Lease> {
        let index = self.adapters.put(adapter);
        let (adapters, queue) = (self.adapters.clone(), self.queue.clone());
        Arc::new(Lease::new(index, move |index| {
            adapters.retire(index);
            queue.wake();
        }))
    }

    fn submit_with(&self, asked: &Asked, lease: Option<Arc<Lease>>, sink: crate::request::Sink) -> CancelHandle {
        let cancel = CancelHandle::default();
        let parameters = Parameters {
            beams: asked.beams,
            max_new_tokens: asked.tokens,
            temperature: asked.temperature,
            ..Parameters::neutral()
        };
        let job = Job {
            prompt: asked.prompt.clone(),
            adapter: lease.as_ref().map(|lease| lease.index()).or(asked.adapter),
            lease,
            parameters,
            seed: 5,
            end_token: None,
            guide: None,
            lookup: asked.lookup,
            logprobs: None,
            logit_bias: vec![],
            owner: asked.owner,
            cancel: cancel.clone(),
            sink,
            accepted: Instant::now(),
        };
        assert!(self.queue.push(job).is_ok());
        cancel
    }

    fn answer(&self, asked: &Asked) -> Outcome {
        end(&self.submit(asked).1)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.drain(Duration::from_secs(60));
        self.worker.take().unwrap().join().unwrap();
        assert_eq!(self.count.live.load(Ordering::SeqCst), 0, "no page is left");
    }
}

/// The end of a run; that it comes once and last, and that the text events add up to its text.
fn end(events: &Receiver<EngineEvent>) -> Outcome {
    let mut text = String::new();
    loop {
        match events.recv_timeout(Duration::from_secs(60)).unwrap() {
            EngineEvent::Text { at, text: added, .. } => {
                text = text.chars().take(at).chain(added.chars()).collect();
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
fn thousands_of_runs_that_come_and_go_say_what_they_say_alone_within_the_memory() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let pages = 48;
    let crowd = engine(7, 5, pages);
    let alone = engine(1, 0, 10_000);
    let beginnings: Vec<Vec<u32>> = (0..4).map(|i| (0..40).map(|j| (i * 31 + j * j) % 200).collect()).collect();
    let (mut whole, mut accepted) = (0, 0);
    for _ in 0..40 {
        let mut running = Vec::new();
        for _ in 0..75 {
            let mut prompt = beginnings[rng.random_range(0..4)][..rng.random_range(0..40)].to_vec();
            prompt.extend((0..rng.random_range(1..25)).map(|_| rng.random_range(0..200)));
            let asked = Asked {
                prompt,
                adapter: rng.random_bool(0.5).then_some(0),
                beams: if rng.random_bool(0.15) { 3 } else { 1 },
                tokens: rng.random_range(1..40),
                temperature: if rng.random_bool(0.5) { 0.0 } else { 1.0 },
                lookup: rng.random_bool(0.7),
                owner: Some(rng.random_range(0..4)),
            };
            let (cancel, events) = crowd.submit(&asked);
            let cancelled = rng.random_bool(0.2);
            if cancelled && rng.random_bool(0.5) {
                cancel.cancel();
            }
            running.push((asked, cancel, events, cancelled));
        }
        running.iter().filter(|r| r.3).for_each(|r| r.1.cancel());
        for (asked, _, events, cancelled) in &running {
            let outcome = end(events);
            if outcome.finish_reason == FinishReason::Cancelled {
                assert!(cancelled);
                continue;
            }
            assert_eq!(outcome.error, None, "{asked:?}");
            let want = alone.answer(&Asked { lookup: false, ..asked.clone() });
            assert_eq!((&outcome.text, outcome.finish_reason), (&want.text, want.finish_reason), "{asked:?}");
            assert_eq!(outcome.completion_tokens, want.completion_tokens);
            whole += 1;
            accepted += outcome.timings.accepted;
        }
    }
    assert!(whole > 2000 && accepted > 200, "{whole} runs, {accepted} accepted");
    let most = crowd.count.most.load(Ordering::SeqCst);
    assert!(most <= pages as usize && most > pages as usize / 2, "{most} pages of {pages}");
}

#[test]
fn when_memory_runs_out_the_newest_gives_way_and_says_the_same_later() {
    let pages = 14;
    let (tight, alone) = (engine(4, 4, pages), engine(1, 0, 1000));
    // Each grows to eight pages or so: there is room for the prompts of all, and for the answer of one.
    let runs: Vec<Asked> = (0..4).map(|i| Asked { temperature: 1.0, ..asked(&[i, i + 7, i + 90, 3], 28) }).collect();
    let (gate, closed) = channel::<()>();
    let mut wait = Some(closed);
    tight.submit_to(
        &asked(&[9], 1),
        Box::new(move |_| {
            if let Some(wait) = wait.take() {
                wait.recv().unwrap_or(())
            }
        }),
    );
    let events: Vec<_> = runs.iter().map(|asked| tight.submit(asked).1).collect();
    drop(gate);
    let mut tokens = 0;
    for (asked, events) in runs.iter().zip(&events) {
        let outcome = end(events);
        assert_eq!((outcome.error, outcome.text), (None, alone.answer(asked).text));
        tokens += asked.prompt.len() + outcome.completion_tokens as usize;
    }
    assert!(tokens > pages as usize * POSITIONS, "they would not have fitted together");
    assert!(tight.count.most.load(Ordering::SeqCst) <= pages as usize);
}

#[test]
fn a_run_that_fails_takes_no_other_with_it() {
    let engine = engine(8, 4, 1000);
    let alone = self::engine(1, 0, 1000);
    for round in 0..20 {
        let runs: Vec<Asked> = (0..12)
            .map(|i| {
                let mut prompt = vec![round, i, 3, 4, 5];
                match i {
                    2 => prompt.push(PANIC),
                    5 => prompt.push(FAIL),
                    9 => prompt.push(NAN),
                    _ => {}
                }
                Asked { beams: if i == 3 { 2 } else { 1 }, ..asked(&prompt, 20) }
            })
            .collect();
        let events: Vec<_> = runs.iter().map(|asked| engine.submit(asked).1).collect();
        for (i, (asked, events)) in runs.iter().zip(&events).enumerate() {
            let outcome = end(events);
            let told = outcome.error.clone().unwrap_or_default();
            match i {
                2 | 5 => assert!(told.starts_with("The engine failed: ") && told.contains("told to"), "{told}"),
                9 => assert_eq!(told, "The run failed: the model computed values that are no numbers."),
                _ => assert_eq!(outcome.text, alone.answer(asked).text),
            }
        }
    }
}

#[test]
fn a_sink_that_panics_ends_its_own_run_only() {
    let engine = engine(4, 4, 1000);
    let quiet = engine.submit(&asked(&[1, 2, 3], 30)).1;
    engine.submit_to(&asked(&[3, 2, 1], 30), Box::new(|event| assert!(!matches!(event, EngineEvent::Text { .. }))));
    let next = engine.submit(&asked(&[7, 8], 30)).1;
    assert_eq!(end(&quiet).error, None);
    assert_eq!(end(&next).error, None);
}

#[test]
fn prompts_that_begin_alike_are_computed_once() {
    let engine = engine(8, 8, 10_000);
    let beginning: Vec<u32> = (0..120).map(|i| i % 90 + 1).collect();
    let prompt = |i: u32| [&beginning[..], &[150 + i, 3]].concat();
    let events: Vec<_> = (0..20).map(|i| engine.submit(&asked(&prompt(i), 1)).1).collect();
    events.iter().for_each(|events| {
        end(events);
    });
    // The first is read in one step; all others have two tokens to read. None reads the whole.
    let steps = engine.steps.load(Ordering::SeqCst);
    assert!(steps <= 8, "{steps} steps");
}

#[test]
fn nobody_is_kept_waiting_by_anothers_crowd() {
    let engine = engine(1, 0, 1000);
    let order = Arc::new(Mutex::new(Vec::new()));
    let (gate, closed) = channel::<()>();
    let mut wait = Some(closed);
    engine.submit_to(
        &asked(&[1], 1),
        Box::new(move |_| {
            if let Some(wait) = wait.take() {
                wait.recv().unwrap_or(())
            }
        }),
    );
    let crowd = (0..30).map(|_| 1).chain([2, 3]);
    for owner in crowd {
        let order = order.clone();
        let sink = move |event| {
            if matches!(event, EngineEvent::Started { .. }) {
                order.lock().unwrap().push(owner);
            }
        };
        engine.submit_to(&Asked { owner: Some(owner), ..asked(&[5, owner as u32], 3) }, Box::new(sink));
    }
    drop(gate);
    engine.queue.drain(Duration::from_secs(60));
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 32);
    assert_eq!(order[..4], [1, 2, 3, 1]);
}

#[test]
fn beams_that_never_fit_the_memory_are_told_so_and_keep_their_text() {
    let engine = engine(4, 4, 12);
    let outcome = engine.answer(&Asked { beams: 8, ..asked(&[1, 2, 3, 4, 5, 6], 30) });
    if let Some(error) = &outcome.error {
        assert!(error.starts_with("The memory for keys and values is full."), "{error}");
    }
    assert_eq!(engine.answer(&asked(&[1, 2, 3, 4, 5, 6], 30)).error, None);
}

#[test]
fn adapters_come_and_go_while_runs_go_on() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let engine = engine(6, 6, 400);
    let alone = self::engine(1, 0, 10_000);
    let prompt: Vec<u32> = (1..30).collect();
    let mut loaded = vec![engine.load(1000)];
    for round in 0..60 {
        let mut running = Vec::new();
        for i in 0..6 {
            let lease = loaded[rng.random_range(0..loaded.len())].clone();
            let weights = *engine.adapters.get(lease.index());
            // They begin alike, so that what is remembered of another adapter would show.
            let asked = Asked { lookup: true, ..asked(&[&prompt[..], &[i % 3, 7]].concat(), 20) };
            let (sender, events) = channel();
            let sink = Box::new(move |event| sender.send(event).unwrap_or(()));
            engine.submit_with(&asked, Some(lease), sink);
            running.push((asked, weights, events));
        }
        // The runs go on with those that are unloaded now.
        if loaded.len() > 2 {
            loaded.remove(rng.random_range(0..loaded.len()));
        }
        loaded.push(engine.load(1001 + round));
        for (asked, weights, events) in running {
            let outcome = end(&events);
            let want = alone.answer(&Asked { adapter: Some(weights as usize), lookup: false, ..asked });
            assert_eq!((outcome.error, outcome.text), (None, want.text), "round {round}");
        }
    }
    let last = engine.load(7);
    assert!(last.index() < 12, "numbers are used again; this one is {}", last.index());
    let weights = engine.adapters.get(last.index());
    drop(last);
    for _ in 0..1000 {
        if Arc::strong_count(&weights) == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the memory of an unloaded adapter is not given back");
}

#[test]
fn a_device_that_broke_is_set_up_again_and_those_who_wait_never_notice() {
    let alone = engine(1, 0, 1000);
    for (round, slip) in [false, true].into_iter().enumerate() {
        let engine = engine(2, 4, 1000);
        let lease = engine.load(99);
        engine.faults.loads.store(round, Ordering::SeqCst);
        let (gate, closed) = channel::<()>();
        let faults = engine.faults.clone();
        let mut wait = Some(closed);
        // It has said something already when the device breaks.
        let (sender, first) = channel();
        let breaks = asked(&[1, 2, 3], 30);
        engine.submit_to(
            &breaks,
            Box::new(move |event| {
                if matches!(event, EngineEvent::Text { .. })
                    && let Some(wait) = wait.take()
                {
                    wait.recv().unwrap_or(());
                    faults.broken.store(!slip, Ordering::SeqCst);
                    faults.slip.store(slip, Ordering::SeqCst);
                }
                sender.send(event).unwrap_or(());
            }),
        );
        let second = engine.submit(&asked(&[4, 5, 6], 30)).1;
        let waiting: Vec<_> = (0..5)
            .map(|i| {
                let asked = asked(&[7, 8, i], 25);
                let (sender, events) = channel();
                let lease = (i == 1).then(|| lease.clone());
                engine.submit_with(&asked, lease, Box::new(move |event| sender.send(event).unwrap_or(())));
                (asked, events)
            })
            .collect();
        drop(gate);
        for (i, (asked, events)) in waiting.iter().enumerate() {
            let want = alone.answer(&Asked { adapter: (i == 1).then_some(99), ..asked.clone() });
            let outcome = end(events);
            assert_eq!((outcome.error, outcome.text), (None, want.text));
        }
        for events in [first, second] {
            let outcome = end(&events);
            if !slip {
                let told = outcome.error.unwrap_or_default();
                assert!(
                    told.starts_with("The model broke down while this was computed (the device is gone)"),
                    "{told}"
                );
            }
        }
        assert_eq!((engine.queue.restarts(), engine.queue.is_ready()), (1, true));
    }
}

#[test]
fn while_a_device_is_set_up_again_the_engine_says_so_and_can_be_stopped() {
    let engine = engine(1, 0, 1000);
    engine.faults.loads.store(usize::MAX, Ordering::SeqCst);
    engine.faults.broken.store(true, Ordering::SeqCst);
    let failed = engine.submit(&asked(&[1, 2], 5)).1;
    let waits = engine.submit(&asked(&[3, 4], 5)).1;
    assert!(end(&failed).error.is_some_and(|told| told.contains("it is being loaded again")));
    while engine.queue.is_ready() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (queue, drained) = (engine.queue.clone(), channel());
    std::thread::spawn(move || {
        queue.drain(Duration::from_secs(60));
        drained.0.send(()).unwrap_or(());
    });
    assert_eq!(end(&waits).finish_reason, FinishReason::Interrupted);
    assert!(drained.1.recv_timeout(Duration::from_secs(60)).is_ok());
}
