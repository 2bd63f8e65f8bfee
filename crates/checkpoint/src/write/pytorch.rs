//! The layout of a PyTorch file: a zip archive, stored as it is, of a pickle and of each tensor's numbers.
//!
//! The pickle is that of a plain dictionary of tensors, which `torch.load` reads with `weights_only=True`.

use crate::{BlockFormat, Element};

use super::{Form, Layout, Planned};

/// Where numbers begin is a multiple of this, as PyTorch has it.
const ALIGN: u64 = 64;
/// From this on, numbers of an archive stand in another place.
const LARGE: u64 = u32::MAX as u64;

/// An archive before the checksums of its entries are known.
#[derive(Debug)]
pub(super) struct Archive {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// Where its header begins.
    at: u64,
    /// Where its bytes begin.
    data: u64,
    size: u64,
    /// Its bytes; none for the numbers of a tensor, which are written in the meantime.
    content: Option<Vec<u8>>,
}

/// The layout of a file of these tensors.
pub(super) fn layout(folder: &str, tensors: &[&Planned<'_>]) -> Layout {
    let mut archive = Archive { entries: vec![] };
    let mut at = archive.add(0, format!("{folder}/data.pkl"), 0, Some(pickle(tensors)));
    at = archive.add(at, format!("{folder}/byteorder"), 0, Some(b"little".to_vec()));
    let first = archive.entries.len();
    for (i, tensor) in tensors.iter().enumerate() {
        at = archive.add(at, format!("{folder}/data/{i}"), tensor.bytes() as u64, None);
    }
    let offsets = archive.entries[first..].iter().map(|e| e.data).collect();
    at = archive.add(at, format!("{folder}/version"), 0, Some(b"3\n".to_vec()));
    let size = at + archive.directory(at, &vec![0; tensors.len()]).len() as u64;
    Layout { offsets, size, form: Form::Zip(archive) }
}

impl Archive {
    /// Adds an entry at a place; gives the place behind it.
    fn add(&mut self, at: u64, name: String, size: u64, content: Option<Vec<u8>>) -> u64 {
        let size = content.as_ref().map_or(size, |c| c.len() as u64);
        let unaligned = at + 30 + name.len() as u64 + if size >= LARGE { 20 } else { 0 } + 4;
        let data = unaligned.next_multiple_of(ALIGN);
        self.entries.push(Entry { name, at, data, size, content });
        data + size
    }

    /// Everything beside the tensors' numbers: place and bytes. `checksums` are those of the tensors.
    pub(super) fn parts(&self, checksums: &[u32]) -> Vec<(u64, Vec<u8>)> {
        let checksums = self.checksums(checksums);
        let mut parts: Vec<(u64, Vec<u8>)> = Vec::new();
        for (entry, crc) in self.entries.iter().zip(&checksums) {
            parts.push((entry.at, entry.header(*crc)));
            parts.extend(entry.content.clone().map(|content| (entry.data, content)));
        }
        let end = self.entries.last().map_or(0, |e| e.data + e.size);
        parts.push((end, self.directory_of(end, &checksums)));
        parts
    }

    fn directory(&self, at: u64, checksums: &[u32]) -> Vec<u8> {
        self.directory_of(at, &self.checksums(checksums))
    }

    /// The checksums of all entries.
    fn checksums(&self, of_tensors: &[u32]) -> Vec<u32> {
        let mut of_tensors = of_tensors.iter().copied();
        let all = self.entries.iter().map(|e| match &e.content {
            Some(content) => crc32fast::hash(content),
            None => of_tensors.next().unwrap_or(0),
        });
        all.collect()
    }

    fn directory_of(&self, at: u64, checksums: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        for (entry, crc) in self.entries.iter().zip(checksums) {
            let mut extra = Vec::new();
            if entry.size >= LARGE {
                extra.extend([entry.size.to_le_bytes(), entry.size.to_le_bytes()].concat());
            }
            if entry.at >= LARGE {
                extra.extend(entry.at.to_le_bytes());
            }
            if !extra.is_empty() {
                extra = [&1u16.to_le_bytes(), &(extra.len() as u16).to_le_bytes()[..], &extra].concat();
            }
            out.extend(b"PK\x01\x02\x2d\x00");
            out.extend(entry.common(*crc, extra.len()));
            // No comment, first volume, no attributes.
            out.extend([0; 10]);
            out.extend(small(entry.at));
            out.extend(entry.name.as_bytes());
            out.extend(extra);
        }
        let (count, size) = (self.entries.len() as u64, out.len() as u64);
        if at >= LARGE || count >= 0xffff {
            let end = at + size;
            out.extend(b"PK\x06\x06");
            out.extend(44u64.to_le_bytes());
            out.extend([0x2d, 0, 0x2d, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            out.extend([count, count, size, at].map(u64::to_le_bytes).concat());
            out.extend(b"PK\x06\x07\0\0\0\0");
            out.extend(end.to_le_bytes());
            out.extend(1u32.to_le_bytes());
        }
        let count = (count.min(0xffff) as u16).to_le_bytes();
        out.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &small(size), &small(at), &[0, 0]].concat());
        out
    }
}

impl Entry {
    /// What both headers of an entry have: versions, checksum, sizes, lengths.
    fn common(&self, crc: u32, extra: usize) -> Vec<u8> {
        let lengths = [(self.name.len() as u16).to_le_bytes(), (extra as u16).to_le_bytes()].concat();
        // The first day that the form knows, so that the same tensors make the same file.
        let fixed = b"\x2d\x00\x00\x00\x00\x00\x00\x00\x21\x00";
        [fixed, &crc.to_le_bytes()[..], &small(self.size), &small(self.size), &lengths].concat()
    }

    fn header(&self, crc: u32) -> Vec<u8> {
        let mut extra = Vec::new();
        if self.size >= LARGE {
            extra.extend([&[1, 0, 16, 0][..], &self.size.to_le_bytes(), &self.size.to_le_bytes()].concat());
        }
        let before = self.at + 30 + self.name.len() as u64 + extra.len() as u64 + 4;
        let padding = (self.data - before) as u16;
        extra.extend(b"FB");
        extra.extend(padding.to_le_bytes());
        extra.extend(std::iter::repeat_n(b'Z', usize::from(padding)));
        [b"PK\x03\x04", self.common(crc, extra.len()).as_slice(), self.name.as_bytes(), &extra].concat()
    }
}

/// A number of an archive, or what says that it is elsewhere.
fn small(n: u64) -> [u8; 4] {
    (n.min(LARGE) as u32).to_le_bytes()
}

fn pickle(tensors: &[&Planned<'_>]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec();
    for (i, tensor) in tensors.iter().enumerate() {
        let info = &tensor.tensor.info;
        text(&mut out, &info.name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{}\n", storage_type(tensor.element).unwrap_or_default()).as_bytes());
        text(&mut out, &i.to_string());
        text(&mut out, "cpu");
        number(&mut out, info.count());
        out.extend(b"tQK\x00(");
        info.shape.iter().for_each(|d| number(&mut out, *d));
        out.extend(b"t(");
        for place in 0..info.shape.len() {
            let step = info.shape[place + 1..].iter().fold(1usize, |step, d| step.saturating_mul(*d));
            number(&mut out, step);
        }
        out.extend(b"t\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend(b"u.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn number(out: &mut Vec<u8>, n: usize) {
    match i32::try_from(n) {
        Ok(n) => {
            out.push(b'J');
            out.extend(n.to_le_bytes());
        }
        Err(_) => {
            out.extend([0x8a, 8]);
            out.extend((n as u64).to_le_bytes());
        }
    }
}

/// PyTorch's name for storages of such numbers; none for those it does not have.
pub(super) fn storage_type(element: Element) -> Option<&'static str> {
    Some(match element {
        Element::Block(BlockFormat::F32) => "FloatStorage",
        Element::Block(BlockFormat::F16) => "HalfStorage",
        Element::Block(BlockFormat::Bf16) => "BFloat16Storage",
        Element::F64 => "DoubleStorage",
        Element::I64 => "LongStorage",
        Element::I32 => "IntStorage",
        Element::I16 => "ShortStorage",
        Element::I8 => "CharStorage",
        Element::U8 => "ByteStorage",
        Element::Bool => "BoolStorage",
        Element::Block(_) | Element::U64 | Element::U32 | Element::U16 | Element::Foreign(_) => return None,
    })
}
