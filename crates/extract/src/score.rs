//! Predictions held against gold.
//!
//! Two definitions are in use, and both are given, each by its name:
//!
//! - **micro** (as IEPile scores): right, predicted and gold records are counted over all texts, as multisets, by their
//!   exact words; precision, recall and F1 come from the sums.
//! - **per text** (as the OneKE framework scores): precision, recall and F1 of each text over sets of lower-cased
//!   records, then the mean of each over all texts. A text where nothing is right counts as 0, also when there was
//!   nothing to find.
//!
//! What counts as one record: an entity by type and words, a relation by head, name and tail, a trigger by event type
//! and words, an argument by event type, role and words. Places do not count.

mod confusion;

use std::collections::{BTreeMap, HashMap, HashSet};

use protocol::Task;
use serde::Serialize;

use crate::output::Extraction;
pub use confusion::{Confusion, confusion};

/// What is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scored {
    /// Entities.
    Entities,
    /// Relations.
    Relations,
    /// Triggers of events, with the event's type.
    Triggers,
    /// Arguments of events.
    Arguments,
}

impl Scored {
    /// What is scored for a task.
    pub fn of(task: Task) -> &'static [Self] {
        match task {
            Task::Entities => &[Self::Entities],
            Task::Relations => &[Self::Relations],
            Task::Events => &[Self::Triggers, Self::Arguments],
        }
    }

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entities => "entities",
            Self::Relations => "relations",
            Self::Triggers => "triggers",
            Self::Arguments => "arguments",
        }
    }
}

/// Gold and prediction of one text.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The text's id.
    pub id: &'a str,
    /// What should have been found.
    pub gold: &'a Extraction,
    /// What was.
    pub pred: &'a Extraction,
}

/// Sums over texts, and what follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Micro {
    /// Of what was predicted, the share that is right, 0 to 1.
    pub precision: f64,
    /// Of the gold, the share that was found, 0 to 1.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// Records in both.
    pub right: usize,
    /// Records predicted.
    pub predicted: usize,
    /// Records of the gold.
    pub gold: usize,
}

/// Means over texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PerText {
    /// Mean precision.
    pub precision: f64,
    /// Mean recall.
    pub recall: f64,
    /// Mean F1.
    pub f1: f64,
}

/// The scores of one kind of record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Over the sums of all texts.
    pub micro: Micro,
    /// As the mean over texts.
    pub per_text: PerText,
    /// Micro scores of each type; of arguments, of each role. The most frequent in gold first.
    pub types: Vec<TypeScore>,
    /// Which types were taken for which, the most frequent first.
    pub confusion: Vec<Confusion>,
    /// Every record that is in only one of the two, in the order of the texts.
    pub mistakes: Vec<Mistake>,
}

/// The scores of a type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TypeScore {
    /// Entity type, relation, event type or role.
    #[serde(rename = "type")]
    pub label: String,
    /// Its scores.
    #[serde(flatten)]
    pub micro: Micro,
}

/// A record that is in only one of gold and prediction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The text.
    pub id: String,
    /// Which of the two it is in.
    pub kind: MistakeKind,
    /// The record in words: `Ada, person`.
    pub record: String,
}

/// Whether gold or prediction has it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MistakeKind {
    /// Only gold has it.
    Missed,
    /// Only the prediction has it.
    Wrong,
}

/// A record as it is compared: the type it is filed under, and all its words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Item {
    label: String,
    words: Vec<String>,
}

impl Item {
    fn new(label: &str, words: &[&str]) -> Self {
        Self { label: label.trim().to_owned(), words: words.iter().map(|w| w.trim().to_owned()).collect() }
    }

    fn folded(&self) -> Self {
        let fold = |words: &str| words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        Self { label: fold(&self.label), words: self.words.iter().map(|w| fold(w)).collect() }
    }

    fn shown(&self, scored: Scored) -> String {
        match (scored, self.words.as_slice()) {
            (Scored::Relations, [head, tail]) => format!("{head}, {}, {tail}", self.label),
            (Scored::Arguments, [event, words]) => format!("{words}, {} of {event}", self.label),
            _ => format!("{}, {}", self.words.join(", "), self.label),
        }
    }
}

fn items(scored: Scored, found: &Extraction) -> Vec<Item> {
    match scored {
        Scored::Entities => found.entities.iter().map(|e| Item::new(&e.label, &[&e.text])).collect(),
        Scored::Relations => found.relations.iter().map(|r| Item::new(&r.relation, &[&r.head, &r.tail])).collect(),
        Scored::Triggers => found.events.iter().map(|e| Item::new(&e.label, &[&e.trigger])).collect(),
        Scored::Arguments => {
            let of = |e: &crate::output::Event| {
                e.arguments.iter().map(|a| Item::new(&a.role, &[&e.label, &a.text])).collect::<Vec<_>>()
            };
            found.events.iter().flat_map(of).collect()
        }
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn f1(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// Right, predicted and gold.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    right: usize,
    predicted: usize,
    gold: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.right += other.right;
        self.predicted += other.predicted;
        self.gold += other.gold;
    }

    fn micro(self) -> Micro {
        let Self { right, predicted, gold } = self;
        let (precision, recall) = (share(right, predicted), share(right, gold));
        Micro { precision, recall, f1: f1(precision, recall), right, predicted, gold }
    }
}

/// How often each record is in gold and in the prediction.
fn tally(scored: Scored, pair: &Pair<'_>) -> BTreeMap<Item, (usize, usize)> {
    let mut tally: BTreeMap<Item, (usize, usize)> = BTreeMap::new();
    for item in items(scored, pair.gold) {
        tally.entry(item).or_default().0 += 1;
    }
    for item in items(scored, pair.pred) {
        tally.entry(item).or_default().1 += 1;
    }
    tally
}

fn counts(scored: Scored, pair: &Pair<'_>) -> Counts {
    let mut counts = Counts::default();
    for (gold, predicted) in tally(scored, pair).into_values() {
        counts.add(Counts { right: gold.min(predicted), predicted, gold });
    }
    counts
}

/// Scores predictions against gold, text by text.
pub fn score(scored: Scored, pairs: &[Pair<'_>]) -> Score {
    let mut all = Counts::default();
    let mut types: HashMap<String, Counts> = HashMap::new();
    let mut mistakes = Vec::new();
    let mut sums = PerText::default();
    for pair in pairs {
        let (mut missed, mut wrong) = (Vec::new(), Vec::new());
        for (item, (gold, predicted)) in tally(scored, pair) {
            let counts = Counts { right: gold.min(predicted), predicted, gold };
            all.add(counts);
            types.entry(item.label.clone()).or_default().add(counts);
            let mistake = |kind| Mistake { id: pair.id.to_owned(), kind, record: item.shown(scored) };
            missed.extend((counts.right..gold).map(|_| mistake(MistakeKind::Missed)));
            wrong.extend((counts.right..predicted).map(|_| mistake(MistakeKind::Wrong)));
        }
        mistakes.append(&mut missed);
        mistakes.append(&mut wrong);
        let text = per_text(scored, pair);
        sums.precision += text.precision;
        sums.recall += text.recall;
        sums.f1 += text.f1;
    }
    let mean = |sum: f64| if pairs.is_empty() { 0.0 } else { sum / pairs.len() as f64 };
    let mut types: Vec<TypeScore> =
        types.into_iter().map(|(label, counts)| TypeScore { label, micro: counts.micro() }).collect();
    types.sort_by(|a, b| b.micro.gold.cmp(&a.micro.gold).then_with(|| a.label.cmp(&b.label)));
    Score {
        micro: all.micro(),
        per_text: PerText { precision: mean(sums.precision), recall: mean(sums.recall), f1: mean(sums.f1) },
        types,
        confusion: confusion(scored, pairs),
        mistakes,
    }
}

/// How far two systems agree: micro scores of the second with the first in the place of gold.
pub fn agreement(scored: Scored, pairs: &[Pair<'_>], others: &[&Extraction]) -> Micro {
    let mut all = Counts::default();
    for (pair, other) in pairs.iter().zip(others) {
        all.add(counts(scored, &Pair { gold: pair.pred, pred: other, ..*pair }));
    }
    all.micro()
}

fn per_text(scored: Scored, pair: &Pair<'_>) -> PerText {
    let set = |found| items(scored, found).iter().map(Item::folded).collect::<HashSet<_>>();
    let (gold, pred) = (set(pair.gold), set(pair.pred));
    let right = gold.intersection(&pred).count();
    let (precision, recall) = (share(right, pred.len()), share(right, gold.len()));
    PerText { precision, recall, f1: f1(precision, recall) }
}

/// Micro F1 of two systems on the same texts, with 95 % intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Of the first.
    pub first: Interval,
    /// Of the second.
    pub second: Interval,
    /// The first minus the second, on the same texts. When its interval holds 0, the two cannot be told apart.
    pub difference: Interval,
}

/// A value and where it lies in 95 of 100 samples of the texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Interval {
    /// On all texts.
    pub value: f64,
    /// The 2.5th percentile.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
}

/// Compares two systems by drawing the texts again, with replacement, `resamples` times (a paired bootstrap). `pairs` are
/// the texts with the first system's prediction, `others` the second system's in the same order. The same seed draws
/// the same texts.
pub fn compare(scored: Scored, pairs: &[Pair<'_>], others: &[&Extraction], resamples: usize, seed: u64) -> Comparison {
    let both: Vec<(Counts, Counts)> = pairs
        .iter()
        .zip(others)
        .map(|(pair, other)| (counts(scored, pair), counts(scored, &Pair { pred: other, ..*pair })))
        .collect();
    let f1_of = |texts: &mut dyn Iterator<Item = usize>| {
        let (mut first, mut second) = (Counts::default(), Counts::default());
        for (a, b) in texts.filter_map(|index| both.get(index)) {
            first.add(*a);
            second.add(*b);
        }
        (first.micro().f1, second.micro().f1)
    };
    let (first, second) = f1_of(&mut (0..both.len()));
    let mut random = Random(seed);
    let drawn: Vec<(f64, f64)> =
        (0..resamples).map(|_| f1_of(&mut (0..both.len()).map(|_| random.below(both.len())))).collect();
    let interval = |value: f64, of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = drawn.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let at = |q: f64| values.get(((values.len() as f64 - 1.0) * q).round().max(0.0) as usize).copied();
        Interval { value, low: at(0.025).unwrap_or(value), high: at(0.975).unwrap_or(value) }
    };
    Comparison {
        first: interval(first, |(a, _)| *a),
        second: interval(second, |(_, b)| *b),
        difference: interval(first - second, |(a, b)| a - b),
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n - 1`; 0 when `n` is 0.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(json: &str) -> Extraction {
        serde_json::from_str(json).unwrap()
    }

    /// Entities as `words/type` in one string.
    fn entities(list: &str) -> Extraction {
        let one = |e: &str| {
            let (text, label) = e.split_once('/').unwrap();
            serde_json::json!({"type": label, "text": text})
        };
        let all: Vec<_> = list.split_whitespace().map(one).collect();
        serde_json::from_value(serde_json::json!({ "entities": all })).unwrap()
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn micro_counts_every_copy_and_per_text_counts_each_record_once_without_case() {
        // Text 1: gold has Spain twice, the answer once, and one more that is wrong: 1 of 2 right, 1 of 2 found.
        // Text 2: the answer differs only in case: wrong by exact words, right without case.
        // Text 3: nothing to find, nothing found.
        let gold = [entities("Spain/place Spain/place"), entities("Ada/person Bob/person"), entities("")];
        let pred = [entities("Spain/place Rome/place"), entities("ada/person Bob/person"), entities("")];
        let pairs: Vec<Pair> = gold.iter().zip(&pred).map(|(gold, pred)| Pair { id: "t", gold, pred }).collect();
        let score = score(Scored::Entities, &pairs);
        let m = score.micro;
        assert_eq!((m.right, m.predicted, m.gold), (2, 4, 4));
        near(m.f1, 0.5);
        // Text 1: precision 1/2, recall 1/1; text 2: 1, 1; text 3: 0, 0.
        near(score.per_text.precision, 1.5 / 3.0);
        near(score.per_text.recall, 2.0 / 3.0);
        near(score.per_text.f1, (2.0 / 3.0 + 1.0) / 3.0);
        let types: Vec<_> =
            score.types.iter().map(|t| (t.label.as_str(), t.micro.right, t.micro.predicted, t.micro.gold)).collect();
        assert_eq!(types, [("person", 1, 2, 2), ("place", 1, 2, 2)]);
    }

    #[test]
    fn mistakes_are_listed_with_their_text() {
        let (gold, pred) = (entities("Ada/person Rome/city"), entities("Ada/city Rome/city"));
        let score = score(Scored::Entities, &[Pair { id: "7", gold: &gold, pred: &pred }]);
        let shown: Vec<_> = score.mistakes.iter().map(|m| (m.id.as_str(), m.kind, m.record.as_str())).collect();
        assert_eq!(shown, [("7", MistakeKind::Missed, "Ada, person"), ("7", MistakeKind::Wrong, "Ada, city")]);
    }

    #[test]
    fn a_type_in_the_place_of_another_is_a_confusion() {
        let gold = [entities("Ada/person Rome/city Oslo/city"), entities("Bob/person")];
        let pred = [entities("Ada/city Rome/city Oslo/person"), entities("Bob/city Eve/city")];
        let pairs: Vec<Pair> = gold.iter().zip(&pred).map(|(gold, pred)| Pair { id: "t", gold, pred }).collect();
        let shown: Vec<String> = confusion(Scored::Entities, &pairs)
            .iter()
            .map(|c| format!("{} as {} {}", c.gold, c.predicted, c.count))
            .collect();
        assert_eq!(shown, ["person as city 2", "city as person 1"]);
    }

    #[test]
    fn two_systems_agree_in_what_both_say() {
        let (gold, one, two) = (entities(""), entities("Ada/person Rome/city"), entities("Ada/person"));
        let pairs = [Pair { id: "t", gold: &gold, pred: &one }];
        near(agreement(Scored::Entities, &pairs, &[&two]).f1, 2.0 / 3.0);
    }

    #[test]
    fn triggers_and_arguments_are_scored_apart() {
        let gold = read(
            r#"{"events": [{"type": "merger", "trigger": "bought", "arguments": [{"role": "buyer", "text": "Acme"}, {"role": "target", "text": "Beta"}]}]}"#,
        );
        let pred = read(
            r#"{"events": [{"type": "merger", "trigger": "purchase", "arguments": [{"role": "buyer", "text": "Acme"}]}]}"#,
        );
        let pairs = [Pair { id: "1", gold: &gold, pred: &pred }];
        assert_eq!(score(Scored::Triggers, &pairs).micro.f1, 0.0);
        let arguments = score(Scored::Arguments, &pairs);
        near(arguments.micro.precision, 1.0);
        near(arguments.micro.recall, 0.5);
        assert_eq!(arguments.mistakes[0].record, "Beta, target of merger");
        assert_eq!(Scored::of(Task::Events), [Scored::Triggers, Scored::Arguments]);
    }

    #[test]
    fn a_relation_is_its_three_words() {
        let gold = read(r#"{"relations": [{"relation": "founder", "head": "Acme", "tail": "Ann"}]}"#);
        let turned = read(r#"{"relations": [{"relation": "founder", "head": "Ann", "tail": "Acme"}]}"#);
        let score = score(Scored::Relations, &[Pair { id: "1", gold: &gold, pred: &turned }]);
        assert_eq!((score.micro.right, score.mistakes[0].record.as_str()), (0, "Acme, founder, Ann"));
    }

    #[test]
    fn nothing_at_all_is_0_not_an_error() {
        let empty = score(Scored::Entities, &[]);
        assert_eq!((empty.micro.f1, empty.per_text.f1), (0.0, 0.0));
        assert_eq!(compare(Scored::Entities, &[], &[], 10, 1).difference, Interval::default());
    }

    #[test]
    fn two_systems_are_told_apart_when_one_is_always_better_and_not_when_they_are_the_same() {
        let gold: Vec<Extraction> = (0..40).map(|_| entities("Ada/person Rome/city")).collect();
        let good: Vec<Extraction> =
            (0..40).map(|i| entities(if i % 4 == 0 { "Ada/person" } else { "Ada/person Rome/city" })).collect();
        let bad: Vec<Extraction> = (0..40).map(|i| entities(if i % 2 == 0 { "" } else { "Ada/person" })).collect();
        let pairs: Vec<Pair> = gold.iter().zip(&good).map(|(gold, pred)| Pair { id: "t", gold, pred }).collect();
        let against =
            |others: &[Extraction]| compare(Scored::Entities, &pairs, &others.iter().collect::<Vec<_>>(), 1000, 7);
        let better = against(&bad);
        // 70 of 80 found, all right; 20 of 80 found, all right.
        near(better.first.value, 2.0 * 70.0 / (70.0 + 80.0));
        near(better.second.value, 2.0 * 20.0 / (20.0 + 80.0));
        assert!(better.difference.low > 0.3 && better.difference.high < 0.75, "{better:?}");
        assert!(better.first.low < better.first.value && better.first.value < better.first.high);
        assert_eq!(against(&bad), better, "the same seed draws the same texts");
        let same = against(&good);
        assert_eq!((same.difference.low, same.difference.high), (0.0, 0.0));
    }
}
