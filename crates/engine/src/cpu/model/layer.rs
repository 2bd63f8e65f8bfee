//! A layer, as steps that all threads share.
//!
//! In each step threads write different rows, or different columns of them. Whoever makes the input of a matrix also
//! rounds it to bytes: it is in that processor's cache.
#![allow(unsafe_code)]

use checkpoint::Projection;
use half::{f16, slice::HalfFloatSliceExt};

use super::{
    super::{
        attention::{self, History, PIECE, Query},
        factors::Factors,
        kernels::{self, Target},
        load::Layer,
        pack::{BLOCK, TILE},
        rows::Rows,
        simd::Isa,
        team::Parts,
    },
    CpuModel,
    input::{Narrowed, Normalized, Normalizing},
    qkv_width,
};
use crate::config::{MAX_HEAD, ModelConfig, Rotary};

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
                                length: rows.positions[row] + 1,
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
                let columns = blocks.start * BLOCK..config.feed_forward.min(blocks.end * BLOCK);
                let range = columns.start / TILE..columns.end.div_ceil(TILE);
                kernels::gated(isa, gate, up, normed, count, range, target);
                for row in 0..count {
                    // SAFETY: these columns were just written by this thread.
                    unsafe { hidden.quantize_columns(isa, row, columns.clone()) };
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

/// Turns queries and keys by their positions, and puts keys and values into caches.
struct Placing<'a> {
    isa: Isa,
    config: &'a ModelConfig,
    layer: &'a Layer,
    /// The layer's number.
    index: usize,
    rows: &'a Rows,
    /// Cosine and sine of each position's angles.
    turns: &'a [(f32, f32)],
    /// Whether keys and values are kept in half precision.
    half: bool,
}

impl Placing<'_> {
    /// Does it for a key/value head of a row, and for the queries that look at it. `qkv`: of all rows.
    ///
    /// # Safety
    /// No other thread uses these heads of the row, nor this head and position of its cache.
    unsafe fn place(&self, row: usize, kv_head: usize, qkv: Parts<'_, f32>) {
        let c = self.config;
        let (d, group) = (c.head_size, c.heads / c.kv_heads);
        let position = self.rows.positions[row];
        let turns = &self.turns[position * d / 2..][..d / 2];
        let mut plain = [0.0; MAX_HEAD];
        let mut turned = |head: usize, norm: usize| {
            // SAFETY: the caller's promise.
            let head = unsafe { qkv.part(row * qkv_width(c) + head * d, d) };
            if let Some(norms) = &self.layer.head_norms {
                plain[..d].copy_from_slice(head);
                kernels::normalize(self.isa, &plain[..d], &norms[norm], c.norm_epsilon, head);
            }
            turn(head, turns, c.rotary);
            head
        };
        for head in kv_head * group..(kv_head + 1) * group {
            turned(head, 0);
        }
        let key = turned(c.heads + kv_head, 1);
        // SAFETY: the caller's promise.
        let value = unsafe { qkv.part(row * qkv_width(c) + (c.heads + c.kv_heads + kv_head) * d, d) };
        let (keys, values) = self.rows.caches[self.rows.segments[row]].0[position / PIECE];
        let (from, at) = ((self.index * c.kv_heads + kv_head) * PIECE * d, position % PIECE);
        // Keys of sixteen positions lie side by side.
        let (key_at, value_at) = (from + at / 16 * 16 * d + at % 16, from + at * d);
        // SAFETY: the piece has `PIECE * d` numbers for this layer and head, is this run's to write (`Cache::extend`), and
        // this position is written by this row only.
        unsafe {
            if self.half {
                let mut halves = [f16::ZERO; MAX_HEAD];
                halves[..d].convert_from_f32_slice(key);
                store(&halves[..d], keys.cast::<f16>().add(key_at), 16);
                halves[..d].convert_from_f32_slice(value);
                store(&halves[..d], values.cast::<f16>().add(value_at), 1);
            } else {
                store(key, keys.cast::<f32>().add(key_at), 16);
                store(value, values.cast::<f32>().add(value_at), 1);
            }
        }
    }
}

/// Writes numbers to every `step`-th place from `to` on.
///
/// # Safety
/// There is room, and no other thread uses these places.
unsafe fn store<T: Copy>(numbers: &[T], to: *mut T, step: usize) {
    for (i, number) in numbers.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { to.add(i * step).write(*number) };
    }
}

/// Turns the pairs of a head's numbers by a position's angles.
fn turn(head: &mut [f32], turns: &[(f32, f32)], rotary: Rotary) {
    let half = head.len() / 2;
    for (i, (cos, sin)) in turns.iter().enumerate() {
        let (a, b) = match rotary {
            Rotary::Interleaved => (2 * i, 2 * i + 1),
            Rotary::Halves => (i, i + half),
        };
        (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
    }
}
