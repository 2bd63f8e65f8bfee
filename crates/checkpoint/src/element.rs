//! How one number of a tensor is stored, and what it is as `f32`.

use half::bf16;

use crate::{BlockFormat, halves, quick::quick};

/// A way to store the numbers of a tensor.
///
/// Weights come in one of the [`BlockFormat`]s. The others are what buffers beside the weights have, such as
/// positions; they are carried along as they are, and can be read as `f32` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Element {
    Block(BlockFormat),
    F64,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    Foreign(Foreign),
}

/// A form that is known by its name and size only. Such tensors are listed, and copied as they are where a file has a type
/// for them; nobody computes with them, and read as numbers they are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Foreign {
    /// The usual name: `IQ4_XS`, `F8_E4M3`.
    pub name: &'static str,
    /// Numbers in a block.
    pub block: usize,
    /// Bytes of a block.
    pub bytes: usize,
}

impl Element {
    /// `F32`, which all arithmetic is done in.
    pub const F32: Self = Self::Block(BlockFormat::F32);

    /// The usual name: `F32`, `Q4_1`, `I64`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block(format) => format.name(),
            Self::F64 => "F64",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
            Self::Foreign(foreign) => foreign.name,
        }
    }

    /// The element of a safetensors type name.
    pub fn from_safetensors(name: &str) -> Option<Self> {
        let plain = [Self::F64, Self::I64, Self::I32, Self::I16, Self::I8, Self::U64, Self::U32, Self::U16, Self::U8];
        let blocks = [BlockFormat::F32, BlockFormat::F16, BlockFormat::Bf16].map(Self::Block);
        plain.into_iter().chain(blocks).chain([Self::Bool]).find(|e| e.name() == name)
    }

    /// The format of weights; `None` for what is carried along as it is.
    pub fn format(self) -> Option<BlockFormat> {
        match self {
            Self::Block(format) => Some(format),
            _ => None,
        }
    }

    /// Numbers in a block: 1, but for the quantized formats.
    pub fn block(self) -> usize {
        match self {
            Self::Foreign(foreign) => foreign.block,
            other => other.format().map_or(1, BlockFormat::block),
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Block(format) => format.block_bytes(),
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::I32 | Self::U32 => 4,
            Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Foreign(foreign) => foreign.bytes,
        }
    }

    /// Bytes of so many numbers; `None` when they are no whole number of blocks, or too many to count.
    pub fn bytes(self, numbers: usize) -> Option<usize> {
        if !numbers.is_multiple_of(self.block()) {
            return None;
        }
        (numbers / self.block()).checked_mul(self.block_bytes())
    }

    /// Unpacks as many whole blocks as both slices hold.
    pub fn unpack(self, bytes: &[u8], out: &mut [f32]) {
        fn each<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
            quick(
                #[inline(always)]
                || {
                    for (b, o) in bytes.as_chunks::<N>().0.iter().zip(out) {
                        *o = number(*b);
                    }
                },
            );
        }
        match self {
            Self::Block(BlockFormat::F32) => each(bytes, out, f32::from_le_bytes),
            Self::Block(BlockFormat::F16) => each(bytes, out, halves::unpack),
            Self::Block(BlockFormat::Bf16) => {
                each(bytes, out, |b: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16));
            }
            Self::Block(format) => format.dequantize(bytes, out),
            Self::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            Self::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f32),
            Self::U64 => each(bytes, out, |b| u64::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, out, |b| i32::from_le_bytes(b) as f32),
            Self::U32 => each(bytes, out, |b| u32::from_le_bytes(b) as f32),
            Self::I16 => each(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
            Self::U16 => each(bytes, out, |b| f32::from(u16::from_le_bytes(b))),
            Self::I8 => each(bytes, out, |b: [u8; 1]| f32::from(b[0] as i8)),
            Self::U8 => each(bytes, out, |b: [u8; 1]| f32::from(b[0])),
            Self::Bool => each(bytes, out, |b: [u8; 1]| f32::from(u8::from(b[0] != 0))),
            Self::Foreign(_) => out.fill(f32::NAN),
        }
    }

    /// Packs as many whole blocks as both slices hold; `false`, and nothing written, for what is only read.
    pub fn pack(self, numbers: &[f32], out: &mut [u8]) -> bool {
        fn each<const N: usize>(numbers: &[f32], out: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
            quick(
                #[inline(always)]
                || {
                    for (o, x) in out.as_chunks_mut::<N>().0.iter_mut().zip(numbers) {
                        *o = bytes(*x);
                    }
                },
            );
        }
        match self {
            Self::Block(BlockFormat::F32) => {
                each(numbers, out, f32::to_le_bytes);
                true
            }
            Self::Block(BlockFormat::F16) => {
                each(numbers, out, halves::pack);
                true
            }
            Self::Block(BlockFormat::Bf16) => {
                each(numbers, out, |x| bf16::from_f32(x).to_le_bytes());
                true
            }
            Self::Block(format) => format.quantize(numbers, out),
            _ => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_and_doubles_are_read_as_numbers() {
        let read = |element: Element, bytes: &[u8]| {
            let mut out = [0.0];
            element.unpack(bytes, &mut out);
            out[0]
        };
        assert_eq!(read(Element::I64, &(-3i64).to_le_bytes()), -3.0);
        assert_eq!(read(Element::F64, &0.5f64.to_le_bytes()), 0.5);
        assert_eq!(read(Element::I8, &[0x80]), -128.0);
        assert_eq!(read(Element::Bool, &[2]), 1.0);
        assert_eq!(read(Element::U16, &[0, 1]), 256.0);
        assert!(!Element::I8.pack(&[1.0], &mut [0]));
    }

    #[test]
    fn names_are_those_of_safetensors() {
        assert_eq!(Element::from_safetensors("BF16"), Some(Element::Block(BlockFormat::Bf16)));
        assert_eq!(Element::from_safetensors("BOOL"), Some(Element::Bool));
        assert_eq!(Element::from_safetensors("F8_E4M3"), None);
        assert_eq!(Element::Block(BlockFormat::Q4_0).bytes(33), None);
        assert_eq!(Element::I16.bytes(3), Some(6));
    }

    proptest! {
        /// What is quick agrees with what goes number by number, whatever the bits and the length.
        #[test]
        fn quick_ways_agree_with_the_plain_ones(bits in prop::collection::vec(any::<u32>(), 0..1500)) {
            let numbers: Vec<f32> = bits.iter().map(|b| f32::from_bits(*b)).collect();
            for format in [BlockFormat::F32, BlockFormat::F16, BlockFormat::Bf16] {
                let element = Element::Block(format);
                let mut quick = vec![0; element.bytes(numbers.len()).unwrap()];
                let mut plain = quick.clone();
                prop_assert!(element.pack(&numbers, &mut quick) && format.quantize(&numbers, &mut plain));
                let (mut a, mut b) = (vec![0.0; numbers.len()], vec![0.0; numbers.len()]);
                element.unpack(&quick, &mut a);
                format.dequantize(&plain, &mut b);
                prop_assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()));
            }
        }
    }
}
