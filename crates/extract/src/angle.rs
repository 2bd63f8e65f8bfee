//! Events between angle brackets: `<event type, trigger, role#argument; role#argument>`.

use crate::{
    scan::Piece,
    split::{Asked, clean, is_comma, known},
};

pub(crate) fn is_open(c: char) -> bool {
    matches!(c, '<' | '＜' | '〈')
}

pub(crate) fn is_close(c: char) -> bool {
    matches!(c, '>' | '＞' | '〉')
}

fn is_hash(c: char) -> bool {
    matches!(c, '#' | '＃')
}

/// The event that stands between the brackets.
pub(crate) fn event<'a>(content: &'a str, asked: Asked<'_>) -> Option<Piece<'a>> {
    let (label, rest) = first_name(content, asked.types)?;
    let starts = arguments_from(rest, asked.roles);
    let trigger = starts.first().map_or(rest, |(before, _)| rest.get(..*before).unwrap_or(""));
    let trigger = clean(trigger.trim().trim_end_matches(is_separator));
    // Names and words may have changed places.
    let (label, trigger) = match (known(label, asked.types), known(trigger, asked.types)) {
        (None, Some(_)) => (trigger, label),
        _ => (label, trigger),
    };
    let mut arguments = Vec::new();
    let mut stray = None;
    for (index, (_, from)) in starts.iter().enumerate() {
        let to = starts.get(index + 1).map_or(rest.len(), |(before, _)| *before);
        let argument = rest.get(*from..to).unwrap_or("").trim_end_matches(is_separator);
        match argument.split_once(is_hash).map(|(role, words)| (clean(words), clean(role))) {
            Some(("" | "NAN", _)) => {}
            Some(argument) => arguments.push(argument),
            None => stray = stray.or(Some(argument)),
        }
    }
    (!label.is_empty() && !trigger.is_empty()).then_some(Piece::Event { trigger, label, arguments, stray })
}

/// The name at the beginning, and what stands behind its comma: the longest asked name, else all up to the first comma.
fn first_name<'a>(content: &'a str, names: &[String]) -> Option<(&'a str, &'a str)> {
    let content = content.trim_start();
    let commas = || content.char_indices().filter(|(_, c)| is_comma(*c));
    let cut = |(at, c): (usize, char)| Some((clean(content.get(..at)?), content.get(at + c.len_utf8()..)?));
    let mut longest = None;
    for comma in commas().take(8) {
        longest = cut(comma).filter(|(name, _)| known(name, names).is_some()).or(longest);
    }
    longest.or_else(|| cut(commas().next()?))
}

/// Where arguments begin: the offset of the comma or semicolon before each, and that behind it. A semicolon is followed
/// by any role, a comma only by one that was asked for, but for the first.
fn arguments_from(rest: &str, roles: &[String]) -> Vec<(usize, usize)> {
    let mut starts: Vec<(usize, usize)> = Vec::new();
    if !rest.contains(is_hash) {
        return starts;
    }
    for (at, c) in rest.char_indices().filter(|(_, c)| is_separator(*c)) {
        let from = at + c.len_utf8();
        let Some(behind) = rest.get(from..) else { break };
        let Some(end) = behind.find(|c: char| is_hash(c) || is_separator(c)) else { break };
        let hash = behind.get(end..).is_some_and(|rest| rest.starts_with(is_hash));
        let role = clean(behind.get(..end).unwrap_or(""));
        let fits = hash && !role.is_empty();
        if fits && (starts.is_empty() || !is_comma(c) || known(role, roles).is_some()) {
            starts.push((at, from));
        }
    }
    starts
}

fn is_separator(c: char) -> bool {
    is_comma(c) || matches!(c, ';' | '；')
}
