//! Reading and writing what is long and gone through once.
//!
//! Such bytes go past the system's cache where it can do that (`RWF_DONTCACHE`, Linux 6.14): whatever else lies in the cache,
//! such as the weights of a model that is being served, stays there, and the system always has the same few pages to fill
//! instead of looking for new ones for every byte of a model. What is written also begins to be stored at once, so that
//! there is little left to wait for at the end.

use std::{fs::File, io};

/// Fills `out` with what the file has from place `from` on, and `beyond` with what follows: at once, as the system has it
/// ready then.
///
/// # Errors
/// The file ends before that, or cannot be read.
#[cfg(unix)]
pub(crate) fn read(file: &File, from: u64, out: &mut [u8], beyond: &mut [u8]) -> io::Result<()> {
    let (mut from, mut out, mut beyond) = (from, out, beyond);
    while let Some(n @ 1..) = past_cache::read(file, from, out, beyond) {
        from += n as u64;
        let first = n.min(out.len());
        (out, beyond) = (&mut out[first..], &mut beyond[n - first..]);
    }
    std::os::unix::fs::FileExt::read_exact_at(file, out, from)?;
    std::os::unix::fs::FileExt::read_exact_at(file, beyond, from + out.len() as u64)
}

/// Writes all bytes to a place of a file.
///
/// # Errors
/// They cannot be written.
pub(crate) fn write(mut file: &File, mut to: u64, mut bytes: &[u8]) -> io::Result<()> {
    while let Some(n @ 1..) = past_cache::write(file, to, bytes) {
        (to, bytes) = (to + n as u64, &bytes[n..]);
    }
    if !bytes.is_empty() {
        io::Seek::seek(&mut file, io::SeekFrom::Start(to))?;
        io::Write::write_all(&mut file, bytes)?;
        begin_to_store(file, to, bytes.len() as u64);
    }
    Ok(())
}

/// Less than this is soon stored at the end.
#[cfg(target_os = "linux")]
const WORTH_IT: u64 = 1 << 20;

/// Has the system begin to bring to the disk what was written. A system that does not take the hint waits longer at the
/// end.
fn begin_to_store(file: &File, from: u64, length: u64) {
    #[cfg(target_os = "linux")]
    if let Some(length) = std::num::NonZeroU64::new(length).filter(|n| n.get() >= WORTH_IT) {
        let _ = rustix::fs::fadvise(file, from, Some(length), rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, from, length);
}

/// How many bytes went past the cache; none where the system or this disk's form does not do it, or something failed that
/// the usual way will tell of.
#[cfg(target_os = "linux")]
mod past_cache {
    use std::{
        fs::File,
        io::{IoSlice, IoSliceMut},
    };

    use rustix::io::{ReadWriteFlags, preadv2, pwritev2};

    /// `RWF_DONTCACHE`; a kernel that does not know it says so.
    const PAST: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

    pub(super) fn read(file: &File, from: u64, out: &mut [u8], beyond: &mut [u8]) -> Option<usize> {
        if out.is_empty() && beyond.is_empty() {
            return None;
        }
        preadv2(file, &mut [IoSliceMut::new(out), IoSliceMut::new(beyond)], from, PAST).ok()
    }

    pub(super) fn write(file: &File, to: u64, bytes: &[u8]) -> Option<usize> {
        if bytes.is_empty() {
            return None;
        }
        pwritev2(file, &[IoSlice::new(bytes)], to, PAST).ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod past_cache {
    use std::fs::File;

    #[cfg(unix)]
    pub(super) fn read(_: &File, _: u64, _: &mut [u8], _: &mut [u8]) -> Option<usize> {
        None
    }

    pub(super) fn write(_: &File, _: u64, _: &[u8]) -> Option<usize> {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_written_is_read_at_any_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7919 % 251) as u8).collect();
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(3_000_007).unwrap();
        for (at, piece) in (7..).step_by(1_500_001).zip(bytes.chunks(1_500_001)) {
            write(&file, at, piece).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), [&[0; 7][..], &bytes].concat());
        let (mut some, mut more) = (vec![0; 100_001], vec![0; 777]);
        read(&file, 1_600_000, &mut some, &mut more).unwrap();
        assert!(some == bytes[1_599_993..][..100_001]);
        assert!(more == bytes[1_699_994..][..777]);
        // A file that ends too early says so, and one that cannot be written too.
        assert_eq!(read(&file, 2_999_000, &mut some, &mut []).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(write(&File::open(&path).unwrap(), 0, &some).is_err());
        assert_eq!(
            read(&file, 2_900_000, &mut some[..7], &mut vec![0; 200_000]).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        read(&file, 9_999_999, &mut [], &mut []).unwrap();
    }
}
