//! The way of a run: checked, stored, queued, followed to its end.
//!
//! A request is checked as a whole before anything is stored; then its session, texts and runs go to disk in one
//! transaction; then the engine gets the runs one by one. What the engine says goes to the hub at once, many tokens
//! at a time, and to the store twice a second.

mod again;
mod flow;
pub mod plan;
mod refused;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use app::services::{Owner, ServiceError};
use engine::{GenerateRequest, Generator, Grammar, SubmitError};
use protocol::{
    Ask, Column, FinishReason, Language, Mode, Parameters, RunStatus, RunView, StartRuns, Started,
    view::{AdapterInfo, DocumentView, ExtractionView, NamedSchema, Page},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    assets,
    hub::{Hub, LiveRun},
    questions::Reading,
    samples,
    store::{NewRuns, Store, StoreError, new_id, now_ms},
};
use plan::Draft;
use refused::{internal, refused_by_engine};
pub use refused::{refused_by_store, refused_parameter};

/// The most runs that an extraction has with the engine at a time: enough to keep it busy, and few enough that a long text
/// leaves places to others. The rest of its runs are on disk, and wait for these.
const AT_ONCE: usize = 16;

/// How many runs of an extraction that is, when each takes so many of the engine.
fn at_once(each: usize) -> usize {
    (AT_ONCE / each).max(1)
}

/// The engine, the store and the hub, and the rules by which runs pass through them.
#[derive(Clone)]
pub struct Pool {
    generator: Arc<dyn Generator>,
    store: Store,
    hub: Arc<Hub>,
    places: Arc<Semaphore>,
    capacity: usize,
    feed: mpsc::UnboundedSender<flow::Said>,
}

impl Pool {
    /// A pool that admits `capacity` runs at a time, waiting and running together. Starts its two tasks.
    pub fn start(generator: Arc<dyn Generator>, store: Store, hub: Arc<Hub>, capacity: usize) -> Self {
        let feed = flow::start(store.clone(), Arc::clone(&hub));
        Self { generator, store, hub, places: Arc::new(Semaphore::new(capacity)), capacity, feed }
    }

    /// The engine.
    pub fn generator(&self) -> &Arc<dyn Generator> {
        &self.generator
    }

    /// The adapter of LoRA mode.
    pub fn adapter(&self) -> Option<AdapterInfo> {
        self.adapter_named(None)
    }

    /// The adapter of this name, or without one that of LoRA mode.
    pub fn adapter_named(&self, name: Option<&str>) -> Option<AdapterInfo> {
        self.generator.adapters().into_iter().find(|a| name.is_none_or(|name| a.name == name))
    }

    /// Places for `count` runs, or how many are taken.
    ///
    /// # Errors
    /// Not as many are free.
    pub fn admit(&self, count: usize) -> Result<Vec<OwnedSemaphorePermit>, ServiceError> {
        self.admit_sampled(count, 1)
    }

    /// Places for `count` runs that take `each` runs of the engine.
    fn admit_sampled(&self, count: usize, each: usize) -> Result<Vec<OwnedSemaphorePermit>, ServiceError> {
        let busy = || ServiceError::Busy { waiting: (self.capacity - self.places.available_permits()) as u32 };
        let wanted = u32::try_from(count * each).map_err(|_| busy())?;
        let mut all = Arc::clone(&self.places).try_acquire_many_owned(wanted).map_err(|_| busy())?;
        Ok((1..count).filter_map(|_| all.split(each)).collect::<Vec<_>>().into_iter().chain([all]).collect())
    }

    /// Checks, stores and queues what was asked for.
    ///
    /// # Errors
    /// It cannot be run, the server is busy, or it could not be stored. Nothing is stored then.
    pub async fn run(&self, owner: Owner, request: StartRuns) -> Result<Started, ServiceError> {
        // In a task of its own: a request accepted is carried out even if the one who made it is gone.
        let pool = self.clone();
        let task = tokio::spawn(async move { pool.run_checked(owner, request).await });
        task.await.unwrap_or_else(|e| Err(internal("the request could not be carried out", &e)))
    }

    /// Stores what was asked for as runs that failed with the reason, in the person's language, so that nothing of it
    /// is lost.
    ///
    /// # Errors
    /// There is nothing to keep, or it could not be stored.
    pub async fn keep_refused(
        &self,
        owner: Owner,
        request: StartRuns,
        reason: &ServiceError,
    ) -> Result<Started, ServiceError> {
        let drafts = self.plan(&request).await?;
        let mut prepared = self.prepare(owner, &request, drafts).await?;
        for run in &mut prepared.new.runs {
            run.status = RunStatus::Failed;
            run.finish_reason = Some(FinishReason::Error);
            run.error = Some(reason.sentence(request.language));
        }
        self.store.insert_runs(owner.0, &prepared.new).await.map_err(refused_by_store)?;
        Ok(prepared.started())
    }

    async fn run_checked(&self, owner: Owner, mut request: StartRuns) -> Result<Started, ServiceError> {
        if let Ask::Schema { schema, .. } = &mut request.ask {
            self.check_name(owner, schema).await?;
        }
        request.parameters.validate().map_err(|e| refused_parameter(&e))?;
        let drafts = self.plan(&request).await?;
        let sampled = drafts.iter().any(|draft| draft.mode == Mode::Lora);
        let each = if sampled { samples::runs(&request.parameters) } else { 1 };
        let few = each > 1 || drafts.iter().any(|draft| draft.whole.is_some());
        let at_once = if few { drafts.len().min(at_once(each)) } else { drafts.len() };
        let places = self.admit_sampled(at_once, each)?;
        let drafts = self.check(drafts, &request).await?;
        let guides: Vec<_> = drafts.iter().map(|draft| draft.guide.clone()).collect();
        let prepared = self.prepare(owner, &request, drafts).await?;
        let stored = self.store.insert_runs(owner.0, &prepared.new);
        self.set_going(owner, &prepared.new.runs, guides, places, request.language, stored).await?;
        Ok(prepared.started())
    }

    /// Waits until runs are `stored`, and gives them to the engine: as many at a time as there are places.
    async fn set_going(
        &self,
        owner: Owner,
        runs: &[RunView],
        guides: Vec<Option<Grammar>>,
        mut places: Vec<OwnedSemaphorePermit>,
        language: Language,
        stored: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), ServiceError> {
        let all_at_once = places.len() == runs.len();
        let live: Vec<Arc<LiveRun>> =
            runs.iter().map(|run| LiveRun::new(owner.0, run.clone(), places.pop_if(|_| all_at_once))).collect();
        live.iter().for_each(|run| self.hub.add(Arc::clone(run)));
        if let Err(error) = stored.await {
            live.iter().for_each(|run| self.hub.forget(&run.id));
            return Err(refused_by_store(error));
        }
        let pool = self.clone();
        let runs = live.into_iter().zip(guides);
        if all_at_once {
            let queue = move || runs.for_each(|(run, guide)| pool.submit(run, guide, language, false));
            tokio::task::spawn_blocking(queue).await.map_err(|e| internal("the runs could not be queued", &e))?;
        } else {
            tokio::spawn(pool.feed(runs.collect(), places, language));
        }
        Ok(())
    }

    /// Takes the name off a schema that asks for something else than the one it names.
    async fn check_name(&self, owner: Owner, schema: &mut NamedSchema) -> Result<(), ServiceError> {
        let Some(id) = &schema.id else { return Ok(()) };
        let ready = assets::schemas().iter().find(|ready| ready.id == *id).map(|ready| ready.json.clone());
        let kept = match (ready, schema.version) {
            (Some(json), None) => Some(json),
            (None, Some(version)) => {
                let versions = self.store.schema_versions(owner.0, id).await.map_err(refused_by_store)?;
                versions.into_iter().find(|v| v.version == version).map(|v| v.json)
            }
            _ => None,
        };
        if kept.as_ref() != Some(&schema.json) {
            (schema.name, schema.id, schema.version) = (String::new(), None, None);
        }
        Ok(())
    }

    /// What a request comes to; off the asynchronous threads, since long texts are tokenised to cut them.
    async fn plan(&self, request: &StartRuns) -> Result<Vec<Draft>, ServiceError> {
        let (generator, ask, answer) =
            (Arc::clone(&self.generator), request.ask.clone(), request.parameters.max_new_tokens);
        let adapter = self.adapter_named(request.adapter.as_deref());
        if let (None, Some(name)) = (&adapter, &request.adapter) {
            return Err(ServiceError::invalid(
                format!("The adapter \"{name}\" is not in use any more. Load the page again, and choose another."),
                format!("适配器“{name}”已卸载。请刷新页面并选择其他适配器。"),
            ));
        }
        let plan = move || {
            let tokens = |text: &str| tokens(generator.as_ref(), text);
            let context = generator.model().context_length as usize;
            plan::drafts(&ask, adapter.as_ref(), Reading { context, answer: answer as usize, tokens: &tokens })
        };
        let planned = tokio::task::spawn_blocking(plan).await;
        planned.map_err(|e| internal("the texts could not be read", &e))?.map_err(ServiceError::Invalid)
    }

    /// Gives runs to the engine, as many at a time as there are places. Keeps the places until the last has ended.
    async fn feed(
        self,
        runs: Vec<(Arc<LiveRun>, Option<Grammar>)>,
        places: Vec<OwnedSemaphorePermit>,
        language: Language,
    ) {
        let own = Arc::new(Semaphore::new(places.len()));
        for (run, guide) in runs {
            let Ok(place) = Arc::clone(&own).acquire_owned().await else { return };
            run.take_place(place);
            if run.is_stopping() {
                run.end(FinishReason::Cancelled, None);
                let _ = self.feed.send((run, None));
                continue;
            }
            let pool = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || pool.submit(run, guide, language, true)).await {
                tracing::error!(%error, "a run could not be queued");
            }
        }
        // Every place is free again when the last run has ended.
        let all = u32::try_from(places.len()).unwrap_or(u32::MAX);
        let _ = own.acquire_many(all).await;
    }

    /// Asks the engine whether it can run the prompts; off the asynchronous threads, since it tokenises them. Where it
    /// can but not with the guide, as when a text is too long for one, the run goes without.
    async fn check(&self, mut drafts: Vec<Draft>, request: &StartRuns) -> Result<Vec<Draft>, ServiceError> {
        let generator = Arc::clone(&self.generator);
        let parameters = request.parameters.clone();
        let check = move || {
            for draft in &mut drafts {
                draft.guide.take_if(|_| !parameters.guided);
                let asked = |guide| GenerateRequest {
                    guide,
                    ..GenerateRequest::new(draft.prompt.clone(), draft.adapter.clone(), parameters.clone())
                };
                let mut checked = generator.check(&asked(draft.guide.clone()));
                if let Err(SubmitError::Grammar { reason }) = &checked {
                    tracing::warn!(%reason, "an answer will not be guided");
                    checked = generator.check(&asked(None));
                    draft.guide = None;
                }
                if let Err(error) = checked {
                    return Err(refused_by_engine(&error, draft.number.filter(|_| draft.of > 1)));
                }
            }
            Ok(drafts)
        };
        tokio::task::spawn_blocking(check).await.map_err(|e| internal("the prompts could not be checked", &e))?
    }

    /// Makes rows of drafts: ids, one seed for all, texts that the session has already taken from there.
    async fn prepare(&self, owner: Owner, request: &StartRuns, drafts: Vec<Draft>) -> Result<Prepared, ServiceError> {
        let known = match &request.session {
            Some(id) => {
                let mut texts: Vec<&str> = drafts.iter().filter_map(|draft| draft.text.as_deref()).collect();
                texts.dedup();
                self.store.documents_with(owner.0, id, &texts).await.map_err(refused_by_store)?
            }
            None => Vec::new(),
        };
        let session = request.session.clone().unwrap_or_else(new_id);
        let created_at = now_ms();
        let mut parameters = request.parameters.clone();
        parameters.seed.get_or_insert_with(|| u64::from(rand::random::<u32>()));
        let model = self.generator.model().name;
        let open =
            request.session.is_none().then(|| (plan::title(&drafts, request.language), plan::page(&request.ask)));

        let mut prepared = Prepared {
            new: NewRuns {
                session: session.clone(),
                open,
                documents: Vec::new(),
                extractions: Vec::new(),
                runs: Vec::new(),
            },
            documents: Vec::new(),
            known: known.into_iter().map(|d| (d.text.clone(), d)).collect(),
        };
        // Which extraction the runs of a text and column make.
        let mut extractions: HashMap<(Option<usize>, Column), String> = HashMap::new();
        for draft in drafts {
            let document = draft.text.as_deref().map(|text| prepared.document(text));
            let extraction = draft.whole.zip(document.clone()).map(|(schema, document)| {
                let id = extractions.entry((draft.number, draft.column)).or_insert_with(|| {
                    let id = new_id();
                    prepared.new.extractions.push(ExtractionView {
                        id: id.clone(),
                        session: session.clone(),
                        document,
                        column: draft.column,
                        schema: schema.as_ref().clone(),
                        created_at,
                    });
                    id
                });
                id.clone()
            });
            prepared.new.runs.push(RunView {
                id: new_id(),
                session: session.clone(),
                document,
                mode: draft.mode,
                column: draft.column,
                model: model.clone(),
                adapter: draft.adapter,
                schema: draft.schema,
                extraction,
                part: draft.part,
                instruction: draft.instruction,
                prompt: draft.prompt,
                parameters: Parameters {
                    guided: parameters.guided && draft.guide.is_some(),
                    // A completion has no records that samples could repeat.
                    samples: if draft.mode == Mode::Lora { parameters.samples } else { 0 },
                    ..parameters.clone()
                },
                status: RunStatus::Queued,
                finish_reason: None,
                error: None,
                text: String::new(),
                prompt_tokens: None,
                completion_tokens: 0,
                timings: None,
                hesitations: None,
                samples: Vec::new(),
                position: None,
                created_at,
            });
        }
        Ok(prepared)
    }

    /// Gives a stored run to the engine; one that is `fed` has waited for others of its extraction.
    fn submit(&self, run: Arc<LiveRun>, guide: Option<Grammar>, language: Language, fed: bool) {
        let view = run.view();
        let request = GenerateRequest {
            guide,
            owner: u64::try_from(run.owner).ok(),
            // How sure it was of records; a completion has none.
            logprobs: (view.mode == Mode::Lora).then_some(0),
            ..GenerateRequest::new(view.prompt, view.adapter, view.parameters)
        };
        let (feed, said_by) = (self.feed.clone(), Arc::clone(&run));
        let sink = move |event, samples: Vec<String>| {
            if !samples.is_empty() {
                said_by.sampled(samples);
            }
            // Fails only when the program ends, which marks the run as interrupted at its next start.
            let _ = feed.send((Arc::clone(&said_by), Some(event)));
        };
        match samples::submit(self.generator.as_ref(), request, Box::new(sink)) {
            Ok(handle) => run.accepted(handle),
            Err(error) => {
                match error {
                    // The rest of what is asked, when the server goes down.
                    SubmitError::Stopping if fed => run.end(FinishReason::Interrupted, None),
                    error => run.refuse(error.sentence(language)),
                }
                let _ = self.feed.send((run, None));
            }
        }
    }

    /// Stops a run, if it goes on and is the owner's.
    pub fn stop(&self, owner: Owner, run: &str) {
        if let Some(run) = self.hub.get(owner.0, run) {
            run.stop();
        }
    }

    /// Stops the runs of a session that go on, if they are the owner's.
    pub fn stop_session(&self, owner: Owner, session: &str) {
        self.hub.of_session(owner.0, session).iter().for_each(|run| run.stop());
    }

    /// Waits until every run has ended and is stored, at most for a time.
    pub async fn settle(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while !self.hub.is_empty() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Rows to be stored, and all the texts they are about.
struct Prepared {
    new: NewRuns,
    documents: Vec<DocumentView>,
    /// Of the texts those that the session has, by their words.
    known: HashMap<String, DocumentView>,
}

impl Prepared {
    /// The id of a text: the one the session has, or a new one.
    fn document(&mut self, text: &str) -> String {
        if let Some(document) = self.documents.iter().find(|d| d.text == text) {
            return document.id.clone();
        }
        let document = self.known.remove(text).unwrap_or_else(|| {
            let document = DocumentView { id: new_id(), text: text.to_owned(), judgements: Vec::new() };
            self.new.documents.push(document.clone());
            document
        });
        let id = document.id.clone();
        self.documents.push(document);
        id
    }

    fn started(self) -> Started {
        Started {
            session: self.new.session,
            runs: self.new.runs,
            extractions: self.new.extractions,
            documents: self.documents,
        }
    }
}

/// Tokens of a text; 0 for one that the engine cannot read.
pub(crate) fn tokens(generator: &dyn Generator, text: &str) -> usize {
    let parameters = Parameters { max_new_tokens: 1, ..Parameters::neutral() };
    match generator.check(&GenerateRequest::new(text.to_owned(), None, parameters)) {
        Ok(tokens) => tokens as usize,
        Err(SubmitError::PromptTooLong { tokens, .. }) => tokens,
        Err(_) => 0,
    }
}

/// Where a request's session is shown.
pub fn page_of(request: &StartRuns) -> Page {
    plan::page(&request.ask)
}
