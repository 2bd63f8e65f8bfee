//! Pasted text.

/// The texts in what a person pasted when every line is a text of its own: trimmed lines, without the empty ones.
pub fn split_texts(pasted: &str) -> Vec<String> {
    let is_space = |c: char| c.is_whitespace() || c == '\u{feff}';
    pasted.lines().map(|line| line.trim_matches(is_space)).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_lines_that_say_something() {
        for (pasted, texts) in [
            ("", vec![]),
            (" \n\t\r\n", vec![]),
            ("one text", vec!["one text"]),
            ("\u{feff}first\r\n\r\n  second  \n\u{3000}第三\n", vec!["first", "second", "第三"]),
        ] {
            assert_eq!(split_texts(pasted), texts, "{pasted:?}");
        }
    }
}
