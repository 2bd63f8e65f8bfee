//! The texts of a review as the page has them.

use std::collections::BTreeMap;

use leptos::prelude::*;
use protocol::{Judgement, Verdict, review::State};

use crate::{
    doubts::{Doubt, doubts, weight},
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
}

impl Text {
    pub fn of(item: Item) -> Option<Self> {
        let found = of_item(&item)?;
        let line: String = found.document.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let excerpt = protocol::text::slice_chars(&line, 0, 60).to_owned();
        Some(Self { id: found.document.id.clone(), excerpt, doubts: doubts(&found), item })
    }

    pub fn weight(&self) -> usize {
        weight(&self.doubts)
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
    match (reviewed, text.failed()) {
        (true, _) if text.judgements().iter().any(|j| j.verdict != Verdict::Right) => State::Corrected,
        (true, _) => State::Accepted,
        (false, true) => State::Failed,
        (false, false) => State::Unreviewed,
    }
}
