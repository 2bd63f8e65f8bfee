//! A LoRA adapter as a set of changes, each of one tensor of the base.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use super::MergeError;
use crate::{Source, Tensor, huggingface::read_json, pattern::Pattern, small};

/// Ranks beyond this are no low-rank adapters any more.
const MAX_RANK: usize = 1024;
/// The longest name all modules of a large model.
const MAX_CONFIG: u64 = 16 << 20;

/// An opened adapter.
#[derive(Debug)]
pub struct Lora {
    source: Source,
    config: Config,
    config_path: PathBuf,
    /// How much of every change is made.
    weight: f32,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    peft_type: String,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    alpha_pattern: Pattern<f64>,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(default)]
    layer_replication: Value,
}

/// How the factors of a change lie beside what they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// `B A`: a linear layer, `[outputs, inputs]`.
    Straight,
    /// `(B A)` transposed: a layer that is stored as `[inputs, outputs]`, or embeddings.
    Across,
}

/// What happens to a tensor of the base.
#[derive(Debug, Default)]
pub(super) struct Change<'a> {
    /// It is replaced.
    pub(super) instead: Option<Tensor<'a>>,
    /// This is added: `A`, `B`, and how they lie.
    pub(super) a: Option<Tensor<'a>>,
    pub(super) b: Option<Tensor<'a>>,
    pub(super) lie: Option<Lie>,
    /// The lengths that its rows get (DoRA); its columns, where the factors lie across.
    pub(super) lengths: Option<Tensor<'a>>,
    pub(super) scale: f32,
    /// How much of all that is done: 1 for all.
    pub(super) weight: f32,
}

/// What a tensor of the adapter is.
enum Role {
    A(Lie),
    B,
    Lengths,
    Instead(&'static str),
}

impl Lora {
    /// Opens an adapter's folder; the base is brought towards what the adapter makes of it by `weight`, 1 for all the way.
    ///
    /// # Errors
    /// A file is missing or damaged, or it is of a kind that cannot be merged.
    pub fn open(folder: &Path, weight: f32) -> Result<Self, MergeError> {
        let config_path = folder.join("adapter_config.json");
        let config: Config = read_json(&config_path)?;
        // A merged model may lie in the same folder; what is meant is the adapter.
        let named = ["adapter_model.safetensors", "adapter_model.bin"].map(|name| folder.join(name));
        let own = named.iter().find(|path| path.is_file()).map_or(folder, PathBuf::as_path);
        let lora = Self { source: Source::open(own)?, config, config_path, weight };
        match lora.unsupported() {
            Some(reason) => Err(MergeError::Unsupported { path: lora.config_path, reason }),
            None => Ok(lora),
        }
    }

    /// Its tensors.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Its configuration as it stands, which decides on the result.
    pub(super) fn config_text(&self) -> String {
        let bytes = small::read(&self.config_path, MAX_CONFIG).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How far the base is brought towards what it makes of it.
    pub fn weight(&self) -> f32 {
        self.weight
    }

    fn unsupported(&self) -> Option<String> {
        let c = &self.config;
        if !c.peft_type.is_empty() && c.peft_type != "LORA" {
            return Some(format!("it is a {} adapter; only LORA is merged", c.peft_type));
        }
        if !c.lora_alpha.is_finite() || !self.weight.is_finite() {
            return Some("its lora_alpha or weight is no number".into());
        }
        if !c.layer_replication.is_null() {
            return Some("it repeats layers (layer_replication), which is not merged".into());
        }
        // These begin with a changed base, which the adapter's files do not have.
        let start = c.init_lora_weights.as_str().unwrap_or_default().to_lowercase();
        let changed = ["pissa", "olora", "corda", "loftq"].into_iter().find(|name| start.starts_with(name));
        if let Some(name) = changed {
            return Some(format!("it was trained on a base changed by {name}; save it as a plain LoRA adapter first"));
        }
        let odd = c.alpha_pattern.odd()?;
        Some(format!("its alpha_pattern has the expression \"{odd}\", which is not understood here"))
    }

    /// What `B A` is multiplied with in a module.
    fn scale(&self, module: &str, rank: usize) -> f32 {
        let alpha = self.config.alpha_pattern.of(module).copied().unwrap_or(self.config.lora_alpha);
        let rank = rank.max(1) as f64;
        (alpha / if self.config.use_rslora { rank.sqrt() } else { rank }) as f32
    }

    /// The changes by the names of the tensors they change.
    pub(super) fn changes(&self) -> Result<BTreeMap<String, Change<'_>>, MergeError> {
        let wrong = |tensor: &str, reason: String| MergeError::DoesNotFit {
            path: self.source.path().into(),
            tensor: tensor.into(),
            reason,
        };
        let mut changes: BTreeMap<String, Change<'_>> = BTreeMap::new();
        for tensor in self.source.tensors() {
            let name = tensor.info.name.clone();
            if name.contains(".original_module.") {
                continue;
            }
            let (module, role) =
                role(&name, self.config.fan_in_fan_out).ok_or_else(|| wrong(&name, "is not understood".into()))?;
            let ending = if let Role::Instead(ending) = role { ending } else { "weight" };
            let change = changes.entry(format!("{module}.{ending}")).or_default();
            change.weight = self.weight;
            let matrix = tensor.info.shape.len() == 2;
            match role {
                Role::A(_) | Role::B if !matrix => {
                    return Err(wrong(&name, format!("is {:?}; only matrices are merged", tensor.info.shape)));
                }
                Role::A(lie) => {
                    let rank = tensor.info.shape[0];
                    if rank == 0 || rank > MAX_RANK {
                        return Err(wrong(&name, format!("has rank {rank}; it must be 1 to {MAX_RANK}")));
                    }
                    change.scale = self.scale(module, rank);
                    (change.lie, change.a) = (Some(lie), Some(tensor));
                }
                Role::B => change.b = Some(tensor),
                Role::Lengths => change.lengths = Some(tensor),
                Role::Instead(_) => change.instead = Some(tensor),
            }
        }
        for change in changes.values() {
            // One without the other would make another model, and nobody would see it.
            match (&change.a, &change.lengths) {
                (Some(a), None) if self.config.use_dora => {
                    let reason = "is of a DoRA adapter (use_dora), and has no magnitude vector beside it".into();
                    return Err(wrong(&a.info.name, reason));
                }
                (_, Some(lengths)) if !self.config.use_dora => {
                    let reason = "is a magnitude vector, and adapter_config.json does not say use_dora".into();
                    return Err(wrong(&lengths.info.name, reason));
                }
                _ => {}
            }
        }
        Ok(changes)
    }
}

/// The module and the role of a tensor of the adapter: `base_model.model.MODULE.lora_A.weight`. The name that an
/// adapter has in memory may stand behind the role.
fn role(name: &str, across: bool) -> Option<(&str, Role)> {
    let name = name.strip_prefix("base_model.model.").unwrap_or(name);
    let lie = if across { Lie::Across } else { Lie::Straight };
    for (mark, role) in [
        (".lora_A", Role::A(lie)),
        (".lora_B", Role::B),
        (".lora_embedding_A", Role::A(Lie::Across)),
        (".lora_embedding_B", Role::B),
        (".lora_magnitude_vector", Role::Lengths),
    ] {
        if let Some((module, rest)) = name.rsplit_once(mark) {
            let plain = matches!(rest, "" | ".weight" | ".default" | ".default.weight");
            return plain.then_some((module, role));
        }
    }
    if name.contains("lora_") {
        return None;
    }
    let (module, ending) = name.rsplit_once('.')?;
    let ending = ["weight", "bias"].into_iter().find(|known| *known == ending)?;
    let module = module.strip_suffix(".base_layer").unwrap_or(module);
    let module = module.rsplit_once(".modules_to_save").map_or(module, |(module, _)| module);
    Some((module, Role::Instead(ending)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_adapters_are_understood() {
        let read = |name| {
            role(name, false).map(|(module, role)| {
                let role = match role {
                    Role::A(lie) => format!("A {lie:?}"),
                    Role::B => "B".into(),
                    Role::Lengths => "lengths".into(),
                    Role::Instead(ending) => format!("instead of {ending}"),
                };
                format!("{module}: {role}")
            })
        };
        for (name, meaning) in [
            ("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", "model.layers.0.mlp.up_proj: A Straight"),
            ("base_model.model.lm_head.lora_B.default.weight", "lm_head: B"),
            ("base_model.model.model.embed_tokens.lora_embedding_A", "model.embed_tokens: A Across"),
            ("base_model.model.lm_head.lora_magnitude_vector", "lm_head: lengths"),
            ("base_model.model.lm_head.modules_to_save.default.weight", "lm_head: instead of weight"),
            ("base_model.model.model.norm.weight", "model.norm: instead of weight"),
            ("base_model.model.model.embed_tokens.base_layer.weight", "model.embed_tokens: instead of weight"),
            ("base_model.model.a.q_proj.bias", "a.q_proj: instead of bias"),
        ] {
            assert_eq!(read(name).unwrap(), meaning);
        }
        assert_eq!(read("base_model.model.a.lora_B.bias"), None);
        assert_eq!(read("base_model.model.a.lora_C.weight"), None);
    }
}
