//! The original system's answers in sentences: `输入中包含的关系三元组是：关系1：头实体1，尾实体1；关系2：头实体2，尾实体2。`, and a line for
//! each relation, `关系1：头实体1，尾实体1`.

use crate::split::{clean, is_comma, known};

const MARKER: &str = "关系三元组是";

/// The readings of each entry, `[head, relation, tail]`; an entry that cannot be read is its words.
pub(crate) type Entry<'a> = Result<Vec<[&'a str; 3]>, &'a str>;

/// What the sentence lists, when the answer is such a sentence. The last entry counts once its end mark is there, or
/// when nothing more will come.
pub(crate) fn entries(answer: &str, done: bool) -> Option<Vec<Entry<'_>>> {
    // Looked for by one character first, which is quick: most answers are no such sentence.
    let (before, list) = answer.contains('关').then(|| answer.split_once(MARKER))??;
    if before.contains(['(', '（', '{']) {
        return None;
    }
    let list = list.trim_start().strip_prefix([':', '：'])?;
    let ends = |c: char| matches!(c, ';' | '；' | '。' | '\n');
    let mut entries = Vec::new();
    for part in list.split_inclusive(ends) {
        let whole = done || part.ends_with(ends);
        let part = part.trim_end_matches(ends).trim();
        if !part.is_empty() && whole {
            entries.push(entry(part, &[]));
        }
    }
    Some(entries)
}

/// What an answer lists line by line; `None` where it begins with a bracket, and so is written in another way. Numbers
/// and dashes before the lines do not count; of a line that only leads to the next ones nothing is said.
pub(crate) fn lines<'a>(answer: &'a str, names: &[String], done: bool) -> Option<Vec<Entry<'a>>> {
    if answer.trim_start().starts_with(['(', '（', '[', '{', '<']) {
        return None;
    }
    let mut entries = Vec::new();
    for line in answer.split_inclusive('\n') {
        let whole = done || line.ends_with('\n');
        let line = line.trim();
        if whole && !line.is_empty() && !line.ends_with([':', '：']) {
            entries.push(entry(without_bullet(line), names).map_err(|_| line));
        }
    }
    Some(entries)
}

/// A line without the `- ` or `1. ` before it.
fn without_bullet(line: &str) -> &str {
    let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = digits.strip_prefix(['.', ')', '、']).filter(|_| digits.len() < line.len());
    let bullet = || line.strip_prefix(['-', '*', '•'])?.strip_prefix(' ');
    numbered.or_else(bullet).map_or(line, str::trim_start)
}

fn entry<'a>(part: &'a str, names: &[String]) -> Entry<'a> {
    // An asked name may hold a colon of its own.
    let cuts = part.char_indices().filter(|(_, c)| matches!(c, ':' | '：'));
    let mut cuts = cuts.filter_map(|(at, c)| Some((part.get(..at)?, part.get(at + c.len_utf8()..)?)));
    let asked = cuts.clone().take(8).filter(|(name, _)| known(clean(name), names).is_some()).last();
    let (relation, words) = asked.or_else(|| cuts.next()).ok_or(part)?;
    let commas = words.char_indices().filter(|(_, c)| is_comma(*c)).take(8);
    let readings: Vec<_> = commas
        .map(|(at, c)| [&words[..at], relation, &words[at + c.len_utf8()..]].map(clean))
        .filter(|reading| reading.iter().all(|field| !field.is_empty()))
        .collect();
    if readings.is_empty() { Err(part) } else { Ok(readings) }
}
