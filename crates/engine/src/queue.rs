//! Where jobs wait until the worker takes them.

use std::{
    sync::{Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use protocol::FinishReason;

use crate::run::Job;

/// What submitters and the worker share.
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
}

#[derive(Default)]
pub(crate) struct State {
    /// Jobs that the worker has not seen.
    pub inbox: Vec<Job>,
    /// Jobs that wait with the worker.
    pub waiting: usize,
    /// No new jobs; what is not done by then is interrupted.
    pub deadline: Option<Instant>,
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

    /// Sleeps until there is something to do, unless the worker is `busy`, and lets `take` have what came. False when
    /// it is time to end.
    pub(crate) fn next(&self, busy: bool, take: impl FnOnce(&mut State)) -> bool {
        let mut state = self.lock();
        if !busy {
            // Those that waited were cancelled.
            state.waiting = 0;
        }
        loop {
            let overdue = state.deadline.is_some_and(|d| Instant::now() >= d);
            let idle = !busy && state.inbox.is_empty();
            if overdue || (idle && state.deadline.is_some()) {
                return false;
            }
            if !idle {
                take(&mut state);
                return true;
            }
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
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
pub(crate) struct EndGuard<'a>(pub &'a Queue);

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
