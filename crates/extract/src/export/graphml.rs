//! The graph in GraphML, as Gephi, yEd, Cytoscape and NetworkX read it.

use std::fmt::Write;

use super::{Sources, csv::texts, joined, verdict_name};
use crate::{
    graph::{Graph, NodeKind},
    svg::escape,
};

const NODE: [&str; 9] = ["name", "type", "kind", "aliases", "origin", "gold", "texts", "made_by", "runs"];
const EDGE: [&str; 6] = ["relation", "origin", "gold", "texts", "made_by", "runs"];

/// The graph as XML.
pub(super) fn graphml(graph: &Graph, sources: &Sources<'_>) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\">\n",
    );
    for (of, names) in [("node", &NODE[..]), ("edge", &EDGE[..])] {
        for name in names {
            let _ = writeln!(out, "  <key id=\"{of}_{name}\" for=\"{of}\" attr.name=\"{name}\" attr.type=\"string\"/>");
        }
    }
    out.push_str("  <graph edgedefault=\"directed\">\n");
    for node in &graph.nodes {
        let kind = if node.kind == NodeKind::Event { "event" } else { "entity" };
        let _ = writeln!(out, "    <node id=\"{}\">", node.id);
        let values = [
            node.name.clone(),
            node.label.clone(),
            kind.to_owned(),
            node.aliases.join("; "),
            joined(&node.origins),
            verdict_name(node.verdict).to_owned(),
            texts(&node.places),
            sources.made_by(&node.places),
            sources.runs(&node.places),
        ];
        data(&mut out, "node", &NODE, &values);
        out.push_str("    </node>\n");
    }
    for edge in &graph.edges {
        let (Some(from), Some(to)) = (graph.nodes.get(edge.from), graph.nodes.get(edge.to)) else { continue };
        let _ = writeln!(out, "    <edge id=\"{}\" source=\"{}\" target=\"{}\">", edge.id, from.id, to.id);
        let values = [
            edge.label.clone(),
            joined(&edge.origins),
            verdict_name(edge.verdict).to_owned(),
            texts(&edge.places),
            sources.made_by(&edge.places),
            sources.runs(&edge.places),
        ];
        data(&mut out, "edge", &EDGE, &values);
        out.push_str("    </edge>\n");
    }
    out.push_str("  </graph>\n</graphml>\n");
    out
}

fn data(out: &mut String, of: &str, names: &[&str], values: &[String]) {
    for (name, value) in names.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "      <data key=\"{of}_{name}\">{}</data>", escape(value));
    }
}
