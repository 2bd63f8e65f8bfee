//! JSON objects as models write them: `{'head': 'Ada', 'relation': "…", 'tail': null}`, with single or double quotes.

use crate::scan::{Piece, Step, char_at};

/// Reads a flat object whose opening brace ends at `from`. An object that holds others is read to its end and given
/// back as unreadable.
pub(crate) fn object(answer: &str, from: usize) -> Step<'_> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut key: Option<String> = None;
    let (mut at, mut depth, mut nested) = (from, 1_usize, false);
    let mut bare_from = None;
    while let Some(c) = char_at(answer, at) {
        let next = at + c.len_utf8();
        if matches!(c, ':' | '：' | ',' | '，' | '}' | ']') && depth == 1 {
            let bare = bare_from.take().and_then(|b| answer.get(b..at)).map(str::trim);
            if let (Some(value), Some(key)) = (bare, key.take_if(|_| c != ':' && c != '：')) {
                let value = if matches!(value, "null" | "None") { "" } else { value };
                pairs.push((key, value.to_owned()));
            }
        }
        match c {
            '"' | '\'' => {
                let Some((text, end)) = quoted(answer, next, c) else { return Step::Open(None) };
                if depth == 1 {
                    match key.take() {
                        Some(key) => pairs.push((key, text)),
                        None => key = Some(text.to_lowercase()),
                    }
                }
                at = end;
                continue;
            }
            '{' | '[' => {
                depth += 1;
                nested = true;
            }
            '}' | ']' => {
                depth -= 1;
                if depth == 0 {
                    let piece = if nested { Piece::Unreadable(&answer[from - 1..next]) } else { Piece::Object(pairs) };
                    return Step::Whole(piece, next);
                }
            }
            c if key.is_some() && bare_from.is_none() && c.is_alphanumeric() => bare_from = Some(at),
            _ => {}
        }
        at = next;
    }
    Step::Open(None)
}

/// The text up to the closing quotation mark, and the offset behind it. A mark closes when a colon, comma or bracket
/// follows: so `'Ada's'` is read as it was meant.
fn quoted(answer: &str, from: usize, mark: char) -> Option<(String, usize)> {
    let mut escaped = false;
    for (offset, c) in answer.get(from..)?.char_indices() {
        let at = from + offset;
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == mark {
            let behind = answer.get(at + 1..)?.trim_start().chars().next()?;
            if matches!(behind, ':' | '：' | ',' | '，' | '}' | ']') {
                return Some((unescape(answer.get(from..at)?, mark), at + 1));
            }
        }
    }
    None
}

fn unescape(raw: &str, mark: char) -> String {
    if !raw.contains('\\') {
        return raw.trim().to_owned();
    }
    let json = if mark == '"' {
        format!("\"{raw}\"")
    } else {
        format!("\"{}\"", raw.replace("\\'", "'").replace('"', "\\\""))
    };
    serde_json::from_str::<String>(&json).unwrap_or_else(|_| raw.replace('\\', "")).trim().to_owned()
}
