//! Why a model could not be loaded.

use std::path::PathBuf;

use checkpoint::{AdapterError, GgufError, HuggingFaceError};

/// Why a model or an adapter could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The GGUF file cannot be used.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The Hugging Face folder cannot be used.
    #[error(transparent)]
    HuggingFace(#[from] HuggingFaceError),
    /// An adapter cannot be used.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The model's configuration is incomplete, or of an architecture we do not compute.
    #[error("{path}: {reason}")]
    Model {
        /// The model.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The tokenizer inside the model cannot be built.
    #[error("{path}: its tokenizer cannot be used: {reason}")]
    Tokenizer {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The device cannot compute it.
    #[error("The model cannot be computed on this device: {0}")]
    Device(String),
    /// The environment variable `KNOWLM_SIMD` names no instruction set that there is.
    #[error("KNOWLM_SIMD is \"{wanted}\"; this processor has {sets}. Leave it out for the best of them")]
    InstructionSet {
        /// What it says.
        wanted: String,
        /// What it could say.
        sets: String,
    },
    /// The system gave no memory for the weights.
    #[error("There is not enough memory for the model's weights: {0}")]
    Memory(std::io::Error),
    /// An adapter of this name is loaded already.
    #[error("There is an adapter \"{0}\" already. Unload it first, or choose another name.")]
    NameTaken(String),
    /// There is no adapter of this name to unload.
    #[error("No adapter \"{0}\" is loaded.")]
    NoSuchAdapter(String),
    /// What generates has its adapters elsewhere.
    #[error("The adapters of this model cannot be changed from here.")]
    FixedAdapters,
    /// The system gave no thread.
    #[error("The engine's thread could not be started: {0}")]
    Thread(std::io::Error),
}
