//! Events as cards: the words that name one, and who and what took part.

use leptos::prelude::*;
use protocol::{
    Record,
    record::{Certainty, Mention},
};

use super::{
    judge_keys::{JudgeButtons, Judging, Row},
    marked::{color_class, origin_class},
    records::{CheckTag, Correction, EditRecord, Tick, row_class},
};
use crate::i18n::{t, use_i18n};

/// Whether any of the records is an event.
pub fn has_events(rows: &[Row]) -> bool {
    rows.iter().any(|r| matches!(r.record, Record::Event { .. }))
}

/// A card for each event, in the order of the text; those that do not stand in it last.
#[component]
pub fn EventCards(judging: Judging) -> impl IntoView {
    let rows = Memo::new(move |_| {
        let mut events: Vec<Row> = judging
            .layers
            .with(|rows| rows.iter().filter(|r| matches!(r.record, Record::Event { .. })).cloned().collect());
        events.sort_by_key(|row| {
            let trigger = row.record.mentions().first().and_then(|(_, m)| m.span);
            (trigger.is_none(), trigger.map(|s| s.start))
        });
        events
    });
    view! {
        <ul class="events" data-testid="events" data-view="events">
            <For each=move || rows.get() key=Row::drawn children=move |row| view! { <EventCard row judging/> }/>
        </ul>
    }
}

#[component]
fn EventCard(row: Row, judging: Judging) -> impl IntoView {
    let i18n = use_i18n();
    let Record::Event { label, trigger, arguments } = row.record.clone() else { return ().into_any() };
    let names = judging.names();
    let origins = origin_class(&row.origins);
    let (tag, key) = (StoredValue::new(row.tag.clone()), StoredValue::new(row.key.clone()));
    let verdict = move || key.with_value(|k| judging.verdict(k));
    let color = color_class(&label, &names);
    let (yours, doubtful) = (row.yours(), row.certainty() == Certainty::Check);
    let word = move |mention: &Mention, label: &str| {
        let class = format!("word {} {origins}", color_class(label, &names));
        let elsewhere = mention.span.is_none();
        view! {
            <span class=class>{mention.text.clone()}</span>
            {elsewhere.then(|| view! { " " <span class="tag warn">{t!(i18n, not_in_text)}</span> })}
            {(!yours).then(|| view! { <CheckTag mentions=vec![mention.clone()]/> })}
        }
    };
    let trigger = word(&trigger, &label);
    let arguments = arguments
        .iter()
        .map(|a| view! { <div><dt>{a.role.clone()}</dt><dd>{word(&a.mention, &a.role)}</dd></div> })
        .collect_view();
    view! {
        <li
            class=move || row_class(&format!("record event {color}"), verdict(), tag.with_value(|t| judging.is_lit(t)))
            data-testid="event" data-record=tag.get_value()
            tabindex=move || tag.with_value(|t| judging.tab_index(t))
        >
            <p class="event-head">
                <span class="tick"><Tick judging key=row.key.clone() doubtful/></span>
                <strong class="type">{label}</strong> " " {trigger}
            </p>
            <dl>{arguments}</dl>
            <Correction judging key=row.key.clone()/>
            <EditRecord judging row=row.clone()/>
            {(!judging.read_only).then(|| view! { <p class="judge"><JudgeButtons judging row/></p> })}
        </li>
    }
    .into_any()
}
