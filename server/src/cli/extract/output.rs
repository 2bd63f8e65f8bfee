//! The output: a line for each text, whole or not at all, and beside it how the lines were made.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use super::{
    CliError,
    input::{Row, key},
    out,
    work::Summary,
};

/// What the lines depend on beside the texts, by name.
pub type Made = BTreeMap<String, Value>;

/// The lines that are there already: for each id its text.
pub type Done = HashMap<String, String>;

/// Where lines go.
#[derive(Debug)]
pub enum Lines {
    /// Into the output.
    File(Output),
    /// Onto standard output.
    Shown,
    /// Nowhere: only what they come to is wanted.
    Counted,
}

impl Lines {
    /// Writes a line, all of it at once.
    pub fn write(&mut self, line: &impl Serialize) -> Result<(), CliError> {
        match self {
            Self::File(output) => output.write(line),
            Self::Shown => out(&format!("{}\n", serde_json::to_string(line).map_err(CliError::failed)?)),
            Self::Counted => Ok(()),
        }
    }

    /// Everything written is on disk.
    pub fn sync(&self) -> Result<(), CliError> {
        match self {
            Self::File(output) => output.sync(),
            Self::Shown | Self::Counted => Ok(()),
        }
    }
}

/// The output, ready for the next line.
#[derive(Debug)]
pub struct Output {
    file: File,
    path: PathBuf,
    /// Held locked as long as we write.
    _state: File,
}

impl Output {
    /// Opens the output, after cutting off a line that was not finished and taking out lines of texts that failed. Tells
    /// which texts are done.
    ///
    /// # Errors
    /// It was made in another way, by something else, or is being written right now.
    pub fn open(path: &Path, made: &Made, restart: bool) -> Result<(Self, Done), CliError> {
        let name = path.display();
        let failed = |reason: String| CliError::Failed(format!("the output {name} {reason}"));
        let io = |e: io::Error| failed(format!("cannot be written: {e}"));
        let anew = "Name another --output, or add --restart to delete it and begin anew";
        let state_path = beside(path, "state.json");
        // A link is followed, so that what it points to is written.
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut open = OpenOptions::new();
        let open = open.read(true).write(true).create(true).truncate(false);
        let mut file = open.open(path).map_err(io)?;
        let mut state = open.open(&state_path).map_err(io)?;
        match state.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(failed("is being written by another knowlm".into())),
            // Some file systems have no locks.
            Err(TryLockError::Error(_)) => {}
        }
        let before = serde_json::from_reader::<_, Made>(BufReader::new(&state));
        let blank = state.metadata().map_err(io)?.len() == 0;
        let mut done = Done::new();
        if before.is_err() && (!blank || file.metadata().map_err(io)?.len() > 0) {
            if blank {
                // Made by us just now.
                let _ = fs::remove_file(&state_path);
            }
            let missing = state_path.display();
            return Err(failed(format!(
                "was not made by knowlm extract, or {missing} is lost. Name another --output, or delete both yourself"
            )));
        }
        if restart {
            file.set_len(0).map_err(io)?;
        }
        if let Some(before) = before.ok().filter(|_| file.metadata().is_ok_and(|m| m.len() > 0)) {
            let different = different(&before, made);
            if !different.is_empty() {
                return Err(failed(format!("was made with another {}. {anew}", different.join(", another "))));
            }
            let (read, whole, again) = read(&file).map_err(failed)?;
            done = read;
            if again > 0 {
                drop(file);
                without_failed(path).map_err(io)?;
                file = open.open(path).map_err(io)?;
            } else {
                file.set_len(whole).map_err(io)?;
            }
            file.seek(SeekFrom::End(0)).map_err(io)?;
        } else {
            let json = serde_json::to_string_pretty(made).map_err(CliError::failed)?;
            state.set_len(0).map_err(io)?;
            state.seek(SeekFrom::Start(0)).map_err(io)?;
            state.write_all(format!("{json}\n").as_bytes()).and_then(|()| state.sync_all()).map_err(io)?;
        }
        Ok((Self { file, path: path.to_owned(), _state: state }, done))
    }

    /// Writes a line, all of it at once.
    pub fn write(&mut self, line: &impl Serialize) -> Result<(), CliError> {
        let mut line = serde_json::to_vec(line).map_err(CliError::failed)?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| self.failed(&e))
    }

    /// Everything written is on disk.
    pub fn sync(&self) -> Result<(), CliError> {
        self.file.sync_all().map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &io::Error) -> CliError {
        let name = self.path.display();
        CliError::Failed(format!("the output {name} cannot be written: {error}. Run the same command again to go on"))
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// What differs, by name; of the parameters each by its own.
fn different(before: &Made, now: &Made) -> Vec<String> {
    let mut names = Vec::new();
    for (name, value) in now {
        match (before.get(name), value) {
            (Some(same), _) if same == value => {}
            // Older outputs say nothing of what was the only way then.
            (None, Value::Null) => {}
            (Some(Value::Object(old)), Value::Object(new)) if name == "parameters" => {
                names.extend(new.iter().filter(|(k, v)| old.get(*k) != Some(v)).map(|(k, _)| k.clone()));
                // Written only where it is in use.
                names.extend(old.keys().filter(|k| !new.contains_key(*k)).cloned());
            }
            _ if name == "guide" => names.push("choice of guided decoding".to_owned()),
            _ => names.push(name.clone()),
        }
    }
    names
}

/// The texts done, the length of the whole lines, and how many of them failed.
fn read(file: &File) -> Result<(Done, u64, usize), String> {
    let mut reader = BufReader::new(file);
    let (mut done, mut whole, mut failed) = (Done::new(), 0, 0);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(|e| format!("cannot be read: {e}"))?;
        if length == 0 || line.last() != Some(&b'\n') {
            break;
        }
        whole += length as u64;
        let broken =
            || format!("is damaged: line {number} is not one of ours. Repair it, or add --restart to begin anew");
        let mut value: Value = serde_json::from_slice(&line).map_err(|_| broken())?;
        let id = value.get("id").map(key).ok_or_else(broken)?;
        if value.get("error").is_some() {
            failed += 1;
        } else if let Some(Value::String(text)) = value.get_mut("text").map(Value::take) {
            done.insert(id, text);
        } else {
            return Err(broken());
        }
    }
    Ok((done, whole, failed))
}

/// What all lines of an output come to, those of earlier runs too.
pub fn totals(path: &Path) -> Result<Summary, CliError> {
    let name = path.display();
    let failed = |reason: String| CliError::Failed(format!("the output {name} {reason}"));
    let file = File::open(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
    let mut totals = Summary::default();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|e| failed(format!("cannot be read: {e}")))?;
        let value: Value = serde_json::from_str(&line).map_err(|e| failed(format!("is damaged: {e}")))?;
        totals.texts += 1;
        if value.get("error").is_some() {
            totals.failed += 1;
        } else {
            let found = serde_json::from_value(value).map_err(|e| failed(format!("is damaged: {e}")))?;
            totals.count(&found);
        }
    }
    Ok(totals)
}

/// Writes the file anew without the lines of texts that failed, and without an unfinished line.
fn without_failed(path: &Path) -> io::Result<()> {
    let draft = beside(path, "state.part");
    let mut reader = BufReader::new(File::open(path)?);
    let mut writer = BufWriter::new(File::create(&draft)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let kept = serde_json::from_slice::<Value>(&line).is_ok_and(|value| value.get("error").is_none());
        if kept && line.last() == Some(&b'\n') {
            writer.write_all(&line)?;
        }
        line.clear();
    }
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(draft, path)
}

/// The first `wanted` rows without those that are done.
///
/// # Errors
/// The output has texts that the input does not have: it belongs to another input.
pub fn todo<'r>(
    output: &Path,
    input: &Path,
    rows: &'r [Row],
    done: &Done,
    wanted: usize,
) -> Result<Vec<&'r Row>, CliError> {
    let (input, output) = (input.display(), output.display());
    let anew = "Name another --output, or add --restart to begin anew";
    let mut left = done.len();
    let mut todo = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        match done.get(&key(&row.id)) {
            Some(text) if row.text.as_ref().is_ok_and(|own| own == text) => left -= 1,
            Some(_) => {
                return Err(CliError::Failed(format!(
                    "the text with id {} is another in {input} than in {output}. {anew}",
                    row.id
                )));
            }
            None if index < wanted => todo.push(row),
            None => {}
        }
    }
    if left > 0 {
        return Err(CliError::Failed(format!(
            "the output {output} has {left} texts that {input} does not have: it was made from another input. {anew}"
        )));
    }
    Ok(todo)
}

/// The output must not be the input: it would be overwritten.
pub fn not_the_same(output: &Path, input: &Path, option: &str) -> Result<(), CliError> {
    let same = matches!((output.canonicalize(), input.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same { Err(CliError::Usage(format!("--output is the same file as {option}; name another"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Map, json};

    use super::*;

    fn made(temperature: f64) -> Made {
        let parameters = json!({"temperature": temperature, "top_k": 1});
        Made::from([("schema".into(), json!(["a"])), ("guide".into(), json!(true)), ("parameters".into(), parameters)])
    }

    fn line(id: u64) -> Value {
        json!({"id": id, "text": format!("text {id}"), "entities": []})
    }

    fn rows(ids: &[u64]) -> Vec<Row> {
        let row = |id: &u64| Row { line: 1, id: json!(id), text: Ok(format!("text {id}")), extra: Map::new() };
        ids.iter().map(row).collect()
    }

    #[test]
    fn what_was_written_is_done_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let (mut output, done) = Output::open(&path, &made(0.0), false).unwrap();
        assert!(done.is_empty());
        output.write(&line(1)).unwrap();
        output.write(&line(2)).unwrap();
        let busy = Output::open(&path, &made(0.0), false).unwrap_err().to_string();
        assert!(busy.contains("is being written by another knowlm"), "{busy}");
        drop(output);
        // Killed while writing.
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole, &b"{\"id\": 3, \"te"[..]].concat()).unwrap();
        let (mut output, done) = Output::open(&path, &made(0.0), false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
        let rows = rows(&[1, 2, 3, 4]);
        let todo = todo(&path, Path::new("in"), &rows, &done, 3).unwrap();
        assert_eq!(todo, [&rows[2]], "the first three without those that are done");
        output.write(&line(3)).unwrap();
        drop(output);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[test]
    fn totals_are_of_all_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let (mut output, _) = Output::open(&path, &made(0.0), false).unwrap();
        output.write(&line(1)).unwrap();
        output
            .write(&json!({"id": 2, "text": "b", "entities": [{"type": "x", "text": "b", "start": 0, "end": 1}],
            "issues": [{"task": "ner", "kind": "not_in_text", "words": "c, x", "record": {"type": "x", "text": "c"}}]}))
            .unwrap();
        output.write(&json!({"id": 3, "text": "c", "error": "no"})).unwrap();
        let totals = totals(&path).unwrap();
        let counts = [totals.texts, totals.failed, totals.nothing_found, totals.entities, totals.not_in_text];
        assert_eq!(counts, [3, 1, 1, 1, 1]);
    }

    #[test]
    fn texts_that_failed_are_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let (mut output, _) = Output::open(&path, &made(0.0), false).unwrap();
        output.write(&line(1)).unwrap();
        output.write(&json!({"id": 2, "text": "text 2", "error": "no"})).unwrap();
        output.write(&line(3)).unwrap();
        drop(output);
        let (mut output, done) = Output::open(&path, &made(0.0), false).unwrap();
        assert_eq!(done.len(), 2);
        output.write(&line(2)).unwrap();
        let ids: Vec<Value> = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap()["id"].take())
            .collect();
        assert_eq!(ids, [1, 3, 2]);
    }

    #[test]
    fn what_was_made_in_another_way_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        fs::write(&path, "precious\n").unwrap();
        let said = |made: &Made| Output::open(&path, made, false).unwrap_err().to_string();
        assert!(said(&made(0.0)).contains("was not made by knowlm extract"), "{}", said(&made(0.0)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious\n");
        assert!(!beside(&path, "state.json").exists());

        let restarted = Output::open(&path, &made(0.0), true).unwrap_err().to_string();
        assert!(restarted.contains("was not made by knowlm extract"), "--restart deletes only our own: {restarted}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious\n");
        fs::remove_file(&path).unwrap();

        let (mut output, _) = Output::open(&path, &made(0.0), true).unwrap();
        output.write(&line(1)).unwrap();
        drop(output);
        assert!(said(&made(0.5)).contains("was made with another temperature. Name another --output"));
        let mut other = made(0.0);
        other.insert("guide".into(), json!(false));
        other.insert("schema".into(), json!(["b"]));
        assert!(said(&other).contains("another choice of guided decoding, another schema"));
        let (_, done) = Output::open(&path, &made(0.0), false).unwrap();
        let strange = todo(&path, Path::new("in.txt"), &rows(&[7]), &done, 1).unwrap_err().to_string();
        assert!(strange.contains("has 1 texts that in.txt does not have"), "{strange}");
        let mut changed = rows(&[1]);
        changed[0].text = Ok("other".into());
        assert!(
            todo(&path, Path::new("in.txt"), &changed, &done, 1)
                .unwrap_err()
                .to_string()
                .contains("the text with id 1")
        );
    }
}
