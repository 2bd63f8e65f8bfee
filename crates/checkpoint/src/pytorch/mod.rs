//! PyTorch's own files: `pytorch_model.bin`, `adapter_model.bin`.
//!
//! Such a file is a zip archive of a pickle, which says what the tensors are called and where they lie, and of
//! the tensors' bytes. A pickle is a program for a machine that can call anything; here it is read as data: a
//! handful of instructions build a dictionary, the few names that belong to tensors are known, and everything
//! else is refused by its name. Nothing is ever called.

mod pickle;
mod zip;

use std::path::{Path, PathBuf};

use crate::BlockFormat;

/// What is wrong with a PyTorch file.
#[derive(Debug, thiserror::Error)]
pub enum PyTorchError {
    /// It was saved by PyTorch before version 1.6.
    #[error(
        "{path} is of the form that PyTorch had before version 1.6, which is not read; load it with PyTorch and save it anew"
    )]
    Legacy {
        /// The file.
        path: PathBuf,
    },
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

/// The tensors of a file, by the bytes of all of it; `path` is for the errors.
///
/// # Errors
/// It is no such file, damaged, of the oldest form, or holds more than tensors.
pub fn tensors(bytes: &[u8], path: &Path) -> Result<Vec<StoredTensor>, PyTorchError> {
    let damaged = |reason: String| PyTorchError::Damaged { path: path.into(), reason };
    if !bytes.starts_with(b"PK\x03\x04") {
        // The oldest form begins with a pickled number.
        let legacy = bytes.starts_with(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
        return Err(match legacy {
            true => PyTorchError::Legacy { path: path.into() },
            false => damaged("it is no zip archive".into()),
        });
    }
    let archive = zip::Archive::open(bytes).map_err(damaged)?;
    let (folder, program) = archive.only("data.pkl").map_err(damaged)?;
    if let Some(order) = archive.find(&format!("{folder}byteorder"))
        && bytes.get(order) != Some(b"little")
    {
        return Err(damaged("its numbers are not in little-endian order".into()));
    }
    let program = bytes.get(program).unwrap_or_default();
    let found = pickle::read(program).map_err(|error| match error {
        pickle::Error::Damaged(reason) => damaged(reason),
        pickle::Error::Refused(reason) => PyTorchError::Refused { path: path.into(), reason },
    })?;
    let mut stored = Vec::with_capacity(found.len());
    for (name, tensor) in found {
        let wrong = |reason: &str| damaged(format!("tensor {name} {reason}"));
        let entry = archive.find(&format!("{folder}data/{}", tensor.storage.key));
        let entry = entry.ok_or_else(|| wrong("has no bytes in the archive"))?;
        let size = tensor.storage.kind.bytes();
        let count = tensor.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let length = count.and_then(|n| n.checked_mul(size)).ok_or_else(|| wrong("claims an impossible size"))?;
        if !is_contiguous(&tensor.shape, &tensor.stride) {
            return Err(PyTorchError::Refused {
                path: path.into(),
                reason: format!("tensor {name} is stored in another order than its own; save it with .contiguous()"),
            });
        }
        let from = tensor.offset.checked_mul(size).and_then(|n| n.checked_add(entry.start));
        let to = from.and_then(|n| n.checked_add(length)).filter(|to| *to <= entry.end);
        let (Some(from), Some(to)) = (from, to) else { return Err(wrong("claims more bytes than its storage has")) };
        stored.push(StoredTensor { format: tensor.storage.kind.format(), name, shape: tensor.shape, from, to });
    }
    Ok(stored)
}

/// Whether the numbers lie one after the other, the last dimension fastest.
fn is_contiguous(shape: &[usize], stride: &[usize]) -> bool {
    let mut step = 1usize;
    shape.len() == stride.len()
        && shape.iter().zip(stride).rev().all(|(d, s)| {
            let fits = *d == 1 || *s == step;
            step = step.saturating_mul(*d);
            fits
        })
}
