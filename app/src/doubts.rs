//! Why a text is to be looked at by a person, and which texts are drawn for a random check. By this the server orders the
//! review of large batches, and the page that of the texts it has.

use std::collections::{BTreeMap, HashSet};

use extract::{IssueKind, judge};
use protocol::{Certainty, FinishReason, Record, RunStatus};

use crate::found::Found;

/// Why a text is looked at before others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    Failed,
    Repeated,
    CutOff,
    Unreadable,
    NotInText,
    Check,
    Issues,
    Differs,
}

impl Doubt {
    pub const fn weight(self) -> usize {
        match self {
            Self::Failed => 1000,
            Self::Repeated => 40,
            Self::CutOff => 30,
            Self::Unreadable => 25,
            Self::NotInText => 10,
            Self::Check => 5,
            Self::Issues => 4,
            Self::Differs => 3,
        }
    }
}

/// How doubtful all of it is together: the more, the earlier it is looked at.
pub fn weight(doubts: &BTreeMap<Doubt, usize>) -> usize {
    doubts.iter().map(|(doubt, count)| doubt.weight() * count).sum()
}

/// What is doubtful of a text, and how often.
pub fn doubts(found: &Found) -> BTreeMap<Doubt, usize> {
    let mut doubts = BTreeMap::new();
    let mut add = |doubt, count: usize| {
        if count > 0 {
            *doubts.entry(doubt).or_default() += count;
        }
    };
    let Some(main) = found.main() else { return doubts };
    let ended = |reason| main.ends.iter().filter(|(_, finish)| *finish == Some(reason)).count();
    let failed = |status: RunStatus| status.is_final() && status != RunStatus::Finished;
    add(Doubt::Failed, main.ends.iter().filter(|(status, _)| failed(*status)).count());
    add(Doubt::Repeated, ended(FinishReason::Repeat));
    add(Doubt::CutOff, ended(FinishReason::Length));
    let finished = main.ends.iter().all(|(status, _)| *status == RunStatus::Finished);
    add(Doubt::Unreadable, usize::from(finished && main.records.is_empty() && !main.nothing_found));
    let astray = main.issues.iter().filter(|i| i.argument.is_some()).count();
    add(Doubt::NotInText, main.records.iter().filter(|r| !r.grounded()).count() + astray);
    let hesitated = |r: &&Record| r.grounded() && r.certainty() == Certainty::Check;
    add(Doubt::Check, main.records.iter().filter(hesitated).count());
    let other = |kind| !matches!(kind, IssueKind::NotInText | IssueKind::BrokenOff | IssueKind::Empty);
    add(Doubt::Issues, main.issues.iter().filter(|i| other(i.kind)).map(|i| i.count.max(1)).sum());
    if let [left, right] = found.columns.as_slice() {
        let c = judge::compare(&left.grounded(), &right.grounded());
        add(Doubt::Differs, c.only_left.len() + c.only_right.len());
    }
    doubts
}

/// How much one record that only one variant has weighs in a disagreement; of samples each has its share of that.
const ONE: usize = 10;

/// How far those who answered about a text disagree: base and tuned about its records, or an answer and its samples. `None`
/// where there is nobody to disagree.
pub fn disagreement(found: &Found) -> Option<usize> {
    if let [left, right] = found.columns.as_slice() {
        let c = judge::compare(&left.grounded(), &right.grounded());
        return Some(ONE * (c.only_left.len() + c.only_right.len()));
    }
    let missing = |record: &Record| {
        let agreement =
            record.mentions().iter().filter_map(|(_, mention)| mention.agreement).min_by_key(|a| a.found)?;
        let (found, of) = (agreement.found as usize, agreement.of as usize);
        Some(ONE * of.saturating_sub(found) / of.max(1))
    };
    let samples: Vec<usize> = found.main()?.records.iter().filter_map(missing).collect();
    (!samples.is_empty()).then(|| samples.iter().sum())
}

/// By what a text is put in the orders of a review.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// How doubtful it is.
    pub doubt: usize,
    /// How far those who answered disagree.
    pub differs: usize,
}

impl Weight {
    /// Of a text.
    pub fn of(found: &Found) -> Self {
        Self { doubt: weight(&doubts(found)), differs: disagreement(found).unwrap_or(0) }
    }

    /// Of a text without an answer.
    pub const FAILED: Self = Self { doubt: Doubt::Failed.weight(), differs: 0 };
}

/// How many texts "check 50" draws.
pub const SAMPLE: usize = 50;

/// The texts of a sample: those whose ids hash lowest with the seed. The same seed draws the same texts.
pub fn sample<'a>(ids: impl Iterator<Item = &'a String>, seed: &str) -> HashSet<String> {
    let hash = |id: &str| {
        let bytes = seed.bytes().chain([0x1f]).chain(id.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        // Ids made one after the other differ in their last characters only: mix those into all bits.
        let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 33)
    };
    let mut ids: Vec<&String> = ids.collect();
    ids.sort_by_cached_key(|id| hash(id));
    ids.into_iter().take(SAMPLE).cloned().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::found::FoundColumn;
    use extract::Issue;
    use protocol::{Column, Span, record::Mention, view::DocumentView};

    fn entity(words: &str, grounded: bool) -> Record {
        let span = grounded.then_some(Span { start: 0, end: 1 });
        Record::Entity { label: "x".into(), mention: Mention { span, ..Mention::new(words) } }
    }

    fn column(column: Column, records: Vec<Record>, end: (RunStatus, FinishReason)) -> FoundColumn {
        FoundColumn {
            column,
            model: "m".into(),
            adapter: None,
            nothing_found: false,
            issues: vec![],
            ends: vec![(end.0, Some(end.1))],
            runs: vec![],
            records,
        }
    }

    fn found(columns: Vec<FoundColumn>) -> Found {
        let document = DocumentView { id: "d".into(), text: "t".into(), judgements: vec![] };
        Found { document, columns, schema: None, asked: None }
    }

    const GOOD: (RunStatus, FinishReason) = (RunStatus::Finished, FinishReason::Stop);

    fn list(found: &Found) -> Vec<(Doubt, usize)> {
        doubts(found).into_iter().collect()
    }

    #[test]
    fn nothing_found_is_no_doubt_and_not_failed() {
        let empty = FoundColumn { nothing_found: true, ..column(Column::Tuned, vec![], GOOD) };
        assert_eq!(list(&found(vec![empty.clone()])), []);
        let silent = FoundColumn { nothing_found: false, ..empty };
        assert_eq!(list(&found(vec![silent])), [(Doubt::Unreadable, 1)]);
        let failed = column(Column::Tuned, vec![], (RunStatus::Failed, FinishReason::Error));
        assert_eq!(list(&found(vec![failed])), [(Doubt::Failed, 1)]);
    }

    #[test]
    fn records_that_the_model_hesitated_over_are_doubts() {
        let mut records = vec![entity("a", true), entity("b", true), entity("c", false)];
        for (record, certainty) in records.iter_mut().zip([Certainty::Check, Certainty::Sure, Certainty::Check]) {
            record.mentions_mut()[0].certainty = certainty;
        }
        let found = found(vec![column(Column::Tuned, records, GOOD)]);
        assert_eq!(list(&found), [(Doubt::NotInText, 1), (Doubt::Check, 1)], "what is not in the text is worse");
    }

    #[test]
    fn variants_disagree_by_records_and_samples_by_their_share() {
        let with = |records| column(Column::Tuned, records, GOOD);
        let base = column(Column::Base, vec![entity("c", true), entity("a", true)], GOOD);
        assert_eq!(disagreement(&found(vec![base, with(vec![entity("a", true)])])), Some(10));
        assert_eq!(disagreement(&found(vec![with(vec![entity("a", true)])])), None, "there is nobody to disagree");
        let mut records = vec![entity("a", true), entity("b", true)];
        for (record, agreed) in records.iter_mut().zip([4, 1]) {
            record.mentions_mut()[0].agreement = Some(protocol::Agreement { found: agreed, of: 4 });
        }
        assert_eq!(Weight::of(&found(vec![with(records)])).differs, 7, "three of four samples lack one");
    }

    #[test]
    fn words_that_are_not_in_the_text_issues_and_columns_that_differ_are_doubts() {
        let mut tuned = column(
            Column::Tuned,
            vec![entity("a", true), entity("b", false)],
            (RunStatus::Finished, FinishReason::Length),
        );
        tuned.issues = vec![
            Issue {
                kind: IssueKind::NotInText,
                words: "b".into(),
                record: Some(1),
                at: None,
                argument: None,
                count: 1,
            },
            Issue { kind: IssueKind::NotInSchema, words: "c".into(), record: None, at: None, argument: None, count: 2 },
        ];
        let base = column(Column::Base, vec![entity("c", true)], GOOD);
        let expected = [(Doubt::CutOff, 1), (Doubt::NotInText, 1), (Doubt::Issues, 2), (Doubt::Differs, 2)];
        assert_eq!(list(&found(vec![base, tuned])), expected);
    }
}
