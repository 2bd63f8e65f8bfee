//! Matrices as GPTQ models of Hugging Face's form have them: whole numbers packed into words of 32 bits, with a scale and
//! a zero for each output and group of inputs.
//!
//! Of a matrix `X` of outputs by inputs there are `X.qweight` (inputs packed by outputs), `X.qzeros` (groups by outputs
//! packed), `X.scales` (groups by outputs) and, where groups are no runs, `X.g_idx` (the group of each input). A weight is
//! `scale * (whole - zero)`; the zero is stored less one, but in the form that calls itself `gptq_v2`. Source: the
//! layout of AutoGPTQ and GPTQModel.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{
    BlockFormat, Element, Source, Tensor,
    huggingface::read_json,
    source::{Info, Numbers, order, rows},
};

/// The four parts of a matrix.
const PARTS: [&str; 4] = ["qweight", "qzeros", "scales", "g_idx"];

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Layout {
    bits: u32,
    checkpoint_format: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    quantization_config: Layout,
}

/// The tensors of a model, with its packed matrices as the weights that they stand for.
///
/// # Errors
/// The parts of a matrix do not fit, or nothing says how many bits a number has; the message says which.
pub(super) fn weights<'a>(source: &'a Source, tensors: Vec<Tensor<'a>>) -> Result<Vec<Tensor<'a>>, String> {
    let stems: BTreeSet<String> =
        tensors.iter().filter_map(|t| t.info.name.strip_suffix(".qweight").map(str::to_owned)).collect();
    if stems.is_empty() {
        return Ok(tensors);
    }
    let layout = layout(source)?;
    let is_part =
        |name: &str| name.rsplit_once('.').is_some_and(|(stem, part)| PARTS.contains(&part) && stems.contains(stem));
    let (parts, mut all): (Vec<_>, Vec<_>) = tensors.into_iter().partition(|t| is_part(&t.info.name));
    // Scales and groups are kept in memory. Where parts shared their bytes, a small file could ask for any amount of it.
    let claimed = parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.info.bytes() as u64));
    let stored: u64 = source.files().map(|(_, bytes)| bytes).sum();
    if claimed.is_none_or(|claimed| claimed > stored) {
        return Err(format!("its packed matrices claim more bytes than the {stored} of its files"));
    }
    for stem in &stems {
        all.push(matrix(source, stem, &layout)?);
    }
    all.sort_by(|a, b| order::place(&a.info.name).cmp(&order::place(&b.info.name)));
    Ok(all)
}

/// What the folder says of the layout.
fn layout(source: &Source) -> Result<Layout, String> {
    let folder = source.folder();
    let own: Option<Layout> = read_json(&folder.join("quantize_config.json")).ok();
    let layout = own.or_else(|| Some(read_json::<Config>(&folder.join("config.json")).ok()?.quantization_config));
    let layout = layout.unwrap_or_default();
    match layout.bits {
        2 | 4 | 8 => Ok(layout),
        0 => Err("its matrices are packed, and neither quantize_config.json nor config.json says into how many bits; \
                  fetch the one that belongs to it"
            .into()),
        bits => Err(format!("its matrices are packed into {bits} bits; 2, 4 and 8 are read")),
    }
}

fn matrix<'a>(source: &'a Source, stem: &str, layout: &Layout) -> Result<Tensor<'a>, String> {
    let part = |name: &str| source.tensor(&format!("{stem}.{name}"));
    let need = |name: &str| part(name).ok_or_else(|| format!("it has {stem}.qweight, and no {stem}.{name}"));
    let (words, zeros, scales) = (need("qweight")?, need("qzeros")?, need("scales")?);
    let odd = || format!("the parts of {stem} do not fit: {:?}, {:?}, {:?}", words.info, zeros.info, scales.info);
    let packed = (32 / layout.bits) as usize;
    let (&[word_rows, outputs], &[groups, of_scales]) = (&words.info.shape[..], &scales.info.shape[..]) else {
        return Err(odd());
    };
    let inputs = word_rows.checked_mul(packed).filter(|n| n.checked_mul(outputs).is_some()).ok_or_else(odd)?;
    // With outputs, there are as many bytes in the file as there are inputs.
    let fits = word_rows > 0
        && outputs > 0
        && words.info.element == Element::I32
        && zeros.info.element == Element::I32
        && outputs == of_scales
        && outputs.is_multiple_of(packed)
        && zeros.info.shape == [groups, outputs / packed]
        && (1..=inputs.max(1)).contains(&groups);
    // Stored in one piece, as all safetensors are.
    if !fits || words.numbers.whole().is_none() || zeros.numbers.whole().is_none() {
        return Err(odd());
    }
    let group_of: Vec<usize> = match part("g_idx") {
        Some(index) if index.info.count() == inputs => index.to_vec().into_iter().map(|g| g as usize).collect(),
        Some(_) => return Err(odd()),
        None => (0..inputs).map(|i| i / inputs.div_ceil(groups).max(1)).collect(),
    };
    if group_of.iter().any(|group| *group >= groups) {
        return Err(format!("{stem}.g_idx names a group that {stem}.scales does not have"));
    }
    let less_one = layout.checkpoint_format.as_deref() != Some("gptq_v2");
    let info = Info {
        name: format!("{stem}.weight"),
        shape: vec![outputs, inputs],
        element: Element::Block(BlockFormat::F16),
    };
    let scales = scales.to_vec();
    Ok(Tensor {
        info,
        numbers: Box::new(Packed { words, zeros, scales, group_of, outputs, bits: layout.bits, less_one }),
    })
}

/// A packed matrix.
struct Packed<'a> {
    words: Tensor<'a>,
    zeros: Tensor<'a>,
    scales: Vec<f32>,
    group_of: Vec<usize>,
    outputs: usize,
    bits: u32,
    less_one: bool,
}

impl Numbers for Packed<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        let (Some(words), Some(zeros)) = (self.words.numbers.whole(), self.zeros.numbers.whole()) else { return };
        let (words, zeros) = (words.as_chunks::<4>().0, zeros.as_chunks::<4>().0);
        let (per_word, mask) = ((32 / self.bits) as usize, (1u32 << self.bits) - 1);
        let quant = |words: &[[u8; 4]], at: usize, place: usize| {
            let word = words.get(at).map_or(0, |word| u32::from_le_bytes(*word));
            (word >> (place as u32 * self.bits)) & mask
        };
        for (row, columns, place) in rows(from, out.len(), self.group_of.len()) {
            for (i, out) in columns.zip(&mut out[place]) {
                let whole = quant(words, i / per_word * self.outputs + row, i % per_word);
                let group = self.group_of.get(i).copied().unwrap_or_default();
                let zero = quant(zeros, group * (self.outputs / per_word) + row / per_word, row % per_word);
                let zero = if self.less_one { zero + 1 } else { zero };
                let scale = self.scales.get(group * self.outputs + row).copied().unwrap_or_default();
                *out = scale * (whole as f32 - zero as f32);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::write::{self, Container, Planned, WriteOptions};

    /// A matrix of 8 outputs by 16 inputs in groups of 8, of which all numbers are known.
    fn folder(path: &Path, config: &str, index: Option<Vec<i32>>) {
        let whole = |output: usize, input: usize| ((output * 5 + input * 3) % 16) as u32;
        let words: Vec<u32> = (0..2)
            .flat_map(|w| (0..8).map(move |o| (0..8).fold(0, |word, i| word | whole(o, w * 8 + i) << (4 * i))))
            .collect();
        // The zero of an output is 7 in the first group and its number in the second, less one.
        let zeros = [(0..8).fold(0u32, |word, o| word | 6 << (4 * o)), (0..8).fold(0, |word, o| word | o << (4 * o))];
        let scales: Vec<f32> = (0..16).map(|n| 0.25 + n as f32 / 16.0).collect();
        let words: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let zeros: Vec<u8> = zeros.into_iter().flat_map(u32::to_le_bytes).collect();
        let scales: Vec<u8> = scales.into_iter().flat_map(f32::to_le_bytes).collect();
        let index: Option<Vec<u8>> = index.map(|index| index.into_iter().flat_map(i32::to_le_bytes).collect());
        let named =
            |name: &str, shape: &[usize], element| Info { name: format!("x.{name}"), shape: shape.into(), element };
        let mut tensors = vec![
            Tensor::stored(named("qweight", &[2, 8], Element::I32), &words),
            Tensor::stored(named("qzeros", &[2, 1], Element::I32), &zeros),
            Tensor::stored(named("scales", &[2, 8], Element::F32), &scales),
        ];
        tensors.extend(index.as_ref().map(|index| Tensor::stored(named("g_idx", &[16], Element::I32), index)));
        let planned: Vec<Planned<'_>> = tensors.into_iter().map(Planned::kept).collect();
        let options = WriteOptions::new("test");
        write::folder(path, Container::Safetensors, &planned, &[], &options, &|_, _| true).unwrap();
        fs::write(path.join("quantize_config.json"), config).unwrap();
    }

    fn read(path: &Path) -> Result<Tensor<'static>, String> {
        let source = Box::leak(Box::new(Source::open(path).unwrap()));
        let mut all = weights(source, source.tensors())?;
        assert_eq!(all.len(), 1);
        Ok(all.remove(0))
    }

    #[test]
    fn packed_matrices_become_weights() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = |output: usize, input: usize, group: usize, more: f32| {
            let whole = ((output * 5 + input * 3) % 16) as f32;
            let zero = if group == 0 { 6.0 } else { output as f32 } + more;
            (0.25 + (group * 8 + output) as f32 / 16.0) * (whole - zero)
        };
        let plain = |output: usize, input: usize| (output, input, input / 8);
        let turned = |output: usize, input: usize| (output, input, 1 - input % 2);
        let index: Vec<i32> = (0..16).map(|i| 1 - i % 2).collect();
        for (name, config, index, group, more) in [
            ("runs", r#"{"bits": 4, "group_size": 8}"#, None, plain as fn(usize, usize) -> _, 1.0),
            ("v2", r#"{"bits": 4, "checkpoint_format": "gptq_v2"}"#, None, plain, 0.0),
            ("index", r#"{"bits": 4, "desc_act": true}"#, Some(index), turned, 1.0),
        ] {
            let path = dir.path().join(name);
            folder(&path, config, index);
            let tensor = read(&path).unwrap();
            assert_eq!((tensor.info.name.as_str(), &tensor.info.shape[..]), ("x.weight", &[8, 16][..]));
            for (n, x) in tensor.to_vec().into_iter().enumerate() {
                let (output, input, group) = group(n / 16, n % 16);
                assert_eq!(x, wanted(output, input, group, more), "{name}: {output} {input}");
            }
            // Any part of them is what it is in the whole.
            let mut part = vec![0.0; 20];
            tensor.numbers.read(7, &mut part);
            assert_eq!(part, tensor.to_vec()[7..27]);
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let dir = tempfile::tempdir().unwrap();
        for (name, config, index, words) in [
            ("a", "{}", None, "into how many bits"),
            ("b", r#"{"bits": 3}"#, None, "packed into 3 bits"),
            ("c", r#"{"bits": 8}"#, None, "do not fit"),
            ("d", r#"{"bits": 4}"#, Some(vec![2; 16]), "names a group"),
            ("e", r#"{"bits": 4}"#, Some(vec![-1; 16]), "x.weight"),
        ] {
            let path = dir.path().join(name);
            folder(&path, config, index);
            match read(&path) {
                Err(reason) => assert!(reason.contains(words), "{reason}"),
                // What is below nothing counts as nothing.
                Ok(tensor) => assert_eq!(tensor.info.name, words),
            }
        }
    }
}
