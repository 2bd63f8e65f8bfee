//! Runs and texts as the page holds them, kept up to date by the server's event stream.

use std::collections::HashMap;

use extract::{Parsed, Schema, merge::Part};
use leptos::prelude::*;
use protocol::{
    Column, FinishReason, RunEvent, RunView, SchemaChoice, Span, Task,
    text::slice_chars,
    view::{DocumentView, ExtractionView},
};

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
    /// Every run, column by column.
    pub runs: Vec<Run>,
    sides: Vec<Side>,
}

/// What one model made of the text: one run, or the runs of an extraction.
#[derive(Clone)]
struct Side {
    column: Column,
    extraction: Option<ExtractionView>,
    schema: Option<Schema>,
    runs: Vec<Run>,
    /// What the answers say together, read once however many parts of the page show it.
    parsed: ArcMemo<Parsed>,
}

impl Item {
    /// A text that nothing has answered.
    pub fn unanswered(document: DocumentView) -> Self {
        Self { document: Some(ArcRwSignal::new(document)), runs: Vec::new(), sides: Vec::new() }
    }

    fn side(&self, column: Column) -> Option<&Side> {
        self.sides.iter().find(|side| side.column == column)
    }

    /// The columns that it has: base first.
    pub fn columns(&self) -> Vec<Column> {
        self.sides.iter().map(|side| side.column).collect()
    }

    /// Whether base and tuned stand side by side.
    pub fn is_comparison(&self) -> bool {
        self.sides.len() > 1
    }

    /// The run of a column; of an extraction the first.
    pub fn column(&self, column: Column) -> Option<Run> {
        self.side(column)?.runs.first().cloned()
    }

    /// All runs of a column, from the beginning of the text to its end.
    pub fn runs_of(&self, column: Column) -> Vec<Run> {
        self.side(column).map(|side| side.runs.clone()).unwrap_or_default()
    }

    /// What the answers of a column say of the text.
    pub fn parsed(&self, column: Column) -> Option<ArcMemo<Parsed>> {
        self.side(column).map(|side| side.parsed.clone())
    }

    /// The extraction, when a whole schema was asked.
    pub fn extraction(&self) -> Option<&ExtractionView> {
        self.sides.iter().find_map(|side| side.extraction.as_ref())
    }

    /// What was asked for, in words: a schema's name and version, or its types where it was never saved; else the
    /// instruction.
    pub fn asked(&self) -> String {
        let instruction = || self.runs.first().map(|run| run.with_untracked(|r| r.instruction.clone()));
        match self.extraction().map(|extraction| extraction.schema.title()) {
            Some(title) if !title.is_empty() => title,
            Some(_) => self.schema().map(|schema| schema.labels().types.join(", ")).unwrap_or_default(),
            None => instruction().unwrap_or_default(),
        }
    }

    /// What was asked for: a whole schema, or the one task of a run; `None` for a free instruction.
    pub fn schema(&self) -> Option<Schema> {
        self.sides.iter().find_map(|side| side.schema.clone())
    }

    /// Every type and role that was asked for, as colours are given by.
    pub fn choice(&self) -> Option<SchemaChoice> {
        match self.extraction() {
            Some(_) => self.schema().map(|schema| schema.labels()),
            None => self.runs.first()?.with_untracked(|run| run.schema.clone()),
        }
    }

    /// When its request was accepted; items of one request share it.
    pub fn created_at(&self) -> i64 {
        self.runs.first().map_or(0, |r| r.with_untracked(|v| v.created_at))
    }
}

impl Side {
    fn new(extraction: Option<ExtractionView>, runs: Vec<Run>, document: Option<&Document>) -> Option<Self> {
        let first = runs.first()?;
        let column = first.with_untracked(|run| run.column);
        let schema = match &extraction {
            Some(extraction) => Schema::from_json(&extraction.schema.json).ok(),
            None => first.with_untracked(|run| run.schema.as_ref().map(Schema::of_choice)),
        };
        let parsed = match (&extraction, &schema) {
            (Some(_), Some(schema)) => together(schema.clone(), &runs, document),
            _ => answer(first.clone(), document.cloned()),
        };
        Some(Self { column, extraction, schema, runs, parsed })
    }
}

/// What an answer says of its text, or of its part of the text. One about a part is read when it has ended: a long text
/// has many, and is drawn again with each.
pub fn answer(run: Run, document: Option<Document>) -> ArcMemo<Parsed> {
    ArcMemo::new(move |_| {
        let source = document.as_ref().map(|d| d.with(|d| d.text.clone())).unwrap_or_default();
        run.with(|r| {
            let done = r.status.is_final();
            match r.part {
                Some(_) if !done => Parsed::default(),
                Some(part) => ended(r, slice_chars(&source, part.start, part.end)),
                None if done => ended(r, &source),
                None => extract::parse::records(&r.text, &source, r.schema.as_ref(), false),
            }
        })
    })
}

/// What an answer says that has ended.
fn ended(run: &RunView, source: &str) -> Parsed {
    extract::doubt::records(&run.text, source, run.schema.as_ref(), run.hesitations.as_deref(), &run.samples)
}

/// What the runs of an extraction say together of the whole text.
fn together(schema: Schema, runs: &[Run], document: Option<&Document>) -> ArcMemo<Parsed> {
    let length = document.map_or(0, |d| d.with_untracked(|d| d.text.chars().count()));
    let answers: Vec<(Task, Span, ArcMemo<Parsed>)> = runs
        .iter()
        .map(|run| {
            let (task, part) = run.with_untracked(|r| (r.schema.as_ref().map_or(Task::Entities, |s| s.task), r.part));
            (task, part.unwrap_or(Span { start: 0, end: length }), answer(run.clone(), document.cloned()))
        })
        .collect();
    ArcMemo::new(move |_| {
        let part = |(task, span, parsed): &(Task, Span, ArcMemo<Parsed>)| Part {
            task: *task,
            span: *span,
            parsed: parsed.get(),
            finish: FinishReason::Stop,
            run: None,
        };
        extract::together::records(&schema, answers.iter().map(part).collect())
    })
}

/// Groups runs, oldest first, with their texts: the runs of an extraction form one item, and so do the columns of one
/// request and text.
pub fn items(runs: Vec<RunView>, documents: Vec<DocumentView>, extractions: Vec<ExtractionView>) -> Vec<Item> {
    struct Group {
        document: Option<String>,
        created_at: i64,
        /// Column by column, with the extraction that owns the runs.
        sides: Vec<(Column, Option<String>, Vec<Run>)>,
    }
    let documents: HashMap<String, Document> =
        documents.into_iter().map(|d| (d.id.clone(), ArcRwSignal::new(d))).collect();
    let mut extractions: HashMap<String, ExtractionView> = extractions.into_iter().map(|e| (e.id.clone(), e)).collect();
    let mut groups: Vec<Group> = Vec::new();
    // Where the runs of an extraction go.
    let mut homes: HashMap<String, (usize, usize)> = HashMap::new();
    for run in runs {
        let (column, extraction, document) = (run.column, run.extraction.clone(), run.document.clone());
        let created_at = run.created_at;
        let signal = ArcRwSignal::new(run);
        if let Some((group, side)) = extraction.as_ref().and_then(|id| homes.get(id)) {
            if let Some((_, _, runs)) = groups.get_mut(*group).and_then(|g| g.sides.get_mut(*side)) {
                runs.push(signal);
            }
            continue;
        }
        let joins = groups.last().is_some_and(|group| {
            document.is_some()
                && group.document == document
                && group.created_at == created_at
                && group.sides.iter().all(|(c, e, _)| *c != column && e.is_some() == extraction.is_some())
        });
        if !joins {
            groups.push(Group { document, created_at, sides: Vec::new() });
        }
        let at = groups.len() - 1;
        if let Some(group) = groups.last_mut() {
            if let Some(id) = &extraction {
                homes.insert(id.clone(), (at, group.sides.len()));
            }
            group.sides.push((column, extraction, vec![signal]));
        }
    }
    let item = |group: Group| {
        let document = group.document.as_ref().and_then(|id| documents.get(id)).cloned();
        let runs = group.sides.iter().flat_map(|(_, _, runs)| runs.clone()).collect();
        let mut sides: Vec<Side> = group
            .sides
            .into_iter()
            .filter_map(|(_, id, runs)| Side::new(id.and_then(|id| extractions.remove(&id)), runs, document.as_ref()))
            .collect();
        sides.sort_by_key(|side| side.column);
        Item { document, runs, sides }
    };
    groups.into_iter().map(item).collect()
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
            view.hesitations.clone_from(&state.hesitations);
            view.samples.clone_from(&state.samples);
            view.position = state.position;
        }
    });
}

/// The most runs that one event stream tells of.
const MAX_FOLLOWED: usize = 100;

/// Keeps the runs of these items up to date until they end, through one event stream a page. Does nothing on the server.
pub fn follow(items: &[Item], connection: Connection) {
    follow_runs(items.iter().flat_map(|i| &i.runs).cloned().collect(), connection);
}

fn follow_runs(mut runs: Vec<Run>, connection: Connection) {
    // Ids rise with the time of their making.
    runs.sort_by_key(|r| r.with_untracked(|v| v.id.clone()));
    follow_next(runs, connection);
}

/// Follows as many of the unfinished runs as one stream can, in their order, which is that in which they are computed;
/// when these have ended, the next.
fn follow_next(mut runs: Vec<Run>, connection: Connection) {
    runs.retain(|r| r.with_untracked(|v| !v.status.is_final()));
    let rest = runs.split_off(runs.len().min(MAX_FOLLOWED));
    let open: HashMap<String, Run> = runs.into_iter().map(|r| (r.with_untracked(|v| v.id.clone()), r)).collect();
    if !open.is_empty() {
        stream::open(open, rest, connection);
    }
}

/// Follows these runs too, beside those that the page follows already.
pub fn follow_also(mut runs: Vec<Run>, connection: Connection) {
    runs.extend(stream::followed());
    follow_runs(runs, connection);
}

/// Closes the event stream: a browser opens six connections to a host at most, and a page that was left needs none.
pub fn leave() {
    stream::close();
}

#[cfg(not(feature = "hydrate"))]
mod stream {
    use super::{Connection, HashMap, Run};

    pub fn open(_runs: HashMap<String, Run>, _rest: Vec<Run>, _connection: Connection) {
        let _ = super::apply;
    }

    pub fn close() {}

    pub fn followed() -> Vec<Run> {
        Vec::new()
    }
}

#[cfg(feature = "hydrate")]
mod stream {
    use std::{
        cell::{Cell, RefCell},
        time::Duration,
    };

    use leptos::prelude::*;
    use protocol::RunEvent;
    use wasm_bindgen::{JsCast as _, prelude::Closure};
    use web_sys::{EventSource, MessageEvent};

    use super::{Connection, HashMap, Run, apply, follow_next};

    /// How long to wait before a stream that was refused is opened again.
    const RETRY: Duration = Duration::from_secs(3);

    type OnMessage = Closure<dyn FnMut(MessageEvent)>;
    type OnState = Closure<dyn FnMut()>;

    /// An open stream with the callbacks that it needs alive.
    struct Stream {
        source: EventSource,
        /// What it tells of, and what is next.
        runs: Vec<Run>,
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
        /// Grows with every stream that is opened or closed: a timer of an earlier one has nothing to do any more.
        static GENERATION: Cell<u64> = const { Cell::new(0) };
    }

    pub fn close() {
        GENERATION.set(GENERATION.get() + 1);
        PAGE.with_borrow_mut(|page| *page = None);
    }

    /// Does something later, unless another stream has taken this one's place by then or the page was left.
    fn later(generation: u64, wait: Duration, work: impl FnOnce() + 'static) {
        let work = move || {
            if GENERATION.get() == generation {
                work();
            }
        };
        set_timeout(work, wait);
    }

    /// What the open stream tells of, and what is next.
    pub fn followed() -> Vec<Run> {
        PAGE.with_borrow(|page| page.as_ref().map(|stream| stream.runs.clone()).unwrap_or_default())
    }

    fn going_on(runs: &HashMap<String, Run>) -> bool {
        runs.values().any(|r| r.with_untracked(|v| !v.status.is_final()))
    }

    pub fn open(runs: HashMap<String, Run>, rest: Vec<Run>, connection: Connection) {
        close();
        let generation = GENERATION.get();
        let all = runs.values().chain(&rest).cloned().collect();
        let query = runs.keys().map(|id| format!("run={id}")).collect::<Vec<_>>().join("&");
        let Ok(source) = EventSource::new(&format!("/api/events?{query}")) else { return };
        let on_message = OnMessage::new({
            let (source, runs, rest) = (source.clone(), runs.clone(), rest.clone());
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
                if source.ready_state() != EventSource::CLOSED && !going_on(&runs) {
                    source.close();
                    if !rest.is_empty() {
                        // Not from within this callback, which the next stream takes the place of.
                        let rest = rest.clone();
                        later(generation, Duration::ZERO, move || follow_next(rest, connection));
                    }
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
                    let (runs, rest) = (runs.clone(), rest.clone());
                    later(generation, RETRY, move || open(runs, rest, connection));
                }
            }
        });
        let on_open = OnState::new(move || connection.lost.set(false));
        source.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        source.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        source.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        let stream = Stream { source, runs: all, _on_message: on_message, _on_error: on_error, _on_open: on_open };
        PAGE.with_borrow_mut(|page| *page = Some(stream));
    }
}
