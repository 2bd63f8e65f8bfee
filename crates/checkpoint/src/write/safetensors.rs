//! The layout of a safetensors file: the length of the header, the header (JSON), the numbers back to back.

use serde_json::{Map, Value, json};

use super::{Form, Layout, Planned};

/// The header's length is a multiple of this, so that the numbers lie well.
const ALIGN: usize = 8;

/// The layout of a file of these tensors.
pub(super) fn layout(tensors: &[&Planned<'_>]) -> Layout {
    // Those with the longest numbers first: then none begins at an odd place.
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(tensors[*i].element.block_bytes()));
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let (mut offsets, mut at) = (vec![0; tensors.len()], 0);
    for i in order {
        let tensor = tensors[i];
        let to = at + tensor.bytes();
        let entry =
            json!({"dtype": tensor.element.name(), "shape": tensor.tensor.info.shape, "data_offsets": [at, to]});
        header.insert(tensor.tensor.info.name.clone(), entry);
        offsets[i] = at as u64;
        at = to;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(ALIGN), b' ');
    let head = [&(header.len() as u64).to_le_bytes(), header.as_slice()].concat();
    let data = head.len() as u64;
    offsets.iter_mut().for_each(|offset| *offset += data);
    Layout { offsets, size: data + at as u64, form: Form::Head(head) }
}
