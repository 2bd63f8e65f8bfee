//! What the pages ask for, answered from pool, hub and store.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
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
    review::Shared,
    view::{AdapterInfo, NewShare, OtherAdapter, SaveSchema, SchemaVersion, SchemaView, ShareView, WarmUp},
};

use crate::{
    adapters::{self, AdapterFolders},
    assets,
    batch::Batches,
    defaults::Defaults,
    hub::Hub,
    pool::{Pool, refused_by_store},
    review, schemas,
    store::{Store, StoreError},
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

    async fn share_schema(&self, owner: Owner, id: &str, origin: &str) -> Result<NewShare, ServiceError> {
        self.make_schema_link(owner, id, origin).await
    }

    async fn schema_links(&self, owner: Owner, id: &str) -> Result<Vec<ShareView>, ServiceError> {
        self.store.schema_shares(owner.0, id).await.map_err(refused_by_store)
    }

    async fn shared_schema(&self, token: &str) -> Result<SchemaView, ServiceError> {
        self.opened_schema(token).await
    }

    async fn take_schema(&self, owner: Owner, token: &str) -> Result<SchemaView, ServiceError> {
        let SchemaView { title, json, .. } = self.opened_schema(token).await?;
        self.save_schema(owner, SaveSchema { id: None, name: title.en, text: json }).await
    }

    async fn judge(&self, owner: Owner, document: &str, judgement: Judgement) -> Result<(), ServiceError> {
        self.store.judge(owner.0, document, &judgement).await.map_err(refused_by_store)
    }

    async fn unjudge(&self, owner: Owner, document: &str, key: &str) -> Result<(), ServiceError> {
        self.store.unjudge(owner.0, document, key).await.map_err(refused_by_store)
    }

    async fn accept(&self, owner: Owner, document: &str, judgements: Vec<Judgement>) -> Result<(), ServiceError> {
        self.store.accept(owner.0, document, &judgements).await.map_err(refused_by_store)
    }

    async fn reopen(&self, owner: Owner, document: &str) -> Result<(), ServiceError> {
        self.store.reopen(owner.0, document).await.map_err(refused_by_store)
    }

    async fn scores(
        &self,
        owner: Owner,
        session: &str,
        first: Option<String>,
        second: Option<String>,
    ) -> Result<SessionScores, ServiceError> {
        let reviewed = self.reviewed(owner, session).await?;
        let (session, all) = match self.is_large(owner, session).await? {
            Some((texts, _)) => (self.judged(owner, session).await?, Some(texts as usize)),
            None => (self.session(owner, session).await?, None),
        };
        // Parsing and scoring a large session takes a while.
        let scored = tokio::task::spawn_blocking(move || {
            let scores = review::scores(session, &reviewed, (first.as_deref(), second.as_deref()));
            SessionScores { texts: all.unwrap_or(scores.texts), ..scores }
        });
        let scored = scored.await;
        scored.map_err(|e| {
            ServiceError::Internal(Sentence::new(
                format!("The scores could not be computed: {e}. Try again."),
                format!("无法计算评分：{e}。请重试。"),
            ))
        })
    }

    async fn set_graph_edits(&self, owner: Owner, session: &str, edits: Edits) -> Result<(), ServiceError> {
        let json = serde_json::to_string(&edits).map_err(|e| refused_by_store(e.into()))?;
        self.store.set_graph_edits(owner.0, session, &json).await.map_err(refused_by_store)
    }

    async fn share(&self, owner: Owner, session: &str, note: &str, origin: &str) -> Result<NewShare, ServiceError> {
        bounded(("note", "备注"), note, MAX_NOTE)?;
        self.make_link(owner, session, note, origin).await
    }

    async fn annotate(&self, owner: Owner, share: &str, note: &str) -> Result<ShareView, ServiceError> {
        bounded(("note", "备注"), note, MAX_NOTE)?;
        self.store.annotate(owner.0, share, note).await.map_err(refused_by_store)
    }

    async fn revoke(&self, owner: Owner, share: &str) -> Result<String, ServiceError> {
        let path = match self.store.revoke(owner.0, share).await {
            Err(StoreError::Missing(_)) => {
                self.store.revoke_schema_share(owner.0, share).await.map(|schema| format!("/schemas/{schema}"))
            }
            session => session.map(|session| format!("/sessions/{session}")),
        };
        path.map_err(refused_by_store)
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

    async fn shared(&self, token: &str, page: usize) -> Result<Shared, ServiceError> {
        self.opened_page(token, page).await
    }
}

impl Studio {
    /// The texts of a session that its owner has gone through.
    ///
    /// # Errors
    /// There is no such session, or it is not the owner's.
    pub async fn reviewed(&self, owner: Owner, session: &str) -> Result<Vec<String>, ServiceError> {
        self.store.reviewed(owner.0, session).await.map_err(refused_by_store)
    }

    /// What the owner changed of a session's graph.
    ///
    /// # Errors
    /// There is no such session, or it is not the owner's.
    pub async fn graph_edits(&self, owner: Owner, session: &str) -> Result<Edits, ServiceError> {
        let edits = self.store.graph_edits(owner.0, session).await.map_err(refused_by_store)?;
        match edits {
            Some(json) => serde_json::from_str(&json).map_err(|e| refused_by_store(e.into())),
            None => Ok(Edits::default()),
        }
    }

    /// Sampling parameters that a person starts from, with an adapter.
    pub fn defaults(&self, adapter: Option<&AdapterInfo>) -> Defaults {
        Defaults::of(self.entry, adapter.map(|a| &a.manifest))
    }

    /// The numbers of texts and runs of what would take too much memory as a whole. Only a batch can be so large.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn is_large(&self, owner: Owner, session: &str) -> Result<Option<(i64, i64)>, ServiceError> {
        let size = self.store.batch_size(owner.0, session).await.map_err(refused_by_store)?;
        let Some((texts, runs)) = size else { return Ok(None) };
        let few = texts <= MOST_TEXTS && runs <= MOST_RUNS;
        let small = few && self.store.session_bytes(owner.0, session).await.map_err(refused_by_store)? <= MOST_BYTES;
        Ok((!small).then_some((texts, runs)))
    }

    /// A large session with those of its texts alone that a person has gone through or judged: only they are scored.
    async fn judged(&self, owner: Owner, session: &str) -> Result<SessionView, ServiceError> {
        let ids = self.store.judged(owner.0, session).await.map_err(refused_by_store)?;
        // Not even asked of very many.
        let few = ids.len() <= MOST_TEXTS as usize;
        let (runs, bytes) =
            if few { self.store.size_of(owner.0, &ids).await.map_err(refused_by_store)? } else { (0, 0) };
        if !few || runs > MOST_RUNS || bytes > MOST_BYTES {
            let (texts, megabytes) = (ids.len(), MOST_BYTES / (1024 * 1024));
            return Err(ServiceError::invalid(
                format!(
                    "{texts} judged texts are too much to be scored on a page: at most {MOST_TEXTS} are, with {MOST_RUNS} \
                     answers and {megabytes} MB in all. Export them as gold and as jsonl, and give both to `knowlm eval`."
                ),
                format!(
                    "已判定的文本共 {texts} 段，页面无法评分：最多 {MOST_TEXTS} 段，合计 {MOST_RUNS} 个回答、{megabytes} MB。请分别导出 gold 和 jsonl，再用 `knowlm eval` 评分。"
                ),
            ));
        }
        let head = self.store.session_head(owner.0, session).await.map_err(refused_by_store)?;
        let texts = self.store.texts(owner.0, session, &ids).await.map_err(refused_by_store)?;
        Ok(texts.of(head))
    }

    /// Refuses what is looked at as a whole, and would take too much memory for that.
    async fn small_enough(&self, owner: Owner, session: &str) -> Result<(), ServiceError> {
        let Some((texts, runs)) = self.is_large(owner, session).await? else { return Ok(()) };
        Err(ServiceError::invalid(
            format!(
                "This batch is too large for one page: it has {texts} texts with {runs} answers. Its rows, its review, its graph \
                 and its links show it page by page; all of its records are in the download of its page, and in its exports but \
                 html and brat."
            ),
            format!(
                "此批处理太大，无法放进一个页面：共有 {texts} 段文本、{runs} 个回答。各行、审阅、关系图和分享链接均可分页查看；全部结果可在批处理页下载，也可导出为除 html 和 brat 之外的各种格式。"
            ),
        ))
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
