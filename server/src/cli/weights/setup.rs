//! `knowlm weights setup`: the whole road from published files to a folder that can be served.
//!
//! The steps are those of the other commands, in order ([`crate::weights::road`]); here is what is asked and said.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

use checkpoint::{download::DownloadEvent, inspect::inspect, verify::VerifyReport};
use clap::Args;
use protocol::{Sentence, job::Phase};

use super::{
    common::{Form, dtype},
    verify as verify_command,
};
use crate::{
    cli::{
        CliError,
        bytes::{ByteBar, size},
        download, out,
    },
    weights::{
        road::{Means, NotThere, Ready, Witness, can_be_got, walk},
        state::{Plan, State},
    },
};

/// Options of `weights setup`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  knowlm weights setup\n  \
    knowlm weights setup --raw LLaMA/13B --diff zhixi-13b-diff-fp16 --adapter zhixi-13b-lora --out zhixi\n  \
    knowlm weights setup --out zhixi\n\n\
    Steps: check the original weights; fetch and check the difference; fetch and check the adapter; recover the base;\n\
    merge the adapter into it (--merge); write a GGUF file (--gguf TYPE); check the result. A second call with the same\n\
    folder goes on where the first one ended. On a terminal, what is not given is asked for.")]
pub struct SetupArgs {
    /// The folder of the original LLaMA: consolidated.NN.pth, or of Hugging Face's form
    #[arg(long, value_name = "DIR")]
    raw: Option<PathBuf>,
    /// The difference: a folder, or a published name such as zhixi-13b-diff-fp16
    #[arg(long, value_name = "DIR_OR_NAME")]
    diff: Option<String>,
    /// The adapter: a folder, a published name such as zhixi-13b-lora, or `none`
    #[arg(long, value_name = "DIR_OR_NAME")]
    adapter: Option<String>,
    /// The folder that everything goes to
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also write the base with the adapter merged into it
    #[arg(long)]
    merge: bool,
    /// Also write a GGUF file: f16, q8_0, q6_k, q4_0, q4_1 or q4_k; of the merged model with --merge, else of the base
    #[arg(long, value_name = "TYPE")]
    gguf: Option<String>,
    /// Address of another hub
    #[arg(long, env = "KNOWLM_MIRROR", value_name = "URL")]
    mirror: Option<String>,
    /// Token for models that ask who fetches them
    #[arg(long, env = "KNOWLM_HUB_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
}

pub fn run(args: &SetupArgs) -> Result<(), CliError> {
    let asked = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let folder = match &args.out {
        Some(out) => out.clone(),
        None if asked => ask("Folder that everything goes to", "zhixi-13b")?.into(),
        None => return Err(missing("--out")),
    };
    std::fs::create_dir_all(&folder)
        .map_err(|e| CliError::Failed(format!("the folder {} cannot be made: {e}", folder.display())))?;
    let state = match State::load(&folder).map_err(CliError::Failed)? {
        Some(mut state) => {
            agrees(&mut state, args)?;
            can_be_got(&state.plan).map_err(not_there)?;
            state
        }
        None => {
            let plan = plan(args, asked)?;
            can_be_got(&plan).map_err(not_there)?;
            State::new(plan)
        }
    };
    let plan = state.plan.clone();
    let means = Means {
        mirror: args.mirror.clone().or_else(|| download::set("HF_ENDPOINT")),
        token: args.token.clone().or_else(|| download::set("HF_TOKEN")),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let terminal = Terminal { bar: ByteBar::new(false) };
    let ready = walk(&folder, state, &means, &terminal);
    terminal.bar.finish();
    end(&plan, &ready.map_err(CliError::Failed)?)
}

/// Says what happens.
struct Terminal {
    bar: ByteBar,
}

impl Witness for Terminal {
    fn step(&self, number: usize, of: usize, title: &Sentence, done: bool) {
        self.bar.finish();
        self.bar.restart();
        self.line(&format!("[{number}/{of}] {title}{}", if done { ": done" } else { "" }));
    }

    fn progress(&self, _: Phase, done: u64, total: u64) {
        self.bar.show(done, total);
    }

    fn fetching(&self, event: DownloadEvent<'_>) {
        download::show(&self.bar, event);
    }

    fn note(&self, note: &Sentence) {
        self.line(&format!("  {note}"));
    }

    fn wrong(&self, report: &VerifyReport) {
        self.line(verify_command::table(report).trim_end());
    }
}

impl Terminal {
    /// A line on standard output; where nobody reads it any more, the work goes on.
    fn line(&self, text: &str) {
        let _ = out(&format!("{text}\n"));
    }
}

fn not_there(NotThere { field, given, instead }: NotThere) -> CliError {
    if let Some(instead) = instead {
        return CliError::Usage(format!("--{field} {given}: {instead}; nothing was begun"));
    }
    let or = if field == "raw" { "" } else { " and no published model of this name" };
    CliError::Usage(format!("--{field} {given}: there is no such folder{or}; nothing was begun"))
}

fn missing(flag: &str) -> CliError {
    CliError::Usage(format!("{flag} is missing, and there is no terminal to ask on; see --help"))
}

/// What is to be done, from the options and, on a terminal, from answers.
fn plan(args: &SetupArgs, asked: bool) -> Result<Plan, CliError> {
    let given = |value: Option<String>, flag: &str, question: &str, usual: &str| match value {
        Some(value) => Ok(value),
        None if asked => ask(question, usual),
        None => Err(missing(flag)),
    };
    let raw = args.raw.as_ref().map(|path| path.display().to_string());
    let raw = given(raw, "--raw", "Folder of the original LLaMA weights", "")?;
    if let Some(name) = &args.gguf {
        dtype(Some(name), Form::Gguf)?;
    }
    let diff = given(args.diff.clone(), "--diff", "Difference: a folder or a published name", "zhixi-13b-diff-fp16")?;
    let adapter = args.adapter.clone();
    let adapter = given(adapter, "--adapter", "Adapter: a folder, a published name or none", "zhixi-13b-lora")?;
    if args.merge && adapter == "none" {
        return Err(CliError::Usage("--merge needs an adapter".into()));
    }
    Ok(Plan {
        raw: absolute(raw),
        diff: absolute(diff),
        adapter: absolute(adapter),
        merge: args.merge,
        gguf: args.gguf.clone(),
    })
}

/// A path as it is kept: wherever the next call is made from.
fn absolute(path: String) -> String {
    match Path::new(&path).exists() {
        true => std::path::absolute(&path).map(|p| p.display().to_string()).unwrap_or(path),
        false => path,
    }
}

/// A second call may correct what was not got yet; it must not ask for something else than what was.
fn agrees(state: &mut State, args: &SetupArgs) -> Result<(), CliError> {
    let same =
        |kept: &str, given: &str| kept == given || std::path::absolute(given).is_ok_and(|path| path == Path::new(kept));
    let done = ["raw", "diff", "adapter"].map(|step| state.is_done(step));
    let plan = &mut state.plan;
    let raw = args.raw.as_ref().map(|path| path.display().to_string());
    let fields = [&mut plan.raw, &mut plan.diff, &mut plan.adapter].into_iter().zip(done);
    let given = [("--raw", raw), ("--diff", args.diff.clone()), ("--adapter", args.adapter.clone())];
    let mut unlike = Vec::new();
    for ((kept, done), (flag, given)) in fields.zip(given) {
        let Some(given) = given.filter(|given| !same(kept, given)) else { continue };
        match done {
            true => unlike.push((flag, kept.clone())),
            false => *kept = absolute(given),
        }
    }
    if plan.merge && plan.adapter == "none" {
        return Err(CliError::Usage("--merge needs an adapter".into()));
    }
    let plan = &state.plan;
    let unlike = unlike
        .into_iter()
        .chain((args.merge && !plan.merge).then(|| ("--merge", "no".to_owned())))
        .chain(
            args.gguf
                .as_ref()
                .filter(|_| args.gguf != plan.gguf)
                .map(|_| ("--gguf", plan.gguf.clone().unwrap_or_else(|| "no".into()))),
        )
        .next();
    match unlike {
        None => Ok(()),
        Some((flag, kept)) => Err(CliError::Usage(format!(
            "this folder was begun with {flag} {kept}; leave {flag} out to go on, or choose another --out"
        ))),
    }
}

fn ask(question: &str, usual: &str) -> Result<String, CliError> {
    let hint = if usual.is_empty() { String::new() } else { format!(" [{usual}]") };
    loop {
        out(&format!("{question}{hint}: "))?;
        std::io::stdout().flush().map_err(CliError::failed)?;
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).map_err(CliError::failed)? == 0 {
            return Err(CliError::Failed(
                "nothing was answered; what is known is kept, the same command goes on".into(),
            ));
        }
        let answer = if line.trim().is_empty() { usual } else { line.trim() };
        if !answer.is_empty() {
            return Ok(answer.to_owned());
        }
    }
}

/// What there is now, and what to do with it.
fn end(plan: &Plan, ready: &Ready) -> Result<(), CliError> {
    let found = inspect(&ready.model).map_err(CliError::failed)?;
    out(&format!("Ready: {} ({})\n", ready.model.display(), size(found.bytes)))?;
    for needs in found.memory.iter().filter(|needs| needs.fits == Some(false)).take(1) {
        let sum = needs.weights.saturating_add(needs.context);
        let text = format!("  as stored it takes {} of memory, more than this machine has; ", size(sum));
        out(&(text + "--load-8bit, --load-4bit or `knowlm weights quantize` make it smaller\n"))?;
    }
    let name = if plan.adapter.starts_with("zhixi") { "zhixi" } else { "tuned" };
    let adapter = ready.adapter.as_ref().map(|path| format!(" --adapter {name}='{}'", path.display()));
    out(&format!("Serve it: knowlm serve --model '{}'{}\n", ready.model.display(), adapter.unwrap_or_default()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn args(raw: Option<&str>) -> SetupArgs {
        SetupArgs {
            raw: raw.map(PathBuf::from),
            diff: Some("zhixi-13b-diff".into()),
            adapter: Some("none".into()),
            out: None,
            merge: false,
            gguf: None,
            mirror: None,
            token: None,
        }
    }

    #[test]
    fn without_a_terminal_what_is_missing_is_named() {
        assert!(plan(&args(None), false).unwrap_err().to_string().starts_with("--raw is missing"));
        let wrong = SetupArgs { gguf: Some("q3".into()), ..args(Some("x")) };
        assert!(plan(&wrong, false).unwrap_err().to_string().contains("there is no --dtype q3"));
        let wrong = SetupArgs { merge: true, ..args(Some("x")) };
        assert_eq!(plan(&wrong, false).unwrap_err().to_string(), "--merge needs an adapter");
    }

    #[test]
    fn a_plan_of_what_is_not_there_is_not_begun() {
        let here = tempfile::tempdir().unwrap();
        let raw = here.path().to_str().unwrap();
        let begun = |args: &SetupArgs| can_be_got(&plan(args, false).unwrap()).map_err(|e| not_there(e).to_string());
        assert_eq!(begun(&args(Some(raw))), Ok(()), "a folder, and a published name");
        let gone = here.path().join("gone");
        assert!(begun(&args(gone.to_str())).unwrap_err().starts_with("--raw "));
        let wrong = SetupArgs { diff: Some("no-such-diff".into()), ..args(Some(raw)) };
        assert!(begun(&wrong).unwrap_err().starts_with("--diff no-such-diff: there is no such folder"));
        for (diff, adapter, words) in [
            ("zhixi-13b", "none", "--diff zhixi-13b: that is a difference and an adapter together"),
            ("zhixi-13b-base-fp32", "none", "--diff zhixi-13b-base-fp32: that is not fetched but made: knowlm weights"),
            ("zhixi-13b-lora", "none", "--diff zhixi-13b-lora: that is ZhiXi-13B, the adapter"),
            ("oneke", "none", "--diff oneke: that is OneKE"),
            ("zhixi-13b-diff", "zhixi-13b-diff", "--adapter zhixi-13b-diff: that is ZhiXi-13B, the difference"),
        ] {
            let wrong = SetupArgs { diff: Some(diff.into()), adapter: Some(adapter.into()), ..args(Some(raw)) };
            let told = begun(&wrong).unwrap_err();
            assert!(told.starts_with(words), "{told}");
        }
    }

    #[test]
    fn a_folder_that_was_begun_goes_on_with_the_same_plan_only() {
        let mut begun = State::new(plan(&args(Some("x")), false).unwrap());
        begun.done("raw");
        assert!(agrees(&mut begun, &args(Some("x"))).is_ok());
        assert!(agrees(&mut begun, &args(None)).is_ok(), "what is not given is as it was");
        let error = agrees(&mut begun, &args(Some("y"))).unwrap_err().to_string();
        assert!(error.contains("was begun with --raw x"), "{error}");
        let more = SetupArgs { gguf: Some("q4_k".into()), ..args(Some("x")) };
        assert!(agrees(&mut begun, &more).unwrap_err().to_string().contains("--gguf no"));
        // What was not got yet can be corrected.
        let other = SetupArgs { diff: Some("zhixi-13b-diff-fp16".into()), ..args(None) };
        agrees(&mut begun, &other).unwrap();
        assert_eq!(begun.plan.diff, "zhixi-13b-diff-fp16");
        begun.done("diff");
        assert!(agrees(&mut begun, &args(None)).unwrap_err().to_string().contains("--diff zhixi-13b-diff-fp16"));
    }
}
