//! From records to nodes and edges.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use protocol::{Record, Span, Verdict, record::Mention};

use super::{Edge, Edits, Graph, Node, NodeKind, Origin, Place, Same, Source};
use crate::judge::{self, Verdicts};

/// A name as it is compared: without case, width and needless spaces.
pub fn normal(name: &str) -> String {
    let plain = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        c => c,
    };
    let folded: String = name.chars().map(plain).flat_map(char::to_lowercase).collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Makes the graph. Mentions that do not stand in their text are left out, unless a person added them; records judged
/// wrong stay in, with their verdict. What people added or corrected to is there with origin [`Origin::You`].
pub fn build(sources: &[Source<'_>], edits: &Edits) -> Graph {
    let said = said(sources);
    let types = Types::of(&said);
    let apart: HashSet<&str> = edits.apart.iter().map(String::as_str).collect();
    let mut draft = Draft { types, apart, nodes: BTreeMap::new(), edges: BTreeMap::new(), events: HashMap::new() };
    for one in &said {
        draft.record(one);
    }
    draft.merge(&edits.same);
    draft.finish()
}

/// A record, and who says it where.
struct Said<'a> {
    document: &'a str,
    origin: Origin,
    index: Option<usize>,
    record: &'a Record,
    verdict: Option<Verdict>,
}

impl Said<'_> {
    fn place(&self, span: Option<Span>) -> Place {
        Place { document: self.document.to_owned(), origin: self.origin, record: self.index, span }
    }

    /// Whether a mention is shown: it stands in the text, or a person says it.
    fn shows(&self, mention: &Mention) -> bool {
        !normal(&mention.text).is_empty() && (mention.span.is_some() || self.origin == Origin::You)
    }
}

/// All records, and of each text's gold what no column of the text found.
fn said<'a>(sources: &[Source<'a>]) -> Vec<Said<'a>> {
    let mut said = Vec::new();
    let mut found: HashSet<(&str, String)> = HashSet::new();
    let verdicts: Vec<Verdicts> = sources.iter().map(|source| Verdicts::new(source.judgements)).collect();
    for (source, verdicts) in sources.iter().zip(&verdicts) {
        for (index, record) in source.records.iter().enumerate() {
            let key = record.key();
            let verdict = verdicts.of(&key);
            found.insert((source.document, key));
            said.push(Said { document: source.document, origin: source.origin, index: Some(index), record, verdict });
        }
    }
    for (source, verdicts) in sources.iter().zip(&verdicts) {
        for record in judge::gold(source.judgements) {
            let key = record.key();
            let verdict = verdicts.of(&key);
            if found.insert((source.document, key)) {
                said.push(Said { document: source.document, origin: Origin::You, index: None, record, verdict });
            }
        }
    }
    said.sort_by(|a, b| (a.document, a.origin, a.index).cmp(&(b.document, b.origin, b.index)));
    said
}

fn refused(verdict: Option<Verdict>) -> bool {
    matches!(verdict, Some(Verdict::Wrong | Verdict::Corrected))
}

/// An entity record, as relations and events look for the type of a name.
struct Typed<'a> {
    origin: Origin,
    span: Option<Span>,
    label: &'a str,
}

/// Which types names have: in their text, else in all texts when that is one only.
struct Types<'a> {
    in_text: HashMap<(&'a str, String), Vec<Typed<'a>>>,
    /// Name to its types, as they are compared, with a spelling.
    everywhere: HashMap<String, BTreeMap<String, &'a str>>,
}

impl<'a> Types<'a> {
    fn of(said: &[Said<'a>]) -> Self {
        let mut types = Self { in_text: HashMap::new(), everywhere: HashMap::new() };
        for one in said.iter().filter(|one| !refused(one.verdict)) {
            let Record::Entity { label, mention } = one.record else { continue };
            if one.shows(mention) {
                let name = normal(&mention.text);
                types.everywhere.entry(name.clone()).or_default().entry(normal(label)).or_insert(label);
                let typed = Typed { origin: one.origin, span: mention.span, label };
                types.in_text.entry((one.document, name)).or_default().push(typed);
            }
        }
        types
    }

    /// The type of a mention that has none of its own: that of an entity of its text with the same name, first of all
    /// one by the same model at the same place.
    fn find(&self, one: &Said<'a>, mention: &Mention) -> &'a str {
        let name = normal(&mention.text);
        let in_all = self.everywhere.get(&name);
        let own = self.in_text.get(&(one.document, name)).into_iter().flatten();
        let best = own.min_by_key(|t| (t.origin != one.origin, t.span != mention.span));
        let only = || in_all.filter(|types| types.len() == 1).and_then(|types| types.values().next().copied());
        best.map(|t| t.label).or_else(only).unwrap_or("")
    }
}

/// What is known of a node or an edge so far.
#[derive(Default)]
struct Seen {
    /// Spellings of the name (of an edge: of its label), how often.
    names: BTreeMap<String, usize>,
    labels: BTreeMap<String, usize>,
    aliases: BTreeSet<String>,
    verdicts: Vec<Option<Verdict>>,
    places: BTreeSet<Place>,
}

impl Seen {
    fn add(&mut self, name: &str, label: &str, verdict: Option<Verdict>, place: Place) {
        *self.names.entry(spaced(name)).or_default() += 1;
        *self.labels.entry(spaced(label)).or_default() += 1;
        self.verdicts.push(verdict);
        self.places.insert(place);
    }

    fn origins(&self) -> Vec<Origin> {
        let origins: BTreeSet<Origin> = self.places.iter().map(|p| p.origin).collect();
        origins.into_iter().collect()
    }

    fn verdict(&self) -> Option<Verdict> {
        let has = |wanted: Verdict| self.verdicts.contains(&Some(wanted));
        if let Some(good) = [Verdict::Right, Verdict::Added].into_iter().find(|v| has(*v)) {
            return Some(good);
        }
        let refused = self.verdicts.iter().all(|v| refused(*v));
        let bad = || [Verdict::Wrong, Verdict::Corrected].into_iter().find(|v| has(*v));
        refused.then(bad).flatten()
    }
}

fn spaced(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The most frequent; of several the first by its letters.
fn most(counts: &BTreeMap<String, usize>) -> String {
    let best = counts.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
    best.map(|(name, _)| name.clone()).unwrap_or_default()
}

struct Draft<'a> {
    types: Types<'a>,
    apart: HashSet<&'a str>,
    nodes: BTreeMap<String, (NodeKind, Seen)>,
    /// By ends and label: its spellings are in `names`.
    edges: BTreeMap<(String, String, String), Seen>,
    /// How many events a column has at a place: two events of one trigger are two nodes.
    events: HashMap<(String, Origin), usize>,
}

impl<'a> Draft<'a> {
    fn record(&mut self, one: &Said<'a>) {
        match one.record {
            Record::Entity { label, mention } => {
                self.entity(one, label, mention, one.verdict);
            }
            Record::Relation { relation, head, tail } => {
                if !one.shows(head) || !one.shows(tail) {
                    return;
                }
                if let (Some(from), Some(to)) = (self.end(one, head), self.end(one, tail)) {
                    self.edge(one, from, to, relation, hull(head.span, tail.span));
                }
            }
            Record::Event { label, trigger, arguments } => {
                if !one.shows(trigger) {
                    return;
                }
                let start = trigger.span.map_or(String::new(), |s| s.start.to_string());
                let parts = ["event", one.document, &normal(label), &normal(&trigger.text), &start];
                let place = id('n', &parts);
                let nth = self.events.entry((place.clone(), one.origin)).or_default();
                *nth += 1;
                let event = if *nth == 1 { place } else { id('n', &[&place, &nth.to_string()]) };
                let seen = &mut self.nodes.entry(event.clone()).or_insert((NodeKind::Event, Seen::default())).1;
                seen.add(&trigger.text, label, one.verdict, one.place(trigger.span));
                for argument in arguments.iter().filter(|a| one.shows(&a.mention)) {
                    if let Some(to) = self.end(one, &argument.mention) {
                        self.edge(one, event.clone(), to, &argument.role, hull(trigger.span, argument.mention.span));
                    }
                }
            }
        }
    }

    /// An end of a relation, or an argument: the verdict is about the edge.
    fn end(&mut self, one: &Said<'a>, mention: &Mention) -> Option<String> {
        let label = self.types.find(one, mention);
        self.entity(one, label, mention, None)
    }

    fn entity(&mut self, one: &Said<'a>, label: &str, mention: &Mention, verdict: Option<Verdict>) -> Option<String> {
        if !one.shows(mention) {
            return None;
        }
        let (name, of_type) = (normal(&mention.text), normal(label));
        let together = id('n', &["entity", &name, &of_type]);
        let own = if self.apart.contains(together.as_str()) {
            id('n', &["entity", &name, &of_type, one.document])
        } else {
            together
        };
        let seen = &mut self.nodes.entry(own.clone()).or_insert((NodeKind::Entity, Seen::default())).1;
        seen.add(&mention.text, label, verdict, one.place(mention.span));
        Some(own)
    }

    fn edge(&mut self, one: &Said<'a>, from: String, to: String, label: &str, span: Option<Span>) {
        let seen = self.edges.entry((from, to, normal(label))).or_default();
        seen.add(label, "", one.verdict, one.place(span));
    }

    /// Puts nodes together; an edit about a node that is not here waits for it.
    fn merge(&mut self, same: &[Same]) {
        let known = |id: &str, nodes: &BTreeMap<String, (NodeKind, Seen)>| nodes.contains_key(id);
        let mut into: HashMap<String, String> = HashMap::new();
        for edit in same.iter().filter(|e| known(&e.alias, &self.nodes) && known(&e.into, &self.nodes)) {
            let target = end_of(&into, &edit.into);
            let alias = end_of(&into, &edit.alias);
            if target != alias {
                into.insert(alias, target);
            }
        }
        let mut aliases: Vec<&String> = into.keys().collect();
        aliases.sort_unstable();
        for alias in aliases {
            let Some((_, gone)) = self.nodes.remove(alias) else { continue };
            let Some((_, kept)) = self.nodes.get_mut(&end_of(&into, alias)) else { continue };
            kept.aliases.extend(gone.names.into_keys());
            kept.aliases.extend(gone.aliases);
            kept.verdicts.extend(gone.verdicts);
            kept.places.extend(gone.places);
        }
        for ((from, to, label), seen) in std::mem::take(&mut self.edges) {
            let kept = self.edges.entry((end_of(&into, &from), end_of(&into, &to), label)).or_default();
            for (name, times) in seen.names {
                *kept.names.entry(name).or_default() += times;
            }
            kept.verdicts.extend(seen.verdicts);
            kept.places.extend(seen.places);
        }
    }

    fn finish(self) -> Graph {
        let index: HashMap<&String, usize> = self.nodes.keys().zip(0..).collect();
        let mut edges: Vec<Edge> = Vec::new();
        for ((from, to, label), seen) in &self.edges {
            let (Some(start), Some(end)) = (index.get(from), index.get(to)) else { continue };
            edges.push(Edge {
                id: id('e', &[from, to, label]),
                from: *start,
                to: *end,
                label: most(&seen.names),
                origins: seen.origins(),
                verdict: seen.verdict(),
                places: seen.places.iter().cloned().collect(),
            });
        }
        edges.sort_by(|a, b| a.id.cmp(&b.id));
        let node = |(id, (kind, seen)): (&String, &(NodeKind, Seen))| {
            let name = most(&seen.names);
            let others: BTreeSet<&String> = seen.names.keys().chain(&seen.aliases).filter(|n| **n != name).collect();
            Node {
                id: id.clone(),
                label: most(&seen.labels),
                kind: *kind,
                aliases: others.into_iter().cloned().collect(),
                origins: seen.origins(),
                verdict: seen.verdict(),
                places: seen.places.iter().cloned().collect(),
                name,
            }
        };
        Graph { nodes: self.nodes.iter().map(node).collect(), edges }
    }
}

/// Where a node went at last.
fn end_of(into: &HashMap<String, String>, id: &str) -> String {
    let mut id = id;
    // Never a circle: an edit only leads from a node that is its own end to another such.
    while let Some(next) = into.get(id) {
        id = next;
    }
    id.to_owned()
}

fn hull(a: Option<Span>, b: Option<Span>) -> Option<Span> {
    let (a, b) = (a?, b?);
    Some(Span { start: a.start.min(b.start), end: a.end.max(b.end) })
}

/// A letter and the FNV-1a hash of the parts.
fn id(letter: char, parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0x1f]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{letter}{hash:016x}")
}
