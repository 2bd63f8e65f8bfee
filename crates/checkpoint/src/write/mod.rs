//! Writing tensors to files: tensor by tensor, on several threads, in little memory.
//!
//! Every file is made in a folder for unfinished work beside its place, brought to the disk, and then renamed: under
//! its own name a file is always whole. Beside each finished file that folder keeps what was written into it, so that
//! a run that was ended at any moment goes on with the file it was at, and in the end there are the same bytes.

mod gguf;
mod manifest;
mod piece;
mod pytorch;
mod run;
mod safetensors;
mod target;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde_json::json;

pub use gguf::{Meta, copied_metadata};
pub use manifest::{MANIFEST_FILE, Manifest, Written, manifest_path};
pub use target::UNFINISHED;

use crate::{Element, Source, Tensor};

/// Shards are at most so large where nothing else is asked for.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// Why nothing, or not all, was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file or folder cannot be written.
    #[error("{path} cannot be written: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is to be copied along cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is something already.
    #[error("{path} is there already; choose another name, or say --overwrite to replace it")]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// Result and source would be the same.
    #[error("{path} is what is read from; the result needs another place")]
    OntoItself {
        /// The folder or file.
        path: PathBuf,
    },
    /// Another run writes there.
    #[error("another run is writing to {path} at this moment; wait for it, or choose another place")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The disk is too small.
    #[error("{path} needs {needed} bytes, its disk has {free} left; make room or choose another disk")]
    Full {
        /// Where to.
        path: PathBuf,
        /// What is missing there in bytes.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// A tensor cannot be stored as asked.
    #[error("tensor {tensor} of shape {shape:?} cannot be stored as {element} in a {container} file")]
    Misfit {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How it should be stored.
        element: &'static str,
        /// What kind of file.
        container: &'static str,
    },
    /// Whoever asked for it does not want it any more.
    #[error("stopped; what is done is kept, and the same command goes on with it")]
    Stopped,
}

/// A tensor to be written.
#[derive(Debug)]
pub struct Planned<'a> {
    /// The tensor.
    pub tensor: Tensor<'a>,
    /// How it is stored. Its own form is copied as it is.
    pub element: Element,
}

impl<'a> Planned<'a> {
    /// A tensor that keeps its form.
    pub fn kept(tensor: Tensor<'a>) -> Self {
        Self { element: tensor.info.element, tensor }
    }

    /// Bytes it will take.
    fn bytes(&self) -> usize {
        self.element.bytes(self.tensor.info.count()).unwrap_or(0)
    }

    /// Whether it can be stored so.
    fn checked(&self, container: &'static str, has: impl Fn(Element) -> bool) -> Result<(), WriteError> {
        let info = &self.tensor.info;
        let whole = info.columns().is_multiple_of(self.element.block());
        let (one, mut packed) = (vec![0.0; self.element.block()], vec![0; self.element.block_bytes()]);
        let packs = self.element == info.element || self.element.pack(&one, &mut packed);
        if whole && packs && has(self.element) && self.element.bytes(info.count()).is_some() {
            return Ok(());
        }
        Err(WriteError::Misfit {
            tensor: info.name.clone(),
            shape: info.shape.clone(),
            element: self.element.name(),
            container,
        })
    }
}

/// The form of a model folder's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// `model.safetensors`, or shards of it with an index.
    Safetensors,
    /// `pytorch_model.bin`, or shards of it with an index.
    PyTorch,
    /// `adapter_model.safetensors`, of an adapter.
    Adapter,
    /// `adapter_model.bin`, of an adapter.
    PyTorchAdapter,
}

/// How to write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// What is done, for the manifest: `recover`.
    pub operation: String,
    /// What else decides on the result: options and files read, for telling whether unfinished work is this work.
    pub inputs: Vec<String>,
    /// Folders and files that are read, which the result must not lie in the place of.
    pub sources: Vec<PathBuf>,
    /// A file is not longer than this, but for a single longer tensor.
    pub shard_bytes: u64,
    /// Threads that compute and write.
    pub threads: usize,
    /// Whether to replace what is there.
    pub overwrite: bool,
    /// Whether to add up all numbers.
    pub sums: bool,
}

impl WriteOptions {
    /// The usual ones for an operation.
    pub fn new(operation: &str) -> Self {
        Self {
            operation: operation.into(),
            inputs: vec![],
            sources: vec![],
            shard_bytes: SHARD_BYTES,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            overwrite: false,
            sums: false,
        }
    }

    /// Adds a set of tensors that is read: its files with size and date stand for what is in them.
    pub fn reads(&mut self, source: &Source) {
        self.sources.push(source.path().into());
        for (path, size) in source.files() {
            let changed = path.metadata().and_then(|m| m.modified()).ok();
            let changed = changed.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
            self.inputs.push(format!("{} {size} {changed:?}", path.display()));
        }
    }
}

/// A file that goes along with the weights.
#[derive(Clone, Debug)]
pub struct Companion {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub content: Content,
}

/// What a file along with the weights has in it.
#[derive(Clone, Debug)]
pub enum Content {
    /// What another file has.
    CopyOf(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// Told of bytes written and bytes to write in all; `false` ends the work.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);

/// What stands in a file beside the tensors' numbers.
#[derive(Debug)]
enum Form {
    /// Its beginning.
    Head(Vec<u8>),
    /// Parts of an archive between them, which need the numbers' checksums.
    Zip(pytorch::Archive),
}

/// Where everything is in a file.
#[derive(Debug)]
struct Layout {
    /// Where each tensor begins.
    offsets: Vec<u64>,
    size: u64,
    form: Form,
}

/// A file to be written: its name, its tensors by their places in the whole list, and where they go.
#[derive(Debug)]
struct FilePlan {
    name: String,
    tensors: Vec<usize>,
    layout: Layout,
}

/// Writes the weights of a model folder, and what goes along.
///
/// # Errors
/// A tensor cannot be stored so, something is there already, or a file cannot be written.
pub fn folder(
    out: &Path,
    container: Container,
    tensors: &[Planned<'_>],
    companions: &[Companion],
    options: &WriteOptions,
    progress: Progress<'_>,
) -> Result<Manifest, WriteError> {
    let (stem, extension, name) = match container {
        Container::Safetensors => ("model", "safetensors", "safetensors"),
        Container::PyTorch => ("pytorch_model", "bin", "PyTorch"),
        Container::Adapter => ("adapter_model", "safetensors", "safetensors"),
        Container::PyTorchAdapter => ("adapter_model", "bin", "PyTorch"),
    };
    let is_torch = matches!(container, Container::PyTorch | Container::PyTorchAdapter);
    for tensor in tensors {
        tensor.checked(name, |element| match is_torch {
            true => pytorch::storage_type(element).is_some(),
            false => Element::from_safetensors(element.name()).is_some(),
        })?;
    }
    // An adapter is one file.
    let limit = if stem == "adapter_model" { u64::MAX } else { options.shard_bytes };
    let shards = shards(tensors, limit);
    let count = shards.len();
    let mut files = Vec::with_capacity(count);
    let mut weight_map = BTreeMap::new();
    for (number, shard) in shards.into_iter().enumerate() {
        let stem = if count == 1 { stem.to_owned() } else { format!("{stem}-{:05}-of-{count:05}", number + 1) };
        let file = format!("{stem}.{extension}");
        let planned: Vec<&Planned<'_>> = shard.iter().map(|i| &tensors[*i]).collect();
        weight_map.extend(planned.iter().map(|p| (p.tensor.info.name.clone(), file.clone())));
        let layout = match is_torch {
            true => pytorch::layout(&stem, &planned),
            false => safetensors::layout(&planned),
        };
        files.push(FilePlan { name: file, tensors: shard, layout });
    }
    let mut companions = companions.to_vec();
    if count > 1 {
        let total: u64 = tensors.iter().map(|t| t.bytes() as u64).sum();
        let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
        let content = Content::Bytes(format!("{index:#}\n").into_bytes());
        companions.push(Companion { name: format!("{stem}.{extension}.index.json"), content });
    }
    let target = target::Target::folder(out);
    run::write(&target, &files, tensors, &companions, options, progress)
}

/// Writes a GGUF file.
///
/// # Errors
/// See [`folder`].
pub fn gguf(
    out: &Path,
    metadata: &[(String, Meta)],
    tensors: &[Planned<'_>],
    options: &WriteOptions,
    progress: Progress<'_>,
) -> Result<Manifest, WriteError> {
    for tensor in tensors {
        let fits = tensor.tensor.info.shape.len() <= 4;
        tensor.checked("GGUF", |element| fits && gguf::type_number(element).is_some())?;
    }
    let planned: Vec<&Planned<'_>> = tensors.iter().collect();
    let layout = gguf::layout(metadata, &planned);
    let target = target::Target::file(out)?;
    let plan = FilePlan { name: target.file_name(), tensors: (0..tensors.len()).collect(), layout };
    run::write(&target, &[plan], tensors, &[], options, progress)
}

/// Cuts the list into shards, each as full as it may be.
fn shards(tensors: &[Planned<'_>], limit: u64) -> Vec<Vec<usize>> {
    let mut shards: Vec<Vec<usize>> = vec![vec![]];
    let mut filled = 0u64;
    for (i, tensor) in tensors.iter().enumerate() {
        let bytes = tensor.bytes() as u64;
        if filled + bytes > limit && shards.last().is_some_and(|s| !s.is_empty()) {
            shards.push(vec![]);
            filled = 0;
        }
        filled += bytes;
        shards.last_mut().into_iter().for_each(|s| s.push(i));
    }
    shards
}
