//! JSON as models write it: `{'head': 'Ada', 'relation': "…", 'tail': null}`, with single or double quotes; and objects
//! with the asked types as keys, `{"person": ["Ada"], "founder": [{"subject": "Acme", "object": "Ann"}]}`.

use std::borrow::Cow;

use crate::{
    scan::{Piece, Step, char_at, visible},
    split::{Asked, known},
};

/// A key with a text; a list of texts is its key with each of them.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The keys that an object of one record begins with.
const RECORD_KEYS: &[&str] = &[
    "head",
    "subject",
    "relation",
    "predicate",
    "tail",
    "object",
    "entity",
    "text",
    "name",
    "type",
    "label",
    "entity_type",
    "trigger",
    "event_type",
    "arguments",
    "argument",
    "role",
];

/// Reads an object whose opening brace ends at `from`: its own texts, and those of the objects in it.
pub(crate) fn object<'a>(answer: &'a str, from: usize) -> Step<'a> {
    let mut pairs: Vec<Pair<'a>> = Vec::new();
    let mut inner: Vec<Pair<'a>> = Vec::new();
    let mut keys: [Option<Cow<'a, str>>; 2] = [None, None];
    // What is open in the object: whether each is an object.
    let mut open: Vec<bool> = Vec::new();
    let (mut at, mut depth, mut bare_from) = (from, 0_usize, None::<usize>);
    while let Some(c) = char_at(answer, at) {
        let next = at + c.len_utf8();
        let in_list = open.last() == Some(&false);
        if matches!(c, ':' | '：' | ',' | '，' | '}' | ']')
            && let Some(value) = bare_from.take().and_then(|b| answer.get(b..at)).map(str::trim)
            && let Some(key) = keys.get_mut(depth)
            && !matches!(c, ':' | '：')
            && let Some(key) = if in_list { key.clone() } else { key.take() }
        {
            let value = if matches!(value, "null" | "None") { "" } else { value };
            let into = if depth == 0 { &mut pairs } else { &mut inner };
            into.push((key, Cow::Borrowed(value)));
        }
        match c {
            '"' | '\'' => {
                let Some((text, end)) = quoted(answer, next, c) else { return Step::Open(None) };
                if let Some(key) = keys.get_mut(depth) {
                    let of_list = key.clone().filter(|_| in_list);
                    match of_list.or_else(|| key.take()) {
                        Some(key) if depth == 0 => pairs.push((key, text)),
                        Some(key) => inner.push((key, text)),
                        None if depth == 0 => *key = Some(lower(text)),
                        None => *key = Some(text),
                    }
                }
                at = end;
                continue;
            }
            '{' | '[' => {
                if c == '{' && depth == 0 {
                    keys[1] = None;
                }
                open.push(c == '{');
                depth += usize::from(c == '{');
            }
            '}' | ']' => match open.pop() {
                // With the list or the object in it, the value of a key has ended.
                Some(true) => {
                    depth -= 1;
                    if open.is_empty() {
                        keys[0] = None;
                    }
                }
                Some(false) => {
                    if let Some(key) = keys.get_mut(depth).filter(|_| open.last() != Some(&false)) {
                        *key = None;
                    }
                }
                None => {
                    let raw = answer.get(from.saturating_sub(1)..next).unwrap_or("");
                    return Step::Whole(Piece::Object { label: None, pairs, inner, raw }, next);
                }
            },
            c if bare_from.is_none() && c.is_alphanumeric() && keys.get(depth).is_some_and(Option::is_some) => {
                bare_from = Some(at);
            }
            _ => {}
        }
        at = next;
    }
    Step::Open(None)
}

fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.chars().any(char::is_uppercase) { Cow::Owned(text.to_lowercase()) } else { text }
}

/// Whether an object whose opening brace ends at `from` has the asked types as its keys, and is not a record itself.
/// `None`: not known yet.
pub(crate) fn is_by_type(answer: &str, from: usize, asked: Asked<'_>, done: bool) -> Option<bool> {
    if asked.task.is_none() {
        return Some(false);
    }
    match visible(answer, from) {
        (at, Some(c @ ('"' | '\''))) => match quoted(answer, at + 1, c) {
            Some((key, _)) if asked.by_type && known(&key, asked.keys).is_some() => Some(true),
            Some((key, _)) => Some(!is_record_key(&key)),
            None => done.then_some(false),
        },
        (_, Some(_)) => Some(false),
        (_, None) => done.then_some(false),
    }
}

fn is_record_key(key: &str) -> bool {
    RECORD_KEYS.iter().any(|known| known.eq_ignore_ascii_case(key))
}

/// Reads an object with types as keys, whose opening brace ends at `from`, as far as it is there: the offset behind it,
/// or that of what is not whole.
pub(crate) fn by_type<'a>(answer: &'a str, from: usize, pieces: &mut Vec<Piece<'a>>) -> Result<usize, usize> {
    let mut label: Option<Cow<'a, str>> = None;
    let (mut at, mut depth, mut whole) = (from, 1_usize, from);
    let before = pieces.len();
    while let Some(c) = char_at(answer, at) {
        let next = at + c.len_utf8();
        match c {
            '"' | '\'' => {
                let Some((text, end)) = quoted(answer, next, c) else { return Err(at) };
                if matches!(visible(answer, end).1, Some(':' | '：')) {
                    label = Some(text);
                } else if let Some(label) = &label {
                    pieces.push(Piece::Named { label: label.clone(), words: text });
                    whole = end;
                }
                at = end;
                continue;
            }
            '{' => {
                let key = visible(answer, next);
                match key.1 {
                    None => return Err(at),
                    Some(mark @ ('"' | '\'')) => match quoted(answer, key.0 + 1, mark) {
                        None => return Err(at),
                        Some((key, _)) if is_record_key(&key) => match object(answer, next) {
                            Step::Whole(Piece::Object { pairs, inner, raw, .. }, end) => {
                                pieces.push(Piece::Object { label: label.clone(), pairs, inner, raw });
                                (at, whole) = (end, end);
                                continue;
                            }
                            _ => return Err(at),
                        },
                        Some(_) => depth += 1,
                    },
                    Some(_) => depth += 1,
                }
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    if pieces.len() == before {
                        pieces.push(Piece::Nothing);
                    }
                    return Ok(next);
                }
            }
            _ => {}
        }
        at = next;
    }
    Err(whole)
}

/// The text up to the closing quotation mark, and the offset behind it. A mark closes when a colon, comma or bracket
/// follows: so `'Ada's'` is read as it was meant.
fn quoted(answer: &str, from: usize, mark: char) -> Option<(Cow<'_, str>, usize)> {
    let mut escaped = false;
    for (offset, c) in answer.get(from..)?.char_indices() {
        let at = from + offset;
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == mark {
            let behind = visible(answer, at + 1).1?;
            if matches!(behind, ':' | '：' | ',' | '，' | '}' | ']') {
                return Some((unescape(answer.get(from..at)?, mark), at + 1));
            }
        }
    }
    None
}

fn unescape(raw: &str, mark: char) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw.trim());
    }
    let json = if mark == '"' {
        format!("\"{raw}\"")
    } else {
        format!("\"{}\"", raw.replace("\\'", "'").replace('"', "\\\""))
    };
    let text = serde_json::from_str::<String>(&json).unwrap_or_else(|_| raw.replace('\\', ""));
    Cow::Owned(text.trim().to_owned())
}
