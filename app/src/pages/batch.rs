//! `/batch`: a file of texts through a schema. Without a query the upload and what there is already; with `upload` the choice of
//! columns and schema; with `session` a batch on its way, and of it one row with `row`.

use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use protocol::{
    Bench, SessionView,
    batch::{BatchSummary, BatchView, RowCard, RowState, UploadView},
};
use serde::{Deserialize, Serialize};

use super::{
    error_page,
    session::{SessionLinks, SessionTitle},
    sessions::Moment,
};
use crate::{
    api, batches,
    components::{
        BatchChoice, BatchList, BatchProgress, BatchRow, BatchRows, BatchUpload, ErrorNotice, PageTitle, Place,
        SharePanel,
    },
    i18n::{t, t_string, use_i18n},
    services::ServiceError,
};

/// What the address asks for.
#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Home,
    Choose(String),
    Open(Place),
}

/// What is shown.
#[derive(Clone, Serialize, Deserialize)]
enum Shown {
    Home(Vec<BatchSummary>),
    Choose(Box<(UploadView, Bench)>),
    Open(Box<(BatchView, Option<RowCard>)>),
}

#[component]
pub fn Batch() -> impl IntoView {
    let i18n = use_i18n();
    let query = use_query_map();
    let asked = Memo::new(move |_| {
        query.with(|query| {
            let get = |name: &str| query.get(name).filter(|value| !value.is_empty());
            match (get("session"), get("upload")) {
                (Some(session), _) => Asked::Open(Place {
                    session,
                    page: get("page").and_then(|page| page.parse().ok()).unwrap_or(1),
                    only: get("only").and_then(|state| RowState::from_name(&state)),
                    row: get("row").and_then(|row| row.parse().ok()),
                }),
                (None, Some(upload)) => Asked::Choose(upload),
                (None, None) => Asked::Home,
            }
        })
    });
    let data = Resource::new_blocking(move || asked.get(), load);
    view! {
        <PageTitle text=move || t_string!(i18n, nav_batch)/>
        <Transition fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                match data.await {
                    Ok(Shown::Home(batches)) => view! { <Home batches/> }.into_any(),
                    Ok(Shown::Choose(data)) => view! { <BatchChoice upload=data.0 bench=data.1/> }.into_any(),
                    Ok(Shown::Open(data)) => {
                        let place = untrack(|| asked.get());
                        let Asked::Open(place) = place else { return ().into_any() };
                        view! { <Open batch=data.0 card=data.1 place/> }.into_any()
                    }
                    Err(error) => error_page(&error),
                }
            })}
        </Transition>
    }
}

async fn load(asked: Asked) -> Result<Shown, ServiceError> {
    Ok(match asked {
        Asked::Home => Shown::Home(batches::get_batches().await?),
        Asked::Choose(upload) => Shown::Choose(Box::new((batches::get_upload(upload).await?, api::get_bench().await?))),
        Asked::Open(place) => {
            let batch = batches::get_batch(place.session.clone(), place.page, place.only).await?;
            let card = match place.row {
                Some(row) => Some(batches::get_row(place.session, row).await?),
                None => None,
            };
            Shown::Open(Box::new((batch, card)))
        }
    })
}

#[component]
fn Home(batches: Vec<BatchSummary>) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <section class="page batch" id="work">
            <h1>{t!(i18n, batch_title)}</h1>
            <BatchUpload/>
            <BatchList batches/>
        </section>
    }
}

/// A batch on its way. While it is being worked on the page asks once a second how it does.
#[component]
fn Open(batch: BatchView, card: Option<RowCard>, place: Place) -> impl IntoView {
    let i18n = use_i18n();
    let (title, schema) = (batch.title.clone(), batch.schema.title());
    let (compare, going) = (batch.compare, batch.going);
    let format = batch.asking.format.map(|format| format.name());
    let batch = RwSignal::new(batch);
    let lost = RwSignal::new(false);
    let error = RwSignal::new(None::<ServiceError>);
    let card = RwSignal::new(card);
    follow(batch, place.clone(), lost, error);
    follow_row(batch, card, place.clone(), error);
    let opened = {
        let place = place.clone();
        move || card.get().map(|card| view! { <BatchRow card place=place.clone()/> })
    };
    view! {
        <section class="page batch" id="work">
            <PageTitle text=title.clone()/>
            <h1 data-testid="batch-title">{title}</h1>
            <p class="muted">
                {schema} {compare.then(|| view! { " · " {t!(i18n, batch_both)} })}
                {format.map(|name| view! { " · " <span data-testid="asked-format">{t!(i18n, format_title)} ": " {name}</span> })}
                " · " <a href="/batch">{t!(i18n, batch_another)}</a>
            </p>
            {going.then(|| view! { <noscript inner_html=r#"<meta http-equiv="refresh" content="2">"#></noscript> })}
            <Show when=move || lost.get()>
                <p class="notice warn" role="status">{t!(i18n, connection_lost)}</p>
            </Show>
            <ErrorNotice error/>
            <BatchProgress batch/>
            {opened}
            <BatchRows batch place/>
            <p class="muted">{t!(i18n, batch_kept)}</p>
        </section>
    }
}

/// A session that is a batch. Its rows are listed, not all drawn.
#[component]
pub fn BatchSession(session: SessionView, batch: BatchView) -> impl IntoView {
    let i18n = use_i18n();
    let error = RwSignal::new(None::<ServiceError>);
    let id = session.id;
    let place = Place { session: id.clone(), page: 1, only: None, row: None };
    let batch = RwSignal::new(batch);
    let lost = RwSignal::new(false);
    follow(batch, place.clone(), lost, error);
    view! {
        <section class="page batch" id="work">
            <SessionTitle id=id.clone() title=session.title error/>
            <p class="muted">
                <Moment at=session.created_at/> " · "
                <a href=place.path() data-testid="continue">{t!(i18n, nav_batch)}</a>
                <SessionLinks id=id.clone()/>
            </p>
            <ErrorNotice error/>
            <Show when=move || lost.get()>
                <p class="notice warn" role="status">{t!(i18n, connection_lost)}</p>
            </Show>
            <SharePanel session=Some(id) open=session.shares error records=true/>
            <BatchProgress batch/>
            <BatchRows batch place/>
        </section>
    }
}

/// Loads an opened row again when it is somewhere else than it was: a row that waited has been done.
fn follow_row(
    batch: RwSignal<BatchView>,
    card: RwSignal<Option<RowCard>>,
    place: Place,
    error: RwSignal<Option<ServiceError>>,
) {
    let Some(position) = place.row else { return };
    // Where the list says it is; of one that has left the list, how many have ended.
    let now = Memo::new(move |_| {
        batch.with(|batch| {
            let row = batch.rows.iter().find(|row| row.position == position);
            row.map(|row| row.state).ok_or_else(|| batch.counts.ended())
        })
    });
    Effect::new(move |before: Option<()>| {
        let now = now.get();
        let shown = card.with_untracked(|card| card.as_ref().map(|card| card.row.state));
        let changed = match (now, shown) {
            (_, None) => false,
            (Ok(now), Some(shown)) => now != shown,
            (Err(_), Some(shown)) => before.is_some() && matches!(shown, RowState::Waiting | RowState::Running),
        };
        if !changed {
            return;
        }
        let session = place.session.clone();
        leptos::task::spawn_local(async move {
            match batches::get_row(session, position).await {
                Ok(row) => {
                    card.try_set(Some(row));
                }
                // The batch itself says when the server is gone.
                Err(ServiceError::Unreachable) => {}
                Err(e) => {
                    error.try_set(Some(e));
                }
            }
        });
    });
}

/// Brings a batch up to date until nothing goes on, or the server says why it cannot.
fn follow(batch: RwSignal<BatchView>, place: Place, lost: RwSignal<bool>, error: RwSignal<Option<ServiceError>>) {
    use std::time::Duration;
    let ask = StoredValue::new(0_u32);
    // Ends with the page: the timer below finds the value gone.
    Effect::new(move |_| {
        if batch.with(|batch| !batch.going) {
            return;
        }
        let place = place.clone();
        let wait = if lost.get_untracked() { 3 } else { 1 };
        let number = ask.try_update_value(|n| {
            *n += 1;
            *n
        });
        let again = move || {
            // Another timer has been set since, or the page was left.
            if ask.try_get_value() != number {
                return;
            }
            leptos::task::spawn_local(async move {
                let now = batches::get_batch(place.session, place.page, place.only).await;
                match now {
                    Ok(now) => {
                        lost.try_set(false);
                        batch.try_set(now);
                    }
                    Err(ServiceError::Unreachable) => {
                        lost.try_set(true);
                        batch.try_update(|_| ());
                    }
                    Err(e) => {
                        lost.try_set(false);
                        error.try_set(Some(e));
                    }
                }
            });
        };
        set_timeout(again, Duration::from_secs(wait));
    });
}
