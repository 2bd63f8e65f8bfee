//! Whether the ends of relations are of the types that a schema declares for them.
//!
//! A type of an end is known when an entity of the same extraction has its words, and what is to be a number or a date must
//! look like one. Of what is not known nothing is said.

use std::collections::HashMap;

use protocol::{Record, Span, record::Mention};

use crate::{
    graph::normal,
    schema::{Literal, Schema},
};

/// Relations of which an end is of another type than declared: the index of each, and in words what does not fit.
pub(crate) fn misfits(schema: &Schema, records: &[Record]) -> Vec<(usize, String)> {
    let declares = |relation: &str| {
        let known = schema.relations.iter().find(|r| r.item.name == relation)?;
        (!known.head.is_empty() || !known.tail.is_empty()).then_some(known)
    };
    if schema.relations.iter().all(|r| r.head.is_empty() && r.tail.is_empty()) {
        return Vec::new();
    }
    let mut entities: HashMap<String, Vec<(Option<Span>, &str)>> = HashMap::new();
    for record in records {
        if let Record::Entity { label, mention } = record {
            entities.entry(normal(&mention.text)).or_default().push((mention.span, label));
        }
    }
    let mut found = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let Record::Relation { relation, head, tail } = record else { continue };
        let Some(declared) = declares(relation) else { continue };
        for (end, types) in [(head, &declared.head), (tail, &declared.tail)] {
            if end.span.is_some() && !fits(schema, end, types, &entities) {
                let types = types.join(" / ");
                found.push((index, format!("{}, {relation}, {} ({}: {types})", head.text, tail.text, end.text)));
            }
        }
    }
    found
}

fn fits(
    schema: &Schema,
    end: &Mention,
    types: &[String],
    entities: &HashMap<String, Vec<(Option<Span>, &str)>>,
) -> bool {
    if types.is_empty() {
        return true;
    }
    let literals: Vec<Literal> = types.iter().filter_map(|name| Literal::from_name(name)).collect();
    if literals.iter().any(|literal| literal.fits(&end.text)) {
        return true;
    }
    let known = entities.get(&normal(&end.text)).map_or(&[][..], Vec::as_slice);
    // An entity at the very place says more than one of the same name elsewhere.
    let here = known.iter().any(|(span, _)| *span == end.span);
    let mut labels = known.iter().filter(|(span, _)| !here || *span == end.span).map(|(_, label)| *label).peekable();
    if labels.peek().is_none() {
        // What may be an entity, and is not known as another, may be this one.
        return types.iter().any(|name| Literal::from_name(name).is_none());
    }
    labels.any(|label| types.iter().any(|name| name == label && is_entity(schema, name)))
}

/// Whether a declared type is one of entities: each that is no literal, and literals that the schema has as entity types too.
fn is_entity(schema: &Schema, name: &str) -> bool {
    Literal::from_name(name).is_none() || schema.has_entity(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ground;

    fn said(text: &str, records: &[(&str, &str, &str)]) -> Vec<String> {
        let schema = Schema::from_json(
            r#"{"entities": ["person", "company", "date"], "relations": [
                {"name": "founder", "head": "company", "tail": ["person", "company"]},
                {"name": "founded in", "head": "company", "tail": "date"},
                {"name": "staff", "tail": ["number", "number with unit"]}, "met"]}"#,
        );
        let record = |(first, name, second): &(&str, &str, &str)| match *second {
            "" => Record::Entity { label: (*name).into(), mention: Mention::new(*first) },
            second => {
                Record::Relation { relation: (*name).into(), head: Mention::new(*first), tail: Mention::new(second) }
            }
        };
        let mut records: Vec<Record> = records.iter().map(record).collect();
        ground::records(text, &mut records);
        misfits(&schema.unwrap(), &records).into_iter().map(|(index, words)| format!("{index} {words}")).collect()
    }

    #[test]
    fn ends_of_other_types_are_told_and_unknown_ones_are_not() {
        let text = "Ann founded Acme in 1999 in Rome, soon with 20 people.";
        for (records, expected) in [
            (vec![("Acme", "founder", "Ann")], vec![]),
            (vec![("Ann", "person", ""), ("Acme", "company", ""), ("Acme", "founder", "Ann")], vec![]),
            (vec![("Ann", "person", ""), ("Ann", "founder", "Acme")], vec!["1 Ann, founder, Acme (Ann: company)"]),
            (
                vec![("Rome", "date", ""), ("Acme", "founder", "Rome")],
                vec!["1 Acme, founder, Rome (Rome: person / company)"],
            ),
            (vec![("Acme", "founded in", "1999")], vec![]),
            (vec![("Acme", "founded in", "soon")], vec!["0 Acme, founded in, soon (soon: date)"]),
            (vec![("soon", "date", ""), ("Acme", "founded in", "soon")], vec![]),
            (vec![("Acme", "staff", "20 people"), ("Acme", "staff", "20")], vec![]),
            (vec![("Acme", "staff", "Rome")], vec!["0 Acme, staff, Rome (Rome: number / number with unit)"]),
            (vec![("Ann", "met", "Rome")], vec![]),
        ] {
            assert_eq!(said(text, &records), expected, "{records:?}");
        }
    }
}
