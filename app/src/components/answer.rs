//! An answer of LoRA mode: the text with its records in one of its views, and what the model said.

use extract::{Issue, IssueKind, Parsed, judge};
use leptos::prelude::*;
use protocol::{Column, Language, Record};

use super::{
    export_menu::{ExportMenu, export_base},
    judge_keys::{Judging, Row},
    marked::Origin,
    schema_runs::{MissingParts, RunsDetails, RunsLine},
    score_line::ScoreLine,
    views::Views,
};
use crate::{
    i18n::{t_string, use_i18n},
    live::Item,
    prefs::{fill, language},
    services::ServiceError,
};

/// The sentences of an answer's issues, in the page's language.
pub fn issue_list(
    parsed: Memo<Parsed>,
    language: impl Fn() -> Language + Copy + Send + Sync + 'static,
) -> impl IntoView {
    move || {
        let sentences: Vec<String> =
            parsed.with(|p| grouped(&p.issues).iter().map(|i| i.sentence(language())).collect());
        (!sentences.is_empty()).then(|| {
            view! {
                <ul class="issues" data-testid="issues">
                    {sentences.into_iter().map(|s| view! { <li>{s}</li> }).collect_view()}
                </ul>
            }
        })
    }
}

/// Issues of the two kinds that come often, each as one that names all words.
fn grouped(issues: &[Issue]) -> Vec<Issue> {
    let mut grouped: Vec<Issue> = Vec::new();
    for issue in issues {
        let often = matches!(issue.kind, IssueKind::NotInSchema | IssueKind::NotInText);
        match grouped.iter_mut().find(|g| often && g.kind == issue.kind) {
            Some(first) => {
                first.words.push_str("; ");
                first.words.push_str(&issue.words);
            }
            None => grouped.push(issue.clone()),
        }
    }
    grouped
}

/// The records that stand in the text: what is shown as found, counted and scored.
pub fn grounded(records: &[Record]) -> Vec<Record> {
    records.iter().filter(|r| r.grounded()).cloned().collect()
}

/// One extraction. A free answer that holds no records is shown as text.
#[component]
pub fn ExtractionCard(item: Item, read_only: bool, error: RwSignal<Option<ServiceError>>) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let Some(run) = item.column(Column::Tuned).or_else(|| item.runs.first().cloned()) else {
        return ().into_any();
    };
    let Some(parsed) = item.parsed(run.with_untracked(|r| r.column)) else {
        return ().into_any();
    };
    let parsed = Memo::from(parsed);
    let (column, session) = run.with_untracked(|r| (r.column, r.session.clone()));
    let schema = item.schema();
    let runs = item.runs_of(column);
    let asked = item.asked();
    let asked_for_records = schema.is_some();
    let names = schema.map(|s| s.names()).unwrap_or_default();
    let final_ = {
        let runs = runs.clone();
        Memo::new(move |_| runs.iter().all(|run| run.with(|r| r.status.is_final())))
    };
    let raw = move || run.with(|r| r.text.clone());
    let rows = Memo::new(move |_| {
        parsed.with(|p| p.records.iter().map(|r| Row::new(r.clone(), vec![Origin::from(column)])).collect::<Vec<_>>())
    });
    let has_records = Memo::new(move |_| asked_for_records || rows.with(|r| !r.is_empty()));
    let has_document = item.document.is_some();
    let body = item.document.clone().map(|document| {
        let judging = Judging::new(document, names, rows, Signal::stored(false), read_only, error);
        let score = Memo::new(move |_| parsed.with(|p| judge::score(&grounded(&p.records), &judging.judgements())));
        let empty = move || final_.get() && rows.with(Vec::is_empty);
        let nothing = move || parsed.with(|p| p.nothing_found);
        let heading = move || view! {
            <p class="counts" data-testid="counts">
                {move || { let s = score.get(); fill(t_string!(i18n, counts), &[("found", &s.found), ("right", &s.right), ("wrong", &s.wrong), ("missed", &s.missed)]) }}
                {move || { let n = score.get().unjudged; (n > 0).then(|| view! { <span class="muted">" " {fill(t_string!(i18n, counts_unjudged), &[("count", &n)])}</span> }) }}
            </p>
            <ScoreLine score/>
            <Show when=empty>
                <p class="muted" data-testid="nothing-found">{move || if nothing() { t_string!(i18n, nothing_found) } else { t_string!(i18n, no_records) }}</p>
            </Show>
        };
        let groups = Signal::derive(move || vec![(String::new(), rows.get())]);
        view! { <Views judging groups records=has_records heading notes=move || issue_list(parsed, language)/> }
    });
    let show_text = {
        let raw = raw.clone();
        move || !has_records.get() || (!has_document && !raw().is_empty())
    };
    let export = item.document.as_ref().and_then(|document| {
        let base = export_base(read_only, &session)?;
        Some((base, document.with_untracked(|d| d.id.clone())))
    });
    view! {
        <article class="card">
            <p class="asked">{asked}</p>
            {body}
            <Show when=show_text>
                <pre class="answer">{raw.clone()}</pre>
            </Show>
            <div class="foot">
                <RunsLine runs=runs.clone()/>
                {(!read_only).then(|| view! { <MissingParts runs=runs.clone() error/> })}
                {export.map(|(base, text)| view! { <Show when=move || final_.get() && has_records.get()><ExportMenu base=base.clone() text=Some(text.clone())/></Show> })}
            </div>
            <RunsDetails runs document=item.document/>
        </article>
    }
    .into_any()
}
