//! Texts into answers into records, many side by side.
//!
//! Texts are taken in groups. Of a group all questions of one task are asked together, so that the instruction they
//! begin with is read once; the next group begins before the last one has ended.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use engine::{CancelHandle, GenerateRequest, Generator, Grammar, LocalEngine, SubmitError};
use extract::{
    Schema, doubt, guide,
    merge::{self, Part},
    offsets::{Offsets, Unit},
    output::{Doubt, Extraction, MadeBy},
    prompt,
};
use protocol::{
    Asking, FinishReason, Language, Parameters, SchemaChoice, Span, Task, text::slice_chars, view::AdapterInfo,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{CliError, input::Row, output::Lines};
use crate::{
    questions::{Questions, Reading},
    samples::{self, Answer},
};

/// What every text is asked with.
pub struct Work<'a> {
    pub engine: &'a LocalEngine,
    pub adapter: Option<&'a AdapterInfo>,
    pub schema: &'a Schema,
    pub asking: &'a Asking,
    pub parameters: Parameters,
    pub guide: bool,
    /// Questions that the engine has at a time, with their samples.
    pub at_once: usize,
    /// With what, as every line says.
    pub made_by: MadeBy,
    /// How places in the text are counted.
    pub unit: Unit,
}

/// What came of the texts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub texts: usize,
    pub failed: usize,
    pub nothing_found: usize,
    pub entities: usize,
    pub relations: usize,
    pub events: usize,
    pub not_in_text: usize,
    /// Other issues.
    pub issues: usize,
}

/// Texts in a group.
const GROUP: usize = 32;

/// One question: a task about a part of a text.
struct Question {
    row: usize,
    choice: SchemaChoice,
    instruction: String,
    span: Span,
    /// Its grammar could not be used: it is asked without.
    unguided: bool,
}

/// A text whose questions are being answered.
#[derive(Default)]
struct Open {
    waiting: usize,
    parts: Vec<Part>,
    /// Tasks that were asked without a grammar although one was wanted.
    unguided: Vec<Task>,
    error: Option<String>,
}

/// Does the rows and writes their lines in their order. `told` hears how many are written. Ends early, without error,
/// when `stop` becomes true.
pub fn run(
    work: &Work<'_>,
    rows: &[&Row],
    output: Lines,
    stop: &AtomicBool,
    told: impl FnMut(usize),
) -> Result<Summary, CliError> {
    let mut asked: BTreeMap<Language, Questions> = BTreeMap::new();
    let mut writer = Writer { output, rows, work, ready: BTreeMap::new(), next: 0, summary: Summary::default(), told };
    let mut open: BTreeMap<usize, Open> = BTreeMap::new();
    let mut questions: VecDeque<Question> = VecDeque::new();
    let mut running: BTreeMap<u64, (Question, CancelHandle)> = BTreeMap::new();
    let (said, heard) = mpsc::channel::<(u64, Answer)>();
    let (mut taken, mut number) = (0, 0);
    let at_once = (work.at_once / samples::runs(&work.parameters)).max(1);
    loop {
        while questions.len() < at_once && taken < rows.len() {
            let end = (taken + GROUP).min(rows.len());
            group(work, rows, taken..end, &mut asked, &mut open, &mut questions)?;
            taken = end;
        }
        while running.len() < at_once {
            let Some(mut question) = questions.pop_front() else { break };
            number += 1;
            let sink = samples::answer_to(&said, number);
            match samples::submit(work.engine, request(work, rows, &question), sink) {
                Ok(handle) => {
                    running.insert(number, (question, handle));
                }
                Err(busy) if busy.is_busy() && !running.is_empty() => {
                    questions.push_front(question);
                    break;
                }
                // As on the pages: an answer without a grammar is better than none.
                Err(SubmitError::Grammar { .. }) if !question.unguided => {
                    question.unguided = true;
                    questions.push_front(question);
                }
                Err(error) => answered(rows, &mut open, &question, Err(error.to_string())),
            }
        }
        while let Some((row, done)) = finished(&mut open) {
            writer.put(row, done)?;
        }
        if stop.load(Ordering::Relaxed) {
            running.values().for_each(|(_, handle)| handle.cancel());
            break;
        }
        if running.is_empty() {
            if questions.is_empty() && taken == rows.len() {
                break;
            }
            continue;
        }
        match heard.recv_timeout(Duration::from_millis(200)) {
            Ok((number, answer)) => {
                if let Some((question, _)) = running.remove(&number) {
                    answered(rows, &mut open, &question, Ok(answer));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    writer.output.sync()?;
    Ok(writer.summary)
}

/// Adds the questions of some rows, task by task.
fn group(
    work: &Work<'_>,
    rows: &[&Row],
    range: std::ops::Range<usize>,
    asked: &mut BTreeMap<Language, Questions>,
    open: &mut BTreeMap<usize, Open>,
    questions: &mut VecDeque<Question>,
) -> Result<(), CliError> {
    let tokens = |part: &str| work.engine.tokenize(part).map_or(0, |tokens| tokens.len());
    let context = work.engine.model().context_length as usize;
    let reading = Reading { context, answer: work.parameters.max_new_tokens as usize, tokens: &tokens };
    let mut new: Vec<Question> = Vec::new();
    for row in range {
        let entry = open.entry(row).or_default();
        let text = match rows.get(row).map(|r| &r.text) {
            Some(Ok(text)) => text,
            Some(Err(reason)) => {
                entry.error = Some(reason.en.clone());
                continue;
            }
            None => continue,
        };
        let language = work.schema.language.unwrap_or_else(|| Language::of_text(text));
        let asked = match asked.entry(language) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let manifest = work.adapter.map(|a| &a.manifest);
                let questions = Questions::of(work.schema, language, manifest, work.asking, reading);
                new.insert(questions.map_err(|none| CliError::Failed(none.sentence().en))?)
            }
        };
        let spans = asked.parts(text, reading);
        for (choice, instruction) in &asked.choices {
            for span in &spans {
                let (choice, instruction) = (choice.clone(), instruction.clone());
                new.push(Question { row, choice, instruction, span: *span, unguided: false });
                entry.waiting += 1;
            }
        }
    }
    new.sort_by_key(|q| (q.choice.task, q.choice.language, q.row, q.span.start));
    questions.extend(new);
    Ok(())
}

fn request(work: &Work<'_>, rows: &[&Row], question: &Question) -> GenerateRequest {
    let text = part(rows, question);
    let manifest = work.adapter.map(|a| &a.manifest);
    let prompt = prompt::prompt(manifest, Some(&question.choice), &question.instruction, Some(text));
    let mut request = GenerateRequest::new(prompt, work.adapter.map(|a| a.name.clone()), work.parameters.clone());
    request.logprobs = Some(0);
    if work.guide && !question.unguided {
        request.guide = guide::lark(manifest, &question.choice, text).map(Grammar::Records);
    }
    request
}

/// The words that a question is about.
fn part<'r>(rows: &[&'r Row], question: &Question) -> &'r str {
    let text = rows.get(question.row).and_then(|row| row.text.as_deref().ok()).unwrap_or("");
    slice_chars(text, question.span.start, question.span.end)
}

fn answered(rows: &[&Row], open: &mut BTreeMap<usize, Open>, question: &Question, answer: Result<Answer, String>) {
    let Some(row) = open.get_mut(&question.row) else { return };
    row.waiting -= 1;
    if question.unguided && !row.unguided.contains(&question.choice.task) {
        row.unguided.push(question.choice.task);
    }
    let answer = answer.and_then(|(outcome, samples)| match outcome.finish_reason {
        FinishReason::Stop | FinishReason::Length | FinishReason::Repeat => Ok((outcome, samples)),
        other => Err(outcome.error.unwrap_or_else(|| other.sentence(Language::En).to_owned())),
    });
    match answer {
        Ok((outcome, samples)) => row.parts.push(Part {
            task: question.choice.task,
            span: question.span,
            parsed: doubt::records(
                &outcome.text,
                part(rows, question),
                Some(&question.choice),
                outcome.hesitations().as_deref(),
                &samples,
            ),
            finish: outcome.finish_reason,
            run: None,
        }),
        Err(reason) => row.error = row.error.take().or(Some(format!("{}: {reason}", question.choice.task.code()))),
    }
}

/// Takes out a text that waits for nothing any more.
fn finished(open: &mut BTreeMap<usize, Open>) -> Option<(usize, Open)> {
    let row = *open.iter().find(|(_, row)| row.waiting == 0)?.0;
    open.remove(&row).map(|done| (row, done))
}

/// Writes lines in the order of the rows.
struct Writer<'a, T> {
    output: Lines,
    rows: &'a [&'a Row],
    work: &'a Work<'a>,
    ready: BTreeMap<usize, Open>,
    next: usize,
    summary: Summary,
    told: T,
}

impl<T: FnMut(usize)> Writer<'_, T> {
    fn put(&mut self, row: usize, done: Open) -> Result<(), CliError> {
        self.ready.insert(row, done);
        while let Some(done) = self.ready.remove(&self.next) {
            let Some(row) = self.rows.get(self.next) else { break };
            self.next += 1;
            let found = if done.error.is_some() { Vec::new() } else { done.parts };
            let mut found = merge::merge(self.work.schema, found);
            for task in done.unguided {
                let (kind, words) = ("not_guided".to_owned(), String::new());
                found.issues.push(Doubt { task, kind, words, count: 1, at: None, part: None, record: None });
            }
            match done.error {
                Some(_) => self.summary.failed += 1,
                None => self.count(&found),
            }
            let text = row.text.as_deref().unwrap_or("");
            if self.work.unit != Unit::CodePoints {
                found.count_in(&Offsets::new(text, self.work.unit));
            }
            let made_by = done.error.is_none().then_some([&self.work.made_by]);
            let (id, error, extra) = (&row.id, done.error, &row.extra);
            self.output.write(&Line { id, text, found, made_by, error, extra })?;
            self.summary.texts += 1;
            (self.told)(self.summary.texts);
        }
        Ok(())
    }

    fn count(&mut self, found: &Extraction) {
        self.summary.count(found);
    }
}

impl Summary {
    /// Adds what was found in a text.
    pub fn count(&mut self, found: &Extraction) {
        let summary = self;
        summary.entities += found.entities.len();
        summary.relations += found.relations.len();
        summary.events += found.events.len();
        let (left_out, others): (Vec<&Doubt>, Vec<&Doubt>) = found.issues.iter().partition(|d| d.record.is_some());
        let counted = |doubts: &[&Doubt]| doubts.iter().map(|d| d.count).sum::<usize>();
        summary.not_in_text += counted(&left_out);
        summary.issues += counted(&others);
        let nothing = found.entities.is_empty() && found.relations.is_empty() && found.events.is_empty();
        summary.nothing_found += usize::from(nothing);
    }
}

/// The line of a row: its own fields, and what was found.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a Value,
    text: &'a str,
    #[serde(flatten)]
    found: Extraction,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_by: Option<[&'a MadeBy; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}
