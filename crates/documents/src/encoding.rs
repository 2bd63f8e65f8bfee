//! Bytes into characters.
//!
//! A byte order mark decides, then what a file says of itself, then UTF-8 where it is valid, then GB18030 where nearly all of it is Chinese. A
//! guess that could be wrong is not made: the file is refused with what to do.

use encoding_rs::{Encoding, GB18030, UTF_8, UTF_16BE, UTF_16LE};

use super::DocumentError;

/// Decodes a file; `said` is the encoding that the file itself names.
pub fn decode(bytes: &[u8], said: Option<&'static Encoding>) -> Result<String, DocumentError> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return strictly(encoding, &bytes[mark..]);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return if text.contains('\0') { Err(binary()) } else { Ok(text.to_owned()) };
    }
    if let Some(encoding) = said.filter(|e| ![UTF_8, UTF_16LE, UTF_16BE].contains(e)) {
        return strictly(encoding, bytes);
    }
    if bytes.contains(&0) {
        return Err(binary());
    }
    match GB18030.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) if is_chinese(bytes) => Ok(text.into_owned()),
        _ => Err(wrong(UTF_8, bytes)),
    }
}

fn strictly(encoding: &'static Encoding, bytes: &[u8]) -> Result<String, DocumentError> {
    encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| wrong(encoding, bytes))
}

fn binary() -> DocumentError {
    DocumentError::new(
        "is no text, or text in UTF-16 without its mark; save it as UTF-8",
        "不是文本文件，或是缺少标记的 UTF-16 文本；请另存为 UTF-8",
    )
}

fn wrong(encoding: &'static Encoding, bytes: &[u8]) -> DocumentError {
    let name = encoding.name();
    if encoding != UTF_8 {
        return DocumentError::new(
            format!("is not whole in {name}; save it as UTF-8"),
            format!("不是完整的 {name} 文本；请另存为 UTF-8"),
        );
    }
    let valid = std::str::from_utf8(bytes).err().map_or(0, |e| e.valid_up_to());
    let line = bytes.iter().take(valid).filter(|b| **b == b'\n').count() + 1;
    DocumentError::new(
        format!("is not in UTF-8, UTF-16 or GB18030 (line {line}); save it in UTF-8"),
        format!("第 {line} 行不是 UTF-8、UTF-16 或 GB18030 编码；请另存为 UTF-8"),
    )
}

/// Whether nearly all pairs of high bytes are characters of everyday Chinese. Letters with accents of other encodings
/// rarely come in pairs.
fn is_chinese(bytes: &[u8]) -> bool {
    let (mut usual, mut other, mut at) = (0usize, 0usize, 0);
    while let Some(&first) = bytes.get(at) {
        if first < 0x80 {
            at += 1;
            continue;
        }
        let second = bytes.get(at + 1).copied().unwrap_or(0);
        match (first, second) {
            (0xA1..=0xA3 | 0xB0..=0xF7, 0xA1..=0xFE) => usual += 1,
            _ => other += 1,
        }
        // A character of four bytes has a digit in second place.
        at += if second.is_ascii_digit() { 4 } else { 2 };
    }
    usual >= 9 * other
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        let unit = |u: u16| if little { u.to_le_bytes() } else { u.to_be_bytes() };
        std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(unit).collect()
    }

    #[test]
    fn marks_decide_and_are_no_part_of_the_text() {
        for bytes in [b"\xEF\xBB\xBFAda \xF0\x9F\x99\x82".to_vec(), utf16("Ada 🙂", true), utf16("Ada 🙂", false)] {
            assert_eq!(decode(&bytes, None).unwrap(), "Ada 🙂");
        }
        let half = &utf16("Ada 🙂", true)[..11];
        assert!(decode(half, None).unwrap_err().to_string().contains("not whole in UTF-16LE"));
    }

    #[test]
    fn chinese_of_windows_is_read_and_other_bytes_are_refused_rather_than_guessed() {
        let text = "阳光城集团,正在收购\n协信地产";
        let (bytes, ..) = GB18030.encode(text);
        assert_eq!(decode(&bytes, None).unwrap(), text);
        let french = b"ok\nL'\xE9t\xE9 \xE0 la plage, \xE7a va";
        assert!(decode(french, None).unwrap_err().to_string().contains("(line 2); save it in UTF-8"));
        assert!(decode(b"ok\n\xff\n", None).is_err());
        assert!(decode(b"\x7fELF\x00\x01\xff", None).unwrap_err().to_string().contains("is no text"));
        assert_eq!(decode(french, Some(encoding_rs::WINDOWS_1252)).unwrap(), "ok\nL'été à la plage, ça va");
    }
}
