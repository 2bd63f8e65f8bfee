//! SentencePiece's models: entries with scores. The merges that `tokenizer.json` needs are all ways to make an entry of
//! two others, the best entry first.

use std::{collections::HashMap, path::Path};

use super::{Cutting, Entry, MAX_ENTRY, Vocabulary, VocabularyError, few_ways};
use crate::{SentencePiece, sentencepiece::PieceKind};

pub(super) fn read(path: &Path) -> Result<Vocabulary, VocabularyError> {
    let model = SentencePiece::open(path)?;
    if model.trim_spaces {
        let reason = "it drops spaces, which cannot be said in the other forms".into();
        return Err(VocabularyError::Unsupported { path: path.into(), reason });
    }
    let unknown = model.pieces.iter().position(|p| p.kind == PieceKind::Unknown);
    let entries: Vec<Entry> =
        model.pieces.into_iter().map(|p| Entry { text: p.text, score: p.score, kind: p.kind }).collect();
    let cutting = Cutting::Pieces { space_before: model.space_before };
    let wrong = |reason| VocabularyError::Unsupported { path: path.into(), reason };
    let merges = merges(&entries).map_err(wrong)?;
    Ok(Vocabulary {
        merges,
        bos: model.bos,
        eos: model.eos,
        unknown: unknown.and_then(|id| u32::try_from(id).ok()),
        add_bos: model.bos.is_some(),
        ..Vocabulary::new(entries, cutting)
    })
}

/// The merges that the scores stand for; an error says that it is no real vocabulary.
pub(super) fn merges(entries: &[Entry]) -> Result<Vec<(String, String)>, String> {
    let normal = |e: &&Entry| e.kind == PieceKind::Normal;
    let known: HashMap<&str, usize> =
        entries.iter().enumerate().filter(|(_, e)| normal(e)).map(|(id, e)| (e.text.as_str(), id)).collect();
    let mut merges = Vec::new();
    for entry in entries.iter().filter(normal) {
        // Each of its bytes would be looked at as often as it has characters.
        if entry.text.len() > MAX_ENTRY {
            return Err(format!("an entry of it is {} bytes long; {MAX_ENTRY} are read", entry.text.len()));
        }
        let from = merges.len();
        for (at, _) in entry.text.char_indices().skip(1) {
            let (a, b) = entry.text.split_at(at);
            if let (Some(first), Some(second)) = (known.get(a), known.get(b)) {
                merges.push((entry.score, (*first, *second), (a, b)));
            }
        }
        merges[from..].sort_by_key(|merge| merge.1);
        few_ways(merges.len(), entries.len())?;
    }
    // A stable order: ways to make the same entry stay as they are.
    merges.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(merges.into_iter().map(|(_, _, (a, b))| (a.to_owned(), b.to_owned())).collect())
}

/// Scores that stand for merges: the first merge that makes an entry has the greatest.
pub(super) fn scores(entries: &mut [Entry], merges: &[(String, String)]) {
    let mut first: HashMap<String, usize> = HashMap::new();
    for (rank, (a, b)) in merges.iter().enumerate() {
        first.entry(format!("{a}{b}")).or_insert(rank);
    }
    for entry in entries.iter_mut().filter(|e| e.kind == PieceKind::Normal) {
        // What is made of nothing is a single character, which nothing is merged to.
        entry.score = -(first.get(&entry.text).map_or(merges.len(), |rank| *rank) as f32);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(text: &str, score: f32) -> Entry {
        Entry { text: text.into(), score, kind: PieceKind::Normal }
    }

    #[test]
    fn merges_are_all_ways_to_make_an_entry_the_best_first() {
        let mut entries = vec![
            Entry { text: "<s>".into(), score: 0.0, kind: PieceKind::Control },
            entry("ab", -2.0),
            entry("bc", -1.0),
            entry("abc", -3.0),
            entry("a", -4.0),
            entry("b", -5.0),
            entry("c", -6.0),
            entry("中", -7.0),
        ];
        let merges = merges(&entries).unwrap();
        let shown: Vec<String> = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
        assert_eq!(shown, ["b c", "a b", "ab c", "a bc"]);
        scores(&mut entries, &merges);
        assert_eq!(entries[1..5].iter().map(|e| e.score).collect::<Vec<_>>(), [-1.0, 0.0, -2.0, -4.0]);
    }
}
