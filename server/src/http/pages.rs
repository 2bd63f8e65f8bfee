//! The app's pages and server functions, and the site's files.

use std::sync::Arc;

use app::{
    batches::BatchServices,
    reviews::ReviewServices,
    services::{Logins, Owner, Services},
    weights::WeightServices,
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
    routing::any,
};
use leptos::{nonce::use_nonce, prelude::*};
use leptos_axum::{LeptosRoutes, ResponseOptions, generate_route_list_with_exclusions, render_app_async_with_context};
use tower_http::services::ServeDir;

use super::AppState;

/// Routes of the app that are answered elsewhere, should it have them.
const ELSEWHERE: [&str; 3] = ["/login", "/logout", "/setup"];

/// Adds every page and server function of the app, and the site's files below all else.
pub fn add(routes: Router<AppState>, state: &AppState) -> Router<AppState> {
    let excluded = ELSEWHERE.map(str::to_owned).to_vec();
    let pages = generate_route_list_with_exclusions(app::App, Some(excluded));
    let services: Arc<dyn Services> = Arc::clone(&state.studio) as Arc<dyn Services>;
    let batches: Arc<dyn BatchServices> = Arc::clone(&state.batches) as Arc<dyn BatchServices>;
    let reviews: Arc<dyn ReviewServices> = Arc::clone(&state.reviews) as Arc<dyn ReviewServices>;
    let weights: Arc<dyn WeightServices> = Arc::clone(&state.jobs) as Arc<dyn WeightServices>;
    let logins = Logins(!state.guard.local_only);
    let context = move || {
        provide_context(logins);
        provide_context(Arc::clone(&batches));
        provide_context(Arc::clone(&reviews));
        provide_context(Arc::clone(&weights));
        provide(&services);
    };
    let shell = {
        let options = state.leptos.clone();
        move || app::shell(options.clone())
    };
    let not_found = {
        let render = render_app_async_with_context(context.clone(), shell.clone());
        any(move |request: Request| {
            let page = render(request);
            async move { as_not_found(page.await) }
        })
    };
    let files = ServeDir::new(&*state.leptos.site_root)
        .precompressed_br()
        .precompressed_gzip()
        .append_index_html_on_directories(false)
        .call_fallback_on_method_not_allowed(true)
        .fallback(not_found.with_state::<()>(()));
    routes.leptos_routes_with_context(state, pages, context, shell).fallback_service(files)
}

/// What the app finds in the context of a request: services, who asks, and the policy that its scripts run under.
fn provide(services: &Arc<dyn Services>) {
    provide_context(Arc::clone(services));
    let owner = use_context::<Parts>().and_then(|parts| parts.extensions.get::<Owner>().copied());
    if let Some(owner) = owner {
        provide_context(owner);
    }
    if let (Some(nonce), Some(response)) = (use_nonce(), use_context::<ResponseOptions>()) {
        let policy = format!(
            "default-src 'self'; script-src 'nonce-{nonce}' 'strict-dynamic' 'wasm-unsafe-eval'; \
             style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; base-uri 'none'; object-src 'none'; \
             frame-ancestors 'none'; form-action 'self'"
        );
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            response.insert_header(header::CONTENT_SECURITY_POLICY, policy);
        }
    }
}

fn as_not_found(mut page: Response<Body>) -> Response<Body> {
    if page.status() == StatusCode::OK {
        *page.status_mut() = StatusCode::NOT_FOUND;
    }
    page
}
