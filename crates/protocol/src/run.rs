//! A run: one generation request and its result.

use serde::{Deserialize, Serialize};

use crate::text::Language;

/// What a prompt is made of, and which defaults it starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Raw completion of a prompt, no template.
    Pretrain,
    /// Instruction and optional input in the prompt template.
    Lora,
}

/// Which model answers: a column of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Column {
    /// The pretrained model without adapter.
    Base,
    /// The model with an adapter.
    Tuned,
}

/// Where a run is in its life. The last four are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// On disk, waiting for a free place in the batch.
    Queued,
    /// Being generated.
    Running,
    /// Ended by itself.
    Finished,
    /// Stopped by a person.
    Cancelled,
    /// The server stopped before the run ended.
    Interrupted,
    /// Could not be run; [`FinishReason::Error`].
    Failed,
}

impl RunStatus {
    /// Whether nothing more will happen to the run.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The name stored in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }

    /// The inverse of [`RunStatus::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Finished, Self::Cancelled, Self::Interrupted, Self::Failed]
            .into_iter()
            .find(|s| s.name() == name)
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model's end token, or a stop string.
    Stop,
    /// The limit on new tokens, or the end of the context.
    Length,
    /// The answer had begun to repeat itself.
    Repeat,
    /// Stopped by a person.
    Cancelled,
    /// The server stopped first.
    Interrupted,
    /// It could not be run.
    Error,
}

impl FinishReason {
    /// The name in JSON and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Repeat => "repeat",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Error => "error",
        }
    }

    /// The inverse of [`FinishReason::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Stop, Self::Length, Self::Repeat, Self::Cancelled, Self::Interrupted, Self::Error]
            .into_iter()
            .find(|r| r.name() == name)
    }

    /// The mark of the published cases: `finished`, `cut off` or `repeated`; other ends by their name.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Stop => "finished",
            Self::Length => "cut off",
            Self::Repeat => "repeated",
            other => other.name(),
        }
    }

    /// What happened and what to do, as one sentence.
    pub fn sentence(self, language: Language) -> &'static str {
        match self {
            Self::Stop => language.pick("Ended normally.", "正常结束。"),
            Self::Length => language.pick(
                "Cut off at the token limit: raise “Max new tokens” to get more.",
                "达到词元上限被截断：可调大“最多新词元”。",
            ),
            Self::Repeat => language.pick(
                "Stopped because the answer had begun to repeat itself: raise the repetition penalty or the temperature.",
                "回答开始重复，已停止：可调高重复惩罚或温度。",
            ),
            Self::Cancelled => language.pick("Stopped by you; the text so far is kept.", "已由你停止；已生成的内容已保留。"),
            Self::Interrupted => language.pick(
                "Interrupted because the server stopped; the text so far is kept. Run it again to get the whole answer.",
                "服务器停止，运行中断；已生成的内容已保留。重新运行可得到完整回答。",
            ),
            Self::Error => language.pick("Could not be run.", "无法运行。"),
        }
    }
}

/// Where the time of a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// From acceptance to the start of prefill, milliseconds.
    pub queue_ms: f64,
    /// Until the first token, milliseconds.
    pub prefill_ms: f64,
    /// From the first token to the last, milliseconds.
    pub decode_ms: f64,
    /// Tokens after the first, over `decode_ms`.
    pub tokens_per_second: f64,
    /// Of `prefill_ms` and `decode_ms`: spent on finding what a guided answer may go on with, milliseconds.
    #[serde(default)]
    pub mask_ms: f64,
    /// Tokens that were guessed from the prompt and earlier answers, and computed along with others.
    #[serde(default)]
    pub guessed: u32,
    /// Those of them that the model then chose itself: so many steps were saved.
    #[serde(default)]
    pub accepted: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_status_and_reason_are_those_of_json() {
        for name in ["queued", "running", "finished", "cancelled", "interrupted", "failed"] {
            assert_eq!(RunStatus::from_name(name).map(RunStatus::name), Some(name));
        }
        for name in ["stop", "length", "repeat", "cancelled", "interrupted", "error"] {
            assert_eq!(FinishReason::from_name(name).map(FinishReason::name), Some(name));
            assert_eq!(
                FinishReason::from_name(name).and_then(|r| serde_json::to_string(&r).ok()),
                Some(format!("\"{name}\""))
            );
        }
    }
}
