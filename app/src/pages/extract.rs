//! `/` and `/lora`: the extraction bench.

use extract::text::split_texts;
use leptos::{prelude::*, task::spawn_local};
use protocol::{
    AdapterManifest, Ask, Asking, Bench, Example, RunView, SchemaChoice, SessionView,
    view::{DocumentView, NamedSchema, Page, WarmUp},
};

use super::work::{Work, asks_to_run, load};
use crate::{
    api,
    components::{
        AdapterChoice, ErrorNotice, ExtractionCard, FormatChoice, PageTitle, ParameterForm, ParameterPanel, RunButtons,
        SchemaForm, SchemaPicker, SharePanel, Splitter, TextBox, Texts, of_last,
    },
    i18n::{t, t_string, use_i18n},
    live::{self, Item},
    prefs::{fill, language},
};

#[component]
pub fn Extract() -> impl IntoView {
    load(Page::Extract, |bench, session| view! { <ExtractBench bench session/> }.into_any())
}

/// The text that a past request was about, and the choice it was made with.
pub struct Past {
    pub text: String,
    pub split: bool,
    pub schema: Option<(Option<SchemaChoice>, String)>,
    /// The whole schema, where one was asked.
    pub whole: Option<NamedSchema>,
    /// How that was asked.
    pub asking: Asking,
}

impl Past {
    /// Of the newest items of a session; the adapter's manifest says which instructions were a person's own.
    pub fn of(items: &[Item], manifest: Option<&AdapterManifest>) -> Self {
        let texts: Vec<String> =
            items.iter().filter_map(|i| i.document.as_ref().map(|d| d.with_untracked(|d| d.text.clone()))).collect();
        let whole = items.first().and_then(|i| i.extraction().map(|e| e.schema.clone()));
        let first = items.first().and_then(|i| i.runs.first().cloned());
        let asked = first.and_then(|r| r.with_untracked(|r| r.schema.as_ref().map(|s| s.asking.clone())));
        let asking = asked.unwrap_or_default();
        let runs = items.first().filter(|_| whole.is_some()).map(|i| i.runs.as_slice()).unwrap_or_default();
        let instructions = runs.iter().filter_map(|run| run.with_untracked(|run| own_words(run, manifest))).collect();
        let with_examples = runs.iter().any(|run| {
            run.with_untracked(|r| r.schema.as_ref().is_some_and(|choice| !choice.asking.examples.is_empty()))
        });
        // A part of a whole schema is no choice of a task.
        let run = items.first().filter(|_| whole.is_none()).and_then(|i| i.runs.first().cloned());
        Self {
            whole,
            asking: Asking {
                with_examples,
                examples: Default::default(),
                roles: Default::default(),
                descriptions: Default::default(),
                instructions,
                ..asking
            },
            split: texts.len() > 1,
            text: texts.join("\n"),
            schema: run.map(|r| r.with_untracked(|r| (r.schema.clone(), r.instruction.clone()))),
        }
    }
}

/// The instruction that a run's choice makes and the one that it was asked with, where that is another.
fn own_words(run: &RunView, manifest: Option<&AdapterManifest>) -> Option<(String, String)> {
    let made = extract::prompt::instruction(manifest, run.schema.as_ref()?);
    (made != run.instruction).then(|| (made, run.instruction.clone()))
}

#[component]
fn ExtractBench(bench: Bench, session: Option<SessionView>) -> impl IntoView {
    let i18n = use_i18n();
    let shares = session.as_ref().map(|s| s.shares.clone()).unwrap_or_default();
    let work = Work::new(Page::Extract, session);
    let (bench, of_last) = work.items.with_untracked(|items| of_last(bench, items));
    work.adapter.set(of_last);
    let manifest = bench.adapter.as_ref().map(|a| &a.manifest);
    let past = work.items.with_untracked(|items| Past::of(items, manifest));
    let texts = Texts { typed: RwSignal::new(past.text), split: RwSignal::new(past.split) };
    let last_parameters = work.items.with_untracked(|items| last_parameters(items));
    let schema = SchemaForm::new(&bench, texts, past.schema, past.whole.as_ref());
    schema.whole.asking.set(past.asking);
    let language = language();
    // A run says whether it was guided; one with an instruction of its own never is, and the next may be without.
    let last_parameters = last_parameters.map(|p| protocol::Parameters { guided: bench.lora.guided, ..p });
    let parameters = ParameterForm::new(bench.lora.clone(), last_parameters.as_ref().unwrap_or(&bench.lora));
    let Texts { typed: text, split } = texts;
    let examples = StoredValue::new(bench.examples.clone());

    let submit = move || {
        let parameters = match parameters.read() {
            Ok(parameters) => parameters,
            Err(e) => return work.refuse_parameter(&e),
        };
        let instruction = schema.instruction.get_untracked();
        let typed = text.get_untracked();
        if schema.whole.on.get_untracked() {
            if typed.trim().is_empty() {
                return work.refuse(t_string!(i18n, error_no_text));
            }
            if untrack(|| schema.whole.is_empty()) {
                return work.refuse(t_string!(i18n, error_no_types));
            }
            let texts = if split.get_untracked() { split_texts(&typed) } else { vec![typed] };
            let asked = untrack(|| schema.whole.asked(language()));
            let Ok(asking) = schema.whole.asked_how() else {
                return work.refuse(t_string!(i18n, error_no_instruction));
            };
            return work.start(Ask::Schema { schema: asked, texts, compare: false, asking }, parameters);
        }
        let choice = untrack(|| schema.choice());
        if choice.is_some() && typed.trim().is_empty() {
            return work.refuse(t_string!(i18n, error_no_text));
        }
        if choice.as_ref().is_some_and(|c| c.types.is_empty()) && !schema.edited.get_untracked() {
            return work.refuse(t_string!(i18n, error_no_types));
        }
        if instruction.trim().is_empty() {
            return work.refuse(t_string!(i18n, error_no_instruction));
        }
        let texts = if split.get_untracked() { split_texts(&typed) } else { vec![typed] };
        work.start(Ask::Extract { instruction, texts, schema: choice }, parameters);
    };
    let label = Signal::derive(move || {
        let fresh = work.items.with(Vec::is_empty);
        if !fresh {
            t_string!(i18n, run_again).to_owned()
        } else if schema.whole.on.get() || schema.task.get().is_some() {
            t_string!(i18n, run_extract).to_owned()
        } else {
            t_string!(i18n, run_answer).to_owned()
        }
    });
    view! {
        <PageTitle text=move || t_string!(i18n, nav_extract)/>
        <div class="page bench">
        <div class="main">
        <form
            class="ask" id="work" method="post" action="/run" prop:noValidate=true
            on:submit=move |ev| { ev.prevent_default(); submit() }
            on:keydown=move |ev| if asks_to_run(&ev) { ev.prevent_default(); submit() }
        >
            <input type="hidden" name="page" value="extract"/>
            <input type="hidden" name="session" value=work.session.get_untracked().unwrap_or_default()/>
                <h1>{t!(i18n, extract_title)}</h1>
                <ExampleChips examples=examples.get_value() text schema split/>
                <TextBox schema texts/>
                <Splitter count=Signal::derive(move || text.with(|t| split_texts(t).len())) split/>
                <SchemaPicker form=schema whole=true/>
                <AdapterChoice bench=bench.clone() chosen=work.adapter schema parameters/>
                <ErrorNotice error=work.error/>
                <RunButtons
                    label running=Signal::derive(move || work.running()) sending=work.sending
                    stop=Callback::new(move |()| work.stop())
                    in_session=Signal::derive(move || work.session.with(Option::is_some)) new_session="/lora"
                />
                <ModelLine bench=bench.clone()/>
        </form>
        <Results work/>
        <div class="results">
            <SharePanel session=work.session open=shares error=work.error/>
        </div>
        <Show when=move || work.items.with(Vec::is_empty)>
            <WarmUpResult example=bench.warmup.clone() warming=bench.warming examples=examples.get_value()/>
        </Show>
        </div>
        <aside>
            <ParameterPanel form=parameters extracts=true/>
            <FormatChoice form=schema/>
        </aside>
        </div>
    }
}

/// The parameters of the newest run, with the seed only if the person may have set it: it is shown as it was.
pub fn last_parameters(items: &[Item]) -> Option<protocol::Parameters> {
    let run = items.first()?.runs.first()?;
    Some(run.with_untracked(|r| protocol::Parameters { seed: None, ..r.parameters.clone() }))
}

/// The newest answers.
#[component]
fn Results(work: Work) -> impl IntoView {
    view! {
        <Show when=move || !work.items.with(Vec::is_empty)>
            <section class="results">
                <div data-testid="output" aria-live="off">
                    {move || work.items.get().into_iter().map(|item| view! { <ExtractionCard item read_only=false error=work.error/> }).collect_view()}
                </div>
                <EarlierLink work/>
            </section>
        </Show>
    }
}

/// How many answers of this session came before, and where they are.
#[component]
pub fn EarlierLink(work: Work) -> impl IntoView {
    let i18n = use_i18n();
    move || {
        let session = work.session.get()?;
        let earlier = work.earlier.get();
        let path = format!("/sessions/{session}");
        Some(view! {
            <p class="muted">
                {t!(i18n, saved_in)} " " <a href=path data-testid="this-session">{t!(i18n, this_session)}</a>
                {(earlier > 0).then(|| view! { " " {move || fill(t_string!(i18n, earlier_answers), &[("count", &earlier)])} })}
            </p>
        })
    }
}

/// Texts to try; one click fills the box and sets the chips.
#[component]
pub fn ExampleChips(
    examples: Vec<Example>,
    text: RwSignal<String>,
    schema: SchemaForm,
    split: RwSignal<bool>,
) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    view! {
        <p class="chips examples">
            <span class="row-label">{t!(i18n, try_example)}</span>
            {examples.into_iter().map(|example| {
                let title = example.title.clone();
                view! {
                    <button type="button" class="chip-button" data-testid="example" on:click=move |_| {
                        text.set(example.text.clone());
                        split.set(false);
                        schema.load_schema(&example.schema);
                    }>{move || title.in_language(language()).to_owned()}</button>
                }
            }).collect_view()}
        </p>
    }
}

/// Which model answers here.
#[component]
pub fn ModelLine(bench: Bench) -> impl IntoView {
    let i18n = use_i18n();
    let model = bench.model;
    let name = match &bench.adapter {
        Some(adapter) if bench.others.is_empty() => format!("{} {} + {}", model.name, model.format, adapter.name),
        // Which one, the page's select says.
        _ => format!("{} {}", model.name, model.format),
    };
    let missing = bench.adapter.is_none();
    view! {
        <p class="muted model-line">
            {name} " · " {model.backend}
            {missing.then(|| view! { " · " {t!(i18n, no_adapter_loaded)} })}
        </p>
    }
}

/// A real answer of the first example, made when the server started. Nothing where there is none to make.
#[component]
fn WarmUpResult(example: Option<WarmUp>, warming: bool, examples: Vec<Example>) -> impl IntoView {
    let i18n = use_i18n();
    let warmup = RwSignal::new(example);
    let warming = RwSignal::new(warming);
    Effect::new(move |_| {
        if warming.get() {
            // The server has just started: its first answer is seconds away.
            set_timeout(
                move || {
                    spawn_local(async move {
                        if let Ok(bench) = api::get_bench().await {
                            warmup.try_set(bench.warmup);
                            warming.try_set(bench.warming);
                        }
                    });
                },
                std::time::Duration::from_secs(2),
            );
        }
    });
    let error = RwSignal::new(None);
    move || match warmup.get() {
        None => warming.get().then(|| view! { <p class="muted">{t!(i18n, warming_up)}</p> }).into_any(),
        Some(warmup) => {
            let text = examples.get(warmup.example).map(|e| e.text.clone()).unwrap_or_default();
            let document =
                DocumentView { id: warmup.run.document.clone().unwrap_or_default(), text, judgements: Vec::new() };
            let run = protocol::RunView { document: Some(document.id.clone()), ..warmup.run };
            live::items(vec![run], vec![document], Vec::new())
                .into_iter()
                .map(|item| {
                    view! {
                        <section class="results" data-testid="warmup">
                            <h2>{t!(i18n, warmup_title)}</h2>
                            <ExtractionCard item read_only=true error/>
                        </section>
                    }
                })
                .collect_view()
                .into_any()
        }
    }
}
