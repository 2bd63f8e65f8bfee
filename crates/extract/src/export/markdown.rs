//! Markdown: a heading, the text and a table for each text.

use std::fmt::Write;

use protocol::{Record, Verdict};

use super::{Document, Options, joined, rows};

/// What stands above the texts.
pub(super) fn title(options: &Options) -> String {
    if options.title.is_empty() { String::new() } else { format!("# {}\n\n", inline(&options.title)) }
}

/// A text, to stand below others.
pub(super) fn text(document: &Document, options: &Options) -> String {
    let pick = |en, zh| options.language.pick(en, zh);
    let mut out = String::new();
    let head = pick(
        "| | Type | Found | Origin | Note |\n|---|---|---|---|---|",
        "| | 类型 | 抽取结果 | 来源 | 备注 |\n|---|---|---|---|---|",
    );
    let _ = writeln!(out, "## {}\n", inline(&document.id));
    for line in document.text.lines() {
        let _ = writeln!(out, "> {}", inline(line));
    }
    let made: Vec<String> =
        document.layers.iter().filter_map(|layer| layer.made_by.as_ref()).map(|made| inline(&made.title())).collect();
    if !made.is_empty() {
        let _ = writeln!(out, "\n{}: {}", pick("Made by", "来自"), made.join("; "));
    }
    let rows = rows(document);
    if rows.is_empty() {
        let _ = writeln!(out, "\n{}\n", pick("Nothing found.", "没有抽取结果。"));
        return out;
    }
    let _ = writeln!(out, "\n{head}");
    for row in rows {
        let tick = match row.verdict {
            None => "",
            Some(Verdict::Right) => "✓",
            Some(Verdict::Wrong | Verdict::Corrected) => "✗",
            Some(Verdict::Added) => "+",
        };
        let mut note = Vec::new();
        if !row.shown {
            note.push(pick("not in the text", "原文中没有").to_owned());
        }
        if let Some(correction) = row.correction {
            note.push(format!("→ {}", inline(&super::csv::words(correction))));
        }
        let (label, words) = match &row.record {
            Record::Entity { label, mention } => (label, inline(&mention.text)),
            Record::Relation { relation, head, tail } => {
                (relation, format!("{} → {}", inline(&head.text), inline(&tail.text)))
            }
            Record::Event { label, trigger, arguments } => {
                let mut words = inline(&trigger.text);
                for a in arguments {
                    let _ = write!(words, "; {}: {}", inline(&a.role), inline(&a.mention.text));
                }
                (label, words)
            }
        };
        let label = inline(label);
        let _ = writeln!(out, "| {tick} | {label} | {words} | {} | {} |", joined(&row.origins), note.join(" "));
    }
    out.push('\n');
    out
}

/// Text that means nothing to Markdown, on one line.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '>' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    // A list or a rule where a line begins.
    let trimmed = out.trim_start();
    if trimmed.starts_with(['-', '+', '=']) || trimmed.starts_with(|c: char| c.is_ascii_digit()) {
        let digits = trimmed.trim_start_matches(|c: char| c.is_ascii_digit());
        if digits.len() == trimmed.len() {
            return format!("\\{trimmed}");
        }
        if digits.starts_with(['.', ')']) {
            let number = trimmed.len() - digits.len();
            return format!("{}\\{digits}", trimmed.get(..number).unwrap_or(""));
        }
    }
    out
}
