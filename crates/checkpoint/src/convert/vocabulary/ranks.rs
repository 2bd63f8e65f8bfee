//! The `tokenizer.model` of LLaMA 3: a text of lines, each an entry's bytes in base64 and its rank, as OpenAI's tiktoken
//! has them. Entries are merged by rank; the special tokens are in no file.

use std::{collections::HashMap, path::Path};

use serde::Deserialize;

use super::{Cutting, Entry, MAX_ENTRY, MAX_FILE, Vocabulary, VocabularyError, few_ways};
use crate::{huggingface::read_json, sentencepiece::PieceKind, small};

/// Special tokens behind the entries of the list.
const SPECIAL: usize = 256;

/// Whether a file is such a list, whole or damaged: its first line is base64, a space and a number, or all of it is text.
pub(super) fn is_list(path: &Path) -> bool {
    // What is too long is for the other reader too, which says so.
    let Ok(bytes) = small::read(path, MAX_FILE) else { return false };
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let is_text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        !text.trim().is_empty() && !text.contains(|c: char| c.is_control() && !c.is_whitespace())
    };
    // SentencePiece's models begin with the number of a field, which as text is the end of an empty line.
    entry(line).is_some() || !line.is_empty() && is_text(&bytes)
}

pub(super) fn read(path: &Path) -> Result<Vocabulary, VocabularyError> {
    let list = small::read(path, MAX_FILE).map_err(|source| VocabularyError::Io { path: path.into(), source })?;
    let wrong = |line: usize, reason: &str| {
        let reason = format!("line {} of it {reason}; fetch it again", line + 1);
        VocabularyError::Unsupported { path: path.into(), reason }
    };
    let mut ranks: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut entries: Vec<Entry> = Vec::new();
    for (number, line) in list.split(|b| *b == b'\n').filter(|line| !line.is_empty()).enumerate() {
        let Some((bytes, _)) = entry(line).filter(|(_, rank)| *rank == number) else {
            return Err(wrong(number, "is no entry in base64 with its rank"));
        };
        // Each of its bytes would be looked at as often as it has bytes.
        if bytes.len() > MAX_ENTRY {
            return Err(wrong(number, "has an entry far longer than that of any real vocabulary"));
        }
        entries.push(entry_of(written(&bytes), PieceKind::Normal));
        if ranks.insert(bytes, number).is_some() {
            return Err(wrong(number, "has an entry that was there before"));
        }
    }
    let merges = merges(&ranks).map_err(|reason| VocabularyError::Unsupported { path: path.into(), reason })?;
    let merges = merges.into_iter().filter_map(|(_, a, b)| Some((entries.get(a)?, entries.get(b)?)));
    let merges = merges.map(|(a, b)| (a.text.clone(), b.text.clone())).collect();
    let (special, third_point_nought) = (entries.len(), is_third_point_nought(path));
    entries.extend((0..SPECIAL).map(|n| entry_of(special_name(n, third_point_nought), PieceKind::Control)));
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

/// Whether the files beside the list are of LLaMA 3.0: later ones stretch their positions.
fn is_third_point_nought(path: &Path) -> bool {
    #[derive(Deserialize)]
    struct Parameters {
        #[serde(default)]
        use_scaled_rope: bool,
    }
    read_json::<Parameters>(&path.with_file_name("params.json")).is_ok_and(|p| !p.use_scaled_rope)
}

/// The names of the special tokens; those that LLaMA 3.0 did not have yet are reserved there.
fn special_name(n: usize, third_point_nought: bool) -> String {
    const NAMED: [(usize, &str); 8] = [
        (0, "begin_of_text"),
        (1, "end_of_text"),
        (4, "finetune_right_pad_id"),
        (6, "start_header_id"),
        (7, "end_header_id"),
        (8, "eom_id"),
        (9, "eot_id"),
        (10, "python_tag"),
    ];
    let named = || NAMED.iter().filter(|(n, _)| !(third_point_nought && [4, 8, 10].contains(n)));
    match named().find(|(named, _)| *named == n) {
        Some((_, name)) => format!("<|{name}|>"),
        None => format!("<|reserved_special_token_{}|>", n - named().filter(|(named, _)| *named < n).count()),
    }
}

/// All ways to make an entry of two others, by ranks: the entry's own first, since that says what is merged before what.
fn merges(ranks: &HashMap<Vec<u8>, usize>) -> Result<Vec<(usize, usize, usize)>, String> {
    let mut merges: Vec<(usize, usize, usize)> = Vec::new();
    for (bytes, rank) in ranks {
        merges.extend((1..bytes.len()).filter_map(|at| {
            let (a, b) = bytes.split_at(at);
            Some((*rank, *ranks.get(a)?, *ranks.get(b)?))
        }));
        few_ways(merges.len(), ranks.len())?;
    }
    merges.sort_unstable();
    Ok(merges)
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

fn entry(line: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (text, rank) = std::str::from_utf8(line).ok()?.trim_end().split_once(' ')?;
    Some((base64(text)?, rank.parse().ok()?))
}

/// The bytes; none where there are none, or an end is missing.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits = text.trim_end_matches('=').as_bytes();
    if text.is_empty() || !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len());
    for four in digits.chunks(4) {
        let bits = four.iter().try_fold(0u32, |n, b| Some(n << 6 | u32::from(digit(*b)?)))? << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_list_of_ranks_becomes_entries_and_all_merges() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.model");
        // a, b, space, "ab", " ab", " a"
        fs::write(&path, "YQ== 0\nYg== 1\nIA== 2\nYWI= 3\nIGFi 4\nIGE= 5\n").unwrap();
        assert!(is_list(&path));
        let vocabulary = read(&path).unwrap();
        let texts: Vec<&str> = vocabulary.entries.iter().take(7).map(|e| e.text.as_str()).collect();
        assert_eq!(texts, ["a", "b", "Ġ", "ab", "Ġab", "Ġa", "<|begin_of_text|>"]);
        let merges: Vec<String> = vocabulary.merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
        // An entry can be made in two ways; the one whose first part comes first goes first.
        assert_eq!(merges, ["a b", "Ġ ab", "Ġa b", "Ġ a"]);
        assert_eq!((vocabulary.bos, vocabulary.entries.len()), (Some(6), 6 + SPECIAL));
    }

    #[test]
    fn a_damaged_list_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.model");
        for (list, line) in [
            (&b"YQ== 0\nYg== 3\n"[..], 2),
            (b"YQ== 0\nYg=", 2),
            (b"YQ== 0\nYg 1\n", 2),
            (b"YQ== 0\n==== 1\n", 2),
            (b"YQ== 0\nYg== 1\nY\xff== 2\n", 3),
            (b"YQ== 0\nYQ== 1\n", 2),
            (b"YQ==\nYg== 1\n", 1),
            (b"<html>404 Not Found</html>\n", 1),
        ] {
            fs::write(&path, list).unwrap();
            let error = Vocabulary::from_tokenizer_model(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line} of it")) && error.contains("fetch it again"), "{error}");
        }
        // Bytes that are no text are for the other reader.
        fs::write(&path, b"\n\x0c\n\x05<unk>").unwrap();
        assert!(!is_list(&path));
    }

    #[test]
    fn special_tokens_are_numbered_as_they_were_published() {
        let names = |nought| [2, 3, 4, 5, 8, 9, 10, 11, 255].map(|n| special_name(n, nought));
        let reserved = |n: usize| format!("<|reserved_special_token_{n}|>");
        let own = |name: &str| format!("<|{name}|>");
        let [pad, eom, eot, tag] = ["finetune_right_pad_id", "eom_id", "eot_id", "python_tag"].map(own);
        let (r, s) = (reserved, reserved);
        assert_eq!(names(false), [r(0), r(1), pad, r(2), eom, eot.clone(), tag, r(3), r(247)]);
        assert_eq!(names(true), [s(0), s(1), s(2), s(3), s(4), eot, s(5), s(6), s(250)]);
    }
}
