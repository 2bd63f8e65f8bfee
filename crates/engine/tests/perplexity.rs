//! Perplexity, as llama.cpp counts it.
//!
//! This test needs the default model's file. Where it is missing it says so and passes; `make model` fetches it.
#![allow(clippy::unwrap_used, missing_docs)]

use checkpoint::find::find_model;
use engine::{LoadAs, PerplexityOptions, perplexity};

const EXCERPT: &str = include_str!("../../../assets/texts/excerpt.txt");
/// What llama-perplexity says of the same file and text, after each chunk.
const REFERENCE: [f64; 3] = [30.1465, 27.7896, 21.1439];

#[test]
fn the_number_is_that_of_llama_perplexity() {
    let model = match find_model(None, None) {
        Ok(model) => model,
        Err(error) => return println!("skipped: {error}"),
    };
    let options = PerplexityOptions { model, load_as: LoadAs::Stored, threads: None, chunks: None };
    let mut so_far = vec![];
    let found = perplexity(&options, EXCERPT, |_, _, value| so_far.push(value)).unwrap();
    println!("{found:?} {so_far:?}");
    assert_eq!((found.chunks, found.chunk_tokens, found.scored), (3, 512, 3 * 255));
    for (ours, theirs) in so_far.iter().zip(REFERENCE) {
        assert!((ours / theirs - 1.0).abs() < 0.01, "{ours} {theirs}");
    }
    assert!((found.value - so_far[2]).abs() < 1e-9 && (1.0..3.0).contains(&found.error));

    let short = perplexity(&options, "Too short.", |_, _, _| {}).unwrap_err().to_string();
    assert!(short.contains("too short for a perplexity"), "{short}");
}
