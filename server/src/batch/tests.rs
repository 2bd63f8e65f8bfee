//! Batches, with a generator that finds "Ada" and breaks where it is told to.
#![allow(clippy::unwrap_used)]

use std::{
    sync::atomic::AtomicUsize,
    time::{Duration, Instant},
};

use app::batches::BatchServices;
use engine::{CancelHandle, EngineEvent, GenerateRequest, Generator, Outcome, Sink, SubmitError};
use protocol::{
    AdapterManifest, FinishReason, Mode, Timings,
    view::{AdapterInfo, ModelInfo},
};
use tempfile::TempDir;

mod ends;

use super::{
    upload::{As, Incoming},
    *,
};
use crate::{
    exports::large::{Texts, sent},
    store::FullRow,
};

const ME: Owner = Owner(1);

/// Answers in threads of their own. What it has at a time, and who asked, is counted.
#[derive(Default)]
struct Finder {
    now: Arc<AtomicUsize>,
    most: AtomicUsize,
    asked: Mutex<Vec<(String, Option<u64>)>>,
    /// Texts with "broken" in them fail while this is set.
    broken: AtomicBool,
    slow: AtomicBool,
    /// The adapter is not in use while this is set.
    unloaded: AtomicBool,
    /// The next question hits a fault of the program.
    faulty: AtomicBool,
}

impl Generator for Finder {
    fn submit(&self, request: GenerateRequest, mut sink: Sink) -> Result<CancelHandle, SubmitError> {
        let text = request.prompt.rsplit("### Input:\n").next().unwrap_or_default().to_owned();
        let text = text.split("\n\n").next().unwrap_or_default().to_owned();
        if request.adapter.is_some() && self.unloaded.load(Ordering::SeqCst) {
            return Err(SubmitError::UnknownAdapter { name: "ie".into(), known: String::new() });
        }
        assert!(!self.faulty.swap(false, Ordering::SeqCst), "a fault of the program");
        self.asked.lock().unwrap().push((text.clone(), request.owner));
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let broken = text.contains("broken") && self.broken.load(Ordering::SeqCst);
        let (counter, slow) = (Arc::clone(&self.now), self.slow.load(Ordering::SeqCst));
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(if slow { 60 } else { 1 }));
            counter.fetch_sub(1, Ordering::SeqCst);
            let answer = if text.contains("Ada") { "(Ada, person)" } else { "None" };
            sink(EngineEvent::Done(Outcome {
                finish_reason: if broken { FinishReason::Error } else { FinishReason::Stop },
                error: broken.then(|| "The model broke.".to_owned()),
                text: answer.into(),
                prompt_tokens: 3,
                completion_tokens: 5,
                timings: Timings::default(),
                logprobs: Vec::new(),
            }));
        });
        Ok(CancelHandle::default())
    }

    fn check(&self, request: &GenerateRequest) -> Result<u32, SubmitError> {
        Ok(request.prompt.split_whitespace().count() as u32)
    }

    fn model(&self) -> ModelInfo {
        let (name, format, backend) = ("m".into(), "F32".into(), "finder".into());
        ModelInfo { name, format, context_length: 2048, parameters: 1, backend }
    }

    fn adapters(&self) -> Vec<AdapterInfo> {
        let adapter = || AdapterInfo { name: "ie".into(), manifest: AdapterManifest::unknown("m"), rank: 1 };
        (!self.unloaded.load(Ordering::SeqCst)).then(adapter).into_iter().collect()
    }

    fn drain(&self, _limit: Duration) {}
}

struct Server {
    folder: TempDir,
    finder: Arc<Finder>,
    store: Store,
    batches: Arc<Batches>,
}

async fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let finder = Arc::new(Finder::default());
    let pool = Pool::start(Arc::clone(&finder) as Arc<dyn Generator>, store.clone(), Arc::default(), 8);
    let batches = Batches::new(store.clone(), pool, folder.path());
    Server { folder, finder, store, batches }
}

impl Server {
    /// The same store with other batches on it, as after a restart.
    fn restarted(self) -> Self {
        let pool = Pool::start(Arc::clone(&self.finder) as Arc<dyn Generator>, self.store.clone(), Arc::default(), 8);
        Self { batches: Batches::new(self.store.clone(), pool, self.folder.path()), ..self }
    }

    async fn begin(&self, csv: &str, all: bool) -> Result<String, ServiceError> {
        let upload = self.upload(csv).await?;
        self.begin_with(upload, all).await
    }

    /// The id of a file that waits for its columns to be chosen.
    async fn upload(&self, csv: &str) -> Result<String, ServiceError> {
        let incoming: Incoming = self.batches.incoming("texts.csv").unwrap();
        std::fs::write(&incoming.file.0, csv).unwrap();
        Ok(self.batches.receive(ME, vec![incoming], As::Lines).await?.id)
    }

    async fn begin_with(&self, upload: String, all: bool) -> Result<String, ServiceError> {
        self.begin_asking(upload, all, Parameters::published(Mode::Lora)).await
    }

    async fn begin_asking(&self, upload: String, all: bool, parameters: Parameters) -> Result<String, ServiceError> {
        let new = NewBatch {
            upload,
            text_column: "text".into(),
            id_column: Some("id".into()),
            schema: String::new(),
            compare: false,
            asking: protocol::Asking::default(),
            all,
            language: protocol::Language::En,
        };
        let json = r#"{"language": "en", "entities": ["person"]}"#.to_owned();
        let schema = NamedSchema { name: "People".into(), json, ..NamedSchema::default() };
        self.batches.begin(ME, &new, schema, parameters).await
    }

    async fn ended(&self, session: &str) -> protocol::batch::Counts {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let view = self.batches.batch(ME, session, 1, None).await.unwrap();
            if !view.going || Instant::now() > until {
                return view.counts;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn rows(&self, session: &str) -> Vec<FullRow> {
        self.store.full_rows(ME.0, session, 0, 1000).await.unwrap()
    }
}

fn csv(rows: usize, text: impl Fn(usize) -> String) -> String {
    let mut csv = "id,text,source\n".to_owned();
    (0..rows).for_each(|n| csv.push_str(&format!("r{n},{},s{n}\n", text(n))));
    csv
}

#[tokio::test(flavor = "multi_thread")]
async fn some_rows_are_tried_then_all_are_run_and_each_once() {
    let server = server().await;
    let csv = csv(60, |n| format!("Text {n} {}", if n % 2 == 0 { "of Ada" } else { "of none" }));
    let session = server.begin(&csv, false).await.unwrap();
    let counts = server.ended(&session).await;
    assert_eq!((counts.total, counts.wanted, counts.ended()), (60, 20, 20));
    let view = server.batches.batch(ME, &session, 1, None).await.unwrap();
    assert_eq!((view.rows.len(), view.pages), (25, 3));
    assert!(view.seconds_all.unwrap() > 0.0, "what was tried says how long all will take");

    server.batches.act(ME, &session, Act::All).await.unwrap();
    let counts = server.ended(&session).await;
    assert_eq!((counts.done, counts.nothing, counts.failed), (30, 30, 0));
    let asked = server.finder.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 60, "nothing is asked twice");
    assert!(asked.iter().all(|(_, owner)| *owner != Some(1)), "a batch is an asker of its own");
    assert!(server.finder.most.load(Ordering::SeqCst) <= 7, "a place is left for a person");
    for full in server.rows(&session).await {
        assert_eq!((full.extractions.len(), full.runs.len()), (1, 1));
        assert_eq!(full.row.extra["source"], format!("s{}", full.row.position));
    }
    let only = server.batches.batch(ME, &session, 2, Some(RowState::Nothing)).await.unwrap();
    assert_eq!((only.rows.len(), only.pages), (5, 2));
    assert!(std::fs::read_dir(server.folder.path().join("uploads")).unwrap().next().is_none(), "the file is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_left_for_a_person_also_when_every_question_has_the_most_samples() {
    let server = server().await;
    server.finder.slow.store(true, Ordering::SeqCst);
    let upload = server.upload(&csv(3, |n| format!("Ada {n}"))).await.unwrap();
    let parameters = Parameters { samples: 8, ..Parameters::published(Mode::Lora) };
    let session = server.begin_asking(upload, true, parameters).await.unwrap();
    assert_eq!(server.ended(&session).await.done, 3);
    assert_eq!(server.finder.asked.lock().unwrap().len(), 3 * 9);
    assert_eq!(server.finder.most.load(Ordering::SeqCst), 7);
    assert!(server.rows(&session).await.iter().all(|full| full.runs[0].samples.len() == 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_says_why_and_is_tried_again() {
    let server = server().await;
    server.finder.broken.store(true, Ordering::SeqCst);
    let csv = "id,text,source\na,Ada is broken,x\nb,Ada is well,x\nc,,x\nd,too,many,fields\n";
    let session = server.begin(csv, true).await.unwrap();
    let counts = server.ended(&session).await;
    assert_eq!((counts.done, counts.nothing, counts.failed), (1, 1, 2));
    let rows = server.batches.batch(ME, &session, 1, Some(RowState::Failed)).await.unwrap().rows;
    let said: Vec<_> = rows.iter().map(|row| row.error.clone().unwrap().en).collect();
    assert_eq!(said[0], "The model broke.");
    assert!(said[1].starts_with("line 5 has 4 fields instead of 3"), "{said:?}");

    server.finder.broken.store(false, Ordering::SeqCst);
    server.batches.act(ME, &session, Act::Retry).await.unwrap();
    let counts = server.ended(&session).await;
    assert_eq!((counts.done, counts.failed), (2, 1), "the line that cannot be read cannot be tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_keeps_what_is_done_and_a_restart_goes_on() {
    let server = server().await;
    server.finder.slow.store(true, Ordering::SeqCst);
    let session = server.begin(&csv(200, |n| format!("Ada {n}")), true).await.unwrap();
    let some = || async { server.batches.batch(ME, &session, 1, None).await.unwrap().counts.ended() };
    while some().await < 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.batches.act(ME, &session, Act::Stop).await.unwrap();
    let stopped = server.ended(&session).await;
    assert!(stopped.ended() >= 5 && stopped.ended() < 200 && stopped.running == 0, "{stopped:?}");
    assert!(!server.store.batch(1, &session).await.unwrap().0.running);

    server.batches.act(ME, &session, Act::On).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    server.batches.close(Duration::from_secs(5)).await;
    assert!(server.store.batch(1, &session).await.unwrap().0.running, "it is to go on at the next start");

    server.finder.slow.store(false, Ordering::SeqCst);
    let server = server.restarted();
    assert_eq!(server.batches.resume().await.unwrap(), 1);
    assert_eq!(server.ended(&session).await.done, 200);
    let rows = server.rows(&session).await;
    assert!(rows.iter().all(|full| full.extractions.len() == 1 && full.runs.len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_belong_to_their_owner() {
    let server = server().await;
    let session = server.begin("id,text,source\na,Ada,x\n", true).await.unwrap();
    server.ended(&session).await;
    let other = Owner(2);
    assert!(matches!(server.batches.batch(other, &session, 1, None).await, Err(ServiceError::NotFound(_))));
    assert!(matches!(server.batches.row(other, &session, 0).await, Err(ServiceError::NotFound(_))));
    assert!(matches!(server.batches.act(other, &session, Act::All).await, Err(ServiceError::NotFound(_))));
    assert!(server.batches.batches(other).await.unwrap().is_empty());
    let card = server.batches.row(ME, &session, 0).await.unwrap();
    assert_eq!((card.extra, card.runs.len()), (vec![("source".to_owned(), "x".to_owned())], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_has_every_row_with_its_other_columns() {
    let server = server().await;
    let session = server.begin("id,text,source\na,Ada met Bob,=1+1\nb,It rained,\"x, y\"\n", true).await.unwrap();
    server.ended(&session).await;
    let batch = server.store.batch(1, &session).await.unwrap().0;
    let read = |format| {
        let body = export::body(server.store.clone(), batch.clone(), format);
        async { text_of(body).await }
    };
    let run = server.rows(&session).await[0].runs[0].id.clone();
    let lines = read(export::Format::JsonLines).await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["source"], &lines[0]["id"]), (2, &"=1+1".into(), &"a".into()));
    let ada = &lines[0]["entities"][0];
    assert_eq!((&ada["text"], ada["start"].as_u64(), &ada["run"]), (&"Ada".into(), Some(0), &run.as_str().into()));
    assert_eq!(lines[1]["entities"].as_array().unwrap().len(), 0);
    let made_by = serde_json::json!([{"origin": "tuned", "model": "m", "adapter": "ie", "schema": "People"}]);
    assert!(lines.iter().all(|line| line["made_by"] == made_by && line["review"] == "unreviewed"));
    let table = read(export::Format::Csv { bom: true }).await;
    let samples = r#"UPDATE run SET samples = '["(Ada, person)", "None", "(Ada, person)"]'"#;
    sqlx::query(samples).execute(server.store.pool()).await.unwrap();
    let sampled = Batch { parameters: Parameters { samples: 3, ..batch.parameters.clone() }, ..batch.clone() };
    let with_samples = text_of(export::body(server.store.clone(), sampled, export::Format::Csv { bom: false })).await;
    assert!(with_samples.contains(",role,found,certainty,agreement,gold,"), "{with_samples}");
    assert!(with_samples.contains("\r\na,tuned,entity,person,Ada,0,3,,,,,,,,exact,sure,2 of 3,,,m,ie,People,,"));
    assert_eq!(
        table,
        format!(
            "\u{feff}id,variant,kind,type,text,start,end,head,head_start,head_end,tail,tail_start,tail_end,role,found,\
             certainty,gold,correction,model,adapter,schema,schema_version,run,review,error,source\r\n\
             a,tuned,entity,person,Ada,0,3,,,,,,,,exact,,,,m,ie,People,,{run},unreviewed,,'=1+1\r\n\
             b{}unreviewed,,\"x, y\"\r\n",
            ",".repeat(23)
        )
    );
}

async fn text_of(body: axum::body::Body) -> String {
    String::from_utf8(axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_said_goes_out_with_a_batch_and_only_whole_texts_are_gold() {
    use protocol::{Judgement, Record, Verdict, record::Mention};
    let server = server().await;
    server.finder.broken.store(true, Ordering::SeqCst);
    let csv = "id,text\na,Ada met Bob\nb,It rained\nc,Ada is broken\nd,Ada saw Eve\n7,Ada again\n";
    let session = server.begin(csv, true).await.unwrap();
    server.ended(&session).await;
    let batch = server.store.batch(1, &session).await.unwrap().0;
    let texts: Vec<String> = server.rows(&session).await.iter().filter_map(|full| full.row.document.clone()).collect();
    let said = |words: &str, verdict| Judgement {
        record: Record::Entity { label: "person".into(), mention: Mention::new(words) },
        verdict,
        correction: None,
    };
    let judged = vec![said("Ada", Verdict::Right), said("Bob", Verdict::Added)];
    server.store.accept(1, &texts[0], &judged).await.unwrap();
    server.store.accept(1, &texts[1], &[]).await.unwrap();
    server.store.judge(1, &texts[3], &said("Eve", Verdict::Added)).await.unwrap();
    server.store.judge(1, &texts[4], &said("Ada", Verdict::Wrong)).await.unwrap();

    let store = || server.store.clone();
    let json = |text: String| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let lines = json(text_of(export::body(store(), batch.clone(), export::Format::JsonLines)).await);
    let reviews: Vec<&str> = lines.iter().map(|line| line["review"].as_str().unwrap()).collect();
    assert_eq!(reviews, ["corrected", "accepted", "failed", "unreviewed", "unreviewed"]);
    assert_eq!(
        (&lines[0]["entities"][0]["gold"], &lines[0]["gold_added"][0]["text"]),
        (&"right".into(), &"Bob".into())
    );
    assert_eq!(
        (lines[0]["gold_added"][0]["start"].as_u64(), &lines[2]["error"]),
        (Some(8), &"The model broke.".into())
    );

    let ids = |lines: &[Value]| lines.iter().map(|line| line["id"].to_string()).collect::<Vec<_>>().join(" ");
    let gold = json(text_of(export::body(store(), batch.clone(), export::Format::Gold)).await);
    assert_eq!(ids(&gold), r#""a" "b" 7"#, "all of the last is judged, of the one before only what was added");
    assert_eq!(gold[0]["entities"].as_array().unwrap().len(), 2);
    assert_eq!((&gold[1]["entities"], &gold[2]["entities"]), (&Value::Array(vec![]), &Value::Array(vec![])));

    let table = text_of(export::body(store(), batch.clone(), export::Format::Csv { bom: false })).await;
    assert!(table.contains("a,you,entity,person,Bob,8,11,,,,,,,,exact,,added,,"), "{table}");
    use ::extract::export::{Format as Whole, Options, Writer};
    let whole = |format, said| {
        let texts = Texts::of_batch(store(), batch.clone(), said);
        text_of(sent(texts, Writer::new(format, &Options::default()).unwrap()))
    };
    assert_eq!(json(whole(Whole::Gold, true).await), gold, "as a session it is the same");
    let lines = json(whole(Whole::Jsonl, true).await);
    assert_eq!(
        (lines.len(), &lines[0]["review"], &lines[2]["error"]),
        (5, &"corrected".into(), &"The model broke.".into())
    );
    assert!(json(whole(Whole::Jsonl, false).await)[0].get("review").is_none(), "what the models said alone");
    let table = whole(Whole::Csv, true).await;
    assert_eq!((table.matches("id,kind,type").count(), table.lines().count()), (1, 8), "{table}");
}
