//! `/compare`: base and tuned on the same text.

use extract::text::split_texts;
use leptos::prelude::*;
use protocol::{Ask, Bench, Column, SessionView, view::Page};

use super::{
    extract::{EarlierLink, ExampleChips, ModelLine, Past, last_parameters},
    work::{Work, asks_to_run, load},
};
use crate::{
    components::{
        AdapterChoice, ComparisonCard, ErrorNotice, FormatChoice, Headline, OnlyChanged, PageTitle, ParameterForm,
        ParameterPanel, RunButtons, SchemaForm, SchemaPicker, SharePanel, Splitter, TextBox, Texts, of_last,
    },
    i18n::{t, t_string, use_i18n},
    live::Item,
    prefs::language,
};

#[component]
pub fn Compare() -> impl IntoView {
    load(Page::Compare, |bench, session| view! { <CompareBench bench session/> }.into_any())
}

#[component]
fn CompareBench(bench: Bench, session: Option<SessionView>) -> impl IntoView {
    let i18n = use_i18n();
    let shares = session.as_ref().map(|s| s.shares.clone()).unwrap_or_default();
    OnlyChanged::provide();
    let work = Work::new(Page::Compare, session);
    let (bench, of_last) = work.items.with_untracked(|items| of_last(bench, items));
    work.adapter.set(of_last);
    let manifest = bench.adapter.as_ref().map(|a| &a.manifest);
    let past = work.items.with_untracked(|items| Past::of(items, manifest));
    let texts = Texts { typed: RwSignal::new(past.text), split: RwSignal::new(past.split) };
    let last = work.items.with_untracked(|items| last_parameters(items));
    let schema = SchemaForm::new(&bench, texts, past.schema, past.whole.as_ref());
    schema.whole.asking.set(past.asking);
    let language = language();
    // Columns are never guided, which is no change of the defaults.
    let last = last.map(|p| protocol::Parameters { guided: bench.lora.guided, ..p });
    let parameters = ParameterForm::new(bench.lora.clone(), last.as_ref().unwrap_or(&bench.lora));
    let Texts { typed: text, split } = texts;
    let raw_base = RwSignal::new(work.items.with_untracked(|items| {
        let prompt = |item: &Item, column| item.column(column).map(|r| r.with_untracked(|r| r.prompt.clone()));
        items.first().is_some_and(|item| prompt(item, Column::Base) != prompt(item, Column::Tuned))
    }));
    let examples = StoredValue::new(bench.examples.clone());

    let submit = move || {
        let parameters = match parameters.read() {
            Ok(parameters) => parameters,
            Err(e) => return work.refuse_parameter(&e),
        };
        let instruction = schema.instruction.get_untracked();
        let typed = text.get_untracked();
        if typed.trim().is_empty() {
            return work.refuse(t_string!(i18n, error_no_text));
        }
        if schema.whole.on.get_untracked() {
            if untrack(|| schema.whole.is_empty()) {
                return work.refuse(t_string!(i18n, error_no_types));
            }
            let texts = if split.get_untracked() { split_texts(&typed) } else { vec![typed] };
            let Ok(asking) = schema.whole.asked_how() else {
                return work.refuse(t_string!(i18n, error_no_instruction));
            };
            let schema = untrack(|| schema.whole.asked(language()));
            return work.start(Ask::Schema { schema, texts, compare: true, asking }, parameters);
        }
        let schema_choice = untrack(|| schema.choice());
        if schema_choice.as_ref().is_some_and(|c| c.types.is_empty()) && !schema.edited.get_untracked() {
            return work.refuse(t_string!(i18n, error_no_types));
        }
        if instruction.trim().is_empty() {
            return work.refuse(t_string!(i18n, error_no_instruction));
        }
        let texts = if split.get_untracked() { split_texts(&typed) } else { vec![typed] };
        let raw_base = raw_base.get_untracked();
        work.start(Ask::Compare { instruction, texts, schema: schema_choice, raw_base }, parameters);
    };
    let label = Signal::derive(move || {
        if work.items.with(Vec::is_empty) { t_string!(i18n, run_compare) } else { t_string!(i18n, run_again) }
            .to_owned()
    });
    view! {
        <PageTitle text=move || t_string!(i18n, nav_compare)/>
        <div class="page bench">
        <div class="main">
        <form
            class="ask" id="work" method="post" action="/run" prop:noValidate=true
            on:submit=move |ev| { ev.prevent_default(); submit() }
            on:keydown=move |ev| if asks_to_run(&ev) { ev.prevent_default(); submit() }
        >
            <input type="hidden" name="page" value="compare"/>
            <input type="hidden" name="session" value=work.session.get_untracked().unwrap_or_default()/>
                <h1>{t!(i18n, compare_title)}</h1>
                <ExampleChips examples=examples.get_value() text schema split/>
                <TextBox schema texts required=true/>
                <Splitter count=Signal::derive(move || text.with(|t| split_texts(t).len())) split/>
                <SchemaPicker form=schema whole=true/>
                <label class="check" hidden=move || schema.whole.on.get()>
                    <input type="checkbox" name="raw_base" value="on" data-testid="raw-base" checked=raw_base.get_untracked()
                        prop:checked=move || raw_base.get() on:change=move |ev| raw_base.set(event_target_checked(&ev))/>
                    {t!(i18n, raw_base)}
                </label>
                <AdapterChoice bench=bench.clone() chosen=work.adapter schema parameters/>
                <ErrorNotice error=work.error/>
                <RunButtons
                    label running=Signal::derive(move || work.running()) sending=work.sending
                    stop=Callback::new(move |()| work.stop())
                    in_session=Signal::derive(move || work.session.with(Option::is_some)) new_session="/compare"
                />
                <ModelLine bench/>
        </form>
        <Show
            when=move || !work.items.with(Vec::is_empty)
            fallback=move || view! { <p class="muted">{t!(i18n, compare_empty)}</p> }
        >
            <section class="results">
                <Headline items=work.items/>
                {move || work.items.get().into_iter().map(|item| view! { <ComparisonCard item read_only=false error=work.error/> }).collect_view()}
                <EarlierLink work/>
            </section>
        </Show>
        <div class="results">
            <SharePanel session=work.session open=shares error=work.error/>
        </div>
        </div>
        <aside>
            <ParameterPanel form=parameters/>
            <FormatChoice form=schema/>
        </aside>
        </div>
    }
}
