//! Judging the records of one text, by mouse and by key, in whichever view they are shown.
//!
//! A view marks the element of a record with `data-record`, the record's [`Row::tag`]. One of them is in the tab order,
//! arrows move to the others (a "roving" tab stop). The record that has the focus, or the pointer, lights up wherever
//! else it is shown.

use std::collections::HashMap;

use leptos::{ev::KeyboardEvent, html, prelude::*};
use protocol::{Certainty, Judgement, Record, Task, Verdict, record::Mention};

use super::{
    judge_dom::{focus, is_typing, record_of, selected_words, step},
    marked::{Names, Origin},
    records::is_nearly,
};
use crate::{
    api,
    filing::{heard, in_order},
    i18n::{t, t_string, use_i18n},
    live::Document,
    services::ServiceError,
};

/// A record and who says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub record: Record,
    /// In a comparison one record can have both.
    pub origins: Vec<Origin>,
    /// [`Record::key`].
    pub key: String,
    /// The key in a form that can stand in the page.
    pub tag: String,
}

impl Row {
    pub fn new(record: Record, origins: Vec<Origin>) -> Self {
        let key = record.key();
        let hash = key
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self { record, origins, key, tag: format!("r{hash:016x}") }
    }

    /// What its element depends on: how sure the model was is known when it has ended.
    pub fn drawn(&self) -> (String, Vec<Certainty>) {
        (self.tag.clone(), self.record.mentions().iter().map(|(_, m)| m.certainty).collect())
    }

    /// Whether it is to be looked at: the model hesitated, or the text has other words. People's own records are not.
    pub fn certainty(&self) -> Certainty {
        let nearly = || self.record.mentions().iter().any(|(_, m)| is_nearly(m));
        match self.record.certainty() {
            _ if self.yours() => Certainty::Unknown,
            _ if nearly() => Certainty::Check,
            certainty => certainty,
        }
    }

    /// Whether base and tuned both say it.
    pub fn agreed(&self) -> bool {
        [Origin::Base, Origin::Tuned].iter().all(|o| self.origins.contains(o))
    }

    /// Whether only a person says it.
    pub fn yours(&self) -> bool {
        self.origins == [Origin::You]
    }
}

/// What is being typed.
#[derive(Clone, Debug, PartialEq)]
pub enum Editing {
    /// A record that the model missed, beginning with these words.
    New(String),
    /// The record of this tag.
    Record(String),
}

/// The records of one text and what is said of them; shared by all views of the text.
#[derive(Clone, Copy)]
pub struct Judging {
    document: StoredValue<Document>,
    names: StoredValue<Names>,
    pub read_only: bool,
    error: RwSignal<Option<ServiceError>>,
    /// What was found, then what people added and corrected to; without what base and tuned agree on where only the
    /// rest is wanted.
    pub layers: Memo<Vec<Row>>,
    /// The judgement of each key; what another record was corrected to is right.
    filed: Memo<HashMap<String, Judgement>>,
    /// The tag that the keyboard was on last.
    current: RwSignal<Option<String>>,
    /// The one in the tab order.
    stop: Memo<Option<String>>,
    /// The one that is lit.
    pub lit: RwSignal<Option<String>>,
    pub editing: RwSignal<Option<Editing>>,
    root: NodeRef<html::Div>,
}

impl Judging {
    /// `rows`: what was found. `only_changed`: leave out what base and tuned agree on.
    pub fn new(
        document: Document,
        names: Names,
        rows: Memo<Vec<Row>>,
        only_changed: Signal<bool>,
        read_only: bool,
        error: RwSignal<Option<ServiceError>>,
    ) -> Self {
        let judgements = {
            let document = document.clone();
            Memo::new(move |_| document.with(|d| d.judgements.clone()))
        };
        let filed = Memo::new(move |_| {
            judgements.with(|judgements| {
                let mut filed: HashMap<String, Judgement> =
                    judgements.iter().rev().map(|j| (j.record.key(), j.clone())).collect();
                for record in judgements.iter().filter_map(|j| j.correction.as_ref()) {
                    filed.entry(record.key()).or_insert_with(|| Judgement {
                        record: record.clone(),
                        verdict: Verdict::Right,
                        correction: None,
                    });
                }
                filed
            })
        });
        let layers = Memo::new(move |_| {
            let mut layers = rows.get();
            judgements.with(|judgements| {
                for record in judgements.iter().filter_map(Judgement::gold) {
                    let row = Row::new(record.clone(), vec![Origin::You]);
                    if !layers.iter().any(|known| known.key == row.key) {
                        layers.push(row);
                    }
                }
            });
            if only_changed.get() {
                layers.retain(|row| !row.agreed());
            }
            layers
        });
        let current = RwSignal::new(None::<String>);
        let stop = Memo::new(move |_| {
            let current = current.get();
            layers.with(|rows| {
                let known = current.filter(|tag| rows.iter().any(|r| r.tag == *tag));
                known.or_else(|| rows.first().map(|r| r.tag.clone()))
            })
        });
        Self {
            document: StoredValue::new(document),
            names: StoredValue::new(names),
            read_only,
            error,
            layers,
            filed,
            current,
            stop,
            lit: RwSignal::new(None),
            editing: RwSignal::new(None),
            root: NodeRef::new(),
        }
    }

    /// The text, tracked.
    pub fn text(self) -> String {
        self.document.with_value(|d| d.with(|d| d.text.clone()))
    }

    /// The id of the text.
    pub fn document_id(self) -> String {
        self.document.with_value(|d| d.with_untracked(|d| d.id.clone()))
    }

    /// The text's judgements, tracked.
    pub fn judgements(self) -> Vec<Judgement> {
        self.document.with_value(|d| d.with(|d| d.judgements.clone()))
    }

    /// What was asked for, list by list: entity types, relations, event types, roles.
    pub fn names(self) -> Names {
        self.names.get_value()
    }

    /// The judgement of a record, tracked.
    pub fn filed(self, key: &str) -> Option<Judgement> {
        self.filed.with(|filed| filed.get(key).cloned())
    }

    /// The verdict on a record, tracked.
    pub fn verdict(self, key: &str) -> Option<Verdict> {
        self.filed.with(|filed| filed.get(key).map(|j| j.verdict))
    }

    /// Whether the record of a tag is lit, tracked.
    pub fn is_lit(self, tag: &str) -> bool {
        self.lit.with(|lit| lit.as_deref() == Some(tag))
    }

    /// The `tabindex` of a record's element, tracked.
    pub fn tab_index(self, tag: &str) -> &'static str {
        if self.stop.with(|stop| stop.as_deref() == Some(tag)) { "0" } else { "-1" }
    }

    /// Whether the editor of a record is open, tracked.
    pub fn is_edited(self, tag: &str) -> bool {
        self.editing.with(|e| matches!(e, Some(Editing::Record(edited)) if edited == tag))
    }

    fn row(self, tag: &str) -> Option<Row> {
        self.layers.with_untracked(|rows| rows.iter().find(|r| r.tag == tag).cloned())
    }

    /// Judges a record, or takes the same judgement back.
    pub fn set(self, row: &Row, verdict: Verdict) {
        if self.read_only || row.yours() {
            return;
        }
        if self.filed.with_untracked(|f| f.get(&row.key).is_some_and(|j| j.verdict == verdict)) {
            self.take_back(row);
        } else {
            self.file(Judgement { record: row.record.clone(), verdict, correction: None });
        }
    }

    /// Keeps what was typed in place of a record, or as one that was missed.
    pub fn save(self, original: Option<&Row>, mut edited: Record) {
        let source = untrack(|| self.text());
        extract::ground::records(&source, std::slice::from_mut(&mut edited));
        if original.is_none() {
            self.current.set(Some(Row::new(edited.clone(), Vec::new()).tag));
        }
        self.file(match original.map(|row| &row.record) {
            Some(record) if record.key() == edited.key() => {
                Judgement { record: record.clone(), verdict: Verdict::Right, correction: None }
            }
            Some(record) => Judgement { record: record.clone(), verdict: Verdict::Corrected, correction: Some(edited) },
            None => Judgement { record: edited, verdict: Verdict::Added, correction: None },
        });
        self.close_editor();
    }

    /// Closes the editor; the keyboard is on the record again.
    pub fn close_editor(self) {
        self.editing.set(None);
        self.focus_stop();
    }

    /// Files a judgement at once on the page and then on the server; takes it back on the page if that refuses it.
    fn file(self, judgement: Judgement) {
        let document = self.document.get_value();
        let key = judgement.record.key();
        let (earlier, id) =
            document.with_untracked(|d| (d.judgements.iter().find(|j| j.record.key() == key).cloned(), d.id.clone()));
        document.update(|d| put(&mut d.judgements, judgement.clone()));
        let error = self.error;
        in_order(async move {
            if let Err(e) = heard(error, || api::judge(id.clone(), judgement.clone())).await {
                document.update(|d| undo(&mut d.judgements, &judgement, earlier));
                error.try_set(Some(e));
            }
        });
    }

    /// Takes the judgement of a record back; one that only a person says goes.
    pub fn take_back(self, row: &Row) {
        if self.read_only {
            return;
        }
        let document = self.document.get_value();
        let (before, id) = document.with_untracked(|d| (d.judgements.clone(), d.id.clone()));
        // What a person corrected a record to goes with the correction.
        let of = before.iter().find(|j| j.record.key() == row.key);
        let of = of.or_else(|| {
            before.iter().find(|j| row.yours() && j.correction.as_ref().is_some_and(|c| c.key() == row.key))
        });
        let Some(taken) = of.cloned() else { return };
        let key = taken.record.key();
        document.update(|d| d.judgements.retain(|j| j.record.key() != key));
        let error = self.error;
        in_order(async move {
            if let Err(e) = heard(error, || api::unjudge(id.clone(), key.clone())).await {
                document.update(|d| {
                    // Unless it was judged again meanwhile.
                    if !d.judgements.iter().any(|j| j.record.key() == key) {
                        d.judgements.push(taken);
                    }
                });
                error.try_set(Some(e));
            }
        });
        if row.yours() {
            self.focus_stop();
        }
    }

    /// Opens the editor for a missed record, with the words that are selected in the page.
    pub fn add(self) {
        if !self.read_only {
            self.editing.set(Some(Editing::New(selected_words())));
        }
    }

    /// Opens the editor of a record.
    pub fn edit(self, row: &Row) {
        if !self.read_only && !row.yours() {
            self.editing.set(Some(Editing::Record(row.tag.clone())));
        }
    }

    /// The types that were asked for, for a task.
    fn asked(self, task: Task) -> Vec<String> {
        let list = Task::ALL.iter().position(|t| *t == task).unwrap_or(0);
        self.names.with_value(|names| names.get(list).cloned().unwrap_or_default())
    }

    /// An empty record, of the kind of the record that the keyboard was on last, else of what was asked for.
    pub fn blank(self, words: &str) -> Record {
        let current = self.current.with_untracked(|c| c.as_deref().and_then(|tag| self.row(tag))).map(|r| r.record);
        let task = match &current {
            Some(Record::Entity { .. }) => Task::Entities,
            Some(Record::Relation { .. }) => Task::Relations,
            Some(Record::Event { .. }) => Task::Events,
            None => Task::ALL.into_iter().find(|t| !self.asked(*t).is_empty()).unwrap_or(Task::Entities),
        };
        let label = current.map(|r| r.label().to_owned());
        let label = label.or_else(|| self.asked(task).first().cloned()).unwrap_or_default();
        let mention = |text: &str| Mention::new(text);
        match task {
            Task::Entities => Record::Entity { label, mention: mention(words) },
            Task::Relations => Record::Relation { relation: label, head: mention(words), tail: mention("") },
            Task::Events => Record::Event { label, trigger: mention(words), arguments: Vec::new() },
        }
    }

    /// Does what a key asks for. Handled keys go no further.
    fn key(self, ev: &KeyboardEvent) {
        if ev.ctrl_key() || ev.meta_key() || ev.alt_key() || ev.is_composing() || is_typing(ev) {
            return;
        }
        let on = record_of(ev.target()).and_then(|tag| self.row(&tag));
        match (ev.key().to_lowercase().as_str(), on) {
            ("arrowdown" | "arrowright", _) => self.step(1),
            ("arrowup" | "arrowleft", _) => self.step(-1),
            // Held down, any other key does its work once: `1` would judge and take back again and again.
            ("a", _) if !self.read_only && ev.repeat() => {}
            ("1" | "2" | "e" | "0" | "backspace" | "delete", Some(_)) if ev.repeat() => {}
            ("a", _) if !self.read_only => self.add(),
            ("1", Some(row)) => self.set(&row, Verdict::Right),
            ("2", Some(row)) => self.set(&row, Verdict::Wrong),
            ("e", Some(row)) => self.edit(&row),
            ("0" | "backspace" | "delete", Some(row)) => self.take_back(&row),
            _ => return,
        }
        ev.prevent_default();
        ev.stop_propagation();
    }

    /// Puts the focus on the record that is in the tab order, once the page is drawn.
    pub fn focus_stop(self) {
        let (root, stop) = (self.root, self.stop);
        request_animation_frame(move || {
            focus(root, stop.try_get_untracked().flatten().as_deref().unwrap_or_default());
        });
    }

    fn step(self, by: i32) {
        step(self.root, by);
    }
}

/// Files a judgement in a list, in place of an earlier one of the same record.
pub fn put(judgements: &mut Vec<Judgement>, judgement: Judgement) {
    let key = judgement.record.key();
    match judgements.iter_mut().find(|j| j.record.key() == key) {
        Some(earlier) => *earlier = judgement,
        None => judgements.push(judgement),
    }
}

/// Takes a judgement that could not be filed out of a list, and puts the earlier one of its record back; not where the
/// record was judged otherwise meanwhile. The others stay as they are.
pub fn undo(judgements: &mut Vec<Judgement>, filed: &Judgement, earlier: Option<Judgement>) {
    let Some(at) = judgements.iter().position(|j| j == filed) else { return };
    match earlier {
        Some(earlier) => judgements[at] = earlier,
        None => {
            judgements.remove(at);
        }
    }
}

/// Everything that shows records of one text stands in this: it listens for keys and for the pointer.
#[component]
pub fn JudgingArea(judging: Judging, children: Children) -> impl IntoView {
    let light = move |tag: Option<String>| {
        // What is taken out of the page while it has the focus loses it when this is gone already.
        if judging.lit.try_with_untracked(|lit| *lit != tag).unwrap_or(false) {
            judging.lit.set(tag);
        }
    };
    view! {
        <div
            class="views" tabindex="-1" node_ref=judging.root
            on:keydown=move |ev| judging.key(&ev)
            on:focusin=move |ev| if let Some(tag) = record_of(ev.target()) {
                judging.current.set(Some(tag.clone()));
                light(Some(tag));
            }
            on:focusout=move |_| light(None)
            on:pointerover=move |ev| if ev.pointer_type() == "mouse" { light(record_of(ev.target())) }
            on:pointerleave=move |_| light(None)
        >{children()}</div>
    }
}

/// ✓, ✗, ✎ and, of what a person added, ✕.
#[component]
pub fn JudgeButtons(judging: Judging, row: Row) -> impl IntoView {
    let i18n = use_i18n();
    let row = StoredValue::new(row);
    let verdict = move || row.with_value(|r| judging.verdict(&r.key));
    let pressed = move |wanted: Verdict| move || (verdict() == Some(wanted)).to_string();
    if row.with_value(Row::yours) {
        view! {
            <button type="button" class="icon" tabindex="-1" data-testid="take-back" title=move || t_string!(i18n, take_back) aria-label=move || t_string!(i18n, take_back)
                on:click=move |_| row.with_value(|r| judging.take_back(r))>"✕"</button>
        }.into_any()
    } else {
        view! {
            <button type="button" class="icon yes" tabindex="-1" data-testid="mark-right" aria-pressed=pressed(Verdict::Right)
                title=move || t_string!(i18n, mark_right) aria-label=move || t_string!(i18n, mark_right)
                on:click=move |_| row.with_value(|r| judging.set(r, Verdict::Right))>"✓"</button>
            <button type="button" class="icon no" tabindex="-1" data-testid="mark-wrong" aria-pressed=pressed(Verdict::Wrong)
                title=move || t_string!(i18n, mark_wrong) aria-label=move || t_string!(i18n, mark_wrong)
                on:click=move |_| row.with_value(|r| judging.set(r, Verdict::Wrong))>"✗"</button>
            <button type="button" class="icon" tabindex="-1" data-testid="correct" title=move || t_string!(i18n, correct) aria-label=move || t_string!(i18n, correct)
                on:click=move |_| row.with_value(|r| judging.edit(r))>"✎"</button>
        }.into_any()
    }
}

/// Which key does what; small, below the records.
#[component]
pub fn KeyLegend() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <p class="legend" data-testid="legend" aria-label=move || t_string!(i18n, keys)>
            <span><kbd>"↑"</kbd><kbd>"↓"</kbd> {t!(i18n, key_move)}</span>
            <span><kbd>"1"</kbd> {t!(i18n, right)}</span>
            <span><kbd>"2"</kbd> {t!(i18n, wrong)}</span>
            <span><kbd>"E"</kbd> {t!(i18n, key_correct)}</span>
            <span title=move || t_string!(i18n, key_add_help)><kbd>"A"</kbd> {t!(i18n, key_add)}</span>
            <span><kbd>"0"</kbd> {t!(i18n, take_back)}</span>
        </p>
    }
}

/// The tick of a verdict.
pub fn tick(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Right) => "✓",
        Some(Verdict::Wrong) => "✗",
        Some(Verdict::Corrected) => "✎",
        Some(Verdict::Added) => "+",
        None => "",
    }
}

/// The class of a verdict.
pub fn verdict_class(verdict: Option<Verdict>) -> &'static str {
    verdict.map_or("unjudged", Verdict::name)
}
