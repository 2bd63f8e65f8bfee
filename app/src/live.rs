//! Runs and texts as the page holds them, kept up to date by the server's event stream.

use std::collections::HashMap;

use extract::Parsed;
use leptos::prelude::*;
use protocol::{Column, RunEvent, RunView, view::DocumentView};

/// A run that changes while it is looked at.
pub type Run = ArcRwSignal<RunView>;
/// A text whose judgements change while it is looked at.
pub type Document = ArcRwSignal<DocumentView>;

/// Whether the event stream is broken off.
#[derive(Clone, Copy)]
pub struct Connection {
    pub lost: RwSignal<bool>,
}

impl Default for Connection {
    fn default() -> Self {
        Self { lost: RwSignal::new(false) }
    }
}

/// What is shown as one: a completion, an extraction, or the two columns of a comparison.
#[derive(Clone)]
pub struct Item {
    pub document: Option<Document>,
    /// One run, or base and tuned.
    pub runs: Vec<Run>,
    /// What each run's answer says, read once however many parts of the page show it.
    parsed: Vec<ArcMemo<Parsed>>,
}

impl Item {
    /// The run of a column.
    pub fn column(&self, column: Column) -> Option<Run> {
        self.runs.iter().find(|r| r.with_untracked(|v| v.column == column)).cloned()
    }

    /// What the answer of a column says of the text.
    pub fn parsed(&self, column: Column) -> Option<ArcMemo<Parsed>> {
        let index = self.runs.iter().position(|r| r.with_untracked(|v| v.column == column))?;
        self.parsed.get(index).cloned()
    }

    fn push(&mut self, run: Run) {
        let (answer, document) = (run.clone(), self.document.clone());
        self.parsed.push(ArcMemo::new(move |_| {
            let source = document.as_ref().map(|d| d.with(|d| d.text.clone())).unwrap_or_default();
            answer.with(|r| extract::parse::records(&r.text, &source, r.schema.as_ref(), r.status.is_final()))
        }));
        self.runs.push(run);
    }

    /// When its request was accepted; items of one request share it.
    pub fn created_at(&self) -> i64 {
        self.runs.first().map_or(0, |r| r.with_untracked(|v| v.created_at))
    }
}

/// Groups runs, oldest first, with their texts. Base and tuned run of one request and text form one item.
pub fn items(runs: Vec<RunView>, documents: Vec<DocumentView>) -> Vec<Item> {
    let documents: HashMap<String, Document> =
        documents.into_iter().map(|d| (d.id.clone(), ArcRwSignal::new(d))).collect();
    let mut items: Vec<(RunView, Item)> = Vec::new();
    for run in runs {
        let joins = items.last().is_some_and(|(first, item)| {
            item.runs.len() == 1
                && run.document.is_some()
                && first.document == run.document
                && first.created_at == run.created_at
                && first.column != run.column
        });
        let signal = ArcRwSignal::new(run.clone());
        match items.last_mut() {
            Some((_, item)) if joins => item.push(signal),
            _ => {
                let document = run.document.as_ref().and_then(|id| documents.get(id)).cloned();
                let mut item = Item { document, runs: Vec::new(), parsed: Vec::new() };
                item.push(signal);
                items.push((run, item));
            }
        }
    }
    items.into_iter().map(|(_, item)| item).collect()
}

/// The items of the newest request, and how many came before.
pub fn newest(items: Vec<Item>) -> (Vec<Item>, usize) {
    let newest = items.last().map_or(0, Item::created_at);
    let (last, earlier): (Vec<_>, Vec<_>) = items.into_iter().partition(|i| i.created_at() == newest);
    (last, earlier.len())
}

fn apply(run: &Run, event: &RunEvent) {
    run.update(|view| match event {
        RunEvent::Text(text) => text.apply(&mut view.text),
        RunEvent::State(state) => {
            view.status = state.status;
            view.finish_reason = state.finish_reason;
            view.error.clone_from(&state.error);
            view.prompt_tokens = state.prompt_tokens.or(view.prompt_tokens);
            view.completion_tokens = state.completion_tokens;
            view.timings = state.timings.or(view.timings);
            view.position = state.position;
        }
    });
}

/// The most runs that one event stream tells of.
const MAX_FOLLOWED: usize = 100;

/// Keeps the runs of these items up to date until they end, through one event stream a page. Does nothing on the server.
pub fn follow(items: &[Item], connection: Connection) {
    let open: HashMap<String, Run> = items
        .iter()
        .flat_map(|i| &i.runs)
        .filter(|r| r.with_untracked(|v| !v.status.is_final()))
        .take(MAX_FOLLOWED)
        .map(|r| (r.with_untracked(|v| v.id.clone()), r.clone()))
        .collect();
    if !open.is_empty() {
        stream::open(open, connection);
    }
}

/// Closes the event stream: a browser opens six connections to a host at most, and a page that was left needs none.
pub fn leave() {
    stream::close();
}

#[cfg(not(feature = "hydrate"))]
mod stream {
    use super::{Connection, HashMap, Run};

    pub fn open(_runs: HashMap<String, Run>, _connection: Connection) {
        let _ = super::apply;
    }

    pub fn close() {}
}

#[cfg(feature = "hydrate")]
mod stream {
    use std::{cell::RefCell, time::Duration};

    use leptos::prelude::*;
    use protocol::RunEvent;
    use wasm_bindgen::{JsCast as _, prelude::Closure};
    use web_sys::{EventSource, MessageEvent};

    use super::{Connection, HashMap, Run, apply};

    /// How long to wait before a stream that was refused is opened again.
    const RETRY: Duration = Duration::from_secs(3);

    type OnMessage = Closure<dyn FnMut(MessageEvent)>;
    type OnState = Closure<dyn FnMut()>;

    /// An open stream with the callbacks that it needs alive.
    struct Stream {
        source: EventSource,
        _on_message: OnMessage,
        _on_error: OnState,
        _on_open: OnState,
    }

    impl Drop for Stream {
        fn drop(&mut self) {
            self.source.set_onmessage(None);
            self.source.set_onerror(None);
            self.source.set_onopen(None);
            self.source.close();
        }
    }

    thread_local! {
        static PAGE: RefCell<Option<Stream>> = const { RefCell::new(None) };
    }

    pub fn close() {
        PAGE.with_borrow_mut(|page| *page = None);
    }

    fn going_on(runs: &HashMap<String, Run>) -> bool {
        runs.values().any(|r| r.with_untracked(|v| !v.status.is_final()))
    }

    pub fn open(runs: HashMap<String, Run>, connection: Connection) {
        close();
        let query = runs.keys().map(|id| format!("run={id}")).collect::<Vec<_>>().join("&");
        let Ok(source) = EventSource::new(&format!("/api/events?{query}")) else { return };
        let on_message = OnMessage::new({
            let (source, runs) = (source.clone(), runs.clone());
            move |message: MessageEvent| {
                let event = message.data().as_string().and_then(|d| serde_json::from_str::<RunEvent>(&d).ok());
                let Some(event) = event else { return };
                let id = match &event {
                    RunEvent::Text(text) => &text.run,
                    RunEvent::State(state) => &state.run,
                };
                if let Some(run) = runs.get(id) {
                    apply(run, &event);
                }
                if !going_on(&runs) {
                    source.close();
                }
            }
        });
        let on_error = OnState::new({
            let source = source.clone();
            move || {
                let refused = source.ready_state() == EventSource::CLOSED;
                let unfinished = going_on(&runs);
                connection.lost.set(unfinished);
                // The browser tries again by itself, except after an answer that is no event stream.
                if refused && unfinished {
                    let runs = runs.clone();
                    set_timeout(move || open(runs, connection), RETRY);
                }
            }
        });
        let on_open = OnState::new(move || connection.lost.set(false));
        source.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        source.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        source.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        let stream = Stream { source, _on_message: on_message, _on_error: on_error, _on_open: on_open };
        PAGE.with_borrow_mut(|page| *page = Some(stream));
    }
}
