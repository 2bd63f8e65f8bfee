//! Which files a folder's weights are in, and which tensors are in a file.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::SafeTensors;
use serde::Deserialize;

use super::{Kind, SourceError, numpy};
use crate::{BlockFormat, Element, element::Foreign, gguf::Directory, huggingface::read_json, map::Mapped, pytorch};

/// What was found in a file.
pub(super) struct Read {
    pub kind: Kind,
    pub tensors: Vec<pytorch::Strided>,
    pub directory: Option<Directory>,
    /// What the tensors are in where that is not the file.
    pub unpacked: Option<Mapped>,
}

impl Read {
    fn new(kind: Kind, tensors: Vec<pytorch::Strided>) -> Self {
        Self { kind, tensors, directory: None, unpacked: None }
    }
}

/// The tensors of a file of any form, which its first bytes tell.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Read, SourceError> {
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
        let others = directory.others.iter();
        let others = others.map(|(name, t)| plain(name.clone(), t.element, t.shape.clone(), t.bytes.clone()));
        let tensors = tensors.chain(others);
        let tensors = tensors.collect();
        return Ok(Read { directory: Some(directory), ..Read::new(Kind::Gguf, tensors) });
    }
    if bytes.starts_with(numpy::MAGIC) {
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let array = numpy::array(bytes, 0..bytes.len(), &name);
        return Ok(Read::new(Kind::Numpy, vec![array.map_err(|reason| damaged(format!("its array {reason}")))?]));
    }
    if bytes.starts_with(b"PK") {
        if path.extension().is_some_and(|e| e == "npz")
            && let Some((arrays, unpacked)) = numpy::archive(bytes).map_err(damaged)?
        {
            return Ok(Read { unpacked, ..Read::new(Kind::Numpy, arrays) });
        }
        return Ok(Read::new(Kind::PyTorch, pytorch::strided_tensors(bytes, path)?));
    }
    let is_torch = path.extension().is_some_and(|e| ["bin", "pth", "pt"].iter().any(|known| e == *known));
    if is_torch || bytes.starts_with(pytorch::LEGACY) {
        return Ok(Read::new(Kind::PyTorch, pytorch::strided_tensors(bytes, path)?));
    }
    let start = bytes.as_ptr() as usize;
    let parsed = SafeTensors::deserialize(bytes).map_err(|e| damaged(format!("as safetensors: {e}")))?;
    let tensors = parsed.tensors().into_iter().map(|(name, view)| {
        let element = safetensors_element(view.dtype());
        let from = view.data().as_ptr() as usize - start;
        plain(name, element, view.shape().to_vec(), from..from + view.data().len())
    });
    Ok(Read::new(Kind::Safetensors, tensors.collect()))
}

fn safetensors_element(dtype: safetensors::Dtype) -> Element {
    use safetensors::Dtype;
    let foreign = |name, block, bytes| Element::Foreign(Foreign { name, block, bytes });
    match dtype {
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
        Dtype::F8_E4M3 => foreign("F8_E4M3", 1, 1),
        Dtype::F8_E5M2 => foreign("F8_E5M2", 1, 1),
        Dtype::F8_E8M0 => foreign("F8_E8M0", 1, 1),
        Dtype::F4 => foreign("F4", 2, 1),
        Dtype::F6_E2M3 => foreign("F6_E2M3", 4, 3),
        Dtype::F6_E3M2 => foreign("F6_E3M2", 4, 3),
        Dtype::C64 => foreign("C64", 1, 8),
        _ => foreign("unknown", 1, 0),
    }
}

pub(super) fn is_consolidated(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("consolidated.") && n.ends_with(".pth"))
}

/// The weight files of a folder, and which tensor an index says is in which file.
pub(super) fn paths(folder: &Path) -> Result<(Vec<PathBuf>, BTreeMap<String, String>), SourceError> {
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
    for extension in ["gguf", "npz"] {
        let mut files = all.iter().filter(|p| p.extension().is_some_and(|e| e == extension));
        if let (Some(only), None) = (files.next(), files.next()) {
            return Ok((vec![only.clone()], BTreeMap::new()));
        }
    }
    Err(SourceError::NoWeights { path: folder.into() })
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
