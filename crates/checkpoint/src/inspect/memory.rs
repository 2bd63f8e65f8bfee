//! What it takes to run a model, and what this machine has.

use std::fs;

use serde::Serialize;

use super::{facts::Facts, fold::layer_of};
use crate::{BlockFormat, Element, source::Source};

/// A way to load a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadMode {
    /// As it is stored.
    Stored,
    /// Its layers rounded to eight bits: `--load-8bit`.
    EightBit,
    /// Its layers rounded to four bits: `--load-4bit`.
    FourBit,
}

impl LoadMode {
    /// How the layers' matrices are kept.
    fn of(self, stored: Element) -> Element {
        match self {
            Self::EightBit if stored.block() == 1 => Element::Block(BlockFormat::Q8_0),
            Self::FourBit if stored.block() == 1 => Element::Block(BlockFormat::Q4_0),
            _ => stored,
        }
    }
}

/// What it takes to run a model on the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// How it is loaded.
    pub mode: LoadMode,
    /// Bytes of the weights in memory.
    pub weights: u64,
    /// Bytes of the keys and values of one run that fills the context.
    pub context: u64,
    /// Whether both fit into this machine's memory; nothing where the system does not say.
    pub fits: Option<bool>,
}

/// This machine's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Bytes in all, or as many as this program may have.
    pub memory: Option<u64>,
    /// Bytes that are free now.
    pub free: Option<u64>,
}

impl Machine {
    /// As the system tells it.
    pub fn this() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = |name: &str| {
            let kilobytes = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(kilobytes.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
        };
        // A container may have less.
        let limit = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        let limit = limit.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
        let within = |bytes: u64| bytes.min(limit.unwrap_or(u64::MAX));
        Self { memory: line("MemTotal:").map(within), free: line("MemAvailable:").map(within) }
    }
}

/// Bytes of a matrix in the order that the engine's kernels read it: tiles of sixteen rows, and scales beside every 32
/// numbers. `Q6_K`, whose scales are finer, is kept as `F16`.
fn packed(element: Element, rows: u64, columns: u64) -> u64 {
    let numbers = rows.next_multiple_of(16).saturating_mul(columns);
    let Some(format) = element.format() else { return numbers.saturating_mul(4) };
    // Bytes of 512 numbers.
    let bytes = match format {
        BlockFormat::Q4_0 | BlockFormat::Q4_1 => 320,
        BlockFormat::Q4K => 384,
        BlockFormat::Q8_0 => 544,
        BlockFormat::Q5_0 | BlockFormat::Q5_1 | BlockFormat::Q5K => 640,
        BlockFormat::F16 | BlockFormat::Bf16 | BlockFormat::Q6K => 1024,
        BlockFormat::F32 => 2048,
    };
    (u128::from(numbers) * bytes / 512).min(u128::from(u64::MAX)) as u64
}

/// What it takes in each way of loading; only as stored where rounding would change nothing.
pub(super) fn needs(source: &Source, model: &Facts) -> Vec<Needs> {
    let total = Machine::this().memory;
    let context = [2, 4, model.layers, model.kv_heads, model.head_size, model.context]
        .iter()
        .fold(1u64, |product, n| product.saturating_mul(*n));
    let is_layer = |name: &str| layer_of(name).is_some();
    let can_round = source.infos().iter().any(|i| is_layer(&i.name) && i.shape.len() == 2 && i.element.block() == 1);
    let modes: &[LoadMode] = match can_round {
        true => &[LoadMode::Stored, LoadMode::EightBit, LoadMode::FourBit],
        false => &[LoadMode::Stored],
    };
    let has_head = source.infos().iter().any(|i| is_head(&i.name));
    let one = |mode: LoadMode| {
        let weights = source.infos().iter().fold(0u64, |sum, info| {
            let columns = info.columns() as u64;
            let rows = (info.count() as u64).checked_div(columns).unwrap_or(0);
            let bytes = match &info.name {
                name if is_layer(name) && rows > 1 => packed(mode.of(info.element), rows, columns),
                name if is_head(name) => packed(info.element, rows, columns),
                // Read row by row where it lies; as output layer it is packed beside that.
                name if is_embedding(name) && !has_head => {
                    (info.bytes() as u64).saturating_add(packed(info.element, rows, columns))
                }
                name if is_embedding(name) => info.bytes() as u64,
                _ => rows.saturating_mul(columns).saturating_mul(4),
            };
            sum.saturating_add(bytes)
        });
        Needs { mode, weights, context, fits: total.map(|total| weights.saturating_add(context) <= total) }
    };
    modes.iter().map(|mode| one(*mode)).collect()
}

fn is_head(name: &str) -> bool {
    matches!(name, "output.weight" | "lm_head.weight")
}

fn is_embedding(name: &str) -> bool {
    name.ends_with("embed_tokens.weight") || matches!(name, "token_embd.weight" | "tok_embeddings.weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_sizes_are_those_of_tiles() {
        let block = |format| packed(Element::Block(format), 16, 512);
        assert_eq!(block(BlockFormat::F16), 16 * 512 * 2);
        assert_eq!(block(BlockFormat::Q4_1), 16 * (512 / 32) * (4 + 16));
        assert_eq!(block(BlockFormat::Q8_0), 16 * (512 / 32) * (2 + 32));
        assert_eq!(packed(Element::F32, 17, 1), 32 * 4, "the last tile is filled up");
        assert_eq!(packed(Element::Block(BlockFormat::F32), u64::MAX / 2, u64::MAX), u64::MAX);
    }

    #[test]
    fn this_machine_has_memory() {
        let machine = Machine::this();
        if cfg!(target_os = "linux") {
            assert!(machine.memory.is_some_and(|all| all > 1 << 20 && Some(all) >= machine.free));
        }
    }
}
