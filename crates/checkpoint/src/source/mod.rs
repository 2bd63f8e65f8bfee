//! A set of named tensors, in whatever form it lies on the disk.
//!
//! Every form is mapped, checked once, and read in place. Names of files that an index gives are plain names in its own
//! folder; a link that such a name is may lead elsewhere, because the caches of model hubs are made of links.

mod files;
mod numpy;
pub mod order;
mod original;
mod tensor;

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use files::{Read, is_consolidated, paths, read};
use tensor::Lie;
pub use tensor::{Info, Numbers, Tensor, rows};

use crate::{Element, GgufError, HuggingFaceError, PyTorchError, adapter, gguf::Directory, map::Mapped, pytorch};

/// What is wrong with a set of tensors.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is damaged or something else: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How one can tell.
        reason: String,
    },
    /// A folder has nothing we read.
    #[error(
        "{path} holds no weights: none of model.safetensors, pytorch_model.bin, an index of either, consolidated.00.pth, adapter_model.safetensors, adapter_model.bin, one .gguf file, or one .npz file"
    )]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// A tensor is in two files.
    #[error("the tensor {tensor} is in {} and in {}; one of them does not belong here", .first.display(), .second.display())]
    Twice {
        /// The tensor.
        tensor: String,
        /// The one file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The index names a tensor that its file does not have.
    #[error("{path} has no tensor {tensor}, which the index says is in it; fetch the file again")]
    NotThere {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A GGUF file cannot be used.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A PyTorch file cannot be used.
    #[error(transparent)]
    PyTorch(#[from] PyTorchError),
    /// A JSON file of the folder cannot be used.
    #[error(transparent)]
    Json(#[from] HuggingFaceError),
}

/// What a set of tensors is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// safetensors, one file or several with an index.
    Safetensors,
    /// PyTorch's files, one or several with an index.
    PyTorch,
    /// The original LLaMA's `consolidated.NN.pth`; the parts of its tensors are put together.
    OriginalLlama,
    /// A GGUF file.
    Gguf,
    /// `.npy` or `.npz`.
    Numpy,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::PyTorch => "PyTorch",
            Self::OriginalLlama => "original LLaMA",
            Self::Gguf => "GGUF",
            Self::Numpy => "NumPy",
        }
    }
}

/// A mapped set of tensors.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    kind: Kind,
    files: Vec<(PathBuf, Mapped)>,
    infos: Vec<Info>,
    places: BTreeMap<String, (usize, Place)>,
    directory: Option<Directory>,
}

/// Where a tensor's numbers are.
#[derive(Debug)]
enum Place {
    One(Part),
    /// One below the other.
    Stacked(Vec<Part>),
    /// Side by side.
    SideBySide(Vec<Part>),
}

#[derive(Debug)]
struct Part {
    file: usize,
    shape: Vec<usize>,
    /// `None` when they are in their own order.
    stride: Option<Vec<usize>>,
    bytes: Range<usize>,
}

impl Source {
    /// Maps and checks a file or all files of a folder. A file of an original LLaMA that lies beside its `params.json` has a
    /// part of every tensor, or all: it stands for its folder.
    ///
    /// # Errors
    /// A file is missing or damaged, holds something else, or does not agree with the index.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let folder = path.parent().filter(|_| is_consolidated(path) && !path.is_dir());
        let folder = folder.map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        match folder.filter(|folder| folder.join("params.json").is_file()) {
            Some(folder) => Self::open_only(folder),
            None => Self::open_only(path),
        }
    }

    /// The same for a file by itself, whatever lies beside it.
    ///
    /// # Errors
    /// See [`Source::open`].
    pub(crate) fn open_only(path: &Path) -> Result<Self, SourceError> {
        let mut source = Self {
            path: path.into(),
            kind: Kind::Safetensors,
            files: vec![],
            infos: vec![],
            places: BTreeMap::new(),
            directory: None,
        };
        if !path.is_dir() {
            source.add(path)?;
        } else {
            let (paths, index) = paths(path)?;
            if paths.iter().any(|p| is_consolidated(p)) {
                source.join(&paths)?;
            } else {
                for path in &paths {
                    source.add(path)?;
                }
            }
            if let Some((tensor, file)) = index.iter().find(|(t, f)| source.file_of(t).is_none_or(|p| !p.ends_with(f)))
            {
                return Err(SourceError::NotThere { path: path.join(file), tensor: tensor.clone() });
            }
        }
        source.infos.sort_by(|a, b| order::place(&a.name).cmp(&order::place(&b.name)));
        let index: BTreeMap<&str, usize> = source.infos.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
        for (name, place) in &mut source.places {
            place.0 = index.get(name.as_str()).copied().unwrap_or_default();
        }
        Ok(source)
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that configuration and tokenizer would be in.
    pub fn folder(&self) -> &Path {
        if self.path.is_dir() {
            return &self.path;
        }
        self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Whether it is a LoRA adapter of PEFT's form.
    pub fn is_adapter(&self) -> bool {
        let named = |(path, _): &(PathBuf, Mapped)| path.file_stem().is_some_and(|stem| stem == "adapter_model");
        self.files.first().is_some_and(named) && adapter::is_adapter(self.folder())
    }

    /// What it is written as.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Every file with its size.
    pub fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.files.iter().map(|(path, map)| (path.as_path(), map.bytes().len() as u64))
    }

    /// The first tensor that is only listed: its numbers are in a form that is not read.
    pub fn unread(&self) -> Option<&Info> {
        self.infos.iter().find(|info| matches!(info.element, Element::Foreign(_)))
    }

    /// All tensors, in the model's order.
    pub fn infos(&self) -> &[Info] {
        &self.infos
    }

    /// The metadata, where it is a GGUF file.
    pub fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    /// The whole file, where it is a GGUF file; what [`Directory::pairs`] counts in.
    pub fn gguf_bytes(&self) -> Option<&[u8]> {
        self.directory.as_ref().and_then(|_| Some(self.files.first()?.1.bytes()))
    }

    /// The file that a tensor is in, the first if it is in several.
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        let file = match &self.places.get(name)?.1 {
            Place::One(part) => part.file,
            Place::Stacked(parts) | Place::SideBySide(parts) => parts.first()?.file,
        };
        self.files.get(file).map(|(path, _)| path.as_path())
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let (info, place) = self.places.get(name)?;
        let info = self.infos.get(*info)?.clone();
        let element = info.element;
        let (all, lie) = match place {
            Place::One(part) => return Some(self.part(part, &info)),
            Place::Stacked(all) => (all, Lie::Stacked),
            Place::SideBySide(all) => (all, Lie::SideBySide),
        };
        let parts = all.iter().map(|part| self.part(part, &info)).collect();
        Some(Tensor { info, numbers: Box::new(tensor::Joined { parts, element, lie }) })
    }

    /// All tensors, in the model's order.
    pub fn tensors(&self) -> Vec<Tensor<'_>> {
        self.infos.iter().filter_map(|info| self.tensor(&info.name)).collect()
    }

    fn part(&self, part: &Part, whole: &Info) -> Tensor<'_> {
        let info = Info { name: whole.name.clone(), shape: part.shape.clone(), element: whole.element };
        let Some((_, map)) = self.files.get(part.file) else { return Tensor::stored(info, &[]) };
        let bytes = map.bytes().get(part.bytes.clone()).unwrap_or_default();
        match &part.stride {
            None => Tensor {
                numbers: Box::new(tensor::Mapped { map, from: part.bytes.start, bytes, element: info.element }),
                info,
            },
            Some(stride) => {
                let (shape, stride) = (part.shape.clone(), stride.clone());
                Tensor { numbers: Box::new(tensor::Strided { element: info.element, shape, stride, bytes }), info }
            }
        }
    }

    /// Maps a file and takes all its tensors.
    fn add(&mut self, path: &Path) -> Result<(), SourceError> {
        let map = map(path)?;
        let Read { kind, tensors, directory, unpacked } = read(path, map.bytes())?;
        let map = unpacked.unwrap_or(map);
        self.kind = kind;
        self.directory = directory;
        let file = self.files.len();
        self.files.push((path.into(), map));
        for tensor in tensors {
            let (info, part) = split(tensor, file);
            self.put(info, Place::One(part))?;
        }
        Ok(())
    }

    fn put(&mut self, info: Info, place: Place) -> Result<(), SourceError> {
        if let Some(first) = self.file_of(&info.name) {
            let (first, second) = (first.to_owned(), self.files.last().map(|f| f.0.clone()).unwrap_or_default());
            return Err(SourceError::Twice { tensor: info.name, first, second });
        }
        self.places.insert(info.name.clone(), (0, place));
        self.infos.push(info);
        Ok(())
    }
}

fn map(path: &Path) -> Result<Mapped, SourceError> {
    Mapped::open(path).map_err(|source| match source.kind() {
        // An empty file cannot be mapped.
        io::ErrorKind::InvalidInput => SourceError::Damaged { path: path.into(), reason: "it is empty".into() },
        _ => SourceError::Io { path: path.into(), source },
    })
}

fn split(tensor: pytorch::Strided, file: usize) -> (Info, Part) {
    let pytorch::Strided { name, element, shape, stride, bytes } = tensor;
    let stride = (!pytorch::is_contiguous(&shape, &stride)).then_some(stride);
    (Info { name, shape: shape.clone(), element }, Part { file, shape, stride, bytes })
}
