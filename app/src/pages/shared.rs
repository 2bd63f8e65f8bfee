//! `/s/{token}`: what a link shows, frozen when it was made.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use protocol::view::{Page, Snapshot};

use super::{error_page, session::SessionItems, sessions::Moment};
use crate::{
    api,
    components::{ExportBase, ExportMenu, OnlyChanged, Standalone},
    i18n::{t, use_i18n},
    live,
};

#[component]
pub fn Shared() -> impl IntoView {
    let params = use_params_map();
    let snapshot =
        Resource::new_blocking(move || params.with(|p| p.get("token").unwrap_or_default()), api::get_snapshot);
    view! {
        <Suspense fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                provide_context(ExportBase(format!("/s/{}", params.with_untracked(|p| p.get("token").unwrap_or_default()))));
                match snapshot.await {
                    Ok(snapshot) => view! {
                        <Title text=snapshot.session.title.clone()/>
                        <meta name="robots" content="noindex"/>
                        <SnapshotBody snapshot/>
                    }.into_any(),
                    Err(error) => error_page(&error),
                }
            })}
        </Suspense>
    }
}

/// A session that can only be read; also the body of the exported file.
#[component]
pub fn SnapshotBody(snapshot: Snapshot) -> impl IntoView {
    let i18n = use_i18n();
    let error = RwSignal::new(None);
    let Snapshot { note, shared_at, session, .. } = snapshot;
    let page = session.page;
    let items = RwSignal::new(live::items(session.runs, session.documents, session.extractions));
    OnlyChanged::provide();
    let export =
        use_context::<ExportBase>().filter(|_| page != Page::Complete && use_context::<Standalone>().is_none());
    view! {
        <section class="page" id="work" data-testid="snapshot">
            <h1 data-testid="session-title">{session.title}</h1>
            {(!note.is_empty()).then(|| view! { <p class="note" data-testid="note">{note}</p> })}
            <p class="muted">{t!(i18n, shared_at)} " " <Moment at=shared_at/></p>
            {export.map(|base| view! { <div class="buttons"><ExportMenu base=base.0 text=None/></div> })}
            <SessionItems items page read_only=true error/>
        </section>
    }
}
