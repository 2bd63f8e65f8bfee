//! What the pages show, and what they ask the server to do.

use serde::{Deserialize, Serialize};

use crate::{
    manifest::{AdapterManifest, Example, SchemaChoice},
    params::Parameters,
    record::Judgement,
    run::{Column, FinishReason, Mode, RunStatus, Timings},
    text::Language,
};

/// The loaded model, as the pages name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The real checkpoint's name.
    pub name: String,
    /// Main block format of the weights, such as `Q4_1`.
    pub format: String,
    /// Longest prompt plus answer, in tokens.
    pub context_length: u32,
    /// Number of weights.
    pub parameters: u64,
    /// What computes it, such as `candle, CPU, 2 threads`.
    pub backend: String,
}

/// An adapter that can be chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterInfo {
    /// Its name.
    pub name: String,
    /// What it was taught.
    pub manifest: AdapterManifest,
    /// Its rank.
    pub rank: u32,
}

/// Everything the work pages need to draw their controls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// The base.
    pub model: ModelInfo,
    /// The adapter of LoRA mode, if there is one.
    pub adapter: Option<AdapterInfo>,
    /// Defaults of pretrain mode, model entry applied.
    pub pretrain: Parameters,
    /// Defaults of LoRA mode, model entry and manifest applied.
    pub lora: Parameters,
    /// Texts to try.
    pub examples: Vec<Example>,
    /// Prompts to try on the completion page.
    pub gallery: Vec<GalleryCase>,
    /// The first example's run, made by the server when it started; `None` until it is done.
    pub warmup: Option<WarmUp>,
    /// Whether that run is still going on; false also where there is none to make.
    pub warming: bool,
}

/// A published case, shown in the gallery of the completion page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GalleryCase {
    /// Its topic.
    pub topic: String,
    /// Its prompt.
    pub prompt: String,
    /// How it ended on the published 13B model.
    pub published_mark: String,
}

/// A real answer of the shipped example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarmUp {
    /// Index into [`Bench::examples`].
    pub example: usize,
    /// The run.
    pub run: RunView,
}

/// A run as the pages show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Its id.
    pub id: String,
    /// The session it belongs to.
    pub session: String,
    /// The text it is about, if it has one.
    pub document: Option<String>,
    /// How its prompt was made.
    pub mode: Mode,
    /// Which model answered.
    pub column: Column,
    /// The base's name.
    pub model: String,
    /// The adapter's name, if one was applied.
    pub adapter: Option<String>,
    /// What was asked for, when it was asked by schema.
    pub schema: Option<SchemaChoice>,
    /// The instruction, in LoRA mode.
    pub instruction: String,
    /// The exact prompt.
    pub prompt: String,
    /// Its parameters; the seed is always set.
    pub parameters: Parameters,
    /// Where it is.
    pub status: RunStatus,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
    /// The sentence of an error.
    pub error: Option<String>,
    /// The answer so far.
    pub text: String,
    /// Tokens of the prompt, once known.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// Where the time went, once it ended.
    pub timings: Option<Timings>,
    /// Runs before it, while queued.
    pub position: Option<u32>,
    /// When it was accepted, milliseconds since 1970.
    pub created_at: i64,
}

/// A text of a session, with what people said of the records found in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentView {
    /// Its id.
    pub id: String,
    /// The text.
    pub text: String,
    /// Its judgements: the text's gold.
    pub judgements: Vec<Judgement>,
}

/// The page a session was opened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Page {
    /// `/lora`.
    Extract,
    /// `/pretrain`.
    Complete,
    /// `/compare`.
    Compare,
}

impl Page {
    /// The name in JSON and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Extract => "extract",
            Self::Complete => "complete",
            Self::Compare => "compare",
        }
    }

    /// The inverse of [`Page::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Extract, Self::Complete, Self::Compare].into_iter().find(|p| p.name() == name)
    }

    /// Its address.
    pub fn path(self) -> &'static str {
        match self {
            Self::Extract => "/lora",
            Self::Complete => "/pretrain",
            Self::Compare => "/compare",
        }
    }
}

/// A session in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Where it was opened.
    pub page: Page,
    /// Number of runs.
    pub runs: u32,
    /// Number of judgements.
    pub judgements: u32,
    /// Whether a link to it is out.
    pub shared: bool,
    /// Beginning of its newest text, or the words around a match of the search.
    pub excerpt: String,
    /// Last change, milliseconds since 1970.
    pub updated_at: i64,
}

/// A whole session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Where it was opened.
    pub page: Page,
    /// When it was opened, milliseconds since 1970.
    pub created_at: i64,
    /// Last change, milliseconds since 1970.
    pub updated_at: i64,
    /// Its texts, oldest first.
    pub documents: Vec<DocumentView>,
    /// Its runs, oldest first.
    pub runs: Vec<RunView>,
    /// Links to it that are still open.
    pub shares: Vec<ShareView>,
}

/// An open link to a session. The link itself is known only when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareView {
    /// Its id, for revoking.
    pub id: String,
    /// When it was made, milliseconds since 1970.
    pub created_at: i64,
    /// The author's note.
    pub note: String,
}

/// A link just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewShare {
    /// Its id, for revoking.
    pub id: String,
    /// The whole address.
    pub url: String,
    /// Whether only this computer can open it.
    pub local_only: bool,
}

/// What a shared link shows: frozen when it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The author's note.
    pub note: String,
    /// When it was made, milliseconds since 1970.
    pub shared_at: i64,
    /// The session as it was.
    pub session: SessionView,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Ask {
    /// Complete a prompt with the base.
    Complete {
        /// The raw prompt.
        prompt: String,
    },
    /// Answer an instruction with the adapter, once for each text.
    Extract {
        /// The instruction, as the person left it.
        instruction: String,
        /// The texts; one empty text means an instruction without input.
        texts: Vec<String>,
        /// What was asked for; `None` for a free instruction.
        schema: Option<SchemaChoice>,
    },
    /// The same with base and adapter, once for each text.
    Compare {
        /// The instruction, given to both.
        instruction: String,
        /// The texts.
        texts: Vec<String>,
        /// What was asked for.
        schema: Option<SchemaChoice>,
        /// Give the base the text alone, without template and instruction.
        raw_base: bool,
    },
}

/// A request to run something, and where to keep it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartRuns {
    /// The session to join; `None` opens a new one.
    pub session: Option<String>,
    /// What to run.
    pub ask: Ask,
    /// With which parameters.
    pub parameters: Parameters,
    /// Language of the person, for the new session's title.
    pub language: Language,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The session.
    pub session: String,
    /// The runs, all on disk.
    pub runs: Vec<RunView>,
    /// The texts they are about.
    pub documents: Vec<DocumentView>,
}
