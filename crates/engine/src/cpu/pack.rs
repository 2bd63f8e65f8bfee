//! Weights in the order the kernels read them.
//!
//! A matrix is cut into tiles of sixteen rows. Inside a tile the rows are interleaved, so that one load brings
//! the same few columns of all sixteen rows. Quantized formats keep their numbers exactly; `Q6_K`, the one
//! format whose scales are finer than 32 numbers, is kept as `F16`.

use checkpoint::{BlockFormat, TensorView, blocks::k_scale};
use half::f16;

/// Rows of a tile.
pub(super) const TILE: usize = 16;
/// Columns that share a scale.
pub(super) const BLOCK: usize = 32;

/// How a packed matrix stores its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 4 bits, scale and minimum as `f16`.
    Four,
    /// 4 bits, scale and minimum as `f32`.
    FourWide,
    /// 8 bits around 128, scale as `f32`.
    Eight,
    /// 8 bits, scale and minimum as `f32`.
    EightWide,
    F16,
    Bf16,
    F32,
}

impl Kind {
    /// Bytes of one tile's block of 32 columns (one column for the dense kinds).
    pub(super) fn step(self) -> usize {
        match self {
            Self::Four => 64 + 256,
            Self::FourWide => 128 + 256,
            Self::Eight => 64 + 512,
            Self::EightWide => 128 + 512,
            Self::F16 | Self::Bf16 => 32,
            Self::F32 => 64,
        }
    }

    /// Whether activations are multiplied as bytes.
    pub(super) fn quantized(self) -> bool {
        !matches!(self, Self::F16 | Self::Bf16 | Self::F32)
    }
}

/// A cache line, for alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A packed matrix.
pub(super) struct Packed {
    pub(super) kind: Kind,
    pub(super) rows: usize,
    pub(super) columns: usize,
    tile_bytes: usize,
    lines: Vec<Line>,
}

impl Packed {
    /// Packs a tensor.
    pub(super) fn new(view: &TensorView<'_>) -> Self {
        let kind = match view.format {
            BlockFormat::Q4_0 | BlockFormat::Q4_1 => Kind::Four,
            BlockFormat::Q4K => Kind::FourWide,
            BlockFormat::Q8_0 => Kind::Eight,
            BlockFormat::Q5_0 | BlockFormat::Q5_1 | BlockFormat::Q5K => Kind::EightWide,
            BlockFormat::F16 | BlockFormat::Q6K => Kind::F16,
            BlockFormat::Bf16 => Kind::Bf16,
            BlockFormat::F32 => Kind::F32,
        };
        let mut packed = Self::empty(kind, view.rows, view.columns);
        let row_bytes = view.bytes.len() / view.rows.max(1);
        let mut numbers = vec![0.0f32; view.columns];
        for (row, bytes) in view.bytes.chunks_exact(row_bytes.max(1)).enumerate() {
            if kind.quantized() {
                for block in 0..view.columns / BLOCK {
                    packed.put_block(row, block, &read_block(view.format, bytes, block));
                }
            } else {
                view.format.dequantize(bytes, &mut numbers);
                packed.put_dense_row(row, &numbers);
            }
        }
        packed
    }

    /// Packs `rows` rows of numbers; half precision where that loses nothing.
    pub(super) fn dense(numbers: &[f32], rows: usize, columns: usize) -> Self {
        let exact = numbers.iter().all(|x| f16::from_f32(*x).to_f32() == *x);
        let mut packed = Self::empty(if exact { Kind::F16 } else { Kind::F32 }, rows, columns);
        for (row, numbers) in numbers.chunks_exact(columns.max(1)).enumerate() {
            packed.put_dense_row(row, numbers);
        }
        packed
    }

    fn empty(kind: Kind, rows: usize, columns: usize) -> Self {
        let steps = if kind.quantized() { columns / BLOCK } else { columns };
        let tile_bytes = steps * kind.step();
        let bytes = rows.div_ceil(TILE) * tile_bytes;
        Self { kind, rows, columns, tile_bytes, lines: vec![Line([0; 64]); bytes.div_ceil(64)] }
    }

    /// Tiles of sixteen rows, the last one filled up with zeros.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    /// The bytes of a tile.
    pub(super) fn tile(&self, tile: usize) -> &[u8] {
        &self.lines[..].as_flattened_bytes()[tile * self.tile_bytes..][..self.tile_bytes]
    }

    fn step_mut(&mut self, row: usize, step: usize) -> &mut [u8] {
        let from = row / TILE * self.tile_bytes + step * self.kind.step();
        let length = self.kind.step();
        &mut self.lines[..].as_flattened_bytes_mut()[from..from + length]
    }

    fn put_block(&mut self, row: usize, block: usize, b: &Block) {
        let r = row % TILE;
        let kind = self.kind;
        let out = self.step_mut(row, block);
        let quants = match kind {
            Kind::Four => {
                out[r * 2..][..2].copy_from_slice(&f16::from_f32(b.scale).to_le_bytes());
                out[32 + r * 2..][..2].copy_from_slice(&f16::from_f32(b.min).to_le_bytes());
                64
            }
            Kind::Eight => {
                out[r * 4..][..4].copy_from_slice(&b.scale.to_le_bytes());
                64
            }
            _ => {
                out[r * 4..][..4].copy_from_slice(&b.scale.to_le_bytes());
                out[64 + r * 4..][..4].copy_from_slice(&b.min.to_le_bytes());
                128
            }
        };
        for (j, q) in b.quants.iter().enumerate() {
            let (group, column) = (j / 4, j % 4);
            if matches!(kind, Kind::Four | Kind::FourWide) {
                // Columns 8g..8g+4 in the low halves, 8g+4..8g+8 in the high halves.
                out[quants + group / 2 * 64 + r * 4 + column] |= q << (group % 2 * 4);
            } else {
                out[quants + group * 64 + r * 4 + column] = *q;
            }
        }
    }

    fn put_dense_row(&mut self, row: usize, numbers: &[f32]) {
        let r = row % TILE;
        let kind = self.kind;
        for (column, x) in numbers.iter().enumerate() {
            let out = self.step_mut(row, column);
            match kind {
                Kind::F16 => out[r * 2..][..2].copy_from_slice(&f16::from_f32(*x).to_le_bytes()),
                Kind::Bf16 => out[r * 2..][..2].copy_from_slice(&half::bf16::from_f32(*x).to_le_bytes()),
                _ => out[r * 4..][..4].copy_from_slice(&x.to_le_bytes()),
            }
        }
    }
}

/// 32 numbers: `scale * quant + min`, or `scale * (quant - 128)` for [`Kind::Eight`].
struct Block {
    scale: f32,
    min: f32,
    quants: [u8; BLOCK],
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
            let quants_at = if format == BlockFormat::Q4K { 16 } else { 48 };
            for (j, q) in b[quants_at + group / 2 * 32..][..32].iter().enumerate() {
                quants[j] = q >> (group % 2 * 4) & 15;
                if format == BlockFormat::Q5K {
                    quants[j] |= (b[16 + j] >> group & 1) << 4;
                }
            }
            (d * f32::from(s), -half_at(2) * f32::from(m))
        }
        // Q8_0; the dense formats never come here.
        _ => {
            for (q, byte) in quants.iter_mut().zip(&b[2..]) {
                *q = byte.wrapping_add(128);
            }
            (d, 0.0)
        }
    };
    Block { scale, min, quants }
}

/// Lines as bytes.
trait AsBytes {
    fn as_flattened_bytes(&self) -> &[u8];
    fn as_flattened_bytes_mut(&mut self) -> &mut [u8];
}

#[allow(unsafe_code)]
impl AsBytes for [Line] {
    fn as_flattened_bytes(&self) -> &[u8] {
        // SAFETY: a `Line` is 64 bytes without padding, so the slice is 64 times as many bytes.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len() * 64) }
    }

    fn as_flattened_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; every byte pattern is a `Line`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), self.len() * 64) }
    }
}
