//! Tokens in, tokens out: tokenizer, model, key/value cache, scheduler, sampling, adapters.
//!
//! A model is data: a configuration, named weights, a layer plan. A backend computes it: our own kernels on
//! the processor, or the tensor library candle (the reference, and the graphics card). The server sees one trait, [`Generator`]:
//! submit a request, get a stream of events.
//!
//! Two promises hold everywhere: a run's text does not depend on what else runs, and the same seed with the
//! same parameters gives the same text.

mod adapters;
mod answer;
mod backend;
mod beams;
mod candle;
mod chat;
mod config;
mod cpu;
mod ending;
mod error;
mod fair;
#[cfg(test)]
mod formats;
mod gptq;
mod guide;
mod local;
mod lookup;
mod memory;
#[cfg(test)]
mod parity;
mod perplexity;
mod prefix;
mod queue;
#[cfg(test)]
mod reference;
mod request;
mod rotary;
mod run;
mod sampling;
mod scheduler;
#[cfg(test)]
#[path = "../tests/tiny/mod.rs"]
mod tiny;
#[cfg(test)]
#[path = "../tests/tiny/gguf.rs"]
mod tiny_gguf;
mod tokenizer;
mod transcript;
mod weights;
mod window;
mod worker;

pub use chat::{ChatError, ChatMessage, ChatTemplate};
pub use error::EngineError;
pub use gptq::{GptqMatrix, GptqOptions, RoundError, gptq};
pub use guide::Grammar;
pub use local::{DeviceChoice, EngineOptions, LoadAs, LocalEngine};
pub use perplexity::{Perplexity, PerplexityOptions, perplexity};
pub use request::{CancelHandle, EngineEvent, GenerateRequest, Generator, Outcome, Sink, SubmitError};
