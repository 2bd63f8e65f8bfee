//! Records as a table in which every one can be judged, by mouse and by key.

use leptos::{ev::KeyboardEvent, prelude::*, task::spawn_local};
use protocol::{Judgement, Record, SchemaChoice, Verdict};

use super::{
    editor::{RecordEditor, blank},
    marked::{Origin, color_class},
};
use crate::{
    api,
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
}

/// Files a judgement at once on the page and then on the server; takes it back on the page if that fails.
fn file(document: &Document, judgement: Judgement, error: RwSignal<Option<ServiceError>>) {
    let key = judgement.record.key();
    let before = document.with_untracked(|d| d.judgements.clone());
    let id = document.with_untracked(|d| d.id.clone());
    document.update(|d| {
        d.judgements.retain(|j| j.record.key() != key);
        d.judgements.push(judgement.clone());
    });
    let document = document.clone();
    spawn_local(async move {
        if let Err(e) = api::judge(id, judgement).await {
            document.update(|d| d.judgements = before);
            error.set(Some(e));
        }
    });
}

fn take_back(document: &Document, key: String, error: RwSignal<Option<ServiceError>>) {
    let before = document.with_untracked(|d| d.judgements.clone());
    let id = document.with_untracked(|d| d.id.clone());
    document.update(|d| d.judgements.retain(|j| j.record.key() != key));
    let document = document.clone();
    spawn_local(async move {
        if let Err(e) = api::unjudge(id, key).await {
            document.update(|d| d.judgements = before);
            error.set(Some(e));
        }
    });
}

/// The table. Rows come grouped by `groups`: a title and its rows; an empty title shows none.
#[component]
pub fn RecordTable(
    #[prop(into)] groups: Signal<Vec<(String, Vec<Row>)>>,
    document: Document,
    schema: Option<SchemaChoice>,
    read_only: bool,
    #[prop(into)] error: RwSignal<Option<ServiceError>>,
) -> impl IntoView {
    let i18n = use_i18n();
    // Key of the record whose editor is open; an empty key is a new record.
    let editing = RwSignal::new(None::<String>);
    let prefill = RwSignal::new(String::new());
    let schema = StoredValue::new(schema);
    let document = StoredValue::new(document);

    let open_new = move || {
        prefill.set(selected_words());
        editing.set(Some(String::new()));
    };
    let save = move |original: Option<Record>, mut edited: Record| {
        let source = document.with_value(|d| d.with_untracked(|d| d.text.clone()));
        extract::ground::records(&source, std::slice::from_mut(&mut edited));
        let judgement = match original {
            Some(record) if record.key() == edited.key() => {
                Judgement { record, verdict: Verdict::Right, correction: None }
            }
            Some(record) => Judgement { record, verdict: Verdict::Corrected, correction: Some(edited) },
            None => Judgement { record: edited, verdict: Verdict::Added, correction: None },
        };
        document.with_value(|d| file(d, judgement, error));
        editing.set(None);
    };
    let yours = Memo::new(move |_| {
        document.with_value(|d| {
            d.with(|d| {
                let added = d.judgements.iter().filter(|j| j.verdict == Verdict::Added);
                added.map(|j| Row { record: j.record.clone(), origins: vec![Origin::You] }).collect::<Vec<_>>()
            })
        })
    });
    let row = move |row: Row| {
        view! { <RecordRow row document=document.get_value() schema=schema.get_value() read_only editing error save open_new/> }
    };
    // Keyed rows: one that is being edited stays as it is while others are added.
    let body = move |rows: Memo<Vec<Row>>, title: Signal<String>| {
        let heading = move || (!title.with(String::is_empty) && !rows.with(Vec::is_empty)).then(|| title.get());
        view! {
            <tbody>
                {move || heading().map(|title| view! { <tr class="group"><th colspan="3" scope="rowgroup">{title}</th></tr> })}
                <For each=move || rows.get().into_iter().enumerate() key=|(index, row)| (*index, row.record.key()) children=move |(_, r)| row(r)/>
            </tbody>
        }
    };
    let group = move |index: usize| {
        let rows = Memo::new(move |_| groups.with(|g| g.get(index).map(|(_, rows)| rows.clone()).unwrap_or_default()));
        let title =
            Signal::derive(move || groups.with(|g| g.get(index).map(|(title, _)| title.clone()).unwrap_or_default()));
        body(rows, title)
    };
    view! {
        <table class="records" data-testid="records">
            {(0..groups.with_untracked(Vec::len)).map(group).collect_view()}
            {body(yours, Signal::derive(move || t_string!(i18n, added_by_you).to_owned()))}
        </table>
        {(!read_only).then(|| view! {
            <Show when=move || editing.with(|e| e.as_deref() == Some("")) fallback=move || view! {
                <p class="record-help">
                    <button type="button" class="quiet" data-testid="add-record" on:click=move |_| open_new()>
                        {t!(i18n, add_record)} <kbd>"A"</kbd>
                    </button>
                    <span class="keys">{t!(i18n, judge_keys)}</span>
                </p>
            }>
                <RecordEditor
                    record=schema.with_value(|s| blank(s.as_ref(), &prefill.get_untracked()))
                    schema=schema.get_value()
                    save=Callback::new(move |record| save(None, record))
                    cancel=Callback::new(move |()| editing.set(None))
                />
            </Show>
        })}
    }
}

#[component]
fn RecordRow<S, O>(
    row: Row,
    document: Document,
    schema: Option<SchemaChoice>,
    read_only: bool,
    editing: RwSignal<Option<String>>,
    error: RwSignal<Option<ServiceError>>,
    save: S,
    open_new: O,
) -> impl IntoView
where
    S: Fn(Option<Record>, Record) + Copy + Send + Sync + 'static,
    O: Fn() + Copy + Send + Sync + 'static,
{
    let i18n = use_i18n();
    let record = StoredValue::new(row.record);
    let key = StoredValue::new(record.with_value(Record::key));
    let yours = row.origins == [Origin::You];
    let filed = {
        let document = document.clone();
        Memo::new(move |_| {
            document.with(|d| key.with_value(|k| d.judgements.iter().find(|j| j.record.key() == *k).cloned()))
        })
    };
    let verdict = move || filed.get().map(|j| j.verdict);
    let document = StoredValue::new(document);
    let set = move |verdict: Verdict| {
        if filed.get_untracked().is_some_and(|j| j.verdict == verdict) {
            document.with_value(|d| take_back(d, key.get_value(), error));
        } else {
            let judgement = Judgement { record: record.get_value(), verdict, correction: None };
            document.with_value(|d| file(d, judgement, error));
        }
    };
    let edit = move || editing.set(Some(key.get_value()));
    let keys = move |ev: KeyboardEvent| {
        if read_only || ev.ctrl_key() || ev.meta_key() || ev.alt_key() || ev.is_composing() {
            return;
        }
        match ev.key().to_lowercase().as_str() {
            "y" if !yours => set(Verdict::Right),
            "n" if !yours => set(Verdict::Wrong),
            "e" if !yours => edit(),
            "a" => open_new(),
            "u" | "delete" | "backspace" => document.with_value(|d| take_back(d, key.get_value(), error)),
            "arrowdown" | "j" => focus_row(&ev, true),
            "arrowup" | "k" => focus_row(&ev, false),
            _ => return,
        }
        ev.prevent_default();
    };
    let origins = row.origins.iter().map(|o| o.class()).collect::<Vec<_>>().join(" ");
    let verdict_name = move || {
        verdict().map(|verdict| match verdict {
            Verdict::Right => t_string!(i18n, right),
            Verdict::Wrong => t_string!(i18n, wrong),
            Verdict::Corrected => t_string!(i18n, corrected),
            Verdict::Added => t_string!(i18n, added_by_you),
        })
    };
    let class = move || {
        let judged = match verdict() {
            Some(Verdict::Right) => "right",
            Some(Verdict::Wrong) => "wrong",
            Some(Verdict::Corrected) => "corrected",
            Some(Verdict::Added) => "added",
            None => "unjudged",
        };
        format!("record {judged}")
    };
    let what = record.with_value(|r| describe(r, schema.as_ref(), &origins));
    let grounded = record.with_value(Record::grounded);
    let schema = StoredValue::new(schema);
    let is_open = move || editing.with(|e| e.as_deref().is_some_and(|e| !e.is_empty() && key.with_value(|k| k == e)));
    view! {
        <tr class=class data-testid="record" tabindex=(!read_only).then_some("0") on:keydown=keys>
            <td class="tick" aria-label=verdict_name>{move || tick(verdict())}</td>
            <td>
                {what}
                {(!grounded).then(|| view! { <span class="tag warn" data-testid="ungrounded">{t!(i18n, not_in_text)}</span> })}
                {move || filed.get().and_then(|j| j.correction).map(|c| view! {
                    <div class="correction">"→ " {describe(&c, schema.get_value().as_ref(), Origin::You.class())}</div>
                })}
                <Show when=is_open>
                    <RecordEditor
                        record=filed.get_untracked().and_then(|j| j.correction).unwrap_or_else(|| record.get_value())
                        schema=schema.get_value()
                        save=Callback::new(move |edited| save(Some(record.get_value()), edited))
                        cancel=Callback::new(move |()| editing.set(None))
                    />
                </Show>
            </td>
            {(!read_only).then(|| view! {
                <td class="judge">
                    {if yours {
                        view! {
                            <button type="button" class="icon" title=move || t_string!(i18n, remove) aria-label=move || t_string!(i18n, remove)
                                on:click=move |_| document.with_value(|d| take_back(d, key.get_value(), error))>"✕"</button>
                        }.into_any()
                    } else {
                        view! {
                            <button type="button" class="icon yes" data-testid="mark-right" aria-pressed=move || (verdict() == Some(Verdict::Right)).to_string()
                                title=move || t_string!(i18n, mark_right) aria-label=move || t_string!(i18n, mark_right)
                                on:click=move |_| set(Verdict::Right)>"✓"</button>
                            <button type="button" class="icon no" data-testid="mark-wrong" aria-pressed=move || (verdict() == Some(Verdict::Wrong)).to_string()
                                title=move || t_string!(i18n, mark_wrong) aria-label=move || t_string!(i18n, mark_wrong)
                                on:click=move |_| set(Verdict::Wrong)>"✗"</button>
                            <button type="button" class="icon" data-testid="correct" title=move || t_string!(i18n, correct) aria-label=move || t_string!(i18n, correct)
                                on:click=move |_| edit()>"✎"</button>
                        }.into_any()
                    }}
                </td>
            })}
        </tr>
    }
}

fn tick(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Right) => "✓",
        Some(Verdict::Wrong) => "✗",
        Some(Verdict::Corrected) => "✎",
        Some(Verdict::Added) => "+",
        None => "",
    }
}

/// A record in words: each mention in the colour of its type.
fn describe(record: &Record, schema: Option<&SchemaChoice>, origins: &str) -> AnyView {
    let word = |words: &str, label: &str| {
        let class = format!("word {} {origins}", color_class(label, schema));
        view! { <span class=class>{words.to_owned()}</span> }
    };
    match record {
        Record::Entity { label, mention } => view! {
            {word(&mention.text, label)} " " <span class="label">{label.clone()}</span>
        }
        .into_any(),
        Record::Relation { relation, head, tail } => view! {
            {word(&head.text, relation)} " " <span class="label">"— " {relation.clone()} " →"</span> " " {word(&tail.text, relation)}
        }
        .into_any(),
        Record::Event { label, trigger, arguments } => view! {
            {word(&trigger.text, label)} " " <span class="label">{label.clone()}</span>
            <ul class="arguments">
                {arguments.iter().map(|a| view! {
                    <li><span class="label">{a.role.clone()}</span> " " {word(&a.mention.text, &a.role)}</li>
                }).collect_view()}
            </ul>
        }
        .into_any(),
    }
}

/// The words selected in the page, for a new record.
fn selected_words() -> String {
    #[cfg(feature = "hydrate")]
    {
        window()
            .get_selection()
            .ok()
            .flatten()
            .and_then(|s| s.to_string().as_string())
            .map(|s| s.trim().to_owned())
            .unwrap_or_default()
    }
    #[cfg(not(feature = "hydrate"))]
    String::new()
}

/// Moves the focus to the next or previous record of the table.
fn focus_row(ev: &KeyboardEvent, down: bool) {
    #[cfg(feature = "hydrate")]
    {
        use wasm_bindgen::JsCast as _;
        let row = ev.current_target().and_then(|t| t.dyn_into::<web_sys::Element>().ok());
        let Some((row, table)) = row.and_then(|r| r.closest("table").ok().flatten().map(|t| (r, t))) else { return };
        let Ok(rows) = table.query_selector_all("tr.record") else { return };
        let rows: Vec<web_sys::HtmlElement> =
            (0..rows.length()).filter_map(|i| rows.item(i)?.dyn_into().ok()).collect();
        let here = rows.iter().position(|r| r.is_same_node(Some(&row)));
        let next = here.and_then(|i| if down { i.checked_add(1) } else { i.checked_sub(1) });
        if let Some(row) = next.and_then(|i| rows.get(i)) {
            let _ = row.focus();
        }
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = (ev, down);
}
