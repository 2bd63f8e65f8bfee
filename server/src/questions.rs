//! What a schema comes to: the questions about a text, one for each task, group of types and part of the text.

use extract::{
    Schema,
    chunk::{self, Lengths},
    prompt,
};
use protocol::{AdapterManifest, Asking, Language, SchemaChoice, Sentence, Span};

/// Least tokens of a text that must fit beside the instruction.
const LEAST_ROOM: usize = 32;

/// What a model can take in.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// Most tokens of a prompt with its answer.
    pub context: usize,
    /// Tokens kept for the answer.
    pub answer: usize,
    /// Tokens of a text; 0 for one that the tokenizer refuses. It is refused again, with the reason, when it is asked about.
    pub tokens: &'a (dyn Fn(&str) -> usize + Sync),
}

/// The questions of a schema about texts of one language.
#[derive(Clone, Debug)]
pub struct Questions {
    /// What is asked at once, with its instruction.
    pub choices: Vec<(SchemaChoice, String)>,
    /// Most tokens of a part of a text.
    room: usize,
    /// Usual code points of a part, where the adapter's manifest says so.
    taught: Option<usize>,
}

/// The instruction leaves no room for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// Tokens of the longest instruction.
    pub instruction: usize,
    /// Tokens kept for the answer.
    pub answer: usize,
    /// Tokens that the model reads.
    pub context: usize,
}

impl NoRoom {
    /// What is wrong, for people.
    pub fn sentence(self) -> Sentence {
        let Self { instruction, answer, context } = self;
        Sentence::new(
            format!(
                "the schema's instruction has {instruction} tokens, and {answer} are kept for the answer: of {context} \
                 tokens that the model reads none are left for a text. Ask for fewer types, or for shorter answers"
            ),
            format!(
                "抽取清单的指令有 {instruction} 个词元，回答还要留 {answer} 个：模型可读的 {context} 个词元已没有文本的位置。请减少类型，或缩短回答上限"
            ),
        )
    }
}

impl Questions {
    /// What is asked of texts in a language, and how long their parts may be.
    ///
    /// # Errors
    /// The instructions leave no room for a text.
    pub fn of(
        schema: &Schema,
        language: Language,
        manifest: Option<&AdapterManifest>,
        asking: &Asking,
        reading: Reading<'_>,
    ) -> Result<Self, NoRoom> {
        let with_instruction = |choice: SchemaChoice| {
            let instruction = asking.wording(prompt::instruction(manifest, &choice));
            (choice, instruction)
        };
        let choices: Vec<_> = schema.questions(language, manifest, asking).into_iter().map(with_instruction).collect();
        let prompts = choices.iter().map(|(choice, instruction)| {
            (reading.tokens)(&prompt::prompt(manifest, Some(choice), instruction, Some(".")))
        });
        let instruction = prompts.max().unwrap_or(0);
        // A token may differ where text and template meet.
        let room = reading.context.saturating_sub(instruction + reading.answer + 4);
        if room < LEAST_ROOM {
            return Err(NoRoom { instruction, answer: reading.answer, context: reading.context });
        }
        let language = schema.language.unwrap_or(language);
        let taught = manifest.and_then(|m| m.taught_chars.get(language.code())).copied().filter(|chars| *chars > 0);
        Ok(Self { choices, room, taught })
    }

    /// The parts in which a text is read, in code points.
    pub fn parts(&self, text: &str, reading: Reading<'_>) -> Vec<Span> {
        let lengths = |usual: usize, longest: usize| Lengths { usual, longest, overlap: usual / 4 };
        match self.taught {
            None => chunk::parts(text, lengths(self.room, self.room), reading.tokens),
            // In code points, and in tokens scaled so that the longest is what the model can read.
            Some(usual) => {
                let longest = 2 * usual;
                chunk::parts(text, lengths(usual, longest), |part| {
                    part.chars().count().max(((reading.tokens)(part) * longest).div_ceil(self.room))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn schema() -> Schema {
        Schema::from_json(r#"{"entities": ["person"], "events": {"merger": ["buyer"]}}"#).unwrap()
    }

    #[test]
    fn every_task_is_asked_of_every_part_of_the_taught_length() {
        let mut manifest = AdapterManifest::unknown("base");
        let reading = Reading { context: 200, answer: 20, tokens: &|text| text.split_whitespace().count() };
        let text = "Ada met Bob. ".repeat(10);
        let parts = |manifest: &AdapterManifest| {
            let questions =
                Questions::of(&schema(), Language::En, Some(manifest), &Asking::default(), reading).unwrap();
            assert_eq!(questions.choices.len(), 2);
            questions.parts(&text, reading).len()
        };
        assert_eq!(parts(&manifest), 1, "as long as the model can read");
        manifest.taught_chars.insert("en".into(), 40);
        assert_eq!(parts(&manifest), 4, "three sentences each");
    }

    #[test]
    fn a_question_is_asked_in_a_persons_own_words_and_the_others_as_they_are_made() {
        let reading = Reading { context: 200, answer: 20, tokens: &|text| text.split_whitespace().count() };
        let asked = |asking: &Asking| {
            let questions = Questions::of(&schema(), Language::En, None, asking, reading).unwrap();
            questions.choices.into_iter().map(|(_, instruction)| instruction).collect::<Vec<_>>()
        };
        let made = asked(&Asking::default());
        let instructions = [(made[1].clone(), "Which mergers?".to_owned())].into();
        let own = asked(&Asking { instructions, ..Asking::default() });
        assert_eq!(own, [made[0].as_str(), "Which mergers?"]);
        let long = [(made[0].clone(), "word ".repeat(180))].into();
        assert!(
            Questions::of(&schema(), Language::En, None, &Asking { instructions: long, ..Asking::default() }, reading)
                .is_err()
        );
    }

    #[test]
    fn a_schema_without_room_for_a_text_is_refused_with_the_numbers() {
        let reading = Reading { context: 60, answer: 20, tokens: &|text| text.split_whitespace().count() };
        let refused = Questions::of(&schema(), Language::En, None, &Asking::default(), reading).unwrap_err();
        assert_eq!((refused.answer, refused.context), (20, 60));
        assert!(refused.sentence().en.contains("of 60 tokens"));
    }
}
