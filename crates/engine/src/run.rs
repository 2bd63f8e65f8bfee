//! One run from its first token to its outcome: text, stop strings, loops, events, times.

use std::{sync::Arc, time::Instant};

use protocol::{FinishReason, Parameters, Timings};

use crate::{
    ending::{LoopDetector, Stop, find_stop},
    request::{CancelHandle, EngineEvent, Outcome, Sink},
    sampling::Sampler,
    tokenizer::{TextStream, Tokenizer},
};

/// An accepted request.
pub(crate) struct Job {
    pub prompt: Vec<u32>,
    pub adapter: Option<usize>,
    pub parameters: Parameters,
    pub seed: u64,
    /// Ends the answer beside the model's own end tokens.
    pub end_token: Option<u32>,
    pub cancel: CancelHandle,
    pub sink: Sink,
    pub accepted: Instant,
}

/// A job being computed.
pub(crate) struct Run<C> {
    pub prompt: Vec<u32>,
    pub adapter: Option<usize>,
    pub cancel: CancelHandle,
    pub cache: C,
    /// The newest token, not yet in the cache; `None` while the prompt is being read.
    pub newest: Option<u32>,
    /// Every token that is in the cache or about to be: the prompt and the answer.
    pub answer: Vec<u32>,
    tokenizer: Arc<Tokenizer>,
    sampler: Sampler,
    parameters: Parameters,
    end_token: Option<u32>,
    /// How many tokens the answer may have.
    room: usize,
    stream: TextStream,
    /// Length of the stream's text after each token, in bytes.
    lengths: Vec<usize>,
    loops: LoopDetector,
    /// What the sink was told, in bytes of the stream's text.
    shown: usize,
    shown_chars: usize,
    sink: Sink,
    accepted: Instant,
    started: Instant,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

impl<C> Run<C> {
    /// Begins a job; `context` is the model's. Tells the sink.
    pub(crate) fn start(job: Job, cache: C, tokenizer: Arc<Tokenizer>, context: usize) -> Self {
        let Job { prompt, adapter, parameters, seed, end_token, cancel, mut sink, accepted } = job;
        let started = Instant::now();
        sink(EngineEvent::Started { prompt_tokens: prompt.len() as u32, queue_ms: ms(accepted, started) });
        Self {
            sampler: Sampler::new(&parameters, seed, &prompt),
            room: (parameters.max_new_tokens as usize).min(context.saturating_sub(prompt.len())),
            prompt,
            adapter,
            cancel,
            cache,
            newest: None,
            answer: vec![],
            tokenizer,
            parameters,
            end_token,
            stream: TextStream::default(),
            lengths: vec![],
            loops: LoopDetector::default(),
            shown: 0,
            shown_chars: 0,
            sink,
            accepted,
            started,
            first_token: None,
            last_token: None,
        }
    }

    /// Chooses the next token by its scores; a reason when the run ends with it.
    pub(crate) fn step(&mut self, scores: &mut [f32]) -> Option<FinishReason> {
        let token = self.sampler.next(scores);
        let now = Instant::now();
        self.first_token.get_or_insert(now);
        self.last_token = Some(now);
        self.answer.push(token);
        self.newest = Some(token);
        if self.tokenizer.is_end(token) || self.end_token == Some(token) {
            self.show(self.stream.text().len());
            return Some(FinishReason::Stop);
        }
        let before = self.stream.text().len();
        self.stream.push(self.tokenizer.piece(token));
        self.lengths.push(self.stream.text().len());

        let stops = &self.parameters.stop;
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        match find_stop(self.stream.text(), stops, before.saturating_sub(longest)) {
            Stop::At(end) => {
                self.show(end);
                return Some(FinishReason::Stop);
            }
            Stop::ShowTo(end) => self.show(end),
        }
        if let Some(kept) = self.loops.push(token) {
            self.show(self.lengths.get(kept - 1).copied().unwrap_or(0));
            return Some(FinishReason::Repeat);
        }
        if self.answer.len() >= self.room {
            self.show(self.stream.text().len());
            return Some(FinishReason::Length);
        }
        None
    }

    /// Makes the sink's text the first `end` bytes of the stream's.
    fn show(&mut self, end: usize) {
        let text = self.stream.text();
        let end = end.min(text.len());
        if end == self.shown {
            return;
        }
        let (at, added) = if end > self.shown {
            (self.shown_chars, text[self.shown..end].to_owned())
        } else {
            (self.shown_chars - text[end..self.shown].chars().count(), String::new())
        };
        self.shown = end;
        self.shown_chars = at + added.chars().count();
        (self.sink)(EngineEvent::Text { at, text: added, completion_tokens: self.answer.len() as u32 });
    }

    /// Tells the sink the end.
    pub(crate) fn finish(mut self, reason: FinishReason, error: Option<String>) {
        if !matches!(reason, FinishReason::Stop | FinishReason::Repeat | FinishReason::Length) {
            // What was held back for a stop string is part of the text so far.
            self.show(self.stream.text().len());
        }
        let now = Instant::now();
        let (first, last) = (self.first_token.unwrap_or(now), self.last_token.unwrap_or(now));
        let decode_ms = ms(first, last);
        let after_first = self.answer.len().saturating_sub(1) as f64;
        let outcome = Outcome {
            finish_reason: reason,
            error,
            text: self.stream.text()[..self.shown].to_owned(),
            prompt_tokens: self.prompt.len() as u32,
            completion_tokens: self.answer.len() as u32,
            timings: Timings {
                queue_ms: ms(self.accepted, self.started),
                prefill_ms: ms(self.started, first),
                decode_ms,
                tokens_per_second: if decode_ms > 0.0 { after_first * 1000.0 / decode_ms } else { 0.0 },
            },
        };
        (self.sink)(EngineEvent::Done(outcome));
    }
}

impl Job {
    /// Ends a job that was never started.
    pub(crate) fn end(mut self, reason: FinishReason, error: Option<String>) {
        let outcome = Outcome {
            finish_reason: reason,
            error,
            text: String::new(),
            prompt_tokens: self.prompt.len() as u32,
            completion_tokens: 0,
            timings: Timings { queue_ms: ms(self.accepted, Instant::now()), ..Timings::default() },
        };
        (self.sink)(EngineEvent::Done(outcome));
    }
}

fn ms(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}
