//! How much room a disk has.

use std::path::Path;

/// Bytes that are free where a folder is or will be; none where the system does not say.
#[cfg(unix)]
pub(crate) fn free(folder: &Path) -> Option<u64> {
    let absolute = std::path::absolute(folder).ok()?;
    let there = absolute.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(not(unix))]
pub(crate) fn free(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_its_disk() {
        let dir = std::env::temp_dir();
        assert!(super::free(&dir).is_some_and(|bytes| bytes > 0));
        assert!(super::free(&dir.join("not/yet/there")).is_some());
    }
}
