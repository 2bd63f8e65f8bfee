//! The engine inside this process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock, RwLockReadGuard, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use checkpoint::{Adapter, BlockFormat, find};
use protocol::{
    AdapterUse, EngineStatus, ModelEntry, ParameterError, Sentence,
    view::{AdapterInfo, ModelInfo},
};

use crate::{
    EngineError,
    adapters::{Lease, Slots},
    backend::Backend,
    candle::{self, CandleModel},
    chat::ChatTemplate,
    config::ModelConfig,
    cpu::{self, CpuModel, Isa},
    guide::{Guide, Guides},
    memory::{Memory, default_bytes, process_bytes},
    queue::{Queue, Refused},
    request::{CancelHandle, EngineEvent, GenerateRequest, Generator, Outcome, Sink, SubmitError},
    run::Job,
    scheduler::Limits,
    tokenizer::Tokenizer,
    weights::Source,
    worker::Worker,
};

/// Bytes of weights from which on their preparing takes long enough to tell how far it is.
const LARGE: usize = 1 << 29;

/// What computes the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// Our own kernels on the processor.
    #[default]
    Cpu,
    /// The tensor library: the reference, and the graphics card when built with the feature `cuda`.
    Candle,
}

/// What unquantized weights are rounded to while loading. Embedding, output layer and norms stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadAs {
    /// Nothing: they stay as they are stored.
    #[default]
    Stored,
    /// Eight bits: `Q8_0`.
    EightBit,
    /// Four bits: `Q4_0`.
    FourBit,
}

impl LoadAs {
    pub(crate) fn format(self) -> Option<BlockFormat> {
        match self {
            Self::Stored => None,
            Self::EightBit => Some(BlockFormat::Q8_0),
            Self::FourBit => Some(BlockFormat::Q4_0),
        }
    }
}

/// How to load an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// A GGUF file or a Hugging Face folder.
    pub model: PathBuf,
    /// Names and folders of adapters.
    pub adapters: Vec<(String, PathBuf)>,
    /// Computing threads; as many as the machine has cores when `None`.
    pub threads: Option<usize>,
    /// How many runs may wait.
    pub queue: usize,
    /// How many runs are computed side by side.
    pub active: usize,
    /// How many prompts are remembered, for runs that begin alike.
    pub prefix_cache: usize,
    /// Memory for keys and values, of runs and of remembered prompts, in bytes. When `None`: a quarter of the
    /// machine's, at most two gigabytes or one context of the model, whichever is more. Where one context does not fit,
    /// the context is shorter; where the runs do not fit together, the newest wait.
    pub cache_bytes: Option<u64>,
    /// Whether tokens are guessed from the prompt and earlier answers, to save time; a request can say otherwise. The
    /// text is the same.
    pub lookup: bool,
    /// Tokens of the context, prompt and answer together; the model's own when `None`. It can be shorter, and longer only
    /// where the model's angles are `dynamic`: these are then stretched for this length, which changes short texts, too.
    pub context: Option<usize>,
    /// What unquantized weights are rounded to.
    pub load_as: LoadAs,
    /// What computes.
    pub device: DeviceChoice,
}

impl EngineOptions {
    /// The defaults for a model.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            adapters: vec![],
            threads: None,
            queue: 64,
            active: 8,
            prefix_cache: 16,
            cache_bytes: None,
            lookup: true,
            context: None,
            load_as: LoadAs::default(),
            device: DeviceChoice::default(),
        }
    }
}

/// A model in memory and the thread that computes it.
pub struct LocalEngine {
    tokenizer: Arc<Tokenizer>,
    guides: Guides,
    queue: Arc<Queue>,
    worker: Mutex<Option<JoinHandle<()>>>,
    info: ModelInfo,
    config: ModelConfig,
    /// Those that a request may name, the default first.
    adapters: RwLock<Vec<Loaded>>,
    take_in: TakeIn,
    entry: Option<&'static ModelEntry>,
    limits: Limits,
    page_bytes: usize,
    lookup: bool,
    /// Whether results are the same bits for any number of rows, so that guessing changes no text.
    can_guess: bool,
    chat: Option<ChatTemplate>,
}

/// An adapter that can be chosen.
struct Loaded {
    info: AdapterInfo,
    /// What ends its answers, when its manifest names a token.
    end: Option<u32>,
    /// Memory of its weights.
    bytes: u64,
    lease: Arc<Lease>,
}

/// Makes an adapter ready for the worker's backend.
type TakeIn = Box<dyn Fn(&Adapter) -> Result<Lease, EngineError> + Send + Sync>;

impl LocalEngine {
    /// Loads a model and its adapters; `progress` is told what happens, in words.
    ///
    /// # Errors
    /// A file is missing, damaged, of an unknown kind, or an adapter does not fit the model.
    pub fn load(options: EngineOptions, progress: impl Fn(&str) + Sync) -> Result<Self, EngineError> {
        let threads = options.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, |n| n.get())).max(1);
        progress(&format!("Reading {}", options.model.display()));
        let source = Source::open(&options.model)?;
        let mut config = source.config()?;
        if let Some(positions) = options.context {
            let wrong = |reason| EngineError::Model { path: options.model.clone(), reason };
            config.load_for(positions).map_err(wrong)?;
        }
        let tokenizer = Arc::new(match &source {
            Source::Gguf(file) => Tokenizer::from_gguf(file)?,
            Source::HuggingFace(folder) => Tokenizer::from_huggingface(folder, config.vocabulary)?,
        });
        let entry = find::entry_of(&options.model).ok().flatten();
        let mut adapters = Vec::new();
        for (name, folder) in &options.adapters {
            if adapters.iter().any(|(known, _): &(String, _)| known == name) {
                return Err(EngineError::NameTaken(name.clone()));
            }
            progress(&format!("Reading adapter {name} from {}", folder.display()));
            adapters.push((name.clone(), open_adapter(folder, &config)?));
        }
        let (format, parameters) = source.formats();
        let mut info = ModelInfo {
            name: model_name(&options, entry, &source),
            format: format.name().into(),
            context_length: config.context as u32,
            parameters,
            backend: String::new(),
        };
        if let Some(to) = options.load_as.format() {
            if format.block() == 1 {
                config.rounded_to = Some(to);
            } else {
                progress(&format!("The weights are {} already: they stay as they are", format.name()));
            }
        }
        let rounded_to = config.rounded_to;
        let is_rounded = source.is_rounded(&config);
        let chat = ChatTemplate::of(&source, &tokenizer);
        progress("Preparing the weights");
        let context = config.context;
        let memory = |page| Memory::new(page, options.cache_bytes.unwrap_or_else(|| default_bytes(page, context)));
        let queue = Arc::new(Queue::new(options.queue));
        let limits = |prefixes, memory: Memory| Limits {
            active: options.active.max(1),
            prefixes,
            context: context.min(memory.context()),
            memory,
        };
        let lookup = options.lookup;
        let (c, file) = (config.clone(), options.model.clone());
        let (worker, take_in, limits, page) = match options.device {
            DeviceChoice::Cpu => {
                let isa = Isa::choose()?;
                let told = Mutex::new(0);
                let model = CpuModel::load(source, config.clone(), &[], threads, isa, &|read, of| {
                    let tenths = read * 10 / of.max(1);
                    let mut told = told.lock().unwrap_or_else(|e| e.into_inner());
                    if of >= LARGE && tenths > *told {
                        *told = tenths;
                        progress(&format!("Preparing the weights: {tenths}0 % of {:.1} GB", of as f64 / 1e9));
                    }
                })?;
                info.backend = format!("CPU, {}, {}", isa.name(), count(model.threads(), "thread"));
                let page = model.page();
                let limits = limits(options.prefix_cache, memory(page));
                let again = move || CpuModel::load(reopen(&file, &c)?, c.clone(), &[], threads, isa, &|_, _| {});
                let c = config.clone();
                let pack = move |adapter: &Adapter| cpu::pack_adapter(adapter, &c, is_rounded, threads);
                let (worker, take_in) = start(model, tokenizer.clone(), limits, &queue, again, pack)?;
                (worker, take_in, limits, page)
            }
            DeviceChoice::Candle => {
                let model = CandleModel::load(source, config.clone(), &[])?;
                info.backend = format!("candle, {}", model.device_name());
                let page = model.page();
                // Its results depend on the number of rows in their last bits: nothing is remembered or guessed.
                let limits = limits(0, memory(page));
                let again = move || CandleModel::load(reopen(&file, &c)?, c.clone(), &[]);
                let c = config.clone();
                let pack = move |adapter: &Adapter| candle::pack_adapter(adapter, &c);
                let (worker, take_in) = start(model, tokenizer.clone(), limits, &queue, again, pack)?;
                (worker, take_in, limits, page)
            }
        };
        if let Some(to) = rounded_to {
            info.backend += &format!(", weights rounded to {} while loading", to.name());
        }
        info.context_length = limits.context as u32;
        let engine = Self {
            guides: Guides::new(Arc::clone(&tokenizer)),
            tokenizer,
            queue,
            worker: Mutex::new(Some(worker)),
            info,
            config,
            adapters: RwLock::default(),
            take_in,
            entry,
            limits,
            page_bytes: page.bytes,
            lookup,
            can_guess: options.device == DeviceChoice::Cpu,
            chat,
        };
        for (name, adapter) in adapters {
            engine.take_in(&name, adapter)?;
        }
        Ok(engine)
    }

    fn loaded(&self) -> RwLockReadGuard<'_, Vec<Loaded>> {
        self.adapters.read().unwrap_or_else(|e| e.into_inner())
    }

    /// Lets requests name an adapter.
    fn take_in(&self, name: &str, adapter: Adapter) -> Result<AdapterInfo, EngineError> {
        let numbers: usize = adapter.factors.values().map(|f| f.a.len() + f.b.len()).sum();
        let end = adapter.manifest.end_token.as_deref().and_then(|t| self.tokenizer.id(t));
        let lease = Arc::new((self.take_in)(&adapter)?);
        let info = AdapterInfo { name: name.to_owned(), rank: adapter.rank as u32, manifest: adapter.manifest };
        let bytes = (numbers * size_of::<f32>()) as u64;
        let mut adapters = self.adapters.write().unwrap_or_else(|e| e.into_inner());
        if adapters.iter().any(|a| a.info.name == name) {
            return Err(EngineError::NameTaken(name.to_owned()));
        }
        adapters.push(Loaded { info: info.clone(), end, bytes, lease });
        Ok(info)
    }

    /// What is known of the model by name: when its file is, byte for byte, that of a known model.
    pub fn entry(&self) -> Option<&'static ModelEntry> {
        self.entry
    }

    /// How the model wants a conversation written, where its files say so.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat.as_ref()
    }

    /// The tokens that end an answer.
    pub fn end_tokens(&self) -> &[u32] {
        self.tokenizer.ends()
    }

    /// Runs one request and waits for its end; for the command line.
    ///
    /// # Errors
    /// See [`Generator::submit`].
    pub fn generate(
        &self,
        request: GenerateRequest,
        mut on_event: impl FnMut(&EngineEvent) + Send + 'static,
    ) -> Result<Outcome, SubmitError> {
        let (sender, receiver) = mpsc::channel();
        let sink: Sink = Box::new(move |event| {
            on_event(&event);
            if let EngineEvent::Done(outcome) = event {
                // The receiver waits below until this comes.
                let _ = sender.send(outcome);
            }
        });
        self.submit(request, sink)?;
        receiver.recv().map_err(|_| SubmitError::Stopping)
    }

    /// The tokens of a text, and nothing added.
    ///
    /// # Errors
    /// The tokenizer refused it.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, SubmitError> {
        self.tokenizer.encode(text).map_err(|reason| SubmitError::Tokenizer { reason })
    }

    /// Checks a request, and makes of it what a job needs.
    fn accept(&self, request: &GenerateRequest) -> Result<Accepted, SubmitError> {
        request.parameters.validate()?;
        if let Some((token, bias)) = request.logit_bias.iter().find(|(_, bias)| !(-100.0..=100.0).contains(bias)) {
            return Err(SubmitError::Parameters(ParameterError {
                parameter: "logit_bias".into(),
                message: Sentence::new(
                    format!("must be a number from -100 to 100; of token {token} it is {bias}"),
                    format!("应为 -100 到 100 之间的数；词元 {token} 的值为 {bias}"),
                ),
            }));
        }
        let (mut lease, mut add_bos, mut end_token) = (None, None, None);
        if let Some(name) = &request.adapter {
            let adapters = self.loaded();
            let adapter = adapters
                .iter()
                .find(|a| a.info.name == *name)
                .ok_or_else(|| SubmitError::UnknownAdapter { name: name.clone(), known: known(&adapters) })?;
            (lease, end_token) = (Some(Arc::clone(&adapter.lease)), adapter.end);
            add_bos = Some(adapter.info.manifest.add_bos);
        }
        if request.prompt.is_empty() {
            return Err(SubmitError::EmptyPrompt);
        }
        let tokens =
            self.tokenizer.prompt(&request.prompt, add_bos).map_err(|reason| SubmitError::Tokenizer { reason })?;
        if tokens.is_empty() {
            return Err(SubmitError::EmptyPrompt);
        }
        let (vocabulary, context) = (self.config.vocabulary, self.limits.context);
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            let piece = String::from_utf8_lossy(self.tokenizer.piece(*token)).into_owned();
            let reason = format!("its token {token} ({piece:?}) is none of the model's {vocabulary}");
            return Err(SubmitError::Tokenizer { reason });
        }
        if tokens.len() >= context {
            return Err(SubmitError::PromptTooLong { tokens: tokens.len(), limit: context });
        }
        let guide = request.guide.as_ref().map(|grammar| self.guides.compile(grammar, end_token));
        let guide = guide.transpose().map_err(|reason| SubmitError::Grammar { reason })?;
        Ok(Accepted { prompt: tokens, lease, end_token, guide })
    }
}

fn known(adapters: &[Loaded]) -> String {
    if adapters.is_empty() {
        return "None is loaded; name one when starting.".into();
    }
    let names: Vec<&str> = adapters.iter().map(|a| a.info.name.as_str()).collect();
    format!("Loaded: {}.", names.join(", "))
}

/// What a request comes to.
struct Accepted {
    prompt: Vec<u32>,
    lease: Option<Arc<Lease>>,
    end_token: Option<u32>,
    guide: Option<Guide>,
}

impl Generator for LocalEngine {
    fn submit(&self, request: GenerateRequest, sink: Sink) -> Result<CancelHandle, SubmitError> {
        let Accepted { prompt, lease, end_token, guide } = self.accept(&request)?;
        let cancel = CancelHandle::default();
        let seed = request.parameters.seed.unwrap_or_else(rand::random);
        let job = Job {
            prompt,
            adapter: lease.as_ref().map(|lease| lease.index()),
            lease,
            seed,
            parameters: request.parameters,
            end_token,
            guide,
            lookup: self.can_guess && request.lookup.unwrap_or(self.lookup),
            logprobs: request.logprobs,
            logit_bias: request.logit_bias,
            owner: request.owner,
            cancel: cancel.clone(),
            sink,
            accepted: Instant::now(),
        };
        match self.queue.push(job) {
            Ok(()) => Ok(cancel),
            Err(Refused::Full(queued)) => Err(SubmitError::Busy { queued }),
            Err(Refused::Stopping) => Err(SubmitError::Stopping),
        }
    }

    fn check(&self, request: &GenerateRequest) -> Result<u32, SubmitError> {
        self.accept(request).map(|accepted| accepted.prompt.len() as u32)
    }

    fn model(&self) -> ModelInfo {
        self.info.clone()
    }

    fn adapters(&self) -> Vec<AdapterInfo> {
        self.loaded().iter().map(|a| a.info.clone()).collect()
    }

    fn load_adapter(&self, name: &str, folder: &Path) -> Result<AdapterInfo, EngineError> {
        if self.loaded().iter().any(|a| a.info.name == name) {
            return Err(EngineError::NameTaken(name.to_owned()));
        }
        self.take_in(name, open_adapter(folder, &self.config)?)
    }

    fn unload_adapter(&self, name: &str) -> Result<(), EngineError> {
        let mut adapters = self.adapters.write().unwrap_or_else(|e| e.into_inner());
        let index = adapters.iter().position(|a| a.info.name == name);
        let index = index.ok_or_else(|| EngineError::NoSuchAdapter(name.to_owned()))?;
        let gone = adapters.remove(index);
        drop(adapters);
        drop(gone);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.queue.is_ready()
    }

    fn status(&self) -> EngineStatus {
        let adapter = |a: &Loaded| AdapterUse {
            info: a.info.clone(),
            bytes: a.bytes,
            // One is the list's own.
            runs: Arc::strong_count(&a.lease).saturating_sub(1) as u32,
        };
        let adapters: Vec<_> = self.loaded().iter().map(adapter).collect();
        EngineStatus {
            ready: self.is_ready(),
            restarts: self.queue.restarts(),
            process_bytes: process_bytes(),
            cache_bytes: self.queue.pages() * self.page_bytes as u64,
            cache_budget: (self.limits.memory.pages() as u64).saturating_mul(self.page_bytes as u64),
            adapters,
        }
    }

    fn drain(&self, limit: Duration) {
        self.queue.drain(limit);
        if let Some(worker) = self.worker.lock().unwrap_or_else(|e| e.into_inner()).take() {
            // A worker that panicked has said so in the log, and has ended its runs.
            let _ = worker.join();
        }
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        self.drain(Duration::ZERO);
    }
}

/// Starts the thread that computes. `again` loads the model anew, `pack` makes an adapter ready for it.
fn start<B: Backend>(
    backend: B,
    tokenizer: Arc<Tokenizer>,
    limits: Limits,
    queue: &Arc<Queue>,
    again: impl Fn() -> Result<B, EngineError> + Send + 'static,
    pack: impl Fn(&Adapter) -> Result<B::Adapter, EngineError> + Send + Sync + 'static,
) -> Result<(JoinHandle<()>, TakeIn), EngineError> {
    let adapters = Arc::new(Slots::default());
    let again = Box::new(move || again().map_err(|e| e.to_string()));
    let worker = Worker { tokenizer, limits, queue: Arc::clone(queue), adapters: Arc::clone(&adapters), again };
    let thread = thread::Builder::new().name("engine-0".into()).spawn(move || worker.work(backend));
    let queue = Arc::clone(queue);
    let take_in = move |adapter: &Adapter| {
        let index = adapters.put(pack(adapter)?);
        let (adapters, queue) = (Arc::clone(&adapters), Arc::clone(&queue));
        Ok(Lease::new(index, move |index| {
            adapters.retire(index);
            queue.wake();
        }))
    };
    Ok((thread.map_err(EngineError::Thread)?, Box::new(take_in)))
}

/// Opens a model that was loaded before.
fn reopen(path: &Path, config: &ModelConfig) -> Result<Source, EngineError> {
    let source = Source::open(path)?;
    let found = ModelConfig { rounded_to: config.rounded_to, ..source.config()? };
    if found != *config {
        let reason = "it is another model than the one that was loaded from there. Start the program again".into();
        return Err(EngineError::Model { path: path.into(), reason });
    }
    Ok(source)
}

fn open_adapter(folder: &Path, config: &ModelConfig) -> Result<Adapter, EngineError> {
    Ok(Adapter::open(folder, |layer, p| (layer < config.layers).then(|| config.shape(p)))?)
}

fn model_name(options: &EngineOptions, entry: Option<&ModelEntry>, source: &Source) -> String {
    if let Some(entry) = entry {
        return entry.name.clone();
    }
    let path = &options.model;
    let name = match source {
        Source::Gguf(_) => path.file_stem(),
        Source::HuggingFace(_) => path.file_name(),
    };
    name.map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
