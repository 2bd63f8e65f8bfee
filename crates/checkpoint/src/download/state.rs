//! What a file's download has brought so far, kept beside the unfinished file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

/// Pieces are what one request asks for.
const LEAST_PIECE: u64 = 4 << 20;
const MOST_PIECE: u64 = 64 << 20;
/// No state is larger: a piece takes some ten bytes.
const MAX_STATE: u64 = 1 << 20;

/// How far the pieces of a file are.
#[derive(Debug)]
pub(super) struct State {
    /// What is fetched: a checksum, or the address where there is none.
    identity: String,
    size: u64,
    piece: u64,
    /// Bytes that each piece has, from its beginning.
    done: Vec<AtomicU64>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    identity: String,
    size: u64,
    piece: u64,
    done: Vec<u64>,
}

impl State {
    /// Of a file of which nothing is there; in one piece where the server cannot send parts.
    pub(super) fn new(identity: &str, size: u64, parts: usize, whole: bool) -> Self {
        // Several pieces a part, so that a slow part is not waited for; few enough for a small state.
        let some = size / (parts.max(1) as u64 * 4);
        let piece = if whole { size } else { some.clamp(LEAST_PIECE, MOST_PIECE) }.max(1);
        let piece = piece.max(size / 50_000);
        let count = size.div_ceil(piece);
        Self { identity: identity.into(), size, piece, done: (0..count).map(|_| AtomicU64::new(0)).collect() }
    }

    /// What was stored for this very file, if it makes sense.
    pub(super) fn load(part: &Path, identity: &str, size: u64) -> Option<Self> {
        let path = beside(part);
        let meta = fs::metadata(&path).ok().filter(|m| m.len() <= MAX_STATE)?;
        let stored: Stored = serde_json::from_slice(&fs::read(&path).ok().filter(|_| meta.is_file())?).ok()?;
        let Stored { version, identity: of, size: whole, piece, done } = stored;
        let fits =
            version == 1 && of == identity && whole == size && piece > 0 && size.div_ceil(piece) == done.len() as u64;
        if !fits || fs::metadata(part).ok()?.len() != size {
            return None;
        }
        let state = Self { identity: of, size, piece, done: done.into_iter().map(AtomicU64::new).collect() };
        (0..state.pieces()).all(|n| state.done(n) <= state.length(n)).then_some(state)
    }

    /// Writes it down; what it tells of must be on the disk already.
    pub(super) fn store(&self, part: &Path, done: Vec<u64>) -> io::Result<()> {
        let Self { identity, size, piece, .. } = self;
        let stored = Stored { version: 1, identity: identity.clone(), size: *size, piece: *piece, done };
        let path = beside(part);
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        fs::write(&temporary, serde_json::to_vec(&stored)?)?;
        fs::rename(temporary, path)
    }

    /// Forgets what was stored.
    pub(super) fn forget(part: &Path) {
        let _ = fs::remove_file(beside(part));
    }

    pub(super) fn pieces(&self) -> usize {
        self.done.len()
    }

    /// First byte of a piece.
    pub(super) fn start(&self, piece: usize) -> u64 {
        piece as u64 * self.piece
    }

    /// Bytes of a piece.
    pub(super) fn length(&self, piece: usize) -> u64 {
        self.size.saturating_sub(self.start(piece)).min(self.piece)
    }

    /// Bytes of a piece that are there.
    pub(super) fn done(&self, piece: usize) -> u64 {
        self.done.get(piece).map_or(0, |done| done.load(Ordering::Acquire))
    }

    pub(super) fn set(&self, piece: usize, bytes: u64) {
        if let Some(done) = self.done.get(piece) {
            done.store(bytes, Ordering::Release);
        }
    }

    /// How far each piece is now.
    pub(super) fn all(&self) -> Vec<u64> {
        (0..self.pieces()).map(|n| self.done(n)).collect()
    }

    /// Bytes that are there.
    pub(super) fn total(&self) -> u64 {
        self.all().iter().sum()
    }
}

fn beside(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pieces_cover_the_file_once() {
        for size in [0, 1, LEAST_PIECE - 1, LEAST_PIECE, LEAST_PIECE + 1, 10 << 30, 1 << 50] {
            let state = State::new("x", size, 4, false);
            assert_eq!((0..state.pieces()).map(|n| state.length(n)).sum::<u64>(), size);
            assert!(state.pieces() <= 50_001, "{size}");
        }
        assert_eq!(State::new("x", 10 << 30, 4, true).pieces(), 1);
    }

    #[test]
    fn a_state_is_believed_only_for_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("x.part");
        let size = LEAST_PIECE * 3;
        fs::File::create(&part).unwrap().set_len(size).unwrap();
        let state = State::new("sum", size, 1, false);
        state.set(1, 77);
        state.store(&part, state.all()).unwrap();
        assert_eq!(State::load(&part, "sum", size).unwrap().total(), 77);
        assert!(State::load(&part, "other", size).is_none());
        assert!(State::load(&part, "sum", size + 1).is_none());
        state.store(&part, vec![0, LEAST_PIECE + 1, 0]).unwrap();
        assert!(State::load(&part, "sum", size).is_none(), "more than a piece has");
        state.store(&part, vec![0; 2]).unwrap();
        assert!(State::load(&part, "sum", size).is_none(), "too few pieces");
        state.store(&part, state.all()).unwrap();
        fs::File::create(&part).unwrap().set_len(size - 1).unwrap();
        assert!(State::load(&part, "sum", size).is_none(), "the unfinished file is another one");
        State::forget(&part);
        assert!(State::load(&part, "sum", size).is_none());
    }

    proptest! {
        #[test]
        fn no_state_panics(text in "[{}\\[\\]\",:0-9a-z]{0,80}") {
            let dir = tempfile::tempdir().unwrap();
            let part = dir.path().join("x.part");
            fs::write(&part, "abc").unwrap();
            fs::write(dir.path().join("x.part.json"), text).unwrap();
            let _ = State::load(&part, "", 3);
        }
    }
}
