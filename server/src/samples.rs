//! The same question asked more than once: the answer, and beside it samples drawn by chance. How far they agree says how
//! far the answer can be trusted (`extract::doubt`).
//!
//! The answer is the one that would be given without samples, and streams as ever; its end is told when the samples have
//! ended too. Whoever stops it stops them.

use std::sync::{Arc, Mutex, mpsc::Sender};

use engine::{CancelHandle, EngineEvent, GenerateRequest, Generator, Outcome, SubmitError};
use protocol::{FinishReason, Parameters};

use crate::held;

/// How freely samples are drawn where the answer itself is not.
const TEMPERATURE: f64 = 0.7;

/// Called with every event of the answer; with the last also with what the samples say.
type Sink = Box<dyn FnMut(EngineEvent, Vec<String>) + Send>;

/// How a question was answered, and what its samples say.
pub type Answer = (Outcome, Vec<String>);

/// Sends the answer of a question with the question's number, and nothing else of it.
pub fn answer_to(said: &Sender<(u64, Answer)>, number: u64) -> Sink {
    let said = said.clone();
    Box::new(move |event, samples| {
        if let EngineEvent::Done(outcome) = event {
            // Fails only when nobody listens any more.
            let _ = said.send((number, (outcome, samples)));
        }
    })
}

/// How many runs of the engine a question takes with these parameters.
pub fn runs(parameters: &Parameters) -> usize {
    1 + parameters.samples as usize
}

/// A question that the engine was asked.
pub struct Asked {
    question: GenerateRequest,
    /// Stops it, with its samples.
    pub handle: CancelHandle,
    gathered: Arc<Mutex<Gathered>>,
    /// Samples that were asked for.
    asked: u32,
    at_once: usize,
}

/// Queues a question with as many samples as its parameters say.
///
/// # Errors
/// As [`Generator::submit`].
pub fn submit(generator: &dyn Generator, request: GenerateRequest, sink: Sink) -> Result<CancelHandle, SubmitError> {
    submit_few(generator, request, usize::MAX, sink).map(|asked| asked.handle)
}

/// The same with no more than `at_once` runs of the engine at a time; what is left is asked for with [`Asked::go_on`].
///
/// # Errors
/// As [`Generator::submit`].
pub fn submit_few(
    generator: &dyn Generator,
    request: GenerateRequest,
    at_once: usize,
    sink: Sink,
) -> Result<Asked, SubmitError> {
    let samples = request.parameters.samples;
    let gathered = Arc::new(Mutex::new(Gathered {
        sink,
        answer: None,
        said: vec![None; samples as usize],
        waiting: samples,
        handles: Vec::new(),
    }));
    let (heard, question) = (Arc::clone(&gathered), request.clone());
    let handle = generator.submit(request, Box::new(move |event| held(&heard).heard(event)))?;
    held(&gathered).handles.push(handle.clone());
    let mut asked = Asked { question, handle, gathered, asked: 0, at_once };
    asked.go_on(generator);
    Ok(asked)
}

impl Asked {
    /// Asks for samples that were not asked for yet, as far as there are places. One that the engine does not take is left
    /// out.
    pub fn go_on(&mut self, generator: &dyn Generator) {
        let samples = self.question.parameters.samples;
        while self.asked < samples && held(&self.gathered).has_place(samples - self.asked, self.at_once) {
            let (number, heard, asked) = (self.asked, Arc::clone(&self.gathered), self.handle.clone());
            self.asked += 1;
            let sink = move |event| held(&heard).sampled(number as usize, event, &asked);
            let submitted = match self.handle.is_cancelled() {
                true => None,
                false => generator.submit(sample(&self.question, number), Box::new(sink)).ok(),
            };
            let mut gathered = held(&self.gathered);
            match submitted {
                Some(handle) => {
                    // The answer has failed meanwhile.
                    if gathered.waiting == 0 {
                        handle.cancel();
                    }
                    gathered.handles.push(handle);
                }
                None => gathered.one_less(),
            }
        }
    }
}

/// The question again, with a seed of its own.
fn sample(question: &GenerateRequest, number: u32) -> GenerateRequest {
    let mut parameters = Parameters { beams: 1, samples: 0, ..question.parameters.clone() };
    parameters.seed = parameters.seed.map(|seed| seed.wrapping_add(u64::from(number) + 1));
    if question.parameters.temperature == 0.0 || question.parameters.beams > 1 {
        // From all that the model could say.
        (parameters.temperature, parameters.top_p, parameters.top_k, parameters.min_p) = (TEMPERATURE, 1.0, 0, 0.0);
    }
    GenerateRequest { parameters, logprobs: None, ..question.clone() }
}

/// What is known of a question so far.
struct Gathered {
    sink: Sink,
    /// The end of the answer, while samples are waited for.
    answer: Option<Outcome>,
    said: Vec<Option<String>>,
    /// Samples that have not ended.
    waiting: u32,
    /// Of the answer and its samples.
    handles: Vec<CancelHandle>,
}

impl Gathered {
    /// Whether another sample may be asked for, when so many were not yet.
    fn has_place(&self, unasked: u32, at_once: usize) -> bool {
        let going = usize::from(self.answer.is_none()) + self.waiting.saturating_sub(unasked) as usize;
        self.waiting > 0 && going < at_once
    }

    fn heard(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::Done(outcome) => {
                if !ended_by_itself(&outcome) {
                    self.waiting = 0;
                    self.cancel();
                }
                self.answer = Some(outcome);
                self.end();
            }
            event => (self.sink)(event, Vec::new()),
        }
    }

    /// `asked`: by it the question is stopped, also when its answer has ended already.
    fn sampled(&mut self, number: usize, event: EngineEvent, asked: &CancelHandle) {
        if asked.is_cancelled() {
            self.cancel();
        }
        if let EngineEvent::Done(outcome) = event {
            if ended_by_itself(&outcome)
                && let Some(said) = self.said.get_mut(number)
            {
                *said = Some(outcome.text);
            }
            self.one_less();
        }
    }

    fn one_less(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        self.end();
    }

    /// Tells the end of the answer, once, when nothing is waited for any more.
    fn end(&mut self) {
        if self.waiting == 0
            && let Some(answer) = self.answer.take()
        {
            let said = self.said.drain(..).flatten().collect();
            (self.sink)(EngineEvent::Done(answer), said);
        }
    }

    fn cancel(&self) {
        self.handles.iter().for_each(CancelHandle::cancel);
    }
}

fn ended_by_itself(outcome: &Outcome) -> bool {
    matches!(outcome.finish_reason, FinishReason::Stop | FinishReason::Length | FinishReason::Repeat)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::{self, Receiver};

    use protocol::{
        Timings,
        view::{AdapterInfo, ModelInfo},
    };

    use super::*;

    /// An engine whose runs end when they are told to; it takes so many.
    struct Puppet {
        runs: Mutex<Vec<(GenerateRequest, engine::Sink, CancelHandle)>>,
        takes: usize,
    }

    impl Puppet {
        fn end(&self, run: usize, finish_reason: FinishReason, text: &str) {
            let outcome = Outcome {
                finish_reason,
                error: None,
                text: text.to_owned(),
                prompt_tokens: 1,
                completion_tokens: 1,
                timings: Timings::default(),
                logprobs: Vec::new(),
            };
            self.tell(run, EngineEvent::Done(outcome));
        }

        fn tell(&self, run: usize, event: EngineEvent) {
            self.runs.lock().unwrap()[run].1(event);
        }
    }

    impl Generator for Puppet {
        fn submit(&self, request: GenerateRequest, sink: engine::Sink) -> Result<CancelHandle, SubmitError> {
            let mut runs = self.runs.lock().unwrap();
            if runs.len() == self.takes {
                return Err(SubmitError::Busy { queued: self.takes });
            }
            runs.push((request, sink, CancelHandle::default()));
            Ok(runs.last().unwrap().2.clone())
        }

        fn check(&self, _: &GenerateRequest) -> Result<u32, SubmitError> {
            Ok(1)
        }

        fn model(&self) -> ModelInfo {
            let (name, format, backend) = (String::new(), String::new(), String::new());
            ModelInfo { name, format, context_length: 1, parameters: 1, backend }
        }

        fn adapters(&self) -> Vec<AdapterInfo> {
            Vec::new()
        }

        fn drain(&self, _: std::time::Duration) {}
    }

    /// An answer, how it ended, and its samples.
    type Ended = (String, FinishReason, Vec<String>);

    /// A question with three samples, and what is heard of it.
    fn asked(takes: usize) -> (Puppet, CancelHandle, Receiver<Ended>) {
        let (puppet, asked, heard) = asked_few(takes, usize::MAX);
        (puppet, asked.handle, heard)
    }

    fn asked_few(takes: usize, at_once: usize) -> (Puppet, Asked, Receiver<Ended>) {
        let puppet = Puppet { runs: Mutex::default(), takes };
        let (said, heard) = mpsc::channel();
        let parameters = Parameters { samples: 3, seed: Some(7), ..Parameters::neutral() };
        let request = GenerateRequest::new("Find".into(), None, parameters);
        let sink = move |event, samples| {
            if let EngineEvent::Done(outcome) = event {
                said.send((outcome.text, outcome.finish_reason, samples)).unwrap();
            }
        };
        let asked = submit_few(&puppet, request, at_once, Box::new(sink)).unwrap();
        (puppet, asked, heard)
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn an_answer_ends_when_its_samples_have_ended_and_has_them_in_their_order() {
        let (puppet, _, heard) = asked(9);
        let how: Vec<_> =
            puppet.runs.lock().unwrap().iter().map(|(r, ..)| (r.parameters.temperature, r.parameters.seed)).collect();
        assert_eq!(how, [(0.0, Some(7)), (TEMPERATURE, Some(8)), (TEMPERATURE, Some(9)), (TEMPERATURE, Some(10))]);
        puppet.end(2, FinishReason::Stop, "b");
        puppet.end(0, FinishReason::Stop, "answer");
        puppet.end(3, FinishReason::Error, "");
        assert!(heard.try_recv().is_err());
        puppet.end(1, FinishReason::Length, "a");
        assert_eq!(heard.try_recv().unwrap(), ("answer".into(), FinishReason::Stop, texts(&["a", "b"])));
    }

    #[test]
    fn samples_that_find_no_room_are_left_out() {
        let (puppet, _, heard) = asked(2);
        puppet.end(1, FinishReason::Stop, "a");
        puppet.end(0, FinishReason::Stop, "answer");
        assert_eq!(heard.try_recv().unwrap().2, texts(&["a"]));
    }

    #[test]
    fn a_question_takes_no_more_of_the_engine_than_it_may() {
        let (puppet, mut asked, heard) = asked_few(9, 2);
        let count = || puppet.runs.lock().unwrap().len();
        asked.go_on(&puppet);
        assert_eq!(count(), 2, "the answer, and one sample");
        puppet.end(1, FinishReason::Stop, "a");
        asked.go_on(&puppet);
        assert_eq!(count(), 3);
        puppet.end(0, FinishReason::Stop, "answer");
        asked.go_on(&puppet);
        assert_eq!(count(), 4);
        (2..4).for_each(|run| puppet.end(run, FinishReason::Stop, "b"));
        assert_eq!(heard.try_recv().unwrap().2, texts(&["a", "b", "b"]));

        let (puppet, mut asked, heard) = asked_few(9, 2);
        puppet.end(0, FinishReason::Stop, "answer");
        asked.handle.cancel();
        puppet.end(1, FinishReason::Cancelled, "");
        asked.go_on(&puppet);
        assert_eq!(heard.try_recv().unwrap().2, texts(&[]), "what was stopped asks no more");
    }

    #[test]
    fn a_failed_answer_waits_for_nothing_and_is_told_once() {
        let (puppet, _, heard) = asked(9);
        puppet.end(1, FinishReason::Stop, "a");
        puppet.end(0, FinishReason::Error, "");
        assert_eq!(heard.try_recv().unwrap().1, FinishReason::Error);
        puppet.end(2, FinishReason::Cancelled, "");
        assert!(heard.try_recv().is_err());
        assert!(puppet.runs.lock().unwrap().iter().all(|(_, _, handle)| handle.is_cancelled()));
    }

    #[test]
    fn a_question_that_is_stopped_after_its_answer_stops_its_samples() {
        let (puppet, handle, heard) = asked(9);
        puppet.end(0, FinishReason::Stop, "answer");
        handle.cancel();
        puppet.tell(1, EngineEvent::Text { at: 0, text: "(".into(), completion_tokens: 1 });
        assert!(puppet.runs.lock().unwrap().iter().all(|(_, _, handle)| handle.is_cancelled()));
        (1..4).for_each(|run| puppet.end(run, FinishReason::Cancelled, "("));
        assert_eq!(heard.try_recv().unwrap(), ("answer".into(), FinishReason::Stop, Vec::new()));
    }
}
