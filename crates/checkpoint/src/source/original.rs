//! The original LLaMA's files: each has a part of every tensor, which are put together here.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::{Info, Kind, Part, Place, Source, SourceError, map, split};
use crate::{Element, huggingface::read_json, pytorch};

impl Source {
    /// Maps the files of an original LLaMA, each of which has a part of every tensor, and puts the parts together.
    pub(super) fn join(&mut self, paths: &[PathBuf]) -> Result<(), SourceError> {
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
