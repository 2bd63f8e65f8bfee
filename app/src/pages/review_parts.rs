//! Parts of the page of a review: the way to its other pages, tags, and what a sample says.

use std::collections::{BTreeMap, HashSet};

use extract::judge;
use leptos::prelude::*;
use protocol::{
    Sentence,
    review::{Order, Part, State, Wanted},
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
    /// The order of this page.
    pub order: Order,
    /// Keeps the list to texts that nobody has gone through, where it is; of any other list the next open one is no part.
    open: String,
}

impl Places {
    pub fn new(session: &str, wanted: &Wanted, part: Option<&Part>) -> Self {
        let session = session.to_owned();
        let order = wanted.order;
        let Some(part) = part else { return Self { session, order, ..Self::default() } };
        let ordered = query_of(order);
        let show = wanted.show.map_or(String::new(), |show| format!("&show={}", show.name()));
        let open = if wanted.show == Some(State::Unreviewed) { show.clone() } else { String::new() };
        let to = |side: &str, text: Option<&String>| {
            text.map(|id| format!("/sessions/{session}/review?{side}={id}{show}{ordered}"))
        };
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
            order,
            session,
        }
    }

    /// The address of the page with a text that nobody has gone through.
    pub fn to_open(&self, id: &str) -> String {
        format!("/sessions/{}/review?text={id}{}{}", self.session, self.open, query_of(self.order))
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

/// What keeps an order in an address: nothing for the usual one.
pub fn query_of(order: Order) -> &'static str {
    match order {
        Order::Doubt => "",
        Order::Differs => "&order=differs",
    }
}

/// The orders to choose from, where those who answered can disagree.
#[component]
pub fn OrderChoice(order: Order, show: Option<State>) -> impl IntoView {
    let i18n = use_i18n();
    let show = show.map_or(String::new(), |show| format!("&show={}", show.name()));
    let link = move |of: Order| {
        let name = move || match of {
            Order::Doubt => t_string!(i18n, order_doubt),
            Order::Differs => t_string!(i18n, order_differs),
        };
        let help = move || match of {
            Order::Doubt => t_string!(i18n, order_doubt_help),
            Order::Differs => t_string!(i18n, order_differs_help),
        };
        let path = format!("?order={}{show}", of.name());
        view! {
            <a href=path rel="external" title=help data-testid=format!("order-{}", of.name()) aria-current=(of == order).then_some("true")>{name}</a>
        }
    };
    view! {
        <nav class="tabs" aria-label=move || t_string!(i18n, order_label)>
            {[Order::Doubt, Order::Differs].map(link)}
        </nav>
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
        let (mut precision, mut recall) = (Vec::new(), Vec::new());
        texts.with_value(|texts| {
            for text in texts.iter().filter(|t| reviewed.with(|r| r.contains(&t.id))) {
                let judgements = text.judgements();
                let grounded = of_item(&text.item).and_then(|f| f.main().map(|c| c.grounded())).unwrap_or_default();
                let score = judge::score(&grounded, &judgements);
                precision.push((score.right, score.found));
                recall.push((score.right, score.right + score.missed));
            }
            (texts.len(), precision, recall)
        })
    });
    move || {
        let (all, precision, recall) = sums.get();
        let line = fill(
            t_string!(i18n, check_line),
            &[
                ("done", &precision.len()),
                ("all", &all),
                ("precision", &with_interval(&precision)),
                ("recall", &with_interval(&recall)),
            ],
        );
        view! {
            <div class="notice">
                <p data-testid="check-line">{line}</p>
                <p class="help" data-testid="check-interval">{t!(i18n, check_interval)}</p>
            </div>
        }
    }
}
