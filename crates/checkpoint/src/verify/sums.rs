//! Lists of checksums, and computing them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use md5::Md5;
use sha2::{Digest, Sha256};

use super::VerifyError;

/// Lists of checksums are texts of a line a file; none of a model is larger.
const MAX_LIST: u64 = 16 << 20;

/// The checksum that a file should have, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    /// MD5: tells damage, not malice.
    Md5(String),
    /// SHA-256.
    Sha256(String),
}

impl Sum {
    /// A checksum by its length in hexadecimal digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let lower = hex.to_ascii_lowercase();
        if !lower.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        match lower.len() {
            32 => Some(Self::Md5(lower)),
            64 => Some(Self::Sha256(lower)),
            _ => None,
        }
    }

    /// What it is called.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Md5(_) => "md5",
            Self::Sha256(_) => "sha256",
        }
    }

    /// Its digits.
    pub fn hex(&self) -> &str {
        match self {
            Self::Md5(hex) | Self::Sha256(hex) => hex,
        }
    }
}

/// Checksums of files, by name, as someone wrote them down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumList {
    /// Where they are from: a file's name or a published model's.
    pub name: String,
    /// A file's name within its folder, and what it should be.
    pub files: BTreeMap<String, Sum>,
}

impl SumList {
    /// Reads a list as `md5sum` and `sha256sum` write it (`SUM  NAME`, also `MD5 (NAME) = SUM`); lines that begin with
    /// `#` say nothing.
    ///
    /// # Errors
    /// It cannot be read, or a line is something else.
    pub fn read(path: &Path) -> Result<Self, VerifyError> {
        let io = |source| VerifyError::Io { path: path.into(), source };
        let mut text = String::new();
        File::open(path).map_err(io)?.take(MAX_LIST).read_to_string(&mut text).map_err(io)?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let files = parse(&text).map_err(|(line, reason)| VerifyError::List { path: path.into(), line, reason })?;
        Ok(Self { name, files })
    }
}

/// The lines of a list; an error is a line's number and what is wrong there.
fn parse(text: &str) -> Result<BTreeMap<String, Sum>, (usize, String)> {
    let mut files = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |reason: &str| (number + 1, reason.to_owned());
        let (sum, name) = entry(line).ok_or_else(|| wrong("it is no checksum followed by a file's name"))?;
        let name = name.strip_prefix("./").unwrap_or(name).replace('\\', "/");
        let is_inside = !name.is_empty() && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_inside || name.contains(':') {
            return Err(wrong(&format!("\"{name}\" is no name of a file inside the folder")));
        }
        if files.insert(name.clone(), sum.clone()).is_some_and(|old| old != sum) {
            return Err(wrong(&format!("\"{name}\" has another checksum than in a line before")));
        }
    }
    if files.is_empty() {
        return Err((1, "it names no files".into()));
    }
    Ok(files)
}

fn entry(line: &str) -> Option<(Sum, &str)> {
    if let Some((head, sum)) = line.rsplit_once(") = ") {
        let (_, name) = head.split_once(" (")?;
        return Some((Sum::from_hex(sum.trim())?, name));
    }
    let (sum, name) = line.split_once(char::is_whitespace)?;
    Some((Sum::from_hex(sum)?, name.trim_start().trim_start_matches('*')))
}

/// A file whose checksums are wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub path: PathBuf,
    pub md5: bool,
    pub sha256: bool,
}

/// The checksums of a file, as far as they were wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub md5: Option<String>,
    pub sha256: Option<String>,
}

impl Found {
    /// The one to hold against what should be.
    pub(super) fn like(&self, sum: &Sum) -> Option<&str> {
        match sum {
            Sum::Md5(_) => self.md5.as_deref(),
            Sum::Sha256(_) => self.sha256.as_deref(),
        }
    }
}

/// Reads every file once, several at the same time. `read` is told how many bytes more were read.
pub(super) fn compute(files: &[Wanted], threads: usize, read: &(dyn Fn(u64) + Sync)) -> Vec<io::Result<Found>> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, io::Result<Found>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, files.len().max(1)) {
            scope.spawn(|| {
                while let Some((at, file)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    files.get(at).map(|file| (at, file))
                } {
                    let found = one(file, read);
                    results.lock().unwrap_or_else(|e| e.into_inner()).push((at, found));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, found)| found).collect()
}

fn one(wanted: &Wanted, read: &(dyn Fn(u64) + Sync)) -> io::Result<Found> {
    let mut file = File::open(&wanted.path)?;
    let mut md5 = wanted.md5.then(Md5::new);
    let mut sha256 = wanted.sha256.then(Sha256::new);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer)?;
        let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else { break };
        if let Some(hash) = &mut md5 {
            hash.update(part);
        }
        if let Some(hash) = &mut sha256 {
            hash.update(part);
        }
        read(part.len() as u64);
    }
    Ok(Found { md5: md5.map(|h| hex(&h.finalize())), sha256: sha256.map(|h| hex(&h.finalize())) })
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts bytes for a bar that is told of the whole.
pub(super) struct Counter<'a> {
    done: AtomicU64,
    total: u64,
    told: &'a (dyn Fn(u64, u64) + Sync),
}

impl<'a> Counter<'a> {
    pub(super) fn new(total: u64, told: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        Self { done: AtomicU64::new(0), total, told }
    }

    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.told)(done, self.total.max(done));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";
    const SHA: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn lists_of_the_usual_programs_are_read() {
        let text = format!(
            "# comment\n\n{MD5}  plain\n{MD5} *binary\r\n{}  ./folder/upper\n{SHA}\ttabbed name\nMD5 (bsd (1)) = {MD5}\n",
            MD5.to_uppercase()
        );
        let files = parse(&text).unwrap();
        let md5 = Sum::Md5(MD5.into());
        for name in ["plain", "binary", "folder/upper", "bsd (1)"] {
            assert_eq!(files[name], md5, "{name}");
        }
        assert_eq!(files["tabbed name"], Sum::Sha256(SHA.into()));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        assert_eq!(parse("# a\nhello world").unwrap_err().0, 2);
        assert!(parse(&format!("{MD5}  ../x")).unwrap_err().1.contains("inside the folder"));
        assert!(parse(&format!("{MD5}  /etc/x")).is_err());
        assert!(parse(&format!("{MD5}  c:x")).is_err());
        assert!(parse(&format!("{MD5}  x\n{SHA}  x")).unwrap_err().1.contains("another checksum"));
        assert_eq!(parse("").unwrap_err().1, "it names no files");
    }

    #[test]
    fn files_are_read_once_for_both_sums() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let bytes = AtomicU64::new(0);
        let wanted = Wanted { path, md5: true, sha256: true };
        let missing = Wanted { path: dir.path().join("none"), md5: true, sha256: false };
        let found = compute(&[wanted, missing], 4, &|n| {
            bytes.fetch_add(n, Ordering::Relaxed);
        });
        let first = found[0].as_ref().unwrap();
        assert_eq!((first.md5.as_deref(), first.sha256.as_deref()), (Some(MD5), Some(SHA)));
        assert!(found[1].is_err());
        assert_eq!(bytes.into_inner(), 3);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,200}") {
            let _ = parse(&text);
        }
    }
}
