//! Language and theme: a switch each, remembered in a cookie, usable without scripts.

use leptos::prelude::*;
use protocol::Language;

use crate::i18n::{Locale, t, t_string, use_i18n};

/// The interface's language, tracked.
pub fn language() -> impl Fn() -> Language + Copy + Send + Sync + 'static {
    let i18n = use_i18n();
    move || match i18n.get_locale() {
        Locale::en => Language::En,
        Locale::zh => Language::Zh,
    }
}

/// The theme in the request's cookie: `light`, `dark`, or none to follow the system.
pub fn theme_of_request() -> Option<&'static str> {
    #[cfg(feature = "ssr")]
    {
        let parts = use_context::<axum::http::request::Parts>()?;
        let cookies = parts.headers.get(axum::http::header::COOKIE)?.to_str().ok()?;
        cookies.split(';').find_map(|c| match c.trim() {
            "theme=light" => Some("light"),
            "theme=dark" => Some("dark"),
            _ => None,
        })
    }
    #[cfg(not(feature = "ssr"))]
    None
}

/// One button: to the other language.
#[component]
pub fn LanguageSwitch() -> impl IntoView {
    let i18n = use_i18n();
    let other = move || match i18n.get_locale() {
        Locale::en => Locale::zh,
        Locale::zh => Locale::en,
    };
    view! {
        <form method="post" action="/prefs" on:submit=move |ev| {
            ev.prevent_default();
            i18n.set_locale(other());
        }>
            <input type="hidden" name="lang" value=move || other().to_string()/>
            <button class="quiet" data-testid="language" title=move || t_string!(i18n, switch_language)>
                {move || match other() { Locale::zh => "中文", Locale::en => "English" }}
            </button>
        </form>
    }
}

/// One button: to the other of light and dark.
#[component]
pub fn ThemeSwitch() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <form method="post" action="/prefs" on:submit=move |ev| {
            ev.prevent_default();
            toggle_theme();
        }>
            <input type="hidden" name="theme" value=if theme_of_request() == Some("dark") { "light" } else { "dark" }/>
            <button class="quiet" data-testid="theme" title=move || t_string!(i18n, switch_theme)>
                <span class="only-light">{t!(i18n, theme_dark)}</span>
                <span class="only-dark">{t!(i18n, theme_light)}</span>
            </button>
        </form>
    }
}

fn toggle_theme() {
    #[cfg(feature = "hydrate")]
    {
        use wasm_bindgen::JsCast as _;
        let Some(root) = document().document_element() else { return };
        let now = root.get_attribute("data-theme").unwrap_or_else(|| {
            let dark = window().match_media("(prefers-color-scheme: dark)").ok().flatten().is_some_and(|m| m.matches());
            if dark { "dark" } else { "light" }.into()
        });
        let next = if now == "dark" { "light" } else { "dark" };
        let _ = root.set_attribute("data-theme", next);
        if let Ok(html) = document().dyn_into::<web_sys::HtmlDocument>() {
            let _ = html.set_cookie(&format!("theme={next}; Path=/; Max-Age=31536000; SameSite=Lax"));
        }
    }
}

/// The content of a `textarea` as it has to stand in the page. The renderer writes it out as it is, so on the server it
/// is escaped here; the line break before it is the one that every browser drops. In the browser nothing is written.
pub fn area(text: String) -> String {
    if cfg!(feature = "ssr") {
        format!("\n{}", text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
    } else {
        text
    }
}

/// A wording with its `{names}` replaced by values.
pub fn fill(wording: &str, values: &[(&str, &dyn std::fmt::Display)]) -> String {
    values
        .iter()
        .fold(wording.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), &value.to_string()))
}
