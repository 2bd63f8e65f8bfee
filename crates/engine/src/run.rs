//! One run from its first token to its outcome: what it computes next, what it says, its times.

use std::{sync::Arc, time::Instant};

use protocol::{FinishReason, Parameters, Timings};

use crate::{
    adapters::Lease,
    answer::One,
    backend::{Backend, Segment},
    beams::{Beams, Search},
    guide::Guide,
    lookup::Lookup,
    memory::Memory,
    request::{CancelHandle, EngineEvent, Outcome, Sink},
    sampling::{Penalties, Sampler},
    tokenizer::Tokenizer,
    transcript::{Rules, Screen},
};

/// So many tokens that must come next are computed with the answers of a step; more are read like a prompt.
const TAIL: usize = 32;

/// An accepted request.
pub(crate) struct Job {
    pub prompt: Vec<u32>,
    pub adapter: Option<usize>,
    /// Keeps the adapter.
    pub lease: Option<Arc<Lease>>,
    pub parameters: Parameters,
    pub seed: u64,
    /// Ends the answer beside the model's own end tokens.
    pub end_token: Option<u32>,
    /// What the answer must look like.
    pub guide: Option<Guide>,
    /// Whether tokens are guessed.
    pub lookup: bool,
    /// How many alternatives are wanted with each token's log-probability.
    pub logprobs: Option<u8>,
    pub logit_bias: Vec<(u32, f32)>,
    pub owner: Option<u64>,
    pub cancel: CancelHandle,
    pub sink: Sink,
    pub accepted: Instant,
}

/// A job being computed.
pub(crate) struct Run<B: Backend> {
    pub adapter: Option<usize>,
    pub owner: Option<u64>,
    pub cancel: CancelHandle,
    /// The prompt and, unless there are beams, the answer so far.
    pub tokens: Vec<u32>,
    /// How many of the tokens are the prompt's.
    pub prompt: usize,
    /// Of the tokens; of those that were computed.
    pub cache: B::Cache,
    /// Taken part in a step that failed; computed alone until it is known whether it was the cause.
    pub suspect: bool,
    /// Gave its memory to others, and waits until there is enough again.
    pub paused: bool,
    /// What the current step computes of it; empty when it takes no part.
    work: Vec<u32>,
    /// After how many of the last tokens of `work` scores are wanted.
    scores: usize,
    answer: Answer<B>,
    rules: Rules,
    screen: Screen,
    clock: Clock,
    lease: Option<Arc<Lease>>,
}

enum Answer<B: Backend> {
    One(Box<One>),
    Beams(Box<Beams<B>>),
}

struct Clock {
    accepted: Instant,
    started: Instant,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

impl<B: Backend> Run<B> {
    /// Begins a job; `context` is the model's. Tells the sink.
    pub(crate) fn start(job: Job, cache: B::Cache, tokenizer: Arc<Tokenizer>, context: usize) -> Self {
        let (parameters, tokens) = (job.parameters, job.prompt);
        let clock = Clock { accepted: job.accepted, started: Instant::now(), first_token: None, last_token: None };
        let mut screen = Screen::new(job.sink);
        let queue_ms = ms(clock.accepted, clock.started);
        screen.tell(EngineEvent::Started { prompt_tokens: tokens.len() as u32, queue_ms });
        let penalties = Penalties::new(&parameters, job.logit_bias, &tokens);
        let mut ends = tokenizer.ends().to_vec();
        ends.extend(job.end_token.filter(|token| !tokenizer.is_end(*token)));
        let rules = Rules {
            room: (parameters.max_new_tokens as usize).min(context.saturating_sub(tokens.len())),
            ends,
            stop: parameters.stop.clone(),
            // What a guide closes must be whole: it ends by itself, or at its limit.
            loops: parameters.stop_repeats && !job.guide.as_ref().is_some_and(Guide::closes),
            tokenizer,
        };
        let answer = if parameters.beams > 1 {
            Answer::Beams(Box::new(Beams::new(Search::of(&parameters), &rules, penalties, job.guide)))
        } else {
            let alternatives = job.logprobs.map(usize::from);
            let sampler = Sampler::new(&parameters, job.seed);
            Answer::One(Box::new(One::new(sampler, penalties, job.guide, job.lookup, alternatives)))
        };
        Self {
            adapter: job.adapter,
            owner: job.owner,
            cancel: job.cancel,
            prompt: tokens.len(),
            tokens,
            cache,
            suspect: false,
            paused: false,
            work: vec![],
            scores: 0,
            answer,
            rules,
            screen,
            clock,
            lease: job.lease,
        }
    }

    /// Tokens that are known and not computed.
    pub(crate) fn unread(&self) -> usize {
        self.tokens.len() - B::length(&self.cache)
    }

    /// Whether it reads its prompt: for the first time, or again with the answer so far.
    pub(crate) fn reads(&self) -> bool {
        match &self.answer {
            Answer::One(_) => self.tokens.len() == self.prompt || self.unread() > TAIL,
            Answer::Beams(_) => self.unread() > 0,
        }
    }

    /// Rows that it adds to a step while it answers, guesses aside.
    pub(crate) fn rows(&self) -> usize {
        match &self.answer {
            Answer::One(_) => 1,
            Answer::Beams(beams) => beams.count(),
        }
    }

    /// Takes no part in the next step unless told otherwise.
    pub(crate) fn rest(&mut self) {
        self.work.clear();
        self.scores = 0;
        match &mut self.answer {
            Answer::One(one) => one.rest(),
            Answer::Beams(beams) => beams.rest(),
        }
    }

    /// Reads up to `most` tokens in the next step; gives how many.
    pub(crate) fn read(&mut self, most: usize, lookup: &Lookup, answering: usize) -> usize {
        let from = B::length(&self.cache);
        let to = self.tokens.len().min(from + most);
        self.work = self.tokens[from..to].to_vec();
        self.scores = 0;
        if to == self.tokens.len() {
            self.scores = 1;
            self.look_ahead(lookup, answering);
        }
        to - from
    }

    /// Goes on with the answer in the next step, beside `answering` rows, its own included.
    pub(crate) fn go_on(&mut self, lookup: &Lookup, answering: usize) {
        match &mut self.answer {
            Answer::One(_) => {
                self.work = self.tokens[B::length(&self.cache)..].to_vec();
                self.scores = 1;
                self.look_ahead(lookup, answering);
            }
            Answer::Beams(beams) => beams.go_on(&self.cache),
        }
    }

    /// Adds to the step what probably follows.
    fn look_ahead(&mut self, lookup: &Lookup, answering: usize) {
        let Answer::One(one) = &mut self.answer else { return };
        let room = self.rules.room.saturating_sub(self.tokens.len() - self.prompt + 1);
        let (adapter, tokens, prompt) = (self.adapter, &self.tokens, self.prompt);
        one.look_ahead(tokens, room, |tokens| lookup.guess(adapter, tokens, prompt, answering));
        self.work.extend(one.ahead());
        self.scores = 1 + one.ahead().count();
    }

    /// Whether the current step reads the end of its prompt.
    pub(crate) fn has_read_prompt(&self) -> bool {
        self.scores > 0 && self.tokens.len() == self.prompt
    }

    /// Its caches.
    pub(crate) fn caches(&self) -> impl Iterator<Item = &B::Cache> {
        let beams = match &self.answer {
            Answer::One(_) => None,
            Answer::Beams(beams) => Some(beams.caches()),
        };
        std::iter::once(&self.cache).chain(beams.into_iter().flatten())
    }

    /// Pages that the step may have to make for it.
    pub(crate) fn needs(&mut self, memory: &Memory) -> usize {
        self.segments().iter().map(|s| B::needed(s.cache, s.tokens.len(), memory)).sum()
    }

    /// Pages that it will have to make before it says its next token.
    pub(crate) fn claims(&self, memory: &Memory) -> usize {
        let again = match &self.answer {
            Answer::Beams(beams) if beams.restarted() => beams.count() * memory.needed(self.prompt, beams.length()),
            _ => 0,
        };
        let beams = if self.rows() > 1 { self.rows() } else { 0 };
        B::needed(&self.cache, self.unread(), memory) + beams + again
    }

    /// What it takes part in the step with.
    pub(crate) fn segments(&mut self) -> Vec<Segment<'_, B::Cache>> {
        if !self.work.is_empty() {
            let (tokens, scores) = (self.work.as_slice(), self.scores);
            return vec![Segment { tokens, cache: &mut self.cache, adapter: self.adapter, scores }];
        }
        match &mut self.answer {
            Answer::One(_) => vec![],
            Answer::Beams(beams) => beams.segments(self.adapter),
        }
    }

    /// Takes the step's scores; a reason when the run ends.
    ///
    /// # Errors
    /// It cannot go on.
    pub(crate) fn take(&mut self, scores: &mut [f32], lookup: &mut Lookup) -> Result<Option<FinishReason>, String> {
        if scores.is_empty() {
            return Ok(None);
        }
        // Folded, not searched, so that it is done many at a time.
        if scores.iter().fold(false, |bad, score| bad | !score.is_finite()) {
            return Err("the model computed values that are no numbers".into());
        }
        if let Answer::Beams(beams) = &self.answer
            && beams.restarted()
        {
            // The prompt was read again; the beams are next.
            return Ok(None);
        }
        self.suspect = false;
        let now = Instant::now();
        let reason = match &mut self.answer {
            Answer::Beams(beams) => beams.take(scores, &self.cache, &self.rules)?,
            Answer::One(one) => {
                let base = self.tokens.len();
                let (reason, right) = one.take(scores, &mut self.tokens, &self.rules, |guess, chosen| {
                    lookup.learn(guess, chosen);
                })?;
                if reason == Some(FinishReason::Stop) && one.guesses() {
                    lookup.remember(self.adapter, &self.tokens, self.prompt);
                }
                B::truncate(&mut self.cache, base + right);
                reason
            }
        };
        self.clock.first_token.get_or_insert(now);
        self.clock.last_token = Some(now);
        self.show();
        Ok(reason)
    }

    fn show(&mut self) {
        let (text, tokens) = match &self.answer {
            Answer::One(one) => (one.transcript.text(), self.tokens.len() - self.prompt),
            Answer::Beams(beams) => beams.best(),
        };
        self.screen.show(text, tokens);
    }

    /// Forgets everything computed; it will be computed again.
    pub(crate) fn restart(&mut self, cache: &B::Cache) {
        self.rest();
        self.cache = cache.clone();
        if let Answer::Beams(beams) = &mut self.answer {
            beams.restart();
        }
    }

    /// Tells the sink the end.
    pub(crate) fn finish(mut self, reason: FinishReason, error: Option<String>) {
        if !matches!(reason, FinishReason::Stop | FinishReason::Repeat | FinishReason::Length) {
            // What was held back for a stop string is part of the text so far.
            match &mut self.answer {
                Answer::One(one) => one.transcript.show_all(),
                Answer::Beams(beams) => beams.show_all(),
            }
            self.show();
        }
        let now = Instant::now();
        let clock = &self.clock;
        let (first, last) = (clock.first_token.unwrap_or(now), clock.last_token.unwrap_or(now));
        let mut timings = Timings {
            queue_ms: ms(clock.accepted, clock.started),
            prefill_ms: ms(clock.started, first),
            decode_ms: ms(first, last),
            ..Timings::default()
        };
        let (completion_tokens, logprobs) = match self.answer {
            Answer::One(one) => {
                let mut one = *one;
                (timings.guessed, timings.accepted) = (one.guessed, one.accepted);
                timings.mask_ms = one.guide.map_or(0.0, |guide| guide.spent().as_secs_f64() * 1000.0);
                one.logprobs.truncate(one.transcript.visible_tokens());
                (self.tokens.len() - self.prompt, one.logprobs)
            }
            Answer::Beams(beams) => {
                timings.mask_ms = beams.guided().as_secs_f64() * 1000.0;
                (beams.best().1, vec![])
            }
        };
        if timings.decode_ms > 0.0 {
            timings.tokens_per_second = completion_tokens.saturating_sub(1) as f64 * 1000.0 / timings.decode_ms;
        }
        let outcome = Outcome {
            finish_reason: reason,
            error,
            text: self.screen.text().to_owned(),
            prompt_tokens: self.prompt as u32,
            completion_tokens: completion_tokens as u32,
            timings,
            logprobs,
        };
        // Who hears of the end finds that the run no longer uses its adapter.
        self.lease = None;
        self.screen.tell(EngineEvent::Done(outcome));
    }
}

impl Job {
    /// Pages that it needs for its first token.
    pub(crate) fn needs(&self, memory: &Memory) -> usize {
        let beams = if self.parameters.beams > 1 { self.parameters.beams as usize } else { 0 };
        memory.needed(0, self.prompt.len() + 1) + beams
    }

    /// Ends a job that was never started.
    pub(crate) fn end(mut self, reason: FinishReason, error: Option<String>) {
        let outcome = Outcome {
            finish_reason: reason,
            error,
            text: String::new(),
            prompt_tokens: self.prompt.len() as u32,
            completion_tokens: 0,
            timings: Timings { queue_ms: ms(self.accepted, Instant::now()), ..Timings::default() },
            logprobs: vec![],
        };
        self.lease = None;
        (self.sink)(EngineEvent::Done(outcome));
    }
}

fn ms(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}
