//! `knowlm eval`: predictions held against gold.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use extract::{
    output::Extraction,
    score::{self, Comparison, MistakeKind, Pair, Score, Scored},
};
use protocol::Task;
use serde::Serialize;
use serde_json::Value;

use super::{CliError, out, out_json};

/// Options of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm eval --task ner --gold gold.jsonl --pred found.jsonl\n  \
        knowlm eval --task ee --gold gold.jsonl --pred found.jsonl --errors 20\n  \
        knowlm eval --task ner --gold gold.jsonl --pred tuned.jsonl --against base.jsonl --json\n\n\
        Both files are in the form that `knowlm extract` writes; gold needs only \"id\" and its records:\n  \
        {\"id\": 1, \"entities\": [{\"type\": \"person\", \"text\": \"Ada\"}]}\n\n\
        micro (the definition of IEPile): right, predicted and gold records of all texts are added up, each copy counts.\n\
        per text (that of the OneKE framework): scores of each text, records once and without regard to case, then their\n\
        mean; a text with nothing right counts 0.")]
pub struct EvalArgs {
    /// ner (entities), re (relations) or ee (events: triggers and arguments)
    #[arg(long, value_name = "TASK")]
    task: TaskName,
    /// What should be found
    #[arg(long, value_name = "FILE")]
    gold: PathBuf,
    /// What was found
    #[arg(long, value_name = "FILE")]
    pred: PathBuf,
    /// What another system found: both are compared, with 95 % intervals from 1000 samples of the texts
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// List so many of the records that are missed or wrong
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    errors: usize,
    /// Print one JSON object; scores are shares from 0 to 1
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TaskName {
    Ner,
    Re,
    Ee,
}

impl TaskName {
    fn task(self) -> Task {
        match self {
            Self::Ner => Task::Entities,
            Self::Re => Task::Relations,
            Self::Ee => Task::Events,
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    task: Task,
    texts: usize,
    /// Texts whose line in the predictions says that they failed; they count as nothing found.
    failed: usize,
    /// By what is scored: `entities`, `relations`, `triggers`, `arguments`.
    scores: BTreeMap<Scored, Scores>,
}

#[derive(Serialize)]
struct Scores {
    #[serde(flatten)]
    score: Score,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
}

#[derive(Serialize)]
struct Against {
    #[serde(flatten)]
    score: Score,
    /// Micro F1: the predictions first, the other system second.
    comparison: Comparison,
}

/// How often the texts are drawn again.
const RESAMPLES: usize = 1000;
const SEED: u64 = 20_261_123;

pub fn run(args: &EvalArgs) -> Result<(), CliError> {
    let gold = Lines::read(&args.gold)?;
    let pred = Lines::read(&args.pred)?;
    let other = args.against.as_deref().map(Lines::read).transpose()?;
    if gold.all.is_empty() {
        return Err(CliError::Failed(format!("the gold {} has no texts", args.gold.display())));
    }
    let predictions = pred.for_each_of(&gold)?;
    let others = other.as_ref().map(|other| other.for_each_of(&gold)).transpose()?;
    let pairs: Vec<Pair<'_>> =
        gold.all.iter().zip(&predictions).map(|((id, gold), pred)| Pair { id: shown_id(id), gold, pred }).collect();
    let task = args.task.task();
    let scores = Scored::of(task).iter().map(|scored| {
        let mut score = score::score(*scored, &pairs);
        let against = others.as_ref().map(|others| {
            let theirs: Vec<Pair<'_>> =
                pairs.iter().zip(others).map(|(pair, other)| Pair { pred: other, ..*pair }).collect();
            let mut score = score::score(*scored, &theirs);
            score.mistakes.truncate(args.errors);
            Against { score, comparison: score::compare(*scored, &pairs, others, RESAMPLES, SEED) }
        });
        score.mistakes.truncate(args.errors);
        (*scored, Scores { score, against })
    });
    let report = Report { task, texts: pairs.len(), failed: pred.failed, scores: scores.collect() };
    if args.json { out_json(&report) } else { out(&table(&report)) }
}

/// An id without the quotation marks of JSON.
fn shown_id(id: &str) -> &str {
    id.strip_prefix('"').and_then(|id| id.strip_suffix('"')).unwrap_or(id)
}

/// A file of extractions: ids as JSON writes them, in the order of the file.
struct Lines {
    name: String,
    all: Vec<(String, Extraction)>,
    at: HashMap<String, usize>,
    failed: usize,
}

impl Lines {
    fn read(path: &Path) -> Result<Self, CliError> {
        let name = path.display().to_string();
        let failed = |reason: String| CliError::Failed(format!("{name} {reason}"));
        let text = std::fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
        let mut lines = Self { name: name.clone(), all: Vec::new(), at: HashMap::new(), failed: 0 };
        let mut numbers: Vec<usize> = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let number = index + 1;
            let value: Value =
                serde_json::from_str(line).map_err(|e| failed(format!("line {number} is no JSON: {e}")))?;
            let id = match value.get("id") {
                Some(id @ (Value::String(_) | Value::Number(_))) => id.to_string(),
                _ => return Err(failed(format!("line {number} has no \"id\""))),
            };
            lines.failed += usize::from(value.get("error").is_some());
            let found = Extraction::read_records(&value).map_err(|e| failed(format!("line {number}: {e}")))?;
            if let Some(first) = lines.at.insert(id.clone(), lines.all.len()) {
                let first = numbers.get(first).copied().unwrap_or_default();
                return Err(failed(format!("has the id {} twice, in lines {first} and {number}", shown_id(&id))));
            }
            numbers.push(number);
            lines.all.push((id, found));
        }
        Ok(lines)
    }

    /// Our extraction of every text of the gold, in its order.
    ///
    /// # Errors
    /// One of the two has texts that the other does not have.
    fn for_each_of(&self, gold: &Self) -> Result<Vec<&Extraction>, CliError> {
        let missing = |of: &Self, from: &Self| {
            let missing: Vec<&str> =
                of.all.iter().filter(|(id, _)| !from.at.contains_key(id)).map(|(id, _)| id.as_str()).collect();
            if missing.is_empty() {
                return Ok(());
            }
            let mut named = missing.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            if missing.len() > 5 {
                named.push_str(", …");
            }
            Err(CliError::Failed(format!(
                "{} has no line for {} of the {} ids of {}: {named}. Both files must be about the same texts",
                from.name,
                missing.len(),
                of.all.len(),
                of.name
            )))
        };
        missing(gold, self)?;
        missing(self, gold)?;
        let own = |(id, _): &(String, Extraction)| self.at.get(id).and_then(|at| self.all.get(*at)).map(|(_, e)| e);
        Ok(gold.all.iter().filter_map(own).collect())
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// The scores for people, in percent.
fn table(report: &Report) -> String {
    let mut text = String::new();
    let failed = if report.failed > 0 { format!(", {} of them failed", report.failed) } else { String::new() };
    let _ = writeln!(text, "{} texts{failed}", report.texts);
    for (scored, Scores { score, against }) in &report.scores {
        let m = &score.micro;
        let _ = writeln!(text, "\n{:<28} precision  recall      F1   right  predicted  gold", scored.name());
        let mut line = |name: &str, values: [f64; 3], counts: Option<[usize; 3]>| {
            let [p, r, f] = values.map(percent);
            let counts = counts.map(|[a, b, c]| format!("{a:>8}{b:>11}{c:>6}")).unwrap_or_default();
            // Chinese characters are two columns wide.
            let wide = name.chars().filter(|c| protocol::text::is_han(*c)).count();
            let pad = " ".repeat(28_usize.saturating_sub(name.chars().count() + wide));
            let _ = writeln!(text, "{name}{pad} {p:>9}{r:>8}{f:>8}{counts}");
        };
        line("micro", [m.precision, m.recall, m.f1], Some([m.right, m.predicted, m.gold]));
        let t = &score.per_text;
        line("mean per text", [t.precision, t.recall, t.f1], None);
        for one in &score.types {
            let m = &one.micro;
            line(&format!("  {}", one.label), [m.precision, m.recall, m.f1], Some([m.right, m.predicted, m.gold]));
        }
        if let Some(Against { score, comparison }) = against {
            let m = &score.micro;
            line("the other, micro", [m.precision, m.recall, m.f1], Some([m.right, m.predicted, m.gold]));
            let t = &score.per_text;
            line("the other, mean per text", [t.precision, t.recall, t.f1], None);
            let range =
                |i: &score::Interval| format!("{} ({} to {})", percent(i.value), percent(i.low), percent(i.high));
            let (first, second, difference) =
                (range(&comparison.first), range(&comparison.second), range(&comparison.difference));
            let same = comparison.difference.low <= 0.0 && comparison.difference.high >= 0.0;
            let meaning = if same { "; they cannot be told apart on these texts" } else { "" };
            let _ = writeln!(text, "micro F1 {first}, the other {second}, difference {difference}{meaning}");
        }
        for mistake in &score.mistakes {
            let kind = match mistake.kind {
                MistakeKind::Missed => "missed",
                MistakeKind::Wrong => "wrong ",
            };
            let _ = writeln!(text, "{kind}  {}: {}", mistake.id, mistake.record);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lines(name: &str, content: &str) -> Result<Lines, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Lines::read(&path).map_err(|e| e.to_string().rsplit('/').next().unwrap().to_owned())
    }

    #[test]
    fn both_files_must_be_about_the_same_texts() {
        let gold = lines("gold", "{\"id\": 1, \"entities\": []}\n{\"id\": \"b\"}\n{\"id\": \"c\"}\n").unwrap();
        let same = lines("pred", "{\"id\": \"c\", \"entities\": [{\"type\": \"x\", \"text\": \"y\"}]}\n{\"id\": 1}\n{\"id\": \"b\", \"error\": \"no\"}").unwrap();
        let found: Vec<usize> = same.for_each_of(&gold).unwrap().iter().map(|e| e.entities.len()).collect();
        assert_eq!((found, same.failed), (vec![0, 0, 1], 1), "in the order of the gold");
        let fewer = lines("pred", "{\"id\": 1}").unwrap();
        let said = fewer.for_each_of(&gold).unwrap_err().to_string();
        assert!(
            said.contains("has no line for 2 of the 3 ids of") && said.contains(": \"b\", \"c\". Both files"),
            "{said}"
        );
        assert!(gold.for_each_of(&fewer).unwrap_err().to_string().contains("2 of the 3 ids"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_the_line() {
        let said = |content| lines("a", content).err().unwrap();
        assert_eq!(said("{\"id\": 1}\nno"), "a line 2 is no JSON: expected ident at line 1 column 2");
        assert_eq!(said("{\"entities\": []}"), "a line 1 has no \"id\"");
        assert_eq!(said("{\"id\": 1}\n\n{\"id\": 1}"), "a has the id 1 twice, in lines 1 and 3");
        let wrong = said("{\"id\": 1, \"entities\": [{\"type\": \"x\"}]}");
        assert!(wrong.contains("line 1: \"entities\"") && wrong.contains("text"), "{wrong}");
    }
}
