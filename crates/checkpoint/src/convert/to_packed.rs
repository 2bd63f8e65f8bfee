//! A model as a folder of Hugging Face's form whose matrices are packed as GPTQ models have them: [`super::packed`] reads
//! it, and so do other programs (AutoGPTQ, GPTQModel, transformers).

use std::path::Path;

use half::f16;
use serde_json::{Value, json};

use super::{ConvertError, as_huggingface, companions};
use crate::{
    BlockFormat, Element, Source, Tensor,
    diff::Outcome,
    gptq::{DAMPING, GROUP, GROUPED, Kept},
    source::{Info, Kind, Numbers, rows},
    write::{self, Companion, Container, Content, Planned, Progress, WriteOptions},
};

/// Numbers of four bits in a word.
const IN_WORD: usize = 8;
/// Numbers, and bytes, of a block of [`GROUPED`].
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 20;

/// Writes a model whose matrices were rounded in groups; everything else is stored in 16 bits.
///
/// # Errors
/// The model is no folder of Hugging Face's form, a matrix was not rounded so, or the result cannot be written.
pub fn to_packed(
    source: &Source,
    rounded: &Kept,
    out: &Path,
    options: &WriteOptions,
    progress: Progress<'_>,
) -> Result<Outcome, ConvertError> {
    let wrong = |reason: String| ConvertError::Unsupported { path: source.path().into(), reason };
    if !matches!(source.kind(), Kind::Safetensors | Kind::PyTorch) {
        return Err(wrong("its matrices have other names; convert it to a Hugging Face folder first".into()));
    }
    let half = Element::Block(BlockFormat::F16);
    let mut planned = Vec::new();
    for tensor in as_huggingface(source)? {
        let stem = tensor.info.name.strip_suffix(".weight").map(str::to_owned);
        match stem.zip(rounded.blocks(&tensor.info.name)) {
            Some((stem, ([outputs, inputs], format, blocks))) => {
                let fits =
                    format == GROUPED && outputs.is_multiple_of(IN_WORD) && tensor.info.shape == [outputs, inputs];
                if !fits {
                    let shape = &tensor.info.shape;
                    return Err(wrong(format!(
                        "its matrix {stem} of {shape:?} cannot be packed into words of 8 numbers"
                    )));
                }
                planned.extend(parts(&stem, outputs, inputs, blocks).map(Planned::kept));
            }
            None => planned.push(super::stored_as(tensor, Some(half))),
        }
    }
    let mut notes = Vec::new();
    let mut companions = companions(source, Some(half), &mut notes)?;
    // All matrices of a layer were rounded with what they got in one pass of the text.
    let layout = json!({
        "quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": false, "sym": false,
        "true_sequential": false, "damp_percent": DAMPING, "checkpoint_format": "gptq", "lm_head": false,
    });
    companions.iter_mut().filter(|c| c.name == "config.json").for_each(|c| describe(c, &layout));
    let content = Content::Bytes(format!("{layout:#}\n").into_bytes());
    companions.push(Companion { name: "quantize_config.json".into(), content });
    let mut options = options.clone();
    options.reads(source);
    options.inputs.push(rounded.fingerprint());
    let manifest = write::folder(out, Container::Safetensors, &planned, &companions, &options, progress)?;
    Ok(Outcome { manifest, notes })
}

/// Says in the configuration how matrices are packed.
fn describe(config: &mut Companion, layout: &Value) {
    let Content::Bytes(bytes) = &config.content else { return };
    let Ok(mut json) = serde_json::from_slice::<Value>(bytes) else { return };
    json["quantization_config"] = layout.clone();
    config.content = Content::Bytes(format!("{json:#}\n").into_bytes());
}

/// The four tensors of a matrix.
fn parts<'a>(stem: &str, outputs: usize, inputs: usize, blocks: &'a [u8]) -> [Tensor<'a>; 4] {
    let groups = inputs.div_ceil(GROUP);
    let part = |name: &str, shape: Vec<usize>, element, what| {
        let info = Info { name: format!("{stem}.{name}"), shape, element };
        Tensor { info, numbers: Box::new(Part { blocks, outputs, inputs, element, what }) }
    };
    [
        part("qweight", vec![inputs / IN_WORD, outputs], Element::I32, What::Words),
        part("qzeros", vec![groups, outputs / IN_WORD], Element::I32, What::Zeros),
        part("scales", vec![groups, outputs], Element::Block(BlockFormat::F16), What::Scales),
        part("g_idx", vec![inputs], Element::I32, What::Groups),
    ]
}

/// What a part of a packed matrix holds.
#[derive(Clone, Copy)]
enum What {
    /// Eight inputs of an output in a word.
    Words,
    /// The zeros of eight outputs of a group in a word, each less one.
    Zeros,
    /// The scale of each output of a group.
    Scales,
    /// The group of each input.
    Groups,
}

/// A part of a packed matrix, gathered out of the blocks of its rows while it is asked for.
struct Part<'a> {
    blocks: &'a [u8],
    outputs: usize,
    inputs: usize,
    element: Element,
    what: What,
}

impl Part<'_> {
    /// The block of an output that begins at, or holds, an input.
    fn block(&self, output: usize, input: usize) -> &[u8] {
        let at = (output * (self.inputs / BLOCK) + input / BLOCK) * BLOCK_BYTES;
        self.blocks.get(at..at + BLOCK_BYTES).unwrap_or(&[0; BLOCK_BYTES])
    }

    fn scale(&self, output: usize, group: usize) -> f16 {
        let block = self.block(output, group * GROUP);
        f16::from_le_bytes([block[0], block[1]])
    }

    /// The zero of a group, which its minimum is a multiple of.
    fn zero(&self, output: usize, group: usize) -> u32 {
        let block = self.block(output, group * GROUP);
        let least = f16::from_le_bytes([block[2], block[3]]).to_f32();
        // As a whole number, since what is none cannot be brought between two others.
        ((-least / self.scale(output, group).to_f32()).round() as u32).clamp(1, 15)
    }

    /// Eight inputs from `input` on, the first in the lowest bits.
    fn word(&self, output: usize, input: usize) -> u32 {
        let quants = &self.block(output, input)[4..];
        let place = input % BLOCK;
        // A block has number `j` in the low half of a byte and number `j + 16` in its high half.
        let (from, shift) = (place % 16, place / 16 * 4);
        let each = quants[from..from + IN_WORD].iter().enumerate();
        each.fold(0, |word, (k, byte)| word | (u32::from(byte >> shift) & 15) << (4 * k))
    }
}

impl Numbers for Part<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        let mut bytes = vec![0; out.len() * self.element.block_bytes()];
        self.copy(from, &mut bytes);
        self.element.unpack(&bytes, out);
    }

    fn copy(&self, from: usize, out: &mut [u8]) -> bool {
        let size = self.element.block_bytes();
        let columns = match self.what {
            What::Words | What::Scales => self.outputs,
            What::Zeros => self.outputs / IN_WORD,
            What::Groups => self.inputs,
        };
        for (row, columns, place) in rows(from, out.len() / size, columns) {
            let out = out[place.start * size..place.end * size].chunks_exact_mut(size);
            for (column, out) in columns.zip(out) {
                match self.what {
                    What::Words => out.copy_from_slice(&self.word(column, row * IN_WORD).to_le_bytes()),
                    What::Scales => out.copy_from_slice(&self.scale(column, row).to_le_bytes()),
                    What::Groups => out.copy_from_slice(&((column / GROUP) as u32).to_le_bytes()),
                    What::Zeros => {
                        let zero = |k| (self.zero(column * IN_WORD + k, row) - 1) << (4 * k);
                        out.copy_from_slice(&(0..IN_WORD).fold(0, |word, k| word | zero(k)).to_le_bytes());
                    }
                }
            }
        }
        true
    }
}
