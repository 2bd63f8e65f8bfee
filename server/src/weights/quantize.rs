//! A model in eight or four bits, and what that cost: what `knowlm weights quantize` does, and the jobs of the pages.

use std::path::Path;

use checkpoint::{
    BlockFormat, Source, convert,
    diff::Outcome,
    quantize::{TensorError, compare},
    write::{Manifest, WriteOptions, manifest_path},
};
use engine::Perplexity;
use protocol::{Sentence, job::Phase};

use super::calibrate::{Calibration, Outputs, Rounded, Same, To, round, sweep};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The result.
    pub out: &'a Path,
    /// What is rounded to.
    pub to: To,
    /// The text that the model reads where GPTQ rounds, and how many tokens of it.
    pub calibration: Option<(&'a str, usize)>,
    /// The text whose perplexity is measured.
    pub text: Option<&'a str>,
    /// What is whole at the place is this work's own, from before it was stopped, and needs no second time.
    pub goes_on: bool,
    /// How the result is written.
    pub write: WriteOptions,
}

/// Told what happens, some of it by several threads, and asked what a text is to a model.
pub trait Witness: Sync {
    /// How far a part of the work is, in bytes or layers.
    fn progress(&self, phase: Phase, done: u64, total: u64);
    /// Something worth knowing.
    fn note(&self, note: Sentence);
    /// How well a model foretells a text.
    ///
    /// # Errors
    /// It cannot be computed.
    fn score(&self, phase: Phase, model: &Path, text: &str) -> Result<Perplexity, Sentence>;
}

/// What came of it.
#[derive(Debug)]
pub struct Quantized {
    /// What was written.
    pub manifest: Manifest,
    /// How far every tensor is off.
    pub errors: Vec<TensorError>,
    /// How far outputs are off, where GPTQ rounded this time.
    pub outputs: Option<Outputs>,
    /// Perplexity of the original.
    pub before: Option<Perplexity>,
    /// Perplexity of the result.
    pub after: Option<Perplexity>,
}

/// Rounds a model, compares the result with it, and measures both. Once the result is whole, what cannot be measured is
/// only noted.
///
/// # Errors
/// The model cannot be read or rounded, or the result cannot be written; the message says which and why.
pub fn quantize(source: &Source, asked: &Asked<'_>, witness: &dyn Witness) -> Result<Quantized, String> {
    let (out, threads) = (asked.out, asked.write.threads);
    let (manifest, outputs) = written(source, asked, witness)?;
    // The rounded matrices are in the result now.
    sweep(out);
    let is_rounded = |name: &str| BlockFormat::ALL.iter().any(|f| f.name() == name && f.block() > 1);
    if source.infos().iter().any(|info| is_rounded(info.element.name())) {
        witness.note(Sentence::new(
            "the original was rounded already: errors are on top of those it has",
            "原模型已经过量化：误差是在其已有误差之上的",
        ));
    }
    let comparing = |done, total| witness.progress(Phase::Comparing, done, total);
    let result = Source::open(out).map_err(|e| e.to_string())?;
    let errors = compare(source, &result, threads, &comparing).map_err(|e| e.to_string())?;
    drop(result);
    let measured = |phase, model: &Path| {
        let (en, zh) = if phase == Phase::Before { ("original", "原模型") } else { ("result", "结果") };
        let found = asked.text.map(|text| witness.score(phase, model, text))?;
        found.map_err(|reason| witness.note(unmeasured(en, zh, &reason))).ok()
    };
    let before = measured(Phase::Before, source.path());
    // A packed folder is not computed with: its perplexity is that of the same numbers in a file.
    let after = match (asked.to, asked.text) {
        (To::Groups, Some(_)) => match Same::write(out, threads) {
            Ok(same) => measured(Phase::After, same.path()),
            Err(reason) => {
                witness.note(unmeasured("result", "结果", &Sentence::new(reason.as_str(), reason.as_str())));
                None
            }
        },
        _ => measured(Phase::After, out),
    };
    Ok(Quantized { manifest, errors, outputs, before, after })
}

fn unmeasured(en: &str, zh: &str, reason: &Sentence) -> Sentence {
    Sentence::new(format!("no perplexity of the {en}: {}", reason.en), format!("没有{zh}的困惑度：{}", reason.zh))
}

/// Writes the result, unless it is whole already.
fn written(source: &Source, asked: &Asked<'_>, witness: &dyn Witness) -> Result<(Manifest, Option<Outputs>), String> {
    let (out, options) = (asked.out, &asked.write);
    let writing = |done, total| {
        witness.progress(Phase::Writing, done, total);
        true
    };
    let (Outcome { manifest, notes }, outputs) = match (asked.calibration, asked.to) {
        (Some(_), _) if asked.goes_on && manifest_path(out).is_file() => {
            let bytes = std::fs::read(manifest_path(out)).map_err(|e| e.to_string())?;
            let manifest = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
            (Outcome { manifest, notes: Vec::new() }, None)
        }
        (Some((text, tokens)), to) => {
            witness.progress(Phase::Rounding, 0, 0);
            let rounding = |done, total| witness.progress(Phase::Rounding, done as u64, total as u64);
            let calibration = Calibration { text, tokens, threads: options.threads };
            let (kept, outputs, note): Rounded = round(source, to, &calibration, out, rounding)?;
            note.into_iter().for_each(|note| witness.note(note));
            let written = match to {
                To::Groups => convert::to_packed(source, &kept, out, options, &writing),
                To::Blocks(format) => convert::to_gguf_with(source, &kept, out, format, options, &writing),
            };
            (written.map_err(|e| e.to_string())?, Some(outputs))
        }
        (None, To::Blocks(format)) => {
            let written = convert::to_gguf(source, out, Some(format), options, &writing);
            (written.map_err(|e| e.to_string())?, None)
        }
        (None, To::Groups) => return Err("a GPTQ folder needs a calibration text".into()),
    };
    notes.into_iter().for_each(|note| witness.note(note));
    Ok((manifest, outputs))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, sync::Mutex};

    use checkpoint::gptq::{Kept, OutputErrors};

    use super::*;

    /// Keeps the notes, and can score nothing.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Witness for Told {
        fn progress(&self, _: Phase, _: u64, _: u64) {}

        fn note(&self, note: Sentence) {
            self.0.lock().unwrap().push(note.en);
        }

        fn score(&self, _: Phase, _: &Path, _: &str) -> Result<Perplexity, Sentence> {
            Err(Sentence::new("it cannot be computed", "无法计算"))
        }
    }

    /// A folder with one matrix of a layer.
    fn model(folder: &Path) -> Source {
        fs::create_dir_all(folder).unwrap();
        let header = br#"{"model.layers.0.mlp.up_proj.weight":{"dtype":"F32","shape":[8,32],"data_offsets":[0,1024]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend((0..256).flat_map(|n| (n as f32 / 7.0).to_le_bytes()));
        fs::write(folder.join("model.safetensors"), bytes).unwrap();
        fs::write(folder.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
        Source::open(folder).unwrap()
    }

    #[test]
    fn a_result_that_cannot_be_measured_is_a_result_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let source = model(&at("model"));
        // Rounded and written, as if the program had been killed then.
        let mut kept = Kept::new(&at(".packed.gptq"), "work").unwrap();
        let blocks = [&[0, 0x3c, 0, 0xc5][..], &[0; 16]].concat().repeat(8);
        let (name, errors) = ("model.layers.0.mlp.up_proj.weight", OutputErrors::default());
        kept.put(name, 0, [8, 32], To::Groups.format(), &blocks, errors).unwrap();
        kept.end().unwrap();
        let write = WriteOptions::new("quantize");
        convert::to_packed(&source, &kept, &at("packed"), &write, &|_, _| true).unwrap();
        drop(kept);
        // Where its numbers would be measured, nothing can be written.
        fs::create_dir(at(".packed.gptq.gguf")).unwrap();

        let asked = Asked {
            out: &at("packed"),
            to: To::Groups,
            calibration: Some(("a text", 1)),
            text: Some("another"),
            goes_on: true,
            write,
        };
        let told = Told::default();
        let done = quantize(&source, &asked, &told).unwrap();
        assert_eq!((done.errors.len(), done.outputs.is_none(), done.before, done.after), (1, true, None, None));
        let notes = told.0.into_inner().unwrap();
        assert_eq!((notes.len(), notes[0].as_str()), (2, "no perplexity of the original: it cannot be computed"));
        assert!(notes[1].starts_with("no perplexity of the result: "), "{notes:?}");
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".packed.gptq.gguf", "model", "packed"]);
    }
}
