//! The instructions that a whole schema comes to, and the exact prompts, before anything is asked.

use leptos::prelude::*;
use protocol::{AdapterManifest, SchemaChoice, Task};

use super::schema_whole::WholeForm;
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::{area, fill},
};

/// A question of a schema: what it asks for, and the instruction that is made of that.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub choice: SchemaChoice,
    pub made: String,
}

/// The questions of a whole schema in the words in which they will be asked; each can be written anew.
#[component]
pub fn Questions(form: WholeForm, #[prop(optional)] read_only: bool) -> impl IntoView {
    let i18n = use_i18n();
    let questions = form.questions();
    let count = move || questions.with(Vec::len);
    let one = move |question: Question| match read_only {
        true => view! { <pre>{form.asking.with_untracked(|a| a.wording(question.made.clone()))}</pre> }.into_any(),
        false => view! { <Wording form question/> }.into_any(),
    };
    view! {
        <details class="instructions" data-testid="instructions" open>
            <summary>{move || fill(t_string!(i18n, instructions_made), &[("count", &count())])}</summary>
            <For each=move || questions.get() key=|q| q.made.clone() children=one/>
            <p class="help">{move || if read_only { t_string!(i18n, instructions_batch) } else { t_string!(i18n, instructions_help) }}</p>
        </details>
    }
}

#[component]
fn Wording(form: WholeForm, question: Question) -> impl IntoView {
    let i18n = use_i18n();
    let Question { choice, made } = question;
    let made = StoredValue::new(made);
    let asking = form.asking;
    let text = move || asking.with(|a| made.with_value(|made| a.instructions.get(made).unwrap_or(made).clone()));
    let edited = Memo::new(move |_| made.with_value(|made| text() != *made));
    let edit = move |own: String| {
        let made = made.get_value();
        asking.update(|a| {
            if own == made {
                a.instructions.remove(&made);
            } else {
                a.instructions.insert(made, own);
            }
        });
    };
    let task = move || match choice.task {
        Task::Entities => t_string!(i18n, task_entities),
        Task::Relations => t_string!(i18n, task_relations),
        Task::Events => t_string!(i18n, task_events),
    };
    view! {
        <div class="question" class:edited=move || edited.get() data-testid="question">
            <div class="label-row">
                <label>
                    <span class="row-label">{task} " "
                        <Show when=move || edited.get()><span class="tag" data-testid="question-edited">{t!(i18n, question_edited)}</span></Show>
                    </span>
                    <textarea name="question" data-testid="question-text" rows="1" prop:value=text
                        on:input=move |ev| edit(event_target_value(&ev))>{area(untrack(text))}</textarea>
                </label>
                <input type="hidden" name="question_made" value=made.get_value()/>
            </div>
            <Show when=move || edited.get()>
                <p class="help">
                    {t!(i18n, question_unguided)} " "
                    <button type="button" class="link" data-testid="question-reset" on:click=move |_| edit(made.get_value())>{t!(i18n, question_reset)}</button>
                </p>
            </Show>
        </div>
    }
}

/// What an adapter would be given for a text: each question as its choice, if it has one, and its instruction.
#[component]
pub fn PromptPreview(
    manifest: RwSignal<Option<AdapterManifest>>,
    #[prop(into)] asked: Signal<Vec<(Option<SchemaChoice>, String)>>,
    /// The texts that are asked about.
    #[prop(into)]
    texts: Signal<Vec<String>>,
    /// Whether a long text is asked about part by part.
    #[prop(into)]
    parts: Signal<bool>,
) -> impl IntoView {
    let i18n = use_i18n();
    let open = RwSignal::new(false);
    let prompts = move || {
        let text = texts.get().into_iter().next().unwrap_or_default();
        let prompt = |(choice, instruction): (Option<SchemaChoice>, String)| {
            manifest.with(|m| extract::prompt::prompt(m.as_ref(), choice.as_ref(), &instruction, Some(&text)))
        };
        asked
            .get()
            .into_iter()
            .map(prompt)
            .map(|prompt| view! { <pre data-testid="preview">{prompt}</pre> })
            .collect_view()
    };
    let note = move || {
        let several = texts.with(Vec::len);
        let first = (several > 1).then(|| fill(t_string!(i18n, prompt_first_text), &[("count", &several)]));
        let parts = parts.get().then(|| t_string!(i18n, prompt_parts).to_owned());
        [first, parts].into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    view! {
        <details class="instructions only-scripts" data-testid="prompt-preview" on:toggle=move |ev| open.set(is_open(&ev))>
            <summary>{t!(i18n, prompt_preview)}</summary>
            <Show when=move || open.get()>
                {prompts}
                <p class="help">{note}</p>
            </Show>
        </details>
    }
}

/// Whether the element of a `toggle` event is open now.
fn is_open(ev: &leptos::ev::Event) -> bool {
    #[cfg(feature = "hydrate")]
    {
        use wasm_bindgen::JsCast as _;
        let details = ev.target().and_then(|t| t.dyn_into::<web_sys::Element>().ok());
        details.is_some_and(|details| details.has_attribute("open"))
    }
    #[cfg(not(feature = "hydrate"))]
    {
        let _ = ev;
        false
    }
}
