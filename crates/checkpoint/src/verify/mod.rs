//! Whether model files are whole, and the ones they are meant to be.
//!
//! Three questions, as far as each can be asked: can every file be read to its end, and is everything there that the
//! index names; do the checksums agree with a list, a published one or one that lies beside the files; and do the
//! tensors agree with the manifest that `recover` and `merge` leave. Files that hold a published model in another form are
//! told by the published sum of its numbers. What is wrong is named with a way to put it right.

mod manifest;
mod numbers;
mod structure;
mod sums;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

pub use manifest::TensorReport;
use protocol::Sentence;
use serde::{Serialize, Serializer};

pub(crate) use sums::hex;
use sums::{Counter, Wanted};
pub use sums::{Sum, SumList};

use crate::{
    find,
    known::{self, PublishedModel},
};

/// Lists that are used when they lie beside the files. The first is that of the original LLaMA.
const LISTS_BESIDE: [&str; 3] = ["checklist.chk", "MD5SUMS", "SHA256SUMS"];

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A list of checksums makes no sense.
    #[error("{path}, line {line}: {reason}; a line is a checksum (MD5 or SHA-256) and a file's name")]
    List {
        /// The list.
        path: PathBuf,
        /// The line's number.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing was published under this name.
    #[error("no checksums were published as \"{name}\"; there are {}", .names.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        names: Vec<&'static str>,
    },
    /// There are no weights.
    #[error("{path} holds no weights: no .safetensors, .bin, .pth or .gguf file")]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
}

/// What to hold the files against.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// A list of checksums; otherwise those lying beside the files and the published ones that fit.
    pub list: Option<PathBuf>,
    /// Name of a published model; otherwise it is told by the names and checksums of the files.
    pub known: Option<String>,
    /// How many files are read at a time.
    pub threads: usize,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// What was verified.
    pub path: PathBuf,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// What the files are, where that is known: the name of a published model.
    pub known_as: Option<String>,
    /// What came of holding the tensors against a manifest, where there is one.
    pub tensors: Option<TensorReport>,
    /// Every file that was looked at or should be there.
    pub files: Vec<FileReport>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// What else is worth knowing.
    #[serde(serialize_with = "in_english")]
    pub notes: Vec<Sentence>,
}

/// A report that is printed is in English.
fn in_english<S: Serializer>(notes: &[Sentence], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(notes.iter().map(|note| &note.en))
}

/// A file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// Its name within the folder.
    pub file: String,
    /// Its size; none when it is missing.
    pub bytes: Option<u64>,
    /// Whether it is as it should be.
    pub state: FileState,
    /// The list that names it.
    pub list: Option<String>,
    /// `md5` or `sha256`.
    pub algorithm: Option<&'static str>,
    /// The checksum that it should have.
    pub expected: Option<String>,
    /// The checksum that it has.
    pub found: Option<String>,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Its checksum is right.
    Right,
    /// It can be read to its end; there is no checksum to compare with.
    Readable,
    /// Something is wrong with it.
    Wrong,
    /// It is not there.
    Missing,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The tensor, where it is about one.
    pub tensor: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    fn missing(file: &str, reason: &str, remedy: &Remedy<'_>) -> Self {
        Self { file: file.into(), tensor: None, what: format!("it is missing: {reason}"), remedy: remedy.of(file) }
    }
}

/// How a file is got again.
struct Remedy<'a> {
    folder: &'a Path,
    known: Option<&'static PublishedModel>,
}

impl Remedy<'_> {
    fn of(&self, file: &str) -> String {
        match self.known {
            Some(PublishedModel { made_with: Some(command), .. }) => format!("make it again: {command}"),
            Some(known) if known.entry.is_some() => format!("fetch it again: knowlm download {}", known.name),
            Some(known) => format!(
                "fetch it again: knowlm download {} --include '{file}' --out '{}'",
                known.name,
                self.folder.display()
            ),
            None => "get it again from where it came, then verify again".into(),
        }
    }
}

/// A folder and the names of the files in it that are looked at.
struct Target {
    folder: PathBuf,
    weights: Vec<String>,
    /// All files.
    present: BTreeMap<String, u64>,
    /// Whether the folder was named, rather than one file of it.
    whole: bool,
}

impl Target {
    fn open(path: &Path) -> Result<Self, VerifyError> {
        let io = |source| VerifyError::Io { path: path.into(), source };
        let meta = fs::metadata(path).map_err(io)?;
        if !meta.is_dir() {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
            let present = BTreeMap::from([(name.clone(), meta.len())]);
            return Ok(Self { folder, weights: vec![name], present, whole: false });
        }
        let mut present = BTreeMap::new();
        for entry in fs::read_dir(path).map_err(io)? {
            let entry = entry.map_err(io)?;
            // A link to a file is a file; its target counts.
            if let Ok(meta) = fs::metadata(entry.path())
                && meta.is_file()
            {
                present.insert(entry.file_name().to_string_lossy().into_owned(), meta.len());
            }
        }
        let weights: Vec<String> = present.keys().filter(|name| structure::is_weights(name)).cloned().collect();
        Ok(Self { folder: path.into(), weights, present, whole: true })
    }

    /// Where a file of a list lies: lists made elsewhere name folders that are not here.
    fn place<'a>(&self, name: &'a str) -> &'a str {
        match name.rsplit_once('/') {
            Some((_, last)) if !self.folder.join(name).is_file() => last,
            _ => name,
        }
    }

    fn is_called(&self, name: &str) -> bool {
        let folder = fs::canonicalize(&self.folder).unwrap_or_else(|_| self.folder.clone());
        let last = folder.file_name().map(|n| n.to_string_lossy().to_lowercase().replace('_', "-"));
        last.is_some_and(|last| last == name)
    }
}

/// Verifies a file or a folder. `progress` is told the bytes read and the bytes to read, by several threads.
///
/// # Errors
/// There is nothing to verify, or a list cannot be used. What is wrong with the files is in the report.
pub fn verify(
    path: &Path,
    options: &VerifyOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<VerifyReport, VerifyError> {
    let target = Target::open(path)?;
    let candidates = candidates(&target, options)?;
    if target.weights.is_empty() && candidates.is_empty() {
        return Err(VerifyError::NoWeights { path: path.into() });
    }
    let named = options.known.as_deref().and_then(known::by_name);

    // Every file once, whatever lists name it.
    let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
    for (name, sum) in candidates.iter().flat_map(|c| &c.list.files) {
        let name = target.place(name);
        let path = target.folder.join(name);
        if path.is_file() && (target.whole || target.present.contains_key(name)) {
            let one = wanted.entry(name.into()).or_insert(Wanted { path, md5: false, sha256: false });
            match sum {
                Sum::Md5(_) => one.md5 = true,
                Sum::Sha256(_) => one.sha256 = true,
            }
        }
    }
    let (names, jobs): (Vec<String>, Vec<Wanted>) = wanted.into_iter().unzip();
    let size = |job: &Wanted| fs::metadata(&job.path).map_or(0, |m| m.len());
    let counter = Counter::new(jobs.iter().map(size).sum(), progress);
    let results = sums::compute(&jobs, options.threads, &|bytes| counter.add(bytes));
    let sums: BTreeMap<String, io::Result<sums::Found>> = names.into_iter().zip(results).collect();

    let is_right = |name: &str, sum: &Sum| {
        sums.get(target.place(name)).and_then(|found| found.as_ref().ok()?.like(sum)).is_some_and(|f| f == sum.hex())
    };
    let mut notes = Vec::new();
    let mut lists = Vec::new();
    let mut wrong = None;
    let mut recognized = named;
    for candidate in candidates {
        let right = candidate.list.files.iter().filter(|(name, sum)| is_right(name, sum)).count();
        // What is made, not fetched, may lie in files of another program.
        let made = candidate.model.filter(|model| model.made_with.is_some() && right == 0 && target.whole);
        let is_it = named.is_some() || candidate.model.is_some_and(|model| target.is_called(&model.name));
        match (candidate.model, made) {
            (Some(_), Some(model)) => {
                let added = model.tensor_sum.and_then(|_| numbers::add_up(&target.folder, options.threads, progress));
                match numbers::judge(model, added) {
                    Ok(note) => {
                        recognized = Some(model);
                        notes.push(note);
                    }
                    Err(reason) if is_it => {
                        recognized = Some(model);
                        wrong = Some((model, reason));
                    }
                    Err(reason) => notes.push(Sentence::new(
                        format!("the names are those of {}, but {reason}", model.name),
                        format!("文件名与 {} 相同，但无法确认就是它：{reason}", model.name),
                    )),
                }
            }
            (Some(model), None) if right == 0 && !is_it => {
                let name = &model.name;
                notes.push(Sentence::new(
                    format!("the names are those of {name}, but no checksum is: it is something else"),
                    format!("文件名与 {name} 相同，但校验和都不符：这是别的文件"),
                ));
            }
            (model, _) => {
                recognized = model.or(recognized);
                lists.push(candidate.list);
            }
        }
    }

    let remedy = Remedy { folder: &target.folder, known: recognized };
    let seen = structure::look(&target.folder, &target.weights, target.whole, &remedy)
        .map_err(|source| VerifyError::Io { path: path.into(), source })?;
    let mut report = VerifyReport {
        path: path.into(),
        ok: false,
        known_as: recognized.map(|model| model.name.clone()),
        tensors: None,
        files: Vec::new(),
        problems: seen.problems,
        notes: seen.notes,
    };
    let told_by_sum = !notes.is_empty() && lists.is_empty() && recognized.is_some();
    report.notes.append(&mut notes);
    if let Some((model, what)) = wrong {
        let remedy = remedy.of(&model.name);
        report.problems.push(Problem { file: "all files".into(), tensor: None, what, remedy });
    }
    for list in &lists {
        for (name, sum) in &list.files {
            let place = target.place(name);
            if !target.whole && !target.present.contains_key(place) {
                continue;
            }
            report.compare(place, sum, &list.name, &target, sums.get(place), &remedy);
        }
    }
    // A list that was asked for must be about the file that was asked about.
    if (options.list.is_some() || options.known.is_some())
        && let Some(file) = target.weights.first().filter(|_| !target.whole)
        && !report.files.iter().any(|f| &f.file == file)
    {
        let names: Vec<&str> = lists.iter().map(|list| list.name.as_str()).collect();
        let what = format!("it is not named in {}, so there is nothing to compare it with", names.join(" or "));
        let remedy = "verify its whole folder, or choose the list that names it".into();
        report.problems.push(Problem { file: file.clone(), tensor: None, what, remedy });
    }
    report.hold_against_manifest(&target, &lists, options.threads, progress);
    report.add_unlisted(&target);
    if lists.is_empty() && report.tensors.is_none() && !told_by_sum {
        report.notes.push(Sentence::new(
            "there is no list of checksums to compare with; --md5 LIST names one",
            "没有可对照的校验和列表；可以另行指定一份",
        ));
    }
    report.ok = report.problems.is_empty();
    Ok(report)
}

impl VerifyReport {
    /// Holds a file against a line of a list.
    fn compare(
        &mut self,
        file: &str,
        sum: &Sum,
        list: &str,
        target: &Target,
        found: Option<&io::Result<sums::Found>>,
        remedy: &Remedy<'_>,
    ) {
        let bytes = fs::metadata(target.folder.join(file)).ok().map(|m| m.len());
        let mut state = FileState::Missing;
        let mut has = None;
        let mut problem = |what: String| {
            self.problems.push(Problem { file: file.into(), tensor: None, what, remedy: remedy.of(file) })
        };
        match found {
            None => problem(format!("it is missing: {list} names it")),
            Some(Err(error)) => {
                state = FileState::Wrong;
                problem(format!("it cannot be read: {error}"));
            }
            Some(Ok(found)) => {
                has = found.like(sum).map(str::to_owned);
                state = FileState::Right;
                if has.as_deref() != Some(sum.hex()) {
                    state = FileState::Wrong;
                    let has = has.as_deref().unwrap_or("none");
                    problem(format!("its {} is {has}; {list} says {}", sum.algorithm(), sum.hex()));
                }
            }
        }
        self.files.push(FileReport {
            file: file.into(),
            bytes,
            state,
            list: Some(list.into()),
            algorithm: Some(sum.algorithm()),
            expected: Some(sum.hex().into()),
            found: has,
        });
    }

    /// Tensors and copied files, as the manifest beside them has them.
    fn hold_against_manifest(
        &mut self,
        target: &Target,
        lists: &[SumList],
        threads: usize,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) {
        let (manifest, name) = match manifest::find(&self.path) {
            None => return,
            Some(Ok(found)) => found,
            Some(Err(problem)) => return self.problems.push(problem),
        };
        let only = (!target.whole).then(|| target.weights.first().map(String::as_str)).flatten();
        let (report, mut problems) = manifest::compare(&manifest, &name, &target.folder, only, threads, progress);
        self.tensors = Some(report);
        self.problems.append(&mut problems);
        if !target.whole {
            return;
        }
        let sum = |hex: &String| Sum::from_hex(hex);
        let files: BTreeMap<String, Sum> =
            manifest.files.iter().filter_map(|(file, hex)| Some((file.clone(), sum(hex)?))).collect();
        let is_name = |file: &&String| target.present.contains_key(*file);
        let jobs: Vec<Wanted> = files
            .keys()
            .filter(is_name)
            .map(|file| Wanted { path: target.folder.join(file), md5: true, sha256: true })
            .collect();
        let found = sums::compute(&jobs, threads, &|_| {});
        let found: BTreeMap<&String, _> = files.keys().filter(is_name).zip(found).collect();
        let remedy = Remedy { folder: &target.folder, known: None };
        for (file, sum) in &files {
            if !lists.iter().any(|list| list.files.contains_key(file)) {
                self.compare(file, sum, &name, target, found.get(file), &remedy);
            }
        }
    }

    /// Files of weights that no list named.
    fn add_unlisted(&mut self, target: &Target) {
        for name in &target.weights {
            if self.files.iter().any(|f| &f.file == name) {
                continue;
            }
            let wrong = self.problems.iter().any(|p| &p.file == name);
            self.files.push(FileReport {
                file: name.clone(),
                bytes: target.present.get(name).copied(),
                state: if wrong { FileState::Wrong } else { FileState::Readable },
                list: None,
                algorithm: None,
                expected: None,
                found: None,
            });
        }
        self.files.sort_by(|a, b| a.file.cmp(&b.file));
    }
}

/// A list that may be about these files.
struct Candidate {
    list: SumList,
    /// The published model that it is about.
    model: Option<&'static PublishedModel>,
}

fn candidates(target: &Target, options: &VerifyOptions) -> Result<Vec<Candidate>, VerifyError> {
    let mut all = Vec::new();
    if let Some(path) = &options.list {
        all.push(Candidate { list: SumList::read(path)?, model: None });
    }
    if let Some(name) = &options.known {
        let model = known::by_name(name);
        let list = model.and_then(published_list).ok_or_else(|| VerifyError::Unknown {
            name: name.clone(),
            names: listed().map(|(model, _)| model.name.as_str()).collect(),
        })?;
        all.push(Candidate { list, model });
    }
    if !all.is_empty() {
        return Ok(all);
    }
    for name in LISTS_BESIDE {
        let path = target.folder.join(name);
        if path.is_file() {
            let list = SumList::read(&path)?;
            if target.whole || list.files.keys().any(|file| target.present.contains_key(target.place(file))) {
                all.push(Candidate { list, model: None });
            }
        }
    }
    for (model, list) in listed() {
        if list.files.keys().any(|name| target.present.contains_key(name)) {
            all.push(Candidate { list, model: Some(model) });
        }
    }
    Ok(all)
}

/// Every published model that has checksums.
fn listed() -> impl Iterator<Item = (&'static PublishedModel, SumList)> {
    known::published().models.iter().filter_map(|model| Some((model, published_list(model)?)))
}

fn published_list(model: &'static PublishedModel) -> Option<SumList> {
    let mut files: BTreeMap<String, Sum> =
        model.md5.iter().map(|(name, sum)| (name.clone(), Sum::Md5(sum.clone()))).collect();
    if let Some(entry) = find::known_models().iter().find(|e| Some(&e.name) == model.entry.as_ref()) {
        files.insert(entry.file.clone(), Sum::Sha256(entry.sha256.clone()));
    }
    (!files.is_empty()).then(|| SumList { name: model.name.clone(), files })
}
