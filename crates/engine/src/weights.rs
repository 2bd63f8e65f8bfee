//! The weights of a model by role, whatever file they are in.

use std::path::{Path, PathBuf};

use checkpoint::{BlockFormat, Gguf, HuggingFace, Projection, TensorView};

use crate::{
    EngineError,
    config::{ModelConfig, Rotary},
};

/// An opened model: a GGUF file or a Hugging Face folder.
#[derive(Debug)]
pub(crate) enum Source {
    Gguf(Box<Gguf>),
    HuggingFace(Box<HuggingFace>),
}

/// A weight of a layer beside its projections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Norm {
    Attention,
    FeedForward,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        if path.is_dir() {
            return Ok(Self::HuggingFace(Box::new(HuggingFace::open(path)?)));
        }
        Ok(Self::Gguf(Box::new(Gguf::open(path)?)))
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Gguf(file) => file.path().into(),
            Self::HuggingFace(folder) => folder.path().into(),
        }
    }

    /// Says that these bytes of a tensor will not be read soon again: they need not be kept in memory.
    pub(crate) fn done_with(&self, bytes: &[u8]) {
        match self {
            Self::Gguf(file) => file.done_with(bytes),
            Self::HuggingFace(folder) => folder.done_with(bytes),
        }
    }

    pub(crate) fn config(&self) -> Result<ModelConfig, EngineError> {
        match self {
            Self::Gguf(file) => {
                let mut config = ModelConfig::from_gguf(file.path(), file.directory())?;
                // Llama 3.1 and later: what each angle is divided by.
                if let Some(factors) = file.find("rope_freqs.weight") {
                    stretch(&mut config.frequencies, &numbers(&factors))
                        .map_err(|reason| EngineError::Model { path: self.path(), reason })?;
                }
                Ok(config)
            }
            Self::HuggingFace(folder) => ModelConfig::from_huggingface(folder.path(), folder.config()),
        }
    }

    fn need(&self, gguf: &str, huggingface: &str) -> Result<TensorView<'_>, EngineError> {
        match self {
            Self::Gguf(file) => Ok(file.tensor(gguf)?),
            Self::HuggingFace(folder) => Ok(folder.tensor(huggingface)?),
        }
    }

    fn may(&self, gguf: &str, huggingface: &str) -> Option<TensorView<'_>> {
        match self {
            Self::Gguf(file) => file.find(gguf),
            Self::HuggingFace(folder) => folder.find(huggingface),
        }
    }

    fn checked<'a>(
        &self,
        view: TensorView<'a>,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<TensorView<'a>, EngineError> {
        if (view.rows, view.columns) != (rows, columns) {
            return Err(EngineError::Model {
                path: self.path(),
                reason: format!(
                    "tensor {name} is {} x {}, its configuration says {rows} x {columns}",
                    view.rows, view.columns
                ),
            });
        }
        Ok(view)
    }

    pub(crate) fn embedding(&self, c: &ModelConfig) -> Result<TensorView<'_>, EngineError> {
        let view = self.need("token_embd.weight", "model.embed_tokens.weight")?;
        self.checked(view, "of the embedding", c.vocabulary, c.hidden)
    }

    /// The output layer; the embedding again where they are tied: in a GGUF file that has none, and in a folder that says
    /// so. (Where a folder says nothing, none of the architectures that are read is tied.)
    pub(crate) fn head(&self, c: &ModelConfig) -> Result<TensorView<'_>, EngineError> {
        if let Some(view) = self.may("output.weight", "lm_head.weight") {
            return self.checked(view, "of the output", c.vocabulary, c.hidden);
        }
        match self {
            Self::HuggingFace(folder) if !folder.config().tie_word_embeddings => Err(EngineError::Model {
                path: self.path(),
                reason: "it has no tensor lm_head.weight, and its config.json does not say that the embedding takes its \
                         place (tie_word_embeddings); fetch the files again, or set it to true if the model was trained so"
                    .into(),
            }),
            _ => self.embedding(c),
        }
    }

    pub(crate) fn last_norm(&self, c: &ModelConfig) -> Result<Vec<f32>, EngineError> {
        let view = self.need("output_norm.weight", "model.norm.weight")?;
        Ok(numbers(&self.checked(view, "of the last norm", 1, c.hidden)?))
    }

    pub(crate) fn norm(&self, c: &ModelConfig, layer: usize, norm: Norm) -> Result<Vec<f32>, EngineError> {
        let (gguf, huggingface) = match norm {
            Norm::Attention => ("attn_norm", "input_layernorm"),
            Norm::FeedForward => ("ffn_norm", "post_attention_layernorm"),
        };
        let name = format!("model.layers.{layer}.{huggingface}.weight");
        let view = self.need(&format!("blk.{layer}.{gguf}.weight"), &name)?;
        Ok(numbers(&self.checked(view, &name, 1, c.hidden)?))
    }

    pub(crate) fn projection(
        &self,
        c: &ModelConfig,
        layer: usize,
        p: Projection,
    ) -> Result<TensorView<'_>, EngineError> {
        let name = format!("model.layers.{layer}.{}.weight", p.path());
        let view = self.need(&format!("blk.{layer}.{}.weight", gguf_name(p)), &name)?;
        let (rows, columns) = c.shape(p);
        self.checked(view, &name, rows, columns)
    }

    /// The name that a projection has in the file.
    pub(crate) fn projection_name(&self, layer: usize, p: Projection) -> String {
        match self {
            Self::Gguf(_) => format!("blk.{layer}.{}.weight", gguf_name(p)),
            Self::HuggingFace(_) => format!("model.layers.{layer}.{}.weight", p.path()),
        }
    }

    /// The norms of each head's queries and keys, in models that have them.
    pub(crate) fn head_norms(&self, c: &ModelConfig, layer: usize) -> Result<Option<[Vec<f32>; 2]>, EngineError> {
        if !c.head_norms {
            return Ok(None);
        }
        let norm = |gguf: &str, huggingface: &str| {
            let name = format!("model.layers.{layer}.self_attn.{huggingface}.weight");
            let view = self.need(&format!("blk.{layer}.{gguf}.weight"), &name)?;
            Ok::<_, EngineError>(numbers(&self.checked(view, &name, 1, c.head_size)?))
        };
        Ok(Some([norm("attn_q_norm", "q_norm")?, norm("attn_k_norm", "k_norm")?]))
    }

    /// What is added to a projection's result, in models that have it.
    pub(crate) fn bias(&self, c: &ModelConfig, layer: usize, p: Projection) -> Result<Option<Vec<f32>>, EngineError> {
        let name = format!("model.layers.{layer}.{}.bias", p.path());
        let Some(view) = self.may(&format!("blk.{layer}.{}.bias", gguf_name(p)), &name) else { return Ok(None) };
        Ok(Some(numbers(&self.checked(view, &name, 1, c.shape(p).0)?)))
    }

    /// Whether the weights are rounded to blocks, in their file or while they are loaded.
    pub(crate) fn is_rounded(&self, config: &ModelConfig) -> bool {
        config.rounded_to.is_some() || self.formats().0.block() > 1
    }

    /// The storage format of most weights, and how many weights there are.
    pub(crate) fn formats(&self) -> (BlockFormat, u64) {
        let mut counts: Vec<(BlockFormat, u64)> = BlockFormat::ALL.into_iter().map(|f| (f, 0)).collect();
        let mut add = |format, n: usize| {
            if let Some(entry) = counts.iter_mut().find(|c| c.0 == format) {
                entry.1 += n as u64;
            }
        };
        match self {
            Self::Gguf(file) => {
                file.directory().tensors.values().for_each(|t| add(t.format, t.rows.saturating_mul(t.columns)));
            }
            Self::HuggingFace(folder) => folder.tensors().for_each(|(_, format, n)| add(format, n)),
        }
        let total = counts.iter().map(|c| c.1).sum();
        let main = counts.into_iter().max_by_key(|c| c.1).map_or(BlockFormat::F32, |c| c.0);
        (main, total)
    }
}

fn gguf_name(p: Projection) -> &'static str {
    match p {
        Projection::Q => "attn_q",
        Projection::K => "attn_k",
        Projection::V => "attn_v",
        Projection::O => "attn_output",
        Projection::Gate => "ffn_gate",
        Projection::Up => "ffn_up",
        Projection::Down => "ffn_down",
    }
}

/// Divides each angle by its factor.
fn stretch(frequencies: &mut [f64], factors: &[f32]) -> Result<(), String> {
    if factors.len() != frequencies.len() {
        let (n, pairs) = (factors.len(), frequencies.len());
        return Err(format!("its tensor rope_freqs.weight has {n} numbers, its heads have {pairs} angles"));
    }
    if let Some(bad) = factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
        return Err(format!("its tensor rope_freqs.weight holds {bad}, by which no angle can be divided"));
    }
    frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= f64::from(*factor));
    Ok(())
}

/// A tensor's rows rounded to blocks; nothing when it stays as it is, because nothing is asked for, it is quantized
/// already, or its rows are no whole number of blocks.
pub(crate) fn rounded(view: &TensorView<'_>, to: Option<BlockFormat>) -> Option<Vec<u8>> {
    let to = to.filter(|_| view.format.block() == 1)?;
    let (from_row, to_row) = (view.format.row_bytes(view.columns)?, to.row_bytes(view.columns)?);
    if from_row == 0 || view.bytes.len() != from_row.checked_mul(view.rows)? {
        return None;
    }
    let mut out = vec![0; to_row.checked_mul(view.rows)?];
    let mut numbers = vec![0.0; view.columns];
    for (row, out) in view.bytes.chunks_exact(from_row).zip(out.chunks_exact_mut(to_row)) {
        view.format.dequantize(row, &mut numbers);
        to.quantize(&numbers, out);
    }
    Some(out)
}

/// All numbers of a tensor.
pub(crate) fn numbers(view: &TensorView<'_>) -> Vec<f32> {
    let mut out = vec![0.0; view.rows * view.columns];
    view.format.dequantize(view.bytes, &mut out);
    out
}

/// Brings the rows of an adapter's `B` for `q_proj` or `k_proj` (Hugging Face order: halves of a head) into
/// the order of the base's rows. GGUF files of LLaMA models interleave the two halves of each head.
pub(crate) fn match_rotary(b: &mut [f32], rank: usize, head_size: usize, rotary: Rotary) {
    if rotary == Rotary::Halves {
        return;
    }
    let half = head_size / 2;
    for head in b.chunks_exact_mut(head_size * rank) {
        let original = head.to_vec();
        for (i, row) in original.chunks_exact(rank).enumerate() {
            let to = if i < half { 2 * i } else { 2 * (i - half) + 1 };
            head[to * rank..][..rank].copy_from_slice(row);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn factors_of_angles_are_as_many_as_angles_and_divide() {
        let divided = |factors: &[f32]| {
            let mut frequencies = vec![1.0, 0.5];
            stretch(&mut frequencies, factors).map(|()| frequencies)
        };
        assert_eq!(divided(&[1.0, 8.0]).unwrap(), [1.0, 0.0625]);
        let error = "its tensor rope_freqs.weight has 3 numbers, its heads have 2 angles";
        assert_eq!(divided(&[1.0; 3]).unwrap_err(), error);
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let error = format!("its tensor rope_freqs.weight holds {bad}, by which no angle can be divided");
            assert_eq!(divided(&[1.0, bad]).unwrap_err(), error);
        }
    }

    #[test]
    fn a_missing_output_layer_is_the_embedding_only_where_they_are_tied() {
        let dir = tempfile::tempdir().unwrap();
        crate::tiny::write_model(dir.path(), crate::tiny::Kind::Llama);
        let (weights, config) = (dir.path().join("model.safetensors"), dir.path().join("config.json"));
        let bytes = std::fs::read(&weights).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let rest = file.tensors().into_iter().filter(|(name, _)| name != "lm_head.weight");
        std::fs::write(&weights, safetensors::serialize(rest, None).unwrap()).unwrap();
        let head_is_embedding = || {
            let source = Source::open(dir.path()).unwrap();
            let c = source.config().unwrap();
            source.head(&c).map(|head| head.bytes.as_ptr() == source.embedding(&c).unwrap().bytes.as_ptr())
        };
        let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        for (tied, fine) in [(Some(true), true), (Some(false), false), (None, false)] {
            match tied {
                Some(tied) => json["tie_word_embeddings"] = tied.into(),
                None => drop(json.as_object_mut().unwrap().remove("tie_word_embeddings")),
            }
            std::fs::write(&config, json.to_string()).unwrap();
            match head_is_embedding() {
                Ok(same) => assert!(fine && same),
                Err(error) => assert!(!fine && error.to_string().contains("no tensor lm_head.weight"), "{error}"),
            }
        }
    }

    #[test]
    fn rows_of_each_head_are_interleaved_for_gguf_bases() {
        // Two heads of four rows, rank 1.
        let mut b = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        match_rotary(&mut b, 1, 4, Rotary::Halves);
        assert_eq!(b, [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0]);
        match_rotary(&mut b, 1, 4, Rotary::Interleaved);
        assert_eq!(b, [0.0, 2.0, 1.0, 3.0, 10.0, 12.0, 11.0, 13.0]);
    }
}
