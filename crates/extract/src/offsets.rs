//! Places in a text as other programs count them.
//!
//! We count Unicode code points, as Python does. JavaScript, Java and most editors count UTF-16 units, files and Rust count
//! bytes of UTF-8. A letter with a combining mark is two code points in all of them.

use std::str::FromStr;

use protocol::Span;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Unicode code points.
    #[default]
    CodePoints,
    /// Units of UTF-16: an emoji is two.
    Utf16,
    /// Bytes of UTF-8: an ideograph is three.
    Bytes,
}

impl Unit {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 3] =
        [("code-points", Self::CodePoints), ("utf-16", Self::Utf16), ("bytes", Self::Bytes)];
}

impl FromStr for Unit {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, unit)| unit).ok_or_else(|| "must be code-points, utf-16 or bytes".into())
    }
}

/// A text whose places are looked up often.
#[derive(Clone, Debug)]
pub struct Offsets {
    unit: Unit,
    /// For every code point and for the end: where it begins.
    starts: Vec<usize>,
}

impl Offsets {
    /// Prepares a text.
    pub fn new(text: &str, unit: Unit) -> Self {
        let mut at = 0;
        let mut starts = Vec::new();
        if unit != Unit::CodePoints {
            for c in text.chars() {
                starts.push(at);
                at += if unit == Unit::Bytes { c.len_utf8() } else { c.len_utf16() };
            }
            starts.push(at);
        }
        Self { unit, starts }
    }

    /// A number of code points from the beginning, counted in the unit; what lies behind the text's end is its end.
    pub fn at(&self, code_point: usize) -> usize {
        match self.unit {
            Unit::CodePoints => code_point,
            _ => self.starts.get(code_point).or(self.starts.last()).copied().unwrap_or(0),
        }
    }

    /// A place in code points as a place in the unit.
    pub fn of(&self, span: Span) -> Span {
        Span { start: self.at(span.start), end: self.at(span.end) }
    }

    /// The inverse: a place in the unit as one in code points. `None` when it lies within a code point or behind the
    /// text's end.
    pub fn back(&self, span: Span) -> Option<Span> {
        match self.unit {
            Unit::CodePoints => Some(span),
            _ => {
                let point = |at: usize| self.starts.binary_search(&at).ok();
                Some(Span { start: point(span.start)?, end: point(span.end)? })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::text::slice_chars;

    #[test]
    fn the_same_words_are_found_by_every_way_of_counting() {
        // Ideographs, an emoji with a modifier, a letter with a combining mark, a letter outside the first plane.
        let text = "张三👍🏽 cafe\u{301} 𠮷野家 Zoë";
        let wide: Vec<u16> = text.encode_utf16().collect();
        for words in ["张三", "👍🏽", "cafe\u{301}", "𠮷野家", "Zoë"] {
            let byte = text.find(words).unwrap_or(0);
            let start = text[..byte].chars().count();
            let span = Span { start, end: start + words.chars().count() };
            assert_eq!(slice_chars(text, span.start, span.end), words);
            for (name, unit) in Unit::ALL {
                let offsets = Offsets::new(text, unit);
                let there = offsets.of(span);
                let sliced = match unit {
                    Unit::Bytes => text[there.start..there.end].to_owned(),
                    Unit::Utf16 => String::from_utf16_lossy(&wide[there.start..there.end]),
                    Unit::CodePoints => text.chars().skip(there.start).take(there.end - there.start).collect(),
                };
                assert_eq!((sliced.as_str(), offsets.back(there)), (words, Some(span)), "{name}");
                assert_eq!(name.parse(), Ok(unit));
            }
        }
        let utf16 = Offsets::new(text, Unit::Utf16);
        assert_eq!(utf16.back(Span { start: 3, end: 4 }), None, "half an emoji");
        assert_eq!(utf16.at(999), wide.len());
    }
}
