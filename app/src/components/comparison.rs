//! Base and tuned on one text: both answers, and what only one of them found.

use extract::judge::{self, Score};
use leptos::prelude::*;
use protocol::{Column, SchemaChoice};

use super::{
    answer::{issue_list, rows_of},
    marked::{MarkedText, Origin},
    records::{RecordTable, Row},
    run_line::{Details, RunLine, answered_by},
};
use crate::{
    i18n::{t, t_string, use_i18n},
    live::{Document, Item, Run},
    prefs::{fill, language},
    services::ServiceError,
};

/// Two columns and the records below them.
#[component]
pub fn ComparisonCard(item: Item, read_only: bool, error: RwSignal<Option<ServiceError>>) -> impl IntoView {
    let i18n = use_i18n();
    let (Some(base), Some(tuned), Some(document)) =
        (item.column(Column::Base), item.column(Column::Tuned), item.document.clone())
    else {
        return ().into_any();
    };
    let schema = tuned.with_untracked(|r| r.schema.clone());
    let (Some(left), Some(right)) = (item.parsed(Column::Base), item.parsed(Column::Tuned)) else {
        return ().into_any();
    };
    let (left, right) = (Memo::from(left), Memo::from(right));
    let groups = Memo::new(move |_| {
        left.with(|l| {
            right.with(|r| {
                let c = judge::compare(&l.records, &r.records);
                let both = c
                    .both
                    .iter()
                    .filter_map(|&(_, i)| r.records.get(i))
                    .map(|record| Row { record: record.clone(), origins: vec![Origin::Base, Origin::Tuned] })
                    .collect::<Vec<_>>();
                vec![
                    (t_string!(i18n, found_by_both).to_owned(), both),
                    (t_string!(i18n, only_base).to_owned(), rows_of(&l.records, &c.only_left, Column::Base)),
                    (t_string!(i18n, only_tuned).to_owned(), rows_of(&r.records, &c.only_right, Column::Tuned)),
                ]
            })
        })
    });
    let (base_prompt, tuned_prompt) =
        (base.with_untracked(|r| r.prompt.clone()), tuned.with_untracked(|r| r.prompt.clone()));
    let same = base_prompt == tuned_prompt;
    let instruction = tuned.with_untracked(|r| r.instruction.clone());
    view! {
        <article class="card">
            <p class="asked">{instruction}</p>
            <p class="muted" data-testid="same-prompt">
                {move || if same { t_string!(i18n, same_prompt) } else { t_string!(i18n, base_raw_prompt) }}
            </p>
            <div class="columns">
                <ColumnView run=base document=document.clone() parsed=left testid="output-base" schema=schema.clone()/>
                <ColumnView run=tuned document=document.clone() parsed=right testid="output-lora" schema=schema.clone()/>
            </div>
            <RecordTable groups document schema read_only error/>
        </article>
    }
    .into_any()
}

#[component]
fn ColumnView(
    run: Run,
    document: Document,
    parsed: Memo<extract::Parsed>,
    testid: &'static str,
    schema: Option<SchemaChoice>,
) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let column = run.with_untracked(|r| r.column);
    let name = {
        let run = run.clone();
        move || run.with(|r| answered_by(r, t_string!(i18n, no_adapter)))
    };
    let text = {
        let run = run.clone();
        move || run.with(|r| r.text.clone())
    };
    let source = Signal::derive(move || document.with(|d| d.text.clone()));
    let records = Memo::new(move |_| parsed.with(|p| p.records.clone()));
    view! {
        <section class="column">
            <h3><span class=format!("line {}", Origin::from(column).class())></span>{name}</h3>
            <MarkedText source records schema origin=column.into()/>
            <pre class="answer" data-testid=testid>{text}</pre>
            {issue_list(parsed, language)}
            <RunLine run=run.clone()/>
            <Details run/>
        </section>
    }
}

/// What the columns of several comparisons add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    texts: usize,
    usable: usize,
    score: Score,
}

/// The headline: judged texts, and for each column usable answers and what was found, right and missed.
#[component]
pub fn Headline(#[prop(into)] items: Signal<Vec<Item>>) -> impl IntoView {
    let i18n = use_i18n();
    let totals = Memo::new(move |_| {
        let mut totals = [Totals::default(); 2];
        let mut judged = 0;
        items.with(|items| {
            for item in items {
                let Some(document) = &item.document else { continue };
                let judgements = document.with(|d| d.judgements.clone());
                judged += usize::from(!judgements.is_empty());
                for (total, column) in totals.iter_mut().zip([Column::Base, Column::Tuned]) {
                    let (Some(run), Some(parsed)) = (item.column(column), item.parsed(column)) else { continue };
                    let finish = run.with(|r| r.finish_reason);
                    parsed.with(|parsed| {
                        total.texts += 1;
                        total.usable += usize::from(judge::usable(parsed, finish));
                        total.score += judge::score(&parsed.records, &judgements);
                    });
                }
            }
        });
        (judged, totals)
    });
    let row = move |index: usize| {
        let cells = move || {
            let t = totals.get().1.get(index).copied().unwrap_or_default();
            view! {
                <td>{format!("{}/{}", t.usable, t.texts)}</td>
                <td>{t.score.found}</td>
                <td>{t.score.right}</td>
                <td>{t.score.missed}</td>
            }
        };
        view! {
            <tr>
                <th scope="row">
                    <span class=format!("line {}", if index == 0 { Origin::Base } else { Origin::Tuned }.class())></span>
                    {if index == 0 { t!(i18n, base).into_any() } else { t!(i18n, tuned).into_any() }}
                </th>
                {cells}
            </tr>
        }
    };
    view! {
        <table class="headline" data-testid="headline">
            <thead>
                <tr>
                    <th scope="col">{move || { let (judged, t) = totals.get(); fill(t_string!(i18n, judged_of), &[("judged", &judged), ("texts", &t[1].texts)]) }}</th>
                    <th scope="col">{t!(i18n, usable)}</th>
                    <th scope="col">{t!(i18n, found)}</th>
                    <th scope="col">{t!(i18n, right)}</th>
                    <th scope="col">{t!(i18n, missed)}</th>
                </tr>
            </thead>
            <tbody>{row(0)}{row(1)}</tbody>
        </table>
    }
}
