//! A layer, as steps that all threads share.
//!
//! In each step threads write different rows, or different columns of them. Whoever makes the input of a matrix also
//! rounds it to bytes: it is in that processor's cache.
#![allow(unsafe_code)]

use checkpoint::Projection;

use super::{
    super::{
        attention::{self, History, PIECE, Query},
        beside::Beside,
        factors::Factors,
        kernels::{self, Target},
        pack::{BLOCK, TILE},
        rows::Rows,
        team::Parts,
        tiles::Soon,
    },
    CpuModel,
    input::{FEW, Narrowed, Normalized, Normalizing},
    placing::Placing,
    qkv_width,
};

/// Blocks of the feed-forward network's columns that are made and rounded at a time.
const SOME: usize = 4;

const QKV: [Projection; 3] = [Projection::Q, Projection::K, Projection::V];

impl CpuModel {
    /// Adds to the stream what the rows see of their runs.
    pub(super) fn attention(&mut self, layer: usize, rows: &Rows) {
        let (isa, config, count) = (self.isa, &self.config, rows.count());
        let l = &self.layers[layer];
        let b = &mut self.buffers;
        let (d, width) = (config.head_size, qkv_width(config));
        let group = config.heads / config.kv_heads;
        let factors = Factors::of(&self.adapters, self.rank, layer, rows);

        let apart = rows.apart();
        let histories = Histories { rows, apart, half: self.half_cache, layer, heads: config.kv_heads, head_size: d };
        let threads = self.team.threads();

        // Queries, keys, values.
        {
            let how = Normalizing { isa, x: &b.x, weight: &l.attention_norm, epsilon: config.norm_epsilon };
            let input = Normalized::new(&mut self.team, how, (&factors, &QKV), count, &mut b.normed, &mut b.z);
            let matrices = Beside(QKV.map(|p| &l.projections[p as usize]));
            let (all, out) = (matrices.tiles(), Parts::new(&mut b.qkv));
            self.team.split(all, &|thread, range| {
                let (mut next, end) = (range.start, range.end);
                let after = histories.piece(range.start * threads / all, threads).next();
                let after = after.map_or(Soon::NOTHING, |item| histories.of(item).keys());
                // SAFETY: what an earlier piece used is done with.
                let (normed, z) = unsafe { input.of(thread, matrices.soon(next)) };
                for (i, tiles) in matrices.parts(range) {
                    next += tiles.len();
                    let m = factors.linear(l, QKV[i], z, i, if next < end { matrices.soon(next) } else { after });
                    let at = matrices.0[..i].iter().map(|before| before.rows).sum();
                    let target = Target { out, stride: width, at, add: false };
                    kernels::linear(isa, m, normed, count, tiles, target);
                }
                after
            });
        }

        // Each row's queries, keys and values take their place; then attention, of what looks at the same keys together.
        // Where each row is of another run, nobody needs what another thread places.
        {
            let out = Parts::new(&mut b.qkv);
            let placing =
                Placing { isa, config, layer: l, index: layer, rows, turns: &self.turns, half: self.half_cache };
            if !apart {
                self.team.split(count, &|_, range| {
                    for row in range {
                        for kv_head in 0..config.kv_heads {
                            // SAFETY: the ranges do not overlap.
                            unsafe { placing.place(row, kv_head, out) };
                        }
                    }
                    Soon::NOTHING
                });
            }
            let scratch = b.scores.len() / threads;
            let (attended, scores) = (b.attended.parts(), Parts::new(&mut b.scores));
            self.team.split(threads, &|thread, range| {
                // SAFETY: each thread has its own scratch.
                let scores = unsafe { scores.part(thread * scratch, scratch) };
                let after = factors.first_read((&self.layers, layer), [Projection::O], (range.start, threads));
                let mut items = range.flat_map(|piece| histories.piece(piece, threads)).peekable();
                while let Some(item) = items.next() {
                    let (block, kv_head) = (&rows.blocks[item / config.kv_heads], item % config.kv_heads);
                    let heads = kv_head * group..(kv_head + 1) * group;
                    let mut queries: Vec<Query<'_>> = Vec::with_capacity(block.len() * group);
                    for row in block.clone() {
                        // SAFETY: these heads of this row belong to this item only.
                        unsafe {
                            if apart {
                                placing.place(row, kv_head, out);
                            }
                            queries.extend(heads.clone().map(|head| Query {
                                numbers: out.part(row * width + head * d, d),
                                from: config.sees_from(layer, rows.positions[row]),
                                to: rows.positions[row] + 1,
                                out: attended.head(row, head * d, d),
                            }));
                        }
                    }
                    let then = items.peek().map_or(after, |next| histories.of(*next).keys());
                    attention::attend(isa, &mut queries, &histories.of(item), then, scores);
                    if (group * d).is_multiple_of(BLOCK) {
                        for row in block.clone() {
                            // SAFETY: as above.
                            unsafe { attended.quantize_columns(isa, row, heads.start * d..heads.end * d) };
                        }
                    }
                }
                after
            });
            if !(group * d).is_multiple_of(BLOCK) {
                self.team.split(count, &|_, range| {
                    for row in range {
                        // SAFETY: the ranges do not overlap.
                        unsafe { attended.quantize(isa, row) };
                    }
                    Soon::NOTHING
                });
            }
        }

        // Back into the stream.
        let of = (&factors, Projection::O);
        let z = Narrowed::new(&mut self.team, isa, of, count, &b.attended, &mut b.z);
        let (attended, out) = (&b.attended, Parts::new(&mut b.x));
        let target = Target { out, stride: config.hidden, at: 0, add: true };
        let matrix = &l.projections[Projection::O as usize];
        self.team.split(matrix.tiles(), &|thread, range| {
            let then = factors.first_read((&self.layers, layer), [Projection::Gate], (range.start, matrix.tiles()));
            // SAFETY: what an earlier piece used is done with.
            let z = unsafe { z.of(thread, Soon::of(matrix.tile(range.start))) };
            let m = factors.linear(l, Projection::O, z, 0, then);
            kernels::linear(isa, m, attended, count, range, target);
            then
        });
    }

    /// Adds to the stream what the feed-forward network makes of it.
    pub(super) fn feed_forward(&mut self, layer: usize, rows: &Rows) {
        let (isa, config, count) = (self.isa, &self.config, rows.count());
        let l = &self.layers[layer];
        let b = &mut self.buffers;
        let factors = Factors::of(&self.adapters, self.rank, layer, rows);
        {
            let how = Normalizing { isa, x: &b.x, weight: &l.feed_forward_norm, epsilon: config.norm_epsilon };
            let of = (&factors, &[Projection::Gate, Projection::Up][..]);
            let input = Normalized::new(&mut self.team, how, of, count, &mut b.normed, &mut b.z);
            let hidden = b.hidden.parts();
            let target = Target { out: hidden.numbers(), stride: config.feed_forward, at: 0, add: false };
            let tiles = l.projections[Projection::Gate as usize].tiles();
            // Two tiles have the columns of a block. An odd one at the end belongs to no block, and then no matrix asks
            // for bytes.
            let all = tiles.div_ceil(BLOCK / TILE);
            self.team.split(all, &|thread, blocks| {
                let [gate, up] = [Projection::Gate, Projection::Up].map(|p| &l.projections[p as usize]);
                // SAFETY: what an earlier piece used is done with.
                let (normed, z) = unsafe { input.of(thread, Soon::of(gate.tile(blocks.start * BLOCK / TILE))) };
                let after = factors.first_read((&self.layers, layer), [Projection::Down], (blocks.start, all));
                // Of many rows, a few blocks at a time are still in the cache when they are rounded.
                let some = if count > FEW { SOME } else { blocks.len() };
                for first in blocks.clone().step_by(some) {
                    let columns = first * BLOCK..config.feed_forward.min(blocks.end.min(first + some) * BLOCK);
                    let range = columns.start / TILE..columns.end.div_ceil(TILE);
                    let (then_gate, then_up) = if range.end < tiles.min(blocks.end * BLOCK / TILE) {
                        (Soon::of(gate.tile(range.end)), Soon::of(up.tile(range.end)))
                    } else {
                        (after, Soon::NOTHING)
                    };
                    let gate = factors.linear(l, Projection::Gate, z, 0, then_gate);
                    let up = factors.linear(l, Projection::Up, z, 1, then_up);
                    kernels::gated(isa, gate, up, normed, count, range, target);
                    for row in 0..count {
                        // SAFETY: these columns were just written by this thread.
                        unsafe { hidden.quantize_columns(isa, row, columns.clone()) };
                    }
                }
                after
            });
        }
        let of = (&factors, Projection::Down);
        let z = Narrowed::new(&mut self.team, isa, of, count, &b.hidden, &mut b.z);
        let (hidden, out) = (&b.hidden, Parts::new(&mut b.x));
        let target = Target { out, stride: config.hidden, at: 0, add: true };
        let matrix = &l.projections[Projection::Down as usize];
        self.team.split(matrix.tiles(), &|thread, range| {
            let then = if layer + 1 < self.layers.len() {
                factors.first_read((&self.layers, layer + 1), QKV, (range.start, matrix.tiles()))
            } else {
                Beside([&self.head]).start(range.start, matrix.tiles())
            };
            // SAFETY: what an earlier piece used is done with.
            let z = unsafe { z.of(thread, Soon::of(matrix.tile(range.start))) };
            let m = factors.linear(l, Projection::Down, z, 0, then);
            kernels::linear(isa, m, hidden, count, range, target);
            then
        });
    }
}

/// The keys and values that a layer's rows look at, by block of rows and head.
#[derive(Clone, Copy)]
struct Histories<'a> {
    rows: &'a Rows,
    /// Whether each row is of another run.
    apart: bool,
    half: bool,
    layer: usize,
    /// Heads of keys and values.
    heads: usize,
    head_size: usize,
}

impl<'a> Histories<'a> {
    fn count(&self) -> usize {
        self.rows.blocks.len() * self.heads
    }

    fn of(&self, item: usize) -> History<'a> {
        let (block, head) = (&self.rows.blocks[item / self.heads], item % self.heads);
        History {
            pieces: &self.rows.caches[self.rows.segments[block.start]].0,
            half: self.half,
            from: (self.layer * self.heads + head) * PIECE * self.head_size,
            head_size: self.head_size,
            // Neighbouring rows of a prompt find them in the processor's cache.
            far: block.len() == 1,
        }
    }

    /// The items of a piece, of `of`. Later rows of a run look at more: there neighbouring items are of different pieces.
    /// Otherwise they lie next to each other.
    fn piece(&self, piece: usize, of: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.count();
        if self.apart { (count * piece / of..count * (piece + 1) / of).step_by(1) } else { (piece..count).step_by(of) }
    }
}
