//! `docs/parameters.md`, made from the table that everything else about parameters is made from.

use std::fmt::Write as _;

use anyhow::Result;
use protocol::{
    PARAMETERS, Parameters,
    params::{MAX_STOP_CHARS, MAX_STOPS, ParameterKind, ParameterSpec},
    run::Mode,
};

use crate::{files::write_if_changed, process::root};

const PAGE: &str = "docs/parameters.md";

/// Writes the page.
///
/// # Errors
/// It cannot be written.
pub fn write() -> Result<()> {
    let changed = write_if_changed(&root().join(PAGE), page().as_bytes())?;
    println!("{PAGE}: {}", if changed { "written" } else { "up to date" });
    Ok(())
}

fn page() -> String {
    let mut page = String::from(
        "<!-- Made by `cargo xtask docs` from PARAMETERS in crates/protocol/src/params.rs; do not edit by hand. -->\n\n\
         # Sampling parameters\n\n\
         The page's controls (`param-temperature`, `param-top-p`, …), the command-line flags, the API's limits and this \
         page are made from one table.\n\n\
         | name | flag | range | pretrain mode | LoRA mode | what it does |\n|---|---|---|---|---|---|\n",
    );
    let (pretrain, lora) = (Parameters::published(Mode::Pretrain), Parameters::published(Mode::Lora));
    for spec in PARAMETERS {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            spec.name,
            if has_flag(spec) { format!("`--{}`", spec.flag()) } else { "–".into() },
            range(spec),
            default(&pretrain, spec),
            default(&lora, spec),
            spec.help.0,
        );
    }
    page.push_str(AFTER_TABLE);
    page.push_str("\n## 采样参数\n\n| 名称 | 中文 | 说明 |\n|---|---|---|\n");
    for spec in PARAMETERS {
        let _ = writeln!(page, "| `{}` | {} | {} |", spec.name, spec.label.1, spec.help.1);
    }
    page
}

const AFTER_TABLE: &str = "
The two columns of defaults are the published ones of the original system, with one beam. They are overridden, in
this order, by:

1. the model's entry (`assets/models/NAME.json`, keys `pretrain` and `lora`): decoding that suits a checkpoint;
2. in LoRA mode the adapter's manifest (`manifest.json` beside its weights, key `decoding`): decoding it was tuned for;
3. what you set yourself: in the page, by flag, or in the request.

The page shows the values that result, before the run and after it. A value out of range is refused with the
range; it is never moved silently.

`guided` and `samples` have a meaning only where records are extracted. On the command line they belong to `knowlm extract`
alone: `--samples` is a flag of no other command, and `--no-guide` switches guiding off.

**What is different from the original.** There, sampling was never switched on, so temperature, top-p and top-k
changed nothing: it was a search with 2 or 3 beams. Here they do what they say, and the beams are yours to choose: with
more than one nothing is sampled, as in the original. The repetition penalty is over the tokens of prompt and answer,
once for each distinct token: a positive logit is divided by it, a negative one multiplied; in a search with beams it
changes log-probabilities, as in Hugging Face's transformers. The scores change in this order: bias, repetition
penalty, presence and frequency penalty, what a guide forbids, temperature, top-k, top-p, min-p.
";

/// Guiding is switched off by a flag of `knowlm extract` with a name of its own.
fn has_flag(spec: &ParameterSpec) -> bool {
    spec.name != "guided"
}

fn range(spec: &ParameterSpec) -> String {
    match spec.kind {
        ParameterKind::Number { min, max, .. } if min == max => format!("{min}"),
        ParameterKind::Number { min, max, whole, .. } => {
            format!("{min} to {max}{}", if whole { ", whole" } else { "" })
        }
        ParameterKind::OptionalWhole => "whole, or empty".into(),
        ParameterKind::Switch => "on or off".into(),
        ParameterKind::Strings => format!("up to {MAX_STOPS} strings of up to {MAX_STOP_CHARS} characters"),
    }
}

fn default(parameters: &Parameters, spec: &ParameterSpec) -> String {
    match parameters.text_of(spec.name) {
        empty if empty.is_empty() => "–".into(),
        value => value,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_says_what_the_table_says() {
        let committed = std::fs::read_to_string(root().join(PAGE)).unwrap();
        assert!(committed == page(), "{PAGE} and the parameter table differ: run `cargo xtask docs`");
    }

    #[test]
    fn every_parameter_but_guided_has_a_row_with_its_flag() {
        for spec in PARAMETERS.iter().filter(|spec| has_flag(spec)) {
            assert!(page().contains(&format!("| `{}` | `--{}` |", spec.name, spec.flag())), "{}", spec.name);
        }
    }
}
