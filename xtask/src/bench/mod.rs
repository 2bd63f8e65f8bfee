//! `make bench`: this machine's speed, and beside it llama.cpp's where its programs are on the PATH.
//!
//! Both programs take turns, so that a machine whose speed drifts drifts for both, and what is told is the middle of the
//! ratios of the rounds. Files that only measuring needs are made once, in `bench/` of the target folder.

mod busy;
mod memory;
mod peer;
mod server;
mod shapes;

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    e2e, model,
    process::{on_path, output, program, run, target_dir},
};

/// Measurements of each program.
const ROUNDS: usize = 3;
/// Names a `llama-bench` built without AVX-512, for the comparison on AVX2.
const AVX2_PEER: &str = "LLAMA_BENCH_AVX2";

/// Prints what `knowlm bench` does; with no arguments and `llama-bench` on the PATH, also how many times faster each
/// measurement is than llama.cpp's.
///
/// # Errors
/// The binary is not built, or a program fails.
pub fn bench(args: &[String]) -> Result<()> {
    let binary = e2e::built()?;
    if !args.is_empty() || !on_path(peer::BENCH) {
        run(program(binary).arg("bench").args(args))?;
        if args.is_empty() {
            println!("No {} on the PATH: nothing to compare with.", peer::BENCH);
        }
        return Ok(());
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let bench = Bench { binary, file: model::default_file()?, threads };
    println!("{}, {threads} threads, {ROUNDS} rounds in turn", bench.file.display());
    bench.default_model()?;
    bench.comparisons()?;
    bench.avx2()?;
    bench.busy()?;
    bench.shapes()
}

struct Bench {
    binary: PathBuf,
    /// The default model.
    file: PathBuf,
    threads: usize,
}

impl Bench {
    /// The default model, against the peer on the same file and on its best form of four bits.
    fn default_model(&self) -> Result<()> {
        let four_bits = self.four_bits()?;
        let names = ["decode", "prefill_512", "decode_16", "extract_64"];
        let mut ours = Rows::of(&names);
        let (mut same, mut best) = (Rows::of(&names), Rows::of(&names));
        let mut bandwidth = Vec::new();
        for _ in 0..ROUNDS {
            bandwidth.push(memory::bytes_per_second(self.threads)?);
            ours.add(self.ours(&self.file, &names, None)?);
            same.add(peer::all(&self.file, self.threads)?);
            best.add(peer::all(&four_bits, self.threads)?);
        }
        println!("\n{:<14} {:>10} {:>22} {:>22}", "tokens/s", "knowlm", "llama.cpp, same file", "llama.cpp, Q4_0");
        for name in names {
            println!("{name:<14} {} {} {}", ours.middle(name), ours.against(&same, name), ours.against(&best, name));
        }
        let decode = ours.numbers("decode");
        let bytes = self.file.metadata()?.len() as f64;
        let shares = decode.iter().zip(&bandwidth).map(|(speed, most)| speed * bytes / most * 100.0).collect();
        if let Some((share, most)) = middle(shares).zip(middle(bandwidth)) {
            println!(
                "decode reads weights at {share:.0} % of the {:.0} GB/s at which numbers are summed up",
                most / 1e9
            );
        }
        Ok(())
    }

    /// What is compared within our own program.
    fn comparisons(&self) -> Result<()> {
        let names = ["pair", "pair_request", "lookup"];
        let report = self.report(&self.file, &names, None)?;
        println!();
        for (name, what) in names.into_iter().zip([
            "base + adapter at once: a step of both over one of the base",
            "the same, whole requests",
            "extractions without guessing over with",
        ]) {
            let ratio = results(&report).find(|r| r["name"] == name).and_then(|r| r["ratio"].as_f64());
            if let Some(ratio) = ratio {
                println!("{name:<14} {ratio:>9.2}x {what}");
            }
        }
        Ok(())
    }

    /// Both programs held to AVX2.
    fn avx2(&self) -> Result<()> {
        let Some(peer) = std::env::var_os(AVX2_PEER).map(PathBuf::from) else { return Ok(()) };
        println!("\nAVX2 only, {}", peer.display());
        self.alone(&self.file, &peer, Some("avx2"))
    }

    /// How much slower both become when another program keeps every core busy.
    fn busy(&self) -> Result<()> {
        let decode = |ours: bool| -> Result<f64> {
            if !ours {
                return peer::alone(Path::new(peer::BENCH), &self.file, self.threads, peer::DECODE);
            }
            let speeds = self.ours(&self.file, &["decode"], None)?;
            speeds.first().map(|(_, speed)| *speed).context("`knowlm bench` measured nothing")
        };
        let mut slowdowns = [vec![], vec![]];
        for _ in 0..ROUNDS {
            for (ours, slowdowns) in [true, false].into_iter().zip(&mut slowdowns) {
                let quiet = decode(ours)?;
                let busy = busy::with_every_core_busy(self.threads, || decode(ours))?;
                slowdowns.push(quiet / busy);
            }
        }
        let [ours, theirs] = slowdowns.map(|slowdowns| middle(slowdowns).unwrap_or(f64::NAN));
        println!("\nwith every core busy otherwise, decode is slower: knowlm {ours:.1}x, llama.cpp {theirs:.1}x");
        Ok(())
    }

    /// A model of 1.1 billion parameters in several formats.
    fn shapes(&self) -> Result<()> {
        for (format, file) in shapes::files(&self.binary, &self.file)? {
            println!("\n{}, {format}, weights by chance", shapes::NAME);
            self.alone(&file, Path::new(peer::BENCH), None)?;
        }
        Ok(())
    }

    /// One run of each program, in turn.
    fn alone(&self, file: &Path, peer: &Path, simd: Option<&str>) -> Result<()> {
        let names = ["decode", "prefill_512"];
        let (mut ours, mut theirs) = (Rows::of(&names), Rows::of(&names));
        for _ in 0..ROUNDS {
            ours.add(self.ours(file, &names, simd)?);
            theirs.add(vec![
                ("decode".into(), peer::alone(peer, file, self.threads, peer::DECODE)?),
                ("prefill_512".into(), peer::alone(peer, file, self.threads, peer::PREFILL)?),
            ]);
        }
        for name in names {
            println!("{name:<14} {} {}", ours.middle(name), ours.against(&theirs, name));
        }
        Ok(())
    }

    /// The default model in the peer's best form.
    fn four_bits(&self) -> Result<PathBuf> {
        let file = folder()?.join("default.Q4_0.gguf");
        if !file.is_file() {
            let mut convert = program(&self.binary);
            convert.args(["weights", "convert"]).arg(&self.file).args(["--to", "gguf", "--dtype", "q4_0", "--out"]);
            run(convert.arg(&file))?;
        }
        Ok(file)
    }

    fn ours(&self, file: &Path, names: &[&str], simd: Option<&str>) -> Result<Vec<(String, f64)>> {
        let report = self.report(file, names, simd)?;
        let speed = |r: &Value| Some((r["name"].as_str()?.to_owned(), r["tokens_per_second"].as_f64()?));
        Ok(results(&report).filter_map(speed).collect())
    }

    fn report(&self, file: &Path, names: &[&str], simd: Option<&str>) -> Result<Value> {
        let mut command = program(&self.binary);
        command.args(["bench", "--json", "--only", &names.join(","), "--model"]).arg(file);
        command.env("KNOWLM_SIMD", simd.unwrap_or_default());
        json(&mut command)
    }
}

fn results(report: &Value) -> impl Iterator<Item = &Value> {
    report["results"].as_array().into_iter().flatten()
}

/// Where files lie that only measuring needs.
fn folder() -> Result<PathBuf> {
    let folder = target_dir().join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
    Ok(folder)
}

/// Measurements of one program by name, a number for each round.
struct Rows(Vec<(String, Vec<f64>)>);

impl Rows {
    fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| ((*name).to_owned(), vec![])).collect())
    }

    fn add(&mut self, round: Vec<(String, f64)>) {
        for (name, speed) in round {
            self.0.iter_mut().filter(|row| row.0 == name).for_each(|row| row.1.push(speed));
        }
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.0.iter().find(|row| row.0 == name).map(|row| row.1.clone()).unwrap_or_default()
    }

    fn middle(&self, name: &str) -> String {
        middle(self.numbers(name)).map_or_else(|| format!("{:>10}", "-"), |speed| format!("{speed:>10.1}"))
    }

    /// The other's speed, and how many times faster these are.
    fn against(&self, other: &Self, name: &str) -> String {
        let ratios = self.numbers(name).iter().zip(other.numbers(name)).map(|(a, b)| a / b).collect();
        match middle(ratios) {
            Some(ratio) => format!("{} {ratio:>10.2}x", other.middle(name)),
            None => format!("{:>10} {:>11}", "-", "-"),
        }
    }
}

fn middle(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// What a program prints, as JSON.
fn json(command: &mut Command) -> Result<Value> {
    let Some(text) = output(command) else { bail!("`{}` failed", command.get_program().to_string_lossy()) };
    serde_json::from_str(&text).with_context(|| format!("`{}` gave no JSON", command.get_program().to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_the_ratios_of_the_rounds_is_told() {
        let (mut ours, mut theirs) = (Rows::of(&["decode"]), Rows::of(&["decode"]));
        for (a, b) in [(300.0, 100.0), (100.0, 100.0), (240.0, 120.0)] {
            ours.add(vec![("decode".into(), a)]);
            theirs.add(vec![("decode".into(), b), ("another".into(), 1.0)]);
        }
        assert_eq!(ours.middle("decode"), "     240.0");
        assert_eq!(ours.against(&theirs, "decode"), "     100.0       2.00x");
        assert_eq!(ours.against(&Rows::of(&["decode"]), "decode").trim(), "-           -");
    }
}
