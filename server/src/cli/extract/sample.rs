//! Some texts at random before all of them: what they give, and how long all would take.

use std::sync::atomic::{AtomicBool, Ordering};

use rand::{SeedableRng, rngs::StdRng, seq::index};
use serde::Serialize;

use super::{
    CliError,
    input::Row,
    out_json,
    output::Lines,
    progress::{Progress, words},
    work::{self, Summary, Work},
};

/// What a sample says of all texts.
#[derive(Debug, PartialEq, Serialize)]
struct Estimate {
    /// Texts tried, and those that failed.
    texts: usize,
    failed: usize,
    /// Of these, texts in which nothing was found.
    nothing_found: usize,
    /// Records in a text, on average.
    entities_per_text: f64,
    relations_per_text: f64,
    events_per_text: f64,
    /// Answers that do not stand in their text, and other issues, in a text on average.
    not_in_text_per_text: f64,
    issues_per_text: f64,
    texts_per_second: f64,
    seconds: f64,
    /// All texts, and about how long they take.
    all_texts: usize,
    all_seconds: f64,
}

/// Tries some of the rows. Their lines go to standard output, or with `json` the estimate alone.
pub fn run(work: &Work<'_>, rows: &[Row], some: usize, json: bool, stop: &AtomicBool) -> Result<(), CliError> {
    let readable: Vec<&Row> = rows.iter().filter(|row| length(row) > 0).collect();
    let drawn = drawn(&readable, some.max(1), work.parameters.seed.unwrap_or(0));
    let mut progress = Progress::start(0, drawn.len());
    let lines = if json { Lines::Counted } else { Lines::Shown };
    let summary = work::run(work, &drawn, lines, stop, |done| progress.at(done))?;
    progress.finish();
    if stop.load(Ordering::Relaxed) {
        return Err(CliError::Failed("stopped; nothing was written".into()));
    }
    let tried = drawn.iter().map(|row| length(row)).sum();
    let all = readable.iter().map(|row| length(row)).sum();
    let estimate = estimate(&summary, (tried, all), progress.seconds(), readable.len());
    if json {
        return out_json(&estimate);
    }
    eprintln!("{}", estimate.sentence());
    match summary.failed {
        0 => Ok(()),
        failed => Err(CliError::Failed(format!("{failed} of them failed; see \"error\" in their lines"))),
    }
}

/// Code points of a text; 0 for one that cannot be read.
fn length(row: &Row) -> usize {
    row.text.as_deref().map_or(0, |text| if text.trim().is_empty() { 0 } else { text.chars().count() })
}

/// So many rows at random, in their order.
fn drawn<'r>(rows: &[&'r Row], some: usize, seed: u64) -> Vec<&'r Row> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut chosen = index::sample(&mut random, rows.len(), some.min(rows.len())).into_vec();
    chosen.sort_unstable();
    chosen.into_iter().filter_map(|at| rows.get(at).copied()).collect()
}

/// Long texts take longer than short ones: the time for all goes by their lengths, in code points.
fn estimate(summary: &Summary, (tried, all): (usize, usize), seconds: f64, texts: usize) -> Estimate {
    let each = |count: usize| count as f64 / (summary.texts.max(1)) as f64;
    Estimate {
        texts: summary.texts,
        failed: summary.failed,
        nothing_found: summary.nothing_found,
        entities_per_text: each(summary.entities),
        relations_per_text: each(summary.relations),
        events_per_text: each(summary.events),
        not_in_text_per_text: each(summary.not_in_text),
        issues_per_text: each(summary.issues),
        texts_per_second: summary.texts as f64 / seconds.max(1e-3),
        seconds,
        all_texts: texts,
        all_seconds: seconds * all as f64 / (tried.max(1)) as f64,
    }
}

impl Estimate {
    fn sentence(&self) -> String {
        let Self { texts, failed, nothing_found, all_texts, .. } = self;
        format!(
            "{texts} texts tried, {:.1}/s: {:.1} entities, {:.1} relations, {:.1} events in a text; nothing found in \
             {nothing_found}, {failed} failed; {:.1} answers not in their text and {:.1} other issues in a text.\n\
             All {all_texts} texts would take about {}. Nothing was written; leave out --try to run them.",
            self.texts_per_second,
            self.entities_per_text,
            self.relations_per_text,
            self.events_per_text,
            self.not_in_text_per_text,
            self.issues_per_text,
            words(self.all_seconds.round() as u64),
        )
    }
}

#[cfg(test)]
mod tests {
    use protocol::batch::SAMPLE;
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn a_sample_is_drawn_by_its_seed_in_the_order_of_the_file() {
        let row = |n: u64| Row { line: 1, id: Value::from(n), text: Ok("a".into()), extra: Map::new() };
        let rows: Vec<Row> = (0..100).map(row).collect();
        let rows: Vec<&Row> = rows.iter().collect();
        let ids = |seed| drawn(&rows, SAMPLE, seed).iter().filter_map(|row| row.id.as_u64()).collect::<Vec<_>>();
        assert_eq!((ids(1), ids(1).len()), (ids(1), 20));
        assert!(ids(1) != ids(2) && ids(1).is_sorted());
        assert_eq!(drawn(&rows, 500, 0).len(), 100);
    }

    #[test]
    fn time_for_all_goes_by_the_lengths_of_texts() {
        let summary = Summary { texts: 20, entities: 30, not_in_text: 5, ..Summary::default() };
        let estimate = estimate(&summary, (1000, 50_000), 4.0, 400);
        assert_eq!((estimate.all_seconds, estimate.texts_per_second, estimate.entities_per_text), (200.0, 5.0, 1.5));
        let said = estimate.sentence();
        assert!(said.contains("All 400 texts would take about 3 min 20 s."), "{said}");
    }
}
