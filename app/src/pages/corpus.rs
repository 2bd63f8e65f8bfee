//! `/sessions/{id}/graph`: the names of all texts of a session, and what links them.

use extract::graph::{Edits, Graph, Place, Same, Source, build};
use leptos::{prelude::*, task::spawn_local};
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use protocol::{Record, SessionView, Span, text::slice_chars};

use super::{error_page, session::SessionLinks};
use crate::{
    api,
    components::{ErrorNotice, GraphView, Origin, color_class, origin_class},
    found::{Found, found, names},
    heavy::heavy,
    i18n::{t, t_string, use_i18n},
    prefs::fill,
    services::ServiceError,
};

/// The most places that are listed of a name.
const PLACES: usize = 50;
/// The most characters of a sentence before and after the words.
const AROUND: usize = 120;

#[component]
pub fn Corpus() -> impl IntoView {
    let params = use_params_map();
    let data = Resource::new_blocking(
        move || params.with(|p| p.get("id").unwrap_or_default()),
        |id| async move {
            let session = api::session(id.clone()).await?;
            let edits = api::graph_edits(id).await?;
            Ok::<_, ServiceError>((session, edits))
        },
    );
    view! {
        <Suspense fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                match data.await {
                    Ok((session, edits)) => view! { <Shown session edits/> }.into_any(),
                    Err(error) => error_page(&error),
                }
            })}
        </Suspense>
    }
}

/// One graph of all texts.
fn graph_of(texts: &[Found], edits: &Edits) -> Graph {
    let sources: Vec<Source> = texts
        .iter()
        .flat_map(|text| {
            text.columns.iter().map(|column| Source {
                document: &text.document.id,
                records: &column.records,
                judgements: &text.document.judgements,
                origin: column.column.into(),
            })
        })
        .collect();
    build(&sources, edits)
}

#[component]
fn Shown(session: SessionView, edits: Edits) -> impl IntoView {
    let i18n = use_i18n();
    let (id, title) = (session.id.clone(), session.title.clone());
    let error = RwSignal::new(None::<ServiceError>);
    let texts = StoredValue::new(heavy(|| found(session)));
    let edits = RwSignal::new(edits);
    let graph = Memo::new(move |_| heavy(|| texts.with_value(|texts| edits.with(|edits| graph_of(texts, edits)))));
    // Without any edits: what merged names were called.
    let plain = StoredValue::new(heavy(|| texts.with_value(|texts| graph_of(texts, &Edits::default()))));
    let names = texts.with_value(|texts| names(texts));
    let selected = RwSignal::new(None::<String>);
    let empty = graph.with_untracked(|g| g.nodes.is_empty());
    let session_id = StoredValue::new(id.clone());
    // What is wanted, what the server has, and whether it is being told. These outlive the page: what was changed just
    // before it was left is sent all the same.
    let wanted = ArcStoredValue::new(edits.get_untracked());
    let kept = ArcStoredValue::new(edits.get_untracked());
    let sending = ArcStoredValue::new(false);
    let change = StoredValue::new(move |change: Box<dyn FnOnce(&mut Edits)>| {
        edits.update(change);
        wanted.set_value(edits.get_untracked());
        if sending.get_value() {
            return;
        }
        sending.set_value(true);
        let (wanted, kept, sending, id) = (wanted.clone(), kept.clone(), sending.clone(), session_id.get_value());
        // One after the other: the last one stays.
        spawn_local(async move {
            loop {
                let now = wanted.get_value();
                if kept.get_value() == now {
                    break;
                }
                match api::set_graph_edits(id.clone(), now.clone()).await {
                    Ok(()) => kept.set_value(now),
                    Err(e) => {
                        // What was changed since is sent with it once more; without that it is taken back.
                        if wanted.get_value() == now {
                            wanted.set_value(kept.get_value());
                            edits.try_set(kept.get_value());
                        }
                        error.try_set(Some(e));
                    }
                }
            }
            sending.set_value(false);
        });
    });
    let change = move |edit: Box<dyn FnOnce(&mut Edits)>| change.with_value(|change| change(edit));
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
        <Title text=move || format!("{} · {head}", t_string!(i18n, corpus_title))/>
        <section class="page" id="work">
            <h1>{t!(i18n, corpus_title)}</h1>
            <p class="muted"><a href=format!("/sessions/{id}")>{title}</a> <SessionLinks id=id.clone()/></p>
            <ErrorNotice error/>
            {if empty {
                view! { <p class="empty" data-testid="corpus-empty">{t!(i18n, corpus_empty)}</p> }.into_any()
            } else {
                view! {
                    <p class="muted">{t!(i18n, corpus_help)}</p>
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
    texts: StoredValue<Vec<Found>>,
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
                    {places(&edge.places, texts, session, edge_words)}
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
    texts: StoredValue<Vec<Found>>,
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
        {places(&node.places, texts, session, node_words)}
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

/// The words of a node at a place.
fn node_words(_: &Record, span: Option<Span>) -> Vec<Span> {
    span.into_iter().collect()
}

/// The words that an edge joins at a place: those of its record.
fn edge_words(record: &Record, _: Option<Span>) -> Vec<Span> {
    record.mentions().into_iter().filter_map(|(_, m)| m.span).collect()
}

/// The sentences that places stand in, each with a link to its text.
fn places(
    places: &[Place],
    texts: StoredValue<Vec<Found>>,
    session: StoredValue<String>,
    words: fn(&Record, Option<Span>) -> Vec<Span>,
) -> AnyView {
    let i18n = use_i18n();
    let mut seen: Vec<(String, Span)> = Vec::new();
    let mut list = Vec::new();
    texts.with_value(|texts| {
        for place in places {
            let Some(span) = place.span else { continue };
            if seen.iter().any(|(d, s)| *d == place.document && *s == span) || list.len() >= PLACES {
                continue;
            }
            seen.push((place.document.clone(), span));
            let Some(text) = texts.iter().find(|t| t.document.id == place.document) else { continue };
            let column = text.columns.iter().find(|c| Origin::from(c.column) == place.origin);
            let record = column.zip(place.record).and_then(|(c, index)| c.records.get(index));
            let spans = record.map_or_else(|| vec![span], |r| words(r, Some(span)));
            list.push((place.document.clone(), sentence(&text.document.text, span, &spans)));
        }
    });
    let link = |document: &str| session.with_value(|s| format!("/sessions/{s}/review?text={document}"));
    view! {
        <h3>{t!(i18n, places)}</h3>
        <ul class="places" data-testid="places">
            {list.into_iter().map(|(document, parts)| view! {
                <li>
                    {parts.into_iter().map(|(words, marked)| if marked { view! { <b>{words}</b> }.into_any() } else { words.into_any() }).collect_view()}
                    " " <a href=link(&document) rel="external">{t!(i18n, open_text)}</a>
                </li>
            }).collect_view()}
        </ul>
    }
    .into_any()
}

/// The sentence around a place, in parts; those of the words themselves are `true`.
fn sentence(text: &str, around: Span, words: &[Span]) -> Vec<(String, bool)> {
    let chars: Vec<char> = text.chars().collect();
    let ends = |c: &char| matches!(c, '。' | '！' | '？' | '!' | '?' | '\n');
    // A full stop ends a sentence when a space follows.
    let is_end = |i: usize| {
        chars.get(i).is_some_and(|c| ends(c) || (*c == '.' && chars.get(i + 1).is_none_or(|n| n.is_whitespace())))
    };
    let (start, end) = (around.start.min(chars.len()), around.end.min(chars.len()));
    let from = (0..start).rev().find(|i| is_end(*i)).map_or(0, |i| i + 1).max(start.saturating_sub(AROUND));
    let to = (end..chars.len()).find(|i| is_end(*i)).map_or(chars.len(), |i| i + 1).min(end + AROUND);
    let mut marks: Vec<Span> = words.iter().copied().filter(|s| from <= s.start && s.end <= to).collect();
    marks.sort_unstable();
    let mut parts = Vec::new();
    let mut at = from;
    let mut push = |from: usize, to: usize, marked: bool| {
        if from < to {
            parts.push((slice_chars(text, from, to).to_owned(), marked));
        }
    };
    for mark in marks {
        push(at, mark.start.max(at), false);
        push(mark.start.max(at), mark.end, true);
        at = mark.end.max(at);
    }
    push(at, to, false);
    if let Some((first, _)) = parts.first_mut() {
        *first = first.trim_start().to_owned();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, around: (usize, usize), words: &[(usize, usize)]) -> String {
        let span = |(start, end): (usize, usize)| Span { start, end };
        let words: Vec<Span> = words.iter().copied().map(span).collect();
        let part = |(words, marked): (String, bool)| if marked { format!("[{words}]") } else { words };
        sentence(text, span(around), &words).into_iter().map(part).collect()
    }

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

    #[test]
    fn a_place_is_shown_in_its_sentence_with_its_words_marked() {
        assert_eq!(shown("Hi. Ann met Bob. Bye.", (4, 15), &[(12, 15), (4, 7)]), "[Ann] met [Bob].");
        assert_eq!(shown("v1.2 runs", (0, 4), &[(0, 4)]), "[v1.2] runs");
        assert_eq!(shown("你好。张三在北京。再见。", (3, 5), &[(3, 5)]), "[张三]在北京。");
        assert_eq!(shown("short", (0, 99), &[]), "short");
    }
}
