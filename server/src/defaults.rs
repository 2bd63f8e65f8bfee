//! The sampling parameters a person starts from.

use protocol::{AdapterManifest, Mode, ModelEntry, Parameters};

/// Defaults of both modes for the loaded model and adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Of pretrain mode.
    pub pretrain: Parameters,
    /// Of LoRA mode.
    pub lora: Parameters,
}

impl Defaults {
    /// The published defaults, the model entry's over them, and in LoRA mode the adapter's own over those.
    pub fn of(entry: Option<&ModelEntry>, adapter: Option<&AdapterManifest>) -> Self {
        let mut pretrain = Parameters::published(Mode::Pretrain);
        let mut lora = Parameters::published(Mode::Lora);
        if let Some(entry) = entry {
            pretrain = pretrain.with(&entry.pretrain);
            lora = lora.with(&entry.lora);
        }
        if let Some(adapter) = adapter {
            lora = lora.with(&adapter.decoding);
        }
        Self { pretrain, lora }
    }

    /// Of a mode.
    pub fn mode(&self, mode: Mode) -> &Parameters {
        match mode {
            Mode::Pretrain => &self.pretrain,
            Mode::Lora => &self.lora,
        }
    }
}
