//! Small helpers over files: checksums, copies that leave unchanged files alone.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The sha256 of a file, in hex.
///
/// # Errors
/// The file cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("could not open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).with_context(|| format!("could not read {}", path.display()))?;
        let Some(part) = buffer.get(..n).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file unless it has that content already, so that its time tells of real changes only.
///
/// # Errors
/// The file or its folder cannot be written.
pub fn write_if_changed(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("could not make the folder {}", folder.display()))?;
    }
    fs::write(path, content).with_context(|| format!("could not write {}", path.display()))?;
    Ok(true)
}

/// Every file below a folder; none when there is no such folder.
///
/// # Errors
/// A folder cannot be read.
pub fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    let entries = fs::read_dir(folder).with_context(|| format!("could not read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("could not read the folder {}", folder.display()))?.path();
        if path.is_dir() {
            found.extend(below(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Copies a folder's files into another folder; files already the same are left alone.
///
/// # Errors
/// Something cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for path in below(from)? {
        let Ok(relative) = path.strip_prefix(from) else { continue };
        let content = fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        write_if_changed(&to.join(relative), &content)?;
    }
    Ok(())
}

/// An empty folder for a test, named after it.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("knowlm-xtask-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_sha256sum_prints() {
        let file = scratch("checksum").join("abc");
        fs::write(&file, "abc").unwrap();
        assert_eq!(sha256(&file).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_file_that_already_has_the_content_is_left_alone() {
        let folder = scratch("write");
        let file = folder.join("deep/file");
        assert!(write_if_changed(&file, b"a").unwrap());
        assert!(!write_if_changed(&file, b"a").unwrap());
        assert!(write_if_changed(&file, b"b").unwrap());
        assert_eq!(below(&folder).unwrap(), [file]);
    }
}
