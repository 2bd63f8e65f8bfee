//! The forward pass of a LLaMA-family model.
//!
//! All rows of a step (a chunk of one run's prompt, the newest token of others) go through each matrix
//! together, so that weights are read once. Nothing else is shared between rows, see [`super::kernels`].
#![allow(unsafe_code)]

mod input;
mod layer;
mod placing;

use std::sync::Arc;

use checkpoint::{Adapter, BlockFormat};

use super::{
    attention::{self, PIECE, TOGETHER},
    cache::{Cache, Pool},
    kernels::{self, Activations, Linear, Target},
    load::{Layer, PackedAdapter, Progress, load_layers, pack_adapter, packable},
    pack::{Kind, Packed},
    rows::Rows,
    simd::Isa,
    team::{Parts, Team},
    tiles::Soon,
};
use crate::{
    EngineError,
    backend::{Backend, Page, Segment},
    config::ModelConfig,
    weights::Source,
};
use input::Normalizing;

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
    /// Of each position the cosines of its angles, then their sines; made as positions are reached.
    turns: Vec<f32>,
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
    /// Its normalized form, the input of q, k, v, gate and up: one that all threads share, or where rows are few one for
    /// each.
    normed: Vec<Activations>,
    /// The heads' results, the input of o.
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
        let (layers, head) = load_layers(&source, &config, threads, isa, progress)?;
        let paired = layers.iter().flat_map(|l| &l.projections).chain([&head]).any(|m| m.kind == Kind::Bf16Pairs);
        let activations = |columns| Activations::new(columns, paired);
        // Read row by row as tokens come: it must be there.
        packable(source.embedding(&config)?)?;
        let last_norm = source.last_norm(&config)?;
        let team = Team::new(threads).map_err(EngineError::Thread)?;
        let buffers = Buffers {
            x: vec![],
            normed: (0..team.threads()).map(|_| activations(config.hidden)).collect(),
            attended: activations(config.heads * config.head_size),
            hidden: activations(config.feed_forward),
            qkv: vec![],
            z: vec![],
            scores: vec![],
            last: activations(config.hidden),
        };
        let is_rounded = source.is_rounded(&config);
        let packed = adapters.iter().map(|a| pack_adapter(a, &config, is_rounded, threads));
        let packed: Vec<_> = packed.collect::<Result<_, _>>()?;
        let half_cache = source.formats().0 != BlockFormat::F32;
        let mut model = Self {
            isa,
            team,
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
        grow(&mut b.z, input::room_for_z(rows, self.team.threads(), self.rank));
        grow(&mut b.scores, self.team.threads() * TOGETHER * attention::scratch(positions));
        for (i, copy) in b.normed.iter_mut().enumerate() {
            copy.reserve(if i == 0 { rows } else { rows.min(input::FEW) });
        }
        b.attended.reserve(rows);
        b.hidden.reserve(rows);
        for position in self.turns.len() / (2 * c.frequencies.len())..positions {
            for part in [f64::cos, f64::sin] {
                let of = |frequency| (part(position as f64 * frequency) * c.turned_length) as f32;
                self.turns.extend(c.frequencies.iter().map(of));
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
            let how = Normalizing { isa, x: &b.x, weight: &self.last_norm, epsilon: config.norm_epsilon };
            for (i, row) in wanted.iter().enumerate() {
                // SAFETY: this thread is the only one here.
                unsafe { how.row(*row, last, i) };
            }
            let m = Linear { weight: &self.head, bias: None, deltas: None, then: Soon::NOTHING };
            let target = Target { out: Parts::new(out), stride: config.vocabulary, at: 0, add: false };
            let last = &b.last;
            self.team.split(self.head.tiles(), &|_, range| {
                kernels::linear(isa, m, last, wanted.len(), range, target);
                Soon::NOTHING
            });
        }
    }
}

/// Columns of queries, keys and values.
fn qkv_width(c: &ModelConfig) -> usize {
    (c.heads + 2 * c.kv_heads) * c.head_size
}
