//! `/sessions/{id}`: a session as it was saved, and as it goes on.

use leptos::{prelude::*, task::spawn_local};
use leptos_router::{
    components::A,
    hooks::{use_params_map, use_query_map},
};
use protocol::{SessionView, view::Page};

use super::{batch::BatchSession, error_page, sessions::Moment};
use crate::{
    api, batches,
    components::{
        ComparisonCard, CompletionCard, ErrorNotice, ExtractionCard, Headline, OnlyChanged, PageTitle, SharePanel,
        Standalone,
    },
    i18n::{t, t_string, use_i18n},
    live::{self, Connection, Item},
    prefs::fill,
    services::ServiceError,
};

/// More items than this are behind a click: each is a text in all its views.
const SHOWN: usize = 30;

#[component]
pub fn Session() -> impl IntoView {
    let params = use_params_map();
    let session = Resource::new_blocking(
        move || params.with(|p| p.get("id").unwrap_or_default()),
        |id| async move {
            Ok::<_, ServiceError>(match batches::find_batch(id.clone()).await? {
                Some((session, batch)) => (session, Some(batch)),
                None => (api::session(id).await?, None),
            })
        },
    );
    view! {
        <Suspense fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                match session.await {
                    Ok((session, Some(batch))) => view! { <BatchSession session batch/> }.into_any(),
                    Ok((session, None)) => view! { <Open session/> }.into_any(),
                    Err(error) => error_page(&error),
                }
            })}
        </Suspense>
    }
}

#[component]
fn Open(session: SessionView) -> impl IntoView {
    let i18n = use_i18n();
    let connection = expect_context::<Connection>();
    let error = RwSignal::new(None::<ServiceError>);
    let id = session.id.clone();
    let page = session.page;
    let items = live::items(session.runs, session.documents, session.extractions);
    let items = RwSignal::new(items);
    OnlyChanged::provide();
    Effect::new(move |_| items.with_untracked(|items| live::follow(items, connection)));
    on_cleanup(live::leave);
    let going_on =
        move || items.with(|items| items.iter().flat_map(|i| &i.runs).any(|r| r.with(|v| !v.status.is_final())));
    let refresh = untrack(going_on);
    view! {
        <section class="page" id="work">
            <SessionTitle id=id.clone() title=session.title error/>
            <p class="muted">
                <Moment at=session.created_at/> " · "
                <a href=format!("{}?session={id}", page.path()) rel="external" data-testid="continue">{t!(i18n, session_continue)}</a>
                {(page != Page::Complete).then(|| view! { <SessionLinks id=id.clone()/> })}
            </p>
            <ErrorNotice error/>
            <SharePanel session=Some(id) open=session.shares error records=page != Page::Complete/>
            // Without scripts the page loads itself again until nothing goes on any more.
            {refresh.then(|| view! { <noscript inner_html=r#"<meta http-equiv="refresh" content="1">"#></noscript> })}
            <SessionItems items page read_only=false error/>
        </section>
    }
}

/// The other pages of a session that has records.
#[component]
pub fn SessionLinks(id: String) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        " · " <A href=format!("/sessions/{id}/review") attr:data-testid="to-review">{t!(i18n, review_title)}</A>
        " · " <A href=format!("/sessions/{id}/scores") attr:data-testid="to-scores">{t!(i18n, scores_title)}</A>
        " · " <A href=format!("/sessions/{id}/graph") attr:data-testid="to-graph">{t!(i18n, corpus_title)}</A>
    }
}

/// The items of a session, newest first.
#[component]
pub fn SessionItems(
    #[prop(into)] items: Signal<Vec<Item>>,
    page: Page,
    read_only: bool,
    error: RwSignal<Option<ServiceError>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let card = move |item: Item| {
        let card = if item.is_comparison() {
            view! { <ComparisonCard item=item.clone() read_only error/> }.into_any()
        } else if page == Page::Complete {
            view! { <CompletionCard item=item.clone() current=false/> }.into_any()
        } else {
            view! { <ExtractionCard item=item.clone() read_only error/> }.into_any()
        };
        view! {
            {card}
            {(!read_only).then(|| view! { <StopButton item error/> })}
        }
    };
    let standalone = use_context::<Standalone>().is_some();
    let all = RwSignal::new(standalone || use_query_map().with_untracked(|q| q.get("show").as_deref() == Some("all")));
    let count = move || items.with(Vec::len);
    view! {
        {move || items.with(|items| items.iter().any(Item::is_comparison)).then(|| view! { <Headline items/> })}
        <div class="results" data-testid="session-items">
            {move || {
                let items = items.get();
                if items.is_empty() {
                    view! { <p class="empty">{t!(i18n, session_empty)}</p> }.into_any()
                } else {
                    let shown = if all.get() { items.len() } else { SHOWN };
                    items.into_iter().rev().take(shown).map(card).collect_view().into_any()
                }
            }}
            <Show when=move || !all.get() && (count() > SHOWN)>
                <p>
                    <a class="button quiet" href="?show=all" rel="external" data-testid="show-all" on:click=move |ev| { ev.prevent_default(); all.set(true) }>
                        {move || fill(t_string!(i18n, show_all_items), &[("count", &count())])}
                    </a>
                </p>
            </Show>
        </div>
    }
}

/// Stops what goes on in an item; a form, so that it works without scripts.
#[component]
fn StopButton(item: Item, error: RwSignal<Option<ServiceError>>) -> impl IntoView {
    let i18n = use_i18n();
    // One for a run, and one for all the runs of an extraction.
    let columns = item.columns().into_iter();
    columns
        .map(|column| {
            let runs = item.runs_of(column);
            let action = runs.first().map(|run| {
                run.with_untracked(|r| match &r.extraction {
                    Some(extraction) => format!("/extractions/{extraction}/stop"),
                    None => format!("/runs/{}/stop", r.id),
                })
            });
            let ids: Vec<String> = runs.iter().map(|run| run.with_untracked(|r| r.id.clone())).collect();
            let going_on = Memo::new(move |_| runs.iter().any(|run| run.with(|r| !r.status.is_final())));
            move || {
                let ids = ids.clone();
                going_on.get().then(|| {
                    view! {
                        <form method="post" action=action.clone() on:submit=move |ev| {
                            ev.prevent_default();
                            let ids = ids.clone();
                            spawn_local(async move {
                                if let Err(e) = api::stop(ids).await {
                                    error.set(Some(e));
                                }
                            });
                        }>
                            <button type="submit" class="stop" data-testid="stop">{t!(i18n, stop)}</button>
                        </form>
                    }
                })
            }
        })
        .collect_view()
}

/// The title, edited where it stands: Enter or leaving it keeps it, Escape puts it back. Without scripts it has a form.
#[component]
pub fn SessionTitle(id: String, title: String, error: RwSignal<Option<ServiceError>>) -> impl IntoView {
    let i18n = use_i18n();
    let saved = RwSignal::new(title.clone());
    let (action, typed) = (format!("/sessions/{id}/rename"), title.clone());
    let element = NodeRef::<leptos::html::H1>::new();
    let save = move || {
        let Some(heading) = element.get_untracked() else { return };
        let typed = heading.text_content().unwrap_or_default().trim().to_owned();
        if typed.is_empty() {
            heading.set_text_content(Some(&saved.get_untracked()));
        } else if typed != saved.get_untracked() {
            let id = id.clone();
            spawn_local(async move {
                match api::rename(id, typed.clone()).await {
                    Ok(()) => saved.set(typed),
                    Err(e) => error.set(Some(e)),
                }
            });
        }
    };
    let keys = move |ev: leptos::ev::KeyboardEvent| {
        let Some(heading) = element.get_untracked() else { return };
        match ev.key().as_str() {
            "Enter" if !ev.is_composing() => {
                ev.prevent_default();
                let _ = heading.blur();
            }
            "Escape" if !ev.is_composing() => {
                heading.set_text_content(Some(&saved.get_untracked()));
                let _ = heading.blur();
            }
            _ => {}
        }
    };
    view! {
        <PageTitle text=move || saved.get()/>
        <h1
            node_ref=element class="editable" data-testid="session-title" contenteditable="plaintext-only"
            title=move || t_string!(i18n, rename) spellcheck="false"
            on:keydown=keys on:blur=move |_| save()
        >{title}</h1>
        <details class="rename without-scripts">
            <summary>{t!(i18n, schema_rename)}</summary>
            <form method="post" action=action>
                <input type="text" name="title" data-testid="title-field" required maxlength="200" value=typed aria-label=move || t_string!(i18n, title_label)/>
                <button class="quiet" data-testid="title-save">{t!(i18n, save)}</button>
            </form>
        </details>
    }
}
