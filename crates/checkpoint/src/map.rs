//! The one place where a file becomes memory.

use std::{fs::File, io, path::Path};

/// A file mapped read-only.
#[derive(Debug)]
pub(crate) struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps a file.
    ///
    /// # Errors
    /// The file cannot be opened or mapped; an empty file cannot be mapped.
    #[allow(unsafe_code)]
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        // SAFETY: the map is read-only and lives as long as `self`. What a map cannot guard against is
        // another program shortening the file while we read it: the system then ends this program.
        // Model files are written once and replaced by renaming, which leaves an open map as it was.
        unsafe { memmap2::Mmap::map(&file) }.map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
