//! Finding the words of a record in the text.
//!
//! Exact wording first, then the same words in other case, spacing, width, quotation marks or composition of letters, then
//! parts of longer words, then words with a letter or two that differ; each mention says how it was found. What is a part
//! of a word counts in scripts that put spaces between words. Answers are in the order of the text, so of several places
//! the next one not yet used is taken.

mod fuzzy;

use std::cell::OnceCell;

use protocol::{
    Record, Span,
    record::{Found, Mention},
    text::{is_unspaced, slice_chars},
};
use unicode_normalization::char::{compose, decompose_canonical, is_combining_mark};

use crate::quick::{QuickMap, QuickSet, offsets};

/// Looks for the words of every mention that has no place yet (typed by a person, for example) and sets their spans;
/// mentions that have one stay as they are. A mention's text becomes the text's own wording.
pub fn records(source: &str, records: &mut [Record]) {
    let mut ground = Ground::new(source);
    for record in records {
        if !record.grounded() {
            ground.place(record);
        }
        ground.take(record);
    }
}

/// Every place of a mention's words in the text, in its order: the place that the mention has is one of them.
pub fn occurrences(source: &str, mention: &Mention) -> Vec<Span> {
    Ground::new(source).places(&mention.text).to_vec()
}

/// More places than this of the same words are not looked at.
const MAX_PLACES: usize = 1000;
/// For the pairs of a relation's head and tail.
const MAX_PAIRED: usize = 64;

/// Over all misspelt words of an answer, so many code points of the text are looked at.
const PATIENCE: usize = 4_000_000;

/// A text without spaces, folded by [`folded`].
struct Folded {
    text: String,
    /// For every code point of `text`: its byte offset there, and the code points of the original it stands for.
    origin: Vec<(usize, Span)>,
}

impl Folded {
    fn new(original: &str) -> Self {
        let mut all = Self { text: String::with_capacity(original.len()), origin: Vec::with_capacity(original.len()) };
        for (index, c) in original.chars().enumerate() {
            if c.is_ascii() {
                fold(c).for_each(|f| all.push(f, index));
            } else {
                fold(c).for_each(|f| decompose_canonical(f, |d| all.push(d, index)));
            }
        }
        all
    }

    /// Adds what the code point of the original at `index` became: to the last letter, where both are one.
    fn push(&mut self, c: char, index: usize) {
        let last = (!c.is_ascii()).then(|| self.text.chars().next_back()).flatten();
        if let (Some(both), Some((at, span))) = (last.and_then(|last| compose(last, c)), self.origin.last_mut()) {
            self.text.truncate(*at);
            self.text.push(both);
            span.end = index + 1;
            return;
        }
        self.origin.push((self.text.len(), Span { start: index, end: index + 1 }));
        self.text.push(c);
    }

    /// The place in the original of the code points `from..to` of `text`; `from < to`.
    fn span(&self, from: usize, to: usize) -> Span {
        let of = |index: usize| self.origin.get(index).map_or(Span { start: 0, end: 0 }, |(_, span)| *span);
        Span { start: of(from).start, end: of(to.saturating_sub(1)).end }
    }

    /// The place in the original of bytes `at..at + length`; `length` is not 0.
    fn unfold(&self, at: usize, length: usize) -> Span {
        let index = |byte: usize| self.origin.partition_point(|(start, _)| *start <= byte).saturating_sub(1);
        self.span(index(at), index(at + length - 1) + 1)
    }
}

/// Words as they are looked for in a [`Folded`] text.
fn folded(words: &str) -> String {
    Folded::new(words).text
}

/// A text prepared for finding words in it, and the places taken so far.
pub(crate) struct Ground<'a> {
    text: &'a str,
    /// Byte offset of every code point, and the length at the end; `None` where every code point is one byte.
    starts: Option<Vec<usize>>,
    /// Made when the first words do not stand in the text letter by letter.
    folded: OnceCell<Folded>,
    places: QuickMap<String, (Vec<Span>, Found)>,
    /// Words that stand nowhere, and what they may be a misspelling of.
    likely: QuickMap<String, Option<Span>>,
    /// How many code points may still be searched for those.
    patience: usize,
    used: QuickSet<Span>,
    /// Start of the mention placed last.
    cursor: usize,
}

impl<'a> Ground<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).chain([text.len()]).collect());
        Self {
            text,
            starts,
            folded: OnceCell::new(),
            places: QuickMap::default(),
            likely: QuickMap::default(),
            patience: PATIENCE,
            used: QuickSet::default(),
            cursor: 0,
        }
    }

    /// Whether the words stand in the text.
    pub(crate) fn holds(&mut self, words: &str) -> bool {
        !self.places(words).is_empty()
    }

    /// How often the words stand in the text.
    pub(crate) fn count(&mut self, words: &str) -> usize {
        self.places(words).len()
    }

    /// Sets the spans of a record's mentions that have none yet.
    pub(crate) fn place(&mut self, record: &mut Record) {
        match record {
            Record::Entity { mention, .. } => {
                if mention.span.is_none() {
                    let span = self.next_free(&mention.text);
                    self.set(mention, span);
                }
            }
            Record::Relation { head, tail, .. } => match (head.span, tail.span) {
                (None, None) => {
                    let (from, to) = self.nearest_pair(&head.text, &tail.text);
                    self.set(head, from);
                    self.set(tail, to);
                }
                (None, other) => {
                    let span = self.nearest(&head.text, other);
                    self.set(head, span);
                }
                (other, None) => {
                    let span = self.nearest(&tail.text, other);
                    self.set(tail, span);
                }
                (Some(_), Some(_)) => {}
            },
            Record::Event { trigger, arguments, .. } => {
                let mut anchor = trigger.span;
                if anchor.is_none() {
                    anchor = self.next_free(&trigger.text);
                    self.set(trigger, anchor);
                }
                for argument in arguments {
                    let mut span = argument.mention.span;
                    if span.is_none() {
                        span = self.nearest(&argument.mention.text, anchor);
                        self.set(&mut argument.mention, span);
                    }
                    anchor = anchor.or(span);
                }
            }
        }
    }

    /// Counts the record's place as taken: the next record is looked for from there on.
    pub(crate) fn take(&mut self, record: &Record) {
        let leading = match record {
            Record::Entity { mention, .. } => mention,
            Record::Event { trigger, .. } => trigger,
            Record::Relation { .. } => return,
        };
        if let Some(span) = leading.span {
            self.used.insert(span);
            self.cursor = span.start;
        }
    }

    /// Gives a mention its place, or when it has none the place of words that are spelt much like its own.
    fn set(&mut self, mention: &mut Mention, span: Option<Span>) {
        (mention.span, mention.found) = match span {
            Some(_) => (span, self.places.get(&mention.text).map_or(Found::Exact, |(_, found)| *found)),
            None => match self.like(&mention.text) {
                Some(span) => (Some(span), Found::Fuzzy),
                None => (None, Found::Exact),
            },
        };
        if let Some(words) = mention.span.map(|span| self.slice(span))
            && words != mention.text
        {
            mention.text = words.to_owned();
        }
    }

    fn like(&mut self, words: &str) -> Option<Span> {
        if let Some(known) = self.likely.get(words) {
            return *known;
        }
        let wanted: Vec<char> = folded(words).chars().collect();
        let span = fuzzy::allowed(&wanted).and_then(|errors| {
            let folded = self.folded.get_or_init(|| Folded::new(self.text));
            self.patience = self.patience.checked_sub(folded.origin.len())?;
            let text: Vec<char> = folded.text.chars().collect();
            let found = fuzzy::find(&text, &wanted, errors, |from, to| self.is_whole(folded.span(from, to)));
            found.map(|(from, to)| folded.span(from, to))
        });
        self.likely.insert(words.to_owned(), span);
        span
    }

    fn slice(&self, span: Span) -> &str {
        let bytes = self.byte(span.start).zip(self.byte(span.end));
        let words = bytes.and_then(|(from, to)| self.text.get(from..to));
        words.unwrap_or_else(|| slice_chars(self.text, span.start, span.end))
    }

    fn next_free(&mut self, words: &str) -> Option<Span> {
        self.find(words);
        let (places, _) = self.places.get(words)?;
        let free = |s: &&Span| !self.used.contains(s);
        let ahead = places.partition_point(|s| s.start < self.cursor);
        places[ahead..].iter().find(free).or_else(|| places.iter().find(free)).or_else(|| places.first()).copied()
    }

    fn nearest(&mut self, words: &str, anchor: Option<Span>) -> Option<Span> {
        let places = self.places(words);
        match anchor {
            Some(anchor) => places.iter().min_by_key(|s| distance(anchor, **s)).copied(),
            None => places.first().copied(),
        }
    }

    fn nearest_pair(&mut self, head: &str, tail: &str) -> (Option<Span>, Option<Span>) {
        let heads: Vec<Span> = self.places(head).iter().take(MAX_PAIRED).copied().collect();
        let tails: Vec<Span> = self.places(tail).iter().take(MAX_PAIRED).copied().collect();
        let pairs = heads.iter().flat_map(|h| tails.iter().map(move |t| (*h, *t)));
        match pairs.min_by_key(|(h, t)| distance(*h, *t)) {
            Some((h, t)) => (Some(h), Some(t)),
            None => (heads.first().copied(), tails.first().copied()),
        }
    }

    fn places(&mut self, words: &str) -> &[Span] {
        self.find(words);
        self.places.get(words).map_or(&[], |(places, _)| places.as_slice())
    }

    /// Fills `places` for these words.
    fn find(&mut self, words: &str) {
        if !self.places.contains_key(words) {
            let found = self.search(words.trim());
            self.places.insert(words.to_owned(), found);
        }
    }

    /// Every place of the words by the first way of looking that finds any, and that way.
    fn search(&self, words: &str) -> (Vec<Span>, Found) {
        if words.is_empty() {
            return (Vec::new(), Found::Exact);
        }
        let mut parts = Vec::new();
        let mut whole = Vec::new();
        for at in offsets(self.text, words, MAX_PLACES) {
            let span = Span { start: self.code_point(at), end: self.code_point(at + words.len()) };
            if self.is_whole(span) { whole.push(span) } else { parts.push(span) }
        }
        let mut found = Found::Exact;
        if whole.is_empty() {
            found = Found::Normalised;
            let words = folded(words);
            if !words.is_empty() {
                let folded = self.folded.get_or_init(|| Folded::new(self.text));
                let places =
                    folded.text.match_indices(&words).take(MAX_PLACES).map(|(at, _)| folded.unfold(at, words.len()));
                whole.extend(places.filter(|span| self.is_whole(*span)));
            }
        }
        if whole.is_empty() { (parts, Found::Part) } else { (whole, found) }
    }

    fn code_point(&self, byte: usize) -> usize {
        self.starts.as_ref().map_or(byte, |starts| starts.partition_point(|start| *start < byte))
    }

    /// The byte at which a code point begins; that of the end is the length.
    fn byte(&self, point: usize) -> Option<usize> {
        match &self.starts {
            Some(starts) => starts.get(point).copied(),
            None => (point <= self.text.len()).then_some(point),
        }
    }

    /// Whether the place neither begins nor ends inside a word, or between a letter and its marks.
    fn is_whole(&self, span: Span) -> bool {
        let at = |index: usize| self.text.get(self.byte(index)?..)?.chars().next();
        let joined = |left: Option<char>, right: Option<char>| {
            let Some((left, right)) = left.zip(right) else { return false };
            is_mark(right) || (is_mark(left) || is_spaced(left)) && is_spaced(right)
        };
        let before = span.start.checked_sub(1).and_then(at);
        !joined(before, at(span.start)) && !joined(at(span.end.saturating_sub(1)), at(span.end))
    }
}

/// Places that do not overlap before those that do, then the smaller gap.
fn distance(a: Span, b: Span) -> (bool, usize) {
    let overlap = a.start < b.end && b.start < a.end;
    let gap = b.start.saturating_sub(a.end).max(a.start.saturating_sub(b.end));
    (overlap, gap)
}

/// A letter or digit of a script that puts spaces between words.
fn is_spaced(c: char) -> bool {
    c.is_alphanumeric() && !is_unspaced(c)
}

/// A mark on the letter before it.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && !is_unspaced(c) && is_combining_mark(c)
}

/// A code point without its case and width, quotation marks and dashes made plain; nothing for a space.
fn fold(c: char) -> impl Iterator<Item = char> {
    let plain = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '‘' | '’' | '`' | '´' => '\'',
        '“' | '”' | '„' | '«' | '»' => '"',
        '‐' | '‑' | '–' | '—' | '−' => '-',
        '。' => '.',
        '、' => ',',
        c => c,
    };
    let unseen = plain.is_whitespace() || matches!(plain, '\u{200b}' | '\u{feff}' | '\u{ad}');
    plain.to_lowercase().filter(move |_| !unseen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::record::Argument;

    fn mention(text: &str) -> Mention {
        Mention::new(text)
    }

    /// Places entities one after the other: `words@start`, or `words@-`.
    fn placed(source: &str, words: &[&str]) -> String {
        let mut found: Vec<Record> =
            words.iter().map(|w| Record::Entity { label: "x".into(), mention: mention(w) }).collect();
        records(source, &mut found);
        let shown = |r: &Record| {
            let place = |m: &Mention| m.span.map_or("-".to_owned(), |s| s.start.to_string());
            r.mentions().iter().map(|(_, m)| format!("{}@{}", m.text, place(m))).collect::<Vec<_>>().join(" ")
        };
        found.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_are_found_where_they_stand() {
        for (source, words, expected) in [
            ("Spain beat Spain.", vec!["Spain", "Spain", "Spain"], "Spain@0 Spain@11 Spain@0"),
            ("A met B, then A.", vec!["B", "A", "A"], "B@6 A@14 A@0"),
            ("focus on the US", vec!["US"], "US@13"),
            ("the USA", vec!["US"], "US@4"),
            ("Annual dues of Ann", vec!["Ann"], "Ann@15"),
            ("서울에서", vec!["서울"], "서울@0"),
            ("Zoe\u{308} met Rene\u{301}e.", vec!["Zoë", "Renée"], "Zoe\u{308}@0 Rene\u{301}e@9"),
            ("Zoë met Renée.", vec!["zoe\u{308}", "Rene\u{301}e"], "Zoë@0 Renée@8"),
            ("\u{1112}\u{1161}\u{11ab}글", vec!["한글"], "\u{1112}\u{1161}\u{11ab}글@0"),
            ("cafés", vec!["cafe"], "cafe@-"),
            ("focus", vec!["US"], "US@-"),
            ("Ada  Lovelace", vec!["ada lovelace"], "Ada  Lovelace@0"),
            ("the church' s door", vec!["church's"], "church' s@4"),
            ("“迪士尼”在上海", vec!["上海", "迪士尼"], "上海@6 迪士尼@1"),
            ("收购Ｎｅｘｐｅｒｉａ半导体", vec!["Nexperia"], "Ｎｅｘｐｅｒｉａ@2"),
            ("New York University", vec!["New York University", "New York"], "New York University@0 New York@0"),
            ("", vec!["x", ""], "x@- @-"),
            ("İstanbul", vec!["i̇stanbul"], "İstanbul@0"),
        ] {
            assert_eq!(placed(source, &words), expected, "{source}");
        }
    }

    #[test]
    fn how_words_were_found_is_said() {
        for (source, words, expected) in [
            ("Annual", "Ann", Found::Part),
            ("cafe\u{301}", "cafe", Found::Part),
            ("cafe\u{301}", "café", Found::Normalised),
            ("2019年", "2019", Found::Exact),
            ("阳光城集团", "阳光", Found::Exact),
        ] {
            let mut found = [Record::Entity { label: "x".into(), mention: mention(words) }];
            records(source, &mut found);
            let found = found[0].mentions()[0].1.clone();
            assert_eq!((found.span.is_some(), found.found), (true, expected), "{words} in {source}");
        }
        let source = "Ann took clarithromycin; Ａｄａ Lovelace did not. Ann slept.";
        let mut found: Vec<Record> = ["Ann", "ada lovelace", "clavithromycin", "Ann", "erythromycin"]
            .iter()
            .map(|w| Record::Entity { label: "x".into(), mention: mention(w) })
            .collect();
        records(source, &mut found);
        let shown: Vec<_> = found.iter().flat_map(|r| r.mentions()).map(|(_, m)| (m.text.as_str(), m.found)).collect();
        assert_eq!(
            shown,
            [
                ("Ann", Found::Exact),
                ("Ａｄａ Lovelace", Found::Normalised),
                ("clarithromycin", Found::Fuzzy),
                ("Ann", Found::Exact),
                ("erythromycin", Found::Exact),
            ]
        );
        let places: Vec<_> = occurrences(source, &mention("Ann")).iter().map(|s| s.start).collect();
        assert_eq!(places, [0, 47]);
        assert!(found[4].mentions()[0].1.span.is_none(), "not every word that ends alike");
    }

    #[test]
    fn head_and_tail_and_arguments_are_taken_near_each_other() {
        let source = "Paris is old and big. Ann lives in Paris. An aspirin is small. Her aspirin caused a rash.";
        let mut found = vec![
            Record::Relation { relation: "lives in".into(), head: mention("Ann"), tail: mention("Paris") },
            Record::Event {
                label: "adverse event".into(),
                trigger: mention("caused"),
                arguments: vec![Argument { role: "treatment".into(), mention: mention("aspirin") }],
            },
        ];
        records(source, &mut found);
        let starts: Vec<_> = found.iter().flat_map(|r| r.mentions()).map(|(_, m)| m.span.map(|s| s.start)).collect();
        assert_eq!(starts, [Some(22), Some(35), Some(75), Some(67)]);
    }

    #[test]
    fn places_that_are_known_stay_and_the_others_are_taken_near_them() {
        let source = "Paris is old and big. Ann lives in Paris. An aspirin is small. Her aspirin caused a rash.";
        let at = |text: &str, start: usize| Mention::at(text, Span { start, end: start + text.len() });
        let mut found = vec![
            Record::Relation { relation: "is".into(), head: at("Paris", 0), tail: mention("big") },
            Record::Relation { relation: "lives in".into(), head: mention("Ann"), tail: at("Paris", 0) },
            Record::Event {
                label: "adverse event".into(),
                trigger: mention("caused"),
                arguments: vec![
                    Argument { role: "treatment".into(), mention: at("aspirin", 45) },
                    Argument { role: "effect".into(), mention: mention("rash") },
                ],
            },
        ];
        records(source, &mut found);
        let starts: Vec<_> = found.iter().flat_map(|r| r.mentions()).map(|(_, m)| m.span.map(|s| s.start)).collect();
        assert_eq!(starts, [0, 17, 22, 0, 75, 45, 84].map(Some));
    }
}
