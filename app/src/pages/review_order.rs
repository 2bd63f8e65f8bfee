//! The texts of a review as the page has them.

use std::collections::BTreeMap;

use leptos::prelude::*;
use protocol::{
    Judgement, Sentence,
    review::{Order, State},
    view::DocumentView,
};

use crate::{
    doubts::{Doubt, disagreement, doubts, weight},
    found::of_item,
    live::Item,
};

/// A text of the queue.
#[derive(Clone)]
pub struct Text {
    pub id: String,
    pub excerpt: String,
    pub item: Item,
    pub doubts: BTreeMap<Doubt, usize>,
    /// How far those who answered disagree; `None` where there is only one answer.
    pub differs: Option<usize>,
    /// Why there is no answer to go through.
    pub reason: Option<Sentence>,
}

impl Text {
    pub fn of(item: Item) -> Option<Self> {
        let found = of_item(&item)?;
        let (doubts, differs) = (doubts(&found), disagreement(&found));
        Some(Self { differs, ..Self::with(found.document, item, doubts, None) })
    }

    /// A text of a batch whose row has failed.
    pub fn failed_by(document: DocumentView, reason: Sentence) -> Self {
        let item = Item::unanswered(document.clone());
        Self::with(document, item, BTreeMap::from([(Doubt::Failed, 1)]), Some(reason))
    }

    fn with(document: DocumentView, item: Item, doubts: BTreeMap<Doubt, usize>, reason: Option<Sentence>) -> Self {
        let line: String = document.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let excerpt = protocol::text::slice_chars(&line, 0, 60).to_owned();
        Self { id: document.id, excerpt, item, doubts, differs: None, reason }
    }

    /// By what it is put in an order.
    pub fn weight(&self, order: Order) -> usize {
        match order {
            Order::Doubt => weight(&self.doubts),
            Order::Differs => self.differs.unwrap_or(0),
        }
    }

    pub fn failed(&self) -> bool {
        self.doubts.contains_key(&Doubt::Failed)
    }

    pub fn judgements(&self) -> Vec<Judgement> {
        self.item.document.as_ref().map(|d| d.with(|d| d.judgements.clone())).unwrap_or_default()
    }
}

/// Where a text is.
pub fn state(text: &Text, reviewed: bool) -> State {
    State::of(reviewed, text.failed(), &text.judgements())
}
