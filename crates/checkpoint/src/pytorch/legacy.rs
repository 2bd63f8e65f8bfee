//! The form that PyTorch had before version 1.6: pickles one after the other, then the numbers.
//!
//! Layout: three pickles (a number to tell the form by, its version, the machine's sizes), the dictionary, a list
//! of the storages' keys, and for each key in that order how many numbers it has (u64) and those numbers.

use std::{collections::HashMap, ops::Range};

use crate::pytorch::pickle::{self, Error, Tensor};

/// The first pickle of such a file.
pub(super) const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The tensors, and where each storage's numbers lie.
pub(super) type Found = (Vec<(String, Tensor)>, HashMap<String, Range<usize>>);

pub(super) fn read(bytes: &[u8]) -> Result<Found, Error> {
    let mut at = MAGIC.len();
    let rest = |at: usize| bytes.get(at..).unwrap_or_default();
    let program = |at: usize| bytes.get(at..bytes.len().min(at + pickle::MAX_PROGRAM)).unwrap_or_default();
    for _ in 0..2 {
        at += pickle::skip(program(at))?;
    }
    let (tensors, length) = pickle::read(program(at))?;
    at += length;
    let (keys, length) = pickle::read_texts(program(at))?;
    at += length;
    let kinds: HashMap<&str, usize> =
        tensors.iter().map(|(_, t)| (t.storage.key.as_str(), t.storage.kind.block_bytes())).collect();
    let mut storages = HashMap::new();
    for key in keys {
        let Some(size) = kinds.get(key.as_str()) else {
            // Its numbers have a length that only its type tells.
            return Err(Error::Refused(format!("the storage {key} belongs to no tensor of its dictionary")));
        };
        let place = rest(at).first_chunk::<8>().and_then(|count| {
            let length = usize::try_from(u64::from_le_bytes(*count)).ok()?.checked_mul(*size)?;
            let to = (at + 8).checked_add(length).filter(|to| *to <= bytes.len())?;
            Some(at + 8..to)
        });
        let Some(place) = place else {
            return Err(Error::Damaged(format!("the storage {key} is longer than the file: it was cut off")));
        };
        at = place.end;
        storages.insert(key, place);
    }
    Ok((tensors, storages))
}
