//! Rounding a model as a job, and what it cost.

use std::path::Path;

use checkpoint::{convert, write::WriteOptions};
use engine::{LoadAs, Perplexity, PerplexityOptions, perplexity};
use protocol::{
    Sentence,
    job::{Measured, Outcome, Phase},
};

use super::{
    report,
    request::{Measure, Rounding},
    work::{Said, Setting, Tell, failed, open},
};
use crate::weights::{
    self, EXCERPT,
    calibrate::{TEXT, TOKENS, To},
    quantize::{Quantized, Witness},
    text_of,
};

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) input: &'a Path,
    pub(super) dtype: &'a str,
    pub(super) rounding: &'a Rounding,
    pub(super) measure: &'a Measure,
    pub(super) out: &'a Path,
}

/// Rounds a model, compares the result with it, and measures both.
pub(super) fn quantize(asked: &Asked<'_>, setting: &Setting, tell: Tell<'_>) -> Result<Outcome, Sentence> {
    let Asked { input, dtype, rounding, measure, out } = *asked;
    let read = |file: &Option<_>, built_in| text_of(file.as_deref(), built_in).map_err(failed);
    let text = match measure {
        Measure::Nothing => None,
        Measure::Text(file) => Some(read(file, EXCERPT)?),
    };
    let calibration = match rounding {
        Rounding::Plain => None,
        Rounding::Gptq(file) | Rounding::Packed(file) => Some(read(file, TEXT)?),
    };
    let (to, dtype) = match rounding {
        Rounding::Packed(_) => (To::Groups, "GPTQ"),
        Rounding::Plain | Rounding::Gptq(_) => {
            let format = convert::file_format(dtype).ok_or_else(|| failed(format!("there is no format {dtype}")))?;
            (To::Blocks(format), dtype)
        }
    };
    let asked = weights::quantize::Asked {
        out,
        to,
        calibration: calibration.as_deref().map(|text| (text, TOKENS)),
        text: text.as_deref(),
        goes_on: true,
        write: WriteOptions { threads: setting.threads(), ..WriteOptions::new("quantize") },
    };
    let done = weights::quantize::quantize(&open(input)?, &asked, &Told { setting, tell }).map_err(failed)?;
    let Quantized { manifest, errors, outputs, before, after } = done;
    let perplexities = [before, after].map(|found| found.as_ref().map(measured));
    let written = report::written(&manifest, out);
    Ok(Outcome::Quantized(Box::new(report::quantized(written, dtype, &errors, outputs, perplexities))))
}

/// Says what happens as jobs do.
struct Told<'a> {
    setting: &'a Setting,
    tell: Tell<'a>,
}

impl Witness for Told<'_> {
    fn progress(&self, phase: Phase, done: u64, total: u64) {
        (self.tell)(Said::Progress { phase, done, total });
    }

    fn note(&self, note: Sentence) {
        (self.tell)(Said::Note(note));
    }

    fn score(&self, phase: Phase, model: &Path, text: &str) -> Result<Perplexity, Sentence> {
        let load_as = LoadAs::Stored;
        let options = PerplexityOptions { model: model.into(), load_as, threads: self.setting.threads, chunks: None };
        self.progress(phase, 0, 0);
        let found = perplexity(&options, text, |done, total, _| self.progress(phase, done as u64, total as u64));
        match found {
            Ok(found) if found.value.is_finite() && found.error.is_finite() => Ok(found),
            Ok(_) => Err(Sentence::new("it is no number", "不是数值")),
            Err(error) => Err(failed(error)),
        }
    }
}

/// How well a model foretells a text.
pub(super) fn scored(model: &Path, text: &str, setting: &Setting, tell: Tell<'_>) -> Result<Measured, Sentence> {
    Told { setting, tell }.score(Phase::Scoring, model, text).map(|found| measured(&found))
}

fn measured(found: &Perplexity) -> Measured {
    Measured { value: found.value, error: found.error, tokens: found.scored }
}
