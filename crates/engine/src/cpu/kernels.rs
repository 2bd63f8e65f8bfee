//! The arithmetic. Each kernel works on one row of activations, or on a range of a matrix's tiles.
//!
//! **A row's result does not depend on the rows beside it, bit for bit**: the order of its additions is the
//! same in every blocking, so neither the batch nor the chunking nor the number of threads can change it.
#![allow(unsafe_code)]

use std::ops::Range;

use super::{
    pack::{BLOCK, Kind, Packed, TILE},
    simd::{Isa, Simd},
    team::Parts,
    tiles::Soon,
};

/// Rows of activations, as they are, as bytes with a scale for each 32, and as pairs of `bf16` where matrices need them.
pub(super) struct Activations {
    pub(super) columns: usize,
    pub(super) numbers: Vec<f32>,
    pub(super) bytes: Vec<i8>,
    /// Scale of each block.
    pub(super) scales: Vec<f32>,
    /// Scale times sum of the bytes of each block.
    pub(super) sums: Vec<f32>,
    /// Sums of the bytes of each block's halves.
    pub(super) halves: Vec<[i32; 2]>,
    /// As `bf16`; empty where no matrix needs them.
    pub(super) pairs: Vec<u16>,
    paired: bool,
}

impl Activations {
    /// `paired`: for matrices of [`Kind::Bf16Pairs`].
    pub(super) fn new(columns: usize, paired: bool) -> Self {
        let (numbers, bytes, scales, sums, halves, pairs) = Default::default();
        Self { columns, numbers, bytes, scales, sums, halves, pairs, paired }
    }

    /// Makes room for `rows` rows.
    pub(super) fn reserve(&mut self, rows: usize) {
        let (n, blocks) = (rows * self.columns, rows * (self.columns / BLOCK));
        if self.numbers.len() < n {
            self.numbers.resize(n, 0.0);
            self.bytes.resize(n, 0);
            self.scales.resize(blocks, 0.0);
            self.sums.resize(blocks, 0.0);
            self.halves.resize(blocks, [0; 2]);
            self.pairs.resize(if self.paired { n } else { 0 }, 0);
        }
    }

    /// The numbers of some rows, one after the other.
    pub(super) fn rows(&self, rows: Range<usize>) -> &[f32] {
        &self.numbers[rows.start * self.columns..rows.end * self.columns]
    }

    /// Shares the rows among threads for writing.
    pub(super) fn parts(&mut self) -> ActivationParts<'_> {
        ActivationParts {
            columns: self.columns,
            numbers: Parts::new(&mut self.numbers),
            bytes: Parts::new(&mut self.bytes),
            scales: Parts::new(&mut self.scales),
            sums: Parts::new(&mut self.sums),
            halves: Parts::new(&mut self.halves),
            pairs: self.paired.then(|| Parts::new(&mut self.pairs)),
        }
    }
}

/// [`Activations`] of which several threads write different rows, or different columns of them.
#[derive(Clone, Copy)]
pub(super) struct ActivationParts<'a> {
    columns: usize,
    numbers: Parts<'a, f32>,
    bytes: Parts<'a, i8>,
    scales: Parts<'a, f32>,
    sums: Parts<'a, f32>,
    halves: Parts<'a, [i32; 2]>,
    pairs: Option<Parts<'a, u16>>,
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

    /// The numbers of some rows, one after the other.
    ///
    /// # Safety
    /// No other thread uses the rows.
    pub(super) unsafe fn rows(&self, rows: Range<usize>) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.numbers.part(rows.start * self.columns, rows.len() * self.columns) }
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
        // SAFETY: the caller's promise.
        unsafe { self.quantize_columns(isa, row, 0..self.columns) }
    }

    /// Makes the bytes of some columns of a row, which begin with a block of 32.
    ///
    /// # Safety
    /// No other thread uses these columns of the row.
    pub(super) unsafe fn quantize_columns(&self, isa: Isa, row: usize, columns: Range<usize>) {
        assert!(columns.start.is_multiple_of(BLOCK) && columns.end <= self.columns);
        let of_row = self.columns / BLOCK;
        let (from, length) = (row * self.columns + columns.start, columns.len());
        let (first, blocks) = (row * of_row + columns.start / BLOCK, length / BLOCK);
        // SAFETY: the caller's promise, for each of the row's parts.
        unsafe {
            quantize(
                isa,
                self.numbers.part(from, length),
                self.bytes.part(from, length),
                self.scales.part(first, blocks),
                self.sums.part(first, blocks),
                self.halves.part(first, blocks),
            );
            if let Some(pairs) = &self.pairs {
                pair(isa, self.numbers.part(from, length), pairs.part(from, length));
            }
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
    /// What the same thread will probably read next.
    pub(super) then: Soon,
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
    /// Rounds a row to bytes, with a scale for each 32. Where one of these is not finite the scale is not either: it is
    /// seen in all results of the row.
    fn quantize(x: &[f32], bytes: &mut [i8], scales: &mut [f32], sums: &mut [f32], halves: &mut [[i32; 2]]);
    /// Rounds a row to `bf16`.
    fn pair(x: &[f32], pairs: &mut [u16]);
    /// `z = scale * A x`, for rows `x` that lie one after the other; their `z` begin `stride` numbers apart. `then`: see
    /// [`Linear`].
    fn narrow(a: &Packed, scale: f32, x: &[f32], z: &mut [f32], stride: usize, then: Soon);
    /// The results of some tiles of a matrix for the first `rows` rows.
    fn linear(m: Linear<'_>, x: &Activations, rows: usize, tiles: Range<usize>, target: Target<'_>);
    /// `silu(gate x) * (up x)`, for some tiles of both.
    fn gated(gate: Linear<'_>, up: Linear<'_>, x: &Activations, rows: usize, tiles: Range<usize>, target: Target<'_>);
}

// Loops over registers read best by number.
#[allow(clippy::needless_range_loop)]
mod generic {
    use super::{
        super::tiles::{dense_tile, tile_rows},
        *,
    };

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
        halves: &mut [[i32; 2]],
    ) {
        // Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number, halves to even, on every processor.
        const ROUND: f32 = 12_582_912.0;
        for (block, (x, bytes)) in x.chunks_exact(BLOCK).zip(bytes.chunks_exact_mut(BLOCK)).enumerate() {
            // SAFETY: both have 32 numbers.
            let (greatest, both) = unsafe {
                let (a, b) = (S::load(x.as_ptr()), S::load(x.as_ptr().add(16)));
                let greatest = S::greatest_size(a, b);
                let inverse = S::splat(if greatest > 0.0 { 127.0 / greatest } else { 0.0 });
                let round = |v| S::add(S::add(S::mul(v, inverse), S::splat(ROUND)), S::splat(-ROUND));
                (greatest, S::store_bytes(bytes.as_mut_ptr(), [round(a), round(b)]))
            };
            let scale = greatest / 127.0;
            // What is no number becomes any byte; the sums of such may be beyond an integer's bounds.
            let both = if scale.is_finite() { both } else { [0; 2] };
            scales[block] = scale;
            sums[block] = scale * (both[0] + both[1]) as f32;
            halves[block] = both;
        }
    }

    #[inline(always)]
    pub(super) unsafe fn pair<S: Simd>(x: &[f32], pairs: &mut [u16]) {
        for (x, pairs) in x.chunks_exact(16).zip(pairs.chunks_exact_mut(16)) {
            // SAFETY: both have sixteen.
            unsafe { S::store_bf16(pairs.as_mut_ptr(), S::load(x.as_ptr())) };
        }
    }

    /// Rows of one adapter that are multiplied with its factors at once.
    const ALIKE: usize = 4;

    #[inline(always)]
    pub(super) unsafe fn narrow<S: Simd>(a: &Packed, scale: f32, x: &[f32], z: &mut [f32], stride: usize, then: Soon) {
        let rows = x.len() / a.columns;
        assert!(rows > 0 && x.len() == rows * a.columns && !a.kind.quantized());
        assert!(a.columns.is_multiple_of(a.kind.columns()));
        assert!(z.len() >= (rows - 1) * stride + a.tiles() * TILE);
        let z = z.as_mut_ptr();
        for tile in 0..a.tiles() {
            let put = |row: usize, v: S::F| {
                // SAFETY: the rows are there, and their `z` has sixteen numbers for each tile.
                unsafe { S::store(z.add(row * stride + tile * TILE), S::mul(v, S::splat(scale))) }
            };
            let mut row = 0;
            while row < rows {
                // SAFETY: as above.
                let numbers = unsafe { x.as_ptr().add(row * a.columns) };
                let ahead = if row == 0 { Soon::behind(a, tile, a.tiles(), then) } else { Soon::NOTHING };
                if S::REGISTERS >= 32 && rows - row >= ALIKE {
                    // SAFETY: as above.
                    let results = unsafe { dense_tile::<S, ALIKE, 4>(a, tile, numbers, a.columns, ahead) };
                    for r in 0..ALIKE {
                        put(row + r, results[r]);
                    }
                    row += ALIKE;
                } else {
                    // SAFETY: as above.
                    let [result] = unsafe { dense_tile::<S, 1, 4>(a, tile, numbers, a.columns, ahead) };
                    put(row, result);
                    row += 1;
                }
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
        let end = tiles.end;
        for tile in tiles {
            passes!(S, rows, |row, R| {
                // SAFETY: `check` saw that the rows are there; the tile is inside the matrix, or `tile` panics.
                unsafe {
                    // In the last of several passes over the tile nothing else is asked of the memory.
                    let ahead = if row + R == rows { Soon::behind(m.weight, tile, end, m.then) } else { Soon::NOTHING };
                    bring_deltas::<S>(&m, tile, row..row + R);
                    let mut results = tile_rows::<S, R>(m.weight, tile, x, row, ahead);
                    finish::<S, R>(&mut results, &m, tile, row);
                    for r in 0..R {
                        put::<S>(results[r], tile, row + r, m.weight.rows, &target);
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
        let end = tiles.end;
        for tile in tiles {
            passes!(S, rows, |row, R| {
                // SAFETY: as in `linear`.
                unsafe {
                    let last = row + R == rows;
                    let ahead =
                        |m: &Linear<'_>| if last { Soon::behind(m.weight, tile, end, m.then) } else { Soon::NOTHING };
                    bring_deltas::<S>(&gate, tile, row..row + R);
                    bring_deltas::<S>(&up, tile, row..row + R);
                    let mut g = tile_rows::<S, R>(gate.weight, tile, x, row, ahead(&gate));
                    let mut u = tile_rows::<S, R>(up.weight, tile, x, row, ahead(&up));
                    finish::<S, R>(&mut g, &gate, tile, row);
                    finish::<S, R>(&mut u, &up, tile, row);
                    for r in 0..R {
                        // silu(g) = g / (1 + exp(-g)); beyond 80 the exponential would overflow.
                        let minus = S::mul(S::max(g[r], S::splat(-80.0)), S::splat(-1.0));
                        let silu = S::div(g[r], S::add(S::exp(minus), S::splat(1.0)));
                        put::<S>(S::mul(silu, u[r]), tile, row + r, gate.weight.rows, &target);
                    }
                }
            });
        }
    }

    #[inline(always)]
    fn check(m: &Linear<'_>, x: &Activations, rows: usize) {
        let w = m.weight;
        let (numbers, blocks) = (rows * x.columns, rows * (x.columns / BLOCK));
        assert!(x.columns == w.columns && x.numbers.len() >= numbers && x.bytes.len() >= numbers);
        assert!(x.scales.len() >= blocks && x.sums.len() >= blocks && x.halves.len() >= blocks);
        assert!(!w.kind.quantized() || w.columns.is_multiple_of(BLOCK));
        assert!(w.kind != Kind::Signed || w.columns.is_multiple_of(Kind::Signed.columns()));
        assert!(w.kind != Kind::Bf16Pairs || x.pairs.len() >= numbers && w.columns.is_multiple_of(4));
        assert!(m.bias.is_none_or(|b| b.len() == w.rows));
        if let Some(d) = &m.deltas {
            assert!(d.rows.len() >= rows && d.z.len() >= rows * d.stride);
            for b in d.b.iter().flatten() {
                let columns = b.columns.next_multiple_of(b.kind.columns());
                assert!(b.rows == w.rows && d.at + columns <= d.stride && !b.kind.quantized());
            }
        }
    }

    /// Brings the tile of each adapter's `B`, which is used when the tile of the matrix is done.
    #[inline(always)]
    unsafe fn bring_deltas<S: Simd>(m: &Linear<'_>, tile: usize, rows: Range<usize>) {
        let Some(d) = &m.deltas else { return };
        let mut last = None;
        for adapter in d.rows[rows].iter().flatten() {
            if let Some(b) = d.b[*adapter].filter(|_| last.replace(*adapter) != Some(*adapter)) {
                // SAFETY: the processor has the instruction set.
                unsafe { Soon::of(b.tile(tile)).bring::<S>(0, b.tile_bytes()) };
            }
        }
    }

    /// Adds biases and adapters to the results of `R` rows from row `row` on.
    #[inline(always)]
    unsafe fn finish<S: Simd, const R: usize>(v: &mut [S::F; R], m: &Linear<'_>, tile: usize, row: usize) {
        if let Some(bias) = m.bias {
            let mut padded = [0.0; TILE];
            let part = &bias[tile * TILE..bias.len().min((tile + 1) * TILE)];
            padded[..part.len()].copy_from_slice(part);
            for r in 0..R {
                // SAFETY: sixteen numbers.
                v[r] = unsafe { S::add(v[r], S::load(padded.as_ptr())) };
            }
        }
        let Some(d) = &m.deltas else { return };
        let adapters = &d.rows[row..row + R];
        let mut r = 0;
        while r < R {
            let of_row = adapters[r].and_then(|adapter| d.b[adapter]);
            let same = S::REGISTERS >= 32 && adapters[r..].iter().take_while(|a| **a == adapters[r]).count() >= ALIKE;
            let alike = if same { ALIKE } else { 1 };
            if let Some(b) = of_row {
                let z = d.z[(row + r) * d.stride + d.at..].as_ptr();
                // SAFETY: the tile has a step for each column (rank), and `check` saw as many numbers of `z`.
                unsafe {
                    if same {
                        let deltas = dense_tile::<S, ALIKE, 4>(b, tile, z, d.stride, Soon::NOTHING);
                        for j in 0..ALIKE {
                            v[r + j] = S::add(v[r + j], deltas[j]);
                        }
                    } else {
                        let [delta] = dense_tile::<S, 1, 4>(b, tile, z, d.stride, Soon::NOTHING);
                        v[r] = S::add(v[r], delta);
                    }
                }
            }
            r += alike;
        }
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
