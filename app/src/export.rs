//! A session as one HTML file that opens anywhere, without a server and without scripts.

use leptos::{prelude::*, reactive::owner::Owner};
use leptos_meta::provide_meta_context;
use protocol::{Language, view::Snapshot};

use crate::{
    components::Standalone,
    i18n::{I18nSubContextProvider, Locale},
    pages::SnapshotBody,
};

/// The whole file. `css` is the stylesheet, put into the file.
pub fn snapshot_html(snapshot: Snapshot, css: &str, language: Language) -> String {
    let locale = match language {
        Language::En => Locale::en,
        Language::Zh => Locale::zh,
    };
    let title = escape(&snapshot.session.title);
    let body = Owner::new().with(|| {
        provide_meta_context();
        provide_context(Standalone);
        let locale = Signal::stored(locale);
        view! {
            <I18nSubContextProvider initial_locale=locale>
                <main><SnapshotBody snapshot/></main>
            </I18nSubContextProvider>
        }
        .to_html()
    });
    format!(
        "<!DOCTYPE html>\n<html lang=\"{lang}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} · KnowLM Studio</title><style>{css}</style></head><body>{body}</body></html>\n",
        lang = language.code(),
        css = css.replace("</", "<\\/"),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
