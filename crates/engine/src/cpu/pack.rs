//! Weights in the order the kernels read them.
//!
//! A matrix is cut into tiles of sixteen rows. Inside a tile the rows are interleaved, so that one load brings
//! the same few columns of all sixteen rows. Every format keeps its numbers exactly, and nearly its size.

use std::{io, sync::Mutex, thread};

use checkpoint::{BlockFormat, TensorView, blocks::k_scale};
use half::f16;

use super::memory::{LINE, Memory};

/// Rows of a tile.
pub(super) const TILE: usize = 16;
/// Columns that share a scale.
pub(super) const BLOCK: usize = 32;
/// Columns that share a scale in [`Kind::Signed`].
pub(super) const SHORT: usize = 16;

/// How a packed matrix stores its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 4 bits around 8, scale as `f16`.
    FourCentered,
    /// 4 bits, scale and minimum as `f16`.
    Four,
    /// 4 bits, scale and minimum as bytes, each times an `f16` that eight blocks share.
    FourShared,
    /// 5 bits, scale and minimum as `f16`.
    Five,
    /// 5 bits, scale and minimum as in `FourShared`.
    FiveShared,
    /// 6 bits around 32, a signed byte as scale for each sixteen, times an `f16` that eight blocks share.
    Six,
    /// 8 bits around 128, scale as `f16`.
    Eight,
    /// 8 bits with a sign, scale as `f16` for each sixteen columns; activations are multiplied as they are.
    Signed,
    F16,
    Bf16,
    /// `Bf16`, of which two columns lie side by side; activations are multiplied as such pairs, too.
    Bf16Pairs,
    F32,
}

impl Kind {
    /// Bytes of one tile's block of [`Kind::columns`], without what blocks share.
    pub(super) fn step(self) -> usize {
        match self {
            Self::FourCentered => 32 + 256,
            Self::Four => 64 + 256,
            Self::FourShared => 32 + 256,
            Self::Five => 64 + 256 + 64,
            Self::FiveShared => 32 + 256 + 64,
            Self::Six => 32 + 256 + 128,
            Self::Eight => 32 + 512,
            Self::Signed => 32 + TILE * SHORT,
            Self::F16 | Self::Bf16 | Self::Bf16Pairs => 32,
            Self::F32 => 64,
        }
    }

    /// Columns of a block.
    pub(super) fn columns(self) -> usize {
        match self {
            Self::Signed => SHORT,
            kind if kind.quantized() => BLOCK,
            _ => 1,
        }
    }

    /// Where one tile's block begins.
    pub(super) fn block(self, block: usize) -> usize {
        (block / SHARING + 1) * self.shared() + block * self.step()
    }

    /// Bytes before each eight blocks: what these share.
    pub(super) fn shared(self) -> usize {
        match self {
            Self::FourShared | Self::FiveShared => 64,
            Self::Six => 32,
            _ => 0,
        }
    }

    /// How many bits of a number lie apart from its low four.
    fn upper(self) -> usize {
        match self {
            Self::Five | Self::FiveShared => 1,
            Self::Six => 2,
            _ => 0,
        }
    }

    /// Whether activations are multiplied as bytes.
    pub(super) fn quantized(self) -> bool {
        !matches!(self, Self::Signed | Self::F16 | Self::Bf16 | Self::Bf16Pairs | Self::F32)
    }
}

/// How many blocks share factors of scale and minimum, where any do.
pub(super) const SHARING: usize = 8;

/// How a matrix is packed: what its tiles hold, and how large they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) kind: Kind,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Form {
    /// The form of a tensor whose numbers are of the given format.
    pub(super) fn of(format: BlockFormat, rows: usize, columns: usize) -> Self {
        let kind = match format {
            BlockFormat::Q4_0 => Kind::FourCentered,
            BlockFormat::Q4_1 => Kind::Four,
            BlockFormat::Q4K => Kind::FourShared,
            BlockFormat::Q8_0 => Kind::Eight,
            BlockFormat::Q5_0 | BlockFormat::Q5_1 => Kind::Five,
            BlockFormat::Q5K => Kind::FiveShared,
            BlockFormat::Q6K => Kind::Six,
            BlockFormat::F16 => Kind::F16,
            BlockFormat::Bf16 => Kind::Bf16,
            BlockFormat::F32 => Kind::F32,
        };
        Self { kind, rows, columns }
    }

    /// Tiles of sixteen rows, the last one filled up with zeros.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    pub(super) fn tile_bytes(&self) -> usize {
        let steps = self.columns.div_ceil(self.kind.columns());
        steps / SHARING * self.kind.shared() + steps * self.kind.step()
    }

    pub(super) fn bytes(&self) -> usize {
        self.tiles() * self.tile_bytes()
    }

    /// Packs rows of a tensor into tiles of zeros; `rounded` is what they are rounded to before.
    fn pack(&self, view: &TensorView<'_>, rounded: Option<BlockFormat>, rows: &[u8], out: &mut [u8]) {
        let row_bytes = (view.bytes.len() / view.rows.max(1)).max(1);
        let mut numbers = vec![0.0f32; view.columns];
        let mut blocks = vec![0; rounded.and_then(|to| to.row_bytes(view.columns)).unwrap_or(0)];
        let tiles = out.chunks_exact_mut(self.tile_bytes().max(1)).zip(rows.chunks(TILE * row_bytes));
        for (tile, rows) in tiles {
            for (r, bytes) in rows.chunks_exact(row_bytes).enumerate() {
                match rounded {
                    Some(to) => {
                        view.format.dequantize(bytes, &mut numbers);
                        to.quantize(&numbers, &mut blocks);
                        self.put_blocks(r, to, &blocks, tile);
                    }
                    None if self.kind.quantized() => self.put_blocks(r, view.format, bytes, tile),
                    None => {
                        view.format.dequantize(bytes, &mut numbers);
                        self.put_dense(r, &numbers, tile);
                    }
                }
            }
        }
    }

    fn put_blocks(&self, r: usize, format: BlockFormat, bytes: &[u8], tile: &mut [u8]) {
        for block in 0..self.columns / BLOCK {
            let at = self.kind.block(block);
            let (before, step) = tile.split_at_mut(at);
            let read = read_block(format, bytes, block);
            put_block(self.kind, r, &read, step);
            if block.is_multiple_of(SHARING) {
                let shared = before[at - self.kind.shared()..].chunks_exact_mut(2 * TILE);
                for (factors, of) in shared.zip(read.shared) {
                    factors[r * 2..][..2].copy_from_slice(&of);
                }
            }
        }
    }

    fn put_dense(&self, r: usize, numbers: &[f32], tile: &mut [u8]) {
        if self.kind == Kind::Bf16Pairs {
            for (c, x) in numbers.iter().enumerate() {
                tile[(c / 2 * TILE + r) * 4 + c % 2 * 2..][..2]
                    .copy_from_slice(&half::bf16::from_f32(*x).to_le_bytes());
            }
            return;
        }
        if self.kind == Kind::Signed {
            for (numbers, out) in numbers.chunks(SHORT).zip(tile.chunks_exact_mut(self.kind.step())) {
                let scale = f16::from_f32(greatest(numbers) / 127.0);
                let inverse = if scale > f16::ZERO { 1.0 / scale.to_f32() } else { 0.0 };
                out[r * 2..][..2].copy_from_slice(&scale.to_le_bytes());
                for (x, column) in numbers.iter().zip(out[2 * TILE..].chunks_exact_mut(TILE)) {
                    column[r] = (x * inverse).round().clamp(-127.0, 127.0) as i8 as u8;
                }
            }
            return;
        }
        for (x, out) in numbers.iter().zip(tile.chunks_exact_mut(self.kind.step())) {
            match self.kind {
                Kind::F16 => out[r * 2..][..2].copy_from_slice(&f16::from_f32(*x).to_le_bytes()),
                Kind::Bf16 => out[r * 2..][..2].copy_from_slice(&half::bf16::from_f32(*x).to_le_bytes()),
                _ => out[r * 4..][..4].copy_from_slice(&x.to_le_bytes()),
            }
        }
    }
}

/// A packed matrix.
pub(super) struct Packed {
    pub(super) kind: Kind,
    pub(super) rows: usize,
    pub(super) columns: usize,
    tile_bytes: usize,
    memory: Memory,
    at: usize,
}

impl Packed {
    /// Tiles of sixteen rows, the last one filled up with zeros.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    /// From one tile to the next.
    pub(super) fn tile_bytes(&self) -> usize {
        self.tile_bytes
    }

    /// The bytes of a tile.
    pub(super) fn tile(&self, tile: usize) -> &[u8] {
        &self.memory.bytes()[self.at..][tile * self.tile_bytes..][..self.tile_bytes]
    }
}

/// Packs matrices behind each other, in the order in which they are added.
#[derive(Default)]
pub(super) struct Packer<'a> {
    matrices: Vec<Matrix<'a>>,
    /// Whether `bf16` is packed in pairs.
    pairs: bool,
}

struct Matrix<'a> {
    form: Form,
    view: TensorView<'a>,
    /// What its numbers are rounded to before.
    rounded: Option<BlockFormat>,
}

impl<'a> Packer<'a> {
    /// For kernels that multiply pairs of `bf16`.
    pub(super) fn of_pairs() -> Self {
        Self { matrices: vec![], pairs: true }
    }

    /// Adds a matrix as it is stored.
    pub(super) fn add(&mut self, view: TensorView<'a>) {
        let mut form = Form::of(view.format, view.rows, view.columns);
        if self.pairs && form.kind == Kind::Bf16 && view.columns.is_multiple_of(4) {
            form.kind = Kind::Bf16Pairs;
        }
        self.matrices.push(Matrix { form, view, rounded: None });
    }

    /// Adds a matrix of numbers that [`dense`] made.
    pub(super) fn add_dense(&mut self, form: Form, bytes: &'a [u8]) {
        let view = TensorView { format: BlockFormat::F32, rows: form.rows, columns: form.columns, bytes };
        self.matrices.push(Matrix { form, view, rounded: None });
    }

    /// Adds a matrix that is rounded to a format; as it is stored where its numbers are in blocks already or its rows are
    /// no whole number of blocks.
    pub(super) fn add_rounded(&mut self, view: TensorView<'a>, to: BlockFormat) {
        if view.format.block() > 1 || to.row_bytes(view.columns).is_none() {
            return self.add(view);
        }
        let form = Form::of(to, view.rows, view.columns);
        self.matrices.push(Matrix { form, view, rounded: Some(to) });
    }

    /// Packs them all, on several threads; `read` is told what was read of the tensors and will not be again.
    ///
    /// # Errors
    /// There is not so much memory.
    pub(super) fn pack(self, threads: usize, read: &(dyn Fn(&[u8]) + Sync)) -> io::Result<Vec<Packed>> {
        /// Tiles that a thread packs at a time.
        const PART: usize = 64;
        let room = |form: &Form| form.bytes().next_multiple_of(LINE);
        let mut map = Memory::zeros(self.matrices.iter().map(|m| room(&m.form)).sum())?;
        let mut parts = Vec::new();
        let mut rest = &mut map[..];
        for m in &self.matrices {
            let (own, behind) = rest.split_at_mut(room(&m.form));
            rest = behind;
            let out = own[..m.form.bytes()].chunks_mut((PART * m.form.tile_bytes()).max(1));
            let rows = m.view.bytes.chunks((PART * TILE * (m.view.bytes.len() / m.view.rows.max(1))).max(1));
            parts.extend(out.zip(rows).map(|(out, rows)| (m, rows, out)));
        }
        let parts = Mutex::new(parts.into_iter());
        let next = || parts.lock().unwrap_or_else(|e| e.into_inner()).next();
        thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    while let Some((m, rows, out)) = next() {
                        m.form.pack(&m.view, m.rounded, rows, out);
                        read(rows);
                    }
                });
            }
        });
        drop(parts);
        let memory = Memory::freeze(map)?;
        let mut at = 0;
        let place = |m: &Matrix<'_>| {
            let Form { kind, rows, columns } = m.form;
            let packed = Packed { kind, rows, columns, tile_bytes: m.form.tile_bytes(), memory: memory.clone(), at };
            at += room(&m.form);
            packed
        };
        Ok(self.matrices.iter().map(place).collect())
    }
}

/// Writes row `r` of a tile's block.
fn put_block(kind: Kind, r: usize, b: &Block, out: &mut [u8]) {
    let quants = match kind {
        Kind::Four | Kind::Five => {
            out[r * 2..][..2].copy_from_slice(&f16::from_f32(b.scale).to_le_bytes());
            out[32 + r * 2..][..2].copy_from_slice(&f16::from_f32(b.min).to_le_bytes());
            64
        }
        Kind::Eight | Kind::FourCentered => {
            out[r * 2..][..2].copy_from_slice(&f16::from_f32(b.scale).to_le_bytes());
            32
        }
        // Those whose blocks share; the dense ones never come here.
        _ => {
            out[r] = b.own.0;
            out[16 + r] = b.own.1;
            32
        }
    };
    let (upper, bits) = (quants + 256, kind.upper());
    for (j, q) in b.quants.iter().enumerate() {
        let (group, column) = (j / 4, j % 4);
        if kind == Kind::Eight {
            out[quants + group * 64 + r * 4 + column] = *q;
            continue;
        }
        // Columns 8g..8g+4 in the low halves, 8g+4..8g+8 in the high halves.
        out[quants + group / 2 * 64 + r * 4 + column] |= (q & 15) << (group % 2 * 4);
        if let Some(groups) = 8usize.checked_div(bits) {
            // The bits above these, of as many groups after one another as there is room for in a byte.
            out[upper + group / groups * 64 + r * 4 + column] |= (q >> 4) << (group % groups * bits);
        }
    }
}

/// A matrix that is not stored in blocks.
pub(super) struct Dense {
    pub(super) form: Form,
    /// Its numbers divided by `unit`, one after the other as `f32`.
    pub(super) bytes: Vec<u8>,
    /// A power of two.
    pub(super) unit: f32,
}

/// Numbers in the form that keeps them: half precision where that loses nothing.
pub(super) fn dense(numbers: &[f32], rows: usize, columns: usize) -> Dense {
    let exact = numbers.iter().all(|x| f16::from_f32(*x).to_f32() == *x);
    let form = Form { kind: if exact { Kind::F16 } else { Kind::F32 }, rows, columns };
    Dense { form, bytes: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(), unit: 1.0 }
}

/// Numbers rounded to [`Kind::Signed`]; as they are where one of them is no number or their size is beyond all measure.
pub(super) fn in_bytes(numbers: &[f32], rows: usize, columns: usize) -> Dense {
    /// Greater than all of them in their unit: the scale of a block is then half precision's, also where the numbers of the
    /// block are a millionth of the greatest.
    const BOUND: i32 = 13;
    let unit = match greatest(numbers) {
        0.0 => 1.0,
        some => 2.0f32.powi((some.log2().floor() as i32).saturating_add(1 - BOUND)),
    };
    if !unit.is_normal() || !unit.recip().is_normal() || !numbers.iter().all(|x| x.is_finite()) {
        return dense(numbers, rows, columns);
    }
    let form = Form { kind: Kind::Signed, rows, columns };
    Dense { form, bytes: numbers.iter().flat_map(|x| (x / unit).to_le_bytes()).collect(), unit }
}

/// The greatest of the numbers' sizes.
fn greatest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |most, x| x.abs().max(most))
}

/// 32 numbers: `scale * quant + min`, or `scale * (quant - 8)` and `scale * (quant - 128)` for [`Kind::FourCentered`] and
/// [`Kind::Eight`].
struct Block {
    scale: f32,
    min: f32,
    quants: [u8; BLOCK],
    /// Where blocks share: scale and minimum as bytes, and the two `f16` that they are times of; the minimum's is to be
    /// taken off. Of [`Kind::Six`]: the scales of its halves, and the one `f16`.
    own: (u8, u8),
    shared: [[u8; 2]; 2],
}

/// Block number `block` (of 32) of a quantized row.
fn read_block(format: BlockFormat, row: &[u8], block: usize) -> Block {
    let per = format.block() / BLOCK;
    let b = &row[block / per * format.block_bytes()..][..format.block_bytes()];
    let group = block % per;
    let half_at = |at: usize| f16::from_le_bytes([b[at], b[at + 1]]).to_f32();
    let mut quants = [0; BLOCK];
    let nibbles = |quants: &mut [u8; BLOCK], packed: &[u8]| {
        for (j, q) in packed.iter().enumerate() {
            quants[j] = q & 15;
            quants[j + 16] = q >> 4;
        }
    };
    let fifth = |quants: &mut [u8; BLOCK], at: usize| {
        let bits = u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        for (j, q) in quants.iter_mut().enumerate() {
            *q |= ((bits >> j & 1) as u8) << 4;
        }
    };
    let d = half_at(0);
    let (mut own, mut shared) = ((0, 0), [[0; 2]; 2]);
    let (scale, min) = match format {
        BlockFormat::Q4_0 => {
            nibbles(&mut quants, &b[2..]);
            (d, -8.0 * d)
        }
        BlockFormat::Q4_1 => {
            nibbles(&mut quants, &b[4..]);
            (d, half_at(2))
        }
        BlockFormat::Q5_0 => {
            nibbles(&mut quants, &b[6..]);
            fifth(&mut quants, 2);
            (d, -16.0 * d)
        }
        BlockFormat::Q5_1 => {
            nibbles(&mut quants, &b[8..]);
            fifth(&mut quants, 4);
            (d, half_at(2))
        }
        BlockFormat::Q4K | BlockFormat::Q5K => {
            let (s, m) = k_scale(&b[4..16], group);
            own = (s, m);
            shared = [[b[0], b[1]], [b[2], b[3]]];
            let quants_at = if format == BlockFormat::Q4K { 16 } else { 48 };
            for (j, q) in b[quants_at + group / 2 * 32..][..32].iter().enumerate() {
                quants[j] = q >> (group % 2 * 4) & 15;
                if format == BlockFormat::Q5K {
                    quants[j] |= (b[16 + j] >> group & 1) << 4;
                }
            }
            (d * f32::from(s), -half_at(2) * f32::from(m))
        }
        BlockFormat::Q6K => {
            // 128 numbers: their low halves in 64 bytes, bits 4 and 5 in 32.
            let (half, quarter) = (group / 4, group % 4);
            let (low, upper) = (&b[half * 64 + quarter % 2 * 32..], &b[128 + half * 32..]);
            for (j, q) in quants.iter_mut().enumerate() {
                *q = low[j] >> (quarter / 2 * 4) & 15 | (upper[j] >> (quarter * 2) & 3) << 4;
            }
            own = (b[192 + group * 2], b[193 + group * 2]);
            shared[0] = [b[208], b[209]];
            (0.0, 0.0)
        }
        // Q8_0; the dense formats never come here.
        _ => {
            for (q, byte) in quants.iter_mut().zip(&b[2..]) {
                *q = byte.wrapping_add(128);
            }
            (d, 0.0)
        }
    };
    Block { scale, min, quants, own, shared }
}
