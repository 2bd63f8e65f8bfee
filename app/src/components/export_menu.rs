//! Taking records away: every format, as downloads that need no scripts.

use leptos::prelude::*;

use super::{picture::download_png, views::Standalone};
use crate::i18n::{t, t_string, use_i18n};

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
    ("html", "HTML"),
    ("svg", "SVG"),
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
    let said = NodeRef::<leptos::html::Input>::new();
    let failed = RwSignal::new(false);
    let png = {
        let text = text.clone();
        move |_| {
            let text = text.as_ref().map(|text| format!("&text={text}")).unwrap_or_default();
            let judged = said.get_untracked().is_some_and(|said| said.checked());
            let judged = if judged { "&judgements=on" } else { "" };
            failed.set(false);
            download_png(&format!("{}?format=svg{text}{judged}", action()), move || failed.set(true));
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
                    // Drawn by the browser of the same picture.
                    <button type="button" class="quiet only-scripts" data-testid="export-png" title=move || t_string!(i18n, png_help) on:click=png>"PNG"</button>
                </div>
                <Show when=move || failed.get()><p class="error" role="alert">{t!(i18n, png_failed)}</p></Show>
                <label class="check">
                    <input type="checkbox" name="judgements" value="on" checked=true node_ref=said data-testid="export-judgements"/>
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
