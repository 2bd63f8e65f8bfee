//! Rounding a model to four bits with a calibration text: layer by layer, each with the inputs that it really gets.
//!
//! The text goes through one layer at a time, in `f32`, so that one layer is in memory. What enters its matrices is
//! summed up; they are rounded ([`checkpoint::gptq`]); and what the rounded layer makes of the text goes on to the next,
//! which so takes back what it can of the errors before it.

mod layer;

use std::{io, path::PathBuf};

use candle_core::Tensor;
use checkpoint::{
    BlockFormat, Projection,
    gptq::{GptqError, Inputs, OutputErrors, To},
};
use layer::{Known, Layer, Stage, embed, turns};

use crate::{
    EngineError,
    candle::device,
    config::ModelConfig,
    tokenizer::Tokenizer,
    weights::{Source, numbers},
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
    /// What its matrices are rounded to.
    pub to: To,
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
    Kept(io::Error),
}

impl From<candle_core::Error> for RoundError {
    fn from(error: candle_core::Error) -> Self {
        Self::Engine(error.into())
    }
}

/// Rounds all matrices of the layers, and hands each to `keep`; one whose rows are no whole blocks stays as it is, and is
/// handed over without any. `known` has the blocks of those that were rounded before: a layer of which all are known is
/// not rounded again, and only what cannot be rounded of it is handed over. `progress` is told the layers done and their
/// number. The answer is the number of tokens that were used.
///
/// # Errors
/// The model cannot be loaded or computed, the text is too short, or a result is not taken or cannot be read.
pub fn gptq(
    options: &GptqOptions,
    text: &str,
    known: impl Fn(&str) -> io::Result<Option<Vec<u8>>>,
    mut keep: impl FnMut(GptqMatrix<'_>) -> io::Result<()>,
    mut progress: impl FnMut(usize, usize) -> io::Result<()>,
) -> Result<usize, RoundError> {
    let source = Source::open(&options.model)?;
    let config = source.config()?;
    let tokens = tokens(&source, &config, text, options)?;
    let device = device()?;
    let (c, format) = (&config, options.to.format());
    let length = LENGTH.min(c.context).min(tokens.len()).max(1);
    let turns = turns(c, length, &device)?;
    let mut samples: Vec<Tensor> = tokens
        .chunks_exact(length)
        .map(|tokens| embed(&source, c, tokens, &device))
        .collect::<Result<_, EngineError>>()?;
    let used = samples.len() * length;
    for number in 0..c.layers {
        let before = rounded_before(&source, c, number, format, &known)?;
        let is_known = before.is_some();
        let mut layer = Layer::load(&source, c, number, before.unwrap_or_default(), &device)?;
        let mut seen = [const { None::<Tensor> }; 4];
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
            let wrong = |p: Projection| {
                let name = source.projection_name(number, p);
                move |reason| RoundError::Gptq { name, reason }
            };
            let inputs = match seen[stage as usize].take() {
                Some(products) => {
                    let products: Vec<f32> = products.flatten_all()?.to_vec1()?;
                    Some(Inputs::new(products, options.threads).map_err(wrong(projections[0]))?)
                }
                None => None,
            };
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
                if format.row_bytes(view.columns).is_none() {
                    keep(matrix).map_err(RoundError::Kept)?;
                    continue;
                }
                let Some(inputs) = &inputs else { continue };
                let rounded = inputs.round(&numbers(&view), options.to, options.threads).map_err(wrong(p))?;
                let mut back = vec![0.0; view.rows * view.columns];
                format.dequantize(&rounded.bytes, &mut back);
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

/// The numbers of a layer's matrices that were rounded before; none where one of them is not known.
fn rounded_before(
    source: &Source,
    c: &ModelConfig,
    layer: usize,
    format: BlockFormat,
    known: impl Fn(&str) -> io::Result<Option<Vec<u8>>>,
) -> Result<Option<Known>, RoundError> {
    let mut matrices = Known::default();
    for p in Projection::ALL {
        let view = source.projection(c, layer, p)?;
        // Those whose rows are no whole blocks stay as they are.
        let Some(row_bytes) = format.row_bytes(view.columns) else { continue };
        let blocks = known(&source.projection_name(layer, p)).map_err(RoundError::Kept)?;
        let Some(blocks) = blocks.filter(|blocks| blocks.len() == view.rows * row_bytes) else { return Ok(None) };
        let mut numbers = vec![0.0; view.rows * view.columns];
        format.dequantize(&blocks, &mut numbers);
        matrices[p as usize] = Some(numbers);
    }
    Ok(Some(matrices).filter(|matrices| matrices.iter().any(Option::is_some)))
}

/// The tokens of the text.
fn tokens(source: &Source, c: &ModelConfig, text: &str, options: &GptqOptions) -> Result<Vec<u32>, RoundError> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tiny::{Kind, write_model};

    fn options(model: &Path, to: To) -> GptqOptions {
        GptqOptions { model: model.into(), to, threads: 2, tokens: 2048 }
    }

    /// A text of 900 tokens.
    fn text() -> String {
        (0..900u32).map(|i| char::from(b'a' + (i * i / 7 % 26) as u8)).collect()
    }

    #[test]
    fn every_matrix_is_handed_over_and_nearer_than_plain_rounding() {
        let dir = tempfile::tempdir().unwrap();
        write_model(dir.path(), Kind::Qwen2);
        let options = |format| options(dir.path(), To::Blocks(format));
        let text = text();
        let (mut names, mut sum, mut all) = (vec![], OutputErrors::default(), vec![]);
        let keep = |matrix: GptqMatrix<'_>| {
            assert_eq!(matrix.bytes.unwrap().len(), matrix.shape[0] * matrix.shape[1] / 32 * 18);
            sum = sum + matrix.errors;
            all.push((matrix.name.clone(), matrix.bytes.unwrap().to_vec()));
            names.push(matrix.name);
            Ok(())
        };
        let new = |_: &str| Ok(None);
        let used = gptq(&options(BlockFormat::Q4_0), &text, new, keep, |_, _| Ok(())).unwrap();
        assert_eq!((used, names.len()), (900, 21));
        assert_eq!(names[3], "model.layers.0.self_attn.o_proj.weight");
        assert!(sum.relative() < 0.8 * sum.relative_plain(), "{} {}", sum.relative(), sum.relative_plain());

        // With what is known of the first layers the others are the same, and nothing is rounded twice.
        let known = |name: &str| Ok(all[..14].iter().find(|(n, _)| n == name).map(|(_, bytes)| bytes.clone()));
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

    #[test]
    fn what_cannot_be_rounded_is_told_of_layers_that_were_rounded_before_too() {
        let dir = tempfile::tempdir().unwrap();
        write_model(dir.path(), Kind::Llama);
        // Rows of 96 numbers are whole blocks of 32; those of the down projection, cut to 80, are not.
        cut_columns(dir.path());
        let (mut all, mut odd) = (vec![], vec![]);
        let keep = |matrix: GptqMatrix<'_>| {
            match matrix.bytes {
                Some(bytes) => all.push((matrix.name, bytes.to_vec())),
                None => odd.push(matrix.name),
            }
            Ok(())
        };
        let options = options(dir.path(), To::Blocks(BlockFormat::Q4_1));
        gptq(&options, &text(), |_| Ok(None), keep, |_, _| Ok(())).unwrap();
        assert_eq!((all.len(), odd.len()), (18, 3), "{odd:?}");

        let known = |name: &str| Ok(all[..12].iter().find(|(n, _)| n == name).map(|(_, bytes)| bytes.clone()));
        let (mut rest, mut again) = (vec![], vec![]);
        let keep = |matrix: GptqMatrix<'_>| {
            match matrix.bytes {
                Some(bytes) => rest.push((matrix.name, bytes.to_vec())),
                None => again.push(matrix.name),
            }
            Ok(())
        };
        gptq(&options, &text(), known, keep, |_, _| Ok(())).unwrap();
        assert!(rest == all[12..], "{} matrices", rest.len());
        assert_eq!(again, odd);

        // What cannot be read is no layer to be rounded anew.
        let broken = |_: &str| Err(io::Error::other("the disk is gone"));
        let error = gptq(&options, &text(), broken, |_| Ok(()), |_, _| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "the disk is gone");
    }

    /// Takes the last sixteen of the numbers between the two halves of a layer's feed-forward part.
    fn cut_columns(folder: &Path) {
        let cut = |tensor: &checkpoint::Tensor<'_>| {
            let (name, shape, numbers) = (tensor.info.name.clone(), &tensor.info.shape, tensor.to_vec());
            let (shape, numbers): (_, Vec<f32>) = match shape[..] {
                [96, columns] => (vec![80, columns], numbers[..80 * columns].to_vec()),
                [rows, 96] => (vec![rows, 80], numbers.chunks(96).flat_map(|row| &row[..80]).copied().collect()),
                _ => (shape.clone(), numbers),
            };
            (name, shape, numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
        };
        let tensors: Vec<_> = checkpoint::Source::open(folder).unwrap().tensors().iter().map(cut).collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            (
                name.as_str(),
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap(),
            )
        });
        let file = safetensors::serialize(views, None).unwrap();
        std::fs::write(folder.join("model.safetensors"), file).unwrap();
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let config = config.replace(r#""intermediate_size":96"#, r#""intermediate_size":80"#);
        assert!(config.contains(r#""intermediate_size":80"#));
        std::fs::write(folder.join("config.json"), config).unwrap();
    }
}
