//! PDF: the characters in the order they are painted, put together to words, lines and paragraphs by where they stand.
//!
//! A paragraph becomes one line, so that a name at the end of a printed line is whole: a hyphen between two lower-case letters at a line's
//! end is taken out. Pages that are pictures have no characters.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{Dictionary, Document, MediaBox, Object, OutputDev, OutputError, Transform, output_doc};

use unicode_normalization::UnicodeNormalization;

use super::{DocumentError, limits, package::broken};

const WHAT: (&str, &str) = ("PDF document", " PDF 文档");

/// Reads the words of a document. Its parser may be brought to an end by a damaged file; that is an error like others. (Where it
/// could take the whole process with it, the file is to be read in one of its own.)
pub fn read(bytes: &[u8]) -> Result<String, DocumentError> {
    if !bytes.iter().take(1024).copied().collect::<Vec<_>>().windows(5).any(|w| w == b"%PDF-") {
        return Err(broken(WHAT, &"it does not begin as one"));
    }
    let mut words = Words::default();
    let mut plain = None;
    let read = catch_unwind(AssertUnwindSafe(|| {
        let mut document = Document::load_mem(bytes).map_err(|e| broken(WHAT, &e))?;
        if document.is_encrypted() && document.decrypt("").is_err() {
            return Err(DocumentError::new(
                "is protected by a password; save it without",
                "有密码保护；请去除密码后再试",
            ));
        }
        spell_out_widths(&mut document);
        let painted = catch_unwind(AssertUnwindSafe(|| output_doc(&document, &mut words)));
        match painted {
            Ok(painted) => painted.map_err(|e| broken(WHAT, &e)),
            // Fonts that lie outside the document, as older Chinese ones do: their words, without their places.
            Err(_) => {
                let pages: Vec<u32> = document.get_pages().into_keys().collect();
                plain = document.extract_text(&pages).ok();
                Ok(())
            }
        }
    }));
    let unreadable = || broken(WHAT, &"its pages cannot be made out");
    let read = read.unwrap_or_else(|_| Err(unreadable()));
    if let Ok(()) = &read
        && let Some(plain) = plain
    {
        let missing = plain.contains(char::REPLACEMENT_CHARACTER) || plain.trim().is_empty();
        return if missing { Err(unreadable()) } else { Ok(plain) };
    }
    // A text that is longer than any that is read is refused by its length.
    if words.chars <= limits::TEXT {
        read?;
    }
    if words.text.trim().is_empty() {
        return Err(DocumentError::new(
            "has no characters, only pictures of them; have its text recognised (OCR) first",
            "只有图片，没有文字；请先做文字识别（OCR）",
        ));
    }
    Ok(words.finish())
}

/// Widths of characters that are spelled out in a document.
const WIDTHS: usize = 1 << 18;

/// Writes the widths of ranges of characters (`first last width`) as lists (`first [width …]`). The parser takes only lists for what
/// they are, and what browsers print has its digits as a range: their words would fall apart.
fn spell_out_widths(document: &mut Document) {
    let mut left = WIDTHS;
    let mut apart = Vec::new();
    for object in document.objects.values_mut() {
        let Ok(font) = object.as_dict_mut() else { continue };
        if !is_composite(font) {
            continue;
        }
        match font.get_mut(b"W") {
            Ok(Object::Array(widths)) => *widths = spelled_out(widths, &mut left),
            Ok(Object::Reference(id)) => apart.push(*id),
            _ => {}
        }
    }
    for id in apart {
        if let Some(Object::Array(widths)) = document.objects.get_mut(&id) {
            *widths = spelled_out(widths, &mut left);
        }
    }
}

/// Whether it is a font of characters by number, as those of Chinese are.
fn is_composite(font: &Dictionary) -> bool {
    font.get(b"Subtype").and_then(Object::as_name).is_ok_and(|kind| kind.starts_with(b"CIDFont"))
}

fn spelled_out(widths: &[Object], left: &mut usize) -> Vec<Object> {
    let mut lists = Vec::new();
    let mut at = 0;
    loop {
        match (widths.get(at), widths.get(at + 1), widths.get(at + 2)) {
            (Some(first), Some(list @ Object::Array(_)), _) => {
                lists.extend([first.clone(), list.clone()]);
                at += 2;
            }
            (Some(first), Some(last), Some(width)) => {
                let (from, to) = (first.as_i64().unwrap_or(0), last.as_i64().unwrap_or(-1));
                let count = usize::try_from(to.saturating_sub(from).saturating_add(1)).unwrap_or(0).min(*left);
                *left -= count;
                lists.extend([first.clone(), Object::Array(vec![width.clone(); count])]);
                at += 3;
            }
            _ => return lists,
        }
    }
}

/// Characters so far.
#[derive(Default)]
struct Words {
    text: String,
    chars: usize,
    /// Where the last character ended: right edge, base line, height.
    last: Option<(f64, f64, f64)>,
    /// How far that may be wrong: of some characters fonts do not tell the width.
    slack: f64,
    /// The right edge of the page's lines.
    right: f64,
}

impl Words {
    fn line_ends(&mut self, next: &str) {
        let trimmed = self.text.trim_end_matches(' ').len();
        self.text.truncate(trimmed);
        let mut back = self.text.chars().rev();
        let (last, before) = (back.next(), back.next());
        let next = next.chars().next();
        let lower = |c: Option<char>| c.is_some_and(char::is_lowercase);
        match (last, next) {
            (Some('-' | '\u{ad}' | '\u{2010}'), _) if lower(before) && lower(next) => {
                self.text.pop();
            }
            (Some(a), Some(b)) if is_wide(a) && is_wide(b) => {}
            (Some('\n'), _) | (None, _) => {}
            _ => self.text.push(' '),
        }
    }

    fn paragraph_ends(&mut self) {
        let trimmed = self.text.trim_end().len();
        self.text.truncate(trimmed);
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    fn finish(mut self) -> String {
        self.paragraph_ends();
        self.text
    }
}

/// The character that a radical stands for: fonts draw both alike, and some programs that write documents mix them up.
fn whole(c: char) -> char {
    const MIXED_UP: [(char, char); 23] = [
        ('⺟', '母'),
        ('⺠', '民'),
        ('⻄', '西'),
        ('⻅', '见'),
        ('⻆', '角'),
        ('⻉', '贝'),
        ('⻋', '车'),
        ('⻓', '长'),
        ('⻔', '门'),
        ('⻘', '青'),
        ('⻙', '韦'),
        ('⻚', '页'),
        ('⻛', '风'),
        ('⻜', '飞'),
        ('⻢', '马'),
        ('⻤', '鬼'),
        ('⻥', '鱼'),
        ('⻦', '鸟'),
        ('⻨', '麦'),
        ('⻩', '黄'),
        ('⻬', '齐'),
        ('⻰', '龙'),
        ('⻳', '龟'),
    ];
    match c {
        '\u{2F00}'..='\u{2FD5}' => std::iter::once(c).nfkc().next().unwrap_or(c),
        '\u{2E80}'..='\u{2EFF}' => MIXED_UP.iter().find(|(radical, _)| *radical == c).map_or(c, |(_, whole)| *whole),
        c => c,
    }
}

/// Signs that no space stands between: Chinese characters and their punctuation.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}' | '“' | '”' | '—' | '…')
}

impl OutputDev for Words {
    fn begin_page(&mut self, _: u32, _: &MediaBox, _: Option<(f64, f64, f64, f64)>) -> Result<(), OutputError> {
        self.paragraph_ends();
        self.last = None;
        (self.slack, self.right) = (0.0, 0.0);
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn output_character(
        &mut self,
        place: &Transform,
        width: f64,
        _spacing: f64,
        font_size: f64,
        char: &str,
    ) -> Result<(), OutputError> {
        let (x, y) = (place.m31, place.m32);
        let (across, up) = (font_size * (place.m11 + place.m21), font_size * (place.m12 + place.m22));
        let size = (across * up).abs().sqrt().max(1e-3);
        if let Some((end, base, height)) = self.last {
            let (down, smaller) = ((y - base).abs(), height.min(size));
            let next_line = down > 0.5 * smaller.max(0.6 * height) && x < end;
            if down > 1.9 * smaller || (next_line && end < 0.8 * self.right) {
                self.paragraph_ends();
                self.slack = 0.0;
            } else if next_line {
                self.line_ends(char);
                self.slack = 0.0;
            } else if x > end + 0.15 * size {
                if x > end + 0.15 * size + self.slack && !self.text.ends_with([' ', '\n']) && !char.starts_with(' ') {
                    self.text.push(' ');
                }
                self.slack = 0.0;
            }
        }
        if width <= 0.0 {
            self.slack += 0.3 * size;
        }
        for c in char.chars() {
            match c {
                // Ligatures are drawn as one and read as several.
                'ﬁ' => self.text.push_str("fi"),
                'ﬂ' => self.text.push_str("fl"),
                'ﬀ' => self.text.push_str("ff"),
                c if c.is_control() || c == '\u{a0}' => self.text.push(' '),
                c => self.text.push(whole(c)),
            }
            self.chars += 1;
        }
        let end = x + width * size;
        self.right = self.right.max(end);
        self.last = Some((end, y, size));
        if self.chars > limits::TEXT { Err(OutputError::FormatError(std::fmt::Error)) } else { Ok(()) }
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A document of one page that paints with these operators.
    fn document(paint: &str) -> Vec<u8> {
        let parts = [
            "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
                .to_owned(),
            format!("<< /Length {} >>\nstream\n{paint}\nendstream", paint.len()),
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
        ];
        let mut file = String::from("%PDF-1.4\n");
        let mut places = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            places.push(file.len());
            file.push_str(&format!("{} 0 obj\n{part}\nendobj\n", number + 1));
        }
        let start = file.len();
        file.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", parts.len() + 1));
        places.iter().for_each(|place| file.push_str(&format!("{place:010} 00000 n \n")));
        file.push_str(&format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n", parts.len() + 1));
        file.into_bytes()
    }

    #[test]
    fn printed_lines_are_put_together_to_paragraphs() {
        let paint = "BT /F 12 Tf 72 720 Td (Ada Lovelace wrote the pro-) Tj 0 -14 Td (gramme with Charles) Tj 0 -14 Td (Babbage.) Tj \
            0 -40 Td [(In) -300 (London)] TJ ET";
        assert_eq!(
            read(&document(paint)).unwrap(),
            "Ada Lovelace wrote the programme with Charles Babbage.\nIn London\n"
        );
    }

    #[test]
    fn headings_and_short_lines_stand_alone_and_radicals_are_characters() {
        let paint = "BT /F 24 Tf 72 720 Td (Report) Tj /F 12 Tf 0 -30 Td (A line that is as long as the others are) Tj 0 -14 Td (First item) Tj \
            0 -14 Td (Second item) Tj ET";
        assert_eq!(
            read(&document(paint)).unwrap(),
            "Report\nA line that is as long as the others are First item\nSecond item\n"
        );
        assert_eq!("12⽉⼈⺠币".chars().map(whole).collect::<String>(), "12月人民币");
    }

    #[test]
    fn ranges_of_widths_are_spelled_out_as_far_as_there_is_room() {
        let number = |n: i64| Object::Integer(n);
        let list = |widths: &[i64]| Object::Array(widths.iter().map(|n| number(*n)).collect());
        let widths =
            [number(0), list(&[600, 300]), number(19), number(22), number(636), number(9), number(3), number(1)];
        let spelled = |mut left| spelled_out(&widths, &mut left);
        assert_eq!(
            spelled(WIDTHS),
            [number(0), list(&[600, 300]), number(19), list(&[636, 636, 636, 636]), number(9), list(&[])]
        );
        assert_eq!(spelled(3)[3], list(&[636, 636, 636]));
        assert_eq!(spelled_out(&[number(i64::MIN), number(i64::MAX), number(1)], &mut 2).len(), 2);
        assert_eq!(spelled_out(&[number(1), number(2)], &mut 9), [], "half a range");
    }

    #[test]
    fn pictures_and_damage_are_told() {
        assert!(read(&document("0 0 10 10 re f")).unwrap_err().to_string().contains("OCR"));
        assert!(read(b"hello").unwrap_err().to_string().starts_with("is no PDF document"));
        let whole = document("BT /F 12 Tf 72 720 Td (Ada) Tj ET");
        for end in (0..whole.len()).step_by(7) {
            let _ = read(&whole[..end]);
        }
        for at in (0..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] = damaged[at].wrapping_add(13);
            let _ = read(&damaged);
        }
    }
}
