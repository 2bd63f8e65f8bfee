#![allow(clippy::unwrap_used)]
use extract::export::{Format, Options, export};
use protocol::{Judgement, Verdict, record::Mention, view::Snapshot};
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::store::{answered_batch, fail_rows};

/// Two groups and a part of one, one text of which failed.
const TEXTS: usize = 250;

struct Many {
    _folder: TempDir,
    store: Store,
    batch: Batch,
}

async fn many() -> Many {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let id = answered_batch(&store, TEXTS, |_| Some(0)).await;
    fail_rows(&store, &id, &[7], Some(0)).await;
    let batch = store.batch(1, &id).await.unwrap().0;
    Many { _folder: folder, store, batch }
}

impl Many {
    fn of_batch(&self, said: bool) -> Texts {
        Texts::of_batch(self.store.clone(), self.batch.clone(), said)
    }

    /// What a link shows that is made now.
    async fn link(&self) -> (OpenShare, Rows) {
        let session = self.store.session_head(1, &self.batch.session).await.unwrap();
        let reviewed = self.store.reviewed(1, &self.batch.session).await.unwrap();
        let snapshot = Snapshot {
            note: String::new(),
            shared_at: crate::store::now_ms(),
            session,
            edits: Default::default(),
            reviewed,
        };
        self.store.insert_batch_share(1, &crate::store::new_id(), "hash", &snapshot).await.unwrap();
        let rows = Rows::new(self.store.row_ids(1, &self.batch.session).await.unwrap(), Vec::new());
        (self.store.open_share("hash").await.unwrap(), rows)
    }
}

async fn file(texts: Texts, format: Format) -> String {
    let writer = Writer::new(format, &Options::default()).unwrap();
    let bytes = axum::body::to_bytes(sent(texts, writer), 1 << 24).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn ids(texts: &[Value]) -> Vec<u64> {
    texts.iter().map(|text| text["id"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_goes_out_whole_as_one_array_in_the_order_of_its_file() {
    let many = many().await;
    let json: Vec<Value> = serde_json::from_str(&file(many.of_batch(false), Format::Json).await).unwrap();
    assert_eq!(ids(&json), (0..TEXTS as u64).collect::<Vec<_>>());
    assert_eq!((&json[7]["error"], json[8]["entities"].as_array().unwrap().len()), (&"It broke.".into(), 2));
    let lines: Vec<Value> = file(many.of_batch(false), Format::Jsonl)
        .await
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, json);
    let table = file(many.of_batch(false), Format::Csv).await;
    assert_eq!((table.lines().count(), table.matches("id,kind").count()), (1 + 2 * (TEXTS - 1), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_takes_its_texts_away_as_they_were() {
    let many = many().await;
    let rows = many.store.full_rows(1, &many.batch.session, 0, 4).await.unwrap();
    let text = |at: usize| rows[at].row.document.clone().unwrap();
    let record = Record::Entity { label: "person".into(), mention: Mention::new("Text") };
    let said = |verdict| Judgement { record: record.clone(), verdict, correction: None };
    many.store.accept(1, &text(3), &[said(Verdict::Wrong)]).await.unwrap();
    let (share, names) = many.link().await;
    many.store.judge(1, &text(2), &said(Verdict::Right)).await.unwrap();
    many.store.accept(1, &text(2), &[]).await.unwrap();

    let linked = Texts::of_link(many.store.clone(), share.clone(), names.clone(), true);
    let json: Vec<Value> = serde_json::from_str(&file(linked, Format::Json).await).unwrap();
    let answered: Vec<u64> = (0..TEXTS as u64).filter(|id| *id != 7).collect();
    assert_eq!(ids(&json), answered, "with the ids of its file, without what failed");
    let review = |at: usize| (json[at]["review"].as_str().unwrap(), json[at]["entities"][0]["gold"].clone());
    assert_eq!(review(3), ("corrected", "wrong".into()));
    assert_eq!(review(2), ("unreviewed", Value::Null), "what was said since stays private");
    let plain = Texts::of_link(many.store.clone(), share.clone(), names, false);
    let plain: Vec<Value> = serde_json::from_str(&file(plain, Format::Json).await).unwrap();
    assert!(plain.iter().all(|text| text.get("review").is_none() && text["entities"][0].get("gold").is_none()));
    let one = many.store.shared_text(&share, &text(3)).await.unwrap();
    assert_eq!((one.documents.len(), one.runs.len(), one.documents[0].judgements.len()), (1, 1, 1));
    assert!(many.store.shared_text(&share, "another").await.unwrap().documents.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_is_made_of_the_records_of_all_texts_unless_they_are_too_many() {
    let many = many().await;
    let all = gathered(many.of_batch(true)).await.unwrap();
    assert_eq!(all.documents.len(), TEXTS - 1, "what failed says nothing");
    assert!(all.documents.iter().all(|document| document.text.is_empty()));
    assert_eq!(all.names[0], ["person"]);
    let nodes = export(Format::Nodes, &all.documents, &Options::default()).remove(0).content;
    // "Text" and the number of each.
    assert_eq!(nodes.lines().count(), 1 + TEXTS);
    let (share, rows) = many.link().await;
    let linked = gathered(Texts::of_link(many.store.clone(), share, rows, true)).await.unwrap();
    assert_eq!(export(Format::Nodes, &linked.documents, &Options::default()).remove(0).content, nodes);
    let refused = gathered_within(many.of_batch(false), 100 * 2 * (RECORD + 4)).await.unwrap_err().to_string();
    assert!(refused.contains("too many records") && refused.contains("csv and jsonl"), "{refused}");
}
