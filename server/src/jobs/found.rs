//! What lies where models and adapters are sought.

use std::path::{Path, PathBuf};

use checkpoint::{
    adapter, find,
    known::{self, PublishedModel},
    write::{MANIFEST_FILE, UNFINISHED},
};
use protocol::job::FoundFiles;

/// The most that are listed of each kind.
const MOST: usize = 200;

/// The folders that have `models` and `adapters`, the data folder first.
pub fn places(data_dir: &Path) -> Vec<PathBuf> {
    let places = [Some(data_dir.to_owned()), find::platform_data_dir(), find::assets_dir()];
    let mut places: Vec<PathBuf> = places.into_iter().flatten().collect();
    places.dedup();
    places
}

/// Published models that can be fetched.
pub fn published() -> impl Iterator<Item = &'static PublishedModel> {
    known::published().models.iter().filter(|model| model.made_with.is_none())
}

/// The models that are there.
pub fn models(data_dir: &Path) -> Vec<FoundFiles> {
    found(data_dir, "models", |path, files| {
        let ends = |endings: &[&str]| files.iter().any(|(name, _)| endings.iter().any(|end| name.ends_with(end)));
        let unfinished = path.join(UNFINISHED).is_dir() && !path.join(MANIFEST_FILE).is_file();
        match path.is_dir() {
            true => ends(&[".safetensors", ".bin", ".pth", ".gguf"]) && !unfinished,
            false => ends(&[".gguf", ".safetensors", ".bin", ".pth", ".npz"]),
        }
    })
}

/// The adapters that are there.
pub fn adapters(data_dir: &Path) -> Vec<FoundFiles> {
    found(data_dir, "adapters", |path, _| adapter::is_adapter(path))
}

fn found(data_dir: &Path, kind: &str, fits: impl Fn(&Path, &[(String, u64)]) -> bool) -> Vec<FoundFiles> {
    let mut all: Vec<FoundFiles> = Vec::new();
    for place in places(data_dir) {
        let Ok(entries) = std::fs::read_dir(place.join(kind)) else { continue };
        for path in entries.flatten().map(|entry| entry.path()).take(10 * MOST) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.'))
            else {
                continue;
            };
            let files = files(&path);
            if all.iter().all(|one| one.name != name) && fits(&path, &files) {
                let bytes = files.iter().map(|(_, bytes)| bytes).sum();
                all.push(FoundFiles { name: name.into(), bytes, own: place == data_dir });
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.truncate(MOST);
    all
}

/// Names and sizes of the files of a folder, or of the one file.
fn files(path: &Path) -> Vec<(String, u64)> {
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let size = |path: &Path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().filter_map(|e| Some((name(&e.path()), size(&e.path())?))).collect(),
        Err(_) => size(path).map(|bytes| (name(path), bytes)).into_iter().collect(),
    }
}

/// Bytes that are free on the disk of a folder.
pub fn free(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let there = folder.ancestors().find(|place| place.is_dir())?;
        let disk = rustix::fs::statvfs(there).ok()?;
        disk.f_bavail.checked_mul(disk.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}
