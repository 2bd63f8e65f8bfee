//! `/sessions/{id}/scores`: what each column is worth against what people said.

use leptos::prelude::*;
use leptos_router::hooks::{use_params_map, use_query_map};
use protocol::Column;

use super::{error_page, session::SessionLinks};
use crate::{
    api,
    components::PageTitle,
    i18n::{t, t_string, use_i18n},
    prefs::fill,
    scores::{ColumnScores, Counts, Difference, Figures, Interval, Kind, Mistake, SessionScores, Table},
};

/// More mistakes than this are behind a click.
const SHOWN: usize = 20;

#[component]
pub fn Scores() -> impl IntoView {
    let params = use_params_map();
    let query = use_query_map();
    let id = move || params.with(|p| p.get("id").unwrap_or_default());
    let wanted = move |name: &str| query.with(|q| q.get(name).filter(|name| !name.is_empty()));
    let scores = Resource::new_blocking(
        move || (id(), wanted("first"), wanted("second")),
        |(id, first, second)| api::scores(id, first, second),
    );
    view! {
        <Suspense fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                match scores.await {
                    Ok(scores) => view! { <Shown scores id=untrack(id)/> }.into_any(),
                    Err(error) => error_page(&error),
                }
            })}
        </Suspense>
    }
}

#[component]
fn Shown(scores: SessionScores, id: String) -> impl IntoView {
    let i18n = use_i18n();
    let title = scores.title.clone();
    let (texts, judged) = (scores.texts, scores.judged);
    let review = format!("/sessions/{id}/review");
    let body = if judged == 0 {
        view! {
            <p class="empty" data-testid="no-scores">{t!(i18n, scores_none)} " " <a href=review>{t!(i18n, scores_begin)}</a></p>
        }
        .into_any()
    } else {
        view! {
            <p class="muted">{move || fill(t_string!(i18n, scores_on), &[("judged", &judged), ("texts", &texts)])}</p>
            <Choice names=scores.columns.iter().map(|c| c.name.clone()).collect() compared=scores.compared/>
            <Differences list=scores.differences names=compared_names(&scores.columns, scores.compared)/>
            {scores.columns.into_iter().map(|column| view! { <ColumnSection column judged review=review.clone()/> }).collect_view()}
        }
        .into_any()
    };
    let head = title.clone();
    view! {
        <PageTitle text=move || format!("{} · {head}", t_string!(i18n, scores_title))/>
        <section class="page" id="work">
            <h1>{t!(i18n, scores_title)}</h1>
            <p class="muted"><a href=format!("/sessions/{id}")>{title}</a> <SessionLinks id/></p>
            {body}
        </section>
    }
}

fn kind_name() -> impl Fn(Kind) -> &'static str + Copy + Send + Sync + 'static {
    let i18n = use_i18n();
    move |kind| match kind {
        Kind::Entities => t_string!(i18n, entities_scored),
        Kind::Relations => t_string!(i18n, relations_scored),
        Kind::Triggers => t_string!(i18n, triggers_scored),
        Kind::Arguments => t_string!(i18n, arguments_scored),
    }
}

/// The names of the two that are held against each other: tuned and base are called so where there is no other.
fn compared_names(columns: &[ColumnScores], compared: Option<(usize, usize)>) -> Option<(String, String)> {
    let (first, second) = compared?;
    let name = |index: usize| columns.get(index).map(|column| column.name.clone());
    (columns.len() > 2).then(|| name(first).zip(name(second))).flatten()
}

/// Which two are held against each other, where there are more than two; a form, so that it works without scripts.
#[component]
fn Choice(names: Vec<String>, compared: Option<(usize, usize)>) -> impl IntoView {
    let i18n = use_i18n();
    let (first, second) = compared.map_or((None, None), |(first, second)| (Some(first), Some(second)));
    let select = |name: &'static str, label: Signal<&'static str>, chosen: Option<usize>| {
        let options = names.iter().enumerate().map(|(index, name)| {
            view! { <option value=name.clone() selected=chosen == Some(index)>{name.clone()}</option> }
        });
        view! {
            <label>{move || label.get()} " " <select name=name data-testid=format!("compare-{name}")>{options.collect_view()}</select></label>
        }
    };
    (names.len() > 2).then(|| {
        view! {
            <form class="schema-pick" method="get" data-testid="choose-variants">
                {select("first", Signal::derive(move || t_string!(i18n, compare_first)), first)}
                {select("second", Signal::derive(move || t_string!(i18n, compare_second)), second)}
                <button class="quiet" data-testid="compare-these">{t!(i18n, compare_these)}</button>
            </form>
            {compared.is_none().then(|| view! { <p class="muted" data-testid="nothing-common">{t!(i18n, compare_nothing_common)}</p> })}
        }
    })
}

/// Two columns side by side, with what chance of the texts leaves open; `names` where they are not tuned and base.
#[component]
fn Differences(list: Vec<Difference>, names: Option<(String, String)>) -> impl IntoView {
    let i18n = use_i18n();
    let kind = kind_name();
    let points = |value: f64| format!("{:.1}", 100.0 * value);
    let signed = |value: f64| format!("{:+.1}", 100.0 * value);
    let cell = move |i: Interval, number: fn(f64) -> String| {
        let range = move || fill(t_string!(i18n, range), &[("low", &number(i.low)), ("high", &number(i.high))]);
        view! { <td><strong>{number(i.value)}</strong> " " <span class="muted">{range}</span></td> }
    };
    let row = move |d: Difference| {
        let open = d.is_open();
        view! {
            <tr data-testid="difference">
                <th scope="row">{move || kind(d.kind)}</th>
                {cell(d.first, points)} {cell(d.second, points)} {cell(d.difference, signed)}
                <td class="name">{open.then(|| view! { <span class="tag warn">{t!(i18n, difference_open)}</span> })}</td>
            </tr>
        }
    };
    let (first, second) = names.unzip();
    let first = move || first.clone().unwrap_or_else(|| t_string!(i18n, tuned).to_owned());
    let second = move || second.clone().unwrap_or_else(|| t_string!(i18n, base).to_owned());
    (!list.is_empty()).then(|| {
        view! {
            <section class="card" data-testid="differences">
                <h2>{t!(i18n, difference)}</h2>
                <div class="scroll">
                    <table class="headline numbers">
                        <thead><tr>
                            <th scope="col">"F1, %"</th>
                            <th scope="col">{first}</th>
                            <th scope="col">{second}</th>
                            <th scope="col">{t!(i18n, difference_column)}</th>
                            <th scope="col"></th>
                        </tr></thead>
                        <tbody>{list.into_iter().map(row).collect_view()}</tbody>
                    </table>
                </div>
                <p class="help">{t!(i18n, difference_help)}</p>
            </section>
        }
    })
}

#[component]
fn ColumnSection(column: ColumnScores, judged: usize, review: String) -> impl IntoView {
    let i18n = use_i18n();
    let kind = kind_name();
    let base = column.column == Column::Base;
    let class = if base { "line o-base" } else { "line o-tuned" };
    let tables = column.tables.into_iter().map(move |table| {
        let review = review.clone();
        let of = table.kind;
        view! {
            <section class="scored" data-testid="scored">
                <h3>{move || kind(of)}</h3>
                <ScoreTable table=table.clone()/>
                <Confusion list=table.confusion/>
                <Mistakes list=table.mistakes review/>
            </section>
        }
    });
    view! {
        <article class="card" data-testid=if base { "scores-base" } else { "scores-tuned" }>
            <h2><span class=class></span>{move || if base { t_string!(i18n, base) } else { t_string!(i18n, tuned) }} " " <span class="muted">{column.name}</span></h2>
            {(column.texts < judged).then(|| view! {
                <p class="muted">{move || fill(t_string!(i18n, scores_asked), &[("count", &column.texts), ("judged", &judged)])}</p>
            })}
            {tables.collect_view()}
        </article>
    }
}

fn cells(figures: Figures, counts: Option<Counts>) -> impl IntoView {
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let count = |n: Option<usize>| n.map(|n| n.to_string()).unwrap_or_default();
    view! {
        <td>{percent(figures.precision)}</td>
        <td>{percent(figures.recall)}</td>
        <td><strong>{percent(figures.f1)}</strong></td>
        <td>{count(counts.map(|c| c.right))}</td>
        <td>{count(counts.map(|c| c.found))}</td>
        <td>{count(counts.map(|c| c.gold))}</td>
    }
}

#[component]
fn ScoreTable(table: Table) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="scroll">
            <table class="headline numbers">
                <thead>
                    <tr>
                        <th scope="col">"%"</th>
                        <th scope="col">{t!(i18n, precision)}</th>
                        <th scope="col">{t!(i18n, recall)}</th>
                        <th scope="col">"F1"</th>
                        <th scope="col">{t!(i18n, right)}</th>
                        <th scope="col">{t!(i18n, found)}</th>
                        <th scope="col">{t!(i18n, gold_count)}</th>
                    </tr>
                </thead>
                <tbody>
                    <tr data-testid="micro"><th scope="row">{t!(i18n, micro)}</th>{cells(table.micro, Some(table.counts))}</tr>
                    <tr><th scope="row">{t!(i18n, mean)}</th>{cells(table.mean, None)}</tr>
                    {table.types.into_iter().map(|(label, figures, counts)| view! {
                        <tr class="of-type"><th scope="row">{label}</th>{cells(figures, Some(counts))}</tr>
                    }).collect_view()}
                </tbody>
            </table>
        </div>
    }
}

#[component]
fn Confusion(list: Vec<(String, String, usize)>) -> impl IntoView {
    let i18n = use_i18n();
    (!list.is_empty()).then(|| {
        view! {
            <details open data-testid="confusion">
                <summary>{t!(i18n, confusion)}</summary>
                <div class="scroll">
                    <table class="headline">
                        <thead><tr><th scope="col">{t!(i18n, confusion_gold)}</th><th scope="col">{t!(i18n, confusion_given)}</th><th scope="col">{t!(i18n, times)}</th></tr></thead>
                        <tbody>
                            {list.into_iter().map(|(gold, given, n)| view! { <tr><th scope="row">{gold}</th><td class="name">{given}</td><td>{n}</td></tr> }).collect_view()}
                        </tbody>
                    </table>
                </div>
            </details>
        }
    })
}

#[component]
fn Mistakes(list: Vec<Mistake>, review: String) -> impl IntoView {
    let i18n = use_i18n();
    if list.is_empty() {
        return view! { <p class="muted">{t!(i18n, mistake_none)}</p> }.into_any();
    }
    let count = list.len();
    let one = move |m: Mistake| {
        let class = if m.missed { "tag warn" } else { "tag bad" };
        view! {
            <li data-testid="mistake">
                <span class=class>{move || if m.missed { t_string!(i18n, mistake_missed) } else { t_string!(i18n, mistake_wrong) }}</span>
                " " {m.record} " " <a class="muted" href=format!("{review}?text={}", m.document) rel="external">{m.excerpt}</a>
            </li>
        }
    };
    view! {
        <details open=count <= SHOWN data-testid="mistakes">
            <summary>{t!(i18n, mistakes)} " " {count}</summary>
            <ul class="mistakes">{list.into_iter().map(one).collect_view()}</ul>
        </details>
    }
    .into_any()
}
