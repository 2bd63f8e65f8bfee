//! Rounded matrices, kept in a file until the model is written: they need not be in memory together.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{BlockFormat, Element, Tensor, map::Mapped, source::Info};

/// Matrices that take the place of a model's own, by name.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    map: Option<Mapped>,
    length: usize,
    places: BTreeMap<String, (Vec<usize>, BlockFormat, Range<usize>)>,
    hash: Sha256,
}

impl Kept {
    /// Begins a file, which is removed when this is dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(path: &Path) -> io::Result<Self> {
        let file = Some(BufWriter::new(File::create(path)?));
        Ok(Self { path: path.into(), file, map: None, length: 0, places: BTreeMap::new(), hash: Sha256::new() })
    }

    /// Adds a matrix of rows and columns.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn put(&mut self, name: &str, shape: [usize; 2], format: BlockFormat, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::Error::other("it is written already")) };
        file.write_all(bytes)?;
        self.hash.update(name);
        self.hash.update(bytes);
        let place = self.length..self.length + bytes.len();
        self.length = place.end;
        self.places.insert(name.into(), (shape.into(), format, place));
        Ok(())
    }

    /// Ends the file; from now on it can be read.
    ///
    /// # Errors
    /// The file cannot be written or mapped.
    pub fn end(&mut self) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.flush()?;
        }
        if self.length > 0 {
            self.map = Some(Mapped::open(&self.path)?);
        }
        Ok(())
    }

    /// Stands for all that is kept.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:x?}", self.hash.clone().finalize().as_slice())
    }

    /// The tensor itself, or that which is kept of its name and shape.
    pub(crate) fn instead<'a>(&'a self, tensor: Tensor<'a>) -> Tensor<'a> {
        let found = self.places.get(&tensor.info.name).filter(|(shape, ..)| *shape == tensor.info.shape);
        let bytes = found.and_then(|(.., place)| self.map.as_ref()?.bytes().get(place.clone()));
        match found.zip(bytes) {
            Some(((shape, format, _), bytes)) => {
                let element = Element::Block(*format);
                Tensor::stored(Info { name: tensor.info.name, shape: shape.clone(), element }, bytes)
            }
            None => tensor,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.map = None;
        self.file = None;
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_takes_the_place_of_what_has_its_name_and_shape() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let mut kept = Kept::new(&path).unwrap();
        kept.put("a", [1, 2], BlockFormat::F16, &[1, 2, 3, 4]).unwrap();
        kept.put("b", [1, 1], BlockFormat::F16, &[5, 6]).unwrap();
        kept.end().unwrap();
        assert!(kept.put("c", [1, 1], BlockFormat::F16, &[5, 6]).is_err());
        let own = [0; 8];
        let tensor = |name: &str, shape: &[usize]| {
            let info = Info { name: name.into(), shape: shape.into(), element: Element::F32 };
            kept.instead(Tensor::stored(info, &own)).info.element.name()
        };
        assert_eq!([tensor("a", &[1, 2]), tensor("a", &[2, 1]), tensor("x", &[1, 1])], ["F16", "F32", "F32"]);
        assert_eq!(tensor("b", &[1, 1]), "F16");
        drop(kept);
        assert!(!path.exists());
    }
}
