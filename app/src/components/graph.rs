//! The graph: names and events as boxes, relations and roles as arrows. Laid out by `extract`, drawn the same on the
//! server, in the page and in the export; in the page it can be moved, zoomed and filtered.

use std::collections::{BTreeSet, HashMap};

use extract::{
    graph::{Edge, Edits, Graph, Node, NodeKind, Source, build},
    layout::{Layout, MOST_NODES, layout},
};
use leptos::prelude::*;
use protocol::{Record, Verdict};

use super::{
    judge_keys::{Judging, tick, verdict_class},
    marked::{Names, Origin, color_class},
    pan::{Pan, Zoom},
};
use crate::{
    heavy::heavy,
    i18n::{t, t_string, use_i18n},
    prefs::fill,
};

/// From so many nodes on a layout takes a while.
const LARGE: usize = 40;

/// The graph of one text. Its nodes and edges stand for records and can be judged.
#[component]
pub fn TextGraph(judging: Judging) -> impl IntoView {
    let built = Memo::new(move |_| {
        let id = judging.document_id();
        let judgements = judging.judgements();
        judging.layers.with(|rows| {
            let of = |origin: Origin| {
                let mine: Vec<_> = rows.iter().filter(|r| r.origins.contains(&origin)).collect();
                let records: Vec<Record> = mine.iter().map(|r| r.record.clone()).collect();
                let tags: Vec<String> = mine.iter().map(|r| r.tag.clone()).collect();
                (origin, records, tags)
            };
            let columns = [of(Origin::Base), of(Origin::Tuned), of(Origin::You)];
            let sources: Vec<Source> = columns
                .iter()
                .map(|(origin, records, _)| Source { document: &id, records, judgements: &judgements, origin: *origin })
                .collect();
            let mut graph = build(&sources, &Edits::default());
            let mut tags = HashMap::new();
            let tag = |place: &extract::graph::Place| {
                let (_, _, tags) = columns.iter().find(|(origin, ..)| *origin == place.origin)?;
                tags.get(place.record?).cloned()
            };
            for edge in &mut graph.edges {
                if let Some(tag) = edge.places.iter().find_map(tag) {
                    tags.insert(edge.id.clone(), tag);
                }
                // Shown by the records' own judgements: a judgement does not draw the picture anew.
                edge.verdict = None;
            }
            for node in &mut graph.nodes {
                // A node whose places are all ends of relations has no record of its own.
                let own = |place: &&extract::graph::Place| {
                    let record = columns
                        .iter()
                        .find(|(o, ..)| *o == place.origin)
                        .and_then(|(_, records, _)| records.get(place.record?));
                    record.is_some_and(|r| {
                        !matches!(r, Record::Relation { .. })
                            && r.mentions().first().is_some_and(|(_, m)| m.span == place.span)
                    })
                };
                if let Some(tag) = node.places.iter().filter(own).find_map(tag) {
                    tags.insert(node.id.clone(), tag);
                }
                node.verdict = None;
            }
            (graph, tags)
        })
    });
    let graph = Memo::new(move |_| built.with(|(graph, _)| graph.clone()));
    let tags = Memo::new(move |_| built.with(|(_, tags)| tags.clone()));
    view! {
        <div data-view="graph">
            <GraphView graph names=judging.names() judging=Some((judging, tags)) select=None/>
        </div>
    }
}

/// A graph with its filter and controls. `judging`: the records that nodes and edges stand for, by their ids. `select`:
/// what to do with the id of one that is chosen.
#[component]
pub fn GraphView(
    graph: Memo<Graph>,
    names: Names,
    judging: Option<(Judging, Memo<HashMap<String, String>>)>,
    select: Option<Callback<String>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let hidden = RwSignal::new(BTreeSet::<String>::new());
    let all = RwSignal::new(false);
    let shown = Memo::new(move |_| {
        graph.with(|graph| {
            let graph = hidden.with(|hidden| {
                let key = |prefix: &str, label: &str| format!("{prefix}{label}");
                graph.filtered(|n| !hidden.contains(&key("n", &n.label)), |e| !hidden.contains(&key("e", &e.label)))
            });
            let linked = graph.connected();
            // Names that nothing links would crowd out what is linked.
            let graph = if all.get() || linked.nodes.is_empty() { graph } else { linked };
            graph.strongest(MOST_NODES)
        })
    });
    let drawn = Memo::new(move |_| {
        shown.with(|graph| {
            let drawn = || (graph.clone(), layout(graph));
            if graph.nodes.len() > LARGE { heavy(drawn) } else { drawn() }
        })
    });
    let pan = Pan::new(Signal::derive(move || drawn.with(|(_, l)| (f64::from(l.width), f64::from(l.height)))));
    let lonely = move || graph.with(|g| g.nodes.len().saturating_sub(g.connected().nodes.len()));
    let linked = move || graph.with(|g| !g.edges.is_empty());
    let left_out = move || {
        let (drawn, all) = (shown.with(|g| g.nodes.len()), graph.with(|g| g.nodes.len()));
        (drawn == MOST_NODES && all > drawn)
            .then(|| fill(t_string!(i18n, graph_strongest), &[("count", &drawn), ("all", &all)]))
    };
    let names = StoredValue::new(names);
    let toggle = move |key: String, name: String, count: usize, color: String| {
        let (on, id) = (key.clone(), key);
        view! {
            <label class=format!("chip filter {color}")>
                <input type="checkbox" data-testid="graph-filter" checked=true
                    prop:checked=move || hidden.with(|h| !h.contains(&on))
                    on:change=move |ev| hidden.update(|h| if event_target_checked(&ev) { h.remove(&id); } else { h.insert(id.clone()); })/>
                <span>{name} <small class="count">{count}</small></span>
            </label>
        }
    };
    let filters = move || {
        let (types, labels) = graph.with(|g| (g.types(), g.labels()));
        let color = |label: &str| names.with_value(|n| color_class(label, n));
        let untyped = t_string!(i18n, graph_untyped);
        let types = types.into_iter().map(|(label, count)| {
            let name = if label.is_empty() { untyped.to_owned() } else { label.clone() };
            toggle(format!("n{label}"), name, count, color(&label))
        });
        let labels = labels
            .into_iter()
            .map(|(label, count)| toggle(format!("e{label}"), format!("→ {label}"), count, color(&label)));
        types.chain(labels).collect_view()
    };
    let picture = move || {
        drawn.with(|(graph, layout)| {
            if graph.nodes.is_empty() {
                return view! { <p class="empty" data-testid="graph-empty">{t!(i18n, graph_empty)}</p> }.into_any();
            }
            let names = names.get_value();
            view! {
                <svg
                    class="graph" data-testid="graph" role="group" aria-label=move || t_string!(i18n, view_graph)
                    class:small=layout.height < 260
                    viewBox=move || pan.view_box() preserveAspectRatio="xMidYMid meet"
                    node_ref=pan.svg tabindex="0"
                    on:pointerdown=move |ev| pan.down(&ev) on:pointermove=move |ev| pan.moved(&ev)
                    on:pointerup=move |ev| pan.up(&ev) on:pointercancel=move |ev| pan.up(&ev)
                    on:wheel=move |ev| pan.wheel(&ev)
                    on:keydown=move |ev| pan.key(&ev)
                >
                    {edges(graph, layout, &names, judging, select)}
                    {nodes(graph, layout, &names, judging, select)}
                </svg>
            }
            .into_any()
        })
    };
    view! {
        <div class="graph-box">
            <div class="chips graph-filters">{filters}
                {move || (linked() && lonely() > 0).then(|| view! {
                    <label class="check">
                        <input type="checkbox" data-testid="graph-all" prop:checked=move || all.get() on:change=move |ev| all.set(event_target_checked(&ev))/>
                        {move || fill(t_string!(i18n, graph_all), &[("count", &lonely())])}
                    </label>
                })}
            </div>
            {move || left_out().map(|sentence| view! { <p class="muted">{sentence}</p> })}
            {picture}
            <div class="graph-controls">
                <button type="button" class="quiet" data-testid="graph-in" title=move || t_string!(i18n, zoom_in) aria-label=move || t_string!(i18n, zoom_in) on:click=move |_| pan.zoom(Zoom::In)>"+"</button>
                <button type="button" class="quiet" data-testid="graph-out" title=move || t_string!(i18n, zoom_out) aria-label=move || t_string!(i18n, zoom_out) on:click=move |_| pan.zoom(Zoom::Out)>"−"</button>
                <button type="button" class="quiet" data-testid="graph-fit" on:click=move |_| pan.zoom(Zoom::Fit)>{t!(i18n, zoom_fit)}</button>
                <span class="help">{t!(i18n, graph_help)}</span>
            </div>
        </div>
    }
}

type Tags = Option<(Judging, Memo<HashMap<String, String>>)>;

/// What a node or edge has in common: who says so, what is judged, and how it is reached.
struct Part {
    class: String,
    id: String,
    tag: Option<String>,
    key: Option<String>,
    fixed: Option<Verdict>,
}

impl Part {
    fn new(id: &str, kind: &str, color: &str, origins: &[Origin], fixed: Option<Verdict>, judging: Tags) -> Self {
        let origin = Origin::shown(origins).name();
        let tag = judging.and_then(|(_, tags)| tags.with_untracked(|tags| tags.get(id).cloned()));
        let key = judging.zip(tag.as_ref()).and_then(|((judging, _), tag)| {
            judging.layers.with_untracked(|rows| rows.iter().find(|r| r.tag == *tag).map(|r| r.key.clone()))
        });
        Self { class: format!("{kind} {color} o-{origin}"), id: id.to_owned(), tag, key, fixed }
    }

    /// Its `<g>`: with a record it is judged like any other; else it can be chosen. The tick goes to `x`, `y`.
    fn view(
        self,
        judging: Tags,
        select: Option<Callback<String>>,
        name: String,
        (x, y): (i32, i32),
        children: AnyView,
    ) -> AnyView {
        let Self { class, id, tag, key, fixed } = self;
        let judging = judging.map(|(judging, _)| judging);
        let (tag, key, id) = (StoredValue::new(tag), StoredValue::new(key), StoredValue::new(id));
        let verdict = move || match (judging, key.get_value()) {
            (Some(judging), Some(key)) => judging.verdict(&key),
            _ => fixed,
        };
        let refused = move || matches!(verdict(), Some(Verdict::Wrong | Verdict::Corrected));
        let lit = move || judging.zip(tag.get_value()).is_some_and(|(judging, tag)| judging.is_lit(&tag));
        let stop = move || match (judging, tag.get_value()) {
            (Some(judging), Some(tag)) => Some(judging.tab_index(&tag)),
            _ => select.map(|_| "0"),
        };
        let reached = tag.with_value(Option::is_some) || select.is_some();
        let chosen = move || {
            if let Some(select) = select {
                select.run(id.get_value());
            }
        };
        view! {
            <g
                class=class class:refused=refused class:lit=lit
                data-record=tag.get_value() data-id=id.get_value()
                tabindex=reached.then_some(stop)
                role=reached.then_some(if select.is_some() { "button" } else { "img" }) aria-label=reached.then_some(move || format!("{name} {}", tick(verdict())))
                on:click=move |_| chosen()
                on:keydown=move |ev| if select.is_some() && (ev.key() == "Enter" || ev.key() == " ") { ev.prevent_default(); chosen() }
            >
                {children}
                <text class="verdict" aria-hidden="true" x=x y=y data-verdict=move || verdict_class(verdict())>{move || tick(verdict())}</text>
            </g>
        }
        .into_any()
    }
}

fn edges(graph: &Graph, layout: &Layout, names: &Names, judging: Tags, select: Option<Callback<String>>) -> AnyView {
    let one = |(edge, placed): (&Edge, &extract::layout::PlacedEdge)| {
        let color = color_class(&edge.label, names);
        let part = Part::new(&edge.id, "edge", &color, &edge.origins, edge.verdict, judging);
        let end = |index: usize| graph.nodes.get(index).map(|n| n.name.clone()).unwrap_or_default();
        let name = format!("{} — {} → {}", end(edge.from), edge.label, end(edge.to));
        let (x, y) = (placed.at.x + placed.at.width / 2, placed.at.y);
        let children = view! {
            <title>{name.clone()}</title>
            <path class="reach" d=placed.path.clone()></path>
            <path class="stroke" d=placed.path.clone()></path>
            <path class="core" d=placed.path.clone()></path>
            <path class="arrow" d=placed.arrow.clone()></path>
            <rect class="back" x=placed.at.x y=placed.at.y width=placed.at.width height=placed.at.height></rect>
            <text class="edge-label" x=x y=y + 11>{placed.label.clone()}</text>
        };
        let at = placed.at;
        part.view(judging, select, name, (at.x + at.width + 5, at.y + 11), children.into_any())
    };
    graph.edges.iter().zip(&layout.edges).map(one).collect_view().into_any()
}

fn nodes(graph: &Graph, layout: &Layout, names: &Names, judging: Tags, select: Option<Callback<String>>) -> AnyView {
    let one = |(node, placed): (&Node, &extract::layout::PlacedNode)| {
        let color = color_class(&node.label, names);
        let kind = if node.kind == NodeKind::Event { "node event" } else { "node" };
        let part = Part::new(&node.id, kind, &color, &node.origins, node.verdict, judging);
        let name = if node.label.is_empty() { node.name.clone() } else { format!("{}, {}", node.name, node.label) };
        let at = placed.at;
        let (x, y) = (at.x + at.width / 2, at.y);
        let radius = if node.kind == NodeKind::Event { at.height / 2 } else { 4 };
        let inner = (at.width > 8 && at.height > 8).then(|| {
            view! { <rect class="core" x=at.x + 3 y=at.y + 3 width=at.width - 6 height=at.height - 6 rx=(radius - 3).max(1)></rect> }
        });
        let label = (!placed.label.is_empty())
            .then(|| view! { <text class="node-label" x=x y=y + 32>{placed.label.clone()}</text> });
        let children = view! {
            <title>{name.clone()}</title>
            <rect class="stroke" x=at.x y=at.y width=at.width height=at.height rx=radius></rect>
            {inner}
            <text class="node-name" x=x y=y + 17>{placed.name.clone()}</text>
            {label}
        };
        part.view(judging, select, name, (at.x + at.width, at.y + 5), children.into_any())
    };
    graph.nodes.iter().zip(&layout.nodes).map(one).collect_view().into_any()
}
