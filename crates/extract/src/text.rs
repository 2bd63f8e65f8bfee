//! Pasted text.

/// The texts in what a person pasted when every line is a text of its own: trimmed lines, without the empty ones.
pub fn split_texts(pasted: &str) -> Vec<String> {
    let is_space = |c: char| c.is_whitespace() || c == '\u{feff}';
    pasted.lines().map(|line| line.trim_matches(is_space)).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The names in a pasted list: separated by commas, semicolons, the enumeration comma or line breaks; each once.
pub fn split_names(pasted: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in pasted.split([',', '，', ';', '；', '、', '\n', '\r', '\t']) {
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = name.trim_matches(['-', '*', '•', '·', '"', '\'', '“', '”', '\u{feff}', ' ']);
        if !name.is_empty() && names.iter().all(|known| known != name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_list_of_names_may_be_separated_in_any_usual_way() {
        for (pasted, names) in [
            ("person, place;  date", vec!["person", "place", "date"]),
            ("机构、人物；日期，机构", vec!["机构", "人物", "日期"]),
            ("- birth place\n* \"founder\"\r\n\n", vec!["birth place", "founder"]),
            (" , ;", vec![]),
        ] {
            assert_eq!(split_names(pasted), names, "{pasted:?}");
        }
    }

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
