//! The runs of an extraction, as one: how far they are, and each one's answer and prompt.

use leptos::{prelude::*, task::spawn_local};
use protocol::{FinishReason, RunStatus, Task};

use super::{
    raw_answer::RawAnswer,
    run_line::{Details, RunLine, answered_by, parameter_rows},
};
use crate::{
    api,
    i18n::{t, t_string, use_i18n},
    live::{Connection, Document, Run, follow_also},
    prefs::{fill, language},
    services::ServiceError,
};

/// What is known of many runs together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Progress {
    all: usize,
    ended: usize,
    running: usize,
    tokens: u64,
    /// Of those that ended: the reason that a person must know of most, and how many have it.
    worst: Option<(FinishReason, usize)>,
}

impl Progress {
    fn of(runs: &[Run]) -> Self {
        let mut progress = Self { all: runs.len(), ..Self::default() };
        for run in runs {
            run.with(|r| {
                progress.ended += usize::from(r.status.is_final());
                progress.running += usize::from(r.status == RunStatus::Running);
                progress.tokens += u64::from(r.completion_tokens);
                if let Some(reason) = r.finish_reason.filter(|reason| *reason != FinishReason::Stop) {
                    progress.worst = match progress.worst {
                        Some((worst, count)) if worst == reason => Some((worst, count + 1)),
                        Some((worst, count)) if grave(worst) >= grave(reason) => Some((worst, count)),
                        _ => Some((reason, 1)),
                    };
                }
            });
        }
        progress
    }

    fn done(self) -> bool {
        self.ended == self.all
    }

    fn status(self) -> RunStatus {
        match (self.done(), self.worst) {
            (false, _) if self.running == 0 && self.ended == 0 => RunStatus::Queued,
            (false, _) => RunStatus::Running,
            (true, Some((FinishReason::Error, _))) => RunStatus::Failed,
            (true, Some((FinishReason::Interrupted, _))) => RunStatus::Interrupted,
            (true, Some((FinishReason::Cancelled, _))) => RunStatus::Cancelled,
            (true, _) => RunStatus::Finished,
        }
    }
}

fn grave(reason: FinishReason) -> u8 {
    match reason {
        FinishReason::Stop => 0,
        FinishReason::Repeat => 1,
        FinishReason::Length => 2,
        FinishReason::Cancelled => 3,
        FinishReason::Interrupted => 4,
        FinishReason::Error => 5,
    }
}

/// State and size of runs that belong together; of a single one its own line.
#[component]
pub fn RunsLine(runs: Vec<Run>) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    if let [run] = runs.as_slice() {
        return view! { <RunLine run=run.clone()/> }.into_any();
    }
    let error = {
        let runs = runs.clone();
        move || runs.iter().find_map(|r| r.with(|r| r.error.clone()))
    };
    // A question in a person's own words is not guided.
    let guided = runs.iter().filter(|run| run.with_untracked(|r| r.parameters.guided)).count();
    let some = (guided < runs.len()).then(|| format!(" {guided}/{}", runs.len()));
    let progress = Memo::new(move |_| Progress::of(&runs));
    let state = move || {
        let p = progress.get();
        match p.worst {
            _ if !p.done() => fill(t_string!(i18n, runs_done), &[("count", &p.ended), ("all", &p.all)]),
            None => FinishReason::Stop.sentence(language()).to_owned(),
            Some((reason, count)) => {
                let said = match reason {
                    FinishReason::Error => error().unwrap_or_else(|| reason.sentence(language()).to_owned()),
                    reason => reason.sentence(language()).to_owned(),
                };
                fill(t_string!(i18n, runs_worst), &[("count", &count), ("all", &p.all), ("sentence", &said)])
            }
        }
    };
    let class = move || match progress.with(|p| (p.done(), p.worst)) {
        (false, _) => "state live",
        (true, None) => "state good",
        (true, Some((FinishReason::Error, _))) => "state bad",
        (true, Some(_)) => "state warn",
    };
    view! {
        <p class="run-line" role="status" data-testid="run-line" data-status=move || progress.get().status().name()
            data-finish=move || { let p = progress.get(); p.done().then(|| p.worst.map_or(FinishReason::Stop, |(r, _)| r).name()) }>
            <span class=class>{state}</span>
            " "
            <span class="figures">
                {move || { let p = progress.get(); fill(t_string!(i18n, runs_figures), &[("runs", &p.all), ("tokens", &p.tokens)]) }}
            </span>
            {(guided > 0).then(|| view! {
                " · "
                <abbr class="figures" data-testid="guided" title=move || t_string!(i18n, figure_guided_help)>{t!(i18n, figure_guided)} {some}</abbr>
            })}
            <Show when=move || !progress.get().done()>
                <progress max=move || progress.get().all value=move || progress.get().ended></progress>
            </Show>
        </p>
    }
    .into_any()
}

/// A button that asks those runs of an extraction again that were stopped, interrupted or failed, where there are such and
/// nothing goes on any more; a form, so that it works without scripts.
#[component]
pub fn MissingParts(runs: Vec<Run>, error: RwSignal<Option<ServiceError>>) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let connection = use_context::<Connection>();
    let extraction = runs.first().and_then(|run| run.with_untracked(|r| r.extraction.clone()));
    let (Some(connection), Some(extraction)) = (connection, extraction) else { return ().into_any() };
    let missing = {
        let runs = runs.clone();
        Memo::new(move |_| {
            let state = |run: &Run| run.with(|r| r.status);
            let ended = runs.iter().all(|run| state(run).is_final());
            if ended { runs.iter().filter(|run| state(run) != RunStatus::Finished).count() } else { 0 }
        })
    };
    let action = format!("/extractions/{extraction}/missing");
    let (runs, extraction) = (StoredValue::new(runs), StoredValue::new(extraction));
    let sending = RwSignal::new(false);
    let ask = move |ev: leptos::ev::SubmitEvent| {
        ev.prevent_default();
        if sending.get_untracked() {
            return;
        }
        sending.set(true);
        error.set(None);
        let language = untrack(language);
        spawn_local(async move {
            match api::ask_missing(extraction.get_value(), language).await {
                Ok(queued) => {
                    let again: Vec<Run> = runs.with_value(|runs| {
                        let of = |run: &&Run| queued.iter().any(|q| run.with_untracked(|r| r.id == q.id));
                        runs.iter().filter(of).cloned().collect()
                    });
                    for view in queued {
                        if let Some(run) = again.iter().find(|run| run.with_untracked(|r| r.id == view.id)) {
                            run.set(view);
                        }
                    }
                    follow_also(again, connection);
                }
                Err(e) => error.set(Some(e)),
            }
            sending.set(false);
        });
    };
    view! {
        <Show when=move || missing.get() != 0>
            <form method="post" action=action.clone() on:submit=ask>
                <button type="submit" class="quiet" data-testid="missing" disabled=move || sending.get()>
                    {move || fill(t_string!(i18n, missing_again), &[("count", &missing.get())])}
                </button>
            </form>
        </Show>
    }
    .into_any()
}

/// Answers, prompts and parameters of runs that belong together; of a single one its own.
#[component]
pub fn RunsDetails(
    runs: Vec<Run>,
    /// The text that they are about.
    document: Option<Document>,
) -> impl IntoView {
    let i18n = use_i18n();
    let [first, _, ..] = runs.as_slice() else {
        return runs.first().map(|run| view! { <Details run=run.clone() document/> }).into_any();
    };
    let model = {
        let run = first.clone();
        move || run.with(|r| answered_by(r, t_string!(i18n, no_adapter)))
    };
    let rows = parameter_rows(first);
    let count = runs.len();
    let each =
        move || runs.iter().cloned().map(|run| view! { <RunEntry run document=document.clone()/> }).collect_view();
    view! {
        <div class="details">
            <details data-testid="runs">
                <summary>{move || fill(t_string!(i18n, runs_each), &[("count", &count)])}</summary>
                <ol class="runs">{each()}</ol>
            </details>
            <details>
                <summary>{t!(i18n, parameters)}</summary>
                <table class="plain">
                    <tbody>
                        <tr><th scope="row">{t!(i18n, model)}</th><td>{model}</td></tr>
                        {rows}
                    </tbody>
                </table>
            </details>
        </div>
    }
    .into_any()
}

/// One run: what it asked of which part, its answer, and its prompt.
#[component]
fn RunEntry(run: Run, document: Option<Document>) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let (prompt, task, part) = run.with_untracked(|r| (r.prompt.clone(), r.schema.as_ref().map(|s| s.task), r.part));
    let task = move || match task {
        Some(Task::Entities) => t_string!(i18n, task_entities),
        Some(Task::Relations) => t_string!(i18n, task_relations),
        Some(Task::Events) => t_string!(i18n, task_events),
        None => t_string!(i18n, task_free),
    };
    let place = part.map(|p| format!(" · {}–{}", p.start, p.end));
    let state = {
        let run = run.clone();
        move || {
            run.with(|r| match r.finish_reason {
                Some(FinishReason::Stop) => None,
                Some(reason) => Some(r.error.clone().unwrap_or_else(|| reason.sentence(language()).to_owned())),
                None if r.status == RunStatus::Running => Some(t_string!(i18n, state_running).to_owned()),
                None => Some(t_string!(i18n, state_queued).to_owned()),
            })
        }
    };
    view! {
        <li>
            <p class="muted">{task} {place} {move || state().map(|s| format!(" · {s}"))}</p>
            <RawAnswer run document/>
            <details>
                <summary>{t!(i18n, exact_prompt)}</summary>
                <pre data-testid="exact-prompt">{prompt}</pre>
            </details>
        </li>
    }
}
