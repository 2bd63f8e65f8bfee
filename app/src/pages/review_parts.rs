//! Parts of the page of a review: the way to its other pages, tags, and what a sample says.

use std::collections::{BTreeMap, HashSet};

use extract::judge;
use leptos::prelude::*;
use protocol::{
    Sentence,
    review::{Part, State, Wanted},
};

use super::review_order::Text;
use crate::{
    components::{Pager, with_interval},
    doubts::Doubt,
    found::of_item,
    i18n::{t, t_string, use_i18n},
    live::Document,
    prefs::{fill, language},
};

/// The way to the other pages of a long review.
#[derive(Clone, Default)]
pub struct Places {
    pub session: String,
    /// Addresses.
    pub previous: Option<String>,
    pub next: Option<String>,
    /// First and last text of this page, from 1, and how many the list has.
    shown: Option<(usize, usize, usize)>,
    /// Keeps the list to texts that nobody has gone through, where it is; of any other list the next open one is no part.
    open: String,
}

impl Places {
    pub fn new(session: &str, wanted: &Wanted, part: Option<&Part>) -> Self {
        let session = session.to_owned();
        let Some(part) = part else { return Self { session, ..Self::default() } };
        let show = wanted.show.map_or(String::new(), |show| format!("&show={}", show.name()));
        let open = if wanted.show == Some(State::Unreviewed) { show.clone() } else { String::new() };
        let to =
            |side: &str, text: Option<&String>| text.map(|id| format!("/sessions/{session}/review?{side}={id}{show}"));
        let last = part.before + part.order.len();
        Self {
            previous: to("before", part.order.first()).filter(|_| part.before > 0),
            next: to("after", part.order.last()).filter(|_| last < part.total),
            shown: (!part.order.is_empty() && part.order.len() < part.total).then_some((
                part.before + 1,
                last,
                part.total,
            )),
            open,
            session,
        }
    }

    /// The address of the page with a text that nobody has gone through.
    pub fn to_open(&self, id: &str) -> String {
        format!("/sessions/{}/review?text={id}{}", self.session, self.open)
    }

    pub fn pager(&self) -> impl IntoView + use<> {
        let i18n = use_i18n();
        let Self { previous, next, shown, .. } = self.clone();
        shown.map(|(from, to, all)| {
            let place = Signal::derive(move || {
                fill(t_string!(i18n, review_part), &[("from", &from), ("to", &to), ("all", &all)])
            });
            view! { <Pager previous next place/> }
        })
    }
}

/// Why a text stands where it does.
#[component]
pub fn DoubtTags(doubts: BTreeMap<Doubt, usize>) -> impl IntoView {
    let i18n = use_i18n();
    let name = move |doubt: Doubt| match doubt {
        Doubt::Failed => t_string!(i18n, doubt_failed),
        Doubt::Repeated => t_string!(i18n, doubt_repeated),
        Doubt::CutOff => t_string!(i18n, doubt_cut_off),
        Doubt::Unreadable => t_string!(i18n, doubt_unreadable),
        Doubt::NotInText => t_string!(i18n, not_in_text),
        Doubt::Check => t_string!(i18n, unsure),
        Doubt::Issues => t_string!(i18n, doubt_issues),
        Doubt::Differs => t_string!(i18n, doubt_differs),
    };
    let tag = move |(doubt, count): (Doubt, usize)| {
        let class = if doubt == Doubt::Failed { "tag bad" } else { "tag warn" };
        view! { <span class=class data-testid="doubt">{move || name(doubt)} {(count > 1).then(|| format!(" {count}"))}</span> }
    };
    view! { <span class="doubts">{doubts.into_iter().map(tag).collect_view()}</span> }
}

/// A text of a batch that has no answer: why, and the way to ask again.
#[component]
pub fn FailedCard(document: Document, reason: Sentence, session: String) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    view! {
        <article class="card" data-testid="failed-card">
            <p class="notice error" data-testid="failed-reason">{move || reason.in_language(language()).to_owned()}</p>
            <form method="post" action=format!("/batch/{session}/retry")>
                <button data-testid="retry">{t!(i18n, batch_retry)}</button>
            </form>
            <p class="completion">{move || document.with(|d| d.text.clone())}</p>
        </article>
    }
}

/// What a random sample says of all texts, as far as it has been gone through.
#[component]
pub fn CheckLine(texts: StoredValue<Vec<Text>>, reviewed: RwSignal<HashSet<String>>) -> impl IntoView {
    let i18n = use_i18n();
    let sums = Memo::new(move |_| {
        let (mut done, mut score) = (0, judge::Score::default());
        texts.with_value(|texts| {
            for text in texts.iter().filter(|t| reviewed.with(|r| r.contains(&t.id))) {
                let judgements = text.judgements();
                let grounded = of_item(&text.item).and_then(|f| f.main().map(|c| c.grounded())).unwrap_or_default();
                score += judge::score(&grounded, &judgements);
                done += 1;
            }
            (done, texts.len(), score)
        })
    });
    move || {
        let (done, all, s) = sums.get();
        let line = fill(
            t_string!(i18n, check_line),
            &[
                ("done", &done),
                ("all", &all),
                ("precision", &with_interval(s.right, s.found)),
                ("recall", &with_interval(s.right, s.right + s.missed)),
            ],
        );
        view! { <p class="notice" data-testid="check-line">{line}</p> }
    }
}
