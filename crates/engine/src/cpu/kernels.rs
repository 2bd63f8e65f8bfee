//! The arithmetic. Each kernel works on one row of activations, or on a range of a matrix's tiles.
//!
//! **A row's result does not depend on the rows beside it, bit for bit**: the order of its additions is the
//! same in every blocking, so neither the batch nor the chunking nor the number of threads can change it.
#![allow(unsafe_code)]

use std::ops::Range;

use super::{
    pack::{BLOCK, Kind, Packed, SHARED, SHARING, TILE},
    simd::{Isa, Simd},
    team::Parts,
};

/// Rows of activations, as they are and as bytes with a scale for each 32.
pub(super) struct Activations {
    pub(super) columns: usize,
    pub(super) numbers: Vec<f32>,
    bytes: Vec<i8>,
    /// Scale of each block.
    scales: Vec<f32>,
    /// Scale times sum of the bytes of each block.
    sums: Vec<f32>,
    /// -128 times the sum of the bytes of each block.
    offsets: Vec<i32>,
}

impl Activations {
    pub(super) fn new(columns: usize) -> Self {
        Self { columns, numbers: vec![], bytes: vec![], scales: vec![], sums: vec![], offsets: vec![] }
    }

    /// Makes room for `rows` rows.
    pub(super) fn reserve(&mut self, rows: usize) {
        let (n, blocks) = (rows * self.columns, rows * (self.columns / BLOCK));
        if self.numbers.len() < n {
            self.numbers.resize(n, 0.0);
            self.bytes.resize(n, 0);
            self.scales.resize(blocks, 0.0);
            self.sums.resize(blocks, 0.0);
            self.offsets.resize(blocks, 0);
        }
    }

    /// Shares the rows among threads for writing.
    pub(super) fn parts(&mut self) -> ActivationParts<'_> {
        ActivationParts {
            columns: self.columns,
            numbers: Parts::new(&mut self.numbers),
            bytes: Parts::new(&mut self.bytes),
            scales: Parts::new(&mut self.scales),
            sums: Parts::new(&mut self.sums),
            offsets: Parts::new(&mut self.offsets),
        }
    }
}

/// [`Activations`] of which several threads write different rows.
#[derive(Clone, Copy)]
pub(super) struct ActivationParts<'a> {
    columns: usize,
    numbers: Parts<'a, f32>,
    bytes: Parts<'a, i8>,
    scales: Parts<'a, f32>,
    sums: Parts<'a, f32>,
    offsets: Parts<'a, i32>,
}

impl<'a> ActivationParts<'a> {
    /// The numbers of a row.
    ///
    /// # Safety
    /// No other thread uses the row.
    pub(super) unsafe fn row(&self, row: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.numbers.part(row * self.columns, self.columns) }
    }

    /// All numbers, for kernels that write columns of all rows.
    pub(super) fn numbers(self) -> Parts<'a, f32> {
        self.numbers
    }

    /// Some columns of a row.
    ///
    /// # Safety
    /// No other thread uses these columns of the row.
    pub(super) unsafe fn head(&self, row: usize, from: usize, length: usize) -> &'a mut [f32] {
        assert!(from + length <= self.columns);
        // SAFETY: the caller's promise.
        unsafe { self.numbers.part(row * self.columns + from, length) }
    }

    /// Makes the bytes of a row from its numbers.
    ///
    /// # Safety
    /// No other thread uses the row.
    pub(super) unsafe fn quantize(&self, isa: Isa, row: usize) {
        let blocks = self.columns / BLOCK;
        // SAFETY: the caller's promise, for each of the row's parts.
        unsafe {
            quantize(
                isa,
                self.row(row),
                self.bytes.part(row * self.columns, self.columns),
                self.scales.part(row * blocks, blocks),
                self.sums.part(row * blocks, blocks),
                self.offsets.part(row * blocks, blocks),
            );
        }
    }
}

/// What adapters add to a matrix's results: `B z`, with `z = scale * A x` made by [`narrow`].
#[derive(Clone, Copy)]
pub(super) struct Deltas<'a> {
    /// `B` of each adapter, where it changes this matrix.
    pub(super) b: &'a [Option<&'a Packed>],
    /// The adapter of each row.
    pub(super) rows: &'a [Option<usize>],
    /// `z` of all rows.
    pub(super) z: &'a [f32],
    /// Where this matrix's `z` begins in a row of them.
    pub(super) at: usize,
    /// From one row of `z` to the next.
    pub(super) stride: usize,
}

/// A matrix and what is added to its results.
#[derive(Clone, Copy)]
pub(super) struct Linear<'a> {
    pub(super) weight: &'a Packed,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) deltas: Option<Deltas<'a>>,
}

/// Where results go: row `r`, column `c` to `out[r * stride + at + c]`.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) out: Parts<'a, f32>,
    pub(super) stride: usize,
    pub(super) at: usize,
    /// Add to what is there.
    pub(super) add: bool,
}

kernels! {
    /// `out = x / rms(x) * weight`.
    fn normalize(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]);
    /// Rounds a row to bytes, with a scale for each 32.
    fn quantize(x: &[f32], bytes: &mut [i8], scales: &mut [f32], sums: &mut [f32], offsets: &mut [i32]);
    /// `z = scale * A x`, for one row.
    fn narrow(a: &Packed, scale: f32, x: &[f32], z: &mut [f32]);
    /// The results of some tiles of a matrix for the first `rows` rows.
    fn linear(m: Linear<'_>, x: &Activations, rows: usize, tiles: Range<usize>, target: Target<'_>);
    /// `silu(gate x) * (up x)`, for some tiles of both.
    fn gated(gate: Linear<'_>, up: Linear<'_>, x: &Activations, rows: usize, tiles: Range<usize>, target: Target<'_>);
}

// Loops over registers read best by number.
#[allow(clippy::needless_range_loop)]
mod generic {
    use super::*;

    /// Goes through the rows in as few passes as there are registers for, all about equally long: `row` is the first of a
    /// pass, the constant how many it has.
    macro_rules! passes {
        ($simd:ident, $rows:expr, |$row:ident, $count:ident| $body:block) => {
            let (mut $row, mut left) = (0, $rows.div_ceil($simd::ROWS));
            while $row < $rows {
                let some = ($rows - $row).div_ceil(left);
                left -= 1;
                passes!(@size $simd, some, $count, $body, 1 2 3 4 5 6 7 8);
                $row += some;
            }
        };
        (@size $simd:ident, $some:ident, $count:ident, $body:block, $($size:literal)*) => { $(
            if $some == $size && $size <= $simd::ROWS {
                const $count: usize = $size;
                $body
            }
        )* };
    }

    #[inline(always)]
    pub(super) unsafe fn normalize<S: Simd>(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        let n = x.len();
        assert!(n.is_multiple_of(16) && weight.len() == n && out.len() == n);
        // SAFETY: all three have `n` numbers, a multiple of 16.
        unsafe {
            let mut squares = S::splat(0.0);
            for i in (0..n).step_by(16) {
                let v = S::load(x.as_ptr().add(i));
                squares = S::fma(v, v, squares);
            }
            let scale = S::splat(1.0 / (S::sum(squares) / n as f32 + epsilon).sqrt());
            for i in (0..n).step_by(16) {
                let v = S::mul(S::load(x.as_ptr().add(i)), scale);
                S::store(out.as_mut_ptr().add(i), S::mul(v, S::load(weight.as_ptr().add(i))));
            }
        }
    }

    #[inline(always)]
    pub(super) unsafe fn quantize<S: Simd>(
        x: &[f32],
        bytes: &mut [i8],
        scales: &mut [f32],
        sums: &mut [f32],
        offsets: &mut [i32],
    ) {
        // Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number, halves to even, on every processor.
        const ROUND: f32 = 12_582_912.0;
        for (block, (x, bytes)) in x.chunks_exact(BLOCK).zip(bytes.chunks_exact_mut(BLOCK)).enumerate() {
            // SAFETY: both have 32 numbers.
            let (greatest, sum) = unsafe {
                let (a, b) = (S::load(x.as_ptr()), S::load(x.as_ptr().add(16)));
                let greatest = S::greatest(S::max(S::abs(a), S::abs(b)));
                let inverse = S::splat(if greatest > 0.0 { 127.0 / greatest } else { 0.0 });
                let round = |v| S::add(S::add(S::mul(v, inverse), S::splat(ROUND)), S::splat(-ROUND));
                (greatest, S::store_bytes(bytes.as_mut_ptr(), [round(a), round(b)]))
            };
            let scale = greatest / 127.0;
            scales[block] = scale;
            sums[block] = scale * sum as f32;
            offsets[block] = -128 * sum;
        }
    }

    #[inline(always)]
    pub(super) unsafe fn narrow<S: Simd>(a: &Packed, scale: f32, x: &[f32], z: &mut [f32]) {
        assert!(x.len() == a.columns && z.len() >= a.tiles() * TILE && !a.kind.quantized());
        for tile in 0..a.tiles() {
            // SAFETY: `x` has the matrix's columns, and `z` sixteen numbers for each tile.
            unsafe {
                let [v] = dense_tile::<S, 1, 4>(a, tile, x.as_ptr());
                S::store(z.as_mut_ptr().add(tile * TILE), S::mul(v, S::splat(scale)));
            }
        }
    }

    #[inline(always)]
    pub(super) unsafe fn linear<S: Simd>(
        m: Linear<'_>,
        x: &Activations,
        rows: usize,
        tiles: Range<usize>,
        target: Target<'_>,
    ) {
        check(&m, x, rows);
        for tile in tiles {
            passes!(S, rows, |row, R| {
                // SAFETY: `check` saw that the rows are there; the tile is inside the matrix, or `tile` panics.
                let results = unsafe { tile_rows::<S, R>(m.weight, tile, x, row) };
                for (j, v) in results.into_iter().enumerate() {
                    // SAFETY: as above.
                    unsafe {
                        let v = finish::<S>(v, &m, tile, row + j);
                        put::<S>(v, tile, row + j, m.weight.rows, &target);
                    }
                }
            });
        }
    }

    #[inline(always)]
    pub(super) unsafe fn gated<S: Simd>(
        gate: Linear<'_>,
        up: Linear<'_>,
        x: &Activations,
        rows: usize,
        tiles: Range<usize>,
        target: Target<'_>,
    ) {
        check(&gate, x, rows);
        check(&up, x, rows);
        assert!(gate.weight.rows == up.weight.rows);
        for tile in tiles {
            passes!(S, rows, |row, R| {
                // SAFETY: as in `linear`.
                unsafe {
                    let g = tile_rows::<S, R>(gate.weight, tile, x, row);
                    let u = tile_rows::<S, R>(up.weight, tile, x, row);
                    for j in 0..R {
                        let g = finish::<S>(g[j], &gate, tile, row + j);
                        let u = finish::<S>(u[j], &up, tile, row + j);
                        // silu(g) = g / (1 + exp(-g)); beyond 80 the exponential would overflow.
                        let minus = S::mul(S::max(g, S::splat(-80.0)), S::splat(-1.0));
                        let silu = S::div(g, S::add(S::exp(minus), S::splat(1.0)));
                        put::<S>(S::mul(silu, u), tile, row + j, gate.weight.rows, &target);
                    }
                }
            });
        }
    }

    #[inline(always)]
    fn check(m: &Linear<'_>, x: &Activations, rows: usize) {
        let w = m.weight;
        assert!(x.columns == w.columns && x.numbers.len() >= rows * x.columns);
        assert!(x.bytes.len() >= rows * x.columns && x.scales.len() >= rows * (x.columns / BLOCK));
        assert!(!w.kind.quantized() || w.columns.is_multiple_of(BLOCK));
        assert!(m.bias.is_none_or(|b| b.len() == w.rows));
        if let Some(d) = &m.deltas {
            assert!(d.rows.len() >= rows && d.z.len() >= rows * d.stride);
            for b in d.b.iter().flatten() {
                assert!(b.rows == w.rows && d.at + b.columns <= d.stride && !b.kind.quantized());
            }
        }
    }

    /// `R` rows of activations from row `row` on, times a tile.
    #[inline(always)]
    unsafe fn tile_rows<S: Simd, const R: usize>(w: &Packed, tile: usize, x: &Activations, row: usize) -> [S::F; R] {
        // SAFETY: `check` saw that the rows exist in all of the activations' arrays, which have the matrix's columns.
        unsafe {
            match w.kind {
                Kind::FourCentered => four_tile::<S, R, { Kind::FourCentered as u8 }>(w, tile, x, row),
                Kind::Four => four_tile::<S, R, { Kind::Four as u8 }>(w, tile, x, row),
                Kind::FourShared => four_tile::<S, R, { Kind::FourShared as u8 }>(w, tile, x, row),
                Kind::Eight => eight_tile::<S, R, false>(w, tile, x, row),
                Kind::EightWide => eight_tile::<S, R, true>(w, tile, x, row),
                Kind::F16 | Kind::Bf16 | Kind::F32 => {
                    dense_tile::<S, R, 2>(w, tile, x.numbers.as_ptr().add(row * x.columns))
                }
            }
        }
    }

    /// `KIND`: one of the kinds of four bits.
    #[inline(always)]
    unsafe fn four_tile<S: Simd, const R: usize, const KIND: u8>(
        w: &Packed,
        tile: usize,
        x: &Activations,
        row: usize,
    ) -> [S::F; R] {
        let centered = const { KIND == Kind::FourCentered as u8 };
        let shares = const { KIND == Kind::FourShared as u8 };
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
                    of_min = S::mul(S::load_f16(p.add(SHARED / 2).cast()), S::splat(-1.0));
                    p = p.add(SHARED);
                }
                let quants = p.add(if centered || shares { 32 } else { 64 });
                // Two sums where one would keep the processor waiting for the last addition.
                let mut sums = [[S::small(); 2]; R];
                let second = const { if R < 4 { 1 } else { 0 } };
                for group in 0..4 {
                    let packed = S::bytes(quants.add(group * 64));
                    let (low, high) = (S::low_nibbles(packed), S::high_nibbles(packed));
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
                        // The offsets are for bytes around 128; these are around 8.
                        dot = S::add_integers(dot, S::integers(*x.offsets.as_ptr().add(at) / 16));
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

    #[inline(always)]
    unsafe fn eight_tile<S: Simd, const R: usize, const WIDE: bool>(
        w: &Packed,
        tile: usize,
        x: &Activations,
        row: usize,
    ) -> [S::F; R] {
        let blocks = w.columns / BLOCK;
        let (bytes, step) = (w.tile(tile).as_ptr(), w.kind.step());
        // SAFETY: as in `four_tile`.
        unsafe {
            let mut acc = [S::splat(0.0); R];
            for block in 0..blocks {
                let p = bytes.add(block * step);
                let quants = p.add(if WIDE { 128 } else { 32 });
                let mut sums = [[S::integers(0); 2]; R];
                let second = const { if R < 4 { 1 } else { 0 } };
                if !WIDE && !S::CENTERED {
                    for r in 0..R {
                        sums[r][0] = S::integers(*x.offsets.as_ptr().add((row + r) * blocks + block));
                    }
                }
                for group in 0..4 {
                    let (even, odd) = (S::bytes(quants.add(group * 128)), S::bytes(quants.add(group * 128 + 64)));
                    for r in 0..R {
                        let q = x.bytes.as_ptr().add((row + r) * x.columns + block * BLOCK + group * 8).cast::<i32>();
                        let (first, next) = (q.read_unaligned(), q.add(1).read_unaligned());
                        if WIDE {
                            sums[r][0] = S::dot_half(sums[r][0], even, first);
                            sums[r][second] = S::dot_half(sums[r][second], odd, next);
                        } else {
                            sums[r][0] = S::dot(sums[r][0], even, first);
                            sums[r][second] = S::dot(sums[r][second], odd, next);
                        }
                    }
                }
                let scale = if WIDE { S::load(p.cast()) } else { S::load_f16(p.cast()) };
                for r in 0..R {
                    let at = (row + r) * blocks + block;
                    let scale = S::mul(scale, S::splat(*x.scales.as_ptr().add(at)));
                    let mut dot = sums[r][0];
                    if second == 1 {
                        dot = S::add_integers(dot, sums[r][1]);
                    }
                    acc[r] = S::fma(S::floats(dot), scale, acc[r]);
                    if WIDE {
                        acc[r] = S::fma(S::load(p.add(64).cast()), S::splat(*x.sums.as_ptr().add(at)), acc[r]);
                    }
                }
            }
            acc
        }
    }

    /// A tile of unquantized numbers times `R` rows that lie one after the other at `x`, as `SUMS` sums of each, so that
    /// additions need not wait for each other.
    #[inline(always)]
    unsafe fn dense_tile<S: Simd, const R: usize, const SUMS: usize>(
        w: &Packed,
        tile: usize,
        x: *const f32,
    ) -> [S::F; R] {
        let p = w.tile(tile).as_ptr();
        // SAFETY: the tile has a step for each column; a row at `x` has as many numbers.
        unsafe {
            match w.kind {
                Kind::F16 => dense_columns::<S, R, SUMS>(w.columns, x, |c| S::load_f16(p.add(c * 32).cast())),
                Kind::Bf16 => dense_columns::<S, R, SUMS>(w.columns, x, |c| S::load_bf16(p.add(c * 32).cast())),
                _ => dense_columns::<S, R, SUMS>(w.columns, x, |c| S::load(p.add(c * 64).cast())),
            }
        }
    }

    #[inline(always)]
    unsafe fn dense_columns<S: Simd, const R: usize, const SUMS: usize>(
        columns: usize,
        x: *const f32,
        weight: impl Fn(usize) -> S::F,
    ) -> [S::F; R] {
        // SAFETY: `x` has `R * columns` numbers.
        unsafe {
            let mut acc = [[S::splat(0.0); SUMS]; R];
            let mut c = 0;
            while c + SUMS <= columns {
                for i in 0..SUMS {
                    let v = weight(c + i);
                    for r in 0..R {
                        acc[r][i] = S::fma(v, S::splat(*x.add(r * columns + c + i)), acc[r][i]);
                    }
                }
                c += SUMS;
            }
            while c < columns {
                let v = weight(c);
                for r in 0..R {
                    acc[r][0] = S::fma(v, S::splat(*x.add(r * columns + c)), acc[r][0]);
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

    /// Adds bias and adapter.
    #[inline(always)]
    unsafe fn finish<S: Simd>(mut v: S::F, m: &Linear<'_>, tile: usize, row: usize) -> S::F {
        if let Some(bias) = m.bias {
            let mut padded = [0.0; TILE];
            let part = &bias[tile * TILE..bias.len().min((tile + 1) * TILE)];
            padded[..part.len()].copy_from_slice(part);
            // SAFETY: sixteen numbers.
            v = unsafe { S::add(v, S::load(padded.as_ptr())) };
        }
        if let Some(d) = &m.deltas
            && let Some(adapter) = d.rows[row]
            && let Some(b) = d.b[adapter]
        {
            let z = d.z[row * d.stride + d.at..].as_ptr();
            // SAFETY: the tile has a step for each column (rank), and `check` saw as many numbers of `z`.
            unsafe {
                let [delta] = dense_tile::<S, 1, 4>(b, tile, z);
                v = S::add(v, delta);
            }
        }
        v
    }

    /// Writes a tile's results of one row.
    #[inline(always)]
    unsafe fn put<S: Simd>(v: S::F, tile: usize, row: usize, columns: usize, target: &Target<'_>) {
        let column = tile * TILE;
        let length = TILE.min(columns - column);
        // SAFETY: each tile of each row is written by the one thread that has the tile.
        let out = unsafe { target.out.part(row * target.stride + target.at + column, length) };
        // SAFETY: `out` has sixteen numbers in the first branch, as has `all` in the second.
        unsafe {
            if length == TILE {
                let v = if target.add { S::add(S::load(out.as_ptr()), v) } else { v };
                S::store(out.as_mut_ptr(), v);
            } else {
                let mut all = [0.0f32; TILE];
                S::store(all.as_mut_ptr(), v);
                for (o, v) in out.iter_mut().zip(all) {
                    *o = if target.add { *o + v } else { v };
                }
            }
        }
    }
}
