//! Information extraction as pure functions: schema -> prompt, answer -> records, records -> places in the text.
//!
//! No input or output, no clock, no model; builds for the browser and for the server. Nothing here fails on what a
//! model wrote: a function returns what it found and a list of [`Issue`]s.
//!
//! The way of an answer: `scan`, `object`, `angle` and `sentence` cut it into pieces, `split` decides which comma is which,
//! [`ground`] finds the words in the text, [`parse`] puts it together.

pub mod chunk;
pub mod color;
pub mod doubt;
#[cfg(feature = "export")]
pub mod export;
pub mod graph;
pub mod ground;
pub mod guide;
pub mod hint;
pub mod issue;
pub mod judge;
pub mod layout;
pub mod marks;
pub mod merge;
pub mod node;
pub mod offsets;
pub mod output;
pub mod parse;
pub mod prompt;
pub mod schema;
#[cfg(feature = "scoring")]
pub mod score;
pub mod svg;
pub mod text;
pub mod together;

mod agree;
mod angle;
mod object;
mod oneke;
mod quick;
mod scan;
mod sentence;
mod split;
mod types;
mod wording;

pub use color::label_color;
pub use issue::{Issue, IssueKind};
pub use parse::Parsed;
pub use schema::{Schema, SchemaError};
