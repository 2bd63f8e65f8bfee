//! The tensor library as a backend: the reference our own kernels are compared with, and the way to the
//! graphics card (feature `cuda`). The library's types stay in this module.
//!
//! Its matrix products choose their order of additions by the number of rows, so results can differ in the
//! last bits with the chunking; that is why nothing is remembered between its runs.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use candle_core::{
    Device, Module, Result, Tensor,
    quantized::{GgmlDType, QMatMul, QStorage, QTensor},
};
use candle_nn::{ops, rotary_emb};
use checkpoint::{Adapter, BlockFormat, Projection, TensorView};

use crate::{
    EngineError,
    backend::{Backend, Page, Segment},
    config::{ModelConfig, Rotary},
    memory::Memory,
    weights::{Norm, Source, match_rotary, numbers, rounded},
};

/// Positions that a cache grows by.
const GROWTH: usize = 256;

struct Linear {
    weight: QMatMul,
    bias: Option<Tensor>,
}

/// `A` and `B` transposed, and the scale.
type Delta = (Tensor, Tensor, f64);

/// An adapter's changes, by layer and projection.
pub(crate) struct CandleAdapter(BTreeMap<(usize, Projection), Delta>);

impl Linear {
    fn forward(&self, x: &Tensor, delta: Option<&Delta>) -> Result<Tensor> {
        let mut y = self.weight.forward(x)?;
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        if let Some((a, b, scale)) = delta {
            y = (y + (x.matmul(a)?.matmul(b)? * *scale)?)?;
        }
        Ok(y)
    }
}

struct Layer {
    attention_norm: Tensor,
    feed_forward_norm: Tensor,
    /// Of each head's queries and keys, in models that have them.
    head_norms: Option<[Tensor; 2]>,
    projections: Vec<Linear>,
}

/// Keys and values of each layer: `[1, heads, room, head size]`, of which `length` positions are filled.
#[derive(Default)]
pub(crate) struct CandleCache {
    layers: Vec<(Tensor, Tensor)>,
    room: usize,
    length: usize,
}

impl Clone for CandleCache {
    /// Without room: the tensors are written in place, so that a clone makes its own before it adds anything.
    fn clone(&self) -> Self {
        Self { layers: self.layers.clone(), room: 0, length: self.length }
    }
}

/// A model computed by the tensor library.
pub(crate) struct CandleModel {
    config: ModelConfig,
    source: Source,
    device: Device,
    layers: Vec<Layer>,
    last_norm: Tensor,
    head: QMatMul,
    adapters: Vec<Option<Arc<CandleAdapter>>>,
}

impl CandleModel {
    pub(crate) fn load(
        source: Source,
        config: ModelConfig,
        adapters: &[Adapter],
    ) -> std::result::Result<Self, EngineError> {
        let device = device()?;
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let norm = |norm| Ok::<_, EngineError>(vector(source.norm(&config, layer, norm)?, &device)?);
            let mut projections = Vec::with_capacity(7);
            for p in Projection::ALL {
                let bias = source.bias(&config, layer, p)?.map(|b| vector(b, &device)).transpose()?;
                let stored = source.projection(&config, layer, p)?;
                let weight = match rounded(&stored, config.rounded_to).zip(config.rounded_to) {
                    Some((bytes, format)) => matrix(&TensorView { format, bytes: &bytes, ..stored }, &device)?,
                    None => matrix(&stored, &device)?,
                };
                projections.push(Linear { weight, bias });
            }
            layers.push(Layer {
                attention_norm: norm(Norm::Attention)?,
                feed_forward_norm: norm(Norm::FeedForward)?,
                head_norms: match source.head_norms(&config, layer)? {
                    Some([queries, keys]) => Some([vector(queries, &device)?, vector(keys, &device)?]),
                    None => None,
                },
                projections,
            });
        }
        let head = matrix(&source.head(&config)?, &device)?;
        let last_norm = vector(source.last_norm(&config)?, &device)?;
        let packed = adapters.iter().map(|a| pack_adapter(a, &config).map(Arc::new).map(Some));
        let adapters = packed.collect::<std::result::Result<_, EngineError>>()?;
        Ok(Self { config, source, device, layers, last_norm, head, adapters })
    }

    /// What computes.
    pub(crate) fn device_name(&self) -> &'static str {
        if self.device.is_cpu() { "CPU" } else { "CUDA" }
    }

    fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        let wrong = |e: &dyn std::fmt::Display| candle_core::Error::Msg(e.to_string());
        let table = self.source.embedding(&self.config).map_err(|e| wrong(&e))?;
        let row_bytes = table.bytes.len() / table.rows;
        let mut out = vec![0.0; tokens.len() * self.config.hidden];
        for (token, out) in tokens.iter().zip(out.chunks_exact_mut(self.config.hidden)) {
            let from = *token as usize * row_bytes;
            let bytes = table.bytes.get(from..from + row_bytes);
            table.format.dequantize(bytes.ok_or_else(|| wrong(&"unknown token"))?, out);
        }
        Tensor::from_vec(out, (tokens.len(), self.config.hidden), &self.device)
    }

    fn grow(&self, cache: &mut CandleCache, length: usize) -> Result<()> {
        if length <= cache.room {
            return Ok(());
        }
        let c = &self.config;
        let room = length.next_multiple_of(GROWTH);
        let shape = (1, c.kv_heads, room, c.head_size);
        let larger = |old: Option<&Tensor>| {
            let new = Tensor::zeros(shape, candle_core::DType::F32, &self.device)?;
            if let Some(old) = old.filter(|_| cache.length > 0) {
                new.slice_set(&old.narrow(2, 0, cache.length)?.contiguous()?, 2, 0)?;
            }
            Ok::<_, candle_core::Error>(new)
        };
        cache.layers = (0..c.layers)
            .map(|i| {
                let old = cache.layers.get(i);
                Ok((larger(old.map(|l| &l.0))?, larger(old.map(|l| &l.1))?))
            })
            .collect::<Result<_>>()?;
        cache.room = room;
        Ok(())
    }

    fn turns(&self, from: usize, count: usize) -> Result<(Tensor, Tensor)> {
        let angles = || (from..from + count).flat_map(|p| self.config.frequencies.iter().map(move |f| p as f64 * f));
        let shape = (count, self.config.frequencies.len());
        let table = |f: fn(f64) -> f64| {
            let numbers: Vec<f32> = angles().map(|a| (f(a) * self.config.turned_length) as f32).collect();
            Tensor::from_vec(numbers, shape, &self.device)
        };
        Ok((table(f64::cos)?, table(f64::sin)?))
    }

    fn segment(
        &self,
        tokens: &[u32],
        cache: &mut CandleCache,
        adapter: Option<usize>,
        scores: usize,
    ) -> Result<Vec<f32>> {
        let c = &self.config;
        let (n, from) = (tokens.len(), cache.length);
        let length = from + n;
        self.grow(cache, length)?;
        let (cos, sin) = self.turns(from, n)?;
        let mask = |layer: usize| {
            let seen = |i: usize| c.sees_from(layer, from + i)..=from + i;
            let mask: Vec<f32> = (0..n)
                .flat_map(|i| (0..length).map(move |j| if seen(i).contains(&j) { 0.0 } else { f32::NEG_INFINITY }))
                .collect();
            Tensor::from_vec(mask, (1, n, length), &self.device)
        };
        let mut masks: BTreeMap<Option<usize>, Tensor> = BTreeMap::new();
        let mut x = self.embed(tokens)?;
        let adapter = adapter.and_then(|i| self.adapters.get(i)).and_then(Option::as_deref);
        for (number, (layer, (keys, values))) in self.layers.iter().zip(&cache.layers).enumerate() {
            let mask = match masks.entry(c.windows.get(number).copied().flatten()) {
                Entry::Occupied(made) => made.into_mut(),
                Entry::Vacant(room) => room.insert(mask(number)?),
            };
            let apply = |p: Projection, x: &Tensor| {
                let delta = adapter.and_then(|a| a.0.get(&(number, p)));
                let linear = layer.projections.get(p as usize);
                linear.map_or_else(|| Ok(x.clone()), |l| l.forward(x, delta))
            };
            let normed = ops::rms_norm(&x, &layer.attention_norm, c.norm_epsilon)?;
            let heads = |y: Tensor, heads: usize| y.reshape((1, n, heads, c.head_size))?.transpose(1, 2)?.contiguous();
            let turn = |y: Tensor| match c.rotary {
                Rotary::Interleaved => rotary_emb::rope_i(&y, &cos, &sin),
                Rotary::Halves => rotary_emb::rope(&y, &cos, &sin),
            };
            let mut q = heads(apply(Projection::Q, &normed)?, c.heads)?;
            let mut k = heads(apply(Projection::K, &normed)?, c.kv_heads)?;
            if let Some([queries, keys]) = &layer.head_norms {
                q = ops::rms_norm(&q, queries, c.norm_epsilon)?;
                k = ops::rms_norm(&k, keys, c.norm_epsilon)?;
            }
            let q = turn(q)?;
            keys.slice_set(&turn(k)?, 2, from)?;
            values.slice_set(&heads(apply(Projection::V, &normed)?, c.kv_heads)?, 2, from)?;
            let k = keys.narrow(2, 0, length)?.squeeze(0)?;
            let v = values.narrow(2, 0, length)?.squeeze(0)?.contiguous()?;
            // The heads of a group share keys and values: their queries are stacked.
            let q = q.reshape((c.kv_heads, c.heads / c.kv_heads * n, c.head_size))?;
            let weights = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / (c.head_size as f64).sqrt())?;
            let weights = weights.reshape((c.heads, n, length))?.broadcast_add(&*mask)?;
            let weights = ops::softmax_last_dim(&weights)?.reshape((c.kv_heads, c.heads / c.kv_heads * n, length))?;
            let attended = weights.matmul(&v)?.reshape((c.heads, n, c.head_size))?;
            let attended = attended.transpose(0, 1)?.contiguous()?.reshape((n, c.heads * c.head_size))?;
            x = (x + apply(Projection::O, &attended)?)?;
            let normed = ops::rms_norm(&x, &layer.feed_forward_norm, c.norm_epsilon)?;
            let gate = ops::silu(&apply(Projection::Gate, &normed)?)?;
            let hidden = (gate * apply(Projection::Up, &normed)?)?;
            x = (x + apply(Projection::Down, &hidden)?)?;
        }
        cache.length = length;
        let scores = scores.min(n);
        if scores == 0 {
            return Ok(vec![]);
        }
        let last = ops::rms_norm(&x.narrow(0, n - scores, scores)?.contiguous()?, &self.last_norm, c.norm_epsilon)?;
        self.head.forward(&last)?.flatten_all()?.to_vec1()
    }
}

impl Backend for CandleModel {
    type Cache = CandleCache;
    type Adapter = CandleAdapter;

    fn set_adapter(&mut self, index: usize, adapter: Option<Arc<CandleAdapter>>) {
        if self.adapters.len() <= index {
            self.adapters.resize(index + 1, None);
        }
        if let Some(slot) = self.adapters.get_mut(index) {
            *slot = adapter;
        }
    }

    fn cache(&self) -> CandleCache {
        CandleCache::default()
    }

    fn length(cache: &CandleCache) -> usize {
        cache.length
    }

    fn truncate(cache: &mut CandleCache, length: usize) {
        cache.length = cache.length.min(length);
    }

    fn page(&self) -> Page {
        let c = &self.config;
        Page { positions: GROWTH, bytes: GROWTH * 2 * c.layers * c.kv_heads * c.head_size * size_of::<f32>() }
    }

    fn pages(cache: &CandleCache) -> impl Iterator<Item = usize> {
        // The tensors' identity, and their pages' numbers.
        let first = cache.layers.first().map(|(keys, _)| keys);
        let room = first.and_then(|keys| keys.dim(2).ok()).unwrap_or(0);
        let id = first.map_or(0, |keys| BuildHasherDefault::<DefaultHasher>::default().hash_one(keys.id()));
        (0..room / GROWTH).map(move |page| (id as usize).wrapping_add(page))
    }

    fn needed(cache: &CandleCache, more: usize, memory: &Memory) -> usize {
        // A clone that grows copies everything.
        let shared = cache.room == 0 && !cache.layers.is_empty() && more > 0;
        if shared { (cache.length + more).div_ceil(GROWTH) } else { memory.needed(cache.length, more) }
    }

    fn forward(
        &mut self,
        segments: &mut [Segment<'_, CandleCache>],
        scores: &mut Vec<f32>,
    ) -> std::result::Result<(), String> {
        scores.clear();
        for s in segments.iter_mut().filter(|s| !s.tokens.is_empty()) {
            if s.cache.length + s.tokens.len() > self.config.context {
                return Err("a position is beyond the model's context".into());
            }
            scores.extend(self.segment(s.tokens, s.cache, s.adapter, s.scores).map_err(|e| e.to_string())?);
        }
        Ok(())
    }
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> Self {
        Self::Device(error.to_string())
    }
}

#[cfg(feature = "cuda")]
pub(crate) fn device() -> Result<Device> {
    Device::new_cuda(0)
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn device() -> Result<Device> {
    Ok(Device::Cpu)
}

fn vector(numbers: Vec<f32>, device: &Device) -> Result<Tensor> {
    let length = numbers.len();
    Tensor::from_vec(numbers, length, device)
}

/// A weight as the library computes with it: its own blocks when quantized, else `f32`.
fn matrix(view: &TensorView<'_>, device: &Device) -> Result<QMatMul> {
    let format = match view.format {
        BlockFormat::F32 | BlockFormat::F16 | BlockFormat::Bf16 => None,
        BlockFormat::Q8_0 => Some(GgmlDType::Q8_0),
        BlockFormat::Q4_0 => Some(GgmlDType::Q4_0),
        BlockFormat::Q4_1 => Some(GgmlDType::Q4_1),
        BlockFormat::Q5_0 => Some(GgmlDType::Q5_0),
        BlockFormat::Q5_1 => Some(GgmlDType::Q5_1),
        BlockFormat::Q4K => Some(GgmlDType::Q4K),
        BlockFormat::Q5K => Some(GgmlDType::Q5K),
        BlockFormat::Q6K => Some(GgmlDType::Q6K),
    };
    let aligned = (view.bytes.as_ptr() as usize).is_multiple_of(8);
    match format {
        // The library takes the blocks as they lie, which needs an even address.
        Some(format) if aligned => {
            let storage = QStorage::from_data(Cow::Borrowed(view.bytes), device, format)?;
            QMatMul::from_qtensor(QTensor::new(storage, (view.rows, view.columns))?)
        }
        _ => Ok(QMatMul::Tensor(Tensor::from_vec(numbers(view), (view.rows, view.columns), device)?)),
    }
}

/// An adapter's factors as tensors.
pub(crate) fn pack_adapter(adapter: &Adapter, c: &ModelConfig) -> std::result::Result<CandleAdapter, EngineError> {
    let device = device()?;
    let mut deltas = BTreeMap::new();
    for (&(layer, p), f) in &adapter.factors {
        let mut b = f.b.clone();
        if matches!(p, Projection::Q | Projection::K) {
            match_rotary(&mut b, f.rank, c.head_size, c.rotary);
        }
        let a = Tensor::from_slice(&f.a, (f.rank, f.inputs), &device)?.t()?.contiguous()?;
        let b = Tensor::from_vec(b, (f.outputs, f.rank), &device)?.t()?.contiguous()?;
        deltas.insert((layer, p), (a, b, f64::from(f.scale)));
    }
    Ok(CandleAdapter(deltas))
}
