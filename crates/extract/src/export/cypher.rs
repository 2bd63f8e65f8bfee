//! Statements for a graph database that speaks Cypher. Run again, they change nothing.

use std::fmt::Write;

use super::{Sources, csv::texts, joined, verdict_name};
use crate::graph::{Graph, NodeKind};

/// A statement for each node, then one for each edge.
pub(super) fn cypher(graph: &Graph, sources: &Sources<'_>) -> String {
    let mut out = String::from("CREATE CONSTRAINT knowlm_id IF NOT EXISTS FOR (n:Node) REQUIRE n.id IS UNIQUE;\n");
    for node in &graph.nodes {
        let kind = if node.kind == NodeKind::Event { "event" } else { "entity" };
        let label = if node.label.is_empty() { String::new() } else { format!("n:{}, ", name(&node.label)) };
        let aliases: Vec<String> = node.aliases.iter().map(|a| string(a)).collect();
        let _ = writeln!(
            out,
            "MERGE (n:Node {{id: {}}}) SET {label}n.name = {}, n.type = {}, n.kind = '{kind}', n.aliases = [{}], \
             n.origin = '{}', n.gold = '{}', n.texts = {}, n.made_by = {}, n.runs = {};",
            string(&node.id),
            string(&node.name),
            string(&node.label),
            aliases.join(", "),
            joined(&node.origins),
            verdict_name(node.verdict),
            string(&texts(&node.places)),
            string(&sources.made_by(&node.places)),
            string(&sources.runs(&node.places)),
        );
    }
    for edge in &graph.edges {
        let (Some(from), Some(to)) = (graph.nodes.get(edge.from), graph.nodes.get(edge.to)) else { continue };
        let _ = writeln!(
            out,
            "MATCH (a:Node {{id: {}}}), (b:Node {{id: {}}}) MERGE (a)-[r:{} {{id: {}}}]->(b) \
             SET r.origin = '{}', r.gold = '{}', r.texts = {}, r.made_by = {}, r.runs = {};",
            string(&from.id),
            string(&to.id),
            name(&edge.label),
            string(&edge.id),
            joined(&edge.origins),
            verdict_name(edge.verdict),
            string(&texts(&edge.places)),
            string(&sources.made_by(&edge.places)),
            string(&sources.runs(&edge.places)),
        );
    }
    out
}

/// A string.
fn string(text: &str) -> String {
    super::string(text, '\'')
}

/// A label or type. Within its marks a backslash would still begin a code such as `\u0060`, a mark: none is let through.
fn name(text: &str) -> String {
    let text: String = text.trim().chars().map(|c| if c == '\\' || c.is_control() { '_' } else { c }).collect();
    format!("`{}`", if text.is_empty() { "_".to_owned() } else { text.replace('`', "``") })
}
