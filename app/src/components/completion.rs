//! A completion: the prompt, and what the base went on with.

use leptos::prelude::*;

use super::run_line::{Details, RunLine, answered_by};
use crate::{
    i18n::{t_string, use_i18n},
    live::Item,
};

/// Prompt and completion in one text, told apart.
#[component]
pub fn CompletionCard(
    item: Item,
    /// Whether this is the card that tests and readers of the page look for.
    current: bool,
) -> impl IntoView {
    let i18n = use_i18n();
    item.runs.into_iter().next().map(|run| {
        let prompt = run.with_untracked(|r| r.prompt.clone());
        let text = {
            let run = run.clone();
            move || run.with(|r| r.text.clone())
        };
        let name = {
            let run = run.clone();
            move || run.with(|r| answered_by(r, t_string!(i18n, no_adapter)))
        };
        view! {
            <article class="card">
                <p class="asked">{name}</p>
                <div class="completion">
                    <span class="prompt">{prompt}</span>
                    <span class="text" data-testid=current.then_some("output")>{text}</span>
                </div>
                <RunLine run=run.clone()/>
                <Details run/>
            </article>
        }
    })
}
