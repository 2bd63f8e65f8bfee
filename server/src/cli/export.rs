//! `knowlm export`: a file of records for tables, annotation tools, graph databases and people.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, builder::PossibleValuesParser};
use extract::{
    export::{Document, Format, Layer, Options, export},
    graph::Origin,
    ground,
    offsets::Unit,
    output::{Extraction, LeftOut, MadeBy},
};
use protocol::{Judgement, Language, Record, Verdict, record::Found, review::State};
use serde_json::{Map, Value};

use super::{CliError, out};
use crate::schemas;

/// Options of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm export found.jsonl --to csv --out found.csv --bom\n  \
        knowlm export found.jsonl --to html --out report.html --schema mine.json --title \"March\"\n  \
        knowlm export found.jsonl --to brat --out annotations --gold gold.jsonl\n  \
        knowlm export found.jsonl --to turtle | less\n\n\
        RECORDS is what `knowlm extract` writes, or what this command writes as jsonl. Formats:\n  \
        json jsonl    the records of each text with origin and judgement\n  \
        gold          what was judged right, added or corrected to, as `knowlm eval --gold` reads it: of texts that were\n                \
                      gone through, or of which everything that was found is judged\n  \
        csv           a row for each record and argument; nothing in it runs as a formula\n  \
        markdown html texts with tables; html also with marks and the graph, in one file\n  \
        brat doccano  for annotation tools; brat is a folder of .txt and .ann\n  \
        turtle cypher graphml nodes edges svg   the graph of all texts: RDF, Neo4j, GraphML, two tables, a picture\n\n\
        Texts that failed are left out. Records that do not stand in their text are marked so, or left out where the\n\
        format knows only what is there.")]
pub struct ExportArgs {
    /// The records, as .jsonl
    #[arg(value_name = "RECORDS")]
    records: PathBuf,
    /// The format
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name)))]
    to: String,
    /// Where it goes: a file, for brat a new folder [default: standard output]
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// What should have been found, in the same form: every record is judged by it
    #[arg(long, value_name = "FILE")]
    gold: Option<PathBuf>,
    /// The schema, whose order of names gives the colours
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Heading of pages and pictures [default: the name of RECORDS]
    #[arg(long, value_name = "WORDS")]
    title: Option<String>,
    /// Language of headings: en or zh
    #[arg(long, value_name = "CODE", default_value = "en", value_parser = ["en", "zh"])]
    language: String,
    /// Who found the records, where the file does not say: base or tuned
    #[arg(long, value_name = "WHO", default_value = "tuned", value_parser = ["base", "tuned"])]
    origin: String,
    /// How json, jsonl, gold and csv count places: code-points, utf-16 or bytes
    #[arg(long, value_name = "UNIT", default_value = "code-points", value_parser = PossibleValuesParser::new(Unit::ALL.map(|(name, _)| name)))]
    offsets: String,
    /// Begin tables with a byte order mark, so that Excel takes them for UTF-8
    #[arg(long)]
    bom: bool,
}

pub fn run(args: &ExportArgs) -> Result<(), CliError> {
    let format = Format::from_name(&args.to)
        .ok_or_else(|| CliError::Usage(format!("there is no format \"{}\"; see --help", args.to)))?;
    if format.is_folder() && args.out.is_none() {
        return Err(CliError::Usage(format!("{} is a folder of files: name a new one with --out", format.name())));
    }
    if let Some(path) = &args.out {
        let inputs = [Some(args.records.as_path()), args.gold.as_deref(), args.schema.as_deref()];
        refuse_input("--out", path, inputs.into_iter().flatten())?;
    }
    let origin = if args.origin == "base" { Origin::Base } else { Origin::Tuned };
    let (mut documents, failed) = read(&args.records, origin)?;
    if let Some(path) = &args.gold {
        judged_by(&mut documents, path)?;
    }
    let names = args.schema.as_deref().map(schema_names).transpose()?.unwrap_or_default();
    let stem = args.records.file_stem().map(|name| name.to_string_lossy().into_owned());
    let options = Options {
        title: args.title.clone().or(stem).unwrap_or_default(),
        names,
        language: Language::from_code(&args.language).unwrap_or_default(),
        bom: args.bom,
        unit: args.offsets.parse().map_err(CliError::Usage)?,
        ..Options::default()
    };
    let files = export(format, &documents, &options);
    if format == Format::Gold {
        let partly = documents.iter().filter(|d| !d.is_gold()).count();
        if partly > 0 {
            eprintln!("{partly} of {} texts are not judged as a whole; they are left out.", documents.len());
        }
    }
    match &args.out {
        Some(folder) if format.is_folder() => {
            let occupied = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
            if occupied {
                return Err(CliError::Failed(format!(
                    "the folder {} has files in it; name a new one",
                    folder.display()
                )));
            }
            fs::create_dir_all(folder).map_err(|e| cannot_write(folder, &e))?;
            for file in &files {
                let path = folder.join(&file.name);
                fs::write(&path, &file.content).map_err(|e| cannot_write(&path, &e))?;
            }
        }
        Some(path) => {
            let content: String = files.into_iter().map(|file| file.content).collect();
            fs::write(path, content).map_err(|e| cannot_write(path, &e))?;
        }
        None => {
            for file in &files {
                out(&file.content)?;
            }
        }
    }
    if failed > 0 {
        eprintln!("{failed} texts failed when they were extracted; they are left out.");
    }
    if let Some(path) = &args.out {
        eprintln!("{} texts. {}", documents.len(), path.display());
    }
    Ok(())
}

/// An output that is one of the inputs would take its place.
pub(super) fn refuse_input<'a>(
    option: &str,
    output: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), CliError> {
    // One that is not there yet is none of them.
    let Ok(written) = output.canonicalize() else { return Ok(()) };
    match inputs.into_iter().find(|input| input.canonicalize().is_ok_and(|read| read == written)) {
        Some(input) => Err(CliError::Usage(format!("{option} is the input {}; name another file", input.display()))),
        None => Ok(()),
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("{} cannot be written: {error}", path.display()))
}

fn schema_names(path: &Path) -> Result<Vec<Vec<String>>, CliError> {
    let name = path.display();
    let failed = |said: String| CliError::Failed(format!("the schema {name} {said}"));
    let text = fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
    let schema = schemas::parse(&text, schemas::is_yaml(path)).map_err(|said| failed(format!("is not one: {said}")))?;
    Ok(schema.names())
}

/// The texts of a file, and how many failed.
fn read(path: &Path, origin: Origin) -> Result<(Vec<Document>, usize), CliError> {
    let name = path.display();
    let failed = |reason: String| CliError::Failed(format!("{name} {reason}"));
    let text = fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
    let (mut documents, mut without) = (Vec::new(), 0);
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| failed(format!("line {} {reason}", index + 1));
        let value: Value = serde_json::from_str(line).map_err(|e| wrong(format!("is no JSON: {e}")))?;
        if value.get("error").is_some() {
            without += 1;
            continue;
        }
        documents.push(document(value, origin).map_err(|e| wrong(format!("is not one of records: {e}")))?);
    }
    Ok((documents, without))
}

/// The names of a line that have a meaning here.
const OWN: [&str; 11] = [
    "id",
    "text",
    "entities",
    "relations",
    "events",
    "issues",
    "not_in_text",
    "base",
    "gold_added",
    "made_by",
    "review",
];

/// A text of a line of records; `origin` found those that do not say who did.
///
/// # Errors
/// What is wrong with the line.
pub(super) fn document(line: Value, origin: Origin) -> Result<Document, String> {
    let Value::Object(mut fields) = line else { return Err("it is no object".into()) };
    let id = match fields.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => return Err("it has no \"id\"".into()),
    };
    let text = fields.get("text").and_then(Value::as_str).ok_or("it has no \"text\"")?.to_owned();
    let mut document = Document { id, text, ..Document::default() };
    let places = Places::new(&document.text);
    let mut layers =
        Layers { origin, base: Layer::new(Origin::Base, vec![]), tuned: Layer::new(Origin::Tuned, vec![]) };
    layers.read(&fields, &places, &mut document.judgements)?;
    // What a comparison of a whole file has of the base.
    if let Some(base) = fields.get("base").and_then(Value::as_object) {
        layers.origin = Origin::Base;
        layers.read(base, &places, &mut document.judgements)?;
    }
    for value in fields.get("gold_added").and_then(Value::as_array).into_iter().flatten() {
        let record = places.record(value)?;
        document.judgements.push(Judgement { record, verdict: Verdict::Added, correction: None });
    }
    for made in fields.get("made_by").and_then(Value::as_array).into_iter().flatten() {
        let made: MadeBy = serde_json::from_value(made.clone()).map_err(|e| format!("\"made_by\": {e}"))?;
        let layer = layers.of(made.origin);
        layer.made_by = Some(made);
    }
    document.layers = layers.into_layers();
    document.state = fields.get("review").and_then(Value::as_str).and_then(State::from_name);
    fields.retain(|name, _| !OWN.contains(&name.as_str()));
    document.extra = fields;
    Ok(document)
}

/// A text whose places are looked up often.
struct Places<'a> {
    text: &'a str,
    /// The byte at which each code point begins, and the length at the end.
    starts: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, starts: text.char_indices().map(|(at, _)| at).chain([text.len()]).collect() }
    }

    /// Reads a record.
    fn record(&self, value: &Value) -> Result<Record, String> {
        let left: LeftOut = serde_json::from_value(value.clone()).map_err(|e| format!("{value}: {e}"))?;
        let mut one = Extraction::default();
        match left {
            LeftOut::Entity(entity) => one.entities.push(entity),
            LeftOut::Relation(relation) => one.relations.push(relation),
            LeftOut::Event(event) => one.events.push(event),
        }
        let record = one.records().into_iter().next().ok_or_else(|| format!("{value} is no record"))?;
        Ok(self.checked(record))
    }

    /// The record without places at which its words do not stand: a file may count in another unit, or be changed.
    fn checked(&self, mut record: Record) -> Record {
        for mention in record.mentions_mut() {
            let Some(span) = mention.span else { continue };
            let ends = self.starts.get(span.start).zip(self.starts.get(span.end));
            if ends.and_then(|(from, to)| self.text.get(*from..*to)) != Some(mention.text.as_str()) {
                (mention.span, mention.found) = (None, Found::Exact);
            }
        }
        record
    }
}

/// Records by who found them.
struct Layers {
    /// Of those that do not say.
    origin: Origin,
    base: Layer,
    tuned: Layer,
}

impl Layers {
    /// Adds the records of a line, and what it says of them.
    fn read(
        &mut self,
        fields: &Map<String, Value>,
        places: &Places<'_>,
        judgements: &mut Vec<Judgement>,
    ) -> Result<(), String> {
        let list = |name: &str| fields.get(name).and_then(Value::as_array).into_iter().flatten();
        let found: Vec<&Value> = ["entities", "relations", "events"].into_iter().flat_map(list).collect();
        let mut records = found.iter().map(|value| places.record(value)).collect::<Result<Vec<_>, _>>()?;
        // A file made by hand need not say where words stand.
        ground::records(places.text, &mut records);
        for (value, record) in found.into_iter().zip(records) {
            self.add(value, record, places, judgements)?;
        }
        for value in list("not_in_text").chain(list("issues").filter_map(|issue| issue.get("record"))) {
            let mut record = places.record(value)?;
            // Of an event that was left out, the trigger may stand in the text: it is no more found for that.
            if matches!(record, Record::Event { .. }) {
                record.mentions_mut().into_iter().for_each(|mention| mention.span = None);
            }
            self.add(value, record, places, judgements)?;
        }
        Ok(())
    }

    /// Adds a record, and what its value says of it.
    fn add(
        &mut self,
        value: &Value,
        own: Record,
        places: &Places<'_>,
        judgements: &mut Vec<Judgement>,
    ) -> Result<(), String> {
        let verdict = value.get("gold").and_then(Value::as_str).and_then(Verdict::from_name);
        // Base and tuned may both have found what is judged once.
        if let Some(verdict) = verdict.filter(|_| !judgements.iter().any(|j| j.record.key() == own.key())) {
            let correction = value.get("correction").map(|value| places.record(value)).transpose()?;
            judgements.push(Judgement { record: own.clone(), verdict, correction });
        }
        let said: Option<Vec<&str>> =
            value.get("origins").and_then(Value::as_array).map(|list| list.iter().filter_map(Value::as_str).collect());
        let said = said.unwrap_or_else(|| vec![self.origin.name()]);
        let run = value.get("run").or_else(|| value.get("runs")?.get(0)).and_then(Value::as_str).map(str::to_owned);
        for origin in [Origin::Base, Origin::Tuned].into_iter().filter(|origin| said.contains(&origin.name())) {
            let layer = self.of(origin);
            layer.records.push(own.clone());
            layer.runs.push(run.clone());
        }
        Ok(())
    }

    fn of(&mut self, origin: Origin) -> &mut Layer {
        if origin == Origin::Base { &mut self.base } else { &mut self.tuned }
    }

    fn into_layers(self) -> Vec<Layer> {
        let mut layers: Vec<Layer> = [self.tuned, self.base].into();
        layers.retain(|layer| !layer.records.is_empty() || layer.made_by.is_some());
        for layer in &mut layers {
            if layer.runs.iter().all(Option::is_none) {
                layer.runs.clear();
            }
        }
        layers
    }
}

/// Judges every record by a file of gold: right, wrong, or missed.
fn judged_by(documents: &mut [Document], path: &Path) -> Result<(), CliError> {
    let gold = gold(path)?;
    let mut known = 0;
    for document in documents.iter_mut() {
        let Some(gold) = gold.get(&document.id) else { continue };
        known += 1;
        let keys: HashSet<String> = gold.iter().map(Record::key).collect();
        let mut judged: HashSet<String> = HashSet::new();
        let mut judgements: Vec<Judgement> = Vec::new();
        let places = Places::new(&document.text);
        for record in document.layers.iter().flat_map(|layer| &layer.records) {
            let key = record.key();
            let verdict = if keys.contains(&key) { Verdict::Right } else { Verdict::Wrong };
            if judged.insert(key) {
                judgements.push(Judgement { record: record.clone(), verdict, correction: None });
            }
        }
        for record in gold {
            if judged.insert(record.key()) {
                let record = places.checked(record.clone());
                judgements.push(Judgement { record, verdict: Verdict::Added, correction: None });
            }
        }
        document.state = Some(State::of(true, false, &judgements));
        document.judgements = judgements;
    }
    if known == 0 {
        return Err(CliError::Failed(format!("the gold {} is about none of these texts", path.display())));
    }
    Ok(())
}

/// The records of each text of a file of gold, which need not have the texts.
fn gold(path: &Path) -> Result<HashMap<String, Vec<Record>>, CliError> {
    let name = path.display();
    let failed = |reason: String| CliError::Failed(format!("the gold {name} {reason}"));
    let text = fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
    let mut gold: HashMap<String, Vec<Record>> = HashMap::new();
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (index, line) in lines {
        let wrong = |reason: String| failed(format!("line {} {reason}", index + 1));
        let value: Value = serde_json::from_str(line).map_err(|e| wrong(format!("is no JSON: {e}")))?;
        let id = match value.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => return Err(wrong("has no \"id\"".into())),
        };
        let found = Extraction::read_records(&value).map_err(|e| wrong(format!("is not one of records: {e}")))?;
        gold.entry(id).or_default().extend(found.records());
    }
    Ok(gold)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_records_is_read_with_what_was_left_out_and_what_was_said() {
        let line = json!({
            "id": 7, "text": "Ann founded Acme.", "source": "web", "review": "corrected",
            "made_by": [{"origin": "tuned", "model": "m", "adapter": "ie", "schema": "News", "schema_version": 2}],
            "entities": [{"type": "person", "text": "Ann", "start": 0, "end": 3, "origins": ["base", "tuned"], "gold": "right"}],
            "relations": [{"relation": "founder", "head": "Acme", "tail": "Ann", "head_start": 12, "head_end": 16, "tail_start": 0, "tail_end": 3}],
            "events": [],
            "issues": [{"task": "ner", "kind": "not_in_text", "words": "Zoe, person", "record": {"type": "person", "text": "Zoe"}}],
        });
        let document = document(line, Origin::Tuned).unwrap();
        assert_eq!((document.id.as_str(), document.extra.get("source")), ("7", Some(&json!("web"))));
        let found: Vec<(Origin, usize)> = document.layers.iter().map(|l| (l.origin, l.records.len())).collect();
        assert_eq!(found, [(Origin::Tuned, 3), (Origin::Base, 1)]);
        assert_eq!(document.judgements[0].verdict, Verdict::Right);
        let again = export(Format::Jsonl, std::slice::from_ref(&document), &Options::default()).remove(0).content;
        let read = self::document(serde_json::from_str(&again).unwrap(), Origin::Tuned).unwrap();
        assert_eq!(read, document, "what is written as jsonl is read again");
    }

    #[test]
    fn a_line_of_a_compared_batch_has_both_layers_and_what_people_added_apart() {
        let line = json!({
            "id": "a", "text": "Ann met Bob in Rome.",
            "entities": [{"type": "x", "text": "Ann", "start": 0, "end": 3, "run": "r2", "gold": "right"}],
            "base": {
                "entities": [{"type": "x", "text": "Bob", "start": 8, "end": 11, "run": "r1"},
                             {"type": "x", "text": "Ann", "start": 0, "end": 3, "run": "r1", "gold": "right"}],
                "issues": [{"task": "ner", "kind": "not_in_text", "words": "Zoe, x", "record": {"type": "x", "text": "Zoe"}}]},
            "gold_added": [{"type": "x", "text": "Rome", "start": 15, "end": 19}],
        });
        let document = document(line, Origin::Tuned).unwrap();
        let shown: Vec<_> = document.layers.iter().map(|l| (l.origin, l.records.len(), l.runs.clone())).collect();
        let run = |id: &str| Some(id.to_owned());
        assert_eq!(shown, [(Origin::Tuned, 1, vec![run("r2")]), (Origin::Base, 3, vec![run("r1"), run("r1"), None]),]);
        let verdicts: Vec<Verdict> = document.judgements.iter().map(|j| j.verdict).collect();
        assert_eq!((verdicts, document.extra.len()), (vec![Verdict::Right, Verdict::Added], 0));
    }

    #[test]
    fn places_are_held_against_the_text_and_an_event_left_out_is_not_found() {
        let line = json!({
            "id": 7, "text": "🙂 Ann left. Ann came.",
            "entities": [
                {"type": "x", "text": "Ann", "start": 3, "end": 6}, {"type": "x", "text": "Ann", "start": 99, "end": 102}],
            "issues": [{"task": "ee", "kind": "not_in_text", "words": "Zoe", "record": {
                "type": "going", "trigger": "left", "trigger_start": 6, "trigger_end": 10,
                "arguments": [{"role": "who", "text": "Zoe"}]}}],
        });
        let document = document(line, Origin::Tuned).unwrap();
        let places: Vec<Vec<Option<usize>>> = document.layers[0]
            .records
            .iter()
            .map(|r| r.mentions().iter().map(|(_, m)| m.span.map(|s| s.start)).collect())
            .collect();
        assert_eq!(places, [vec![Some(2)], vec![Some(12)], vec![None, None]]);
    }

    #[test]
    fn an_output_that_is_an_input_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
        fs::write(&path, "").unwrap();
        let same = folder.path().join(".").join("a.jsonl");
        assert!(refuse_input("--out", &same, [path.as_path()]).unwrap_err().to_string().contains("is the input"));
        assert!(refuse_input("--out", &other, [path.as_path()]).is_ok());
    }

    #[test]
    fn gold_judges_every_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gold.jsonl");
        fs::write(&path, "{\"id\": \"a\", \"entities\": [{\"type\": \"x\", \"text\": \"One\"}]}\n{\"id\": \"a\", \"entities\": [{\"type\": \"x\", \"text\": \"Three\"}]}\n").unwrap();
        let line = json!({"id": "a", "text": "One Two Three", "entities": [
            {"type": "x", "text": "One", "start": 0, "end": 3}, {"type": "x", "text": "Two", "start": 4, "end": 7}]});
        let mut documents = vec![document(line, Origin::Base).unwrap()];
        judged_by(&mut documents, &path).unwrap();
        let verdicts: Vec<Verdict> = documents[0].judgements.iter().map(|j| j.verdict).collect();
        assert_eq!(verdicts, [Verdict::Right, Verdict::Wrong, Verdict::Added]);
        documents[0].id = "b".into();
        assert!(judged_by(&mut documents, &path).unwrap_err().to_string().contains("none of these texts"));
    }
}
