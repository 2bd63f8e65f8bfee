//! Files of cases: prompts or instructions with the settings they are run with.
//!
//! A file is one group, `{"defaults": {…}, "cases": [{…}]}`, or several by name, `{"mine": {"defaults": …}, …}`.

use std::collections::BTreeMap;

use protocol::{Mode, ParameterPatch};
use serde::{Deserialize, Serialize};

/// Groups of cases by name.
pub type CaseFile = BTreeMap<String, CaseGroup>;

/// Cases with common settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseGroup {
    /// Settings of every case, over those of its mode.
    #[serde(default)]
    pub defaults: ParameterPatch,
    /// The cases.
    pub cases: Vec<Case>,
}

/// A prompt, or an instruction with an optional input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Pretrain mode: the raw prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// LoRA mode: the instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// LoRA mode: its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Settings of this case.
    #[serde(default)]
    pub parameters: ParameterPatch,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How it ended where it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_mark: Option<String>,
}

impl Case {
    /// The mode it is run in and its exact prompt; `None` when it has neither prompt nor instruction.
    pub fn prompt(&self) -> Option<(Mode, String)> {
        match (&self.prompt, &self.instruction) {
            (Some(prompt), _) => Some((Mode::Pretrain, prompt.clone())),
            (None, Some(instruction)) => {
                Some((Mode::Lora, extract::prompt::alpaca(instruction, self.input.as_deref())))
            }
            (None, None) => None,
        }
    }
}

/// Reads a file of cases.
///
/// # Errors
/// A sentence that says where it is not of the form.
pub fn read(json: &str) -> Result<CaseFile, String> {
    let value: serde_json::Value = serde_json::from_str(json).map_err(|e| format!("is no JSON: {e}"))?;
    let read = if value.get("cases").is_some() {
        serde_json::from_value(value).map(|group| CaseFile::from([("cases".to_owned(), group)]))
    } else {
        serde_json::from_value(value)
    };
    let file: CaseFile =
        read.map_err(|e| format!("is not of the form {{\"defaults\": {{…}}, \"cases\": [{{…}}]}}: {e}"))?;
    for (number, case) in file.values().flat_map(|group| &group.cases).enumerate() {
        if case.prompt().is_none() {
            return Err(format!("case {} has neither \"prompt\" nor \"instruction\"", number + 1));
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_one_group_or_several() {
        let one = read(r#"{"defaults": {"num_beams": 3}, "cases": [{"prompt": "Once"}]}"#).unwrap();
        assert_eq!(one["cases"].defaults.beams, Some(3));
        let two = read(r#"{"a": {"cases": [{"instruction": "Find", "input": "Ada"}]}, "b": {"cases": []}}"#).unwrap();
        let (mode, prompt) = two["a"].cases[0].prompt().unwrap();
        assert_eq!((mode, prompt), (Mode::Lora, extract::prompt::alpaca("Find", Some("Ada"))));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        assert!(read("nonsense").unwrap_err().starts_with("is no JSON"));
        assert!(read(r#"{"cases": [{"input": "Ada"}]}"#).unwrap_err().contains("case 1 has neither"));
        assert!(
            read(r#"{"cases": [{"prompt": "a", "parameters": {"temprature": 1}}]}"#)
                .unwrap_err()
                .contains("temprature")
        );
    }
}
