//! How far the work is: a bar on a terminal, a line now and then elsewhere; on standard error.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Lines are at least this far apart.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    told: Instant,
    before: usize,
    of: usize,
}

impl Progress {
    /// `before` of the `of` texts were done earlier.
    pub fn start(before: usize, of: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(of as u64);
            if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}") {
                bar.set_style(style);
            }
            bar.set_position(before as u64);
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { bar, started: Instant::now(), told: Instant::now(), before, of }
    }

    /// So many texts have been done by us.
    pub fn at(&mut self, done: usize) {
        match &self.bar {
            Some(bar) => {
                bar.set_position((self.before + done) as u64);
                bar.set_message(rate(done, self.of - self.before, self.seconds()));
            }
            None if self.told.elapsed() >= BETWEEN_LINES => {
                self.told = Instant::now();
                let rate = rate(done, self.of - self.before, self.seconds());
                eprintln!("{}/{} texts, {rate}", self.before + done, self.of);
            }
            None => {}
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Since the start.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

/// `2.5 texts/s, 1 min 20 s left`.
fn rate(done: usize, of: usize, seconds: f64) -> String {
    let rate = done as f64 / seconds.max(1e-3);
    if done == 0 {
        return "just begun".into();
    }
    let left = words(((of - done.min(of)) as f64 / rate).round() as u64);
    format!("{rate:.1} texts/s, {left} left")
}

/// A time in seconds: `1 min 20 s`.
pub fn words(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_are_in_words() {
        assert_eq!(rate(0, 10, 1.0), "just begun");
        assert_eq!(rate(5, 10, 2.0), "2.5 texts/s, 2 s left");
        assert_eq!(rate(10, 210, 4.0), "2.5 texts/s, 1 min 20 s left");
        assert_eq!(rate(10, 20010, 10.0), "1.0 texts/s, 5 h 33 min left");
    }
}
