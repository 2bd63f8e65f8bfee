//! The layout of a GGUF file, version 3: metadata, directory of tensors, numbers at multiples of 32 bytes.

use crate::{BlockFormat, Element, Source};

use super::{Form, Layout, Planned};

const ALIGN: u64 = 32;

/// A metadata value as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    kind: u32,
    bytes: Vec<u8>,
}

impl Meta {
    /// A whole number of 32 bits, which most of them are.
    pub fn u32(n: u32) -> Self {
        Self { kind: 4, bytes: n.to_le_bytes().into() }
    }

    /// A number.
    pub fn f32(n: f32) -> Self {
        Self { kind: 6, bytes: n.to_le_bytes().into() }
    }

    /// A truth value.
    pub fn bool(yes: bool) -> Self {
        Self { kind: 7, bytes: vec![u8::from(yes)] }
    }

    /// A text.
    pub fn text(text: &str) -> Self {
        let mut bytes = Vec::new();
        put_text(&mut bytes, text.as_bytes());
        Self { kind: 8, bytes }
    }

    /// A list of texts.
    pub fn texts<T: AsRef<str>>(texts: &[T]) -> Self {
        let mut bytes = list_head(8, texts.len());
        texts.iter().for_each(|text| put_text(&mut bytes, text.as_ref().as_bytes()));
        Self { kind: LIST, bytes }
    }

    /// A list of truth values.
    pub fn bools(all: &[bool]) -> Self {
        let mut bytes = list_head(7, all.len());
        bytes.extend(all.iter().map(|yes| u8::from(*yes)));
        Self { kind: LIST, bytes }
    }

    /// A list of whole numbers.
    pub fn i32s(numbers: &[i32]) -> Self {
        let mut bytes = list_head(5, numbers.len());
        numbers.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        Self { kind: LIST, bytes }
    }

    /// A list of numbers.
    pub fn f32s(numbers: &[f32]) -> Self {
        let mut bytes = list_head(6, numbers.len());
        numbers.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        Self { kind: LIST, bytes }
    }
}

const TEXT: u32 = 8;
const LIST: u32 = 9;

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

fn list_head(kind: u32, length: usize) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(length as u64).to_le_bytes()].concat()
}

/// All metadata of a GGUF file as it is, but for the keys that `leave_out` names; empty for other forms.
pub fn copied_metadata(source: &Source, leave_out: &[&str]) -> Vec<(String, Meta)> {
    let (Some(directory), Some(file)) = (source.directory(), source.gguf_bytes()) else { return vec![] };
    let kept = directory.pairs.iter().filter(|pair| !leave_out.contains(&pair.key.as_str()));
    let copied = kept.map(|pair| {
        let bytes = file.get(pair.bytes.clone()).unwrap_or_default();
        let bytes = if directory.version == 1 { widened(pair.kind, bytes) } else { bytes.into() };
        (pair.key.clone(), Meta { kind: pair.kind, bytes })
    });
    copied.collect()
}

/// A value of version 1, where lengths have 32 bits.
fn widened(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    let mut rest = bytes;
    let mut take = |n: usize| -> &[u8] {
        let (taken, left) = rest.split_at(n.min(rest.len()));
        rest = left;
        taken
    };
    let number = |b: &[u8]| b.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b));
    match kind {
        TEXT => {
            let length = number(take(4));
            put_text(&mut out, take(length));
        }
        LIST => {
            let (inner, length) = (number(take(4)) as u32, number(take(4)));
            out.extend(list_head(inner, length));
            if inner == TEXT {
                for _ in 0..length {
                    let length = number(take(4));
                    put_text(&mut out, take(length));
                }
            } else {
                out.extend(take(usize::MAX));
            }
        }
        _ => out.extend(bytes),
    }
    out
}

/// The number of a type in GGUF files; none for what they do not have.
pub(super) fn type_number(element: Element) -> Option<u32> {
    Some(match element {
        Element::Block(format) => (0..64).find(|id| BlockFormat::from_gguf(*id) == Some(format))?,
        Element::I8 => 24,
        Element::I16 => 25,
        Element::I32 => 26,
        Element::I64 => 27,
        Element::F64 => 28,
        _ => return None,
    })
}

/// The layout of a file of these tensors.
pub(super) fn layout(metadata: &[(String, Meta)], tensors: &[&Planned<'_>]) -> Layout {
    let mut head = b"GGUF\x03\0\0\0".to_vec();
    head.extend([tensors.len() as u64, metadata.len() as u64].map(u64::to_le_bytes).concat());
    for (key, value) in metadata {
        put_text(&mut head, key.as_bytes());
        head.extend(value.kind.to_le_bytes());
        head.extend(&value.bytes);
    }
    let (mut offsets, mut at) = (Vec::new(), 0u64);
    for tensor in tensors {
        let info = &tensor.tensor.info;
        put_text(&mut head, info.name.as_bytes());
        head.extend((info.shape.len() as u32).to_le_bytes());
        info.shape.iter().rev().for_each(|d| head.extend((*d as u64).to_le_bytes()));
        head.extend(type_number(tensor.element).unwrap_or_default().to_le_bytes());
        head.extend(at.to_le_bytes());
        offsets.push(at);
        at = (at + tensor.bytes() as u64).next_multiple_of(ALIGN);
    }
    head.resize(head.len().next_multiple_of(ALIGN as usize), 0);
    let data = head.len() as u64;
    offsets.iter_mut().for_each(|offset| *offset += data);
    Layout { offsets, size: data + at, form: Form::Head(head) }
}
