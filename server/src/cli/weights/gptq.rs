//! The part of `knowlm weights quantize` that rounds with a calibration text.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use checkpoint::{
    BlockFormat, Source,
    gptq::{Kept, OutputErrors, rounds_to},
    source::Kind,
};
use clap::Args;
use engine::{GptqOptions, gptq};
use serde::Serialize;

use crate::cli::{CliError, load::Shown};

/// What is read where no text is named: prose, letters, code and documentation, in English and Chinese. The text that
/// perplexities are measured on is another.
const TEXT: &str = include_str!("../../../../assets/texts/calibration.txt");

/// Options of rounding with a text.
#[derive(Debug, Args)]
pub struct GptqArgs {
    /// Round with GPTQ: later columns of a matrix take back what rounding the earlier ones did wrong
    #[arg(long)]
    pub gptq: bool,
    /// The text that GPTQ lets the model read, in UTF-8; best of the kind that the model is for [default: a built-in
    /// text in English and Chinese]
    #[arg(long, value_name = "FILE", requires = "gptq")]
    calibration: Option<PathBuf>,
    /// Read no more than so many tokens of it
    #[arg(long, value_name = "NUMBER", requires = "gptq", default_value_t = 65536)]
    calibration_tokens: usize,
}

/// How far the outputs of matrices are off on the calibration text.
#[derive(Debug, Serialize)]
pub struct Outputs {
    pub calibration_tokens: usize,
    /// Of each layer, over all its matrices.
    pub layers: Vec<LayerOutputs>,
    pub matrices: Vec<MatrixOutputs>,
}

/// Those of a layer.
#[derive(Debug, Serialize)]
pub struct LayerOutputs {
    pub layer: usize,
    /// The root of the mean squared error over that of the outputs.
    pub relative_rms: f64,
    /// The same, were every number rounded by itself.
    pub plain: f64,
}

/// Those of a matrix.
#[derive(Debug, Serialize)]
pub struct MatrixOutputs {
    pub name: String,
    pub relative_rms: f64,
    pub plain: f64,
}

impl GptqArgs {
    /// Rounds the matrices of a model's layers into a file beside the result.
    pub fn round(
        &self,
        source: &Source,
        format: BlockFormat,
        out: &Path,
        threads: usize,
        notes: &mut Vec<String>,
    ) -> Result<(Kept, Outputs), CliError> {
        if !rounds_to(format) {
            let name = format.name().to_lowercase();
            return Err(CliError::Usage(format!("--gptq rounds to q4_0, q4_1 or q4_k, not to {name}")));
        }
        let model = match source.kind() {
            Kind::Gguf => source.files().next().map_or(source.path(), |(path, _)| path),
            Kind::Safetensors | Kind::PyTorch => source.path(),
            kind @ (Kind::OriginalLlama | Kind::Numpy) => {
                let (name, path) = (kind.name(), source.path().display());
                return Err(CliError::Failed(format!(
                    "--gptq computes with the model, and {path} is of the form \"{name}\": convert it first with \
                     `knowlm weights convert {path} --to hf --out FOLDER`"
                )));
            }
        };
        let text = match &self.calibration {
            Some(file) => super::perplexity::text(Some(file))?,
            None => TEXT.into(),
        };
        let kept_at = beside(out);
        let unwritten = |e: std::io::Error| CliError::Failed(format!("{} cannot be written: {e}", kept_at.display()));
        if let Some(folder) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(unwritten)?;
        }
        let mut kept = Kept::new(&kept_at).map_err(unwritten)?;
        let (mut matrices, mut layers, mut odd) = (Vec::new(), BTreeMap::<usize, OutputErrors>::new(), 0);
        let options = GptqOptions { model: model.into(), format, threads, tokens: self.calibration_tokens };
        let shown = Shown::start();
        shown.step("GPTQ: reading the calibration text");
        let done = gptq(
            &options,
            &text,
            |matrix| {
                let Some(bytes) = matrix.bytes else {
                    odd += 1;
                    return Ok(());
                };
                kept.put(&matrix.name, matrix.shape, format, bytes)?;
                let of_layer = layers.entry(matrix.layer).or_default();
                *of_layer = *of_layer + matrix.errors;
                matrices.push(MatrixOutputs {
                    name: matrix.name,
                    relative_rms: matrix.errors.relative(),
                    plain: matrix.errors.relative_plain(),
                });
                Ok(())
            },
            |layer, of| shown.step(&format!("GPTQ: layer {layer} of {of}")),
        );
        shown.finish();
        let calibration_tokens = done.map_err(CliError::failed)?;
        kept.end().map_err(unwritten)?;
        if odd > 0 {
            let name = format.name();
            notes.push(format!("the rows of {odd} matrices are no whole {name} blocks: those are not GPTQ's work"));
        }
        let layers = layers.into_iter().map(|(layer, errors)| LayerOutputs {
            layer,
            relative_rms: errors.relative(),
            plain: errors.relative_plain(),
        });
        Ok((kept, Outputs { calibration_tokens, layers: layers.collect(), matrices }))
    }
}

/// Where the rounded matrices are until the result is written.
fn beside(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.gptq"))
}

impl Outputs {
    /// As a table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "\n  outputs on {} tokens of calibration text, error relative\n                  GPTQ     rounding\n",
            self.calibration_tokens
        );
        for LayerOutputs { layer, relative_rms, plain } in &self.layers {
            text += &format!("  {:<14}  {relative_rms:.5}  {plain:.5}\n", format!("layer {layer}"));
        }
        text
    }
}
