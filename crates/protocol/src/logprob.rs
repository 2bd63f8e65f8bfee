//! How sure a model was of what it said.

use serde::{Deserialize, Serialize};

/// A token of an answer, with the natural logarithm of its probability.
///
/// The probability is the model's own, before penalties, temperature or a guide change it; so it can be compared
/// between runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token.
    #[serde(flatten)]
    pub chosen: Alternative,
    /// The likeliest tokens in its place, likeliest first; it may be one of them.
    pub top: Vec<Alternative>,
}

/// A token that could stand in a place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Its number in the vocabulary.
    pub id: u32,
    /// Its text; `�` where its bytes are a part of a character only.
    pub token: String,
    /// Its bytes. Those of all tokens, one after the other, begin with the answer's text.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}
