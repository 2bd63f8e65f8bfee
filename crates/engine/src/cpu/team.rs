//! A team of threads that share a piece of work, many thousand times a second.
//!
//! A forward pass has some hundred short parallel steps. Starting a thread or waking a sleeping one for each
//! costs more than the step itself, so helpers wait for the next step with their eyes open for a moment, then
//! give way to others, then sleep. Who waits asks the memory for what it will read next.
//!
//! A step is cut into as many pieces as there are threads. Each thread has its own, the same as in the last step; one that
//! is done with it, and sees after a moment that another has not begun, does that one's too. So nobody waits for a
//! helper that the system has put aside for another program.
#![allow(unsafe_code)]

use std::{
    any::Any,
    cell::UnsafeCell,
    marker::PhantomData,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::tiles::Soon;

/// Looks at the flag before giving way to other threads.
const SPINS: u32 = 4_000;
/// Times of giving way before going to sleep.
const YIELDS: u32 = 400;
/// Looks before another's piece is looked at: where that one is at work, its memory is better left alone.
const PATIENCE: u32 = 64;

/// Called with the thread's number and the piece's number. Says what a thread that has this piece will probably read next.
type Task = *const (dyn Fn(usize, usize) -> Soon + Sync);

/// A step's number and how many pieces it has.
#[derive(Clone, Copy, PartialEq)]
struct Ticket(u64);

impl Ticket {
    fn new(step: u64, pieces: usize) -> Self {
        Self(step << 16 | pieces as u64)
    }

    fn step(self) -> u64 {
        self.0 >> 16
    }

    fn pieces(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// Two cache lines, which processors bring together.
#[repr(align(128))]
struct Lines<T>(T);

struct Shared {
    now: Lines<Now>,
    places: Vec<Place>,
    quit: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

struct Now {
    ticket: AtomicU64,
    task: UnsafeCell<Option<Task>>,
}

/// What belongs to a thread, on lines that others touch as little as may be.
struct Place {
    /// The last step in which somebody took its piece.
    taken: Lines<AtomicU64>,
    /// The last step in which its piece was done.
    done: Lines<AtomicU64>,
    asleep: Lines<AtomicBool>,
}

// SAFETY: `task` is written by `Team::run` only while no piece is taken and not done. It is read only by a thread
// that has taken a piece of this step (acquire, after the write's release), and not written again before that is done.
// The other fields are atomics or locks. The task itself is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `task` is only followed during `Team::run`, which keeps what it points to alive.
unsafe impl Send for Shared {}

impl Shared {
    fn ticket(&self) -> Ticket {
        Ticket(self.now.0.ticket.load(Ordering::Acquire))
    }

    /// Takes a piece of a step, if nobody has it yet. Of a step that is over all are taken.
    fn take(&self, ticket: Ticket, piece: usize) -> bool {
        let taken = &self.places[piece].taken.0;
        let mut seen = taken.load(Ordering::Acquire);
        while seen < ticket.step() {
            match taken.compare_exchange_weak(seen, ticket.step(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Does a piece that is taken. Says what a thread that has it will probably read next.
    fn work(&self, ticket: Ticket, thread: usize, piece: usize) -> Soon {
        // SAFETY: this thread has taken a piece, see `Shared`.
        let soon = unsafe { *self.now.0.task.get() }.map(|task| {
            // SAFETY: `run` keeps the task alive until every piece is done.
            catch_unwind(AssertUnwindSafe(|| unsafe { (*task)(thread, piece) })).unwrap_or_else(|panic| {
                *self.panic.lock().unwrap_or_else(|e| e.into_inner()) = Some(panic);
                Soon::NOTHING
            })
        });
        self.places[piece].done.0.store(ticket.step(), Ordering::Release);
        soon.unwrap_or(Soon::NOTHING)
    }

    /// Does those pieces of a step that nobody has begun. Says whether there were any.
    fn help(&self, ticket: Ticket, thread: usize) -> bool {
        let others = (thread + 1..ticket.pieces()).chain(1..thread.min(ticket.pieces()));
        let mut any = false;
        for piece in others {
            if self.take(ticket, piece) {
                self.work(ticket, thread, piece);
                any = true;
            }
        }
        any
    }
}

/// The calling thread and its helpers.
pub(super) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Of the calling thread: see [`Waiting`].
    patience: u32,
}

impl Team {
    /// A team of `threads`, the calling one included.
    pub(super) fn new(threads: usize) -> std::io::Result<Self> {
        let threads = threads.clamp(1, 1024);
        let step = || Lines(AtomicU64::new(0));
        let place = || Place { taken: step(), done: step(), asleep: Lines(AtomicBool::new(false)) };
        let shared = Arc::new(Shared {
            now: Lines(Now { ticket: AtomicU64::new(0), task: UnsafeCell::new(None) }),
            places: (0..threads).map(|_| place()).collect(),
            quit: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let mut team = Self { shared, helpers: Vec::new(), patience: PATIENCE };
        for id in 1..threads {
            let shared = team.shared.clone();
            let builder = thread::Builder::new().name(format!("engine-{id}"));
            team.helpers.push(builder.spawn(move || wait_and_help(&shared, id))?);
        }
        Ok(team)
    }

    /// Threads of the team.
    pub(super) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `task` once for each of the pieces (one for each thread at most), and returns when all are done.
    fn run(&mut self, pieces: usize, task: &(dyn Fn(usize, usize) -> Soon + Sync)) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed. Nobody follows the pointer after this function returns, because
        // it waits until every piece is done, also when one panics.
        let task: Task = unsafe { std::mem::transmute::<&(dyn Fn(usize, usize) -> Soon + Sync), Task>(task) };
        // SAFETY: every piece of the last step is done, see `Shared`; `&mut self` keeps other callers out.
        unsafe { *shared.now.0.task.get() = Some(task) };
        let ticket = Ticket::new(shared.ticket().step() + 1, pieces);
        shared.now.0.ticket.store(ticket.0, Ordering::Release);
        self.wake();
        // The first piece is always the caller's.
        let mut waiting = Waiting::new(shared.work(ticket, 0, 0), self.patience);
        for place in &shared.places[1..pieces] {
            while place.done.0.load(Ordering::Acquire) != ticket.step() {
                waiting.look(|| shared.help(ticket, 0));
                if waiting.looks > SPINS {
                    thread::yield_now();
                }
            }
        }
        self.patience = waiting.patience;
        let panic = shared.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// A helper that falls asleep in this moment may be overlooked: it has no part in this step, and is woken in the next.
    fn wake(&self) {
        for (helper, place) in self.helpers.iter().zip(&self.shared.places[1..]) {
            let asleep = &place.asleep.0;
            if asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::SeqCst) {
                helper.thread().unpark();
            }
        }
    }

    /// Cuts `0..count` into pieces and calls `task` with each and the number of the thread that does it. It says what a thread
    /// that has this piece will probably read next.
    pub(super) fn split(&mut self, count: usize, task: &(dyn Fn(usize, Range<usize>) -> Soon + Sync)) {
        let pieces = self.threads().min(count);
        if pieces <= 1 {
            task(0, 0..count);
            return;
        }
        self.run(pieces, &|thread, piece| task(thread, count * piece / pieces..count * (piece + 1) / pieces));
    }
}

impl Team {
    /// Ends the helpers.
    fn stop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper never ends by a panic: those are handed to the caller of `split`.
            let _ = helper.join();
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A thread that is done with its piece.
struct Waiting {
    looks: u32,
    soon: Soon,
    /// Looks after which it helps others: none where that was needed in the last step.
    patience: u32,
}

impl Waiting {
    /// `soon`: what the thread reads then.
    fn new(soon: Soon, patience: u32) -> Self {
        Self { looks: 0, soon, patience }
    }

    /// Passes a moment, usefully if there is a way. `help` does what others have not begun.
    fn look(&mut self, help: impl Fn() -> bool) {
        if self.looks == self.patience {
            self.patience = if help() { 0 } else { PATIENCE };
        }
        if !self.soon.bring_line(self.looks as usize) {
            std::hint::spin_loop();
        }
        self.looks = self.looks.saturating_add(1);
    }
}

fn wait_and_help(shared: &Shared, id: usize) {
    let mut last = Ticket(0);
    let mut waiting = Waiting::new(Soon::NOTHING, PATIENCE);
    while !shared.quit.load(Ordering::Relaxed) {
        let ticket = shared.ticket();
        if ticket != last {
            last = ticket;
            let soon = if id < ticket.pieces() && shared.take(ticket, id) {
                shared.work(ticket, id, id)
            } else {
                Soon::NOTHING
            };
            waiting = Waiting::new(soon, waiting.patience);
        }
        waiting.look(|| shared.help(ticket, id));
        if waiting.looks < SPINS {
            continue;
        }
        if waiting.looks < SPINS + YIELDS {
            thread::yield_now();
            continue;
        }
        let asleep = &shared.places[id].asleep.0;
        asleep.store(true, Ordering::SeqCst);
        // Looked at once more after saying so.
        if shared.ticket() == last && !shared.quit.load(Ordering::SeqCst) {
            thread::park();
        }
        asleep.store(false, Ordering::SeqCst);
        waiting = Waiting::new(Soon::NOTHING, PATIENCE);
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
            for count in [0, 1, 2, 3, 7, 103] {
                let mut counts = vec![0u32; count];
                for _ in 0..200 {
                    let parts = Parts::new(&mut counts);
                    team.split(count, &|_, range| {
                        // SAFETY: the ranges of `split` do not overlap.
                        for n in unsafe { parts.part(range.start, range.len()) } {
                            *n += 1;
                        }
                        Soon::NOTHING
                    });
                }
                assert!(counts.iter().all(|n| *n == 200));
            }
        }
    }

    #[test]
    fn a_sleeping_team_wakes_up() {
        let mut team = Team::new(3).expect("threads");
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(30));
            let seen = [const { AtomicBool::new(false) }; 3];
            // A thread alone could do all; soon it need not.
            for _ in 0..1000 {
                team.run(3, &|thread, _| {
                    seen[thread].store(true, Ordering::Relaxed);
                    thread::sleep(std::time::Duration::from_millis(1));
                    Soon::NOTHING
                });
                if seen.iter().all(|seen| seen.load(Ordering::Relaxed)) {
                    break;
                }
            }
            assert!(seen.into_iter().all(AtomicBool::into_inner));
        }
    }

    #[test]
    fn nobody_waits_for_helpers_that_do_not_come() {
        let mut team = Team::new(3).expect("threads");
        team.stop();
        for _ in 0..50 {
            let done = AtomicU64::new(0);
            team.run(3, &|thread, piece| {
                assert_eq!(thread, 0);
                done.fetch_add(1 << (8 * piece), Ordering::Relaxed);
                Soon::NOTHING
            });
            assert_eq!(done.into_inner(), 0x01_01_01, "each once");
        }
    }

    #[test]
    fn a_panic_of_any_piece_reaches_the_caller_and_the_team_goes_on() {
        let mut team = Team::new(4).expect("threads");
        for bad in 0..4 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(4, &|_, piece| {
                    assert!(piece != bad, "bad");
                    Soon::NOTHING
                });
            }));
            assert!(result.is_err());
            team.run(4, &|_, _| Soon::NOTHING);
        }
    }
}
