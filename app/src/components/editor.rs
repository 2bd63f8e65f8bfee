//! The form in which a person corrects a record or adds one.

use std::sync::atomic::{AtomicU32, Ordering};

use leptos::prelude::*;
use protocol::{
    Record, SchemaChoice, Task,
    record::{Argument, Mention},
};

use crate::i18n::{t, t_string, use_i18n};

fn mention(words: &str) -> Mention {
    Mention { text: words.trim().into(), span: None }
}

/// An empty record of the kind a schema asks for, its words prefilled.
pub fn blank(schema: Option<&SchemaChoice>, words: &str) -> Record {
    let label = schema.and_then(|s| s.types.first().cloned()).unwrap_or_default();
    match schema.map_or(Task::Entities, |s| s.task) {
        Task::Entities => Record::Entity { label, mention: mention(words) },
        Task::Relations => Record::Relation { relation: label, head: mention(words), tail: mention("") },
        Task::Events => Record::Event { label, trigger: mention(words), arguments: Vec::new() },
    }
}

/// Fields for one record. `save` gets a record whose words are not empty; places in the text are not set.
#[component]
pub fn RecordEditor(
    record: Record,
    schema: Option<SchemaChoice>,
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
    let kind = StoredValue::new(record);

    let submit = move || {
        let (label, first, second) = (label.get_untracked(), first.get_untracked(), second.get_untracked());
        let label = label.trim().to_owned();
        let done = match kind.get_value() {
            Record::Entity { .. } => Record::Entity { label: label.clone(), mention: mention(&first) },
            Record::Relation { .. } => {
                Record::Relation { relation: label.clone(), head: mention(&first), tail: mention(&second) }
            }
            Record::Event { .. } => {
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
            "Enter" if !ev.shift_key() => {
                ev.prevent_default();
                submit();
            }
            "Escape" => cancel.run(()),
            _ => {}
        }
    };
    let types = schema.map(|s| s.types).unwrap_or_default();
    let list = types.into_iter().map(|t| view! { <option value=t></option> }).collect_view();
    let (first_label, second_label) = kind.with_value(|r| match r {
        Record::Entity { .. } => (t_string!(i18n, words), ""),
        Record::Relation { .. } => (t_string!(i18n, head), t_string!(i18n, tail)),
        Record::Event { .. } => (t_string!(i18n, trigger), t_string!(i18n, arguments)),
    });
    let is_event = kind.with_value(|r| matches!(r, Record::Event { .. }));
    let is_entity = kind.with_value(|r| matches!(r, Record::Entity { .. }));
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
            {(!is_entity && !is_event).then(|| view! {
                <label>
                    {second_label}
                    <input type="text" data-testid="edit-tail" prop:value=move || second.get()
                        on:input=move |ev| second.set(event_target_value(&ev))/>
                </label>
            })}
            {is_event.then(|| view! {
                <label class="wide">
                    {second_label}
                    <textarea rows="3" data-testid="edit-arguments" prop:value=move || second.get()
                        on:input=move |ev| second.set(event_target_value(&ev))></textarea>
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
