//! Files in, and what has come of earlier ones; then which columns and which schema.

use leptos::prelude::*;
use protocol::{
    Bench, Language,
    batch::{BatchSummary, SAMPLE, UploadView},
    view::SchemaView,
};

use super::{
    FormatChoice, ParameterForm, SchemaForm,
    parameters::ParameterField,
    questions::Questions,
    schema_whole::{Texts, WholeForm, WholeTypes},
};
use crate::{
    i18n::{t, t_string, use_i18n},
    pages::Moment,
    prefs::{fill, language},
};

/// A form that takes files, or what is pasted.
#[component]
pub fn BatchUpload() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <form class="ask upload" method="post" action="/batch/upload" enctype="multipart/form-data">
            <p>{t!(i18n, batch_intro)}</p>
            <div class="field">
                <label for="file">{t!(i18n, batch_file)}</label>
                <input
                    type="file" id="file" name="file" multiple=true data-testid="file" class="drop"
                    accept=".txt,.md,.csv,.tsv,.xlsx,.jsonl,.ndjson,.html,.htm,.pdf,.docx"
                />
                <p class="help">{t!(i18n, batch_file_help)}</p>
            </div>
            <div class="field">
                <label for="pasted">{t!(i18n, batch_paste)}</label>
                <textarea
                    id="pasted" name="pasted" rows="4" data-testid="pasted"
                    placeholder=move || t_string!(i18n, batch_paste_placeholder)
                ></textarea>
            </div>
            <fieldset class="chips">
                <legend class="row-label">{t!(i18n, batch_as)}</legend>
                <label class="chip"><input type="radio" name="as" value="lines" checked=true/><span>{t!(i18n, batch_as_lines)}</span></label>
                <label class="chip"><input type="radio" name="as" value="document"/><span>{t!(i18n, batch_as_document)}</span></label>
                <label class="chip"><input type="radio" name="as" value="table"/><span>{t!(i18n, batch_as_table)}</span></label>
            </fieldset>
            <div class="buttons">
                <button class="primary" data-testid="upload">{t!(i18n, batch_upload)}</button>
                <span class="muted">{t!(i18n, batch_limits)}</span>
            </div>
        </form>
    }
}

/// The batches there are, newest first.
#[component]
pub fn BatchList(batches: Vec<BatchSummary>) -> impl IntoView {
    let i18n = use_i18n();
    if batches.is_empty() {
        return view! { <p class="empty" data-testid="no-batches">{t!(i18n, batch_none)}</p> }.into_any();
    }
    let one = move |batch: BatchSummary| {
        let counts = batch.counts;
        view! {
            <li>
                <div>
                    <a href=format!("/batch?session={}", batch.session)>{batch.title}</a>
                    <p class="muted">
                        {batch.schema} " · "
                        {move || fill(t_string!(i18n, batch_done_of), &[("done", &counts.ended()), ("total", &counts.total)])}
                        {(counts.failed > 0).then(|| view! { " · " {move || fill(t_string!(i18n, batch_failed_count), &[("count", &counts.failed)])} })}
                        {batch.going.then(|| view! { " · " <span class="state live">{t!(i18n, batch_going)}</span> })}
                        " · " <Moment at=batch.updated_at/>
                    </p>
                </div>
            </li>
        }
    };
    view! {
        <h2>{t!(i18n, batch_list)}</h2>
        <ul class="session-list" data-testid="batch-list">{batches.into_iter().map(one).collect_view()}</ul>
    }
    .into_any()
}

/// Which columns, which schema, which variant: a form with the first rows before it.
#[component]
pub fn BatchChoice(upload: UploadView, bench: Bench) -> impl IntoView {
    let i18n = use_i18n();
    let text_column = RwSignal::new(upload.text_column().unwrap_or_default().to_owned());
    let id_column = upload.id_column().unwrap_or_default().to_owned();
    let of_column = {
        let (columns, first) = (upload.columns.clone(), upload.preview.first().cloned().unwrap_or_default());
        move |name: &str| columns.iter().zip(&first).find(|(column, _)| *column == name).map(|(_, text)| text.clone())
    };
    let first = of_column(&text_column.get_untracked()).unwrap_or_default();
    let texts = Texts { typed: RwSignal::new(first.clone()), split: RwSignal::new(false) };
    let choose_column = move |name: String| {
        texts.typed.set(of_column(&name).unwrap_or_default());
        text_column.set(name);
    };
    let (rows, few) = (upload.rows, upload.rows <= SAMPLE);
    let has_adapter = bench.adapter.is_some();
    // Asks for whole schemas alone, which the list above names.
    let form = SchemaForm::new(&bench, texts, None, None);
    form.whole.on.set(true);
    let parameters = ParameterForm::new(bench.lora.clone(), &bench.lora);
    let options = upload.columns.clone();
    view! {
        <section class="page batch">
            <h1 data-testid="upload-name">{upload.name.clone()}</h1>
            <p class="muted">{move || fill(t_string!(i18n, batch_rows_count), &[("count", &rows)])} " · " <a href="/batch">{t!(i18n, batch_another)}</a></p>
            <form class="ask" id="work" method="post" action="/batch/start">
                <input type="hidden" name="upload" value=upload.id.clone()/>
                <div class="choices">
                    <div class="field">
                        <label for="text_column">{t!(i18n, batch_text_column)}</label>
                        <select id="text_column" name="text_column" data-testid="text-column" on:change=move |ev| choose_column(event_target_value(&ev))>
                            {options.iter().map(|column| {
                                let chosen = *column == text_column.get_untracked();
                                view! { <option value=column.clone() selected=chosen>{column.clone()}</option> }
                            }).collect_view()}
                        </select>
                    </div>
                    <div class="field">
                        <label for="id_column">{t!(i18n, batch_id_column)}</label>
                        <select id="id_column" name="id_column" data-testid="id-column">
                            <option value="" selected=id_column.is_empty()>{t!(i18n, batch_id_none)}</option>
                            {options.iter().map(|column| {
                                let chosen = *column == id_column;
                                view! { <option value=column.clone() selected=chosen>{column.clone()}</option> }
                            }).collect_view()}
                        </select>
                    </div>
                    <SchemaSelect schemas=bench.schemas text=first form=form.whole/>
                </div>
                <WholeTypes form=form.whole/>
                <Questions form=form.whole read_only=true/>
                <Preview upload text_column/>
                <fieldset class="chips">
                    <legend class="row-label">{t!(i18n, batch_variant)}</legend>
                    <label class="chip"><input type="radio" name="variant" value="tuned" checked=true/>
                        <span>{if has_adapter { t_string!(i18n, batch_tuned) } else { t_string!(i18n, batch_base) }}</span></label>
                    {has_adapter.then(|| view! {
                        <label class="chip"><input type="radio" name="variant" value="both"/><span>{t!(i18n, batch_both)}</span></label>
                    })}
                </fieldset>
                <ParameterField form=parameters name="samples"/>
                <FormatChoice form/>
                <div class="buttons">
                    {(!few).then(|| view! {
                        <button class="primary" name="rows" value="sample" data-testid="try-some">{move || fill(t_string!(i18n, batch_try), &[("count", &SAMPLE)])}</button>
                    })}
                    <button class=if few { "primary" } else { "" } name="rows" value="all" data-testid="run-all">{move || fill(t_string!(i18n, batch_run_all), &[("count", &rows)])}</button>
                    {(!few).then(|| view! { <span class="muted">{t!(i18n, batch_try_help)}</span> })}
                </div>
            </form>
        </section>
    }
}

/// The schemas by language; one of the text's language is chosen.
#[component]
fn SchemaSelect(schemas: Vec<SchemaView>, text: String, form: WholeForm) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let of_text = Language::of_text(&text);
    let fits = |schema: &&SchemaView| schema.language.is_none_or(|language| language == of_text);
    let own = schemas.iter().find(|schema| schema.updated_at > 0 && fits(schema));
    let usual = schemas.iter().find(|s| s.id.starts_with("people-places-organizations") && fits(s));
    let chosen = own.or(usual).or(schemas.first()).map(|schema| schema.id.clone()).unwrap_or_default();
    form.choose(&chosen);
    let group = move |of: Option<Language>| {
        let chosen = chosen.clone();
        let members: Vec<_> = schemas.iter().filter(|schema| schema.language == of).cloned().collect();
        let label = match of {
            Some(Language::En) => "English",
            Some(Language::Zh) => "中文",
            None => "English · 中文",
        };
        (!members.is_empty()).then(|| view! {
            <optgroup label=label>
                {members.into_iter().map(|schema| {
                    let selected = schema.id == chosen;
                    let title = schema.title.clone();
                    view! { <option value=schema.id selected=selected>{move || title.in_language(language()).to_owned()}</option> }
                }).collect_view()}
            </optgroup>
        })
    };
    view! {
        <div class="field">
            <label for="schema">{t!(i18n, what_to_extract)}</label>
            <select id="schema" name="schema" data-testid="schema" on:change=move |ev| form.choose(&event_target_value(&ev))>
                {[None, Some(of_text), Some(if of_text == Language::En { Language::Zh } else { Language::En })].map(group)}
            </select>
        </div>
    }
}

/// The first rows, the column of the texts marked.
#[component]
fn Preview(upload: UploadView, text_column: RwSignal<String>) -> impl IntoView {
    let i18n = use_i18n();
    let columns = StoredValue::new(upload.columns.clone());
    let is_text = move |index: usize| text_column.with(|text| columns.with_value(|c| c.get(index) == Some(text)));
    view! {
        <div class="scroll">
            <table class="all preview" data-testid="preview">
                <caption class="muted">{t!(i18n, batch_preview)}</caption>
                <thead><tr>
                    {upload.columns.iter().enumerate().map(|(index, column)| view! { <th scope="col" class:text=move || is_text(index)>{column.clone()}</th> }).collect_view()}
                </tr></thead>
                <tbody>
                    {upload.preview.into_iter().map(|row| view! {
                        <tr>{row.into_iter().enumerate().map(|(index, value)| view! { <td class:text=move || is_text(index)>{value}</td> }).collect_view()}</tr>
                    }).collect_view()}
                </tbody>
            </table>
        </div>
    }
}
