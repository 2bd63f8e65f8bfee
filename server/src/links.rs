//! Links to sessions, and sessions as they are sent to others: frozen as they are.

use std::net::IpAddr;

use app::services::{Owner, ServiceError, Services};
use protocol::{
    Sentence, SessionView,
    batch::PAGE,
    review::Shared,
    view::{NewShare, SchemaView, ShareView, Snapshot},
};
use sha2::{Digest, Sha256};

use crate::{
    pool::refused_by_store,
    services::Studio,
    store::{OpenShare, StoreError, new_id, now_ms},
};

impl Studio {
    /// Freezes a session as it is and makes a link to it.
    ///
    /// # Errors
    /// It is not the owner's, or a run of it has not ended.
    pub async fn make_link(
        &self,
        owner: Owner,
        session: &str,
        note: &str,
        origin: &str,
    ) -> Result<NewShare, ServiceError> {
        let (id, token) = (new_id(), new_token());
        let snapshot = if self.is_large(owner, session).await?.is_some() {
            let mut head = self.store.session_head(owner.0, session).await.map_err(refused_by_store)?;
            head.shares.clear();
            let edits = self.graph_edits(owner, session).await?;
            let reviewed = self.reviewed(owner, session).await?;
            let snapshot = Snapshot { note: note.to_owned(), shared_at: now_ms(), session: head, edits, reviewed };
            self.store.insert_batch_share(owner.0, &id, &hash(&token), &snapshot).await.map_err(refused_by_store)?;
            snapshot
        } else {
            let snapshot = Snapshot { note: note.to_owned(), ..self.preview(owner, session).await? };
            self.store.insert_share(owner.0, &id, &hash(&token), &snapshot).await.map_err(refused_by_store)?;
            snapshot
        };
        let link = ShareView { id, created_at: snapshot.shared_at, note: snapshot.note };
        Ok(self.link(link, &format!("/s/{token}"), origin))
    }

    /// Makes a link to the newest version of a saved schema.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn make_schema_link(&self, owner: Owner, schema: &str, origin: &str) -> Result<NewShare, ServiceError> {
        let (id, token) = (new_id(), new_token());
        let link = self.store.insert_schema_share(owner.0, &id, &hash(&token), schema).await;
        Ok(self.link(link.map_err(refused_by_store)?, &format!("/s/schema/{token}"), origin))
    }

    /// What a link to a schema shows, for anybody who has it.
    ///
    /// # Errors
    /// There is no such link.
    pub async fn opened_schema(&self, token: &str) -> Result<SchemaView, ServiceError> {
        self.store.open_schema_share(&hash(token)).await.map_err(not_open)
    }

    /// A link with the whole address of its path, as others know this server.
    fn link(&self, link: ShareView, path: &str, origin: &str) -> NewShare {
        let base = match &self.public_url {
            Some(url) => url.as_str(),
            None => origin_of(origin).unwrap_or(&self.own_url),
        };
        let base = base.trim_end_matches('/');
        NewShare { link, url: format!("{base}{path}"), local_only: is_local(base) }
    }

    /// What a link shows on a page.
    ///
    /// # Errors
    /// There is no such link.
    pub async fn opened_page(&self, token: &str, page: usize) -> Result<Shared, ServiceError> {
        let share = self.opened(token).await?;
        if share.texts == 0 {
            return Ok(Shared { snapshot: share.snapshot, page: 1, pages: 1, texts: 0 });
        }
        let pages = share.texts.div_ceil(PAGE);
        let page = page.clamp(1, pages);
        let texts = self.store.shared_texts(&share, (page - 1) * PAGE, PAGE).await.map_err(refused_by_store)?;
        let session = texts.of(share.snapshot.session);
        let mut reviewed = share.snapshot.reviewed;
        reviewed.retain(|id| session.documents.iter().any(|document| document.id == *id));
        Ok(Shared { snapshot: Snapshot { session, reviewed, ..share.snapshot }, page, pages, texts: share.texts })
    }

    /// What a link shows, for anybody who has it; of a large batch without its texts, which are listed apart.
    ///
    /// # Errors
    /// There is no such link.
    pub async fn opened(&self, token: &str) -> Result<OpenShare, ServiceError> {
        self.store.open_share(&hash(token)).await.map_err(not_open)
    }

    /// One text of a session as it would be shared, for the file that is downloaded.
    ///
    /// # Errors
    /// It is not the owner's, or a run about it has not ended.
    pub async fn preview_text(&self, owner: Owner, session: &str, text: &str) -> Result<Snapshot, ServiceError> {
        let head = self.store.session_head(owner.0, session).await.map_err(refused_by_store)?;
        let texts = self.store.texts(owner.0, session, &[text.to_owned()]).await.map_err(refused_by_store)?;
        let session = texts.of(head);
        all_ended(&session)?;
        let edits = self.graph_edits(owner, &session.id).await?;
        let ids = [text.to_owned()];
        let reviewed = self.store.reviewed_of(owner.0, &ids).await.map_err(refused_by_store)?;
        Ok(Snapshot { note: String::new(), shared_at: now_ms(), session, edits, reviewed })
    }

    /// A session as it would be shared, without storing anything: for the file that is downloaded. The note is that
    /// of its newest open link, if there is one.
    ///
    /// # Errors
    /// It is not the owner's, or a run of it has not ended.
    pub async fn preview(&self, owner: Owner, session: &str) -> Result<Snapshot, ServiceError> {
        let mut session = self.session(owner, session).await?;
        all_ended(&session)?;
        let note = session.shares.drain(..).next_back().map(|share| share.note).unwrap_or_default();
        let edits = self.graph_edits(owner, &session.id).await?;
        let reviewed = self.reviewed(owner, &session.id).await?;
        Ok(Snapshot { note, shared_at: now_ms(), session, edits, reviewed })
    }
}

fn not_open(error: StoreError) -> ServiceError {
    match error {
        StoreError::Missing(_) => ServiceError::NotFound(Sentence::new(
            "This link shows nothing: it was closed by its author, or is not complete. Ask for a new one.",
            "此链接没有内容：已被作者关闭，或链接不完整。请索取新链接。",
        )),
        error => refused_by_store(error),
    }
}

/// What is sent to others stays as it is: nothing in it may still be going on.
fn all_ended(session: &SessionView) -> Result<(), ServiceError> {
    if session.runs.iter().all(|run| run.status.is_final()) {
        return Ok(());
    }
    Err(ServiceError::invalid(
        "A run of this session is still going on, and what is sent would stay as it is now. Wait for its end \
         or stop it, then try again.",
        "此会话还有运行未结束，而发出的内容不会再更新。请等它结束或先停止它，然后再试。",
    ))
}

/// 192 random bits as 32 characters that need no escaping in an address.
pub fn new_token() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let random: [u8; 32] = rand::random();
    random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect()
}

/// The only form in which a token is kept.
pub fn hash(token: &str) -> String {
    format!("{:x}", Sha256::digest(token.as_bytes()))
}

/// An asker's own address, if it is one: scheme, host and port, nothing else.
fn origin_of(origin: &str) -> Option<&str> {
    let uri: axum::http::Uri = origin.parse().ok()?;
    let scheme = uri.scheme_str().filter(|s| matches!(*s, "http" | "https"))?;
    let bare = format!("{scheme}://{}", uri.authority()?);
    (origin.trim_end_matches('/') == bare && !bare.contains('@')).then_some(origin)
}

/// Whether only this computer can open an address.
pub fn is_local(url: &str) -> bool {
    let Some(host) = url.parse::<axum::http::Uri>().ok().and_then(|u| u.host().map(str::to_owned)) else {
        return false;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_safe_in_addresses_and_never_the_same() {
        let (a, b) = (new_token(), new_token());
        assert_eq!(a.len(), 32);
        assert!(a.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        assert_ne!(a, b);
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn only_an_origin_becomes_the_address_of_a_link() {
        assert_eq!(origin_of("http://studio.example:7860"), Some("http://studio.example:7860"));
        for bad in ["", "javascript:alert(1)", "http://a.example/path", "http://user@a.example", "a.example", "null"] {
            assert_eq!(origin_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_link_to_this_computer_is_local() {
        for local in ["http://localhost:7860", "http://127.0.0.1", "http://[::1]:80"] {
            assert!(is_local(local), "{local}");
        }
        for open in ["http://192.168.1.4:7860", "https://studio.example"] {
            assert!(!is_local(open), "{open}");
        }
    }
}
