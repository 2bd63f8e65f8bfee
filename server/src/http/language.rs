//! The language of the person who asks.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use protocol::Language;

/// What a request tells of the person behind it: their language, and whether they look at pages.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// From the `lang` cookie, else from the browser.
    pub language: Language,
    /// Whether the answer may be a page.
    pub html: bool,
}

impl Asker {
    /// Reads it from a request's headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|v: &axum::http::HeaderValue| v.to_str().ok()).unwrap_or("");
        let cookie = text(header::COOKIE).split(';').find_map(|c| c.trim().strip_prefix("lang="));
        let accepted = || text(header::ACCEPT_LANGUAGE).split([',', ';']).find_map(|l| Language::from_code(l.trim()));
        let language = cookie.and_then(Language::from_code).or_else(accepted).unwrap_or_default();
        Self { language, html: text(header::ACCEPT).contains("text/html") }
    }
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn language(pairs: &[(header::HeaderName, &str)]) -> Language {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        Asker::of(&headers).language
    }

    #[test]
    fn the_cookie_wins_over_the_browser() {
        assert_eq!(language(&[]), Language::En);
        assert_eq!(language(&[(header::ACCEPT_LANGUAGE, "fr-FR,zh-CN;q=0.8,en;q=0.7")]), Language::Zh);
        let both = [(header::COOKIE, "theme=dark; lang=en"), (header::ACCEPT_LANGUAGE, "zh")];
        assert_eq!(language(&both), Language::En);
    }
}
