//! `knowlm weights setup`: the whole road from published files to a folder that can be served.
//!
//! The steps are those of the other commands, in order. What was asked for and which steps are done is kept in the
//! folder, so that the road can be left and taken up anywhere; inside a step, downloads and writing resume by themselves.

mod state;

use std::{
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

use checkpoint::{
    Element, convert,
    diff::{Direction, ModelOptions, combine},
    download::{DownloadOptions, Only},
    inspect::inspect,
    known,
    merge::{self, Lora},
    verify::{VerifyOptions, verify},
    write::{Container, WriteOptions},
};
use clap::Args;

use self::state::{Plan, State};
use super::{
    common::{Form, dtype, open},
    verify as verify_command,
};
use crate::cli::{
    CliError,
    bytes::{ByteBar, size},
    download, out,
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
    let mut state = match State::load(&folder).map_err(CliError::Failed)? {
        Some(state) => {
            agrees(&state.plan, args)?;
            state
        }
        None => {
            let plan = plan(args, asked)?;
            // Once kept, a plan cannot be corrected by another call.
            can_be_got(&plan)?;
            State::new(plan)
        }
    };
    state.save(&folder).map_err(CliError::Failed)?;
    let road = Road { args, folder: &folder };
    let steps = road.steps(&state.plan);
    for (number, step) in steps.iter().enumerate() {
        let title = format!("[{}/{}] {}", number + 1, steps.len(), step.title);
        if state.is_done(step.name) && step.leaves.as_ref().is_none_or(|path| path.exists()) {
            out(&format!("{title}: done\n"))?;
            continue;
        }
        out(&format!("{title}\n"))?;
        let plan = state.plan.clone();
        (step.work)(&road, &plan).map_err(|error| {
            CliError::Failed(format!("step {} of {} ({}): {error}", number + 1, steps.len(), step.name))
        })?;
        state.done(step.name);
        state.save(&folder).map_err(CliError::Failed)?;
    }
    road.end(&state.plan)
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
    let absolute = |path: String| match Path::new(&path).exists() {
        true => std::path::absolute(&path).map(|p| p.display().to_string()).unwrap_or(path),
        false => path,
    };
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

/// What is read must be there, or be something that is fetched by its name.
fn can_be_got(plan: &Plan) -> Result<(), CliError> {
    let missing = |flag: &str, given: &str, or: &str| {
        CliError::Usage(format!("{flag} {given}: there is no such folder{or}; nothing was begun"))
    };
    if !Path::new(&plan.raw).exists() {
        return Err(missing("--raw", &plan.raw, ""));
    }
    for (flag, given) in [("--diff", &plan.diff), ("--adapter", &plan.adapter)] {
        let is_none = flag == "--adapter" && given == "none";
        if !is_none && known::by_name(given).is_none() && !Path::new(given).exists() {
            return Err(missing(flag, given, " and no published model of this name"));
        }
    }
    Ok(())
}

/// A second call must not ask for something else.
fn agrees(plan: &Plan, args: &SetupArgs) -> Result<(), CliError> {
    let same =
        |kept: &str, given: &str| kept == given || std::path::absolute(given).is_ok_and(|path| path == Path::new(kept));
    let raw = args.raw.as_ref().map(|path| path.display().to_string());
    let pairs = [("--raw", &plan.raw, raw), ("--diff", &plan.diff, args.diff.clone())];
    let pairs = pairs.into_iter().chain([("--adapter", &plan.adapter, args.adapter.clone())]);
    let unlike = pairs
        .filter_map(|(flag, kept, given)| given.filter(|given| !same(kept, given)).map(|_| (flag, kept.clone())))
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

type Work = fn(&Road<'_>, &Plan) -> Result<(), CliError>;

/// One step.
struct Step {
    name: &'static str,
    title: String,
    /// What must be there for it to be done.
    leaves: Option<PathBuf>,
    work: Work,
}

/// What all steps need.
struct Road<'a> {
    args: &'a SetupArgs,
    folder: &'a Path,
}

impl Road<'_> {
    fn steps(&self, plan: &Plan) -> Vec<Step> {
        let step = |name, title: String, leaves: Option<PathBuf>, work: Work| Step { name, title, leaves, work };
        let at = |name: &str| Some(self.folder.join(name));
        let mut steps = vec![
            step("raw", format!("Check the original weights in {}", plan.raw), None, |road, plan| {
                road.check(Path::new(&plan.raw), None)
            }),
            step(
                "diff",
                format!("Get and check the difference {}", plan.diff),
                Some(self.place(&plan.diff)),
                |road, plan| road.fetch_and_check(&plan.diff),
            ),
        ];
        if plan.adapter != "none" {
            let title = format!("Get and check the adapter {}", plan.adapter);
            steps.push(step("adapter", title, Some(self.place(&plan.adapter)), |road, plan| {
                road.fetch_and_check(&plan.adapter)
            }));
        }
        steps.push(step("base", "Recover the base: original and difference".into(), at("base"), |road, plan| {
            road.recover(plan)
        }));
        if plan.merge {
            steps.push(step("merged", "Merge the adapter into the base".into(), at("merged"), |road, plan| {
                road.merge(plan)
            }));
        }
        if plan.gguf.is_some() {
            steps
                .push(step("gguf", "Write a GGUF file".into(), Some(self.gguf(plan)), |road, plan| road.convert(plan)));
        }
        steps.push(step("result", "Check the result".into(), None, |road, plan| {
            let all = [Some("base"), plan.merge.then_some("merged")];
            all.into_iter().flatten().try_for_each(|name| road.check(&road.folder.join(name), None))
        }));
        steps
    }

    /// Where a difference or adapter lies: the folder that was named, or the one it is fetched to.
    fn place(&self, name: &str) -> PathBuf {
        match known::by_name(name) {
            Some(model) if !Path::new(name).exists() => self.folder.join("downloads").join(&model.name),
            _ => PathBuf::from(name),
        }
    }

    fn gguf(&self, plan: &Plan) -> PathBuf {
        let name = if plan.merge { "merged" } else { "base" };
        self.folder.join(format!("{name}.{}.gguf", plan.gguf.as_deref().unwrap_or_default().to_lowercase()))
    }

    fn fetch_and_check(&self, name: &str) -> Result<(), CliError> {
        let place = self.place(name);
        let model = known::by_name(name).filter(|_| !Path::new(name).exists());
        if let Some(model) = model {
            let options = DownloadOptions {
                out: Some(place.clone()),
                mirror: self.args.mirror.clone().or_else(|| download::set("HF_ENDPOINT")),
                token: self.args.token.clone().or_else(|| download::set("HF_TOKEN")),
                only: Only::Both,
                ..DownloadOptions::new(model.name.clone(), self.folder)
            };
            download::fetch(&options)?;
        }
        self.check(&place, model.filter(|model| !model.md5.is_empty()).map(|model| model.name.clone()))
    }

    fn check(&self, path: &Path, known: Option<String>) -> Result<(), CliError> {
        let bar = ByteBar::new(false);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let report = verify(path, &VerifyOptions { list: None, known, threads }, &|done, total| bar.show(done, total));
        bar.finish();
        let report = report.map_err(CliError::failed)?;
        if report.ok {
            return Ok(());
        }
        out(&verify_command::table(&report))?;
        Err(CliError::Failed(format!("{} is not as it should be", path.display())))
    }

    fn recover(&self, plan: &Plan) -> Result<(), CliError> {
        let (raw, diff) = (open(Path::new(&plan.raw))?, open(&self.place(&plan.diff))?);
        let options = options("recover", true);
        self.write(|progress| combine(Direction::Recover, &raw, &diff, &self.folder.join("base"), &options, progress))
    }

    fn merge(&self, plan: &Plan) -> Result<(), CliError> {
        let base = open(&self.folder.join("base"))?;
        let adapter = Lora::open(&self.place(&plan.adapter), 1.0).map_err(CliError::failed)?;
        let (to, options) = (self.folder.join("merged"), options("merge", true));
        self.write(|progress| merge::to_folder(&base, &[adapter], &to, &options, progress))
    }

    fn convert(&self, plan: &Plan) -> Result<(), CliError> {
        let from = open(&self.folder.join(if plan.merge { "merged" } else { "base" }))?;
        let format = dtype(plan.gguf.as_deref(), Form::Gguf)?;
        let options = options("convert", false).write;
        self.write(|progress| convert::to_gguf(&from, &self.gguf(plan), format, &options, progress))
    }

    fn write<E: std::fmt::Display>(
        &self,
        work: impl FnOnce(&(dyn Fn(u64, u64) -> bool + Sync)) -> Result<checkpoint::diff::Outcome, E>,
    ) -> Result<(), CliError> {
        let bar = ByteBar::new(false);
        let done = work(&|done, total| {
            bar.show(done, total);
            true
        });
        bar.finish();
        let done = done.map_err(CliError::failed)?;
        done.notes.iter().try_for_each(|note| out(&format!("  {note}\n")))
    }

    /// What there is now, and what to do with it.
    fn end(&self, plan: &Plan) -> Result<(), CliError> {
        let base = self.folder.join("base");
        let model = match (&plan.gguf, plan.merge) {
            (Some(_), _) => self.gguf(plan),
            (None, true) => self.folder.join("merged"),
            (None, false) => base,
        };
        let found = inspect(&model).map_err(CliError::failed)?;
        out(&format!("Ready: {} ({})\n", model.display(), size(found.bytes)))?;
        for needs in found.memory.iter().filter(|needs| needs.fits == Some(false)).take(1) {
            let sum = needs.weights.saturating_add(needs.context);
            let text = format!("  as stored it takes {} of memory, more than this machine has; ", size(sum));
            out(&(text + "--load-8bit, --load-4bit or `knowlm weights quantize` make it smaller\n"))?;
        }
        let adapter = match plan.adapter.as_str() {
            "none" => String::new(),
            _ if plan.merge => String::new(),
            name => format!(" --adapter zhixi='{}'", self.place(name).display()),
        };
        out(&format!("Serve it: knowlm serve --model '{}'{adapter}\n", model.display()))
    }
}

fn options(operation: &str, sums: bool) -> ModelOptions {
    let mut write = WriteOptions::new(operation);
    write.sums = sums;
    ModelOptions { element: None::<Element>, container: Container::Safetensors, write }
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
        let begun = |args: &SetupArgs| can_be_got(&plan(args, false).unwrap()).map_err(|e| e.to_string());
        assert_eq!(begun(&args(Some(raw))), Ok(()), "a folder, and a published name");
        let gone = here.path().join("gone");
        assert!(begun(&args(gone.to_str())).unwrap_err().starts_with("--raw "));
        let wrong = SetupArgs { diff: Some("no-such-diff".into()), ..args(Some(raw)) };
        assert!(begun(&wrong).unwrap_err().starts_with("--diff no-such-diff: there is no such folder"));
    }

    #[test]
    fn a_folder_that_was_begun_goes_on_with_the_same_plan_only() {
        let begun = plan(&args(Some("x")), false).unwrap();
        assert!(agrees(&begun, &args(Some("x"))).is_ok());
        assert!(agrees(&begun, &args(None)).is_ok(), "what is not given is as it was");
        let error = agrees(&begun, &args(Some("y"))).unwrap_err().to_string();
        assert!(error.contains("was begun with --raw x"), "{error}");
        let more = SetupArgs { gguf: Some("q4_k".into()), ..args(Some("x")) };
        assert!(agrees(&begun, &more).unwrap_err().to_string().contains("--gguf no"));
    }
}
