//! `/admin/weights`: model files. What can be done to them, what is being done, and what is there; with `job` one job and all that
//! came of it.

use std::time::Duration;

use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use protocol::job::{FoundFiles, JobRequest, JobView, Operation, WeightsView};
use serde::{Deserialize, Serialize};

use super::{error_page, sessions::Moment};
use crate::{
    components::{AtOnce, JobForm, JobLine, JobResult, PageTitle, operation_name, size, subject},
    i18n::{t, t_string, use_i18n},
    prefs::{fill, language},
    services::ServiceError,
    weights,
};

/// What the address asks for.
#[derive(Clone, Debug, PartialEq)]
enum Asked {
    /// The form with what was entered, and whether that was sent.
    Form(Box<JobRequest>, bool),
    Job(String),
}

/// What is shown.
#[derive(Clone, Serialize, Deserialize)]
enum Shown {
    Form(Box<(WeightsView, JobRequest)>),
    Job(Box<JobView>),
}

#[component]
pub fn Weights() -> impl IntoView {
    let i18n = use_i18n();
    let query = use_query_map();
    let asked = Memo::new(move |_| {
        query.with(|query| {
            if let Some(id) = query.get("job") {
                return Asked::Job(id);
            }
            let operation = query.get("operation").and_then(|name| Operation::from_name(&name));
            let mut request = JobRequest::new(operation.unwrap_or_default());
            for name in JobRequest::FIELDS {
                request.set(name, query.get(name).unwrap_or_default());
            }
            Asked::Form(Box::new(request), query.get("entered").is_some())
        })
    });
    let data = Resource::new_blocking(move || asked.get(), load);
    view! {
        <PageTitle text=move || t_string!(i18n, weights_title)/>
        <Transition fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                match data.await {
                    Ok(Shown::Form(shown)) => view! { <Home view=shown.0 entered=shown.1/> }.into_any(),
                    Ok(Shown::Job(job)) => view! { <Job job=*job/> }.into_any(),
                    Err(error) => error_page(&error),
                }
            })}
        </Transition>
    }
}

async fn load(asked: Asked) -> Result<Shown, ServiceError> {
    Ok(match asked {
        Asked::Form(request, entered) => {
            let view = weights::get_weights(entered.then(|| (*request).clone())).await?;
            Shown::Form(Box::new((view, *request)))
        }
        Asked::Job(id) => Shown::Job(Box::new(weights::get_job(id).await?)),
    })
}

/// What can be done, what is being done, and what is there.
#[component]
fn Home(view: WeightsView, entered: JobRequest) -> impl IntoView {
    let i18n = use_i18n();
    let jobs = RwSignal::new(view.jobs.clone());
    let lost = RwSignal::new(false);
    follow(
        lost,
        move || jobs.with(|jobs| jobs.iter().any(|job| job.state.is_going())),
        move || async move { weights::get_jobs().await.map(|now| drop(jobs.try_set(now))) },
    );
    let (folder, free, models, adapters) = (view.folder.clone(), view.free, view.models.clone(), view.adapters.clone());
    view! {
        <section class="page weights" id="work">
            <h1>{t!(i18n, weights_title)}</h1>
            <p class="muted"><a href="/admin">{t!(i18n, admin_title)}</a></p>
            <JobForm view entered/>
            <Lost lost/>
            <h2>{t!(i18n, weights_jobs)}</h2>
            <Show when=move || jobs.with(Vec::is_empty)><p class="muted" data-testid="no-jobs">{t!(i18n, weights_no_jobs)}</p></Show>
            <div class="jobs" data-testid="jobs">
                <For each=move || jobs.with(|jobs| jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>()) key=Clone::clone let:id>
                    <Row id jobs/>
                </For>
            </div>
            <h2>{t!(i18n, weights_models)}</h2>
            <p class="help">{move || {
                let free = free.map_or_else(|| "–".to_owned(), size);
                fill(t_string!(i18n, weights_folder), &[("folder", &folder), ("free", &free)])
            }}</p>
            <FoundList found=models id="models"/>
            <h2>{t!(i18n, weights_adapters)}</h2>
            <FoundList found=adapters id="adapters"/>
        </section>
    }
}

#[component]
fn Row(id: String, jobs: RwSignal<Vec<JobView>>) -> impl IntoView {
    let first = jobs.with_untracked(|jobs| jobs.iter().find(|job| job.id == id).cloned());
    first.map(|first| {
        // One that has left the list stays as it was until its row has gone too.
        let job = Memo::new(move |before: Option<&JobView>| {
            let now = jobs.with(|jobs| jobs.iter().find(|job| job.id == id).cloned());
            now.or(before.cloned()).unwrap_or_else(|| first.clone())
        });
        view! { <JobLine job/> }
    })
}

/// Models or adapters that are there.
#[component]
fn FoundList(found: Vec<FoundFiles>, id: &'static str) -> impl IntoView {
    let i18n = use_i18n();
    let none = found.is_empty();
    view! {
        {none.then(|| view! { <p class="muted">{t!(i18n, weights_none)}</p> })}
        <ul class="session-list" data-testid=format!("found-{id}")>
            {found.into_iter().map(|FoundFiles { name, bytes, own }| {
                let (shown, input) = (name.clone(), name.clone());
                view! {
                    <li data-name=name>
                        <div>
                            <strong>{shown}</strong>
                            <p class="muted">{size(bytes)} {(!own).then(|| view! { " · " {t!(i18n, weights_elsewhere)} })}</p>
                        </div>
                        <AtOnce operation=Operation::Inspect input/>
                    </li>
                }
            }).collect_view()}
        </ul>
    }
}

/// One job and all that came of it.
#[component]
fn Job(job: JobView) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let (id, created_at, going) = (job.id.clone(), job.created_at, job.state.is_going());
    let (name, about) = (operation_name(job.request.operation), subject(&job));
    let job = RwSignal::new(job);
    let lost = RwSignal::new(false);
    follow(
        lost,
        move || job.with(|job| job.state.is_going()),
        move || {
            let id = id.clone();
            async move { weights::get_job(id).await.map(|now| drop(job.try_set(now))) }
        },
    );
    let outcome = Memo::new(move |_| job.with(|job| job.outcome.clone()));
    let notes = Memo::new(move |_| job.with(|job| job.notes.clone()));
    view! {
        <section class="page weights" id="work">
            <h1 data-testid="job-title">{name} ": " {about}</h1>
            <p class="muted"><Moment at=created_at/> " · " <a href="/admin/weights" data-testid="all-jobs">{t!(i18n, weights_title)}</a></p>
            {going.then(|| view! { <noscript inner_html=r#"<meta http-equiv="refresh" content="2">"#></noscript> })}
            <Lost lost/>
            <JobLine job/>
            <Show when=move || !notes.with(Vec::is_empty)>
                <ul class="notes" data-testid="notes">
                    {move || notes.get().into_iter().map(|note| view! { <li class="note">{note.in_language(language()).to_owned()}</li> }).collect_view()}
                </ul>
            </Show>
            {move || {
                // Drawn again in another language.
                language();
                outcome.get().map(|outcome| view! { <div class="card" data-testid="job-result"><JobResult outcome/></div> })
            }}
        </section>
    }
}

#[component]
fn Lost(lost: RwSignal<bool>) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <Show when=move || lost.get()>
            <p class="notice warn" role="status">{t!(i18n, connection_lost)}</p>
        </Show>
    }
}

/// Asks once a second how things are, for as long as something goes on.
fn follow<F>(
    lost: RwSignal<bool>,
    goes_on: impl Fn() -> bool + 'static,
    ask: impl Fn() -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Result<(), ServiceError>> + 'static,
{
    let number = StoredValue::new(0_u32);
    let again = RwSignal::new(());
    // Ends with the page: the timer below finds the value gone.
    Effect::new(move |_| {
        again.track();
        if !goes_on() {
            return;
        }
        let wait = if lost.get_untracked() { 3 } else { 1 };
        let mine = number.try_update_value(|n| {
            *n += 1;
            *n
        });
        let ask = ask.clone();
        let later = move || {
            // Another timer has been set since, or the page was left.
            if number.try_get_value() != mine {
                return;
            }
            leptos::task::spawn_local(async move {
                lost.try_set(ask().await.is_err());
                again.try_set(());
            });
        };
        set_timeout(later, Duration::from_secs(wait));
    });
}
