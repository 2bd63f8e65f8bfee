//! Taking records away: every format, as downloads that need no scripts.

use leptos::prelude::*;

use super::views::Standalone;
use crate::i18n::{t, use_i18n};

/// A format of the export route, and how it is called. Names of formats are not translated.
const FORMATS: [(&str, &str); 14] = [
    ("json", "JSON"),
    ("jsonl", "JSON Lines"),
    ("csv", "CSV"),
    ("gold", "gold.jsonl"),
    ("markdown", "Markdown"),
    ("brat", "brat .ann"),
    ("doccano", "doccano JSONL"),
    ("turtle", "RDF Turtle"),
    ("cypher", "Cypher"),
    ("nodes", "nodes.csv"),
    ("edges", "edges.csv"),
    ("graphml", "GraphML"),
    ("svg", "SVG"),
    ("html", "HTML"),
];

/// In context on a page that is not a person's own session: where its downloads are, such as `/s/{token}`.
#[derive(Clone)]
pub struct ExportBase(pub String);

/// Where the downloads of a card are; `None` where there are none.
pub fn export_base(read_only: bool, session: &str) -> Option<String> {
    if use_context::<Standalone>().is_some() {
        return None;
    }
    let own = || (!read_only).then(|| format!("/sessions/{session}"));
    use_context::<ExportBase>().map(|base| base.0).or_else(own)
}

/// The menu. `base` is the address of the session or link; `text` the one text to take, or all.
#[component]
pub fn ExportMenu(#[prop(into)] base: Signal<String>, text: Option<String>) -> impl IntoView {
    let i18n = use_i18n();
    let action = move || format!("{}/export", base.get());
    let menu = NodeRef::<leptos::html::Details>::new();
    let close = move || {
        if let Some(menu) = menu.get_untracked() {
            let _ = menu.remove_attribute("open");
        }
    };
    view! {
        <details class="menu" data-testid="export-menu" node_ref=menu
            on:submit=move |_| close()
            on:keydown=move |ev| if ev.key() == "Escape" { close() }
        >
            <summary class="button quiet">{t!(i18n, export)}</summary>
            <form method="get" action=action class="menu-sheet">
                {text.map(|text| view! { <input type="hidden" name="text" value=text/> })}
                <div class="formats">
                    {FORMATS.into_iter().map(|(code, name)| view! {
                        <button type="submit" class="quiet" name="format" value=code data-testid=format!("export-{code}")>{name}</button>
                    }).collect_view()}
                </div>
                <label class="check">
                    <input type="checkbox" name="judgements" value="on" checked=true data-testid="export-judgements"/>
                    {t!(i18n, export_judgements)}
                </label>
                <label class="check">
                    <input type="checkbox" name="bom" value="on" data-testid="export-bom"/>
                    {t!(i18n, export_bom)}
                </label>
            </form>
        </details>
    }
}
