//! The standoff format of brat: each text as `.txt`, what is said of it as `.ann`, and the names in `annotation.conf`.

use std::{collections::BTreeSet, fmt::Write};

use protocol::{Span, text::slice_chars};

use super::{
    Document, File,
    anchors::{Anchored, anchored},
    verdict_name,
};

/// File systems take 255 bytes; the number of a copy and the ending come behind.
const MOST_BYTES: usize = 200;

/// All files of some texts.
pub(super) fn files(documents: &[Document]) -> Vec<File> {
    let mut files = Vec::new();
    let mut names = Names::default();
    let mut used: BTreeSet<String> = BTreeSet::new();
    for document in documents {
        let plain = file_name(&document.id);
        let mut name = plain.clone();
        let mut copy = 2;
        // Two ids that look alike in a file system.
        while !used.insert(name.to_lowercase()) {
            name = format!("{plain}-{copy}");
            copy += 1;
        }
        let anchored = anchored(document);
        names.add(&anchored);
        // A program that reads the text with line ends of its system must not count fewer characters.
        files.push(File { name: format!("{name}.txt"), content: document.text.replace('\r', " ") });
        files.push(File { name: format!("{name}.ann"), content: annotations(&document.text, &anchored) });
    }
    files.push(File { name: "annotation.conf".into(), content: names.configuration() });
    files
}

fn annotations(text: &str, anchored: &Anchored) -> String {
    let mut out = String::new();
    let mut notes = 0;
    let mut note = |out: &mut String, of: &str, verdict| {
        let name = verdict_name(verdict);
        if !name.is_empty() {
            notes += 1;
            let _ = writeln!(out, "#{notes}\tAnnotatorNotes {of}\t{name}");
        }
    };
    for (index, anchor) in anchored.anchors.iter().enumerate() {
        let pieces = pieces(text, anchor.span);
        let places: Vec<String> = pieces.iter().map(|p| format!("{} {}", p.start, p.end)).collect();
        let words: Vec<&str> = pieces.iter().map(|p| slice_chars(text, p.start, p.end)).collect();
        let (number, label) = (index + 1, identifier(&anchor.label));
        let _ = writeln!(out, "T{number}\t{label} {}\t{}", places.join(";"), words.join(" "));
        note(&mut out, &format!("T{number}"), anchor.verdict);
    }
    for (index, link) in anchored.links.iter().enumerate() {
        let number = index + 1;
        let (from, to) = (link.from + 1, link.to + 1);
        let _ = writeln!(out, "R{number}\t{} Arg1:T{from} Arg2:T{to}", identifier(&link.label));
        note(&mut out, &format!("R{number}"), link.verdict);
    }
    for (index, event) in anchored.events.iter().enumerate() {
        let _ = write!(out, "E{}\t{}:T{}", index + 1, identifier(&event.label), event.trigger + 1);
        let mut roles: Vec<String> = Vec::new();
        for (role, anchor) in &event.arguments {
            // A second argument in a role is numbered.
            let role = identifier(role);
            let nth = roles.iter().filter(|known| **known == role).count() + 1;
            let number = if nth == 1 { String::new() } else { nth.to_string() };
            let _ = write!(out, " {role}{number}:T{}", anchor + 1);
            roles.push(role);
        }
        out.push('\n');
    }
    out
}

/// A place cut at line breaks, which an annotation cannot hold.
fn pieces(text: &str, span: Span) -> Vec<Span> {
    let mut pieces = Vec::new();
    let mut start = span.start;
    for (offset, c) in slice_chars(text, span.start, span.end).chars().enumerate() {
        if matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}') {
            let at = span.start + offset;
            if at > start {
                pieces.push(Span { start, end: at });
            }
            start = at + 1;
        }
    }
    if start < span.end {
        pieces.push(Span { start, end: span.end });
    }
    pieces
}

/// A name as brat has them: letters and digits of any script, `-` and `_`.
fn identifier(name: &str) -> String {
    let name: String = name.trim().chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect();
    if name.is_empty() { "_".into() } else { name }
}

/// A file name that no file system minds, and that stays where it belongs.
fn file_name(id: &str) -> String {
    let mut name = String::new();
    for c in id.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }) {
        if name.len() + c.len_utf8() > MOST_BYTES {
            break;
        }
        name.push(c);
    }
    if name.is_empty() { "_".into() } else { name }
}

#[derive(Default)]
struct Names {
    entities: BTreeSet<String>,
    relations: BTreeSet<String>,
    events: std::collections::BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    fn add(&mut self, anchored: &Anchored) {
        let triggers: BTreeSet<usize> = anchored.events.iter().map(|e| e.trigger).collect();
        for (index, anchor) in anchored.anchors.iter().enumerate() {
            if !triggers.contains(&index) {
                self.entities.insert(identifier(&anchor.label));
            }
        }
        self.relations.extend(anchored.links.iter().map(|l| identifier(&l.label)));
        for event in &anchored.events {
            let roles = self.events.entry(identifier(&event.label)).or_default();
            roles.extend(event.arguments.iter().map(|(role, _)| identifier(role)));
        }
    }

    fn configuration(&self) -> String {
        let mut out = String::from("[entities]\n");
        self.entities.iter().for_each(|name| out.push_str(&format!("{name}\n")));
        out.push_str("\n[relations]\n");
        for name in &self.relations {
            let _ = writeln!(out, "{name}\tArg1:<ENTITY>, Arg2:<ENTITY>");
        }
        out.push_str("\n[events]\n");
        for (name, roles) in &self.events {
            let roles: Vec<String> = roles.iter().map(|r| format!("{r}*:<ENTITY>")).collect();
            let _ = writeln!(out, "{name}\t{}", roles.join(", "));
        }
        out.push_str("\n[attributes]\n");
        out
    }
}
