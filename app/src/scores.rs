//! Scores of a session's columns against what people said, as the page shows them.

use protocol::Column;
use serde::{Deserialize, Serialize};

/// The scores of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionScores {
    /// The session's title.
    pub title: String,
    /// Texts of the session.
    pub texts: usize,
    /// Of these, those whose gold is known: gone through in the review, or every record of the judged column is judged.
    pub judged: usize,
    /// Base before tuned.
    pub columns: Vec<ColumnScores>,
    /// The two of the columns that are held against each other, by their places; `None` where no two were asked about the same
    /// texts.
    pub compared: Option<(usize, usize)>,
    /// The first of them against the second: F1 for each kind of record, with intervals.
    pub differences: Vec<Difference>,
}

/// The scores of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnScores {
    /// Which.
    pub column: Column,
    /// The real checkpoint's name, with its adapter.
    pub name: String,
    /// Texts of those judged that it was asked about.
    pub texts: usize,
    /// A table for each kind of record that is in gold or answers.
    pub tables: Vec<Table>,
}

/// What is scored: entities, relations, triggers or arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Entities: type and words.
    Entities,
    /// Relations: name, head and tail.
    Relations,
    /// Triggers: event type and words.
    Triggers,
    /// Arguments: event type, role and words.
    Arguments,
}

/// Precision, recall and F1, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Of what was found, how much is right.
    pub precision: f64,
    /// Of what is to be found, how much was.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// The counts behind micro figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Right.
    pub right: usize,
    /// Found.
    pub found: usize,
    /// To be found.
    pub gold: usize,
}

/// The scores of one kind of record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What is scored.
    pub kind: Kind,
    /// Over the sums of all texts, copies counted (IEPile).
    pub micro: Figures,
    /// What it is made of.
    pub counts: Counts,
    /// The mean over texts of lower-cased sets (OneKE).
    pub mean: Figures,
    /// Micro figures of each type, the most frequent in gold first.
    pub types: Vec<(String, Figures, Counts)>,
    /// Which type was given for which, where the words are the same: gold, given, how often.
    pub confusion: Vec<(String, String, usize)>,
    /// What was wrong or missed.
    pub mistakes: Vec<Mistake>,
}

/// A record that is only in gold, or only in the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// The text.
    pub document: String,
    /// How the text begins.
    pub excerpt: String,
    /// In gold only.
    pub missed: bool,
    /// The record in words.
    pub record: String,
}

/// The micro F1 of two columns on the same texts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// What is scored.
    pub kind: Kind,
    /// Of the first.
    pub first: Interval,
    /// Of the second.
    pub second: Interval,
    /// The first minus the second, draw by draw.
    pub difference: Interval,
}

impl Difference {
    /// Whether the texts do not say which column is better.
    pub fn is_open(&self) -> bool {
        self.difference.low <= 0.0 && self.difference.high >= 0.0
    }
}

/// A figure with the interval that holds it in 95 of 100 draws of the texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// On the texts as they are.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}
