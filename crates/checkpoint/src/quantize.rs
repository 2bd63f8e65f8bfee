//! What rounding cost: how far the numbers of a model are from those it was made of.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use serde::Serialize;

use crate::{
    Source, Tensor,
    convert::{ConvertError, as_huggingface},
    inspect::layer_of,
};

/// Numbers compared at a time: whole blocks of every format.
const PIECE: usize = 1 << 16;

/// How far a tensor is from the one it was made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorError {
    /// Its name, as Hugging Face's models have it.
    pub name: String,
    /// Its layer; none for what is outside of the layers.
    pub layer: Option<u64>,
    /// How it was stored.
    pub before: &'static str,
    /// How it is stored.
    pub after: &'static str,
    /// Bytes that it took.
    pub bytes_before: u64,
    /// Bytes that it takes.
    pub bytes_after: u64,
    /// The square root of the mean squared error, over that of the mean squared number.
    pub relative_rms: f64,
    /// Sum of the squared errors.
    #[serde(skip)]
    pub error_squares: f64,
    /// Sum of the squared numbers.
    #[serde(skip)]
    pub squares: f64,
}

/// How far a layer is from the one it was made of, over all numbers of its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerError {
    /// The layer; none for what is outside of the layers.
    pub layer: Option<u64>,
    /// As of a tensor.
    pub relative_rms: f64,
}

/// Compares the tensors of two models, number by number. `progress` is told the bytes of `before` that are compared.
///
/// # Errors
/// A model is of a form whose tensors have no common names, or they are not the same model.
pub fn compare(
    before: &Source,
    after: &Source,
    threads: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<TensorError>, ConvertError> {
    let unlike = |reason: String| ConvertError::Unsupported { path: after.path().into(), reason };
    let (old, new) = (as_huggingface(before)?, as_huggingface(after)?);
    let mut pairs = Vec::new();
    for old in &old {
        // Positions are computed in a GGUF file's reader, not stored.
        let Some(new) = new.iter().find(|new| new.info.name == old.info.name) else { continue };
        if old.info.count() != new.info.count() {
            let (a, b) = (&old.info.shape, &new.info.shape);
            return Err(unlike(format!("its tensor {} is {b:?}, the original's is {a:?}", old.info.name)));
        }
        pairs.push((old, new));
    }
    if pairs.is_empty() {
        return Err(unlike(format!("it has no tensor in common with {}", before.path().display())));
    }
    let total: u64 = pairs.iter().map(|(old, _)| old.info.bytes() as u64).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let results = Mutex::new(Vec::with_capacity(pairs.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, pairs.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((old, new)) = pairs.get(at) else { break };
                    let error = one(old, new);
                    results.lock().unwrap_or_else(|e| e.into_inner()).push((at, error));
                    let bytes = old.info.bytes() as u64;
                    progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_unstable_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, error)| error).collect())
}

fn one(old: &Tensor<'_>, new: &Tensor<'_>) -> TensorError {
    let (mut a, mut b) = (vec![0.0f32; PIECE], vec![0.0f32; PIECE]);
    let (mut errors, mut squares) = (0.0f64, 0.0f64);
    let count = old.info.count();
    for from in (0..count).step_by(PIECE) {
        let length = PIECE.min(count - from);
        let (a, b) = (&mut a[..length], &mut b[..length]);
        old.numbers.read(from, a);
        new.numbers.read(from, b);
        for (x, y) in a.iter().zip(b.iter()) {
            let (x, off) = (f64::from(*x), f64::from(*x) - f64::from(*y));
            (squares, errors) = (squares + x * x, errors + off * off);
        }
    }
    TensorError {
        layer: layer_of(&old.info.name).map(|(layer, _)| layer),
        name: old.info.name.clone(),
        before: old.info.element.name(),
        after: new.info.element.name(),
        bytes_before: old.info.bytes() as u64,
        bytes_after: new.info.bytes() as u64,
        relative_rms: relative(errors, squares),
        error_squares: errors,
        squares,
    }
}

fn relative(errors: f64, squares: f64) -> f64 {
    if errors == 0.0 { 0.0 } else { (errors / squares).sqrt() }
}

/// The errors of layers, the first first; what is outside of the layers comes last.
pub fn by_layer(errors: &[TensorError]) -> Vec<LayerError> {
    let mut sums: std::collections::BTreeMap<(bool, Option<u64>), (f64, f64)> = Default::default();
    for error in errors {
        let sum = sums.entry((error.layer.is_none(), error.layer)).or_default();
        *sum = (sum.0 + error.error_squares, sum.1 + error.squares);
    }
    sums.into_iter().map(|((_, layer), (e, s))| LayerError { layer, relative_rms: relative(e, s) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Element, source::Info};

    fn tensor<'a>(name: &str, bytes: &'a [u8]) -> Tensor<'a> {
        let info = Info { name: name.into(), shape: vec![bytes.len() / 4], element: Element::F32 };
        Tensor::stored(info, bytes)
    }

    #[test]
    fn the_error_is_relative_to_the_numbers() {
        let bytes = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let (a, b) = (bytes(&[3.0, 4.0]), bytes(&[3.0, 4.5]));
        let error = one(&tensor("model.layers.7.x", &a), &tensor("y", &b));
        assert!((error.relative_rms - 0.1).abs() < 1e-9);
        assert_eq!((error.layer, error.bytes_before), (Some(7), 8));
        assert_eq!(one(&tensor("x", &a), &tensor("x", &a)).relative_rms, 0.0);
        let zero = bytes(&[0.0, 0.0]);
        assert_eq!(one(&tensor("x", &zero), &tensor("x", &zero)).relative_rms, 0.0);
    }

    #[test]
    fn layers_add_up_their_tensors() {
        let error = |layer, error_squares, squares| TensorError {
            name: String::new(),
            layer,
            before: "F32",
            after: "Q4_0",
            bytes_before: 0,
            bytes_after: 0,
            relative_rms: 0.0,
            error_squares,
            squares,
        };
        let layers = by_layer(&[error(None, 1.0, 1.0), error(Some(1), 1.0, 50.0), error(Some(1), 1.0, 150.0)]);
        assert_eq!(layers[0], LayerError { layer: Some(1), relative_rms: 0.1 });
        assert_eq!(layers[1], LayerError { layer: None, relative_rms: 1.0 });
    }
}
