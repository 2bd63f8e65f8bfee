//! The document around every page, the navigation, and the routes.

use leptos::prelude::*;
use leptos_i18n::context::CookieOptions;
use leptos_meta::{MetaTags, Title, provide_meta_context};
use leptos_router::{
    SsrMode,
    components::{A, Route, Router, Routes},
    path,
};

use crate::{
    i18n::{I18nContextProvider, Locale, t, t_string, use_i18n},
    live::Connection,
    pages,
    prefs::{self, LanguageSwitch, ThemeSwitch},
    services::{FIRST_OWNER, Logins, Owner},
};

/// The document: head, stylesheet and the script that starts the browser half.
///
/// The script is our own in place of `HydrationScripts`, whose preload link carries no nonce and is
/// refused by the content security policy.
pub fn shell(_options: LeptosOptions) -> impl IntoView {
    #[cfg(feature = "ssr")]
    let nonce = leptos::nonce::use_nonce();
    #[cfg(not(feature = "ssr"))]
    let nonce: Option<String> = None;
    let logins = use_context::<Logins>().filter(|l| l.0).map(|_| "");
    let owner = use_context::<Owner>().filter(|owner| *owner == FIRST_OWNER).map(|_| "");
    view! {
        <!DOCTYPE html>
        <html data-theme=prefs::theme_of_request() data-logins=logins data-owner=owner>
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                <link rel="icon" href="/icon.svg" type="image/svg+xml"/>
                <link rel="stylesheet" href="/pkg/knowlm.css"/>
                <script type="module" nonce=nonce>{include_str!("start.js")}</script>
                <MetaTags/>
            </head>
            <body>
                <App/>
            </body>
        </html>
    }
}

/// The language is remembered for the whole site and for a year, as the theme is.
fn language_cookie() -> CookieOptions<Locale> {
    CookieOptions::default().path("/").max_age(365 * 24 * 3600 * 1000_i64)
}

/// The whole app, below `body`.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    provide_context(Connection::default());
    view! {
        <I18nContextProvider cookie_name="lang" cookie_options=language_cookie()>
            <Router>
                <Header/>
                <ConnectionNotice/>
                <main>
                    <Routes fallback=pages::NotFound>
                        <Route path=path!("/") view=pages::Extract ssr=SsrMode::Async/>
                        <Route path=path!("/lora") view=pages::Extract ssr=SsrMode::Async/>
                        <Route path=path!("/compare") view=pages::Compare ssr=SsrMode::Async/>
                        <Route path=path!("/batch") view=pages::Batch ssr=SsrMode::Async/>
                        <Route path=path!("/pretrain") view=pages::Complete ssr=SsrMode::Async/>
                        <Route path=path!("/schemas") view=pages::Schemas ssr=SsrMode::Async/>
                        <Route path=path!("/schemas/:id") view=pages::EditSchema ssr=SsrMode::Async/>
                        <Route path=path!("/sessions") view=pages::Sessions ssr=SsrMode::Async/>
                        <Route path=path!("/sessions/:id") view=pages::Session ssr=SsrMode::Async/>
                        <Route path=path!("/admin") view=pages::Admin ssr=SsrMode::Async/>
                        <Route path=path!("/admin/weights") view=pages::Weights ssr=SsrMode::Async/>
                        <Route path=path!("/sessions/:id/review") view=pages::Review ssr=SsrMode::Async/>
                        <Route path=path!("/sessions/:id/scores") view=pages::Scores ssr=SsrMode::Async/>
                        <Route path=path!("/sessions/:id/graph") view=pages::Corpus ssr=SsrMode::Async/>
                        <Route path=path!("/s/schema/:token") view=pages::SharedSchema ssr=SsrMode::Async/>
                        <Route path=path!("/s/:token") view=pages::Shared ssr=SsrMode::Async/>
                    </Routes>
                </main>
            </Router>
        </I18nContextProvider>
    }
}

#[component]
fn Header() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <Title formatter=|page: String| if page.is_empty() { "KnowLM Studio".into() } else { format!("{page} · KnowLM Studio") }/>
        <a class="skip" href="#work">{t!(i18n, skip_to_work)}</a>
        <header>
            <A href="/" attr:class="brand">"KnowLM Studio"</A>
            <nav aria-label=move || t_string!(i18n, nav_label)>
                <A href="/lora">{t!(i18n, nav_extract)}</A>
                <A href="/compare">{t!(i18n, nav_compare)}</A>
                <A href="/batch">{t!(i18n, nav_batch)}</A>
                <A href="/pretrain">{t!(i18n, nav_complete)}</A>
                <A href="/schemas">{t!(i18n, nav_schemas)}</A>
                <A href="/sessions">{t!(i18n, nav_sessions)}</A>
                // Always there, as below; shown to the owner.
                <A href="/admin" attr:class="for-owner">{t!(i18n, nav_admin)}</A>
            </nav>
            <div class="switches">
                <LanguageSwitch/>
                <ThemeSwitch/>
                // Always in the document, so that both halves draw the same; the stylesheet shows it where people log in.
                <form class="logout" method="post" action="/logout">
                    <button class="quiet">{t!(i18n, log_out)}</button>
                </form>
            </div>
        </header>
    }
}

#[component]
fn ConnectionNotice() -> impl IntoView {
    let i18n = use_i18n();
    let connection = expect_context::<Connection>();
    view! {
        <Show when=move || connection.lost.get()>
            <p class="notice warn" role="status">{t!(i18n, connection_lost)}</p>
        </Show>
    }
}
