//! What is asked for: an operation, and the fields of its form.

use serde::{Deserialize, Serialize};

use crate::text::Sentence;

/// What can be done to model files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Another form: a folder of Hugging Face's or PyTorch's files, or a GGUF file.
    #[default]
    Convert,
    /// Eight to four bits a number.
    Quantize,
    /// A base and adapters as one model.
    Merge,
    /// A tuned model out of the original and a difference.
    Recover,
    /// What tuning changed.
    Diff,
    /// Whether files are whole and the ones they are meant to be.
    Verify,
    /// What a file or folder holds.
    Inspect,
    /// From a hub.
    Download,
    /// How well a model foretells a text.
    Perplexity,
    /// The whole road: original weights, difference and adapter to a folder that can be served.
    Setup,
}

impl Operation {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 10] = [
        Self::Convert,
        Self::Quantize,
        Self::Merge,
        Self::Recover,
        Self::Diff,
        Self::Inspect,
        Self::Verify,
        Self::Perplexity,
        Self::Download,
        Self::Setup,
    ];

    /// The name in addresses, which is that of the command too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Convert => "convert",
            Self::Quantize => "quantize",
            Self::Merge => "merge",
            Self::Recover => "recover",
            Self::Diff => "diff",
            Self::Verify => "verify",
            Self::Inspect => "inspect",
            Self::Download => "download",
            Self::Perplexity => "perplexity",
            Self::Setup => "setup",
        }
    }

    /// The inverse of [`Operation::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// Whether it writes a model.
    pub fn writes(self) -> bool {
        matches!(self, Self::Convert | Self::Quantize | Self::Merge | Self::Recover | Self::Diff | Self::Setup)
    }
}

/// Makes the request of the fields' names: the fields, and what leads from a name to its field.
macro_rules! request {
    ($($(#[doc = $about:literal])+ $name:ident,)+) => {
        /// What a person entered, word for word: the fields of the page's form. Those that an operation does not have are
        /// empty.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct JobRequest {
            /// What to do.
            pub operation: Operation,
            $($(#[doc = $about])+ pub $name: String,)+
        }

        impl JobRequest {
            /// The fields' names, in the form and in addresses.
            pub const FIELDS: [&str; [$(stringify!($name)),+].len()] = [$(stringify!($name)),+];

            /// A field by its name; nothing for a name that is none.
            pub fn field(&self, name: &str) -> &str {
                match name {
                    $(stringify!($name) => &self.$name,)+
                    _ => "",
                }
            }

            /// Sets a field by its name; a name that is none is passed over.
            pub fn set(&mut self, name: &str, value: impl Into<String>) {
                match name {
                    $(stringify!($name) => self.$name = value.into(),)+
                    _ => {}
                }
            }
        }
    };
}

request! {
    /// The model; of `recover`, `diff` and `setup` the one that was tuned, of `merge` the base, of `download` what to
    /// fetch.
    input,
    /// Of `recover` and `setup` the difference, of `diff` the tuned model, of `verify` a list of checksums.
    other,
    /// Of `merge`: an adapter in each line, `NAME` or `NAME=WEIGHT`; of `setup`: the one adapter, or nothing.
    adapters,
    /// The form of the result: `hf`, `pytorch` or `gguf`; of `quantize` also `gptq`.
    to,
    /// What numbers are stored as; empty for as they are.
    dtype,
    /// The name of the result; empty for one made of the model's.
    out,
    /// Of `quantize`: `on` to measure no perplexity.
    quick,
    /// Of `verify`: the published model whose checksums are meant.
    known,
    /// Of `download`: `base` or `adapter` for that part alone.
    part,
    /// Of `download` and `setup`: another hub.
    mirror,
    /// The longest file of a folder, such as `5GB`.
    shard,
    /// Of `quantize`: `on` to round with a calibration text.
    gptq,
    /// Of `quantize` with that: the file of the text; empty for the one that is built in.
    calibration,
    /// Of `quantize` and `perplexity`: the file of the text that is scored; empty for the one that is built in.
    text,
    /// Of `setup`: `on` to merge the adapter into the base.
    merged,
    /// Of `download`: patterns of the names that are fetched; any of use without them.
    include,
    /// Of `download`: patterns of the names that are not fetched.
    exclude,
    /// Of `download`: branch, tag or commit.
    revision,
}

impl JobRequest {
    /// One that asks for an operation and nothing else yet.
    pub fn new(operation: Operation) -> Self {
        Self { operation, ..Self::default() }
    }
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedJob {
    /// The field, as in [`JobRequest::FIELDS`].
    pub field: String,
    /// What is wrong with it, and what to do.
    pub sentence: Sentence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_set_and_read_by_its_name() {
        let mut request = JobRequest::new(Operation::Merge);
        for name in JobRequest::FIELDS {
            request.set(name, name);
        }
        assert!(JobRequest::FIELDS.iter().all(|name| request.field(name) == *name), "{request:?}");
        request.set("nothing", "x");
        assert_eq!(request.field("nothing"), "");
        assert_eq!(request.operation, Operation::Merge);
    }

    #[test]
    fn names_lead_back_to_what_they_name() {
        assert!(Operation::ALL.iter().all(|o| Operation::from_name(o.name()) == Some(*o)));
        assert_eq!(Operation::from_name("nothing"), None);
    }
}
