//! Bodies in the plane: nodes, and the labels of edges between them.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A rectangle that wants a place.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// Where the search for its place begins follows from this.
    seed: u64,
    pub(super) width: i32,
    pub(super) height: i32,
    /// Of an edge's label: the nodes it lies between.
    pub(super) ends: Option<(usize, usize)>,
    x: f64,
    y: f64,
}

impl Body {
    pub(super) fn new(id: &str, width: i32, height: i32) -> Self {
        let seed = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self { seed, width, height, ends: None, x: 0.0, y: 0.0 }
    }

    pub(super) fn left(&self) -> i32 {
        self.x as i32 - self.width / 2
    }

    pub(super) fn top(&self) -> i32 {
        self.y as i32 - self.height / 2
    }

    /// From -1 to 1.
    fn jitter(&self, salt: u64) -> f64 {
        let mut z = self.seed.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z >> 44) as f64) / f64::from(1 << 19) - 1.0
    }
}

/// Least space between two bodies.
const GAP: f64 = 8.0;
/// Between the parts of a drawing that no edge joins.
const BETWEEN: i32 = 24;
/// How often every body is moved to where its distances want it.
const ROUNDS: usize = 80;

/// More bodies than this in one piece are a tangle whatever is done, and time and memory grow with their square: they are
/// put in rows.
const MOST_JOINED: usize = 1500;

/// Gives every body its place, the first `nodes` of which are nodes; tells width and height of the whole.
pub(super) fn place(bodies: &mut [Body], nodes: usize) -> (i32, i32) {
    let neighbours = neighbours(bodies, nodes);
    let mut parts = components(&neighbours);
    for part in &parts {
        let mut own: Vec<Body> = part.iter().filter_map(|i| bodies.get(*i).cloned()).collect();
        if own.len() > MOST_JOINED {
            in_rows(&mut own);
        } else {
            let distances = distances(part, &neighbours, bodies);
            begin(&mut own, &distances);
            majorize(&mut own, &distances);
        }
        pull_apart(&mut own);
        for (index, body) in part.iter().zip(own) {
            if let Some(slot) = bodies.get_mut(*index) {
                *slot = body;
            }
        }
    }
    pack(bodies, &mut parts)
}

/// Places in rows, as wide apart as the widest body.
fn in_rows(bodies: &mut [Body]) {
    let (wide, high) = bodies.iter().fold((0, 0), |(w, h), b| (b.width.max(w), b.height.max(h)));
    let columns = (bodies.len() as f64 / 2.0).sqrt().max(1.0) as usize;
    for (index, body) in bodies.iter_mut().enumerate() {
        body.x = (index % columns) as f64 * (f64::from(wide) + 2.0 * GAP);
        body.y = (index / columns) as f64 * (f64::from(high) + 2.0 * GAP);
    }
}

/// For each body those it is drawn towards.
fn neighbours(bodies: &[Body], nodes: usize) -> Vec<Vec<usize>> {
    let mut neighbours = vec![Vec::new(); bodies.len()];
    for (label, body) in bodies.iter().enumerate() {
        let Some((from, to)) = body.ends else { continue };
        for end in [from, to] {
            if end < nodes && !neighbours.get(label).is_some_and(|n: &Vec<usize>| n.contains(&end)) {
                if let Some(of) = neighbours.get_mut(label) {
                    of.push(end);
                }
                if let Some(of) = neighbours.get_mut(end) {
                    of.push(label);
                }
            }
        }
    }
    neighbours
}

/// The bodies that edges join, each part sorted.
fn components(neighbours: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut seen = vec![false; neighbours.len()];
    let mut parts = Vec::new();
    for start in 0..neighbours.len() {
        let mut part = Vec::new();
        let mut waiting = vec![start];
        while let Some(next) = waiting.pop() {
            match seen.get_mut(next) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            part.push(next);
            waiting.extend(neighbours.get(next).into_iter().flatten());
        }
        if !part.is_empty() {
            part.sort_unstable();
            parts.push(part);
        }
    }
    parts
}

/// Wanted distances between the bodies of a part, as a square.
struct Distances {
    count: usize,
    wanted: Vec<f64>,
}

impl Distances {
    fn of(&self, a: usize, b: usize) -> f64 {
        self.wanted.get(a * self.count + b).copied().unwrap_or(1.0)
    }
}

/// Shortest ways along edges, each step as long as the two bodies need.
fn distances(part: &[usize], neighbours: &[Vec<usize>], bodies: &[Body]) -> Distances {
    let count = part.len();
    let mut wanted = vec![0.0; count * count];
    let reach = |i: usize| bodies.get(i).map_or(0.0, |b| f64::from(b.width) * 0.42 + f64::from(b.height) * 0.25);
    let local: Vec<Vec<(usize, f64)>> = part
        .iter()
        .map(|i| {
            // A node with many edges needs a longer way round it.
            let crowd = |i: usize| neighbours.get(i).map_or(0.0, |n| (n.len().saturating_sub(4) as f64).sqrt() * 16.0);
            let of = neighbours.get(*i).into_iter().flatten();
            of.filter_map(|n| Some((part.binary_search(n).ok()?, reach(*i) + reach(*n) + 14.0 + crowd(*i) + crowd(*n))))
                .collect()
        })
        .collect();
    // Dijkstra from every body. Ways are never negative, so their bits are in the same order as they are.
    let mut border: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    for (start, known) in wanted.chunks_exact_mut(count.max(1)).enumerate() {
        known.fill(f64::MAX);
        known[start] = 0.0;
        border.push(Reverse((0, start)));
        while let Some(Reverse((bits, at))) = border.pop() {
            let so_far = f64::from_bits(bits);
            if known.get(at).is_none_or(|known| *known < so_far) {
                continue;
            }
            for (next, step) in local.get(at).into_iter().flatten() {
                if let Some(known) = known.get_mut(*next).filter(|known| so_far + step < **known) {
                    *known = so_far + step;
                    border.push(Reverse((known.to_bits(), *next)));
                }
            }
        }
    }
    Distances { count, wanted }
}

/// First places: how far a body is from two that are far from each other, and from a third that is far from both.
fn begin(bodies: &mut [Body], distances: &Distances) {
    let count = bodies.len();
    let farthest = |from: &dyn Fn(usize) -> f64| (0..count).max_by(|a, b| from(*a).total_cmp(&from(*b))).unwrap_or(0);
    let a = farthest(&|i| distances.of(0, i));
    let b = farthest(&|i| distances.of(a, i));
    let c = farthest(&|i| distances.of(a, i).min(distances.of(b, i)));
    let middle = (distances.of(a, c) + distances.of(b, c)) / 2.0;
    for (i, body) in bodies.iter_mut().enumerate() {
        body.x = (distances.of(a, i) - distances.of(b, i)) * 0.7 + body.jitter(1) * 12.0;
        body.y = (middle - distances.of(c, i)) * 0.7 + body.jitter(2) * 40.0;
    }
}

/// Moves each body to where its distances to all others want it, again and again.
fn majorize(bodies: &mut [Body], distances: &Distances) {
    let count = bodies.len();
    let mut places: Vec<(f64, f64)> = bodies.iter().map(|b| (b.x, b.y)).collect();
    // How strongly each pulls at another: the nearer it wants to be, the more.
    let pulls: Vec<f64> = distances.wanted.iter().map(|wanted| 1.0 / wanted.max(1.0)).collect();
    for _ in 0..ROUNDS {
        for (i, pulls) in pulls.chunks_exact(count.max(1)).enumerate() {
            let Some((x, y)) = places.get(i).copied() else { continue };
            let (mut sum_x, mut sum_y, mut weights) = (0.0, 0.0, 0.0);
            for (j, ((ox, oy), pull)) in places.iter().zip(pulls).enumerate() {
                if i == j {
                    continue;
                }
                let weight = pull * pull;
                let (dx, dy) = (x - ox, y - oy);
                let far = (dx * dx + dy * dy).sqrt();
                let push = if far > 1e-6 { pull / far } else { 0.0 };
                sum_x += weight * ox + push * dx;
                sum_y += weight * oy + push * dy;
                weights += weight;
            }
            if let (Some(place), true) = (places.get_mut(i), weights > 0.0) {
                *place = (sum_x / weights, sum_y / weights);
            }
        }
    }
    // Bodies are wider than high: what is above one another needs less room than what is side by side.
    for (body, (x, y)) in bodies.iter_mut().zip(places) {
        (body.x, body.y) = (x, y * 0.7);
    }
}

/// Pushes bodies apart until no two overlap; where that does not end, everything moves outward first.
fn pull_apart(bodies: &mut [Body]) {
    for round in 0..400 {
        if !push(bodies) {
            break;
        }
        if round % 20 == 19 {
            for body in bodies.iter_mut() {
                body.x *= 1.08;
                body.y *= 1.12;
            }
        }
    }
    // Whole pixels, and whatever rounding has brought together.
    for body in bodies.iter_mut() {
        (body.x, body.y) = (body.x.round(), body.y.round());
    }
    settle(bodies);
}

/// One round of pushing; whether there was anything to push.
fn push(bodies: &mut [Body]) -> bool {
    let mut order: Vec<usize> = (0..bodies.len()).collect();
    let left = |i: &usize| bodies.get(*i).map_or(0.0, |b| b.x - f64::from(b.width) / 2.0);
    order.sort_by(|a, b| left(a).total_cmp(&left(b)).then(a.cmp(b)));
    let mut pushed = false;
    for (at, i) in order.iter().enumerate() {
        for j in order.iter().skip(at + 1) {
            let (Some(a), Some(b)) = (bodies.get(*i), bodies.get(*j)) else { continue };
            let wide = f64::from(a.width + b.width) / 2.0 + GAP;
            let high = f64::from(a.height + b.height) / 2.0 + GAP;
            let (dx, dy) = (b.x - a.x, b.y - a.y);
            if b.x - f64::from(b.width) / 2.0 > a.x + f64::from(a.width) / 2.0 + GAP + 200.0 {
                // Pushes of this round move nothing that far.
                break;
            }
            let (over_x, over_y) = (wide - dx.abs(), high - dy.abs());
            if over_x <= 0.001 || over_y <= 0.001 {
                continue;
            }
            pushed = true;
            let away = |d: f64, other: &Body| if d == 0.0 { other.jitter(3).signum() } else { d.signum() };
            let (mx, my) =
                if over_y <= over_x { (0.0, over_y / 2.0 * away(dy, b)) } else { (over_x / 2.0 * away(dx, b), 0.0) };
            for (index, sign) in [(*i, -1.0), (*j, 1.0)] {
                if let Some(body) = bodies.get_mut(index) {
                    body.x += mx * sign;
                    body.y += my * sign;
                }
            }
        }
    }
    pushed
}

/// Moves bodies that still overlap an earlier one down until they do not: this always ends.
fn settle(bodies: &mut [Body]) {
    let mut order: Vec<usize> = (0..bodies.len()).collect();
    let top = |i: &usize| bodies.get(*i).map_or(0.0, |b| b.y - f64::from(b.height) / 2.0);
    order.sort_by(|a, b| top(a).total_cmp(&top(b)).then(a.cmp(b)));
    let mut placed: Vec<(f64, f64, i32, i32)> = Vec::new();
    for index in order {
        let Some(body) = bodies.get_mut(index) else { continue };
        while let Some(under) = placed.iter().find_map(|(x, y, width, height)| {
            let over_x = f64::from(body.width + width) / 2.0 + 2.0 - (body.x - x).abs();
            let over_y = f64::from(body.height + height) / 2.0 + 2.0 - (body.y - y).abs();
            (over_x > 0.0 && over_y > 0.0).then(|| y + f64::from((body.height + height + 1) / 2) + 2.0)
        }) {
            body.y = under;
        }
        placed.push((body.x, body.y, body.width, body.height));
    }
}

/// Puts the parts side by side, the largest first, in rows; tells width and height of all of them.
fn pack(bodies: &mut [Body], parts: &mut [Vec<usize>]) -> (i32, i32) {
    let frame = |part: &[usize], bodies: &[Body]| {
        let own = || part.iter().filter_map(|i| bodies.get(*i));
        let left = own().map(Body::left).min().unwrap_or(0);
        let top = own().map(Body::top).min().unwrap_or(0);
        let right = own().map(|b| b.left() + b.width).max().unwrap_or(0);
        let bottom = own().map(|b| b.top() + b.height).max().unwrap_or(0);
        (left, top, right - left, bottom - top)
    };
    parts.sort_by_key(|part| {
        let (_, _, width, height) = frame(part, bodies);
        (Reverse(part.len()), Reverse(height), Reverse(width), part.first().copied())
    });
    let frames: Vec<_> = parts.iter().map(|part| frame(part, bodies)).collect();
    let area: f64 = frames.iter().map(|(_, _, w, h)| f64::from(w + BETWEEN) * f64::from(h + BETWEEN)).sum();
    let widest = frames.iter().map(|(_, _, w, _)| *w).max().unwrap_or(0);
    // Wider than high, as screens are.
    let limit = widest.max((area * 1.7).sqrt() as i32);
    let (mut x, mut y, mut row, mut width) = (0, 0, 0, 0);
    for (part, (left, top, wide, high)) in parts.iter().zip(frames) {
        if x > 0 && x + wide > limit {
            (x, y, row) = (0, y + row + BETWEEN, 0);
        }
        for index in part {
            if let Some(body) = bodies.get_mut(*index) {
                body.x += f64::from(x - left);
                body.y += f64::from(y - top);
            }
        }
        width = width.max(x + wide);
        row = row.max(high);
        x += wide + BETWEEN;
    }
    (width, y + row)
}
