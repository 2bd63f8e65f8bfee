//! The line below an answer: how it ended, how long it took, and what was sent.

use leptos::prelude::*;
use protocol::{FinishReason, Mode, PARAMETERS, RunStatus, RunView, Timings};

use super::raw_answer::RawAnswer;
use crate::{
    i18n::{t, t_string, use_i18n},
    live::{Document, Run},
    prefs::{fill, language},
};

/// State, token counts and speed of a run.
#[component]
pub fn RunLine(run: Run) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let state = {
        let run = run.clone();
        move || {
            run.with(|r| match (r.status, r.finish_reason) {
                (RunStatus::Queued, _) => match r.position {
                    Some(n) if n > 0 => fill(t_string!(i18n, state_queued_at), &[("count", &n)]),
                    _ => t_string!(i18n, state_queued).to_owned(),
                },
                (RunStatus::Running, _) => t_string!(i18n, state_running).to_owned(),
                (_, Some(FinishReason::Error)) | (RunStatus::Failed, _) => {
                    r.error.clone().unwrap_or_else(|| FinishReason::Error.sentence(language()).into())
                }
                (_, Some(reason)) => reason.sentence(language()).into(),
                (_, None) => r.status.name().into(),
            })
        }
    };
    let class = {
        let run = run.clone();
        move || {
            run.with(|r| match (r.status, r.finish_reason) {
                (RunStatus::Queued | RunStatus::Running, _) => "state live",
                (_, Some(FinishReason::Stop)) => "state good",
                (_, Some(FinishReason::Error)) | (RunStatus::Failed, _) => "state bad",
                _ => "state warn",
            })
        }
    };
    let status = {
        let run = run.clone();
        move || run.with(|r| r.status.name())
    };
    let reason = {
        let run = run.clone();
        move || run.with(|r| r.finish_reason.map(FinishReason::name))
    };
    let guided = {
        let run = run.clone();
        move || run.with(|r| r.parameters.guided)
    };
    let figures = move || {
        run.with(|r| {
            let mut parts = Vec::new();
            if let Some(n) = r.prompt_tokens {
                parts.push(fill(t_string!(i18n, figure_prompt), &[("count", &n)]));
            }
            if r.completion_tokens > 0 {
                parts.push(fill(t_string!(i18n, figure_answer), &[("count", &r.completion_tokens)]));
            }
            if let Some(t) = r.timings.filter(|t| t.accepted > 0) {
                parts.push(fill(t_string!(i18n, figure_guessed), &[("right", &t.accepted), ("all", &t.guessed)]));
            }
            if let Some(t) = r.timings {
                if t.tokens_per_second > 0.0 {
                    parts.push(fill(
                        t_string!(i18n, figure_speed),
                        &[("speed", &format!("{:.0}", t.tokens_per_second))],
                    ));
                }
                if t.prefill_ms > 0.0 {
                    let first = seconds(t.queue_ms + t.prefill_ms);
                    parts.push(fill(t_string!(i18n, figure_first), &[("seconds", &first)]));
                }
            }
            parts.join(" · ")
        })
    };
    view! {
        <p class="run-line" role="status" data-testid="run-line" data-status=status data-finish=reason>
            <span class=class>{state}</span>
            " "
            <span class="figures">{figures}</span>
            {move || guided().then(|| view! {
                " · "
                <abbr class="figures" data-testid="guided" title=move || t_string!(i18n, figure_guided_help)>{t!(i18n, figure_guided)}</abbr>
            })}
        </p>
    }
}

fn seconds(milliseconds: f64) -> String {
    if milliseconds < 1000.0 { format!("{milliseconds:.0} ms") } else { format!("{:.1} s", milliseconds / 1000.0) }
}

/// The name of what answered: the real checkpoint, and the adapter if there is one.
pub fn answered_by(run: &RunView, no_adapter: &str) -> String {
    match &run.adapter {
        Some(adapter) => format!("{} + {adapter}", run.model),
        None => format!("{}, {no_adapter}", run.model),
    }
}

/// Raw answer, exact prompt and parameters, one click away.
#[component]
pub fn Details(
    run: Run,
    /// The text that it is about.
    #[prop(optional_no_strip)]
    document: Option<Document>,
) -> impl IntoView {
    let i18n = use_i18n();
    let answer = run.clone();
    let prompt = run.with_untracked(|r| r.prompt.clone());
    let model = {
        let run = run.clone();
        move || run.with(|r| answered_by(r, t_string!(i18n, no_adapter)))
    };
    let rows = parameter_rows(&run);
    let times = move || run.with(|r| r.timings).map(|timings| view! { <TimeRows timings/> });
    view! {
        <div class="details">
            <details>
                <summary>{t!(i18n, raw_answer)}</summary>
                <RawAnswer run=answer document/>
            </details>
            <details>
                <summary>{t!(i18n, exact_prompt)}</summary>
                <pre data-testid="exact-prompt">{prompt}</pre>
            </details>
            <details>
                <summary>{t!(i18n, parameters)}</summary>
                <table class="plain">
                    <tbody>
                        <tr><th scope="row">{t!(i18n, model)}</th><td>{model}</td></tr>
                        {rows}
                        {times}
                    </tbody>
                </table>
            </details>
        </div>
    }
}

/// Where a run's time went, as rows of a table.
#[component]
fn TimeRows(timings: Timings) -> impl IntoView {
    let i18n = use_i18n();
    let Timings { queue_ms, prefill_ms, decode_ms, mask_ms, .. } = timings;
    view! {
        <tr><th scope="row">{t!(i18n, time_queue)}</th><td>{seconds(queue_ms)}</td></tr>
        <tr><th scope="row">{t!(i18n, time_prefill)}</th><td>{seconds(prefill_ms)}</td></tr>
        <tr data-testid="time-decode"><th scope="row">{t!(i18n, time_decode)}</th><td>{seconds(decode_ms)}</td></tr>
        {(mask_ms > 0.0).then(|| view! {
            <tr><th scope="row">{t!(i18n, time_mask)}</th><td>{seconds(mask_ms)}</td></tr>
        })}
    }
}

/// The rows of a table of a run's parameters, without those that are empty, or that have no meaning for it.
pub(super) fn parameter_rows(run: &Run) -> impl Fn() -> AnyView + Send + Clone + 'static {
    let language = language();
    let (mode, parameters) = run.with_untracked(|r| (r.mode, r.parameters.clone()));
    move || {
        PARAMETERS
            .iter()
            .filter(|spec| mode == Mode::Lora || !spec.extracts)
            .map(|spec| (spec.label_in(language()), parameters.text_of(spec.name)))
            .filter(|(_, value)| !value.is_empty())
            .map(|(label, value)| view! { <tr><th scope="row">{label}</th><td>{value}</td></tr> })
            .collect_view()
            .into_any()
    }
}
