//! The process that the work is done in: this program again, with a hidden command.
//!
//! Model files are untrusted, large and mapped; whatever one does to its reader, or a disk to what is mapped, the server
//! goes on. The process has a low priority, so that people's runs come first, and is the first to go where memory ends.
//! To stop it is to end it: files are written so that this may happen at any moment, and the same work goes on later.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::{
    Sentence,
    job::{JobProgress, Outcome, Phase},
};

use super::{
    request::Work,
    work::{Said, Setting, perform},
};
use crate::held;

/// The hidden command.
pub const COMMAND: &str = "work-on-weights";
/// How often progress is told.
const OFTEN: Duration = Duration::from_millis(100);
/// Notes that are kept; of those that are soon of no interest the newest, where others leave room.
const NOTES: usize = 50;

/// A job that is being worked on.
#[derive(Debug)]
pub struct Going {
    /// Somebody wants it no more.
    stop: AtomicBool,
    child: Mutex<Option<Child>>,
    seen: Mutex<Seen>,
    began: Instant,
}

/// What the process has said so far.
#[derive(Debug, Default)]
struct Seen {
    phase: Phase,
    done: u64,
    total: u64,
    /// When the first progress of the phase came, and how far it was.
    first: Option<(Instant, u64)>,
    /// In the order in which they came, and whether they are soon of no interest.
    notes: Vec<(Sentence, bool)>,
}

impl Seen {
    fn note(&mut self, note: Sentence, passing: bool) {
        if self.notes.iter().any(|(known, _)| *known == note) {
            return;
        }
        if self.notes.len() >= NOTES {
            let Some(oldest) = self.notes.iter().position(|(_, passing)| *passing) else { return };
            self.notes.remove(oldest);
        }
        self.notes.push((note, passing));
    }
}

impl Going {
    /// One that begins now.
    pub fn begun() -> Self {
        Self { stop: AtomicBool::new(false), child: Mutex::default(), seen: Mutex::default(), began: Instant::now() }
    }

    /// Ends it.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(child) = held(&self.child).as_mut() {
            let _ = child.kill();
        }
    }

    /// Whether it was ended so.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// How long it has been worked on, in milliseconds.
    pub fn busy_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// How far it is.
    pub fn progress(&self) -> JobProgress {
        let seen = held(&self.seen);
        let rate = seen.first.and_then(|(since, first)| {
            let (seconds, done) = (since.elapsed().as_secs_f64(), seen.done.saturating_sub(first));
            (seconds > 0.5 && done > 0).then(|| done as f64 / seconds)
        });
        JobProgress {
            phase: seen.phase,
            done: seen.done,
            total: seen.total,
            per_second: rate,
            seconds_left: rate.map(|rate| seen.total.saturating_sub(seen.done) as f64 / rate),
        }
    }

    /// What is worth knowing.
    pub fn notes(&self) -> Vec<Sentence> {
        held(&self.seen).notes.iter().map(|(note, _)| note.clone()).collect()
    }

    fn hear(&self, said: Said) -> Option<Result<Outcome, Sentence>> {
        let mut seen = held(&self.seen);
        match said {
            Said::Progress { phase, done, total } => {
                if seen.phase != phase || seen.total != total {
                    seen.first = None;
                }
                (seen.phase, seen.done, seen.total) = (phase, done, total);
                if seen.first.is_none() && total > 0 {
                    seen.first = Some((Instant::now(), done));
                }
                None
            }
            Said::Note(note) => {
                seen.note(note, false);
                None
            }
            Said::Passing(note) => {
                seen.note(note, true);
                None
            }
            Said::Done(outcome) => Some(Ok(*outcome)),
            Said::Failed(sentence) => Some(Err(sentence)),
        }
    }
}

/// Does work to its end, in another process. Blocks.
///
/// # Errors
/// It could not be done, or was stopped.
pub fn run(work: &Work, going: &Going) -> Result<Outcome, Sentence> {
    // A test is another program, without the hidden command.
    if cfg!(test) {
        let told = Mutex::new(None);
        perform(work, &Setting::default(), &|said| {
            if let Some(end) = going.hear(said) {
                *held(&told) = Some(end);
            }
        });
        return told.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(|| Err(broke_off(None)));
    }
    let stdout = begin(work, going).map_err(|e| {
        Sentence::new(
            format!("The work could not be begun ({e}). Try again when the machine is less busy."),
            format!("无法开始（{e}）。请在机器空闲时重试。"),
        )
    })?;
    let mut end = None;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Ok(said) = serde_json::from_str(&line)
            && let Some(told) = going.hear(said)
        {
            end = Some(told);
        }
    }
    let status = held(&going.child).take().and_then(|mut child| child.wait().ok());
    end.unwrap_or_else(|| Err(broke_off(status)))
}

fn begin(work: &Work, going: &Going) -> std::io::Result<impl Read + use<>> {
    let work = serde_json::to_string(work)?;
    let mut child =
        Command::new(std::env::current_exe()?).arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    // Kept open: its end is the sign that the server has gone.
    let sent = child.stdin.as_mut().map_or(Ok(()), |stdin| writeln!(stdin, "{work}"));
    if sent.is_err() || going.is_stopped() {
        let _ = child.kill();
    }
    let mut place = held(&going.child);
    // Whoever stopped it in between did not see the child.
    if going.is_stopped() {
        let _ = child.kill();
    }
    *place = Some(child);
    Ok(stdout)
}

/// The process ended without a word.
fn broke_off(status: Option<std::process::ExitStatus>) -> Sentence {
    let how = status.map(|status| status.to_string()).unwrap_or_default();
    Sentence::new(
        format!(
            "The work broke off ({how}): most likely memory or the disk came to an end, or a file was changed meanwhile. Make room, then go on; what is done is kept."
        ),
        format!(
            "工作中断（{how}）：很可能是内存或磁盘已满，或文件在此期间被更改。请腾出空间后继续；已完成的部分会保留。"
        ),
    )
}

/// What the hidden command does: reads work from standard input, does it, and says how it goes on standard output.
///
/// # Errors
/// What comes in is no work.
pub fn say(setting: &Setting) -> std::io::Result<()> {
    step_back();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let work: Work = serde_json::from_str(&line)?;
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        let _ = std::io::stdin().lock().read_to_end(&mut rest);
        // The server has gone. What is unfinished is gone on with at its next start.
        std::process::exit(1);
    });
    let last = Mutex::new((Phase::Opening, None::<Instant>));
    perform(&work, setting, &|said| {
        let mut last = held(&last);
        if let Said::Progress { phase, done, total } = &said {
            let soon = last.1.is_some_and(|at| at.elapsed() < OFTEN) && last.0 == *phase && done < total;
            if soon {
                return;
            }
            *last = (*phase, Some(Instant::now()));
        }
        let mut out = std::io::stdout().lock();
        let line = serde_json::to_string(&said).unwrap_or_default();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    });
    // Ends the thread above with it.
    std::process::exit(0)
}

/// Gives way to the server and the people who use it. Where the system refuses, the work is done all the same.
fn step_back() {
    #[cfg(unix)]
    let _ = rustix::process::nice(10);
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_rate_counts_from_where_a_phase_began() {
        let going = Going::begun();
        let say = |phase, done, total| going.hear(Said::Progress { phase, done, total });
        assert_eq!(say(Phase::Writing, 500, 1000), None);
        held(&going.seen).first = Some((Instant::now() - Duration::from_secs(10), 500));
        assert_eq!(say(Phase::Writing, 700, 1000), None);
        let now = going.progress();
        let (rate, left) = (now.per_second.unwrap(), now.seconds_left.unwrap());
        assert!((rate - 20.0).abs() < 1.0 && (left - 15.0).abs() < 1.0, "{now:?}");
        say(Phase::Comparing, 1, 10);
        assert_eq!(going.progress().per_second, None, "another phase begins again");
    }

    #[test]
    fn a_note_is_kept_once() {
        let going = Going::begun();
        for note in ["a", "b", "a"] {
            going.hear(Said::Note(Sentence::new(note, note)));
        }
        assert_eq!(going.notes().iter().map(|note| note.en.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_bad_connection_leaves_room_for_the_steps() {
        let going = Going::begun();
        let note = |text: &str| Sentence::new(text, text);
        going.hear(Said::Note(note("step 1")));
        for again in 0..2 * NOTES {
            going.hear(Said::Passing(note(&format!("again {again}"))));
        }
        going.hear(Said::Note(note("step 2")));
        let notes = going.notes();
        assert_eq!((notes.len(), notes[0].en.as_str(), notes[1].en.as_str()), (NOTES, "step 1", "again 52"));
        assert_eq!(notes[NOTES - 1].en, "step 2");
    }
}
