//! Rounding a model as a job, and what it cost.

use std::path::Path;

use checkpoint::{
    BlockFormat, Source, convert,
    gptq::Kept,
    quantize::compare,
    write::{WriteOptions, manifest_path},
};
use engine::{LoadAs, PerplexityOptions, perplexity};
use protocol::{
    Sentence,
    job::{Measured, Outcome, Phase},
};

use super::{
    report,
    request::{Measure, Rounding},
    work::{Said, Setting, Tell, failed, format, open},
};
use crate::weights::{
    EXCERPT,
    calibrate::{Calibration, Outputs, Same, TEXT, TOKENS, To, round},
    text_of,
};

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) dtype: &'a str,
    pub(super) rounding: &'a Rounding,
    pub(super) measure: &'a Measure,
    pub(super) out: &'a Path,
}

/// Rounds a model, compares the result with it, and measures both.
pub(super) fn quantize(
    source: &Source,
    asked: &Asked<'_>,
    setting: &Setting,
    tell: Tell<'_>,
) -> Result<Outcome, Sentence> {
    let (out, threads) = (asked.out, setting.threads());
    let text = match asked.measure {
        Measure::Nothing => None,
        Measure::Text(file) => Some(text_of(file.as_deref(), EXCERPT).map_err(failed)?),
    };
    let whole = manifest_path(out).is_file();
    // What was rounded and written before it was stopped needs no second time.
    let rounded = if whole { None } else { rounded(source, asked, threads, tell)? };
    let writing = |done, total| {
        tell(Said::Progress { phase: Phase::Writing, done, total });
        true
    };
    let options = WriteOptions { threads, ..WriteOptions::new("quantize") };
    let packed = matches!(asked.rounding, Rounding::Packed(_));
    let block = format(Some(asked.dtype)).ok_or_else(|| failed(format!("there is no format {}", asked.dtype)))?;
    let manifest = match &rounded {
        Some((kept, _)) => {
            let written = match packed {
                true => convert::to_packed(source, kept, out, &options, &writing),
                false => convert::to_gguf_with(source, kept, out, block, &options, &writing),
            };
            said(written.map_err(failed)?, tell)
        }
        None if *asked.rounding == Rounding::Plain => {
            said(convert::to_gguf(source, out, Some(block), &options, &writing).map_err(failed)?, tell)
        }
        None => {
            let bytes = std::fs::read(manifest_path(out)).map_err(failed)?;
            serde_json::from_slice(&bytes).map_err(failed)?
        }
    };
    let is_rounded = |name: &str| BlockFormat::ALL.iter().any(|f| f.name() == name && f.block() > 1);
    if source.infos().iter().any(|info| is_rounded(info.element.name())) {
        tell(Said::Note(Sentence::new(
            "the original was rounded already: errors are on top of those it has",
            "原模型已经过量化：误差是在其已有误差之上的",
        )));
    }
    let after = open(out)?;
    let comparing = |done, total| tell(Said::Progress { phase: Phase::Comparing, done, total });
    let errors = compare(source, &after, threads, &comparing).map_err(failed)?;
    drop(after);
    // A packed folder is not computed with: its perplexity is that of the same numbers in a file.
    let same = match packed && text.is_some() {
        true => Some(Same::write(out, threads).map_err(failed)?),
        false => None,
    };
    let outputs = rounded.map(|(_, outputs)| outputs);
    let (mut was, mut is) = (None, None);
    if let Some(text) = &text {
        let result = same.as_ref().map_or(out, Same::path);
        for (model, phase, en, zh, value) in [
            (source.path(), Phase::Before, "original", "原模型", &mut was),
            (result, Phase::After, "result", "结果", &mut is),
        ] {
            match scored(model, text, phase, setting, tell) {
                Ok(found) => *value = Some(found),
                // A form that is only converted cannot be computed.
                Err(error) => tell(Said::Note(Sentence::new(
                    format!("no perplexity of the {en}: {}", error.en),
                    format!("没有{zh}的困惑度：{}", error.zh),
                ))),
            }
        }
    }
    let written = report::written(&manifest, out);
    let dtype = if packed { "GPTQ" } else { asked.dtype };
    Ok(Outcome::Quantized(Box::new(report::quantized(written, dtype, &errors, outputs, [was, is]))))
}

/// The manifest of what was written; its notes are said.
fn said(written: checkpoint::diff::Outcome, tell: Tell<'_>) -> checkpoint::write::Manifest {
    written.notes.into_iter().for_each(|note| tell(Said::Note(note)));
    written.manifest
}

/// The matrices, where they are rounded with a calibration text.
fn rounded(
    source: &Source,
    asked: &Asked<'_>,
    threads: usize,
    tell: Tell<'_>,
) -> Result<Option<(Kept, Outputs)>, Sentence> {
    let (to, file) = match (asked.rounding, format(Some(asked.dtype))) {
        (Rounding::Gptq(file), Some(block)) => (To::Blocks(block), file),
        (Rounding::Packed(file), _) => (To::Groups, file),
        (Rounding::Plain, _) | (Rounding::Gptq(_), None) => return Ok(None),
    };
    let text = text_of(file.as_deref(), TEXT).map_err(failed)?;
    let calibration = Calibration { text: &text, tokens: TOKENS, threads };
    let rounding = |done: usize, total: usize| {
        tell(Said::Progress { phase: Phase::Rounding, done: done as u64, total: total as u64 });
    };
    tell(Said::Progress { phase: Phase::Rounding, done: 0, total: 0 });
    let (kept, outputs, note) = round(source, to, &calibration, asked.out, rounding).map_err(failed)?;
    note.into_iter().for_each(|note| tell(Said::Note(note)));
    Ok(Some((kept, outputs)))
}

/// How well a model foretells a text.
pub(super) fn scored(
    model: &Path,
    text: &str,
    phase: Phase,
    setting: &Setting,
    tell: Tell<'_>,
) -> Result<Measured, Sentence> {
    let load_as = LoadAs::Stored;
    let options = PerplexityOptions { model: model.into(), load_as, threads: setting.threads, chunks: None };
    tell(Said::Progress { phase, done: 0, total: 0 });
    let measured = perplexity(&options, text, |done, total, _| {
        tell(Said::Progress { phase, done: done as u64, total: total as u64 });
    });
    match measured {
        Ok(found) if found.value.is_finite() && found.error.is_finite() => {
            Ok(Measured { value: found.value, error: found.error, tokens: found.scored })
        }
        Ok(_) => Err(Sentence::new("it is no number", "不是数值")),
        Err(error) => Err(failed(error)),
    }
}
