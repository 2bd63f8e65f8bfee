//! Records as a graph: names are nodes, relations and roles are edges.
//!
//! Of one text or of many: mentions with the same normalised name and type are one node, wherever they stand. An event is
//! a node of its own, its roles lead to its arguments. Every node and edge keeps the places it comes from. The graph does
//! not depend on the order of its sources, and ids only on what a node is, so that what people say of a node still holds
//! when more texts come.

mod build;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

pub use protocol::graph::{Edits, Same};
use protocol::{Column, Judgement, Record, Span, Verdict};
use serde::{Deserialize, Serialize};

pub use build::{build, normal};

/// Who says so; line style always means origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The model without adapter.
    Base,
    /// The model with an adapter.
    Tuned,
    /// A person.
    You,
}

impl Origin {
    /// The name in JSON: `base`, `tuned`, `you`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Tuned => "tuned",
            Self::You => "you",
        }
    }

    /// The one of several that the line shows: a model before a person, who may only have agreed with it, and the tuned
    /// model before its base.
    pub fn shown(origins: &[Self]) -> Self {
        let found = [Self::Tuned, Self::Base].into_iter().find(|o| origins.contains(o));
        found.unwrap_or(if origins.is_empty() { Self::Tuned } else { Self::You })
    }
}

impl From<Column> for Origin {
    fn from(column: Column) -> Self {
        match column {
            Column::Base => Self::Base,
            Column::Tuned => Self::Tuned,
        }
    }
}

/// One column's records of one text.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The text's id.
    pub document: &'a str,
    /// What was found in it.
    pub records: &'a [Record],
    /// What people say of the text's records; the same for every column of the text.
    pub judgements: &'a [Judgement],
    /// Who found the records.
    pub origin: Origin,
}

/// Nodes and edges, both sorted by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// What has a name.
    pub nodes: Vec<Node>,
    /// What holds between nodes.
    pub edges: Vec<Edge>,
}

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// Something with a name: an entity, an end of a relation, an argument.
    Entity,
    /// One event, by the words that name it.
    Event,
}

/// A name with its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `n` and sixteen digits that follow from kind, name and type (of an event also from its text and place).
    pub id: String,
    /// The most frequent spelling.
    pub name: String,
    /// The type; empty when no record says one.
    #[serde(rename = "type")]
    pub label: String,
    /// Entity or event.
    pub kind: NodeKind,
    /// Other spellings, and names that people put together with it.
    pub aliases: Vec<String>,
    /// Who says so, each once, in order.
    pub origins: Vec<Origin>,
    /// What people say of it: right as soon as one place is, wrong when all are.
    pub verdict: Option<Verdict>,
    /// Where its words stand.
    pub places: Vec<Place>,
}

/// A relation, or the role of an argument in an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// `e` and sixteen digits that follow from its ends and its name.
    pub id: String,
    /// Index of the node it leads from: head, or event.
    pub from: usize,
    /// Index of the node it leads to: tail, or argument.
    pub to: usize,
    /// Name of the relation or role.
    pub label: String,
    /// Who says so, each once, in order.
    pub origins: Vec<Origin>,
    /// What people say of it, as for a node.
    pub verdict: Option<Verdict>,
    /// Where it is said.
    pub places: Vec<Place>,
}

/// Where a node or an edge comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The text's id.
    pub document: String,
    /// Who says so.
    pub origin: Origin,
    /// Index among the source's records; `None` for a record that people added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<usize>,
    /// Of a node its words, of an edge from its first end to its last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

impl Graph {
    /// The nodes' types with how many have each, the most frequent first; `""` is no type.
    pub fn types(&self) -> Vec<(String, usize)> {
        counted(self.nodes.iter().map(|n| n.label.as_str()))
    }

    /// The names of relations and roles with how many edges have each, the most frequent first.
    pub fn labels(&self) -> Vec<(String, usize)> {
        counted(self.edges.iter().map(|e| e.label.as_str()))
    }

    /// How many edges touch each node.
    pub fn degrees(&self) -> Vec<usize> {
        let mut degrees = vec![0; self.nodes.len()];
        for edge in &self.edges {
            for end in [edge.from, edge.to] {
                if let Some(degree) = degrees.get_mut(end) {
                    *degree += 1;
                }
            }
        }
        degrees
    }

    /// The graph without nodes that no edge touches.
    pub fn connected(&self) -> Graph {
        let degrees = self.degrees();
        self.kept(|index, _| degrees.get(index).is_some_and(|d| *d > 0), |_| true)
    }

    /// The nodes and edges that are wanted; an edge goes with its ends.
    pub fn filtered(&self, node: impl Fn(&Node) -> bool, edge: impl Fn(&Edge) -> bool) -> Graph {
        self.kept(|_, n| node(n), edge)
    }

    /// The `most` nodes that most edges touch, and the edges between them.
    pub fn strongest(&self, most: usize) -> Graph {
        if self.nodes.len() <= most {
            return self.clone();
        }
        let degrees = self.degrees();
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|i| {
            let places = self.nodes.get(*i).map_or(0, |n| n.places.len());
            (Reverse(degrees.get(*i).copied()), Reverse(places), *i)
        });
        let kept: HashSet<usize> = order.into_iter().take(most).collect();
        self.kept(|index, _| kept.contains(&index), |_| true)
    }

    fn kept(&self, node: impl Fn(usize, &Node) -> bool, edge: impl Fn(&Edge) -> bool) -> Graph {
        let mut index: HashMap<usize, usize> = HashMap::new();
        let mut nodes = Vec::new();
        for (at, one) in self.nodes.iter().enumerate().filter(|(at, one)| node(*at, one)) {
            index.insert(at, nodes.len());
            nodes.push(one.clone());
        }
        let moved = |e: &Edge| Some(Edge { from: *index.get(&e.from)?, to: *index.get(&e.to)?, ..e.clone() });
        Graph { nodes, edges: self.edges.iter().filter(|e| edge(e)).filter_map(moved).collect() }
    }
}

fn counted<'n>(names: impl Iterator<Item = &'n str>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
    counts.sort_by_key(|(_, n)| Reverse(*n));
    counts
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ground;
    use protocol::record::{Argument, Mention};

    fn mention(text: &str) -> Mention {
        Mention::new(text)
    }

    /// Records of a text, one a line: `words: type`, `head -relation-> tail` or `trigger! type role=words role=words`.
    fn records(source: &str, lines: &str) -> Vec<Record> {
        let mut records: Vec<Record> = lines.lines().map(|line| record(line.trim())).collect();
        ground::records(source, &mut records);
        records
    }

    fn record(line: &str) -> Record {
        if let Some((head, rest)) = line.split_once(" -") {
            let (relation, tail) = rest.split_once("-> ").unwrap();
            Record::Relation { relation: relation.into(), head: mention(head), tail: mention(tail) }
        } else if let Some((trigger, rest)) = line.split_once("! ") {
            let mut parts = rest.split(' ');
            let label = parts.next().unwrap().to_owned();
            let argument = |part: &str| {
                let (role, words) = part.split_once('=').unwrap();
                Argument { role: role.into(), mention: mention(words) }
            };
            Record::Event { label, trigger: mention(trigger), arguments: parts.map(argument).collect() }
        } else {
            let (words, label) = line.split_once(": ").unwrap();
            Record::Entity { label: label.into(), mention: mention(words) }
        }
    }

    fn source<'a>(document: &'a str, records: &'a [Record]) -> Source<'a> {
        Source { document, records, judgements: &[], origin: Origin::Tuned }
    }

    /// Nodes as `name:type`, then edges as `name -label-> name`; sorted.
    fn shown(graph: &Graph) -> Vec<String> {
        let mut nodes: Vec<String> = graph.nodes.iter().map(|n| format!("{}:{}", n.name, n.label)).collect();
        nodes.sort();
        let name = |i: usize| &graph.nodes[i].name;
        let mut edges: Vec<String> =
            graph.edges.iter().map(|e| format!("{} -{}-> {}", name(e.from), e.label, name(e.to))).collect();
        edges.sort();
        nodes.into_iter().chain(edges).collect()
    }

    fn id_of<'g>(graph: &'g Graph, name: &str) -> &'g str {
        &graph.nodes.iter().find(|n| n.name == name).unwrap().id
    }

    #[test]
    fn names_of_all_texts_meet_in_one_node_whatever_their_case_and_width() {
        let one = records("Ann founded Acme.", "Ann: person\nAcme: company\nAcme -founder-> Ann");
        let two = records("ＡＣＭＥ  bought Beta.", "ＡＣＭＥ: company\nBeta: company\nＡＣＭＥ -bought-> Beta");
        let sources = [source("1", &one), source("2", &two)];
        let graph = build(&sources, &Edits::default());
        assert_eq!(
            shown(&graph),
            ["Acme:company", "Ann:person", "Beta:company", "Acme -bought-> Beta", "Acme -founder-> Ann"]
        );
        let acme = graph.nodes.iter().find(|n| n.name == "Acme").unwrap();
        assert_eq!((acme.aliases.as_slice(), acme.places.len()), (&["ＡＣＭＥ".to_owned()][..], 4));
        let founder = graph.edges.iter().find(|e| e.label == "founder").unwrap();
        assert_eq!(founder.places[0].span, Some(Span { start: 0, end: 16 }), "from its first end to its last");
        let turned = [sources[1], sources[0]];
        assert_eq!(build(&turned, &Edits::default()), graph, "the order of the texts does not matter");
        assert_eq!(id_of(&graph, "Ann"), "n161396956b80813b", "ids stay the same from version to version");
    }

    #[test]
    fn an_end_of_a_relation_has_the_type_of_the_entity_with_its_name() {
        let typed = records("Paris met Ann in Paris.", "Paris: person\nParis: place\nAnn -lives in-> Paris");
        let graph = build(&[source("1", &typed)], &Edits::default());
        assert_eq!(shown(&graph), ["Ann:", "Paris:person", "Paris:place", "Ann -lives in-> Paris"]);
        let lives = &graph.edges[0];
        assert_eq!(graph.nodes[lives.to].label, "place", "the one at the same place in the text");
        let elsewhere = records("Ann slept.", "Ann: person");
        let graph = build(&[source("1", &typed), source("2", &elsewhere)], &Edits::default());
        assert_eq!(shown(&graph)[0], "Ann:person", "another text says what Ann is, and no text says otherwise");
    }

    #[test]
    fn an_event_is_a_node_and_its_roles_are_edges() {
        let text = "Acme bought Beta. Acme bought Ceta.";
        let found = records(text, "bought! merger buyer=Acme target=Beta\nbought! merger buyer=Acme target=Ceta");
        let graph = build(&[source("1", &found), source("2", &found)], &Edits::default());
        let events = graph.nodes.iter().filter(|n| n.kind == NodeKind::Event).count();
        assert_eq!((events, graph.nodes.len(), graph.edges.len()), (4, 7, 8), "two in each text");
    }

    #[test]
    fn what_does_not_stand_in_the_text_is_not_shown_unless_a_person_added_it() {
        let found = records("Ann slept.", "Zoe: person\nAnn -knows-> Zoe\nslept! sleep who=Zoe\nAnn: person");
        let judgements = [
            Judgement { record: record("Ann -likes-> sleep"), verdict: Verdict::Added, correction: None },
            Judgement { record: record("Ann: person"), verdict: Verdict::Wrong, correction: None },
        ];
        let sources = [Source { judgements: &judgements, ..source("1", &found) }];
        let graph = build(&sources, &Edits::default());
        assert_eq!(shown(&graph), ["Ann:", "Ann:person", "sleep:", "slept:sleep", "Ann -likes-> sleep"]);
        let wrong = graph.nodes.iter().find(|n| n.label == "person").unwrap();
        assert_eq!(wrong.verdict, Some(Verdict::Wrong));
        assert_eq!((graph.edges[0].verdict, &graph.edges[0].origins[..]), (Some(Verdict::Added), &[Origin::You][..]));
    }

    #[test]
    fn both_columns_of_a_text_meet_in_the_same_nodes() {
        let found = records("Ann slept.", "Ann: person");
        let base = Source { origin: Origin::Base, ..source("1", &found) };
        let graph = build(&[base, source("1", &found)], &Edits::default());
        assert_eq!((graph.nodes.len(), &graph.nodes[0].origins[..]), (1, &[Origin::Base, Origin::Tuned][..]));
    }

    #[test]
    fn people_put_nodes_together_and_take_them_apart() {
        let one = records("IBM hired Ann.", "IBM: company\nIBM -hired-> Ann");
        let two = records("Big Blue hired Ann.", "Big Blue: company\nBig Blue -hired-> Ann");
        let sources = [source("1", &one), source("2", &two)];
        let plain = build(&sources, &Edits::default());
        let same = Same { alias: id_of(&plain, "Big Blue").into(), into: id_of(&plain, "IBM").into() };
        let back = Same { alias: same.into.clone(), into: same.alias.clone() };
        let together = build(&sources, &Edits { same: vec![same.clone(), back], apart: vec![] });
        assert_eq!(shown(&together), ["Ann:", "IBM:company", "IBM -hired-> Ann"]);
        let ibm = together.nodes.iter().find(|n| n.name == "IBM").unwrap();
        assert_eq!((&ibm.id, ibm.aliases.as_slice()), (&same.into, &["Big Blue".to_owned()][..]));
        assert_eq!(together.edges[0].places.len(), 2);
        let apart = build(&sources, &Edits { same: vec![], apart: vec![id_of(&plain, "Ann").into()] });
        assert_eq!(shown(&apart)[..2], ["Ann:", "Ann:"], "an Ann in each text");
        let later = Edits { same: vec![same, Same { alias: "nowhere".into(), into: "either".into() }], apart: vec![] };
        assert_eq!(shown(&build(&sources[..1], &later)), ["Ann:", "IBM:company", "IBM -hired-> Ann"]);
    }

    #[test]
    fn a_graph_is_counted_and_cut_down() {
        let found = records("A B C D", "A -r-> B\nA -s-> C\nD: x");
        let graph = build(&[source("1", &found)], &Edits::default());
        assert_eq!(graph.types(), [(String::new(), 3), ("x".into(), 1)]);
        assert_eq!(graph.labels(), [("r".into(), 1), ("s".into(), 1)]);
        assert_eq!(shown(&graph.connected()), ["A:", "B:", "C:", "A -r-> B", "A -s-> C"]);
        assert_eq!(shown(&graph.filtered(|n| n.name != "B", |_| true)), ["A:", "C:", "D:x", "A -s-> C"]);
        assert_eq!(shown(&graph.filtered(|_| true, |e| e.label == "r")), ["A:", "B:", "C:", "D:x", "A -r-> B"]);
        assert_eq!(graph.strongest(2).nodes.iter().filter(|n| n.name == "A").count(), 1);
        assert_eq!(graph.strongest(4), graph);
    }
}
