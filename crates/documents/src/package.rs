//! Packed files: the ZIP that `.xlsx` and `.docx` are.

use std::io::{Cursor, Read};

use zip::{ZipArchive, result::ZipError};

use super::{DocumentError, limits};

/// A packed file, and how much of it may still be unpacked.
pub struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    left: u64,
}

impl<'a> Package<'a> {
    /// Opens a packed file; `what` is what it should be, in English and Chinese.
    pub fn open(bytes: &'a [u8], what: (&str, &str)) -> Result<Self, DocumentError> {
        // Encrypted documents, and those of Office before 2007, lie in another container.
        if bytes.starts_with(&[0xD0, 0xCF, 0x11, 0xE0]) {
            return Err(DocumentError::new(
                "is protected by a password, or of the old Office format; save it without a password in the new one",
                "有密码保护，或是旧版 Office 格式；请去除密码并另存为新格式",
            ));
        }
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(what, &e))?;
        let (has, limit) = (archive.len(), limits::PARTS);
        if has > limit {
            return Err(DocumentError::new(
                format!("has {has} parts inside, and at most {limit} are looked at"),
                format!("内含 {has} 个部分，最多接受 {limit} 个"),
            ));
        }
        Ok(Self { archive, left: limits::UNPACKED })
    }

    /// A part by its name. What its size is said to be does not matter: so much is read as there is.
    pub fn part(&mut self, name: &str, what: (&str, &str)) -> Result<Option<Vec<u8>>, DocumentError> {
        let part = match self.archive.by_name(name) {
            Ok(part) => part,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(e) => return Err(broken(what, &e)),
        };
        let mut content = Vec::new();
        part.take(self.left + 1).read_to_end(&mut content).map_err(|e| broken(what, &e))?;
        self.took(content.len() as u64)?;
        Ok(Some(content))
    }

    /// Unpacks everything once and throws it away, to know that it is not too much.
    pub fn check(mut self, what: (&str, &str)) -> Result<(), DocumentError> {
        for index in 0..self.archive.len() {
            let part = self.archive.by_index(index).map_err(|e| broken(what, &e))?;
            let size =
                std::io::copy(&mut part.take(self.left + 1), &mut std::io::sink()).map_err(|e| broken(what, &e))?;
            self.took(size)?;
        }
        Ok(())
    }

    fn took(&mut self, bytes: u64) -> Result<(), DocumentError> {
        let limit = limits::UNPACKED / 1024 / 1024;
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            DocumentError::new(
                format!("is more than {limit} MiB when unpacked, too much for a document; split it"),
                format!("解压后超过 {limit} MiB，请拆分"),
            )
        })?;
        Ok(())
    }
}

/// What is said of a file that is damaged, or something else.
pub fn broken((en, zh): (&str, &str), error: &dyn std::fmt::Display) -> DocumentError {
    DocumentError::new(
        format!("is no {en}, or is damaged ({error}); open it in its own program and save it again"),
        format!("不是{zh}或已损坏（{error}）；请用原程序打开后重新保存"),
    )
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    /// A packed file of these parts.
    pub fn pack(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in parts {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    const WHAT: (&str, &str) = ("Word document", " Word 文档");

    #[test]
    fn a_bomb_is_refused_whatever_size_it_claims() {
        let zeros = vec![0u8; 32 * 1024 * 1024];
        let parts: Vec<(String, &[u8])> = (0..9).map(|n| (format!("{n}"), zeros.as_slice())).collect();
        let parts: Vec<(&str, &[u8])> = parts.iter().map(|(name, content)| (name.as_str(), *content)).collect();
        let mut bomb = pack(&parts);
        assert!(bomb.len() < 400_000);
        let said = Package::open(&bomb, WHAT).unwrap().check(WHAT).unwrap_err();
        assert!(said.to_string().contains("more than 256 MiB when unpacked"), "{said}");
        // Sizes of 5 bytes in the central directory and in every head.
        let size = (zeros.len() as u32).to_le_bytes();
        for at in 0..bomb.len() - 4 {
            if bomb[at..at + 4] == size {
                bomb[at..at + 4].copy_from_slice(&5u32.to_le_bytes());
            }
        }
        let mut lying = Package::open(&bomb, WHAT).unwrap();
        let said = lying.part("0", WHAT).unwrap_err().to_string();
        assert!(said.starts_with("is no Word document, or is damaged"), "{said}");
        assert!(Package::open(&bomb, WHAT).unwrap().check(WHAT).is_err());
    }

    #[test]
    fn what_is_no_package_says_what_to_do() {
        let said = |bytes: &[u8]| Package::open(bytes, WHAT).err().unwrap().to_string();
        assert!(said(b"PK\x03\x04 nothing more").starts_with("is no Word document, or is damaged"));
        assert!(said(&[0xD0, 0xCF, 0x11, 0xE0, 1, 2, 3]).contains("password"));
        let whole = pack(&[("a", b"b")]);
        for end in 0..whole.len() {
            let said = Package::open(&whole[..end], WHAT).and_then(|package| package.check(WHAT)).unwrap_err();
            assert!(said.to_string().starts_with("is no Word document, or is damaged"), "{end}: {said}");
        }
    }
}
