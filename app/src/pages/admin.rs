//! `/admin`: the model, and its adapters as they come and go.

use leptos::{prelude::*, task::spawn_local};
use protocol::{AdapterUse, AdminView, FoundAdapter, Language, Task};

use super::error_page;
use crate::{
    api,
    components::{ErrorNotice, PageTitle},
    i18n::{t, t_string, use_i18n},
    prefs::{fill, language},
    services::ServiceError,
};

/// What is being changed, and what came of it.
#[derive(Clone, Copy)]
struct Change {
    error: RwSignal<Option<ServiceError>>,
    busy: RwSignal<bool>,
    done: RwSignal<u32>,
}

impl Change {
    fn make(self, name: String, load: bool) {
        if self.busy.get_untracked() {
            return;
        }
        self.busy.set(true);
        self.error.set(None);
        spawn_local(async move {
            let answer = if load { api::load_adapter(name).await } else { api::unload_adapter(name).await };
            self.error.try_set(answer.err());
            self.busy.try_set(false);
            self.done.try_update(|n| *n += 1);
        });
    }
}

#[component]
pub fn Admin() -> impl IntoView {
    let i18n = use_i18n();
    let change = Change { error: RwSignal::new(None), busy: RwSignal::new(false), done: RwSignal::new(0) };
    let data = Resource::new_blocking(move || change.done.get(), |_| api::admin());
    let language = language();
    view! {
        <PageTitle text=move || t_string!(i18n, nav_admin)/>
        <Transition fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || {
                // Drawn again in another language.
                language();
                Suspend::new(async move {
                    match data.await {
                        Ok(admin) => view! { <Page admin change/> }.into_any(),
                        Err(error) => error_page(&error),
                    }
                })
            }}
        </Transition>
    }
}

#[component]
fn Page(admin: AdminView, change: Change) -> impl IntoView {
    let i18n = use_i18n();
    let AdminView { model, status, found } = admin;
    let parameters = fill(t_string!(i18n, admin_parameters), &[("count", &millions(model.parameters))]);
    let context = fill(t_string!(i18n, admin_context), &[("count", &model.context_length)]);
    let cache = fill(
        t_string!(i18n, admin_cache),
        &[("used", &megabytes(status.cache_bytes)), ("all", &megabytes(status.cache_budget))],
    );
    let process = status.process_bytes.map(megabytes);
    let none = status.adapters.is_empty();
    view! {
        <section class="page admin" id="work">
            <h1>{t!(i18n, admin_title)}</h1>
            <ErrorNotice error=change.error/>
            <div class="card" data-testid="model">
                <h2>{model.name}</h2>
                <p>{model.format} " · " {parameters} " · " {context}</p>
                <p class="muted">{model.backend}</p>
                <p class="muted">
                    {process.map(|size| view! { {fill(t_string!(i18n, admin_process), &[("size", &size)])} " · " })}
                    {cache}
                </p>
                <p data-testid="model-state" class=if status.ready { "muted" } else { "notice warn" }>
                    {if status.ready { t_string!(i18n, admin_ready) } else { t_string!(i18n, admin_reloading) }}
                    {(status.restarts > 0).then(|| view! {
                        " " {fill(t_string!(i18n, admin_restarts), &[("count", &status.restarts)])}
                    })}
                </p>
            </div>
            <p><a href="/admin/weights" data-testid="weights-link">{t!(i18n, weights_about)}</a></p>
            <h2>{t!(i18n, admin_loaded)}</h2>
            {none.then(|| view! { <p class="muted" data-testid="no-adapter">{t!(i18n, no_adapter_loaded)}</p> })}
            <ul class="session-list" data-testid="adapters-loaded">
                {status.adapters.into_iter().enumerate().map(|(i, adapter)| view! {
                    <Loaded adapter default=i == 0 change/>
                }).collect_view()}
            </ul>
            <h2>{t!(i18n, admin_found)}</h2>
            <p class="help">{t!(i18n, admin_found_help)}</p>
            <ul class="session-list" data-testid="adapters-found">
                {found.into_iter().map(|found| view! { <Found found change/> }).collect_view()}
            </ul>
        </section>
    }
}

#[component]
fn Loaded(adapter: AdapterUse, default: bool, change: Change) -> impl IntoView {
    let i18n = use_i18n();
    let AdapterUse { info, bytes, runs } = adapter;
    let rank = fill(t_string!(i18n, admin_rank), &[("rank", &info.rank)]);
    let taught = Task::ALL.into_iter().filter_map(|task| {
        let name = match task {
            Task::Entities => t_string!(i18n, task_entities),
            Task::Relations => t_string!(i18n, task_relations),
            Task::Events => t_string!(i18n, task_events),
        };
        let of = |language| info.manifest.taught.iter().any(|t| t.task == task && t.language == language);
        let languages: Vec<&str> = [(Language::En, "English"), (Language::Zh, "中文")]
            .into_iter()
            .filter_map(|(language, name)| of(language).then_some(name))
            .collect();
        (!languages.is_empty()).then(|| format!("{name} ({})", languages.join(", ")))
    });
    let taught: Vec<String> = taught.collect();
    let taught = if taught.is_empty() { t_string!(i18n, admin_taught_unknown).to_owned() } else { taught.join(" · ") };
    let (name, shown) = (info.name.clone(), info.name.clone());
    view! {
        <li data-adapter=info.name>
            <div>
                <strong>{shown}</strong>
                {default.then(|| view! { " " <span class="tag">{t!(i18n, admin_default)}</span> })}
                <p class="muted">{rank} " · " {megabytes(bytes)}
                    {(runs > 0).then(|| view! { " · " {fill(t_string!(i18n, admin_runs), &[("count", &runs)])} })}
                </p>
                <p class="muted">{taught}</p>
            </div>
            <Button name load=false change/>
        </li>
    }
}

#[component]
fn Found(found: FoundAdapter, change: Change) -> impl IntoView {
    let i18n = use_i18n();
    let FoundAdapter { name, base, loaded } = found;
    let (id, shown) = (name.clone(), name.clone());
    view! {
        <li data-adapter=id>
            <div>
                <strong>{shown}</strong>
                {(!base.is_empty()).then(|| view! { <p class="muted">{fill(t_string!(i18n, admin_for), &[("base", &base)])}</p> })}
            </div>
            {if loaded {
                view! { <span class="muted">{t!(i18n, admin_is_loaded)}</span> }.into_any()
            } else {
                view! { <Button name load=true change/> }.into_any()
            }}
        </li>
    }
}

/// Loads or unloads; a form, so that it works without scripts.
#[component]
fn Button(name: String, load: bool, change: Change) -> impl IntoView {
    let i18n = use_i18n();
    let (action, id) = if load { ("/admin/load", "load") } else { ("/admin/unload", "unload") };
    let value = name.clone();
    view! {
        <form method="post" action=action on:submit=move |ev| {
            ev.prevent_default();
            change.make(name.clone(), load);
        }>
            <input type="hidden" name="name" value=value/>
            <button data-testid=id disabled=move || change.busy.get()>
                {move || if load { t_string!(i18n, admin_load) } else { t_string!(i18n, admin_unload) }}
            </button>
        </form>
    }
}

#[allow(clippy::cast_precision_loss)]
fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

#[allow(clippy::cast_precision_loss)]
fn millions(count: u64) -> String {
    format!("{:.0}", count as f64 / 1e6)
}
