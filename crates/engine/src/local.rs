//! The engine inside this process.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use checkpoint::{Adapter, find};
use protocol::{
    ModelEntry,
    view::{AdapterInfo, ModelInfo},
};

use crate::{
    EngineError,
    backend::Backend,
    cpu::{CpuModel, Isa},
    request::{CancelHandle, EngineEvent, GenerateRequest, Generator, Outcome, Sink, SubmitError},
    run::Job,
    scheduler::{Limits, Queue, Refused, Scheduler},
    tokenizer::Tokenizer,
    weights::Source,
};

/// What computes the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// Our own kernels on the processor.
    #[default]
    Cpu,
    /// The tensor library: the reference, and the graphics card when built with the feature `cuda`.
    Candle,
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
            prefix_cache: 4,
            device: DeviceChoice::default(),
        }
    }
}

/// Memory that remembered prompts may take, in bytes.
const PREFIX_BYTES: usize = 1 << 29;

/// A model in memory and the thread that computes it.
pub struct LocalEngine {
    tokenizer: Arc<Tokenizer>,
    queue: Arc<Queue>,
    worker: Mutex<Option<JoinHandle<()>>>,
    info: ModelInfo,
    adapters: Vec<AdapterInfo>,
    /// End token of each adapter, when its manifest names one.
    ends: Vec<Option<u32>>,
    entry: Option<&'static ModelEntry>,
    context: usize,
}

impl LocalEngine {
    /// Loads a model and its adapters; `progress` is told what happens, in words.
    ///
    /// # Errors
    /// A file is missing, damaged, of an unknown kind, or an adapter does not fit the model.
    pub fn load(options: EngineOptions, progress: impl Fn(&str)) -> Result<Self, EngineError> {
        let threads = options.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, |n| n.get())).max(1);
        progress(&format!("Reading {}", options.model.display()));
        let source = Source::open(&options.model)?;
        let config = source.config()?;
        let tokenizer = Arc::new(match &source {
            Source::Gguf(file) => Tokenizer::from_gguf(file)?,
            Source::HuggingFace(folder) => Tokenizer::from_huggingface(folder, config.vocabulary)?,
        });
        let entry = find::entry_of(&options.model).ok().flatten();
        let mut infos = Vec::new();
        let mut adapters = Vec::new();
        for (name, folder) in &options.adapters {
            progress(&format!("Reading adapter {name} from {}", folder.display()));
            let adapter = Adapter::open(folder, |layer, p| (layer < config.layers).then(|| config.shape(p)))?;
            infos.push(AdapterInfo {
                name: name.clone(),
                manifest: adapter.manifest.clone(),
                rank: adapter.rank as u32,
            });
            adapters.push(adapter);
        }
        let end_of = |a: &AdapterInfo| a.manifest.end_token.as_deref().and_then(|t| tokenizer.id(t));
        let ends = infos.iter().map(end_of).collect();
        let (format, parameters) = source.formats();
        let mut info = ModelInfo {
            name: model_name(&options, entry, &source),
            format: format.name().into(),
            context_length: config.context as u32,
            parameters,
            backend: String::new(),
        };
        progress("Preparing the weights");
        let context = config.context;
        let queue = Arc::new(Queue::new(options.queue));
        let mut limits = Limits { active: options.active.max(1), prefixes: 0, prefix_tokens: 0, context };
        let worker = match options.device {
            DeviceChoice::Cpu => {
                let isa = Isa::detect();
                let model = CpuModel::load(source, config, &adapters, threads, isa)?;
                info.backend = format!("CPU, {}, {}", isa.name(), count(model.threads(), "thread"));
                limits.prefixes = options.prefix_cache;
                limits.prefix_tokens = PREFIX_BYTES / model.bytes_per_token();
                spawn(model, tokenizer.clone(), limits, queue.clone())?
            }
            DeviceChoice::Candle => {
                let model = crate::candle::CandleModel::load(source, config, &adapters)?;
                info.backend = format!("candle, {}", model.device_name());
                spawn(model, tokenizer.clone(), limits, queue.clone())?
            }
        };
        let worker = Mutex::new(Some(worker));
        Ok(Self { tokenizer, queue, worker, info, adapters: infos, ends, entry, context })
    }

    /// What is known of the model by name: when its file is, byte for byte, that of a known model.
    pub fn entry(&self) -> Option<&ModelEntry> {
        self.entry
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

    /// Checks a request; gives its prompt's tokens and its adapter.
    fn accept(&self, request: &GenerateRequest) -> Result<(Vec<u32>, Option<usize>), SubmitError> {
        request.parameters.validate()?;
        let adapter = match &request.adapter {
            None => None,
            Some(name) => Some(
                self.adapters
                    .iter()
                    .position(|a| a.name == *name)
                    .ok_or_else(|| SubmitError::UnknownAdapter { name: name.clone(), known: self.known_adapters() })?,
            ),
        };
        if request.prompt.is_empty() {
            return Err(SubmitError::EmptyPrompt);
        }
        let add_bos = adapter.and_then(|i| self.adapters.get(i)).map(|a| a.manifest.add_bos);
        let tokens =
            self.tokenizer.prompt(&request.prompt, add_bos).map_err(|reason| SubmitError::Tokenizer { reason })?;
        if tokens.is_empty() {
            return Err(SubmitError::EmptyPrompt);
        }
        if tokens.len() >= self.context {
            return Err(SubmitError::PromptTooLong { tokens: tokens.len(), limit: self.context });
        }
        Ok((tokens, adapter))
    }

    fn known_adapters(&self) -> String {
        if self.adapters.is_empty() {
            return "None is loaded; name one when starting.".into();
        }
        let names: Vec<&str> = self.adapters.iter().map(|a| a.name.as_str()).collect();
        format!("Loaded: {}.", names.join(", "))
    }
}

impl Generator for LocalEngine {
    fn submit(&self, request: GenerateRequest, sink: Sink) -> Result<CancelHandle, SubmitError> {
        let (prompt, adapter) = self.accept(&request)?;
        let cancel = CancelHandle::default();
        let seed = request.parameters.seed.unwrap_or_else(rand::random);
        let end_token = adapter.and_then(|i| self.ends.get(i).copied().flatten());
        let job = Job {
            prompt,
            adapter,
            seed,
            parameters: request.parameters,
            end_token,
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
        self.accept(request).map(|(tokens, _)| tokens.len() as u32)
    }

    fn model(&self) -> ModelInfo {
        self.info.clone()
    }

    fn adapters(&self) -> Vec<AdapterInfo> {
        self.adapters.clone()
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

fn spawn<B: Backend>(
    backend: B,
    tokenizer: Arc<Tokenizer>,
    limits: Limits,
    queue: Arc<Queue>,
) -> Result<JoinHandle<()>, EngineError> {
    thread::Builder::new()
        .name("engine-0".into())
        .spawn(move || Scheduler::new(backend, tokenizer, limits).work(&queue))
        .map_err(EngineError::Thread)
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
