//! Languages, and how positions in a text are counted.

use serde::{Deserialize, Serialize};

/// The two languages of the interface, of the adapters' instructions and of the help texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

impl Language {
    /// The two-letter code, as in manifests and schema files.
    pub fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// The language of a code such as `zh`, `zh-CN` or `en`; `None` for any other.
    pub fn from_code(code: &str) -> Option<Self> {
        match code.split(['-', '_']).next()?.to_ascii_lowercase().as_str() {
            "en" => Some(Self::En),
            "zh" => Some(Self::Zh),
            _ => None,
        }
    }

    /// The language a text is most likely written in: Chinese as soon as Han characters make up a
    /// fifth of its letters (a Chinese sentence often holds Latin names, rarely the reverse).
    pub fn of_text(text: &str) -> Self {
        let (mut han, mut letters) = (0usize, 0usize);
        for c in text.chars().filter(|c| c.is_alphabetic()) {
            letters += 1;
            han += usize::from(is_han(c));
        }
        if han * 5 >= letters && han > 0 { Self::Zh } else { Self::En }
    }

    /// Chooses between an English and a Chinese wording.
    pub fn pick<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }
}

/// A sentence for people, in both languages. Written out (logs, terminal, API) it is the English one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sentence {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

impl Sentence {
    /// The same said twice.
    pub fn new(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self { en: en.into(), zh: zh.into() }
    }

    /// The sentence in a language.
    pub fn in_language(&self, language: Language) -> &str {
        language.pick(&self.en, &self.zh)
    }
}

impl std::fmt::Display for Sentence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.en)
    }
}

/// Whether a character is a Chinese ideograph.
pub fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}

/// Whether words of this character's script are written without spaces between them, or with particles grown on.
pub fn is_unspaced(c: char) -> bool {
    is_han(c)
        || matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}'
            | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{318f}' | '\u{31f0}'..='\u{31ff}'
            | '\u{ac00}'..='\u{d7ff}' | '\u{ff66}'..='\u{ffdc}')
}

/// A text cut where words may begin and end: runs of letters stay together and so do runs of digits; everything else
/// comes one character at a time, also the letters of scripts without spaces.
pub fn span_pieces(text: &str) -> Vec<&str> {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Letter,
        Digit,
        Alone,
    }
    let mut pieces = Vec::new();
    let (mut start, mut before) = (0, Kind::Alone);
    for (at, c) in text.char_indices() {
        let kind = match c {
            c if c.is_numeric() => Kind::Digit,
            c if c.is_alphabetic() && !is_unspaced(c) => Kind::Letter,
            _ => Kind::Alone,
        };
        if at > start && (kind != before || kind == Kind::Alone) {
            pieces.push(&text[start..at]);
            start = at;
        }
        before = kind;
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

/// The byte offset of the `at`-th Unicode code point of `text`; its length when `at` is past the end.
pub fn byte_offset(text: &str, at: usize) -> usize {
    text.char_indices().nth(at).map_or(text.len(), |(i, _)| i)
}

/// The code points `start..end` of `text`; clipped to its length.
pub fn slice_chars(text: &str, start: usize, end: usize) -> &str {
    let from = byte_offset(text, start);
    let to = byte_offset(text, end.max(start));
    text.get(from..to).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_together_and_ideographs_do_not() {
        for (text, pieces) in [
            ("Dr. O'Neil, 1998", vec!["Dr", ".", " ", "O", "'", "Neil", ",", " ", "1998"]),
            ("2019年,阳光ABC", vec!["2019", "年", ",", "阳", "光", "ABC"]),
            ("Soitec2.5%的", vec!["Soitec", "2", ".", "5", "%", "的"]),
            ("🙂é", vec!["🙂", "é"]),
            ("", vec![]),
        ] {
            assert_eq!(span_pieces(text), pieces);
        }
    }

    #[test]
    fn language_of_a_text_is_chinese_from_a_fifth_of_han_on() {
        assert_eq!(Language::of_text("2019年12月22日,阳光城集团"), Language::Zh);
        assert_eq!(Language::of_text("John昨天在纽约的咖啡馆见到了Merry"), Language::Zh);
        assert_eq!(Language::of_text("The poet 李白 wrote about the moon and the river"), Language::En);
        assert_eq!(Language::of_text("12:30"), Language::En);
        assert_eq!(Language::of_text(""), Language::En);
    }

    #[test]
    fn slices_count_code_points_and_clip() {
        assert_eq!(slice_chars("a中🙂b", 1, 3), "中🙂");
        assert_eq!(slice_chars("a中", 1, 99), "中");
        assert_eq!(slice_chars("a中", 5, 2), "");
    }
}
