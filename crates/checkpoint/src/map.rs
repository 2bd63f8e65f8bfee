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

    /// Says that a part will be read soon, so that the system can begin to fetch it.
    pub(crate) fn soon(&self, from: usize, length: usize) {
        let length = length.min(self.0.len().saturating_sub(from));
        if length > 0 {
            // It is a hint: a system that does not take it reads all the same.
            #[cfg(unix)]
            let _ = self.0.advise_range(memmap2::Advice::WillNeed, from, length);
        }
    }

    /// Says that a part is read now: its pages are brought into the map at once, not each when it is first touched.
    pub(crate) fn now(&self, from: usize, length: usize) {
        let length = length.min(self.0.len().saturating_sub(from));
        if length > 0 {
            // A system that does not know the hint brings them as they are touched.
            #[cfg(target_os = "linux")]
            let _ = self.0.advise_range(memmap2::Advice::PopulateRead, from, length);
        }
    }

    /// [`Mapped::done`] for a part given by its bytes; those of another map are left alone.
    pub(crate) fn done_with(&self, part: &[u8]) {
        let (own, part) = (self.0.as_ptr_range(), part.as_ptr_range());
        if own.start <= part.start && part.end <= own.end {
            self.done(part.start.addr() - own.start.addr(), part.end.addr() - part.start.addr());
        }
    }

    /// Says that a part will not be read soon again, so that it is not counted as this program's memory any longer. What
    /// is read all the same comes from the file once more.
    #[allow(unsafe_code)]
    pub(crate) fn done(&self, from: usize, length: usize) {
        #[cfg(unix)]
        {
            // The page that it begins in goes too: what is before it was read before.
            let first = from / PAGE * PAGE;
            let last = (from + length).min(self.0.len()) / PAGE * PAGE;
            if first < last {
                // SAFETY: the map is of a file and nothing is ever written to it, so no page has anything that is not in
                // the file: a page that was let go of and is read again has the same bytes.
                let _ =
                    unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, first, last - first) };
            }
        }
        #[cfg(not(unix))]
        let _ = (from, length);
    }
}

/// A multiple of every system's page size.
#[cfg(unix)]
const PAGE: usize = 1 << 16;
