//! Jobs as the page shows them: waiting, on their way, done; and what else it shows.

use serde::{Deserialize, Serialize};

use super::{JobRequest, Outcome, RefusedJob};
use crate::text::Sentence;

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Another one is before it.
    Waiting,
    /// Being worked on.
    Running,
    /// Stopped by a person; it can go on.
    Stopped,
    /// Ended as it should.
    Done,
    /// It could not be done.
    Failed,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Stopped, Self::Done, Self::Failed];

    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The inverse of [`JobState::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether something will still happen by itself.
    pub fn is_going(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

/// A part of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Files are opened.
    #[default]
    Opening,
    /// Files are written.
    Writing,
    /// The result is compared with what it was made of.
    Comparing,
    /// The perplexity of the original is measured.
    Before,
    /// The perplexity of the result is measured.
    After,
    /// Checksums are computed.
    Checking,
    /// Files come from the hub.
    Fetching,
    /// Layers are rounded with a calibration text.
    Rounding,
    /// A text is scored.
    Scoring,
}

impl Phase {
    /// Whether its progress counts bytes; else pieces of a text, or layers.
    pub fn counts_bytes(self) -> bool {
        !matches!(self, Self::Before | Self::After | Self::Rounding | Self::Scoring)
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobProgress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes or pieces that are done.
    pub done: u64,
    /// All of them; 0 while that is not known.
    pub total: u64,
    /// Bytes or pieces a second, once that can be told.
    pub per_second: Option<f64>,
    /// Seconds that this part still takes.
    pub seconds_left: Option<f64>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// What was asked for.
    pub request: JobRequest,
    /// Where it is.
    pub state: JobState,
    /// Jobs that are before it, of one that waits.
    pub before: usize,
    /// How far it is; of a stopped one, how far it was.
    pub progress: Option<JobProgress>,
    /// What is worth knowing of it.
    pub notes: Vec<Sentence>,
    /// Why it failed, or was stopped by the program.
    pub error: Option<Sentence>,
    /// The place of what it writes.
    pub place: Option<String>,
    /// What came of it. In lists only whether it is right, of a verification.
    pub outcome: Option<Outcome>,
    /// When it was asked for, in milliseconds since 1970.
    pub created_at: i64,
    /// Time that was worked on it, in milliseconds.
    pub busy_ms: i64,
}

/// What the page of model files shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightsView {
    /// The folder that results are written to.
    pub folder: String,
    /// What is free on its disk.
    pub free: Option<u64>,
    /// Models that are there.
    pub models: Vec<FoundFiles>,
    /// Adapters that are there.
    pub adapters: Vec<FoundFiles>,
    /// Published models that can be fetched: name and title.
    pub published: Vec<(String, String)>,
    /// Published models that have checksums.
    pub with_sums: Vec<String>,
    /// The jobs, the newest first.
    pub jobs: Vec<JobView>,
    /// What is wrong with what was entered.
    pub refused: Option<RefusedJob>,
}

/// A model or adapter that lies where those are sought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFiles {
    /// Its name there.
    pub name: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether it lies in the data folder of this server.
    pub own: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_they_name() {
        assert!(JobState::ALL.iter().all(|s| JobState::from_name(s.name()) == Some(*s)));
    }
}
