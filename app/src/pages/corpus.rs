//! `/sessions/{id}/graph`: the names of all texts of a session, and what links them.

use std::time::Duration;

use extract::graph::{Edits, Graph, Same, Source, build};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use protocol::SessionView;

use super::{
    corpus_places::{Places, edge_words, node_words, stands},
    error_page,
    session::SessionLinks,
};
use crate::{
    api,
    components::{ErrorNotice, GraphView, PageTitle, color_class, origin_class},
    filing::{heard, in_order},
    heavy::heavy,
    i18n::{t, t_string, use_i18n},
    prefs::fill,
    reviews::{self, CorpusFound, CorpusText, CorpusTexts, Most},
    services::ServiceError,
};

/// Until a page that waits for many texts asks again.
const WAIT: Duration = Duration::from_millis(700);

#[component]
pub fn Corpus() -> impl IntoView {
    let params = use_params_map();
    let asked = RwSignal::new(0_u32);
    let data = Resource::new_blocking(
        move || (params.with(|p| p.get("id").unwrap_or_default()), asked.get()),
        |(id, _)| reviews::get_corpus(id),
    );
    view! {
        <Transition fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                match data.await {
                    Ok(corpus) => match corpus.found {
                        CorpusFound::Read(texts) => view! { <Shown session=corpus.session edits=corpus.edits texts/> }.into_any(),
                        CorpusFound::Reading { read, total } => view! { <Waiting session=corpus.session read total asked/> }.into_any(),
                    },
                    Err(error) => error_page(&error),
                }
            })}
        </Transition>
    }
}

/// Many texts are being read: how far that is. The page asks again by itself.
#[component]
fn Waiting(session: SessionView, read: usize, total: usize, asked: RwSignal<u32>) -> impl IntoView {
    let i18n = use_i18n();
    let SessionView { id, title, .. } = session;
    Effect::new(move |_| {
        let again = move || {
            asked.try_update(|n| *n += 1);
        };
        set_timeout(again, WAIT);
    });
    view! {
        <PageTitle text=move || t_string!(i18n, corpus_title)/>
        <section class="page" id="work">
            <h1>{t!(i18n, corpus_title)}</h1>
            <p class="muted"><a href=format!("/sessions/{id}")>{title}</a> <SessionLinks id/></p>
            <noscript inner_html=r#"<meta http-equiv="refresh" content="1">"#></noscript>
            <div class="notice progress" role="status" data-testid="corpus-reading">
                {move || fill(t_string!(i18n, corpus_reading), &[("read", &read), ("total", &total)])}
                <progress max=total.max(1) value=read></progress>
            </div>
        </section>
    }
}

/// One graph of all texts.
fn graph_of(texts: &[CorpusText], edits: &Edits) -> Graph {
    let sources: Vec<Source> = texts
        .iter()
        .flat_map(|text| {
            text.columns.iter().map(|(column, records)| Source {
                document: &text.document,
                records,
                judgements: &text.judgements,
                origin: (*column).into(),
            })
        })
        .collect();
    build(&sources, edits)
}

#[component]
fn Shown(session: SessionView, edits: Edits, texts: CorpusTexts) -> impl IntoView {
    let i18n = use_i18n();
    let SessionView { id, title, .. } = session;
    let CorpusTexts { texts, names, most } = texts;
    let error = RwSignal::new(None::<ServiceError>);
    let texts = StoredValue::new(texts);
    let edits = RwSignal::new(edits);
    let graph = Memo::new(move |_| heavy(|| texts.with_value(|texts| edits.with(|edits| graph_of(texts, edits)))));
    // Without any edits: what merged names were called.
    let plain = StoredValue::new(heavy(|| texts.with_value(|texts| graph_of(texts, &Edits::default()))));
    let selected = RwSignal::new(None::<String>);
    let empty = graph.with_untracked(|g| g.nodes.is_empty());
    let session_id = StoredValue::new(id.clone());
    // What the server has.
    let kept = StoredValue::new(edits.get_untracked());
    let changes = StoredValue::new(0_u64);
    let change = move |change: Box<dyn FnOnce(&mut Edits)>| {
        edits.update(change);
        changes.update_value(|n| *n += 1);
        let this = changes.get_value();
        let (id, now) = (session_id.get_value(), edits.get_untracked());
        in_order(async move {
            match heard(error, || api::set_graph_edits(id.clone(), now.clone())).await {
                Ok(()) => {
                    kept.try_set_value(now);
                }
                Err(e) => {
                    // What was changed since is sent with it once more; without that it is taken back.
                    if changes.try_get_value() == Some(this)
                        && let Some(kept) = kept.try_get_value()
                    {
                        edits.try_set(kept);
                    }
                    error.try_set(Some(e));
                }
            }
        });
    };
    let edit = Callback::new(move |wanted: Edit| match wanted {
        Edit::Merge { alias, into } => {
            selected.set(Some(into.clone()));
            change(Box::new(move |e| {
                e.same.retain(|s| s.alias != alias);
                e.same.push(Same { alias, into });
            }));
        }
        Edit::Split(alias) => change(Box::new(move |e| e.same.retain(|s| s.alias != alias))),
        Edit::Apart(node, true) => {
            selected.set(None);
            change(Box::new(move |e| e.apart.push(node)));
        }
        Edit::Apart(node, false) => change(Box::new(move |e| e.apart.retain(|n| *n != node))),
    });
    let panel_names = names.clone();
    let head = title.clone();
    view! {
        <PageTitle text=move || format!("{} · {head}", t_string!(i18n, corpus_title))/>
        <section class="page" id="work">
            <h1>{t!(i18n, corpus_title)}</h1>
            <p class="muted"><a href=format!("/sessions/{id}")>{title}</a> <SessionLinks id=id.clone()/></p>
            <ErrorNotice error/>
            {if empty {
                view! { <p class="empty" data-testid="corpus-empty">{t!(i18n, corpus_empty)}</p> }.into_any()
            } else {
                view! {
                    <p class="muted">{t!(i18n, corpus_help)}</p>
                    {most.map(|most| view! { <MostLine most/> })}
                    <div class="corpus">
                        <div class="card"><GraphView graph names judging=None select=Some(Callback::new(move |id| selected.set(Some(id))))/></div>
                        <aside class="card" data-testid="corpus-panel" aria-live="polite">
                            <Panel graph texts plain edits selected edit session=id names=panel_names/>
                        </aside>
                    </div>
                }.into_any()
            }}
        </section>
    }
}

/// What a person wants of the graph.
#[derive(Clone, Debug, PartialEq)]
enum Edit {
    /// A name is another way to write another.
    Merge { alias: String, into: String },
    /// It is not.
    Split(String),
    /// A name means something else in every text, or no longer.
    Apart(String, bool),
}

/// What is known of the chosen name or arrow.
#[component]
fn Panel(
    graph: Memo<Graph>,
    texts: StoredValue<Vec<CorpusText>>,
    plain: StoredValue<Graph>,
    edits: RwSignal<Edits>,
    selected: RwSignal<Option<String>>,
    edit: Callback<Edit>,
    session: String,
    names: Vec<Vec<String>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let session = StoredValue::new(session);
    let names = StoredValue::new(names);
    let apart = move || {
        let list = edits.with(|e| e.apart.clone());
        let name = |id: &String| plain.with_value(|g| g.nodes.iter().find(|n| n.id == *id).map(|n| n.name.clone()));
        (!list.is_empty()).then(|| {
            view! {
                <ul class="edits" data-testid="apart-list">
                    {list.into_iter().map(|id| {
                        let name = name(&id).unwrap_or_default();
                        view! { <li>{name} " " <button type="button" class="link" data-testid="apart-undo" on:click=move |_| edit.run(Edit::Apart(id.clone(), false))>{t!(i18n, apart_undo)}</button></li> }
                    }).collect_view()}
                </ul>
            }
        })
    };
    let chosen = move || {
        let id = selected.get()?;
        graph.with(|graph| {
            if let Some(node) = graph.nodes.iter().find(|n| n.id == id) {
                return Some(node_panel(graph, node, texts, plain, edits, edit, session, names));
            }
            let edge = graph.edges.iter().find(|e| e.id == id)?;
            let end = |index: usize| graph.nodes.get(index).map(|n| n.name.clone()).unwrap_or_default();
            let class = names.with_value(|n| color_class(&edge.label, n));
            Some(
                view! {
                    <h2 data-testid="chosen">{end(edge.from)} <span class=format!("edge-name {class}")>" — " {edge.label.clone()} " → "</span> {end(edge.to)}</h2>
                    <Places places=stands(&edge.places, texts, edge_words) session/>
                }
                .into_any(),
            )
        })
    };
    view! {
        {move || chosen().unwrap_or_else(|| view! { <p class="muted">{t!(i18n, corpus_back)}</p> }.into_any())}
        {apart}
    }
}

#[allow(clippy::too_many_arguments)]
fn node_panel(
    graph: &Graph,
    node: &extract::graph::Node,
    texts: StoredValue<Vec<CorpusText>>,
    plain: StoredValue<Graph>,
    edits: RwSignal<Edits>,
    edit: Callback<Edit>,
    session: StoredValue<String>,
    names: StoredValue<Vec<Vec<String>>>,
) -> AnyView {
    let i18n = use_i18n();
    let class = names.with_value(|n| color_class(&node.label, n));
    let id = node.id.clone();
    let merged: Vec<(String, String)> = edits.with_untracked(|e| {
        e.same
            .iter()
            .filter(|s| s.into == id)
            .map(|s| {
                let name = plain.with_value(|g| g.nodes.iter().find(|n| n.id == s.alias).map(|n| n.name.clone()));
                (s.alias.clone(), name.unwrap_or_default())
            })
            .collect()
    });
    let by_name = Names::of(graph, &id, node.kind);
    let options: Vec<String> = by_name.0.iter().map(|(_, _, shown)| shown.clone()).collect();
    let typed = RwSignal::new(String::new());
    let unknown = RwSignal::new(None::<NoSuchName>);
    let merge = {
        let id = id.clone();
        move |ev: leptos::ev::SubmitEvent| {
            ev.prevent_default();
            match typed.with_untracked(|typed| by_name.find(typed)) {
                Ok(into) => edit.run(Edit::Merge { alias: id.clone(), into }),
                Err(reason) => unknown.set(Some(reason)),
            }
        }
    };
    let entity = node.kind == extract::graph::NodeKind::Entity;
    let apart = id;
    view! {
        <h2 data-testid="chosen"><span class=format!("word {class} {}", origin_class(&node.origins))>{node.name.clone()}</span> " " <span class="muted">{node.label.clone()}</span></h2>
        {(!node.aliases.is_empty()).then(|| view! { <p class="muted" data-testid="aliases">{t!(i18n, aliases)} ": " {node.aliases.join(" · ")}</p> })}
        {(!merged.is_empty()).then(|| view! {
            <p class="muted">{t!(i18n, merged_here)}</p>
            <ul class="edits">
                {merged.into_iter().map(|(alias, name)| view! {
                    <li>{name} " " <button type="button" class="link" data-testid="split" on:click=move |_| edit.run(Edit::Split(alias.clone()))>{t!(i18n, split)}</button></li>
                }).collect_view()}
            </ul>
        })}
        {entity.then(|| view! {
            <form class="merge" on:submit=merge>
                <label class="field">
                    <span>{t!(i18n, merge_into)}</span>
                    <input type="text" list="corpus-names" data-testid="merge-into" autocomplete="off" prop:value=move || typed.get()
                        on:input=move |ev| { unknown.set(None); typed.set(event_target_value(&ev)) }/>
                </label>
                {move || unknown.get().map(|reason| view! {
                    <p class="error" role="alert" data-testid="merge-unknown">
                        {move || match &reason {
                            NoSuchName::None => t_string!(i18n, merge_unknown).to_owned(),
                            NoSuchName::Several(which) => fill(t_string!(i18n, merge_several), &[("names", &which.join(" · "))]),
                        }}
                    </p>
                })}
                <datalist id="corpus-names">{options.into_iter().map(|name| view! { <option value=name></option> }).collect_view()}</datalist>
                <div class="buttons">
                    <button type="submit" class="quiet" data-testid="merge">{t!(i18n, merge)}</button>
                    <button type="button" class="quiet" data-testid="apart" on:click=move |_| edit.run(Edit::Apart(apart.clone(), true))>{t!(i18n, apart)}</button>
                </div>
            </form>
        })}
        <Places places=stands(&node.places, texts, node_words) session/>
    }
    .into_any()
}

/// The names that one can be merged with: each as it is shown, by the node's id.
struct Names(Vec<(String, String, String)>);

/// Why what was typed is not the name of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NoSuchName {
    /// Nothing is called so.
    None,
    /// These are, with their types.
    Several(Vec<String>),
}

impl Names {
    /// The other nodes of a kind.
    fn of(graph: &Graph, but: &str, kind: extract::graph::NodeKind) -> Self {
        let others = graph.nodes.iter().filter(|n| n.id != but && n.kind == kind);
        Self(others.map(|n| (n.id.clone(), n.name.clone(), shown_name(n))).collect())
    }

    /// The id of a name, with its type as the list shows it, or by itself where there is only one of it.
    fn find(&self, typed: &str) -> Result<String, NoSuchName> {
        let typed = typed.trim();
        if let Some((id, ..)) = self.0.iter().find(|(_, _, shown)| shown == typed) {
            return Ok(id.clone());
        }
        let exact: Vec<_> = self.0.iter().filter(|(_, name, _)| name == typed).collect();
        let alike = || self.0.iter().filter(|(_, name, _)| name.to_lowercase() == typed.to_lowercase()).collect();
        let found: Vec<_> = if exact.is_empty() { alike() } else { exact };
        match found.as_slice() {
            [] => Err(NoSuchName::None),
            [(id, ..)] => Ok(id.clone()),
            several => Err(NoSuchName::Several(several.iter().map(|(_, _, shown)| shown.clone()).collect())),
        }
    }
}

/// A node's name with its type.
fn shown_name(node: &extract::graph::Node) -> String {
    if node.label.is_empty() { node.name.clone() } else { format!("{}, {}", node.name, node.label) }
}

/// How much of a large session is in the graph.
#[component]
fn MostLine(most: Most) -> impl IntoView {
    let i18n = use_i18n();
    let Most { names, of, places, texts } = most;
    let line = move || {
        let values: [(&str, &dyn std::fmt::Display); 4] =
            [("names", &names), ("of", &of), ("texts", &texts), ("places", &places)];
        fill(t_string!(i18n, corpus_most), &values)
    };
    view! { <p class="muted" data-testid="corpus-most">{line}</p> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_itself_where_it_is_the_only_one() {
        let name = |id: &str, name: &str, label: &str| (id.to_owned(), name.to_owned(), format!("{name}, {label}"));
        let names = Names(vec![name("1", "Ada", "person"), name("2", "Ada", "language"), name("3", "IBM", "company")]);
        assert_eq!(names.find(" Ada, language "), Ok("2".to_owned()));
        assert_eq!(names.find("ibm"), Ok("3".to_owned()));
        assert_eq!(
            names.find("Ada"),
            Err(NoSuchName::Several(vec!["Ada, person".to_owned(), "Ada, language".to_owned()]))
        );
        assert_eq!(names.find("Bob"), Err(NoSuchName::None));
    }
}
