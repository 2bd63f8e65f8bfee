//! The line of an edge: from the border of one node past the edge's label to the border of the other.

use super::Box;

type Point = (f64, f64);

/// The line and its arrowhead, as SVG path data.
pub(super) fn route(from: Box, label: Box, to: Box) -> (String, String) {
    let (start, middle, end) = (middle(from), middle(label), middle(to));
    if from == to {
        return loop_of(from, start, middle);
    }
    // A curve through the label.
    let bend = (2.0 * middle.0 - (start.0 + end.0) / 2.0, 2.0 * middle.1 - (start.1 + end.1) / 2.0);
    let curve = [start, bend, end];
    let leaves = border(&curve, from, false);
    let arrives = border(&curve, to, true);
    let [start, bend, end] = part(&curve, leaves, arrives.max(leaves));
    let head = arrow(bend, end);
    (format!("M{} Q{} {}", shown(start), shown(bend), shown(end)), head)
}

/// An edge from a node to itself: out on one side of the label, back on the other.
fn loop_of(node: Box, center: Point, label: Point) -> (String, String) {
    let (dx, dy) = (label.0 - center.0, label.1 - center.1);
    let far = (dx * dx + dy * dy).sqrt().max(1.0);
    let (across_x, across_y) = (-dy / far * 22.0, dx / far * 22.0);
    let side = |sign: f64| (label.0 + across_x * sign, label.1 + across_y * sign);
    let out = border(&[center, middle_of(center, side(1.0)), side(1.0)], node, false);
    let back = border(&[side(-1.0), middle_of(center, side(-1.0)), center], node, true);
    let start = at(&[center, middle_of(center, side(1.0)), side(1.0)], out);
    let end = at(&[side(-1.0), middle_of(center, side(-1.0)), center], back);
    let head = arrow(side(-1.0), end);
    (format!("M{} C{} {} {}", shown(start), shown(side(1.4)), shown(side(-1.4)), shown(end)), head)
}

fn middle(of: Box) -> Point {
    (f64::from(of.x) + f64::from(of.width) / 2.0, f64::from(of.y) + f64::from(of.height) / 2.0)
}

fn middle_of(a: Point, b: Point) -> Point {
    ((a.0 + b.0) / 2.0, (a.1 + b.1) / 2.0)
}

fn between(a: Point, b: Point, t: f64) -> Point {
    (a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t)
}

/// The point of a curve at `t`, 0 to 1.
fn at(curve: &[Point; 3], t: f64) -> Point {
    let [a, b, c] = *curve;
    between(between(a, b, t), between(b, c, t), t)
}

/// Where a curve crosses a node's border: the last time, seen from the end that lies in the node.
fn border(curve: &[Point; 3], node: Box, arrives: bool) -> f64 {
    let inside = |t: f64| {
        let (x, y) = at(curve, if arrives { 1.0 - t } else { t });
        let (left, top) = (f64::from(node.x), f64::from(node.y));
        (left..=left + f64::from(node.width)).contains(&x) && (top..=top + f64::from(node.height)).contains(&y)
    };
    let (mut low, mut high) = (0.0, 0.5);
    for _ in 0..24 {
        let half = (low + high) / 2.0;
        if inside(half) { low = half } else { high = half }
    }
    if arrives { 1.0 - high } else { high }
}

/// The part of a curve from `t` to `u`.
fn part(curve: &[Point; 3], t: f64, u: f64) -> [Point; 3] {
    let [a, b, c] = *curve;
    let bend = between(between(a, b, t), between(b, c, t), u);
    [at(curve, t), bend, at(curve, u)]
}

/// A triangle that points from `before` to `tip`.
fn arrow(before: Point, tip: Point) -> String {
    let (dx, dy) = (tip.0 - before.0, tip.1 - before.1);
    let far = (dx * dx + dy * dy).sqrt();
    let (dx, dy) = if far > 1e-6 { (dx / far, dy / far) } else { (0.0, 1.0) };
    let back = (tip.0 - dx * 8.0, tip.1 - dy * 8.0);
    let one = (back.0 - dy * 3.5, back.1 + dx * 3.5);
    let two = (back.0 + dy * 3.5, back.1 - dx * 3.5);
    format!("M{} L{} L{} Z", shown(tip), shown(one), shown(two))
}

/// Tenths of a pixel: more cannot be seen, and less differs between machines.
fn shown((x, y): Point) -> String {
    let tenths = |value: f64| {
        let tenths = (value * 10.0).round() as i64;
        let (whole, rest) = (tenths.abs() / 10, tenths.abs() % 10);
        let sign = if tenths < 0 { "-" } else { "" };
        if rest == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
    };
    format!("{} {}", tenths(x), tenths(y))
}
