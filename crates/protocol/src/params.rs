//! The one table of sampling parameters.
//!
//! The control in the page, its validation, the command-line flag, the API's limits and the
//! documentation are all made from [`PARAMETERS`]. A parameter is added here and nowhere else.

use serde::{Deserialize, Serialize};

use crate::{
    run::Mode,
    text::{Language, Sentence},
};

/// How a parameter is entered and checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParameterKind {
    /// A number from `min` to `max`, both included; `step` is the control's step.
    Number {
        /// Smallest value allowed.
        min: f64,
        /// Largest value allowed.
        max: f64,
        /// Step of the page's control.
        step: f64,
        /// Whether only whole numbers are allowed.
        whole: bool,
    },
    /// A whole number that may be left empty.
    OptionalWhole,
    /// Strings, one a line in the page, one per flag on the command line.
    Strings,
    /// On or off.
    Switch,
}

/// One row of the table: everything there is to say about a parameter.
#[derive(Clone, Copy, Debug)]
pub struct ParameterSpec {
    /// Name in JSON and in the page (`param-NAME`); with `-` for `_` also the command-line flag.
    pub name: &'static str,
    /// Range and kind.
    pub kind: ParameterKind,
    /// Label, English and Chinese.
    pub label: (&'static str, &'static str),
    /// One sentence of help, English and Chinese.
    pub help: (&'static str, &'static str),
    /// Whether it has a meaning only where records are extracted: other pages have no control for it, and only the command
    /// that extracts has a flag.
    pub extracts: bool,
}

impl ParameterSpec {
    /// The command-line flag without its dashes: `max-new-tokens`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The label in a language.
    pub fn label_in(&self, language: Language) -> &'static str {
        language.pick(self.label.0, self.label.1)
    }

    /// The help sentence in a language.
    pub fn help_in(&self, language: Language) -> &'static str {
        language.pick(self.help.0, self.help.1)
    }
}

/// The most beams of a search.
pub const MAX_BEAMS: u32 = 8;
/// The most strings that can end an answer.
pub const MAX_STOPS: usize = 8;
/// The most samples of a question.
pub const MAX_SAMPLES: u32 = 8;
/// The longest stop string, in code points.
pub const MAX_STOP_CHARS: usize = 64;

/// Every sampling parameter, in the order the page shows them.
pub const PARAMETERS: &[ParameterSpec] = &[
    ParameterSpec {
        name: "temperature",
        kind: ParameterKind::Number { min: 0.0, max: 2.0, step: 0.05, whole: false },
        label: ("Temperature", "温度"),
        help: (
            "0 always takes the likeliest token (greedy); higher is more varied.",
            "0 表示每步都取最可能的词元（贪心）；越高越多样。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "top_p",
        kind: ParameterKind::Number { min: 0.0, max: 1.0, step: 0.01, whole: false },
        label: ("Top-p", "Top-p"),
        help: (
            "Samples among the likeliest tokens that together reach this probability; 1 is off. No effect when greedy.",
            "只在累计概率达到该值的最可能词元中采样；1 为关闭。贪心时无效。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "top_k",
        kind: ParameterKind::Number { min: 0.0, max: 1000.0, step: 1.0, whole: true },
        label: ("Top-k", "Top-k"),
        help: (
            "Samples among this many likeliest tokens; 0 is off. No effect when greedy.",
            "只在最可能的若干词元中采样；0 为关闭。贪心时无效。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "min_p",
        kind: ParameterKind::Number { min: 0.0, max: 1.0, step: 0.01, whole: false },
        label: ("Min-p", "Min-p"),
        help: (
            "Leaves out tokens less likely than this share of the likeliest one's probability; 0 is off. No effect when greedy.",
            "排除概率低于“最可能词元概率 × 该值”的词元；0 为关闭。贪心时无效。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "beams",
        kind: ParameterKind::Number { min: 1.0, max: MAX_BEAMS as f64, step: 1.0, whole: true },
        label: ("Beams", "束数"),
        help: (
            "More than 1 follows so many answers side by side and gives the likeliest as a whole: slower, always the same text, no sampling (temperature, top-p, top-k, min-p and seed have no effect).",
            "大于 1 时并行展开若干候选，给出整体概率最高者：较慢，结果固定，不采样（温度、Top-p、Top-k、Min-p 与种子无效）。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "length_penalty",
        kind: ParameterKind::Number { min: -2.0, max: 2.0, step: 0.1, whole: false },
        label: ("Length penalty", "长度惩罚"),
        help: (
            "With beams: an answer's log-probability is divided by its length to this power, so that more than 0 favours long answers, less than 0 short ones. No effect with one beam.",
            "多束搜索时，答案的对数概率除以其长度的该次幂：大于 0 偏向长答案，小于 0 偏向短答案。单束时无效。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "early_stopping",
        kind: ParameterKind::Switch,
        label: ("Early stopping", "提前结束"),
        help: (
            "With beams: ends as soon as so many answers are whole as there are beams, without waiting whether a better one follows. No effect with one beam.",
            "多束搜索时，完整的答案一达到束数就结束，不再等待可能更好的答案。单束时无效。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "max_new_tokens",
        kind: ParameterKind::Number { min: 1.0, max: 4096.0, step: 1.0, whole: true },
        label: ("Max new tokens", "最多新词元"),
        help: ("The answer is cut off after this many tokens.", "回答达到该词元数后截断。"),
        extracts: false,
    },
    ParameterSpec {
        name: "repetition_penalty",
        kind: ParameterKind::Number { min: 0.5, max: 2.0, step: 0.05, whole: false },
        label: ("Repetition penalty", "重复惩罚"),
        help: (
            "Above 1 makes tokens of prompt and answer less likely to come again. Keep 1 for extraction, which copies words from the text.",
            "大于 1 时，提示与回答中出现过的词元更难再次出现。抽取需要照抄原文，请保持 1。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "presence_penalty",
        kind: ParameterKind::Number { min: -2.0, max: 2.0, step: 0.1, whole: false },
        label: ("Presence penalty", "存在惩罚"),
        help: (
            "Taken once from the score of every token that the answer has already; 0 is off. Keep 0 for extraction.",
            "对回答中已出现的词元，一次性减去该分值；0 为关闭。抽取请保持 0。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "frequency_penalty",
        kind: ParameterKind::Number { min: -2.0, max: 2.0, step: 0.1, whole: false },
        label: ("Frequency penalty", "频率惩罚"),
        help: (
            "Taken from a token's score once for each time that the answer has it already; 0 is off. Keep 0 for extraction.",
            "词元在回答中每出现一次，就减去一次该分值；0 为关闭。抽取请保持 0。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "seed",
        kind: ParameterKind::OptionalWhole,
        label: ("Seed", "随机种子"),
        help: (
            "Same seed and same parameters give the same text again. Empty: a new one each run.",
            "相同种子与参数得到相同结果。留空则每次随机。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "stop",
        kind: ParameterKind::Strings,
        label: ("Stop strings", "停止字符串"),
        help: ("The answer ends before the first of these; one a line.", "遇到其中任一字符串即停止；每行一个。"),
        extracts: false,
    },
    ParameterSpec {
        name: "stop_repeats",
        kind: ParameterKind::Switch,
        label: ("Stop loops", "循环即停"),
        help: (
            "Ends an answer that says the same again and again, and keeps it once.",
            "回答不断重复同样的内容时将其结束，重复部分只保留一遍。",
        ),
        extracts: false,
    },
    ParameterSpec {
        name: "guided",
        kind: ParameterKind::Switch,
        label: ("Guided", "引导"),
        help: (
            "Keeps an answer to chosen types in the taught form, with these types and words of the text only. No effect on an instruction of your own.",
            "按所选类型抽取时，回答只能采用所学格式、所列类型和原文词语。对自行编写的指令无效。",
        ),
        extracts: true,
    },
    ParameterSpec {
        name: "samples",
        kind: ParameterKind::Number { min: 0.0, max: MAX_SAMPLES as f64, step: 1.0, whole: true },
        label: ("Samples", "采样次数"),
        help: (
            "Asks every question of an extraction so many more times, by chance: records that the samples do not repeat are to be checked. The records stay those of the first answer. 0 is off.",
            "抽取时，把每个问题再随机询问若干次：这些回答中很少出现的结果标为待核对。结果仍以首个回答为准。0 为关闭。",
        ),
        extracts: true,
    },
];

/// A complete set of sampling parameters. Valid only after [`Parameters::validate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// 0 is greedy.
    pub temperature: f64,
    /// 1 is off.
    pub top_p: f64,
    /// 0 is off.
    pub top_k: u32,
    /// Beams of the search.
    pub beams: u32,
    /// An answer of the search is ranked by its log-probability over its tokens to this power. Runs stored before there
    /// was such a parameter have 1.
    #[serde(default = "one")]
    pub length_penalty: f64,
    /// Whether the search ends with the first answers that are whole.
    #[serde(default)]
    pub early_stopping: bool,
    /// Most tokens of the answer.
    pub max_new_tokens: u32,
    /// 1 is off; over prompt and answer tokens, positive logits divided, negative multiplied.
    pub repetition_penalty: f64,
    /// 0 is off; the least share of the likeliest token's probability. Runs stored before there was such a
    /// parameter have it off, as the two below.
    #[serde(default)]
    pub min_p: f64,
    /// 0 is off; over answer tokens only.
    #[serde(default)]
    pub presence_penalty: f64,
    /// 0 is off; over answer tokens only.
    #[serde(default)]
    pub frequency_penalty: f64,
    /// `None`: drawn when the run is accepted, and recorded with it.
    pub seed: Option<u64>,
    /// The answer ends before the first of these.
    pub stop: Vec<String>,
    /// Whether a loop ends the answer. It did before there was such a parameter.
    #[serde(default = "on")]
    pub stop_repeats: bool,
    /// Of what is asked: guide the answer where its form is known. Of a run: its answer was guided. Runs stored before
    /// there was such a thing were not.
    #[serde(default)]
    pub guided: bool,
    /// 0 is off; how often each question of an extraction is asked again, with sampling.
    #[serde(default, skip_serializing_if = "is_off")]
    pub samples: u32,
}

fn is_off(samples: &u32) -> bool {
    *samples == 0
}

fn one() -> f64 {
    1.0
}

fn on() -> bool {
    true
}

/// Some parameters: what a model entry, a manifest, a case or a caller overrides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParameterPatch {
    /// See [`Parameters::temperature`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// See [`Parameters::top_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// See [`Parameters::top_k`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// See [`Parameters::beams`]; the original system's files call it `num_beams`.
    #[serde(alias = "num_beams", skip_serializing_if = "Option::is_none")]
    pub beams: Option<u32>,
    /// See [`Parameters::length_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length_penalty: Option<f64>,
    /// See [`Parameters::early_stopping`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<bool>,
    /// See [`Parameters::max_new_tokens`]; the original API calls it `max_tokens`.
    #[serde(alias = "max_tokens", skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<u32>,
    /// See [`Parameters::repetition_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
    /// See [`Parameters::min_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// See [`Parameters::presence_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// See [`Parameters::frequency_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// See [`Parameters::seed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// See [`Parameters::stop`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<String>>,
    /// See [`Parameters::stop_repeats`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_repeats: Option<bool>,
    /// See [`Parameters::guided`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guided: Option<bool>,
    /// See [`Parameters::samples`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<u32>,
}

/// A parameter that cannot be used, as a sentence for the person who set it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{parameter}: {message}")]
pub struct ParameterError {
    /// [`ParameterSpec::name`].
    pub parameter: String,
    /// What is wrong and what is allowed.
    pub message: Sentence,
}

impl Parameters {
    /// The published defaults of a mode (one beam; see `docs/parameters.md` for the original's beams).
    pub fn published(mode: Mode) -> Self {
        let (temperature, repetition_penalty) = match mode {
            Mode::Pretrain => (0.3, 1.6),
            Mode::Lora => (0.4, 1.3),
        };
        let guided = mode == Mode::Lora;
        Self { temperature, top_p: 0.75, top_k: 40, repetition_penalty, guided, ..Self::neutral() }
    }

    /// Greedy, with everything that changes the model's own choice off.
    pub fn neutral() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            beams: 1,
            length_penalty: 1.0,
            early_stopping: false,
            max_new_tokens: 512,
            repetition_penalty: 1.0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            stop: Vec::new(),
            stop_repeats: true,
            guided: false,
            samples: 0,
        }
    }

    /// These parameters with a patch laid over them.
    pub fn with(mut self, patch: &ParameterPatch) -> Self {
        macro_rules! lay {
            ($($field:ident),*) => { $( if let Some(value) = &patch.$field { self.$field = value.clone(); } )* };
        }
        lay!(temperature, top_p, top_k, min_p, beams, length_penalty, early_stopping, max_new_tokens);
        lay!(repetition_penalty, presence_penalty, frequency_penalty, stop, stop_repeats, guided, samples);
        if patch.seed.is_some() {
            self.seed = patch.seed;
        }
        self
    }

    /// Checks every parameter against [`PARAMETERS`].
    ///
    /// # Errors
    /// The first parameter out of range, with the range.
    pub fn validate(&self) -> Result<(), ParameterError> {
        for spec in PARAMETERS {
            match spec.kind {
                ParameterKind::Number { min, max, .. } => {
                    let value = self.number(spec.name).unwrap_or(f64::NAN);
                    if !(min..=max).contains(&value) {
                        return Err(ParameterError::range(spec, min, max, &value.to_string()));
                    }
                }
                ParameterKind::OptionalWhole | ParameterKind::Switch => {}
                ParameterKind::Strings => check_stops(spec, &self.stop)?,
            }
        }
        Ok(())
    }

    /// A numeric parameter by name; `None` when there is none of that name.
    pub fn number(&self, name: &str) -> Option<f64> {
        Some(match name {
            "temperature" => self.temperature,
            "top_p" => self.top_p,
            "top_k" => f64::from(self.top_k),
            "beams" => f64::from(self.beams),
            "length_penalty" => self.length_penalty,
            "max_new_tokens" => f64::from(self.max_new_tokens),
            "repetition_penalty" => self.repetition_penalty,
            "min_p" => self.min_p,
            "presence_penalty" => self.presence_penalty,
            "frequency_penalty" => self.frequency_penalty,
            "samples" => f64::from(self.samples),
            _ => return None,
        })
    }

    /// The value of a parameter as it stands in the page's control.
    pub fn text_of(&self, name: &str) -> String {
        match name {
            "seed" => self.seed.map(|s| s.to_string()).unwrap_or_default(),
            "stop" => self.stop.join("\n"),
            "early_stopping" => on_or_off(self.early_stopping),
            "stop_repeats" => on_or_off(self.stop_repeats),
            "guided" => on_or_off(self.guided),
            _ => self.number(name).map(|n| n.to_string()).unwrap_or_default(),
        }
    }

    /// Sets a parameter from the text of the page's control or of a form. An empty text leaves a
    /// number or a switch as it is, and clears `seed` and `stop`.
    ///
    /// # Errors
    /// The text is no number, or out of range.
    pub fn set_text(&mut self, name: &str, text: &str) -> Result<(), ParameterError> {
        let Some(spec) = PARAMETERS.iter().find(|s| s.name == name) else {
            return Err(ParameterError {
                parameter: name.into(),
                message: Sentence::new("there is no such parameter", "没有这个参数"),
            });
        };
        let trimmed = text.trim();
        match spec.kind {
            ParameterKind::Number { min, max, whole, .. } => {
                if trimmed.is_empty() {
                    return Ok(());
                }
                let value: f64 = trimmed.parse().map_err(|_| ParameterError::range(spec, min, max, trimmed))?;
                if !(min..=max).contains(&value) || (whole && value.fract() != 0.0) {
                    return Err(ParameterError::range(spec, min, max, trimmed));
                }
                match name {
                    "temperature" => self.temperature = value,
                    "top_p" => self.top_p = value,
                    "top_k" => self.top_k = value as u32,
                    "beams" => self.beams = value as u32,
                    "max_new_tokens" => self.max_new_tokens = value as u32,
                    "min_p" => self.min_p = value,
                    "length_penalty" => self.length_penalty = value,
                    "presence_penalty" => self.presence_penalty = value,
                    "frequency_penalty" => self.frequency_penalty = value,
                    "samples" => self.samples = value as u32,
                    _ => self.repetition_penalty = value,
                }
            }
            ParameterKind::OptionalWhole => {
                self.seed = if trimmed.is_empty() {
                    None
                } else {
                    Some(trimmed.parse().map_err(|_| ParameterError {
                        parameter: name.into(),
                        message: Sentence::new(
                            format!("must be a whole number from 0 to {}, or empty; it is \"{trimmed}\"", u64::MAX),
                            format!("应为 0 到 {} 之间的整数，或留空；当前为“{trimmed}”", u64::MAX),
                        ),
                    })?)
                };
            }
            ParameterKind::Strings => {
                let stops: Vec<String> =
                    text.lines().map(|l| l.trim_end_matches('\r').to_owned()).filter(|l| !l.is_empty()).collect();
                check_stops(spec, &stops)?;
                self.stop = stops;
            }
            ParameterKind::Switch => {
                let value = match trimmed {
                    "" => return Ok(()),
                    "on" | "true" | "1" => true,
                    "off" | "false" | "0" => false,
                    other => {
                        return Err(ParameterError {
                            parameter: name.into(),
                            message: Sentence::new(
                                format!("must be on or off; it is \"{other}\""),
                                format!("应为 on 或 off；当前为“{other}”"),
                            ),
                        });
                    }
                };
                match name {
                    "early_stopping" => self.early_stopping = value,
                    "stop_repeats" => self.stop_repeats = value,
                    _ => self.guided = value,
                }
            }
        }
        Ok(())
    }
}

fn on_or_off(switch: bool) -> String {
    if switch { "on" } else { "off" }.into()
}

impl ParameterError {
    /// The sentence with the parameter's name for people before it.
    pub fn sentence(&self, language: Language) -> String {
        let label = PARAMETERS.iter().find(|s| s.name == self.parameter).map_or("", |s| s.label_in(language));
        format!("{label}{}{}", language.pick(": ", "："), self.message.in_language(language))
    }

    fn range(spec: &ParameterSpec, min: f64, max: f64, given: &str) -> Self {
        let whole = matches!(spec.kind, ParameterKind::Number { whole: true, .. });
        let (number, kind) = if whole { ("whole number", "整数") } else { ("number", "数") };
        let message = Sentence::new(
            format!("must be a {number} from {min} to {max}; it is {given}"),
            format!("应为 {min} 到 {max} 之间的{kind}；当前为 {given}"),
        );
        Self { parameter: spec.name.into(), message }
    }
}

fn check_stops(spec: &ParameterSpec, stops: &[String]) -> Result<(), ParameterError> {
    let message = if stops.len() > MAX_STOPS {
        Sentence::new(
            format!("at most {MAX_STOPS} strings are allowed; there are {}", stops.len()),
            format!("最多 {MAX_STOPS} 个；当前有 {} 个", stops.len()),
        )
    } else if stops.iter().any(String::is_empty) {
        Sentence::new("an empty string would end every answer at once; remove it", "空字符串会使回答立即结束，请删除")
    } else if stops.iter().any(|s| s.chars().count() > MAX_STOP_CHARS) {
        Sentence::new(
            format!("a string may have at most {MAX_STOP_CHARS} characters"),
            format!("每个最多 {MAX_STOP_CHARS} 个字符"),
        )
    } else {
        return Ok(());
    };
    Err(ParameterError { parameter: spec.name.into(), message })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_of_the_table_can_be_read_and_set_as_text() {
        for spec in PARAMETERS {
            let mut p = Parameters::published(Mode::Lora);
            p.seed = Some(7);
            p.stop = vec!["###".into()];
            (p.min_p, p.presence_penalty, p.frequency_penalty, p.samples) = (0.1, 0.5, -0.5, 4);
            (p.length_penalty, p.early_stopping, p.stop_repeats) = (0.5, true, false);
            let before = p.clone();
            p.set_text(spec.name, &before.text_of(spec.name)).unwrap();
            assert_eq!(p, before, "{}", spec.name);
        }
    }

    #[test]
    fn a_switch_is_on_or_off() {
        let mut p = Parameters::published(Mode::Lora);
        assert!(p.guided && !Parameters::published(Mode::Pretrain).guided);
        p.set_text("guided", " off ").unwrap();
        p.set_text("guided", "").unwrap();
        assert_eq!(p.text_of("guided"), "off");
        assert_eq!(p.set_text("guided", "maybe").unwrap_err().message.en, "must be on or off; it is \"maybe\"");
    }

    #[test]
    fn published_defaults_are_valid_and_patched() {
        for mode in [Mode::Pretrain, Mode::Lora] {
            Parameters::published(mode).validate().unwrap();
        }
        let patch: ParameterPatch =
            serde_json::from_str(r#"{"temperature": 0, "num_beams": 1, "max_tokens": 16}"#).unwrap();
        let p = Parameters::published(Mode::Lora).with(&patch);
        assert_eq!((p.temperature, p.beams, p.max_new_tokens, p.top_k), (0.0, 1, 16, 40));
    }

    #[test]
    fn out_of_range_says_what_is_allowed() {
        let mut p = Parameters::published(Mode::Lora);
        assert_eq!(
            p.set_text("temperature", "7").unwrap_err().to_string(),
            "temperature: must be a number from 0 to 2; it is 7"
        );
        assert_eq!(
            p.set_text("top_k", "1.5").unwrap_err().message.en,
            "must be a whole number from 0 to 1000; it is 1.5"
        );
        assert_eq!(
            p.set_text("temperature", "warm").unwrap_err().message.en,
            "must be a number from 0 to 2; it is warm"
        );
        p.temperature = f64::NAN;
        assert!(p.validate().is_err());
        p.temperature = 0.0;
        p.beams = 9;
        assert_eq!(p.validate().unwrap_err().message.en, "must be a whole number from 1 to 8; it is 9");
    }

    #[test]
    fn stop_strings_are_bounded() {
        let mut p = Parameters::published(Mode::Lora);
        p.set_text("stop", "###\r\n\n<end>").unwrap();
        assert_eq!(p.stop, ["###", "<end>"]);
        assert!(p.set_text("stop", &"x\n".repeat(9)).is_err());
        assert!(p.set_text("stop", &"x".repeat(65)).is_err());
        assert!(p.set_text("seed", "-1").is_err());
    }
}
