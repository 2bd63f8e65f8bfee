//! Softmax attention over a run's keys and values.
//!
//! Queries that look at the same keys (the heads of a group, neighbouring rows of a prompt) are computed together:
//! a block of keys then comes from memory once for all of them. A query's additions have the same order alone and
//! together.
#![allow(unsafe_code)]

use half::f16;

use super::{simd::Simd, tiles::Soon};

/// One head's keys and values, in pieces of [`PIECE`] positions.
pub(super) struct History<'a> {
    /// Keys and values of each piece.
    pub(super) pieces: &'a [(*mut u8, *mut u8)],
    /// Whether they are kept in half precision; otherwise they are `f32`.
    pub(super) half: bool,
    /// Where this head's begin in each: keys in blocks of 16 positions, each `[head size][16]`; values as
    /// `[position][head size]`.
    pub(super) from: usize,
    pub(super) head_size: usize,
    /// Whether they must be brought from memory.
    pub(super) far: bool,
}

impl History<'_> {
    /// Where the keys begin.
    pub(super) fn keys(&self) -> Soon {
        let bytes = if self.half { 2 } else { 4 };
        self.pieces.first().map_or(Soon::NOTHING, |piece| Soon::at(piece.0.wrapping_add(self.from * bytes)))
    }
}

/// Positions of a piece of a cache.
pub(super) const PIECE: usize = 64;

/// One head of one row.
pub(super) struct Query<'a> {
    pub(super) numbers: &'a [f32],
    /// The first position that it looks at.
    pub(super) from: usize,
    /// One past the last.
    pub(super) to: usize,
    /// The weighted mean of their values.
    pub(super) out: &'a mut [f32],
}

/// How keys and values are kept.
trait Stored {
    /// Sixteen of them.
    ///
    /// # Safety
    /// There are sixteen at `p`, and the processor has the instruction set.
    unsafe fn load<S: Simd>(p: *const Self) -> S::F;
}

impl Stored for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { S::load(p) }
    }
}

impl Stored for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::F {
        // SAFETY: the caller's promise; an `f16` is its sixteen bits.
        unsafe { S::load_f16(p.cast()) }
    }
}

/// Numbers of scratch for each query at once.
pub(super) fn scratch(positions: usize) -> usize {
    positions.next_multiple_of(16)
}

/// Queries that are computed at once at most.
pub(super) const TOGETHER: usize = 4;

kernels! {
    /// Attention of some queries of one key/value head. `scores` has [`scratch`] numbers of the longest history for
    /// each of [`TOGETHER`]. `then`: the keys that are looked at next. What is no number among the keys that a query looks at is seen in its result.
    fn attend(queries: &mut [Query<'_>], history: &History<'_>, then: Soon, scores: &mut [f32]);
}

// Loops over registers read best by number.
#[allow(clippy::needless_range_loop)]
mod generic {
    use super::*;

    #[inline(always)]
    pub(super) unsafe fn attend<S: Simd>(
        queries: &mut [Query<'_>],
        history: &History<'_>,
        then: Soon,
        scores: &mut [f32],
    ) {
        let mut rest = queries;
        let mut then = history.far.then_some(then);
        macro_rules! block {
            ($n:literal) => {
                while $n <= S::QUERIES && rest.len() >= $n {
                    let (some, others) = rest.split_at_mut($n);
                    // SAFETY: `together` checks everything.
                    unsafe {
                        if history.half {
                            together::<S, f16, $n>(some, history, then.take(), scores);
                        } else {
                            together::<S, f32, $n>(some, history, then.take(), scores);
                        }
                    }
                    rest = others;
                }
            };
        }
        block!(4);
        block!(3);
        block!(2);
        block!(1);
    }

    /// `then`: the keys that are looked at next, where these and their values must be brought from memory.
    #[inline(always)]
    unsafe fn together<S: Simd, T: Stored, const N: usize>(
        queries: &mut [Query<'_>],
        history: &History<'_>,
        then: Option<Soon>,
        scores: &mut [f32],
    ) {
        let d = history.head_size;
        let from: [usize; N] = std::array::from_fn(|n| queries[n].from);
        let to: [usize; N] = std::array::from_fn(|n| queries[n].to);
        let longest = to.into_iter().max().unwrap_or(0);
        let stride = scratch(longest);
        // What all of them look at; nothing where they are further apart than their windows are wide.
        let common = from.into_iter().max().unwrap_or(0)..to.into_iter().min().unwrap_or(0);
        let common = common.start.min(common.end)..common.end;
        assert!(queries.len() == N && N <= TOGETHER && d.is_multiple_of(16));
        assert!(queries.iter().all(|q| q.numbers.len() == d && q.out.len() == d && q.from < q.to));
        assert!(scores.len() >= N * stride && history.pieces.len() * PIECE >= longest);
        let numbers: [*const f32; N] = std::array::from_fn(|n| queries[n].numbers.as_ptr());
        let scores = scores.as_mut_ptr();
        // SAFETY: the pieces hold at least `longest` positions of `d` numbers; the rest was checked above.
        unsafe {
            let scale = S::splat(1.0 / (d as f32).sqrt());
            let mut greatest = [S::splat(f32::NEG_INFINITY); N];
            for block in from.into_iter().min().unwrap_or(0) / 16..stride / 16 {
                let piece = history.pieces.as_ptr().add(block / (PIECE / 16));
                let at = history.from + block % (PIECE / 16) * d * 16;
                let keys = (*piece).0.cast::<T>().add(at);
                if let Some(then) = then {
                    // The values of these positions, and the keys of those a piece further.
                    let bytes = d * 16 * size_of::<T>();
                    Soon::at((*piece).1.cast::<T>().add(at).cast()).bring::<S>(0, bytes);
                    if block + PIECE / 16 < stride / 16 {
                        Soon::at((*piece.add(1)).0.cast::<T>().add(at).cast()).bring::<S>(0, bytes);
                    } else {
                        then.bring::<S>(block % (PIECE / 16) * bytes, bytes);
                    }
                }
                // Several sums of a query, so that additions need not wait for each other: as many as there are
                // registers for.
                let mut acc = [[S::splat(0.0); 4]; N];
                for c in (0..d).step_by(4) {
                    for j in 0..4 {
                        let key = T::load::<S>(keys.add((c + j) * 16));
                        let sum = if S::REGISTERS < 32 { j % 2 } else { j };
                        for n in 0..N {
                            acc[n][sum] = S::fma(key, S::splat(*numbers[n].add(c + j)), acc[n][sum]);
                        }
                    }
                }
                for n in 0..N {
                    let mut sum = S::add(acc[n][0], acc[n][1]);
                    if S::REGISTERS >= 32 {
                        sum = S::add(sum, S::add(acc[n][2], acc[n][3]));
                    }
                    // Zero times itself changes nothing finite, and makes no number of the rest: an infinity below all
                    // numbers would count as nothing.
                    let v = S::mul(sum, scale);
                    let mut v = S::fma(v, S::splat(0.0), v);
                    let first = block * 16;
                    if first < from[n] || first + 16 > to[n] {
                        let mut lanes = [0.0f32; 16];
                        S::store(lanes.as_mut_ptr(), v);
                        lanes[..from[n].saturating_sub(first).min(16)].fill(f32::NEG_INFINITY);
                        lanes[to[n].saturating_sub(first).min(16)..].fill(f32::NEG_INFINITY);
                        v = S::load(lanes.as_ptr());
                    }
                    greatest[n] = S::max(greatest[n], v);
                    S::store(scores.add(n * stride + first), v);
                }
            }
            let mut inverse = [S::splat(0.0); N];
            for n in 0..N {
                let minus = S::splat(-S::greatest(greatest[n]));
                let mut sum = S::splat(0.0);
                for block in from[n] / 16..to[n].div_ceil(16) {
                    let p = scores.add(n * stride + block * 16);
                    // In this order what is no number stays so.
                    let e = S::exp(S::max(S::splat(-87.0), S::add(S::load(p), minus)));
                    sum = S::add(sum, e);
                    S::store(p, e);
                }
                // Lanes outside add exp(-87), some 1e-38, which is lost in the rounding of a sum of at least 1.
                inverse[n] = S::splat(1.0 / S::sum(sum));
            }
            let mut column = 0;
            macro_rules! columns {
                ($n:literal) => {
                    while column + $n * 16 <= d {
                        let values = |position: usize| {
                            let piece = history.pieces.as_ptr().add(position / PIECE);
                            (*piece).1.cast::<T>().add(history.from + position % PIECE * d + column)
                        };
                        let mut acc = [[S::splat(0.0); $n]; N];
                        macro_rules! alone {
                            ($query:ident, $positions:expr) => {
                                for position in $positions {
                                    let weight = S::splat(*scores.add($query * stride + position));
                                    for j in 0..$n {
                                        let value = T::load::<S>(values(position).add(j * 16));
                                        acc[$query][j] = S::fma(weight, value, acc[$query][j]);
                                    }
                                }
                            };
                        }
                        for n in 0..N {
                            alone!(n, from[n]..common.start.min(to[n]));
                        }
                        for position in common.clone() {
                            let values = values(position);
                            for j in 0..$n {
                                let value = T::load::<S>(values.add(j * 16));
                                for n in 0..N {
                                    let weight = S::splat(*scores.add(n * stride + position));
                                    acc[n][j] = S::fma(weight, value, acc[n][j]);
                                }
                            }
                        }
                        for n in 0..N {
                            alone!(n, from[n].max(common.end)..to[n]);
                            for j in 0..$n {
                                let out = queries[n].out.as_mut_ptr().add(column + j * 16);
                                S::store(out, S::mul(acc[n][j], inverse[n]));
                            }
                        }
                        column += $n * 16;
                    }
                };
            }
            if S::REGISTERS >= 32 {
                columns!(4);
            } else {
                columns!(2);
            }
            columns!(1);
        }
    }
}
