//! What came of the work, as the page shows it.

use std::path::Path;

use checkpoint::{
    download::Downloaded,
    inspect::{Inspection, LoadMode, fold},
    known::PublishedSum,
    quantize::{TensorError, by_layer},
    verify::{self, VerifyReport},
    write::{Manifest, manifest_path},
};
use protocol::{
    Sentence,
    job::{
        FetchedFile, FileProblem, FileState, Inspected, Measured, MemoryNeed, ModelSizes, Quantized, StoredAs,
        TensorGroup, TensorRow, Verified, VerifiedFile, Written,
    },
};

use crate::weights::calibrate::Outputs;

/// Lines of a list that are kept. A damaged or hostile file may have any number of them.
const MOST: usize = 2000;
/// Wrong things that are kept.
const PROBLEMS: usize = 100;

/// A model that was written.
pub fn written(manifest: &Manifest, out: &Path) -> Written {
    let mut files: Vec<&str> = manifest.tensors.iter().map(|t| t.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let folder = if out.is_dir() { out } else { out.parent().unwrap_or(Path::new("")) };
    let size = |file: &&str| folder.join(file).metadata().map_or(0, |m| m.len());
    let place = manifest_path(out);
    Written {
        path: shown(out),
        tensors: manifest.tensors.len(),
        bytes: files.iter().map(size).sum(),
        sum: manifest.sum.filter(|sum| sum.is_finite()),
        known: match manifest.published_sum() {
            Some(PublishedSum::Equal(model)) => Some(model.title.clone()),
            _ => None,
        },
        manifest_sha256: checkpoint::find::sha256(&place).unwrap_or_default(),
        manifest: shown(&place),
    }
}

/// What is to be known of a sum that is not the published one, or that tells nothing.
pub fn sum_note(manifest: &Manifest) -> Option<Sentence> {
    match manifest.published_sum()? {
        PublishedSum::Equal(_) => None,
        PublishedSum::Different(model, known) => {
            let (title, value) = (&model.title, known.value);
            Some(Sentence::new(
                format!("The sum is not the published one of {title} ({value}): check the files that it was made of."),
                format!("总和与 {title} 公布的总和（{value}）不同：请检查用到的文件。"),
            ))
        }
        PublishedSum::Unknown(_) => Some(Sentence::new(
            "No sum was published for numbers of 16 bits: this one does not tell whether the model is the right one.",
            "没有公布 16 位权重的总和，因此无法据此判断模型是否正确。",
        )),
    }
}

/// A model that was rounded.
pub fn quantized(
    written: Written,
    dtype: &str,
    errors: &[TensorError],
    outputs: Option<Outputs>,
    [before, after]: [Option<Measured>; 2],
) -> Quantized {
    let sum = |part: fn(&TensorError) -> u64| errors.iter().map(part).fold(0, u64::saturating_add);
    let finite = errors.iter().filter(|e| e.relative_rms.is_finite());
    let worst = finite.max_by(|a, b| a.relative_rms.total_cmp(&b.relative_rms));
    Quantized {
        written,
        dtype: dtype.to_uppercase(),
        bytes_before: sum(|e| e.bytes_before),
        bytes_after: sum(|e| e.bytes_after),
        layers: by_layer(errors)
            .iter()
            .take(MOST)
            .map(|layer| (layer.layer, Some(layer.relative_rms).filter(|e| e.is_finite())))
            .collect(),
        worst: worst.map(|e| (e.name.clone(), e.after.to_owned(), e.relative_rms)),
        calibration_tokens: outputs.as_ref().map_or(0, |outputs| outputs.calibration_tokens),
        outputs: outputs
            .map(|outputs| outputs.layers.iter().map(|l| (l.layer, l.relative_rms, l.plain)).collect())
            .unwrap_or_default(),
        before,
        after,
    }
}

/// What came of verifying. A file that is wrong comes first.
pub fn verified(report: &VerifyReport) -> Verified {
    let mut files: Vec<VerifiedFile> = report
        .files
        .iter()
        .map(|file| VerifiedFile {
            file: file.file.clone(),
            bytes: file.bytes,
            state: match file.state {
                verify::FileState::Right => FileState::Right,
                verify::FileState::Readable => FileState::Readable,
                verify::FileState::Wrong => FileState::Wrong,
                verify::FileState::Missing => FileState::Missing,
            },
            by: match (file.algorithm, &file.list) {
                (Some(algorithm), Some(list)) => Some(format!("{algorithm}, {list}")),
                _ => None,
            },
        })
        .collect();
    files.sort_by_key(|file| !matches!(file.state, FileState::Wrong | FileState::Missing));
    files.truncate(MOST);
    let problem = |p: &verify::Problem| FileProblem {
        file: p.file.clone(),
        tensor: p.tensor.clone(),
        what: p.what.clone(),
        remedy: p.remedy.clone(),
    };
    Verified {
        path: shown(&report.path),
        ok: report.ok,
        known_as: report.known_as.clone(),
        tensors: report.tensors.as_ref().map(|t| (t.right, t.checked, t.manifest.clone())),
        files,
        problems: report.problems.iter().take(PROBLEMS).map(problem).collect(),
        more: report.problems.len().saturating_sub(PROBLEMS),
    }
}

/// What a file or folder holds.
pub fn inspected(found: &Inspection) -> Inspected {
    let mut left = MOST;
    let mut listed = 0;
    let mut groups = Vec::new();
    for group in fold(&found.tensors) {
        let rows: Vec<TensorRow> = group
            .tensors
            .iter()
            .take(left)
            .map(|t| TensorRow {
                name: group.name(t).to_owned(),
                shape: t.shape.clone(),
                element: t.element.to_owned(),
                bytes: t.bytes,
            })
            .collect();
        if rows.is_empty() {
            break;
        }
        left -= rows.len();
        let count = group.layers.len().max(1);
        listed += rows.len() * count;
        let title = group.title().map(|title| title.trim_start_matches(|c: char| !c.is_ascii_digit()).to_owned());
        groups.push(TensorGroup { layers: title, count, tensors: rows });
    }
    let fact = |adapter: &serde_json::Value, key: &str| match adapter.get(key) {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Array(all)) => {
            all.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    Inspected {
        path: shown(&found.path),
        kind: found.kind.to_owned(),
        files: found.files.iter().take(MOST).map(|f| (f.file.clone(), f.bytes)).collect(),
        more_files: found.files.len().saturating_sub(MOST),
        parameters: found.parameters,
        tensors: found.tensors.len(),
        bytes: found.bytes,
        stored: found
            .stored
            .iter()
            .map(|s| StoredAs { element: s.element.to_owned(), numbers: s.numbers, bytes: s.bytes })
            .collect(),
        model: found.model.as_ref().map(|m| ModelSizes {
            architecture: m.architecture.clone(),
            layers: m.layers,
            hidden: m.hidden,
            feed_forward: m.feed_forward,
            heads: m.heads,
            kv_heads: m.kv_heads,
            vocabulary: m.vocabulary,
            context: m.context,
        }),
        adapter: found
            .adapter
            .as_ref()
            .map(|a| ["base_model_name_or_path", "r", "lora_alpha", "target_modules"].map(|key| fact(a, key))),
        tokenizer: found.tokenizer.as_ref().map(|t| (t.kind.clone(), t.place.clone(), t.tokens)),
        groups,
        more: found.tensors.len().saturating_sub(listed),
        memory: found
            .memory
            .iter()
            .map(|needs| MemoryNeed {
                bits: match needs.mode {
                    LoadMode::Stored => None,
                    LoadMode::EightBit => Some(8),
                    LoadMode::FourBit => Some(4),
                },
                weights: needs.weights,
                context: needs.context,
                fits: needs.fits,
            })
            .collect(),
        machine: found.machine.memory,
        free: found.machine.free,
    }
}

/// Files that came.
pub fn fetched(files: &[Downloaded]) -> Vec<FetchedFile> {
    let one = |file: &Downloaded| FetchedFile {
        path: shown(&file.path),
        bytes: file.bytes,
        checked: file.sha256.is_some(),
        was_there: file.was_there,
    };
    files.iter().take(MOST).map(one).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
