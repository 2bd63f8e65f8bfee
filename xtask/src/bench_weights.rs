//! `cargo xtask bench-weights`: what recovering, merging and converting large weights takes, beside a plain copy of the
//! same bytes, and beside the Python stack.
//!
//! The model has the shapes of LLaMA-13B and as many layers as fit into the size asked for; its numbers are made up.
//! - *Throughput*: all bytes that are read and written, by the time until they are on the disk. The copy is `cp
//!   --reflink=never` of the same files and an fsync of each. Inputs are taken out of the page cache before; beside Python it
//!   is also measured with the inputs in the cache.
//! - *Memory*: mapped files count as a program's memory while it reads them, and are the page cache's. What is shown is
//!   the most that was anonymous or shared (`RssAnon` and `RssShmem` of `/proc/PID/status`, looked at 100 times a second),
//!   and beside it the most of all (`VmHWM`).
//! - *Processor*: seconds of all its cores, in the program and for it in the system.
//! - *Python*: the same operations with torch, transformers and peft, where `--python` has them: the whole command, beside it
//!   without its imports, and whether its result is the same bit for bit. Ours ends when its result is on the disk, Python
//!   when the system has it in memory: beside the command's own time stands the time until that is on the disk too.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use checkpoint::{
    BlockFormat, Element, Source, Tensor,
    source::{Info, Numbers},
    write::{self, Companion, Container, Content, Planned, WriteOptions},
};

use crate::{
    e2e,
    process::{program, target_dir},
};

/// Bytes of the model that the Python stack works on.
const SMALL: f64 = 1.5e9;
const HIDDEN: usize = 5120;
const INNER: usize = 13_824;
const HEADS: usize = 40;
const RANK: usize = 16;
const PYTHON: &str = include_str!("bench_weights.py");

/// Measures on a model of so many bytes in 16 bits, in a folder that is removed at the end.
///
/// # Errors
/// The binary is not built, there is not enough room, or a command fails.
pub fn bench(gigabytes: f64, dir: Option<PathBuf>, python: Option<&str>) -> Result<()> {
    let binary = e2e::built()?;
    let dir = dir.unwrap_or_else(|| target_dir().join("bench-weights"));
    ensure!(!dir.exists(), "{} is there already: remove it, or choose another --dir", dir.display());
    let done = large(&binary, &dir, gigabytes).and_then(|()| match python {
        Some(python) => beside_python(&binary, &dir, python),
        None => Ok(()),
    });
    fs::remove_dir_all(&dir).with_context(|| format!("{} could not be removed", dir.display()))?;
    done
}

/// A large model of 16 bits beside a copy of the same bytes.
fn large(binary: &Path, dir: &Path, gigabytes: f64) -> Result<()> {
    let [raw, diff, lora, out] = ["raw", "diff", "lora", "out"].map(|name| dir.join(name));
    let model = Model::of(gigabytes * 1e9, 32_000, Element::Block(BlockFormat::F16));
    model.write(&raw, 1)?;
    model.write(&diff, 2)?;
    model.write_adapter(&lora, 3)?;
    let bytes = size(&raw)?;
    println!("{} layers of LLaMA-13B's shapes, {:.2} GB in 16 bits", model.layers, bytes as f64 / 1e9);
    println!(
        "{:<28} {:>8} {:>9} {:>8} {:>10} {:>12} {:>10}",
        "", "seconds", "MB/s", "of copy", "processor", "anonymous MB", "VmHWM MB"
    );
    let copied = copy(&raw, &out)?;
    let speed = 2.0 * bytes as f64 / copied.as_secs_f64() / 1e6;
    println!("{:<28} {:>8.1} {speed:>9.0} {:>6.0} %", "cp and fsync", copied.as_secs_f64(), 100.0);
    fs::remove_dir_all(&out)?;
    let gguf = dir.join("out.gguf");
    let lines: [(&str, &[&Path], Vec<&str>, &Path); 4] = [
        ("recover", &[&raw, &diff], vec!["recover", "--raw", "raw", "--diff", "diff", "--out", "out"], &out),
        ("merge", &[&raw, &lora], vec!["merge", "--base", "raw", "--adapter", "lora", "--out", "out"], &out),
        ("convert to GGUF", &[&raw], vec!["convert", "raw", "--to", "gguf", "--out", "out.gguf"], &gguf),
        ("convert to PyTorch", &[&raw], vec!["convert", "raw", "--to", "pytorch", "--out", "out"], &out),
    ];
    for (name, read, line, written) in lines {
        for path in read {
            forget(path)?;
        }
        let ours = run(program(binary).arg("weights").args(&line).current_dir(dir))?;
        let moved = read.iter().map(|path| size(path)).sum::<Result<u64>>()? + size(written)?;
        let own = moved as f64 / ours.time.as_secs_f64() / 1e6;
        println!(
            "{name:<28} {:>8.1} {own:>9.0} {:>6.0} % {:>10.1} {:>12.0} {:>10.0}",
            ours.time.as_secs_f64(),
            100.0 * own / speed,
            ours.processor.as_secs_f64(),
            ours.anonymous as f64 / 1e6,
            ours.all as f64 / 1e6,
        );
        remove(written)?;
    }
    // A copy again: a disk whose speed drifts shows it.
    let copied = copy(&raw, &out)?;
    println!(
        "{:<28} {:>8.1} {:>9.0}",
        "cp and fsync",
        copied.as_secs_f64(),
        2.0 * bytes as f64 / copied.as_secs_f64() / 1e6
    );
    [raw, diff, lora, out].iter().try_for_each(|path| remove(path))
}

/// A smaller model in both programs: how long, and whether the same comes of it.
fn beside_python(binary: &Path, dir: &Path, python: &str) -> Result<()> {
    let script = dir.join("peer.py");
    fs::create_dir_all(dir)?;
    fs::write(&script, PYTHON)?;
    println!(
        "\n{:<32} {:>8} {:>10} {:>7} {:>8} {:>11} {:>10} {:>15} {:>12}  result",
        "", "ours, s", "Python, s", "faster", "on disk", "no imports", "processor", "Python's, times", "Python's MB"
    );
    for (name, element) in [("f32", Element::F32), ("f16", Element::Block(BlockFormat::F16))] {
        let [raw, diff, lora] = ["raw", "diff", "lora"].map(|name| dir.join(name));
        let model = Model::of(SMALL, 4000, element);
        model.write(&raw, 1)?;
        model.write(&diff, 2)?;
        model.write_adapter(&lora, 3)?;
        let lines: [(&str, Vec<&str>); 3] = [
            ("recover", vec!["recover", "--raw", "raw", "--diff", "diff", "--out", "ours"]),
            ("merge", vec!["merge", "--base", "raw", "--adapter", "lora", "--out", "ours"]),
            ("convert", vec!["convert", "raw", "--to", "pytorch", "--out", "ours"]),
        ];
        for ((operation, line), (place, prepare)) in lines.iter().flat_map(|line| INPUTS.map(|place| (line, place))) {
            let inputs = [&raw, &diff, &lora];
            inputs.iter().try_for_each(|folder| prepare(folder))?;
            let ours = run(program(binary).arg("weights").args(line).current_dir(dir))?;
            inputs.iter().try_for_each(|folder| prepare(folder))?;
            let theirs = run(Command::new(python).arg(&script).arg(operation).current_dir(dir))?;
            let synced = synchronize(&dir.join("theirs"))?.as_secs_f64();
            let same = compare(&dir.join("ours"), &dir.join("theirs"))?;
            let without: f64 = fs::read_to_string(dir.join("peer.seconds"))?.trim().parse()?;
            let (own, other) = (ours.time.as_secs_f64(), theirs.time.as_secs_f64());
            println!(
                "{:<32} {own:>8.2} {other:>10.1} {:>6.1}x {:>7.1}x {:>10.1}x {:>10.1} {:>14.1}x {:>12.0}  {same}",
                format!("{operation}, {:.1} GB {name}, {place}", size(&raw)? as f64 / 1e9),
                other / own,
                (other + synced) / own,
                without / own,
                ours.processor.as_secs_f64(),
                theirs.processor.as_secs_f64() / ours.processor.as_secs_f64(),
                theirs.all as f64 / 1e6,
            );
            ["ours", "theirs"].iter().try_for_each(|name| remove(&dir.join(name)))?;
        }
        [raw, diff, lora].iter().try_for_each(|path| remove(path))?;
    }
    Ok(())
}

/// Where the inputs are when a program begins, and what brings a folder of them there. In the cache is where they are after
/// they were fetched or written.
const INPUTS: [(&str, Prepare); 2] = [("disk", forget), ("cache", remember)];
type Prepare = fn(&Path) -> Result<()>;

/// How much alike two models are: `bit for bit`, or how far the farthest number is off.
fn compare(ours: &Path, theirs: &Path) -> Result<String> {
    const PIECE: usize = 1 << 20;
    let (ours, theirs) = (Source::open(ours)?, Source::open(theirs)?);
    let mut farthest = 0.0f32;
    for tensor in ours.tensors() {
        let name = &tensor.info.name;
        let other = theirs.tensor(name).with_context(|| format!("Python's result has no {name}"))?;
        ensure!(tensor.info == other.info, "{:?} and {:?}", tensor.info, other.info);
        let count = tensor.info.count();
        let (mut a, mut b) = (vec![0.0; PIECE], vec![0.0; PIECE]);
        for from in (0..count).step_by(PIECE) {
            let n = PIECE.min(count - from);
            tensor.numbers.read(from, &mut a[..n]);
            other.numbers.read(from, &mut b[..n]);
            let off = a[..n].iter().zip(&b[..n]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            farthest = farthest.max(off);
        }
    }
    Ok(if farthest == 0.0 { "bit for bit".into() } else { format!("to {farthest:.1e}") })
}

/// What a program took.
struct Taken {
    time: Duration,
    /// Of all cores, as it was last seen: up to a hundredth of a second before the end.
    processor: Duration,
    /// The most bytes that were no file's.
    anonymous: u64,
    /// The most bytes in all.
    all: u64,
}

fn run(command: &mut Command) -> Result<Taken> {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("it cannot be started")?;
    let [status, stat] = ["status", "stat"].map(|file| format!("/proc/{}/{file}", child.id()));
    let mut taken = Taken { time: Duration::ZERO, processor: Duration::ZERO, anonymous: 0, all: 0 };
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        taken.anonymous = taken.anonymous.max(field("RssAnon") + field("RssShmem"));
        taken.all = taken.all.max(field("VmHWM"));
        taken.processor = taken.processor.max(processor_time(&fs::read_to_string(&stat).unwrap_or_default()));
        thread::sleep(Duration::from_millis(10));
    };
    taken.time = started.elapsed();
    if !ended.success() {
        let told =
            child.wait_with_output().map(|o| String::from_utf8_lossy(&o.stderr).into_owned()).unwrap_or_default();
        bail!("{command:?} failed: {}", told.trim());
    }
    Ok(taken)
}

/// Copies a folder and has it brought to the disk.
fn copy(from: &Path, to: &Path) -> Result<Duration> {
    forget(from)?;
    let started = Instant::now();
    crate::process::run(program("cp").args(["-r", "--reflink=never"]).args([from, to]))?;
    synchronize(to)?;
    Ok(started.elapsed())
}

/// Has the files of a folder brought to the disk.
fn synchronize(folder: &Path) -> Result<Duration> {
    let started = Instant::now();
    for entry in fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    Ok(started.elapsed())
}

/// What a process has taken of the processor, by `/proc/PID/stat` (`man 5 proc`): the 14th and 15th field, in hundredths of
/// a second. The name in the second may have spaces and brackets in it.
fn processor_time(stat: &str) -> Duration {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// Takes the files of a folder out of the page cache.
fn forget(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        File::open(&path)?.sync_all()?;
        let input = format!("if={}", path.display());
        run(program("dd").args([input.as_str(), "iflag=nocache", "count=0"]))?;
    }
    Ok(())
}

/// Brings the files of a folder into the page cache.
fn remember(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        io::copy(&mut File::open(entry?.path())?, &mut io::sink())?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match path.is_dir() {
        true => fs::remove_dir_all(path)?,
        false if path.is_file() => {
            fs::remove_file(path)?;
            let _ = fs::remove_file(write::manifest_path(path));
        }
        false => {}
    }
    Ok(())
}

/// Bytes of a file, or of the files of a folder.
fn size(path: &Path) -> Result<u64> {
    if path.is_file() {
        return Ok(path.metadata()?.len());
    }
    fs::read_dir(path)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// Shapes of a model.
struct Model {
    layers: usize,
    rows: usize,
    element: Element,
}

impl Model {
    /// As many layers as so many bytes hold.
    fn of(bytes: f64, rows: usize, element: Element) -> Self {
        let each = element.block_bytes() as f64;
        let layer = (4 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER) as f64 * each;
        let left = bytes - (2 * rows * HIDDEN) as f64 * each;
        Self { layers: (left / layer).ceil().max(1.0) as usize, rows, element }
    }

    /// Matrices of a layer: name, outputs, inputs.
    fn matrices() -> [(&'static str, usize, usize); 7] {
        let square = |name| (name, HIDDEN, HIDDEN);
        [
            square("self_attn.q_proj"),
            square("self_attn.k_proj"),
            square("self_attn.v_proj"),
            square("self_attn.o_proj"),
            ("mlp.gate_proj", INNER, HIDDEN),
            ("mlp.down_proj", HIDDEN, INNER),
            ("mlp.up_proj", INNER, HIDDEN),
        ]
    }

    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![self.rows, HIDDEN])];
        for layer in 0..self.layers {
            let of = |name: &str| format!("model.layers.{layer}.{name}.weight");
            all.extend(Self::matrices().map(|(name, outputs, inputs)| (of(name), vec![outputs, inputs])));
            all.extend(["input_layernorm", "post_attention_layernorm"].map(|name| (of(name), vec![HIDDEN])));
        }
        all.extend([
            ("model.norm.weight".to_owned(), vec![HIDDEN]),
            ("lm_head.weight".to_owned(), vec![self.rows, HIDDEN]),
        ]);
        all
    }

    fn write(&self, to: &Path, seed: u64) -> Result<()> {
        let config = format!(
            r#"{{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": {HIDDEN}, "intermediate_size": {INNER},
"num_hidden_layers": {}, "num_attention_heads": {HEADS}, "vocab_size": {}, "max_position_embeddings": 2048,
"rms_norm_eps": 1e-6, "tie_word_embeddings": false, "torch_dtype": "{}"}}"#,
            self.layers,
            self.rows,
            if self.element == Element::F32 { "float32" } else { "float16" },
        );
        made(to, Container::Safetensors, self.shapes(), self.element, seed, ("config.json", config))
    }

    fn write_adapter(&self, to: &Path, seed: u64) -> Result<()> {
        let mut shapes = Vec::new();
        for layer in 0..self.layers {
            for (name, outputs, inputs) in Self::matrices() {
                let of = |part: &str| format!("base_model.model.model.layers.{layer}.{name}.{part}.weight");
                shapes.extend([(of("lora_A"), vec![RANK, inputs]), (of("lora_B"), vec![outputs, RANK])]);
            }
        }
        let names: Vec<&str> = Self::matrices().iter().filter_map(|(name, ..)| name.rsplit('.').next()).collect();
        let config = format!(
            r#"{{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": {RANK}, "lora_alpha": 32, "target_modules": {names:?},
"base_model_name_or_path": "raw", "inference_mode": true}}"#
        );
        made(to, Container::Adapter, shapes, Element::F32, seed, ("adapter_config.json", config))
    }
}

fn made(
    to: &Path,
    container: Container,
    shapes: Vec<(String, Vec<usize>)>,
    element: Element,
    seed: u64,
    (name, content): (&str, String),
) -> Result<()> {
    let planned: Vec<Planned<'_>> = shapes
        .into_iter()
        .zip(seed << 32..)
        .map(|((name, shape), seed)| {
            let info = Info { name, shape, element: Element::F32 };
            Planned { tensor: Tensor { info, numbers: Box::new(MadeUp { seed }) }, element }
        })
        .collect();
    let companion = Companion { name: name.into(), content: Content::Bytes(content.into_bytes()) };
    let options = WriteOptions::new("bench");
    write::folder(to, container, &planned, &[companion], &options, &|_, _| true)?;
    fs::remove_file(write::manifest_path(to))?;
    Ok(())
}

/// Numbers as those of weights are: small, and none like its neighbour.
struct MadeUp {
    seed: u64,
}

impl Numbers for MadeUp {
    fn read(&self, from: usize, out: &mut [f32]) {
        for (i, out) in out.iter_mut().enumerate() {
            let mixed = (self.seed ^ (from + i) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *out = ((mixed >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * 0.04;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_time_of_a_process_is_read() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 10 0 0 0 123 45 0 0 20 0 1 0 99 1 1";
        assert_eq!(processor_time(stat), Duration::from_millis(1680));
        assert_eq!(processor_time(""), Duration::ZERO);
    }
}
