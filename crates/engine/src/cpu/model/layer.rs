//! A layer, as steps that all threads share.
//!
//! In each step threads write different rows, or different columns of them. Whoever makes the input of a matrix also
//! rounds it to bytes: it is in that processor's cache.
#![allow(unsafe_code)]

use std::ops::Range;

use checkpoint::Projection;

use super::{
    super::{
        attention::{self, History, PIECE, Query},
        factors::{Factors, start},
        kernels::{self, Target},
        pack::{BLOCK, Packed, TILE},
        rows::Rows,
        team::Parts,
        tiles::Soon,
    },
    CpuModel,
    input::{Narrowed, Normalized, Normalizing},
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

        let histories = Histories { rows, half: self.half_cache, layer, heads: config.kv_heads, head_size: d };
        let threads = self.team.threads();

        // Queries, keys, values.
        {
            let how = Normalizing { isa, x: &b.x, weight: &l.attention_norm, epsilon: config.norm_epsilon };
            let input = Normalized::new(&mut self.team, how, (&factors, &QKV), count, &mut b.normed, &mut b.z);
            let matrices = QKV.map(|p| &l.projections[p as usize]);
            let out = Parts::new(&mut b.qkv);
            let all = matrices.iter().map(|m| m.tiles()).sum();
            self.team.split(all, &|thread, range| {
                // Probably this thread's first: see below.
                let then = histories.keys(range.start * threads / all).unwrap_or(Soon::NOTHING);
                let parts: Vec<_> = side_by_side(matrices, range).collect();
                let read = |part: usize| parts.get(part).map(|(i, tiles)| Soon::of(matrices[*i].tile(tiles.start)));
                // SAFETY: what an earlier piece used is done with.
                let (normed, z) = unsafe { input.of(thread, read(0).unwrap_or(then)) };
                for (part, (i, tiles)) in parts.iter().enumerate() {
                    let m = factors.linear(l, QKV[*i], z, *i, read(part + 1).unwrap_or(then));
                    let at = matrices[..*i].iter().map(|before| before.rows).sum();
                    let target = Target { out, stride: width, at, add: false };
                    kernels::linear(isa, m, normed, count, tiles.clone(), target);
                }
            });
        }

        // Each row's queries, keys and values take their place; then attention, of what looks at the same keys together.
        // Where each row is of another run, nobody needs what another thread places.
        {
            let out = Parts::new(&mut b.qkv);
            let placing =
                Placing { isa, config, layer: l, index: layer, rows, turns: &self.turns, half: self.half_cache };
            let alone = rows.apart();
            if !alone {
                self.team.split(count, &|_, range| {
                    for row in range {
                        for kv_head in 0..config.kv_heads {
                            // SAFETY: the ranges do not overlap.
                            unsafe { placing.place(row, kv_head, out) };
                        }
                    }
                });
            }
            let scratch = b.scores.len() / threads;
            let (attended, scores) = (b.attended.parts(), Parts::new(&mut b.scores));
            self.team.split(threads, &|thread, range| {
                // SAFETY: each thread has its own scratch.
                let scores = unsafe { scores.part(thread * scratch, scratch) };
                // Later rows look at more: neighbouring items go to different threads.
                for item in range.flat_map(|first| (first..histories.count()).step_by(threads)) {
                    let (block, kv_head) = (&rows.blocks[item / config.kv_heads], item % config.kv_heads);
                    let heads = kv_head * group..(kv_head + 1) * group;
                    let mut queries: Vec<Query<'_>> = Vec::with_capacity(block.len() * group);
                    for row in block.clone() {
                        // SAFETY: these heads of this row belong to this item only.
                        unsafe {
                            if alone {
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
                    let after = || factors.first_read(&self.layers, layer, Projection::O, thread, threads);
                    let then = histories.keys(item + threads).unwrap_or_else(after);
                    attention::attend(isa, &mut queries, &histories.of(item), then, scores);
                    if (group * d).is_multiple_of(BLOCK) {
                        for row in block.clone() {
                            // SAFETY: as above.
                            unsafe { attended.quantize_columns(isa, row, heads.start * d..heads.end * d) };
                        }
                    }
                }
            });
            if !(group * d).is_multiple_of(BLOCK) {
                self.team.split(count, &|_, range| {
                    for row in range {
                        // SAFETY: the ranges do not overlap.
                        unsafe { attended.quantize(isa, row) };
                    }
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
            let then = factors.first_read(&self.layers, layer, Projection::Gate, range.start, matrix.tiles());
            // SAFETY: what an earlier piece used is done with.
            let z = unsafe { z.of(thread, Soon::of(matrix.tile(range.start))) };
            let m = factors.linear(l, Projection::O, z, 0, then);
            kernels::linear(isa, m, attended, count, range, target);
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
                // A few blocks at a time are still in the cache when they are rounded.
                for first in blocks.clone().step_by(SOME) {
                    let columns = first * BLOCK..config.feed_forward.min(blocks.end.min(first + SOME) * BLOCK);
                    let range = columns.start / TILE..columns.end.div_ceil(TILE);
                    let (then_gate, then_up) = if range.end < tiles.min(blocks.end * BLOCK / TILE) {
                        (Soon::of(gate.tile(range.end)), Soon::of(up.tile(range.end)))
                    } else {
                        (factors.first_read(&self.layers, layer, Projection::Down, blocks.start, all), Soon::NOTHING)
                    };
                    let gate = factors.linear(l, Projection::Gate, z, 0, then_gate);
                    let up = factors.linear(l, Projection::Up, z, 1, then_up);
                    kernels::gated(isa, gate, up, normed, count, range, target);
                    for row in 0..count {
                        // SAFETY: these columns were just written by this thread.
                        unsafe { hidden.quantize_columns(isa, row, columns.clone()) };
                    }
                }
            });
        }
        let of = (&factors, Projection::Down);
        let z = Narrowed::new(&mut self.team, isa, of, count, &b.hidden, &mut b.z);
        let (hidden, out) = (&b.hidden, Parts::new(&mut b.x));
        let target = Target { out, stride: config.hidden, at: 0, add: true };
        let matrix = &l.projections[Projection::Down as usize];
        self.team.split(matrix.tiles(), &|thread, range| {
            let then = if layer + 1 < self.layers.len() {
                factors.first_read(&self.layers, layer + 1, Projection::Q, range.start, matrix.tiles())
            } else {
                start(&self.head, range.start, matrix.tiles())
            };
            // SAFETY: what an earlier piece used is done with.
            let z = unsafe { z.of(thread, Soon::of(matrix.tile(range.start))) };
            let m = factors.linear(l, Projection::Down, z, 0, then);
            kernels::linear(isa, m, hidden, count, range, target);
        });
    }
}

/// The keys and values that a layer's rows look at, by block of rows and head.
#[derive(Clone, Copy)]
struct Histories<'a> {
    rows: &'a Rows,
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

    /// Where the keys begin, if there is such an item.
    fn keys(&self, item: usize) -> Option<Soon> {
        (item < self.count()).then(|| self.of(item).keys())
    }
}

/// Of matrices side by side, those that have some of a range of all their tiles, and which of their own these are.
fn side_by_side(matrices: [&Packed; 3], range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut first = 0;
    matrices.into_iter().enumerate().filter_map(move |(i, m)| {
        let own = first..first + m.tiles();
        first = own.end;
        let (from, to) = (range.start.max(own.start), range.end.min(own.end));
        (from < to).then(|| (i, from - own.start..to - own.start))
    })
}
