//! Words in a text that are spelt almost like others.

use protocol::text::is_han;

/// Longest words that are looked for; one bit for each letter.
const LONGEST: usize = 64;
/// Places that are looked at more closely.
const CANDIDATES: usize = 32;

/// How many letters may differ; `None` for words that are too short to be told from others, or too long.
pub(super) fn allowed(words: &[char]) -> Option<usize> {
    let han = words.iter().any(|c| is_han(*c));
    match words.len() {
        5..=7 if han => Some(1),
        ..=6 | 65.. => None,
        length => Some((length / 7).min(4)),
    }
}

/// The place that differs least from the words, of several the first; `whole` says whether a place neither begins nor
/// ends inside a word. Digits must be the same: another year is another year.
pub(super) fn find(
    text: &[char],
    words: &[char],
    errors: usize,
    whole: impl Fn(usize, usize) -> bool,
) -> Option<(usize, usize)> {
    let mut ends = ends(text, words, errors);
    ends.sort_by_key(|(end, errors)| (*errors, *end));
    let mut best: Option<(usize, usize, usize)> = None;
    for (end, _) in ends.into_iter().take(CANDIDATES) {
        for (start, differs) in starts(text, words, end, errors) {
            let better = best.is_none_or(|(known, from, _)| (differs, start) < (known, from));
            if better && whole(start, end) && same_digits(text.get(start..end).unwrap_or(&[]), words) {
                best = Some((differs, start, end));
            }
        }
    }
    best.map(|(_, start, end)| (start, end))
}

/// Where something ends that differs from the words in at most so many letters (Myers, 1999), and in how many.
fn ends(text: &[char], words: &[char], errors: usize) -> Vec<(usize, usize)> {
    if words.is_empty() || words.len() > LONGEST {
        return Vec::new();
    }
    let mut letters: Vec<(char, u64)> = Vec::new();
    for (bit, c) in words.iter().enumerate() {
        match letters.iter_mut().find(|(known, _)| known == c) {
            Some((_, bits)) => *bits |= 1 << bit,
            None => letters.push((*c, 1 << bit)),
        }
    }
    let last = 1_u64 << (words.len() - 1);
    let (mut more, mut less, mut differs) = (u64::MAX, 0_u64, words.len());
    let mut ends = Vec::new();
    for (at, c) in text.iter().enumerate() {
        let same = letters.iter().find(|(known, _)| known == c).map_or(0, |(_, bits)| *bits);
        let down = same | less;
        let across = ((same & more).wrapping_add(more) ^ more) | same;
        let (plus, minus) = (less | !(across | more), more & across);
        if plus & last != 0 {
            differs += 1;
        } else if minus & last != 0 {
            differs -= 1;
        }
        let (plus, minus) = (plus << 1, minus << 1);
        more = minus | !(down | plus);
        less = plus & down;
        if differs <= errors {
            ends.push((at + 1, differs));
        }
    }
    ends
}

/// Where what ends at `end` can begin, and in how many letters it then differs.
fn starts(text: &[char], words: &[char], end: usize, errors: usize) -> Vec<(usize, usize)> {
    let mut row: Vec<usize> = (0..=words.len()).collect();
    let mut found = Vec::new();
    let from = end.saturating_sub(words.len() + errors);
    for start in (from..end).rev() {
        let Some(c) = text.get(start) else { break };
        let mut before = std::mem::replace(row.first_mut().unwrap_or(&mut 0), end - start);
        let mut left = end - start;
        for (slot, wanted) in row.iter_mut().skip(1).zip(words.iter().rev()) {
            let cost = (before + usize::from(wanted != c)).min(*slot + 1).min(left + 1);
            before = std::mem::replace(slot, cost);
            left = cost;
        }
        if left <= errors {
            found.push((start, left));
        }
    }
    found
}

fn same_digits(a: &[char], b: &[char]) -> bool {
    let digits = |words: &[char]| words.iter().copied().filter(|c| is_digit(*c)).collect::<Vec<_>>();
    digits(a) == digits(b)
}

fn is_digit(c: char) -> bool {
    c.is_numeric() || "〇零一二两三四五六七八九十百千万亿".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_with_a_letter_or_two_that_differ() {
        for (text, words, expected) in [
            ("given clarithromycin twice", "clavithromycin", "clarithromycin"),
            ("in Hemophilus influenzae.", "Haemophilus influenza", "Hemophilus influenzae"),
            ("阳光城集团收购协信", "阳光诚集团", "阳光城集团"),
            ("the year 1998 was", "year 1999", ""),
            ("中铁十六局集团", "中铁十五局集团", ""),
            ("Iraq and Iran", "Irak", ""),
            ("the Joneses", "the Jones", ""),
            ("", "anything", ""),
        ] {
            let fold = |s: &str| s.to_lowercase().chars().collect::<Vec<_>>();
            let (folded, words) = (fold(text), fold(words));
            let joined = |i: usize| folded.get(i).is_some_and(|c| c.is_alphanumeric() && !is_han(*c));
            let inside = |at: usize| at > 0 && joined(at - 1) && joined(at);
            let whole = |from: usize, to: usize| !inside(from) && !inside(to);
            let found = allowed(&words).and_then(|errors| find(&folded, &words, errors, whole));
            let found: String = found.map_or(String::new(), |(a, b)| text.chars().skip(a).take(b - a).collect());
            assert_eq!(found, expected, "{words:?}");
        }
    }
}
