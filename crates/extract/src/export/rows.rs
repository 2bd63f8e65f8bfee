//! Every record of a text once, with who found it and what people say of it.

use std::collections::HashMap;

use protocol::{Judgement, Record, Span, Verdict};

use super::Document;
use crate::{
    graph::Origin,
    ground,
    judge::{self, Verdicts},
};

/// A record of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// The record, as the first who found it placed it; what people added is looked for in the text.
    pub record: Record,
    /// Who found it, each once; people when they alone say it.
    pub origins: Vec<Origin>,
    /// The runs whose answers it is from, as far as they are known.
    pub runs: Vec<String>,
    /// What people say of it.
    pub verdict: Option<Verdict>,
    /// What it should have been.
    pub correction: Option<&'a Record>,
    /// Whether it stands in the text, as far as it is shown as found: its entity, both ends, or its trigger. What people
    /// say counts as standing there.
    pub shown: bool,
}

/// The records of a text: what was found in the order of the columns, then what people added. The same record at another
/// place is a row of its own; the first such of one column is the first of another, and so on.
pub fn rows(document: &Document) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    // By key and by which copy it is.
    let mut seen: HashMap<(String, usize), usize> = HashMap::new();
    let verdicts = Verdicts::new(&document.judgements);
    let judged: HashMap<String, &Judgement> = document.judgements.iter().rev().map(|j| (j.record.key(), j)).collect();
    for layer in &document.layers {
        // The copy that a column has at a place, and how many copies it has.
        let mut copies: HashMap<(String, Vec<Option<Span>>), usize> = HashMap::new();
        let mut counts: HashMap<String, usize> = HashMap::new();
        for (index, record) in layer.records.iter().enumerate() {
            let (key, run) = (record.key(), layer.run(index).map(str::to_owned));
            // What stands nowhere is no further copy.
            let copy = if record.stands() {
                let place = record.mentions().into_iter().map(|(_, mention)| mention.span).collect();
                *copies.entry((key.clone(), place)).or_insert_with(|| {
                    let count = counts.entry(key.clone()).or_default();
                    *count += 1;
                    *count - 1
                })
            } else {
                0
            };
            let (verdict, said) = (verdicts.of(&key), judged.get(&key));
            let copied = (key, copy);
            let known = seen.get(&copied).and_then(|index| rows.get_mut(*index));
            if let Some(row) = known {
                if !row.origins.contains(&layer.origin) {
                    row.origins.push(layer.origin);
                    row.origins.sort_unstable();
                }
                row.runs.extend(run.filter(|run| !row.runs.contains(run)));
                if !record.certainty().is_unknown() {
                    // Of two columns the later's: of base and tuned the one that is judged.
                    let said = record.mentions();
                    for (mention, (_, said)) in row.record.mentions_mut().into_iter().zip(said) {
                        (mention.certainty, mention.agreement) = (said.certainty, said.agreement);
                    }
                }
                if !row.shown && record.stands() {
                    (row.record, row.shown) = (record.clone(), true);
                }
                continue;
            }
            seen.insert(copied, rows.len());
            rows.push(Row {
                record: record.clone(),
                origins: vec![layer.origin],
                runs: run.into_iter().collect(),
                verdict,
                correction: said.and_then(|j| j.correction.as_ref()),
                shown: record.stands(),
            });
        }
    }
    for record in judge::gold(&document.judgements) {
        let verdict = verdicts.of(&record.key());
        if let std::collections::hash_map::Entry::Vacant(new) = seen.entry((record.key(), 0)) {
            new.insert(rows.len());
            let mut placed = [record.clone().without_certainty()];
            ground::records(&document.text, &mut placed);
            let [record] = placed;
            let (origins, runs) = (vec![Origin::You], Vec::new());
            rows.push(Row { record, origins, runs, verdict, correction: None, shown: true });
        }
    }
    rows
}
