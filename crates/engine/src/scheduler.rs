//! Which run computes what next.
//!
//! One thread owns the backend. Each of its steps reads one chunk of one run's prompt and one token of every
//! run that is answering, in a single pass over the weights; so all answers stream side by side.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use protocol::FinishReason;

use crate::{
    backend::{Backend, Segment},
    prefix::PrefixCache,
    request::EngineEvent,
    run::{Job, Run},
    tokenizer::Tokenizer,
};

/// Prompt tokens read in one step. More is a little faster; answers of other runs wait that long.
const CHUNK: usize = 128;
/// Every so many chunks the run that waits longest is served, so that short prompts cannot keep a long one out.
const OLDEST_EVERY: u32 = 4;

/// How much runs at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Runs computed side by side.
    pub active: usize,
    /// Prompts remembered, and how many tokens they may have together.
    pub prefixes: usize,
    pub prefix_tokens: usize,
    /// Longest prompt plus answer.
    pub context: usize,
}

/// What submitters and the worker share.
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
}

#[derive(Default)]
struct State {
    /// Jobs that the worker has not seen.
    inbox: Vec<Job>,
    /// Jobs that wait with the worker.
    waiting: usize,
    /// No new jobs; what is not done by then is interrupted.
    deadline: Option<Instant>,
    /// The worker has ended.
    ended: bool,
}

/// Why a job was not taken.
pub(crate) enum Refused {
    Full(usize),
    Stopping,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn push(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.deadline.is_some() || state.ended {
            return Err(Refused::Stopping);
        }
        let waiting = state.inbox.len() + state.waiting;
        if waiting >= self.limit {
            return Err(Refused::Full(waiting));
        }
        state.inbox.push(job);
        self.changed.notify_all();
        Ok(())
    }

    /// Asks the worker to end within `limit`, and waits until it has.
    pub(crate) fn drain(&self, limit: Duration) {
        let mut state = self.lock();
        let now = Instant::now();
        let deadline = now.checked_add(limit).unwrap_or(now + Duration::from_secs(1 << 30));
        state.deadline = Some(state.deadline.map_or(deadline, |d| d.min(deadline)));
        self.changed.notify_all();
        while !state.ended {
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }
}

/// Tells drainers that nothing more comes, also when the worker dies.
struct EndGuard<'a>(&'a Queue);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.0.lock();
            state.ended = true;
            std::mem::take(&mut state.inbox)
        };
        for job in left {
            job.end(FinishReason::Interrupted, None);
        }
        self.0.changed.notify_all();
    }
}

/// The worker.
pub(crate) struct Scheduler<B: Backend> {
    backend: B,
    tokenizer: Arc<Tokenizer>,
    limits: Limits,
    prefixes: PrefixCache<B::Cache>,
    /// Accepted jobs, oldest first, with the position each was told.
    waiting: VecDeque<(Job, Option<u32>)>,
    runs: Vec<Run<B::Cache>>,
    chunks: u32,
}

impl<B: Backend> Scheduler<B> {
    pub(crate) fn new(backend: B, tokenizer: Arc<Tokenizer>, limits: Limits) -> Self {
        let prefixes = PrefixCache::new(limits.prefixes, limits.prefix_tokens);
        Self { backend, tokenizer, limits, prefixes, waiting: VecDeque::new(), runs: vec![], chunks: 0 }
    }

    /// Works until drained.
    pub(crate) fn work(mut self, queue: &Queue) {
        let _guard = EndGuard(queue);
        while self.admit(queue) {
            let result = catch_unwind(AssertUnwindSafe(|| self.step()));
            if let Err(message) = result.unwrap_or_else(|panic| Err(panic_message(&*panic))) {
                tracing::error!(message, "a step of the engine failed");
                for run in self.runs.drain(..) {
                    run.finish(FinishReason::Error, Some(format!("The engine failed: {message}")));
                }
            }
        }
        for run in self.runs.drain(..) {
            run.finish(FinishReason::Interrupted, None);
        }
        for (job, _) in self.waiting.drain(..) {
            job.end(FinishReason::Interrupted, None);
        }
    }

    /// Starts waiting jobs while there is room; sleeps when there is nothing to do. False when it is time to end.
    fn admit(&mut self, queue: &Queue) -> bool {
        loop {
            self.end_cancelled();
            {
                let mut state = queue.lock();
                loop {
                    let overdue = state.deadline.is_some_and(|d| Instant::now() >= d);
                    let idle = self.runs.is_empty() && self.waiting.is_empty() && state.inbox.is_empty();
                    if overdue || (idle && state.deadline.is_some()) {
                        return false;
                    }
                    if !idle {
                        break;
                    }
                    state = queue.changed.wait(state).unwrap_or_else(|e| e.into_inner());
                }
                self.waiting.extend(state.inbox.drain(..).map(|job| (job, None)));
                state.waiting = self.waiting.len().saturating_sub(self.room());
            }
            // Also those that came and were cancelled since: they are never started.
            self.end_cancelled();
            while self.room() > 0
                && let Some((job, _)) = self.waiting.pop_front()
            {
                let cache = self.backend.cache();
                self.runs.push(Run::start(job, cache, self.tokenizer.clone(), self.limits.context));
            }
            for ((job, told), position) in self.waiting.iter_mut().zip(0..) {
                if told.replace(position) != Some(position) {
                    (job.sink)(EngineEvent::Queued { position });
                }
            }
            if !self.runs.is_empty() {
                return true;
            }
        }
    }

    fn room(&self) -> usize {
        self.limits.active.saturating_sub(self.runs.len())
    }

    fn end_cancelled(&mut self) {
        for run in self.runs.extract_if(.., |run| run.cancel.is_cancelled()) {
            run.finish(FinishReason::Cancelled, None);
        }
        let (cancelled, kept): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|(job, _)| job.cancel.is_cancelled());
        self.waiting = kept;
        for (job, _) in cancelled {
            job.end(FinishReason::Cancelled, None);
        }
    }

    /// The run whose prompt is read next: the one that is done soonest, and now and then the oldest.
    fn next_prompt(&mut self) -> Option<usize> {
        let unread = |run: &Run<B::Cache>| run.prompt.len() - B::length(&run.cache);
        let reading = self.runs.iter().enumerate().filter(|(_, run)| run.newest.is_none());
        self.chunks = self.chunks.wrapping_add(1);
        if self.chunks.is_multiple_of(OLDEST_EVERY) {
            return reading.map(|(i, _)| i).next();
        }
        reading.min_by_key(|(i, run)| (unread(run), *i)).map(|(i, _)| i)
    }

    /// One pass over the weights.
    fn step(&mut self) -> Result<(), String> {
        let prompt_of = self.next_prompt();
        if let Some(run) = prompt_of.and_then(|i| self.runs.get_mut(i))
            && B::length(&run.cache) == 0
            && let Some((mut cache, common)) = self.prefixes.find(run.adapter, &run.prompt)
        {
            // The last token is always computed: its scores are wanted.
            B::truncate(&mut cache, common.min(run.prompt.len() - 1));
            run.cache = cache;
        }

        let mut segments = Vec::new();
        let mut owners = Vec::new();
        for (index, run) in self.runs.iter_mut().enumerate() {
            let (tokens, scores) = if let Some(newest) = &run.newest {
                (std::slice::from_ref(newest), true)
            } else if prompt_of == Some(index) {
                let from = B::length(&run.cache);
                let to = run.prompt.len().min(from + CHUNK);
                (&run.prompt[from..to], to == run.prompt.len())
            } else {
                continue;
            };
            segments.push(Segment { tokens, cache: &mut run.cache, adapter: run.adapter, scores });
            owners.push(index);
        }
        let scores = self.backend.forward(&mut segments)?;
        drop(segments);

        let mut ended = Vec::new();
        for (index, scores) in owners.into_iter().zip(scores) {
            let (Some(mut scores), Some(run)) = (scores, self.runs.get_mut(index)) else { continue };
            if run.newest.is_none() {
                self.prefixes.insert(run.adapter, run.prompt.clone(), run.cache.clone());
            }
            if let Some(reason) = run.step(&mut scores) {
                ended.push((index, reason));
            }
        }
        // From the back, so that the numbers stay right.
        for (index, reason) in ended.into_iter().rev() {
            self.runs.remove(index).finish(reason, None);
        }
        Ok(())
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a thread panicked".into())
}
