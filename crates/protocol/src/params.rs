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

/// The most beams this version searches with.
pub const MAX_BEAMS: u32 = 1;
/// The most strings that can end an answer.
pub const MAX_STOPS: usize = 8;
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
    },
    ParameterSpec {
        name: "top_p",
        kind: ParameterKind::Number { min: 0.0, max: 1.0, step: 0.01, whole: false },
        label: ("Top-p", "Top-p"),
        help: (
            "Samples among the likeliest tokens that together reach this probability; 1 is off. No effect when greedy.",
            "只在累计概率达到该值的最可能词元中采样；1 为关闭。贪心时无效。",
        ),
    },
    ParameterSpec {
        name: "top_k",
        kind: ParameterKind::Number { min: 0.0, max: 1000.0, step: 1.0, whole: true },
        label: ("Top-k", "Top-k"),
        help: (
            "Samples among this many likeliest tokens; 0 is off. No effect when greedy.",
            "只在最可能的若干词元中采样；0 为关闭。贪心时无效。",
        ),
    },
    ParameterSpec {
        name: "beams",
        kind: ParameterKind::Number { min: 1.0, max: MAX_BEAMS as f64, step: 1.0, whole: true },
        label: ("Beams", "束数"),
        help: ("This version searches with one beam only.", "当前版本只支持单束。"),
    },
    ParameterSpec {
        name: "max_new_tokens",
        kind: ParameterKind::Number { min: 1.0, max: 4096.0, step: 1.0, whole: true },
        label: ("Max new tokens", "最多新词元"),
        help: ("The answer is cut off after this many tokens.", "回答达到该词元数后截断。"),
    },
    ParameterSpec {
        name: "repetition_penalty",
        kind: ParameterKind::Number { min: 0.5, max: 2.0, step: 0.05, whole: false },
        label: ("Repetition penalty", "重复惩罚"),
        help: (
            "Above 1 makes tokens of prompt and answer less likely to come again. Keep 1 for extraction, which copies words from the text.",
            "大于 1 时，提示与回答中出现过的词元更难再次出现。抽取需要照抄原文，请保持 1。",
        ),
    },
    ParameterSpec {
        name: "seed",
        kind: ParameterKind::OptionalWhole,
        label: ("Seed", "随机种子"),
        help: (
            "Same seed and same parameters give the same text again. Empty: a new one each run.",
            "相同种子与参数得到相同结果。留空则每次随机。",
        ),
    },
    ParameterSpec {
        name: "stop",
        kind: ParameterKind::Strings,
        label: ("Stop strings", "停止字符串"),
        help: ("The answer ends before the first of these; one a line.", "遇到其中任一字符串即停止；每行一个。"),
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
    /// Most tokens of the answer.
    pub max_new_tokens: u32,
    /// 1 is off; over prompt and answer tokens, positive logits divided, negative multiplied.
    pub repetition_penalty: f64,
    /// `None`: drawn when the run is accepted, and recorded with it.
    pub seed: Option<u64>,
    /// The answer ends before the first of these.
    pub stop: Vec<String>,
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
    /// See [`Parameters::max_new_tokens`]; the original API calls it `max_tokens`.
    #[serde(alias = "max_tokens", skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<u32>,
    /// See [`Parameters::repetition_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
    /// See [`Parameters::seed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// See [`Parameters::stop`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<String>>,
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
        Self {
            temperature,
            top_p: 0.75,
            top_k: 40,
            beams: 1,
            max_new_tokens: 512,
            repetition_penalty,
            seed: None,
            stop: Vec::new(),
        }
    }

    /// These parameters with a patch laid over them.
    pub fn with(mut self, patch: &ParameterPatch) -> Self {
        macro_rules! lay {
            ($($field:ident),*) => { $( if let Some(value) = &patch.$field { self.$field = value.clone(); } )* };
        }
        lay!(temperature, top_p, top_k, beams, max_new_tokens, repetition_penalty, stop);
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
                ParameterKind::OptionalWhole => {}
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
            "max_new_tokens" => f64::from(self.max_new_tokens),
            "repetition_penalty" => self.repetition_penalty,
            _ => return None,
        })
    }

    /// The value of a parameter as it stands in the page's control.
    pub fn text_of(&self, name: &str) -> String {
        match name {
            "seed" => self.seed.map(|s| s.to_string()).unwrap_or_default(),
            "stop" => self.stop.join("\n"),
            _ => self.number(name).map(|n| n.to_string()).unwrap_or_default(),
        }
    }

    /// Sets a parameter from the text of the page's control or of a form. An empty text leaves a
    /// number as it is, and clears `seed` and `stop`.
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
        }
        Ok(())
    }
}

impl ParameterError {
    /// The sentence with the parameter's name for people before it.
    pub fn sentence(&self, language: Language) -> String {
        let label = PARAMETERS.iter().find(|s| s.name == self.parameter).map_or("", |s| s.label_in(language));
        format!("{label}{}{}", language.pick(": ", "："), self.message.in_language(language))
    }

    fn range(spec: &ParameterSpec, min: f64, max: f64, given: &str) -> Self {
        let whole = matches!(spec.kind, ParameterKind::Number { whole: true, .. });
        let message = if min == max {
            Sentence::new(
                format!("must be {min} in this version; it is {given}"),
                format!("当前版本只能为 {min}；当前为 {given}"),
            )
        } else {
            let (number, kind) = if whole { ("whole number", "整数") } else { ("number", "数") };
            Sentence::new(
                format!("must be a {number} from {min} to {max}; it is {given}"),
                format!("应为 {min} 到 {max} 之间的{kind}；当前为 {given}"),
            )
        };
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
            let before = p.clone();
            p.set_text(spec.name, &before.text_of(spec.name)).unwrap();
            assert_eq!(p, before, "{}", spec.name);
        }
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
        p.beams = 4;
        assert_eq!(p.validate().unwrap_err().message.en, "must be 1 in this version; it is 4");
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
