//! A set of named tensors, in whatever form it lies on the disk.
//!
//! Every form is mapped, checked once, and read in place. Names of files that an index gives are plain names in its own
//! folder; a link that such a name is may lead elsewhere, because the caches of model hubs are made of links.

mod numpy;
pub mod order;
mod tensor;

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use safetensors::SafeTensors;
use serde::Deserialize;

pub use tensor::{Info, Numbers, Tensor, rows};

use crate::{
    BlockFormat, Element, GgufError, HuggingFaceError, PyTorchError, gguf::Directory, huggingface::read_json,
    map::Mapped, pytorch,
};

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
        "{path} holds no weights: none of model.safetensors, pytorch_model.bin, an index of either, consolidated.00.pth, adapter_model.safetensors, adapter_model.bin, or one .gguf file"
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
    /// Maps and checks a file or all files of a folder.
    ///
    /// # Errors
    /// A file is missing or damaged, holds something else, or does not agree with the index.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
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

    /// What it is written as.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Every file with its size.
    pub fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.files.iter().map(|(path, map)| (path.as_path(), map.bytes().len() as u64))
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
        let parts = |parts: &'_ [Part]| parts.iter().map(|part| self.part(part, &info)).collect();
        Some(match place {
            Place::One(part) => self.part(part, &info),
            Place::Stacked(all) => {
                let numbers = Box::new(tensor::Stacked { parts: parts(all), element });
                Tensor { info, numbers }
            }
            Place::SideBySide(all) => {
                let numbers = Box::new(tensor::SideBySide { parts: parts(all), element });
                Tensor { info, numbers }
            }
        })
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
        let (kind, tensors, directory) = read(path, map.bytes())?;
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

    /// Maps the files of an original LLaMA, each of which has a part of every tensor, and puts the parts together.
    fn join(&mut self, paths: &[PathBuf]) -> Result<(), SourceError> {
        #[derive(Deserialize)]
        struct Parameters {
            dim: usize,
        }
        self.kind = Kind::OriginalLlama;
        let mut parts: BTreeMap<String, (Element, Vec<Part>)> = BTreeMap::new();
        for (number, path) in paths.iter().enumerate() {
            let name = format!("consolidated.{number:02}.pth");
            if path.file_name().is_none_or(|n| n != name.as_str()) {
                return Err(SourceError::Damaged {
                    path: self.path.clone(),
                    reason: format!("{name} is missing; fetch it, it has a part of every tensor"),
                });
            }
            let map = map(path)?;
            for tensor in pytorch::strided_tensors(map.bytes(), path)? {
                let (info, part) = split(tensor, number);
                let of_name = parts.entry(info.name.clone()).or_insert((info.element, vec![]));
                if of_name.0 != info.element || of_name.1.len() != number {
                    let reason = format!("tensor {} is not like that of the files before", info.name);
                    return Err(SourceError::Damaged { path: path.clone(), reason });
                }
                of_name.1.push(part);
            }
            self.files.push((path.clone(), map));
        }
        let parameters: Parameters = match paths.len() {
            // One file has whole tensors; whether params.json is there matters only to those who need it.
            1 => Parameters { dim: 0 },
            _ => read_json(&self.path.join("params.json"))?,
        };
        for (name, (element, parts)) in parts {
            if parts.len() != paths.len() {
                let reason = format!("tensor {name} is in {} of {} files", parts.len(), paths.len());
                return Err(SourceError::Damaged { path: self.path.clone(), reason });
            }
            let place = together(&name, parts, parameters.dim)
                .map_err(|reason| SourceError::Damaged { path: self.path.clone(), reason })?;
            let shape = match &place {
                Place::One(part) => part.shape.clone(),
                Place::Stacked(parts) => sum_of(parts, 0),
                Place::SideBySide(parts) => sum_of(parts, 1),
            };
            if shape.iter().try_fold(8usize, |n, d| n.checked_mul(*d)).is_none() {
                let reason = format!("tensor {name} claims an impossible size");
                return Err(SourceError::Damaged { path: self.path.clone(), reason });
            }
            self.put(Info { name, shape, element }, place)?;
        }
        Ok(())
    }
}

/// The first part's shape, with the sizes of all parts added up in one dimension.
fn sum_of(parts: &[Part], dimension: usize) -> Vec<usize> {
    let mut shape = parts.first().map(|p| p.shape.clone()).unwrap_or_default();
    if let Some(size) = shape.get_mut(dimension) {
        *size = parts.iter().filter_map(|p| p.shape.get(dimension)).sum();
    }
    shape
}

/// How the parts of an original LLaMA's tensor belong together.
fn together(name: &str, mut parts: Vec<Part>, dim: usize) -> Result<Place, String> {
    let count = parts.len();
    let Some(first) = parts.first().map(|p| p.shape.clone()) else { return Err(format!("tensor {name} has no part")) };
    let ends = |ends: &[&str]| ends.iter().any(|end| name.strip_suffix(".weight").is_some_and(|n| n.ends_with(end)));
    let dimension = if count == 1 || first.len() < 2 {
        return Ok(Place::One(parts.swap_remove(0)));
    } else if ends(&["attention.wq", "attention.wk", "attention.wv", "feed_forward.w1", "feed_forward.w3", "output"]) {
        0
    } else if ends(&["attention.wo", "feed_forward.w2"]) {
        1
    } else if ends(&["tok_embeddings"]) {
        // By columns in the first two generations, by rows in the third.
        usize::from(first[1].checked_mul(count) == Some(dim))
    } else {
        return Err(format!("it is not known how the parts of the tensor {name} belong together"));
    };
    let others = |shape: &[usize]| shape.len() == 2 && shape.get(1 - dimension) == first.get(1 - dimension);
    if let Some(odd) = parts.iter().find(|p| !others(&p.shape)) {
        return Err(format!("the parts of the tensor {name} do not fit: {first:?} and {:?}", odd.shape));
    }
    Ok(if dimension == 0 { Place::Stacked(parts) } else { Place::SideBySide(parts) })
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

type Read = (Kind, Vec<pytorch::Strided>, Option<Directory>);

/// The tensors of a file of any form, which its first bytes tell.
fn read(path: &Path, bytes: &[u8]) -> Result<Read, SourceError> {
    let damaged = |reason: String| SourceError::Damaged { path: path.into(), reason };
    let plain = |name: String, element, shape: Vec<usize>, bytes| {
        let mut stride = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            stride[i - 1] = shape[i].saturating_mul(stride[i]);
        }
        pytorch::Strided { name, element, shape, stride, bytes }
    };
    if bytes.starts_with(b"GGUF") {
        let directory = Directory::parse(bytes, path)?;
        let tensors = directory
            .tensors
            .iter()
            .map(|(name, t)| plain(name.clone(), Element::Block(t.format), t.shape.clone(), t.from..t.to));
        return Ok((Kind::Gguf, tensors.collect(), Some(directory)));
    }
    if bytes.starts_with(numpy::MAGIC) {
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let array = numpy::array(bytes, 0..bytes.len(), &name);
        return Ok((Kind::Numpy, vec![array.map_err(|reason| damaged(format!("its array {reason}")))?], None));
    }
    if bytes.starts_with(b"PK") {
        if path.extension().is_some_and(|e| e == "npz")
            && let Some(arrays) = numpy::archive(bytes).map_err(damaged)?
        {
            return Ok((Kind::Numpy, arrays, None));
        }
        return Ok((Kind::PyTorch, pytorch::strided_tensors(bytes, path)?, None));
    }
    let is_torch = path.extension().is_some_and(|e| ["bin", "pth", "pt"].iter().any(|known| e == *known));
    if is_torch || bytes.starts_with(pytorch::LEGACY) {
        return Ok((Kind::PyTorch, pytorch::strided_tensors(bytes, path)?, None));
    }
    let start = bytes.as_ptr() as usize;
    let parsed = SafeTensors::deserialize(bytes).map_err(|e| damaged(format!("as safetensors: {e}")))?;
    let tensors = parsed.tensors().into_iter().map(|(name, view)| {
        let element = safetensors_element(view.dtype())
            .ok_or_else(|| damaged(format!("tensor {name} has the type {:?}, which is not read", view.dtype())))?;
        let from = view.data().as_ptr() as usize - start;
        Ok(plain(name, element, view.shape().to_vec(), from..from + view.data().len()))
    });
    Ok((Kind::Safetensors, tensors.collect::<Result<_, SourceError>>()?, None))
}

fn safetensors_element(dtype: safetensors::Dtype) -> Option<Element> {
    use safetensors::Dtype;
    Some(match dtype {
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::Block(BlockFormat::F16),
        Dtype::BF16 => Element::Block(BlockFormat::Bf16),
        Dtype::F64 => Element::F64,
        Dtype::I64 => Element::I64,
        Dtype::I32 => Element::I32,
        Dtype::I16 => Element::I16,
        Dtype::I8 => Element::I8,
        Dtype::U64 => Element::U64,
        Dtype::U32 => Element::U32,
        Dtype::U16 => Element::U16,
        Dtype::U8 => Element::U8,
        Dtype::BOOL => Element::Bool,
        _ => return None,
    })
}

fn is_consolidated(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("consolidated.") && n.ends_with(".pth"))
}

/// The weight files of a folder, and which tensor an index says is in which file.
fn paths(folder: &Path) -> Result<(Vec<PathBuf>, BTreeMap<String, String>), SourceError> {
    let io = |source| SourceError::Io { path: folder.into(), source };
    for name in ["model.safetensors", "pytorch_model.bin"] {
        // As Hugging Face's libraries seek them.
        if folder.join(name).is_file() {
            return Ok((vec![folder.join(name)], BTreeMap::new()));
        }
        let index = folder.join(format!("{name}.index.json"));
        if index.is_file() {
            return indexed(folder, &index);
        }
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        all.push(entry.map_err(io)?.path());
    }
    all.sort();
    let consolidated: Vec<PathBuf> = all.iter().filter(|p| is_consolidated(p)).cloned().collect();
    if !consolidated.is_empty() {
        return Ok((consolidated, BTreeMap::new()));
    }
    for name in ["adapter_model.safetensors", "adapter_model.bin"] {
        if folder.join(name).is_file() {
            return Ok((vec![folder.join(name)], BTreeMap::new()));
        }
    }
    let mut gguf = all.into_iter().filter(|p| p.extension().is_some_and(|e| e == "gguf"));
    match (gguf.next(), gguf.next()) {
        (Some(only), None) => Ok((vec![only], BTreeMap::new())),
        _ => Err(SourceError::NoWeights { path: folder.into() }),
    }
}

fn indexed(folder: &Path, index_path: &Path) -> Result<(Vec<PathBuf>, BTreeMap<String, String>), SourceError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = read_json(index_path)?;
    let mut names: Vec<&String> = index.weight_map.values().collect();
    names.sort();
    names.dedup();
    if let Some(bad) = names.iter().find(|n| Path::new(n).file_name().is_none_or(|f| f != n.as_str())) {
        let reason = format!("the file \"{bad}\" is not in the same folder");
        return Err(SourceError::Damaged { path: index_path.into(), reason });
    }
    if names.is_empty() {
        return Err(SourceError::Damaged { path: index_path.into(), reason: "it names no files".into() });
    }
    Ok((names.into_iter().map(|n| folder.join(n)).collect(), index.weight_map))
}
