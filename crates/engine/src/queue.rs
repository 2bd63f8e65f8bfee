//! Where jobs wait until the worker takes them.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::FinishReason;

use crate::run::Job;

/// What submitters and the worker share.
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
    /// Whether jobs are computed now; not while the model is loaded again.
    ready: AtomicBool,
    /// How often it was loaded again.
    restarts: AtomicU32,
    /// Pages that keys and values take.
    pages: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    /// Jobs that the worker has not seen.
    pub inbox: Vec<Job>,
    /// Jobs that wait with the worker.
    pub waiting: usize,
    /// No new jobs; what is not done by then is interrupted.
    pub deadline: Option<Instant>,
    /// Something else than jobs is to be looked after.
    woken: bool,
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
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            limit,
            ready: AtomicBool::new(true),
            restarts: AtomicU32::new(0),
            pages: AtomicU64::new(0),
        }
    }

    /// Whether jobs are computed now.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.lock().ended
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        if !ready {
            self.restarts.fetch_add(1, Ordering::Relaxed);
        }
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// How often the model was loaded again.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Pages that keys and values take.
    pub(crate) fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    pub(crate) fn set_pages(&self, pages: usize) {
        self.pages.store(pages as u64, Ordering::Relaxed);
    }

    /// Has the worker look after what is no job.
    pub(crate) fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_all();
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
            if !idle || state.woken {
                state.woken = false;
                take(&mut state);
                return true;
            }
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Waits for a time; true as soon as the worker is asked to end.
    pub(crate) fn ends_within(&self, limit: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, limit, |state| state.deadline.is_none());
        waited.unwrap_or_else(|e| e.into_inner()).0.deadline.is_some()
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
