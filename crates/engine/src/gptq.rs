//! Rounding a model to four bits with a calibration text: layer by layer, each with the inputs that it really gets.
//!
//! The text goes through one layer at a time, in `f32`, so that one layer is in memory. What enters its matrices is
//! summed up; they are rounded ([`checkpoint::gptq`]); and what the rounded layer makes of the text goes on to the next,
//! which so takes back what it can of the errors before it.

use std::path::PathBuf;

use candle_core::{Device, Result, Tensor};
use candle_nn::{ops, rotary_emb};
use checkpoint::{
    BlockFormat, Projection,
    gptq::{GptqError, Inputs, OutputErrors},
};

use crate::{
    EngineError,
    candle::device,
    config::{ModelConfig, Rotary},
    tokenizer::Tokenizer,
    weights::{Norm, Source, numbers},
};

/// Tokens that go through the model together, unless its context is shorter.
const LENGTH: usize = 512;
/// Fewer tokens than this say nothing about a model.
const LEAST: usize = 128;

/// What to round, to what.
#[derive(Clone, Debug)]
pub struct GptqOptions {
    /// The model: a GGUF file or a Hugging Face folder.
    pub model: PathBuf,
    /// The format; `Q4_0`, `Q4_1` or `Q4K`.
    pub format: BlockFormat,
    /// Rounds as files of GPTQ models have it ([`checkpoint::gptq::GROUP`]); the format is then
    /// [`checkpoint::gptq::GROUPED`].
    pub grouped: bool,
    /// Threads that round.
    pub threads: usize,
    /// Takes no more than so many tokens of the text.
    pub tokens: usize,
}

/// A matrix that was rounded, or could not be.
#[derive(Debug)]
pub struct GptqMatrix<'a> {
    /// Its name in the file that it is from.
    pub name: String,
    /// Its layer.
    pub layer: usize,
    /// Which of the layer's it is.
    pub projection: Projection,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Its blocks; none where its rows are no whole blocks.
    pub bytes: Option<&'a [u8]>,
    /// How far its outputs are off.
    pub errors: OutputErrors,
}

/// Why a model was not rounded.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The model cannot be loaded or computed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A matrix cannot be rounded.
    #[error("{name}: {reason}")]
    Gptq {
        /// The matrix.
        name: String,
        /// Why.
        reason: GptqError,
    },
    /// The calibration text is too short.
    #[error("the calibration text has {tokens} tokens; give one of at least {LEAST}, some ten thousand are good")]
    TooShort {
        /// Its length.
        tokens: usize,
    },
    /// A result was not taken.
    #[error("{0}")]
    Kept(std::io::Error),
}

impl From<candle_core::Error> for RoundError {
    fn from(error: candle_core::Error) -> Self {
        Self::Engine(error.into())
    }
}

/// Rounds all matrices of the layers, and hands each to `keep`. `known` has the blocks of those that were rounded before:
/// a layer of which all are known is not rounded again. `progress` is told the layers done and their number. The answer is
/// the number of tokens that were used.
///
/// # Errors
/// The model cannot be loaded or computed, the text is too short, or a result is not taken.
pub fn gptq(
    options: &GptqOptions,
    text: &str,
    known: impl Fn(&str) -> Option<Vec<u8>>,
    mut keep: impl FnMut(GptqMatrix<'_>) -> std::io::Result<()>,
    mut progress: impl FnMut(usize, usize) -> std::io::Result<()>,
) -> std::result::Result<usize, RoundError> {
    let source = Source::open(&options.model)?;
    let config = source.config()?;
    let tokens = tokens(&source, &config, text, options)?;
    let device = device()?;
    let c = &config;
    let length = LENGTH.min(c.context).min(tokens.len()).max(1);
    let turns = turns(c, length, &device)?;
    let mut samples: Vec<Tensor> = tokens
        .chunks_exact(length)
        .map(|tokens| embed(&source, c, tokens, &device))
        .collect::<std::result::Result<_, EngineError>>()?;
    let used = samples.len() * length;
    for number in 0..c.layers {
        let mut layer = Layer::load(&source, c, number, &device)?;
        let mut seen = [const { None::<Tensor> }; 4];
        let before = rounded_before(&source, c, number, options.format, &known)?;
        let is_known = before.is_some();
        for (p, shape, numbers) in before.into_iter().flatten() {
            layer.weights[p as usize] = Tensor::from_vec(numbers, shape, &device)?;
        }
        for x in samples.iter().filter(|_| !is_known) {
            layer.forward(c, x, &turns, |stage, input| {
                let products = input.t()?.matmul(input)?;
                let sum = match seen[stage as usize].take() {
                    Some(sum) => (sum + products)?,
                    None => products,
                };
                seen[stage as usize] = Some(sum);
                Ok(())
            })?;
        }
        for (stage, projections) in Stage::ALL {
            let Some(products) = seen[stage as usize].take() else { continue };
            let wrong = |p: Projection| {
                let name = source.projection_name(number, p);
                move |reason| RoundError::Gptq { name, reason }
            };
            let products: Vec<f32> = products.flatten_all()?.to_vec1()?;
            let inputs = Inputs::new(products, options.threads).map_err(wrong(projections[0]))?;
            for p in projections.iter().copied() {
                let view = source.projection(c, number, p)?;
                let mut matrix = GptqMatrix {
                    name: source.projection_name(number, p),
                    layer: number,
                    projection: p,
                    shape: [view.rows, view.columns],
                    bytes: None,
                    errors: OutputErrors::default(),
                };
                if options.format.row_bytes(view.columns).is_none() {
                    keep(matrix).map_err(RoundError::Kept)?;
                    continue;
                }
                let rounded = match options.grouped {
                    true => inputs.round_in_groups(&numbers(&view), options.threads),
                    false => inputs.round(&numbers(&view), options.format, options.threads),
                };
                let rounded = rounded.map_err(wrong(p))?;
                let mut back = vec![0.0; view.rows * view.columns];
                options.format.dequantize(&rounded.bytes, &mut back);
                layer.weights[p as usize] = Tensor::from_vec(back, (view.rows, view.columns), &device)?;
                (matrix.bytes, matrix.errors) = (Some(rounded.bytes.as_slice()), rounded.errors);
                keep(matrix).map_err(RoundError::Kept)?;
            }
        }
        for x in &mut samples {
            *x = layer.forward(c, x, &turns, |_, _| Ok(()))?;
        }
        progress(number + 1, c.layers).map_err(RoundError::Kept)?;
    }
    Ok(used)
}

/// The matrices of a layer that was rounded before; none where one of them is not known.
#[allow(clippy::type_complexity)]
fn rounded_before(
    source: &Source,
    c: &ModelConfig,
    layer: usize,
    format: BlockFormat,
    known: impl Fn(&str) -> Option<Vec<u8>>,
) -> std::result::Result<Option<Vec<(Projection, (usize, usize), Vec<f32>)>>, EngineError> {
    let mut matrices = Vec::new();
    for p in Projection::ALL {
        let view = source.projection(c, layer, p)?;
        // Those whose rows are no whole blocks stay as they are.
        let Some(row_bytes) = format.row_bytes(view.columns) else { continue };
        let Some(bytes) = known(&source.projection_name(layer, p)).filter(|b| b.len() == view.rows * row_bytes) else {
            return Ok(None);
        };
        let mut numbers = vec![0.0; view.rows * view.columns];
        format.dequantize(&bytes, &mut numbers);
        matrices.push((p, (view.rows, view.columns), numbers));
    }
    Ok(Some(matrices).filter(|matrices| !matrices.is_empty()))
}

/// The tokens of the text.
fn tokens(
    source: &Source,
    c: &ModelConfig,
    text: &str,
    options: &GptqOptions,
) -> std::result::Result<Vec<u32>, RoundError> {
    let tokenizer = match source {
        Source::Gguf(file) => Tokenizer::from_gguf(file)?,
        Source::HuggingFace(folder) => Tokenizer::from_huggingface(folder, c.vocabulary)?,
    };
    let wrong = |reason: String| EngineError::Model { path: options.model.clone(), reason };
    let mut tokens = tokenizer.prompt(text, None).map_err(wrong)?;
    tokens.truncate(options.tokens.max(LEAST));
    if let Some(bad) = tokens.iter().find(|token| **token as usize >= c.vocabulary) {
        return Err(wrong(format!("its tokenizer gives the token {bad}, its weights have {}", c.vocabulary)).into());
    }
    if tokens.len() < LEAST {
        return Err(RoundError::TooShort { tokens: tokens.len() });
    }
    Ok(tokens)
}

fn embed(
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
fn turns(c: &ModelConfig, length: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let table = |f: fn(f64) -> f64| {
        let angles = (0..length).flat_map(|position| c.frequencies.iter().map(move |step| position as f64 * step));
        let numbers: Vec<f32> = angles.map(|angle| (f(angle) * c.turned_length) as f32).collect();
        Tensor::from_vec(numbers, (length, c.frequencies.len()), device)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

/// What matrices of a layer have the same inputs.
#[derive(Clone, Copy)]
enum Stage {
    Attention,
    Heads,
    FeedForward,
    Hidden,
}

impl Stage {
    const ALL: [(Self, &'static [Projection]); 4] = [
        (Self::Attention, &[Projection::Q, Projection::K, Projection::V]),
        (Self::Heads, &[Projection::O]),
        (Self::FeedForward, &[Projection::Gate, Projection::Up]),
        (Self::Hidden, &[Projection::Down]),
    ];
}

/// One layer in `f32`.
struct Layer {
    norms: [Tensor; 2],
    head_norms: Option<[Tensor; 2]>,
    /// By projection, as are the biases.
    weights: Vec<Tensor>,
    biases: Vec<Option<Tensor>>,
}

impl Layer {
    fn load(source: &Source, c: &ModelConfig, layer: usize, device: &Device) -> std::result::Result<Self, EngineError> {
        let vector = |numbers: Vec<f32>| {
            let length = numbers.len();
            Tensor::from_vec(numbers, length, device)
        };
        let matrix = |p| {
            let view = source.projection(c, layer, p)?;
            Ok::<_, EngineError>(Tensor::from_vec(numbers(&view), (view.rows, view.columns), device)?)
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
    fn forward(
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
        candle::CandleModel,
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
                x = Layer::load(&source, c, layer, &device).unwrap().forward(c, &x, &turns, |_, _| Ok(())).unwrap();
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

    #[test]
    fn every_matrix_is_handed_over_and_nearer_than_plain_rounding() {
        let dir = tempfile::tempdir().unwrap();
        write_model(dir.path(), Kind::Qwen2);
        let options =
            |format| GptqOptions { model: dir.path().into(), format, grouped: false, threads: 2, tokens: 2048 };
        let text: String = (0..900u32).map(|i| char::from(b'a' + (i * i / 7 % 26) as u8)).collect();
        let (mut names, mut sum, mut all) = (vec![], OutputErrors::default(), vec![]);
        let keep = |matrix: GptqMatrix<'_>| {
            assert_eq!(matrix.bytes.unwrap().len(), matrix.shape[0] * matrix.shape[1] / 32 * 18);
            sum = sum + matrix.errors;
            all.push((matrix.name.clone(), matrix.bytes.unwrap().to_vec()));
            names.push(matrix.name);
            Ok(())
        };
        let new = |_: &str| None;
        let used = gptq(&options(BlockFormat::Q4_0), &text, new, keep, |_, _| Ok(())).unwrap();
        assert_eq!((used, names.len()), (900, 21));
        assert_eq!(names[3], "model.layers.0.self_attn.o_proj.weight");
        assert!(sum.relative() < 0.8 * sum.relative_plain(), "{} {}", sum.relative(), sum.relative_plain());

        // With what is known of the first layers the others are the same, and nothing is rounded twice.
        let known = |name: &str| all[..14].iter().find(|(n, _)| n == name).map(|(_, bytes)| bytes.clone());
        let mut rest = vec![];
        let keep = |matrix: GptqMatrix<'_>| {
            rest.push((matrix.name, matrix.bytes.unwrap().to_vec()));
            Ok(())
        };
        gptq(&options(BlockFormat::Q4_0), &text, known, keep, |_, _| Ok(())).unwrap();
        assert!(rest == all[14..], "{} matrices", rest.len());

        // Rows of 64 numbers are no blocks of 256: they are left to who writes the file.
        let none = |matrix: GptqMatrix<'_>| {
            assert!(matrix.bytes.is_none());
            Ok(())
        };
        gptq(&options(BlockFormat::Q4K), &text, new, none, |_, _| Ok(())).unwrap();
        let short = gptq(&options(BlockFormat::Q4_0), "too short", new, |_| Ok(()), |_, _| Ok(())).unwrap_err();
        assert!(short.to_string().contains("has 9 tokens"), "{short}");
    }
}
