//! Long lists of tensors made short: layers that are alike are told once.

use std::collections::BTreeMap;

use super::TensorRow;

/// Tensors that are shown together.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The layers that are alike; none for tensors outside of layers.
    pub layers: Vec<u64>,
    /// The tensors of the first of these layers.
    pub tensors: Vec<&'a TensorRow>,
}

impl Group<'_> {
    /// `layers 0-29`; nothing for tensors outside of layers.
    pub fn title(&self) -> Option<String> {
        let (first, rest) = self.layers.split_first()?;
        let mut runs = vec![(*first, *first)];
        for layer in rest {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == *layer => *last = *layer,
                _ => runs.push((*layer, *layer)),
            }
        }
        let shown = |(a, b): &(u64, u64)| if a == b { a.to_string() } else { format!("{a}-{b}") };
        let noun = if self.layers.len() == 1 { "layer" } else { "layers" };
        Some(format!("{noun} {}", runs.iter().map(shown).collect::<Vec<_>>().join(", ")))
    }

    /// A tensor's name without its layer's.
    pub fn name<'t>(&self, tensor: &'t TensorRow) -> &'t str {
        match layer_of(&tensor.name) {
            Some((_, rest)) if !self.layers.is_empty() => rest,
            _ => &tensor.name,
        }
    }
}

/// The number of a tensor's layer, and its name inside of it.
pub(crate) fn layer_of(name: &str) -> Option<(u64, &str)> {
    for word in ["layers.", "blk.", "h."] {
        let mut from = 0;
        while let Some(at) = name.get(from..)?.find(word).map(|at| at + from) {
            from = at + word.len();
            let begins = at == 0 || name.as_bytes().get(at - 1) == Some(&b'.');
            let (number, rest) = name.get(from..)?.split_once('.').unwrap_or_default();
            if let (true, Ok(layer)) = (begins, number.parse()) {
                return Some((layer, rest));
            }
        }
    }
    None
}

/// Puts tensors into groups: those before, in and after the layers.
pub fn fold(tensors: &[TensorRow]) -> Vec<Group<'_>> {
    let mut layers: BTreeMap<u64, Vec<&TensorRow>> = BTreeMap::new();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for tensor in tensors {
        match layer_of(&tensor.name) {
            Some((layer, _)) => layers.entry(layer).or_default().push(tensor),
            None if layers.is_empty() => before.push(tensor),
            None => after.push(tensor),
        }
    }
    let alike = |a: &[&TensorRow], b: &[&TensorRow]| {
        let part = |t: &TensorRow| layer_of(&t.name).map(|(_, rest)| rest.to_owned());
        a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| a.shape == b.shape && a.element == b.element && part(a) == part(b))
    };
    let mut groups = vec![Group { layers: vec![], tensors: before }];
    for (layer, tensors) in layers {
        match groups.iter_mut().skip(1).find(|group| alike(&group.tensors, &tensors)) {
            Some(group) => group.layers.push(layer),
            None => groups.push(Group { layers: vec![layer], tensors }),
        }
    }
    groups.push(Group { layers: vec![], tensors: after });
    groups.retain(|group| !group.tensors.is_empty());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, element: &'static str) -> TensorRow {
        TensorRow { name: name.into(), shape: vec![2], element, numbers: 2, bytes: 8, file: String::new() }
    }

    #[test]
    fn the_layer_is_in_the_name() {
        assert_eq!(layer_of("model.layers.12.self_attn.q_proj.weight"), Some((12, "self_attn.q_proj.weight")));
        assert_eq!(layer_of("blk.0.attn_q.weight"), Some((0, "attn_q.weight")));
        assert_eq!(layer_of("base_model.model.model.layers.3.mlp.x"), Some((3, "mlp.x")));
        for name in ["token_embd.weight", "layers.x.y", "notlayers.1.x", "layers.1", "blk.", ""] {
            assert_eq!(layer_of(name), None, "{name}");
        }
    }

    #[test]
    fn layers_that_are_alike_are_told_once() {
        let mut rows = vec![row("embed", "F16")];
        for layer in [0, 1, 2, 3, 10] {
            rows.push(row(&format!("blk.{layer}.a"), if layer == 2 { "Q6_K" } else { "Q4_K" }));
        }
        rows.push(row("norm", "F32"));
        let groups = fold(&rows);
        let titles: Vec<_> = groups.iter().map(|g| g.title().unwrap_or_default()).collect();
        assert_eq!(titles, ["", "layers 0-1, 3, 10", "layer 2", ""]);
        assert_eq!(groups.iter().map(|g| g.name(g.tensors[0])).collect::<Vec<_>>(), ["embed", "a", "a", "norm"]);
    }
}
