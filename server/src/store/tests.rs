//! Every query on a real file.
#![allow(clippy::unwrap_used)]

use protocol::{
    Column, FinishReason, Judgement, Language, Mode, Parameters, Record, RunStatus, RunView, Span, Timings, Verdict,
    graph::Edits,
    record::Mention,
    view::{DocumentView, ExtractionView, NamedSchema, Page, Snapshot},
};
use tempfile::TempDir;

pub(crate) mod bounds;
mod queue;
mod schema;

use super::*;

const ME: i64 = 1;
const OTHER: i64 = 2;

async fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    sqlx::query("INSERT INTO owner (id, name, created_at) VALUES (2, 'other', 0)").execute(store.pool()).await.unwrap();
    (folder, store)
}

fn run(session: &str, document: Option<&str>, prompt: &str) -> RunView {
    RunView {
        id: new_id(),
        session: session.into(),
        document: document.map(str::to_owned),
        mode: Mode::Lora,
        column: Column::Tuned,
        model: "m".into(),
        adapter: Some("ie".into()),
        schema: None,
        extraction: None,
        part: None,
        instruction: "Find".into(),
        prompt: prompt.into(),
        parameters: Parameters { seed: Some(u64::MAX), ..Parameters::published(Mode::Lora) },
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
        created_at: now_ms(),
    }
}

/// A session with one text and one queued run; the ids of session, text and run.
async fn session(store: &Store, owner: i64, title: &str, text: &str) -> (String, String, String) {
    let (id, document) = (new_id(), new_id());
    let run = run(&id, Some(&document), &format!("Find: {text}"));
    let new = NewRuns {
        session: id.clone(),
        open: Some((title.into(), Page::Extract)),
        documents: vec![DocumentView { id: document.clone(), text: text.into(), judgements: vec![] }],
        extractions: vec![],
        runs: vec![run.clone()],
    };
    store.insert_runs(owner, &new).await.unwrap();
    (id, document, run.id)
}

fn judgement(words: &str, verdict: Verdict) -> Judgement {
    let record = Record::Entity { label: "person".into(), mention: Mention::new(words) };
    Judgement { record, verdict, correction: None }
}

fn finished(id: &str, text: &str) -> Progress {
    Progress {
        id: id.into(),
        status: RunStatus::Finished,
        finish_reason: Some(FinishReason::Stop),
        error: None,
        text: text.into(),
        prompt_tokens: Some(7),
        completion_tokens: 3,
        timings: Some(Timings { queue_ms: 1.5, ..Timings::default() }),
        hesitations: Some(vec![(1, -0.7).into()]),
        samples: vec!["None".into()],
    }
}

fn missing<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Missing(_)))
}

#[tokio::test]
async fn a_run_is_stored_whole_and_brought_up_to_date() {
    let (_folder, store) = store().await;
    let (id, document, run_id) = session(&store, ME, "t", "Ada").await;
    let queued = store.run(ME, &run_id).await.unwrap();
    assert_eq!((queued.status, queued.parameters.seed), (RunStatus::Queued, Some(u64::MAX)));
    assert_eq!((queued.session.as_str(), queued.document.as_deref()), (id.as_str(), Some(document.as_str())));

    store.update_runs(&[finished(&run_id, "(Ada, person)")]).await.unwrap();
    let done = store.run(ME, &run_id).await.unwrap();
    assert_eq!((done.status, done.finish_reason), (RunStatus::Finished, Some(FinishReason::Stop)));
    assert_eq!((done.text.as_str(), done.prompt_tokens, done.completion_tokens), ("(Ada, person)", Some(7), 3));
    assert_eq!(done.timings.unwrap().queue_ms, 1.5);
    assert_eq!(done.hesitations, Some(vec![(1, -0.7).into()]));
    assert_eq!(done.samples, ["None"]);
}

#[tokio::test]
async fn a_judgement_forgets_how_sure_the_model_was() {
    let (_folder, store) = store().await;
    let (id, document, _) = session(&store, ME, "t", "Ada").await;
    let mut said = judgement("Ada", Verdict::Right);
    said.record.mentions_mut()[0].certainty = protocol::Certainty::Check;
    store.judge(ME, &document, &said).await.unwrap();
    let kept = store.session(ME, &id).await.unwrap().documents.remove(0).judgements;
    assert_eq!(kept, [judgement("Ada", Verdict::Right)]);
}

#[tokio::test]
async fn a_session_holds_texts_and_runs_in_order_and_takes_more() {
    let (_folder, store) = store().await;
    let (id, document, first) = session(&store, ME, "t", "Ada").await;
    let second = run(&id, Some(&document), "again");
    let more =
        NewRuns { session: id.clone(), open: None, documents: vec![], extractions: vec![], runs: vec![second.clone()] };
    store.insert_runs(ME, &more).await.unwrap();
    let view = store.session(ME, &id).await.unwrap();
    assert_eq!(view.runs.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), [first, second.id]);
    assert_eq!(view.documents.len(), 1);
    assert_eq!((view.title.as_str(), view.page), ("t", Page::Extract));
}

#[tokio::test]
async fn runs_that_do_not_fit_are_stored_not_even_in_part() {
    let (_folder, store) = store().await;
    let broken = run("s", Some("no such text"), "p");
    let new = NewRuns {
        session: "s".into(),
        open: Some(("t".into(), Page::Complete)),
        documents: vec![],
        extractions: vec![],
        runs: vec![broken],
    };
    assert!(store.insert_runs(ME, &new).await.is_err());
    assert!(missing(store.session(ME, "s").await));
    let into_nothing =
        NewRuns { session: "none".into(), open: None, documents: vec![], extractions: vec![], runs: vec![] };
    assert!(missing(store.insert_runs(ME, &into_nothing).await));
}

#[tokio::test]
async fn nobody_sees_or_changes_what_is_anothers() {
    let (_folder, store) = store().await;
    let (id, document, run_id) = session(&store, ME, "t", "Ada").await;
    store.judge(ME, &document, &judgement("Ada", Verdict::Right)).await.unwrap();
    let snapshot = Snapshot {
        note: "n".into(),
        shared_at: 1,
        session: store.session(ME, &id).await.unwrap(),
        edits: Edits::default(),
        reviewed: Vec::new(),
    };
    store.insert_share(ME, "share", "hash", &snapshot).await.unwrap();

    assert!(missing(store.session(OTHER, &id).await));
    assert!(missing(store.run(OTHER, &run_id).await));
    assert!(store.sessions(OTHER, "").await.unwrap().is_empty());
    assert!(store.sessions(OTHER, "Ada").await.unwrap().is_empty());
    assert!(missing(store.rename(OTHER, &id, "mine").await));
    assert!(missing(store.set_deleted(OTHER, &id, true).await));
    assert!(missing(store.judge(OTHER, &document, &judgement("Ada", Verdict::Wrong)).await));
    assert!(missing(store.unjudge(OTHER, &document, "key").await));
    assert!(missing(store.insert_share(OTHER, "other", "hash2", &snapshot).await));
    assert!(missing(store.annotate(OTHER, "share", "mine").await));
    assert!(missing(store.revoke(OTHER, "share").await));
    let join = NewRuns {
        session: id.clone(),
        open: None,
        documents: vec![],
        extractions: vec![],
        runs: vec![run(&id, None, "p")],
    };
    assert!(missing(store.insert_runs(OTHER, &join).await));

    let view = store.session(ME, &id).await.unwrap();
    assert_eq!((view.title.as_str(), view.runs.len(), view.shares.len()), ("t", 1, 1));
    assert_eq!(view.documents[0].judgements, [judgement("Ada", Verdict::Right)]);
}

#[tokio::test]
async fn sessions_are_listed_newest_first_and_found_by_every_word() {
    let (_folder, store) = store().await;
    let (first, document, run_id) = session(&store, ME, "Scientists", "Ada Lovelace wrote programs").await;
    let (second, ..) = session(&store, ME, "并购", "2019年,阳光城集团收购协信地产, 100%_sure").await;
    store.update_runs(&[finished(&run_id, "(Analytical Engine, machine)")]).await.unwrap();
    let found = async |words: &str| -> Vec<String> {
        store.sessions(ME, words).await.unwrap().into_iter().map(|s| s.id).collect()
    };
    assert_eq!(found("").await, [second.as_str(), &first]);
    assert_eq!(found("lovelace").await, [first.as_str()], "a text");
    assert_eq!(found("SCIENTISTS wrote").await, [first.as_str()], "title and text");
    assert_eq!(found("engine").await, [first.as_str()], "an answer");
    assert_eq!(found("协信").await, [second.as_str()]);
    assert_eq!(found("0%_s").await, [second.as_str()], "signs are taken as they are");
    assert_eq!(found("%").await, [second.as_str()]);
    assert!(found("lovelace 协信").await.is_empty());

    std::thread::sleep(Duration::from_millis(2));
    store.judge(ME, &document, &judgement("Ada", Verdict::Right)).await.unwrap();
    let list = store.sessions(ME, "").await.unwrap();
    assert_eq!(list[0].id, first, "judging is a change");
    assert_eq!((list[0].runs, list[0].judgements, list[0].shared), (1, 1, false));
    assert_eq!(list[0].excerpt, "Ada Lovelace wrote programs");
    assert_eq!(store.sessions(ME, "engine").await.unwrap()[0].excerpt, "(Analytical Engine, machine)");
}

#[tokio::test]
async fn an_excerpt_shows_the_words_around_the_match() {
    let (_folder, store) = store().await;
    let text = format!("{} needle {}", "前".repeat(300), "后".repeat(300));
    session(&store, ME, "t", &text).await;
    let excerpt = &store.sessions(ME, "NEEDLE").await.unwrap()[0].excerpt;
    assert!(excerpt.starts_with("…前") && excerpt.contains("needle") && excerpt.ends_with("后…"), "{excerpt}");
}

#[tokio::test]
async fn a_session_is_renamed_deleted_brought_back_and_purged_in_the_end() {
    let (_folder, store) = store().await;
    let (id, document, run_id) = session(&store, ME, "t", "Ada").await;
    store.rename(ME, &id, "New").await.unwrap();
    assert_eq!(store.session(ME, &id).await.unwrap().title, "New");

    store.set_deleted(ME, &id, true).await.unwrap();
    assert!(missing(store.session(ME, &id).await) && missing(store.run(ME, &run_id).await));
    assert!(store.sessions(ME, "").await.unwrap().is_empty());
    assert_eq!(store.purge(now_ms() - 1000).await.unwrap(), 0, "not yet");
    store.set_deleted(ME, &id, false).await.unwrap();
    assert_eq!(store.session(ME, &id).await.unwrap().documents[0].id, document);

    store.set_deleted(ME, &id, true).await.unwrap();
    assert_eq!(store.purge(now_ms() + 1).await.unwrap(), 1);
    assert!(missing(store.set_deleted(ME, &id, false).await));
    let left: (i64,) = sqlx::query_as("SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM document)")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(left.0, 0, "everything in it is gone too");
}

#[tokio::test]
async fn there_is_one_judgement_for_each_record_of_a_text() {
    let (_folder, store) = store().await;
    let (id, document, _) = session(&store, ME, "t", "Ada and Bob").await;
    store.judge(ME, &document, &judgement("Ada", Verdict::Right)).await.unwrap();
    std::thread::sleep(Duration::from_millis(2));
    store.judge(ME, &document, &judgement("Bob", Verdict::Added)).await.unwrap();
    store.judge(ME, &document, &judgement("ADA", Verdict::Wrong)).await.unwrap();
    let judgements = async || store.session(ME, &id).await.unwrap().documents.remove(0).judgements;
    assert_eq!(judgements().await, [judgement("ADA", Verdict::Wrong), judgement("Bob", Verdict::Added)]);
    store.unjudge(ME, &document, &judgement("ada", Verdict::Right).record.key()).await.unwrap();
    assert_eq!(judgements().await, [judgement("Bob", Verdict::Added)]);
    store.unjudge(ME, &document, "never filed").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn judgements_can_be_taken_back_while_others_are_filed() {
    let (_folder, store) = store().await;
    let (_, document, _) = session(&store, ME, "t", "Ada").await;
    let tasks: Vec<_> = (0..3)
        .flat_map(|_| {
            let (filing, taking) = ((store.clone(), document.clone()), (store.clone(), document.clone()));
            [
                tokio::spawn(async move {
                    for _ in 0..40 {
                        filing.0.judge(ME, &filing.1, &judgement("Ada", Verdict::Right)).await.unwrap();
                    }
                }),
                tokio::spawn(async move {
                    let key = judgement("Ada", Verdict::Right).record.key();
                    for _ in 0..40 {
                        taking.0.unjudge(ME, &taking.1, &key).await.unwrap();
                    }
                }),
            ]
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_share_stays_as_it_was_until_it_is_closed() {
    let (_folder, store) = store().await;
    let (id, ..) = session(&store, ME, "Before", "Ada").await;
    let snapshot = Snapshot {
        note: "n".into(),
        shared_at: 5,
        session: store.session(ME, &id).await.unwrap(),
        edits: Edits::default(),
        reviewed: Vec::new(),
    };
    store.insert_share(ME, "share", "hash", &snapshot).await.unwrap();
    store.rename(ME, &id, "After").await.unwrap();
    assert_eq!(store.annotate(ME, "share", "look").await.unwrap().note, "look");
    let shown = store.open_share("hash").await.unwrap().snapshot;
    assert_eq!((shown.session.title.as_str(), shown.note.as_str(), shown.shared_at), ("Before", "look", 5));
    assert!(store.sessions(ME, "").await.unwrap()[0].shared);

    store.set_deleted(ME, &id, true).await.unwrap();
    assert!(missing(store.open_share("hash").await), "closed while its session is deleted");
    store.set_deleted(ME, &id, false).await.unwrap();
    assert_eq!(store.revoke(ME, "share").await.unwrap(), id);
    assert_eq!(store.revoke(ME, "share").await.unwrap(), id, "closed once more");
    let (kept,): (String,) = sqlx::query_as("SELECT snapshot FROM share").fetch_one(store.pool()).await.unwrap();
    assert_eq!(kept, "", "what nobody can see any more is not kept");
    assert!(missing(store.open_share("hash").await) && missing(store.annotate(ME, "share", "x").await));
    assert!(missing(store.open_share("unknown").await));
    assert!(store.session(ME, &id).await.unwrap().shares.is_empty());
}

#[tokio::test]
async fn what_a_killed_server_left_is_marked_and_keeps_its_text() {
    let (folder, store) = store().await;
    let (_, _, running) = session(&store, ME, "t", "Ada").await;
    let (_, _, done) = session(&store, ME, "t", "Bob").await;
    let so_far = Progress { status: RunStatus::Running, finish_reason: None, ..finished(&running, "(Ada") };
    store.update_runs(&[so_far, finished(&done, "(Bob)")]).await.unwrap();
    store.close().await;

    let store = Store::open(folder.path()).await.unwrap();
    assert_eq!(store.start().await.unwrap(), 1);
    let run = store.run(ME, &running).await.unwrap();
    assert_eq!((run.status, run.finish_reason), (RunStatus::Interrupted, Some(FinishReason::Interrupted)));
    assert_eq!(run.text, "(Ada");
    assert_eq!(store.run(ME, &done).await.unwrap().status, RunStatus::Finished);
}

#[tokio::test]
async fn the_owner_sets_a_password_once() {
    let (_folder, store) = store().await;
    assert_eq!(store.account(ME).await.unwrap().unwrap().password_hash, None);
    assert!(store.set_first_password(ME, "Ada", "hash").await.unwrap());
    assert!(!store.set_first_password(ME, "Eve", "other").await.unwrap());
    let account = store.account_named("ADA").await.unwrap().unwrap();
    assert_eq!((account.id, account.password_hash.as_deref()), (ME, Some("hash")));
    assert!(store.account_named("Eve").await.unwrap().is_none());
    assert!(!format!("{account:?}").contains("hash\""), "hashes do not get into logs");
}

#[tokio::test]
async fn a_folder_is_held_by_one_server_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let lock = FolderLock::take(folder.path()).await.unwrap();
    let second = FolderLock::take(folder.path()).await.unwrap_err();
    assert!(second.to_string().contains("another `knowlm serve`"), "{second}");
    drop(lock);
    let mut freed = false;
    for _ in 0..50 {
        freed = freed || FolderLock::take(folder.path()).await.is_ok();
    }
    assert!(freed);
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Store::open(&file.join("below")).await.unwrap_err().to_string();
    assert!(error.contains("cannot be written to") && error.contains("--data-dir"), "{error}");
    std::fs::write(folder.path().join("knowlm.db"), "this is no database, but long enough to look like one").unwrap();
    let error = Store::open(folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("knowlm.db cannot be used"), "{error}");
}

#[tokio::test]
async fn an_extraction_is_stored_with_the_runs_that_it_owns() {
    let (_folder, store) = store().await;
    let (id, document, single) = session(&store, ME, "t", "Ada met Bob.").await;
    let schema = NamedSchema {
        name: "People".into(),
        id: Some("people".into()),
        version: Some(3),
        json: r#"{"entities":["person"]}"#.into(),
    };
    let extraction = ExtractionView {
        id: new_id(),
        session: id.clone(),
        document: document.clone(),
        column: Column::Tuned,
        schema,
        created_at: 7,
    };
    let part = |start, end| RunView {
        extraction: Some(extraction.id.clone()),
        part: Some(Span { start, end }),
        ..run(&id, Some(&document), "p")
    };
    let runs = vec![part(0, 7), part(8, 12)];
    let new = NewRuns {
        session: id.clone(),
        open: None,
        documents: vec![],
        extractions: vec![extraction.clone()],
        runs: runs.clone(),
    };
    store.insert_runs(ME, &new).await.unwrap();

    let view = store.session(ME, &id).await.unwrap();
    assert_eq!(view.extractions, std::slice::from_ref(&extraction));
    assert_eq!(view.runs[1..], runs);
    assert_eq!(store.sessions(ME, "").await.unwrap()[0].runs, 2, "an extraction counts as one");

    store.update_runs(&[finished(&runs[0].id, "None")]).await.unwrap();
    let unfinished = store.unfinished(ME, &extraction.id).await.unwrap();
    assert_eq!(unfinished, (id, vec![runs[1].id.clone()]));
    assert!(missing(store.unfinished(OTHER, &extraction.id).await));
    assert_eq!(store.start().await.unwrap(), 2, "a killed server's runs end as interrupted: {single} too");
}

#[tokio::test]
async fn rows_from_before_extractions_are_runs_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new().filename(folder.path().join("knowlm.db")).create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    let mut first = sqlx::migrate!("../migrations");
    first.migrations.to_mut().truncate(1);
    first.run(&pool).await.unwrap();
    sqlx::raw_sql(
        r#"INSERT INTO session VALUES ('s', 1, 't', 'extract', 1, 1, NULL);
           INSERT INTO document VALUES ('d', 1, 's', 'Ada', 1);
           INSERT INTO run VALUES ('r', 1, 's', 'd', 'lora', 'tuned', 'm', 'ie', NULL, 'Find', 'p',
             '{"temperature":0.0,"top_p":1.0,"top_k":0,"beams":1,"max_new_tokens":9,"repetition_penalty":1.0,"seed":1,"stop":[]}',
             'finished', 'stop', NULL, '(Ada, person)', 3, 2, NULL, 1, 2);"#,
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;

    let store = Store::open(folder.path()).await.unwrap();
    let view = store.session(ME, "s").await.unwrap();
    assert_eq!((view.runs[0].extraction.clone(), view.runs[0].part, view.extractions.len()), (None, None, 0));
    assert_eq!(view.runs[0].text, "(Ada, person)");
}

#[tokio::test]
async fn a_text_that_was_gone_through_is_noted_with_its_judgements_and_can_be_opened_again() {
    let (_folder, store) = store().await;
    let (session_id, document, _) = session(&store, ME, "a", "Ada saw Bob.").await;
    store.judge(ME, &document, &judgement("Ada", Verdict::Wrong)).await.unwrap();
    let right = [judgement("ada", Verdict::Right), judgement("Bob", Verdict::Right)];
    assert!(matches!(store.accept(OTHER, &document, &right).await, Err(StoreError::Missing("text"))));
    store.accept(ME, &document, &right).await.unwrap();
    store.accept(ME, &document, &right).await.unwrap();
    assert_eq!(store.reviewed(ME, &session_id).await.unwrap(), std::slice::from_ref(&document));
    assert!(matches!(store.reviewed(OTHER, &session_id).await, Err(StoreError::Missing("session"))));
    let judgements = store.session(ME, &session_id).await.unwrap().documents.remove(0).judgements;
    let verdicts: Vec<_> = judgements.iter().map(|j| j.verdict).collect();
    assert_eq!(verdicts, [Verdict::Wrong, Verdict::Right], "what was judged before stays");
    store.reopen(OTHER, &document).await.unwrap();
    assert_eq!(store.reviewed(ME, &session_id).await.unwrap().len(), 1);
    store.reopen(ME, &document).await.unwrap();
    assert!(store.reviewed(ME, &session_id).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_changed_of_a_graph_is_the_owners() {
    let (_folder, store) = store().await;
    let (id, ..) = session(&store, ME, "a", "Ada").await;
    assert_eq!(store.graph_edits(ME, &id).await.unwrap(), None);
    store.set_graph_edits(ME, &id, "{}").await.unwrap();
    store.set_graph_edits(ME, &id, "[]").await.unwrap();
    assert_eq!(store.graph_edits(ME, &id).await.unwrap().as_deref(), Some("[]"));
    assert!(matches!(store.graph_edits(OTHER, &id).await, Err(StoreError::Missing("session"))));
    assert!(matches!(store.set_graph_edits(OTHER, &id, "{}").await, Err(StoreError::Missing("session"))));
}
