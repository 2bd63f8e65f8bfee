//! `make bench`: this machine's speed, and beside it llama.cpp's on the same file where its programs are on the PATH.

use std::{path::Path, thread};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    bench_server, e2e, model,
    process::{on_path, output, program, run},
};

/// Measurements of each program; they take turns, so that a machine whose speed drifts drifts for both.
const ROUNDS: usize = 3;
/// Tokens of `decode`, prompt tokens of `prefill_512`, and runs, prompt and new tokens of `decode_16`: as `knowlm bench`
/// has them.
const DECODE: &str = "128";
const PREFILL: &str = "512";
const TOGETHER: [&str; 3] = ["16", "8", "64"];

/// Prints what `knowlm bench` does; with no arguments and `llama-bench` on the PATH, also how many times faster each
/// measurement is than llama.cpp's, as the middle of three rounds.
///
/// # Errors
/// The binary is not built, or a program fails.
pub fn bench(args: &[String]) -> Result<()> {
    let binary = e2e::built()?;
    if !args.is_empty() || !on_path("llama-bench") {
        run(program(binary).arg("bench").args(args))?;
        if args.is_empty() {
            println!("No llama-bench on the PATH: nothing to compare with.");
        }
        return Ok(());
    }
    let file = model::default_file()?;
    let threads = thread::available_parallelism().map_or(1, usize::from).to_string();
    println!("{}, {threads} threads, {ROUNDS} rounds in turn\n", file.display());
    let mut all: Vec<Compared> = ["decode", "prefill_512", "decode_16", "extract_64"].map(Compared::new).into();
    for _ in 0..ROUNDS {
        let ours = ours(&binary, all.iter().map(|compared| compared.name))?;
        let theirs = theirs(&file, &threads)?;
        for compared in &mut all {
            compared.ours.extend(ours.iter().find(|(name, _)| name == compared.name).map(|(_, speed)| *speed));
            compared.theirs.extend(theirs.iter().find(|(name, _)| name == compared.name).map(|(_, speed)| *speed));
        }
    }
    println!("{:<12} {:>14} {:>14} {:>8}", "", "knowlm, tok/s", "llama.cpp", "ratio");
    for compared in &all {
        println!("{}", compared.line());
    }
    Ok(())
}

/// One measurement of both programs, a number for each round.
struct Compared {
    name: &'static str,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Compared {
    fn new(name: &'static str) -> Self {
        Self { name, ours: vec![], theirs: vec![] }
    }

    fn line(&self) -> String {
        let name = self.name;
        let Some(ours) = middle(self.ours.clone()) else { return format!("{name:<12} was not measured") };
        let ratios = self.ours.iter().zip(&self.theirs).map(|(a, b)| a / b).collect();
        match middle(self.theirs.clone()).zip(middle(ratios)) {
            Some((theirs, ratio)) => format!("{name:<12} {ours:>14.1} {theirs:>14.1} {ratio:>7.2}x"),
            None => format!("{name:<12} {ours:>14.1} {:>14} {:>8}", "-", "-"),
        }
    }
}

fn middle(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

fn ours<'a>(binary: &Path, names: impl Iterator<Item = &'a str>) -> Result<Vec<(String, f64)>> {
    let names = names.collect::<Vec<_>>().join(",");
    let report = json(program(binary).args(["bench", "--json", "--only", &names]))?;
    let results = report["results"].as_array().context("`knowlm bench --json` gave no results")?;
    Ok(results
        .iter()
        .filter_map(|r| Some((r["name"].as_str()?.to_owned(), r["tokens_per_second"].as_f64()?)))
        .collect())
}

fn theirs(file: &Path, threads: &str) -> Result<Vec<(String, f64)>> {
    let alone = |prompt: &str, new: &str| -> Result<f64> {
        let mut command = program("llama-bench");
        command.arg("-m").arg(file).args(["-t", threads, "-p", prompt, "-n", new, "-r", "1", "-o", "json"]);
        json(&mut command)?[0]["avg_ts"].as_f64().context("llama-bench gave no speed")
    };
    let mut results = vec![("decode".into(), alone("0", DECODE)?), ("prefill_512".into(), alone(PREFILL, "0")?)];
    if on_path("llama-batched-bench") {
        let [runs, prompt, new] = TOGETHER;
        let mut command = program("llama-batched-bench");
        command.arg("-m").arg(file).args(["-t", threads, "-c", "4096", "--output-format", "jsonl"]);
        command.args(["-npl", runs, "-npp", prompt, "-ntg", new]);
        let text = output(&mut command).context("llama-batched-bench failed")?;
        let line = text.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let speed = line.and_then(|line| line["speed_tg"].as_f64());
        results.push(("decode_16".into(), speed.context("llama-batched-bench gave no speed")?));
    }
    if on_path(bench_server::SERVER) {
        results.push(("extract_64".into(), bench_server::extract_64(file, threads)?));
    }
    Ok(results)
}

fn json(command: &mut std::process::Command) -> Result<Value> {
    let Some(text) = output(command) else { bail!("`{}` failed", command.get_program().to_string_lossy()) };
    serde_json::from_str(&text).with_context(|| format!("`{}` gave no JSON", command.get_program().to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_the_rounds_is_shown() {
        let compared = Compared { name: "decode", ours: vec![300.0, 100.0, 240.0], theirs: vec![100.0, 100.0, 120.0] };
        assert_eq!(compared.line(), "decode                240.0          100.0    2.00x");
        assert_eq!(Compared::new("decode").line(), "decode       was not measured");
    }
}
