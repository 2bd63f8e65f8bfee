//! How sure a model was of what it said.

use serde::{Deserialize, Serialize};

/// Tokens that are likelier than this are no [`Hesitation`]s.
const CERTAIN: f32 = 0.9;
/// The least logarithm that is told apart: nothing that was said is less likely.
const LEAST: f32 = -30.0;

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

/// A place of an answer at which its model was not certain how to go on.
///
/// Of a whole answer only these are kept: they are few, and say what all of its probabilities would.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(usize, f32)", into = "(usize, f32)")]
pub struct Hesitation {
    /// Where the token begins in the answer, in Unicode code points.
    pub at: usize,
    /// Natural logarithm of its probability, to two decimals.
    pub logprob: f32,
}

impl From<(usize, f32)> for Hesitation {
    fn from((at, logprob): (usize, f32)) -> Self {
        Self { at, logprob }
    }
}

impl From<Hesitation> for (usize, f32) {
    fn from(hesitation: Hesitation) -> Self {
        (hesitation.at, hesitation.logprob)
    }
}

impl Hesitation {
    /// Where a model hesitated over `text`, of the log-probabilities of its tokens.
    pub fn of(text: &str, tokens: &[TokenLogprob]) -> Vec<Self> {
        let mut hesitations = Vec::new();
        // Bytes said before the token; of the text those that are counted, and the code points they are.
        let (mut said, mut counted, mut at) = (0, 0, 0);
        for token in tokens {
            // A token may be a part of a character: it stands where that begins.
            let mut begins = text.len().min(said);
            while !text.is_char_boundary(begins) {
                begins -= 1;
            }
            at += text.get(counted..begins).map_or(0, |passed| passed.chars().count());
            (counted, said) = (begins, said + token.chosen.bytes.len());
            let logprob = token.chosen.logprob;
            if logprob < CERTAIN.ln() {
                hesitations.push(Self { at, logprob: (logprob.max(LEAST) * 100.0).round() / 100.0 });
            }
        }
        hesitations
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hesitations_stand_where_their_tokens_begin_in_code_points() {
        let token = |bytes: &[u8], logprob| {
            let token = String::from_utf8_lossy(bytes).into_owned();
            TokenLogprob { chosen: Alternative { id: 0, token, bytes: bytes.to_vec(), logprob }, top: vec![] }
        };
        let half = 0.5_f32.ln();
        let said = [
            token("（阳".as_bytes(), -0.01),
            token(&"光".as_bytes()[..1], half),
            token(&"光".as_bytes()[1..], -0.2),
            token("城".as_bytes(), -0.1),
            token("）".as_bytes(), f32::NEG_INFINITY),
        ];
        let found = Hesitation::of("（阳光城）", &said);
        let expected = [(2, -0.69), (2, -0.2), (4, -30.0)].map(Hesitation::from);
        assert_eq!(found, expected);
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(json, "[[2,-0.69],[2,-0.2],[4,-30.0]]");
        assert_eq!(serde_json::from_str::<Vec<Hesitation>>(&json).unwrap(), found);
    }
}
