//! Progress over bytes: a bar on a terminal, otherwise a line for every tenth; on standard error.

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicU64, Ordering},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far something is that goes through so many bytes. Several threads may tell it.
pub struct ByteBar {
    bar: Option<ProgressBar>,
    tenths: AtomicU64,
    quiet: bool,
}

impl ByteBar {
    /// One that has not begun; a `quiet` one says nothing where there is no terminal.
    pub fn new(quiet: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let form = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left {msg}";
            ProgressBar::new(0)
                .with_style(ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, tenths: AtomicU64::new(0), quiet }
    }

    /// Shows that `done` bytes of `total` are through.
    pub fn show(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done.min(total));
            return;
        }
        let tenth = (u128::from(done) * 10 / u128::from(total.max(1))) as u64;
        if tenth > self.tenths.fetch_max(tenth, Ordering::Relaxed) && !self.quiet {
            eprintln!("{} % of {}", tenth * 10, size(total));
        }
    }

    /// Says a line beside the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Counts from the beginning again.
    pub fn restart(&self) {
        self.tenths.store(0, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.reset();
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A number of bytes as people say it: `98.4 MB`.
pub fn size(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if number < 999.5 {
            break;
        }
        (number, unit) = (number / 1000.0, next);
    }
    if unit == "B" || number >= 99.95 { format!("{number:.0} {unit}") } else { format!("{number:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_short() {
        let shown = [0, 999, 1000, 98_362_432, 999_600, 12_345_678_901, u64::MAX].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "98.4 MB", "1.0 MB", "12.3 GB", "18446744 TB"]);
    }
}
