//! Matrices of whole numbers of eight bits, as they are saved of models that were loaded in eight bits.
//!
//! Beside such a matrix `X.weight` lies `X.SCB`, the largest number of each row: a weight is `whole * largest / 127`
//! (bitsandbytes, LLM.int8). Without it the numbers are taken as they are, as PyTorch's `.to()` takes them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::Sentence;

use crate::{
    BlockFormat, Element, Source, Tensor,
    source::{Info, Numbers, rows},
};

/// Whether a tensor is a matrix of such numbers.
pub(crate) fn is_matrix(info: &Info) -> bool {
    info.element == Element::I8 && info.shape.len() >= 2
}

/// The tensors, with matrices that have largest numbers beside them as the weights that they stand for.
///
/// # Errors
/// A matrix and what lies beside it do not fit, or its numbers lie in an order of old graphics cards.
pub(super) fn weights(source: &Source) -> Result<Vec<Tensor<'_>>, String> {
    let mut beside: BTreeMap<String, Tensor<'_>> = BTreeMap::new();
    let mut others = Vec::new();
    let matrices: BTreeSet<&str> =
        source.infos().iter().filter(|info| is_matrix(info)).filter_map(|i| i.name.strip_suffix(".weight")).collect();
    for tensor in source.tensors() {
        let stem =
            ["SCB", "weight_format"].iter().find_map(|end| tensor.info.name.strip_suffix(end)?.strip_suffix('.'));
        match stem.filter(|stem| matrices.contains(stem)) {
            Some(_) => drop(beside.insert(tensor.info.name.clone(), tensor)),
            None => others.push(tensor),
        }
    }
    others.into_iter().map(|tensor| as_weights(tensor, &beside)).collect()
}

/// A matrix with its largest numbers as weights; any other tensor as it is.
fn as_weights<'a>(tensor: Tensor<'a>, beside: &BTreeMap<String, Tensor<'_>>) -> Result<Tensor<'a>, String> {
    if !is_matrix(&tensor.info) {
        return Ok(tensor);
    }
    let Some(stem) = tensor.info.name.strip_suffix(".weight") else { return Ok(tensor) };
    let Some(largest) = beside.get(&format!("{stem}.SCB")) else { return Ok(tensor) };
    let (name, shape) = (&tensor.info.name, &tensor.info.shape);
    if shape.first() != Some(&largest.info.count()) {
        return Err(format!("tensor {name} is {shape:?}, and {stem}.SCB has {} numbers", largest.info.count()));
    }
    let order = beside.get(&format!("{stem}.weight_format"));
    if order.is_some_and(|order| order.to_vec().iter().any(|n| *n != 0.0)) {
        return Err(format!(
            "tensor {name} lies in an order of old graphics cards; save the model again with a newer bitsandbytes"
        ));
    }
    let info = Info { element: Element::Block(BlockFormat::F16), ..tensor.info.clone() };
    let steps = largest.to_vec().into_iter().map(|most| most / 127.0).collect();
    Ok(Tensor { info, numbers: Box::new(Scaled { inner: tensor, steps }) })
}

/// What is said of matrices whose numbers were taken as they are.
pub(super) fn note<'a>(infos: impl Iterator<Item = &'a Info>, notes: &mut Vec<Sentence>) {
    let bare: Vec<&str> = infos.filter(|info| is_matrix(info)).map(|info| info.name.as_str()).collect();
    if let Some(first) = bare.first() {
        let count = bare.len();
        notes.push(Sentence::new(
            format!(
                "{count} matrices are whole numbers of eight bits without the scales that would make weights of them, \
                 such as {first}; they are taken as they are"
            ),
            format!("有 {count} 个矩阵是没有缩放系数的 8 位整数（如 {first}），按原值使用"),
        ));
    }
}

/// A matrix whose rows are multiplied with a number each.
struct Scaled<'a> {
    inner: Tensor<'a>,
    steps: Vec<f32>,
}

impl Numbers for Scaled<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        self.inner.numbers.read(from, out);
        let columns = self.inner.info.count() / self.steps.len().max(1);
        for (row, _, place) in rows(from, out.len(), columns) {
            let step = self.steps.get(row).copied().unwrap_or_default();
            out[place].iter_mut().for_each(|x| *x *= step);
        }
    }
}
