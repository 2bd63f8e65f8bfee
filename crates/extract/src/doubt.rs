//! How sure a model was of each of its records: *sure* or *check*.
//!
//! A model gives every token of its answer a probability, its own over all tokens, whatever a guide allows. Where it was
//! low the model hesitated ([`Hesitation`]): to say that there is another record, where its words begin and end, which
//! type they have. A record is to be checked when its model hesitated anywhere in it. Of an event each argument is looked
//! at for itself.
//!
//! Where the same was asked again with sampling, a record that fewer than half of these samples say too ([`Agreement`]) is to
//! be checked, one that all of them say is not, and of the others those that the model hesitated over.

use std::collections::BTreeMap;

use protocol::{Agreement, Hesitation, Record, SchemaChoice, record::Certainty};

use crate::{
    agree,
    parse::{self, Parsed},
};

/// A token less likely than this makes its record one to be checked.
///
/// Measured with the shipped adapter, guided, on texts that it was not trained on: chosen on 324 of them, told of 323
/// others. Of 777 records (relations, triggers and arguments counted one by one) 49 % are wrong, words and type held
/// strictly against the gold; with 0.6 half of them are to be checked, of which 70 % are wrong, and 29 % of the sure ones.
/// With 0.5 it is 37 % to be checked, of which 75 % are wrong, and 34 % of the sure ones; with 0.7 62 %, 65 % and 25 %. Of
/// entities alone (37 % wrong) 37 % are to be checked, of which 57 % are wrong, and 25 % of the sure ones.
const CHECK: f32 = 0.6;

/// The same where there are samples, and not all of them say the record too.
///
/// Measured as above with four samples: chosen on 132 texts, told of 125 others. Of their 302 records (49 % wrong) 51 % are
/// to be checked, of which 72 % are wrong, and 24 % of the sure ones; by hesitation alone 47 %, 73 % and 27 %. Of all 669
/// records a wrong one has fewer samples on its side than a right one in 78 of 100 pairs, and a likelier hesitation in 75.
const CHECK_SAMPLED: f32 = 0.7;

/// A record that a smaller share of the samples says too is one to be checked, hesitation or not.
const AGREED: f64 = 0.5;

/// What may end a record in an answer.
const ENDS: [char; 10] = [')', '）', ']', '］', '}', '>', '》', '】', '\n', ';'];

/// Reads an answer that has ended, as [`parse::records`] does, and marks its records where it is known where the model
/// hesitated, or what the samples of the same question say.
pub fn records(
    answer: &str,
    source: &str,
    schema: Option<&SchemaChoice>,
    hesitations: Option<&[Hesitation]>,
    samples: &[String],
) -> Parsed {
    let mut parsed = parse::records(answer, source, schema, true);
    if let Some(hesitations) = hesitations {
        let check = if samples.is_empty() { CHECK } else { CHECK_SAMPLED };
        mark(&mut parsed, answer, hesitations, check, |beginning| parse::records(beginning, source, schema, false));
    }
    if !samples.is_empty() {
        let said: Vec<_> = samples.iter().map(|sample| parse::records(sample, source, schema, true).records).collect();
        agree::count(&mut parsed.records, &said);
        for mention in parsed.records.iter_mut().flat_map(Record::mentions_mut) {
            let Some(agreement) = mention.agreement else { continue };
            mention.certainty = match agreement {
                few if too_few(few) => Certainty::Check,
                Agreement { found, of } if found == of => Certainty::Sure,
                _ => mention.certainty.max(Certainty::Sure),
            };
        }
    }
    parsed
}

/// Whether something is to be checked because of its samples alone.
pub fn too_few(agreement: Agreement) -> bool {
    f64::from(agreement.found) < AGREED * f64::from(agreement.of)
}

/// Says of each mention that stands in the text how sure the model was of it, where a token less likely than `check` is a
/// sign that it was not. `parsed` was read from `answer`; `read` reads a beginning of it, as of an answer that goes on.
fn mark(parsed: &mut Parsed, answer: &str, hesitations: &[Hesitation], check: f32, read: impl Fn(&str) -> Parsed) {
    for record in &mut parsed.records {
        for mention in record.mentions_mut() {
            mention.certainty = if mention.span.is_some() { Certainty::Sure } else { Certainty::Unknown };
        }
    }
    let mut hesitations = hesitations.iter().filter(|h| h.logprob < check.ln()).peekable();
    if hesitations.peek().is_none() {
        return;
    }
    let mut beginnings = Beginnings::new(answer, parsed, read);
    let starts: Vec<usize> = answer.char_indices().map(|(byte, _)| byte).collect();
    let mut checked: Vec<(usize, usize)> = Vec::new();
    let mut pieces: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
    for hesitation in hesitations {
        let Some(at) = starts.get(hesitation.at).copied() else { continue };
        let Some((start, end)) = beginnings.piece(at) else { continue };
        let places = pieces.entry(end).or_insert_with(|| beginnings.places(start, end));
        // Before all of them stands what was left out of the records.
        let said = places.iter().rposition(|place| place.at.is_some_and(|from| from <= at));
        let about = places.iter().enumerate().filter(|(i, place)| Some(*i) == said || place.at.is_none());
        checked.extend(about.map(|(_, place)| (place.record, place.mention)));
    }
    for (record, mention) in checked {
        let Some(record) = parsed.records.get_mut(record) else { continue };
        let apart = matches!(record, Record::Event { .. });
        for (index, found) in record.mentions_mut().into_iter().enumerate() {
            if found.span.is_some() && (!apart || index == mention) {
                found.certainty = Certainty::Check;
            }
        }
    }
}

/// Where an answer says a mention.
struct Place {
    record: usize,
    mention: usize,
    /// From where on it is about this one; `None` where the words are not found.
    at: Option<usize>,
}

/// An answer up to each place where a record may end, read when needed.
struct Beginnings<'a, R> {
    answer: &'a str,
    /// Bytes.
    ends: Vec<usize>,
    whole: &'a Parsed,
    read: R,
    known: BTreeMap<usize, Said>,
}

/// What a beginning says.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    records: usize,
    /// Records and everything else that was told of.
    pieces: usize,
}

impl Said {
    fn of(parsed: &Parsed) -> Self {
        let issues: usize = parsed.issues.iter().map(|issue| issue.count.max(1)).sum();
        Self { records: parsed.records.len(), pieces: parsed.records.len() + issues + parsed.repeated }
    }
}

impl<'a, R: Fn(&str) -> Parsed> Beginnings<'a, R> {
    fn new(answer: &'a str, whole: &'a Parsed, read: R) -> Self {
        let mut ends: Vec<usize> =
            answer.char_indices().filter(|(_, c)| ENDS.contains(c)).map(|(byte, c)| byte + c.len_utf8()).collect();
        if ends.last() != Some(&answer.len()) {
            ends.push(answer.len());
        }
        Self { answer, ends, whole, read, known: BTreeMap::new() }
    }

    /// What the answer says up to an end.
    fn said(&mut self, end: usize) -> Said {
        if end + 1 == self.ends.len() {
            return Said::of(self.whole);
        }
        let (answer, read) = (self.answer, &self.read);
        let beginning = self.ends.get(end).and_then(|byte| answer.get(..*byte)).unwrap_or_default();
        *self.known.entry(end).or_insert_with(|| Said::of(&read(beginning)))
    }

    /// The first of the ends from `from` on up to which more than so many pieces are said.
    fn first_with(&mut self, from: usize, pieces: usize) -> Option<usize> {
        let (mut low, mut high) = (from, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.said(middle).pieces > pieces {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        (low < self.ends.len()).then_some(low)
    }

    /// The piece of the answer around a byte that records come from: the end before it, if any, and its own.
    fn piece(&mut self, at: usize) -> Option<(Option<usize>, usize)> {
        let next = self.ends.partition_point(|end| *end <= at);
        let before = next.checked_sub(1).map_or(Said::default(), |end| self.said(end));
        let end = self.first_with(next, before.pieces)?;
        let start = before.pieces.checked_sub(1).and_then(|pieces| self.first_with(0, pieces));
        (self.said(end).records > before.records).then_some((start, end))
    }

    /// Where the mentions of a piece's records are said, in the order of the answer.
    fn places(&mut self, start: Option<usize>, end: usize) -> Vec<Place> {
        let first = start.map_or(0, |start| self.said(start).records);
        let last = self.said(end).records;
        let byte = |end: usize| self.ends.get(end).copied().unwrap_or_default();
        let (start, end) = (start.map_or(0, byte), byte(end));
        let (mut places, mut from) = (Vec::new(), start);
        for (record, found) in self.whole.records.iter().enumerate().take(last).skip(first) {
            for (mention, (_, said)) in found.mentions().into_iter().enumerate() {
                let here = self.answer.get(from..end).unwrap_or_default();
                let at = here.find(&said.text).map(|at| from + at);
                from = at.map_or(from, |at| at + said.text.len());
                // What opens it is about it too: whether there is another one is decided there.
                let opened = |at: usize| {
                    let before = self.answer.get(start..at).unwrap_or_default();
                    start + before.trim_end_matches(|c: char| !c.is_alphanumeric()).len()
                };
                let at = at.map(opened).or(places.is_empty().then_some(start));
                places.push(Place { record, mention, at });
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use protocol::{Asking, Language, Task};

    use super::*;

    const TEXT: &str = "In May Acme bought Beta; 阳光城 paid Ann (UK).";

    /// Records and arguments of an answer in which `‹` stands before each doubtful token; those to be checked, and then all.
    fn checked(task: Task, answer: &str) -> (Vec<String>, usize) {
        let hesitations: Vec<Hesitation> = answer
            .chars()
            .enumerate()
            .filter(|(_, c)| *c == '‹')
            .enumerate()
            .map(|(earlier, (at, _))| Hesitation { at: at - earlier, logprob: -2.0 })
            .collect();
        let answer = answer.replace('‹', "");
        let parsed = records(&answer, TEXT, Some(&schema(task)), Some(&hesitations), &[]);
        let all: Vec<_> = parsed.records.iter().flat_map(Record::mentions).map(|(_, m)| m.clone()).collect();
        let doubtful = all.iter().filter(|m| m.certainty == Certainty::Check).map(|m| m.text.clone()).collect();
        (doubtful, all.iter().filter(|m| m.certainty != Certainty::Unknown).count())
    }

    fn schema(task: Task) -> SchemaChoice {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let (types, roles) = (&["person", "company", "paid", "merger"], &["buyer", "target", "date"]);
        let (types, roles) = (names(types), names(roles));
        SchemaChoice { task, language: Language::En, types, roles, asking: Asking::default() }
    }

    #[test]
    fn a_record_is_to_be_checked_when_the_model_hesitated_anywhere_in_it() {
        for (answer, expected) in [
            ("(Acme, company) (Ann, person)", vec![]),
            ("(‹Acme, company) (Ann, person)", vec!["Acme"]),
            ("(Acme, ‹company) (Ann, person)", vec!["Acme"]),
            ("(Acme, company)‹ (Ann, person)", vec!["Ann"]),
            ("(Acme, company) (Ann‹, person)", vec!["Ann"]),
            ("(Acme, company) (Ann, person‹)‹", vec!["Ann"]),
            ("(Ann (‹UK), person) (阳光城, ‹company)", vec!["Ann (UK)", "阳光城"]),
            ("(Acme, company) (Acme, ‹company) (Ann, person)", vec![]),
            ("(Acme, company) (Acme, ‹robot) (Ann, person)", vec![]),
            ("(Acme, company) (Ann, person) ‹and so on", vec![]),
            ("‹None", vec![]),
        ] {
            assert_eq!(checked(Task::Entities, answer).0, expected, "{answer}");
        }
        assert_eq!(checked(Task::Relations, "(阳光城, paid, Ann) (Acme, ‹paid, Ann)").0, ["Acme", "Ann"]);
    }

    #[test]
    fn a_record_is_to_be_checked_when_few_samples_say_it_or_not_all_of_them_and_the_model_hesitated() {
        use Certainty::{Check, Sure, Unknown};
        let samples =
            ["(Acme, company) (Ann, person)", "(Acme, company) (Ann, person)", "(Acme, company) (Beta, company)"];
        let samples = samples.map(str::to_owned);
        let answer = "(Acme, company) (Ann, person) (Beta, company) (Zoe, person)";
        for (hesitated, expected) in [
            (None, [Sure, Sure, Check, Unknown]),
            (Some(vec![]), [Sure, Sure, Check, Unknown]),
            (Some(vec![(1, -0.4).into(), (17, -0.4).into()]), [Sure, Check, Check, Unknown]),
        ] {
            let parsed = records(answer, TEXT, Some(&schema(Task::Entities)), hesitated.as_deref(), &samples);
            let found: Vec<_> = parsed.records.iter().map(Record::certainty).collect();
            assert_eq!(found, expected, "{hesitated:?}");
        }
    }

    #[test]
    fn words_that_do_not_stand_in_the_text_are_neither() {
        assert_eq!(checked(Task::Entities, "(‹Zoe, person) (Ann, person)"), (vec![], 1));
    }

    #[test]
    fn of_an_event_each_argument_is_looked_at_for_itself() {
        for (answer, expected) in [
            ("(bought, ‹merger, [(Acme, buyer), (Beta, target)])", vec!["bought"]),
            ("(bought, merger, [(Acme, ‹buyer), (Beta, target)])", vec!["Acme"]),
            ("(bought, merger, [(Acme, buyer)‹, (Beta, target)])", vec!["Beta"]),
            (
                "(bought, merger, [(‹May, date)]) (paid, merger, [(Ann, ‹target), (阳光城, ‹buyer)])",
                vec!["May", "Ann", "阳光城"],
            ),
        ] {
            assert_eq!(checked(Task::Events, answer).0, expected, "{answer}");
        }
    }
}
