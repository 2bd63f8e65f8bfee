//! One request: over HTTP or HTTPS, following redirects with open eyes.

use std::{fmt::Display, fs, io::Read, path::Path, time::Duration};

use protocol::Sentence;
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, Uri, header},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::DownloadError;

/// How often an answer may send us elsewhere.
const MAX_REDIRECTS: usize = 6;
/// No file of certificates is larger.
const MAX_CERTIFICATES: u64 = 16 << 20;
/// A server that does not take a connection within this time is not there.
const CONNECT: Duration = Duration::from_secs(10);

/// Asks one hub.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    /// The hub's address without a slash at its end.
    hub: String,
    origin: Uri,
    token: Option<String>,
}

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may go better the next time, after so long if the server says so.
    Passing(Sentence, Option<Duration>),
    /// It will not.
    Final(DownloadError),
}

/// What the system says of a connection.
pub(super) fn broken(error: impl Display) -> Sentence {
    let said = error.to_string();
    let zh = format!("连接出错（{said}）");
    Sentence::new(said, zh)
}

impl Client {
    /// For a hub at an address; a silent connection is given up after `idle`.
    /// `certificates` is a file of those to trust in place of the built-in ones.
    pub(super) fn new(
        hub: &str,
        token: Option<String>,
        certificates: Option<&Path>,
        idle: Duration,
    ) -> Result<Self, DownloadError> {
        let wrong = |reason: &str| DownloadError::Address { url: hub.into(), reason: reason.into() };
        let hub_trimmed = hub.trim().trim_end_matches('/');
        let origin: Uri =
            hub_trimmed.parse().map_err(|_| wrong("it is no address; it must begin with https:// or http://"))?;
        if !matches!(origin.scheme_str(), Some("http" | "https")) || origin.host().is_none_or(str::is_empty) {
            return Err(wrong("it must begin with https:// or http://"));
        }
        if origin.query().is_some() {
            return Err(wrong("it must not have a question mark"));
        }
        let token = token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        if token.as_ref().is_some_and(|t| t.chars().any(|c| !c.is_ascii_graphic())) {
            return Err(wrong("the token has characters that tokens do not have"));
        }
        let tls = TlsConfig::builder();
        let tls = match certificates {
            Some(path) => tls.root_certs(RootCerts::new_with_certs(&trusted(path)?)),
            None => tls,
        };
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .user_agent(concat!("knowlm/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(idle.min(CONNECT)))
            .timeout_connect(Some(idle.min(CONNECT)))
            .timeout_recv_response(Some(idle))
            .timeout_per_read(Some(idle))
            .timeout_per_write(Some(idle))
            .build();
        Ok(Self { agent: config.new_agent(), hub: hub_trimmed.into(), origin, token })
    }

    /// An address on the hub; `path` is already encoded.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.hub)
    }

    /// Asks for an address, or for some of its bytes, `from` to `to` with the last included.
    pub(super) fn get(&self, url: &str, range: Option<(u64, u64)>) -> Result<Response<Body>, Failure> {
        let answer = |reason: String| Failure::Final(DownloadError::Answer { url: url.into(), reason });
        let mut at: Uri = url.parse().map_err(|_| answer("it is no address".into()))?;
        for redirects in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&at);
            if let Some((from, to)) = range {
                request = request.header(header::RANGE, format!("bytes={from}-{to}"));
            }
            // The token is the hub's alone.
            if let Some(token) = self.token.as_ref().filter(|_| is_same_origin(&at, &self.origin)) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|e| Failure::Passing(broken(e), None))?;
            let status = response.status();
            if !status.is_redirection() {
                return self.judged(response, url, redirects > 0);
            }
            let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
            let location = location.ok_or_else(|| answer(format!("{status} to nowhere")))?;
            let next = resolve(&at, location).ok_or_else(|| answer("it leads to what is no web address".into()))?;
            if at.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(answer("it leads from an encrypted address to one that is not".into()));
            }
            at = next;
        }
        Err(answer(format!("it leads elsewhere more than {MAX_REDIRECTS} times")))
    }

    fn judged(&self, response: Response<Body>, url: &str, elsewhere: bool) -> Result<Response<Body>, Failure> {
        let status = response.status();
        let passing = || {
            let reason = Sentence::new(format!("the answer was {status}"), format!("对方的应答是 {status}"));
            let seconds = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
            Err(Failure::Passing(reason, seconds.map(|s: u64| Duration::from_secs(s.min(300)))))
        };
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            // An address that was given out for a while only is refused after it.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if elsewhere => passing(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Failure::Final(DownloadError::Refused { url: url.into(), status: status.as_u16() }))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(Failure::Final(DownloadError::NotFound { url: url.into() }))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => passing(),
            _ if status.is_server_error() => passing(),
            _ => Err(Failure::Final(DownloadError::Answer {
                url: url.into(),
                reason: format!("the answer was {status}"),
            })),
        }
    }

    /// The whole of a small answer.
    pub(super) fn small(&self, url: &str, most: u64) -> Result<Vec<u8>, Failure> {
        let response = self.get(url, None)?;
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(most + 1);
        reader.read_to_end(&mut body).map_err(|e| Failure::Passing(broken(e), None))?;
        if body.len() as u64 > most {
            let reason = format!("it is longer than {most} bytes");
            return Err(Failure::Final(DownloadError::Answer { url: url.into(), reason }));
        }
        Ok(body)
    }
}

/// The certificates of a file.
fn trusted(path: &Path) -> Result<Vec<Certificate<'static>>, DownloadError> {
    let wrong = |reason: String| DownloadError::Certificates { path: path.into(), reason };
    let size = fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if size > MAX_CERTIFICATES {
        return Err(wrong(format!("{size} bytes are more than certificates have")));
    }
    let bytes = fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| wrong(e.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(wrong("there is no certificate in it".into())) } else { Ok(found) }
}

fn is_same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    a.scheme_str() == b.scheme_str()
        && a.host().map(str::to_ascii_lowercase) == b.host().map(str::to_ascii_lowercase)
        && port(a) == port(b)
}

/// Where a redirect leads; none for anything but HTTP and HTTPS.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let origin = format!("{scheme}://{}", base.authority()?);
    let lower = location.to_ascii_lowercase();
    let full = if lower.starts_with("http://") || lower.starts_with("https://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{origin}{location}")
    } else if location.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':')) {
        return None;
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{origin}{folder}/{location}")
    };
    let full = full.split('#').next().unwrap_or_default();
    full.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|h| !h.is_empty()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_web() {
        let base: Uri = "https://hub.example/a/b?c".parse().unwrap();
        let to = |location: &str| resolve(&base, location).map(|uri| uri.to_string());
        assert_eq!(to("/x?y=1#z").unwrap(), "https://hub.example/x?y=1");
        assert_eq!(to("x").unwrap(), "https://hub.example/a/x");
        assert_eq!(to("//cdn.example/x").unwrap(), "https://cdn.example/x");
        assert_eq!(to("http://cdn.example:81/x").unwrap(), "http://cdn.example:81/x");
        for bad in ["file:///etc/passwd", "ftp://x/y", "javascript:alert(1)", "data:text/plain,x", "http://", ""] {
            assert!(to(bad).is_none_or(|uri| uri == "https://hub.example/a/"), "{bad}");
        }
    }

    #[test]
    fn only_the_hub_itself_is_told_the_token() {
        let hub: Uri = "https://hub.example".parse().unwrap();
        let same = |other: &str| is_same_origin(&hub, &other.parse().unwrap());
        assert!(same("https://HUB.example/x") && same("https://hub.example:443/"));
        assert!(!same("http://hub.example/") && !same("https://hub.example:8443/") && !same("https://x.hub.example/"));
    }

    #[test]
    fn an_address_must_be_one() {
        let error = |url: &str| Client::new(url, None, None, Duration::from_secs(1)).unwrap_err().to_string();
        assert!(error("hub.example").contains("must begin with https://"));
        assert!(error("file:///x").contains("must begin with https://"));
        assert!(error("https://hub.example/?x").contains("question mark"));
        assert!(Client::new("https://hub.example/mirror/", None, None, Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn certificates_come_from_a_file_that_has_some() {
        let fixture = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/company.pem"));
        assert_eq!(trusted(fixture).unwrap().len(), 1);
        let dir = tempfile::tempdir().unwrap();
        let (file, twice) = (dir.path().join("x.pem"), fs::read(fixture).unwrap().repeat(2));
        fs::write(&file, twice).unwrap();
        assert_eq!(trusted(&file).unwrap().len(), 2);
        let client = Client::new("https://hub.example", None, Some(&file), Duration::from_secs(1));
        assert!(client.is_ok());
        for (text, wanted) in [
            ("no certificate", "there is no certificate in it"),
            ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "cannot be used as the certificates"),
        ] {
            fs::write(&file, text).unwrap();
            let error = trusted(&file).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("SSL_CERT_FILE"), "{error}");
        }
        assert!(trusted(Path::new("/nowhere.pem")).is_err());
    }
}
