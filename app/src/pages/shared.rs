//! `/s/{token}`: what a link shows, frozen when it was made.

use leptos::prelude::*;
use leptos_router::hooks::{use_params_map, use_query_map};
use protocol::{
    review::Shared as SharedView,
    view::{Page, Snapshot},
};

use super::{error_page, session::SessionItems, sessions::Moment};
use crate::{
    api,
    components::{ExportBase, ExportMenu, OnlyChanged, PageTitle, Pager, Standalone},
    i18n::{t, t_string, use_i18n},
    live,
    prefs::fill,
};

#[component]
pub fn Shared() -> impl IntoView {
    let (params, query) = (use_params_map(), use_query_map());
    let page = move || query.with(|q| q.get("page").and_then(|page| page.parse().ok()).unwrap_or(1));
    let shared = Resource::new_blocking(
        move || (params.with(|p| p.get("token").unwrap_or_default()), page()),
        |(token, page)| api::get_shared(token, page),
    );
    view! {
        <Suspense fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                let path = format!("/s/{}", params.with_untracked(|p| p.get("token").unwrap_or_default()));
                match shared.await {
                    Ok(shared) => {
                        let pages = Pages::of(&shared, &path);
                        provide_context(ExportBase(path));
                        view! {
                            <PageTitle text=shared.snapshot.session.title.clone()/>
                            <meta name="robots" content="noindex"/>
                            <SnapshotBody pages snapshot=shared.snapshot/>
                        }.into_any()
                    }
                    Err(error) => error_page(&error),
                }
            })}
        </Suspense>
    }
}

/// Which page of many texts is shown.
#[derive(Clone, Debug)]
pub struct Pages {
    path: String,
    page: usize,
    pages: usize,
    texts: usize,
}

impl Pages {
    /// `None` where all texts are on one page.
    fn of(shared: &SharedView, path: &str) -> Option<Self> {
        let SharedView { page, pages, texts, .. } = *shared;
        (texts > 0).then(|| Self { path: path.to_owned(), page, pages, texts })
    }

    fn pager(self) -> impl IntoView {
        let i18n = use_i18n();
        let Self { path, page, pages, texts } = self;
        let to = move |to: usize| format!("{path}?page={to}");
        let (previous, next) = ((page > 1).then(|| to(page - 1)), (page < pages).then(|| to(page + 1)));
        let place = Signal::derive(move || {
            let page = fill(t_string!(i18n, page_of), &[("page", &page), ("pages", &pages)]);
            format!("{page} · {}", fill(t_string!(i18n, texts_count), &[("count", &texts)]))
        });
        view! { <Pager previous next place/> }
    }
}

/// A session that can only be read; also the body of the exported file. `pages`: where its texts are on many.
#[component]
pub fn SnapshotBody(snapshot: Snapshot, #[prop(optional_no_strip)] pages: Option<Pages>) -> impl IntoView {
    let i18n = use_i18n();
    let error = RwSignal::new(None);
    let Snapshot { note, shared_at, session, .. } = snapshot;
    let page = session.page;
    let mut items = live::items(session.runs, session.documents, session.extractions);
    if pages.is_some() {
        // As in the file: what is shown begins with the last.
        items.reverse();
    }
    let items = RwSignal::new(items);
    OnlyChanged::provide();
    let export =
        use_context::<ExportBase>().filter(|_| page != Page::Complete && use_context::<Standalone>().is_none());
    view! {
        <section class="page" id="work" data-testid="snapshot">
            <h1 data-testid="session-title">{session.title}</h1>
            {(!note.is_empty()).then(|| view! { <p class="note" data-testid="note">{note}</p> })}
            <p class="muted">{t!(i18n, shared_at)} " " <Moment at=shared_at/></p>
            {export.map(|base| view! { <div class="buttons"><ExportMenu base=base.0 text=None/></div> })}
            {pages.clone().map(Pages::pager)}
            <SessionItems items page read_only=true error/>
            {pages.map(Pages::pager)}
        </section>
    }
}
