//! The place that is written to: unfinished work, what of it is done, and files that appear whole or not at all.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Content, FilePlan, MANIFEST_FILE, Manifest, WriteError, WriteOptions};
use crate::{small, space};

/// Where a folder keeps unfinished work.
pub const UNFINISHED: &str = ".knowlm-unfinished";

/// A place that is written to.
#[derive(Debug)]
pub(super) struct Target {
    /// The folder that the files will be in.
    dir: PathBuf,
    /// Where they are made.
    work: PathBuf,
    manifest: PathBuf,
    /// The one file, where it is no folder.
    file: Option<String>,
}

/// What was written to one file, kept until all are done.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Done {
    /// SHA-256 of each tensor, and the bits of its sums in 64 and 32 bits: as decimals they would not be read back
    /// exactly.
    pub(super) tensors: Vec<(String, Option<(u64, u32)>)>,
}

/// How much is done already.
pub(super) enum State {
    /// All.
    Complete(Box<Manifest>),
    /// These files; the lock is held as long as the work goes on.
    Begun(File, BTreeMap<String, Done>),
}

impl Target {
    pub(super) fn folder(dir: &Path) -> Self {
        Self { dir: dir.into(), work: dir.join(UNFINISHED), manifest: dir.join(MANIFEST_FILE), file: None }
    }

    pub(super) fn file(path: &Path) -> Result<Self, WriteError> {
        let name = path.file_name().ok_or_else(|| WriteError::Io {
            path: path.into(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"),
        })?;
        let name = name.to_string_lossy().into_owned();
        let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
        let (work, manifest) = (dir.join(format!(".{name}.unfinished")), super::manifest_path(path));
        Ok(Self { dir, work, manifest, file: Some(name) })
    }

    /// The name of the one file.
    pub(super) fn file_name(&self) -> String {
        self.file.clone().unwrap_or_default()
    }

    /// Where a file is made.
    pub(super) fn unfinished(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Where a file will be.
    pub(super) fn finished(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What stands beside a finished file until all are done.
    fn record(&self, name: &str) -> PathBuf {
        self.work.join(format!("{name}.done"))
    }

    /// Looks what there is, makes room, and locks the place.
    pub(super) fn begin(&self, files: &[FilePlan], job: &str, options: &WriteOptions) -> Result<State, WriteError> {
        let result = self.file.as_ref().map_or(self.dir.clone(), |name| self.dir.join(name));
        let real = |path: &Path| path.canonicalize().ok();
        if let Some(place) = real(&result)
            && options.sources.iter().any(|s| real(s).is_some_and(|s| s == place || s.parent() == Some(&place)))
        {
            return Err(WriteError::OntoItself { path: result });
        }
        if !options.overwrite
            && let Some(manifest) = self.complete(files, job)
        {
            let _ = fs::remove_dir_all(&self.work);
            return Ok(State::Complete(Box::new(manifest)));
        }
        let job_path = self.work.join("job");
        let goes_on = fs::read_to_string(&job_path).is_ok_and(|known| known == job);
        if !goes_on
            && !options.overwrite
            && let Some(path) = self.in_the_way()
        {
            return Err(WriteError::Exists { path });
        }
        fs::create_dir_all(&self.work).map_err(|source| WriteError::Io { path: self.work.clone(), source })?;
        let lock_path = self.work.join("lock");
        let lock = File::create(&lock_path).map_err(|source| WriteError::Io { path: lock_path.clone(), source })?;
        if matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            return Err(WriteError::Busy { path: result });
        }
        let mut done = BTreeMap::new();
        if goes_on {
            for file in files {
                let record = fs::read(self.record(&file.name)).ok();
                let record = record.and_then(|bytes| serde_json::from_slice::<Done>(&bytes).ok());
                let size = fs::metadata(self.finished(&file.name)).map(|m| m.len());
                if let Some(record) = record.filter(|r| r.tensors.len() == file.tensors.len())
                    && size.is_ok_and(|size| size == file.layout.size)
                {
                    done.insert(file.name.clone(), record);
                }
            }
        } else {
            self.clear(options.overwrite)?;
            self.place(&job_path, job.as_bytes())?;
        }
        let missing: u64 = files.iter().filter(|f| !done.contains_key(&f.name)).map(|f| f.layout.size).sum();
        let free = space::free(&self.work).unwrap_or(u64::MAX);
        // What a run before left unfinished will be written over.
        let begun: u64 =
            files.iter().filter_map(|f| fs::metadata(self.unfinished(&f.name)).ok()).map(|m| m.len()).sum();
        if missing > free.saturating_add(begun) {
            return Err(WriteError::Full { path: result, needed: missing, free });
        }
        Ok(State::Begun(lock, done))
    }

    /// The manifest of the same work, when all its files are there.
    fn complete(&self, files: &[FilePlan], job: &str) -> Option<Manifest> {
        let manifest: Manifest = serde_json::from_slice(&fs::read(&self.manifest).ok()?).ok()?;
        let whole = |f: &FilePlan| fs::metadata(self.finished(&f.name)).is_ok_and(|m| m.len() == f.layout.size);
        let there = |name: &String| self.finished(name).is_file();
        (manifest.job == job && files.iter().all(whole) && manifest.files.keys().all(there)).then_some(manifest)
    }

    /// What a result would replace, but for what unfinished work of ours left.
    fn in_the_way(&self) -> Option<PathBuf> {
        let there = match &self.file {
            Some(name) => vec![self.dir.join(name)],
            None => self.weights(),
        };
        let ours = |path: &PathBuf| path.file_name().is_some_and(|n| self.record(&n.to_string_lossy()).exists());
        there.into_iter().find(|path| path.exists() && !ours(path))
    }

    /// The files of weights that are there.
    fn weights(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|e| e.path());
        let mut weights: Vec<PathBuf> = entries.filter(|path| path.is_file() && is_weights(path)).collect();
        weights.sort();
        weights
    }

    /// Takes away what other work left, so that nothing of it is mixed with ours.
    fn clear(&self, overwrite: bool) -> Result<(), WriteError> {
        let old = match &self.file {
            Some(name) => vec![self.dir.join(name), self.manifest.clone()],
            None => [vec![self.manifest.clone()], self.weights()].concat(),
        };
        let left = fs::read_dir(&self.work).into_iter().flatten().flatten().map(|e| e.path());
        let left = left.filter(|path| path.file_name().is_none_or(|name| name != "lock"));
        let listed = if overwrite { self.listed() } else { vec![] };
        // The manifest goes after the files that only it knows of.
        for path in left.chain(listed).chain(old) {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(WriteError::Io { path, source }),
                _ => {}
            }
        }
        Ok(())
    }

    /// The files of a folder that the manifest there lists. Names that lead elsewhere are none of its files.
    fn listed(&self) -> Vec<PathBuf> {
        let manifest = fs::read(&self.manifest).ok().filter(|_| self.file.is_none());
        let Some(manifest) = manifest.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok()) else {
            return vec![];
        };
        let names = manifest.files.keys().chain(manifest.tensors.iter().map(|t| &t.file));
        let plain = names.filter(|name| Path::new(name).file_name().is_some_and(|last| last == name.as_str()));
        let mut listed: Vec<PathBuf> = plain.map(|name| self.dir.join(name)).filter(|path| path.is_file()).collect();
        listed.sort();
        listed.dedup();
        listed
    }

    /// Brings a finished file to the disk and to its place.
    pub(super) fn finish(&self, name: &str, done: &Done) -> Result<(), WriteError> {
        let from = self.unfinished(name);
        let io = |source| WriteError::Io { path: from.clone(), source };
        File::open(&from).and_then(|file| file.sync_all()).map_err(io)?;
        let record = serde_json::to_vec(done).map_err(|e| io(e.into()))?;
        self.place(&self.record(name), &record)?;
        let to = self.finished(name);
        fs::rename(&from, &to).map_err(|source| WriteError::Io { path: to, source })?;
        sync_dir(&self.dir);
        Ok(())
    }

    /// Puts the files that go along into their place; gives their checksums.
    pub(super) fn companion(&self, name: &str, content: &Content) -> Result<String, WriteError> {
        let to = self.finished(name);
        let from = match content {
            Content::Bytes(bytes) => {
                self.place(&to, bytes)?;
                return Ok(hex(&Sha256::digest(bytes)));
            }
            Content::CopyOf(from) => from,
        };
        let read = |source| WriteError::Read { path: from.clone(), source };
        let written = |source| WriteError::Io { path: to.clone(), source };
        small::is_file(from).map_err(read)?;
        let mut source = File::open(from).map_err(read)?;
        let part = self.work.join(format!("{name}.part"));
        let mut copy = File::create(&part).map_err(written)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            let n = source.read(&mut buffer).map_err(read)?;
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
            copy.write_all(&buffer[..n]).map_err(written)?;
        }
        copy.sync_all().and_then(|()| fs::rename(&part, &to)).map_err(written)?;
        Ok(hex(&hash.finalize()))
    }

    /// Writes the manifest, which says that all is done.
    pub(super) fn end(&self, manifest: &Manifest) -> Result<(), WriteError> {
        let json = serde_json::to_string_pretty(manifest)
            .map_err(|e| WriteError::Io { path: self.manifest.clone(), source: e.into() })?;
        self.place(&self.manifest, format!("{json}\n").as_bytes())?;
        // What is left behind here is found and removed by the next run.
        let _ = fs::remove_dir_all(&self.work);
        sync_dir(&self.dir);
        Ok(())
    }

    /// Makes a small file appear whole.
    fn place(&self, to: &Path, bytes: &[u8]) -> Result<(), WriteError> {
        let io = |source| WriteError::Io { path: to.into(), source };
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let from = self.work.join(format!("{name}.part"));
        let mut file = File::create(&from).map_err(io)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&from, to).map_err(io)
    }
}

/// Whether a file's name is one that weights have.
fn is_weights(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stems = ["model", "pytorch_model", "adapter_model", "consolidated"];
    let ends = [".safetensors", ".bin", ".pth", ".index.json"];
    stems.iter().any(|s| name.starts_with(s)) && ends.iter().any(|e| name.ends_with(e))
}

/// A renamed file is certain to be found again once its folder is on the disk. Systems that cannot do that with a
/// folder say so, and do it by themselves.
fn sync_dir(dir: &Path) {
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
