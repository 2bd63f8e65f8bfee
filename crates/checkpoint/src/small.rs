//! Reading small files as a whole.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// The bytes of a file that has no more than `most`.
///
/// # Errors
/// It cannot be read, is longer, or is something else than a file: a pipe or a device never ends.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    is_file(path)?;
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {most} bytes")));
    }
    Ok(bytes)
}

/// That there is a file, or a link to one. Opening a pipe would wait for whoever writes to it.
///
/// # Errors
/// It is something else, or not there.
pub(crate) fn is_file(path: &Path) -> io::Result<()> {
    match fs::metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is no file")),
    }
}
