//! Base and tuned on one text: what both found, what only one of them found, and both answers.

use extract::judge::{self, Score};
use leptos::prelude::*;
use protocol::{Column, Record};

use super::{
    answer::{grounded, issue_list},
    export_menu::{ExportMenu, export_base},
    judge_keys::{Judging, Row},
    marked::Origin,
    run_line::answered_by,
    schema_runs::{MissingParts, RunsDetails, RunsLine},
    score_line::{f1, gold, judged, percent},
    views::Views,
};
use crate::{
    i18n::{t, t_string, use_i18n},
    live::{Document, Item, Run},
    prefs::{fill, language},
    services::ServiceError,
};

/// In context on pages with comparisons: whether to leave out what base and tuned agree on.
#[derive(Clone, Copy)]
pub struct OnlyChanged(pub RwSignal<bool>);

impl OnlyChanged {
    /// For the page that is being drawn.
    pub fn provide() {
        provide_context(Self(RwSignal::new(false)));
    }

    fn signal() -> Signal<bool> {
        use_context::<Self>().map_or_else(|| Signal::stored(false), |only| only.0.into())
    }
}

fn rows_of(records: &[Record], indexes: impl Iterator<Item = usize>, origins: &[Origin]) -> Vec<Row> {
    indexes.filter_map(|i| records.get(i)).map(|r| Row::new(r.clone(), origins.to_vec())).collect()
}

/// The records in one of the text's views, and the two columns below them.
#[component]
pub fn ComparisonCard(item: Item, read_only: bool, error: RwSignal<Option<ServiceError>>) -> impl IntoView {
    let i18n = use_i18n();
    let (Some(base), Some(tuned), Some(document)) =
        (item.column(Column::Base), item.column(Column::Tuned), item.document.clone())
    else {
        return ().into_any();
    };
    let (Some(left), Some(right)) = (item.parsed(Column::Base), item.parsed(Column::Tuned)) else {
        return ().into_any();
    };
    let (left, right) = (Memo::from(left), Memo::from(right));
    let all = Memo::new(move |_| {
        left.with(|l| {
            right.with(|r| {
                let c = judge::compare(&l.records, &r.records);
                [
                    rows_of(&r.records, c.both.iter().map(|(_, i)| *i), &[Origin::Base, Origin::Tuned]),
                    rows_of(&l.records, c.only_left.into_iter(), &[Origin::Base]),
                    rows_of(&r.records, c.only_right.into_iter(), &[Origin::Tuned]),
                ]
            })
        })
    });
    let rows = Memo::new(move |_| all.with(|groups| groups.concat()));
    let only_changed = OnlyChanged::signal();
    let groups = Signal::derive(move || {
        let titles = [t_string!(i18n, found_by_both), t_string!(i18n, only_base), t_string!(i18n, only_tuned)];
        let mut groups = all.get();
        if only_changed.get() {
            groups[0].clear();
        }
        titles.into_iter().map(str::to_owned).zip(groups).collect::<Vec<_>>()
    });
    let unchanged = Memo::new(move |_| all.with(|[_, left, right]| left.is_empty() && right.is_empty()));
    let names = item.schema().map(|s| s.names()).unwrap_or_default();
    let (base_prompts, tuned_prompts) = (prompts(&item, Column::Base), prompts(&item, Column::Tuned));
    let same = base_prompts == tuned_prompts;
    let asked = item.asked();
    let export = export_base(read_only, &tuned.with_untracked(|r| r.session.clone()));
    let text = document.with_untracked(|d| d.id.clone());
    let judging = Judging::new(document, names, rows, only_changed, read_only, error);
    let ask = (!read_only).then_some(error);
    let none = move || left.with(|l| l.records.is_empty()) && right.with(|r| r.records.is_empty());
    let heading = move || {
        view! { <Show when=none><p class="muted">{t!(i18n, compare_nothing)}</p></Show> }
    };
    view! {
        <article class="card" data-testid="comparison" hidden=move || only_changed.get() && unchanged.get()>
            <p class="asked">{asked}</p>
            <Views judging groups records=Signal::stored(true) heading notes=|| ()/>
            <div class="columns">
                <ColumnView run=base runs=item.runs_of(Column::Base) document=item.document.clone() parsed=left testid="output-base" error=ask/>
                <ColumnView run=tuned runs=item.runs_of(Column::Tuned) document=item.document parsed=right testid="output-lora" error=ask/>
            </div>
            <div class="foot">
                <p class="muted" data-testid="same-prompt">
                    {move || if same { t_string!(i18n, same_prompt) } else { t_string!(i18n, base_raw_prompt) }}
                </p>
                {export.map(|base| view! { <ExportMenu base text=Some(text)/> })}
            </div>
        </article>
    }
    .into_any()
}

fn prompts(item: &Item, column: Column) -> Vec<String> {
    item.runs_of(column).iter().map(|run| run.with_untracked(|r| r.prompt.clone())).collect()
}

#[component]
fn ColumnView(
    run: Run,
    runs: Vec<Run>,
    document: Option<Document>,
    parsed: Memo<extract::Parsed>,
    testid: &'static str,
    /// Where it is said why something failed; `None` where nothing can be asked.
    error: Option<RwSignal<Option<ServiceError>>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let column = run.with_untracked(|r| r.column);
    let name = move || run.with(|r| answered_by(r, t_string!(i18n, no_adapter)));
    let text = {
        let runs = runs.clone();
        move || runs.iter().map(|run| run.with(|r| r.text.clone())).collect::<Vec<_>>().join("\n")
    };
    view! {
        <section class="column">
            <h3><span class=format!("line o-{}", Origin::from(column).name())></span>{name}</h3>
            <pre class="answer" data-testid=testid>{text}</pre>
            {issue_list(parsed, language)}
            <RunsLine runs=runs.clone()/>
            {error.map(|error| view! { <MissingParts runs=runs.clone() error/> })}
            <RunsDetails runs document/>
        </section>
    }
}

/// What the columns of several comparisons add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    usable: usize,
    score: Score,
}

/// How far two columns agree.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Agreement {
    both: usize,
    only_base: usize,
    only_tuned: usize,
}

impl Agreement {
    /// F1 of one against the other: it is the same either way round.
    fn f1(self) -> String {
        percent(2 * self.both, 2 * self.both + self.only_base + self.only_tuned)
    }
}

/// The headline: judged texts; for each column usable answers, what was found, and scores against what people said; how
/// far the columns agree; and the switch that leaves out what they agree on.
#[component]
pub fn Headline(#[prop(into)] items: Signal<Vec<Item>>) -> impl IntoView {
    let i18n = use_i18n();
    let totals = Memo::new(move |_| {
        let mut totals = [Totals::default(); 2];
        let mut agreement = Agreement::default();
        let (mut texts, mut judged) = (0, 0);
        items.with(|items| {
            for item in items.iter().filter(|item| item.is_comparison()) {
                let Some(document) = &item.document else { continue };
                let judgements = document.with(|d| d.judgements.clone());
                texts += 1;
                judged += usize::from(!judgements.is_empty());
                let mut found = Vec::new();
                for (total, column) in totals.iter_mut().zip([Column::Base, Column::Tuned]) {
                    let Some(parsed) = item.parsed(column) else { continue };
                    let ends = item.runs_of(column);
                    let usable = ends.iter().all(|run| {
                        let finish = run.with(|r| r.finish_reason);
                        parsed.with(|parsed| judge::usable(parsed, finish))
                    });
                    let records = parsed.with(|parsed| grounded(&parsed.records));
                    total.usable += usize::from(usable);
                    total.score += judge::score(&records, &judgements);
                    found.push(records);
                }
                if let [base, tuned] = found.as_slice() {
                    let c = judge::compare(base, tuned);
                    agreement.both += c.both.len();
                    agreement.only_base += c.only_left.len();
                    agreement.only_tuned += c.only_right.len();
                }
            }
        });
        (texts, judged, totals, agreement)
    });
    let row = move |index: usize| {
        let cells = move || {
            let (texts, _, totals, _) = totals.get();
            let t = totals.get(index).copied().unwrap_or_default();
            let s = t.score;
            view! {
                <td>{format!("{}/{texts}", t.usable)}</td>
                <td>{s.found}</td>
                <td>{s.right}</td>
                <td>{s.wrong}</td>
                <td>{s.missed}</td>
                <td>{percent(s.right, judged(s))}</td>
                <td>{percent(s.right, gold(s))}</td>
                <td>{f1(s)}</td>
            }
        };
        view! {
            <tr>
                <th scope="row">
                    <span class=format!("line o-{}", if index == 0 { "base" } else { "tuned" })></span>
                    {if index == 0 { t!(i18n, base).into_any() } else { t!(i18n, tuned).into_any() }}
                </th>
                {cells}
            </tr>
        }
    };
    let only = use_context::<OnlyChanged>();
    view! {
        <div class="headline-box">
            <div class="scroll">
            <table class="headline" data-testid="headline">
                <thead>
                    <tr>
                        <th scope="col">{move || { let (texts, judged, ..) = totals.get(); fill(t_string!(i18n, judged_of), &[("judged", &judged), ("texts", &texts)]) }}</th>
                        <th scope="col">{t!(i18n, usable)}</th>
                        <th scope="col">{t!(i18n, found)}</th>
                        <th scope="col">{t!(i18n, right)}</th>
                        <th scope="col">{t!(i18n, wrong)}</th>
                        <th scope="col">{t!(i18n, missed)}</th>
                        <th scope="col">{t!(i18n, precision)}</th>
                        <th scope="col">{t!(i18n, recall)}</th>
                        <th scope="col">"F1"</th>
                    </tr>
                </thead>
                <tbody>{row(0)}{row(1)}</tbody>
            </table>
            </div>
            <p class="muted" data-testid="agreement">
                {move || {
                    let (.., a) = totals.get();
                    fill(t_string!(i18n, agreement), &[("f1", &a.f1()), ("both", &a.both), ("base", &a.only_base), ("tuned", &a.only_tuned)])
                }}
            </p>
            {only.map(|only| view! {
                <label class="check only-changed">
                    <input type="checkbox" data-testid="only-changed" prop:checked=move || only.0.get() on:change=move |ev| only.0.set(event_target_checked(&ev))/>
                    {t!(i18n, only_changed)}
                </label>
            })}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_the_f1_of_one_column_against_the_other() {
        assert_eq!(Agreement { both: 2, only_base: 1, only_tuned: 3 }.f1(), "50.0 %");
        assert_eq!(Agreement::default().f1(), "–");
    }
}
