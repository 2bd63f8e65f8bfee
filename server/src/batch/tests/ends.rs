//! How batches end, and what must not end them.

use super::*;

impl Server {
    async fn going(&self, session: &str) -> bool {
        self.batches.batch(ME, session, 1, None).await.unwrap().going
    }

    async fn reason(&self, session: &str) -> String {
        self.ended(session).await;
        self.batches.batch(ME, session, 1, None).await.unwrap().reason.map(|said| said.en).unwrap_or_default()
    }

    /// Waits until nothing is worked on.
    async fn quiet(&self) {
        while !self.batches.all_going().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_takes_no_more_of_the_model_and_can_go_on_when_it_is_back() {
    let server = server().await;
    server.finder.slow.store(true, Ordering::SeqCst);
    let session = server.begin(&csv(100, |n| format!("Ada {n}")), true).await.unwrap();
    server.store.set_deleted(1, &session, true).await.unwrap();
    server.batches.stop(ME, &session).await.unwrap();
    server.quiet().await;
    let asked = server.finder.asked.lock().unwrap().len();
    assert!(asked < 100, "{asked}");
    assert_eq!(server.batches.resume().await.unwrap(), 0, "nor does it go on at the next start");
    assert!(server.batches.act(ME, &session, Act::On).await.is_err());

    server.finder.slow.store(false, Ordering::SeqCst);
    server.store.set_deleted(1, &session, false).await.unwrap();
    server.batches.act(ME, &session, Act::On).await.unwrap();
    assert_eq!(server.ended(&session).await.done, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_deleted_session_are_not_taken() {
    let server = server().await;
    let session = server.begin(&csv(30, |n| format!("Ada {n}")), false).await.unwrap();
    server.ended(&session).await;
    server.store.want_rows(1, &session, false).await.unwrap();
    let batch = server.store.batch(1, &session).await.unwrap().0;
    assert_eq!(server.store.waiting_rows(&batch, 0, 99).await.unwrap().len(), 10);
    server.store.set_deleted(1, &session, true).await.unwrap();
    assert!(server.store.waiting_rows(&batch, 0, 99).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_waits_for_the_adapter_that_it_was_begun_with() {
    let server = server().await;
    let session = server.begin(&csv(30, |n| format!("Ada {n}")), false).await.unwrap();
    server.ended(&session).await;
    server.finder.unloaded.store(true, Ordering::SeqCst);
    server.batches.act(ME, &session, Act::All).await.unwrap();
    let reason = server.reason(&session).await;
    assert!(reason.contains("adapter \"ie\" is not in use"), "{reason}");
    let counts = server.ended(&session).await;
    assert_eq!((counts.done, counts.failed, counts.waiting), (20, 0, 10), "no row fails for it");

    server.finder.unloaded.store(false, Ordering::SeqCst);
    server.batches.act(ME, &session, Act::On).await.unwrap();
    assert_eq!(server.ended(&session).await.done, 30);
    let adapters: Vec<_> = server.rows(&session).await.into_iter().map(|full| full.runs[0].adapter.clone()).collect();
    assert!(adapters.iter().all(|adapter| adapter.as_deref() == Some("ie")), "{adapters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_goes_while_rows_are_asked_stops_the_batch_and_fails_none() {
    let server = server().await;
    server.finder.slow.store(true, Ordering::SeqCst);
    let session = server.begin(&csv(100, |n| format!("Ada {n}")), true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.finder.unloaded.store(true, Ordering::SeqCst);
    assert!(server.reason(&session).await.contains("is not in use"));
    let counts = server.ended(&session).await;
    assert!(counts.failed == 0 && counts.waiting > 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_without_an_adapter_stays_one_of_the_base() {
    let server = server().await;
    server.finder.unloaded.store(true, Ordering::SeqCst);
    let session = server.begin(&csv(30, |n| format!("Ada {n}")), false).await.unwrap();
    server.ended(&session).await;
    server.finder.unloaded.store(false, Ordering::SeqCst);
    server.batches.act(ME, &session, Act::All).await.unwrap();
    assert_eq!(server.ended(&session).await.done, 30);
    assert!(server.rows(&session).await.iter().all(|full| full.runs[0].adapter.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_becomes_one_batch_however_often_it_is_asked_for() {
    let server = server().await;
    let upload = server.upload(&csv(30, |n| format!("Ada {n}"))).await.unwrap();
    let asked = (0..4).map(|_| server.begin_with(upload.clone(), true));
    let begun = futures::future::join_all(asked).await.into_iter().filter(Result::is_ok).count();
    assert_eq!((begun, server.batches.batches(ME).await.unwrap().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_begins_even_if_nobody_waits_for_the_answer() {
    let server = server().await;
    let upload = server.upload(&csv(30, |n| format!("Ada {n}"))).await.unwrap();
    // The browser is gone at once.
    let _ = tokio::time::timeout(Duration::ZERO, server.begin_with(upload, true)).await;
    let done = async || server.batches.batches(ME).await.unwrap().first().map_or(0, |batch| batch.counts.done);
    let until = Instant::now() + Duration::from_secs(30);
    while done().await < 30 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(done().await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_told_to_stop_and_go_on_at_once_goes_on() {
    let server = server().await;
    server.finder.slow.store(true, Ordering::SeqCst);
    let session = server.begin(&csv(60, |n| format!("Ada {n}")), true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.batches.act(ME, &session, Act::Stop).await.unwrap();
    server.batches.act(ME, &session, Act::On).await.unwrap();
    assert!(server.going(&session).await, "a page that asks now must go on asking");
    assert_eq!(server.ended(&session).await.done, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_program_stops_a_batch_and_says_so() {
    let server = server().await;
    server.finder.faulty.store(true, Ordering::SeqCst);
    let session = server.begin(&csv(30, |n| format!("Ada {n}")), true).await.unwrap();
    assert!(server.reason(&session).await.contains("a fault in the program"));
    assert!(!server.going(&session).await);
    server.batches.act(ME, &session, Act::On).await.unwrap();
    assert_eq!(server.ended(&session).await.done, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_batch_that_cannot_be_read_keeps_neither_the_server_nor_the_others() {
    let server = server().await;
    let damaged = server.begin("id,text\na,Ada\n", true).await.unwrap();
    server.ended(&damaged).await;
    let whole = server.begin(&csv(30, |n| format!("Ada {n}")), false).await.unwrap();
    server.ended(&whole).await;
    server.store.want_rows(1, &whole, false).await.unwrap();
    sqlx::query("UPDATE batch SET state = 'running'").execute(server.store.pool()).await.unwrap();
    let damage = "UPDATE batch SET schema = '{' WHERE session_id = ?";
    sqlx::query(damage).bind(&damaged).execute(server.store.pool()).await.unwrap();
    let server = server.restarted();
    assert_eq!(server.batches.resume().await.unwrap(), 1);
    assert_eq!(server.ended(&whole).await.done, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_texts_are_taken_a_few_at_a_time_and_none_is_left_out() {
    let server = server().await;
    // Each is asked about in many parts, so that a group of rows is more than is taken at a time.
    let text = "Ada and Bob met. ".repeat(10_000);
    let session = server.begin(&csv(6, |n| format!("{n} {text}")), true).await.unwrap();
    let counts = server.ended(&session).await;
    assert_eq!((counts.done, counts.failed, counts.total), (6, 0, 6));
    for full in server.rows(&session).await {
        assert!(full.runs.len() > 20, "{}", full.runs.len());
        assert_eq!(full.extractions.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_called_base_is_told_from_what_the_base_found() {
    let server = server().await;
    let session = server.begin("id,text,base\na,Ada,mine\n", true).await.unwrap();
    server.ended(&session).await;
    let row = server.batches.row(ME, &session, 0).await.unwrap();
    assert_eq!(row.extra, [("base".to_owned(), "mine".to_owned())], "shown as the file has it");
    assert_eq!(server.rows(&session).await[0].row.extra["input_base"], "mine", "and apart in the output");
}
