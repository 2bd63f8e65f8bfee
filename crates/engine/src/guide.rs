//! Guided decoding: a grammar that an answer must follow, asked before every token.
//!
//! A [`Grammar`] becomes a [`Guide`] when its request is accepted, so that a bad one is refused at once. A guide says
//! which tokens may come next, and follows the answer token by token. It sees bytes, not words: a token may end
//! anywhere, also within a character. Towards the limit of an answer it sees to it that there is [room](room) to close.

mod room;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use llguidance::{
    Matcher, ParserFactory,
    api::TopLevelGrammar,
    earley::SlicedBiasComputer,
    toktrie::{INVALID_TOKEN, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv},
};
use protocol::text::span_pieces;
use serde_json::{Value, json};

use crate::tokenizer::Tokenizer;

pub(crate) use room::REFUSALS;

/// Longer tokens than this, in bytes, are never offered: runs of spaces or dashes that no answer needs.
const LONGEST_PIECE: usize = 256;
/// The longest complaint about a grammar that is passed on, in code points.
const LONGEST_REASON: usize = 300;

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// JSON that fits this schema.
    JsonSchema(Value),
    /// Text that matches this regular expression as a whole.
    Regex(String),
    /// Text that this Lark grammar derives, in the dialect of the library `llguidance`.
    Lark(String),
    /// The same, for a list that is of use as far as it goes: no room is kept to close it before its limit, so that an
    /// answer that is cut off says so.
    Records(String),
    /// Words of a text, one after the other; not spaces alone.
    Span {
        /// The text.
        text: String,
    },
}

impl Grammar {
    fn compiled(&self) -> TopLevelGrammar {
        match self {
            Self::JsonSchema(schema) => TopLevelGrammar::from_json_schema(as_people_write(schema.clone())),
            Self::Regex(expression) => TopLevelGrammar::from_regex(expression),
            Self::Lark(grammar) | Self::Records(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
            Self::Span { text } => {
                let pieces = json!({ "substring_chunks": span_pieces(text) });
                TopLevelGrammar::from_lark(format!(
                    "start: SPAN\nSPAN: WORDS & /(?s:.*)\\S(?s:.*)/\nWORDS: %regex {pieces}"
                ))
            }
        }
    }
}

/// One space after commas and colons and none elsewhere, unless the schema has a setting of its own: a small model
/// that may write any space sooner or later writes nothing else.
fn as_people_write(mut schema: Value) -> Value {
    if let Value::Object(fields) = &mut schema {
        fields
            .entry("x-guidance")
            .or_insert_with(|| json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " }));
    }
    schema
}

/// Makes guides for one tokenizer.
pub(crate) struct Guides {
    tokenizer: Arc<Tokenizer>,
    /// Made when the first grammar comes: it takes a moment, and memory, that others need not spend.
    factory: OnceLock<Result<ParserFactory, String>>,
}

impl Guides {
    pub(crate) fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, factory: OnceLock::new() }
    }

    /// A guide at the beginning of an answer; `end` may end it beside the model's own end tokens.
    pub(crate) fn compile(&self, grammar: &Grammar, end: Option<u32>) -> Result<Guide, String> {
        let factory = self.factory.get_or_init(|| factory(&self.tokenizer)).as_ref().map_err(Clone::clone)?;
        let matcher = Matcher::new(factory.create_parser(grammar.compiled()));
        if let Some(error) = matcher.get_error() {
            return Err(reason(&error));
        }
        let ends = self.tokenizer.ends().iter().copied().chain(end).collect();
        let closes = !matches!(grammar, Grammar::Records(_));
        Ok(Guide { matcher, ends, spent: Duration::ZERO, closes, end: room::End::default(), next_ends: vec![] })
    }
}

fn factory(tokenizer: &Arc<Tokenizer>) -> Result<ParserFactory, String> {
    let env: TokEnv = Arc::new(Vocabulary::new(Arc::clone(tokenizer)));
    let slices = SlicedBiasComputer::general_slices();
    let mut factory =
        ParserFactory::new(&env, InferenceCapabilities::default(), &slices).map_err(|e| reason(&e.to_string()))?;
    factory.quiet().limits_mut().verbose_errors = false;
    Ok(factory)
}

/// The first line of the library's complaint: its notes for its own developers follow.
fn reason(error: &str) -> String {
    let error = error.trim().lines().next().unwrap_or("it is empty").trim().trim_end_matches(['.', ':']);
    let mut chars = error.chars();
    let mut reason: String = chars.by_ref().take(LONGEST_REASON).collect();
    if chars.next().is_some() {
        reason.push('…');
    }
    reason
}

/// A tokenizer as the library wants to see it.
struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
    /// Whether the tokens of a text's part stand for exactly its bytes; some tokenizers put a space before.
    exact: bool,
}

impl Vocabulary {
    fn new(tokenizer: Arc<Tokenizer>) -> Self {
        // No text has the byte 255; the library marks control tokens with it.
        let offered = |piece: &[u8]| piece.len() <= LONGEST_PIECE && piece.first() != Some(&0xff);
        let bytes = |piece: &[u8]| if offered(piece) { piece.to_vec() } else { vec![] };
        let pieces: Vec<Vec<u8>> = tokenizer.pieces().iter().map(|piece| bytes(piece)).collect();
        // A configuration may name tokens that are none.
        let ends: Vec<u32> = tokenizer.ends().iter().copied().filter(|end| (*end as usize) < pieces.len()).collect();
        let info = TokRxInfo::new(pieces.len() as u32, ends.first().copied().unwrap_or(INVALID_TOKEN));
        let trie = TokTrie::from(&info, &pieces);
        let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(&ends) };
        let mut vocabulary = Self { tokenizer, trie, exact: true };
        vocabulary.exact = ["a b", "son) (", "机构)(", "\": "].iter().all(|text| vocabulary.encode(text).is_some());
        vocabulary
    }

    fn encode(&self, text: &str) -> Option<Vec<u32>> {
        let tokens = self.tokenizer.encode(text).ok()?;
        let bytes = tokens.iter().flat_map(|token| self.trie.token(*token));
        bytes.eq(text.as_bytes()).then_some(tokens)
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let encode = |text: &str| self.encode(text).unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()));
        self.trie.tokenize_with_greedy_fallback(bytes, encode)
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.exact
    }
}

/// Follows one answer through its grammar. A clone follows another answer that began alike.
#[derive(Clone)]
pub(crate) struct Guide {
    matcher: Matcher,
    /// Tokens that end the answer.
    ends: Vec<u32>,
    spent: Duration,
    /// Whether room is kept to close the answer.
    closes: bool,
    /// Where the answer could end soonest, once its limit is near; and after which next tokens.
    end: room::End,
    next_ends: Vec<(u32, Vec<u32>)>,
}

impl Guide {
    /// Makes the scores of tokens that may not come next minus infinity. Tokens that end the answer may come exactly
    /// when the grammar may end.
    ///
    /// # Errors
    /// The grammar has become too ambiguous to follow.
    pub(crate) fn mask(&mut self, scores: &mut [f32]) -> Result<(), String> {
        let start = Instant::now();
        let allowed = self.matcher.compute_mask_or_eos().map_err(|e| reason(&e.to_string()))?;
        let may_end = self.matcher.is_stopped() || self.matcher.is_accepting().map_err(|e| reason(&e.to_string()))?;
        let kept: Vec<(usize, f32)> = self
            .ends
            .iter()
            .filter_map(|end| {
                let score = *scores.get(*end as usize)?;
                Some((*end as usize, if may_end { score } else { f32::NEG_INFINITY }))
            })
            .collect();
        forbid(&allowed, scores);
        for (end, score) in kept {
            scores[end] = score;
        }
        self.spent += start.elapsed();
        Ok(())
    }

    /// Follows the answer by a token that the last mask allowed.
    ///
    /// # Errors
    /// The token does not fit.
    pub(crate) fn push(&mut self, token: u32) -> Result<(), String> {
        if self.ends.contains(&token) || self.matcher.is_stopped() {
            return Ok(());
        }
        let start = Instant::now();
        let pushed = self.matcher.consume_token(token).map_err(|e| reason(&e.to_string()));
        self.follow_end(token);
        self.spent += start.elapsed();
        pushed
    }

    /// The tokens that must come next, as the tokenizer writes them; none where there is a choice. The mask allows
    /// exactly these, one after the other, so that using them changes no answer. Never of [`Grammar::Records`], whose
    /// grammars switch it off: they are not asked, token by token, for nothing.
    pub(crate) fn forced(&mut self) -> Vec<u32> {
        if !self.closes || self.matcher.is_stopped() {
            return vec![];
        }
        let start = Instant::now();
        let tokens = self.matcher.compute_ff_tokens();
        self.spent += start.elapsed();
        tokens
    }

    /// Whether nothing but the end can come.
    pub(crate) fn ended(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Whether it keeps room to close the answer.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// Time spent so far.
    pub(crate) fn spent(&self) -> Duration {
        self.spent
    }

    /// The same, which is then counted from zero: clones do not tell it again.
    pub(crate) fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }
}

/// Makes the scores of all tokens outside a set minus infinity.
fn forbid(allowed: &SimpleVob, scores: &mut [f32]) {
    let words = allowed.as_slice();
    for (word, scores) in words.iter().zip(scores.chunks_mut(32)) {
        match *word {
            0 => scores.fill(f32::NEG_INFINITY),
            u32::MAX => {}
            word => {
                for (bit, score) in scores.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
    // A model may have more scores than its tokenizer has tokens.
    if let Some(rest) = scores.get_mut(allowed.len().max(words.len() * 32)..) {
        rest.fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests;
