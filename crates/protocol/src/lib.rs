//! The types that the page and the server both speak.
//!
//! Pure data: no input or output, no clock, no model. Builds for the browser and for the server.

pub mod admin;
pub mod batch;
pub mod events;
pub mod format;
pub mod graph;
pub mod job;
pub mod logprob;
pub mod manifest;
pub mod params;
pub mod record;
pub mod review;
pub mod run;
pub mod text;
pub mod view;

pub use admin::{AdapterUse, AdminView, EngineStatus, FoundAdapter};
pub use events::{RunEvent, StateEvent, TextEvent};
pub use format::{Asking, Description, EventPart, Format, TaughtFormat};
pub use logprob::{Alternative, Hesitation, TokenLogprob};
pub use manifest::{AdapterManifest, Example, ModelEntry, SchemaChoice, Task, Taught};
pub use params::{PARAMETERS, ParameterError, ParameterPatch, ParameterSpec, Parameters};
pub use record::{Agreement, Certainty, Judgement, Record, Span, Verdict};
pub use run::{Column, FinishReason, Mode, RunStatus, Timings};
pub use text::{Language, Sentence};
pub use view::{Ask, Bench, RunView, SessionSummary, SessionView, StartRuns, Started};
