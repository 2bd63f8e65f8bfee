//! What an answer's tokens say, where it ends, and what of it is shown.

use std::sync::Arc;

use protocol::FinishReason;

use crate::{
    ending::{LoopDetector, Stop, find_stop},
    request::{EngineEvent, Sink},
    tokenizer::{TextStream, Tokenizer},
};

/// Where a run's answers end.
pub(crate) struct Rules {
    pub tokenizer: Arc<Tokenizer>,
    pub stop: Vec<String>,
    /// Tokens that end the answer.
    pub ends: Vec<u32>,
    /// How many tokens an answer may have.
    pub room: usize,
    /// Whether a loop ends it.
    pub loops: bool,
}

/// An answer as text.
#[derive(Clone, Default)]
pub(crate) struct Transcript {
    stream: TextStream,
    /// Length of the stream's text after each token, in bytes.
    lengths: Vec<usize>,
    loops: LoopDetector,
    /// How much of the text can be shown, in bytes: no beginning of a stop string, no second round of a loop.
    visible: usize,
}

impl Transcript {
    /// Adds a token; a reason when the answer ends with it.
    pub(crate) fn push(&mut self, token: u32, rules: &Rules) -> Option<FinishReason> {
        if rules.ends.contains(&token) {
            self.show_all();
            return Some(FinishReason::Stop);
        }
        let before = self.stream.text().len();
        self.stream.push(rules.tokenizer.piece(token));
        self.lengths.push(self.stream.text().len());

        let longest = rules.stop.iter().map(String::len).max().unwrap_or(0);
        match find_stop(self.stream.text(), &rules.stop, before.saturating_sub(longest)) {
            Stop::At(end) => {
                self.visible = end;
                return Some(FinishReason::Stop);
            }
            Stop::ShowTo(end) => self.visible = end,
        }
        if rules.loops
            && let Some(kept) = self.loops.push(token)
        {
            self.visible = self.lengths.get(kept - 1).copied().unwrap_or(0);
            return Some(FinishReason::Repeat);
        }
        if self.lengths.len() >= rules.room {
            self.show_all();
            return Some(FinishReason::Length);
        }
        None
    }

    /// What was held back for a stop string is part of the text when the answer ends otherwise.
    pub(crate) fn show_all(&mut self) {
        self.visible = self.stream.text().len();
    }

    /// Tokens so far, without those that end it.
    pub(crate) fn tokens(&self) -> usize {
        self.lengths.len()
    }

    /// The text that can be shown.
    pub(crate) fn text(&self) -> &str {
        &self.stream.text()[..self.visible]
    }

    /// Tokens whose text begins in what can be shown; end tokens have none.
    pub(crate) fn visible_tokens(&self) -> usize {
        let starts = std::iter::once(0).chain(self.lengths.iter().copied()).take(self.lengths.len());
        starts.take_while(|start| *start < self.visible).count()
    }
}

/// What the sink was told of the text.
pub(crate) struct Screen {
    sink: Sink,
    text: String,
    chars: usize,
}

impl Screen {
    pub(crate) fn new(sink: Sink) -> Self {
        Self { sink, text: String::new(), chars: 0 }
    }

    /// Makes the sink's text this one.
    pub(crate) fn show(&mut self, text: &str, completion_tokens: usize) {
        if text == self.text {
            return;
        }
        if !text.starts_with(&self.text) {
            let same = self.text.chars().zip(text.chars()).take_while(|(a, b)| a == b);
            let (bytes, chars) = same.fold((0, 0), |(bytes, chars), (c, _)| (bytes + c.len_utf8(), chars + 1));
            self.text.truncate(bytes);
            self.chars = chars;
        }
        let (at, added) = (self.chars, text[self.text.len()..].to_owned());
        self.chars += added.chars().count();
        self.text.push_str(&added);
        (self.sink)(EngineEvent::Text { at, text: added, completion_tokens: completion_tokens as u32 });
    }

    /// The text that was shown.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn tell(&mut self, event: EngineEvent) {
        (self.sink)(event);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_screen_cuts_what_changed_and_appends_the_rest() {
        let (sender, events) = channel();
        let mut screen = Screen::new(Box::new(move |event| sender.send(event).unwrap()));
        let mut told = |text: &str| {
            screen.show(text, 1);
            events
                .try_iter()
                .map(|e| if let EngineEvent::Text { at, text, .. } = e { (at, text) } else { panic!() })
                .next()
        };
        assert_eq!(told("中文"), Some((0, "中文".into())));
        assert_eq!(told("中文"), None);
        assert_eq!(told("中文字 a"), Some((2, "字 a".into())));
        assert_eq!(told("中国"), Some((1, "国".into())));
        assert_eq!(told("中"), Some((1, String::new())));
    }
}
