//! Keys and values of the tokens a run has seen.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use half::f16;
use memmap2::MmapMut;

use super::{attention::PIECE, memory::Memory};
use crate::config::ModelConfig;

/// Pieces that are kept for the next run. Memory fresh from the system costs more time than filling it.
const KEPT: usize = 64;

/// Where pieces come from and go back to.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    kept: Arc<Mutex<Vec<MmapMut>>>,
    /// Bytes of a piece.
    bytes: usize,
}

impl Pool {
    /// Of pieces for a model. `half`: keys and values are kept in half precision.
    pub(super) fn new(config: &ModelConfig, half: bool) -> Self {
        let numbers = 2 * config.layers * config.kv_heads * PIECE * config.head_size;
        Self { kept: Arc::default(), bytes: numbers * if half { size_of::<f16>() } else { size_of::<f32>() } }
    }

    /// Bytes of a piece.
    pub(super) fn piece_bytes(&self) -> usize {
        self.bytes
    }

    fn kept(&self) -> MutexGuard<'_, Vec<MmapMut>> {
        self.kept.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A piece with whatever was in it before: a position is written before it is read.
    fn take(&self) -> io::Result<Piece> {
        let kept = self.kept().pop();
        let map = kept.map_or_else(|| Memory::zeros(self.bytes), Ok)?;
        Ok(Piece { map: Some(map), pool: self.clone() })
    }
}

/// Keys and values of [`PIECE`] positions in all layers.
#[derive(Debug)]
pub(super) struct Piece {
    /// Always there, until dropped.
    map: Option<MmapMut>,
    pool: Pool,
}

impl Piece {
    /// Pointers to the keys, `[layer][key/value head][block of 16 positions][head size][16]`, and to the values,
    /// `[layer][key/value head][position][head size]`. They may be written through only by the piece's one owner.
    pub(super) fn pointers(&self) -> (*mut u8, *mut u8) {
        let keys = self.map.as_ref().map_or(std::ptr::null(), |map| map.as_ptr()).cast_mut();
        (keys, keys.wrapping_add(self.pool.bytes / 2))
    }

    /// The same numbers in a piece of its own.
    fn copy(&self) -> io::Result<Self> {
        let mut own = self.pool.take()?;
        if let (Some(to), Some(from)) = (&mut own.map, &self.map) {
            to.copy_from_slice(from);
        }
        Ok(own)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut kept = self.pool.kept();
        if kept.len() < KEPT {
            kept.extend(self.map.take());
        }
    }
}

/// A run's keys and values. Cloning is cheap: pieces are shared until one of them is written.
#[derive(Clone)]
pub(crate) struct Cache {
    pub(super) pieces: Vec<Arc<Piece>>,
    length: usize,
    pool: Pool,
}

impl Cache {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pieces: vec![], length: 0, pool }
    }

    /// Positions filled.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The pieces, as numbers that are equal for a piece that caches share.
    pub(crate) fn pages(&self) -> impl Iterator<Item = usize> {
        self.pieces.iter().map(|piece| Arc::as_ptr(piece) as usize)
    }

    /// Forgets everything after the first `length` positions.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        self.pieces.truncate(self.length.div_ceil(PIECE));
    }

    /// Makes room for `more` positions that may be written, and counts them as filled. Every piece that holds one of
    /// them is then this cache's alone.
    ///
    /// # Errors
    /// There is no memory.
    pub(super) fn extend(&mut self, more: usize) -> io::Result<()> {
        let first = self.length / PIECE;
        let length = self.length + more;
        for piece in self.pieces.iter_mut().skip(first).take(length.div_ceil(PIECE).saturating_sub(first)) {
            if Arc::get_mut(piece).is_none() {
                *piece = Arc::new(piece.copy()?);
            }
        }
        while self.pieces.len() * PIECE < length {
            self.pieces.push(Arc::new(self.pool.take()?));
        }
        self.length = length;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tiny() -> ModelConfig {
        let folder = checkpoint::huggingface::Config {
            model_type: "llama".into(),
            hidden_size: 32,
            intermediate_size: 32,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            vocab_size: 10,
            max_position_embeddings: 1000,
            ..Default::default()
        };
        ModelConfig::from_huggingface(std::path::Path::new("m"), &folder).unwrap()
    }

    #[test]
    fn pieces_are_shared_until_written_and_used_again_when_dropped() {
        let config = tiny();
        let pool = Pool::new(&config, true);
        assert_eq!(Pool::new(&config, false).piece_bytes(), 2 * pool.piece_bytes());
        let mut a = Cache::new(pool.clone());
        a.extend(PIECE + 5).unwrap();
        let mut b = a.clone();
        b.extend(1).unwrap();
        let (of_a, of_b): (Vec<_>, Vec<_>) = (a.pages().collect(), b.pages().collect());
        assert_eq!(of_a[0], of_b[0], "a full piece stays shared");
        assert_ne!(of_a[1], of_b[1], "the one that is written does not");
        b.truncate(PIECE);
        b.extend(0).unwrap();
        assert_eq!((b.len(), b.pages().count()), (PIECE, 1));
        drop((a, b));
        assert_eq!(pool.kept().len(), 3);
        Cache::new(pool.clone()).extend(1).unwrap();
        assert_eq!(pool.kept().len(), 3, "taken and given back");
    }

    /// Where a position's marks are: one among the keys, one among the values.
    fn marks(piece: &Piece, position: usize) -> [*mut u32; 2] {
        let (keys, values) = piece.pointers();
        [keys, values].map(|p| p.cast::<u32>().wrapping_add(position % PIECE))
    }

    /// Appends positions with marks that no other has.
    #[allow(unsafe_code)]
    fn append(cache: &mut Cache, marks_of: &mut Vec<u32>, more: usize, next: &mut u32) {
        let first = cache.len();
        cache.extend(more).unwrap();
        for position in first..first + more {
            let piece = &cache.pieces[position / PIECE];
            assert_eq!(Arc::strong_count(piece), 1, "what is written is this cache's alone");
            // SAFETY: nobody else has the piece, and it has room for more than `PIECE` marks in both halves.
            marks(piece, position).into_iter().for_each(|mark| unsafe { mark.write_unaligned(*next) });
            marks_of.push(*next);
            *next += 1;
        }
    }

    #[allow(unsafe_code)]
    fn check(cache: &Cache, marks_of: &[u32]) {
        assert_eq!((cache.len(), cache.pieces.len()), (marks_of.len(), marks_of.len().div_ceil(PIECE)));
        for (position, want) in marks_of.iter().enumerate() {
            // SAFETY: as above; it was written before.
            let got = marks(&cache.pieces[position / PIECE], position).map(|mark| unsafe { mark.read_unaligned() });
            assert_eq!(got, [*want; 2], "position {position}");
        }
    }

    /// Thousands of runs that begin alike, part, go back and end, in any order.
    #[test]
    fn no_piece_is_lost_or_written_by_two_whatever_runs_do() {
        use rand::{Rng, SeedableRng};
        use std::{collections::BTreeMap, sync::Weak};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let pool = Pool::new(&tiny(), true);
        let mut caches: Vec<(Cache, Vec<u32>)> = vec![];
        let mut ever: BTreeMap<usize, Weak<Piece>> = BTreeMap::new();
        let mut next = 0;
        for step in 0..20_000 {
            let which = rng.random_range(0..caches.len().max(1));
            match rng.random_range(0..10) {
                _ if caches.is_empty() => caches.push((Cache::new(pool.clone()), vec![])),
                0 if caches.len() < 24 => caches.push((Cache::new(pool.clone()), vec![])),
                1 | 2 if caches.len() < 24 => {
                    let alike = caches[which].clone();
                    caches.push(alike);
                }
                3 => drop(caches.swap_remove(which)),
                4 => {
                    let (cache, marks_of) = &mut caches[which];
                    let length = rng.random_range(0..=cache.len() + 3);
                    cache.truncate(length);
                    marks_of.truncate(length);
                }
                _ => {
                    let (cache, marks_of) = &mut caches[which];
                    // Mostly a token, at times a part of a prompt.
                    let more = if rng.random_ratio(1, 4) { rng.random_range(0..150) } else { 1 };
                    if cache.len() + more <= 500 {
                        append(cache, marks_of, more, &mut next);
                    }
                }
            }
            if step % 16 == 0 {
                caches.iter().for_each(|(cache, marks_of)| check(cache, marks_of));
            }
            // What is alive is what some cache has, once.
            let held: BTreeMap<usize, Weak<Piece>> = caches
                .iter()
                .flat_map(|(cache, _)| cache.pages().zip(cache.pieces.iter().map(Arc::downgrade)))
                .collect();
            ever.retain(|_, piece| piece.strong_count() > 0);
            assert!(ever.keys().all(|piece| held.contains_key(piece)), "a piece is kept by nobody's cache");
            ever.extend(held);
        }
        assert!(next > 50_000, "{next}");
        drop(caches);
        assert!(ever.values().all(|piece| piece.strong_count() == 0));
        assert_eq!(pool.kept().len(), KEPT, "and no more than these are kept for the next");
    }
}
