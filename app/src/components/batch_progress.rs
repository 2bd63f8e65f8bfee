//! How a batch does: how many rows are done, how fast, how long yet; and what can be done with it.

use leptos::prelude::*;
use protocol::{Language, batch::BatchView};

use super::ExportMenu;
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::{fill, language},
};

/// Progress, buttons and downloads of a batch.
#[component]
pub fn BatchProgress(batch: RwSignal<BatchView>) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let session = StoredValue::new(batch.with_untracked(|b| b.session.clone()));
    let counts = Memo::new(move |_| batch.with(|b| b.counts));
    let going = Memo::new(move |_| batch.with(|b| b.going));
    let done = move || {
        let c = counts.get();
        fill(t_string!(i18n, batch_done_of), &[("done", &c.ended()), ("total", &c.wanted)])
    };
    let figures = move || {
        batch.with(|b| {
            let mut parts = Vec::new();
            if let (Some(rows), Some(tokens)) = (b.rows_per_second, b.tokens_per_second) {
                let (rows, tokens) = (format!("{rows:.1}"), format!("{tokens:.0}"));
                parts.push(fill(t_string!(i18n, batch_rate), &[("rows", &rows), ("tokens", &tokens)]));
            }
            if let (true, Some(left)) = (b.going && b.counts.waiting + b.counts.running > 0, b.seconds_left) {
                parts.push(fill(t_string!(i18n, batch_left), &[("time", &duration(left, language()))]));
            }
            parts.join(" · ")
        })
    };
    let state = move || {
        let c = counts.get();
        if going.get() {
            ("state live", t_string!(i18n, batch_going).to_owned())
        } else if c.waiting > 0 {
            ("state warn", t_string!(i18n, batch_stopped).to_owned())
        } else if c.wanted < c.total {
            ("state good", t_string!(i18n, batch_sample_done).to_owned())
        } else {
            ("state good", t_string!(i18n, batch_all_done).to_owned())
        }
    };
    let estimate = move || {
        batch.with(|b| {
            let more = b.counts.total - b.counts.wanted;
            let seconds = b.seconds_all.filter(|_| more > 0 && !b.going)?;
            let time = duration(seconds, language());
            Some(fill(t_string!(i18n, batch_estimate), &[("count", &more), ("time", &time)]))
        })
    };
    let act = move |name: &'static str| session.with_value(|s| format!("/batch/{s}/{name}"));
    let download = move |query: &'static str| session.with_value(|s| format!("/batch/{s}/download?{query}"));
    let some_done = Memo::new(move |_| counts.get().ended() > 0);
    view! {
        <section class="progress" data-testid="batch-progress" aria-live="off">
            <p class="run-line">
                <span class=move || state().0 data-testid="batch-state" data-going=move || going.get().to_string()>{move || state().1}</span>
                " " <strong data-testid="batch-done">{done}</strong> " " <span class="figures">{figures}</span>
            </p>
            <progress
                max=move || counts.get().wanted.max(1).to_string() value=move || counts.get().ended().to_string()
                aria-label=move || t_string!(i18n, batch_going)
            ></progress>
            {move || batch.with(|b| b.reason.clone()).map(|said| view! { <p class="notice error" role="alert">{said.in_language(language()).to_owned()}</p> })}
            {move || estimate().map(|said| view! { <p class="notice" data-testid="estimate">{said}</p> })}
            <div class="buttons">
                <Show when=move || going.get()>
                    <form method="post" action=move || act("stop")><button class="stop" data-testid="stop">{t!(i18n, batch_stop)}</button></form>
                </Show>
                <Show when=move || !going.get() && counts.get().waiting != 0>
                    <form method="post" action=move || act("on")><button class="primary" data-testid="go-on">{t!(i18n, batch_on)}</button></form>
                </Show>
                <Show when=move || { let c = counts.get(); c.wanted < c.total }>
                    <form method="post" action=move || act("all")>
                        <button class=move || if going.get() { "" } else { "primary" } data-testid="run-all">
                            {move || fill(t_string!(i18n, batch_run_all), &[("count", &counts.get().total)])}
                        </button>
                    </form>
                </Show>
                <Show when=move || counts.get().retryable() != 0>
                    <form method="post" action=move || act("retry")><button data-testid="retry">{t!(i18n, batch_retry)}</button></form>
                </Show>
            </div>
            <Show when=move || some_done.get()>
                <div class="buttons downloads">
                    <span class="row-label">{t!(i18n, batch_download)}</span>
                    <a class="button quiet" rel="external" download="" href=move || download("format=jsonl") data-testid="download-jsonl">"JSON Lines"</a>
                    <a class="button quiet" rel="external" download="" href=move || download("format=csv") data-testid="download-csv">"CSV"</a>
                    <a class="button quiet" rel="external" download="" href=move || download("format=csv&bom=on")>{t!(i18n, batch_csv_excel)}</a>
                    <ExportMenu base=Signal::derive(move || session.with_value(|s| format!("/sessions/{s}"))) text=None/>
                    <a href=move || session.with_value(|s| format!("/sessions/{s}/review"))>{t!(i18n, batch_review)}</a>
                </div>
                <p class="help">{t!(i18n, batch_download_help)}</p>
            </Show>
        </section>
    }
}

/// `3 min 20 s`.
pub fn duration(seconds: f64, language: Language) -> String {
    let left = seconds.max(0.0).ceil() as u64;
    let [h, m, s] = match language {
        Language::En => [" h", " min", " s"],
        Language::Zh => [" 小时", " 分", " 秒"],
    };
    match (left / 3600, left / 60 % 60, left % 60) {
        (0, 0, seconds) => format!("{seconds}{s}"),
        (0, minutes, seconds) => format!("{minutes}{m} {seconds}{s}"),
        (hours, minutes, _) => format!("{hours}{h} {minutes}{m}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_rounded_to_what_matters() {
        assert_eq!(duration(0.2, Language::En), "1 s");
        assert_eq!(duration(200.0, Language::En), "3 min 20 s");
        assert_eq!(duration(7400.0, Language::Zh), "2 小时 3 分");
    }
}
