//! `knowlm eval`: predictions held against gold.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use extract::{
    graph::Origin,
    output::Extraction,
    score::{self, Comparison, Micro, MistakeKind, Pair, Score, Scored},
};
use protocol::Task;
use serde::Serialize;
use serde_json::Value;

use super::{CliError, export::refuse_input, layers, out, out_json};

/// Options of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm eval --task ner --gold gold.jsonl --pred found.jsonl\n  \
        knowlm eval --task ee --gold gold.jsonl --pred found.jsonl --errors 20\n  \
        knowlm eval --task ner --gold gold.jsonl --pred found.jsonl --errors errors.jsonl\n  \
        knowlm eval --task ner --gold gold.jsonl --pred tuned.jsonl --against base.jsonl --json\n\n\
        Both files are in the form that `knowlm extract` writes; gold needs only \"id\" and its records,\n\
        and texts that it has not are left out:\n  \
        {\"id\": 1, \"entities\": [{\"type\": \"person\", \"text\": \"Ada\"}]}\n\
        Of exported sessions and batches, predictions are what one model found, whatever people added, and gold is what people\n\
        say of the texts that they have judged as a whole.\n\n\
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
    /// Which model's records of the predictions are scored, where the file has those of several: base or tuned [default:
    /// tuned, where there are any]
    #[arg(long, value_name = "WHO", value_parser = ["base", "tuned"])]
    origin: Option<String>,
    /// The same for the other system
    #[arg(long, value_name = "WHO", value_parser = ["base", "tuned"], requires = "against")]
    against_origin: Option<String>,
    /// List so many of the records that are missed or wrong; or write all of them to a file, a line of JSON for each text
    #[arg(long, value_name = "NUMBER_OR_FILE", default_value = "0")]
    errors: Errors,
    /// Print one JSON object; scores are shares from 0 to 1
    #[arg(long)]
    json: bool,
}

/// Where mistakes go.
#[derive(Clone, Debug)]
enum Errors {
    /// So many into the report.
    List(usize),
    /// All of them into a file.
    File(PathBuf),
}

impl std::str::FromStr for Errors {
    type Err = std::convert::Infallible;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        Ok(value.parse().map_or_else(|_| Self::File(PathBuf::from(value)), Self::List))
    }
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
    /// Whose records are scored, where the predictions have those of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'static str>,
    /// The same of the other system.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_against: Option<&'static str>,
    /// Texts of the gold that are not judged as a whole: no gold.
    not_gold: usize,
    /// Texts of the predictions that the gold has not: nobody has judged them, and they count nowhere.
    left_out: usize,
    /// Texts whose line in the predictions says that they failed; they count as nothing found.
    failed: usize,
    /// The same for the other system.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_against: Option<usize>,
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
    /// How far both say the same: the other system's scores with the predictions in the place of gold.
    agreement: Micro,
}

/// So many confusions are listed for people; `--json` has all.
const MOST_CONFUSIONS: usize = 10;
/// How often the texts are drawn again.
const RESAMPLES: usize = 1000;
const SEED: u64 = 20_261_123;

pub fn run(args: &EvalArgs) -> Result<(), CliError> {
    if let Errors::File(path) = &args.errors {
        let inputs = [Some(args.gold.as_path()), Some(&args.pred), args.against.as_deref()];
        refuse_input("--errors", path, inputs.into_iter().flatten())?;
    }
    let found = |path: &Path, origin: &Option<String>| {
        let origin = origin.as_ref().map(|name| if name == "base" { Origin::Base } else { Origin::Tuned });
        Lines::read(path, Side::Found(origin))
    };
    let gold = Lines::read(&args.gold, Side::Gold)?;
    let pred = found(&args.pred, &args.origin)?;
    let other = args.against.as_deref().map(|path| found(path, &args.against_origin)).transpose()?;
    if gold.all.is_empty() {
        let name = args.gold.display();
        return Err(CliError::Failed(match gold.left_out {
            0 => format!("the gold {name} has no texts"),
            left_out => format!(
                "the gold {name} has no text that is judged as a whole: {left_out} are judged in part or not at all. Accept \
                 texts in the review, or judge every record of them"
            ),
        }));
    }
    if !gold.failed.is_empty() {
        return Err(CliError::Failed(format!(
            "the gold {} has {} texts that failed when they were extracted: gold is what people say. Take those lines out",
            args.gold.display(),
            gold.failed.len()
        )));
    }
    let predictions = pred.for_each_of(&gold)?;
    let others = other.as_ref().map(|other| other.for_each_of(&gold)).transpose()?;
    let pairs: Vec<Pair<'_>> =
        gold.all.iter().zip(&predictions).map(|((id, gold), pred)| Pair { id, gold, pred }).collect();
    let task = args.task.task();
    let listed = match &args.errors {
        Errors::List(most) => *most,
        Errors::File(path) => {
            write_errors(path, task, &pairs, &[&pred, &gold])?;
            0
        }
    };
    let scores = Scored::of(task).iter().map(|scored| {
        let mut score = score::score(*scored, &pairs);
        let against = others.as_ref().map(|others| {
            let theirs: Vec<Pair<'_>> =
                pairs.iter().zip(others).map(|(pair, other)| Pair { pred: other, ..*pair }).collect();
            let mut score = score::score(*scored, &theirs);
            score.mistakes.truncate(listed);
            let agreement = score::agreement(*scored, &pairs, others);
            Against { score, comparison: score::compare(*scored, &pairs, others, RESAMPLES, SEED), agreement }
        });
        score.mistakes.truncate(listed);
        (*scored, Scores { score, against })
    });
    let report = Report {
        task,
        texts: pairs.len(),
        origin: pred.origin.map(Origin::name),
        origin_against: other.as_ref().and_then(|other| other.origin).map(Origin::name),
        not_gold: gold.left_out,
        left_out: pred.all.len().saturating_sub(pairs.len()),
        failed: pred.failed_of(&gold),
        failed_against: other.as_ref().map(|other| other.failed_of(&gold)),
        scores: scores.collect(),
    };
    if args.json { out_json(&report) } else { out(&table(&report)) }
}

/// Writes the mistakes of each text that has any, with the text itself where one of the files has it.
fn write_errors(path: &Path, task: Task, pairs: &[Pair<'_>], files: &[&Lines]) -> Result<(), CliError> {
    let mut lines = String::new();
    for pair in pairs {
        let mut line = serde_json::Map::from_iter([("id".to_owned(), Value::from(pair.id))]);
        if let Some(text) = files.iter().find_map(|file| file.texts.get(pair.id)) {
            line.insert("text".into(), Value::from(text.clone()));
        }
        let mut any = false;
        for scored in Scored::of(task) {
            let mistakes = score::score(*scored, std::slice::from_ref(pair)).mistakes;
            any |= !mistakes.is_empty();
            let of = |kind| mistakes.iter().filter(|m| m.kind == kind).map(|m| m.record.as_str()).collect::<Vec<_>>();
            let lists = serde_json::json!({"missed": of(MistakeKind::Missed), "wrong": of(MistakeKind::Wrong)});
            line.insert(scored.name().into(), lists);
        }
        if any {
            let _ = writeln!(lines, "{}", Value::Object(line));
        }
    }
    std::fs::write(path, lines).map_err(|e| CliError::Failed(format!("{} cannot be written: {e}", path.display())))
}

/// A file of extractions in the order of the file: ids as plain text, so that `"7"` is `7`.
struct Lines {
    name: String,
    all: Vec<(String, Extraction)>,
    at: HashMap<String, usize>,
    /// The texts by their ids, where the file has them.
    texts: HashMap<String, String>,
    /// The ids of those that failed.
    failed: Vec<String>,
    /// Whose records these are, where the file has those of several.
    origin: Option<Origin>,
    /// Texts that are no gold.
    left_out: usize,
}

/// What a file is read as.
#[derive(Clone, Copy)]
enum Side {
    /// What people say.
    Gold,
    /// What one model found.
    Found(Option<Origin>),
}

impl Lines {
    fn read(path: &Path, side: Side) -> Result<Self, CliError> {
        let name = path.display().to_string();
        let failed = |reason: String| CliError::Failed(format!("{name} {reason}"));
        let text = std::fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
        let mut lines = Self {
            name: name.clone(),
            all: Vec::new(),
            at: HashMap::new(),
            texts: HashMap::new(),
            failed: Vec::new(),
            origin: None,
            left_out: 0,
        };
        if let Side::Found(wanted) = side {
            lines.origin = layers::origin(&text, wanted);
        }
        let mut numbers: Vec<usize> = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let number = index + 1;
            let value: Value =
                serde_json::from_str(line).map_err(|e| failed(format!("line {number} is no JSON: {e}")))?;
            let id = match value.get("id") {
                Some(Value::String(id)) => id.clone(),
                Some(Value::Number(id)) => id.to_string(),
                _ => return Err(failed(format!("line {number} has no \"id\""))),
            };
            if value.get("error").is_some() {
                lines.failed.push(id.clone());
            }
            if let Some(text) = value.get("text").and_then(Value::as_str) {
                lines.texts.insert(id.clone(), text.to_owned());
            }
            let found = match side {
                Side::Gold => layers::gold(&value),
                Side::Found(_) => layers::found(&value, lines.origin).map(Some),
            };
            let Some(found) = found.map_err(|e| failed(format!("line {number}: {e}")))? else {
                lines.left_out += 1;
                continue;
            };
            if let Some(first) = lines.at.insert(id.clone(), lines.all.len()) {
                let first = numbers.get(first).copied().unwrap_or_default();
                return Err(failed(format!("has the id {id} twice, in lines {first} and {number}")));
            }
            numbers.push(number);
            lines.all.push((id, found));
        }
        Ok(lines)
    }

    /// Our extraction of every text of the gold, in its order; texts that nobody has judged yet are left out.
    ///
    /// # Errors
    /// The gold has texts that are not here.
    fn for_each_of(&self, gold: &Self) -> Result<Vec<&Extraction>, CliError> {
        let missing: Vec<&str> =
            gold.all.iter().filter(|(id, _)| !self.at.contains_key(id)).map(|(id, _)| id.as_str()).collect();
        if !missing.is_empty() {
            let mut named = missing.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            if missing.len() > 5 {
                named.push_str(", …");
            }
            return Err(CliError::Failed(format!(
                "{} has no line for {} of the {} ids of {}: {named}. Every text of the gold must be in it",
                self.name,
                missing.len(),
                gold.all.len(),
                gold.name
            )));
        }
        let own = |(id, _): &(String, Extraction)| self.at.get(id).and_then(|at| self.all.get(*at)).map(|(_, e)| e);
        Ok(gold.all.iter().filter_map(own).collect())
    }

    /// How many texts of the gold failed here.
    fn failed_of(&self, gold: &Self) -> usize {
        self.failed.iter().filter(|id| gold.at.contains_key(*id)).count()
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// The scores for people, in percent.
fn table(report: &Report) -> String {
    let mut text = String::new();
    let mut failed = if report.failed > 0 { format!(", {} of them failed", report.failed) } else { String::new() };
    if let Some(theirs) = report.failed_against.filter(|n| *n > 0) {
        let _ = write!(failed, ", {theirs} failed in the other");
    }
    if report.left_out > 0 {
        let _ = write!(failed, "; {} more have no gold and are left out", report.left_out);
    }
    if report.not_gold > 0 {
        let _ = write!(failed, "; {} are not judged as a whole and no gold", report.not_gold);
    }
    let _ = writeln!(text, "{} texts{failed}", report.texts);
    for (whose, origin) in [("predictions", report.origin), ("other system", report.origin_against)] {
        if let Some(origin) = origin {
            let _ = writeln!(text, "Of the {whose}, those of the {origin} model.");
        }
    }
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
        if let Some(Against { score, comparison, agreement }) = against {
            let m = &score.micro;
            line("the other, micro", [m.precision, m.recall, m.f1], Some([m.right, m.predicted, m.gold]));
            let t = &score.per_text;
            line("the other, mean per text", [t.precision, t.recall, t.f1], None);
            let a = agreement;
            line("the other against these", [a.precision, a.recall, a.f1], Some([a.right, a.predicted, a.gold]));
            let range =
                |i: &score::Interval| format!("{} ({} to {})", percent(i.value), percent(i.low), percent(i.high));
            let (first, second, difference) =
                (range(&comparison.first), range(&comparison.second), range(&comparison.difference));
            let same = comparison.difference.low <= 0.0 && comparison.difference.high >= 0.0;
            let meaning = if same { "; they cannot be told apart on these texts" } else { "" };
            let _ = writeln!(text, "micro F1 {first}, the other {second}, difference {difference}{meaning}");
        }
        for one in score.confusion.iter().take(MOST_CONFUSIONS) {
            let _ = writeln!(text, "{} taken for {}: {}", one.gold, one.predicted, one.count);
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
        let side = if name == "gold" { Side::Gold } else { Side::Found(None) };
        Lines::read(&path, side).map_err(|e| e.to_string().rsplit('/').next().unwrap().to_owned())
    }

    #[test]
    fn every_text_of_the_gold_must_be_there_and_others_are_left_out() {
        let gold = lines("gold", "{\"id\": 1, \"entities\": []}\n{\"id\": \"b\"}\n{\"id\": \"c\"}\n").unwrap();
        let same = lines("pred", "{\"id\": \"c\", \"entities\": [{\"type\": \"x\", \"text\": \"y\"}]}\n{\"id\": \"1\"}\n{\"id\": \"b\", \"error\": \"no\"}").unwrap();
        let found: Vec<usize> = same.for_each_of(&gold).unwrap().iter().map(|e| e.entities.len()).collect();
        assert_eq!((found, same.failed_of(&gold)), (vec![0, 0, 1], 1), "in the order of the gold");
        let fewer = lines("pred", "{\"id\": 1}").unwrap();
        let said = fewer.for_each_of(&gold).unwrap_err().to_string();
        assert!(said.contains("has no line for 2 of the 3 ids of") && said.contains(": b, c. Every text"), "{said}");
        assert_eq!(same.for_each_of(&fewer).unwrap().len(), 1);
        assert_eq!(same.failed_of(&fewer), 0, "b is not judged");
    }

    #[test]
    fn mistakes_go_to_a_file_with_their_texts() {
        let gold = lines("gold", "{\"id\": 1, \"entities\": [{\"type\": \"x\", \"text\": \"One\"}]}\n{\"id\": \"b\"}")
            .unwrap();
        let pred = lines("pred", "{\"id\": 1, \"text\": \"One two\"}\n{\"id\": \"b\", \"text\": \"-\"}").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("errors.jsonl");
        let found = pred.for_each_of(&gold).unwrap();
        let pairs: Vec<Pair<'_>> =
            gold.all.iter().zip(&found).map(|((id, gold), pred)| Pair { id, gold, pred }).collect();
        write_errors(&path, Task::Entities, &pairs, &[&pred, &gold]).unwrap();
        let written: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let expected =
            serde_json::json!({"id": "1", "text": "One two", "entities": {"missed": ["One, x"], "wrong": []}});
        assert_eq!(written, expected);
        assert!(matches!("20".parse::<Errors>(), Ok(Errors::List(20))));
        assert!(matches!("e.jsonl".parse::<Errors>(), Ok(Errors::File(_))));
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
