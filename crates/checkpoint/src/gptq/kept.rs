//! Rounded matrices, kept in a file until the model is written: they need not be in memory together, and a run that was
//! ended goes on with the layer it was at.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::OutputErrors;
use crate::{BlockFormat, Element, Tensor, map::Mapped, source::Info};

/// Matrices that take the place of a model's own, by name.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    /// The blocks of all matrices, one after the other.
    file: Option<File>,
    /// What is in that file: a line of JSON for the work, then one for each matrix of the layers that are whole. Locked.
    list: File,
    map: Option<Mapped>,
    entries: Vec<Entry>,
    /// Entries that the list has.
    listed: usize,
    places: BTreeMap<String, usize>,
    fingerprint: String,
}

/// A matrix that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name in the model.
    pub name: String,
    /// Its layer.
    pub layer: usize,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// How far its outputs are off.
    pub errors: OutputErrors,
    format: String,
    bytes: Range<usize>,
}

impl Entry {
    fn format(&self) -> Option<BlockFormat> {
        BlockFormat::ALL.into_iter().find(|format| format.name() == self.format)
    }
}

impl Kept {
    /// Begins a file, or goes on with one that the same work left; `work` tells it from any other. The file is removed
    /// when this is dropped.
    ///
    /// # Errors
    /// It cannot be made, or another run is writing to it.
    pub fn new(path: &Path, work: &str) -> io::Result<Self> {
        let open = |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let list = open(&list_of(path))?;
        if matches!(list.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(io::Error::other("another run is writing to it at this moment"));
        }
        let mut file = open(path)?;
        let entries = listed(&list, work, file.metadata()?.len()).unwrap_or_default();
        let length = entries.last().map_or(0, |entry| entry.bytes.end);
        file.set_len(length as u64)?;
        file.seek(SeekFrom::End(0))?;
        let places = entries.iter().enumerate().map(|(i, entry)| (entry.name.clone(), i)).collect();
        let mut kept = Self {
            path: path.into(),
            file: Some(file),
            list,
            map: None,
            entries,
            listed: 0,
            places,
            fingerprint: String::new(),
        };
        kept.list.set_len(0)?;
        kept.list.seek(SeekFrom::Start(0))?;
        kept.list.write_all(format!("{}\n", serde_json::to_string(work)?).as_bytes())?;
        kept.settle()?;
        Ok(kept)
    }

    /// Adds a matrix of a layer.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn put(
        &mut self,
        name: &str,
        layer: usize,
        shape: [usize; 2],
        format: BlockFormat,
        bytes: &[u8],
        errors: OutputErrors,
    ) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::Error::other("it is written already")) };
        file.write_all(bytes)?;
        let from = self.entries.last().map_or(0, |entry| entry.bytes.end);
        let (name, format) = (name.to_owned(), format.name().to_owned());
        self.places.insert(name.clone(), self.entries.len());
        self.entries.push(Entry { name, layer, shape, errors, format, bytes: from..from + bytes.len() });
        Ok(())
    }

    /// Says that a layer is whole: a run that is ended after this goes on behind it.
    ///
    /// # Errors
    /// The files cannot be brought to the disk.
    pub fn settle(&mut self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)?;
        let mut lines = Vec::new();
        for entry in &self.entries[self.listed..] {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        self.list.write_all(&lines)?;
        self.listed = self.entries.len();
        self.list.sync_data()
    }

    /// The blocks of a matrix, while more are being added.
    pub fn known(&self, name: &str) -> Option<Vec<u8>> {
        let place = &self.entries.get(*self.places.get(name)?)?.bytes;
        let mut bytes = vec![0; place.len()];
        let mut file = File::open(&self.path).ok()?;
        file.seek(SeekFrom::Start(place.start as u64)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Every matrix that is kept.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Ends the file; from now on its matrices take the place of a model's own.
    ///
    /// # Errors
    /// The file cannot be written or mapped.
    pub fn end(&mut self) -> io::Result<()> {
        self.settle()?;
        self.file = None;
        let mut hash = Sha256::new();
        if !self.entries.is_empty() {
            let map = Mapped::open(&self.path)?;
            for entry in &self.entries {
                hash.update(&entry.name);
                hash.update(map.bytes().get(entry.bytes.clone()).unwrap_or_default());
            }
            self.map = Some(map);
        }
        self.fingerprint = format!("{:x?}", hash.finalize().as_slice());
        Ok(())
    }

    /// The blocks that are kept of a matrix with its rows and columns.
    pub(crate) fn blocks(&self, name: &str) -> Option<([usize; 2], BlockFormat, &[u8])> {
        let entry = self.entries.get(*self.places.get(name)?)?;
        Some((entry.shape, entry.format()?, self.map.as_ref()?.bytes().get(entry.bytes.clone())?))
    }

    /// Stands for all that is kept.
    pub(crate) fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    /// The tensor itself, or that which is kept of its name and shape.
    pub(crate) fn instead<'a>(&'a self, tensor: Tensor<'a>) -> Tensor<'a> {
        match self.blocks(&tensor.info.name).filter(|(shape, ..)| tensor.info.shape == *shape) {
            Some((shape, format, bytes)) => {
                let element = Element::Block(format);
                Tensor::stored(Info { name: tensor.info.name, shape: shape.into(), element }, bytes)
            }
            None => tensor,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.map = None;
        self.file = None;
        for path in [list_of(&self.path), self.path.clone()] {
            let _ = fs::remove_file(path);
        }
    }
}

/// Where it stands what is in a file.
fn list_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.list"))
}

/// The matrices that the same work left; none where anything about them is odd.
fn listed(list: &File, work: &str, length: u64) -> Option<Vec<Entry>> {
    let mut lines = BufReader::new(list).lines();
    let of: String = serde_json::from_str(&lines.next()?.ok()?).ok()?;
    let mut entries: Vec<Entry> = Vec::new();
    for line in lines.map_while(Result::ok).filter(|_| of == work) {
        // The last line may not be whole.
        let Ok(entry) = serde_json::from_str::<Entry>(&line) else { break };
        let Range { start, end } = entry.bytes;
        let bytes = entry.format()?.row_bytes(entry.shape[1])?.checked_mul(entry.shape[0])?;
        let follows = entries.last().map_or(0, |last| last.bytes.end) == start;
        if !follows || end.checked_sub(start) != Some(bytes) || end as u64 > length {
            return None;
        }
        entries.push(entry);
    }
    Some(entries)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use BlockFormat::F16;

    #[test]
    fn what_is_kept_takes_the_place_of_what_has_its_name_and_shape() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let mut kept = Kept::new(&path, "work").unwrap();
        let none = OutputErrors::default();
        kept.put("a", 0, [1, 2], F16, &[1, 2, 3, 4], none).unwrap();
        kept.put("b", 0, [1, 1], F16, &[5, 6], none).unwrap();
        assert_eq!(kept.known("b").unwrap(), [5, 6]);
        kept.end().unwrap();
        assert!(kept.put("c", 0, [1, 1], F16, &[5, 6], none).is_err());
        let own = [0; 8];
        let tensor = |name: &str, shape: &[usize]| {
            let info = Info { name: name.into(), shape: shape.into(), element: Element::F32 };
            kept.instead(Tensor::stored(info, &own)).info.element.name()
        };
        assert_eq!([tensor("a", &[1, 2]), tensor("a", &[2, 1]), tensor("x", &[1, 1])], ["F16", "F32", "F32"]);
        assert_eq!(tensor("b", &[1, 1]), "F16");
        drop(kept);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn work_that_was_ended_goes_on_behind_its_last_whole_layer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let errors = OutputErrors { gptq: 0.1, plain: 1.0 / 3.0, outputs: 7.0 };
        let mut kept = Kept::new(&path, "work").unwrap();
        kept.put("a", 0, [1, 2], F16, &[1, 2, 3, 4], errors).unwrap();
        kept.settle().unwrap();
        kept.put("b", 1, [1, 1], F16, &[5, 6], errors).unwrap();
        assert!(Kept::new(&path, "work").unwrap_err().to_string().contains("another run"));
        // As if it had been killed here.
        kept.list.unlock().unwrap();
        std::mem::forget(kept);
        let mut kept = Kept::new(&path, "work").unwrap();
        let names = |kept: &Kept| kept.entries().iter().map(|e| (e.name.clone(), e.errors)).collect::<Vec<_>>();
        assert_eq!(names(&kept), [("a".to_owned(), errors)]);
        kept.put("b", 1, [1, 1], F16, &[5, 6], errors).unwrap();
        kept.end().unwrap();
        assert_eq!((kept.known("a").unwrap(), kept.known("b").unwrap()), (vec![1, 2, 3, 4], vec![5, 6]));
        let whole = kept.fingerprint();
        kept.list.unlock().unwrap();
        std::mem::forget(kept);

        let mut kept = Kept::new(&path, "work").unwrap();
        kept.end().unwrap();
        assert_eq!(kept.fingerprint(), whole, "however it came about");
        kept.list.unlock().unwrap();
        std::mem::forget(kept);
        assert!(Kept::new(&path, "other work").unwrap().entries().is_empty());
    }

    #[test]
    fn a_list_that_was_tampered_with_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let line = |bytes: &str| {
            let errors = r#"{"gptq": 0, "plain": 0, "outputs": 0}"#;
            format!(
                r#"{{"name": "a", "layer": 0, "shape": [1, 2], "errors": {errors}, "format": "F16", "bytes": {bytes}}}"#
            )
        };
        for (bytes, left) in [
            (r#"{"start": 0, "end": 4}"#, 1),
            (r#"{"start": 0, "end": 1152921504606846976}"#, 0),
            (r#"{"start": 4, "end": 8}"#, 0),
            (r#"{"start": 4, "end": 0}"#, 0),
            ("1", 0),
        ] {
            fs::write(&path, [0; 8]).unwrap();
            fs::write(list_of(&path), format!("\"work\"\n{}\n", line(bytes))).unwrap();
            assert_eq!(Kept::new(&path, "work").unwrap().entries().len(), left, "{bytes}");
        }
    }
}
