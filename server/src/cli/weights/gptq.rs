//! The part of `knowlm weights quantize` that rounds with a calibration text.

use std::path::PathBuf;

use checkpoint::gptq::rounds_to;
use clap::Args;

use crate::{
    cli::CliError,
    weights::{
        calibrate::{LayerOutputs, Outputs, TEXT, TOKENS, To},
        text_of,
    },
};

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
    #[arg(long, value_name = "NUMBER", requires = "gptq", default_value_t = TOKENS)]
    calibration_tokens: usize,
}

impl GptqArgs {
    /// The text that the model reads, and how many tokens of it; none where GPTQ does not round.
    pub fn calibration(&self, to: To) -> Result<Option<(String, usize)>, CliError> {
        if !self.gptq {
            return Ok(None);
        }
        if let To::Blocks(format) = to
            && !rounds_to(format)
        {
            let name = format.name().to_lowercase();
            return Err(CliError::Usage(format!("--gptq rounds to q4_0, q4_1 or q4_k, not to {name}")));
        }
        let text = text_of(self.calibration.as_deref(), TEXT).map_err(CliError::Failed)?;
        Ok(Some((text, self.calibration_tokens)))
    }
}

/// What came of it, as a table.
pub fn table(outputs: &Outputs) -> String {
    let mut text = format!(
        "\n  outputs on {} tokens of calibration text, error relative\n                  GPTQ     rounding\n",
        outputs.calibration_tokens
    );
    for LayerOutputs { layer, relative_rms, plain } in &outputs.layers {
        text += &format!("  {:<14}  {relative_rms:.5}  {plain:.5}\n", format!("layer {layer}"));
    }
    text
}
