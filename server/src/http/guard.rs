//! Which requests are let in at all, and the headers that every answer carries.
//!
//! A page elsewhere must not reach a server on this computer through the browser: not by a host name that resolves
//! to it (the Host header is checked), nor by sending forms to it (origins are checked).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use app::services::ServiceError;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use http_body_util::Limited;
use leptos::server_fn::error::FromServerFnError;
use protocol::Language;

use super::{Asker, plain};
use crate::batch::upload;

/// The largest request body, in bytes; of an upload see [`upload::MAX_BYTES`].
pub const MAX_BODY: usize = 2 * 1024 * 1024;

/// How much of a body that is too large is read and thrown away, in bytes: a browser that is cut off while it sends
/// does not see the answer.
const MAX_DRAINED: usize = 64 * 1024 * 1024;

/// Headers that a proxy adds, besides every `X-Forwarded-…`.
const FORWARDING: [&str; 3] = ["forwarded", "x-real-ip", "via"];

/// For pages without scripts of their own; the app's pages set theirs, with a nonce.
const POLICY: &str = "default-src 'self'; script-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
    object-src 'none'; frame-ancestors 'none'; form-action 'self'";

/// Which hosts are ours.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Where the server listens.
    pub listen: SocketAddr,
    /// The host of the public address, if one was configured.
    pub public_host: Option<String>,
    /// Nobody logs in: only this computer may ask, and nothing may stand in between.
    pub local_only: bool,
}

/// A request that is not let in: the answer's status, and why in English and Chinese.
type Refused = (StatusCode, &'static str, &'static str);

impl Guard {
    fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        let host = authority(uri, headers).ok_or((
            StatusCode::BAD_REQUEST,
            "The request has no valid Host header.",
            "请求缺少有效的 Host 头。",
        ))?;
        if self.local_only && (!is_loopback(name_of(host)) || was_forwarded(headers)) {
            return Err((
                StatusCode::FORBIDDEN,
                "This server runs without logins, so only this computer itself may use it. Start it with --auth login \
                 to open it to others.",
                "本服务器未启用登录，只允许本机访问。如需开放给他人，请用 --auth login 启动。",
            ));
        }
        if !self.is_ours(name_of(host)) {
            return Err((
                StatusCode::FORBIDDEN,
                "This server does not go by that host name. Start it with --public-url and the address that people use.",
                "本服务器不接受该主机名。请用 --public-url 指定访问地址后重新启动。",
            ));
        }
        let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if !safe && !self.same_origin(host, headers) {
            return Err((
                StatusCode::FORBIDDEN,
                "The request comes from another site's page, which may not act here.",
                "该请求来自其他网站的页面，已被拒绝。",
            ));
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > largest(uri)) {
            let too_large = if is_upload(uri) {
                (
                    "That is more than 50 MiB at once: split it, or use `knowlm extract`.",
                    "单次上传超过 50 MiB，请拆分，或使用 `knowlm extract`。",
                )
            } else {
                ("That is more than 2 MiB at once: split it.", "单次提交超过 2 MiB，请拆分后再试。")
            };
            return Err((StatusCode::PAYLOAD_TOO_LARGE, too_large.0, too_large.1));
        }
        Ok(())
    }

    fn is_ours(&self, name: &str) -> bool {
        let ip = name.parse::<IpAddr>().ok();
        // A name can be made to resolve to us by anybody; an address written out cannot. So where we listen on every
        // address, all of them are ours.
        let by_address = ip.is_some_and(|ip| ip == self.listen.ip() || self.listen.ip().is_unspecified());
        let by_name = self.public_host.as_deref().is_some_and(|public| public.eq_ignore_ascii_case(name));
        is_loopback(name) || by_address || by_name
    }

    fn same_origin(&self, host: &str, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or_default());
        match text("sec-fetch-site") {
            Some("same-origin" | "none") => return true,
            Some("cross-site") => return false,
            _ => {}
        }
        let Some(origin) = text("origin").or_else(|| text("referer")) else {
            return true; // no browser
        };
        let Ok(uri) = origin.parse::<Uri>() else { return false };
        let Some(from) = uri.authority() else { return false };
        let public =
            || self.public_host.as_deref().is_some_and(|public| public.eq_ignore_ascii_case(name_of(from.as_str())));
        from.as_str().eq_ignore_ascii_case(host) || public()
    }
}

fn is_upload(uri: &Uri) -> bool {
    matches!(uri.path(), "/batch/upload" | "/files/open")
}

/// The largest body of a request to an address, in bytes.
fn largest(uri: &Uri) -> usize {
    // What stands around the files of a form is not counted.
    if is_upload(uri) { upload::MAX_BYTES + MAX_BODY } else { MAX_BODY }
}

/// Ends a body that is longer than it may be, whatever its length was said to be.
pub async fn limit(request: Request, next: Next) -> Response {
    let largest = largest(request.uri());
    next.run(request.map(|body| Body::new(Limited::new(body, largest)))).await
}

/// Lets a request in, or answers it with a sentence.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.admit(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => {
            let answer = refused(request.uri().path(), Asker::of(request.headers()), why);
            if answer.status() == StatusCode::PAYLOAD_TOO_LARGE {
                drain(request.into_body()).await;
            }
            answer
        }
    }
}

fn refused(path: &str, asker: Asker, (status, en, zh): Refused) -> Response {
    if path.starts_with("/_fn/") {
        // As the page's half of a server function reads errors.
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (status, json, ServiceError::invalid(en, zh).ser()).into_response()
    } else if asker.html {
        plain::refusal(status, asker.language, asker.language.pick(en, zh), "/")
    } else {
        (status, axum::Json(serde_json::json!({ "error": Language::En.pick(en, zh) }))).into_response()
    }
}

async fn drain(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut read = 0;
    while let Some(Ok(chunk)) = chunks.next().await
        && read < MAX_DRAINED
    {
        read += chunk.len();
    }
}

/// Adds the headers that every answer carries.
pub async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // Nothing of our addresses goes to other hosts, a share's token least; forms without scripts still find back.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    // A page is drawn for what its reader has chosen: shown again by "Back" it must not be what it was before.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-store"));
    response
}

fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    host.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str)).filter(|h| !h.is_empty())
}

/// A host without its port and brackets.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((name, _)) => name,
        None => host.split(':').next().unwrap_or(host),
    }
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn was_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-forwarded-") || FORWARDING.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn guard(listen: &str, public: Option<&str>, local_only: bool) -> Guard {
        Guard { listen: listen.parse().unwrap(), public_host: public.map(str::to_owned), local_only }
    }

    fn status(guard: &Guard, method: Method, pairs: &[(&'static str, &str)]) -> u16 {
        let headers = pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        guard.admit(&method, &Uri::from_static("/run"), &headers).map_or_else(|(status, ..)| status.as_u16(), |()| 200)
    }

    #[test]
    fn without_logins_only_this_computer_gets_in() {
        let g = guard("127.0.0.1:7860", Some("studio.example"), true);
        for host in ["localhost:7860", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST"] {
            assert_eq!(status(&g, Method::GET, &[("host", host)]), 200, "{host}");
        }
        for host in ["studio.example", "evil.example:7860", "192.168.1.4", "localhost.evil.example"] {
            assert_eq!(status(&g, Method::GET, &[("host", host)]), 403, "{host}");
        }
        for header in ["x-forwarded-for", "x-forwarded-host", "forwarded", "via"] {
            assert_eq!(status(&g, Method::GET, &[("host", "localhost"), (header, "x")]), 403, "{header}");
        }
        assert_eq!(status(&g, Method::GET, &[]), 400);
    }

    #[test]
    fn with_logins_known_names_and_written_addresses_get_in() {
        let g = guard("0.0.0.0:7860", Some("studio.example"), false);
        for host in ["studio.example", "192.168.1.4:7860", "localhost:7860"] {
            assert_eq!(status(&g, Method::GET, &[("host", host), ("x-forwarded-for", "1.2.3.4")]), 200, "{host}");
        }
        assert_eq!(status(&g, Method::GET, &[("host", "evil.example")]), 403);
        let one = guard("192.168.1.4:7860", None, false);
        assert_eq!(status(&one, Method::GET, &[("host", "192.168.1.4:7860")]), 200);
        assert_eq!(status(&one, Method::GET, &[("host", "192.168.1.5:7860")]), 403);
    }

    #[tokio::test]
    async fn a_page_can_show_why_its_server_function_was_refused() {
        let asker = Asker { language: Language::En, html: false };
        let answer = refused("/_fn/start", asker, (StatusCode::PAYLOAD_TOO_LARGE, "Too much.", "太多。"));
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let body = axum::body::to_bytes(answer.into_body(), MAX_BODY).await.unwrap();
        assert_eq!(ServiceError::de(body), ServiceError::invalid("Too much.", "太多。"));
        let answer = refused("/generate", asker, (StatusCode::FORBIDDEN, "No.", "否。"));
        let body = axum::body::to_bytes(answer.into_body(), MAX_BODY).await.unwrap();
        assert_eq!(body, r#"{"error":"No."}"#);
    }

    #[test]
    fn other_sites_pages_cannot_act() {
        let g = guard("127.0.0.1:7860", None, true);
        let host = ("host", "localhost:7860");
        let post = |extra: &[(&'static str, &str)]| {
            let all: Vec<_> = std::iter::once(host).chain(extra.iter().copied()).collect();
            status(&g, Method::POST, &all)
        };
        assert_eq!(post(&[]), 200);
        assert_eq!(post(&[("origin", "http://localhost:7860")]), 200);
        assert_eq!(post(&[("referer", "http://localhost:7860/lora")]), 200);
        assert_eq!(post(&[("sec-fetch-site", "same-origin"), ("origin", "null")]), 200);
        assert_eq!(post(&[("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")]), 403);
        assert_eq!(post(&[("origin", "http://evil.example")]), 403);
        assert_eq!(post(&[("origin", "null")]), 403);
        assert_eq!(post(&[("referer", "http://evil.example/localhost:7860")]), 403);
        assert_eq!(post(&[("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(status(&g, Method::GET, &[host, ("sec-fetch-site", "cross-site")]), 200);
        assert_eq!(post(&[("content-length", "2097153")]), 413);
    }
}
