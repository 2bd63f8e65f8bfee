//! The original system's answer in a sentence: `输入中包含的关系三元组是：关系1：头实体1，尾实体1；关系2：头实体2，尾实体2。`

use crate::split::{clean, is_comma};

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
            entries.push(entry(part));
        }
    }
    Some(entries)
}

fn entry(part: &str) -> Entry<'_> {
    let (relation, words) = part.split_once([':', '：']).ok_or(part)?;
    let commas = words.char_indices().filter(|(_, c)| is_comma(*c)).take(8);
    let readings: Vec<_> = commas
        .map(|(at, c)| [&words[..at], relation, &words[at + c.len_utf8()..]].map(clean))
        .filter(|reading| reading.iter().all(|field| !field.is_empty()))
        .collect();
    if readings.is_empty() { Err(part) } else { Ok(readings) }
}
