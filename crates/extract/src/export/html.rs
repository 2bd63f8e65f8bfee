//! A page that needs nothing else: texts with marks, tables, the graph; no script, light and dark.

use std::fmt::Write;

use protocol::{Language, Record, Verdict};

use super::{Document, Options, Row, joined, picture, rows};
use crate::{
    color::color_of,
    graph::Origin,
    marks::marks,
    svg::{colors, escape, rules},
};

const CSS: &str = "body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--paper);color:var(--ink);\
font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",\"PingFang SC\",\"Microsoft YaHei\",\"Noto Sans CJK SC\",\"Noto Sans SC\",sans-serif}\n\
:root{color-scheme:light dark}\nh1{font-size:1.3rem}h2{font-size:1rem;margin:2rem 0 .25rem;border-top:1px solid var(--muted);padding-top:1rem;overflow-wrap:anywhere}\n\
.muted{color:var(--muted)}.text{white-space:pre-wrap;overflow-wrap:anywhere;line-height:2.1}\n\
mark{color:inherit;background:color-mix(in oklab,var(--ink-type) 13%,transparent);border-bottom:2px solid var(--ink-type)}\n\
mark.o-base{border-bottom-style:dashed}mark.o-you{border-bottom-style:double;border-bottom-width:4px}\n\
mark::after{content:attr(data-label);margin-left:.3em;font-size:11px;color:var(--ink-type);vertical-align:super;line-height:0}\n\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.2rem .5rem;border-top:1px solid color-mix(in oklab,var(--muted) 40%,transparent);overflow-wrap:anywhere}\n\
th{color:var(--muted);font-weight:400}.type{color:var(--ink-type)}.right{color:var(--good)}.wrong{color:var(--bad)}.gone{text-decoration:line-through}\n\
.picture{overflow-x:auto}.picture svg{max-width:100%;height:auto}\n";

/// The page.
pub(super) fn page(documents: &[Document], options: &Options) -> String {
    let pick = |en, zh| options.language.pick(en, zh);
    let title = if options.title.is_empty() { pick("Records", "抽取结果") } else { &options.title };
    let all: Vec<Vec<Row<'_>>> = documents.iter().map(rows).collect();
    let count = |wanted: fn(&Row<'_>) -> bool| all.iter().flatten().filter(|r| wanted(r)).count();
    let mut classes = String::new();
    for index in 0..crate::color::COLORS {
        let _ = write!(classes, ".c{index}{{--ink-type:var(--c{index})}}");
    }
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{}{CSS}{classes}\n{}</style></head><body>\n<h1>{}</h1>\n",
        options.language.code(),
        escape(title),
        colors(":root"),
        rules(),
        escape(title)
    );
    let (found, absent) = (count(|r| r.shown), count(|r| !r.shown));
    let (right, wrong) = (
        count(|r| matches!(r.verdict, Some(Verdict::Right | Verdict::Added))),
        count(|r| matches!(r.verdict, Some(Verdict::Wrong | Verdict::Corrected))),
    );
    let texts = documents.len();
    let summary = match options.language {
        Language::En => format!(
            "Texts: {texts} · records: {found} · not in their text: {absent} · judged right or added: {right} · judged \
             wrong: {wrong}"
        ),
        Language::Zh => format!(
            "文本 {texts} 篇 · 结果 {found} 条 · 原文中没有 {absent} 条 · 判为正确或补充 {right} 条 · 判为错误 {wrong} 条"
        ),
    };
    let _ = writeln!(out, "<p class=\"muted\">{}</p>", escape(&summary));
    let legend = pick(
        "Colour: type. Line: solid = tuned model, dashed = base, double = people. ✓ ✗ +: judged right, wrong, added.",
        "颜色表示类型；线型表示来源：实线为微调模型，虚线为基座，双线为人工；✓ ✗ + 表示判为正确、错误、补充。",
    );
    let _ = writeln!(out, "<p class=\"muted\">{legend}</p>");
    let picture = picture(documents, options, false);
    if picture.contains("class=\"edge") {
        let _ = writeln!(out, "<div class=\"picture\">{picture}</div>");
    }
    for (document, rows) in documents.iter().zip(&all) {
        let _ = writeln!(out, "<h2>{}</h2>", escape(&document.id));
        for made in document.layers.iter().filter_map(|layer| layer.made_by.as_ref()) {
            let _ = writeln!(out, "<p class=\"muted\">{}: {}</p>", pick("Made by", "来自"), escape(&made.title()));
        }
        text(&mut out, document, rows, options);
        table(&mut out, rows, options);
    }
    out.push_str("</body></html>\n");
    out
}

fn color(label: &str, options: &Options) -> String {
    format!("c{}", color_of(label, &options.names))
}

/// The text with its marks.
fn text(out: &mut String, document: &Document, rows: &[Row<'_>], options: &Options) {
    let shown: Vec<&Row<'_>> =
        rows.iter().filter(|r| r.shown && !matches!(r.verdict, Some(Verdict::Wrong | Verdict::Corrected))).collect();
    let records: Vec<Record> = shown.iter().map(|r| r.record.clone()).collect();
    out.push_str("<p class=\"text\">");
    for segment in marks(&document.text, &records) {
        let Some(innermost) = segment.marks.last() else {
            out.push_str(&escape(&segment.text));
            continue;
        };
        let mut labels: Vec<&str> = Vec::new();
        for mark in &segment.marks {
            if !labels.contains(&mark.label.as_str()) {
                labels.push(&mark.label);
            }
        }
        let origin = shown.get(innermost.record).map_or(Origin::Tuned, |r| Origin::shown(&r.origins));
        let _ = write!(
            out,
            "<mark class=\"{} o-{}\" data-label=\"{}\">{}</mark>",
            color(&innermost.label, options),
            origin.name(),
            escape(&labels.join(" · ")),
            escape(&segment.text)
        );
    }
    out.push_str("</p>\n");
}

fn table(out: &mut String, rows: &[Row<'_>], options: &Options) {
    let pick = |en, zh| options.language.pick(en, zh);
    if rows.is_empty() {
        let _ = writeln!(out, "<p class=\"muted\">{}</p>", pick("Nothing found.", "没有抽取结果。"));
        return;
    }
    let head = pick(
        "<th></th><th>Type</th><th>Found</th><th>Origin</th><th>Note</th>",
        "<th></th><th>类型</th><th>抽取结果</th><th>来源</th><th>备注</th>",
    );
    let _ = writeln!(out, "<table><thead><tr>{head}</tr></thead><tbody>");
    for row in rows {
        let (tick, class) = match row.verdict {
            None => ("", ""),
            Some(Verdict::Right) => ("✓", "right"),
            Some(Verdict::Added) => ("+", "right"),
            Some(Verdict::Wrong | Verdict::Corrected) => ("✗", "wrong"),
        };
        let words = match &row.record {
            Record::Entity { mention, .. } => escape(&mention.text),
            Record::Relation { head, tail, .. } => format!("{} → {}", escape(&head.text), escape(&tail.text)),
            Record::Event { trigger, arguments, .. } => {
                let mut words = escape(&trigger.text);
                for a in arguments {
                    let _ = write!(
                        words,
                        "<br><span class=\"type {}\">{}</span> {}",
                        color(&a.role, options),
                        escape(&a.role),
                        escape(&a.mention.text)
                    );
                }
                words
            }
        };
        let mut notes = Vec::new();
        if !row.shown {
            notes.push(pick("not in the text", "原文中没有").to_owned());
        }
        if row.record.mentions().iter().any(|(_, m)| m.found == protocol::record::Found::Fuzzy) {
            notes.push(pick("spelt otherwise in the answer", "回答中的写法不同").to_owned());
        }
        if let Some(correction) = row.correction {
            notes.push(format!("→ {}", super::csv::words(correction)));
        }
        let gone = if class == "wrong" { " class=\"gone\"" } else { "" };
        let label = row.record.label();
        let _ = writeln!(
            out,
            "<tr><td class=\"{class}\">{tick}</td><td class=\"type {}\">{}</td><td{gone}>{words}</td><td>{}</td><td>{}</td></tr>",
            color(label, options),
            escape(label),
            joined(&row.origins),
            escape(&notes.join("; "))
        );
    }
    out.push_str("</tbody></table>\n");
}
