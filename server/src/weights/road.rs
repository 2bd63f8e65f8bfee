//! The whole road from published files to a folder that can be served: original weights, difference and adapter.
//!
//! What was asked for and which steps are done is kept in the folder ([`super::state`]), so that the road can be left and
//! taken up anywhere; inside a step, downloads and writing resume by themselves.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use checkpoint::{
    Source, convert,
    diff::{Direction, ModelOptions, Outcome, combine},
    download::{DownloadEvent, DownloadOptions, download},
    known::{self, PublishedModel},
    merge::{self, Lora},
    verify::{VerifyOptions, VerifyReport, verify},
    write::{Container, WriteOptions, manifest_path},
};
use protocol::{Sentence, job::Phase};

use super::{
    state::{self, Plan, State},
    unfinished,
};

/// Where a road puts what it fetches.
const DOWNLOADS: &str = "downloads";

/// Told what happens on the road, some of it by several threads.
pub trait Witness: Sync {
    /// A step begins, or was done before.
    fn step(&self, number: usize, of: usize, title: &Sentence, done: bool);
    /// How far the step is, in bytes.
    fn progress(&self, phase: Phase, done: u64, total: u64);
    /// Files come from the hub.
    fn fetching(&self, event: DownloadEvent<'_>);
    /// Something worth knowing.
    fn note(&self, note: &Sentence);
    /// Files are not as they should be; the step fails for it.
    fn wrong(&self, report: &VerifyReport);
}

/// How files are got and work is done.
#[derive(Clone, Debug)]
pub struct Means {
    /// Another hub.
    pub mirror: Option<String>,
    /// Opens repositories that ask who one is.
    pub token: Option<String>,
    /// Threads that compute and write.
    pub threads: usize,
}

/// What there is at the end of the road.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What is served.
    pub model: PathBuf,
    /// The adapter that is served with it, where it is not merged.
    pub adapter: Option<PathBuf>,
}

/// What of a plan cannot be got, before anything is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotThere {
    /// `raw`, `diff` or `adapter`.
    pub field: &'static str,
    /// What was given.
    pub given: String,
    /// What a published model of this name is instead, where there is one: a sentence's end.
    pub instead: Option<String>,
}

/// What is read must be there, or be something that is fetched by its name.
///
/// # Errors
/// It is not.
pub fn can_be_got(plan: &Plan) -> Result<(), NotThere> {
    let missing = |field, given: &str| NotThere { field, given: given.into(), instead: None };
    if !Path::new(&plan.raw).exists() {
        return Err(missing("raw", &plan.raw));
    }
    for (field, given) in [("diff", &plan.diff), ("adapter", &plan.adapter)] {
        let is_none = field == "adapter" && given == "none";
        if is_none || Path::new(given).exists() {
            continue;
        }
        let model = known::by_name(given).ok_or_else(|| missing(field, given))?;
        if let Some(instead) = not_part(model, field == "adapter") {
            return Err(NotThere { instead: Some(instead), ..missing(field, given) });
        }
    }
    Ok(())
}

/// Why a published model is no difference, or no adapter.
pub fn not_part(model: &PublishedModel, as_adapter: bool) -> Option<String> {
    if !model.parts.is_empty() {
        return Some(format!(
            "that is a difference and an adapter together; name one of them: {}",
            model.parts.join(" or ")
        ));
    }
    if let Some(command) = &model.made_with {
        return Some(format!("that is not fetched but made: {command}"));
    }
    let fits = model.adapter == as_adapter && (as_adapter || model.name.contains("-diff"));
    (!fits).then(|| format!("that is {}", model.title))
}

/// Goes the road to its end, or on from where it was left.
///
/// # Errors
/// A step cannot be done; the message says which and why. What is done stays.
pub fn walk(folder: &Path, mut state: State, means: &Means, witness: &dyn Witness) -> Result<Ready, String> {
    state.save(folder)?;
    let road = Road { folder, means, witness };
    let steps = road.steps(&state.plan);
    let of = steps.len();
    for (at, step) in steps.iter().enumerate() {
        let number = at + 1;
        let done = state.is_done(step.name) && step.leaves.as_ref().is_none_or(|path| path.exists());
        witness.step(number, of, &step.title, done);
        if done {
            continue;
        }
        (step.work)(&road, &state.plan).map_err(|error| format!("step {number} of {of} ({}): {error}", step.name))?;
        state.done(step.name);
        state.save(folder)?;
    }
    Ok(road.ready(&state.plan))
}

/// Removes what a road that nobody goes any more left unfinished, and its folder where nothing else is in it. Models that
/// are whole stay, and what somebody else put there.
///
/// # Errors
/// Something cannot be removed.
pub fn abandon(folder: &Path) -> io::Result<()> {
    let Ok(Some(state)) = State::load(folder) else { return Ok(()) };
    let plan = &state.plan;
    for model in [folder.join("base"), folder.join("merged"), gguf(folder, plan)] {
        unfinished::remove(&model)?;
    }
    let whole = manifest_path(&folder.join("base")).is_file();
    // A base that is whole is served with its adapter.
    for (part, name) in [("diff", &plan.diff), ("adapter", &plan.adapter)] {
        let place = place(folder, name);
        let kept = whole && part == "adapter";
        if place.starts_with(folder.join(DOWNLOADS)) && place.is_dir() && !kept {
            fs::remove_dir_all(place)?;
        }
    }
    state::forget(folder)?;
    // Where something is left, they stay.
    for empty in [&folder.join(DOWNLOADS), folder] {
        let _ = fs::remove_dir(empty);
    }
    Ok(())
}

type Work = fn(&Road<'_>, &Plan) -> Result<(), String>;

/// One step.
struct Step {
    name: &'static str,
    title: Sentence,
    /// What must be there for it to be done.
    leaves: Option<PathBuf>,
    work: Work,
}

/// What all steps need.
struct Road<'a> {
    folder: &'a Path,
    means: &'a Means,
    witness: &'a dyn Witness,
}

impl Road<'_> {
    fn steps(&self, plan: &Plan) -> Vec<Step> {
        let step = |name, (en, zh): (String, String), leaves: Option<PathBuf>, work: Work| Step {
            name,
            title: Sentence::new(en, zh),
            leaves,
            work,
        };
        let at = |name: &str| Some(self.folder.join(name));
        let Plan { raw, diff, adapter, .. } = plan;
        let mut steps = vec![
            step(
                "raw",
                (format!("Check the original weights in {raw}"), format!("检查 {raw} 中的原始权重")),
                None,
                |road, plan| road.check(Path::new(&plan.raw), None),
            ),
            step(
                "diff",
                (format!("Get and check the difference {diff}"), format!("获取并检查差分权重 {diff}")),
                Some(self.place(diff)),
                |road, plan| road.fetch_and_check(&plan.diff),
            ),
        ];
        if adapter != "none" {
            let title = (format!("Get and check the adapter {adapter}"), format!("获取并检查适配器 {adapter}"));
            let work: Work = |road, plan| road.fetch_and_check(&plan.adapter);
            steps.push(step("adapter", title, Some(self.place(adapter)), work));
        }
        let title = ("Recover the base: original and difference".into(), "由原始权重和差分恢复基座".into());
        steps.push(step("base", title, at("base"), |road, plan| road.recover(plan)));
        if plan.merge {
            let title = ("Merge the adapter into the base".into(), "把适配器合并到基座".into());
            steps.push(step("merged", title, at("merged"), |road, plan| road.merge(plan)));
        }
        if plan.gguf.is_some() {
            let title = ("Write a GGUF file".into(), "写入 GGUF 文件".into());
            steps.push(step("gguf", title, Some(self.gguf(plan)), |road, plan| road.convert(plan)));
        }
        let title = ("Check the result".into(), "检查结果".into());
        steps.push(step("result", title, None, |road, plan| {
            let all = [Some("base"), plan.merge.then_some("merged")];
            all.into_iter().flatten().try_for_each(|name| road.check(&road.folder.join(name), None))
        }));
        steps
    }

    fn place(&self, name: &str) -> PathBuf {
        place(self.folder, name)
    }

    fn gguf(&self, plan: &Plan) -> PathBuf {
        gguf(self.folder, plan)
    }

    fn fetch_and_check(&self, name: &str) -> Result<(), String> {
        let place = self.place(name);
        let model = known::by_name(name).filter(|_| !Path::new(name).exists());
        if let Some(model) = model {
            let options = DownloadOptions {
                out: Some(place.clone()),
                mirror: self.means.mirror.clone(),
                token: self.means.token.clone(),
                ..DownloadOptions::new(model.name.clone(), self.folder)
            };
            download(&options, &|event| self.witness.fetching(event), &AtomicBool::new(false))
                .map_err(|e| e.to_string())?;
        }
        self.check(&place, model.filter(|model| !model.md5.is_empty()).map(|model| model.name.clone()))
    }

    fn check(&self, path: &Path, known: Option<String>) -> Result<(), String> {
        let options = VerifyOptions { list: None, known, threads: self.means.threads };
        let checking = |done, total| self.witness.progress(Phase::Checking, done, total);
        let report = verify(path, &options, &checking).map_err(|e| e.to_string())?;
        if report.ok {
            return Ok(());
        }
        self.witness.wrong(&report);
        Err(format!("{} is not as it should be", path.display()))
    }

    fn recover(&self, plan: &Plan) -> Result<(), String> {
        let (raw, diff) = (open(Path::new(&plan.raw))?, open(&self.place(&plan.diff))?);
        let (to, options) = (self.folder.join("base"), self.options("recover", true));
        self.write(|progress| combine(Direction::Recover, &raw, &diff, &to, &options, progress))
    }

    fn merge(&self, plan: &Plan) -> Result<(), String> {
        let base = open(&self.folder.join("base"))?;
        let adapter = Lora::open(&self.place(&plan.adapter), 1.0).map_err(|e| e.to_string())?;
        let (to, options) = (self.folder.join("merged"), self.options("merge", true));
        self.write(|progress| merge::to_folder(&base, &[adapter], &to, &options, progress))
    }

    fn convert(&self, plan: &Plan) -> Result<(), String> {
        let from = open(&self.folder.join(if plan.merge { "merged" } else { "base" }))?;
        let format = plan.gguf.as_deref().and_then(convert::file_format);
        let options = self.options("convert", false).write;
        self.write(|progress| convert::to_gguf(&from, &self.gguf(plan), format, &options, progress))
    }

    fn options(&self, operation: &str, sums: bool) -> ModelOptions {
        let write = WriteOptions { sums, threads: self.means.threads, ..WriteOptions::new(operation) };
        ModelOptions { element: None, container: Container::Safetensors, rotary: false, write }
    }

    fn write<E: std::fmt::Display>(
        &self,
        work: impl FnOnce(&(dyn Fn(u64, u64) -> bool + Sync)) -> Result<Outcome, E>,
    ) -> Result<(), String> {
        let done = work(&|done, total| {
            self.witness.progress(Phase::Writing, done, total);
            true
        });
        done.map_err(|e| e.to_string())?.notes.iter().for_each(|note| self.witness.note(note));
        Ok(())
    }

    fn ready(&self, plan: &Plan) -> Ready {
        let model = match (&plan.gguf, plan.merge) {
            (Some(_), _) => self.gguf(plan),
            (None, true) => self.folder.join("merged"),
            (None, false) => self.folder.join("base"),
        };
        let adapter = (plan.adapter != "none" && !plan.merge).then(|| self.place(&plan.adapter));
        Ready { model, adapter }
    }
}

/// Where a difference or adapter lies: the folder that was named, or the one it is fetched to.
fn place(folder: &Path, name: &str) -> PathBuf {
    match known::by_name(name) {
        Some(model) if !Path::new(name).exists() => folder.join(DOWNLOADS).join(&model.name),
        _ => PathBuf::from(name),
    }
}

/// The GGUF file that is written where one is wanted.
fn gguf(folder: &Path, plan: &Plan) -> PathBuf {
    let name = if plan.merge { "merged" } else { "base" };
    folder.join(format!("{name}.{}.gguf", plan.gguf.as_deref().unwrap_or_default().to_lowercase()))
}

fn open(path: &Path) -> Result<Source, String> {
    Source::open(path).map_err(|e| e.to_string())
}
