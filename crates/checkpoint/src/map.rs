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
            if windows.show(self.number, from, length).is_none() {
                let bytes = windows.renew(self.number, from);
                bytes.resize(WINDOW.min(end.saturating_sub(from)), 0);
                self.copy(from, bytes);
            }
            look(windows.show(self.number, from, length).unwrap_or_default())
        })
    }

    /// Reads a part from the file; `false` where it cannot be read so.
    ///
    /// Parts that follow each other are read in such steps that none of the cache's long pages is asked for twice: what goes
    /// past the cache is gone from there once it was read in part, and to fetch it again is to wait behind all that is being
    /// written.
    #[cfg(unix)]
    fn fetch(&self, from: usize, out: &mut [u8]) -> bool {
        let Some(file) = &self.file else { return false };
        EDGES.with_borrow_mut(|edges| {
            let known = edges.longest(self.number, from);
            let (begun, out) = out.split_at_mut(known.len().min(out.len()));
            begun.copy_from_slice(&known[..begun.len()]);
            if out.is_empty() {
                return true;
            }
            let from = from + begun.len();
            // Up to the long page's end, for the part that follows.
            let end = from + out.len();
            let edge = edges.renew(self.number, end);
            edge.resize(end.next_multiple_of(WINDOW).min(self.map.len()).saturating_sub(end), 0);
            let is_read = crate::stream::read(file, from as u64, out, edge).is_ok();
            if !is_read {
                edge.clear();
            }
            is_read
        })
    }

    #[cfg(not(unix))]
    fn fetch(&self, _: usize, _: &mut [u8]) -> bool {
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
pub(crate) const PAGE: usize = 1 << 16;

/// Part of a file that a thread has in memory.
struct Window {
    /// The number of its map.
    of: u64,
    from: usize,
    bytes: Vec<u8>,
}

impl Window {
    /// What it has from a place of a file on, which may be nothing.
    fn from(&self, of: u64, from: usize) -> &[u8] {
        let at = if self.of == of { from.checked_sub(self.from) } else { None };
        at.and_then(|at| self.bytes.get(at..)).unwrap_or_default()
    }
}

/// Bytes of a window: so many at once are read at the disk's speed, and no page of a system's cache is longer where it reads
/// ahead.
const WINDOW: usize = 1 << 21;

/// The windows of a thread, that which was looked at last first.
struct Windows(Vec<Window>);

/// A thread works on two models at once at most.
const MOST_WINDOWS: usize = 2;

impl Windows {
    /// So many bytes from a place of a file on, where they are in one of the windows.
    fn show(&mut self, of: u64, from: usize, length: usize) -> Option<&[u8]> {
        let place = self.0.iter().position(|window| window.from(of, from).len() >= length)?;
        self.0[..=place].rotate_right(1);
        self.0[0].from(of, from).get(..length)
    }

    /// As many bytes from a place of a file on as there are in one of the windows.
    #[cfg(unix)]
    fn longest(&self, of: u64, from: usize) -> &[u8] {
        self.0.iter().map(|window| window.from(of, from)).max_by_key(|bytes| bytes.len()).unwrap_or_default()
    }

    /// A window for another part, in the place of that which was looked at the longest ago: its bytes, to be filled.
    fn renew(&mut self, of: u64, from: usize) -> &mut Vec<u8> {
        let old = if self.0.len() < MOST_WINDOWS { None } else { self.0.pop() };
        let bytes = old.map(|window| window.bytes).unwrap_or_default();
        self.0.insert(0, Window { of, from, bytes });
        &mut self.0[0].bytes
    }
}

thread_local! {
    static WINDOWS: RefCell<Windows> = const { RefCell::new(Windows(Vec::new())) };
    /// What was read beyond the parts that were asked for.
    #[cfg(unix)]
    static EDGES: RefCell<Windows> = const { RefCell::new(Windows(Vec::new())) };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Parts of every length, one behind the other and not, of two files at once.
    #[test]
    fn what_is_read_in_parts_is_what_the_file_has() {
        let dir = tempfile::tempdir().unwrap();
        let contents =
            [3usize, 5].map(|odd| (0..7_000_003 * odd / 5).map(|i| (i * odd % 251) as u8).collect::<Vec<u8>>());
        let files: Vec<Mapped> = (0..)
            .zip(&contents)
            .map(|(i, content)| {
                let path = dir.path().join(format!("{i}"));
                std::fs::write(&path, content).unwrap();
                Mapped::open(&path).unwrap()
            })
            .collect();
        for length in [WINDOW / 2, WINDOW - 1, WINDOW, WINDOW + 4097, 3_000_000] {
            for (from, jump) in [(0, 0), (1, 0), (65_537, 0), (7, 12_345), (WINDOW, 0)] {
                let mut out = vec![0; length];
                for from in (from..9_000_000).step_by(length + jump) {
                    for (file, content) in files.iter().zip(&contents) {
                        let n = content.len().saturating_sub(from).min(length);
                        file.copy(from, &mut out[..n]);
                        assert!(out[..n] == content[from.min(content.len())..][..n], "{n} from {from}");
                        let shown = file.show(from, 4099, from + length, |bytes| bytes.to_vec());
                        assert!(shown == content[from.min(content.len())..][..n.min(4099)], "{n} from {from}");
                    }
                }
            }
        }
    }
}
