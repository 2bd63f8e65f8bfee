//! GGUF files: a header with metadata, a directory of tensors, then the tensors' bytes.
//!
//! Layout: magic `GGUF`, version (1 to 3), number of tensors, number of metadata pairs, the pairs, the
//! directory, padding to `general.alignment`, data. Everything is little-endian; strings are a length
//! (u64; u32 in version 1, as all counts there) and UTF-8 bytes. Source: the GGUF specification.

mod read;
mod windows;

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{BlockFormat, Element, TensorView, map::Mapped};
use read::{Placed, Reader};

/// What is wrong with a GGUF file.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// It cannot be read at all.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path} is no GGUF file: {reason}")]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// How one can tell.
        reason: String,
    },
    /// Its header or directory makes no sense.
    #[error("{path} is damaged: {reason} (byte {at} of {size}); fetch the file again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was read.
        reason: String,
        /// Where.
        at: usize,
        /// Size of the file.
        size: usize,
    },
    /// It ends before its data.
    #[error("{path} is truncated: tensor {tensor} needs bytes {from}..{to}, the file has {size}; fetch the file again")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The first tensor that is cut off.
        tensor: String,
        /// Where it begins.
        from: u64,
        /// Where it should end.
        to: u64,
        /// Size of the file.
        size: usize,
    },
    /// A tensor is stored in a way we do not read.
    #[error(
        "{path}: tensor {tensor} is stored as {format}, which is not supported; supported are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K"
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The format's name or number.
        format: String,
    },
    /// A tensor that the model needs is not there.
    #[error("{path} has no tensor {tensor}: it is no complete model of this architecture")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer.
    Integer(i128),
    /// Any float.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array of strings.
    Texts(Vec<String>),
    /// An array of truth values, or of integers of one byte.
    Bytes(Vec<u8>),
    /// An array of longer integers.
    Integers(Vec<i64>),
    /// An array of floats.
    Floats(Vec<f64>),
}

/// Where a tensor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its dimensions, the slowest first (the file has them the other way round).
    pub shape: Vec<usize>,
    /// How it is stored.
    pub format: BlockFormat,
    /// Rows (product of all dimensions but the first stored one).
    pub rows: usize,
    /// Numbers in a row.
    pub columns: usize,
    /// First byte in the file.
    pub from: usize,
    /// One past its last byte.
    pub to: usize,
}

/// Where a tensor is that is listed, and not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherTensor {
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// How it is stored.
    pub element: Element,
    /// Its bytes in the file.
    pub bytes: Range<usize>,
}

/// Where a metadata value is, for those who copy it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its key.
    pub key: String,
    /// The number of its type.
    pub kind: u32,
    /// Its bytes in the file, without key and type.
    pub bytes: Range<usize>,
}

/// Metadata and directory of a file.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// The version of the form.
    pub version: u32,
    /// The places of the metadata, in the order of the file.
    pub pairs: Vec<Pair>,
    /// The metadata.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Those whose numbers are stored in no format of weights that we read.
    pub others: BTreeMap<String, OtherTensor>,
}

/// A mapped GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mapped,
    directory: Directory,
}

impl Gguf {
    /// Maps and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, is no GGUF file, is damaged or truncated, or holds a format we do not read.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let map = Mapped::open(path).map_err(|source| match source.kind() {
            // An empty file cannot be mapped.
            io::ErrorKind::InvalidInput => GgufError::NotGguf { path: path.into(), reason: "it is empty".into() },
            _ => GgufError::Io { path: path.into(), source },
        })?;
        let directory = Directory::parse(map.bytes(), path)?;
        if let Some((tensor, other)) = directory.others.first_key_value() {
            let (tensor, format) = (tensor.clone(), other.element.name().into());
            return Err(GgufError::Unsupported { path: path.into(), tensor, format });
        }
        Ok(Self { path: path.into(), map, directory })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that these bytes of a tensor will not be read soon again: they need not be kept in memory.
    pub fn done_with(&self, bytes: &[u8]) {
        self.map.done_with(bytes);
    }

    /// Metadata and tensors.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// A tensor that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, GgufError> {
        self.find(name).ok_or_else(|| GgufError::Missing { path: self.path.clone(), tensor: name.into() })
    }

    /// A tensor that may be there.
    pub fn find(&self, name: &str) -> Option<TensorView<'_>> {
        let info = self.directory.tensors.get(name)?;
        let bytes = self.map.bytes().get(info.from..info.to)?;
        Some(TensorView { format: info.format, rows: info.rows, columns: info.columns, bytes })
    }
}

impl Directory {
    /// Reads metadata and directory of the bytes of a whole file; `path` is for the errors.
    ///
    /// # Errors
    /// See [`Gguf::open`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, GgufError> {
        let mut r = Reader::new(bytes, path);
        let not = |reason: String| GgufError::NotGguf { path: path.into(), reason };
        if bytes.is_empty() {
            return Err(not("it is empty".into()));
        }
        if !bytes.starts_with(b"GGUF") {
            return Err(not("it does not begin with the letters GGUF".into()));
        }
        r.at = 4;
        let version = r.u32()?;
        if !(1..=3).contains(&version) {
            return Err(not(format!("its version is {version}, known are 1 to 3")));
        }
        r.narrow = version == 1;
        let (tensors, pairs) = (r.count("tensors")?, r.count("metadata pairs")?);
        let mut directory = Self { version, ..Self::default() };
        for _ in 0..pairs {
            let key = r.text()?;
            let kind = r.u32()?;
            let from = r.at;
            let value = r.value(kind, &key)?;
            directory.pairs.push(Pair { key: key.clone(), kind, bytes: from..r.at });
            directory.metadata.insert(key, value);
        }
        let mut entries = Vec::new();
        for _ in 0..tensors {
            entries.push(r.entry()?);
        }
        let alignment = match directory.integer("general.alignment") {
            None => 32,
            Some(a) if a.is_power_of_two() && a <= 1 << 20 => a,
            Some(a) => return Err(r.damaged(format!("the alignment {a} is no power of two"))),
        };
        let data = (r.at as u64).next_multiple_of(alignment);
        for entry in entries {
            match entry.place(&r, data)? {
                (name, Placed::Weights(info)) => drop(directory.tensors.insert(name, info)),
                (name, Placed::Other(info)) => drop(directory.others.insert(name, info)),
            }
        }
        Ok(directory)
    }

    /// A metadata string.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A metadata number that is whole and not negative.
    pub fn integer(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key)? {
            Value::Integer(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// A metadata number.
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key)? {
            Value::Integer(n) => Some(*n as f64),
            Value::Float(n) => Some(*n),
            _ => None,
        }
    }

    /// A metadata truth value.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key)? {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// A metadata array of strings.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.metadata.get(key)? {
            Value::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// A metadata array of integers.
    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.metadata.get(key)? {
            Value::Integers(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// A metadata array of floats.
    pub fn floats(&self, key: &str) -> Option<&[f64]> {
        match self.metadata.get(key)? {
            Value::Floats(numbers) => Some(numbers),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    /// A file with some metadata and one tensor of 2 x 32 numbers in the given format.
    fn sample(format: u32) -> Vec<u8> {
        let mut f = b"GGUF".to_vec();
        f.extend(3u32.to_le_bytes());
        f.extend(1u64.to_le_bytes());
        f.extend(3u64.to_le_bytes());
        text(&mut f, "general.architecture");
        f.extend(8u32.to_le_bytes());
        text(&mut f, "llama");
        text(&mut f, "llama.block_count");
        f.extend(4u32.to_le_bytes());
        f.extend(30u32.to_le_bytes());
        text(&mut f, "tokenizer.ggml.tokens");
        f.extend(9u32.to_le_bytes());
        f.extend(8u32.to_le_bytes());
        f.extend(2u64.to_le_bytes());
        text(&mut f, "a");
        text(&mut f, "中");
        text(&mut f, "weight");
        f.extend(2u32.to_le_bytes());
        f.extend(32u64.to_le_bytes());
        f.extend(2u64.to_le_bytes());
        f.extend(format.to_le_bytes());
        f.extend(0u64.to_le_bytes());
        f.resize(f.len().next_multiple_of(32), 0);
        f.extend([1; 40]);
        f
    }

    fn parse(bytes: &[u8]) -> Result<Directory, GgufError> {
        Directory::parse(bytes, Path::new("m.gguf"))
    }

    fn error(bytes: &[u8]) -> String {
        parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn metadata_and_tensors_are_read() {
        let d = parse(&sample(3)).unwrap();
        assert_eq!(d.text("general.architecture"), Some("llama"));
        assert_eq!(d.integer("llama.block_count"), Some(30));
        assert_eq!(d.texts("tokenizer.ggml.tokens").unwrap(), ["a", "中"]);
        let t = &d.tensors["weight"];
        assert_eq!((t.format, t.rows, t.columns, t.to - t.from), (BlockFormat::Q4_1, 2, 32, 40));
    }

    #[test]
    fn a_file_on_disk_gives_its_tensors_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, sample(3)).unwrap();
        let file = Gguf::open(&path).unwrap();
        assert_eq!(file.tensor("weight").unwrap().bytes, [1; 40]);
        assert!(file.tensor("other").unwrap_err().to_string().contains("has no tensor other"));
        std::fs::write(&path, "").unwrap();
        assert!(Gguf::open(&path).unwrap_err().to_string().ends_with("is no GGUF file: it is empty"));
        assert!(Gguf::open(dir.path()).unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn what_is_not_read_is_listed_and_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        // Two rows of 32 numbers: IQ4_NL takes 18 bytes for each, whole numbers of one byte 32, nobody knows of 99.
        for (number, name, bytes) in [(20, "IQ4_NL", 36), (24, "I8", 64), (99, "unknown", 0)] {
            let mut file = sample(number);
            file.resize(file.len() + 24, 1);
            std::fs::write(&path, &file).unwrap();
            let directory = parse(&file).unwrap();
            assert!(directory.tensors.is_empty());
            let other = &directory.others["weight"];
            assert_eq!((other.element.name(), &other.shape[..], other.bytes.len()), (name, &[2, 32][..], bytes));
            let told = Gguf::open(&path).unwrap_err().to_string();
            assert!(told.contains(&format!("tensor weight is stored as {name}, which is not supported")), "{told}");
            let source = crate::Source::open(&path).unwrap();
            assert_eq!(source.infos()[0].element.name(), name);
            let told = crate::convert::as_huggingface(&source).unwrap_err().to_string();
            assert!(told.contains("stored as") || number == 24, "{told}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong_where() {
        assert_eq!(error(b"PK\x03\x04"), "m.gguf is no GGUF file: it does not begin with the letters GGUF");
        assert_eq!(error(b"GGUF\x09\0\0\0"), "m.gguf is no GGUF file: its version is 9, known are 1 to 3");
        let mut cut = sample(3);
        cut.truncate(cut.len() - 1);
        let (size, from) = (cut.len(), cut.len() - 39);
        assert_eq!(
            error(&cut),
            format!(
                "m.gguf is truncated: tensor weight needs bytes {from}..{}, the file has {size}; fetch the file again",
                size + 1
            )
        );
        assert!(error(&sample(12)).contains("a row is no whole number of Q4_K blocks"));
        let mut claims = b"GGUF\x03\0\0\0".to_vec();
        claims.extend(u64::MAX.to_le_bytes());
        assert!(error(&claims).contains("claims to have 18446744073709551615 tensors"));
    }

    proptest! {
        #[test]
        fn no_cut_or_garbled_file_panics(cut in 0usize..400, flips in prop::collection::vec((0usize..400, any::<u8>()), 0..8)) {
            let mut bytes = sample(3);
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes.truncate(cut);
            if let Ok(directory) = parse(&bytes) {
                for tensor in directory.tensors.values() {
                    prop_assert!(tensor.from <= tensor.to && tensor.to <= bytes.len());
                }
            }
        }

        #[test]
        fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
            bytes.extend(tail);
            let _ = parse(&bytes);
        }
    }
}
