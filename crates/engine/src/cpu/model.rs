//! The forward pass of a LLaMA-family model.
//!
//! All rows of a step (a chunk of one run's prompt, the newest token of others) go through each matrix
//! together, so that weights are read once. Nothing else is shared between rows, see [`super::kernels`].
#![allow(unsafe_code)]

use std::thread;

use checkpoint::{Adapter, BlockFormat, Projection, TensorView};

use super::{
    cache::Cache,
    kernels::{self, Activations, Deltas, History, Linear, PIECE, Target},
    pack::{Packed, TILE},
    simd::Isa,
    team::{Parts, Team},
};
use crate::{
    EngineError,
    backend::{Backend, Segment},
    config::{ModelConfig, Rotary},
    weights::{Norm, Source, match_rotary},
};

struct Layer {
    attention_norm: Vec<f32>,
    feed_forward_norm: Vec<f32>,
    projections: [Packed; 7],
    biases: [Option<Vec<f32>>; 7],
}

/// An adapter's factors, packed.
struct PackedAdapter {
    scale: f32,
    /// Of each layer and projection: `A` and `B`.
    factors: Vec<[Option<(Packed, Packed)>; 7]>,
}

/// A model on the processor.
pub(crate) struct CpuModel {
    config: ModelConfig,
    isa: Isa,
    team: Team,
    source: Source,
    layers: Vec<Layer>,
    last_norm: Vec<f32>,
    head: Packed,
    adapters: Vec<PackedAdapter>,
    /// Numbers of `z` for one projection: the greatest rank, rounded up to whole tiles.
    rank: usize,
    /// Cosine and sine of each position's angles, made as positions are reached.
    turns: Vec<(f32, f32)>,
    buffers: Buffers,
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
    ) -> Result<Self, EngineError> {
        let layers = load_layers(&source, &config, threads)?;
        let head = Packed::new(&source.head(&config)?);
        let last_norm = source.last_norm(&config)?;
        let rank = adapters.iter().flat_map(|a| a.factors.values()).map(|f| f.rank.next_multiple_of(TILE)).max();
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
        Ok(Self {
            isa,
            team: Team::new(threads).map_err(EngineError::Thread)?,
            adapters: adapters.iter().map(|a| pack_adapter(a, &config)).collect(),
            source,
            layers,
            last_norm,
            head,
            rank: rank.unwrap_or(0),
            turns: vec![],
            buffers,
            config,
        })
    }

    /// Threads that compute.
    pub(crate) fn threads(&self) -> usize {
        self.team.threads()
    }

    /// Bytes that a run's keys and values take for each token.
    pub(crate) fn bytes_per_token(&self) -> usize {
        let c = &self.config;
        2 * c.layers * c.kv_heads * c.head_size * size_of::<f32>()
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
        grow(&mut b.scores, self.team.threads() * positions.next_multiple_of(16));
        b.normed.reserve(rows);
        b.attended.reserve(rows);
        b.hidden.reserve(rows);
        for position in self.turns.len() / c.frequencies.len()..positions {
            for frequency in &c.frequencies {
                let angle = position as f64 * frequency;
                self.turns.push((angle.cos() as f32, angle.sin() as f32));
            }
        }
    }
}

impl Backend for CpuModel {
    type Cache = Cache;

    fn cache(&self) -> Cache {
        Cache::default()
    }

    fn length(cache: &Cache) -> usize {
        cache.len()
    }

    fn truncate(cache: &mut Cache, length: usize) {
        cache.truncate(length);
    }

    fn forward(&mut self, segments: &mut [Segment<'_, Cache>]) -> Result<Vec<Option<Vec<f32>>>, String> {
        let rows = Rows::new(segments, &self.config)?;
        if rows.count() == 0 {
            return Ok(segments.iter().map(|_| None).collect());
        }
        self.prepare(rows.count(), rows.positions.iter().max().map_or(0, |p| p + 1));
        self.embed(&rows);
        for layer in 0..self.layers.len() {
            self.attention(layer, &rows);
            self.feed_forward(layer, &rows);
        }
        Ok(self.scores(segments, &rows))
    }
}

/// The rows of a step.
struct Rows {
    tokens: Vec<u32>,
    positions: Vec<usize>,
    adapters: Vec<Option<usize>>,
    /// Which segment a row belongs to.
    segments: Vec<usize>,
    /// Each segment's keys and values, piece by piece.
    caches: Vec<Pointers>,
    any_adapter: bool,
}

struct Pointers {
    keys: Vec<*mut f32>,
    values: Vec<*mut f32>,
}

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
            segment.cache.extend(segment.tokens.len(), config);
            let shared = from / PIECE;
            let mut pointers = Pointers { keys: vec![], values: vec![] };
            for (i, piece) in segment.cache.pieces.iter_mut().enumerate() {
                if i >= shared
                    && let Some(piece) = std::sync::Arc::get_mut(piece)
                {
                    pointers.keys.push(piece.keys.as_mut_ptr());
                    pointers.values.push(piece.values.as_mut_ptr());
                } else {
                    // Only read: `extend` made every piece that is written our own.
                    pointers.keys.push(piece.keys.as_ptr().cast_mut());
                    pointers.values.push(piece.values.as_ptr().cast_mut());
                }
            }
            rows.caches.push(pointers);
            rows.any_adapter |= segment.adapter.is_some() && !segment.tokens.is_empty();
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
            let (turns, out) = (&self.turns, Parts::new(&mut b.qkv));
            let task = |_: usize, range: std::ops::Range<usize>| {
                for row in range {
                    // SAFETY: the ranges do not overlap.
                    let qkv = unsafe { out.part(row * width, width) };
                    let position = rows.positions[row];
                    let turns = &turns[position * d / 2..][..d / 2];
                    for head in qkv[..q_width + config.kv_heads * d].chunks_exact_mut(d) {
                        turn(head, turns, config.rotary);
                    }
                    let pointers = &rows.caches[rows.segments[row]];
                    for head in 0..config.kv_heads {
                        let from = (layer * config.kv_heads + head) * PIECE * d;
                        let at = position % PIECE;
                        // SAFETY: the piece has `PIECE * d` numbers for this layer and head, is ours to write
                        // (`Cache::extend`), and this position is written by this row only.
                        unsafe {
                            let keys = pointers.keys[position / PIECE].add(from + at / 16 * 16 * d + at % 16);
                            let values = pointers.values[position / PIECE].add(from + at * d);
                            let key = &qkv[q_width + head * d..][..d];
                            for (i, k) in key.iter().enumerate() {
                                keys.add(i * 16).write(*k);
                            }
                            let value = &qkv[q_width + (config.kv_heads + head) * d..][..d];
                            values.copy_from_nonoverlapping(value.as_ptr(), d);
                        }
                    }
                }
            };
            split_rows(&mut self.team, count, &task);
        }

        // Attention, head by head.
        {
            let scores_length = b.scores.len() / self.team.threads();
            let (qkv, attended, scores) = (&b.qkv, b.attended.parts(), Parts::new(&mut b.scores));
            let group = config.heads / config.kv_heads;
            self.team.split(count * config.heads, &|id, range| {
                // SAFETY: each thread has its own scores.
                let scores = unsafe { scores.part(id * scores_length, scores_length) };
                let mut last = usize::MAX;
                let (mut keys, mut values): (Vec<*const f32>, Vec<*const f32>) = (vec![], vec![]);
                for item in range {
                    let (row, head) = (item / config.heads, item % config.heads);
                    let kv = rows.segments[row] * config.kv_heads + head / group;
                    if kv != last {
                        last = kv;
                        let from = (layer * config.kv_heads + head / group) * PIECE * d;
                        let pointers = &rows.caches[rows.segments[row]];
                        // SAFETY: each piece has `PIECE * d` numbers for this layer and head.
                        keys = pointers.keys.iter().map(|p| unsafe { p.add(from) }.cast_const()).collect();
                        // SAFETY: as above.
                        values = pointers.values.iter().map(|p| unsafe { p.add(from) }.cast_const()).collect();
                    }
                    let history =
                        History { keys: &keys, values: &values, head_size: d, length: rows.positions[row] + 1 };
                    // SAFETY: this row and head is in the range of this thread only.
                    let out = unsafe { attended.head(row, head * d, d) };
                    kernels::attend(isa, &qkv[row * width + head * d..][..d], &history, scores, out);
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

    /// The scores of the segments that want them.
    fn scores(&mut self, segments: &[Segment<'_, Cache>], rows: &Rows) -> Vec<Option<Vec<f32>>> {
        let (isa, config) = (self.isa, &self.config);
        let b = &mut self.buffers;
        let wanted: Vec<usize> =
            (0..segments.len()).filter(|i| segments[*i].scores && !segments[*i].tokens.is_empty()).collect();
        let mut out = vec![0.0; wanted.len() * config.vocabulary];
        if !wanted.is_empty() {
            b.last.reserve(wanted.len());
            let last = b.last.parts();
            for (i, segment) in wanted.iter().enumerate() {
                let row = rows.segments.iter().rposition(|s| s == segment).unwrap_or(0);
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
            let target = Target { out: Parts::new(&mut out), stride: config.vocabulary, at: 0, add: false };
            let last = &b.last;
            self.team.split(self.head.tiles(), &|_, range| kernels::linear(isa, m, last, wanted.len(), range, target));
        }
        let mut all: Vec<Option<Vec<f32>>> = segments.iter().map(|_| None).collect();
        for (i, scores) in wanted.iter().zip(out.chunks_exact(config.vocabulary)) {
            all[*i] = Some(scores.to_vec());
        }
        all
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
    adapters: &'a [PackedAdapter],
    layer: usize,
    /// `B` by projection and adapter.
    b: [Vec<Option<&'a Packed>>; 7],
    rows: &'a [Option<usize>],
    any: bool,
}

impl<'a> Factors<'a> {
    fn of(adapters: &'a [PackedAdapter], layer: usize, rows: &'a Rows) -> Self {
        let b = Projection::ALL.map(|p| {
            if !rows.any_adapter {
                return vec![];
            }
            adapters.iter().map(|a| a.factors[layer][p as usize].as_ref().map(|f| &f.1)).collect()
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
        let Some(adapter) = self.rows[row].and_then(|a| self.adapters.get(a)) else { return };
        for (i, projection) in projections.iter().enumerate() {
            if let Some((a, _)) = &adapter.factors[self.layer][*projection as usize] {
                // SAFETY: the caller's promise.
                let z = unsafe { z.part((row * 3 + i) * rank, rank) };
                kernels::narrow(isa, a, adapter.scale, x, z);
            }
        }
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

fn load_layers(source: &Source, config: &ModelConfig, threads: usize) -> Result<Vec<Layer>, EngineError> {
    let load = |layer: usize| -> Result<Layer, EngineError> {
        let pack = |p| Ok::<_, EngineError>(Packed::new(&packable(&source.projection(config, layer, p)?)?));
        let bias = |p| source.bias(config, layer, p);
        use Projection::{Down, Gate, K, O, Q, Up, V};
        Ok(Layer {
            attention_norm: source.norm(config, layer, Norm::Attention)?,
            feed_forward_norm: source.norm(config, layer, Norm::FeedForward)?,
            projections: [pack(Q)?, pack(K)?, pack(V)?, pack(O)?, pack(Gate)?, pack(Up)?, pack(Down)?],
            biases: [bias(Q)?, bias(K)?, bias(V)?, bias(O)?, bias(Gate)?, bias(Up)?, bias(Down)?],
        })
    };
    thread::scope(|scope| {
        let threads = threads.clamp(1, config.layers);
        let load = &load;
        let workers: Vec<_> = (0..threads)
            .map(|id| {
                let range = config.layers * id / threads..config.layers * (id + 1) / threads;
                scope.spawn(move || range.map(load).collect::<Result<Vec<_>, _>>())
            })
            .collect();
        let mut layers = Vec::with_capacity(config.layers);
        for worker in workers {
            match worker.join() {
                Ok(part) => layers.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(layers)
    })
}

/// Quantized rows must be whole blocks, which the file's reader has checked; dense ones of any width are.
fn packable<'a>(view: &TensorView<'a>) -> Result<TensorView<'a>, EngineError> {
    if view.format.row_bytes(view.columns).and_then(|n| n.checked_mul(view.rows)) != Some(view.bytes.len()) {
        return Err(EngineError::Device(format!("a {} tensor has an odd size", BlockFormat::name(view.format))));
    }
    Ok(view.clone())
}

fn pack_adapter(adapter: &Adapter, config: &ModelConfig) -> PackedAdapter {
    let factors = (0..config.layers)
        .map(|layer| {
            Projection::ALL.map(|p| {
                let f = adapter.factors.get(&(layer, p))?;
                let mut b = f.b.clone();
                if matches!(p, Projection::Q | Projection::K) {
                    match_rotary(&mut b, f.rank, config.head_size, config.rotary);
                }
                Some((Packed::dense(&f.a, f.rank, f.inputs), Packed::dense(&b, f.outputs, f.rank)))
            })
        })
        .collect();
    PackedAdapter { scale: adapter.scale, factors }
}
