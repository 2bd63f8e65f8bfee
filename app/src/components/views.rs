//! The views of one text: marked text with its records, a table, a graph, events as cards. The choice is remembered.

use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use super::{
    events::{EventCards, has_events},
    graph::TextGraph,
    judge_keys::{Judging, JudgingArea, KeyLegend, Row},
    marked::MarkedText,
    records::{AddRecord, RecordList},
    table::AllRecords,
};
use crate::i18n::{t_string, use_i18n};

/// How the records of a text are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Text,
    Table,
    Graph,
    Events,
}

impl View {
    const ALL: [Self; 4] = [Self::Text, Self::Table, Self::Graph, Self::Events];

    fn code(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Table => "table",
            Self::Graph => "graph",
            Self::Events => "events",
        }
    }

    fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.code() == code)
    }
}

/// In context while a file is written that no server and no scripts stand behind: every view is in it, one below the
/// other.
#[derive(Clone, Copy)]
pub struct Standalone;

/// The view in the address, else the one chosen last, else the text.
fn remembered() -> View {
    let asked = use_query_map().with_untracked(|q| q.get("view"));
    let asked = asked.as_deref().and_then(View::from_code);
    asked.or_else(|| cookie().as_deref().and_then(View::from_code)).unwrap_or(View::Text)
}

fn cookie() -> Option<String> {
    let find = |cookies: &str| cookies.split(';').find_map(|c| Some(c.trim().strip_prefix("view=")?.to_owned()));
    #[cfg(feature = "ssr")]
    {
        let parts = use_context::<axum::http::request::Parts>()?;
        find(parts.headers.get(axum::http::header::COOKIE)?.to_str().ok()?)
    }
    #[cfg(all(feature = "hydrate", not(feature = "ssr")))]
    {
        use wasm_bindgen::JsCast as _;
        find(&document().dyn_into::<web_sys::HtmlDocument>().ok()?.cookie().ok()?)
    }
    #[cfg(not(any(feature = "ssr", feature = "hydrate")))]
    find("")
}

fn remember(view: View) {
    #[cfg(feature = "hydrate")]
    {
        use wasm_bindgen::JsCast as _;
        if let Ok(html) = document().dyn_into::<web_sys::HtmlDocument>() {
            let _ = html.set_cookie(&format!("view={}; Path=/; Max-Age=31536000; SameSite=Lax", view.code()));
        }
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = view;
}

/// The tabs and the chosen view. `groups`: what stands in the list beside the text. `notes`: what stands below the list.
#[component]
pub fn Views(
    judging: Judging,
    #[prop(into)] groups: Signal<Vec<(String, Vec<Row>)>>,
    /// Whether there is anything but the text to show.
    #[prop(into)]
    records: Signal<bool>,
    /// Above the list: counts and scores.
    #[prop(into)]
    heading: ViewFn,
    /// Below the list: issues.
    #[prop(into)]
    notes: ViewFn,
) -> impl IntoView {
    let i18n = use_i18n();
    let events = Memo::new(move |_| judging.layers.with(|rows| has_events(rows)));
    let (heading, notes) = (StoredValue::new(heading), StoredValue::new(notes));
    let text = move |to_graph: Option<Callback<()>>| {
        view! {
            <div class="pair">
                <MarkedText judging to_graph/>
                <Show when=move || records.get()>
                    <div>
                        {heading.get_value().run()}
                        <RecordList groups judging/>
                        {notes.get_value().run()}
                    </div>
                </Show>
            </div>
        }
    };
    if use_context::<Standalone>().is_some() {
        let linked = judging.layers.with_untracked(|rows| rows.iter().any(|r| r.record.mentions().len() > 1));
        return view! {
            <JudgingArea judging>
                {text(None)}
                {linked.then(|| view! { <TextGraph judging/> })}
                {events.get_untracked().then(|| view! { <EventCards judging/> })}
            </JudgingArea>
        }
        .into_any();
    }
    let chosen = RwSignal::new(remembered());
    let to_graph = Callback::new(move |()| {
        chosen.set(View::Graph);
        remember(View::Graph);
    });
    let shown = Memo::new(move |_| match chosen.get() {
        View::Events if !events.get() => View::Text,
        _ if !records.get() => View::Text,
        view => view,
    });
    let tab = move |view: View| {
        let name = move || match view {
            View::Text => t_string!(i18n, view_text),
            View::Table => t_string!(i18n, view_table),
            View::Graph => t_string!(i18n, view_graph),
            View::Events => t_string!(i18n, view_events),
        };
        let current = move || (shown.get() == view).then_some("true");
        view! {
            <a href=format!("?view={}", view.code()) rel="external" data-testid=format!("view-{}", view.code()) aria-current=current
                on:click=move |ev| { ev.prevent_default(); chosen.set(view); remember(view) }>{name}</a>
        }
    };
    view! {
        <JudgingArea judging>
            <Show when=move || records.get()>
                <nav class="tabs" aria-label=move || t_string!(i18n, views)>
                    {tab(View::Text)} {tab(View::Table)} {tab(View::Graph)}
                    <Show when=move || events.get()>{tab(View::Events)}</Show>
                </nav>
            </Show>
            {move || match shown.get() {
                View::Text => text(Some(to_graph)).into_any(),
                View::Table => view! { {heading.get_value().run()} <AllRecords judging/> }.into_any(),
                View::Graph => view! { {heading.get_value().run()} <TextGraph judging/> }.into_any(),
                View::Events => view! { {heading.get_value().run()} <EventCards judging/> }.into_any(),
            }}
            <Show when=move || records.get() && !judging.read_only>
                <div class="record-help"><AddRecord judging/> <KeyLegend/></div>
            </Show>
        </JudgingArea>
    }
    .into_any()
}
