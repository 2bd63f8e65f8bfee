//! Extracted records, and what a person says of them.

use serde::{Deserialize, Serialize};

/// A place in a text, in Unicode code points, `end` excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// First code point.
    pub start: usize,
    /// One past the last code point.
    pub end: usize,
}

/// How words were found in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// Letter by letter.
    #[default]
    Exact,
    /// In other case, width, spacing or punctuation.
    Normalised,
    /// Letter by letter, but as a part of a longer word: `Ann` in `Annual`.
    Part,
    /// With a few other letters: the model has misspelt them, or means something else.
    Fuzzy,
}

impl Found {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Normalised => "normalised",
            Self::Part => "part",
            Self::Fuzzy => "fuzzy",
        }
    }

    /// Whether it needs no mention; for serde.
    pub fn is_exact(&self) -> bool {
        *self == Self::Exact
    }
}

/// How sure the model was when it gave words.
///
/// Two steps, not a number: a model's probabilities order its records by how far they can be trusted, and are no chances
/// of being right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Nobody asked it; people's own words too.
    #[default]
    Unknown,
    /// It did not hesitate; and enough samples, where there are any, say the same.
    Sure,
    /// It hesitated, or few samples say the same: more often wrong than others.
    Check,
}

impl Certainty {
    /// The name in JSON; empty for [`Certainty::Unknown`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Sure => "sure",
            Self::Check => "check",
        }
    }

    /// Whether it needs no mention; for serde.
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// How many of a question's samples say the same as its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Agreement {
    /// Samples that say it too.
    pub found: u32,
    /// All samples.
    pub of: u32,
}

impl Agreement {
    /// Of what belongs together the fewest. What was not counted, as words that do not stand in the text are not, says nothing.
    pub fn fewest(each: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        each.into_iter().flatten().min()
    }
}

/// Words the model gave, and where they stand in the text. `span` is `None` when they do not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mention {
    /// The words; the text's own wording when they stand in it.
    pub text: String,
    /// Where they are in the text ("grounded").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// How they were found there; [`Found::Exact`] also when they were not.
    #[serde(default, skip_serializing_if = "Found::is_exact")]
    pub found: Found,
    /// How sure the model was of them, and of the type or role it gave them.
    #[serde(default, skip_serializing_if = "Certainty::is_unknown")]
    pub certainty: Certainty,
    /// In how many samples it said them of the same record too, where it was asked more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
}

impl Mention {
    /// Words without a place.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Words at a place.
    pub fn at(text: impl Into<String>, span: Span) -> Self {
        Self { text: text.into(), span: Some(span), ..Self::default() }
    }
}

/// An argument of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Argument {
    /// Its role, such as `treatment`.
    pub role: String,
    /// Its words.
    #[serde(flatten)]
    pub mention: Mention,
}

/// One extracted entity, triple or event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// A named entity.
    Entity {
        /// Its type.
        #[serde(rename = "type")]
        label: String,
        /// Its words.
        mention: Mention,
    },
    /// A triple.
    Relation {
        /// The relation's name.
        relation: String,
        /// Its head.
        head: Mention,
        /// Its tail.
        tail: Mention,
    },
    /// An event with its arguments.
    Event {
        /// The event type.
        #[serde(rename = "type")]
        label: String,
        /// The words that name the event.
        trigger: Mention,
        /// Who and what took part.
        arguments: Vec<Argument>,
    },
}

impl Record {
    /// The record's type: entity type, relation name or event type.
    pub fn label(&self) -> &str {
        match self {
            Self::Entity { label, .. } | Self::Event { label, .. } => label,
            Self::Relation { relation, .. } => relation,
        }
    }

    /// Every mention of the record, with the label it is coloured by.
    pub fn mentions(&self) -> Vec<(&str, &Mention)> {
        match self {
            Self::Entity { label, mention } => vec![(label, mention)],
            Self::Relation { relation, head, tail } => vec![(relation, head), (relation, tail)],
            Self::Event { label, trigger, arguments } => std::iter::once((label.as_str(), trigger))
                .chain(arguments.iter().map(|a| (a.role.as_str(), &a.mention)))
                .collect(),
        }
    }

    /// The same, for changing the spans in place.
    pub fn mentions_mut(&mut self) -> Vec<&mut Mention> {
        match self {
            Self::Entity { mention, .. } => vec![mention],
            Self::Relation { head, tail, .. } => vec![head, tail],
            Self::Event { trigger, arguments, .. } => {
                std::iter::once(trigger).chain(arguments.iter_mut().map(|a| &mut a.mention)).collect()
            }
        }
    }

    /// Whether every mention stands in the text.
    pub fn grounded(&self) -> bool {
        self.mentions().iter().all(|(_, m)| m.span.is_some())
    }

    /// Whether the words that make it what it is stand in the text: an entity's own, both ends of a relation, an event's
    /// trigger. So it is found, whatever else is said of an event.
    pub fn stands(&self) -> bool {
        match self {
            Self::Entity { mention, .. } => mention.span.is_some(),
            Self::Relation { head, tail, .. } => head.span.is_some() && tail.span.is_some(),
            Self::Event { trigger, .. } => trigger.span.is_some(),
        }
    }

    /// How sure the model was of all of it: of its mentions the least.
    pub fn certainty(&self) -> Certainty {
        self.mentions().iter().map(|(_, m)| m.certainty).max().unwrap_or_default()
    }

    /// In how many samples all of it was said: of its mentions the fewest.
    pub fn agreement(&self) -> Option<Agreement> {
        Agreement::fewest(self.mentions().iter().map(|(_, m)| m.agreement))
    }

    /// The same, as a person says it: how sure a model was is not part of that.
    #[must_use]
    pub fn without_certainty(mut self) -> Self {
        for mention in self.mentions_mut() {
            (mention.certainty, mention.agreement) = (Certainty::Unknown, None);
        }
        self
    }

    /// Two records with the same key say the same: type and words, without case, extra spaces, place
    /// in the text, or order of arguments. Judgements are filed under it, so that one judgement
    /// holds for every column that found the record.
    pub fn key(&self) -> String {
        const SEPARATOR: &str = "\u{1f}";
        let parts = match self {
            Self::Entity { label, mention } => vec!["entity".into(), folded(label), folded(&mention.text)],
            Self::Relation { relation, head, tail } => {
                vec!["relation".into(), folded(relation), folded(&head.text), folded(&tail.text)]
            }
            Self::Event { label, trigger, arguments } => {
                let mut rest: Vec<String> =
                    arguments.iter().map(|a| format!("{}={}", folded(&a.role), folded(&a.mention.text))).collect();
                rest.sort_unstable();
                let mut parts = vec!["event".into(), folded(label), folded(&trigger.text)];
                parts.extend(rest);
                parts
            }
        };
        parts.join(SEPARATOR)
    }
}

/// Words as they are compared: without case and extra spaces.
pub fn folded(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// What a person says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is in the text as said.
    Right,
    /// It is not.
    Wrong,
    /// It is not, but [`Judgement::correction`] is.
    Corrected,
    /// The model missed it.
    Added,
}

impl Verdict {
    /// The name in JSON and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Corrected => "corrected",
            Self::Added => "added",
        }
    }

    /// The inverse of [`Verdict::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Right, Self::Wrong, Self::Corrected, Self::Added].into_iter().find(|v| v.name() == name)
    }
}

/// A verdict on a record of a document. There is at most one for each [`Record::key`] of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The record judged; for [`Verdict::Added`] the one the model missed.
    pub record: Record,
    /// The verdict.
    pub verdict: Verdict,
    /// What the record should have been, for [`Verdict::Corrected`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Record>,
}

impl Judgement {
    /// The same, without how sure a model was of what is judged: a judgement holds for every answer that says it.
    #[must_use]
    pub fn without_certainty(self) -> Self {
        let correction = self.correction.map(Record::without_certainty);
        Self { record: self.record.without_certainty(), correction, ..self }
    }

    /// The record that belongs to the text's gold because of this judgement, if any.
    pub fn gold(&self) -> Option<&Record> {
        match self.verdict {
            Verdict::Right | Verdict::Added => Some(&self.record),
            Verdict::Corrected => self.correction.as_ref(),
            Verdict::Wrong => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mention(text: &str) -> Mention {
        Mention::new(text)
    }

    #[test]
    fn a_key_ignores_case_spaces_place_and_order_of_arguments() {
        let a =
            Record::Entity { label: "Person".into(), mention: Mention::at("Ada  Lovelace", Span { start: 1, end: 2 }) };
        let b = Record::Entity { label: "person".into(), mention: mention("ada lovelace") };
        assert_eq!(a.key(), b.key());
        let event = |roles: [&str; 2]| Record::Event {
            label: "merger".into(),
            trigger: mention("bought"),
            arguments: roles.iter().map(|r| Argument { role: (*r).into(), mention: mention(r) }).collect(),
        };
        assert_eq!(event(["buyer", "seller"]).key(), event(["seller", "buyer"]).key());
    }

    #[test]
    fn records_read_as_json_people_can_write() {
        let json = r#"{"kind":"entity","type":"person","mention":{"text":"Ada"}}"#;
        let record: Record = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), json);
    }
}
