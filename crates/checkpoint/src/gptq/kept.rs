//! Rounded matrices, kept in a file until the model is written: they need not be in memory together, and a run that was
//! ended, however it ended, goes on with the layer it was at.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{OutputErrors, To};
use crate::{BlockFormat, Element, Tensor, map::Mapped, source::Info, space, write::WriteError};

/// Matrices that take the place of a model's own, by name.
///
/// Its files stay when this is dropped, for the next run of the same work; [`Kept::discard`] removes them.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    /// The blocks of all matrices, one after the other.
    file: Option<File>,
    /// What is in that file: a line of JSON for the work, then one for each layer that is whole. Locked.
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

    /// Whether it lies behind what ends at `from`, in a file of this length.
    fn follows(&self, from: usize, length: u64) -> bool {
        let row_bytes = self.format().and_then(|format| format.row_bytes(self.shape[1]));
        let bytes = row_bytes.and_then(|bytes| bytes.checked_mul(self.shape[0]));
        let Range { start, end } = self.bytes;
        start == from && bytes.is_some() && end.checked_sub(start) == bytes && end as u64 <= length
    }
}

impl Kept {
    /// Begins a file, or goes on with one that the same work left; `work` tells it from any other.
    ///
    /// # Errors
    /// It cannot be made, or another run is writing to it.
    pub fn new(path: &Path, work: &str) -> io::Result<Self> {
        let open = |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut list = open(&list_of(path))?;
        if matches!(list.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(io::Error::other("another run is writing to it at this moment"));
        }
        let mut file = open(path)?;
        let (mut bytes, head) = (Vec::new(), format!("{}\n", serde_json::to_string(work)?));
        list.read_to_end(&mut bytes)?;
        let (good, entries) = listed(&bytes, &head, file.metadata()?.len());
        // Behind what is good there may be a line that was being written.
        list.set_len(good)?;
        list.seek(SeekFrom::End(0))?;
        if good == 0 {
            list.write_all(head.as_bytes())?;
            list.sync_data()?;
        }
        file.set_len(entries.last().map_or(0, |entry| entry.bytes.end) as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            path: path.into(),
            file: Some(file),
            list,
            map: None,
            listed: entries.len(),
            places: entries.iter().enumerate().map(|(i, entry)| (entry.name.clone(), i)).collect(),
            entries,
            fingerprint: String::new(),
        })
    }

    /// Removes the files that a run left at a path. To be called once the model is written, or when nobody wants it any
    /// more: nothing else does. They stay where a run is adding to them at this moment; the answer is whether they are
    /// gone.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn discard(path: &Path) -> io::Result<bool> {
        let list = list_of(path);
        let lock = match File::open(&list) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            lock => lock.ok(),
        };
        if lock.as_ref().is_some_and(|list| matches!(list.try_lock(), Err(TryLockError::WouldBlock))) {
            return Ok(false);
        }
        // The list goes last, and is locked until it is gone: nobody begins these files anew meanwhile.
        for file in [path, &list] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(true)
    }

    /// Asks for room on the disk, before the long work: for the matrices of a model's layers that are not kept yet, and
    /// for the result, which has them once more and everything else in at most 16 bits.
    ///
    /// # Errors
    /// There is too little.
    pub fn ask_room(&self, model: &[Info], to: To) -> Result<(), WriteError> {
        let (mut missing, mut result) = (0u64, 0u64);
        for info in model {
            let [rows, columns] = info.shape[..] else { continue };
            let row_bytes = to.format().row_bytes(columns).filter(|_| is_of_layer(&info.name));
            let bytes = (rows as u64).saturating_mul(row_bytes.unwrap_or(columns.saturating_mul(2)) as u64);
            result = result.saturating_add(bytes);
            if row_bytes.is_some() && !self.places.contains_key(&info.name) {
                missing = missing.saturating_add(bytes);
            }
        }
        // Where all are kept, the result may be there in part; who writes it asks for the rest.
        let needed = if missing == 0 { 0 } else { missing.saturating_add(result) };
        match space::free(&self.path) {
            Some(free) if free < needed => Err(WriteError::Full { path: self.path.clone(), needed, free }),
            _ => Ok(()),
        }
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
        let layer = &self.entries[self.listed..];
        if layer.is_empty() {
            return Ok(());
        }
        self.file.as_ref().map_or(Ok(()), File::sync_data)?;
        // One line: it is there as a whole or not at all.
        self.list.write_all(format!("{}\n", serde_json::to_string(layer)?).as_bytes())?;
        self.listed = self.entries.len();
        self.list.sync_data()
    }

    /// The blocks of a matrix, while more are being added; none of one that is not kept.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn known(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(entry) = self.places.get(name).and_then(|place| self.entries.get(*place)) else { return Ok(None) };
        let mut bytes = vec![0; entry.bytes.len()];
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(entry.bytes.start as u64))?;
        file.read_exact(&mut bytes)?;
        Ok(Some(bytes))
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

/// Where it stands what is in a file.
fn list_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.list"))
}

/// Whether a matrix of this name belongs to a layer.
fn is_of_layer(name: &str) -> bool {
    name.starts_with("model.layers.") || name.starts_with("blk.")
}

/// What of a list can be relied on: its length, and the matrices of the layers in it. Nothing of other work.
fn listed(list: &[u8], head: &str, length: u64) -> (u64, Vec<Entry>) {
    let (mut good, mut entries) = (0usize, Vec::<Entry>::new());
    let mut lines = list.split_inclusive(|byte| *byte == b'\n');
    if lines.next() != Some(head.as_bytes()) {
        return (0, entries);
    }
    good += head.len();
    for line in lines.take_while(|line| line.ends_with(b"\n")) {
        let Ok(layer) = serde_json::from_slice::<Vec<Entry>>(line) else { break };
        let mut from = entries.last().map_or(0, |entry| entry.bytes.end);
        let follows = |entry: &Entry| {
            let follows = entry.follows(from, length);
            from = entry.bytes.end;
            follows
        };
        if !layer.iter().all(follows) {
            break;
        }
        good += line.len();
        entries.extend(layer);
    }
    (good as u64, entries)
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
        assert_eq!((kept.known("b").unwrap(), kept.known("c").unwrap()), (Some(vec![5, 6]), None));
        kept.end().unwrap();
        assert!(kept.put("c", 0, [1, 1], F16, &[5, 6], none).is_err());
        let own = [0; 8];
        let tensor = |name: &str, shape: &[usize]| {
            let info = Info { name: name.into(), shape: shape.into(), element: Element::F32 };
            kept.instead(Tensor::stored(info, &own)).info.element.name()
        };
        assert_eq!([tensor("a", &[1, 2]), tensor("a", &[2, 1]), tensor("x", &[1, 1])], ["F16", "F32", "F32"]);
        assert_eq!(tensor("b", &[1, 1]), "F16");
        assert!(!Kept::discard(&path).unwrap(), "it is being added to");
        drop(kept);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(Kept::discard(&path).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Kept::discard(&path).unwrap(), "and so it is with what is not there");
    }

    #[test]
    fn work_that_was_ended_goes_on_behind_its_last_whole_layer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let errors = OutputErrors { gptq: 0.1, plain: 1.0 / 3.0, outputs: 7.0 };
        let mut kept = Kept::new(&path, "work").unwrap();
        kept.put("a", 0, [1, 2], F16, &[1, 2, 3, 4], errors).unwrap();
        kept.put("b", 0, [1, 1], F16, &[5, 6], errors).unwrap();
        kept.settle().unwrap();
        kept.put("c", 1, [1, 1], F16, &[7, 8], errors).unwrap();
        assert!(Kept::new(&path, "work").unwrap_err().to_string().contains("another run"));
        // Whether it was killed here or failed.
        drop(kept);
        let mut kept = Kept::new(&path, "work").unwrap();
        let names = |kept: &Kept| kept.entries().iter().map(|e| (e.name.clone(), e.errors)).collect::<Vec<_>>();
        assert_eq!(names(&kept), [("a".to_owned(), errors), ("b".to_owned(), errors)]);
        // A layer of which nothing is rounded.
        kept.settle().unwrap();
        kept.put("c", 2, [1, 1], F16, &[7, 8], errors).unwrap();
        kept.end().unwrap();
        let known = ["a", "b", "c"].map(|name| kept.known(name).unwrap().unwrap());
        assert_eq!(known, [vec![1, 2, 3, 4], vec![5, 6], vec![7, 8]]);
        let whole = kept.fingerprint();
        drop(kept);

        let mut kept = Kept::new(&path, "work").unwrap();
        kept.end().unwrap();
        assert_eq!((kept.fingerprint(), kept.entries().len()), (whole, 3), "however it came about");
        drop(kept);
        assert!(Kept::new(&path, "other work").unwrap().entries().is_empty());
    }

    #[test]
    fn a_list_that_was_cut_off_anywhere_loses_no_more_than_its_last_layer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let layer = |kept: &mut Kept, number: u8| {
            for name in ["a", "b"] {
                let name = format!("{name}{number}");
                kept.put(&name, number.into(), [1, 1], F16, &[number, 1], OutputErrors::default()).unwrap();
            }
            kept.settle().unwrap();
        };
        let length = || fs::metadata(list_of(&path)).unwrap().len();
        let mut kept = Kept::new(&path, "work").unwrap();
        let mut ends = vec![length()];
        for number in 0..2 {
            layer(&mut kept, number);
            ends.push(length());
        }
        kept.end().unwrap();
        let whole = kept.fingerprint();
        drop(kept);
        let (list, blocks) = (fs::read(list_of(&path)).unwrap(), fs::read(&path).unwrap());
        for cut in 0..=list.len() {
            fs::write(list_of(&path), &list[..cut]).unwrap();
            fs::write(&path, &blocks).unwrap();
            let mut kept = Kept::new(&path, "work").unwrap();
            let layers = ends[1..].iter().filter(|end| **end <= cut as u64).count();
            assert_eq!(kept.entries().len(), 2 * layers, "cut at {cut}");
            // What is left is on the disk all the while.
            assert_eq!(length(), ends[layers], "cut at {cut}");
            (layers as u8..2).for_each(|number| layer(&mut kept, number));
            kept.end().unwrap();
            assert_eq!((kept.entries().len(), kept.fingerprint()), (4, whole.clone()), "cut at {cut}");
            assert_eq!(fs::read(list_of(&path)).unwrap(), list, "cut at {cut}");
        }
    }

    #[test]
    fn a_list_that_was_tampered_with_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let entry = |bytes: &str| {
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
            fs::write(list_of(&path), format!("\"work\"\n[{}]\n", entry(bytes))).unwrap();
            assert_eq!(Kept::new(&path, "work").unwrap().entries().len(), left, "{bytes}");
        }
        let twice = format!("\"work\"\n[{0},{0}]\n", entry(r#"{"start": 0, "end": 4}"#));
        fs::write(list_of(&path), twice).unwrap();
        assert!(Kept::new(&path, "work").unwrap().entries().is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_no_matrix_to_be_rounded_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let mut kept = Kept::new(&path, "work").unwrap();
        kept.put("a", 0, [1, 2], F16, &[1, 2, 3, 4], OutputErrors::default()).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(kept.known("a").is_err());
        assert!(kept.known("b").unwrap().is_none());
    }

    #[test]
    fn room_is_asked_for_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(&dir.path().join("x.part"), "work").unwrap();
        let of = |name: &str, rows| {
            [Info { name: name.into(), shape: vec![rows, 64], element: Element::Block(BlockFormat::Bf16) }]
        };
        let (name, to) = ("model.layers.0.mlp.up_proj.weight", To::Groups);
        assert!(kept.ask_room(&of(name, 1), to).is_ok());
        // Thousands of terabytes, twice.
        let error = kept.ask_room(&of(name, 1 << 48), to).unwrap_err().to_string();
        assert!(error.contains(&format!("needs {} bytes", (1u64 << 48) * 40 * 2)), "{error}");
        // Nothing of the embeddings is rounded: then there is no long work.
        assert!(kept.ask_room(&of("model.embed_tokens.weight", 1 << 48), to).is_ok());
        kept.put(name, 0, [1, 64], to.format(), &[0; 40], OutputErrors::default()).unwrap();
        assert!(kept.ask_room(&of(name, 1 << 48), to).is_ok(), "all is kept");
    }
}
