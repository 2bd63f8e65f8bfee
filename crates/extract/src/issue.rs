//! What is doubtful about an answer, in words a reader can act on.

use protocol::{Language, Span, record::Argument};
use serde::{Deserialize, Serialize};

/// What is doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueKind {
    /// The answer ends in the middle of a record.
    BrokenOff,
    /// A record's words do not stand in the text.
    NotInText,
    /// A record's type or role was not asked for.
    NotInSchema,
    /// A record was given more often than its words stand in the text.
    Duplicate,
    /// An end of a relation is not of a type that the schema declares for it.
    NotOfType,
    /// A part of the answer looks like a record but is not in the asked format.
    Unreadable,
    /// The answer holds other text beside the records.
    OtherText,
    /// There is no answer.
    Empty,
}

impl IssueKind {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::BrokenOff => "broken_off",
            Self::NotInText => "not_in_text",
            Self::NotInSchema => "not_in_schema",
            Self::Duplicate => "duplicate",
            Self::NotOfType => "not_of_type",
            Self::Unreadable => "unreadable",
            Self::OtherText => "other_text",
            Self::Empty => "empty",
        }
    }
}

/// One doubtful thing about an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// What is doubtful.
    pub kind: IssueKind,
    /// The words it is about, shortened when they are many.
    pub words: String,
    /// The record it is about: an index into [`Parsed::records`](crate::Parsed::records).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<usize>,
    /// Where the words stand in the answer, in code points; `None` where they are not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Span>,
    /// The argument that an event is without because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argument: Option<Argument>,
    /// How often it happened; for [`IssueKind::Duplicate`] the number of copies dropped.
    pub count: usize,
}

/// The most code points of an answer that an issue quotes.
const QUOTED: usize = 60;

impl Issue {
    /// An issue that happened once.
    pub(crate) fn new(kind: IssueKind, words: &str, record: Option<usize>) -> Self {
        let words = words.trim();
        let mut short: String = words.chars().take(QUOTED).collect();
        if short.len() < words.len() {
            short.push('…');
        }
        Self { kind, words: short, record, at: None, argument: None, count: 1 }
    }

    /// The issue as a sentence.
    pub fn sentence(&self, language: Language) -> String {
        let words = &self.words;
        let (en, zh) = match self.kind {
            IssueKind::BrokenOff => (
                format!("The answer broke off in the middle of a record: “{words}”."),
                format!("回答在一条结果中途中断：“{words}”。"),
            ),
            IssueKind::NotInText => (format!("Not in the text: “{words}”."), format!("原文中没有：“{words}”。")),
            IssueKind::NotInSchema => {
                (format!("Not asked for, left out: {words}."), format!("不在抽取清单中，已略去：{words}。"))
            }
            IssueKind::Duplicate => (
                format!("“{words}” was given {} times; it is kept once.", self.count + 1),
                format!("“{words}”出现了 {} 次，只保留一条。", self.count + 1),
            ),
            IssueKind::NotOfType => (
                format!("Not of the type that the schema asks for: “{words}”."),
                format!("与抽取清单要求的类型不符：“{words}”。"),
            ),
            IssueKind::Unreadable => {
                (format!("Not in the asked format: “{words}”."), format!("不符合要求的格式：“{words}”。"))
            }
            IssueKind::OtherText => (
                format!("The answer holds other text beside the records: “{words}”."),
                format!("回答中有结果以外的文字：“{words}”。"),
            ),
            IssueKind::Empty => ("The answer is empty.".into(), "回答为空。".into()),
        };
        language.pick(&en, &zh).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_the_words_and_shorten_long_ones() {
        let mut issue = Issue::new(IssueKind::Duplicate, " Spain ", Some(0));
        issue.count = 2;
        assert_eq!(issue.sentence(Language::En), "“Spain” was given 3 times; it is kept once.");
        assert_eq!(issue.sentence(Language::Zh), "“Spain”出现了 3 次，只保留一条。");
        let long = Issue::new(IssueKind::BrokenOff, &"中".repeat(100), None);
        assert_eq!(long.words.chars().count(), QUOTED + 1);
    }
}
