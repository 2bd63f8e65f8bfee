//! Everything that was found in a text as one table, sorted by any column.

use leptos::prelude::*;
use protocol::{
    Language, Record, Verdict,
    record::{Certainty, Mention},
};

use super::{
    judge_keys::{JudgeButtons, Judging, Row},
    marked::{Origin, color_class, origin_class},
    records::{Agreed, CheckTag, Correction, EditRecord, Tick, row_class},
};
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::{fill, language},
};

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Judgement,
    Kind,
    Label,
    Words,
    Place,
    Certainty,
    Origin,
}

/// The first place of a record in its text; `None` when a mention does not stand there.
fn place(record: &Record) -> Option<usize> {
    let spans: Option<Vec<_>> = record.mentions().iter().map(|(_, m)| m.span).collect();
    spans?.iter().map(|s| s.start).min()
}

fn kind(record: &Record) -> u8 {
    match record {
        Record::Entity { .. } => 0,
        Record::Relation { .. } => 1,
        Record::Event { .. } => 2,
    }
}

fn words(record: &Record) -> String {
    record.mentions().first().map(|(_, m)| m.text.to_lowercase()).unwrap_or_default()
}

/// Rows in the order of a column; rows that it does not tell apart stay in the order of the text, and what does not
/// stand in the text comes last either way.
fn sort(rows: &mut [Row], by: By, down: bool, verdict: impl Fn(&Row) -> Option<Verdict>) {
    rows.sort_by_key(|r| (place(&r.record).is_none(), place(&r.record)));
    let rank = |r: &Row| verdict(r).map_or(0, |v| v as u8 + 1);
    let compare = |a: &Row, b: &Row| match by {
        By::Judgement => rank(a).cmp(&rank(b)),
        By::Kind => kind(&a.record).cmp(&kind(&b.record)),
        By::Label => a.record.label().to_lowercase().cmp(&b.record.label().to_lowercase()),
        By::Words => words(&a.record).cmp(&words(&b.record)),
        By::Place => place(&a.record).cmp(&place(&b.record)),
        By::Certainty => a.certainty().cmp(&b.certainty()),
        By::Origin => a.origins.cmp(&b.origins),
    };
    rows.sort_by(|a, b| {
        let order = compare(a, b);
        let elsewhere = place(&a.record).is_none().cmp(&place(&b.record).is_none());
        elsewhere.then(if down { order.reverse() } else { order })
    });
}

/// The table.
#[component]
pub fn AllRecords(judging: Judging) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let sorted = RwSignal::new((By::Place, false));
    // Judging a record must not move it away from under the finger: verdicts are looked at when a column is chosen.
    let rows = Memo::new(move |_| {
        let (by, down) = sorted.get();
        let mut rows = judging.layers.get();
        sort(&mut rows, by, down, |r| untrack(|| judging.verdict(&r.key)));
        rows
    });
    let head = move |by: By, name: &'static str| {
        let direction = move || match sorted.get() {
            (now, down) if now == by => Some(if down { "descending" } else { "ascending" }),
            _ => None,
        };
        view! {
            <th scope="col" aria-sort=direction>
                <button type="button" class="sort" data-testid=format!("sort-{}", format!("{by:?}").to_lowercase())
                    on:click=move |_| sorted.update(|(now, down)| { *down = *now == by && !*down; *now = by })>
                    {name}
                    <span aria-hidden="true">{move || match direction() { Some("descending") => " ▾", Some(_) => " ▴", None => "" }}</span>
                </button>
            </th>
        }
    };
    view! {
        <div class="scroll" data-view="table">
            <table class="all" data-testid="table">
                <thead>
                    <tr>
                        {move || view! {
                            {head(By::Judgement, "✓")}
                            {head(By::Kind, t_string!(i18n, kind))}
                            {head(By::Label, t_string!(i18n, record_type))}
                            {head(By::Words, t_string!(i18n, words))}
                            {head(By::Place, t_string!(i18n, place))}
                            {head(By::Certainty, t_string!(i18n, certainty))}
                            {head(By::Origin, t_string!(i18n, origin))}
                        }}
                        {(!judging.read_only).then(|| view! { <th scope="col"><span class="visually-hidden">{t!(i18n, judge)}</span></th> })}
                    </tr>
                </thead>
                <tbody>
                    <For each=move || rows.get() key=Row::drawn children=move |row| view! { <TableRow row judging language/> }/>
                </tbody>
            </table>
        </div>
    }
}

#[component]
fn TableRow<L>(row: Row, judging: Judging, language: L) -> impl IntoView
where
    L: Fn() -> Language + Copy + Send + Sync + 'static,
{
    let i18n = use_i18n();
    let names = judging.names();
    let (tag, key) = (StoredValue::new(row.tag.clone()), StoredValue::new(row.key.clone()));
    let verdict = move || key.with_value(|k| judging.verdict(k));
    let class = origin_class(&row.origins);
    let words = {
        let word = |text: &str, label: &str| {
            let class = format!("word {} {class}", color_class(label, &names));
            view! { <span class=class>{text.to_owned()}</span> }
        };
        match &row.record {
            Record::Entity { label, mention } => word(&mention.text, label).into_any(),
            Record::Relation { relation, head, tail } => {
                view! { {word(&head.text, relation)} " → " {word(&tail.text, relation)} }.into_any()
            }
            Record::Event { label, trigger, arguments } => view! {
                {word(&trigger.text, label)}
                {arguments.iter().map(|a| view! { " · " <span class="label">{a.role.clone()}</span> " " {word(&a.mention.text, &a.role)} }).collect_view()}
            }
            .into_any(),
        }
    };
    let at = place(&row.record);
    let (certainty, agreement) = (row.certainty(), row.record.agreement());
    let mentions: Vec<Mention> = row.record.mentions().into_iter().map(|(_, m)| m.clone()).collect();
    let kind = match &row.record {
        Record::Entity { .. } => 0,
        Record::Relation { .. } => 1,
        Record::Event { .. } => 2,
    };
    let kind_name = move || match kind {
        0 => t_string!(i18n, entity),
        1 => t_string!(i18n, relation),
        _ => t_string!(i18n, event),
    };
    let origins = row.origins.clone();
    let who = move || {
        let name = |o: &Origin| match o {
            Origin::Base => t_string!(i18n, base),
            Origin::Tuned => t_string!(i18n, tuned),
            Origin::You => t_string!(i18n, you),
        };
        origins.iter().map(name).collect::<Vec<_>>().join(language().pick(", ", "、"))
    };
    view! {
        <tr
            class=move || row_class("record", verdict(), tag.with_value(|t| judging.is_lit(t)))
            data-testid="table-row" data-record=tag.get_value()
            tabindex=move || tag.with_value(|t| judging.tab_index(t))
        >
            <td class="tick"><Tick judging key=row.key.clone() doubtful=certainty == Certainty::Check/></td>
            <td class="muted">{kind_name}</td>
            <td>{row.record.label().to_owned()}</td>
            <td class="what">
                {words}
                <Correction judging key=row.key.clone()/>
                <EditRecord judging row=row.clone()/>
            </td>
            <td class="place">{match at {
                Some(at) => view! { <span title=move || fill(t_string!(i18n, place_help), &[("at", &at)])>{at}</span> }.into_any(),
                None => view! { <span class="tag warn">{t!(i18n, not_in_text)}</span> }.into_any(),
            }}</td>
            <td class="muted" data-testid="certainty">{match certainty {
                Certainty::Unknown => None,
                Certainty::Sure => Some(view! { <span title=move || t_string!(i18n, sure_help)>{t!(i18n, sure)}</span> <Agreed agreement/> }.into_any()),
                Certainty::Check => Some(view! { <CheckTag mentions/> }.into_any()),
            }}</td>
            <td class="muted"><span class=format!("line {class}")></span>{who}</td>
            {(!judging.read_only).then(|| view! { <td class="judge"><JudgeButtons judging row/></td> })}
        </tr>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Span;

    fn row(label: &str, text: &str, start: Option<usize>) -> Row {
        let span = start.map(|start| Span { start, end: start + text.len() });
        Row::new(
            Record::Entity { label: label.into(), mention: Mention { span, ..Mention::new(text) } },
            vec![Origin::Tuned],
        )
    }

    #[test]
    fn rows_are_sorted_by_a_column_and_what_is_not_in_the_text_stays_last() {
        let rows =
            [row("b", "Zoe", Some(9)), row("a", "Bob", None), row("b", "Ada", Some(0)), row("a", "Eve", Some(4))];
        for (by, down, expected) in [
            (By::Place, false, "Ada Eve Zoe Bob"),
            (By::Place, true, "Zoe Eve Ada Bob"),
            (By::Label, false, "Eve Ada Zoe Bob"),
            (By::Words, true, "Zoe Eve Ada Bob"),
            (By::Judgement, true, "Zoe Ada Eve Bob"),
        ] {
            let mut rows = rows.to_vec();
            sort(&mut rows, by, down, |r| (words(&r.record) == "zoe").then_some(Verdict::Right));
            let order: Vec<_> = rows.iter().map(|r| r.record.mentions()[0].1.text.clone()).collect();
            assert_eq!(order.join(" "), expected, "{by:?} {down}");
        }
    }
}
