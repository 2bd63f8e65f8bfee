//! What the page of the model shows.

use serde::{Deserialize, Serialize};

use crate::view::{AdapterInfo, ModelInfo};

/// How the engine does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Whether runs are computed now; not while the model is loaded again after a fault.
    pub ready: bool,
    /// How often the model was loaded again.
    pub restarts: u32,
    /// Memory of the whole program, in bytes, where the system tells; the mapped model file counts as far as it was read.
    pub process_bytes: Option<u64>,
    /// Memory that keys and values take, of runs and of remembered prompts, in bytes.
    pub cache_bytes: u64,
    /// The most that they may take.
    pub cache_budget: u64,
    /// The adapters that a run may name, the default first.
    pub adapters: Vec<AdapterUse>,
}

/// A loaded adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterUse {
    /// What it is.
    pub info: AdapterInfo,
    /// Memory of its weights, in bytes.
    pub bytes: u64,
    /// Runs that use it now, waiting ones included.
    pub runs: u32,
}

/// An adapter's folder that lies where adapters are sought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundAdapter {
    /// The folder's name.
    pub name: String,
    /// The base that it was made for, as its files say.
    pub base: String,
    /// Whether an adapter of this name is loaded.
    pub loaded: bool,
}

/// The whole page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdminView {
    /// The base.
    pub model: ModelInfo,
    /// How it does.
    pub status: EngineStatus,
    /// What could be loaded.
    pub found: Vec<FoundAdapter>,
}
