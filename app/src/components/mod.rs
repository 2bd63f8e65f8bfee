//! Parts that several pages share.

mod answer;
mod comparison;
mod completion;
mod controls;
mod editor;
mod marked;
mod parameters;
mod records;
mod run_line;
mod schema;
mod share;

pub use answer::ExtractionCard;
pub use comparison::{ComparisonCard, Headline};
pub use completion::CompletionCard;
pub use controls::{ErrorNotice, RunButtons, Splitter};
pub use parameters::{ParameterForm, ParameterPanel};
pub use schema::{SchemaForm, SchemaPicker};
pub use share::SharePanel;
