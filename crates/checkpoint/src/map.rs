//! The one place where a file becomes memory.

use std::{
    cell::RefCell,
    fs::File,
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::small;

/// A file mapped read-only, or what was unpacked of one.
#[derive(Debug)]
pub(crate) struct Mapped {
    map: memmap2::Mmap,
    /// The file, where it is of one: what is let go of can be read again.
    file: Option<File>,
    /// No other has it as long as the program runs.
    number: u64,
}

/// A number that was not given before.
fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
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
        let map = unsafe { memmap2::Mmap::map(&file) }?;
        Ok(Self { map, file: Some(file), number: number() })
    }

    /// Memory of its own, filled once.
    ///
    /// # Errors
    /// There is not so much memory, or it could not be filled.
    pub(crate) fn filled(length: usize, fill: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Self> {
        let mut map = memmap2::MmapMut::map_anon(length.max(1))?;
        fill(map.get_mut(..length).unwrap_or_default())?;
        Ok(Self { map: map.make_read_only()?, file: None, number: number() })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Copies a part, as much of it as there is.
    pub(crate) fn copy(&self, from: usize, out: &mut [u8]) {
        // What cannot be read from the file so is read in the map, which has its own way of failing.
        if out.len() >= WINDOW / 2 && self.fetch(from, out) {
            return;
        }
        let there = self.map.get(from..).unwrap_or_default();
        let n = there.len().min(out.len());
        out[..n].copy_from_slice(&there[..n]);
    }

    /// Shows a part, as much of it as there is. Who asks for one part after the other gets them of a window that ends
    /// before `end`. Nothing is brought into the map: a window costs less than as many pages that appear in the map, are
    /// read once and disappear again.
    pub(crate) fn show<R>(&self, from: usize, length: usize, end: usize, look: impl FnOnce(&[u8]) -> R) -> R {
        let end = end.min(self.map.len());
        let length = length.min(end.saturating_sub(from));
        if length == 0 {
            return look(&[]);
        }
        if self.file.is_none() || length > WINDOW {
            return look(&self.map[from..][..length]);
        }
        WINDOWS.with_borrow_mut(|windows| {
            let has = |w: &Window| w.of == self.number && w.from <= from && from + length <= w.from + w.bytes.len();
            let place = match windows.iter().position(has) {
                Some(place) => place,
                None => {
                    // In the place of that which was looked at the longest ago.
                    let old = if windows.len() < MOST_WINDOWS { None } else { windows.pop() };
                    let mut window = old.unwrap_or(Window { of: self.number, from, bytes: vec![] });
                    window.bytes.resize(WINDOW.min(end.saturating_sub(from)), 0);
                    self.copy(from, &mut window.bytes);
                    (window.of, window.from) = (self.number, from);
                    windows.push(window);
                    windows.len() - 1
                }
            };
            windows[..=place].rotate_right(1);
            look(&windows[0].bytes[from - windows[0].from..][..length])
        })
    }

    /// Reads a part from the file; `false` where it cannot be read so.
    fn fetch(&self, from: usize, out: &mut [u8]) -> bool {
        #[cfg(unix)]
        return self.file.as_ref().is_some_and(|file| crate::stream::read(file, from as u64, out).is_ok());
        #[cfg(not(unix))]
        false
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
        if self.file.is_some() {
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

/// Part of a file that a thread has in memory.
struct Window {
    /// The number of its map.
    of: u64,
    from: usize,
    bytes: Vec<u8>,
}

/// Bytes of a window: so many at once are read at the disk's speed.
const WINDOW: usize = 1 << 21;

/// A thread works on two models at once at most.
const MOST_WINDOWS: usize = 2;

thread_local! {
    /// The windows of this thread, that which was looked at last first.
    static WINDOWS: RefCell<Vec<Window>> = const { RefCell::new(Vec::new()) };
}
