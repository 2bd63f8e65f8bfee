//! Files of texts as the page shows them: uploaded, asked about, on their way, done.

use serde::{Deserialize, Serialize};

use crate::{
    format::Asking,
    text::{Language, Sentence},
    view::{DocumentView, ExtractionView, NamedSchema, RunView},
};

/// Rows on a page of a list.
pub const PAGE: usize = 25;
/// Rows that are tried before all are run.
pub const SAMPLE: usize = 20;

/// A file that was read, and waits for its columns to be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadView {
    /// Its id.
    pub id: String,
    /// The file's name.
    pub name: String,
    /// Its columns, in the file's order.
    pub columns: Vec<String>,
    /// Number of rows.
    pub rows: usize,
    /// The first rows, each with the columns' values as text, shortened.
    pub preview: Vec<Vec<String>>,
}

impl UploadView {
    /// The column that most likely holds the text: by its name, or the one with the longest values.
    pub fn text_column(&self) -> Option<&str> {
        const NAMES: [&str; 11] =
            ["text", "content", "body", "sentence", "abstract", "input", "文本", "正文", "内容", "原文", "句子"];
        let named = self.columns.iter().find(|column| NAMES.contains(&column.to_lowercase().as_str()));
        let length =
            |index: usize| self.preview.iter().filter_map(|row| row.get(index)).map(|v| v.chars().count()).sum();
        let longest = || (0..self.columns.len()).rev().max_by_key(|index| -> usize { length(*index) });
        named.or_else(|| self.columns.get(longest()?)).map(String::as_str)
    }

    /// The column that most likely holds the id.
    pub fn id_column(&self) -> Option<&str> {
        const NAMES: [&str; 6] = ["id", "nr", "no", "key", "编号", "序号"];
        self.columns.iter().find(|column| NAMES.contains(&column.to_lowercase().as_str())).map(String::as_str)
    }
}

/// A batch to be begun with an uploaded file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBatch {
    /// The file.
    pub upload: String,
    /// The column of the texts.
    pub text_column: String,
    /// The column of the ids; `None` takes the rows' numbers.
    pub id_column: Option<String>,
    /// The ready or saved schema to ask for.
    pub schema: String,
    /// Ask the base too.
    pub compare: bool,
    /// How to ask, where that is not the adapter's own way.
    #[serde(default)]
    pub asking: Asking,
    /// Run every row at once, without trying some first.
    pub all: bool,
    /// Language of the person.
    pub language: Language,
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowState {
    /// Not begun.
    Waiting,
    /// Being asked about.
    Running,
    /// Done, with records.
    Done,
    /// Done, and nothing was found.
    Nothing,
    /// Could not be done.
    Failed,
}

impl RowState {
    /// All of them, in the order of a row's life.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Done, Self::Nothing, Self::Failed];

    /// The name in addresses and in the database, which does not know `running`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
        }
    }

    /// The inverse of [`RowState::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// How many rows are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows of the file.
    pub total: usize,
    /// Rows that are to be done, or were.
    pub wanted: usize,
    /// Wanted and not begun.
    pub waiting: usize,
    /// Being asked about.
    pub running: usize,
    /// Done, with records.
    pub done: usize,
    /// Done without any.
    pub nothing: usize,
    /// Failed.
    pub failed: usize,
    /// Of these, rows without a text that could be read: trying again would not help.
    #[serde(default)]
    pub unreadable: usize,
}

impl Counts {
    /// Failed rows that may do better when they are tried again.
    pub fn retryable(&self) -> usize {
        self.failed.saturating_sub(self.unreadable)
    }

    /// Rows that have ended.
    pub fn ended(&self) -> usize {
        self.done + self.nothing + self.failed
    }
}

/// A batch as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchView {
    /// Its session.
    pub session: String,
    /// The session's title.
    pub title: String,
    /// What is asked for.
    pub schema: NamedSchema,
    /// Whether the base is asked too.
    pub compare: bool,
    /// How it is asked, where that is not the adapter's own way.
    #[serde(default)]
    pub asking: Asking,
    /// Whether it is being worked on.
    pub going: bool,
    /// Why it stopped by itself.
    pub reason: Option<Sentence>,
    /// How many rows are where.
    pub counts: Counts,
    /// Rows a second, of the time that was worked on it.
    pub rows_per_second: Option<f64>,
    /// Tokens written a second.
    pub tokens_per_second: Option<f64>,
    /// Seconds until the wanted rows are done, measured on those that are.
    pub seconds_left: Option<f64>,
    /// Seconds that all rows of the file take that are not done.
    pub seconds_all: Option<f64>,
    /// The rows of this page.
    pub rows: Vec<RowView>,
    /// Which page, from 1.
    pub page: usize,
    /// Number of pages.
    pub pages: usize,
    /// The rows shown are only those in this state.
    pub only: Option<RowState>,
}

/// A row in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowView {
    /// Where it stands in the batch, from 0.
    pub position: usize,
    /// Line or row of the file.
    pub line: usize,
    /// Its id.
    pub id: String,
    /// Its beginning.
    pub excerpt: String,
    /// Where it is.
    pub state: RowState,
    /// Whether it is to be done, or was.
    pub wanted: bool,
    /// Why it failed.
    pub error: Option<Sentence>,
    /// Records found.
    pub found: usize,
}

/// A batch in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSummary {
    /// Its session.
    pub session: String,
    /// The session's title.
    pub title: String,
    /// What is asked for.
    pub schema: String,
    /// Whether it is being worked on.
    pub going: bool,
    /// How many rows are where.
    pub counts: Counts,
    /// Last change, milliseconds since 1970.
    pub updated_at: i64,
}

/// A row with its text and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowCard {
    /// The row.
    pub row: RowView,
    /// Its text; `None` where it has none.
    pub document: Option<DocumentView>,
    /// The extractions.
    pub extractions: Vec<ExtractionView>,
    /// Their runs.
    pub runs: Vec<RunView>,
    /// Its other columns, as text.
    pub extra: Vec<(String, String)>,
}

/// What came of a file that was opened for the text of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpenedFile {
    /// It holds one text.
    Text(String),
    /// It holds many: it is kept as an upload, for a batch.
    Table(UploadView),
    /// It cannot be read.
    Refused(Sentence),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(columns: &[&str], row: &[&str]) -> UploadView {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        UploadView { id: String::new(), name: String::new(), columns: own(columns), rows: 1, preview: vec![own(row)] }
    }

    #[test]
    fn columns_are_guessed_by_name_then_by_length() {
        let named = upload(&["ID", "long", "正文"], &["1", "a long remark", "字"]);
        assert_eq!((named.text_column(), named.id_column()), (Some("正文"), Some("ID")));
        let unnamed = upload(&["a", "b", "c"], &["1", "a long remark", "short"]);
        assert_eq!((unnamed.text_column(), unnamed.id_column()), (Some("b"), None));
        assert_eq!(upload(&[], &[]).text_column(), None);
    }

    #[test]
    fn names_of_states_are_those_of_json() {
        for state in RowState::ALL {
            assert_eq!(RowState::from_name(state.name()), Some(state));
            assert_eq!(serde_json::to_string(&state).ok(), Some(format!("\"{}\"", state.name())));
        }
    }
}
