//! What was published under a name: where it can be fetched, and the checksums that go with it.
//!
//! Everything is in `assets/models/published.json`, the address of the model hub too.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

/// The published models, and where the hub is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Address of the hub that is asked when no mirror is named.
    pub hub: String,
    /// The models.
    pub models: Vec<PublishedModel>,
}

/// A published model, or something made of published ones.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedModel {
    /// What it is called on the command line.
    pub name: String,
    /// What it is.
    pub title: String,
    /// `OWNER/REPO` on the hub; none where it is made, not fetched.
    #[serde(default)]
    pub repository: Option<String>,
    /// Whether it is an adapter.
    #[serde(default)]
    pub adapter: bool,
    /// Other names that this one stands for.
    #[serde(default)]
    pub parts: Vec<String>,
    /// The known model whose file it is: only that file is fetched.
    #[serde(default)]
    pub entry: Option<String>,
    /// How it is made.
    #[serde(default)]
    pub made_with: Option<String>,
    /// The published MD5 of its files.
    #[serde(default)]
    pub md5: BTreeMap<String, String>,
    /// The published sum of all its numbers.
    #[serde(default)]
    pub tensor_sum: Option<TensorSum>,
}

/// The sum of all numbers of a model: each tensor summed in f32, the sums added up in the order of the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSum {
    /// What was published.
    pub value: f64,
    /// How far off is still right.
    pub tolerance: f64,
    /// How many numbers the model has, but for the rotary buffers.
    pub numbers: u64,
}

impl TensorSum {
    /// Whether this is it.
    pub fn is(&self, sum: f32) -> bool {
        (self.value - f64::from(sum)).abs() <= self.tolerance
    }
}

/// What the published sums say of a model that has as many numbers as a published one.
#[derive(Clone, Copy, Debug)]
pub enum PublishedSum {
    /// It is this one.
    Equal(&'static PublishedModel),
    /// It is not this one.
    Different(&'static PublishedModel, TensorSum),
    /// The sum of this one was published for numbers of 32 bits, and these have fewer: it tells nothing.
    Unknown(&'static PublishedModel),
}

/// Holds a sum against the published ones; none where no published model has so many numbers.
pub fn published_sum(sum: f32, numbers: u64, in_32_bits: bool) -> Option<PublishedSum> {
    let (model, known) = published().models.iter().find_map(|model| {
        let known = model.tensor_sum.filter(|known| known.numbers == numbers)?;
        Some((model, known))
    })?;
    Some(match in_32_bits {
        true if known.is(sum) => PublishedSum::Equal(model),
        true => PublishedSum::Different(model, known),
        false => PublishedSum::Unknown(model),
    })
}

/// What was published.
pub fn published() -> &'static Published {
    static READ: LazyLock<Published> = LazyLock::new(|| {
        // A broken file is caught by the test below, not at a stranger's start.
        serde_json::from_str(include_str!("../../../assets/models/published.json")).unwrap_or_default()
    });
    &READ
}

/// A published model, by its name.
pub fn by_name(name: &str) -> Option<&'static PublishedModel> {
    published().models.iter().find(|model| model.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::find;

    #[test]
    fn every_published_model_can_be_fetched_or_made_and_has_whole_checksums() {
        serde_json::from_str::<Published>(include_str!("../../../assets/models/published.json")).unwrap();
        assert!(published().hub.starts_with("https://"));
        for model in &published().models {
            let roads = [model.repository.is_some(), model.made_with.is_some(), !model.parts.is_empty()];
            assert_eq!(roads.iter().filter(|road| **road).count(), 1, "{}", model.name);
            assert!(model.parts.iter().all(|part| by_name(part).is_some_and(|p| p.repository.is_some())));
            assert!(model.md5.values().all(|sum| sum.len() == 32 && sum.bytes().all(|b| b.is_ascii_hexdigit())));
            let entry = model.entry.as_deref();
            assert!(entry.is_none_or(|name| find::known_models().iter().any(|e| e.name == name)), "{}", model.name);
        }
        assert_eq!(by_name("ZhiXi-13B-LoRA").unwrap().md5.len(), 1);
        assert_eq!(by_name("zhixi-13b-base-fp32").unwrap().tensor_sum.unwrap().value, 94052.2891);
        assert!(by_name("zhixi-13b-base-fp16").unwrap().tensor_sum.is_none(), "never published for fp16");
    }

    #[test]
    fn a_sum_says_something_of_a_model_of_the_same_size() {
        let numbers = 13_015_864_320;
        assert!(matches!(published_sum(94052.29, numbers, true), Some(PublishedSum::Equal(_))));
        assert!(matches!(published_sum(94052.31, numbers, true), Some(PublishedSum::Different(..))));
        assert!(matches!(published_sum(94052.29, numbers, false), Some(PublishedSum::Unknown(_))));
        assert!(published_sum(94052.29, 7, true).is_none());
    }
}
