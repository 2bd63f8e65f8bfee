//! The engine inside this process.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use checkpoint::{Adapter, BlockFormat, find};
use protocol::{
    ModelEntry, ParameterError, Sentence,
    view::{AdapterInfo, ModelInfo},
};

use crate::{
    EngineError,
    backend::Backend,
    chat::ChatTemplate,
    cpu::{CpuModel, Isa},
    guide::{Guide, Guides},
    memory::{Memory, default_bytes},
    queue::{Queue, Refused},
    request::{CancelHandle, EngineEvent, GenerateRequest, Generator, Outcome, Sink, SubmitError},
    run::Job,
    scheduler::{Limits, Scheduler},
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
    fn format(self) -> Option<BlockFormat> {
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
    adapters: Vec<AdapterInfo>,
    /// End token of each adapter, when its manifest names one.
    ends: Vec<Option<u32>>,
    entry: Option<&'static ModelEntry>,
    context: usize,
    lookup: bool,
    /// Whether results are the same bits for any number of rows, so that guessing changes no text.
    can_guess: bool,
    /// Tokens that the model has scores for.
    vocabulary: usize,
    chat: Option<ChatTemplate>,
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
        let mut config = source.config()?;
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
        if let Some(to) = options.load_as.format() {
            if format.block() == 1 {
                config.rounded_to = Some(to);
            } else {
                progress(&format!("The weights are {} already: they stay as they are", format.name()));
            }
        }
        let rounded_to = config.rounded_to;
        let chat = ChatTemplate::of(&source, &tokenizer);
        progress("Preparing the weights");
        let (context, vocabulary) = (config.context, config.vocabulary);
        let memory = |page| Memory::new(page, options.cache_bytes.unwrap_or_else(|| default_bytes(page, context)));
        let queue = Arc::new(Queue::new(options.queue));
        let limits = |prefixes, memory: Memory| Limits {
            active: options.active.max(1),
            prefixes,
            context: context.min(memory.context()),
            memory,
        };
        let lookup = options.lookup;
        let (worker, limits) = match options.device {
            DeviceChoice::Cpu => {
                let isa = Isa::detect();
                let model = CpuModel::load(source, config, &adapters, threads, isa)?;
                info.backend = format!("CPU, {}, {}", isa.name(), count(model.threads(), "thread"));
                let limits = limits(options.prefix_cache, memory(model.page()));
                (spawn(model, tokenizer.clone(), limits, queue.clone())?, limits)
            }
            DeviceChoice::Candle => {
                let model = crate::candle::CandleModel::load(source, config, &adapters)?;
                info.backend = format!("candle, {}", model.device_name());
                // Its results depend on the number of rows in their last bits: nothing is remembered or guessed.
                let limits = limits(0, memory(model.page()));
                (spawn(model, tokenizer.clone(), limits, queue.clone())?, limits)
            }
        };
        if let Some(to) = rounded_to {
            info.backend += &format!(", weights rounded to {} while loading", to.name());
        }
        let worker = Mutex::new(Some(worker));
        let context = limits.context;
        let can_guess = options.device == DeviceChoice::Cpu;
        info.context_length = context as u32;
        let guides = Guides::new(Arc::clone(&tokenizer));
        Ok(Self {
            tokenizer,
            guides,
            queue,
            worker,
            info,
            adapters: infos,
            ends,
            entry,
            context,
            vocabulary,
            lookup,
            can_guess,
            chat,
        })
    }

    /// What is known of the model by name: when its file is, byte for byte, that of a known model.
    pub fn entry(&self) -> Option<&ModelEntry> {
        self.entry
    }

    /// How the model wants a conversation written, where its files say so.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat.as_ref()
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
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.vocabulary) {
            let piece = String::from_utf8_lossy(self.tokenizer.piece(*token)).into_owned();
            let reason = format!("its token {token} ({piece:?}) is none of the model's {}", self.vocabulary);
            return Err(SubmitError::Tokenizer { reason });
        }
        if tokens.len() >= self.context {
            return Err(SubmitError::PromptTooLong { tokens: tokens.len(), limit: self.context });
        }
        let end_token = adapter.and_then(|i| self.ends.get(i).copied().flatten());
        let guide = request.guide.as_ref().map(|grammar| self.guides.compile(grammar, end_token));
        let guide = guide.transpose().map_err(|reason| SubmitError::Grammar { reason })?;
        Ok(Accepted { prompt: tokens, adapter, end_token, guide })
    }

    fn known_adapters(&self) -> String {
        if self.adapters.is_empty() {
            return "None is loaded; name one when starting.".into();
        }
        let names: Vec<&str> = self.adapters.iter().map(|a| a.name.as_str()).collect();
        format!("Loaded: {}.", names.join(", "))
    }
}

/// What a request comes to.
struct Accepted {
    prompt: Vec<u32>,
    adapter: Option<usize>,
    end_token: Option<u32>,
    guide: Option<Guide>,
}

impl Generator for LocalEngine {
    fn submit(&self, request: GenerateRequest, sink: Sink) -> Result<CancelHandle, SubmitError> {
        let Accepted { prompt, adapter, end_token, guide } = self.accept(&request)?;
        let cancel = CancelHandle::default();
        let seed = request.parameters.seed.unwrap_or_else(rand::random);
        let job = Job {
            prompt,
            adapter,
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
