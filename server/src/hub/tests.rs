//! Event logs and streams, without an engine: the events are written by hand.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use axum::response::{IntoResponse, sse::Sse};
use protocol::{Column, Mode, Parameters, Timings, view::Page};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::store::{NewRuns, Store, new_id};

const ME: i64 = 1;

fn view(id: &str) -> RunView {
    RunView {
        id: id.into(),
        session: "s".into(),
        document: None,
        mode: Mode::Pretrain,
        column: Column::Base,
        model: "m".into(),
        adapter: None,
        schema: None,
        extraction: None,
        part: None,
        instruction: String::new(),
        prompt: "p".into(),
        parameters: Parameters::published(Mode::Pretrain),
        status: RunStatus::Queued,
        finish_reason: None,
        error: None,
        text: String::new(),
        prompt_tokens: None,
        completion_tokens: 0,
        timings: None,
        hesitations: None,
        samples: Vec::new(),
        position: None,
        created_at: 0,
    }
}

fn said(at: usize, text: &str, completion_tokens: u32) -> EngineEvent {
    EngineEvent::Text { at, text: text.into(), completion_tokens }
}

fn started() -> EngineEvent {
    EngineEvent::Started { prompt_tokens: 4, queue_ms: 0.0 }
}

fn done(text: &str) -> EngineEvent {
    EngineEvent::Done(Outcome {
        finish_reason: FinishReason::Stop,
        error: None,
        text: text.into(),
        prompt_tokens: 4,
        completion_tokens: 3,
        timings: Timings::default(),
        logprobs: Vec::new(),
    })
}

/// What a page that applies these events shows.
fn shown(text: &str, events: &[RunEvent]) -> String {
    let mut text = text.to_owned();
    for event in events {
        if let RunEvent::Text(event) = event {
            event.apply(&mut text);
        }
    }
    text
}

#[test]
fn tokens_that_come_together_are_one_event() {
    let run = LiveRun::new(ME, view("a"), None);
    run.apply([started(), said(0, "中", 1), said(1, "文 looop", 2), said(5, "p", 3)]);
    let (events, ended) = run.since(1);
    assert!(!ended);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(shown("", &events), "中文 lop");
    assert_eq!(run.view().completion_tokens, 3);
    run.apply([said(2, "!", 4)]);
    let (events, _) = run.since(3);
    assert_eq!(shown("中文 lop", &events), "中文!");
}

#[test]
fn the_log_can_be_read_from_anywhere() {
    let run = LiveRun::new(ME, view("a"), None);
    run.apply([started()]);
    for n in 0..10 {
        run.apply([said(n, "x", n as u32 + 1)]);
    }
    run.apply([done("xxxxxxxxxx")]);
    for seen in 1..13 {
        let (before, _) = (run.since(seen).0, ());
        let text = "x".repeat(seen.saturating_sub(2).min(10) as usize);
        assert_eq!(shown(&text, &before), "xxxxxxxxxx", "after {seen}");
    }
    let (all, ended) = run.since(0);
    assert!(ended);
    assert_eq!(
        (shown("what the page had", &all).as_str(), all.len()),
        ("xxxxxxxxxx", 2),
        "late: the text as one event"
    );
    assert_eq!(run.since(999).0, all, "a number that is not ours");
    let RunEvent::State(state) = &all[1] else { panic!("no state at the end") };
    assert_eq!((state.seq, state.status, state.finish_reason), (13, RunStatus::Finished, Some(FinishReason::Stop)));
}

#[test]
fn an_outcome_that_differs_from_the_text_so_far_replaces_it() {
    let run = LiveRun::new(ME, view("a"), None);
    run.apply([started(), said(0, "one two", 2)]);
    run.apply([done("one")]);
    assert_eq!((run.view().text.as_str(), run.view().status), ("one", RunStatus::Finished));
    assert_eq!(shown("one two", &run.since(3).0), "one");
}

#[test]
fn a_run_can_be_stopped_before_the_engine_has_it() {
    let run = LiveRun::new(ME, view("a"), None);
    run.stop();
    let handle = CancelHandle::default();
    run.accepted(handle.clone());
    assert!(handle.is_cancelled());
}

#[test]
fn an_id_gives_the_last_event_of_each_run() {
    assert_eq!(parse_last_id(Some("12,0,7"), 3), [12, 0, 7]);
    assert_eq!(parse_last_id(Some("12,0"), 3), [0, 0, 0]);
    assert_eq!(parse_last_id(Some("x"), 1), [0]);
    assert_eq!(parse_last_id(None, 2), [0, 0]);
}

struct Server {
    _folder: TempDir,
    store: Store,
    hub: Arc<Hub>,
    close: watch::Sender<bool>,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        Self { _folder: folder, store, hub: Arc::default(), close: watch::Sender::new(false) }
    }

    fn live(&self, id: &str) -> Arc<LiveRun> {
        let run = LiveRun::new(ME, view(id), None);
        self.hub.add(Arc::clone(&run));
        run
    }

    async fn stored(&self, text: &str) -> String {
        let session = new_id();
        let run =
            RunView { session: session.clone(), text: text.into(), status: RunStatus::Finished, ..view(&new_id()) };
        let id = run.id.clone();
        let open = Some(("t".to_owned(), Page::Complete));
        self.store
            .insert_runs(ME, &NewRuns { session, open, documents: vec![], extractions: vec![], runs: vec![run] })
            .await
            .unwrap();
        id
    }

    /// Reads the stream to its end.
    async fn read(&self, owner: i64, runs: &[&str], last_id: Option<&str>) -> Vec<Message> {
        let listener = Listener {
            owner,
            runs: runs.iter().map(|r| (*r).to_owned()).collect(),
            seen: parse_last_id(last_id, runs.len()),
        };
        let stream = listener.stream(Arc::clone(&self.hub), self.store.clone(), self.close.subscribe());
        let body = Sse::new(stream).into_response().into_body();
        let bytes = timeout(Duration::from_secs(5), axum::body::to_bytes(body, usize::MAX)).await.unwrap().unwrap();
        messages(std::str::from_utf8(&bytes).unwrap())
    }
}

struct Message {
    name: Option<String>,
    id: Option<String>,
    event: Option<RunEvent>,
}

fn messages(text: &str) -> Vec<Message> {
    let field = |part: &str, name: &str| {
        part.lines().find_map(|l| l.strip_prefix(name).and_then(|l| l.strip_prefix(": ")).map(str::to_owned))
    };
    let parts = text.split("\n\n").filter(|part| !part.trim().is_empty());
    parts
        .map(|part| Message {
            name: field(part, "event"),
            id: field(part, "id"),
            event: field(part, "data").and_then(|d| serde_json::from_str(&d).ok()),
        })
        .collect()
}

fn text_of(messages: &[Message], run: &str) -> String {
    let of = |e: &RunEvent| {
        matches!(e, RunEvent::Text(t) if t.run == run) || matches!(e, RunEvent::State(s) if s.run == run)
    };
    let events: Vec<RunEvent> = messages.iter().filter_map(|m| m.event.clone()).filter(of).collect();
    shown("", &events)
}

#[tokio::test]
async fn one_stream_carries_several_runs_and_ends_with_the_last() {
    let server = Server::start().await;
    let (a, b) = (server.live("a"), server.live("b"));
    let writer = tokio::spawn(async move {
        a.apply([started(), said(0, "A1", 1)]);
        tokio::time::sleep(Duration::from_millis(20)).await;
        b.apply([started(), said(0, "B1", 1)]);
        a.apply([said(2, "A2", 2), done("A1A2")]);
        tokio::time::sleep(Duration::from_millis(20)).await;
        b.apply([done("B1")]);
    });
    let messages = server.read(ME, &["a", "b"], None).await;
    writer.await.unwrap();
    assert_eq!((text_of(&messages, "a").as_str(), text_of(&messages, "b").as_str()), ("A1A2", "B1"));
    assert_eq!(messages.last().unwrap().name.as_deref(), Some("end"));
    let finals = messages.iter().filter(|m| matches!(&m.event, Some(RunEvent::State(s)) if s.status.is_final()));
    assert_eq!(finals.count(), 2);
}

#[tokio::test]
async fn a_stream_resumes_after_what_the_page_has_seen() {
    let server = Server::start().await;
    let run = server.live("a");
    run.apply([started()]);
    run.apply([said(0, "one ", 1)]);
    run.apply([said(4, "two", 2)]);
    run.apply([done("one two")]);
    let messages = server.read(ME, &["a"], Some("3")).await;
    let ids: Vec<_> = messages.iter().filter_map(|m| m.id.as_deref()).collect();
    assert_eq!(ids, ["4", "5"]);
    assert_eq!(shown("one ", &messages.iter().filter_map(|m| m.event.clone()).collect::<Vec<_>>()), "one two");
}

#[tokio::test]
async fn a_run_that_ended_long_ago_comes_as_a_snapshot() {
    let server = Server::start().await;
    let id = server.stored("whole answer").await;
    let messages = server.read(ME, &[&id], Some("9")).await;
    assert_eq!(text_of(&messages, &id), "whole answer");
    let ids: Vec<_> = messages.iter().filter_map(|m| m.id.as_deref()).collect();
    assert_eq!(ids, ["10", "11"], "numbered after what was seen");
    assert_eq!(messages.len(), 3);
}

#[tokio::test]
async fn nobody_hears_of_anothers_runs() {
    let server = Server::start().await;
    server.live("a").apply([said(0, "secret", 1)]);
    let stored = server.stored("secret").await;
    let messages = server.read(2, &["a", &stored, "unknown"], None).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].name.as_deref(), Some("end"));
}

#[tokio::test]
async fn streams_end_when_the_server_stops_without_telling_the_page_not_to_come_back() {
    let server = Server::start().await;
    let _going_on = server.live("a");
    server.close.send_replace(true);
    let messages = server.read(ME, &["a"], None).await;
    assert!(messages.iter().all(|m| m.name.is_none()));
}
