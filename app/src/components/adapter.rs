//! Which adapter answers, where several are loaded.

use leptos::prelude::*;
use protocol::{Bench, view::OtherAdapter};

use super::{ParameterForm, SchemaForm};
use crate::{
    i18n::{t, use_i18n},
    live::Item,
};

/// The bench with the adapter of the last answers in place of the default one, and its name where that is another.
pub fn of_last(mut bench: Bench, items: &[Item]) -> (Bench, Option<String>) {
    let last =
        items.first().and_then(|item| item.runs.iter().find_map(|run| run.with_untracked(|run| run.adapter.clone())));
    let Some(name) = last else { return (bench, None) };
    let Some(other) = bench.others.iter_mut().find(|other| other.info.name == name) else { return (bench, None) };
    if let Some(default) = &mut bench.adapter {
        std::mem::swap(default, &mut other.info);
        std::mem::swap(&mut bench.lora, &mut other.lora);
    }
    (bench, Some(name))
}

/// A select of the adapters; nothing where there is no choice.
#[component]
pub fn AdapterChoice(
    bench: Bench,
    /// The name of the chosen one.
    chosen: RwSignal<Option<String>>,
    schema: SchemaForm,
    parameters: ParameterForm,
) -> impl IntoView {
    let i18n = use_i18n();
    let default = bench.adapter.filter(|_| !bench.others.is_empty())?;
    let first = OtherAdapter { info: default, lora: bench.lora };
    let names: Vec<String> = std::iter::once(&first).chain(&bench.others).map(|a| a.info.name.clone()).collect();
    let all = StoredValue::new(std::iter::once(first).chain(bench.others).collect::<Vec<_>>());
    let choose = move |name: String| {
        let found = all.with_value(|all| all.iter().find(|a| a.info.name == name).cloned());
        if let Some(adapter) = found {
            schema.set_adapter(adapter.info.manifest);
            parameters.set_defaults(adapter.lora);
            chosen.set(Some(name));
        }
    };
    Some(view! {
        <div class="schema-pick">
            <label for="adapter">{t!(i18n, adapter_choice)}</label>
            <select id="adapter" name="adapter" data-testid="adapter" on:change=move |ev| choose(event_target_value(&ev))>
                {names.into_iter().map(|name| {
                    let value = name.clone();
                    view! { <option value=value>{name}</option> }
                }).collect_view()}
            </select>
        </div>
    })
}
