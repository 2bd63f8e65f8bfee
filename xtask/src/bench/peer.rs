//! llama.cpp's own measurements, of what `knowlm bench` measures.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{json, server};
use crate::process::{on_path, output, program};

/// The program, sought on the PATH.
pub const BENCH: &str = "llama-bench";
const BATCHED: &str = "llama-batched-bench";
/// Prompt and new tokens of `decode` and of `prefill_512`.
pub const DECODE: [&str; 2] = ["0", "128"];
pub const PREFILL: [&str; 2] = ["512", "0"];
/// Runs, prompt and new tokens of `decode_16`.
const TOGETHER: [&str; 3] = ["16", "8", "64"];

/// Tokens per second of one run.
///
/// # Errors
/// The program fails, or prints something else than it used to.
pub fn alone(bench: &Path, file: &Path, threads: usize, [prompt, new]: [&str; 2]) -> Result<f64> {
    let mut command = program(bench);
    command.arg("-m").arg(file).args(["-t", &threads.to_string(), "-p", prompt, "-n", new, "-r", "1", "-o", "json"]);
    json(&mut command)?[0]["avg_ts"].as_f64().with_context(|| format!("{BENCH} gave no speed"))
}

/// All measurements that its programs on the PATH can make.
///
/// # Errors
/// One of them fails.
pub fn all(file: &Path, threads: usize) -> Result<Vec<(String, f64)>> {
    let bench = Path::new(BENCH);
    let mut results = vec![
        ("decode".to_owned(), alone(bench, file, threads, DECODE)?),
        ("prefill_512".to_owned(), alone(bench, file, threads, PREFILL)?),
    ];
    if on_path(BATCHED) {
        results.push(("decode_16".to_owned(), together(file, threads)?));
    }
    if on_path(server::SERVER) {
        results.push(("extract_64".to_owned(), server::extract_64(file, &threads.to_string())?));
    }
    Ok(results)
}

fn together(file: &Path, threads: usize) -> Result<f64> {
    let [runs, prompt, new] = TOGETHER;
    let mut command = program(BATCHED);
    command.arg("-m").arg(file).args(["-t", &threads.to_string(), "-c", "4096", "--output-format", "jsonl"]);
    command.args(["-npl", runs, "-npp", prompt, "-ntg", new]);
    let text = output(&mut command).with_context(|| format!("{BATCHED} failed"))?;
    let line = text.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
    line.and_then(|line| line["speed_tg"].as_f64()).with_context(|| format!("{BATCHED} gave no speed"))
}
