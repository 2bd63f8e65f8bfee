//! Where the nodes and edges of a graph go.
//!
//! Pure and deterministic: additions, multiplications, divisions and square roots only, which are the same on every
//! machine, starting places from the nodes' ids, whole pixels at the end. So the page, the server and an exported file
//! show the same picture.
//!
//! Every edge has a name, and a name needs room like a node: the label of an edge is a body of its own between the nodes.
//! Distances along edges become distances in the plane (stress majorization: Gansner, Koren and North, 2004), then
//! bodies that overlap are pushed apart, and the parts that no edge joins are put side by side.

mod bodies;
mod route;

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, NodeKind};
use bodies::Body;

/// A drawing of more nodes than this can be read by nobody; see [`Graph::strongest`].
pub const MOST_NODES: usize = 300;
/// Size of a node's name, in pixels.
pub const NAME_SIZE: i32 = 14;
/// Size of types and of edges' labels, in pixels.
pub const LABEL_SIZE: i32 = 11;

/// Where everything is, in pixels from the left and from the top.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Width of the drawing.
    pub width: i32,
    /// Height of the drawing.
    pub height: i32,
    /// One for each node of the graph, in its order.
    pub nodes: Vec<PlacedNode>,
    /// One for each edge of the graph, in its order.
    pub edges: Vec<PlacedEdge>,
}

/// A rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Box {
    /// Left side.
    pub x: i32,
    /// Upper side.
    pub y: i32,
    /// From left to right.
    pub width: i32,
    /// From top to bottom.
    pub height: i32,
}

impl Box {
    /// Its middle, from the left and from the top.
    pub fn center(&self) -> (i32, i32) {
        (self.x + self.width / 2, self.y + self.height / 2)
    }

    /// Whether two rectangles have a pixel in common.
    pub fn overlaps(&self, other: &Box) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// A node in the drawing. Its name is centred 17 pixels below the upper side, its type 32.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedNode {
    /// Its place.
    pub at: Box,
    /// Its name, shortened to what fits.
    pub name: String,
    /// Its type, shortened to what fits; without a type the node is lower.
    pub label: String,
}

/// An edge in the drawing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedEdge {
    /// The line from the border of one node to the border of the other, as SVG path data.
    pub path: String,
    /// The arrowhead at its end, to be filled, as SVG path data.
    pub arrow: String,
    /// Place of its label, whose line of text is centred and stands 12 pixels below the upper side.
    pub at: Box,
    /// Its label, shortened to what fits.
    pub label: String,
}

/// Around the drawing.
const MARGIN: i32 = 16;

/// Lays a graph out. No two nodes, labels, or a node and a label overlap.
pub fn layout(graph: &Graph) -> Layout {
    let names: Vec<(String, String)> =
        graph.nodes.iter().map(|n| (shortened(&n.name, 22), shortened(&n.label, 24))).collect();
    let labels: Vec<String> = graph.edges.iter().map(|e| shortened(&e.label, 24)).collect();
    let mut bodies = Vec::with_capacity(names.len() + labels.len());
    for (node, (name, label)) in graph.nodes.iter().zip(&names) {
        let wide = measure(name, NAME_SIZE).max(measure(label, LABEL_SIZE)) + 20;
        // The ends of an event are round.
        let wide = if node.kind == NodeKind::Event { wide + 8 } else { wide };
        bodies.push(Body::new(&node.id, wide.max(36), if label.is_empty() { 26 } else { 40 }));
    }
    for (edge, label) in graph.edges.iter().zip(&labels) {
        let mut body = Body::new(&edge.id, measure(label, LABEL_SIZE) + 8, 16);
        body.ends = Some((edge.from, edge.to));
        bodies.push(body);
    }
    let (width, height) = bodies::place(&mut bodies, graph.nodes.len());
    let at =
        |body: &Body| Box { x: body.left() + MARGIN, y: body.top() + MARGIN, width: body.width, height: body.height };
    let boxes: Vec<Box> = bodies.iter().map(at).collect();
    let (of_nodes, of_edges) = boxes.split_at(graph.nodes.len());
    let nodes = of_nodes.iter().zip(names).map(|(at, (name, label))| PlacedNode { at: *at, name, label }).collect();
    let edge = |((edge, at), label): ((&crate::graph::Edge, &Box), String)| {
        let end = |index: usize| of_nodes.get(index).copied().unwrap_or(*at);
        let (path, arrow) = route::route(end(edge.from), *at, end(edge.to));
        PlacedEdge { path, arrow, at: *at, label }
    };
    let edges = graph.edges.iter().zip(of_edges).zip(labels).map(edge).collect();
    Layout { width: width + 2 * MARGIN, height: height + 2 * MARGIN, nodes, edges }
}

/// How wide a character is, in thousandths of its size: a guess that holds for the fonts of every system, rather too
/// wide than too narrow.
fn advance(c: char) -> i32 {
    match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 320,
        'f' | 't' | 'r' | ' ' | '(' | ')' | '[' | ']' | '/' | '-' | '"' => 420,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 960,
        'A'..='Z' | '&' | '_' | '+' | '=' | '<' | '>' | '~' | '#' => 720,
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{20}'..='\u{7e}' => 600,
        '\u{a0}'..='\u{10ff}' => 680,
        // Ideographs, kana, full-width letters, emoji and whatever else there is.
        _ => 1000,
    }
}

/// The width of a line of text in pixels.
fn measure(text: &str, size: i32) -> i32 {
    let thousandths: i32 = text.chars().map(advance).sum();
    (thousandths * size + 999) / 1000
}

/// A name cut to a width of so many letters `0`, with an ellipsis where something is missing.
fn shortened(name: &str, letters: i32) -> String {
    let most = letters * 600;
    let (mut cut, mut wide) = (0, 0);
    let name = name.trim();
    for (at, c) in name.char_indices() {
        wide += advance(c);
        if wide > most {
            return format!("{}…", name.get(..cut).unwrap_or("").trim_end());
        }
        // Room for the ellipsis.
        if wide + 1000 <= most || advance(c) == 0 {
            cut = at + c.len_utf8();
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Edge, Node};

    /// A graph of so many nodes with these edges.
    fn graph(nodes: usize, edges: &[(usize, usize)]) -> Graph {
        let node = |i: usize| Node {
            id: format!("n{i:016x}"),
            name: if i.is_multiple_of(3) { format!("阳光城集团{i}") } else { format!("Name of {i}") },
            label: if i.is_multiple_of(2) { "organization".into() } else { String::new() },
            kind: if i.is_multiple_of(5) { NodeKind::Event } else { NodeKind::Entity },
            aliases: vec![],
            origins: vec![],
            verdict: None,
            places: vec![],
        };
        let edge = |(i, (from, to)): (usize, &(usize, usize))| Edge {
            id: format!("e{i:016x}"),
            from: *from,
            to: *to,
            label: format!("relation {i}"),
            origins: vec![],
            verdict: None,
            places: vec![],
        };
        Graph { nodes: (0..nodes).map(node).collect(), edges: edges.iter().enumerate().map(edge).collect() }
    }

    fn nothing_overlaps(layout: &Layout) {
        let boxes: Vec<Box> = layout.nodes.iter().map(|n| n.at).chain(layout.edges.iter().map(|e| e.at)).collect();
        for (i, a) in boxes.iter().enumerate() {
            assert!(a.x >= 0 && a.y >= 0 && a.x + a.width <= layout.width && a.y + a.height <= layout.height, "{a:?}");
            for b in &boxes[i + 1..] {
                assert!(!a.overlaps(b), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn nodes_and_labels_never_overlap_and_lie_within_the_drawing() {
        let star: Vec<(usize, usize)> = (1..60).map(|i| (0, i)).collect();
        let ring: Vec<(usize, usize)> = (0..40).map(|i| (i, (i + 1) % 40)).collect();
        let dense: Vec<(usize, usize)> = (0..12).flat_map(|i| (0..12).map(move |j| (i, j))).collect();
        let many: Vec<(usize, usize)> = (0..400).map(|i| (i * 7 % 300, i * i * 13 % 300)).collect();
        for (nodes, edges) in [
            (0, vec![]),
            (1, vec![]),
            (1, vec![(0, 0), (0, 0)]),
            (2, vec![(0, 1), (1, 0), (0, 1)]),
            (50, vec![]),
            (60, star),
            (45, ring),
            (12, dense),
            (300, many),
            (60, (0..3000).map(|i| (i % 60, i / 60)).collect()),
        ] {
            let graph = graph(nodes, &edges);
            let layout = layout(&graph);
            assert_eq!((layout.nodes.len(), layout.edges.len()), (nodes, edges.len()));
            nothing_overlaps(&layout);
        }
    }

    #[test]
    fn a_picture_is_the_same_every_time_and_on_every_machine() {
        let graph = graph(7, &[(0, 1), (1, 2), (2, 0), (3, 4), (4, 4)]);
        let drawn = layout(&graph);
        assert_eq!(layout(&graph), drawn);
        let places: Vec<(i32, i32)> = drawn.nodes.iter().map(|n| (n.at.x, n.at.y)).collect();
        assert_eq!(places, [(199, 93), (67, 16), (29, 132), (267, 202), (94, 240), (139, 304), (16, 304)]);
        assert_eq!(drawn.edges[0].path, "M249.1 93 Q233.7 31.2 162 26.7");
    }

    #[test]
    fn what_an_edge_joins_lies_nearer_than_what_it_does_not() {
        let graph = graph(12, &(0..11).map(|i| (i, i + 1)).collect::<Vec<_>>());
        let drawn = layout(&graph);
        let far = |a: usize, b: usize| {
            let ((ax, ay), (bx, by)) = (drawn.nodes[a].at.center(), drawn.nodes[b].at.center());
            (ax - bx).pow(2) + (ay - by).pow(2)
        };
        for i in 0..8 {
            assert!(far(i, i + 1) < far(i, i + 3), "a chain is not folded: {i}");
        }
    }

    #[test]
    fn names_are_shortened_to_what_fits() {
        for (name, letters, expected) in [
            ("Ada", 10, "Ada"),
            (" Ada ", 10, "Ada"),
            ("北京大学人民医院", 6, "北京…"),
            ("a long name of a place", 8, "a long…"),
            ("", 5, ""),
        ] {
            assert_eq!(shortened(name, letters), expected);
            assert!(measure(&shortened(name, letters), 10) <= letters * 6);
        }
    }
}
