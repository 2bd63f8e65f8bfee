//! A graph as a picture of its own: SVG text that opens anywhere, in light and in dark.
//!
//! Colour always means type, line style always means origin (tuned solid, base dashed, people double), a tick or a cross a
//! judgement; as on the pages.

use std::fmt::Write;

use protocol::Verdict;

use crate::{
    color::color_of,
    graph::{Edge, Graph, Node, NodeKind, Origin},
    layout::{LABEL_SIZE, Layout, NAME_SIZE, PlacedEdge, PlacedNode},
};

/// How a picture is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style<'a> {
    /// The schema's lists of names, see [`color_of`].
    pub names: &'a [Vec<String>],
    /// What the picture shows, for those who do not see it.
    pub title: &'a str,
    /// A file of its own, with its own colours; else it stands in a page that has them (`--c0` to `--c11`, `--ink`,
    /// `--muted`, `--paper`, `--good`, `--bad`).
    pub standalone: bool,
}

/// The colours of types in light and in dark, as in the pages' stylesheet.
pub(crate) const INKS: [(&str, &str); 12] = [
    ("#0b5fae", "#74b6f3"),
    ("#a3441a", "#f0a274"),
    ("#1d7141", "#6fcb94"),
    ("#7a3ca8", "#c79cf0"),
    ("#9a2760", "#f093bd"),
    ("#766000", "#d8c04a"),
    ("#00707c", "#5fc9d6"),
    ("#6b4a33", "#cfa98c"),
    ("#3f4fb8", "#a0acf8"),
    ("#5a6b14", "#b5c965"),
    ("#ad2330", "#f5949b"),
    ("#4a5766", "#aebccc"),
];

/// The other colours: name, light, dark.
const TONES: [(&str, &str, &str); 5] = [
    ("ink", "#1b1f24", "#e4e7eb"),
    ("muted", "#5c6570", "#9aa4b0"),
    ("paper", "#ffffff", "#14171b"),
    ("good", "#18703b", "#63c88a"),
    ("bad", "#a8231f", "#f08b84"),
];

/// The colours as custom properties, light, and dark where the reader's system is; for `selector`.
pub(crate) fn colors(selector: &str) -> String {
    let (mut light, mut dark) = (String::new(), String::new());
    for (index, (bright, dim)) in INKS.iter().enumerate() {
        let _ = write!(light, "--c{index}:{bright};");
        let _ = write!(dark, "--c{index}:{dim};");
    }
    for (name, bright, dim) in TONES {
        let _ = write!(light, "--{name}:{bright};");
        let _ = write!(dark, "--{name}:{dim};");
    }
    format!("{selector}{{{light}}}\n@media (prefers-color-scheme:dark){{{selector}{{{dark}}}}}\n")
}

/// What is drawn how; every rule below `.graph`, so that it can stand in a page.
pub(crate) fn rules() -> String {
    let mut css = String::from(
        ".graph{font-family:system-ui,-apple-system,\"Segoe UI\",\"PingFang SC\",\"Microsoft YaHei\",\"Noto Sans CJK SC\",\
         \"Noto Sans SC\",sans-serif}\n\
         .graph text{text-anchor:middle;fill:var(--ink)}\n\
         .graph .plain{--ink-type:var(--muted)}\n\
         .graph .line{fill:none;stroke:var(--ink-type);stroke-width:1.5}\n\
         .graph .o-base .line{stroke-dasharray:5 4}\n\
         .graph .o-you .line{stroke-width:4}\n\
         .graph .inner{fill:none;stroke:var(--paper);stroke-width:1.4}\n\
         .graph .arrow{fill:var(--ink-type)}\n\
         .graph .sheet{fill:var(--paper)}\n\
         .graph .node .line{fill:color-mix(in oklab,var(--ink-type) 9%,var(--paper))}\n\
         .graph .label{fill:var(--ink-type);stroke:var(--paper);stroke-width:3;paint-order:stroke}\n\
         .graph .node .label{stroke:none}\n\
         .graph .wrong .name,.graph .wrong .label{text-decoration:line-through}\n\
         .graph .tick{font-weight:700}\n\
         .graph .right .tick{fill:var(--good)}\n\
         .graph .wrong .tick{fill:var(--bad)}\n",
    );
    let _ = writeln!(css, ".graph .name{{font-size:{NAME_SIZE}px}}");
    let _ = writeln!(css, ".graph .label,.graph .tick{{font-size:{LABEL_SIZE}px}}");
    for index in 0..INKS.len() {
        let _ = write!(css, ".graph .c{index}{{--ink-type:var(--c{index})}}");
    }
    css.push('\n');
    css
}

/// Draws a graph where [`layout`](crate::layout::layout) has put it.
pub fn svg(graph: &Graph, layout: &Layout, style: &Style<'_>) -> String {
    let Layout { width, height, .. } = layout;
    let mut out = String::new();
    let namespace = if style.standalone { "xmlns=\"http://www.w3.org/2000/svg\" " } else { "" };
    let _ = writeln!(
        out,
        "<svg {namespace}class=\"graph\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">"
    );
    let _ = writeln!(out, "<title>{}</title>", escape(style.title));
    if style.standalone {
        let _ = writeln!(out, "<style>\n{}{}</style>", colors(".graph"), rules());
        let _ = writeln!(out, "<rect class=\"sheet\" width=\"{width}\" height=\"{height}\"/>");
    }
    for (edge, at) in graph.edges.iter().zip(&layout.edges) {
        draw_edge(&mut out, edge, at, style);
    }
    // Over all lines.
    for (edge, at) in graph.edges.iter().zip(&layout.edges) {
        draw_label(&mut out, graph, edge, at, style);
    }
    for (node, at) in graph.nodes.iter().zip(&layout.nodes) {
        draw_node(&mut out, node, at, style);
    }
    out.push_str("</svg>\n");
    out
}

/// Colour, origin and verdict as classes.
fn classes(label: &str, origins: &[Origin], verdict: Option<Verdict>, style: &Style<'_>) -> String {
    let color = if label.is_empty() { "plain".to_owned() } else { format!("c{}", color_of(label, style.names)) };
    let origin = Origin::shown(origins).name();
    let verdict = match verdict {
        None => "",
        Some(Verdict::Right | Verdict::Added) => " right",
        Some(Verdict::Wrong | Verdict::Corrected) => " wrong",
    };
    format!("{color} o-{origin}{verdict}")
}

fn tick(verdict: Option<Verdict>) -> Option<&'static str> {
    verdict.map(|v| match v {
        Verdict::Right => "✓",
        Verdict::Added => "+",
        Verdict::Wrong | Verdict::Corrected => "✗",
    })
}

fn draw_edge(out: &mut String, edge: &Edge, at: &PlacedEdge, style: &Style<'_>) {
    let classes = classes(&edge.label, &edge.origins, edge.verdict, style);
    let _ = write!(out, "<g class=\"edge {classes}\"><path class=\"line\" d=\"{}\"/>", at.path);
    if Origin::shown(&edge.origins) == Origin::You {
        let _ = write!(out, "<path class=\"inner\" d=\"{}\"/>", at.path);
    }
    let _ = writeln!(out, "<path class=\"arrow\" d=\"{}\"/></g>", at.arrow);
}

fn draw_label(out: &mut String, graph: &Graph, edge: &Edge, at: &PlacedEdge, style: &Style<'_>) {
    let classes = classes(&edge.label, &edge.origins, edge.verdict, style);
    let name = |index: usize| graph.nodes.get(index).map_or("", |n| n.name.as_str());
    let title = format!("{} → {} → {}", name(edge.from), edge.label, name(edge.to));
    let (x, y) = (at.at.x + at.at.width / 2, at.at.y + 12);
    let _ = write!(out, "<g class=\"edge {classes}\"><title>{}</title>", escape(&title));
    let _ = write!(out, "<text class=\"label\" x=\"{x}\" y=\"{y}\">{}</text>", escape(&at.label));
    if let Some(tick) = tick(edge.verdict) {
        let _ = write!(out, "<text class=\"tick\" x=\"{}\" y=\"{y}\">{tick}</text>", at.at.x - 3);
    }
    out.push_str("</g>\n");
}

fn draw_node(out: &mut String, node: &Node, at: &PlacedNode, style: &Style<'_>) {
    let classes = classes(&node.label, &node.origins, node.verdict, style);
    let crate::layout::Box { x, y, width, height } = at.at;
    let round = if node.kind == NodeKind::Event { height / 2 } else { 5 };
    let mut title = node.name.clone();
    for more in std::iter::once(&node.label).filter(|l| !l.is_empty()).chain(&node.aliases) {
        let _ = write!(title, " · {more}");
    }
    let _ = write!(out, "<g class=\"node {classes}\" data-node=\"{}\"><title>{}</title>", node.id, escape(&title));
    let rectangle = |class: &str| {
        format!("<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{round}\"/>")
    };
    out.push_str(&rectangle("line"));
    if Origin::shown(&node.origins) == Origin::You {
        out.push_str(&rectangle("inner"));
    }
    let center = x + width / 2;
    let _ = write!(out, "<text class=\"name\" x=\"{center}\" y=\"{}\">{}</text>", y + 17, escape(&at.name));
    if !at.label.is_empty() {
        let _ = write!(out, "<text class=\"label\" x=\"{center}\" y=\"{}\">{}</text>", y + 32, escape(&at.label));
    }
    if let Some(tick) = tick(node.verdict) {
        let _ = write!(out, "<text class=\"tick\" x=\"{}\" y=\"{}\">{tick}</text>", x + width - 6, y + 11);
    }
    out.push_str("</g>\n");
}

/// A text as XML and HTML hold it, between tags and in attributes. Control characters, which XML cannot hold, go.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        graph::{self, Edits, Source},
        ground,
        layout::layout,
    };
    use protocol::{Judgement, Record, record::Mention};

    fn mention(text: &str) -> Mention {
        Mention::new(text)
    }

    fn drawn(style: &Style<'_>) -> String {
        let source = "<Ann> & \"Bob\" founded Acme.";
        let entity = |text: &str, label: &str| Record::Entity { label: label.into(), mention: mention(text) };
        let founder =
            |tail| Record::Relation { relation: "founder".into(), head: mention("Acme"), tail: mention(tail) };
        let mut records = vec![entity("<Ann>", "person"), entity("Acme", "company"), founder("\"Bob\"")];
        ground::records(source, &mut records);
        let judgements = [
            Judgement { record: records[1].clone(), verdict: Verdict::Right, correction: None },
            Judgement { record: records[2].clone(), verdict: Verdict::Corrected, correction: Some(founder("<Ann>")) },
        ];
        let source = Source { document: "1", records: &records, judgements: &judgements, origin: Origin::Base };
        let graph = graph::build(&[source], &Edits::default());
        svg(&graph, &layout(&graph), style)
    }

    #[test]
    fn hostile_names_stay_text_and_style_says_type_origin_and_judgement() {
        let names = [vec!["person".to_owned(), "company".to_owned()], vec!["founder".to_owned()]];
        let picture = drawn(&Style { names: &names, title: "a < b", standalone: true });
        assert!(picture.starts_with("<svg xmlns=") && picture.trim_end().ends_with("</svg>"));
        assert!(picture.contains("<title>a &lt; b</title>") && picture.contains("prefers-color-scheme:dark"));
        assert!(picture.contains(">&lt;Ann&gt;</text>") && picture.contains(">&quot;Bob&quot;</text>"));
        assert!(!picture.contains("<Ann>"));
        assert!(picture.contains("class=\"node c1 o-base right\""), "Acme: second type, by the base, judged right");
        assert!(picture.contains("class=\"edge c0 o-base wrong\""), "the relation that was corrected");
        assert!(picture.contains("class=\"edge c0 o-you right\""), "what it was corrected to");
        let inside = drawn(&Style::default());
        assert!(!inside.contains("<style>") && !inside.contains("xmlns"));
    }

    #[test]
    fn the_colours_are_those_of_the_pages() {
        let css = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../style/main.css")).unwrap();
        for (index, (light, dark)) in INKS.iter().enumerate() {
            assert!(css.contains(&format!("--c{index}: light-dark({light}, {dark});")), "--c{index}");
        }
    }
}
