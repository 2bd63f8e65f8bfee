//! Model files: finding them, reading them, and saying clearly what is wrong with one.
//!
//! Files are untrusted. Nothing in a file is executed, no length in it is believed before it was
//! compared with the file's size, and every error names the file and the tensor it is about.

pub mod adapter;
pub mod blocks;
pub mod convert;
pub mod diff;
pub mod download;
pub mod element;
pub mod find;
pub mod folder;
pub mod gguf;
pub mod gptq;
mod halves;
pub mod huggingface;
pub mod inspect;
mod kblocks;
pub mod known;
mod map;
pub mod merge;
mod pattern;
pub mod pytorch;
pub mod quantize;
mod quick;
pub mod sentencepiece;
mod small;
pub mod source;
mod space;
mod stream;
mod sum;
pub mod verify;
pub mod write;

pub use adapter::{Adapter, AdapterError, Projection};
pub use blocks::BlockFormat;
pub use element::Element;
pub use gguf::{Gguf, GgufError};
pub use huggingface::{HuggingFace, HuggingFaceError};
pub use pytorch::PyTorchError;
pub use sentencepiece::{SentencePiece, SentencePieceError};
pub use source::{Source, SourceError, Tensor};

/// A tensor's bytes inside a mapped file.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    /// How the numbers are stored.
    pub format: BlockFormat,
    /// Rows of the matrix (1 for a vector).
    pub rows: usize,
    /// Numbers in a row, stored one after the other.
    pub columns: usize,
    /// The stored rows, back to back.
    pub bytes: &'a [u8],
}
