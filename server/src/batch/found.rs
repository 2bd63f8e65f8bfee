//! What the runs of an extraction found.

use app::doubts::Weight;
use extract::{
    Schema, doubt,
    merge::{self, Part},
    output::Extraction,
};
use protocol::{
    FinishReason, RunView, SessionView, Span,
    text::slice_chars,
    view::{DocumentView, ExtractionView, Page},
};

use crate::store::BatchRow;

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
            parsed: doubt::records(&run.text, words, Some(choice), run.hesitations.as_deref(), &run.samples),
            finish: run.finish_reason.unwrap_or(FinishReason::Stop),
            run: Some(run.id.clone()),
        })
    });
    merge::merge(schema, parts.collect())
}

/// How many they are.
pub fn count(found: &Extraction) -> usize {
    found.entities.len() + found.relations.len() + found.events.len()
}

/// How doubtful the records of a row are, and how far its variants disagree, as the review of its batch is ordered.
pub fn weight(row: &BatchRow, extractions: &[ExtractionView], runs: &[RunView]) -> Weight {
    let id = row.document.clone().unwrap_or_default();
    let session = SessionView {
        id: String::new(),
        title: String::new(),
        page: Page::Extract,
        created_at: 0,
        updated_at: 0,
        documents: vec![DocumentView { id, text: row.text.clone(), judgements: Vec::new() }],
        runs: runs.to_vec(),
        extractions: extractions.to_vec(),
        shares: Vec::new(),
    };
    app::found::found(session).first().map_or_else(Weight::default, Weight::of)
}
