//! What is left of a result that nobody goes on with.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use checkpoint::write::{UNFINISHED, manifest_path};

use super::{calibrate, road, state};

/// Where a result that is a single file is made until it is whole.
pub fn beside(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.unfinished"))
}

/// Whether writing a result was begun and not ended.
pub fn is_begun(out: &Path) -> bool {
    !manifest_path(out).is_file() && [out.join(UNFINISHED), beside(out)].iter().any(|folder| is_folder(folder))
}

/// Removes what is unfinished of a result. One that is whole stays, and so does what this program did not write.
///
/// # Errors
/// Something cannot be removed.
pub fn remove(out: &Path) -> io::Result<()> {
    calibrate::sweep(out);
    if manifest_path(out).is_file() {
        return Ok(());
    }
    if is_folder(&beside(out)) {
        fs::remove_dir_all(beside(out))?;
    }
    if !is_folder(out) {
        return Ok(());
    }
    if is_folder(&out.join(UNFINISHED)) {
        return fs::remove_dir_all(out);
    }
    if state::is_road(out) { road::abandon(out) } else { Ok(()) }
}

/// Whether it is a folder itself, not a link to one.
fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}
