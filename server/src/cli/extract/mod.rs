//! `knowlm extract`: a whole file of texts through a schema, into a file of records.
//!
//! Texts are answered side by side and written in the order they came in, a line each. A line is written whole or not at
//! all, so that the output itself says what is done: run again, the command goes on behind the last line.

mod input;
mod output;
mod progress;
mod sample;
mod work;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use checkpoint::find;
use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use engine::{Generator, LocalEngine};
use extract::{Schema, graph::Origin, offsets::Unit, output::MadeBy, prompt};
use protocol::{
    AdapterManifest, Asking, EventPart, Format, Language, Task, batch::SAMPLE, params::MAX_SAMPLES, view::AdapterInfo,
};
use serde_json::{Value, json};

use super::{
    CliError,
    load::{Adapters, ModelArgs, load},
    out, out_json,
    sampling::SamplingArgs,
    serve::signal,
};
use crate::{defaults::Defaults, schemas};
use input::{Columns, Row};
use output::{Lines, Made, Output};
use progress::Progress;

/// Options of `extract`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  knowlm extract --schema assets/schemas/people-places-organizations-en.json --input texts.jsonl --output found.jsonl\n  \
        knowlm extract --schema mine.yaml --input rows.csv --text-column body --output found.jsonl --limit 20\n  \
        knowlm extract --schema mine.yaml --input texts.txt --output found.jsonl --format oneke-json --with-examples\n  \
        knowlm extract --schema mine.yaml --input rows.csv --try | less\n\n\
        Input: .jsonl with {\"id\", \"text\"} in each line; .csv, .tsv or .xlsx with a column \"text\" (and \"id\"); .txt with a text in each\n\
        line; .md, .html, .pdf or .docx as one text; or a folder of documents (.txt too), each one text with its name as the id.\n\
        Without ids the line's number is the id. Other fields pass through; one that has a name of the output's own is\n\
        called input_NAME there.\n\n\
        Output: {\"id\", \"text\", \"entities\": [{\"type\", \"text\", \"start\", \"end\"}], \"relations\": [{\"relation\", \"head\", \"tail\"}],\n\
        \"events\": [{\"type\", \"trigger\", \"arguments\": [{\"role\", \"text\"}]}], \"issues\": [...]} in each line, in the order of the input (texts tried again come last).\n\
        Relations also have head_start, head_end, tail_start, tail_end, events trigger_start, trigger_end, arguments start, end.\n\
        \"found\": \"normalised\", \"part\" or \"fuzzy\" says that words stand in the text in other case or width, as a part of a longer\n\
        word, or with a letter or two that differ.\n\
        \"certainty\": \"sure\" or \"check\" of each record says whether the model hesitated over it; of those to check more are wrong.\n\
        \"agreement\": {\"found\", \"of\"} says in how many samples it was said too, with --samples; said in few of them, it is to check.\n\
        \"made_by\": [{\"origin\", \"model\", \"adapter\", \"schema\"}] says who found them. An issue has \"at\": where its words stand in the\n\
        answer; and \"part\": which part of the text that is about, where a text was read in several.\n\
        Offsets count Unicode code points, or what --offsets says. Run again with the same output, it goes on where it stopped; rows that failed (they\n\
        have \"error\") are tried again.\n\n\
        Schema (JSON or YAML): {\"entities\": [\"person\"], \"relations\": [\"founder\"], \"events\": {\"merger\": [\"buyer\"]}}"
)]
pub struct ExtractArgs {
    /// What to extract
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// The texts: .jsonl .csv .tsv .xlsx .txt .md .html .pdf .docx, or a folder of documents
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where the records go, as .jsonl; beside it OUTPUT.state.json says how they were made
    #[arg(long, value_name = "FILE", required_unless_present = "try_first")]
    output: Option<PathBuf>,
    /// Try so many texts first, drawn at random (the same for the same --seed): prints their lines and an estimate for all,
    /// and leaves the output alone [without a number: 20]
    #[arg(long = "try", id = "try_first", value_name = "NUMBER", num_args = 0..=1, default_missing_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    try_first: Option<u32>,
    /// Column or field of the text [default: text]
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Column or field of the id [default: id, or the line's number where there is none]
    #[arg(long, value_name = "NAME")]
    id_column: Option<String>,
    /// Only the first so many texts
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Answer format to ask for; what it cannot say is asked for in the adapter's own format [default: the adapter's own]
    #[arg(long, value_name = "NAME", value_parser = formats())]
    format: Option<Format>,
    /// Ask for a part of events alone; arguments are then listed like entities, with the role as the type
    #[arg(long, value_name = "PART", value_parser = parts())]
    only: Option<EventPart>,
    /// Give the model the examples that the schema has
    #[arg(long)]
    with_examples: bool,
    /// Let the model write freely, instead of only the schema's types and words of the text
    #[arg(long)]
    no_guide: bool,
    /// Ask every question so many more times, with sampling: records that the samples do not repeat are to be checked
    /// [default: the model's own, usually 0]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_SAMPLES)))]
    samples: Option<u32>,
    /// Answers computed side by side
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// How places in the text are counted: code-points, utf-16 or bytes
    #[arg(long, value_name = "UNIT", default_value = "code-points", value_parser = PossibleValuesParser::new(Unit::ALL.map(|(name, _)| name)))]
    offsets: String,
    /// Delete what is in the output, and begin anew
    #[arg(long)]
    restart: bool,
    /// Adapter to answer with: a name, a path or `none` [default: the model's own]
    #[arg(long, env = "KNOWLM_ADAPTER", value_name = "NAME")]
    adapter: Option<String>,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub fn run(args: &ExtractArgs) -> Result<(), CliError> {
    // All that can be wrong with the files is told before the model is loaded.
    args.sampling.over(Defaults::of(None, None).lora).map_err(|e| CliError::Usage(e.to_string()))?;
    let schema = read_schema(&args.schema)?;
    let columns = Columns { text: args.text_column.as_deref(), id: args.id_column.as_deref() };
    let rows = input::read(&args.input, columns)?;
    for (other, option) in [(&args.input, "--input"), (&args.schema, "--schema")] {
        args.output.iter().try_for_each(|output| output::not_the_same(output, other, option))?;
    }
    let unit: Unit = args.offsets.parse().map_err(CliError::Usage)?;
    let wanted = args.limit.unwrap_or(rows.len()).min(rows.len());

    let given: Option<Vec<String>> = args.adapter.clone().map(|a| vec![a]);
    let adapters = given.as_deref().map_or(Adapters::Default, Adapters::Given);
    let engine = load(&args.model, adapters, |options| {
        options.active = usize::from(args.concurrency);
        // Room for the instruction of every task in both languages beside the texts just read.
        options.prefix_cache = 16;
    })?;
    let adapter = engine.adapters().into_iter().next();
    let mut parameters = Defaults::of(engine.entry(), adapter.as_ref().map(|a| &a.manifest)).lora;
    // Whatever an adapter's page starts from: the same text gives the same records.
    (parameters.temperature, parameters.beams, parameters.repetition_penalty) = (0.0, 1, 1.0);
    let mut parameters = args.sampling.over(parameters).map_err(|e| CliError::Usage(e.to_string()))?;
    parameters.seed.get_or_insert(0);

    let asking =
        Asking { format: args.format, only: args.only, with_examples: args.with_examples, ..Asking::default() };
    let known = args.format.is_some()
        || adapter.as_ref().is_some_and(|a| !a.manifest.formats.is_empty() || a.manifest.format.is_some());
    let guide = !args.no_guide && known;
    if !guide && !args.no_guide {
        eprintln!(
            "Answers are not guided: there is no adapter whose manifest names a form of answers; --format names one."
        );
    }
    (parameters.guided, parameters.samples) = (guide, args.samples.unwrap_or(parameters.samples));

    let manifest = adapter.as_ref().map(|adapter| &adapter.manifest);
    let untaught = not_taught(&schema, manifest, &asking, &rows);
    if !untaught.is_empty() {
        eprintln!("Not taught to the model, so check what it finds of them: {}.", untaught.join(", "));
    }
    let mut made = made(args, &engine, &schema, &parameters)?;
    made.insert("way of asking".to_owned(), asked_how(&asking, &schema)?);
    let offsets = if unit == Unit::CodePoints { Value::Null } else { json!(args.offsets) };
    made.insert("way of counting places".to_owned(), offsets);
    let stop = stop_on_signal()?;
    let work = work::Work {
        engine: &engine,
        adapter: adapter.as_ref(),
        schema: &schema,
        asking: &asking,
        parameters,
        guide,
        at_once: usize::from(args.concurrency) * 2,
        made_by: made_by(&engine, adapter.as_ref(), &schema, &args.schema),
        unit,
    };
    let Some(path) = args.output.as_deref().filter(|_| args.try_first.is_none()) else {
        let some = args.try_first.unwrap_or(SAMPLE as u32) as usize;
        return sample::run(&work, rows.get(..wanted).unwrap_or(&rows), some, args.json, &stop);
    };
    let (output, done) = Output::open(path, &made, args.restart)?;
    let todo = output::todo(path, &args.input, &rows, &done, wanted)?;
    let before = wanted - todo.len();
    if before > 0 {
        eprintln!("{before} of {wanted} texts are done already.");
    }
    let mut progress = Progress::start(before, wanted);
    let summary = work::run(&work, &todo, Lines::File(output), &stop, |done| progress.at(done))?;
    progress.finish();

    let name = path.display();
    let done = before + summary.texts;
    if stop.load(Ordering::Relaxed) && done < wanted {
        return Err(CliError::Failed(format!(
            "stopped after {done} of {wanted} texts; they are in {name}. Run the same command again to go on."
        )));
    }
    // The records of all texts, also of those that an earlier run did.
    let all = if before > 0 { output::totals(path)? } else { summary };
    if args.json {
        out_json(&json!({
            "output": path, "texts": wanted, "done_before": before, "failed": summary.failed,
            "nothing_found": all.nothing_found, "entities": all.entities, "relations": all.relations,
            "events": all.events, "not_in_text": all.not_in_text, "seconds": progress.seconds(),
        }))?;
    } else {
        eprintln!(
            "{}: {} entities, {} relations, {} events; nothing found in {}; {} answers not in their text, left out. {name}",
            count(all.texts, "text"),
            all.entities,
            all.relations,
            all.events,
            count(all.nothing_found, "text"),
            all.not_in_text,
        );
    }
    let unreadable = todo.iter().filter(|row| row.text.is_err()).count();
    match summary.failed {
        0 => Ok(()),
        failed if failed == unreadable => Err(CliError::Failed(format!(
            "{} cannot be read; see \"error\" in {name}. Correct the lines in {}, then run the same command again.",
            count(failed, "text"),
            args.input.display()
        ))),
        failed => Err(CliError::Failed(format!(
            "{} failed; see \"error\" in {name}. Run the same command again to try them again.",
            count(failed, "text")
        ))),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Reads a schema file; YAML by its ending, else JSON.
fn read_schema(path: &Path) -> Result<Schema, CliError> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| CliError::Failed(format!("the schema {name} cannot be read: {e}")))?;
    schemas::parse(&text, schemas::is_yaml(path)).map_err(|said| CliError::Failed(format!("the schema {name}: {said}")))
}

/// Who finds the records: what every line says of them. A schema without a title goes by the name of its file.
fn made_by(engine: &LocalEngine, adapter: Option<&AdapterInfo>, schema: &Schema, path: &Path) -> MadeBy {
    let title = schema.title.in_language(schema.language.unwrap_or_default()).to_owned();
    let stem = path.file_stem().map(|name| name.to_string_lossy().into_owned());
    MadeBy {
        origin: if adapter.is_some() { Origin::Tuned } else { Origin::Base },
        model: engine.model().name,
        adapter: adapter.map(|adapter| adapter.name.clone()),
        schema: Some(title).filter(|title| !title.is_empty()).or(stem),
        schema_version: None,
    }
}

/// Types and roles that the adapter was not taught in a language of the texts.
fn not_taught(schema: &Schema, manifest: Option<&AdapterManifest>, asking: &Asking, rows: &[Row]) -> Vec<String> {
    // Nobody knows what a base, or an adapter that does not say, was taught.
    if manifest.is_none_or(|manifest| manifest.taught.is_empty()) {
        return Vec::new();
    }
    let texts = rows.iter().filter_map(|row| row.text.as_deref().ok());
    let mut languages: Vec<Language> = match schema.language {
        Some(language) => vec![language],
        None => texts.map(Language::of_text).collect(),
    };
    languages.sort();
    languages.dedup();
    let mut names: Vec<String> = Vec::new();
    for choice in languages.into_iter().flat_map(|language| schema.questions(language, manifest, asking)) {
        let taught = prompt::taught(manifest, &choice);
        let of = |all: &[String], taught: &[bool]| {
            all.iter().zip(taught).filter(|(_, taught)| !**taught).map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let new = of(&choice.types, &taught.types).into_iter().chain(of(&choice.roles, &taught.roles));
        names.extend(new.map(|name| format!("{name} ({}, {})", choice.task.code(), choice.language.code())));
    }
    names.dedup();
    names
}

/// What the records depend on, beside the texts.
fn made(
    args: &ExtractArgs,
    engine: &LocalEngine,
    schema: &Schema,
    parameters: &protocol::Parameters,
) -> Result<Made, CliError> {
    let data_dir = args.model.data_dir.as_deref();
    let size = find::find_model(args.model.model.as_deref(), data_dir).ok().and_then(|p| p.metadata().ok());
    let adapter = engine.adapters().into_iter().next().map(|a| a.name);
    let place = args.adapter.as_deref().or(adapter.as_deref()).map(|given| given.rsplit('=').next().unwrap_or(given));
    let folder = place.filter(|_| adapter.is_some()).and_then(|place| find::find_adapter(place, data_dir).ok());
    let weights = folder.as_ref().and_then(|folder| {
        ["adapter_model.safetensors", "adapter_model.bin"].iter().find_map(|f| find::sha256(&folder.join(f)).ok())
    });
    let manifest = folder.as_ref().and_then(|folder| find::sha256(&folder.join("manifest.json")).ok());
    Ok(Made::from([
        ("schema".to_owned(), asked(schema)),
        (
            "model".to_owned(),
            json!({"name": engine.model().name, "bytes": size.map(|m| m.len()), "rounded": [args.model.load_8bit, args.model.load_4bit]}),
        ),
        (
            "adapter".to_owned(),
            adapter.map_or(json!(null), |name| json!({"name": name, "sha256": weights, "manifest": manifest})),
        ),
        ("guide".to_owned(), json!(!args.no_guide)),
        ("parameters".to_owned(), serde_json::to_value(parameters).map_err(CliError::failed)?),
    ]))
}

/// The formats by name, each with what an answer looks like.
fn formats() -> impl TypedValueParser<Value = Format> {
    let shape = |format| prompt::shape(format, Task::Relations, None, Language::En);
    let values = Format::ALL.map(|format| PossibleValue::new(format.name()).help(shape(format)));
    // Only names of formats come through.
    PossibleValuesParser::new(values).map(|name| Format::from_name(&name).unwrap_or(Format::Tuples))
}

fn parts() -> impl TypedValueParser<Value = EventPart> {
    let values = [
        PossibleValue::new("triggers").help("triggers with their event types"),
        PossibleValue::new("arguments").help("arguments with their roles"),
    ];
    PossibleValuesParser::new(values).map(|name| EventPart::from_name(&name).unwrap_or(EventPart::Triggers))
}

/// How the schema is asked for, with its examples where they are given.
fn asked_how(asking: &Asking, schema: &Schema) -> Result<Value, CliError> {
    if asking.is_default() {
        return Ok(Value::Null);
    }
    // What is given of the schema beside its names.
    let told = asking.with_examples || asking.format == Some(Format::OnekeJson);
    let examples = told.then(|| schema.to_json());
    Ok(json!({"asking": serde_json::to_value(asking).map_err(CliError::failed)?, "examples": examples}))
}

/// The part of a schema that answers depend on.
fn asked(schema: &Schema) -> Value {
    let names = |items: &[extract::schema::Item]| items.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
    json!({
        "language": schema.language,
        "entities": names(&schema.entities),
        "relations": schema.relations.iter().map(|r| &r.item.name).collect::<Vec<_>>(),
        "events": schema.events.iter().map(|e| (&e.item.name, names(&e.roles))).collect::<Vec<_>>(),
    })
}

/// Becomes true when a person or the system asks to end; asked twice, the program ends at once.
fn stop_on_signal() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::failed)?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            signal().await;
            told.store(true, Ordering::Relaxed);
            signal().await;
            std::process::exit(130);
        });
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_schema_file_is_json_or_yaml_with_the_same_meaning() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let json = file(
            "a.json",
            "\u{feff}{\"language\": \"zh\", \"entities\": [\"机构\"], \"events\": {\"收购\": [\"买方\"]}}",
        );
        let yaml = file("a.yaml", "language: zh\nentities:\n  - 机构\nevents:\n  收购: [买方]\n");
        assert_eq!(read_schema(&json).unwrap(), read_schema(&yaml).unwrap());
        let said = |path: &Path| read_schema(path).unwrap_err().to_string();
        assert!(
            said(&file("b.yml", "events:\n  merger: buyer\n"))
                .ends_with("events.merger: must be a list of roles, [\"buyer\", …]; it is text")
        );
        let broken = said(&file("c.yaml", "entities: [a\nb: c"));
        assert!(broken.contains("is no YAML") && broken.contains("line") && !broken.contains('\n'), "{broken}");
        assert!(said(&file("d.yaml", "entities: [no]")).contains("entities[0]: must be a name in quotation marks"));
        assert!(said(&folder.path().join("none.json")).contains("none.json cannot be read"));
    }
}
