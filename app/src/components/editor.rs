//! The form in which a person corrects a record or adds one.

use std::sync::atomic::{AtomicU32, Ordering};

use leptos::prelude::*;
use protocol::{
    Record, Task,
    record::{Argument, Mention},
};

use super::{judge_dom::is_typing, marked::Names};
use crate::i18n::{t, t_string, use_i18n};

fn mention(words: &str) -> Mention {
    Mention::new(words.trim())
}

/// Fields for one record. `save` gets a record whose words are not empty; places in the text are not set.
#[component]
pub fn RecordEditor(
    record: Record,
    /// What was asked for, list by list.
    names: Names,
    /// Whether the kind of record can be chosen.
    new: bool,
    save: Callback<Record>,
    cancel: Callback<()>,
) -> impl IntoView {
    let i18n = use_i18n();
    static EDITORS: AtomicU32 = AtomicU32::new(0);
    let list_id = format!("types-{}", EDITORS.fetch_add(1, Ordering::Relaxed));
    let label = RwSignal::new(record.label().to_owned());
    let (first, second) = match &record {
        Record::Entity { mention, .. } => (mention.text.clone(), String::new()),
        Record::Relation { head, tail, .. } => (head.text.clone(), tail.text.clone()),
        Record::Event { trigger, arguments, .. } => (
            trigger.text.clone(),
            arguments.iter().map(|a| format!("{}: {}", a.role, a.mention.text)).collect::<Vec<_>>().join("\n"),
        ),
    };
    let (first, second) = (RwSignal::new(first), RwSignal::new(second));
    let incomplete = RwSignal::new(false);
    let kind = RwSignal::new(match &record {
        Record::Entity { .. } => Task::Entities,
        Record::Relation { .. } => Task::Relations,
        Record::Event { .. } => Task::Events,
    });

    let submit = move || {
        let (label, first, second) = (label.get_untracked(), first.get_untracked(), second.get_untracked());
        let label = label.trim().to_owned();
        let done = match kind.get_untracked() {
            Task::Entities => Record::Entity { label: label.clone(), mention: mention(&first) },
            Task::Relations => {
                Record::Relation { relation: label.clone(), head: mention(&first), tail: mention(&second) }
            }
            Task::Events => {
                Record::Event { label: label.clone(), trigger: mention(&first), arguments: arguments(&second) }
            }
        };
        if label.is_empty() || done.mentions().iter().any(|(_, m)| m.text.is_empty()) {
            incomplete.set(true);
        } else {
            save.run(done);
        }
    };
    let keys = move |ev: leptos::ev::KeyboardEvent| {
        ev.stop_propagation();
        if ev.is_composing() {
            return;
        }
        match ev.key().as_str() {
            // Shift with Enter begins a line of arguments.
            "Enter" if !ev.shift_key() && is_typing(&ev) => {
                ev.prevent_default();
                submit();
            }
            "Escape" => cancel.run(()),
            _ => {}
        }
    };
    let list = move || {
        let list = Task::ALL.iter().position(|t| *t == kind.get()).unwrap_or(0);
        let types = names.get(list).cloned().unwrap_or_default();
        types.into_iter().map(|t| view! { <option value=t></option> }).collect_view()
    };
    let first_label = move || match kind.get() {
        Task::Entities => t_string!(i18n, words),
        Task::Relations => t_string!(i18n, head),
        Task::Events => t_string!(i18n, trigger),
    };
    let kind_name = move |task: Task| match task {
        Task::Entities => t_string!(i18n, entity),
        Task::Relations => t_string!(i18n, relation),
        Task::Events => t_string!(i18n, event),
    };
    let focus = NodeRef::<leptos::html::Input>::new();
    Effect::new(move |_| {
        if let Some(input) = focus.get() {
            let _ = input.focus();
        }
    });
    view! {
        <div class="editor" role="group" data-testid="editor" on:keydown=keys>
            <label>
                {first_label}
                <input type="text" node_ref=focus data-testid="edit-words" prop:value=move || first.get()
                    on:input=move |ev| first.set(event_target_value(&ev))/>
            </label>
            <label>
                {t!(i18n, record_type)}
                <input type="text" list=list_id.clone() data-testid="edit-type" prop:value=move || label.get()
                    on:input=move |ev| label.set(event_target_value(&ev))/>
                <datalist id=list_id>{list}</datalist>
            </label>
            <Show when=move || kind.get() == Task::Relations>
                <label>
                    {t!(i18n, tail)}
                    <input type="text" data-testid="edit-tail" prop:value=move || second.get()
                        on:input=move |ev| second.set(event_target_value(&ev))/>
                </label>
            </Show>
            <Show when=move || kind.get() == Task::Events>
                <label class="wide">
                    {t!(i18n, arguments)}
                    <textarea rows="3" data-testid="edit-arguments" prop:value=move || second.get()
                        on:input=move |ev| second.set(event_target_value(&ev))></textarea>
                </label>
            </Show>
            {new.then(|| view! {
                <label>
                    {t!(i18n, kind)}
                    <select data-testid="edit-kind" on:change=move |ev| kind.set(Task::from_code(&event_target_value(&ev)).unwrap_or(Task::Entities))>
                        {Task::ALL.into_iter().map(|task| view! {
                            <option value=task.code() selected=kind.get_untracked() == task>{move || kind_name(task)}</option>
                        }).collect_view()}
                    </select>
                </label>
            })}
            <div class="buttons">
                <button type="button" class="primary" data-testid="edit-save" on:click=move |_| submit()>{t!(i18n, save)}</button>
                <button type="button" class="quiet" on:click=move |_| cancel.run(())>{t!(i18n, cancel)}</button>
            </div>
            <Show when=move || incomplete.get()>
                <p class="error" role="alert">{t!(i18n, record_incomplete)}</p>
            </Show>
        </div>
    }
}

/// Arguments from lines of `role: words`; lines without a colon have the role `argument`.
fn arguments(lines: &str) -> Vec<Argument> {
    lines
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(|line| {
            let (role, words) = line.split_once([':', '：']).unwrap_or(("argument", line));
            Argument { role: role.trim().into(), mention: mention(words) }
        })
        .collect()
}
