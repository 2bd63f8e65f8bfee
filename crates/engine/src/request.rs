//! What the engine is asked, and what it answers: the one interface the server sees.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use protocol::{
    EngineStatus, FinishReason, Hesitation, Language, ParameterError, Parameters, Timings, TokenLogprob,
    view::{AdapterInfo, ModelInfo},
};

use crate::{EngineError, guide::Grammar};

/// One generation.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// The exact prompt.
    pub prompt: String,
    /// Name of the adapter to apply; `None` is the base alone.
    pub adapter: Option<String>,
    /// How to decode. An empty seed is drawn by the engine; draw it before when it has to be recorded.
    pub parameters: Parameters,
    /// Whether to guess tokens from the prompt and earlier answers; `None` is as the engine was told. The text is
    /// the same either way.
    pub lookup: Option<bool>,
    /// With how many alternatives the log-probability of each token is wanted; `None` is not at all. Beam search
    /// gives none. Without alternatives, a token that only the end of the room forces has none (minus infinity).
    pub logprobs: Option<u8>,
    /// Added to the scores of these tokens, before anything else.
    pub logit_bias: Vec<(u32, f32)>,
    /// For whom it is. Those who wait take turns.
    pub owner: Option<u64>,
    /// What the answer must look like; anything when `None`.
    pub guide: Option<Grammar>,
}

impl GenerateRequest {
    /// A generation with nothing but its parameters.
    pub fn new(prompt: String, adapter: Option<String>, parameters: Parameters) -> Self {
        Self { prompt, adapter, parameters, lookup: None, logprobs: None, logit_bias: vec![], owner: None, guide: None }
    }
}

/// What happens to a generation. The last event is always [`EngineEvent::Done`], and comes once.
#[derive(Clone, Debug)]
pub enum EngineEvent {
    /// It waits. Sent again when the position changes; not sent when it starts at once.
    Queued {
        /// Runs before it.
        position: u32,
    },
    /// Its prompt is being read.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// How long it waited, milliseconds.
        queue_ms: f64,
    },
    /// The text changed: cut it at `at`, then append `text`.
    Text {
        /// Where to cut, in Unicode code points.
        at: usize,
        /// What to append.
        text: String,
        /// Tokens generated so far.
        completion_tokens: u32,
    },
    /// It ended.
    Done(Outcome),
}

/// How a generation ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why.
    pub finish_reason: FinishReason,
    /// The sentence of [`FinishReason::Error`].
    pub error: Option<String>,
    /// The whole text; what the text events add up to.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated, the end token included.
    pub completion_tokens: u32,
    /// Where the time went.
    pub timings: Timings,
    /// Of each token of the text, where they were asked for.
    pub logprobs: Vec<TokenLogprob>,
}

impl Outcome {
    /// Where the model hesitated; `None` where log-probabilities were not asked for.
    pub fn hesitations(&self) -> Option<Vec<Hesitation>> {
        (!self.logprobs.is_empty()).then(|| Hesitation::of(&self.text, &self.logprobs))
    }
}

/// Called with every event, on the engine's own thread: it must not block.
pub type Sink = Box<dyn FnMut(EngineEvent) + Send>;

/// Something that generates text.
pub trait Generator: Send + Sync {
    /// Queues a generation.
    ///
    /// # Errors
    /// It cannot be run as asked, or the queue is full. Nothing was queued then, and `sink` is never called.
    fn submit(&self, request: GenerateRequest, sink: Sink) -> Result<CancelHandle, SubmitError>;

    /// Checks a generation as [`Generator::submit`] does, except for the queue; gives the prompt's tokens.
    ///
    /// # Errors
    /// It cannot be run as asked.
    fn check(&self, request: &GenerateRequest) -> Result<u32, SubmitError>;

    /// The base.
    fn model(&self) -> ModelInfo;

    /// The adapters a request may name, the default first.
    fn adapters(&self) -> Vec<AdapterInfo>;

    /// Loads an adapter from its folder while runs go on. It takes as long as reading the files.
    ///
    /// # Errors
    /// The name is taken, or the adapter cannot be used with this base.
    fn load_adapter(&self, _name: &str, _folder: &Path) -> Result<AdapterInfo, EngineError> {
        Err(EngineError::FixedAdapters)
    }

    /// Takes an adapter out of the list. Runs that were accepted with it end with it; then its memory is given back.
    ///
    /// # Errors
    /// There is none of this name.
    fn unload_adapter(&self, _name: &str) -> Result<(), EngineError> {
        Err(EngineError::FixedAdapters)
    }

    /// Whether runs are computed now. They are accepted and wait while this is not so.
    fn is_ready(&self) -> bool {
        true
    }

    /// How it does.
    fn status(&self) -> EngineStatus {
        let info = |info| protocol::AdapterUse { info, bytes: 0, runs: 0 };
        EngineStatus {
            ready: self.is_ready(),
            adapters: self.adapters().into_iter().map(info).collect(),
            ..EngineStatus::default()
        }
    }

    /// Takes nothing new, waits up to `limit` for what is queued and running, and ends the rest as
    /// [`FinishReason::Interrupted`]. Returns when every sink has had its last event.
    fn drain(&self, limit: Duration);
}

/// Stops a generation. Dropping it does nothing.
#[derive(Clone, Debug, Default)]
pub struct CancelHandle(Arc<AtomicBool>);

impl CancelHandle {
    /// Ends the generation at its next step as [`FinishReason::Cancelled`]; its text so far is kept.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`CancelHandle::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a generation was not accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// Too many wait already.
    #[error("The server is busy: {queued} runs are waiting. Try again in a moment.")]
    Busy {
        /// How many wait.
        queued: usize,
    },
    /// There is nothing to continue.
    #[error("The prompt is empty. Type something for the model to continue.")]
    EmptyPrompt,
    /// There is no room for an answer.
    #[error(
        "The prompt has {tokens} tokens, but this model reads at most {limit}, answer included. Shorten it by at least {} tokens.",
        tokens + 1 - limit
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// The model's context.
        limit: usize,
    },
    /// There is no adapter of this name.
    #[error("There is no adapter \"{name}\". {known}")]
    UnknownAdapter {
        /// The name.
        name: String,
        /// Which there are, as a sentence.
        known: String,
    },
    /// A parameter is out of range.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    /// The tokenizer refused the prompt.
    #[error("The prompt could not be read: {reason}")]
    Tokenizer {
        /// What it said.
        reason: String,
    },
    /// The answer cannot be guided as asked.
    #[error("The grammar of the answer cannot be used: {reason}. Correct it, or run without it.")]
    Grammar {
        /// What is wrong with it.
        reason: String,
    },
    /// The engine takes nothing new.
    #[error("The server is stopping and takes no new runs.")]
    Stopping,
}

impl SubmitError {
    /// Whether trying again later can help.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }

    /// The sentence for a person who reads this language. Written out it is the English one, with a parameter's name
    /// as scripts know it.
    pub fn sentence(&self, language: Language) -> String {
        match (self, language) {
            (Self::Parameters(error), _) => error.sentence(language),
            (_, Language::En) => self.to_string(),
            (Self::Busy { queued }, Language::Zh) => format!("服务器繁忙，有 {queued} 个运行在排队。请稍后再试。"),
            (Self::EmptyPrompt, Language::Zh) => "提示为空。请输入内容，让模型接着写。".into(),
            (Self::PromptTooLong { tokens, limit }, Language::Zh) => format!(
                "提示有 {tokens} 个词元，而模型最多能读 {limit} 个（含回答）。请至少缩短 {} 个词元。",
                (tokens + 1).saturating_sub(*limit)
            ),
            (Self::UnknownAdapter { name, .. }, Language::Zh) => format!("没有名为“{name}”的适配器。"),
            (Self::Tokenizer { reason }, Language::Zh) => format!("无法读取提示：{reason}"),
            (Self::Grammar { reason }, Language::Zh) => {
                format!("无法使用回答的语法：{reason}。请改正，或不使用语法运行。")
            }
            (Self::Stopping, Language::Zh) => "服务器正在停止，不再接受新的运行。".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_said_in_both_languages() {
        let long = SubmitError::PromptTooLong { tokens: 310, limit: 300 };
        assert_eq!(long.sentence(Language::En), long.to_string());
        assert_eq!(
            long.sentence(Language::Zh),
            "提示有 310 个词元，而模型最多能读 300 个（含回答）。请至少缩短 11 个词元。"
        );
        let mut parameters = Parameters::published(protocol::Mode::Lora);
        parameters.temperature = 7.0;
        let hot = parameters.validate().map_err(|e| SubmitError::from(e).sentence(Language::Zh));
        assert!(hot.is_err_and(|said| said.starts_with("温度") && said.contains("0 到 2")));
    }
}
