//! What is read, and how much of it.

use app::doubts::Weight;
use protocol::{
    batch::{RowState, UploadView},
    view::NamedSchema,
};
use serde_json::{Map, Value};
use sqlx::Row;

use super::*;

/// A batch of so many texts that wait; its session's id.
pub(crate) async fn batch(store: &Store, rows: usize) -> String {
    let upload =
        UploadView { id: new_id(), name: "texts.csv".into(), columns: vec!["text".into()], rows, preview: Vec::new() };
    store.insert_upload(ME, &upload).await.unwrap();
    let batch = Batch {
        session: new_id(),
        owner: ME,
        schema: NamedSchema { json: r#"{"entities": ["person"]}"#.into(), ..NamedSchema::default() },
        compare: false,
        adapter: Some("ie".into()),
        asking: protocol::Asking::default(),
        parameters: Parameters::published(Mode::Lora),
        columns: Vec::new(),
        text_column: "text".into(),
        id_column: None,
        running: false,
        reason: None,
        busy: Busy::default(),
    };
    let row = |position: usize| BatchRow {
        position: position as i64,
        line: position as i64 + 1,
        id: Value::from(position),
        document: Some(new_id()),
        text: format!("Text {position}"),
        extra: Map::new(),
        chars: 6,
        wanted: position.is_multiple_of(2),
        state: RowState::Waiting,
        error: None,
        found: 0,
    };
    let rows: Vec<BatchRow> = (0..rows).map(row).collect();
    store.insert_batch(&batch, &upload, &rows).await.unwrap();
    assert!(missing(store.upload(ME, &upload.id).await), "the file is the batch now");
    assert!(missing(store.insert_batch(&Batch { session: new_id(), ..batch.clone() }, &upload, &rows).await));
    let (read, title) = store.batch(ME, &batch.session).await.unwrap();
    assert_eq!((&read, title.as_str()), (&batch, "texts.csv"));
    batch.session
}

/// A batch of so many texts, "Text 0" and so on, in each of which "Text" and its number were found; and how doubtful that
/// is. Its session's id.
pub(crate) async fn answered(store: &Store, rows: usize, doubt: impl Fn(usize) -> Option<usize>) -> String {
    let id = batch(store, rows).await;
    let (head, _) = store.batch(ME, &id).await.unwrap();
    for from in (0..rows as i64).step_by(1000) {
        let mut finished = Vec::new();
        for full in store.list_rows(ME, &id, None, &[], (from, 1000)).await.unwrap() {
            let document = full.document.clone().unwrap();
            let extraction = ExtractionView {
                id: new_id(),
                session: id.clone(),
                document: document.clone(),
                column: Column::Tuned,
                schema: head.schema.clone(),
                created_at: 1,
            };
            let schema = protocol::SchemaChoice {
                task: protocol::Task::Entities,
                language: Language::En,
                types: vec!["person".into()],
                roles: Vec::new(),
                asking: Default::default(),
            };
            let answer = RunView {
                schema: Some(schema),
                extraction: Some(extraction.id.clone()),
                status: RunStatus::Finished,
                finish_reason: Some(FinishReason::Stop),
                text: format!("(Text, person) ({}, person)", full.position),
                created_at: 1,
                ..run(&id, Some(&document), "p")
            };
            finished.push(FinishedRow {
                position: full.position,
                state: RowState::Done,
                error: None,
                found: 2,
                weight: doubt(full.position as usize).map(weighed),
                extractions: vec![extraction],
                runs: vec![answer],
            });
        }
        store.finish_rows(&head, &finished, Busy::default()).await.unwrap();
    }
    id
}

/// As doubtful as this; the less doubtful, the more variants disagree.
pub(crate) fn weighed(doubt: usize) -> Weight {
    Weight { doubt, differs: 1000 - doubt }
}

/// Has rows of a batch fail, which somebody has looked at or not; their texts.
pub(crate) async fn fail(store: &Store, session: &str, positions: &[i64], doubt: Option<usize>) -> Vec<String> {
    let (batch, _) = store.batch(ME, session).await.unwrap();
    let failed = |position: &i64| FinishedRow {
        position: *position,
        state: RowState::Failed,
        error: Some(protocol::Sentence::new("It broke.", "出错了。")),
        found: 0,
        weight: doubt.map(weighed),
        extractions: Vec::new(),
        runs: Vec::new(),
    };
    let failed: Vec<FinishedRow> = positions.iter().map(failed).collect();
    store.finish_rows(&batch, &failed, Busy::default()).await.unwrap();
    let mut texts = Vec::new();
    for position in positions {
        texts.extend(store.batch_row(ME, session, *position).await.unwrap().row.document);
    }
    texts
}

#[tokio::test]
async fn of_a_session_only_the_texts_asked_for_are_looked_up() {
    let (_folder, store) = store().await;
    let (id, document, _) = session(&store, ME, "t", "Ada").await;
    store.judge(ME, &document, &judgement("Ada", Verdict::Right)).await.unwrap();
    let known = store.documents_with(ME, &id, &["Bob", "Ada"]).await.unwrap();
    assert_eq!((known.len(), &known[0].id, known[0].judgements.len()), (1, &document, 1));
    assert!(store.documents_with(ME, &id, &[]).await.unwrap().is_empty());
    assert!(missing(store.documents_with(OTHER, &id, &["Ada"]).await));
}

#[tokio::test]
async fn the_size_of_a_batch_is_known_before_it_is_read() {
    let (_folder, store) = store().await;
    let id = batch(&store, 12).await;
    assert_eq!(store.batch_size(ME, &id).await.unwrap(), Some((12, 0)));
    assert_eq!(store.batch_size(OTHER, &id).await.unwrap(), None);
    assert_eq!(store.session_bytes(ME, &id).await.unwrap(), 10 * 6 + 2 * 7);
    assert!(store.is_batch(ME, &id).await.unwrap() && !store.is_batch(OTHER, &id).await.unwrap());
    let (ordinary, ..) = session(&store, ME, "t", "Ada").await;
    assert_eq!(store.batch_size(ME, &ordinary).await.unwrap(), None);
    assert_eq!(store.session_bytes(ME, &ordinary).await.unwrap(), 3 + 9);
    assert!(!store.is_batch(ME, &ordinary).await.unwrap());
}

#[tokio::test]
async fn some_texts_are_counted_and_measured_without_the_others() {
    let (_folder, store) = store().await;
    let id = answered(&store, 12, Some).await;
    fail(&store, &id, &[3], None).await;
    assert_eq!(
        (store.answered_count(ME, &id).await.unwrap(), store.answered_count(OTHER, &id).await.unwrap()),
        (11, 0)
    );
    let all = store.answered(ME, &id, 0, 99).await.unwrap();
    let two: Vec<String> = all.iter().take(2).map(|(_, id)| id.clone()).collect();
    // "Text 0", its prompt "p" and "(Text, person) (0, person)".
    assert_eq!(store.size_of(ME, &two).await.unwrap(), (2, 2 * (6 + 1 + 26)));
    assert_eq!(store.size_of(OTHER, &two).await.unwrap(), (0, 0));
    assert_eq!(store.size_of(ME, &[]).await.unwrap(), (0, 0));
}

#[tokio::test]
async fn rows_have_their_own_texts_answers_and_judgements() {
    let (_folder, store) = store().await;
    let id = answered(&store, 12, Some).await;
    let texts = fail(&store, &id, &[3], None).await;
    store.judge(ME, &texts[0], &judgement("Text", Verdict::Right)).await.unwrap();
    let rows = store.full_rows(ME, &id, 2, 3).await.unwrap();
    let shown: Vec<_> = rows
        .iter()
        .map(|full| (full.row.text.as_str(), full.extractions.len(), full.runs.len(), full.judgements.len()))
        .collect();
    assert_eq!(shown, [("Text 2", 1, 1, 0), ("Text 3", 0, 0, 1), ("Text 4", 1, 1, 0)]);
    for full in rows.iter().filter(|full| !full.runs.is_empty()) {
        assert!(full.runs[0].text.contains(&format!("({},", full.row.position)));
        assert_eq!(full.runs[0].document, full.row.document);
        assert_eq!(Some(&full.extractions[0].document), full.row.document.as_ref());
    }
    assert!(store.full_rows(OTHER, &id, 0, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn rows_are_counted_and_texts_are_ordered_from_an_index_alone() {
    let (_folder, store) = store().await;
    let id = batch(&store, 12).await;
    let (counts, wanted, all) = store.batch_counts(ME, &id).await.unwrap();
    assert_eq!((counts.total, counts.wanted, counts.waiting, wanted, all), (12, 6, 6, 36, 72));
    assert_eq!(store.batch_counts(OTHER, &id).await.unwrap().0.total, 0);
    let plan = async |sql: &str| {
        let rows = sqlx::query(&format!("EXPLAIN QUERY PLAN {sql}")).fetch_all(store.pool()).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>().join("; ")
    };
    let counting = plan(
        "SELECT state, wanted, count(*), count(document_id), sum(chars) FROM batch_row
         WHERE session_id = (SELECT session_id FROM batch WHERE session_id = 'a' AND owner_id = 1)
         GROUP BY state, wanted",
    );
    let counting = counting.await;
    assert!(counting.contains("COVERING INDEX batch_row_counts") && !counting.contains("TEMP B-TREE"), "{counting}");
    for table in ["document", "run"] {
        let newest = plan(&format!("SELECT id FROM {table} WHERE session_id = 'a' ORDER BY id DESC LIMIT 1")).await;
        assert!(!newest.contains("TEMP B-TREE"), "{newest}");
    }
}

#[tokio::test]
async fn tidying_names_the_uploads_that_nobody_came_back_to_and_leaves_runs_alone() {
    let (_folder, store) = store().await;
    let (_, _, run) = session(&store, ME, "t", "Ada").await;
    for id in ["old", "new"] {
        let (name, columns, preview) = ("a.csv".to_owned(), vec!["text".to_owned()], Vec::new());
        store.insert_upload(ME, &UploadView { id: id.into(), name, columns, rows: 1, preview }).await.unwrap();
    }
    sqlx::query("UPDATE upload SET created_at = 5 WHERE id = 'old'").execute(store.pool()).await.unwrap();
    assert_eq!(store.tidy().await.unwrap(), ["old"]);
    assert_eq!(store.uploads().await.unwrap(), ["new"]);
    assert_eq!(store.run(ME, &run).await.unwrap().status, RunStatus::Queued, "a run that goes on is not interrupted");
}
