//! Which comma is which. Words hold commas and brackets of their own ("Smith, John", "Acme (UK) Ltd", "1,000 dollars"),
//! so names that were asked for decide first, then the text, then the shape.

use protocol::{EventPart, Format, SchemaChoice, Task};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// `None` for a free instruction: the shape decides.
    pub(crate) task: Option<Task>,
    pub(crate) types: &'a [String],
    pub(crate) roles: &'a [String],
    /// The keys of an object that is asked for with types as keys.
    pub(crate) keys: &'a [String],
    /// Whether such an object was asked for.
    pub(crate) by_type: bool,
    /// Whether tuples stand between angle brackets.
    pub(crate) angles: bool,
    /// Whether arguments are asked for without their events: words and a role, like entities.
    pub(crate) arguments: bool,
}

impl<'a> Asked<'a> {
    pub(crate) fn of(schema: Option<&'a SchemaChoice>) -> Self {
        let Some(choice) = schema else {
            let none: &[String] = &[];
            return Self {
                task: None,
                types: none,
                roles: none,
                keys: none,
                by_type: false,
                angles: false,
                arguments: false,
            };
        };
        let asked = Self {
            task: Some(choice.task),
            types: &choice.types,
            roles: &choice.roles,
            keys: &choice.types,
            by_type: choice.asking.format == Some(Format::OnekeJson),
            angles: choice.asking.format == Some(Format::Angles),
            arguments: false,
        };
        let arguments = choice.task == Task::Events && choice.asking.only == Some(EventPart::Arguments);
        if arguments { Self { arguments, ..asked.of_arguments() } } else { asked }
    }

    /// What is asked of an argument: words and a role, like an entity.
    pub(crate) fn of_arguments(self) -> Self {
        Self { task: Some(Task::Entities), types: self.roles, roles: &[], ..self }
    }
}

pub(crate) fn is_comma(c: char) -> bool {
    matches!(c, ',' | '，')
}

pub(crate) fn is_open(c: char) -> bool {
    matches!(c, '(' | '（')
}

pub(crate) fn is_close(c: char) -> bool {
    matches!(c, ')' | '）')
}

const QUOTES: &[char] = &['\'', '"', '“', '”', '‘', '’'];

/// Words without spaces around them: nearly always the words themselves, which is soon seen of those in ASCII.
fn trimmed(words: &str) -> &str {
    let (first, last) = (words.as_bytes().first(), words.as_bytes().last());
    let bare = first.is_some_and(u8::is_ascii_graphic) && last.is_some_and(u8::is_ascii_graphic);
    if bare { words } else { words.trim() }
}

/// A field without spaces around it and without a pair of plain quotation marks that holds all of it. Typographic marks
/// belong to the words.
pub(crate) fn clean(field: &str) -> &str {
    let field = trimmed(field);
    let mut chars = field.chars();
    let ends = (chars.next(), chars.next_back());
    match ends {
        (Some('\''), Some('\'')) | (Some('"'), Some('"')) => {
            let inside = chars.as_str().trim();
            if inside.is_empty() || inside.contains(['\'', '"']) { field } else { inside }
        }
        _ => field,
    }
}

/// When `content` ends with a comma and one of `names`: what stands before that comma, and the name. Case does not
/// matter; of names that fit the longest is taken.
pub(crate) fn known_end<'c, 'n>(content: &'c str, names: &'n [String]) -> Option<(&'c str, &'n str)> {
    let end = content.trim_end();
    let bare = end.strip_suffix(QUOTES).map(str::trim_end);
    let mut best: Option<(&str, &str)> = None;
    for name in names.iter().map(|n| trimmed(n)).filter(|n| !n.is_empty()) {
        let plain = strip_end(end, name);
        let quoted = || bare.and_then(|b| strip_end(b, name)).and_then(|b| b.trim_end().strip_suffix(QUOTES));
        let Some(before) = plain.or_else(quoted) else { continue };
        let Some(head) = before.trim_end().strip_suffix(is_comma) else { continue };
        if !clean(head).is_empty() && best.is_none_or(|(_, known)| known.len() < name.len()) {
            best = Some((head, name));
        }
    }
    best
}

/// `text` without `suffix` at its end, without regard to case.
fn strip_end<'t>(text: &'t str, suffix: &str) -> Option<&'t str> {
    if let (Some(last), Some(wanted)) = (text.as_bytes().last(), suffix.as_bytes().last())
        && last.is_ascii()
        && wanted.is_ascii()
        && !last.eq_ignore_ascii_case(wanted)
    {
        return None;
    }
    if let Some(before) = text.strip_suffix(suffix) {
        return Some(before);
    }
    let mut rest = text.chars();
    for wanted in suffix.chars().rev() {
        let found = rest.next_back()?;
        let same = if found.is_ascii() && wanted.is_ascii() {
            found.eq_ignore_ascii_case(&wanted)
        } else {
            found == wanted || found.to_lowercase().eq(wanted.to_lowercase())
        };
        if !same {
            return None;
        }
    }
    Some(rest.as_str())
}

/// The name of `names` that a label is, in the schema's spelling.
pub(crate) fn known<'n>(label: &str, names: &'n [String]) -> Option<&'n str> {
    // Nearly always it is spelt as in the schema.
    let label = trimmed(label);
    if let Some(name) = names.iter().map(|n| trimmed(n)).find(|name| *name == label) {
        return Some(name);
    }
    let label = label.to_lowercase();
    names.iter().map(|n| trimmed(n)).find(|name| name.to_lowercase() == label)
}

/// The commas that part the fields of a tuple: outside inner brackets, and not inside a number such as `1,000`. Byte
/// ranges of the fields between them.
pub(crate) fn fields(content: &str) -> Vec<(usize, usize)> {
    let (mut fields, mut start, mut depth, mut before) = (Vec::new(), 0, 0_usize, ' ');
    let mut chars = content.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map_or(' ', |(_, c)| *c);
        if is_open(c) || c == '[' {
            depth += 1;
        } else if is_close(c) || c == ']' {
            depth = depth.saturating_sub(1);
        } else if is_comma(c) && depth == 0 && !(before.is_ascii_digit() && after.is_ascii_digit()) {
            fields.push((start, at));
            start = at + c.len_utf8();
        }
        before = c;
    }
    fields.push((start, content.len()));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_at_the_end_decides_the_last_comma() {
        let names = ["person".to_owned(), "city, town".to_owned(), "town".to_owned(), "机构".to_owned()];
        for (content, expected) in [
            ("Smith, John, person", Some(("Smith, John", "person"))),
            ("Ada, Person ", Some(("Ada", "person"))),
            ("Bath, city, town", Some(("Bath", "city, town"))),
            ("'Ada', 'person'", Some(("'Ada'", "person"))),
            ("阳光城集团，机构", Some(("阳光城集团", "机构"))),
            ("Ada, robot", None),
            ("Ada person", None),
            (", person", None),
            ("person", None),
        ] {
            assert_eq!(known_end(content, &names), expected, "{content}");
        }
    }

    #[test]
    fn fields_are_parted_outside_brackets_and_numbers() {
        for (content, expected) in [
            ("1,000 dollars, money", vec!["1,000 dollars", " money"]),
            ("Acme (UK, Ltd), founder,Ann", vec!["Acme (UK, Ltd)", " founder", "Ann"]),
            ("2019,日期", vec!["2019", "日期"]),
            ("", vec![""]),
        ] {
            let found: Vec<&str> = fields(content).into_iter().map(|(a, b)| &content[a..b]).collect();
            assert_eq!(found, expected);
        }
        assert_eq!(clean(" 'Ada' "), "Ada");
        assert_eq!(clean("\"Ada\" and \"Bob\""), "\"Ada\" and \"Bob\"");
        assert_eq!(clean("O'Brien"), "O'Brien");
        assert_eq!(clean("“未名湖”"), "“未名湖”");
    }
}
