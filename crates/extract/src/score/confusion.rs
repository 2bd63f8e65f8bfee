//! Which types are taken for which.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Item, Pair, Scored, tally};

/// How often one type was given in the place of another: the words are right, the type is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The type in gold; of arguments, the role.
    pub gold: String,
    /// The type predicted.
    pub predicted: String,
    /// How often.
    pub count: usize,
}

/// Counts confusions over all texts, the most frequent first.
pub fn confusion(scored: Scored, pairs: &[Pair<'_>]) -> Vec<Confusion> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for pair in pairs {
        // By the words alone: what is only in gold, and what is only predicted.
        let mut alone: BTreeMap<Vec<String>, (Vec<String>, Vec<String>)> = BTreeMap::new();
        for (Item { label, words }, (gold, predicted)) in tally(scored, pair) {
            let right = gold.min(predicted);
            let (missed, wrong) = alone.entry(words).or_default();
            missed.extend((right..gold).map(|_| label.clone()));
            wrong.extend((right..predicted).map(|_| label.clone()));
        }
        for (missed, wrong) in alone.into_values() {
            for (gold, predicted) in missed.into_iter().zip(wrong) {
                *counts.entry((gold, predicted)).or_default() += 1;
            }
        }
    }
    let mut all: Vec<Confusion> =
        counts.into_iter().map(|((gold, predicted), count)| Confusion { gold, predicted, count }).collect();
    all.sort_by_key(|c| std::cmp::Reverse(c.count));
    all
}
