//! Who asks.
//!
//! Without logins (`--auth none`) the person at the keyboard is owner 1; [`crate::http::guard`] sees to it that nobody
//! else gets in. With logins the owner sets a name and a password once, through a link that only the terminal shows.

mod backend;
mod limit;
mod pages;

use std::sync::{Arc, Mutex};

use app::services::Owner;
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use axum_login::AuthManagerLayerBuilder;
use tokio::sync::Semaphore;
use tower_sessions::{Expiry, SessionManagerLayer, cookie::SameSite};
use tower_sessions_sqlx_store::SqliteStore;

use crate::{
    http::{AppState, Asker, plain},
    links::{hash, new_token},
    store::Store,
};
use backend::AuthSession;
pub use backend::Backend;

/// The only owner, so far.
pub const FIRST_OWNER: Owner = Owner(1);
/// How long a login lasts without a visit.
const LOGIN_DAYS: i64 = 30;
/// Passwords that are hashed at the same time: each takes a core and much memory for a while.
const HASHED_AT_ONCE: usize = 2;

/// How the server knows who asks.
#[derive(Debug)]
pub enum Auth {
    /// The person at the keyboard.
    None,
    /// Who has logged in.
    Login(Box<Login>),
}

/// The state of logins.
#[derive(Debug)]
pub struct Login {
    backend: Backend,
    sessions: SqliteStore,
    secure: bool,
    /// Hash of the one-time link's token, until it is used.
    setup: Mutex<Option<String>>,
    attempts: limit::Attempts,
    hashing: Arc<Semaphore>,
}

impl Login {
    /// Prepares logins. `secure`: cookies only travel over HTTPS.
    ///
    /// # Errors
    /// The table of login sessions cannot be made.
    pub async fn new(store: &Store, secure: bool) -> Result<Self, crate::store::StoreError> {
        use tower_sessions::ExpiredDeletion;
        let sessions = SqliteStore::new(store.pool().clone());
        sessions.migrate().await?;
        if let Err(error) = sessions.delete_expired().await {
            tracing::warn!(%error, "old logins could not be removed");
        }
        Ok(Self {
            backend: Backend::new(store.clone()),
            sessions,
            secure,
            setup: Mutex::new(None),
            attempts: limit::Attempts::default(),
            hashing: Arc::new(Semaphore::new(HASHED_AT_ONCE)),
        })
    }

    /// The path of a new one-time link, if the owner has no password yet. Only its hash is kept.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn setup_path(&self) -> Result<Option<String>, crate::store::StoreError> {
        let has_password = self.backend.account(FIRST_OWNER.0).await?.is_some_and(|a| a.password_hash.is_some());
        if has_password {
            return Ok(None);
        }
        let token = new_token();
        if let Ok(mut setup) = self.setup.lock() {
            *setup = Some(hash(&token));
        }
        Ok(Some(format!("/setup?token={token}")))
    }
}

/// Adds the pages of logins, and tells every route who asks.
pub fn add(routes: Router<AppState>, state: &AppState) -> Router<AppState> {
    match &*state.auth {
        Auth::None => routes.layer(from_fn(as_first_owner)),
        Auth::Login(login) => {
            let sessions = SessionManagerLayer::new(login.sessions.clone())
                .with_name("knowlm")
                .with_http_only(true)
                .with_same_site(SameSite::Lax)
                .with_secure(login.secure)
                .with_expiry(Expiry::OnInactivity(time::Duration::days(LOGIN_DAYS)));
            routes
                .route("/login", get(pages::login_page).post(pages::log_in))
                .route("/logout", post(pages::log_out))
                .route("/setup", get(pages::setup_page).post(pages::set_up))
                .layer(from_fn_with_state(state.clone(), identify))
                .layer(AuthManagerLayerBuilder::new(login.backend.clone(), sessions).build())
        }
    }
}

async fn as_first_owner(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(FIRST_OWNER);
    next.run(request).await
}

/// Tells the request who asks; sends those who have to log in there.
async fn identify(State(_): State<AppState>, auth: AuthSession, mut request: Request, next: Next) -> Response {
    if let Some(user) = &auth.user {
        request.extensions_mut().insert(user.owner());
    } else if !is_open(request.uri().path()) {
        let asker = Asker::of(request.headers());
        return ask_to_log_in(asker, &request);
    }
    next.run(request).await
}

fn ask_to_log_in(asker: Asker, request: &Request) -> Response {
    if asker.html && request.method() == Method::GET {
        let here = request.uri().path_and_query().map_or("/", |p| p.as_str());
        let next: String = form_urlencoded::byte_serialize(here.as_bytes()).collect();
        return Redirect::to(&format!("/login?next={next}")).into_response();
    }
    let sentence = asker.language.pick(
        "Please log in first: open /login in another tab, then send this again. Nothing you typed is lost.",
        "请先登录：在新标签页打开 /login，然后重新提交；已输入的内容不会丢失。",
    );
    if asker.html {
        return plain::refusal(StatusCode::UNAUTHORIZED, asker.language, sentence, "/login");
    }
    (StatusCode::UNAUTHORIZED, Json(serde_json::json!({ "error": sentence }))).into_response()
}

/// What needs no login: logging in, shared links, the site's files, health. Server functions check for themselves, so
/// that the page can say what is missing where it happened.
fn is_open(path: &str) -> bool {
    let file_at_the_root = path.matches('/').count() == 1 && path.contains('.');
    matches!(path, "/login" | "/setup" | "/prefs" | "/health" | "/is_ready")
        || ["/s/", "/pkg/", "/_fn/"].iter().any(|open| path.starts_with(open))
        || file_at_the_root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_needs_a_login_and_shared_links_do_not() {
        for open in ["/login", "/setup", "/s/abc", "/pkg/knowlm.css", "/icon.svg", "/health", "/is_ready", "/_fn/start"]
        {
            assert!(is_open(open), "{open}");
        }
        for closed in ["/", "/lora", "/sessions/x", "/sessions/x/export.html", "/api/events", "/generate", "/run"] {
            assert!(!is_open(closed), "{closed}");
        }
    }
}
