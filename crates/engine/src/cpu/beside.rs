//! Matrices that a step goes through as if they were one.

use std::ops::Range;

use super::{pack::Packed, tiles::Soon};

/// Matrices side by side; their tiles are counted through.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a, const N: usize>(pub(super) [&'a Packed; N]);

impl<'a, const N: usize> Beside<'a, N> {
    /// Tiles of all.
    pub(super) fn tiles(&self) -> usize {
        self.0.iter().map(|m| m.tiles()).sum()
    }

    /// Of the matrices that have some of a range of tiles: which it is, and which of its own these are.
    pub(super) fn parts(&self, range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let mut first = 0;
        self.0.into_iter().enumerate().filter_map(move |(i, m)| {
            let own = first..first + m.tiles();
            first = own.end;
            let (from, to) = (range.start.max(own.start), range.end.min(own.end));
            (from < to).then(|| (i, from - own.start..to - own.start))
        })
    }

    /// Where a tile begins, if there is such a one.
    pub(super) fn soon(&self, tile: usize) -> Soon {
        self.parts(tile..tile + 1).next().map_or(Soon::NOTHING, |(i, own)| Soon::of(self.0[i].tile(own.start)))
    }

    /// Where a thread begins to read them that has the part from `first` on, of `of`.
    pub(super) fn start(&self, first: usize, of: usize) -> Soon {
        self.soon(self.tiles() * first / of)
    }
}
