//! An answer of LoRA mode: the text with its records marked, the records, and what the model said.

use extract::{Issue, IssueKind, Parsed, judge};
use leptos::prelude::*;
use protocol::{Column, Language, Record};

use super::{
    marked::MarkedText,
    records::{RecordTable, Row},
    run_line::{Details, RunLine},
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
    let records = Memo::new(move |_| parsed.with(|p| p.records.clone()));
    let (schema, column, instruction) = run.with_untracked(|r| (r.schema.clone(), r.column, r.instruction.clone()));
    let asked_for_records = schema.is_some();
    let final_ = {
        let run = run.clone();
        Memo::new(move |_| run.with(|r| r.status.is_final()))
    };
    let raw = {
        let run = run.clone();
        move || run.with(|r| r.text.clone())
    };
    let has_records = move || asked_for_records || records.with(|r| !r.is_empty());
    let body = item.document.clone().map(|document| {
        let source = { let document = document.clone(); Signal::derive(move || document.with(|d| d.text.clone())) };
        let counts = { let document = document.clone(); Memo::new(move |_| records.with(|r| document.with(|d| judge::score(r, &d.judgements)))) };
        let rows = Memo::new(move |_| {
            let rows = records.with(|r| r.iter().cloned().map(|record| Row { record, origins: vec![column.into()] }).collect::<Vec<_>>());
            vec![(String::new(), rows)]
        });
        let empty = move || final_.get() && records.with(Vec::is_empty);
        let nothing = move || parsed.with(|p| p.nothing_found);
        let schema = StoredValue::new(schema);
        let document = StoredValue::new(document);
        view! {
            <div class="pair">
                <MarkedText source records schema=schema.get_value() origin=column.into()/>
                <Show when=has_records>
                    <div>
                        <p class="counts" data-testid="counts">
                            {move || { let s = counts.get(); fill(t_string!(i18n, counts), &[("found", &s.found), ("right", &s.right), ("wrong", &s.wrong), ("missed", &s.missed)]) }}
                            {move || { let n = counts.get().unjudged; (n > 0).then(|| view! { <span class="muted">" " {move || fill(t_string!(i18n, counts_unjudged), &[("count", &n)])}</span> }) }}
                        </p>
                        <Show when=empty>
                            <p class="muted">{move || if nothing() { t_string!(i18n, nothing_found) } else { t_string!(i18n, no_records) }}</p>
                        </Show>
                        <RecordTable groups=rows document=document.get_value() schema=schema.get_value() read_only error/>
                        {issue_list(parsed, language)}
                    </div>
                </Show>
            </div>
        }
    });
    let show_text = {
        let raw = raw.clone();
        move || !has_records() || (item.document.is_none() && !raw().is_empty())
    };
    view! {
        <article class="card">
            <p class="asked">{instruction}</p>
            {body}
            <Show when=show_text>
                <pre class="answer">{raw.clone()}</pre>
            </Show>
            <RunLine run=run.clone()/>
            <Details run/>
        </article>
    }
    .into_any()
}

/// Records of a column as rows of one group.
pub fn rows_of(records: &[Record], indexes: &[usize], column: Column) -> Vec<Row> {
    indexes
        .iter()
        .filter_map(|&i| records.get(i))
        .map(|r| Row { record: r.clone(), origins: vec![column.into()] })
        .collect()
}
