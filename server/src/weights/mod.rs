//! Work on model files that the command line and the jobs of the pages have in common.

pub mod calibrate;
pub mod quantize;
pub mod road;
pub mod state;
pub mod unfinished;

use std::path::Path;

/// What perplexity is measured on where no text is named: some pages of plain prose, in English and Chinese.
pub const EXCERPT: &str = include_str!("../../../assets/texts/excerpt.txt");

/// The longest text that is read.
const MAX_TEXT: u64 = 64 << 20;

/// The text of a file, or the one that is built in.
///
/// # Errors
/// The file cannot be read, is no text or is too long; the message says which.
pub fn text_of(file: Option<&Path>, built_in: &str) -> Result<String, String> {
    let Some(file) = file else { return Ok(built_in.into()) };
    let wrong = |reason: String| format!("{} cannot be used: {reason}", file.display());
    let meta = std::fs::metadata(file).map_err(|e| wrong(e.to_string()))?;
    if !meta.is_file() {
        return Err(wrong("it is no file".into()));
    }
    if meta.len() > MAX_TEXT {
        return Err(wrong(format!("{} bytes are more than are read; 64 MB are the most", meta.len())));
    }
    std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))
}

/// `5GB`, `500 MB`, `4096`: a number of bytes.
///
/// # Errors
/// It is none, or none that a file has.
pub fn bytes_of(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = match text[digits..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "KB" | "K" => 1e3,
        "MB" | "M" => 1e6,
        "GB" | "G" => 1e9,
        _ => return Err("a size is a number and B, KB, MB or GB".into()),
    };
    let number: f64 = text[..digits].parse().map_err(|_| "a size is a number and B, KB, MB or GB")?;
    match number * unit {
        bytes if (1.0..1e15).contains(&bytes) => Ok(bytes as u64),
        _ => Err("a file has between 1 byte and 1000 TB".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(
            ["5GB", "500 MB", "1.5k", "77"].map(|s| bytes_of(s).unwrap()),
            [5_000_000_000, 500_000_000, 1500, 77]
        );
        assert!(bytes_of("5 apples").is_err() && bytes_of("0").is_err() && bytes_of("").is_err());
    }

    #[test]
    fn a_text_is_that_of_the_file_or_the_built_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.txt");
        std::fs::write(&file, "words").unwrap();
        assert_eq!(text_of(Some(&file), "own").unwrap(), "words");
        assert_eq!(text_of(None, "own").unwrap(), "own");
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(text_of(Some(&file), "").unwrap_err().contains("a.txt cannot be used"));
        assert!(text_of(Some(dir.path()), "").unwrap_err().contains("it is no file"));
    }
}
