//! The whole road as a job.

use std::path::{Path, PathBuf};

use checkpoint::{download::DownloadEvent, verify::VerifyReport};
use protocol::{Sentence, job::Phase};

use super::work::{Said, Setting, Tell, failed, fetching};
use crate::weights::{
    road::{Means, Witness, walk},
    state::{Plan, State},
};

/// Goes the road, or on from where it was left; what can be served then.
pub(super) fn walked(
    plan: &Plan,
    mirror: Option<&str>,
    folder: &Path,
    setting: &Setting,
    tell: Tell<'_>,
) -> Result<PathBuf, Sentence> {
    let made = std::fs::create_dir_all(folder);
    made.map_err(|e| failed(format!("the folder {} cannot be made: {e}", folder.display())))?;
    let state = State::load(folder).map_err(failed)?.unwrap_or_else(|| State::new(plan.clone()));
    let means = Means {
        mirror: mirror.map(str::to_owned).or_else(|| setting.mirror.clone()),
        token: setting.token.clone(),
        threads: setting.threads(),
    };
    walk(folder, state, &means, &Told(tell)).map(|ready| ready.model).map_err(failed)
}

/// Says what happens as jobs do.
struct Told<'a>(Tell<'a>);

impl Witness for Told<'_> {
    fn step(&self, number: usize, of: usize, title: &Sentence, done: bool) {
        let Sentence { en, zh } = title;
        let (was, done_zh) = if done { (": done before", "：先前已完成") } else { ("", "") };
        self.note(&Sentence::new(
            format!("{number} of {of}: {en}{was}"),
            format!("第 {number} 步，共 {of} 步：{zh}{done_zh}"),
        ));
    }

    fn progress(&self, phase: Phase, done: u64, total: u64) {
        (self.0)(Said::Progress { phase, done, total });
    }

    fn fetching(&self, event: DownloadEvent<'_>) {
        fetching(event, self.0);
    }

    fn note(&self, note: &Sentence) {
        (self.0)(Said::Note(note.clone()));
    }

    fn wrong(&self, report: &VerifyReport) {
        for problem in report.problems.iter().take(10) {
            let (file, what, remedy) = (&problem.file, &problem.what, &problem.remedy);
            self.note(&Sentence::new(format!("{file}: {what}; {remedy}"), format!("{file}：{what}；{remedy}")));
        }
    }
}
