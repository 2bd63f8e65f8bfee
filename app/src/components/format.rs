//! In which format the model is asked to answer, beside what it is asked for.

use leptos::prelude::*;
use protocol::{Asking, EventPart, Format, Task};

use super::SchemaForm;
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::language,
};

/// The format of the answers, the part of events, and whether examples are given.
#[component]
pub fn FormatChoice(form: SchemaForm) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let asking = form.whole.asking;
    let change = move |change: &dyn Fn(&mut Asking)| {
        asking.update(change);
        form.asking_changed();
    };
    // What an answer to the chosen task looks like; of a whole schema, that of relations.
    let shape = move |format: Format| {
        let task = form.task.get().filter(|_| !form.whole.on.get()).unwrap_or(Task::Relations);
        let only = asking.with(|a| a.only);
        let task = if format.has(task) { task } else { Task::Relations };
        extract::prompt::shape(format, task, only, language())
    };
    let formats = move || {
        Format::ALL
            .into_iter()
            .map(|format| {
                let chosen = asking.with(|a| a.format == Some(format));
                view! { <option value=format.name() selected=chosen>{format!("{}: {}", format.name(), shape(format))}</option> }
            })
            .collect_view()
    };
    let part = move |name: &'static str| asking.with(|a| a.only == EventPart::from_name(name));
    let opened = !asking.with_untracked(|a| Asking { instructions: Default::default(), ..a.clone() }.is_default());
    let no_examples = move || form.whole.on.get() && asking.with(|a| a.with_examples) && !form.whole.has_examples();
    let lines = move || asking.with(|a| a.format == Some(Format::Lines));
    view! {
        <details class="parameters" data-testid="format-options" open=opened>
            <summary>{t!(i18n, format_title)}</summary>
            <div class="fields">
                <div class="field wide">
                    <label for="format">{t!(i18n, format_label)}</label>
                    <select id="format" form="work" name="format" data-testid="format" aria-describedby="format-help"
                        on:change=move |ev| {
                            let format = Format::from_name(&event_target_value(&ev));
                            change(&|asking| asking.format = format);
                        }>
                        <option value="" selected=move || asking.with(|a| a.format.is_none())>{t!(i18n, format_own)}</option>
                        {formats}
                    </select>
                    <p class="help" id="format-help">
                        {t!(i18n, format_help)} " "
                        {move || lines().then(|| t_string!(i18n, format_lines))}
                    </p>
                    {move || form.format_is_new().then(|| view! {
                        <p class="note" data-testid="format-untaught">{t!(i18n, format_untaught)}</p>
                    })}
                </div>
                <div class="field wide">
                    <label for="event-part">{t!(i18n, event_part)}</label>
                    <select id="event-part" form="work" name="event_part" data-testid="event-part"
                        on:change=move |ev| {
                            let only = EventPart::from_name(&event_target_value(&ev));
                            change(&|asking| asking.only = only);
                        }>
                        <option value="" selected=move || asking.with(|a| a.only.is_none())>{t!(i18n, event_part_whole)}</option>
                        <option value="triggers" selected=move || part("triggers")>{t!(i18n, event_part_triggers)}</option>
                        <option value="arguments" selected=move || part("arguments")>{t!(i18n, event_part_arguments)}</option>
                    </select>
                </div>
                // Only a schema has examples: a single task is asked by its types' names.
                <label class="check" hidden=move || !form.whole.on.get()>
                    <input type="checkbox" form="work" name="with_examples" value="on" data-testid="with-examples"
                        checked=asking.with_untracked(|a| a.with_examples) prop:checked=move || asking.with(|a| a.with_examples)
                        on:change=move |ev| { let on = event_target_checked(&ev); change(&|asking| asking.with_examples = on) }/>
                    {t!(i18n, with_examples)}
                </label>
                {move || no_examples().then(|| view! { <p class="note" data-testid="no-examples">{t!(i18n, no_examples)}</p> })}
            </div>
        </details>
    }
}
