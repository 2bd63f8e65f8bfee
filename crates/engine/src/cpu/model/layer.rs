//! A layer, as steps that all threads share.
//!
//! In each step threads write different rows, or different columns of them. Whoever makes the input of a matrix also
//! rounds it to bytes: it is in that processor's cache.
#![allow(unsafe_code)]

use checkpoint::Projection;

use super::{
    super::{
        attention::{self, History, PIECE, Query},
        factors::Factors,
        kernels::{self, Target},
        pack::{BLOCK, TILE},
        rows::Rows,
        team::Parts,
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

        // Queries, keys, values.
        {
            let how = Normalizing { isa, x: &b.x, weight: &l.attention_norm, epsilon: config.norm_epsilon };
            let input = Normalized::new(&mut self.team, how, (&factors, &QKV), count, &mut b.normed, &mut b.z);
            let tiles: Vec<usize> = QKV.iter().map(|p| l.projections[*p as usize].tiles()).collect();
            let out = Parts::new(&mut b.qkv);
            self.team.split(tiles.iter().sum(), &|thread, range| {
                // SAFETY: what an earlier piece used is done with.
                let (normed, z) = unsafe { input.of(thread) };
                let (mut first, mut at) = (0, 0);
                for (i, projection) in QKV.into_iter().enumerate() {
                    let part = range.start.max(first)..range.end.min(first + tiles[i]);
                    if !part.is_empty() {
                        let m = factors.linear(l, projection, z, i);
                        let target = Target { out, stride: width, at, add: false };
                        kernels::linear(isa, m, normed, count, part.start - first..part.end - first, target);
                    }
                    first += tiles[i];
                    at += l.projections[projection as usize].rows;
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
            let threads = self.team.threads();
            let scratch = b.scores.len() / threads;
            let (attended, scores) = (b.attended.parts(), Parts::new(&mut b.scores));
            self.team.split(threads, &|thread, range| {
                // SAFETY: each thread has its own scratch.
                let scores = unsafe { scores.part(thread * scratch, scratch) };
                // Later rows look at more: neighbouring items go to different threads.
                for item in range.flat_map(|first| (first..rows.blocks.len() * config.kv_heads).step_by(threads)) {
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
                    let history = History {
                        pieces: &rows.caches[rows.segments[block.start]].0,
                        half: self.half_cache,
                        from: (layer * config.kv_heads + kv_head) * PIECE * d,
                        head_size: d,
                    };
                    attention::attend(isa, &mut queries, &history, scores);
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
        self.team.split(l.projections[Projection::O as usize].tiles(), &|thread, range| {
            // SAFETY: what an earlier piece used is done with.
            let m = factors.linear(l, Projection::O, unsafe { z.of(thread) }, 0);
            kernels::linear(isa, m, attended, count, range, Target { out, stride: config.hidden, at: 0, add: true });
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
            self.team.split(tiles.div_ceil(BLOCK / TILE), &|thread, blocks| {
                // SAFETY: what an earlier piece used is done with.
                let (normed, z) = unsafe { input.of(thread) };
                let gate = factors.linear(l, Projection::Gate, z, 0);
                let up = factors.linear(l, Projection::Up, z, 1);
                // A few blocks at a time are still in the cache when they are rounded.
                for first in blocks.clone().step_by(SOME) {
                    let columns = first * BLOCK..config.feed_forward.min(blocks.end.min(first + SOME) * BLOCK);
                    let range = columns.start / TILE..columns.end.div_ceil(TILE);
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
        self.team.split(l.projections[Projection::Down as usize].tiles(), &|thread, range| {
            // SAFETY: what an earlier piece used is done with.
            let m = factors.linear(l, Projection::Down, unsafe { z.of(thread) }, 0);
            kernels::linear(isa, m, hidden, count, range, Target { out, stride: config.hidden, at: 0, add: true });
        });
    }
}
