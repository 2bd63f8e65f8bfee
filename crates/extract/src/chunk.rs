//! Cutting a long text into parts that a model can read at once.
//!
//! Parts end where sentences end, and begin a little before the last one ended, so that what stands on a border is read
//! whole at least once.

use std::ops::Range;

use protocol::Span;

/// How long parts may be, in tokens or in code points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Sentences are put together up to this length.
    pub usual: usize,
    /// A single sentence stays whole up to this length; not less than `usual`.
    pub longest: usize,
    /// So much of a part is repeated in the next one, in whole sentences.
    pub overlap: usize,
}

/// The parts of a text, in code points, without spaces at their ends; `size` measures. A text that fits is one part.
///
/// `size` of two texts together must not be much more than the sum of their sizes, as it is for tokens.
pub fn parts(text: &str, lengths: Lengths, size: impl Fn(&str) -> usize) -> Vec<Span> {
    let Lengths { usual, longest, overlap } = lengths;
    if text.trim().is_empty() {
        return Vec::new();
    }
    if size(text) <= usual {
        return spans(text, std::slice::from_ref(&(0..text.len())));
    }
    let mut units: Vec<(Range<usize>, usize)> = Vec::new();
    for sentence in sentences(text) {
        split_into(text, sentence, longest.max(usual), &size, &mut units);
    }
    let (mut ranges, mut first) = (Vec::new(), 0);
    while let Some((start, own)) = units.get(first) {
        let (mut next, mut total, mut end) = (first + 1, *own, start.end);
        while let Some((unit, own)) = units.get(next).filter(|(_, own)| total + own <= usual) {
            total += own;
            end = unit.end;
            next += 1;
        }
        ranges.push(start.start..end);
        let Some((_, wanted)) = units.get(next) else { break };
        // Back over what is repeated, as long as the next unit still has room.
        let (mut from, mut repeated) = (next, 0);
        while from > first + 1 {
            let Some((_, own)) = units.get(from - 1) else { break };
            repeated += own;
            if repeated > overlap || repeated + wanted > usual {
                break;
            }
            from -= 1;
        }
        first = from;
    }
    spans(text, &ranges)
}

/// A sentence, or when it is too long its clauses, words and at last characters.
fn split_into(
    text: &str,
    range: Range<usize>,
    budget: usize,
    size: &impl Fn(&str) -> usize,
    units: &mut Vec<(Range<usize>, usize)>,
) {
    let whole = text.get(range.clone()).unwrap_or("");
    let own = size(whole);
    if whole.trim().is_empty() {
        // Spaces belong to what stands before them; a part of its own they are not. Sizes are added: to measure all of it
        // again for each of many empty lines would take long.
        if let Some((last, before)) = units.last_mut() {
            last.end = range.end;
            *before += own;
        }
        return;
    }
    let middle = if own <= budget { 0 } else { middle(whole) };
    if middle == 0 {
        units.push((range, own));
        return;
    }
    let cut = range.start + middle;
    split_into(text, range.start..cut, budget, size, units);
    split_into(text, cut..range.end, budget, size, units);
}

/// Where to halve a sentence: behind the clause mark nearest to its middle, else before the nearest word, else between
/// characters. 0 when it cannot be halved.
fn middle(sentence: &str) -> usize {
    let half = sentence.len() / 2;
    let nearest = |ends: fn(char) -> bool| {
        let cuts = sentence.char_indices().filter(|(_, c)| ends(*c)).map(|(at, c)| at + c.len_utf8());
        // Not so near an end that it halves nothing.
        let inner = cuts.filter(|cut| (sentence.len() / 5..=sentence.len() - sentence.len() / 5).contains(cut));
        inner.filter(|cut| *cut < sentence.len()).min_by_key(|cut| cut.abs_diff(half))
    };
    nearest(|c| matches!(c, ',' | '，' | ';' | '；' | ':' | '：' | '、'))
        .or_else(|| nearest(char::is_whitespace))
        .or_else(|| sentence.char_indices().map(|(at, _)| at).filter(|at| *at > 0).min_by_key(|at| at.abs_diff(half)))
        .unwrap_or(0)
}

/// The sentences of a text as byte ranges that together are all of it.
fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let before = text.get(start..at).unwrap_or("");
        at += c.len_utf8();
        let behind = text.get(at..).unwrap_or("");
        // Looked at behind end marks only: runs of brackets are long in some texts.
        let closed = || behind.trim_start_matches(['"', '\'', '”', '’', ')', '）', '」', '』', '】']);
        let ends = match c {
            '\n' | '。' | '！' | '？' | '；' => true,
            '.' | '!' | '?' => {
                let closed = closed();
                let next = closed.trim_start().chars().next();
                closed.starts_with(char::is_whitespace)
                    && next.is_none_or(|n| !n.is_lowercase())
                    && !(c == '.' && abbreviated(before))
            }
            _ => false,
        };
        if ends {
            at += if c == '\n' { 0 } else { behind.len() - closed().len() };
            found.push(start..at);
            start = at;
        }
    }
    if start < text.len() {
        found.push(start..text.len());
    }
    found
}

/// Whether a full stop after these words is part of the last one.
fn abbreviated(before: &str) -> bool {
    const SHORT: &[&str] = &[
        "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "gen", "col", "sen", "rep", "gov", "capt", "rev", "hon",
        "vs", "no", "fig", "vol", "pp", "ca", "cf", "al", "approx",
    ];
    let word = before.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
    let one_letter = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
    one_letter || SHORT.contains(&word.to_lowercase().as_str())
}

/// Byte ranges as code points, without the spaces at their ends.
fn spans(text: &str, ranges: &[Range<usize>]) -> Vec<Span> {
    let (mut counted, mut points) = (0, 0);
    let mut spans = Vec::with_capacity(ranges.len());
    for range in ranges {
        let part = text.get(range.clone()).unwrap_or("");
        let from = range.start + (part.len() - part.trim_start().len());
        // Ranges begin one behind the other: what was counted once is not counted again.
        points += text.get(counted..from).unwrap_or("").chars().count();
        counted = from;
        let length = part.trim().chars().count();
        if length > 0 {
            spans.push(Span { start: points, end: points + length });
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::text::slice_chars;

    fn shown(text: &str, usual: usize, overlap: usize) -> Vec<&str> {
        let spans = parts(text, Lengths { usual, longest: usual, overlap }, |part| part.chars().count());
        spans.into_iter().map(|s| slice_chars(text, s.start, s.end)).collect()
    }

    #[test]
    fn sentences_end_at_their_marks_and_not_after_short_forms() {
        let text =
            "Mr. J. Smith paid $3.5 million. \"Why?\" he asked. It was 5 p.m. in Rome! 他说：“好。”然后走了？\nEnd";
        let found: Vec<&str> = sentences(text).into_iter().map(|r| &text[r]).collect();
        assert_eq!(
            found,
            [
                "Mr. J. Smith paid $3.5 million.",
                " \"Why?\" he asked.",
                " It was 5 p.m. in Rome!",
                " 他说：“好。”",
                "然后走了？",
                "\n",
                "End"
            ]
        );
    }

    #[test]
    fn a_text_that_fits_is_one_part() {
        assert_eq!(shown("  One. Two. ", 20, 5), ["One. Two."]);
        assert!(shown(" \n ", 2, 1).is_empty());
    }

    #[test]
    fn parts_are_whole_sentences_and_repeat_the_last_one_when_there_is_room() {
        let text = "Aaaa. Bbbb. Cccc. Dddd. Eeee.";
        assert_eq!(shown(text, 12, 0), ["Aaaa. Bbbb.", "Cccc. Dddd.", "Eeee."]);
        assert_eq!(shown(text, 12, 6), ["Aaaa. Bbbb.", "Bbbb. Cccc.", "Cccc. Dddd.", "Dddd. Eeee."]);
        assert_eq!(shown("甲乙丙。丁戊己。庚辛。", 8, 0), ["甲乙丙。丁戊己。", "庚辛。"]);
    }

    #[test]
    fn a_sentence_that_is_too_long_is_cut_at_clauses_then_words_then_anywhere() {
        assert_eq!(shown("one two three, four five six", 16, 0), ["one two three,", "four five six"]);
        assert_eq!(shown("one two three four", 10, 0), ["one two", "three four"]);
        assert_eq!(shown("abcdefgh", 4, 0), ["abcd", "efgh"]);
    }

    #[test]
    fn a_sentence_longer_than_usual_stays_whole_up_to_the_longest() {
        let lengths = Lengths { usual: 12, longest: 20, overlap: 0 };
        let text = "Aa. Bb. Cccc, dddd eeee. Ff. Gggg, hhhh, iiii jjjj kkkk.";
        let spans = parts(text, lengths, |part| part.chars().count());
        let found: Vec<&str> = spans.into_iter().map(|s| slice_chars(text, s.start, s.end)).collect();
        assert_eq!(found, ["Aa. Bb.", "Cccc, dddd eeee.", "Ff.", "Gggg, hhhh,", "iiii jjjj kkkk."]);
    }

    proptest! {
        #[test]
        fn every_word_is_in_a_part_and_no_part_is_too_long(
            text in "([a-zA-Z甲乙🙂]{1,9}[ .,。，\n]{1,2}){0,60}", budget in 4_usize..60, longer in 0_usize..20,
            overlap in 0_usize..20,
        ) {
            let lengths = Lengths { usual: budget, longest: budget + longer, overlap };
            let spans = parts(&text, lengths, |part| part.chars().count());
            let mut covered = vec![false; text.chars().count()];
            for (i, span) in spans.iter().enumerate() {
                prop_assert!(span.start < span.end && span.end - span.start <= budget + longer);
                prop_assert!(i == 0 || spans[i - 1].end < span.end, "no part lies within the one before");
                covered[span.start..span.end].fill(true);
            }
            for (c, covered) in text.chars().zip(covered) {
                prop_assert!(covered || c.is_whitespace());
            }
        }
    }
}
