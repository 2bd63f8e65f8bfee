//! What the pages show, and what they ask the server to do.

use serde::{Deserialize, Serialize};

use crate::{
    format::Asking,
    logprob::Hesitation,
    manifest::{AdapterManifest, Example, SchemaChoice, Title},
    params::Parameters,
    record::{Judgement, Span},
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
    /// Further adapters that can be chosen for a run.
    #[serde(default)]
    pub others: Vec<OtherAdapter>,
    /// Defaults of pretrain mode, model entry applied.
    pub pretrain: Parameters,
    /// Defaults of LoRA mode, model entry and manifest applied.
    pub lora: Parameters,
    /// Texts to try.
    pub examples: Vec<Example>,
    /// Schemas to choose from: the asker's own, newest first, then the ready ones.
    #[serde(default)]
    pub schemas: Vec<SchemaView>,
    /// Prompts to try on the completion page.
    pub gallery: Vec<GalleryCase>,
    /// The first example's run, made by the server when it started; `None` until it is done.
    pub warmup: Option<WarmUp>,
    /// Whether that run is still going on; false also where there is none to make.
    pub warming: bool,
}

/// An adapter that is not the default one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OtherAdapter {
    /// What it is.
    pub info: AdapterInfo,
    /// Defaults of LoRA mode with it.
    pub lora: Parameters,
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
    /// The extraction that it is a part of; one without is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extraction: Option<String>,
    /// The part of the text that it is about, when that is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Span>,
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
    /// Where its model hesitated, once it ended; `None` where that was not asked, as of beams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hesitations: Option<Vec<Hesitation>>,
    /// What the same question was answered when it was asked again with sampling, once the run ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
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

/// A whole schema, as it is asked: entities, relations and events together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedSchema {
    /// Its name for people; empty for one that was never saved.
    pub name: String,
    /// The ready or saved schema that it is; `None` for one that is kept nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which version of it; ready ones have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// What it asks for: JSON, in the format of schema files.
    pub json: String,
}

impl NamedSchema {
    /// Name and version, such as `Finance v3`; empty for one that was never saved.
    pub fn title(&self) -> String {
        match self.version {
            Some(version) => format!("{} v{version}", self.name),
            None => self.name.clone(),
        }
    }
}

/// A schema that can be chosen: a ready one or one that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaView {
    /// Its id; of a ready one its name.
    pub id: String,
    /// Its name for people; a saved one has the same in both languages.
    pub title: Title,
    /// The language that it asks in; `None`: that of each text.
    pub language: Option<Language>,
    /// The newest version, from 1; `None`: it is a ready one, and cannot be changed.
    pub version: Option<u32>,
    /// What the newest version asks for: JSON, in the format of schema files.
    pub json: String,
    /// Last change, milliseconds since 1970; 0 for ready ones.
    pub updated_at: i64,
}

impl SchemaView {
    /// The schema as it is asked.
    pub fn named(&self, language: Language) -> NamedSchema {
        NamedSchema {
            name: self.title.in_language(language).to_owned(),
            id: Some(self.id.clone()),
            version: self.version,
            json: self.json.clone(),
        }
    }
}

/// A version of a saved schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaVersion {
    /// From 1.
    pub version: u32,
    /// What it asks for: JSON.
    pub json: String,
    /// When it was saved, milliseconds since 1970.
    pub created_at: i64,
}

/// A schema to be saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveSchema {
    /// The saved schema to give a new version; `None` makes a new schema.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// What it asks for: JSON or YAML, in the format of schema files.
    pub text: String,
}

/// One text asked for a whole schema with one variant. It owns the runs that name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtractionView {
    /// Its id.
    pub id: String,
    /// The session it belongs to.
    pub session: String,
    /// The text it is about.
    pub document: String,
    /// Which model answered.
    pub column: Column,
    /// What was asked for.
    pub schema: NamedSchema,
    /// When it was accepted, milliseconds since 1970.
    pub created_at: i64,
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
    /// The extractions that own some of them, oldest first.
    #[serde(default)]
    pub extractions: Vec<ExtractionView>,
    /// Links to it that are still open.
    pub shares: Vec<ShareView>,
}

/// An open link to a session or schema. The link itself is known only when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareView {
    /// Its id, for revoking.
    pub id: String,
    /// When it was made, milliseconds since 1970.
    pub created_at: i64,
    /// The author's note; of a link to a schema, its version.
    pub note: String,
}

/// A link just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewShare {
    /// The link as it is listed.
    pub link: ShareView,
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
    /// What its author had changed of its graph; nothing in links from before this was kept.
    #[serde(default)]
    pub edits: crate::graph::Edits,
    /// The texts that its author had gone through; in links from before this was kept, none.
    #[serde(default)]
    pub reviewed: Vec<String>,
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
    /// Find everything that a schema names, in long texts part by part.
    Schema {
        /// What to find.
        schema: NamedSchema,
        /// The texts.
        texts: Vec<String>,
        /// Ask the base too, to compare.
        #[serde(default)]
        compare: bool,
        /// How to ask, where that is not the adapter's own way.
        #[serde(default, skip_serializing_if = "Asking::is_default")]
        asking: Asking,
    },
}

/// A request to run something, and where to keep it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartRuns {
    /// The session to join; `None` opens a new one.
    pub session: Option<String>,
    /// What to run.
    pub ask: Ask,
    /// The adapter to answer with; the default one where none is named.
    #[serde(default)]
    pub adapter: Option<String>,
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
    /// The extractions that own some of them.
    #[serde(default)]
    pub extractions: Vec<ExtractionView>,
    /// The texts they are about.
    pub documents: Vec<DocumentView>,
}
