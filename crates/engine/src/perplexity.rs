//! How well a model foretells a text: its perplexity.
//!
//! Counted as llama.cpp counts it, so that the numbers can be compared: the text's tokens are cut into chunks of 512;
//! in each, the tokens of the second half are scored with what precedes them in the chunk; and where the model's
//! prompts begin with its begin token, that takes the place of each chunk's first.

use std::path::PathBuf;

use crate::{
    EngineError, LoadAs,
    backend::{Backend, Segment},
    cpu::{CpuModel, Isa},
    tokenizer::Tokenizer,
    weights::Source,
};

/// Tokens of a chunk, unless the text is shorter.
pub const CHUNK: usize = 512;
/// Fewer tokens than this say nothing about a model.
const LEAST: usize = 32;

/// What to score, with what.
#[derive(Clone, Debug)]
pub struct PerplexityOptions {
    /// The model: a GGUF file or a Hugging Face folder.
    pub model: PathBuf,
    /// What unquantized weights are rounded to.
    pub load_as: LoadAs,
    /// Threads that compute; one for each core when not stated.
    pub threads: Option<usize>,
    /// Scores no more than so many chunks.
    pub chunks: Option<usize>,
}

/// How well a text was foretold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// The perplexity: between how many equally likely tokens the model hesitated, on average.
    pub value: f64,
    /// One standard error of it.
    pub error: f64,
    /// Tokens of the text.
    pub tokens: usize,
    /// Tokens that were scored.
    pub scored: usize,
    /// Chunks that were scored.
    pub chunks: usize,
    /// Tokens of a chunk.
    pub chunk_tokens: usize,
}

/// Computes the perplexity of a text. `progress` is told the chunks done, their number, and the value so far.
///
/// # Errors
/// The model cannot be loaded or gives no numbers, or the text is too short to say anything.
pub fn perplexity(
    options: &PerplexityOptions,
    text: &str,
    mut progress: impl FnMut(usize, usize, f64),
) -> Result<Perplexity, EngineError> {
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = options.threads.unwrap_or_else(cores).max(1);
    let source = Source::open(&options.model)?;
    let mut config = source.config()?;
    config.rounded_to = options.load_as.format();
    let (vocabulary, context) = (config.vocabulary, config.context);
    let tokenizer = match &source {
        Source::Gguf(file) => Tokenizer::from_gguf(file)?,
        Source::HuggingFace(folder) => Tokenizer::from_huggingface(folder, vocabulary)?,
    };
    let wrong = |reason: String| EngineError::Model { path: options.model.clone(), reason };
    let mut tokens = tokenizer.prompt(text, None).map_err(wrong)?;
    let length = CHUNK.min(tokens.len()).min(context);
    if length < LEAST {
        return Err(wrong(format!("a text of {} tokens is too short for a perplexity", tokens.len())));
    }
    if let Some(bad) = tokens.iter().find(|token| **token as usize >= vocabulary) {
        return Err(wrong(format!("its tokenizer gives the token {bad}, its weights have {vocabulary}")));
    }
    // A begin token stands before the whole text already where it belongs before each chunk.
    let begin = tokenizer.begins_with(&tokens);
    let chunks = (tokens.len() / length).min(options.chunks.unwrap_or(usize::MAX).max(1));
    let all = tokens.len();
    let mut model = CpuModel::load(source, config, &[], threads, Isa::choose()?, &|_, _| {})?;
    let mut scores = Vec::new();
    let mut tally = Tally::default();
    for (at, chunk) in tokens.chunks_exact_mut(length).take(chunks).enumerate() {
        if let (Some(begin), Some(first)) = (begin, chunk.first_mut()) {
            *first = begin;
        }
        let scored = length - length / 2;
        let mut cache = model.cache();
        let segment = Segment { tokens: chunk, cache: &mut cache, adapter: None, scores: scored };
        model.forward(&mut [segment], &mut scores).map_err(EngineError::Device)?;
        if !scores.iter().all(|score| score.is_finite()) {
            return Err(EngineError::Model {
                path: options.model.clone(),
                reason: "it gives scores that are no numbers: its weights are damaged".into(),
            });
        }
        // What follows the last token of a chunk is in the next.
        let next = chunk.iter().skip(length / 2 + 1);
        for (row, token) in scores.chunks_exact(vocabulary).zip(next) {
            tally.add(surprise(row, *token as usize));
        }
        progress(at + 1, chunks, tally.value());
    }
    Ok(Perplexity {
        value: tally.value(),
        error: tally.error(),
        tokens: all,
        scored: tally.count,
        chunks,
        chunk_tokens: length,
    })
}

/// The negative logarithm of a token's probability.
fn surprise(scores: &[f32], token: usize) -> f64 {
    let most = scores.iter().fold(f32::NEG_INFINITY, |most, x| most.max(*x));
    let sum: f64 = scores.iter().map(|x| f64::from((x - most).exp())).sum();
    sum.ln() - f64::from(scores.get(token).copied().unwrap_or(f32::NEG_INFINITY) - most)
}

/// Adds up surprises and their squares.
#[derive(Default)]
struct Tally {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Tally {
    fn add(&mut self, surprise: f64) {
        self.count += 1;
        self.sum += surprise;
        self.squares += surprise * surprise;
    }

    fn value(&self) -> f64 {
        (self.sum / self.count.max(1) as f64).exp()
    }

    fn error(&self) -> f64 {
        let n = self.count.max(2) as f64;
        let variance = self.squares / n - (self.sum / n).powi(2);
        (variance.max(0.0) / (n - 1.0)).sqrt() * self.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_knows_nothing_hesitates_between_all_tokens() {
        let mut tally = Tally::default();
        for token in 0..10 {
            tally.add(surprise(&[3.0; 50], token));
        }
        assert!((tally.value() - 50.0).abs() < 1e-6);
        assert!(tally.error() < 1e-3);
    }

    #[test]
    fn a_certain_model_is_not_surprised() {
        assert!(surprise(&[0.0, 100.0, 0.0], 1) < 1e-9);
        assert!((surprise(&[0.0, 100.0, 0.0], 0) - 100.0).abs() < 1e-6);
        // Scores far beyond what an exponential bears.
        assert!((surprise(&[1e4, 1e4], 0) - 2f64.ln()).abs() < 1e-6);
    }
}
