//! Which run computes what next.
//!
//! One thread owns the backend. Each of its steps reads a chunk of prompts and what is new of every run that is
//! answering (its newest token, guesses, beams), in a single pass over the weights; so all answers stream side by side.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use protocol::FinishReason;

use crate::{
    adapters::Slots,
    backend::{Backend, Segment},
    fair::Turns,
    lookup::Lookup,
    memory::{Memory, held},
    prefix::{PrefixCache, common},
    queue::Queue,
    request::EngineEvent,
    run::{Job, Run},
    tokenizer::Tokenizer,
};

/// Prompt tokens read in one step. More is a little faster; answers of other runs wait that long.
const CHUNK: usize = 128;
/// Every so many chunks the run that waits longest is served first, so that short prompts cannot keep a long one out.
const OLDEST_EVERY: u32 = 4;
/// A prompt waits for another that is being read when it will save so many tokens.
const WORTH_WAITING: usize = 16;
/// How often in a row a backend must fail at a token of no run's to be broken.
const BROKEN: usize = 2;

/// How much runs at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Runs computed side by side.
    pub active: usize,
    /// Prompts remembered.
    pub prefixes: usize,
    /// Longest prompt plus answer.
    pub context: usize,
    /// For keys and values.
    pub memory: Memory,
}

/// Accepted jobs in the order in which they are started, with the position each was told.
pub(crate) type Waiting = VecDeque<(Job, Option<u32>)>;

/// Jobs and the backend that computes them.
pub(crate) struct Scheduler<B: Backend> {
    backend: B,
    tokenizer: Arc<Tokenizer>,
    limits: Limits,
    prefixes: PrefixCache<B::Cache>,
    lookup: Lookup,
    turns: Turns,
    adapters: Arc<Slots<B::Adapter>>,
    waiting: Waiting,
    /// Oldest first.
    runs: Vec<Run<B>>,
    chunks: u32,
    /// Of the last step; kept for its memory.
    scores: Vec<f32>,
    /// Why the backend cannot be used any more.
    broken: Option<String>,
}

impl<B: Backend> Scheduler<B> {
    pub(crate) fn new(
        backend: B,
        tokenizer: Arc<Tokenizer>,
        limits: Limits,
        adapters: Arc<Slots<B::Adapter>>,
        waiting: Waiting,
    ) -> Self {
        Self {
            backend,
            tokenizer,
            limits,
            prefixes: PrefixCache::new(limits.prefixes),
            lookup: Lookup::default(),
            turns: Turns::default(),
            adapters,
            waiting,
            runs: vec![],
            chunks: 0,
            scores: vec![],
            broken: None,
        }
    }

    /// Works until drained, or until the backend breaks: then the jobs that wait are given back.
    pub(crate) fn work(mut self, queue: &Queue) -> Option<Waiting> {
        let done = catch(|| {
            while self.broken.is_none() && self.admit(queue) {
                self.step();
            }
        });
        let broken = done.err().or(self.broken.take());
        let (reason, sentence) = match &broken {
            None => (FinishReason::Interrupted, None),
            Some(message) => {
                tracing::error!(message, runs = self.runs.len(), "the model broke down and is loaded again");
                let sentence = format!(
                    "The model broke down while this was computed ({message}); it is being loaded again. Run it once more."
                );
                (FinishReason::Error, Some(sentence))
            }
        };
        for run in std::mem::take(&mut self.runs) {
            end(run, reason, sentence.clone());
        }
        let waiting = std::mem::take(&mut self.waiting);
        if broken.is_some() {
            return Some(waiting);
        }
        for (job, _) in waiting {
            tell(|| job.end(FinishReason::Interrupted, None));
        }
        None
    }

    /// Starts waiting jobs while there is room; sleeps when there is nothing to do. False when it is time to end.
    fn admit(&mut self, queue: &Queue) -> bool {
        loop {
            self.end_cancelled();
            let busy = !self.runs.is_empty() || !self.waiting.is_empty();
            let room = self.limits.active.saturating_sub(self.runs.len());
            let waiting = &mut self.waiting;
            let going = queue.next(busy, |state| {
                waiting.extend(state.inbox.drain(..).map(|job| (job, None)));
                state.waiting = waiting.len().saturating_sub(room);
            });
            if !going {
                return false;
            }
            self.change_adapters();
            // Also those that came and were cancelled since: they are never started.
            self.end_cancelled();
            self.turns.order(&mut self.waiting, |(job, _)| job.owner, self.runs.iter().map(|run| run.owner));
            while self.runs.len() < self.limits.active
                && self
                    .waiting
                    .front()
                    .filter(|(job, _)| self.has_place_for(job.owner))
                    .map(|(job, _)| job.needs(&self.limits.memory))
                    .is_some_and(|n| self.has_room_for(n))
            {
                // Before the job is taken: should this fail, it goes on waiting.
                let cache = self.backend.cache();
                let Some((job, _)) = self.waiting.pop_front() else { break };
                self.turns.served(job.owner);
                let (tokenizer, context) = (self.tokenizer.clone(), self.limits.context);
                match catch(|| Run::start(job, cache, tokenizer, context)) {
                    Ok(run) => self.runs.push(run),
                    Err(message) => tracing::error!(message, "a run could not be started"),
                }
            }
            for ((job, told), position) in self.waiting.iter_mut().zip(0..) {
                if told.replace(position) != Some(position) {
                    tell(|| (job.sink)(EngineEvent::Queued { position }));
                }
            }
            queue.set_pages(self.held());
            if !self.runs.is_empty() {
                return true;
            }
        }
    }

    /// Gives the backend the adapters that came, and forgets what was made with those that went.
    fn change_adapters(&mut self) {
        for (index, adapter) in self.adapters.changes() {
            if adapter.is_none() {
                self.prefixes.forget(index);
                self.lookup.forget(index);
            }
            self.backend.set_adapter(index, adapter);
        }
    }

    fn end_cancelled(&mut self) {
        for run in self.runs.extract_if(.., |run| run.cancel.is_cancelled()) {
            end(run, FinishReason::Cancelled, None);
        }
        if !self.waiting.iter().any(|(job, _)| job.cancel.is_cancelled()) {
            return;
        }
        let (cancelled, kept): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|(job, _)| job.cancel.is_cancelled());
        self.waiting = kept;
        for (job, _) in cancelled {
            tell(|| job.end(FinishReason::Cancelled, None));
        }
    }

    /// One pass over the weights.
    fn step(&mut self) {
        self.plan();
        let mut segments = Vec::new();
        let mut owners = Vec::new();
        for (index, run) in self.runs.iter_mut().enumerate() {
            let part = run.segments();
            if !part.is_empty() {
                owners.push((index, part.iter().map(|s| s.scores.min(s.tokens.len())).sum::<usize>()));
                segments.extend(part);
            }
        }
        if segments.is_empty() {
            return;
        }
        let mut scores = std::mem::take(&mut self.scores);
        let backend = &mut self.backend;
        let result = catch(|| backend.forward(&mut segments, &mut scores)).and_then(|result| result);
        drop(segments);
        match result {
            Ok(()) => self.take(owners, &mut scores),
            Err(message) => self.failed(&owners, &message),
        }
        self.scores = scores;
    }

    /// Gives the runs, of which each wanted some rows, their scores.
    fn take(&mut self, owners: Vec<(usize, usize)>, mut scores: &mut [f32]) {
        let vocabulary = scores.len() / owners.iter().map(|(_, rows)| rows).sum::<usize>().max(1);
        let mut ended = Vec::new();
        for (index, rows) in owners {
            let own = scores.split_off_mut(..rows * vocabulary).unwrap_or_default();
            let Some(run) = self.runs.get_mut(index) else { continue };
            let lookup = &mut self.lookup;
            let (read, prompt) = (run.has_read_prompt(), run.prompt);
            match catch(|| run.take(own, lookup)).and_then(|result| result) {
                Ok(reason) => {
                    if read && let Some(tokens) = run.tokens.get(..prompt) {
                        let mut cache = run.cache.clone();
                        B::truncate(&mut cache, prompt);
                        self.prefixes.insert(run.adapter, tokens.to_vec(), cache);
                    }
                    ended.extend(reason.map(|reason| (index, reason, None)));
                }
                Err(message) => {
                    tracing::error!(message, "a run failed");
                    ended.push((index, FinishReason::Error, Some(format!("The run failed: {message}."))));
                }
            }
        }
        if ended.iter().any(|(_, reason, _)| *reason == FinishReason::Error) {
            self.broken = self.why_broken();
        }
        // From the back, so that the numbers stay right.
        for (index, reason, error) in ended.into_iter().rev() {
            end(self.runs.remove(index), reason, error);
        }
    }

    /// What is wrong with the backend, if it fails at a token of no run's, too.
    fn why_broken(&mut self) -> Option<String> {
        let mut wrong = None;
        for _ in 0..BROKEN {
            let (mut cache, mut scores) = (self.backend.cache(), vec![]);
            let mut probe = [Segment { tokens: &[0], cache: &mut cache, adapter: None, scores: 1 }];
            let backend = &mut self.backend;
            match catch(|| backend.forward(&mut probe, &mut scores)).and_then(|result| result) {
                Ok(()) if scores.iter().all(|score| score.is_finite()) => return None,
                Ok(()) => wrong = Some("it computes values that are no numbers".to_owned()),
                Err(message) => wrong = Some(message),
            }
        }
        wrong
    }

    /// After a step that failed: who was alone in it fails; several are computed again, one at a time, to find out
    /// whose fault it was. Unless it was the backend's.
    fn failed(&mut self, owners: &[(usize, usize)], message: &str) {
        tracing::error!(message, runs = owners.len(), "a step of the engine failed");
        self.broken = self.why_broken();
        if self.broken.is_some() {
            return;
        }
        if let [(index, _)] = owners {
            end(self.runs.remove(*index), FinishReason::Error, Some(format!("The engine failed: {message}.")));
            return;
        }
        let empty = self.backend.cache();
        for (index, _) in owners {
            if let Some(run) = self.runs.get_mut(*index) {
                run.restart(&empty);
                run.suspect = true;
            }
        }
    }

    /// Decides what the next step computes.
    fn plan(&mut self) {
        self.runs.iter_mut().for_each(Run::rest);
        self.resume();
        if let Some(index) = self.runs.iter().position(|run| run.suspect && !run.paused) {
            self.join(index, CHUNK, 1);
            return;
        }
        let answering = self.runs.iter().filter(|run| !run.paused && !run.reads()).map(Run::rows).sum();
        let mut index = 0;
        while let Some(run) = self.runs.get(index) {
            if !run.paused && !run.reads() {
                self.join(index, 0, answering);
            }
            index += 1;
        }
        let mut left = CHUNK;
        let mut chosen = Vec::new();
        for index in self.prompts() {
            if left == 0 {
                break;
            }
            self.begin(index);
            if self.waits(index, &chosen) {
                continue;
            }
            left -= self.join(index, left, answering + 1);
            chosen.push(index);
        }
    }

    /// The runs that read, in the order of their turns: who is done soonest, and now and then the oldest.
    fn prompts(&mut self) -> Vec<usize> {
        let reads = |(_, run): &(usize, &Run<B>)| !run.paused && run.reads();
        let mut order: Vec<(usize, usize)> =
            self.runs.iter().enumerate().filter(reads).map(|(i, run)| (run.unread(), i)).collect();
        order.sort_unstable();
        self.chunks = self.chunks.wrapping_add(1);
        if self.chunks.is_multiple_of(OLDEST_EVERY)
            && let Some(oldest) = (0..order.len()).min_by_key(|at| order.get(*at).map(|(_, i)| *i))
        {
            let oldest = order.remove(oldest);
            order.insert(0, oldest);
        }
        order.into_iter().map(|(_, i)| i).collect()
    }

    /// Whether a run had better wait for one that is reading the same beginning.
    fn waits(&self, index: usize, chosen: &[usize]) -> bool {
        let Some(run) = self.runs.get(index).filter(|_| self.prefixes.is_on()) else { return false };
        let own = B::length(&run.cache);
        self.runs.iter().enumerate().any(|(i, other)| {
            let others = B::length(&other.cache);
            i != index
                && other.adapter == run.adapter
                && other.reads()
                && other.tokens.len() == other.prompt
                && !other.paused
                && (others > own || chosen.contains(&i))
                && common(&run.tokens, &other.tokens) > own + WORTH_WAITING
        })
    }

    /// Lets a run that reads begin with what is remembered of its prompt.
    fn begin(&mut self, index: usize) {
        let Some(run) = self.runs.get_mut(index) else { return };
        let Some((mut cache, common)) = self.prefixes.find(run.adapter, &run.tokens) else { return };
        // The last token is always computed: its scores are wanted.
        let common = common.min(run.tokens.len() - 1);
        if common > B::length(&run.cache) {
            B::truncate(&mut cache, common);
            run.cache = cache;
        }
    }

    /// Makes a run part of the next step, if there is memory; gives how many tokens of `most` it reads.
    fn join(&mut self, index: usize, most: usize, answering: usize) -> usize {
        let Some(run) = self.runs.get_mut(index).filter(|run| !run.paused) else { return 0 };
        let mut read = 0;
        if run.reads() {
            read = run.read(most.max(1), &self.lookup, answering);
        } else {
            run.go_on(&self.lookup, answering);
        }
        if self.make_room(index) {
            return read;
        }
        let empty = self.backend.cache();
        let alone = self.runs.iter().filter(|run| !run.paused).count() == 1;
        if alone {
            let run = self.runs.remove(index);
            let sentence =
                "The memory for keys and values is full. Use fewer beams or a shorter text, or give it more.";
            end(run, FinishReason::Error, Some(sentence.into()));
        } else if let Some(run) = self.runs.get_mut(index) {
            // The older ones go on; then it has its turn.
            run.restart(&empty);
            run.paused = true;
        }
        0
    }

    /// Frees pages until what the planned step needs is there: of remembered prompts, then of the newest runs. False
    /// when the run at `index` is itself the newest that could give any.
    fn make_room(&mut self, index: usize) -> bool {
        loop {
            let memory = self.limits.memory;
            let needed: usize = self.runs.iter_mut().map(|run| run.needs(&memory)).sum();
            if self.held() + needed <= memory.pages() {
                return true;
            }
            if self.prefixes.evict() {
                continue;
            }
            let newest = self.runs.iter().rposition(|run| !run.paused);
            let Some(newest) = newest.filter(|newest| *newest > index) else { return false };
            let empty = self.backend.cache();
            if let Some(run) = self.runs.get_mut(newest) {
                run.restart(&empty);
                run.paused = true;
            }
        }
    }

    /// Lets paused runs go on, oldest first, when there is memory for what they must compute again.
    fn resume(&mut self) {
        while let Some(index) = self.runs.iter().position(|run| run.paused) {
            let memory = self.limits.memory;
            let claimed: usize = self.runs.iter().filter(|run| !run.paused).map(|run| run.claims(&memory).max(1)).sum();
            let Some(run) = self.runs.get(index) else { return };
            if claimed > 0 && self.held() + claimed + run.claims(&memory) + 1 > memory.pages() {
                return;
            }
            if let Some(run) = self.runs.get_mut(index) {
                run.paused = false;
            }
        }
    }

    fn has_place_for(&self, owner: Option<u64>) -> bool {
        let running: Vec<_> = self.runs.iter().map(|run| run.owner).collect();
        Turns::may_start(owner, &running, self.limits.active)
    }

    /// Whether a job that needs so many pages can be started beside what runs; remembered prompts go for it.
    fn has_room_for(&mut self, needed: usize) -> bool {
        if self.runs.iter().any(|run| run.paused) {
            return false;
        }
        let memory = self.limits.memory;
        let claimed: usize = self.runs.iter().map(|run| run.claims(&memory)).sum();
        // Nothing is forgotten for one that would not fit anyway.
        let own = held::<B>(self.runs.iter().flat_map(Run::caches));
        if !self.runs.is_empty() && own + claimed + needed > memory.pages() {
            return false;
        }
        loop {
            if self.runs.is_empty() || self.held() + claimed + needed <= memory.pages() {
                return true;
            }
            if !self.prefixes.evict() {
                return false;
            }
        }
    }

    /// Pages that are taken.
    fn held(&self) -> usize {
        held::<B>(self.runs.iter().flat_map(Run::caches).chain(self.prefixes.caches()))
    }
}

/// Ends a run; what its sink does about it is no business of the others.
fn end<B: Backend>(run: Run<B>, reason: FinishReason, error: Option<String>) {
    tell(|| run.finish(reason, error));
}

/// Calls a sink; a panic of it is its own.
pub(crate) fn tell(what: impl FnOnce()) {
    if let Err(message) = catch(what) {
        tracing::error!(message, "a run's events could not be told");
    }
}

/// Does work that may panic.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_message(&*panic))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a thread panicked".into())
}

#[cfg(test)]
mod tests;
