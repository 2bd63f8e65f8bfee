//! Reading the header of a GGUF file: values, and where the tensors are.

use std::path::Path;

use super::{GgufError, OtherTensor, TensorInfo, Value};
use crate::{BlockFormat, Element, element::Foreign};

/// No metadata array of a real model is longer (the largest vocabularies have 256 thousand entries).
const MAX_ARRAY: u64 = 1 << 24;
/// No real model has more tensors or metadata pairs.
const MAX_ENTRIES: u64 = 1 << 20;

/// A directory entry before its place was checked.
pub(super) struct Entry {
    name: String,
    dimensions: Vec<u64>,
    format: u32,
    offset: u64,
}

/// A tensor whose place was checked.
pub(super) enum Placed {
    Weights(TensorInfo),
    Other(OtherTensor),
}

impl Entry {
    pub(super) fn place(self, r: &Reader<'_>, data: u64) -> Result<(String, Placed), GgufError> {
        let Self { name, dimensions, format, offset } = self;
        let known = BlockFormat::from_gguf(format);
        let element = known.map_or_else(|| other(format), Element::Block);
        let wrong = |what: &str| r.damaged(format!("tensor {name}: {what} (dimensions {dimensions:?})"));
        let count = |d: u64| usize::try_from(d).ok().filter(|d| *d > 0);
        let columns = count(dimensions.first().copied().unwrap_or(1)).ok_or_else(|| wrong("no columns"))?;
        let rows = dimensions
            .iter()
            .skip(1)
            .try_fold(1usize, |product, d| product.checked_mul(count(*d)?))
            .ok_or_else(|| wrong("impossible number of rows"))?;
        let row_bytes = element
            .bytes(columns)
            .ok_or_else(|| wrong(&format!("a row is no whole number of {} blocks", element.name())))?;
        let length = row_bytes.checked_mul(rows).ok_or_else(|| wrong("impossible size"))? as u64;
        if rows.checked_mul(columns).and_then(|n| n.checked_mul(8)).is_none() {
            return Err(wrong("impossible size"));
        }
        let from = data.checked_add(offset).ok_or_else(|| wrong("impossible place"))?;
        let to = from.checked_add(length).ok_or_else(|| wrong("impossible place"))?;
        let size = r.bytes.len();
        if to > size as u64 {
            return Err(GgufError::Truncated { path: r.path.into(), tensor: name, from, to, size });
        }
        let shape = dimensions.iter().rev().filter_map(|d| count(*d)).collect();
        let (from, to) = (from as usize, to as usize);
        let placed = match known {
            Some(format) => Placed::Weights(TensorInfo { shape, format, rows, columns, from, to }),
            None => Placed::Other(OtherTensor { shape, element, bytes: from..to }),
        };
        Ok((name, placed))
    }
}

/// Reads the header, never past its end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    path: &'a Path,
    /// Whether lengths and counts have 32 bits.
    pub(super) narrow: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], path: &'a Path) -> Self {
        Self { bytes, at: 0, path, narrow: false }
    }

    pub(super) fn damaged(&self, reason: String) -> GgufError {
        GgufError::Damaged { path: self.path.into(), reason, at: self.at, size: self.bytes.len() }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], GgufError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(length).ok().and_then(|n| rest.get(..n)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(self.damaged(format!("{length} bytes are needed here, {} are left", rest.len()))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length or a count.
    fn length(&mut self) -> Result<u64, GgufError> {
        if self.narrow { self.u32().map(u64::from) } else { self.u64() }
    }

    pub(super) fn count(&mut self, what: &str) -> Result<u64, GgufError> {
        let n = self.length()?;
        if n > MAX_ENTRIES {
            return Err(self.damaged(format!("the file claims to have {n} {what}")));
        }
        Ok(n)
    }

    pub(super) fn text(&mut self) -> Result<String, GgufError> {
        let length = self.length()?;
        // Vocabularies hold pieces of characters; what is not UTF-8 is replaced, not refused.
        self.take(length).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn integer(&mut self, kind: u32) -> Result<Option<i128>, GgufError> {
        Ok(Some(match kind {
            0 => self.array().map(u8::from_le_bytes)?.into(),
            1 => self.array().map(i8::from_le_bytes)?.into(),
            2 => self.array().map(u16::from_le_bytes)?.into(),
            3 => self.array().map(i16::from_le_bytes)?.into(),
            4 => self.u32()?.into(),
            5 => self.array().map(i32::from_le_bytes)?.into(),
            10 => self.u64()?.into(),
            11 => self.array().map(i64::from_le_bytes)?.into(),
            _ => return Ok(None),
        }))
    }

    fn float(&mut self, kind: u32) -> Result<f64, GgufError> {
        if kind == 6 {
            self.array().map(f32::from_le_bytes).map(f64::from)
        } else {
            self.array().map(f64::from_le_bytes)
        }
    }

    pub(super) fn value(&mut self, kind: u32, key: &str) -> Result<Value, GgufError> {
        Ok(match kind {
            6 | 12 => Value::Float(self.float(kind)?),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => self.array_value(key)?,
            _ => match self.integer(kind)? {
                Some(n) => Value::Integer(n),
                None => return Err(self.damaged(format!("metadata {key} has the unknown type {kind}"))),
            },
        })
    }

    fn array_value(&mut self, key: &str) -> Result<Value, GgufError> {
        let (kind, length) = (self.u32()?, self.length()?);
        let smallest = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 if self.narrow => 4,
            8 | 10..=12 => 8,
            _ => return Err(self.damaged(format!("metadata {key} is an array of the unknown type {kind}"))),
        };
        let left = (self.bytes.len() - self.at) as u64;
        if length > MAX_ARRAY || length > left / smallest {
            return Err(self.damaged(format!("metadata {key} claims {length} elements, {left} bytes are left")));
        }
        Ok(match kind {
            8 => Value::Texts((0..length).map(|_| self.text()).collect::<Result<_, _>>()?),
            6 | 12 => Value::Floats((0..length).map(|_| self.float(kind)).collect::<Result<_, _>>()?),
            0 | 1 | 7 => Value::Bytes(self.take(length)?.to_vec()),
            _ => {
                let mut numbers = Vec::new();
                for _ in 0..length {
                    numbers.push(self.integer(kind)?.and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX));
                }
                Value::Integers(numbers)
            }
        })
    }

    pub(super) fn entry(&mut self) -> Result<Entry, GgufError> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if dimensions > 4 {
            return Err(self.damaged(format!("tensor {name} claims {dimensions} dimensions")));
        }
        let dimensions = (0..dimensions).map(|_| self.length()).collect::<Result<_, _>>()?;
        Ok(Entry { name, dimensions, format: self.u32()?, offset: self.u64()? })
    }
}

/// What a number of a type stands for that is no format of weights we read: its name, numbers and bytes of a block.
fn other(id: u32) -> Element {
    let (name, block, bytes) = match id {
        24 => return Element::I8,
        25 => return Element::I16,
        26 => return Element::I32,
        27 => return Element::I64,
        28 => return Element::F64,
        9 => ("Q8_1", 32, 36),
        10 => ("Q2_K", 256, 84),
        11 => ("Q3_K", 256, 110),
        15 => ("Q8_K", 256, 292),
        16 => ("IQ2_XXS", 256, 66),
        17 => ("IQ2_XS", 256, 74),
        18 => ("IQ3_XXS", 256, 98),
        19 => ("IQ1_S", 256, 50),
        20 => ("IQ4_NL", 32, 18),
        21 => ("IQ3_S", 256, 110),
        22 => ("IQ2_S", 256, 82),
        23 => ("IQ4_XS", 256, 136),
        29 => ("IQ1_M", 256, 56),
        34 => ("TQ1_0", 256, 54),
        35 => ("TQ2_0", 256, 66),
        39 => ("MXFP4", 32, 17),
        40 => ("NVFP4", 64, 36),
        // Of these not even the size is known.
        _ => ("unknown", 1, 0),
    };
    Element::Foreign(Foreign { name, block, bytes })
}
