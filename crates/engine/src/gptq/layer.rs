//! One layer of a model, computed with a text in `f32`.

use candle_core::{Device, Result, Tensor};
use candle_nn::{ops, rotary_emb};
use checkpoint::Projection;

use crate::{
    EngineError,
    config::{ModelConfig, Rotary},
    weights::{Norm, Source, numbers},
};

/// The rows of the embeddings that stand for a text.
pub(super) fn embed(
    source: &Source,
    c: &ModelConfig,
    tokens: &[u32],
    device: &Device,
) -> std::result::Result<Tensor, EngineError> {
    let table = source.embedding(c)?;
    let row_bytes = table.bytes.len() / table.rows.max(1);
    let mut out = vec![0.0; tokens.len() * c.hidden];
    for (token, out) in tokens.iter().zip(out.chunks_exact_mut(c.hidden)) {
        let from = *token as usize * row_bytes;
        table.format.dequantize(table.bytes.get(from..from + row_bytes).unwrap_or_default(), out);
    }
    Ok(Tensor::from_vec(out, (tokens.len(), c.hidden), device)?)
}

/// Cosine and sine of every position's angles.
pub(super) fn turns(c: &ModelConfig, length: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let table = |f: fn(f64) -> f64| {
        let angles = (0..length).flat_map(|position| c.frequencies.iter().map(move |step| position as f64 * step));
        let numbers: Vec<f32> = angles.map(|angle| (f(angle) * c.turned_length) as f32).collect();
        Tensor::from_vec(numbers, (length, c.frequencies.len()), device)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

/// What matrices of a layer have the same inputs.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Attention,
    Heads,
    FeedForward,
    Hidden,
}

impl Stage {
    pub(super) const ALL: [(Self, &'static [Projection]); 4] = [
        (Self::Attention, &[Projection::Q, Projection::K, Projection::V]),
        (Self::Heads, &[Projection::O]),
        (Self::FeedForward, &[Projection::Gate, Projection::Up]),
        (Self::Hidden, &[Projection::Down]),
    ];
}

/// Numbers that matrices of a layer have instead of the model's own, by projection.
pub(super) type Known = [Option<Vec<f32>>; Projection::ALL.len()];

/// One layer in `f32`.
pub(super) struct Layer {
    norms: [Tensor; 2],
    head_norms: Option<[Tensor; 2]>,
    /// By projection, as are the biases.
    pub(super) weights: Vec<Tensor>,
    biases: Vec<Option<Tensor>>,
}

impl Layer {
    /// Reads a layer; matrices that are known have those numbers instead of the model's.
    pub(super) fn load(
        source: &Source,
        c: &ModelConfig,
        layer: usize,
        mut known: Known,
        device: &Device,
    ) -> std::result::Result<Self, EngineError> {
        let vector = |numbers: Vec<f32>| {
            let length = numbers.len();
            Tensor::from_vec(numbers, length, device)
        };
        let matrix = |p| {
            let view = source.projection(c, layer, p)?;
            let numbers = known[p as usize].take().unwrap_or_else(|| numbers(&view));
            Ok::<_, EngineError>(Tensor::from_vec(numbers, (view.rows, view.columns), device)?)
        };
        let bias = |p| Ok::<_, EngineError>(source.bias(c, layer, p)?.map(vector).transpose()?);
        Ok(Self {
            norms: [
                vector(source.norm(c, layer, Norm::Attention)?)?,
                vector(source.norm(c, layer, Norm::FeedForward)?)?,
            ],
            head_norms: match source.head_norms(c, layer)? {
                Some([queries, keys]) => Some([vector(queries)?, vector(keys)?]),
                None => None,
            },
            weights: Projection::ALL.into_iter().map(matrix).collect::<std::result::Result<_, _>>()?,
            biases: Projection::ALL.into_iter().map(bias).collect::<std::result::Result<_, _>>()?,
        })
    }

    fn apply(&self, p: Projection, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weights[p as usize].t()?)?;
        match &self.biases[p as usize] {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// What it makes of the rows of one text; `see` is told what enters the matrices.
    pub(super) fn forward(
        &self,
        c: &ModelConfig,
        x: &Tensor,
        (cos, sin): &(Tensor, Tensor),
        mut see: impl FnMut(Stage, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let n = x.dim(0)?;
        let normed = ops::rms_norm(x, &self.norms[0], c.norm_epsilon)?;
        see(Stage::Attention, &normed)?;
        let heads = |y: Tensor, heads: usize| y.reshape((1, n, heads, c.head_size))?.transpose(1, 2)?.contiguous();
        let turn = |y: Tensor| match c.rotary {
            Rotary::Interleaved => rotary_emb::rope_i(&y, cos, sin),
            Rotary::Halves => rotary_emb::rope(&y, cos, sin),
        };
        let mut q = heads(self.apply(Q, &normed)?, c.heads)?;
        let mut k = heads(self.apply(K, &normed)?, c.kv_heads)?;
        if let Some([queries, keys]) = &self.head_norms {
            q = ops::rms_norm(&q, queries, c.norm_epsilon)?;
            k = ops::rms_norm(&k, keys, c.norm_epsilon)?;
        }
        let v = heads(self.apply(V, &normed)?, c.kv_heads)?.squeeze(0)?;
        let k = turn(k)?.squeeze(0)?;
        // The heads of a group share keys and values: their queries are stacked.
        let group = c.heads / c.kv_heads.max(1);
        let q = turn(q)?.reshape((c.kv_heads, group * n, c.head_size))?;
        let weights = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / (c.head_size as f64).sqrt())?;
        let mask = (0..n).flat_map(|i| (0..n).map(move |j| if j <= i { 0.0 } else { f32::NEG_INFINITY })).collect();
        let mask = Tensor::from_vec(mask, (1, n, n), x.device())?;
        let weights = ops::softmax_last_dim(&weights.reshape((c.heads, n, n))?.broadcast_add(&mask)?)?;
        let attended = weights.reshape((c.kv_heads, group * n, n))?.matmul(&v)?.reshape((c.heads, n, c.head_size))?;
        let attended = attended.transpose(0, 1)?.contiguous()?.reshape((n, c.heads * c.head_size))?;
        see(Stage::Heads, &attended)?;
        let x = (x + self.apply(O, &attended)?)?;
        let normed = ops::rms_norm(&x, &self.norms[1], c.norm_epsilon)?;
        see(Stage::FeedForward, &normed)?;
        let hidden = (ops::silu(&self.apply(Gate, &normed)?)? * self.apply(Up, &normed)?)?;
        see(Stage::Hidden, &hidden)?;
        x + self.apply(Down, &hidden)?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        backend::{Backend, Segment},
        candle::{CandleModel, device},
        tiny::{Kind, write_model},
    };

    #[test]
    fn layers_make_of_a_text_what_the_reference_makes_of_it() {
        for kind in [Kind::Llama, Kind::Qwen2] {
            let dir = tempfile::tempdir().unwrap();
            write_model(dir.path(), kind);
            let source = Source::open(dir.path()).unwrap();
            let config = source.config().unwrap();
            let (c, tokens): (_, Vec<u32>) = (&config, (0..40).map(|i| (i * i * 7 + 3) % 256).collect());
            let device = device().unwrap();
            let turns = turns(c, tokens.len(), &device).unwrap();
            let mut x = embed(&source, c, &tokens, &device).unwrap();
            for layer in 0..c.layers {
                x = Layer::load(&source, c, layer, Known::default(), &device)
                    .unwrap()
                    .forward(c, &x, &turns, |_, _| Ok(()))
                    .unwrap();
            }
            let norm = Tensor::from_vec(source.last_norm(c).unwrap(), c.hidden, &device).unwrap();
            let head = numbers(&source.head(c).unwrap());
            let head = Tensor::from_vec(head, (c.vocabulary, c.hidden), &device).unwrap();
            let scores = ops::rms_norm(&x, &norm, c.norm_epsilon).unwrap().matmul(&head.t().unwrap()).unwrap();
            let scores: Vec<f32> = scores.flatten_all().unwrap().to_vec1().unwrap();

            let mut reference = CandleModel::load(source, config, &[]).unwrap();
            let mut cache = reference.cache();
            let segment = Segment { tokens: &tokens, cache: &mut cache, adapter: None, scores: tokens.len() };
            let wanted = reference.each(&mut [segment]).unwrap().remove(0);
            let size = wanted.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            assert_eq!(scores.len(), wanted.len());
            assert!(scores.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-4 * size));
        }
    }
}
