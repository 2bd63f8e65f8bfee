//! What the pages ask for, answered from pool, hub and store.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use app::{
    scores::SessionScores,
    services::{Owner, ServiceError, Services},
};
use async_trait::async_trait;
use extract::graph::Edits;
use protocol::{
    AdminView, Bench, Judgement, Language, ModelEntry, RunView, Sentence, SessionSummary, SessionView, StartRuns,
    Started,
    view::{AdapterInfo, NewShare, OtherAdapter, SaveSchema, SchemaVersion, SchemaView, ShareView, Snapshot, WarmUp},
};
use sha2::{Digest, Sha256};

use crate::{
    adapters::{self, AdapterFolders},
    assets,
    batch::Batches,
    defaults::Defaults,
    hub::Hub,
    pool::{Pool, refused_by_store},
    review, schemas,
    store::{Store, StoreError, new_id, now_ms},
};

/// The longest title and note, in code points.
const MAX_TITLE: usize = 200;
const MAX_NOTE: usize = 4000;

/// The most texts, runs, and bytes of both that are read as a whole: together below about 100 MB.
const MOST_TEXTS: i64 = 5_000;
const MOST_RUNS: i64 = 15_000;
const MOST_BYTES: i64 = 48 * 1024 * 1024;

/// The services of a running server.
pub struct Studio {
    /// Where runs go.
    pub pool: Pool,
    /// What is kept.
    pub store: Store,
    /// Files of texts, which end with their sessions.
    pub batches: Arc<Batches>,
    /// What goes on.
    pub hub: Arc<Hub>,
    /// What is known of the model by name.
    pub entry: Option<&'static ModelEntry>,
    /// Where adapters are sought.
    pub adapter_folders: AdapterFolders,
    /// The address in links, when one was configured.
    pub public_url: Option<String>,
    /// The address the server listens on, for links of askers whose own address is not known.
    pub own_url: String,
    /// The first example's answer, once it is there.
    pub warmup: OnceLock<WarmUp>,
    /// Whether that answer is being made.
    pub warming: AtomicBool,
}

#[async_trait]
impl Services for Studio {
    async fn bench(&self, owner: Owner) -> Result<Bench, ServiceError> {
        // Read first: once it is false, an answer that was made is there.
        let warming = self.warming.load(Ordering::Acquire);
        let mut adapters = self.pool.generator().adapters().into_iter();
        let adapter = adapters.next();
        let defaults = self.defaults(adapter.as_ref());
        let others = adapters.map(|info| OtherAdapter { lora: self.defaults(Some(&info)).lora, info }).collect();
        Ok(Bench {
            model: self.pool.generator().model(),
            adapter,
            others,
            pretrain: defaults.pretrain,
            lora: defaults.lora,
            examples: assets::examples().to_vec(),
            schemas: self.schemas(owner).await?,
            gallery: assets::gallery().to_vec(),
            warmup: self.warmup.get().cloned(),
            warming,
        })
    }

    async fn start(&self, owner: Owner, request: StartRuns) -> Result<Started, ServiceError> {
        self.pool.run(owner, request).await
    }

    async fn stop(&self, owner: Owner, runs: Vec<String>) -> Result<(), ServiceError> {
        runs.iter().for_each(|run| self.pool.stop(owner, run));
        Ok(())
    }

    async fn ask_missing(
        &self,
        owner: Owner,
        extraction: &str,
        language: Language,
    ) -> Result<Vec<RunView>, ServiceError> {
        self.pool.ask_missing(owner, extraction, language).await.map(|(_, runs)| runs)
    }

    async fn run(&self, owner: Owner, run: &str) -> Result<RunView, ServiceError> {
        // The hub first: a run that ends in between is then found in the store, whole.
        match self.hub.get(owner.0, run) {
            Some(live) => Ok(live.view()),
            None => self.store.run(owner.0, run).await.map_err(refused_by_store),
        }
    }

    async fn sessions(&self, owner: Owner, search: &str) -> Result<Vec<SessionSummary>, ServiceError> {
        self.store.sessions(owner.0, search).await.map_err(refused_by_store)
    }

    async fn session(&self, owner: Owner, session: &str) -> Result<SessionView, ServiceError> {
        self.small_enough(owner, session).await?;
        let mut view = self.store.session(owner.0, session).await.map_err(refused_by_store)?;
        for run in view.runs.iter_mut().filter(|run| !run.status.is_final()) {
            // A run that the hub does not have any more has ended since the session was read.
            *run = self.run(owner, &run.id).await?;
        }
        Ok(view)
    }

    async fn rename(&self, owner: Owner, session: &str, title: &str) -> Result<(), ServiceError> {
        let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        if title.is_empty() {
            return Err(ServiceError::invalid(
                "The title is empty: give the session a name.",
                "标题为空：请给会话起个名字。",
            ));
        }
        bounded(("title", "标题"), &title, MAX_TITLE)?;
        self.store.rename(owner.0, session, &title).await.map_err(refused_by_store)
    }

    async fn set_deleted(&self, owner: Owner, session: &str, deleted: bool) -> Result<(), ServiceError> {
        self.store.set_deleted(owner.0, session, deleted).await.map_err(refused_by_store)?;
        if deleted {
            // What is brought back goes on when it is asked to.
            self.pool.stop_session(owner, session);
            self.batches.stop(owner, session).await.map_err(refused_by_store)?;
        }
        Ok(())
    }

    async fn schemas(&self, owner: Owner) -> Result<Vec<SchemaView>, ServiceError> {
        let mut schemas = self.store.schemas(owner.0).await.map_err(refused_by_store)?;
        schemas.extend_from_slice(assets::schemas());
        Ok(schemas)
    }

    async fn schema(&self, owner: Owner, id: &str) -> Result<(SchemaView, Vec<SchemaVersion>), ServiceError> {
        if let Some(ready) = assets::schemas().iter().find(|schema| schema.id == id) {
            return Ok((ready.clone(), Vec::new()));
        }
        let schema = self.store.schema(owner.0, id).await.map_err(refused_by_store)?;
        let versions = self.store.schema_versions(owner.0, id).await.map_err(refused_by_store)?;
        Ok((schema, versions))
    }

    async fn read_schema(&self, text: &str) -> Result<String, ServiceError> {
        Ok(schemas::read(text)?.to_json())
    }

    async fn save_schema(&self, owner: Owner, request: SaveSchema) -> Result<SchemaView, ServiceError> {
        let name = schemas::name(&request.name)?;
        let schema = schemas::read(&request.text)?;
        let id =
            self.store.save_schema(owner.0, request.id.as_deref(), &name, schema.language, &schema.to_json()).await;
        self.store.schema(owner.0, &id.map_err(refused_by_store)?).await.map_err(refused_by_store)
    }

    async fn rename_schema(&self, owner: Owner, id: &str, name: &str) -> Result<(), ServiceError> {
        self.store.rename_schema(owner.0, id, &schemas::name(name)?).await.map_err(refused_by_store)
    }

    async fn set_schema_deleted(&self, owner: Owner, id: &str, deleted: bool) -> Result<(), ServiceError> {
        self.store.set_schema_deleted(owner.0, id, deleted).await.map_err(refused_by_store)
    }

    async fn judge(&self, owner: Owner, document: &str, judgement: Judgement) -> Result<(), ServiceError> {
        self.store.judge(owner.0, document, &judgement).await.map_err(refused_by_store)
    }

    async fn unjudge(&self, owner: Owner, document: &str, key: &str) -> Result<(), ServiceError> {
        self.store.unjudge(owner.0, document, key).await.map_err(refused_by_store)
    }

    async fn reviewed(&self, owner: Owner, session: &str) -> Result<Vec<String>, ServiceError> {
        self.store.reviewed(owner.0, session).await.map_err(refused_by_store)
    }

    async fn accept(&self, owner: Owner, document: &str, judgements: Vec<Judgement>) -> Result<(), ServiceError> {
        self.store.accept(owner.0, document, &judgements).await.map_err(refused_by_store)
    }

    async fn reopen(&self, owner: Owner, document: &str) -> Result<(), ServiceError> {
        self.store.reopen(owner.0, document).await.map_err(refused_by_store)
    }

    async fn scores(&self, owner: Owner, session: &str) -> Result<SessionScores, ServiceError> {
        let reviewed = self.reviewed(owner, session).await?;
        let session = self.session(owner, session).await?;
        // Parsing and scoring a large session takes a while.
        let scored = tokio::task::spawn_blocking(move || review::scores(session, &reviewed)).await;
        scored.map_err(|e| {
            ServiceError::Internal(Sentence::new(
                format!("The scores could not be computed: {e}. Try again."),
                format!("无法计算评分：{e}。请重试。"),
            ))
        })
    }

    async fn graph_edits(&self, owner: Owner, session: &str) -> Result<Edits, ServiceError> {
        let edits = self.store.graph_edits(owner.0, session).await.map_err(refused_by_store)?;
        match edits {
            Some(json) => serde_json::from_str(&json).map_err(|e| refused_by_store(e.into())),
            None => Ok(Edits::default()),
        }
    }

    async fn set_graph_edits(&self, owner: Owner, session: &str, edits: Edits) -> Result<(), ServiceError> {
        let json = serde_json::to_string(&edits).map_err(|e| refused_by_store(e.into()))?;
        self.store.set_graph_edits(owner.0, session, &json).await.map_err(refused_by_store)
    }

    async fn share(&self, owner: Owner, session: &str, note: &str, origin: &str) -> Result<NewShare, ServiceError> {
        bounded(("note", "备注"), note, MAX_NOTE)?;
        let snapshot = Snapshot { note: note.to_owned(), ..self.preview(owner, session).await? };
        let (id, token) = (new_id(), new_token());
        self.store.insert_share(owner.0, &id, &hash(&token), &snapshot).await.map_err(refused_by_store)?;
        let base = match &self.public_url {
            Some(url) => url.as_str(),
            None => origin_of(origin).unwrap_or(&self.own_url),
        };
        let base = base.trim_end_matches('/');
        Ok(NewShare { id, url: format!("{base}/s/{token}"), local_only: is_local(base) })
    }

    async fn annotate(&self, owner: Owner, share: &str, note: &str) -> Result<ShareView, ServiceError> {
        bounded(("note", "备注"), note, MAX_NOTE)?;
        self.store.annotate(owner.0, share, note).await.map_err(refused_by_store)
    }

    async fn revoke(&self, owner: Owner, share: &str) -> Result<(), ServiceError> {
        self.store.revoke(owner.0, share).await.map_err(refused_by_store)
    }

    async fn admin(&self, owner: Owner) -> Result<AdminView, ServiceError> {
        adapters::view(self, owner).await
    }

    async fn load_adapter(&self, owner: Owner, name: &str) -> Result<(), ServiceError> {
        adapters::load(self, owner, name).await
    }

    async fn unload_adapter(&self, owner: Owner, name: &str) -> Result<(), ServiceError> {
        adapters::unload(self, owner, name).await
    }

    async fn snapshot(&self, token: &str) -> Result<Snapshot, ServiceError> {
        self.store.snapshot(&hash(token)).await.map_err(|error| match error {
            StoreError::Missing(_) => ServiceError::NotFound(Sentence::new(
                "This link shows nothing: it was closed by its author, or is not complete. Ask for a new one.",
                "此链接没有内容：已被作者关闭，或链接不完整。请索取新链接。",
            )),
            error => refused_by_store(error),
        })
    }
}

impl Studio {
    /// Sampling parameters that a person starts from, with an adapter.
    pub fn defaults(&self, adapter: Option<&AdapterInfo>) -> Defaults {
        Defaults::of(self.entry, adapter.map(|a| &a.manifest))
    }

    /// Refuses what is looked at as a whole, and would take too much memory for that. Only a batch can be so large, and
    /// it has a download of its own.
    async fn small_enough(&self, owner: Owner, session: &str) -> Result<(), ServiceError> {
        let size = self.store.batch_size(owner.0, session).await.map_err(refused_by_store)?;
        let Some((texts, runs)) = size else { return Ok(()) };
        let few = texts <= MOST_TEXTS && runs <= MOST_RUNS;
        if few && self.store.session_bytes(owner.0, session).await.map_err(refused_by_store)? <= MOST_BYTES {
            return Ok(());
        }
        Err(ServiceError::invalid(
            format!(
                "This batch is too large to be shown, shared or scored as a whole: it has {texts} texts with {runs} \
                 answers. Open its rows one by one on its page, or take its download."
            ),
            format!(
                "此批处理太大，无法整体显示、分享或评分：共有 {texts} 段文本、{runs} 个回答。请在批处理页逐行查看，或下载结果。"
            ),
        ))
    }

    /// A session as it would be shared, without storing anything: for the file that is downloaded. The note is that
    /// of its newest open link, if there is one.
    ///
    /// # Errors
    /// It is not the owner's, or a run of it has not ended.
    pub async fn preview(&self, owner: Owner, session: &str) -> Result<Snapshot, ServiceError> {
        let mut session = self.session(owner, session).await?;
        if session.runs.iter().any(|run| !run.status.is_final()) {
            return Err(ServiceError::invalid(
                "A run of this session is still going on, and what is sent would stay as it is now. Wait for its end \
                 or stop it, then try again.",
                "此会话还有运行未结束，而发出的内容不会再更新。请等它结束或先停止它，然后再试。",
            ));
        }
        let note = session.shares.drain(..).next_back().map(|share| share.note).unwrap_or_default();
        let edits = self.graph_edits(owner, &session.id).await?;
        Ok(Snapshot { note, shared_at: now_ms(), session, edits })
    }
}

fn bounded((en, zh): (&str, &str), text: &str, limit: usize) -> Result<(), ServiceError> {
    let chars = text.chars().count();
    if chars > limit {
        return Err(ServiceError::invalid(
            format!("The {en} has {chars} characters; at most {limit} are allowed. Shorten it."),
            format!("{zh}有 {chars} 个字符，最多 {limit} 个，请缩短。"),
        ));
    }
    Ok(())
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
