//! Records as a list beside the text, in which every one can be judged.

use leptos::prelude::*;
use protocol::{
    Agreement, Record, Verdict,
    record::{Certainty, Found, Mention},
};

use super::{
    editor::RecordEditor,
    judge_keys::{Editing, JudgeButtons, Judging, Row, tick, verdict_class},
    marked::{Names, Origin, color_class, origin_class},
};
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::fill,
};

/// The list. Records come grouped: a title and its rows; an empty title shows none. What does not stand in the text is
/// listed apart, whatever its group: it is not shown as found.
#[component]
pub fn RecordList(#[prop(into)] groups: Signal<Vec<(String, Vec<Row>)>>, judging: Judging) -> impl IntoView {
    let i18n = use_i18n();
    let shown = Memo::new(move |_| {
        let mut shown = Vec::new();
        let mut elsewhere = Vec::new();
        for (title, rows) in groups.get() {
            let (grounded, not): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|r| r.record.grounded());
            shown.push((title, grounded));
            elsewhere.extend(not);
        }
        let yours = judging.layers.with(|layers| layers.iter().filter(|r| r.yours()).cloned().collect());
        shown.push((t_string!(i18n, added_by_you).to_owned(), yours));
        shown.push((t_string!(i18n, not_in_text_group).to_owned(), elsewhere));
        shown
    });
    let body = move |index: usize| {
        let rows = Memo::new(move |_| shown.with(|g| g.get(index).map(|(_, rows)| rows.clone()).unwrap_or_default()));
        let title = move || shown.with(|g| g.get(index).map(|(title, _)| title.clone()).unwrap_or_default());
        let heading = move || Some(title()).filter(|title| !title.is_empty() && !rows.with(Vec::is_empty));
        view! {
            <tbody>
                {move || heading().map(|title| view! { <tr class="group"><th colspan="3" scope="rowgroup">{title}</th></tr> })}
                <For each=move || rows.get() key=Row::drawn children=move |row| view! { <RecordRow row judging/> }/>
            </tbody>
        }
    };
    let count = shown.with_untracked(Vec::len);
    view! {
        <table class="records" data-testid="records" data-view="list">
            {(0..count).map(body).collect_view()}
        </table>
    }
}

/// The editor for a missed record, or the button that opens it.
#[component]
pub fn AddRecord(judging: Judging) -> impl IntoView {
    let i18n = use_i18n();
    let words = Memo::new(move |_| match judging.editing.get() {
        Some(Editing::New(words)) => Some(words),
        _ => None,
    });
    view! {
        <Show when=move || words.with(Option::is_some) fallback=move || view! {
            <button type="button" class="quiet add" data-testid="add-record" on:click=move |_| judging.add()>
                {t!(i18n, add_record)}
            </button>
        }>
            <RecordEditor
                record=judging.blank(&words.get_untracked().unwrap_or_default())
                names=judging.names() new=true
                save=Callback::new(move |record| judging.save(None, record))
                cancel=Callback::new(move |()| judging.close_editor())
            />
        </Show>
    }
}

/// The editor of a record, when it is open.
#[component]
pub fn EditRecord(judging: Judging, row: Row) -> impl IntoView {
    let row = StoredValue::new(row);
    view! {
        <Show when=move || row.with_value(|r| judging.is_edited(&r.tag))>
            <RecordEditor
                record=row.with_value(|r| untrack(|| judging.filed(&r.key)).and_then(|j| j.correction).unwrap_or_else(|| r.record.clone()))
                names=judging.names() new=false
                save=Callback::new(move |edited| row.with_value(|r| judging.save(Some(r), edited)))
                cancel=Callback::new(move |()| judging.close_editor())
            />
        </Show>
    }
}

/// What a record was corrected to.
#[component]
pub fn Correction(judging: Judging, key: String) -> impl IntoView {
    move || {
        judging.filed(&key).and_then(|j| j.correction).map(|record| {
            let words = describe(&record, &judging.names(), &[Origin::You]);
            view! { <div class="correction" data-testid="correction">"→ " {words}</div> }
        })
    }
}

#[component]
fn RecordRow(row: Row, judging: Judging) -> impl IntoView {
    let i18n = use_i18n();
    let (tag, key) = (StoredValue::new(row.tag.clone()), StoredValue::new(row.key.clone()));
    let verdict = move || key.with_value(|k| judging.verdict(k));
    let what = describe(&row.record, &judging.names(), &row.origins);
    let grounded = row.record.grounded();
    let mentions = row.record.mentions().into_iter().map(|(_, m)| m.clone()).filter(|_| !row.yours()).collect();
    view! {
        <tr
            class=move || row_class("record", verdict(), tag.with_value(|t| judging.is_lit(t)))
            data-testid="record" data-record=tag.get_value()
            tabindex=move || tag.with_value(|t| judging.tab_index(t))
        >
            <td class="tick"><Tick judging key=row.key.clone() doubtful=row.certainty() == Certainty::Check/></td>
            <td>
                {what}
                {(!grounded).then(|| view! { <span class="tag warn" data-testid="ungrounded">{t!(i18n, not_in_text)}</span> })}
                <CheckTag mentions/>
                <Correction judging key=row.key.clone()/>
                <EditRecord judging row=row.clone()/>
            </td>
            {(!judging.read_only).then(|| view! { <td class="judge"><JudgeButtons judging row/></td> })}
        </tr>
    }
}

/// The classes of a record's element.
pub fn row_class(name: &str, verdict: Option<Verdict>, lit: bool) -> String {
    format!("{name} {}{}", verdict_class(verdict), if lit { " lit" } else { "" })
}

/// Whether the text has the words only nearly so.
pub fn is_nearly(mention: &Mention) -> bool {
    mention.span.is_some() && mention.found == Found::Fuzzy
}

/// Says that some words are to be looked at, and why; where the model was sure, at most how far its samples agree.
#[component]
pub fn CheckTag(mentions: Vec<Mention>) -> impl IntoView {
    let i18n = use_i18n();
    let few = |m: &Mention| m.agreement.is_some_and(extract::doubt::too_few);
    let check = |m: &&Mention| m.certainty == Certainty::Check;
    let (doubted, hesitated) = (mentions.iter().any(few), mentions.iter().filter(check).any(|m| !few(m)));
    let nearly = mentions.iter().any(is_nearly);
    let why = move || {
        let reasons = [
            hesitated.then(|| t_string!(i18n, hesitated_help)),
            doubted.then(|| t_string!(i18n, doubted_help)),
            nearly.then(|| t_string!(i18n, unsure_help)),
        ];
        reasons.into_iter().flatten().collect::<Vec<_>>().join("\n")
    };
    let agreement = Agreement::fewest(mentions.iter().map(|m| m.agreement));
    view! {
        {(hesitated || doubted || nearly)
            .then(|| view! { " " <span class="tag warn" data-testid="unsure" title=why>{t!(i18n, unsure)}</span> })}
        <Agreed agreement/>
    }
}

/// In how many samples something was said, where there are any.
#[component]
pub fn Agreed(agreement: Option<Agreement>) -> impl IntoView {
    let i18n = use_i18n();
    agreement.map(|Agreement { found, of }| {
        let words = move || fill(t_string!(i18n, in_samples), &[("found", &found), ("of", &of)]);
        view! { " · " <span class="muted" data-testid="in-samples" title=move || t_string!(i18n, in_samples_help)>{words}</span> }
    })
}

/// The tick of a record, with a name for screen readers; of one that is to be checked, and is not judged, a question mark.
#[component]
pub fn Tick(judging: Judging, key: String, doubtful: bool) -> impl IntoView {
    let i18n = use_i18n();
    let verdict = move || judging.verdict(&key);
    move || {
        let verdict = verdict();
        let (sign, name) = match verdict {
            Some(Verdict::Right) => (tick(verdict), t_string!(i18n, right)),
            Some(Verdict::Wrong) => (tick(verdict), t_string!(i18n, wrong)),
            Some(Verdict::Corrected) => (tick(verdict), t_string!(i18n, corrected)),
            Some(Verdict::Added) => (tick(verdict), t_string!(i18n, added_by_you)),
            None if doubtful => ("?", t_string!(i18n, unsure)),
            None => return None,
        };
        Some(view! { <span role="img" aria-label=name title=name>{sign}</span> })
    }
}

/// A record in words: each mention in the colour of its type.
pub fn describe(record: &Record, names: &Names, origins: &[Origin]) -> AnyView {
    let origins = origin_class(origins);
    let word = |words: &str, label: &str| {
        let class = format!("word {} {origins}", color_class(label, names));
        view! { <span class=class>{words.to_owned()}</span> }
    };
    match record {
        Record::Entity { label, mention } => view! {
            {word(&mention.text, label)} " " <span class="label">{label.clone()}</span>
        }
        .into_any(),
        Record::Relation { relation, head, tail } => view! {
            {word(&head.text, relation)} " " <span class="label">"— " {relation.clone()} " →"</span> " " {word(&tail.text, relation)}
        }
        .into_any(),
        Record::Event { label, trigger, arguments } => view! {
            {word(&trigger.text, label)} " " <span class="label">{label.clone()}</span>
            <ul class="arguments">
                {arguments.iter().map(|a| view! {
                    <li><span class="label">{a.role.clone()}</span> " " {word(&a.mention.text, &a.role)}</li>
                }).collect_view()}
            </ul>
        }
        .into_any(),
    }
}
