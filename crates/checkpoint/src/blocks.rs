//! Block formats: how numbers are packed in a model file, and what they are as `f32`.
//!
//! The formats are those of the GGUF files: a row is cut into blocks of 32 (or 256) numbers that share a
//! scale, and some a minimum. Sources: the GGUF specification and the published block layouts.

use half::{bf16, f16};

use crate::kblocks;

/// A storage format we can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BlockFormat {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4K,
    Q5K,
    Q6K,
}

use BlockFormat::{Bf16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};

impl BlockFormat {
    /// Every format, for tests and lists.
    pub const ALL: [Self; 11] = [F32, F16, Bf16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4K, Q5K, Q6K];

    /// The format of a GGUF type number.
    pub fn from_gguf(id: u32) -> Option<Self> {
        Some(match id {
            0 => F32,
            1 => F16,
            2 => Q4_0,
            3 => Q4_1,
            6 => Q5_0,
            7 => Q5_1,
            8 => Q8_0,
            12 => Q4K,
            13 => Q5K,
            14 => Q6K,
            30 => Bf16,
            _ => return None,
        })
    }

    /// The usual name: `Q4_1`.
    pub fn name(self) -> &'static str {
        match self {
            F32 => "F32",
            F16 => "F16",
            Bf16 => "BF16",
            Q8_0 => "Q8_0",
            Q4_0 => "Q4_0",
            Q4_1 => "Q4_1",
            Q5_0 => "Q5_0",
            Q5_1 => "Q5_1",
            Q4K => "Q4_K",
            Q5K => "Q5_K",
            Q6K => "Q6_K",
        }
    }

    /// Numbers in a block.
    pub fn block(self) -> usize {
        match self {
            F32 | F16 | Bf16 => 1,
            Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1 => 32,
            Q4K | Q5K | Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            F32 => 4,
            F16 | Bf16 => 2,
            Q4_0 => 18,
            Q4_1 => 20,
            Q5_0 => 22,
            Q5_1 => 24,
            Q8_0 => 34,
            Q4K => 144,
            Q5K => 176,
            Q6K => 210,
        }
    }

    /// Bytes of a row; `None` when the row is not a whole number of blocks, or too long to count.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        if !columns.is_multiple_of(self.block()) {
            return None;
        }
        (columns / self.block()).checked_mul(self.block_bytes())
    }

    /// Unpacks as many whole blocks as both slices hold.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        for (bytes, out) in bytes.chunks_exact(self.block_bytes()).zip(out.chunks_exact_mut(self.block())) {
            self.dequantize_block(bytes, out);
        }
    }

    /// Packs as many whole blocks as both slices hold: `F32`, `F16`, `Bf16`, `Q8_0`, `Q4_0` and `Q4_1`, rounded as
    /// llama.cpp rounds, `Q4K` and `Q6K`. The other formats are only read; nothing is written for them, and the answer is
    /// `false`.
    pub fn quantize(self, numbers: &[f32], out: &mut [u8]) -> bool {
        for (numbers, out) in numbers.chunks_exact(self.block()).zip(out.chunks_exact_mut(self.block_bytes())) {
            match self {
                F32 => out.copy_from_slice(&numbers[0].to_le_bytes()),
                F16 => out.copy_from_slice(&f16::from_f32(numbers[0]).to_le_bytes()),
                Bf16 => out.copy_from_slice(&bf16::from_f32(numbers[0]).to_le_bytes()),
                Q8_0 => {
                    let most = numbers.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                    let (d, inverse) = scale(most / 127.0);
                    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
                    for (o, x) in out[2..].iter_mut().zip(numbers) {
                        *o = (x * inverse).round() as i8 as u8;
                    }
                }
                Q4_0 => {
                    // The number farthest from zero, with its sign: it becomes -8.
                    let most = numbers.iter().fold(0.0f32, |m, x| if x.abs() > m.abs() { *x } else { m });
                    let (d, inverse) = scale(most / -8.0);
                    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
                    put_fours(numbers, &mut out[2..], |x| x * inverse + 8.5);
                }
                Q4_1 => {
                    let (least, most) = numbers.iter().fold((f32::MAX, f32::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
                    let (d, inverse) = scale((most - least) / 15.0);
                    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
                    out[2..4].copy_from_slice(&f16::from_f32(least).to_le_bytes());
                    put_fours(numbers, &mut out[4..], |x| (x - least) * inverse + 0.5);
                }
                Q4K => kblocks::pack_q4k(numbers, out),
                Q6K => kblocks::pack_q6k(numbers, out),
                Q5_0 | Q5_1 | Q5K => return false,
            }
        }
        true
    }

    fn dequantize_block(self, b: &[u8], out: &mut [f32]) {
        match self {
            F32 => out[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            F16 => out[0] = half_at(b, 0),
            Bf16 => out[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            Q8_0 => {
                let d = half_at(b, 0);
                for (o, q) in out.iter_mut().zip(&b[2..]) {
                    *o = d * f32::from(*q as i8);
                }
            }
            Q4_0 => fours(&b[2..], out, half_at(b, 0), 0, -8.0 * half_at(b, 0)),
            Q4_1 => fours(&b[4..], out, half_at(b, 0), 0, half_at(b, 2)),
            Q5_0 => fours(&b[6..], out, half_at(b, 0), bits_at(b, 2), -16.0 * half_at(b, 0)),
            Q5_1 => fours(&b[8..], out, half_at(b, 0), bits_at(b, 4), half_at(b, 2)),
            Q4K => {
                let (d, min) = (half_at(b, 0), half_at(b, 2));
                for group in 0..8 {
                    let (scale, m) = k_scale(&b[4..16], group);
                    let (d, min) = (d * f32::from(scale), min * f32::from(m));
                    let shift = (group % 2) * 4;
                    let quants = &b[16 + group / 2 * 32..][..32];
                    for (o, q) in out[group * 32..][..32].iter_mut().zip(quants) {
                        *o = d * f32::from((q >> shift) & 15) - min;
                    }
                }
            }
            Q5K => {
                let (d, min) = (half_at(b, 0), half_at(b, 2));
                for group in 0..8 {
                    let (scale, m) = k_scale(&b[4..16], group);
                    let (d, min) = (d * f32::from(scale), min * f32::from(m));
                    let shift = (group % 2) * 4;
                    let quants = &b[48 + group / 2 * 32..][..32];
                    for (j, (o, q)) in out[group * 32..][..32].iter_mut().zip(quants).enumerate() {
                        let high = (b[16 + j] >> group) & 1;
                        *o = d * f32::from(((q >> shift) & 15) | (high << 4)) - min;
                    }
                }
            }
            Q6K => {
                let d = half_at(b, 208);
                for (i, o) in out.iter_mut().enumerate() {
                    // Two halves of 128; in each, four runs of 32 share 64 low bytes and 32 high bytes.
                    let (half, run, j) = (i / 128, i % 128 / 32, i % 32);
                    let low = b[half * 64 + (run % 2) * 32 + j] >> (run / 2 * 4) & 15;
                    let high = b[128 + half * 32 + j] >> (run * 2) & 3;
                    let scale = b[192 + i / 16] as i8;
                    *o = d * f32::from(scale) * (f32::from(low | high << 4) - 32.0);
                }
            }
        }
    }
}

/// A scale and its inverse, which is zero for a block of equal numbers.
fn scale(d: f32) -> (f32, f32) {
    (d, if d == 0.0 { 0.0 } else { 1.0 / d })
}

/// Two quants a byte: number `j` low, number `j + 16` high; `place` gives a number from 0 to 16.
fn put_fours(numbers: &[f32], out: &mut [u8], place: impl Fn(f32) -> f32) {
    let quant = |x: f32| (place(x) as u8).min(15);
    for (j, o) in out.iter_mut().enumerate() {
        *o = quant(numbers[j]) | quant(numbers[j + 16]) << 4;
    }
}

fn half_at(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

fn bits_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// Sixteen bytes of two quants each (number `j` low, number `j + 16` high), with a fifth bit in `high`.
fn fours(quants: &[u8], out: &mut [f32], scale: f32, high: u32, min: f32) {
    for (j, q) in quants.iter().enumerate() {
        let bit = |i: usize| ((high >> i) & 1) << 4;
        out[j] = scale * (u32::from(q & 15) | bit(j)) as f32 + min;
        out[j + 16] = scale * (u32::from(q >> 4) | bit(j + 16)) as f32 + min;
    }
}

/// The six-bit scale and minimum of one of the eight groups of a K block, from its twelve packed bytes.
pub fn k_scale(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let (a, low, high) = (packed[group + 4], packed[group - 4], packed[group]);
        ((a & 15) | (low >> 6) << 4, (a >> 4) | (high >> 6) << 4)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Rounding is wrong by half a step at most; a step is what the widest number of a block asks for, and its
        /// own rounding to half precision comes on top. `Q4_0` has no +8, so a whole step there.
        #[test]
        fn rounding_is_wrong_by_no_more_than_a_step(
            numbers in prop::collection::vec(-4.0f32..4.0, 32), size in prop::sample::select(vec![0.0f32, 1e-3, 1.0, 1e3])
        ) {
            let numbers: Vec<f32> = numbers.iter().map(|x| x * size).collect();
            let (least, most) = numbers.iter().fold((0.0f32, 0.0f32), |(a, b), x| (a.min(*x), b.max(*x)));
            let widest = most.max(-least);
            for (format, bound) in [
                (Q8_0, widest / 127.0 * 0.5), (Q4_0, widest / 8.0), (Q4_1, (most - least) / 15.0 * 0.5),
                (F16, 0.0), (Bf16, widest / 256.0), (F32, 0.0),
            ] {
                let mut bytes = vec![0; format.row_bytes(32).unwrap()];
                prop_assert!(format.quantize(&numbers, &mut bytes));
                let mut back = vec![0.0; 32];
                format.dequantize(&bytes, &mut back);
                for (x, y) in numbers.iter().zip(&back) {
                    let halves = if format == F32 { 0.0 } else { widest / 500.0 + 1e-6 };
                    prop_assert!((x - y).abs() <= bound + halves, "{} {x} {y}", format.name());
                }
            }
        }
    }

    #[test]
    fn formats_that_are_only_read_say_so() {
        assert!(!Q5K.quantize(&[0.0; 256], &mut [0; 176]));
    }

    #[test]
    fn sizes_agree_with_names() {
        for format in BlockFormat::ALL {
            assert_eq!(format.row_bytes(256), Some(256 / format.block() * format.block_bytes()), "{}", format.name());
        }
        assert_eq!(Q4_1.row_bytes(33), None);
        assert_eq!(F16.row_bytes(usize::MAX), None);
    }

    #[test]
    fn blocks_of_32_unpack_scale_minimum_and_fifth_bit() {
        let h = |x: f32| f16::from_f32(x).to_le_bytes();
        let mut out = [0.0f32; 32];

        let mut q8 = [3u8; 34];
        q8[..2].copy_from_slice(&h(0.5));
        q8[33] = 0x80;
        Q8_0.dequantize(&q8, &mut out);
        assert_eq!((out[0], out[31]), (1.5, -64.0));

        let mut q4 = [0x2fu8; 20];
        q4[..2].copy_from_slice(&h(0.5));
        q4[2..4].copy_from_slice(&h(-1.0));
        Q4_1.dequantize(&q4, &mut out);
        assert_eq!((out[0], out[16]), (15.0 * 0.5 - 1.0, 2.0 * 0.5 - 1.0));

        let mut q5 = [0x2fu8; 22];
        q5[..2].copy_from_slice(&h(2.0));
        q5[2..6].copy_from_slice(&(1u32 << 16).to_le_bytes());
        Q5_0.dequantize(&q5, &mut out);
        assert_eq!((out[0], out[16], out[17]), ((15.0 - 16.0) * 2.0, (18.0 - 16.0) * 2.0, (2.0 - 16.0) * 2.0));
    }
}
