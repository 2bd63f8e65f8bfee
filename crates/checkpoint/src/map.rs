//! The one place where a file becomes memory.

use std::{fs::File, io, path::Path};

use crate::small;

/// A file mapped read-only, or what was unpacked of one.
#[derive(Debug)]
pub(crate) struct Mapped {
    map: memmap2::Mmap,
    /// Whether what is let go of can be read again.
    of_file: bool,
}

impl Mapped {
    /// Maps a file.
    ///
    /// # Errors
    /// The file cannot be opened or mapped; an empty file cannot be mapped.
    #[allow(unsafe_code)]
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        small::is_file(path)?;
        let file = File::open(path)?;
        // SAFETY: the map is read-only and lives as long as `self`. What a map cannot guard against is
        // another program shortening the file while we read it: the system then ends this program.
        // Model files are written once and replaced by renaming, which leaves an open map as it was.
        unsafe { memmap2::Mmap::map(&file) }.map(|map| Self { map, of_file: true })
    }

    /// Memory of its own, filled once.
    ///
    /// # Errors
    /// There is not so much memory, or it could not be filled.
    pub(crate) fn filled(length: usize, fill: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Self> {
        let mut map = memmap2::MmapMut::map_anon(length.max(1))?;
        fill(map.get_mut(..length).unwrap_or_default())?;
        Ok(Self { map: map.make_read_only()?, of_file: false })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Says that a part will be read soon, so that the system can begin to fetch it.
    pub(crate) fn soon(&self, from: usize, length: usize) {
        let length = length.min(self.map.len().saturating_sub(from));
        if length > 0 {
            // It is a hint: a system that does not take it reads all the same.
            #[cfg(unix)]
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, from, length);
        }
    }

    /// Says that a part is read now: its pages are brought into the map at once, not each when it is first touched.
    pub(crate) fn now(&self, from: usize, length: usize) {
        let length = length.min(self.map.len().saturating_sub(from));
        if length > 0 {
            // A system that does not know the hint brings them as they are touched.
            #[cfg(target_os = "linux")]
            let _ = self.map.advise_range(memmap2::Advice::PopulateRead, from, length);
        }
    }

    /// [`Mapped::done`] for a part given by its bytes; those of another map are left alone.
    pub(crate) fn done_with(&self, part: &[u8]) {
        let (own, part) = (self.map.as_ptr_range(), part.as_ptr_range());
        if own.start <= part.start && part.end <= own.end {
            self.done(part.start.addr() - own.start.addr(), part.end.addr() - part.start.addr());
        }
    }

    /// Says that a part will not be read soon again, so that it is not counted as this program's memory any longer. What
    /// is read all the same comes from the file once more.
    #[allow(unsafe_code)]
    pub(crate) fn done(&self, from: usize, length: usize) {
        #[cfg(unix)]
        if self.of_file {
            // The page that it begins in goes too: what is before it was read before.
            let first = from / PAGE * PAGE;
            let last = (from + length).min(self.map.len()) / PAGE * PAGE;
            if first < last {
                // SAFETY: the map is of a file and nothing is ever written to it, so no page has anything that is not in
                // the file: a page that was let go of and is read again has the same bytes.
                let _ =
                    unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, first, last - first) };
            }
        }
        #[cfg(not(unix))]
        let _ = (from, length);
    }
}

/// A multiple of every system's page size.
#[cfg(unix)]
const PAGE: usize = 1 << 16;
