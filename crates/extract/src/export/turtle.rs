//! RDF in Turtle: nodes as resources, relations as properties, and every statement with the texts that make it.
//!
//! Written by hand: what Turtle asks of names and strings is two short rules. Statements that were judged wrong are left
//! out, because RDF has no way to say a thing and take it back.

use std::fmt::Write;

use protocol::Verdict;

use super::Sources;
use crate::graph::{Graph, NodeKind, Place};

/// The graph as triples.
pub(super) fn turtle(graph: &Graph, sources: &Sources<'_>) -> String {
    let mut out = String::from(
        "@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .\n\
         @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n\
         @prefix skos: <http://www.w3.org/2004/02/skos/core#> .\n\
         @prefix xsd: <http://www.w3.org/2001/XMLSchema#> .\n\
         @prefix k: <urn:knowlm:term:> .\n\n",
    );
    for (label, _) in graph.types().iter().filter(|(label, _)| !label.is_empty()) {
        let _ = writeln!(out, "{} a rdfs:Class ; rdfs:label {} .", resource("type", label), literal(label));
    }
    for (label, _) in graph.labels() {
        let _ = writeln!(out, "{} a rdf:Property ; rdfs:label {} .", resource("relation", &label), literal(&label));
    }
    out.push('\n');
    let wrong = |verdict| matches!(verdict, Some(Verdict::Wrong | Verdict::Corrected));
    for node in graph.nodes.iter().filter(|n| !wrong(n.verdict)) {
        let kind = if node.kind == NodeKind::Event { "k:Event" } else { "k:Entity" };
        let _ = write!(out, "{} a {kind}", resource("node", &node.id));
        if !node.label.is_empty() {
            let _ = write!(out, ", {}", resource("type", &node.label));
        }
        let _ = write!(out, " ;\n    rdfs:label {}", literal(&node.name));
        for alias in &node.aliases {
            let _ = write!(out, " ;\n    skos:altLabel {}", literal(alias));
        }
        if let Some(verdict) = node.verdict {
            let _ = write!(out, " ;\n    k:gold {}", literal(verdict.name()));
        }
        out.push_str(" .\n");
    }
    out.push('\n');
    for edge in graph.edges.iter().filter(|e| !wrong(e.verdict)) {
        let (Some(from), Some(to)) = (graph.nodes.get(edge.from), graph.nodes.get(edge.to)) else { continue };
        if wrong(from.verdict) || wrong(to.verdict) {
            continue;
        }
        let (from, to) = (resource("node", &from.id), resource("node", &to.id));
        let property = resource("relation", &edge.label);
        let _ = writeln!(out, "{from} {property} {to} .");
        let _ = write!(
            out,
            "{} a rdf:Statement ; rdf:subject {from} ; rdf:predicate {property} ; rdf:object {to}",
            resource("edge", &edge.id)
        );
        if let Some(verdict) = edge.verdict {
            let _ = write!(out, " ; k:gold {}", literal(verdict.name()));
        }
        for place in &edge.places {
            let _ = write!(out, " ;\n    k:source {}", source(place, sources));
        }
        out.push_str(" .\n");
    }
    out
}

/// Where a statement is made, as a node without a name.
fn source(place: &Place, sources: &Sources<'_>) -> String {
    let mut parts =
        vec![format!("k:text {}", literal(&place.document)), format!("k:origin {}", literal(place.origin.name()))];
    if let Some(span) = place.span {
        parts.push(format!("k:start {} ; k:end {}", span.start, span.end));
    }
    if let Some(made) = sources.layer(place).and_then(|layer| layer.made_by.as_ref()) {
        parts.push(format!("k:model {}", literal(&made.model)));
        parts.extend(made.adapter.as_ref().map(|adapter| format!("k:adapter {}", literal(adapter))));
        parts.extend(made.schema.as_ref().map(|schema| format!("k:schema {}", literal(schema))));
        parts.extend(made.schema_version.map(|version| format!("k:schemaVersion {version}")));
    }
    parts.extend(sources.run(place).map(|run| format!("k:run {}", literal(run))));
    format!("[ {} ]", parts.join(" ; "))
}

/// An IRI of our own. Everything but plain letters and digits is written as percent and hexadecimal digits: so a name can
/// hold whatever it likes.
fn resource(kind: &str, name: &str) -> String {
    let mut iri = format!("<urn:knowlm:{kind}:");
    for byte in name.trim().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            iri.push(char::from(byte));
        } else {
            let _ = write!(iri, "%{byte:02X}");
        }
    }
    iri.push('>');
    iri
}

/// A string.
fn literal(text: &str) -> String {
    super::string(text, '"')
}
