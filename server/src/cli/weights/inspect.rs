//! `knowlm weights inspect`: what a file or folder holds, and what it takes to run it.

use std::path::PathBuf;

use checkpoint::{
    find,
    inspect::{Facts, Inspection, LoadMode, TensorRow, fold, inspect},
};
use clap::Args;

use crate::cli::{CliError, bytes::size, out, out_json};

/// Files that are named one by one.
const SHOWN_FILES: usize = 12;

/// Options of `weights inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights inspect\n  knowlm weights inspect llama-13b --tensors\n  \
    knowlm weights inspect adapters/zhixi-13b-lora --json")]
pub struct InspectArgs {
    /// A file or folder, or the name of a known model [default: the default model]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// List every tensor instead of layers that are alike once
    #[arg(long)]
    tensors: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Where models are sought by name [default: the platform's data folder]
    #[arg(long, env = "KNOWLM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub fn run(args: &InspectArgs) -> Result<(), CliError> {
    let path = match &args.path {
        Some(path) if path.exists() => path.clone(),
        other => find::find_model(other.as_deref().and_then(|p| p.to_str()), args.data_dir.as_deref())
            .map_err(CliError::failed)?,
    };
    let found = inspect(&path).map_err(CliError::failed)?;
    if args.json {
        return out_json(&found);
    }
    out(&table(&found, args.tensors))
}

fn table(found: &Inspection, all: bool) -> String {
    let mut text = format!("{}\n  {}, {}\n", found.path.display(), found.kind, plural(found.files.len(), "file"));
    if found.files.len() > 1 {
        let wide = found.files.iter().map(|f| f.file.chars().count()).max().unwrap_or(0);
        for file in found.files.iter().take(SHOWN_FILES) {
            text += &format!("    {:<wide$}  {:>8}\n", file.file, size(file.bytes));
        }
        if found.files.len() > SHOWN_FILES {
            text += &format!("    and {} more\n", found.files.len() - SHOWN_FILES);
        }
    }
    let stored: Vec<String> =
        found.stored.iter().map(|s| format!("{} {} ({})", count(s.numbers), s.element, size(s.bytes))).collect();
    text += &format!(
        "  {} numbers in {}: {}\n",
        count(found.parameters),
        plural(found.tensors.len(), "tensor"),
        stored.join(", ")
    );
    if let Some(model) = &found.model {
        text += &format!("  {}\n", sizes(model));
    }
    if let Some(adapter) = &found.adapter {
        text += &format!("  {}\n", adapter_line(adapter));
    }
    match &found.tokenizer {
        Some(t) => {
            let tokens = t.tokens.map(|n| format!(", {n} tokens")).unwrap_or_default();
            text += &format!("  tokenizer: {} in {}{tokens}\n", t.kind, t.place);
        }
        None if found.model.is_some() => text += "  no tokenizer: it can be converted and merged, but not used\n",
        None => {}
    }
    text += "\n";
    text += &tensors(&found.tensors, all);
    text += &memory(found);
    text
}

fn sizes(m: &Facts) -> String {
    format!(
        "{}: {} layers of {} numbers ({} in feed-forward), {} heads of {} ({} with keys and values), {} tokens, context {}",
        m.architecture, m.layers, m.hidden, m.feed_forward, m.heads, m.head_size, m.kv_heads, m.vocabulary, m.context
    )
}

fn adapter_line(config: &serde_json::Value) -> String {
    let shown = |key: &str| match config.get(key) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Array(all)) => {
            all.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect::<Vec<_>>().join(", ")
        }
        Some(serde_json::Value::Null) | None => "not told".into(),
        Some(other) => other.to_string(),
    };
    format!(
        "adapter of {}: rank {}, alpha {}, on {}",
        shown("base_model_name_or_path"),
        shown("r"),
        shown("lora_alpha"),
        shown("target_modules")
    )
}

fn tensors(rows: &[TensorRow], all: bool) -> String {
    let shape = |t: &TensorRow| match t.shape.as_slice() {
        [] => "1".to_owned(),
        shape => shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x "),
    };
    // Title, or name, shape, element and size.
    let mut lines: Vec<Result<[String; 4], String>> = Vec::new();
    if all {
        lines.extend(rows.iter().map(|t| Ok([t.name.clone(), shape(t), t.element.into(), size(t.bytes)])));
    } else {
        for group in fold(rows) {
            let indent = if group.layers.is_empty() { "" } else { "  " };
            if let Some(title) = group.title() {
                let bytes: u64 = group.tensors.iter().map(|t| t.bytes).sum();
                let each = if group.layers.len() > 1 { ", each" } else { "" };
                lines.push(Err(format!("{title}{each} {}", size(bytes))));
            }
            lines.extend(
                group
                    .tensors
                    .iter()
                    .map(|t| Ok([format!("{indent}{}", group.name(t)), shape(t), t.element.into(), size(t.bytes)])),
            );
        }
    }
    let width = |column: usize| {
        lines.iter().flatten().filter_map(|l| l.get(column)).map(|w| w.chars().count()).max().unwrap_or(0)
    };
    let (a, b, c) = (width(0), width(1), width(2));
    lines
        .iter()
        .map(|line| match line {
            Ok([name, shape, element, bytes]) => format!("  {name:<a$}  {shape:>b$}  {element:<c$}  {bytes:>8}\n"),
            Err(title) => format!("  {title}\n"),
        })
        .collect()
}

fn memory(found: &Inspection) -> String {
    let mut text = String::new();
    if found.memory.is_empty() {
        return text;
    }
    text += "\n  memory to run it     weights   context       sum\n";
    for needs in &found.memory {
        let mode = match needs.mode {
            LoadMode::Stored => "as stored",
            LoadMode::EightBit => "--load-8bit",
            LoadMode::FourBit => "--load-4bit",
        };
        let fits = match needs.fits {
            Some(true) => "  fits here",
            Some(false) => "  does not fit here",
            None => "",
        };
        let sum = size(needs.weights.saturating_add(needs.context));
        text += &format!("  {mode:<18} {:>9} {:>9} {sum:>9}{fits}\n", size(needs.weights), size(needs.context));
    }
    if let (Some(all), Some(free)) = (found.machine.memory, found.machine.free) {
        text += &format!("  this machine has {}, of which {} are free\n", size(all), size(free));
    }
    text
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A count as people say it: `134.5 M`.
fn count(number: u64) -> String {
    let mut value = number as f64;
    if value < 10_000.0 {
        return number.to_string();
    }
    let mut unit = "";
    for next in ["k", "M", "G", "T"] {
        if value < 999.95 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short() {
        assert_eq!([0, 9999, 134_515_008, 13_015_864_320].map(count), ["0", "9999", "134.5 M", "13.0 G"]);
    }

    #[test]
    fn columns_stand_below_each_other() {
        let row = |name: &str, shape: &[usize]| TensorRow {
            name: name.into(),
            shape: shape.into(),
            element: "F32",
            numbers: 1,
            bytes: 4,
            file: String::new(),
        };
        let rows = [row("embed", &[10, 2]), row("blk.0.q", &[2]), row("blk.1.q", &[2]), row("norm", &[])];
        assert_eq!(
            tensors(&rows, false),
            "  embed  10 x 2  F32       4 B\n  layers 0-1, each 4 B\n    q         2  F32       4 B\n  norm        1  F32       4 B\n"
        );
        assert_eq!(tensors(&rows, true).lines().count(), 4);
    }
}
