//! The way of a run, with a generator that says what it is told to.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use app::services::Services;
use engine::{CancelHandle, EngineEvent, Outcome};
use protocol::{
    AdapterManifest, Ask, Column, FinishReason, Language, Mode, Parameters, SchemaChoice, Task, Timings,
    view::ModelInfo,
};
use tempfile::TempDir;

use super::*;
use crate::services::Studio;

const ME: Owner = Owner(1);

/// Keeps every sink; the test speaks through them. Prompts with "long" in them are too long, those with "deep" have
/// answers that cannot be guided.
#[derive(Default)]
struct Puppet {
    asked: Mutex<Vec<(GenerateRequest, engine::Sink, CancelHandle)>>,
}

impl Puppet {
    fn say(&self, run: usize, event: EngineEvent) {
        (self.asked.lock().unwrap()[run].1)(event);
    }

    fn requests(&self) -> Vec<GenerateRequest> {
        self.asked.lock().unwrap().iter().map(|(request, ..)| request.clone()).collect()
    }
}

impl Generator for Puppet {
    fn submit(&self, request: GenerateRequest, sink: engine::Sink) -> Result<CancelHandle, SubmitError> {
        if request.prompt.contains("refuse") {
            return Err(SubmitError::Stopping);
        }
        let handle = CancelHandle::default();
        self.asked.lock().unwrap().push((request, sink, handle.clone()));
        Ok(handle)
    }

    fn check(&self, request: &GenerateRequest) -> Result<u32, SubmitError> {
        if request.prompt.contains("deep") && request.guide.is_some() {
            return Err(SubmitError::Grammar { reason: "too deep".into() });
        }
        if request.prompt.contains("long") { Err(SubmitError::PromptTooLong { tokens: 9, limit: 8 }) } else { Ok(3) }
    }

    fn model(&self) -> ModelInfo {
        let (name, format, backend) = ("m".into(), "F32".into(), "puppet".into());
        ModelInfo { name, format, context_length: 512, parameters: 1, backend }
    }

    fn adapters(&self) -> Vec<AdapterInfo> {
        let mut manifest = AdapterManifest::unknown("m");
        let format = ("en".to_owned(), "(entity, type) (entity, type)".to_owned());
        manifest.formats.insert("ner".into(), [format].into());
        vec![AdapterInfo { name: "ie".into(), manifest, rank: 1 }]
    }

    fn drain(&self, _limit: Duration) {}
}

pub(crate) struct Server {
    _folder: TempDir,
    puppet: Arc<Puppet>,
    pub(crate) store: Store,
    pool: Pool,
}

pub(crate) async fn server(capacity: usize) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let puppet = Arc::new(Puppet::default());
    let pool = Pool::start(Arc::clone(&puppet) as Arc<dyn Generator>, store.clone(), Arc::default(), capacity);
    Server { _folder: folder, puppet, store, pool }
}

fn request(ask: Ask) -> StartRuns {
    StartRuns {
        session: None,
        ask,
        adapter: None,
        parameters: Parameters::published(Mode::Lora),
        language: Language::En,
    }
}

fn complete(prompt: &str) -> StartRuns {
    request(Ask::Complete { prompt: prompt.into() })
}

fn compare(texts: &[&str]) -> StartRuns {
    let texts = texts.iter().map(|t| (*t).to_owned()).collect();
    request(Ask::Compare { instruction: "Find".into(), texts, schema: None, raw_base: false })
}

fn done(finish_reason: FinishReason, text: &str) -> EngineEvent {
    EngineEvent::Done(Outcome {
        finish_reason,
        error: None,
        text: text.into(),
        prompt_tokens: 3,
        completion_tokens: 2,
        timings: Timings::default(),
        logprobs: Vec::new(),
    })
}

#[tokio::test]
async fn a_run_is_on_disk_before_the_engine_has_it_and_when_it_ends() {
    let s = server(8).await;
    let started = s.pool.run(ME, complete("Once upon a time")).await.unwrap();
    let stored = s.store.session(1, &started.session).await.unwrap();
    assert_eq!((stored.runs[0].status, stored.title.as_str()), (RunStatus::Queued, "Once upon a time"));
    assert_eq!(stored.runs[0].parameters.seed, s.puppet.requests()[0].parameters.seed);
    assert!(stored.runs[0].parameters.seed.is_some());

    s.puppet.say(0, EngineEvent::Started { prompt_tokens: 3, queue_ms: 0.0 });
    s.puppet.say(0, EngineEvent::Text { at: 0, text: " there".into(), completion_tokens: 1 });
    let id = &started.runs[0].id;
    let mut text = String::new();
    for _ in 0..100 {
        text = s.store.run(1, id).await.unwrap().text;
        if !text.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(text, " there", "text so far is stored while the run goes on");

    s.puppet.say(0, done(FinishReason::Stop, " there was"));
    s.pool.settle(Duration::from_secs(5)).await;
    let run = s.store.run(1, id).await.unwrap();
    assert_eq!((run.status, run.text.as_str(), run.completion_tokens), (RunStatus::Finished, " there was", 2));
}

#[tokio::test]
async fn both_columns_get_the_same_prompt_seed_and_time() {
    let s = server(8).await;
    let started = s.pool.run(ME, compare(&["Ada", "Bob"])).await.unwrap();
    let asked = s.puppet.requests();
    assert_eq!(asked.len(), 4);
    assert_eq!((&asked[0].adapter, asked[1].adapter.as_deref()), (&None, Some("ie")));
    assert_eq!((&asked[0].prompt, &asked[0].parameters), (&asked[1].prompt, &asked[1].parameters));
    let columns: Vec<Column> = started.runs.iter().map(|r| r.column).collect();
    assert_eq!(columns, [Column::Base, Column::Tuned, Column::Base, Column::Tuned]);
    assert!(started.runs.iter().all(|r| r.created_at == started.runs[0].created_at));
    assert_eq!(started.documents.len(), 2);
}

#[tokio::test]
async fn a_text_that_the_session_has_is_used_again() {
    let s = server(8).await;
    let first = s.pool.run(ME, compare(&["Ada"])).await.unwrap();
    let again = StartRuns { session: Some(first.session.clone()), ..compare(&["Bob", "Ada"]) };
    let second = s.pool.run(ME, again).await.unwrap();
    assert_eq!(second.session, first.session);
    assert_eq!(second.documents.len(), 2);
    assert_eq!(second.documents[1].id, first.documents[0].id);
    assert_eq!(s.store.session(1, &first.session).await.unwrap().documents.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_as_a_whole_with_nothing_stored() {
    let s = server(8).await;
    let refused = |error: ServiceError| error.to_string();
    let error = s.pool.run(ME, compare(&["Ada", "too long"])).await.unwrap_err();
    assert_eq!(
        error.sentence(Language::Zh),
        "第 2 段文本：提示有 9 个词元，而模型最多能读 8 个（含回答）。请至少缩短 2 个词元。"
    );
    let error = refused(s.pool.run(ME, compare(&["Ada", "too long"])).await.unwrap_err());
    assert!(error.starts_with("Text 2: The prompt has 9 tokens"), "{error}");
    let mut hot = complete("x");
    hot.parameters.temperature = 7.0;
    assert!(refused(s.pool.run(ME, hot).await.unwrap_err()).contains("from 0 to 2"));
    let lost = StartRuns { session: Some("no such".into()), ..complete("x") };
    assert!(matches!(s.pool.run(ME, lost).await.unwrap_err(), ServiceError::NotFound(_)));
    assert!(s.store.sessions(1, "").await.unwrap().is_empty());
    assert!(s.puppet.requests().is_empty());
    assert!(s.pool.admit(8).is_ok(), "refused runs take no places");
}

#[tokio::test]
async fn a_full_queue_is_told_before_anything_is_stored() {
    let s = server(3).await;
    let started = s.pool.run(ME, compare(&["Ada"])).await.unwrap();
    let error = s.pool.run(ME, compare(&["Bob"])).await.unwrap_err();
    assert_eq!(error, ServiceError::Busy { waiting: 2 });
    assert_eq!(s.store.sessions(1, "").await.unwrap().len(), 1);
    s.puppet.say(0, done(FinishReason::Stop, "a"));
    s.puppet.say(1, done(FinishReason::Stop, "b"));
    s.pool.settle(Duration::from_secs(5)).await;
    assert!(s.pool.run(ME, StartRuns { session: Some(started.session), ..compare(&["Bob"]) }).await.is_ok());
}

#[tokio::test]
async fn a_stopped_run_keeps_its_text() {
    let s = server(8).await;
    let started = s.pool.run(ME, complete("Once")).await.unwrap();
    let id = &started.runs[0].id;
    s.pool.stop(Owner(2), id);
    assert!(!s.puppet.asked.lock().unwrap()[0].2.is_cancelled(), "another's stop does nothing");
    s.pool.stop(ME, id);
    assert!(s.puppet.asked.lock().unwrap()[0].2.is_cancelled());
    s.puppet.say(0, done(FinishReason::Cancelled, " upon"));
    s.pool.settle(Duration::from_secs(5)).await;
    let run = s.store.run(1, id).await.unwrap();
    assert_eq!((run.status, run.text.as_str()), (RunStatus::Cancelled, " upon"));
}

#[tokio::test]
async fn what_the_engine_refuses_after_all_ends_as_failed() {
    let s = server(8).await;
    let started = s.pool.run(ME, complete("refuse me")).await.unwrap();
    s.pool.settle(Duration::from_secs(5)).await;
    let run = s.store.run(1, &started.runs[0].id).await.unwrap();
    assert_eq!((run.status, run.error), (RunStatus::Failed, Some(SubmitError::Stopping.to_string())));
}

#[tokio::test]
async fn a_refused_run_keeps_the_sentence_in_the_persons_language() {
    let s = server(8).await;
    let asked = StartRuns { language: Language::Zh, ..complete("refuse me") };
    let started = s.pool.run(ME, asked.clone()).await.unwrap();
    s.pool.settle(Duration::from_secs(5)).await;
    let stored = async |id: &str| s.store.run(1, id).await.unwrap().error.unwrap();
    assert_eq!(stored(&started.runs[0].id).await, "服务器正在停止，不再接受新的运行。");
    let kept = s.pool.keep_refused(ME, asked, &ServiceError::Busy { waiting: 3 }).await.unwrap();
    assert!(stored(&kept.runs[0].id).await.starts_with("服务器繁忙，有 3 个"));
}

#[tokio::test]
async fn a_form_that_cannot_be_run_is_kept_with_the_reason() {
    let s = server(8).await;
    let reason = ServiceError::invalid("It is too long.", "太长了。");
    let started = s.pool.keep_refused(ME, complete("too long"), &reason).await.unwrap();
    let run = s.store.run(1, &started.runs[0].id).await.unwrap();
    assert_eq!((run.status, run.prompt.as_str()), (RunStatus::Failed, "too long"));
    assert_eq!(run.error.as_deref(), Some("It is too long."));
    assert!(s.pool.keep_refused(ME, complete(" "), &reason).await.is_err(), "nothing to keep");
}

pub(crate) fn studio(s: &Server) -> Studio {
    Studio {
        pool: s.pool.clone(),
        store: s.store.clone(),
        batches: crate::batch::Batches::new(s.store.clone(), s.pool.clone(), s._folder.path()),
        hub: Arc::clone(&s.pool.hub),
        entry: None,
        adapter_folders: crate::adapters::AdapterFolders::default(),
        public_url: None,
        own_url: "http://127.0.0.1:7860".into(),
        warmup: std::sync::OnceLock::new(),
        warming: false.into(),
    }
}

#[tokio::test]
async fn a_session_is_sent_to_others_once_its_runs_have_ended_with_the_newest_note() {
    let s = server(8).await;
    let studio = studio(&s);
    let id = s.pool.run(ME, complete("Once")).await.unwrap().session;
    s.puppet.say(0, EngineEvent::Started { prompt_tokens: 3, queue_ms: 0.0 });
    let refused = studio.share(ME, &id, "", "").await.unwrap_err();
    assert!(refused.sentence(Language::En).contains("still going on"), "{refused}");
    assert!(refused.sentence(Language::Zh).contains("未结束"));
    assert_eq!(studio.preview(ME, &id).await.unwrap_err(), refused);

    s.puppet.say(0, done(FinishReason::Stop, " upon"));
    s.pool.settle(Duration::from_secs(5)).await;
    assert_eq!(studio.session(ME, &id).await.unwrap().runs[0].text, " upon");
    assert_eq!(studio.preview(ME, &id).await.unwrap().note, "");
    studio.share(ME, &id, "first", "").await.unwrap();
    let newest = studio.share(ME, &id, "second", "").await.unwrap();
    let preview = studio.preview(ME, &id).await.unwrap();
    assert_eq!((preview.note.as_str(), preview.session.shares.len()), ("second", 0));
    assert_eq!(studio.revoke(ME, &newest.link.id).await.unwrap(), format!("/sessions/{id}"));
    assert_eq!(studio.preview(ME, &id).await.unwrap().note, "first");
}

#[tokio::test]
async fn a_deleted_session_takes_no_more_of_the_model() {
    let s = server(8).await;
    let studio = studio(&s);
    let started = s.pool.run(ME, compare(&["Ada"])).await.unwrap();
    let other = s.pool.run(ME, complete("Once")).await.unwrap();
    studio.set_deleted(ME, &started.session, true).await.unwrap();
    let cancelled = |run: usize| s.puppet.asked.lock().unwrap()[run].2.is_cancelled();
    assert!(cancelled(0) && cancelled(1) && !cancelled(2));
    assert!(studio.set_deleted(Owner(2), &other.session, true).await.is_err());
    assert!(!cancelled(2), "another person's stays");
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_not_read_as_a_whole() {
    let s = server(8).await;
    let studio = studio(&s);
    let small = crate::store::batch_of(&s.store, 10).await;
    assert_eq!(studio.session(ME, &small).await.unwrap().documents.len(), 10);
    let large = crate::store::batch_of(&s.store, 5_001).await;
    for refused in [studio.session(ME, &large).await.map(|_| ()), studio.preview(ME, &large).await.map(|_| ())] {
        let said = refused.unwrap_err().sentence(Language::En);
        assert!(said.contains("5001 texts with 0 answers") && said.contains("download"), "{said}");
    }
    let scores = studio.scores(ME, &large, None, None).await.unwrap();
    assert_eq!((scores.texts, scores.judged), (5_001, 0), "only what was judged is read for its scores");
}

#[tokio::test]
async fn a_link_keeps_what_its_author_changed_of_the_graph() {
    let s = server(8).await;
    let studio = studio(&s);
    let id = crate::store::batch_of(&s.store, 1).await;
    let edits = extract::graph::Edits { same: Vec::new(), apart: vec!["n1".into()] };
    studio.set_graph_edits(ME, &id, edits.clone()).await.unwrap();
    studio.share(ME, &id, "", "").await.unwrap();
    let snapshot = studio.preview(ME, &id).await.unwrap();
    assert_eq!(snapshot.edits, edits);
    let mut before = serde_json::to_value(&snapshot).unwrap();
    before.as_object_mut().unwrap().remove("edits");
    let before: protocol::view::Snapshot = serde_json::from_value(before).unwrap();
    assert_eq!(before.edits, Default::default(), "links from before are read");
}

#[tokio::test]
async fn nothing_is_warming_where_there_is_nothing_to_warm() {
    let s = server(8).await;
    let studio = Arc::new(studio(&s));
    crate::warmup::start(Arc::clone(&studio));
    for _ in 0..100 {
        if !studio.bench(ME).await.unwrap().warming {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let bench = studio.bench(ME).await.unwrap();
    assert_eq!((bench.warming, bench.warmup), (false, None), "the adapter was taught none of the examples");
}

#[tokio::test]
async fn a_run_says_whether_its_answer_is_guided() {
    let s = server(8).await;
    for (text, switch, guided) in [("Ada", true, true), ("Ada", false, false), ("deep", true, false)] {
        let schema = SchemaChoice {
            task: Task::Entities,
            language: Language::En,
            types: vec!["person".into()],
            roles: vec![],
            asking: Default::default(),
        };
        let texts = vec![text.to_owned()];
        let mut asked = request(Ask::Extract { instruction: String::new(), texts, schema: Some(schema) });
        asked.parameters.guided = switch;
        let started = s.pool.run(ME, asked).await.unwrap();
        let stored = s.store.session(1, &started.session).await.unwrap();
        assert_eq!(stored.runs[0].parameters.guided, guided, "{text}, {switch}");
        assert_eq!(s.puppet.requests().last().unwrap().guide.is_some(), guided, "{text}, {switch}");
    }
}

#[tokio::test]
async fn an_extraction_asked_with_samples_ends_with_them_and_takes_their_places() {
    let s = server(8).await;
    let texts = vec!["Ada met Bob.".to_owned()];
    let mut asked = request(Ask::Extract { instruction: "Find".into(), texts, schema: None });
    (asked.parameters.samples, asked.parameters.temperature) = (2, 0.0);
    let started = s.pool.run(ME, asked.clone()).await.unwrap();
    assert_eq!(s.pool.places.available_permits(), 5);
    assert!(matches!(s.pool.run(ME, compare(&["a", "b", "c"])).await, Err(ServiceError::Busy { .. })));
    let temperatures: Vec<f64> = s.puppet.requests().iter().map(|r| r.parameters.temperature).collect();
    assert_eq!((temperatures[0], temperatures.len(), temperatures[1] > 0.0), (0.0, 3, true));
    for (run, text) in [(0, "(Ada, person)"), (2, "(Ada, person)"), (1, "None")] {
        let stored = s.store.session(1, &started.session).await.unwrap().runs.remove(0);
        assert!(!stored.status.is_final(), "before {run}");
        s.puppet.say(run, done(FinishReason::Stop, text));
    }
    s.pool.settle(Duration::from_secs(5)).await;
    let stored = s.store.session(1, &started.session).await.unwrap().runs.remove(0);
    assert_eq!((stored.text.as_str(), stored.samples), ("(Ada, person)", vec!["None".into(), "(Ada, person)".into()]));
    assert!(s.pool.admit(8).is_ok(), "every place is free again");

    asked.ask = Ask::Complete { prompt: "Once".into() };
    s.pool.run(ME, asked).await.unwrap();
    assert_eq!(s.puppet.requests().len(), 4, "a completion has no records that samples could repeat");
}

#[tokio::test]
async fn sampled_runs_that_wait_when_the_server_ends_are_interrupted() {
    let s = server(16).await;
    let texts = ["Ada", "Bob", "Eve", "Tim", "refuse"].map(str::to_owned).to_vec();
    let mut asked = request(Ask::Extract { instruction: "Find".into(), texts, schema: None });
    asked.parameters.samples = 3;
    let started = s.pool.run(ME, asked).await.unwrap();
    until(|| s.puppet.requests().len() == 16).await;
    (0..16).for_each(|run| s.puppet.say(run, done(FinishReason::Stop, "None")));
    s.pool.settle(Duration::from_secs(5)).await;
    let waited = s.store.run(1, &started.runs[4].id).await.unwrap();
    assert_eq!((waited.status, waited.error), (RunStatus::Interrupted, None));
}

fn schema(texts: &[&str]) -> StartRuns {
    let json = r#"{"entities": ["person"], "relations": ["met"]}"#.to_owned();
    let schema = protocol::view::NamedSchema { json, ..Default::default() };
    let texts = texts.iter().map(|t| (*t).to_owned()).collect();
    let mut request = request(Ask::Schema { schema, texts, compare: false, asking: Default::default() });
    request.parameters.max_new_tokens = 1;
    request
}

#[tokio::test]
async fn what_is_missing_of_an_extraction_is_asked_again_and_nothing_else() {
    let s = server(8).await;
    let started = s.pool.run(ME, schema(&["Ada met Bob."])).await.unwrap();
    let extraction = started.extractions[0].id.clone();
    until(|| s.puppet.requests().len() == 2).await;
    s.puppet.say(0, done(FinishReason::Stop, "(Ada, person)"));
    s.puppet.say(1, done(FinishReason::Cancelled, "(Ada, m"));
    s.pool.settle(Duration::from_secs(5)).await;

    assert!(s.pool.ask_missing(Owner(2), &extraction, Language::En).await.is_err(), "another's");
    let (session, runs) = s.pool.ask_missing(ME, &extraction, Language::En).await.unwrap();
    assert_eq!((session, runs.len(), &runs[0].id), (started.session.clone(), 1, &started.runs[1].id));
    assert_eq!((runs[0].status, runs[0].text.as_str()), (RunStatus::Queued, ""));
    until(|| s.puppet.requests().len() == 3).await;
    let asked = s.puppet.requests();
    assert_eq!((&asked[2].prompt, &asked[2].parameters), (&asked[1].prompt, &asked[1].parameters));
    let busy = s.pool.ask_missing(ME, &extraction, Language::En).await.unwrap_err();
    assert!(busy.to_string().starts_with("Nothing is missing"), "{busy}");

    s.puppet.say(2, done(FinishReason::Stop, "(Ada, met, Bob)"));
    s.pool.settle(Duration::from_secs(5)).await;
    let texts = s.store.session(1, &started.session).await.unwrap().runs.into_iter().map(|r| r.text);
    assert_eq!(texts.collect::<Vec<_>>(), ["(Ada, person)", "(Ada, met, Bob)"]);
    assert!(s.pool.ask_missing(ME, &extraction, Language::En).await.is_err());
    assert!(s.pool.admit(8).is_ok(), "every place is free again");
}

#[tokio::test]
async fn a_schema_is_one_extraction_for_each_text_and_goes_to_the_engine_a_few_runs_at_a_time() {
    let s = server(40).await;
    let texts: Vec<String> = (0..12).map(|n| format!("Ada met Bob {n}.")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let started = s.pool.run(ME, schema(&texts)).await.unwrap();
    assert_eq!((started.runs.len(), started.extractions.len()), (24, 12));
    for run in &started.runs {
        let extraction = started.extractions.iter().find(|e| Some(&e.id) == run.extraction.as_ref()).unwrap();
        assert_eq!(Some(&extraction.document), run.document.as_ref());
    }
    until(|| s.puppet.requests().len() == AT_ONCE).await;
    assert_eq!(s.pool.places.available_permits(), 40 - AT_ONCE, "others find places meanwhile");

    // As runs end, the next begin, in their order.
    for run in 0..AT_ONCE {
        s.puppet.say(run, done(FinishReason::Stop, "None"));
    }
    until(|| s.puppet.requests().len() == 24).await;
    let prompts: Vec<String> = s.puppet.requests().into_iter().map(|r| r.prompt).collect();
    assert_eq!(prompts, started.runs.iter().map(|r| r.prompt.clone()).collect::<Vec<_>>());
    for run in AT_ONCE..24 {
        s.puppet.say(run, done(FinishReason::Stop, "None"));
    }
    s.pool.settle(Duration::from_secs(5)).await;
    until(|| s.pool.places.available_permits() == 40).await;
    let stored = s.store.session(1, &started.session).await.unwrap();
    assert!(stored.runs.iter().all(|r| r.status == RunStatus::Finished) && stored.extractions.len() == 12);
}

#[tokio::test]
async fn an_extraction_stopped_early_never_bothers_the_engine_with_the_rest() {
    let s = server(40).await;
    let texts: Vec<String> = (0..12).map(|n| format!("Ada met Bob {n}.")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let started = s.pool.run(ME, schema(&texts)).await.unwrap();
    until(|| s.puppet.requests().len() == AT_ONCE).await;
    started.runs.iter().for_each(|run| s.pool.stop(ME, &run.id));
    for run in 0..AT_ONCE {
        s.puppet.say(run, done(FinishReason::Cancelled, ""));
    }
    s.pool.settle(Duration::from_secs(5)).await;
    assert_eq!(s.puppet.requests().len(), AT_ONCE);
    let stored = s.store.session(1, &started.session).await.unwrap();
    assert!(stored.runs.iter().all(|r| r.status == RunStatus::Cancelled), "{:?}", stored.runs);
}

async fn until(true_: impl Fn() -> bool) {
    for _ in 0..500 {
        if true_() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about");
}
