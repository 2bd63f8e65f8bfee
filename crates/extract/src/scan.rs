//! Cutting an answer into tuples: `(entity, type) (…)`, `[(head, relation, tail)]`, `(trigger, type, [(argument, role)])`,
//! `<entity, type>`; and into objects of JSON.
//!
//! One pass from left to right. Whether a tuple ends at a bracket is decided by what stands before it and by at most
//! the next visible character, never by what comes later: so the records of a growing answer only ever get more.

use std::borrow::Cow;

use protocol::Task;

use crate::{
    angle,
    object::{self, Pair},
    split::{Asked, clean, fields, is_close, is_comma, is_open, known, known_end},
};

/// What stands in an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    /// `(words, type)`.
    Entity { words: &'a str, label: &'a str },
    /// `(head, relation, tail)`, every way to read it; at least one.
    Relation(Vec<[&'a str; 3]>),
    /// `(trigger, type, [(argument, role), …])`; also, what stood in the list beside its tuples.
    Event { trigger: &'a str, label: &'a str, arguments: Vec<(&'a str, &'a str)>, stray: Option<&'a str> },
    /// A tuple that no asked name explains: the shape decides.
    Unknown(&'a str),
    /// A JSON object: its keys and texts, those of the objects in it, and all of it as it was written. One in an object
    /// with types as keys has its type.
    Object { label: Option<Cow<'a, str>>, pairs: Vec<Pair<'a>>, inner: Vec<Pair<'a>>, raw: &'a str },
    /// Words in an object with types as keys.
    Named { label: Cow<'a, str>, words: Cow<'a, str> },
    /// An object with types as keys and nothing else.
    Nothing,
    /// Looks like a record, but cannot be read.
    Unreadable(&'a str),
    /// The answer ends inside this.
    Unfinished(&'a str),
    /// Text between the records.
    Other(&'a str),
}

/// Tuples that never close are read again from their first inner end; more often than this they are not.
const MAX_REREADS: usize = 50;
/// Longer tuples than this, in bytes, are not read again.
const MAX_TUPLE: usize = 2000;
/// The most ways to read a tuple that are tried.
const MAX_READINGS: usize = 8;

/// Cuts an answer into pieces, in order. `done`: nothing more will come.
pub(crate) fn pieces<'a>(answer: &'a str, asked: Asked<'_>, done: bool) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let (mut at, mut plain_from, mut rereads) = (0, 0, 0);
    while let Some(c) = char_at(answer, at) {
        let inside = at + c.len_utf8();
        let bracket = Bracket::of(c, asked);
        if bracket.is_none() && c != '{' {
            at = inside;
            continue;
        }
        other(&answer[plain_from..at], &mut pieces);
        let step = match bracket {
            Some(bracket) => tuple(answer, inside, bracket, asked, done),
            None => match object::is_by_type(answer, inside, asked, done) {
                None => Step::Open(None),
                Some(false) => object::object(answer, inside),
                Some(true) => match object::by_type(answer, inside, &mut pieces) {
                    Ok(end) => {
                        (at, plain_from) = (end, end);
                        continue;
                    }
                    Err(unfinished) => {
                        pieces.push(Piece::Unfinished(&answer[unfinished..]));
                        return pieces;
                    }
                },
            },
        };
        match step {
            Step::Whole(piece, end) => {
                pieces.push(piece);
                at = end;
            }
            Step::Open(Some((closed, end))) if done && rereads < MAX_REREADS => {
                rereads += 1;
                pieces.push(Piece::Unknown(&answer[inside..closed]));
                at = end;
            }
            Step::Open(_) => {
                pieces.push(Piece::Unfinished(&answer[at..]));
                return pieces;
            }
        }
        plain_from = at;
    }
    if done {
        other(&answer[plain_from..], &mut pieces);
    }
    pieces
}

/// What was read from an opening bracket on.
pub(crate) enum Step<'a> {
    /// A whole piece, and the offset behind it.
    Whole(Piece<'a>, usize),
    /// It does not end. The first inner bracket that could have been its end, with the offset behind that.
    Open(Option<(usize, usize)>),
}

/// Keeps text between records that says something.
fn other<'a>(text: &'a str, pieces: &mut Vec<Piece<'a>>) {
    // Nearly always a space or a comma.
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric()) {
        return;
    }
    let text = text.trim_matches(|c: char| !c.is_alphanumeric());
    if !text.is_empty() && !matches!(text, "and" | "json" | "和" | "以及") {
        pieces.push(Piece::Other(text));
    }
}

/// The brackets around a tuple; within one kind the other is part of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bracket {
    Round,
    Angle,
}

impl Bracket {
    /// The kind that a character opens.
    fn of(c: char, asked: Asked<'_>) -> Option<Self> {
        if is_open(c) {
            Some(Self::Round)
        } else if asked.angles && angle::is_open(c) {
            Some(Self::Angle)
        } else {
            None
        }
    }

    fn opens(self, c: char) -> bool {
        if self == Self::Round { is_open(c) } else { angle::is_open(c) }
    }

    fn closes(self, c: char) -> bool {
        if self == Self::Round { is_close(c) } else { angle::is_close(c) }
    }
}

/// Reads a tuple whose opening bracket ends at `from`.
fn tuple<'a>(answer: &'a str, from: usize, bracket: Bracket, asked: Asked<'_>, done: bool) -> Step<'a> {
    // Events in angle brackets begin with their type, and are read when they are whole.
    let hashed = bracket == Bracket::Angle && asked.task == Some(Task::Events);
    let (mut at, mut depth) = (from, 1_usize);
    let mut readings: Vec<(&str, &str, usize)> = Vec::new();
    let mut inner_end = None;
    let mut lists = 0;
    while let Some(c) = char_at(answer, at) {
        let next = at + c.len_utf8();
        let content = &answer[from..at];
        match c {
            '\n' => {
                let (end, c) = visible(answer, next);
                if c.is_some_and(|c| bracket.opens(c)) {
                    return Step::Whole(Piece::Unreadable(content), end);
                }
                at = end;
                continue;
            }
            '[' if matches!(asked.task, None | Some(Task::Events)) && !hashed && lists < MAX_READINGS => {
                lists += 1;
                if let Some((trigger, label)) = event_head(content, asked) {
                    return arguments(answer, next, trigger, label, asked, done);
                }
            }
            c if bracket.opens(c) => depth += 1,
            c if is_comma(c) && asked.task == Some(Task::Relations) && readings.len() < MAX_READINGS => {
                if let Some((head, _)) = known_end(content, asked.types) {
                    // Brackets of the head no longer count.
                    depth = if readings.is_empty() { 1 } else { depth };
                    let relation = content.get(head.len()..).unwrap_or("").trim_start_matches(is_comma_or_space);
                    readings.push((head, relation, next));
                }
            }
            c if bracket.closes(c) => {
                let piece = if hashed { None } else { complete(content, &readings, answer, at, asked) };
                if depth == 1 {
                    if let Some(piece) = piece {
                        return Step::Whole(piece, next);
                    }
                    match follows(answer, next, bracket, done) {
                        Follows::Words => {}
                        Follows::More => return Step::Open(None),
                        _ => {
                            let event = if hashed { angle::event(content, asked) } else { None };
                            return Step::Whole(event.unwrap_or(Piece::Unknown(content)), next);
                        }
                    }
                } else {
                    let ends = follows(answer, next, bracket, done) == Follows::Tuple;
                    if let (Some(piece @ Piece::Entity { .. } | piece @ Piece::Event { .. }), true) = (piece, ends) {
                        return match inner_end {
                            Some((closed, end)) if at - from < MAX_TUPLE => {
                                Step::Whole(Piece::Unknown(&answer[from..closed]), end)
                            }
                            _ => Step::Whole(piece, next),
                        };
                    }
                    if ends {
                        inner_end = inner_end.or(Some((at, next)));
                    }
                    depth -= 1;
                }
            }
            _ => {}
        }
        at = next;
    }
    Step::Open(inner_end)
}

/// The piece that ends at a bracket, when asked names explain it.
fn complete<'a>(
    content: &'a str,
    readings: &[(&'a str, &'a str, usize)],
    answer: &'a str,
    at: usize,
    asked: Asked<'_>,
) -> Option<Piece<'a>> {
    match asked.task? {
        Task::Relations => {
            let tail = |from: &usize| answer.get(*from..at).map(clean).filter(|tail| !tail.is_empty());
            let whole: Vec<_> =
                readings.iter().filter_map(|(h, r, from)| Some([clean(h), clean(r), tail(from)?])).collect();
            (!whole.is_empty()).then_some(Piece::Relation(whole))
        }
        task => {
            let (words, _) = known_end(content, asked.types)?;
            let label = clean(content.get(words.len()..)?.trim_start_matches(is_comma_or_space));
            Some(match task {
                Task::Events => Piece::Event { trigger: clean(words), label, arguments: Vec::new(), stray: None },
                _ => Piece::Entity { words: clean(words), label },
            })
        }
    }
}

/// Trigger and type before the list of arguments.
fn event_head<'a>(content: &'a str, asked: Asked<'_>) -> Option<(&'a str, &'a str)> {
    let content = content.trim_end().strip_suffix(is_comma)?;
    if let Some((trigger, _)) = known_end(content, asked.types) {
        return Some((clean(trigger), clean(content.get(trigger.len()..)?.trim_start_matches(is_comma_or_space))));
    }
    last_comma(content)
}

/// The part before the last comma between fields, and the part after it.
pub(crate) fn last_comma(content: &str) -> Option<(&str, &str)> {
    let parts = fields(content);
    let (from, to) = *parts.last()?;
    let words = clean(content.get(..from)?.trim_end().strip_suffix(is_comma)?);
    let label = clean(content.get(from..to)?);
    (!words.is_empty() && !label.is_empty()).then_some((words, label))
}

/// Reads the arguments of an event, from behind `[` to behind the event's closing bracket.
fn arguments<'a>(
    answer: &'a str,
    from: usize,
    trigger: &'a str,
    label: &'a str,
    asked: Asked<'_>,
    done: bool,
) -> Step<'a> {
    let mut arguments = Vec::new();
    let mut stray = None;
    let mut at = from;
    let mut plain_from = from;
    let inner = asked.of_arguments();
    while let Some(c) = char_at(answer, at) {
        let next = at + c.len_utf8();
        let ends = c == ']' || is_close(c);
        if ends || is_open(c) {
            let between = answer[plain_from..at].trim_matches(|c: char| !c.is_alphanumeric());
            stray = stray.or((!between.is_empty()).then_some(between));
        }
        if ends {
            let event = Piece::Event { trigger, label, arguments, stray };
            if is_close(c) {
                return Step::Whole(event, next);
            }
            return match visible(answer, next) {
                (end, Some(c)) if is_close(c) => Step::Whole(event, end + c.len_utf8()),
                (_, None) if !done => Step::Open(None),
                _ => Step::Whole(event, next),
            };
        }
        if !is_open(c) {
            at = next;
            continue;
        }
        match tuple(answer, next, Bracket::Round, inner, done) {
            Step::Whole(Piece::Entity { words, label }, end) => {
                arguments.push((words, label));
                at = end;
            }
            Step::Whole(Piece::Unknown(content), end) => {
                match last_comma(content) {
                    Some(argument) => arguments.push(argument),
                    None => stray = stray.or(Some(content)),
                }
                at = end;
            }
            Step::Whole(_, end) => {
                stray = stray.or(answer.get(next..end));
                at = end;
            }
            Step::Open(inner_end) => return Step::Open(inner_end),
        }
        plain_from = at;
    }
    Step::Open(None)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// Another tuple, the end of a line, a list or the answer.
    Tuple,
    /// A comma and words: the bracket belongs to the words of a field.
    Words,
    /// Other text.
    Text,
    /// Not known yet.
    More,
}

/// What follows a bracket at `from`.
fn follows(answer: &str, from: usize, bracket: Bracket, done: bool) -> Follows {
    let more = if done { Follows::Tuple } else { Follows::More };
    let (mut at, mut c) = visible(answer, from);
    if answer[from..at].contains('\n') {
        return Follows::Tuple;
    }
    let comma = c.is_some_and(|c| is_comma(c) || matches!(c, ';' | '；' | '、'));
    if comma {
        at += c.map_or(0, char::len_utf8);
        c = visible(answer, at).1;
    }
    match c {
        None => more,
        Some(c) if bracket.opens(c) || c == ']' => Follows::Tuple,
        Some(_) if comma => Follows::Words,
        Some(_) => Follows::Text,
    }
}

/// The next character that is not a space, and its offset.
pub(crate) fn visible(answer: &str, from: usize) -> (usize, Option<char>) {
    let rest = answer.get(from..).unwrap_or("");
    let at = from + (rest.len() - rest.trim_start().len());
    (at, char_at(answer, at))
}

pub(crate) fn char_at(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

fn is_comma_or_space(c: char) -> bool {
    is_comma(c) || c.is_whitespace()
}

/// The relation of a tuple of three fields or, with commas in its words, of more: the first reading whose head and
/// tail `holds` knows.
pub(crate) fn middle(content: &str, mut holds: impl FnMut(&str) -> bool) -> Option<[&str; 3]> {
    let parts = fields(content);
    let reading = |m: usize| {
        let (from, to) = *parts.get(m)?;
        let head = content.get(..from)?.trim_end().strip_suffix(is_comma)?;
        let tail = content.get(to..)?.trim_start().strip_prefix(is_comma)?;
        let reading = [head, content.get(from..to)?, tail].map(clean);
        reading.iter().all(|field| !field.is_empty()).then_some(reading)
    };
    let last = parts.len().saturating_sub(1).min(MAX_READINGS);
    if parts.len() == 3 {
        return reading(1);
    }
    (1..last).filter_map(reading).find(|[head, _, tail]| holds(head) && holds(tail))
}

/// A schema's spelling of a label, or the label itself; and whether it was asked for.
pub(crate) fn spelling(label: &str, names: &[String]) -> (String, bool) {
    match known(label, names) {
        Some(name) => (name.to_owned(), true),
        None => (label.to_owned(), names.is_empty()),
    }
}
