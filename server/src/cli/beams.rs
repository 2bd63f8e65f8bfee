//! The best of several beams, on a terminal while it is searched for.

use std::io::{self, IsTerminal};

use engine::EngineEvent;
use indicatif::{ProgressBar, ProgressStyle};

/// Characters of the answer's end that are shown; a narrower terminal shows fewer.
const SHOWN: usize = 72;

/// A line on standard error that has the best answer so far. It can change to its first word, so it is not printed before it is
/// known: the line goes when the search ends.
pub struct BestSoFar {
    bar: ProgressBar,
    text: String,
}

impl BestSoFar {
    /// Nothing where standard error is no terminal.
    pub fn new() -> Option<Self> {
        let style = ProgressStyle::with_template("{wide_msg:.dim}").ok()?;
        let bar = || ProgressBar::new_spinner().with_style(style);
        io::stderr().is_terminal().then(|| Self { bar: bar(), text: String::new() })
    }

    /// Follows the answer.
    pub fn follow(&mut self, event: &EngineEvent) {
        match event {
            EngineEvent::Text { at, text, .. } => {
                self.text = changed(&self.text, *at, text);
                self.bar.set_message(end_of(&self.text));
            }
            EngineEvent::Done(_) => self.bar.finish_and_clear(),
            EngineEvent::Queued { .. } | EngineEvent::Started { .. } => {}
        }
    }
}

/// A text that is cut at some character, with another behind it.
fn changed(text: &str, at: usize, then: &str) -> String {
    text.chars().take(at).chain(then.chars()).collect()
}

/// The end of a text, in one line.
fn end_of(text: &str) -> String {
    let length = text.chars().count();
    let end: String = text.chars().skip(length.saturating_sub(SHOWN)).collect();
    let line = end.split_whitespace().collect::<Vec<_>>().join(" ");
    if length > SHOWN { format!("…{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_end_of_what_the_best_says_now() {
        assert_eq!(changed("北京大学", 2, "是\n首都"), "北京是\n首都");
        assert_eq!(end_of(&changed("", 0, "one\n  two")), "one two");
        let long = "ab ".repeat(60);
        assert!(end_of(&long).starts_with('…') && end_of(&long).chars().count() <= SHOWN + 1);
    }
}
