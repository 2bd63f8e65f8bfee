//! `/schemas`: what to extract, saved; and `/schemas/{id}`, where one is edited.

use extract::Schema;
use leptos::{prelude::*, task::spawn_local};
use leptos_router::hooks::{use_navigate, use_params_map, use_query_map};
use protocol::{
    AdapterManifest, Language,
    view::{SchemaVersion, SchemaView, ShareView},
};

use super::{error_page, sessions::Moment};
use crate::{
    api,
    components::{ErrorNotice, PageTitle, SchemaEditor, SchemaShare},
    i18n::{t, t_string, use_i18n},
    prefs::{fill, language},
    services::ServiceError,
};

/// The list: one's own, then the ready ones.
#[component]
pub fn Schemas() -> impl IntoView {
    let i18n = use_i18n();
    let changes = RwSignal::new(0u32);
    let deleted = RwSignal::new(None::<(String, String)>);
    let error = RwSignal::new(None::<ServiceError>);
    let list = Resource::new_blocking(move || changes.get(), |_| api::schemas());
    let set_deleted = Callback::new(move |(id, name, gone): (String, String, bool)| {
        spawn_local(async move {
            match api::set_schema_deleted(id.clone(), gone).await {
                Ok(()) => {
                    deleted.set(gone.then_some((id, name)));
                    changes.update(|n| *n += 1);
                }
                Err(e) => error.set(Some(e)),
            }
        });
    });
    let renamed = Callback::new(move |done: Result<(), ServiceError>| {
        if done.is_ok() {
            changes.update(|n| *n += 1);
        }
        error.set(done.err());
    });
    view! {
        <PageTitle text=move || t_string!(i18n, nav_schemas)/>
        <section class="page" id="work">
            <h1>{t!(i18n, schemas_title)}</h1>
            <p class="muted">{t!(i18n, schemas_help)}</p>
            <p class="buttons"><a class="button primary" href="/schemas/new" data-testid="new-schema">{t!(i18n, schema_new)}</a></p>
            <ErrorNotice error/>
            {move || deleted.get().map(|(id, name)| view! {
                <p class="notice" role="status" data-testid="deleted">
                    {t!(i18n, session_deleted)} " “" {name.clone()} "” "
                    <button type="button" class="link" data-testid="undo" on:click=move |_| set_deleted.run((id.clone(), name.clone(), false))>{t!(i18n, undo)}</button>
                </p>
            })}
            <Transition fallback=|| view! { <p class="muted" aria-busy="true">"…"</p> }>
                {move || Suspend::new(async move {
                    match list.await {
                        Err(e) => error_page(&e),
                        Ok(schemas) => {
                            let (mine, ready): (Vec<_>, Vec<_>) = schemas.into_iter().partition(|s| s.version.is_some());
                            view! {
                                <h2>{t!(i18n, schemas_mine)}</h2>
                                {mine.is_empty().then(|| view! { <p class="empty" data-testid="no-schemas">{t!(i18n, schemas_empty)}</p> })}
                                <ul class="session-list" data-testid="schema-list">
                                    {mine.into_iter().map(|schema| view! { <Saved schema set_deleted renamed/> }).collect_view()}
                                </ul>
                                <h2>{t!(i18n, schemas_ready)}</h2>
                                {[Some(Language::En), Some(Language::Zh), None].map(|of| view! { <Ready of schemas=ready.clone()/> }).into_iter().collect_view()}
                            }.into_any()
                        }
                    }
                })}
            </Transition>
        </section>
    }
}

/// How many of what a schema asks for.
fn contents(json: &str) -> [usize; 3] {
    let schema = Schema::from_json(json).unwrap_or_default();
    [schema.entities.len(), schema.relations.len(), schema.events.len()]
}

/// `4 entity types · 2 relations`.
#[component]
fn Contents(json: String) -> impl IntoView {
    let i18n = use_i18n();
    let counts = contents(&json);
    move || {
        let texts = [t_string!(i18n, count_entities), t_string!(i18n, count_relations), t_string!(i18n, count_events)];
        let parts = counts.iter().zip(texts).filter(|(n, _)| **n > 0).map(|(n, text)| fill(text, &[("count", n)]));
        parts.collect::<Vec<_>>().join(" · ")
    }
}

fn language_name(language: Option<Language>) -> Option<&'static str> {
    language.map(|language| language.pick("English", "中文"))
}

#[component]
fn Saved(
    schema: SchemaView,
    set_deleted: Callback<(String, String, bool)>,
    renamed: Callback<Result<(), ServiceError>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let (id, title) = (schema.id.clone(), schema.named(language()).title());
    let name = schema.title.en.clone();
    let delete = format!("/schemas/{id}/delete");
    let (field, form) = (NodeRef::<leptos::html::Input>::new(), NodeRef::<leptos::html::Details>::new());
    let rename = {
        let id = id.clone();
        move |ev: leptos::ev::SubmitEvent| {
            ev.prevent_default();
            let (Some(field), Some(form), id) = (field.get_untracked(), form.get_untracked(), id.clone()) else {
                return;
            };
            spawn_local(async move {
                let done = api::rename_schema(id, field.value()).await;
                if done.is_ok() {
                    let _ = form.remove_attribute("open");
                }
                renamed.run(done);
            });
        }
    };
    view! {
        <li>
            <div>
                <a href=format!("/schemas/{id}")>{title}</a>
                <p class="muted">
                    {language_name(schema.language).map(|l| format!("{l} · "))}
                    <Contents json=schema.json/> " · " <Moment at=schema.updated_at/>
                </p>
                <p class="muted"><Downloads id=id.clone()/></p>
                <details class="rename" data-testid="rename" node_ref=form>
                    <summary>{t!(i18n, schema_rename)}</summary>
                    <form method="post" action=format!("/schemas/{id}/rename") on:submit=rename>
                        <input type="text" name="name" required autocomplete="off" node_ref=field value=name.clone() data-testid="new-name" aria-label=move || t_string!(i18n, schema_name)/>
                        <button type="submit" class="quiet" data-testid="rename-save">{t!(i18n, save)}</button>
                    </form>
                </details>
            </div>
            <form method="post" action=delete on:submit=move |ev| { ev.prevent_default(); set_deleted.run((id.clone(), name.clone(), true)) }>
                <button type="submit" class="quiet" data-testid="delete">{t!(i18n, delete)}</button>
            </form>
        </li>
    }
}

#[component]
fn Downloads(id: String) -> impl IntoView {
    view! {
        <a href=format!("/schemas/{id}/download.json") rel="external" download data-testid="download-json">"JSON"</a> " · "
        <a href=format!("/schemas/{id}/download.yaml") rel="external" download data-testid="download-yaml">"YAML"</a>
    }
}

/// The ready schemas in one language.
#[component]
fn Ready(of: Option<Language>, schemas: Vec<SchemaView>) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let schemas: Vec<SchemaView> = schemas.into_iter().filter(|s| s.language == of).collect();
    (!schemas.is_empty()).then(|| {
        view! {
            <h3>{language_name(of)}</h3>
            <ul class="session-list">
                {schemas.into_iter().map(|schema| {
                    let id = schema.id.clone();
                    let title = schema.title.clone();
                    view! {
                        <li data-testid="ready">
                            <div>
                                {move || title.in_language(language()).to_owned()}
                                <p class="muted"><Contents json=schema.json/> " · " <Downloads id=id.clone()/></p>
                            </div>
                            <a class="button quiet" href=format!("/schemas/new?from={id}") data-testid="start-from">{t!(i18n, schema_start_from)}</a>
                        </li>
                    }
                }).collect_view()}
            </ul>
        }
    })
}

/// What the editor's page is drawn from.
type Opened = (Option<(SchemaView, Vec<SchemaVersion>)>, Vec<ShareView>, Option<AdapterManifest>);

/// One schema: `/schemas/new`, `/schemas/new?from=ID`, `/schemas/ID`, `/schemas/ID?version=2`.
#[component]
pub fn EditSchema() -> impl IntoView {
    let params = use_params_map();
    let query = use_query_map();
    let asked = move || {
        let id = params.with(|p| p.get("id").unwrap_or_default());
        let new = id == "new";
        let from = query.with(|q| q.get("from"));
        let version = query.with(|q| q.get("version").and_then(|v| v.parse::<u32>().ok()));
        (if new { from } else { Some(id) }, new, version)
    };
    let data = Resource::new_blocking(asked, |(id, ..)| async move {
        let bench = api::get_bench().await?;
        let schema = match id {
            Some(id) => Some(api::schema(id).await?),
            None => None,
        };
        let links = match schema.as_ref().filter(|(view, _)| view.version.is_some()) {
            Some((view, _)) => api::schema_links(view.id.clone()).await?,
            None => Vec::new(),
        };
        Ok::<Opened, ServiceError>((schema, links, bench.adapter.map(|a| a.manifest)))
    });
    view! {
        <Suspense fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                let (_, new, version) = untrack(asked);
                match data.await {
                    Ok((schema, links, manifest)) => view! { <Editing schema links new version manifest/> }.into_any(),
                    Err(error) => error_page(&error),
                }
            })}
        </Suspense>
    }
}

#[component]
fn Editing(
    schema: Option<(SchemaView, Vec<SchemaVersion>)>,
    /// Its open links.
    links: Vec<ShareView>,
    /// A new schema, that at most starts from this one.
    new: bool,
    /// The version to go on from; the newest when `None`.
    version: Option<u32>,
    manifest: Option<AdapterManifest>,
) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let navigate = use_navigate();
    let (view, versions) = schema.map_or((None, Vec::new()), |(view, versions)| (Some(view), versions));
    // A ready one is not changed: a copy of it is.
    let id = view.as_ref().filter(|v| !new && v.version.is_some()).map(|v| v.id.clone());
    let old = version.and_then(|version| versions.iter().find(|v| v.version == version).cloned());
    let json = old.as_ref().map(|v| v.json.clone()).or_else(|| view.as_ref().map(|v| v.json.clone()));
    let mut schema = json.and_then(|json| Schema::from_json(&json).ok()).unwrap_or_default();
    if id.is_none() {
        // The name of the copy is its own.
        schema.title = Default::default();
    }
    let name = untrack(|| view.as_ref().map(|v| v.title.in_language(language()).to_owned()).unwrap_or_default());
    let versions = RwSignal::new(versions);
    let share_error = RwSignal::new(None::<ServiceError>);
    let done = RwSignal::new(None::<String>);
    let saved = {
        let id = id.clone();
        Callback::new(move |view: SchemaView| {
            done.set(Some(untrack(|| view.named(language()).title())));
            if id.is_none() {
                navigate(&format!("/schemas/{}", view.id), Default::default());
                return;
            }
            spawn_local(async move {
                if let Ok((_, now)) = api::schema(view.id).await {
                    versions.set(now);
                }
            });
        })
    };
    let heading = name.clone();
    let own = id.clone();
    view! {
        <PageTitle text=move || t_string!(i18n, nav_schemas)/>
        <section class="page" id="work">
            <p><a href="/schemas">{t!(i18n, schemas_back)}</a></p>
            <h1>{if heading.is_empty() || new { t_string!(i18n, schema_new).to_owned() } else { heading }}</h1>
            {old.map(|v| view! { <p class="notice" data-testid="old-version">{move || fill(t_string!(i18n, schema_old_version), &[("version", &v.version)])}</p> })}
            // Without scripts the text is all that is sent; with them the editor sends itself.
            <form method="post" action="/schemas" id="schema-text">
                <input type="hidden" name="id" value=own.unwrap_or_default()/>
            </form>
            <SchemaEditor id=id.clone() name schema manifest saved/>
            {move || done.get().map(|title| view! {
                <p class="notice good" role="status" data-testid="saved">
                    <span>{move || fill(t_string!(i18n, schema_saved), &[("name", &title)])} " " <a href="/lora">{t!(i18n, nav_extract)}</a></span>
                </p>
            })}
            {id.clone().map(|id| view! { <ErrorNotice error=share_error/> <SchemaShare id open=links error=share_error/> })}
            {id.map(|id| view! {
                <h2>{t!(i18n, schema_versions)}</h2>
                <ul class="links" data-testid="versions">
                    {move || versions.get().into_iter().map(|v| {
                        let path = format!("/schemas/{id}?version={}", v.version);
                        view! {
                            <li>
                                "v" {v.version} " · " <Moment at=v.created_at/> " · " <Contents json=v.json/> " · "
                                <a href=path rel="external" data-testid="restore">{t!(i18n, schema_restore)}</a>
                            </li>
                        }
                    }).collect_view()}
                </ul>
            })}
        </section>
    }
}
