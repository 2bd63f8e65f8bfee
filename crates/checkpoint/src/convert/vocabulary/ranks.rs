//! The `tokenizer.model` of LLaMA 3: a text of lines, each an entry's bytes in base64 and its rank. Entries are merged
//! by rank; the special tokens are in no file.

use std::{collections::HashMap, fs, path::Path};

use super::{Cutting, Entry, Vocabulary, VocabularyError};
use crate::sentencepiece::PieceKind;

/// Entries of the published list, and special tokens behind them.
const SPECIAL: usize = 256;

/// Whether a file is such a list: its first line is base64, a space and a number.
pub(super) fn is_list(path: &Path) -> bool {
    let Ok(bytes) = fs::read(path) else { return false };
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    std::str::from_utf8(line).is_ok_and(|line| entry(line.trim_end()).is_some())
}

pub(super) fn read(path: &Path) -> Result<Vocabulary, VocabularyError> {
    let text = fs::read_to_string(path).map_err(|source| VocabularyError::Io { path: path.into(), source })?;
    let wrong = |reason: String| VocabularyError::Unsupported { path: path.into(), reason };
    let mut bytes = Vec::new();
    for (number, line) in text.lines().filter(|l| !l.is_empty()).enumerate() {
        match entry(line.trim_end()) {
            Some((entry, rank)) if rank == number => bytes.push(entry),
            _ => return Err(wrong(format!("line {} is no entry with its rank", number + 1))),
        }
    }
    let ranks: HashMap<&[u8], usize> = bytes.iter().enumerate().map(|(rank, b)| (b.as_slice(), rank)).collect();
    let mut entries: Vec<Entry> = bytes.iter().map(|b| entry_of(written(b), PieceKind::Normal)).collect();
    let merges = bytes.iter().enumerate().filter_map(|(rank, b)| merge(b, rank, &ranks)).collect();
    let special = entries.len();
    entries.extend((0..SPECIAL).map(|n| entry_of(special_name(n), PieceKind::Control)));
    let id = |n: usize| u32::try_from(special + n).ok();
    Ok(Vocabulary {
        merges,
        bos: id(0),
        eos: id(1),
        add_bos: true,
        ..Vocabulary::new(entries, Cutting::Bytes("llama-bpe"))
    })
}

fn entry_of(text: String, kind: PieceKind) -> Entry {
    Entry { text, score: 0.0, kind }
}

/// The names of the generation from 3.1 on; in 3.0 those that it did not have yet were reserved.
fn special_name(n: usize) -> String {
    let name = match n {
        0 => "begin_of_text",
        1 => "end_of_text",
        4 => "finetune_right_pad_id",
        6 => "start_header_id",
        7 => "end_header_id",
        8 => "eom_id",
        9 => "eot_id",
        10 => "python_tag",
        _ => {
            let before = [4, 6, 7, 8, 9, 10].iter().filter(|named| **named < n).count() + 2;
            return format!("<|reserved_special_token_{}|>", n - before);
        }
    };
    format!("<|{name}|>")
}

/// The two entries that were merged to one: what is left when its bytes are merged by all ranks before its own.
fn merge(bytes: &[u8], rank: usize, ranks: &HashMap<&[u8], usize>) -> Option<(String, String)> {
    // Ends of the parts.
    let mut ends: Vec<usize> = (1..=bytes.len()).collect();
    while ends.len() > 2 {
        let joined = |i: usize| {
            let from = if i == 0 { 0 } else { ends[i - 1] };
            ranks.get(&bytes[from..ends[i + 1]]).filter(|r| **r < rank).map(|r| (*r, i))
        };
        let (_, i) = (0..ends.len() - 1).filter_map(joined).min()?;
        ends.remove(i);
    }
    let [middle, _] = ends[..] else { return None };
    Some((written(&bytes[..middle]), written(&bytes[middle..])))
}

/// Bytes as a byte-level vocabulary writes them: those that are printed as themselves, the others as the characters
/// from U+0100 on.
fn written(bytes: &[u8]) -> String {
    let plain = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let character = |b: u8| match plain(b) {
        true => char::from(b),
        false => char::from_u32(0x100 + (0..b).filter(|other| !plain(*other)).count() as u32).unwrap_or('?'),
    };
    bytes.iter().map(|b| character(*b)).collect()
}

fn entry(line: &str) -> Option<(Vec<u8>, usize)> {
    let (text, rank) = line.split_once(' ')?;
    Some((base64(text)?, rank.parse().ok()?))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').bytes().map(|b| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    let fours = digits.chunks(4).map(|four| {
        let bits = four.iter().fold(0u32, |n, d| n << 6 | u32::from(*d)) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    });
    Some(fours.collect::<Vec<_>>().concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_ranks_becomes_entries_and_merges() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.model");
        // a, b, space, "ab", " ab"
        fs::write(&path, "YQ== 0\nYg== 1\nIA== 2\nYWI= 3\nIGFi 4\n").unwrap();
        assert!(is_list(&path));
        let vocabulary = read(&path).unwrap();
        let texts: Vec<&str> = vocabulary.entries.iter().take(6).map(|e| e.text.as_str()).collect();
        assert_eq!(texts, ["a", "b", "Ġ", "ab", "Ġab", "<|begin_of_text|>"]);
        assert_eq!(vocabulary.merges, [("a".into(), "b".into()), ("Ġ".into(), "ab".into())]);
        assert_eq!((vocabulary.bos, vocabulary.entries.len()), (Some(5), 5 + SPECIAL));
        fs::write(&path, "YQ== 0\nYg== 3\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 2 is no entry with its rank"));
    }

    #[test]
    fn special_tokens_are_numbered_as_they_were_published() {
        let names: Vec<String> = [2, 3, 5, 9, 11, 255].map(special_name).into();
        let reserved = |n: usize| format!("<|reserved_special_token_{n}|>");
        assert_eq!(names, [reserved(0), reserved(1), reserved(2), "<|eot_id|>".into(), reserved(3), reserved(247)]);
    }
}
