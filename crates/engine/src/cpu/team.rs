//! A team of threads that share a piece of work, many thousand times a second.
//!
//! A forward pass has some hundred short parallel steps. Starting a thread or waking a sleeping one for each
//! costs more than the step itself, so helpers wait for the next step with their eyes open for a moment, then
//! give way to others, then sleep.
//!
//! A step is cut into as many pieces as there are threads, and whoever is free takes the next. A helper
//! that the system has put aside for another program takes none, and nobody waits for it.
#![allow(unsafe_code)]

use std::{
    any::Any,
    cell::UnsafeCell,
    marker::PhantomData,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

/// Looks at the flag before giving way to other threads.
const SPINS: u32 = 4_000;
/// Times of giving way before going to sleep.
const YIELDS: u32 = 400;

/// Called with the thread's number and the piece's number.
type Task = *const (dyn Fn(usize, usize) + Sync);

/// A step's number, how many pieces it has, and which is the next: one word, so that taking a piece is one
/// atomic exchange that fails when anything of it has changed.
#[derive(Clone, Copy)]
struct Ticket(u64);

impl Ticket {
    fn new(step: u64, pieces: usize) -> Self {
        Self(step << 32 | (pieces as u64 & 0xffff) << 16)
    }

    fn step(self) -> u64 {
        self.0 >> 32
    }

    /// The next piece, when there is one.
    fn piece(self) -> Option<usize> {
        let (pieces, next) = (self.0 >> 16 & 0xffff, self.0 & 0xffff);
        (next < pieces).then_some(next as usize)
    }
}

struct Shared {
    ticket: AtomicU64,
    /// Pieces of the current step that are done.
    done: AtomicUsize,
    task: UnsafeCell<Option<Task>>,
    quit: AtomicBool,
    asleep: Vec<AtomicBool>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `task` is written by `Team::run` only while no piece is taken and not done. It is read only by a thread
// that has taken a piece (acquire, after the write's release), and not written again before that piece is done.
// The other fields are atomics or locks. The task itself is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `task` is only followed during `Team::run`, which keeps what it points to alive.
unsafe impl Send for Shared {}

impl Shared {
    /// Takes pieces of the current step and does them, until none is left.
    fn work(&self, thread: usize) {
        loop {
            let ticket = self.ticket.load(Ordering::Acquire);
            let Some(piece) = Ticket(ticket).piece() else { return };
            if self.ticket.compare_exchange(ticket, ticket + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            // SAFETY: this thread has taken a piece, see `Shared`.
            if let Some(task) = unsafe { *self.task.get() } {
                // SAFETY: `run` keeps the task alive until every piece is done.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| unsafe { (*task)(thread, piece) })) {
                    *self.panic.lock().unwrap_or_else(|e| e.into_inner()) = Some(panic);
                }
            }
            self.done.fetch_add(1, Ordering::Release);
        }
    }
}

/// The calling thread and its helpers.
pub(super) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

impl Team {
    /// A team of `threads`, the calling one included.
    pub(super) fn new(threads: usize) -> std::io::Result<Self> {
        let helpers = threads.clamp(1, 1024) - 1;
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            task: UnsafeCell::new(None),
            quit: AtomicBool::new(false),
            asleep: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
            panic: Mutex::new(None),
        });
        let mut team = Self { shared, helpers: Vec::new() };
        for id in 1..=helpers {
            let shared = team.shared.clone();
            let builder = thread::Builder::new().name(format!("engine-{id}"));
            team.helpers.push(builder.spawn(move || help(&shared, id))?);
        }
        Ok(team)
    }

    /// Threads of the team.
    pub(super) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `task` once for each of the pieces, on whichever thread takes it, and returns when all are done.
    fn run(&mut self, pieces: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed. Nobody follows the pointer after this function returns, because
        // it waits until every piece is done, also when one panics.
        let task: Task = unsafe { std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), Task>(task) };
        // SAFETY: every piece of the last step is done, see `Shared`; `&mut self` keeps other callers out.
        unsafe { *shared.task.get() = Some(task) };
        shared.done.store(0, Ordering::Relaxed);
        let step = Ticket(shared.ticket.load(Ordering::Relaxed)).step() + 1;
        shared.ticket.store(Ticket::new(step & 0xffff_ffff, pieces).0, Ordering::SeqCst);
        self.wake();
        shared.work(0);
        let mut looks = 0u32;
        while shared.done.load(Ordering::Acquire) != pieces {
            looks += 1;
            if looks < SPINS { std::hint::spin_loop() } else { thread::yield_now() }
        }
        let panic = shared.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn wake(&self) {
        for (helper, asleep) in self.helpers.iter().zip(&self.shared.asleep) {
            if asleep.swap(false, Ordering::SeqCst) {
                helper.thread().unpark();
            }
        }
    }

    /// Cuts `0..count` into pieces and calls `task` with each and the number of the thread that does it.
    pub(super) fn split(&mut self, count: usize, task: &(dyn Fn(usize, Range<usize>) + Sync)) {
        let pieces = self.threads().min(count);
        if self.helpers.is_empty() || pieces <= 1 {
            task(0, 0..count);
            return;
        }
        self.run(pieces, &|thread, piece| task(thread, count * piece / pieces..count * (piece + 1) / pieces));
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper never ends by a panic: those are handed to the caller of `run`.
            let _ = helper.join();
        }
    }
}

fn help(shared: &Shared, id: usize) {
    let idle = || Ticket(shared.ticket.load(Ordering::SeqCst)).piece().is_none();
    let mut looks = 0u32;
    while !shared.quit.load(Ordering::Relaxed) {
        if !idle() {
            shared.work(id);
            looks = 0;
            continue;
        }
        looks += 1;
        if looks < SPINS {
            std::hint::spin_loop();
        } else if looks < SPINS + YIELDS {
            thread::yield_now();
        } else {
            let asleep = &shared.asleep[id - 1];
            asleep.store(true, Ordering::SeqCst);
            // Looked at once more after saying so: a step begun in between wakes us or is seen here.
            if idle() && !shared.quit.load(Ordering::SeqCst) {
                thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
            looks = 0;
        }
    }
}

/// A slice of which several threads write different parts.
pub(super) struct Parts<'a, T> {
    start: *mut T,
    length: usize,
    borrow: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Parts<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Parts<'_, T> {}

// SAFETY: whoever takes a part promises that no other thread has it, see `Parts::part`.
unsafe impl<T: Send> Sync for Parts<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), borrow: PhantomData }
    }

    /// The part `from..from + length`. Panics when that is outside.
    ///
    /// # Safety
    /// No other part that overlaps it may be in use while this one is written, on this or any other thread.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn part(&self, from: usize, length: usize) -> &'a mut [T] {
        assert!(from <= self.length && length <= self.length - from, "part outside of its slice");
        // SAFETY: inside the borrowed slice (checked), and not shared (the caller's promise).
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), length) }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once_in_every_step() {
        for threads in 1..=4 {
            let mut team = Team::new(threads).expect("threads");
            let mut counts = vec![0u32; 103];
            for _ in 0..200 {
                let parts = Parts::new(&mut counts);
                team.split(103, &|_, range| {
                    // SAFETY: the ranges of `split` do not overlap.
                    for n in unsafe { parts.part(range.start, range.len()) } {
                        *n += 1;
                    }
                });
            }
            assert!(counts.iter().all(|n| *n == 200));
        }
    }

    #[test]
    fn a_sleeping_team_wakes_up() {
        let mut team = Team::new(3).expect("threads");
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(30));
            // Both pieces wait for each other: one thread alone could not do them.
            let both = std::sync::Barrier::new(2);
            team.run(2, &|_, _| {
                both.wait();
            });
        }
    }

    #[test]
    fn a_panic_of_any_piece_reaches_the_caller_and_the_team_goes_on() {
        let mut team = Team::new(2).expect("threads");
        for bad in 0..4 {
            let result = catch_unwind(AssertUnwindSafe(|| team.run(4, &|_, piece| assert!(piece != bad, "bad"))));
            assert!(result.is_err());
            team.run(4, &|_, _| {});
        }
    }
}
