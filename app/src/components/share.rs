//! Making, annotating and revoking links to a session.

use leptos::{prelude::*, task::spawn_local};
use protocol::view::{NewShare, ShareView};

use super::export_menu::ExportMenu;
use crate::{
    api,
    filing::in_order,
    i18n::{t, t_string, use_i18n},
    pages::Moment,
    services::ServiceError,
};

/// One click makes the link; a note can be written to it, and it can be closed again.
#[component]
pub fn SharePanel(
    #[prop(into)] session: Signal<Option<String>>,
    open: Vec<ShareView>,
    error: RwSignal<Option<ServiceError>>,
    /// Whether the session has records, which can be taken away in many formats.
    #[prop(default = true)]
    records: bool,
) -> impl IntoView {
    let i18n = use_i18n();
    let made = RwSignal::new(None::<NewShare>);
    let links = RwSignal::new(open);
    let note = RwSignal::new(String::new());
    let noted = RwSignal::new(false);
    let copied = RwSignal::new(false);
    let sending = RwSignal::new(false);

    let share = move |ev: leptos::ev::SubmitEvent| {
        ev.prevent_default();
        let Some(session) = session.get_untracked().filter(|_| !sending.get_untracked()) else { return };
        error.set(None);
        copied.set(false);
        sending.set(true);
        let text = note.get_untracked();
        // With everything that was said before it.
        in_order(async move {
            let origin = location().origin().unwrap_or_default();
            match api::share(session, text.clone(), origin).await {
                Ok(share) => {
                    links.update(|l| l.push(ShareView { id: share.id.clone(), created_at: now(), note: text }));
                    made.set(Some(share));
                }
                Err(e) => error.set(Some(e)),
            }
            sending.try_set(false);
        });
    };
    let revoke = move |id: String| {
        spawn_local(async move {
            match api::revoke(id.clone()).await {
                Ok(()) => {
                    links.update(|l| l.retain(|s| s.id != id));
                    made.update(|m| {
                        if m.as_ref().is_some_and(|m| m.id == id) {
                            *m = None;
                        }
                    });
                }
                Err(e) => error.set(Some(e)),
            }
        });
    };
    let annotate = move || {
        let Some(share) = made.get_untracked() else { return };
        let text = note.get_untracked();
        spawn_local(async move {
            match api::annotate(share.id.clone(), text.clone()).await {
                Ok(_) => {
                    links.update(|l| {
                        if let Some(link) = l.iter_mut().find(|l| l.id == share.id) {
                            link.note = text;
                        }
                    });
                    noted.set(true);
                }
                Err(e) => error.set(Some(e)),
            }
        });
    };
    let action = move || format!("/sessions/{}/share", session.get().unwrap_or_default());
    let base = move || format!("/sessions/{}", session.get().unwrap_or_default());
    let export = move || format!("/sessions/{}/export.html", session.get().unwrap_or_default());
    view! {
        <Show when=move || session.get().is_some()>
            <div class="share">
                <div class="buttons">
                    <form method="post" action=action on:submit=share>
                        <button type="submit" class="quiet" data-testid="share" aria-busy=move || sending.get().then_some("true")>
                            {move || if sending.get() { t_string!(i18n, share_making) } else { t_string!(i18n, share) }}
                        </button>
                    </form>
                    <a class="button quiet" href=export rel="external" data-testid="export">{t!(i18n, export_html)}</a>
                    {records.then(|| view! { <ExportMenu base=Signal::derive(base) text=None/> })}
                </div>
                {move || made.get().map(|share| {
                    let url = share.url.clone();
                    view! {
                        <div class="notice good" data-testid="share-made">
                            <p>
                                <a data-testid="share-link" href=share.url.clone() target="_blank" rel="noopener external">{share.url.clone()}</a>
                                " "
                                <button type="button" class="link" on:click=move |_| { copy(&url); copied.set(true) }>
                                    {move || if copied.get() { t_string!(i18n, copied) } else { t_string!(i18n, copy) }}
                                </button>
                            </p>
                            <p class="help">
                                {t!(i18n, share_frozen)} " "
                                {share.local_only.then(|| view! { <strong data-testid="local-only">{t!(i18n, share_local_only)}</strong> })}
                            </p>
                            <label class="field">
                                {t!(i18n, share_note)}
                                <input type="text" data-testid="share-note" maxlength="2000" prop:value=move || note.get()
                                    on:input=move |ev| { noted.set(false); note.set(event_target_value(&ev)) }
                                    on:change=move |_| annotate()
                                    on:keydown=move |ev| if ev.key() == "Enter" && !ev.is_composing() { annotate() }/>
                            </label>
                            <Show when=move || noted.get()><p class="help" data-testid="note-saved">{t!(i18n, note_saved)}</p></Show>
                        </div>
                    }
                })}
                <Show when=move || !links.with(Vec::is_empty)>
                    <ul class="links" data-testid="open-links">
                        {move || links.get().into_iter().map(|link| {
                            let (id, action) = (link.id.clone(), format!("/shares/{}/revoke", link.id));
                            // One without a note is told from others by its time.
                            let unnamed = link.note.trim().is_empty();
                            view! {
                                <li>
                                    {t!(i18n, share_open)} " " <span class="muted">{if unnamed { view! { <Moment at=link.created_at/> }.into_any() } else { link.note.into_any() }}</span> " "
                                    <form method="post" action=action on:submit=move |ev| { ev.prevent_default(); revoke(id.clone()) }>
                                        <button class="link" data-testid="revoke">{t!(i18n, revoke)}</button>
                                    </form>
                                </li>
                            }
                        }).collect_view()}
                    </ul>
                </Show>
            </div>
        </Show>
    }
}

/// Now, in milliseconds since 1970; of a link just made, which only the browser lists.
fn now() -> i64 {
    #[cfg(feature = "hydrate")]
    #[allow(clippy::cast_possible_truncation)]
    return js_sys::Date::now() as i64;
    #[cfg(not(feature = "hydrate"))]
    0
}

/// Puts a text on the clipboard, where the browser allows it.
pub fn copy(text: &str) {
    #[cfg(feature = "hydrate")]
    let _ = window().navigator().clipboard().write_text(text);
    #[cfg(not(feature = "hydrate"))]
    let _ = text;
}
