//! A tile of a matrix times some rows of activations, for each [`Kind`] of numbers.
//!
//! A row's additions are in the same order however many rows there are. What holds for all: the rows are there in all of the
//! activations' arrays, which have as many columns as the matrix; the caller has checked it.
#![allow(unsafe_code)]
// Loops over registers read best by number.
#![allow(clippy::needless_range_loop)]

use std::ptr;

use super::{
    kernels::Activations,
    pack::{BLOCK, Kind, Packed, SHARING, SHORT},
    simd::Simd,
};

/// `R` rows of activations from row `row` on, times a tile.
///
/// `ahead`: what to bring from memory meanwhile, as many bytes as a tile has.
#[inline(always)]
pub(super) unsafe fn tile_rows<S: Simd, const R: usize>(
    w: &Packed,
    tile: usize,
    x: &Activations,
    row: usize,
    ahead: Soon,
) -> [S::F; R] {
    // SAFETY: `check` saw that the rows exist in all of the activations' arrays, which have the matrix's columns.
    unsafe {
        match w.kind {
            Kind::FourCentered => small_tile::<S, R, { Kind::FourCentered as u8 }>(w, tile, x, row, ahead),
            Kind::Four => small_tile::<S, R, { Kind::Four as u8 }>(w, tile, x, row, ahead),
            Kind::FourShared => small_tile::<S, R, { Kind::FourShared as u8 }>(w, tile, x, row, ahead),
            Kind::Five => small_tile::<S, R, { Kind::Five as u8 }>(w, tile, x, row, ahead),
            Kind::FiveShared => small_tile::<S, R, { Kind::FiveShared as u8 }>(w, tile, x, row, ahead),
            Kind::Six => six_tile::<S, R>(w, tile, x, row, ahead),
            Kind::Eight => eight_tile::<S, R>(w, tile, x, row, ahead),
            Kind::Bf16Pairs => pair_tile::<S, R>(w, tile, x, row),
            Kind::Signed | Kind::F16 | Kind::Bf16 | Kind::F32 => {
                dense_tile::<S, R, 2>(w, tile, x.numbers.as_ptr().add(row * x.columns), x.columns, ahead)
            }
        }
    }
}

/// `KIND`: one of the kinds of four or five bits.
#[inline(always)]
pub(super) unsafe fn small_tile<S: Simd, const R: usize, const KIND: u8>(
    w: &Packed,
    tile: usize,
    x: &Activations,
    row: usize,
    ahead: Soon,
) -> [S::F; R] {
    let centered = const { KIND == Kind::FourCentered as u8 };
    let shares = const { KIND == Kind::FourShared as u8 || KIND == Kind::FiveShared as u8 };
    let five = const { KIND == Kind::Five as u8 || KIND == Kind::FiveShared as u8 };
    let blocks = w.columns / BLOCK;
    let (bytes, step) = (w.tile(tile).as_ptr(), w.kind.step());
    // SAFETY: a tile has `blocks` steps, and what eight of them share before each eight; a row of activations has
    // `blocks` blocks of 32 bytes.
    unsafe {
        let mut acc = [S::splat(0.0); R];
        let (mut of_scale, mut of_min) = (S::splat(0.0), S::splat(0.0));
        let mut p = bytes;
        for block in 0..blocks {
            if shares && block % SHARING == 0 {
                of_scale = S::load_f16(p.cast());
                of_min = S::mul(S::load_f16(p.add(32).cast()), S::splat(-1.0));
                p = p.add(64);
            }
            ahead.bring::<S>(p.offset_from_unsigned(bytes), step);
            let quants = p.add(if centered || shares { 32 } else { 64 });
            // Two sums where one would keep the processor waiting for the last addition.
            let mut sums = [[S::small(); 2]; R];
            let second = const { if R < 4 { 1 } else { 0 } };
            for group in 0..4 {
                let packed = S::bytes(quants.add(group * 64));
                let (mut low, mut high) = (S::low_nibbles(packed), S::high_nibbles(packed));
                if five {
                    let upper = S::bytes(quants.add(256));
                    low = S::with_upper(low, upper, group * 2, 1 << 4);
                    high = S::with_upper(high, upper, group * 2 + 1, 1 << 4);
                }
                for r in 0..R {
                    let q = x.bytes.as_ptr().add((row + r) * x.columns + block * BLOCK + group * 8).cast::<i32>();
                    sums[r][0] = S::dot_small(sums[r][0], low, q.read_unaligned());
                    sums[r][second] = S::dot_small(sums[r][second], high, q.add(1).read_unaligned());
                }
            }
            let (scale, min) = if centered {
                (S::load_f16(p.cast()), S::splat(0.0))
            } else if shares {
                (S::mul(of_scale, S::load_bytes(p)), S::mul(of_min, S::load_bytes(p.add(16))))
            } else {
                (S::load_f16(p.cast()), S::load_f16(p.add(32).cast()))
            };
            for r in 0..R {
                let at = (row + r) * blocks + block;
                let mut dot = S::small_integers(sums[r][0]);
                if second == 1 {
                    dot = S::add_integers(dot, S::small_integers(sums[r][1]));
                }
                if centered {
                    let [first, next] = *x.halves.as_ptr().add(at);
                    dot = S::add_integers(dot, S::integers(-8 * (first + next)));
                }
                acc[r] = S::fma(S::floats(dot), S::mul(scale, S::splat(*x.scales.as_ptr().add(at))), acc[r]);
                if !centered {
                    acc[r] = S::fma(min, S::splat(*x.sums.as_ptr().add(at)), acc[r]);
                }
            }
            p = p.add(step);
        }
        acc
    }
}

/// How far ahead of what is computed memory is asked for. The processor's own foresight ends at each page of 4 kB and sees
/// less of it the more is computed for each byte; half as far and twice as far is slower.
const AHEAD: usize = 8192;
/// How far ahead of what is computed memory is asked for by a thread that waits.
const FAR: usize = 131_072;

/// Where something begins that will probably be read soon, if anything will.
#[derive(Clone, Copy)]
pub(super) struct Soon(*const u8);

// SAFETY: it is told to the memory, and never followed.
unsafe impl Send for Soon {}
// SAFETY: as above.
unsafe impl Sync for Soon {}

impl Soon {
    pub(super) const NOTHING: Self = Self(ptr::null());

    pub(super) fn at(start: *const u8) -> Self {
        Self(start)
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(bytes.as_ptr())
    }

    /// What lies [`AHEAD`] behind a tile, in its matrix up to tile `end` or in what is read `then`.
    #[inline(always)]
    pub(super) fn behind(w: &Packed, tile: usize, end: usize, then: Self) -> Self {
        let left = (end - tile) * w.tile_bytes();
        match AHEAD.checked_sub(left) {
            None => Self(w.tile(tile).as_ptr().wrapping_add(AHEAD)),
            Some(_) if then.0.is_null() => then,
            Some(at) => Self(then.0.wrapping_add(at)),
        }
    }

    /// Asks the memory for the `n`-th line behind those that are asked for already; says whether there is a way and it is near.
    pub(super) fn bring_line(self, n: usize) -> bool {
        let at = AHEAD + n * 64;
        let near = cfg!(target_arch = "x86_64") && !self.0.is_null() && at < FAR;
        if near {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor may be asked to bring any address.
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(self.0.wrapping_add(at).cast());
            }
        }
        near
    }

    /// Asks the memory for `length` bytes, from `at` on.
    #[inline(always)]
    pub(super) unsafe fn bring<S: Simd>(self, at: usize, length: usize) {
        if !self.0.is_null() {
            for line in (0..length).step_by(64) {
                // SAFETY: the processor may be asked to bring any address; it has the instruction set.
                unsafe { S::bring(self.0.wrapping_add(at + line)) };
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn six_tile<S: Simd, const R: usize>(
    w: &Packed,
    tile: usize,
    x: &Activations,
    row: usize,
    ahead: Soon,
) -> [S::F; R] {
    let blocks = w.columns / BLOCK;
    let (bytes, step) = (w.tile(tile).as_ptr(), w.kind.step());
    // SAFETY: as in `small_tile`.
    unsafe {
        let mut acc = [S::splat(0.0); R];
        let mut factor = S::splat(0.0);
        let mut p = bytes;
        for block in 0..blocks {
            if block % SHARING == 0 {
                factor = S::load_f16(p.cast());
                p = p.add(32);
            }
            ahead.bring::<S>(p.offset_from_unsigned(bytes), step);
            let mut total = [S::splat(0.0); R];
            // Each half has its own scale.
            for half in 0..2 {
                let scale = S::mul(factor, S::load_signed(p.add(half * 16)));
                let upper = S::bytes(p.add(32 + 256 + half * 64));
                let mut sums = [[S::small(); 2]; R];
                let second = const { if R < 4 { 1 } else { 0 } };
                for group in 0..2 {
                    let packed = S::bytes(p.add(32 + (half * 2 + group) * 64));
                    let low = S::with_upper(S::low_nibbles(packed), upper, group * 4, 3 << 4);
                    let high = S::with_upper(S::high_nibbles(packed), upper, group * 4 + 2, 3 << 4);
                    for r in 0..R {
                        let column = block * BLOCK + (half * 2 + group) * 8;
                        let q = x.bytes.as_ptr().add((row + r) * x.columns + column).cast::<i32>();
                        sums[r][0] = S::dot_small(sums[r][0], low, q.read_unaligned());
                        sums[r][second] = S::dot_small(sums[r][second], high, q.add(1).read_unaligned());
                    }
                }
                for r in 0..R {
                    let of_bytes = (*x.halves.as_ptr().add((row + r) * blocks + block))[half];
                    let mut dot = S::add_integers(S::small_integers(sums[r][0]), S::integers(-32 * of_bytes));
                    if second == 1 {
                        dot = S::add_integers(dot, S::small_integers(sums[r][1]));
                    }
                    total[r] = S::fma(S::floats(dot), scale, total[r]);
                }
            }
            for r in 0..R {
                acc[r] = S::fma(total[r], S::splat(*x.scales.as_ptr().add((row + r) * blocks + block)), acc[r]);
            }
            p = p.add(step);
        }
        acc
    }
}

#[inline(always)]
pub(super) unsafe fn eight_tile<S: Simd, const R: usize>(
    w: &Packed,
    tile: usize,
    x: &Activations,
    row: usize,
    ahead: Soon,
) -> [S::F; R] {
    let blocks = w.columns / BLOCK;
    let (bytes, step) = (w.tile(tile).as_ptr(), w.kind.step());
    // SAFETY: as in `small_tile`.
    unsafe {
        let mut acc = [S::splat(0.0); R];
        for block in 0..blocks {
            let p = bytes.add(block * step);
            ahead.bring::<S>(p.offset_from_unsigned(bytes), step);
            let quants = p.add(32);
            let mut sums = [[S::integers(0); 2]; R];
            let second = const { if R < 4 { 1 } else { 0 } };
            if !S::CENTERED {
                for r in 0..R {
                    let [first, next] = *x.halves.as_ptr().add((row + r) * blocks + block);
                    sums[r][0] = S::integers(-128 * (first + next));
                }
            }
            for group in 0..4 {
                let (even, odd) = (S::bytes(quants.add(group * 128)), S::bytes(quants.add(group * 128 + 64)));
                for r in 0..R {
                    let q = x.bytes.as_ptr().add((row + r) * x.columns + block * BLOCK + group * 8).cast::<i32>();
                    sums[r][0] = S::dot(sums[r][0], even, q.read_unaligned());
                    sums[r][second] = S::dot(sums[r][second], odd, q.add(1).read_unaligned());
                }
            }
            let scale = S::load_f16(p.cast());
            for r in 0..R {
                let at = (row + r) * blocks + block;
                let scale = S::mul(scale, S::splat(*x.scales.as_ptr().add(at)));
                let mut dot = sums[r][0];
                if second == 1 {
                    dot = S::add_integers(dot, sums[r][1]);
                }
                acc[r] = S::fma(S::floats(dot), scale, acc[r]);
            }
        }
        acc
    }
}

/// As [`dense_tile`], of pairs, with two sums of each row.
#[inline(always)]
pub(super) unsafe fn pair_tile<S: Simd, const R: usize>(
    w: &Packed,
    tile: usize,
    x: &Activations,
    row: usize,
) -> [S::F; R] {
    let (p, pairs) = (w.tile(tile).as_ptr(), w.columns / 2);
    // SAFETY: the tile has 64 bytes for each pair of columns, and a row of activations as many pairs, which `check` saw to
    // be an even number.
    unsafe {
        let x = x.pairs.as_ptr().add(row * x.columns).cast::<u32>();
        let mut acc = [[S::splat(0.0); 2]; R];
        for c in (0..pairs).step_by(2) {
            for i in 0..2 {
                for r in 0..R {
                    let pair = x.add(r * pairs + c + i).read_unaligned();
                    acc[r][i] = S::dot_pairs(acc[r][i], p.add((c + i) * 64), pair);
                }
            }
        }
        let mut all = [S::splat(0.0); R];
        for r in 0..R {
            all[r] = S::add(acc[r][0], acc[r][1]);
        }
        all
    }
}

/// A tile of numbers whose activations are not rounded, times `R` rows that begin `stride` numbers apart from `x` on; as `SUMS`
/// sums of each, so that additions need not wait for each other.
#[inline(always)]
pub(super) unsafe fn dense_tile<S: Simd, const R: usize, const SUMS: usize>(
    w: &Packed,
    tile: usize,
    x: *const f32,
    stride: usize,
    ahead: Soon,
) -> [S::F; R] {
    let (p, step) = (w.tile(tile).as_ptr(), w.kind.step());
    // SAFETY: the tile has a step for each column or each block of columns; a row at `x` has as many numbers.
    unsafe {
        match w.kind {
            Kind::Signed => signed_tile::<S, R, SUMS>(w.columns, p, x, stride, ahead),
            Kind::F16 => dense_columns::<S, R, SUMS>(
                w.columns,
                x,
                stride,
                |c| S::load_f16(p.add(c * 32).cast()),
                |c| ahead.bring::<S>(c * step, SUMS * step),
            ),
            Kind::Bf16 => dense_columns::<S, R, SUMS>(
                w.columns,
                x,
                stride,
                |c| S::load_bf16(p.add(c * 32).cast()),
                |c| ahead.bring::<S>(c * step, SUMS * step),
            ),
            _ => dense_columns::<S, R, SUMS>(
                w.columns,
                x,
                stride,
                |c| S::load(p.add(c * 64).cast()),
                |c| ahead.bring::<S>(c * step, SUMS * step),
            ),
        }
    }
}

/// As [`dense_tile`]; a row at `x` has numbers for whole blocks.
#[inline(always)]
unsafe fn signed_tile<S: Simd, const R: usize, const SUMS: usize>(
    columns: usize,
    tile: *const u8,
    x: *const f32,
    stride: usize,
    ahead: Soon,
) -> [S::F; R] {
    let step = Kind::Signed.step();
    // SAFETY: the tile has a block for each sixteen columns that are begun, and each of the `R` rows as many numbers.
    unsafe {
        let mut acc = [S::splat(0.0); R];
        for block in 0..columns.div_ceil(SHORT) {
            ahead.bring::<S>(block * step, step);
            let (p, x) = (tile.add(block * step), x.add(block * SHORT));
            let scale = S::load_f16(p.cast());
            let sums = dense_columns::<S, R, SUMS>(SHORT, x, stride, |c| S::load_signed(p.add(32 + c * 16)), |_| ());
            for r in 0..R {
                acc[r] = S::fma(sums[r], scale, acc[r]);
            }
        }
        acc
    }
}

#[inline(always)]
pub(super) unsafe fn dense_columns<S: Simd, const R: usize, const SUMS: usize>(
    columns: usize,
    x: *const f32,
    stride: usize,
    weight: impl Fn(usize) -> S::F,
    bring: impl Fn(usize),
) -> [S::F; R] {
    // SAFETY: each of the `R` rows has `columns` numbers.
    unsafe {
        let mut acc = [[S::splat(0.0); SUMS]; R];
        let mut c = 0;
        while c + SUMS <= columns {
            bring(c);
            for i in 0..SUMS {
                let v = weight(c + i);
                for r in 0..R {
                    acc[r][i] = S::fma(v, S::splat(*x.add(r * stride + c + i)), acc[r][i]);
                }
            }
            c += SUMS;
        }
        while c < columns {
            let v = weight(c);
            for r in 0..R {
                acc[r][0] = S::fma(v, S::splat(*x.add(r * stride + c)), acc[r][0]);
            }
            c += 1;
        }
        let mut all = [S::splat(0.0); R];
        for r in 0..R {
            all[r] = acc[r][0];
            for i in 1..SUMS {
                all[r] = S::add(all[r], acc[r][i]);
            }
        }
        all
    }
}
