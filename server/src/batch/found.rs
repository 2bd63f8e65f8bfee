//! What the runs of an extraction found.

use extract::{
    Schema, doubt,
    merge::{self, Part},
    output::Extraction,
};
use protocol::{FinishReason, RunView, Span, text::slice_chars};

/// The records of runs about a text, as they are written to files.
pub fn records<'r>(schema: &Schema, text: &str, runs: impl Iterator<Item = &'r RunView>) -> Extraction {
    let whole = Span { start: 0, end: text.chars().count() };
    let parts = runs.filter_map(|run| {
        let choice = run.schema.as_ref()?;
        let span = run.part.unwrap_or(whole);
        let words = slice_chars(text, span.start, span.end);
        Some(Part {
            task: choice.task,
            span,
            parsed: doubt::records(&run.text, words, Some(choice), run.hesitations.as_deref()),
            finish: run.finish_reason.unwrap_or(FinishReason::Stop),
        })
    });
    merge::merge(schema, parts.collect())
}

/// How many they are.
pub fn count(found: &Extraction) -> usize {
    found.entities.len() + found.relations.len() + found.events.len()
}
