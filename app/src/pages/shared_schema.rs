//! `/s/schema/{token}`: a schema behind a link, to be read, downloaded, or taken over as one's own.

use extract::{Schema, schema::Item};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use protocol::view::SchemaView;

use super::error_page;
use crate::{
    api,
    components::PageTitle,
    i18n::{t, t_string, use_i18n},
    prefs::language,
};

#[component]
pub fn SharedSchema() -> impl IntoView {
    let params = use_params_map();
    let token = move || params.with(|p| p.get("token").unwrap_or_default());
    let shared = Resource::new_blocking(token, api::shared_schema);
    view! {
        <Suspense fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                match shared.await {
                    Ok(schema) => view! { <meta name="robots" content="noindex"/> <Shown schema token=untrack(token)/> }.into_any(),
                    Err(error) => error_page(&error),
                }
            })}
        </Suspense>
    }
}

/// A type as it is listed: its name, its roles, what it means, and words that are one.
struct Listed {
    name: String,
    roles: String,
    description: String,
    examples: String,
}

impl Listed {
    fn of(item: &Item, roles: &[String]) -> Self {
        Self {
            name: item.name.clone(),
            roles: roles.join(", "),
            description: item.description.clone().unwrap_or_default(),
            examples: item.examples.join(", "),
        }
    }
}

#[component]
fn Shown(schema: SchemaView, token: String) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let title = untrack(|| schema.named(language()).title());
    let read = Schema::from_json(&schema.json).unwrap_or_default();
    let names = |items: &[Item]| items.iter().map(|item| item.name.clone()).collect::<Vec<_>>();
    let ends = |relation: &extract::schema::RelationType| match (relation.head.join(", "), relation.tail.join(", ")) {
        (head, tail) if head.is_empty() && tail.is_empty() => Vec::new(),
        (head, tail) => vec![format!("{head} → {tail}")],
    };
    let sections = [
        read.entities.iter().map(|item| Listed::of(item, &[])).collect::<Vec<_>>(),
        read.relations.iter().map(|relation| Listed::of(&relation.item, &ends(relation))).collect(),
        read.events.iter().map(|event| Listed::of(&event.item, &names(&event.roles))).collect(),
    ];
    let heading = move |index: usize| match index {
        0 => t_string!(i18n, task_entities),
        1 => t_string!(i18n, task_relations),
        _ => t_string!(i18n, task_events),
    };
    let one = |listed: Listed| {
        let Listed { name, roles, description, examples } = listed;
        view! {
            <li data-testid="type">
                <strong>{name}</strong> {(!roles.is_empty()).then(|| view! { " " <span class="muted">{roles}</span> })}
                {(!description.is_empty()).then(|| view! { <p class="help">{description}</p> })}
                {(!examples.is_empty()).then(|| view! { <p class="help">{t!(i18n, entry_examples)} ": " {examples}</p> })}
            </li>
        }
    };
    let section = move |(index, listed): (usize, Vec<Listed>)| {
        (!listed.is_empty()).then(|| {
            view! {
                <section>
                    <h2>{move || heading(index)}</h2>
                    <ul class="types">{listed.into_iter().map(one).collect_view()}</ul>
                </section>
            }
        })
    };
    let asks_in = schema.language.map(|language| language.pick("English", "中文"));
    let file = |kind: &str| format!("/s/schema/{token}/download.{kind}");
    view! {
        <PageTitle text=title.clone()/>
        <section class="page" id="work" data-testid="shared-schema">
            <h1>{title}</h1>
            <p class="muted">{t!(i18n, shared_schema)} {asks_in.map(|name| format!(" · {name}"))}</p>
            <div class="buttons">
                <form method="post" action="/schemas/take">
                    <input type="hidden" name="token" value=token.clone()/>
                    <button class="primary" data-testid="take">{t!(i18n, shared_schema_take)}</button>
                </form>
                <a class="button quiet" href=file("json") rel="external" download data-testid="download-json">"JSON"</a>
                <a class="button quiet" href=file("yaml") rel="external" download data-testid="download-yaml">"YAML"</a>
            </div>
            {sections.into_iter().enumerate().map(section).collect_view()}
        </section>
    }
}
