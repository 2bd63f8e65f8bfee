//! The work itself, in the process that does it.

use std::{path::Path, sync::atomic::AtomicBool};

use checkpoint::{
    Element, Source,
    convert::{self, file_format},
    diff::{Direction, ModelOptions, combine},
    download::{DownloadError, DownloadEvent, DownloadOptions, Only, download},
    inspect::inspect,
    merge::{self, Lora},
    verify::{VerifyOptions, verify},
    write::{Container, WriteOptions, manifest_path},
};
use protocol::{
    Sentence,
    job::{Outcome, Phase},
};
use serde::{Deserialize, Serialize};

use super::{
    quantize::{self, Asked, quantize},
    report,
    request::{Form, Part, Work},
    setup,
};
use crate::weights::{EXCERPT, text_of};

/// What the process says of its work, a line of JSON each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// How far it is.
    Progress {
        /// The part of it.
        phase: Phase,
        /// Bytes or pieces that are done.
        done: u64,
        /// All of them; 0 where that is not known.
        total: u64,
    },
    /// Something worth knowing.
    Note(Sentence),
    /// Something that is soon of no interest.
    Passing(Sentence),
    /// It is done.
    Done(Box<Outcome>),
    /// It could not be done.
    Failed(Sentence),
}

/// Told what happens, by several threads.
pub type Tell<'a> = &'a (dyn Fn(Said) + Sync);

/// What is asked of the process besides the work.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Threads that compute and write; one for each core when not stated.
    pub threads: Option<usize>,
    /// The hub where the work names none.
    pub mirror: Option<String>,
    /// Opens repositories that ask who one is.
    pub token: Option<String>,
}

impl Setting {
    pub(super) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
    }
}

/// Does the work and says what came of it.
pub fn perform(work: &Work, setting: &Setting, tell: Tell<'_>) {
    tell(Said::Progress { phase: Phase::Opening, done: 0, total: 0 });
    tell(match outcome(work, setting, tell) {
        Ok(outcome) => Said::Done(Box::new(outcome)),
        Err(sentence) => Said::Failed(sentence),
    });
}

fn outcome(work: &Work, setting: &Setting, tell: Tell<'_>) -> Result<Outcome, Sentence> {
    let writing = |done, total| {
        tell(Said::Progress { phase: Phase::Writing, done, total });
        // Whoever wants it no more ends the process.
        true
    };
    let options = |operation: &str| WriteOptions { threads: setting.threads(), ..WriteOptions::new(operation) };
    let block = |dtype: &Option<String>| dtype.as_deref().and_then(file_format);
    let model_options = |operation: &str, to: Form, dtype: Option<&str>, shard_bytes| ModelOptions {
        element: dtype.and_then(file_format).map(Element::Block),
        container: if to == Form::PyTorch { Container::PyTorch } else { Container::Safetensors },
        rotary: false,
        // What is only converted has a sum that tells nothing.
        write: WriteOptions { sums: operation != "convert", shard_bytes, ..options(operation) },
    };
    let written = match work {
        Work::Convert { input, to, dtype, shard, out } => {
            let source = open(input)?;
            match to {
                Form::Gguf => convert::to_gguf(&source, out, block(dtype), &options("convert"), &writing),
                to => {
                    let options = model_options("convert", *to, dtype.as_deref(), *shard);
                    convert::to_folder(&source, out, &options, &writing)
                }
            }
            .map_err(failed)?
        }
        Work::Combine { recover, raw, other, to, dtype, shard, out } => {
            let (raw, other) = (open(raw)?, open(other)?);
            let (direction, name) = if *recover { (Direction::Recover, "recover") } else { (Direction::Diff, "diff") };
            let options = model_options(name, *to, dtype.as_deref(), *shard);
            combine(direction, &raw, &other, out, &options, &writing).map_err(failed)?
        }
        Work::Merge { base, adapters, to, dtype, shard, out } => {
            let base = open(base)?;
            let adapters: Result<Vec<Lora>, _> = adapters.iter().map(|(path, w)| Lora::open(path, *w)).collect();
            let adapters = adapters.map_err(failed)?;
            match to {
                Form::Gguf => merge::to_gguf(&base, &adapters, out, block(dtype), &options("merge"), &writing),
                to => {
                    let options = model_options("merge", *to, dtype.as_deref(), *shard);
                    merge::to_folder(&base, &adapters, out, &options, &writing)
                }
            }
            .map_err(failed)?
        }
        Work::Quantize { input, dtype, rounding, out, measure } => {
            return quantize(&Asked { input, dtype, rounding, measure, out }, setting, tell);
        }
        Work::Perplexity { model, text } => {
            let text = text_of(text.as_deref(), EXCERPT).map_err(failed)?;
            return quantize::scored(model, &text, setting, tell).map(Outcome::Scored);
        }
        Work::Setup { plan, mirror, out } => {
            let model = setup::walked(plan, mirror.as_deref(), out, setting, tell)?;
            let path = manifest_path(&model);
            let manifest =
                std::fs::read(&path).map_err(|e| failed(format!("{} cannot be read: {e}", path.display())))?;
            let manifest = serde_json::from_slice(&manifest).map_err(failed)?;
            return Ok(Outcome::Written(report::written(&manifest, &model)));
        }
        Work::Verify { path, list, known } => {
            let options = VerifyOptions { list: list.clone(), known: known.clone(), threads: setting.threads() };
            let checking = |done, total| tell(Said::Progress { phase: Phase::Checking, done, total });
            let found = verify(path, &options, &checking).map_err(failed)?;
            found.notes.iter().for_each(|note| tell(Said::Note(note.clone())));
            return Ok(Outcome::Verified(report::verified(&found)));
        }
        Work::Inspect { path } => {
            return Ok(Outcome::Inspected(Box::new(report::inspected(&inspect(path).map_err(failed)?))));
        }
        Work::Download { name, part, mirror, choice, data_dir } => {
            let options = DownloadOptions {
                mirror: mirror.clone().or_else(|| setting.mirror.clone()),
                token: setting.token.clone(),
                only: match part {
                    Part::Both => Only::Both,
                    Part::Base => Only::Base,
                    Part::Adapter => Only::Adapter,
                },
                include: choice.include.clone(),
                exclude: choice.exclude.clone(),
                ..DownloadOptions::new(name, data_dir)
            };
            let options = match &choice.revision {
                Some(revision) => DownloadOptions { revision: revision.clone(), ..options },
                None => options,
            };
            let files = download(&options, &|event| fetching(event, tell), &AtomicBool::new(false));
            return Ok(Outcome::Fetched(report::fetched(&files.map_err(|e| not_fetched(&e))?)));
        }
    };
    written.notes.iter().for_each(|note| tell(Said::Note(note.clone())));
    report::sum_note(&written.manifest).into_iter().for_each(|note| tell(Said::Note(note)));
    let out = work.place().unwrap_or(Path::new(""));
    Ok(Outcome::Written(report::written(&written.manifest, out)))
}

pub(super) fn fetching(event: DownloadEvent<'_>, tell: Tell<'_>) {
    match event {
        DownloadEvent::Planned { .. } => {}
        DownloadEvent::Progress { done, total } => tell(Said::Progress { phase: Phase::Fetching, done, total }),
        DownloadEvent::Checking(_) => tell(Said::Progress { phase: Phase::Checking, done: 0, total: 0 }),
        DownloadEvent::Retry { file, reason, wait } => {
            let wait = wait.as_secs_f64().ceil();
            tell(Said::Passing(Sentence::new(
                format!("{file}: {reason}; trying again in {wait:.0} s"),
                format!("{file}：{}；{wait:.0} 秒后重试", reason.zh),
            )));
        }
        DownloadEvent::Note(note) => tell(Said::Note(note.clone())),
    }
}

pub(super) fn open(path: &Path) -> Result<Source, Sentence> {
    Source::open(path).map_err(failed)
}

/// What a library says, as a sentence.
pub(super) fn failed(error: impl std::fmt::Display) -> Sentence {
    let said = error.to_string();
    let said = said.trim_end_matches('.');
    let mut letters = said.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    // A name at the beginning stays as it is written.
    let is_name = said.split_whitespace().next().is_some_and(|word| word.contains(['/', '.', '_', ':']));
    let en = if is_name { said.to_owned() } else { first + letters.as_str() };
    Sentence::new(format!("{en}."), format!("未能完成：{said}。"))
}

/// The options that the command line's sentences name are fields here, or belong to the server.
fn not_fetched(error: &DownloadError) -> Sentence {
    match error {
        DownloadError::Unreachable { url, reason } => Sentence::new(
            format!("{url} cannot be reached: {}. Try again, or enter the address of another hub.", reason.en),
            format!("无法连接 {url}：{}。请重试，或填写其他模型站的地址。", reason.zh),
        ),
        DownloadError::GaveUp { file, tries, reason } => Sentence::new(
            format!(
                "{file}: gave up after {tries} attempts that brought nothing: {}. What came is kept: try again, and it goes on there.",
                reason.en
            ),
            format!("{file}：尝试 {tries} 次均未收到数据，已放弃：{}。已下载的部分会保留，重试即可继续。", reason.zh),
        ),
        DownloadError::NotFound { url } => {
            Sentence::new(format!("{url} does not exist on the hub."), format!("模型站上没有 {url}。"))
        }
        DownloadError::NoSpace { folder, needed, free } => {
            let (folder, free, needed) = (folder.display(), free / 1_000_000, needed.div_ceil(1_000_000));
            Sentence::new(
                format!("{folder} has {free} MB free, {needed} MB are to be fetched: make room."),
                format!("{folder} 剩余 {free} MB，需要下载 {needed} MB：请腾出空间。"),
            )
        }
        DownloadError::Refused { url, status } => Sentence::new(
            format!(
                "{url} was refused ({status}): open the model's page on the hub, accept its conditions, and start this server with your token in KNOWLM_HUB_TOKEN."
            ),
            format!(
                "{url} 拒绝访问（{status}）：请在模型站打开该模型的页面并接受其条款，然后把访问令牌放入环境变量 KNOWLM_HUB_TOKEN 再启动服务器。"
            ),
        ),
        other => failed(other),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_download_says_is_said_in_both_languages() {
        let told = std::sync::Mutex::new(Vec::new());
        let reason = Sentence::new("the connection ended early", "连接提前结束");
        let wait = std::time::Duration::from_millis(1500);
        fetching(DownloadEvent::Retry { file: "a.bin", reason: &reason, wait }, &|said| {
            told.lock().unwrap().push(said)
        });
        let sentence =
            Sentence::new("a.bin: the connection ended early; trying again in 2 s", "a.bin：连接提前结束；2 秒后重试");
        assert_eq!(told.into_inner().unwrap(), [Said::Passing(sentence)]);
    }

    #[test]
    fn a_library_s_words_become_a_sentence() {
        assert_eq!(failed("nothing there.").en, "Nothing there.");
        assert_eq!(failed("model.gguf is damaged").en, "model.gguf is damaged.");
        assert_eq!(failed("/a/b is damaged").zh, "未能完成：/a/b is damaged。");
        assert_eq!(failed("").en, ".");
    }
}
