//! Rounding the matrices of a model's layers with a calibration text.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub use checkpoint::gptq::To;
use checkpoint::{
    Source, convert,
    gptq::{Kept, OutputErrors, rounds_to},
    source::Kind,
    write::{WriteOptions, manifest_path},
};
use engine::{GptqOptions, gptq};
use protocol::Sentence;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::unfinished;

/// What is read where no text is named: prose, letters, code and documentation, in English and Chinese. The text that
/// perplexities are measured on is another.
pub const TEXT: &str = include_str!("../../../assets/texts/calibration.txt");
/// The most tokens that are read of a text where nothing else is asked for.
pub const TOKENS: usize = 65536;
/// What is rounded to where nothing is asked for: rows of any model are whole blocks of it.
pub const DTYPE: &str = "q4_1";

/// How far the outputs of matrices are off on the calibration text.
#[derive(Debug, Serialize)]
pub struct Outputs {
    /// Tokens that the model read.
    pub calibration_tokens: usize,
    /// Of each layer, over all its matrices.
    pub layers: Vec<LayerOutputs>,
    /// Of each matrix.
    pub matrices: Vec<MatrixOutputs>,
}

/// Those of a layer.
#[derive(Debug, Serialize)]
pub struct LayerOutputs {
    /// Its number.
    pub layer: usize,
    /// The root of the mean squared error over that of the outputs.
    pub relative_rms: f64,
    /// The same, were every number rounded by itself.
    pub plain: f64,
}

/// Those of a matrix.
#[derive(Debug, Serialize)]
pub struct MatrixOutputs {
    /// Its name.
    pub name: String,
    /// As of a layer.
    pub relative_rms: f64,
    /// As of a layer.
    pub plain: f64,
}

/// A text, and how much of it is read.
#[derive(Clone, Copy, Debug)]
pub struct Calibration<'a> {
    /// The text.
    pub text: &'a str,
    /// Takes no more than so many tokens of it.
    pub tokens: usize,
    /// Threads that round.
    pub threads: usize,
}

/// Matrices that were rounded, how far they are off, and what is to be known of them.
pub type Rounded = (Kept, Outputs, Option<Sentence>);

/// Rounds the matrices of a model's layers into a file beside the result, where the next call for the same finds what is
/// done, however this one ends; [`sweep`] removes it. `progress` is told the layers done, and all.
///
/// # Errors
/// The model cannot be computed, the text is too short, or the file cannot be written; the message says which.
pub fn round(
    source: &Source,
    to: To,
    calibration: &Calibration<'_>,
    out: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<Rounded, String> {
    let format = to.format();
    let path = source.path().display();
    if !rounds_to(format) {
        return Err(format!("GPTQ rounds to q4_0, q4_1 or q4_k, not to {}", format.name().to_lowercase()));
    }
    let model = match source.kind() {
        Kind::Gguf if to != To::Groups => source.files().next().map_or(source.path(), |(path, _)| path),
        Kind::Safetensors | Kind::PyTorch => source.path(),
        kind => {
            let name = kind.name();
            return Err(format!(
                "GPTQ needs a Hugging Face folder here, and {path} is of the form \"{name}\": convert it first with \
                 `knowlm weights convert {path} --to hf --out FOLDER`"
            ));
        }
    };
    let kept_at = beside(out);
    let unwritten = |e: std::io::Error| format!("{} cannot be written: {e}", kept_at.display());
    if let Some(folder) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(unwritten)?;
    }
    let Calibration { text, tokens, threads } = *calibration;
    let kept = Kept::new(&kept_at, &work(source, to, text, tokens)).map_err(unwritten)?;
    kept.ask_room(source.infos(), to).map_err(|e| e.to_string())?;
    let (kept, mut odd) = (RefCell::new(kept), 0);
    let options = GptqOptions { model: model.into(), to, threads, tokens };
    let keep = |matrix: engine::GptqMatrix<'_>| {
        let Some(bytes) = matrix.bytes else {
            odd += 1;
            return Ok(());
        };
        kept.borrow_mut().put(&matrix.name, matrix.layer, matrix.shape, format, bytes, matrix.errors)
    };
    let settled = |layer, of| {
        kept.borrow_mut().settle()?;
        progress(layer, of);
        Ok(())
    };
    let known = |name: &str| kept.borrow().known(name);
    let calibration_tokens = gptq(&options, text, known, keep, settled).map_err(|e| e.to_string())?;
    let mut kept = kept.into_inner();
    kept.end().map_err(unwritten)?;
    let mut layers = BTreeMap::<usize, OutputErrors>::new();
    let matrices = kept.entries().iter().map(|entry| {
        let of_layer = layers.entry(entry.layer).or_default();
        *of_layer = *of_layer + entry.errors;
        let (relative_rms, plain) = (entry.errors.relative(), entry.errors.relative_plain());
        MatrixOutputs { name: entry.name.clone(), relative_rms, plain }
    });
    let matrices = matrices.collect();
    let name = format.name();
    let note = (odd > 0).then(|| {
        Sentence::new(
            format!("the rows of {odd} matrices are no whole {name} blocks: those are not GPTQ's work"),
            format!("有 {odd} 个矩阵的行不能分成整数个 {name} 块，未经 GPTQ 处理"),
        )
    });
    let layers = layers.into_iter().map(|(layer, errors)| LayerOutputs {
        layer,
        relative_rms: errors.relative(),
        plain: errors.relative_plain(),
    });
    Ok((kept, Outputs { calibration_tokens, layers: layers.collect(), matrices }, note))
}

/// A file with the numbers of a packed folder, which can be computed with. It is removed when this is dropped.
#[derive(Debug)]
pub struct Same(PathBuf);

impl Same {
    /// Writes it beside the folder.
    ///
    /// # Errors
    /// It cannot be written; the message says why.
    pub fn write(out: &Path, threads: usize) -> Result<Self, String> {
        let packed = Source::open(out).map_err(|e| e.to_string())?;
        let same = Self(same(out));
        let options = WriteOptions { threads, overwrite: true, ..WriteOptions::new("quantize") };
        convert::to_gguf(&packed, &same.0, None, &options, &|_, _| true).map_err(|e| e.to_string())?;
        Ok(same)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Same {
    fn drop(&mut self) {
        remove_same(&self.0);
    }
}

/// Removes it with what is unfinished of it.
fn remove_same(same: &Path) {
    let _ = fs::remove_dir_all(unfinished::beside(same));
    for file in [manifest_path(same), same.into()] {
        let _ = fs::remove_file(file);
    }
}

/// What tells this work from any other.
fn work(source: &Source, to: To, text: &str, tokens: usize) -> String {
    let mut options = WriteOptions::new("gptq");
    options.reads(source);
    let text = Sha256::digest(text);
    format!("{} {to:?} {tokens} {text:x?} {:?}", env!("CARGO_PKG_VERSION"), options.inputs)
}

/// Where the rounded matrices are until the result is written.
fn beside(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.gptq"))
}

/// Where the numbers of a packed folder are while they are measured.
fn same(out: &Path) -> PathBuf {
    beside(out).with_extension("gptq.gguf")
}

/// Removes what rounding with a text left beside a result that is whole, or that nobody wants any more: rounded matrices,
/// and what they were measured in. Those that another run adds to at this moment stay.
pub fn sweep(out: &Path) {
    if let Ok(true) = Kept::discard(&beside(out)) {
        remove_same(&same(out));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let left = [".x.gguf.gptq", ".x.gguf.gptq.list", ".x.gguf.gptq.gguf", ".x.gguf.gptq.gguf.knowlm-manifest.json"];
        for name in left.into_iter().chain(["x.gguf", ".y.gguf.gptq"]) {
            fs::write(at(name), "").unwrap();
        }
        fs::create_dir(at("..x.gguf.gptq.gguf.unfinished")).unwrap();
        fs::write(at("..x.gguf.gptq.gguf.unfinished/job"), "").unwrap();

        let kept = Kept::new(&at(".x.gguf.gptq"), "work").unwrap();
        sweep(&at("x.gguf"));
        assert!(left.iter().all(|name| at(name).exists()), "another run is at it");
        drop(kept);
        sweep(&at("x.gguf"));
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".y.gguf.gptq", "x.gguf"]);
    }
}
