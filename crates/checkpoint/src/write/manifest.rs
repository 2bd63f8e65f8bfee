//! What was written, so that it can be checked later: a checksum and a sum for every tensor.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Element,
    diff::is_rotary,
    known::{self, PublishedSum},
};

/// Its name beside the files of a folder.
pub const MANIFEST_FILE: &str = "knowlm-manifest.json";

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this file.
    pub version: u32,
    /// Who wrote it.
    pub program: String,
    /// What was done: `recover`.
    pub operation: String,
    /// Stands for inputs, options and this list; the same work has the same.
    pub job: String,
    /// Every tensor's sum in `f32`, and those added up in `f32` in the order below: what the original system printed,
    /// where it ran on one thread. On several, the last digits of a tensor's sum depended on their number.
    pub sum: Option<f32>,
    /// The sum of all numbers in `f64`.
    pub exact_sum: Option<f64>,
    /// The tensors, in the model's order.
    pub tensors: Vec<Written>,
    /// SHA-256 of the other files.
    pub files: BTreeMap<String, String>,
}

/// A tensor that was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// The file it is in.
    pub file: String,
    /// How its numbers are stored: `F32`.
    pub element: String,
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// SHA-256 of its numbers as stored.
    pub sha256: String,
    /// The sum of its numbers as stored, added up in `f64`.
    pub sum: Option<f64>,
    /// The same added up in `f32`, as PyTorch does it on one thread.
    #[serde(default)]
    pub sum_f32: Option<f32>,
}

impl Manifest {
    /// Adds up the tensors' sums; none when one is not known.
    pub(super) fn add_up(&mut self) {
        self.sum = self.tensors.iter().try_fold(0.0f32, |sum, t| Some(sum + t.sum_f32?));
        self.exact_sum = self.tensors.iter().try_fold(0.0f64, |sum, t| Some(sum + t.sum?));
    }

    /// What the published sums say of a recovered model; none where none was published for one of this size.
    pub fn published_sum(&self) -> Option<PublishedSum> {
        if self.operation != "recover" {
            return None;
        }
        let count = |t: &&Written| t.shape.iter().product::<usize>() as u64;
        let counted = self.tensors.iter().filter(|t| !is_rotary(&t.name));
        let in_32_bits = self.tensors.iter().all(|t| t.element == Element::F32.name());
        known::published_sum(self.sum?, counted.map(|t| count(&t)).sum(), in_32_bits)
    }
}

/// Where the manifest of a folder or of a single file lies.
pub fn manifest_path(written: &Path) -> PathBuf {
    if written.is_dir() {
        return written.join(MANIFEST_FILE);
    }
    let name = written.file_name().unwrap_or_default().to_string_lossy();
    written.with_file_name(format!("{name}.{MANIFEST_FILE}"))
}
