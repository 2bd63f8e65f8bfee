//! PyTorch's own files: `pytorch_model.bin`, `adapter_model.bin`, `consolidated.00.pth`.
//!
//! Such a file is a zip archive of a pickle, which says what the tensors are called and where they lie, and of
//! the tensors' bytes; before version 1.6 it was pickles and bytes one after the other. A pickle is a program for a
//! machine that can call anything; here it is read as data: a handful of instructions build a dictionary, the few
//! names that belong to tensors are known, and everything else is refused by its name. Nothing is ever called.

mod legacy;
mod pickle;
pub(crate) mod zip;

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{BlockFormat, Element};

/// How a file of the form before version 1.6 begins.
pub(crate) const LEGACY: &[u8] = legacy::MAGIC;

/// What is wrong with a PyTorch file.
#[derive(Debug, thiserror::Error)]
pub enum PyTorchError {
    /// It is something else, or makes no sense.
    #[error("{path} is no PyTorch file, or damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was read.
        reason: String,
    },
    /// It asks for something that plain tensors do not need.
    #[error("{path} holds more than plain tensors and was not read: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        reason: String,
    },
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Its name.
    pub name: String,
    /// How its numbers are stored; `None` for types that weights do not have.
    pub format: Option<BlockFormat>,
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// First byte in the file.
    pub from: usize,
    /// One past its last byte.
    pub to: usize,
}

/// A tensor of a file whose numbers may lie in another order than its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strided {
    pub name: String,
    pub element: Element,
    pub shape: Vec<usize>,
    /// How many numbers lie between one place and the next of each dimension.
    pub stride: Vec<usize>,
    /// The bytes of the file from its first number to its last.
    pub bytes: Range<usize>,
}

/// The tensors of a file, by the bytes of all of it; `path` is for the errors.
///
/// # Errors
/// It is no such file, damaged, or holds more than tensors stored in their own order.
pub fn tensors(bytes: &[u8], path: &Path) -> Result<Vec<StoredTensor>, PyTorchError> {
    let stored = strided_tensors(bytes, path)?.into_iter().map(|tensor| {
        let Strided { name, element, shape, stride, bytes } = tensor;
        if !is_contiguous(&shape, &stride) {
            return Err(PyTorchError::Refused {
                path: path.into(),
                reason: format!("tensor {name} is stored in another order than its own; save it with .contiguous()"),
            });
        }
        Ok(StoredTensor { name, format: element.format(), shape, from: bytes.start, to: bytes.end })
    });
    stored.collect()
}

/// The same, with tensors in any order.
pub(crate) fn strided_tensors(bytes: &[u8], path: &Path) -> Result<Vec<Strided>, PyTorchError> {
    let damaged = |reason: String| PyTorchError::Damaged { path: path.into(), reason };
    let pickled = |error| match error {
        pickle::Error::Damaged(reason) => damaged(reason),
        pickle::Error::Refused(reason) => PyTorchError::Refused { path: path.into(), reason },
    };
    let (found, storages) = if bytes.starts_with(legacy::MAGIC) {
        legacy::read(bytes).map_err(pickled)?
    } else if bytes.starts_with(b"PK\x03\x04") {
        let archive = zip::Archive::open(bytes).map_err(damaged)?;
        archive.all_stored().map_err(damaged)?;
        let (folder, program) = archive.only("data.pkl").map_err(damaged)?;
        if let Some(order) = archive.find(&format!("{folder}byteorder"))
            && bytes.get(order) != Some(b"little")
        {
            return Err(damaged("its numbers are not in little-endian order".into()));
        }
        let (found, _) = pickle::read(bytes.get(program).unwrap_or_default()).map_err(pickled)?;
        let mut storages = HashMap::new();
        for (name, tensor) in &found {
            let key = &tensor.storage.key;
            let entry = archive.find(&format!("{folder}data/{key}"));
            let entry = entry.ok_or_else(|| damaged(format!("tensor {name} has no bytes in the archive")))?;
            storages.insert(key.clone(), entry);
        }
        (found, storages)
    } else {
        return Err(damaged("it is no zip archive".into()));
    };
    let placed = found.into_iter().map(|(name, tensor)| {
        let storage = storages.get(&tensor.storage.key).cloned().unwrap_or_default();
        place(name, tensor, storage).map_err(damaged)
    });
    placed.collect()
}

/// Bytes that a tensor may stand for whose storage has fewer.
const MAX_EXPANDED: usize = 256 << 20;

/// Checks a tensor against its storage.
fn place(name: String, tensor: pickle::Tensor, storage: Range<usize>) -> Result<Strided, String> {
    let pickle::Tensor { storage: pickle::Storage { kind, first, .. }, offset, shape, stride } = tensor;
    let size = kind.block_bytes();
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).and_then(|n| n.checked_mul(size));
    if count.is_none() || shape.len() != stride.len() {
        return Err(format!("tensor {name} claims an impossible size"));
    }
    // From the first number to one past the last.
    let reach = if shape.contains(&0) {
        Some(0)
    } else {
        let mut steps = shape.iter().zip(&stride);
        steps.try_fold(1usize, |reach, (d, s)| (d - 1).checked_mul(*s)?.checked_add(reach))
    };
    let from = first.checked_add(offset).and_then(|n| n.checked_mul(size)).and_then(|n| n.checked_add(storage.start));
    let to = reach.and_then(|n| n.checked_mul(size)).zip(from).and_then(|(n, from)| n.checked_add(from));
    match (from, to.filter(|to| *to <= storage.end)) {
        // A short file could claim a great many numbers by taking the same ones again and again. Some of that is usual: a
        // tensor that was expanded takes a few numbers for each of its rows.
        _ if count.is_some_and(|n| n > storage.len().max(if stride.contains(&0) { MAX_EXPANDED } else { 0 })) => {
            Err(format!("tensor {name} claims more bytes than its storage has"))
        }
        (Some(from), Some(to)) => Ok(Strided { name, element: kind, shape, stride, bytes: from..to }),
        _ => Err(format!("tensor {name} claims more bytes than its storage has")),
    }
}

/// Whether the numbers lie one after the other, the last dimension fastest.
pub(crate) fn is_contiguous(shape: &[usize], stride: &[usize]) -> bool {
    let mut step = 1usize;
    shape.len() == stride.len()
        && shape.iter().zip(stride).rev().all(|(d, s)| {
            let fits = *d == 1 || *s == step;
            step = step.saturating_mul(*d);
            fits
        })
}
