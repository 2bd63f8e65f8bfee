//! Lines that doccano imports as sequence labelling with relations.

use serde_json::{Value, json};

use super::{Document, Options, anchors::anchored, verdict_name};

/// The line of a text. An event is a labelled trigger with relations to its arguments, named by role.
pub(super) fn line(document: &Document, _: &Options) -> String {
    format!("{}\n", text(document))
}

fn text(document: &Document) -> Value {
    let anchored = anchored(document);
    let entities: Vec<Value> = anchored
        .anchors
        .iter()
        .enumerate()
        .map(|(id, a)| json!({"id": id, "label": a.label, "start_offset": a.span.start, "end_offset": a.span.end}))
        .collect();
    let links = anchored.links.iter().map(|l| (l.from, l.to, l.label.as_str()));
    let roles =
        anchored.events.iter().flat_map(|e| e.arguments.iter().map(|(role, to)| (e.trigger, *to, role.as_str())));
    let relations: Vec<Value> = links
        .chain(roles)
        .enumerate()
        .map(|(id, (from, to, label))| json!({"id": id, "from_id": from, "to_id": to, "type": label}))
        .collect();
    let judged: Vec<Value> = anchored
        .anchors
        .iter()
        .zip(0..)
        .filter(|(a, _)| a.verdict.is_some() && !a.helper)
        .map(|(a, id): (_, usize)| json!(format!("{id}: {}", verdict_name(a.verdict))))
        .collect();
    let made_by: Vec<_> = document.layers.iter().filter_map(|layer| layer.made_by.as_ref()).collect();
    json!({
        "id": document.id, "text": document.text, "entities": entities, "relations": relations, "Comments": judged,
        "made_by": made_by, "review": document.state,
    })
}
