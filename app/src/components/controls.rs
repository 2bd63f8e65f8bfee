//! The buttons of a work page, and its notices.

use leptos::prelude::*;

use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::{fill, language},
    services::ServiceError,
};

/// Run, Stop, New session.
#[component]
pub fn RunButtons(
    /// Label of the run button while nothing has been run.
    #[prop(into)]
    label: Signal<String>,
    /// A run is going on.
    #[prop(into)]
    running: Signal<bool>,
    /// A request is on its way.
    #[prop(into)]
    sending: Signal<bool>,
    #[prop(into)] stop: Callback<()>,
    /// There is a session that could be left.
    #[prop(into)]
    in_session: Signal<bool>,
    /// Where a new session starts.
    new_session: &'static str,
) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="buttons">
            <button type="submit" class="primary" data-testid="run" disabled=move || running.get() || sending.get()>
                {move || label.get()}
                <kbd>"Ctrl ↵"</kbd>
            </button>
            <Show when=move || running.get()>
                <button type="button" class="stop" data-testid="stop" on:click=move |_| stop.run(())>
                    {t!(i18n, stop)} <kbd>"Esc"</kbd>
                </button>
            </Show>
            <Show when=move || in_session.get() && !running.get()>
                <a class="button quiet" href=new_session rel="external" data-testid="new-session">{t!(i18n, new_session)}</a>
            </Show>
        </div>
    }
}

/// The sentence of an error, until it is dismissed or the next try.
#[component]
pub fn ErrorNotice(error: RwSignal<Option<ServiceError>>) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    move || {
        error.get().map(|e| {
            view! {
                <p class="notice error" role="alert" data-testid="error">
                    {move || e.sentence(language())}
                    <button type="button" class="link" on:click=move |_| error.set(None)>{t!(i18n, dismiss)}</button>
                </p>
            }
        })
    }
}

/// Asks, when several lines were pasted, whether they are one text or several.
#[component]
pub fn Splitter(
    /// Number of texts the lines make.
    #[prop(into)]
    count: Signal<usize>,
    split: RwSignal<bool>,
) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <Show when=move || { count.get() > 1 }>
            <div class="splitter chips" role="radiogroup" aria-label=move || t_string!(i18n, split_question) data-testid="splitter">
                <span>{t!(i18n, split_question)}</span>
                <label class="chip">
                    <input type="radio" name="split" value="off" checked={!split.get_untracked()}
                        prop:checked=move || !split.get() on:change=move |_| split.set(false)/>
                    <span>{t!(i18n, split_one)}</span>
                </label>
                <label class="chip">
                    <input type="radio" name="split" value="on" checked={split.get_untracked()}
                        prop:checked=move || split.get() on:change=move |_| split.set(true)/>
                    <span>{move || fill(t_string!(i18n, split_many), &[("count", &count.get())])}</span>
                </label>
            </div>
        </Show>
    }
}
