//! The runs that are going on, each with its event log.
//!
//! A log grows as the engine speaks, several tokens to an event, and wakes whoever listens. A listener that comes
//! late gets the text so far as one event; one that comes back gets what it missed. When a run has ended and is
//! stored, the hub forgets it; the store answers from then on.

mod stream;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use engine::{CancelHandle, EngineEvent, Outcome};
use protocol::{FinishReason, RunEvent, RunStatus, RunView, StateEvent, TextEvent, text::byte_offset};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::{held, store::Progress};

pub use stream::{Listener, MAX_STREAMED, parse_last_id};

/// Every run that has not ended, or whose end is not stored yet.
#[derive(Debug, Default)]
pub struct Hub {
    runs: Mutex<HashMap<String, Arc<LiveRun>>>,
}

impl Hub {
    /// Adds a run, just stored and not yet given to the engine.
    pub fn add(&self, run: Arc<LiveRun>) {
        held(&self.runs).insert(run.id.clone(), run);
    }

    /// A run that is going on, if it is the owner's.
    pub fn get(&self, owner: i64, id: &str) -> Option<Arc<LiveRun>> {
        held(&self.runs).get(id).filter(|r| r.owner == owner).cloned()
    }

    /// The runs of a session that are going on, if they are the owner's.
    pub fn of_session(&self, owner: i64, session: &str) -> Vec<Arc<LiveRun>> {
        let runs = held(&self.runs);
        runs.values().filter(|run| run.owner == owner && held(&run.log).view.session == session).cloned().collect()
    }

    /// Forgets a run whose end is stored.
    pub fn forget(&self, id: &str) {
        held(&self.runs).remove(id);
    }

    /// Whether nothing is going on, and every end is stored.
    pub fn is_empty(&self) -> bool {
        held(&self.runs).is_empty()
    }
}

/// A run that is going on.
#[derive(Debug)]
pub struct LiveRun {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: i64,
    log: Mutex<Log>,
    changed: watch::Sender<u64>,
    stopping: Mutex<Stopping>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

#[derive(Debug)]
struct Log {
    view: RunView,
    events: Vec<RunEvent>,
}

/// A stop may be asked for before the engine has given the handle for it.
#[derive(Default)]
struct Stopping {
    asked: bool,
    handle: Option<CancelHandle>,
}

impl std::fmt::Debug for Stopping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stopping").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl LiveRun {
    /// A run at its start. It gives its place in the queue back when it ends.
    pub fn new(owner: i64, view: RunView, place: Option<OwnedSemaphorePermit>) -> Arc<Self> {
        let run = Self {
            id: view.id.clone(),
            owner,
            log: Mutex::new(Log { view, events: Vec::new() }),
            changed: watch::Sender::new(0),
            stopping: Mutex::default(),
            place: Mutex::new(place),
        };
        run.change(|log| log.state());
        Arc::new(run)
    }

    /// The run as it is now.
    pub fn view(&self) -> RunView {
        held(&self.log).view.clone()
    }

    /// The part of it that changes, for the store.
    pub fn progress(&self) -> Progress {
        let log = held(&self.log);
        let view = &log.view;
        Progress {
            id: view.id.clone(),
            status: view.status,
            finish_reason: view.finish_reason,
            error: view.error.clone(),
            text: view.text.clone(),
            prompt_tokens: view.prompt_tokens,
            completion_tokens: view.completion_tokens,
            timings: view.timings,
            hesitations: view.hesitations.clone(),
            samples: view.samples.clone(),
        }
    }

    /// Takes what the same question was answered when it was asked again; told with its end.
    pub fn sampled(&self, samples: Vec<String>) {
        held(&self.log).view.samples = samples;
    }

    /// Stops it, now or as soon as the engine has it.
    pub fn stop(&self) {
        let mut stopping = held(&self.stopping);
        stopping.asked = true;
        if let Some(handle) = &stopping.handle {
            handle.cancel();
        }
    }

    /// Whether it is to stop.
    pub fn is_stopping(&self) -> bool {
        held(&self.stopping).asked
    }

    /// Gives it a place in the queue, for one that had to wait for it.
    pub fn take_place(&self, place: OwnedSemaphorePermit) {
        *held(&self.place) = Some(place);
    }

    /// Takes the engine's handle for stopping it.
    pub fn accepted(&self, handle: CancelHandle) {
        let mut stopping = held(&self.stopping);
        if stopping.asked {
            handle.cancel();
        }
        stopping.handle = Some(handle);
    }

    /// Writes what the engine said since the last time to the log, all new text as one event.
    pub fn apply(&self, events: impl IntoIterator<Item = EngineEvent>) {
        let mut ended = false;
        self.change(|log| {
            let mut cut = None;
            for event in events {
                match event {
                    EngineEvent::Text { at, text, completion_tokens } => {
                        let keep = byte_offset(&log.view.text, at);
                        log.view.text.truncate(keep);
                        log.view.text.push_str(&text);
                        log.view.completion_tokens = completion_tokens;
                        cut = Some(cut.map_or(at, |c: usize| c.min(at)));
                    }
                    EngineEvent::Queued { position } => {
                        log.view.position = Some(position);
                        log.state();
                    }
                    EngineEvent::Started { prompt_tokens, .. } => {
                        log.view.status = RunStatus::Running;
                        log.view.prompt_tokens = Some(prompt_tokens);
                        log.view.position = None;
                        log.state();
                    }
                    EngineEvent::Done(outcome) => {
                        if log.view.text != outcome.text {
                            log.view.text.clone_from(&outcome.text);
                            cut = Some(0);
                        }
                        log.text(cut.take());
                        log.end(outcome);
                        ended = true;
                    }
                }
            }
            log.text(cut);
        });
        if ended {
            *held(&self.place) = None;
        }
    }

    /// Ends a run that the engine refused.
    pub fn refuse(&self, sentence: String) {
        self.end(FinishReason::Error, Some(sentence));
    }

    /// Ends a run that the engine never had.
    pub fn end(&self, finish_reason: FinishReason, error: Option<String>) {
        self.apply([EngineEvent::Done(Outcome {
            finish_reason,
            error,
            text: String::new(),
            prompt_tokens: 0,
            completion_tokens: 0,
            timings: protocol::Timings::default(),
            logprobs: Vec::new(),
        })]);
    }

    /// The events after `seq`; the text so far and the state, as two events, for who has seen nothing or does not
    /// know our numbers. And whether the run has ended.
    fn since(&self, seq: u64) -> (Vec<RunEvent>, bool) {
        let log = held(&self.log);
        let last = log.events.len() as u64;
        let missed = usize::try_from(seq).ok().and_then(|s| log.events.get(s..));
        let events = match missed {
            Some(missed) if seq > 0 || last <= 2 => missed.to_vec(),
            _ => snapshot(&log.view, last.saturating_sub(2)),
        };
        (events, log.view.status.is_final())
    }

    fn listen(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn change(&self, write: impl FnOnce(&mut Log)) {
        let mut log = held(&self.log);
        write(&mut log);
        self.changed.send_replace(log.events.len() as u64);
    }
}

impl Log {
    fn text(&mut self, cut: Option<usize>) {
        let Some(at) = cut else { return };
        let text = self.view.text.get(byte_offset(&self.view.text, at)..).unwrap_or_default().to_owned();
        let (run, seq) = (self.view.id.clone(), self.events.len() as u64 + 1);
        self.events.push(RunEvent::Text(TextEvent { run, choice: 0, seq, at, text }));
    }

    fn state(&mut self) {
        let seq = self.events.len() as u64 + 1;
        self.events.push(RunEvent::State(state_of(&self.view, seq)));
    }

    fn end(&mut self, outcome: Outcome) {
        let view = &mut self.view;
        view.status = match outcome.finish_reason {
            FinishReason::Stop | FinishReason::Length | FinishReason::Repeat => RunStatus::Finished,
            FinishReason::Cancelled => RunStatus::Cancelled,
            FinishReason::Interrupted => RunStatus::Interrupted,
            FinishReason::Error => RunStatus::Failed,
        };
        view.finish_reason = Some(outcome.finish_reason);
        view.hesitations = outcome.hesitations();
        view.error = outcome.error;
        view.prompt_tokens = (outcome.prompt_tokens > 0).then_some(outcome.prompt_tokens).or(view.prompt_tokens);
        view.completion_tokens = outcome.completion_tokens;
        view.timings = Some(outcome.timings);
        view.position = None;
        self.state();
    }
}

/// A run as two events, numbered after `seq`.
fn snapshot(view: &RunView, seq: u64) -> Vec<RunEvent> {
    let text = TextEvent { run: view.id.clone(), choice: 0, seq: seq + 1, at: 0, text: view.text.clone() };
    vec![RunEvent::Text(text), RunEvent::State(state_of(view, seq + 2))]
}

fn state_of(view: &RunView, seq: u64) -> StateEvent {
    StateEvent {
        run: view.id.clone(),
        seq,
        status: view.status,
        finish_reason: view.finish_reason,
        error: view.error.clone(),
        prompt_tokens: view.prompt_tokens,
        completion_tokens: view.completion_tokens,
        timings: view.timings,
        hesitations: view.hesitations.clone(),
        samples: view.samples.clone(),
        position: view.position,
    }
}
