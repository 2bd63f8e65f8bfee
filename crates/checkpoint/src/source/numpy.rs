//! NumPy's files: `.npy` is one array, `.npz` a zip archive of them, stored as they are (`numpy.savez`) or compressed
//! (`numpy.savez_compressed`). Compressed arrays are in memory as a whole once they are opened.
//!
//! Layout of an array: the letters `\x93NUMPY`, a version, the length of the header, the header (a Python dictionary
//! as text: type, order, shape), the numbers. Source: the description of the form in NumPy's manual.

use std::{io::Read, ops::Range};

use flate2::read::DeflateDecoder;

use crate::{
    BlockFormat, Element,
    map::Mapped,
    pytorch::{
        Strided,
        zip::{Archive, Entry},
    },
};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Arrays may take so many times the bytes that they are compressed to. Weights are hardly compressed at all.
const MAX_RATIO: u64 = 64;
/// What is taken for a small archive in any case.
const SMALL: u64 = 1 << 20;

/// Arrays with their places in the file, or in the bytes that are given with them.
pub(super) type Arrays = (Vec<Strided>, Option<Mapped>);

/// The arrays of an archive; `None` when it is one of another kind.
pub(super) fn archive(bytes: &[u8]) -> Result<Option<Arrays>, String> {
    let archive = Archive::open(bytes)?;
    if archive.entries().any(|(name, _)| !name.ends_with(".npy")) {
        return Ok(None);
    }
    let compressed = archive.entries().any(|(_, entry)| entry.inflated.is_some());
    let (places, inflated) = match compressed {
        true => {
            let (places, map) = inflate(bytes, &archive)?;
            (places, Some(map))
        }
        false => (archive.entries().map(|(_, entry)| entry.bytes.clone()).collect(), None),
    };
    let bytes = inflated.as_ref().map_or(bytes, Mapped::bytes);
    let arrays = archive.entries().zip(places).map(|((entry, _), place)| {
        let name = entry.strip_suffix(".npy").unwrap_or(entry);
        array(bytes, place, name).map_err(|reason| format!("its array {name} {reason}"))
    });
    let arrays = arrays.collect::<Result<_, _>>()?;
    Ok(Some((arrays, inflated)))
}

/// All entries one after the other, none compressed any more.
fn inflate(bytes: &[u8], archive: &Archive) -> Result<(Vec<Range<usize>>, Mapped), String> {
    let size = |entry: &Entry| entry.inflated.unwrap_or(entry.bytes.len() as u64);
    let sum = archive.entries().try_fold(0u64, |sum, (_, entry)| sum.checked_add(size(entry)));
    let most = (bytes.len() as u64).saturating_mul(MAX_RATIO).max(SMALL);
    let sum = sum.filter(|sum| *sum <= most).ok_or_else(|| {
        format!(
            "its arrays are {MAX_RATIO} times as long as they are compressed, or longer; save them with numpy.savez"
        )
    })?;
    let mut places = Vec::new();
    let map = Mapped::filled(usize::try_from(sum).unwrap_or(usize::MAX), |all| {
        let mut at = 0;
        for (name, entry) in archive.entries() {
            let to = at + usize::try_from(size(entry)).unwrap_or(usize::MAX);
            let (from, out) = (bytes.get(entry.bytes.clone()).unwrap_or_default(), &mut all[at..to]);
            match entry.inflated {
                None => out.copy_from_slice(from),
                Some(_) => DeflateDecoder::new(from)
                    .read_exact(out)
                    .map_err(|e| std::io::Error::other(format!("its entry {name} cannot be unpacked: {e}")))?,
            }
            places.push(at..to);
            at = to;
        }
        Ok(())
    });
    Ok((places, map.map_err(|e| e.to_string())?))
}

/// One array that lies at `place` of the file.
pub(super) fn array(file: &[u8], place: Range<usize>, name: &str) -> Result<Strided, String> {
    let bytes = file.get(place.clone()).unwrap_or_default();
    let cut = || "is cut off".to_owned();
    let rest = bytes.strip_prefix(MAGIC).ok_or("does not begin as one")?;
    let (length, at) = match rest {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([*a, *b])), 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
        [version, ..] => return Err(format!("has the unknown version {version}")),
        [] => return Err(cut()),
    };
    let numbers = at + length;
    let header = bytes.get(at..numbers).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "has a header that is no text")?;
    let code = value(header, "descr").ok_or("does not say its type")?.trim_matches(['\'', '"']);
    let element = element(code).ok_or_else(|| {
        let shown: String = code.chars().take(20).filter(|c| !c.is_control()).collect();
        format!("has the type \"{shown}\", which weights do not have")
    })?;
    let by_columns = match value(header, "fortran_order") {
        Some("False") => false,
        Some("True") => true,
        _ => return Err("does not say its order".into()),
    };
    let shape = value(header, "shape").and_then(|s| s.strip_prefix('(')?.strip_suffix(')'));
    let shape = shape.ok_or("does not say its shape")?.split(',').map(str::trim).filter(|d| !d.is_empty());
    let shape: Vec<usize> = shape.map(str::parse).collect::<Result<_, _>>().map_err(|_| "has an impossible shape")?;
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|_| shape.len() <= 8);
    let length = count.and_then(|n| element.bytes(n)).ok_or("has an impossible shape")?;
    let to = numbers.checked_add(length).filter(|to| *to <= bytes.len()).ok_or_else(cut)?;
    let mut stride = vec![0; shape.len()];
    let mut step = 1usize;
    let places: Vec<usize> = if by_columns { (0..shape.len()).collect() } else { (0..shape.len()).rev().collect() };
    for place in places {
        stride[place] = step;
        // An empty array may name any number of others beside its nought.
        step = step.saturating_mul(shape[place].max(1));
    }
    let bytes = place.start + numbers..place.start + to;
    Ok(Strided { name: name.into(), element, shape, stride, bytes })
}

/// What stands behind a key of the header: a word in quotes or without, or a list in brackets.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let rest = header.split_once(&format!("'{key}':"))?.1.trim_start();
    let length = match rest.chars().next()? {
        '(' => rest.find(')')? + 1,
        _ => rest.find([',', '}'])?,
    };
    Some(rest[..length].trim())
}

fn element(code: &str) -> Option<Element> {
    Some(match code {
        "<f4" => Element::F32,
        "<f2" => Element::Block(BlockFormat::F16),
        "<f8" => Element::F64,
        "<i8" => Element::I64,
        "<i4" => Element::I32,
        "<i2" => Element::I16,
        "|i1" => Element::I8,
        "<u8" => Element::U64,
        "<u4" => Element::U32,
        "<u2" => Element::U16,
        "|u1" => Element::U8,
        "|b1" => Element::Bool,
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn npy(header: &str, numbers: &[u8]) -> Vec<u8> {
        [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), numbers].concat()
    }

    #[test]
    fn arrays_are_read_in_either_order() {
        let read = |header: &str, length: usize| {
            let file = npy(header, &vec![0; length]);
            array(&file, 0..file.len(), "a")
        };
        let found = read("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", 24).unwrap();
        assert_eq!((found.element, found.shape, found.stride), (Element::F32, vec![2, 3], vec![3, 1]));
        let found = read("{'descr': '|i1', 'fortran_order': True, 'shape': (2, 3), }", 6).unwrap();
        assert_eq!((found.element, found.stride), (Element::I8, vec![1, 2]));
        let found = read("{'descr': '<f2', 'fortran_order': False, 'shape': (), }", 2).unwrap();
        assert!(found.shape.is_empty());
        let error = |header: &str, length| read(header, length).unwrap_err();
        assert_eq!(error("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 23), "is cut off");
        assert!(error("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 9).contains("the type \"|O\""));
        assert!(error("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 9).contains("impossible shape"));
        let much = "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 8), }";
        assert!(error(much, 9).contains("impossible shape"));
    }
}
