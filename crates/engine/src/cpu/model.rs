//! The forward pass of a LLaMA-family model.
//!
//! All rows of a step (a chunk of one run's prompt, the newest token of others) go through each matrix
//! together, so that weights are read once. Nothing else is shared between rows, see [`super::kernels`].
#![allow(unsafe_code)]

use std::sync::Arc;

use checkpoint::{Adapter, BlockFormat, Projection};
use half::{f16, slice::HalfFloatSliceExt};

use super::{
    attention::{self, History, PIECE, Query, TOGETHER},
    cache::{Cache, Pool},
    kernels::{self, Activations, Deltas, Linear, Target},
    load::{Layer, PackedAdapter, Progress, load_layers, pack_adapter, packable},
    pack::Packed,
    simd::Isa,
    team::{Parts, Team},
};
use crate::{
    EngineError,
    backend::{Backend, Page, Segment},
    config::{MAX_HEAD, ModelConfig, Rotary},
    weights::Source,
};

/// A model on the processor.
pub(crate) struct CpuModel {
    config: ModelConfig,
    isa: Isa,
    team: Team,
    source: Source,
    layers: Vec<Layer>,
    last_norm: Vec<f32>,
    head: Packed,
    adapters: Vec<Option<Arc<PackedAdapter>>>,
    /// Numbers of `z` for one projection: the greatest rank, rounded up to whole tiles.
    rank: usize,
    /// Cosine and sine of each position's angles, made as positions are reached.
    turns: Vec<(f32, f32)>,
    buffers: Buffers,
    /// Whether keys and values are kept in half precision: in all models but those whose weights are `f32`.
    half_cache: bool,
    /// Memory for keys and values.
    pool: Pool,
}

/// What the rows of a step pass through.
struct Buffers {
    /// The residual stream.
    x: Vec<f32>,
    /// Its normalized form, the input of q, k, v, gate and up; also the heads' results, the input of o.
    normed: Activations,
    /// The heads' results where they are not as wide as the stream.
    attended: Activations,
    /// The input of down.
    hidden: Activations,
    /// Queries, keys and values side by side.
    qkv: Vec<f32>,
    /// `scale * A x` of up to three projections.
    z: Vec<f32>,
    /// Attention scores of each thread.
    scores: Vec<f32>,
    /// The last rows, for the head.
    last: Activations,
}

impl CpuModel {
    pub(crate) fn load(
        source: Source,
        config: ModelConfig,
        adapters: &[Adapter],
        threads: usize,
        isa: Isa,
        progress: Progress<'_>,
    ) -> Result<Self, EngineError> {
        let (layers, head) = load_layers(&source, &config, threads, progress)?;
        // Read row by row as tokens come: it must be there.
        packable(source.embedding(&config)?)?;
        let last_norm = source.last_norm(&config)?;
        let width = config.heads * config.head_size;
        let buffers = Buffers {
            x: vec![],
            normed: Activations::new(config.hidden),
            attended: Activations::new(width),
            hidden: Activations::new(config.feed_forward),
            qkv: vec![],
            z: vec![],
            scores: vec![],
            last: Activations::new(config.hidden),
        };
        let packed: Vec<_> = adapters.iter().map(|a| pack_adapter(a, &config, threads)).collect::<Result<_, _>>()?;
        let half_cache = source.formats().0 != BlockFormat::F32;
        let mut model = Self {
            isa,
            team: Team::new(threads).map_err(EngineError::Thread)?,
            adapters: vec![],
            source,
            layers,
            last_norm,
            head,
            rank: 0,
            turns: vec![],
            buffers,
            half_cache,
            pool: Pool::new(&config, half_cache),
            config,
        };
        packed.into_iter().enumerate().for_each(|(i, adapter)| model.set_adapter(i, Some(Arc::new(adapter))));
        Ok(model)
    }

    /// Threads that compute.
    pub(crate) fn threads(&self) -> usize {
        self.team.threads()
    }

    fn prepare(&mut self, rows: usize, positions: usize) {
        let c = &self.config;
        let b = &mut self.buffers;
        let grow = |v: &mut Vec<f32>, n: usize| {
            if v.len() < n {
                v.resize(n, 0.0);
            }
        };
        grow(&mut b.x, rows * c.hidden);
        grow(&mut b.qkv, rows * qkv_width(c));
        grow(&mut b.z, rows * 3 * self.rank);
        grow(&mut b.scores, self.team.threads() * TOGETHER * attention::scratch(positions));
        b.normed.reserve(rows);
        b.attended.reserve(rows);
        b.hidden.reserve(rows);
        for position in self.turns.len() / c.frequencies.len()..positions {
            for frequency in &c.frequencies {
                let angle = position as f64 * frequency;
                self.turns.push(((angle.cos() * c.turned_length) as f32, (angle.sin() * c.turned_length) as f32));
            }
        }
    }
}

impl Backend for CpuModel {
    type Cache = Cache;
    type Adapter = PackedAdapter;

    fn set_adapter(&mut self, index: usize, adapter: Option<Arc<PackedAdapter>>) {
        if self.adapters.len() <= index {
            self.adapters.resize(index + 1, None);
        }
        self.adapters[index] = adapter;
        self.rank = self.adapters.iter().flatten().map(|a| a.rank).max().unwrap_or(0);
    }

    fn cache(&self) -> Cache {
        Cache::new(self.pool.clone())
    }

    fn length(cache: &Cache) -> usize {
        cache.len()
    }

    fn truncate(cache: &mut Cache, length: usize) {
        cache.truncate(length);
    }

    fn page(&self) -> Page {
        Page { positions: PIECE, bytes: self.pool.piece_bytes() }
    }

    fn pages(cache: &Cache) -> impl Iterator<Item = usize> {
        cache.pages()
    }

    fn forward(&mut self, segments: &mut [Segment<'_, Cache>], scores: &mut Vec<f32>) -> Result<(), String> {
        let rows = Rows::new(segments, &self.config)?;
        if rows.count() == 0 {
            scores.clear();
            return Ok(());
        }
        self.prepare(rows.count(), rows.positions.iter().max().map_or(0, |p| p + 1));
        self.embed(&rows);
        for layer in 0..self.layers.len() {
            self.attention(layer, &rows);
            self.feed_forward(layer, &rows);
        }
        self.scores(segments, scores);
        Ok(())
    }
}

/// The rows of a step.
struct Rows {
    tokens: Vec<u32>,
    positions: Vec<usize>,
    adapters: Vec<Option<usize>>,
    /// Which segment a row belongs to.
    segments: Vec<usize>,
    /// Up to [`TOGETHER`] rows of one segment each.
    blocks: Vec<std::ops::Range<usize>>,
    /// Each segment's keys and values, piece by piece.
    caches: Vec<Pointers>,
    any_adapter: bool,
}

/// Keys and values of each piece of a cache.
struct Pointers(Vec<(*mut u8, *mut u8)>);

// SAFETY: the pieces that the pointers lead to belong to caches borrowed for the whole step. Within a parallel
// step each row writes only its own position, and what is read was written in an earlier parallel step.
unsafe impl Sync for Pointers {}

impl Rows {
    fn new(segments: &mut [Segment<'_, Cache>], config: &ModelConfig) -> Result<Self, String> {
        let mut rows = Self {
            tokens: vec![],
            positions: vec![],
            adapters: vec![],
            segments: vec![],
            blocks: vec![],
            caches: vec![],
            any_adapter: false,
        };
        for (index, segment) in segments.iter_mut().enumerate() {
            let from = segment.cache.len();
            if from + segment.tokens.len() > config.context {
                return Err(format!("position {} is beyond the model's context", from + segment.tokens.len()));
            }
            if let Some(token) = segment.tokens.iter().find(|t| **t as usize >= config.vocabulary) {
                return Err(format!("token {token} is not in the model's vocabulary"));
            }
            // Makes every piece that is written this cache's own.
            segment.cache.extend(segment.tokens.len()).map_err(|e| format!("no memory for a longer text: {e}"))?;
            rows.caches.push(Pointers(segment.cache.pieces.iter().map(|piece| piece.pointers()).collect()));
            rows.any_adapter |= segment.adapter.is_some() && !segment.tokens.is_empty();
            let (first, end) = (rows.count(), rows.count() + segment.tokens.len());
            rows.blocks.extend((first..end).step_by(TOGETHER).map(|row| row..end.min(row + TOGETHER)));
            for (i, token) in segment.tokens.iter().enumerate() {
                rows.tokens.push(*token);
                rows.positions.push(from + i);
                rows.adapters.push(segment.adapter);
                rows.segments.push(index);
            }
        }
        Ok(rows)
    }

    fn count(&self) -> usize {
        self.tokens.len()
    }
}

fn qkv_width(c: &ModelConfig) -> usize {
    (c.heads + 2 * c.kv_heads) * c.head_size
}

/// The steps of a layer. In each, threads write different rows, or different tiles of the rows.
impl CpuModel {
    fn embed(&mut self, rows: &Rows) {
        let hidden = self.config.hidden;
        let Ok(table) = self.source.embedding(&self.config) else { return };
        let row_bytes = table.bytes.len() / table.rows;
        for (token, out) in rows.tokens.iter().zip(self.buffers.x.chunks_exact_mut(hidden)) {
            let from = *token as usize * row_bytes;
            table.format.dequantize(&table.bytes[from..from + row_bytes], out);
        }
    }

    fn attention(&mut self, layer: usize, rows: &Rows) {
        let (isa, config, rank) = (self.isa, &self.config, self.rank);
        let l = &self.layers[layer];
        let b = &mut self.buffers;
        let count = rows.count();
        let (d, width) = (config.head_size, qkv_width(config));
        let q_width = config.heads * d;
        let factors = Factors::of(&self.adapters, layer, rows);

        // Normalize, round to bytes, and what adapters need of it.
        {
            let (x, normed, z) = (&b.x, b.normed.parts(), Parts::new(&mut b.z));
            let task = |_: usize, range: std::ops::Range<usize>| {
                for row in range {
                    // SAFETY: the ranges do not overlap.
                    unsafe {
                        let out = normed.row(row);
                        kernels::normalize(
                            isa,
                            &x[row * config.hidden..][..config.hidden],
                            &l.attention_norm,
                            config.norm_epsilon,
                            out,
                        );
                        normed.quantize(isa, row);
                        factors.narrow(isa, row, &QKV, out, z, rank);
                    }
                }
            };
            split_rows(&mut self.team, count, &task);
        }

        // Queries, keys, values.
        {
            let tiles: Vec<usize> = QKV.iter().map(|p| l.projections[*p as usize].tiles()).collect();
            let out = Parts::new(&mut b.qkv);
            let (normed, z) = (&b.normed, &b.z[..]);
            self.team.split(tiles.iter().sum(), &|_, range| {
                let (mut first, mut at) = (0, 0);
                for (i, projection) in QKV.into_iter().enumerate() {
                    let part = range.start.max(first)..range.end.min(first + tiles[i]);
                    if !part.is_empty() {
                        let m = factors.linear(l, projection, z, i, rank);
                        let target = Target { out, stride: width, at, add: false };
                        kernels::linear(isa, m, normed, count, part.start - first..part.end - first, target);
                    }
                    first += tiles[i];
                    at += l.projections[projection as usize].rows;
                }
            });
        }

        // Turn queries and keys by their positions, and store keys and values.
        {
            let (turns, out, half) = (&self.turns, Parts::new(&mut b.qkv), self.half_cache);
            let task = |_: usize, range: std::ops::Range<usize>| {
                let mut plain = [0.0; MAX_HEAD];
                let mut halves = [f16::ZERO; MAX_HEAD];
                for row in range {
                    // SAFETY: the ranges do not overlap.
                    let qkv = unsafe { out.part(row * width, width) };
                    let position = rows.positions[row];
                    let turns = &turns[position * d / 2..][..d / 2];
                    for (i, head) in qkv[..q_width + config.kv_heads * d].chunks_exact_mut(d).enumerate() {
                        if let Some([queries, keys]) = &l.head_norms {
                            let weight = if i < config.heads { queries } else { keys };
                            plain[..d].copy_from_slice(head);
                            kernels::normalize(isa, &plain[..d], weight, config.norm_epsilon, head);
                        }
                        turn(head, turns, config.rotary);
                    }
                    let (keys, values) = rows.caches[rows.segments[row]].0[position / PIECE];
                    let at = position % PIECE;
                    for head in 0..config.kv_heads {
                        let from = (layer * config.kv_heads + head) * PIECE * d;
                        let key = &qkv[q_width + head * d..][..d];
                        let value = &qkv[q_width + (config.kv_heads + head) * d..][..d];
                        // Keys of sixteen positions lie side by side.
                        let (key_at, value_at) = (from + at / 16 * 16 * d + at % 16, from + at * d);
                        // SAFETY: the piece has `PIECE * d` numbers for this layer and head, is ours to write
                        // (`Cache::extend`), and this position is written by this row only.
                        unsafe {
                            if half {
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
            };
            split_rows(&mut self.team, count, &task);
        }

        // Attention: what looks at the same keys together.
        {
            let scratch = b.scores.len() / self.team.threads();
            let (qkv, attended, scores) = (&b.qkv, b.attended.parts(), Parts::new(&mut b.scores));
            let (threads, group, half) = (self.team.threads(), config.heads / config.kv_heads, self.half_cache);
            self.team.split(threads, &|id, range| {
                // SAFETY: each thread has its own scratch.
                let scores = unsafe { scores.part(id * scratch, scratch) };
                // Later rows look at more: neighbouring items go to different threads.
                for item in range.flat_map(|first| (first..rows.blocks.len() * config.kv_heads).step_by(threads)) {
                    let (block, kv_head) = (&rows.blocks[item / config.kv_heads], item % config.kv_heads);
                    let mut queries: Vec<Query<'_>> = Vec::with_capacity(block.len() * group);
                    for row in block.clone() {
                        for head in kv_head * group..(kv_head + 1) * group {
                            queries.push(Query {
                                numbers: &qkv[row * width + head * d..][..d],
                                length: rows.positions[row] + 1,
                                // SAFETY: this row and head belong to this item only.
                                out: unsafe { attended.head(row, head * d, d) },
                            });
                        }
                    }
                    let history = History {
                        pieces: &rows.caches[rows.segments[block.start]].0,
                        half,
                        from: (layer * config.kv_heads + kv_head) * PIECE * d,
                        head_size: d,
                    };
                    attention::attend(isa, &mut queries, &history, scores);
                }
            });
        }
        {
            let (attended, z) = (b.attended.parts(), Parts::new(&mut b.z));
            let task = |_: usize, range: std::ops::Range<usize>| {
                for row in range {
                    // SAFETY: the ranges do not overlap.
                    unsafe {
                        attended.quantize(isa, row);
                        factors.narrow(isa, row, &[Projection::O], attended.row(row), z, rank);
                    }
                }
            };
            split_rows(&mut self.team, count, &task);
        }

        // Back into the stream.
        let m = factors.linear(l, Projection::O, &b.z, 0, rank);
        let target = Target { out: Parts::new(&mut b.x), stride: config.hidden, at: 0, add: true };
        let attended = &b.attended;
        self.team.split(m.weight.tiles(), &|_, range| kernels::linear(isa, m, attended, count, range, target));
    }

    fn feed_forward(&mut self, layer: usize, rows: &Rows) {
        let (isa, config, rank) = (self.isa, &self.config, self.rank);
        let l = &self.layers[layer];
        let b = &mut self.buffers;
        let count = rows.count();
        let factors = Factors::of(&self.adapters, layer, rows);
        {
            let (x, normed, z) = (&b.x, b.normed.parts(), Parts::new(&mut b.z));
            let task = |_: usize, range: std::ops::Range<usize>| {
                for row in range {
                    // SAFETY: the ranges do not overlap.
                    unsafe {
                        let out = normed.row(row);
                        kernels::normalize(
                            isa,
                            &x[row * config.hidden..][..config.hidden],
                            &l.feed_forward_norm,
                            config.norm_epsilon,
                            out,
                        );
                        normed.quantize(isa, row);
                        factors.narrow(isa, row, &[Projection::Gate, Projection::Up], out, z, rank);
                    }
                }
            };
            split_rows(&mut self.team, count, &task);
        }
        {
            let gate = factors.linear(l, Projection::Gate, &b.z, 0, rank);
            let up = factors.linear(l, Projection::Up, &b.z, 1, rank);
            let out = b.hidden.parts().numbers();
            let target = Target { out, stride: config.feed_forward, at: 0, add: false };
            let normed = &b.normed;
            self.team
                .split(gate.weight.tiles(), &|_, range| kernels::gated(isa, gate, up, normed, count, range, target));
        }
        {
            let (hidden, z) = (b.hidden.parts(), Parts::new(&mut b.z));
            let task = |_: usize, range: std::ops::Range<usize>| {
                for row in range {
                    // SAFETY: the ranges do not overlap.
                    unsafe {
                        hidden.quantize(isa, row);
                        factors.narrow(isa, row, &[Projection::Down], hidden.row(row), z, rank);
                    }
                }
            };
            split_rows(&mut self.team, count, &task);
        }
        let m = factors.linear(l, Projection::Down, &b.z, 0, rank);
        let target = Target { out: Parts::new(&mut b.x), stride: config.hidden, at: 0, add: true };
        let hidden = &b.hidden;
        self.team.split(m.weight.tiles(), &|_, range| kernels::linear(isa, m, hidden, count, range, target));
    }

    /// The scores that the segments want.
    fn scores(&mut self, segments: &[Segment<'_, Cache>], out: &mut Vec<f32>) {
        let (isa, config) = (self.isa, &self.config);
        let b = &mut self.buffers;
        let mut wanted = Vec::new();
        let mut end = 0;
        for segment in segments {
            end += segment.tokens.len();
            wanted.extend(end - segment.scores.min(segment.tokens.len())..end);
        }
        out.resize(wanted.len() * config.vocabulary, 0.0);
        if !wanted.is_empty() {
            b.last.reserve(wanted.len());
            let last = b.last.parts();
            for (i, row) in wanted.iter().enumerate() {
                // SAFETY: this thread is the only one here.
                unsafe {
                    kernels::normalize(
                        isa,
                        &b.x[row * config.hidden..][..config.hidden],
                        &self.last_norm,
                        config.norm_epsilon,
                        last.row(i),
                    );
                    last.quantize(isa, i);
                }
            }
            let m = Linear { weight: &self.head, bias: None, deltas: None };
            let target = Target { out: Parts::new(out), stride: config.vocabulary, at: 0, add: false };
            let last = &b.last;
            self.team.split(self.head.tiles(), &|_, range| kernels::linear(isa, m, last, wanted.len(), range, target));
        }
    }
}

const QKV: [Projection; 3] = [Projection::Q, Projection::K, Projection::V];

/// Rows are split only when there are enough: a handful is done sooner than a second thread is told.
fn split_rows(team: &mut Team, count: usize, task: &(dyn Fn(usize, std::ops::Range<usize>) + Sync)) {
    if count < 4 {
        task(0, 0..count);
    } else {
        team.split(count, task);
    }
}

/// The factors of all adapters in one layer.
struct Factors<'a> {
    adapters: &'a [Option<Arc<PackedAdapter>>],
    layer: usize,
    /// `B` by projection and adapter.
    b: [Vec<Option<&'a Packed>>; 7],
    rows: &'a [Option<usize>],
    any: bool,
}

impl<'a> Factors<'a> {
    fn of(adapters: &'a [Option<Arc<PackedAdapter>>], layer: usize, rows: &'a Rows) -> Self {
        let b = Projection::ALL.map(|p| {
            if !rows.any_adapter {
                return vec![];
            }
            let b = |a: &'a PackedAdapter| a.factors[layer][p as usize].as_ref().map(|f| &f.1);
            adapters.iter().map(|a| a.as_deref().and_then(b)).collect()
        });
        Self { adapters, layer, b, rows: &rows.adapters, any: rows.any_adapter }
    }

    /// A projection with what the rows' adapters add; its `z` is the `i`-th of a row.
    fn linear(&'a self, layer: &'a Layer, projection: Projection, z: &'a [f32], i: usize, rank: usize) -> Linear<'a> {
        let p = projection as usize;
        let deltas = self.any.then_some(Deltas { b: &self.b[p], rows: self.rows, z, at: i * rank, stride: 3 * rank });
        Linear { weight: &layer.projections[p], bias: layer.biases[p].as_deref(), deltas }
    }

    /// `z` of a row for some projections.
    ///
    /// # Safety
    /// No other thread uses this row of `z`.
    unsafe fn narrow(
        &self,
        isa: Isa,
        row: usize,
        projections: &[Projection],
        x: &[f32],
        z: Parts<'_, f32>,
        rank: usize,
    ) {
        let Some(Some(adapter)) = self.rows[row].and_then(|a| self.adapters.get(a)) else { return };
        for (i, projection) in projections.iter().enumerate() {
            if let Some((a, _)) = &adapter.factors[self.layer][*projection as usize] {
                // SAFETY: the caller's promise.
                let z = unsafe { z.part((row * 3 + i) * rank, rank) };
                kernels::narrow(isa, a, adapter.scale, x, z);
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
