//! What people said of records, counted. Records are the same when their [`Record::key`] is.

use std::{
    collections::{HashMap, HashSet},
    ops::AddAssign,
};

use protocol::{FinishReason, Judgement, Record, Verdict};

use crate::parse::Parsed;

/// The text's gold: the records that its judgements say are in it, each once.
pub fn gold(judgements: &[Judgement]) -> Vec<&Record> {
    let mut seen = HashSet::new();
    judgements.iter().filter_map(Judgement::gold).filter(|record| seen.insert(record.key())).collect()
}

/// What the judgements say of a record. One that equals the correction of another record is right.
pub fn verdict(judgements: &[Judgement], record: &Record) -> Option<Verdict> {
    let key = record.key();
    judgements
        .iter()
        .find(|j| j.record.key() == key)
        .map(|j| j.verdict)
        .or_else(|| judgements.iter().any(|j| j.gold().is_some_and(|g| g.key() == key)).then_some(Verdict::Right))
}

/// What the judgements of a text say, looked up by record: as [`verdict`], for many records.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    by_key: HashMap<String, Verdict>,
}

impl Verdicts {
    /// Prepares the judgements of a text.
    pub fn new(judgements: &[Judgement]) -> Self {
        let mut by_key = HashMap::new();
        for judgement in judgements {
            by_key.entry(judgement.record.key()).or_insert(judgement.verdict);
        }
        for record in judgements.iter().filter_map(Judgement::gold) {
            by_key.entry(record.key()).or_insert(Verdict::Right);
        }
        Self { by_key }
    }

    /// What they say of the record with this key.
    pub fn of(&self, key: &str) -> Option<Verdict> {
        self.by_key.get(key).copied()
    }
}

/// Whether the gold of a text is all that is in it, so that answers can be scored by it: a person has gone through the text,
/// or everything that the judged column found is judged. In any other a missed record would only be one that nobody has
/// named yet.
pub fn is_complete(reviewed: bool, found: &[Record], judgements: &[Judgement]) -> bool {
    let score = score(found, judgements);
    reviewed || (score.found > 0 && score.unjudged == 0)
}

/// A column's records against the judgements. `found` is `right + wrong + unjudged`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Records found.
    pub found: usize,
    /// Of these, judged right (or corrected to, or added, on another column).
    pub right: usize,
    /// Of these, judged wrong or corrected.
    pub wrong: usize,
    /// In the gold, but not found.
    pub missed: usize,
    /// Of those found, not judged yet.
    pub unjudged: usize,
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.found += other.found;
        self.right += other.right;
        self.wrong += other.wrong;
        self.missed += other.missed;
        self.unjudged += other.unjudged;
    }
}

/// Scores a column's records of one text. Copies of a record count once.
pub fn score(records: &[Record], judgements: &[Judgement]) -> Score {
    let gold: HashSet<String> = gold(judgements).into_iter().map(Record::key).collect();
    let judged: HashMap<String, Verdict> = judgements.iter().rev().map(|j| (j.record.key(), j.verdict)).collect();
    let found: HashSet<String> = records.iter().map(Record::key).collect();
    let mut score = Score { found: found.len(), ..Score::default() };
    for key in &found {
        match judged.get(key) {
            Some(Verdict::Right | Verdict::Added) => score.right += 1,
            Some(Verdict::Wrong | Verdict::Corrected) => score.wrong += 1,
            None if gold.contains(key) => score.right += 1,
            None => score.unjudged += 1,
        }
    }
    score.missed = gold.difference(&found).count();
    score
}

/// Which records two columns share: indexes into the columns, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// In both: index in the left and in the right column.
    pub both: Vec<(usize, usize)>,
    /// Only in the left column.
    pub only_left: Vec<usize>,
    /// Only in the right column.
    pub only_right: Vec<usize>,
}

/// Compares two columns record by record.
pub fn compare(left: &[Record], right: &[Record]) -> Comparison {
    let rights: HashMap<String, usize> = right.iter().enumerate().rev().map(|(i, r)| (r.key(), i)).collect();
    let lefts: HashSet<String> = left.iter().map(Record::key).collect();
    let mut comparison = Comparison::default();
    for (index, record) in left.iter().enumerate() {
        match rights.get(&record.key()) {
            Some(other) => comparison.both.push((index, *other)),
            None => comparison.only_left.push(index),
        }
    }
    comparison.only_right =
        right.iter().enumerate().filter(|(_, r)| !lefts.contains(&r.key())).map(|(i, _)| i).collect();
    comparison
}

/// Whether an answer is of use as it stands: it ended by itself, and says in the asked format that there is nothing to
/// find, or gives at least one record whose words stand in the text.
pub fn usable(parsed: &Parsed, finish: Option<FinishReason>) -> bool {
    finish == Some(FinishReason::Stop) && (parsed.nothing_found || parsed.records.iter().any(Record::grounded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use protocol::record::Mention;

    fn entity(text: &str) -> Record {
        Record::Entity { label: "person".into(), mention: Mention::new(text) }
    }

    fn judgement(text: &str, verdict: Verdict, correction: Option<&str>) -> Judgement {
        Judgement { record: entity(text), verdict, correction: correction.map(entity) }
    }

    fn said() -> Vec<Judgement> {
        vec![
            judgement("Ada", Verdict::Right, None),
            judgement("Rome", Verdict::Wrong, None),
            judgement("Bob", Verdict::Corrected, Some("Bob Hope")),
            judgement("Eve", Verdict::Added, None),
        ]
    }

    #[test]
    fn gold_is_what_is_right_added_or_corrected_to() {
        let judgements = said();
        assert_eq!(gold(&judgements), [&entity("Ada"), &entity("Bob Hope"), &entity("Eve")]);
        assert_eq!(verdict(&judgements, &entity("bob")), Some(Verdict::Corrected));
        assert_eq!(verdict(&judgements, &entity("Bob Hope")), Some(Verdict::Right));
        assert_eq!(verdict(&judgements, &entity("Zoe")), None);
        let verdicts = Verdicts::new(&judgements);
        for name in ["Ada", "Rome", "bob", "Bob Hope", "Eve", "Zoe"] {
            assert_eq!(verdicts.of(&entity(name).key()), verdict(&judgements, &entity(name)), "{name}");
        }
    }

    #[test]
    fn a_column_is_scored_by_judgements_made_on_any_column() {
        let score = |names: &[&str]| {
            let s = score(&names.iter().map(|n| entity(n)).collect::<Vec<_>>(), &said());
            (s.found, s.right, s.wrong, s.missed, s.unjudged)
        };
        assert_eq!(score(&[]), (0, 0, 0, 3, 0));
        assert_eq!(score(&["Ada", "Rome", "Bob", "Zoe"]), (4, 1, 2, 2, 1));
        assert_eq!(score(&["ada", "Ada", "Bob Hope", "Eve"]), (3, 3, 0, 0, 0));
    }

    #[test]
    fn gold_is_complete_when_a_text_was_gone_through_or_all_that_was_found_is_judged() {
        let records = |names: &[&str]| names.iter().map(|n| entity(n)).collect::<Vec<_>>();
        for (reviewed, found, expected) in [
            (false, &["Ada", "Rome"][..], true),
            (false, &["Ada", "Zoe"], false),
            (false, &[], false),
            (true, &["Zoe"], true),
            (true, &[], true),
        ] {
            assert_eq!(is_complete(reviewed, &records(found), &said()), expected, "{found:?}");
        }
    }

    #[test]
    fn columns_are_compared_by_key_in_their_own_order() {
        let left = [entity("Ada"), entity("Bob"), entity("Eve")];
        let right = [entity("EVE"), entity("Zoe"), entity("ada")];
        let expected = Comparison { both: vec![(0, 2), (2, 0)], only_left: vec![1], only_right: vec![1] };
        assert_eq!(compare(&left, &right), expected);
    }

    #[test]
    fn an_answer_is_usable_when_it_ended_and_says_something_in_the_asked_format() {
        let schema = protocol::SchemaChoice {
            task: protocol::Task::Entities,
            language: protocol::Language::En,
            types: vec!["person".into()],
            roles: vec![],
            asking: protocol::Asking::default(),
        };
        for (answer, finish, expected) in [
            ("(Ada, person)", FinishReason::Stop, true),
            ("(Ada, person)", FinishReason::Length, false),
            ("(Eve, person)", FinishReason::Stop, false),
            ("(Ada, robot)", FinishReason::Stop, false),
            ("(Eve, person) (Ada, person)", FinishReason::Stop, true),
            ("None", FinishReason::Stop, true),
            ("", FinishReason::Stop, false),
            ("Ada was a person.", FinishReason::Stop, false),
        ] {
            let parsed = parse::records(answer, "Ada slept.", Some(&schema), true);
            assert_eq!(usable(&parsed, Some(finish)), expected, "{answer} {finish:?}");
        }
    }
}
