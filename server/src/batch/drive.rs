//! The rows of one batch, one group after another, until all that are wanted are done.
//!
//! Of a group all questions of one task are asked together, so that the instruction they begin with is read once; the
//! next group begins before the last has ended.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use app::doubts::Weight;
use engine::{GenerateRequest, Generator, Grammar, SubmitError};
use extract::Schema;
use protocol::{
    Ask, Column, FinishReason, Parameters, RunStatus, RunView, Sentence,
    batch::RowState,
    view::{AdapterInfo, ExtractionView},
};

use super::{Batches, Going, found, stopped_by};
use crate::{
    held,
    pool::{self, plan},
    questions::Reading,
    samples::{self, Answer, Asked},
    store::{Batch, BatchRow, Busy, FinishedRow, new_id, now_ms},
};

/// Runs with the engine at a time: one less than it computes side by side, so that a person's starts at once.
const AT_ONCE: usize = 7;
/// Rows in a group, at most; and questions that are enough for one, where texts are long.
const GROUP: i64 = 16;
const ENOUGH: usize = 128;
/// How often a stop is noticed.
const TICK: Duration = Duration::from_millis(100);
/// How often what has come is stored.
const STORE: Duration = Duration::from_millis(300);
/// What is found in a row that failed, and how doubtful that is.
const FAILED: (usize, Weight) = (0, Weight::FAILED);

/// What is needed to work on a batch.
pub struct Drive<'a> {
    pub batches: &'a Batches,
    pub going: &'a Going,
    pub batch: &'a Batch,
    pub runtime: &'a tokio::runtime::Handle,
}

/// A question, and the row it belongs to.
struct Question {
    position: i64,
    /// What its answer can look like.
    guide: Option<Grammar>,
    run: RunView,
}

/// A row whose questions are being answered.
struct Open {
    row: BatchRow,
    extractions: Vec<ExtractionView>,
    waiting: usize,
    runs: Vec<RunView>,
    error: Option<Sentence>,
}

/// Works until nothing that is wanted waits any more, or it is told to stop. A reason, when it could not go on.
pub fn drive(drive: &Drive<'_>) -> Option<Sentence> {
    let mut work = match Work::new(drive) {
        Ok(work) => work,
        Err(reason) => return Some(reason),
    };
    let ended = work.run();
    // Whatever is being asked is asked again when it goes on.
    work.running.values().for_each(|(_, asked)| asked.handle.cancel());
    ended.and_then(|()| work.store(true)).err()
}

struct Work<'a> {
    drive: &'a Drive<'a>,
    generator: Arc<dyn Generator>,
    adapter: Option<AdapterInfo>,
    model: String,
    schema: Schema,
    /// The first row that was not taken yet.
    next: i64,
    all_taken: bool,
    open: BTreeMap<i64, Open>,
    questions: VecDeque<Question>,
    running: HashMap<u64, (Question, Asked)>,
    number: u64,
    finished: Vec<FinishedRow>,
    busy: Busy,
    since: Instant,
}

impl<'a> Work<'a> {
    fn new(drive: &'a Drive<'a>) -> Result<Self, Sentence> {
        let pool = &drive.batches.pool;
        let generator = Arc::clone(pool.generator());
        let schema = Schema::from_json(&drive.batch.schema.json).map_err(|error| {
            let said = error.to_string();
            Sentence::new(format!("The schema cannot be used: {said}."), format!("抽取清单无法使用：{said}。"))
        })?;
        let adapter = match &drive.batch.adapter {
            Some(name) => Some(pool.adapter_named(Some(name)).ok_or_else(|| not_loaded(name))?),
            None => None,
        };
        Ok(Self {
            drive,
            adapter,
            model: generator.model().name,
            generator,
            schema,
            next: 0,
            all_taken: false,
            open: BTreeMap::new(),
            questions: VecDeque::new(),
            running: HashMap::new(),
            number: 0,
            finished: Vec::new(),
            busy: Busy::default(),
            since: Instant::now(),
        })
    }

    fn run(&mut self) -> Result<(), Sentence> {
        let (said, heard) = mpsc::channel::<(u64, Answer)>();
        loop {
            if self.drive.going.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            while self.questions.len() < AT_ONCE && !self.all_taken {
                self.take()?;
            }
            self.submit(&said)?;
            self.store(false)?;
            if self.running.is_empty() && self.questions.is_empty() && self.all_taken {
                return Ok(());
            }
            match heard.recv_timeout(TICK) {
                Ok((number, answer)) => self.heard(number, answer)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Takes the next rows and makes their questions.
    fn take(&mut self) -> Result<(), Sentence> {
        let Drive { batches, batch, runtime, going } = self.drive;
        let rows = runtime.block_on(batches.store.waiting_rows(batch, self.next, GROUP)).map_err(|e| stopped_by(&e))?;
        let Some(last) = rows.last() else {
            self.all_taken = true;
            return Ok(());
        };
        self.next = last.position + 1;
        let mut new = Vec::new();
        for row in rows {
            if new.len() >= ENOUGH {
                // The rest is read again with the next group.
                self.next = row.position;
                break;
            }
            held(&going.rows).insert(row.position);
            match self.ask(&row) {
                Ok(drafts) => {
                    let open = self.begin(row, drafts, &mut new);
                    self.open.insert(open.row.position, open);
                }
                Err(reason) => self.ended(row, RowState::Failed, Some(reason), FAILED, Vec::new(), Vec::new()),
            }
        }
        new.sort_by_key(|q| (q.run.column, q.run.schema.as_ref().map(|s| (s.task, s.language)), q.position));
        self.questions.extend(new);
        Ok(())
    }

    /// The questions about a row.
    fn ask(&self, row: &BatchRow) -> Result<Vec<plan::Draft>, Sentence> {
        let batch = self.drive.batch;
        let generator = self.generator.as_ref();
        let tokens = |text: &str| pool::tokens(generator, text);
        let (context, answer) = (generator.model().context_length as usize, batch.parameters.max_new_tokens as usize);
        let ask = Ask::Schema {
            schema: batch.schema.clone(),
            texts: vec![row.text.clone()],
            compare: batch.compare,
            asking: batch.asking.clone(),
        };
        plan::drafts(&ask, self.adapter.as_ref(), Reading { context, answer, tokens: &tokens })
    }

    fn begin(&self, row: BatchRow, drafts: Vec<plan::Draft>, new: &mut Vec<Question>) -> Open {
        let batch = self.drive.batch;
        let created_at = now_ms();
        let document = row.document.clone().unwrap_or_default();
        let mut columns: Vec<Column> = drafts.iter().map(|draft| draft.column).collect();
        columns.sort();
        columns.dedup();
        let extraction = |column: &Column| ExtractionView {
            id: new_id(),
            session: batch.session.clone(),
            document: document.clone(),
            column: *column,
            schema: batch.schema.clone(),
            created_at,
        };
        let extractions: Vec<ExtractionView> = columns.iter().map(extraction).collect();
        let waiting = drafts.len();
        for draft in drafts {
            let guided = batch.parameters.guided && draft.guide.is_some();
            let run = RunView {
                id: new_id(),
                session: batch.session.clone(),
                document: Some(document.clone()),
                mode: draft.mode,
                column: draft.column,
                model: self.model.clone(),
                adapter: draft.adapter,
                schema: draft.schema,
                extraction: extractions.iter().find(|e| e.column == draft.column).map(|e| e.id.clone()),
                part: draft.part,
                instruction: draft.instruction,
                prompt: draft.prompt,
                parameters: Parameters { guided, ..batch.parameters.clone() },
                status: RunStatus::Finished,
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
            };
            new.push(Question { position: row.position, guide: draft.guide, run });
        }
        Open { row, extractions, waiting, runs: Vec::new(), error: None }
    }

    /// Gives the engine what it has places for.
    fn submit(&mut self, said: &mpsc::Sender<(u64, Answer)>) -> Result<(), Sentence> {
        // One question may have more samples than that.
        self.running.values_mut().for_each(|(_, asked)| asked.go_on(self.generator.as_ref()));
        let at_once = (AT_ONCE / samples::runs(&self.drive.batch.parameters)).max(1);
        while self.running.len() < at_once {
            let Some(mut question) = self.questions.pop_front() else { break };
            // Another question of the row has failed already.
            if self.open.get(&question.position).is_none_or(|open| open.error.is_some()) {
                self.answered(question.position, None);
                continue;
            }
            self.number += 1;
            let mut submitted = self.give(&question, said);
            if let Err(SubmitError::Grammar { reason }) = &submitted {
                tracing::warn!(%reason, "an answer will not be guided");
                question.guide = None;
                question.run.parameters.guided = false;
                submitted = self.give(&question, said);
            }
            match submitted {
                Ok(asked) => {
                    self.running.insert(self.number, (question, asked));
                }
                Err(SubmitError::Stopping) => return Err(engine_stopped()),
                Err(SubmitError::UnknownAdapter { name, .. }) => return Err(not_loaded(&name)),
                Err(busy) if busy.is_busy() => {
                    self.questions.push_front(question);
                    break;
                }
                Err(error) => {
                    let sentence =
                        Sentence::new(error.sentence(protocol::Language::En), error.sentence(protocol::Language::Zh));
                    self.failed(question.position, sentence);
                }
            }
        }
        Ok(())
    }

    fn give(&self, question: &Question, said: &mpsc::Sender<(u64, Answer)>) -> Result<Asked, SubmitError> {
        let run = &question.run;
        let request = GenerateRequest {
            guide: question.guide.clone().filter(|_| run.parameters.guided),
            // An asker of its own: who has few runs goes before who has many.
            owner: u64::try_from(self.drive.batch.owner).ok().map(|owner| u64::MAX - owner),
            logprobs: Some(0),
            ..GenerateRequest::new(run.prompt.clone(), run.adapter.clone(), run.parameters.clone())
        };
        samples::submit_few(self.generator.as_ref(), request, AT_ONCE, samples::answer_to(said, self.number))
    }

    /// Takes an answer in.
    fn heard(&mut self, number: u64, (outcome, samples): Answer) -> Result<(), Sentence> {
        let Some((question, _)) = self.running.remove(&number) else { return Ok(()) };
        match outcome.finish_reason {
            FinishReason::Cancelled | FinishReason::Interrupted => return Err(engine_stopped()),
            FinishReason::Error => {
                let said = outcome.error.unwrap_or_else(|| FinishReason::Error.sentence(protocol::Language::En).into());
                self.failed(question.position, Sentence::new(said.clone(), said));
            }
            reason => {
                self.busy.tokens += i64::from(outcome.completion_tokens);
                let run = RunView {
                    hesitations: outcome.hesitations(),
                    samples,
                    finish_reason: Some(reason),
                    text: outcome.text,
                    prompt_tokens: Some(outcome.prompt_tokens),
                    completion_tokens: outcome.completion_tokens,
                    timings: Some(outcome.timings),
                    ..question.run
                };
                self.answered(question.position, Some(run));
            }
        }
        Ok(())
    }

    fn failed(&mut self, position: i64, reason: Sentence) {
        if let Some(open) = self.open.get_mut(&position) {
            open.error.get_or_insert(reason);
        }
        self.answered(position, None);
    }

    /// One question less; with the last the row has ended.
    fn answered(&mut self, position: i64, run: Option<RunView>) {
        let Some(open) = self.open.get_mut(&position) else { return };
        open.waiting -= 1;
        open.runs.extend(run);
        if open.waiting > 0 {
            return;
        }
        let Some(open) = self.open.remove(&position) else { return };
        if open.error.is_some() {
            return self.ended(open.row, RowState::Failed, open.error, FAILED, Vec::new(), Vec::new());
        }
        let mut runs = open.runs;
        // Version 7 ids grow with time: as they were asked.
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        let best = open.extractions.iter().map(|e| e.column).max().unwrap_or(Column::Tuned);
        let found =
            found::count(&found::records(&self.schema, &open.row.text, runs.iter().filter(|run| run.column == best)));
        let state = if found == 0 { RowState::Nothing } else { RowState::Done };
        let weight = found::weight(&open.row, &open.extractions, &runs);
        self.ended(open.row, state, None, (found, weight), open.extractions, runs);
    }

    /// Takes note of a row that has ended, with how many records it has and how they are weighed.
    fn ended(
        &mut self,
        row: BatchRow,
        state: RowState,
        error: Option<Sentence>,
        (found, weight): (usize, Weight),
        extractions: Vec<ExtractionView>,
        runs: Vec<RunView>,
    ) {
        if error.is_none() {
            self.busy.chars += row.chars;
            self.busy.rows += 1;
        }
        let (position, weight) = (row.position, Some(weight));
        self.finished.push(FinishedRow { position, state, error, found, weight, extractions, runs });
    }

    /// Stores the rows that have ended; not at every single one, unless it is the last.
    fn store(&mut self, all: bool) -> Result<(), Sentence> {
        let idle = self.running.is_empty() && self.questions.is_empty();
        if self.finished.is_empty() || !(all || idle || self.since.elapsed() >= STORE) {
            return Ok(());
        }
        let Drive { batches, batch, runtime, going } = self.drive;
        self.busy.ms = self.since.elapsed().as_millis() as i64;
        runtime.block_on(batches.store.finish_rows(batch, &self.finished, self.busy)).map_err(|e| stopped_by(&e))?;
        let mut rows = held(&going.rows);
        for row in self.finished.drain(..) {
            rows.remove(&row.position);
        }
        drop(rows);
        (self.busy, self.since) = (Busy::default(), Instant::now());
        Ok(())
    }
}

/// The adapter that the batch was begun with was taken out of use: another, or the base, would answer something else.
fn not_loaded(name: &str) -> Sentence {
    Sentence::new(
        format!(
            "It stopped because its adapter \"{name}\" is not in use. Load it on the page \"Model\" or start the server with it, then go on."
        ),
        format!("所用的适配器“{name}”未加载，批处理已停止。请在“模型”页加载它，或带上它启动服务器，然后继续。"),
    )
}

/// The engine ends, or has ended what it was asked.
fn engine_stopped() -> Sentence {
    Sentence::new(
        "It stopped because the model was stopped. What is not done can go on.",
        "模型已停止，批处理随之停止。未完成的部分可以继续。",
    )
}
