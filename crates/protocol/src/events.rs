//! What the server pushes to the page while runs go on.

use serde::{Deserialize, Serialize};

use crate::{
    logprob::Hesitation,
    run::{FinishReason, RunStatus, Timings},
    text::byte_offset,
};

/// A message of the event stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum RunEvent {
    /// The text changed.
    Text(TextEvent),
    /// The run moved on.
    State(StateEvent),
}

/// Cut the text at `at`, then append `text`. Plain streams only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextEvent {
    /// The run.
    pub run: String,
    /// Which of several answers; 0 so far.
    pub choice: u32,
    /// Position in the run's event log, from 1.
    pub seq: u64,
    /// Where to cut, in Unicode code points.
    pub at: usize,
    /// What to append.
    pub text: String,
}

impl TextEvent {
    /// Applies the event to the text so far.
    pub fn apply(&self, text: &mut String) {
        let keep = byte_offset(text, self.at);
        text.truncate(keep);
        text.push_str(&self.text);
    }
}

/// A change of a run's state; the last one of a run has a final status and everything known of its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateEvent {
    /// The run.
    pub run: String,
    /// Position in the run's event log, from 1.
    pub seq: u64,
    /// Where the run is now.
    pub status: RunStatus,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
    /// The sentence of [`FinishReason::Error`].
    pub error: Option<String>,
    /// Tokens of the prompt, once known.
    pub prompt_tokens: Option<u32>,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// Where the time went, once it ended.
    pub timings: Option<Timings>,
    /// Where the model hesitated, once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hesitations: Option<Vec<Hesitation>>,
    /// What it was answered when it was asked again with sampling, once it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
    /// Runs before it in the queue, while queued.
    pub position: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_event_cuts_at_code_points_then_appends() {
        let mut text = "中文abc".to_owned();
        let event = |at, new: &str| TextEvent { run: "r".into(), choice: 0, seq: 1, at, text: new.into() };
        event(2, "🙂").apply(&mut text);
        assert_eq!(text, "中文🙂");
        event(3, "!").apply(&mut text);
        assert_eq!(text, "中文🙂!");
        event(0, "x").apply(&mut text);
        assert_eq!(text, "x");
        event(99, "y").apply(&mut text);
        assert_eq!(text, "xy");
    }
}
