//! Holds tensors against the manifest that was written with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Problem, hex, sums::Counter};
use crate::{
    huggingface::read_json,
    source::Source,
    write::{MANIFEST_FILE, Manifest, Written, manifest_path},
};

/// What came of holding tensors against a manifest.
#[derive(Clone, Debug, Serialize)]
pub struct TensorReport {
    /// The manifest's name.
    pub manifest: String,
    /// What wrote it: `recover`.
    pub operation: String,
    /// Tensors that it names.
    pub checked: usize,
    /// Tensors that are as it says.
    pub right: usize,
}

/// How what was written by this program is got again.
const REMEDY: &str = "make it again with the command that wrote it, or copy the file again from where it came";

/// The manifest of a folder or file, and the name of one file when only that is asked about.
pub(super) fn find(path: &Path) -> Option<Result<(Manifest, String), Problem>> {
    let mut place = manifest_path(path);
    if !place.is_file() {
        place = path.parent()?.join(MANIFEST_FILE);
        if path.is_dir() || !place.is_file() {
            return None;
        }
    }
    let name = place.file_name()?.to_string_lossy().into_owned();
    Some(match read_json::<Manifest>(&place) {
        Ok(manifest) => Ok((manifest, name)),
        Err(error) => {
            let what = error.to_string().replace(&format!("{} ", place.display()), "it ");
            Err(Problem { file: name, tensor: None, what, remedy: REMEDY.into() })
        }
    })
}

/// Holds the tensors of a folder against a manifest; those of one file, where `only` names it.
pub(super) fn compare(
    manifest: &Manifest,
    name: &str,
    folder: &Path,
    only: Option<&str>,
    threads: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> (TensorReport, Vec<Problem>) {
    let wrong = |written: &Written, what: String| Problem {
        file: written.file.clone(),
        tensor: Some(written.name.clone()),
        what,
        remedy: REMEDY.into(),
    };
    let listed: Vec<&Written> =
        manifest.tensors.iter().filter(|written| only.is_none_or(|file| written.file == file)).collect();
    let files: BTreeSet<&str> = listed.iter().map(|written| written.file.as_str()).collect();
    let is_name = |file: &&str| Path::new(file).file_name().is_some_and(|last| last == *file);
    // A file that cannot be opened was said to be so already.
    let sources: BTreeMap<&str, Source> = files
        .into_iter()
        .filter(is_name)
        .filter_map(|file| Some((file, Source::open_only(&folder.join(file)).ok()?)))
        .collect();
    let bytes = |written: &&Written| {
        sources.get(written.file.as_str()).and_then(|s| Some(s.tensor(&written.name)?.info.bytes()))
    };
    let counter = Counter::new(listed.iter().filter_map(bytes).map(|n| n as u64).sum(), progress);
    let check = |written: &Written| -> Result<(), String> {
        let source = sources.get(written.file.as_str()).ok_or("its file cannot be read")?;
        let tensor =
            source.tensor(&written.name).ok_or_else(|| format!("{name} names it, the file does not have it"))?;
        let has = (tensor.info.element.name(), &tensor.info.shape);
        if has != (written.element.as_str(), &written.shape) {
            return Err(format!("it is {} {:?}; {name} says {} {:?}", has.0, has.1, written.element, written.shape));
        }
        let numbers = tensor.numbers.whole().ok_or("its numbers do not lie one after the other")?;
        let mut hash = Sha256::new();
        for part in numbers.chunks(8 << 20) {
            hash.update(part);
            counter.add(part.len() as u64);
        }
        let found = hex(&hash.finalize());
        match found.eq_ignore_ascii_case(&written.sha256) {
            true => Ok(()),
            false => Err(format!("its numbers have the sha256 {found}; {name} says {}", written.sha256)),
        }
    };
    let next = AtomicUsize::new(0);
    let problems = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, listed.len().max(1)) {
            scope.spawn(|| {
                while let Some(written) = listed.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(what) = check(written) {
                        problems.lock().unwrap_or_else(|e| e.into_inner()).push(wrong(written, what));
                    }
                }
            });
        }
    });
    let mut problems = problems.into_inner().unwrap_or_else(|e| e.into_inner());
    problems.sort_by(|a, b| (&a.file, &a.tensor).cmp(&(&b.file, &b.tensor)));
    let right = listed.len() - problems.len();
    let report =
        TensorReport { manifest: name.into(), operation: manifest.operation.clone(), checked: listed.len(), right };
    (report, problems)
}
