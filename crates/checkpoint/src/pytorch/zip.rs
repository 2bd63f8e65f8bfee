//! Zip archives: where their entries are. Those of PyTorch are stored as they are, so that they can be read in place.
//!
//! Layout: the entries, each after a header; a directory of them; and an end that says where the directory is.
//! Large archives say so in a second end before it. Source: PKWARE's APPNOTE, sections 4.3 and 4.5.

use std::{collections::BTreeMap, ops::Range};

/// Where the entries of an archive lie in its file.
pub(crate) struct Archive(BTreeMap<String, Entry>);

/// An entry.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Its bytes in the file.
    pub bytes: Range<usize>,
    /// How many bytes they are, where they are compressed (by deflate).
    pub inflated: Option<u64>,
}

/// The most that can stand behind the end: a comment.
const END: usize = 22;
const MAX_COMMENT: usize = 0xffff;

impl Archive {
    pub(crate) fn open(bytes: &[u8]) -> Result<Self, String> {
        let first = bytes.len().saturating_sub(END + MAX_COMMENT);
        let tail = bytes.get(first..).unwrap_or_default();
        let end =
            tail.windows(4).rposition(|w| w == b"PK\x05\x06").ok_or("its directory is missing: it was cut off")?;
        let end = Bytes(bytes.get(first + end..).unwrap_or_default());
        let (mut count, mut at) = (u64::from(end.u16(10)?), u64::from(end.u32(16)?));
        // Where the numbers are too small for what they should hold, they are in another place.
        let end_at = bytes.len() - end.0.len();
        if let Some(locator) = end_at.checked_sub(20).and_then(|n| bytes.get(n..end_at))
            && locator.starts_with(b"PK\x06\x07")
        {
            let large = Bytes(at_place(bytes, Bytes(locator).u64(8)?)?);
            if !large.0.starts_with(b"PK\x06\x06") {
                return Err("the place of its directory makes no sense".into());
            }
            (count, at) = (large.u64(32)?, large.u64(48)?);
        }
        let mut directory = Bytes(at_place(bytes, at)?);
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            if !directory.0.starts_with(b"PK\x01\x02") {
                return Err("its directory ends too soon".into());
            }
            let (name, extra, comment) = (directory.u16(28)?, directory.u16(30)?, directory.u16(32)?);
            let (name, extra, comment) = (usize::from(name), usize::from(extra), usize::from(comment));
            let text = directory.slice(46, name)?;
            let text = std::str::from_utf8(text).map_err(|_| "the name of an entry is no text")?;
            let extra_bytes = Bytes(directory.slice(46 + name, extra)?);
            let mut sizes =
                [u64::from(directory.u32(24)?), u64::from(directory.u32(20)?), u64::from(directory.u32(42)?)];
            extra_bytes.widen(&mut sizes)?;
            let [size, stored, header] = sizes;
            let inflated = match directory.u16(10)? {
                0 if size == stored => None,
                8 => Some(size),
                method => return Err(format!("its entry {text} is compressed in a way that is not read ({method})")),
            };
            let header = Bytes(at_place(bytes, header)?);
            if !header.0.starts_with(b"PK\x03\x04") {
                return Err(format!("its entry {text} is not where the directory says"));
            }
            let skip = 30 + usize::from(header.u16(26)?) + usize::from(header.u16(28)?);
            let from = bytes.len() - header.0.len() + skip;
            let to = usize::try_from(stored).ok().and_then(|n| from.checked_add(n)).filter(|to| *to <= bytes.len());
            let to = to.ok_or_else(|| format!("its entry {text} is longer than the file"))?;
            entries.insert(text.to_owned(), Entry { bytes: from..to, inflated });
            directory = Bytes(directory.0.get(46 + name + extra + comment..).unwrap_or_default());
        }
        Ok(Self(entries))
    }

    /// That no entry is compressed: those are read in place.
    pub(crate) fn all_stored(&self) -> Result<(), String> {
        match self.0.iter().find(|(_, entry)| entry.inflated.is_some()) {
            None => Ok(()),
            Some((name, _)) => Err(format!("its entry {name} is compressed, which PyTorch never does")),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Range<usize>> {
        self.0.get(name).map(|entry| entry.bytes.clone())
    }

    /// All entries, by name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The entry of that name in the archive's one folder, and that folder.
    pub(crate) fn only(&self, name: &str) -> Result<(String, Range<usize>), String> {
        let mut all = self.0.iter().filter_map(|(path, entry)| {
            let folder = path.strip_suffix(name).filter(|f| f.is_empty() || f.ends_with('/'))?;
            Some((folder.to_owned(), entry.bytes.clone()))
        });
        match (all.next(), all.next()) {
            (Some(entry), None) => Ok(entry),
            (None, _) => Err(format!("the archive has no {name}")),
            _ => Err(format!("the archive has several {name}")),
        }
    }
}

fn at_place(bytes: &[u8], at: u64) -> Result<&[u8], String> {
    let place = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
    place.ok_or_else(|| "its directory points beyond the file".into())
}

/// Bytes with little-endian numbers in them.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn slice(&self, at: usize, length: usize) -> Result<&'a [u8], String> {
        let slice = at.checked_add(length).and_then(|to| self.0.get(at..to));
        slice.ok_or_else(|| "its directory is cut off".into())
    }

    fn number(&self, at: usize, length: usize) -> Result<u64, String> {
        Ok(self.slice(at, length)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn u16(&self, at: usize) -> Result<u16, String> {
        self.number(at, 2).map(|n| n as u16)
    }

    fn u32(&self, at: usize) -> Result<u32, String> {
        self.number(at, 4).map(|n| n as u32)
    }

    fn u64(&self, at: usize) -> Result<u64, String> {
        self.number(at, 8)
    }

    /// Of an entry's extra fields: the large forms of those numbers that did not fit.
    fn widen(&self, numbers: &mut [u64; 3]) -> Result<(), String> {
        let mut at = 0;
        while at + 4 <= self.0.len() {
            let (id, length) = (self.u16(at)?, usize::from(self.u16(at + 2)?));
            if id == 1 {
                let mut place = at + 4;
                for number in numbers.iter_mut().filter(|n| **n == u64::from(u32::MAX)) {
                    *number = self.u64(place)?;
                    place += 8;
                }
            }
            at += 4 + length;
        }
        Ok(())
    }
}
