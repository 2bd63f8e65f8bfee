//! A review of many texts: where each is, and which of them a page shows.

use serde::{Deserialize, Serialize};

use crate::{
    record::{Judgement, Verdict},
    view::Snapshot,
};

/// Where a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has gone through it.
    Unreviewed,
    /// Gone through, and everything was right.
    Accepted,
    /// Gone through, and something was not.
    Corrected,
    /// There is no answer to go through.
    Failed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unreviewed, Self::Accepted, Self::Corrected, Self::Failed];

    /// Of a text that a person has gone through, or not, or whose answer is missing; and what was said of it.
    pub fn of(reviewed: bool, failed: bool, judgements: &[Judgement]) -> Self {
        match (reviewed, failed) {
            (true, _) if judgements.iter().any(|j| j.verdict != Verdict::Right) => Self::Corrected,
            (true, _) => Self::Accepted,
            (false, true) => Self::Failed,
            (false, false) => Self::Unreviewed,
        }
    }

    /// The name in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreviewed => "unreviewed",
            Self::Accepted => "accepted",
            Self::Corrected => "corrected",
            Self::Failed => "failed",
        }
    }

    /// The inverse of [`State::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// By what a review is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The doubtful first.
    #[default]
    Doubt,
    /// Those first about which base and tuned, or an answer and its samples, disagree most.
    Differs,
}

impl Order {
    /// The name in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Doubt => "doubt",
            Self::Differs => "differs",
        }
    }

    /// The inverse of [`Order::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Doubt, Self::Differs].into_iter().find(|order| order.name() == name)
    }
}

/// What the address of a review asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// In this order.
    #[serde(default)]
    pub order: Order,
    /// Texts in this state only.
    pub show: Option<State>,
    /// A random sample, drawn with these letters.
    pub check: Option<String>,
    /// Begin with this text.
    pub text: Option<String>,
    /// Begin behind this text.
    pub after: Option<String>,
    /// End before this text.
    pub before: Option<String>,
}

/// Which part of a long review a page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The texts shown, in their order.
    pub order: Vec<String>,
    /// How many of the list stand before them.
    pub before: usize,
    /// How many the list has.
    pub total: usize,
    /// How many texts of all are in which state, in the order of [`State::ALL`].
    pub counts: [usize; 4],
    /// Texts whose doubt and disagreement are not known yet: they stand at the end.
    pub unread: usize,
}

/// What a link shows; of many texts a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    /// The session with the texts of this page.
    pub snapshot: Snapshot,
    /// Which page, from 1.
    pub page: usize,
    /// How many there are.
    pub pages: usize,
    /// How many texts, on all pages; 0 where there is one page.
    pub texts: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_states_are_those_of_json() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
            assert_eq!(serde_json::to_string(&state).ok(), Some(format!("\"{}\"", state.name())));
        }
    }
}
