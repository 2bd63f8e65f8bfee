//! Sharing a session: links with a note to their readers, and files to take away.

use leptos::prelude::*;
use protocol::view::ShareView;

use super::{
    export_menu::ExportMenu,
    links::{LinkButton, Links, MadeLink, Making, OpenLinks},
};
use crate::{
    api,
    filing::in_order,
    i18n::{t, t_string, use_i18n},
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
    let links = Links::new(open, error);
    let note = RwSignal::new(String::new());
    let noted = RwSignal::new(false);
    let send = move |origin| -> Making {
        Box::pin(api::share(session.get_untracked().unwrap_or_default(), note.get_untracked(), origin))
    };
    let annotate = move || {
        let Some(link) = links.made() else { return };
        let text = note.get_untracked();
        in_order(async move {
            match api::annotate(link, text).await {
                Ok(link) => {
                    links.put(link);
                    noted.try_set(true);
                }
                Err(e) => {
                    error.try_set(Some(e));
                }
            }
        });
    };
    let path = move |rest: &'static str| move || format!("/sessions/{}{rest}", session.get().unwrap_or_default());
    view! {
        <Show when=move || session.get().is_some()>
            <div class="share">
                <div class="buttons">
                    <LinkButton links action=Signal::derive(path("/share")) send/>
                    <a class="button quiet" href=path("/export.html") rel="external" data-testid="export">{t!(i18n, export_html)}</a>
                    {records.then(|| view! { <ExportMenu base=Signal::derive(path("")) text=None/> })}
                </div>
                <MadeLink links local=Signal::derive(move || t_string!(i18n, share_local_only).to_owned())>
                    <p class="help">{t!(i18n, share_frozen)}</p>
                    <label class="field">
                        {t!(i18n, share_note)}
                        <input type="text" data-testid="share-note" maxlength="2000" prop:value=move || note.get()
                            on:input=move |ev| { noted.set(false); note.set(event_target_value(&ev)) }
                            on:change=move |_| annotate()
                            on:keydown=move |ev| if ev.key() == "Enter" && !ev.is_composing() { annotate() }/>
                    </label>
                    <Show when=move || noted.get()><p class="help" data-testid="note-saved">{t!(i18n, note_saved)}</p></Show>
                </MadeLink>
                <OpenLinks links/>
            </div>
        </Show>
    }
}
