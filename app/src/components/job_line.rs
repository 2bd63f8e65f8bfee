//! How a job does, and what can be done with it. The same in the list and on the job's own page.

use leptos::prelude::*;
use protocol::{
    Language,
    job::{JobProgress, JobState, JobView, Operation, Outcome, Phase},
};

use super::{
    amounts::size,
    batch_progress::duration,
    job_form::{form_path, operation_name},
};
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::{fill, language},
};

/// What a job is about: its model, and what it writes.
pub fn subject(job: &JobView) -> String {
    let name = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned();
    let input = match job.request.operation {
        Operation::Download => job.request.input.clone(),
        _ => name(&job.request.input),
    };
    match &job.place {
        Some(place) => format!("{input} → {}", name(place)),
        None => input,
    }
}

/// State, progress, reason and buttons of a job.
#[component]
pub fn JobLine(#[prop(into)] job: Signal<JobView>) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let (id, operation) = job.with_untracked(|job| (job.id.clone(), job.request.operation));
    let path = format!("/admin/weights?job={id}");
    let state = Memo::new(move |_| job.with(|job| job.state));
    let found_wrong =
        Memo::new(move |_| job.with(|job| matches!(&job.outcome, Some(Outcome::Verified(found)) if !found.ok)));
    let progress = Memo::new(move |_| job.with(|job| job.progress));
    let named = move || {
        if found_wrong.get() {
            return ("state bad", t_string!(i18n, job_state_wrong).to_owned());
        }
        match state.get() {
            JobState::Waiting => {
                let before = job.with(|job| job.before);
                let waiting = t_string!(i18n, job_state_waiting);
                let before = (before > 0).then(|| fill(t_string!(i18n, job_before), &[("count", &before)]));
                ("state", before.map_or(waiting.to_owned(), |before| format!("{waiting}, {before}")))
            }
            JobState::Running => ("state live", t_string!(i18n, job_state_running).to_owned()),
            JobState::Stopped => ("state warn", t_string!(i18n, job_state_stopped).to_owned()),
            JobState::Done => ("state good", t_string!(i18n, job_state_done).to_owned()),
            JobState::Failed => ("state bad", t_string!(i18n, job_state_failed).to_owned()),
        }
    };
    let phase = move || {
        progress.get().map(|p| match p.phase {
            Phase::Opening => t_string!(i18n, phase_opening),
            Phase::Writing => t_string!(i18n, phase_writing),
            Phase::Comparing => t_string!(i18n, phase_comparing),
            Phase::Before => t_string!(i18n, phase_before),
            Phase::After => t_string!(i18n, phase_after),
            Phase::Checking => t_string!(i18n, phase_checking),
            Phase::Fetching => t_string!(i18n, phase_fetching),
            Phase::Rounding => t_string!(i18n, phase_rounding),
            Phase::Scoring => t_string!(i18n, phase_scoring),
        })
    };
    let figures = move || match (state.get(), progress.get()) {
        (JobState::Running, Some(p)) => {
            let said = figures(&p, language(), t_string!(i18n, batch_left));
            std::iter::once(phase().unwrap_or_default().to_owned()).chain(said).collect::<Vec<_>>().join(" · ")
        }
        (JobState::Stopped, Some(p)) if p.total > 0 => amount(&p),
        (JobState::Done | JobState::Failed, _) => duration(job.with(|job| job.busy_ms) as f64 / 1000.0, language()),
        _ => String::new(),
    };
    // An edit of what failed, with all that was entered.
    let edit = job.with_untracked(|job| form_path(&job.request));
    let act = move |name: &str| format!("/admin/weights/{}/{name}", job.with_untracked(|job| job.id.clone()));
    let (stop, on, retry, forget) = (act("stop"), act("on"), act("on"), act("forget"));
    view! {
        <div class="progress job" data-testid="job" data-job=id data-operation=operation.name() data-state=move || state.get().name()>
            <p class="run-line">
                <a href=path data-testid="job-link"><strong>{operation_name(operation)}</strong></a>
                " " {move || job.with(subject)}
            </p>
            <p class="run-line">
                <span class=move || named().0 data-testid="job-state">{move || named().1}</span>
                " " <span class="figures" data-testid="job-figures">{figures}</span>
            </p>
            <Show when=move || state.get() == JobState::Running>
                <progress
                    max=move || progress.get().map_or(1, |p| p.total.max(1)).to_string()
                    value=move || progress.get().filter(|p| p.total > 0).map(|p| p.done.to_string())
                    aria-label=move || phase().unwrap_or_default()
                ></progress>
            </Show>
            {move || job.with(|job| job.error.clone()).map(|said| view! {
                <p class="notice error" role="alert" data-testid="job-error">{said.in_language(language()).to_owned()}</p>
            })}
            <div class="buttons">
                <Show when=move || state.get().is_going()>
                    <form method="post" action=stop.clone()><button class="stop" data-testid="stop">{t!(i18n, batch_stop)}</button></form>
                </Show>
                <Show when=move || state.get() == JobState::Stopped>
                    <form method="post" action=on.clone()><button class="primary" data-testid="go-on">{t!(i18n, batch_on)}</button></form>
                </Show>
                <Show when=move || state.get() == JobState::Failed>
                    <form method="post" action=retry.clone()><button data-testid="retry">{t!(i18n, job_retry)}</button></form>
                    <a class="button quiet" href=edit.clone() data-testid="edit">{t!(i18n, job_edit)}</a>
                </Show>
                <Show when=move || !state.get().is_going()>
                    <form method="post" action=forget.clone()><button class="quiet" data-testid="forget">{t!(i18n, job_forget)}</button></form>
                </Show>
            </div>
        </div>
    }
}

/// `12.3 MB of 98.4 MB`.
fn amount(p: &JobProgress) -> String {
    if p.phase.counts_bytes() {
        format!("{} / {}", size(p.done), size(p.total))
    } else {
        format!("{} / {}", p.done, p.total)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn figures(p: &JobProgress, language: Language, left: &str) -> Vec<String> {
    if p.total == 0 {
        return Vec::new();
    }
    let mut parts = vec![amount(p)];
    if let Some(rate) = p.per_second.filter(|_| p.phase.counts_bytes()) {
        parts.push(format!("{}/s", size(rate as u64)));
    }
    if let Some(seconds) = p.seconds_left.filter(|_| p.done < p.total) {
        parts.push(fill(left, &[("time", &duration(seconds, language))]));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_bytes_or_pieces() {
        let mut p = JobProgress {
            phase: Phase::Writing,
            done: 50,
            total: 100,
            per_second: Some(10.0),
            seconds_left: Some(5.0),
        };
        assert_eq!(figures(&p, Language::En, "{time} left"), ["50 B / 100 B", "10 B/s", "5 s left"]);
        p.phase = Phase::After;
        assert_eq!(figures(&p, Language::En, "{time} left"), ["50 / 100", "5 s left"]);
        p.total = 0;
        assert!(figures(&p, Language::En, "").is_empty());
    }
}
