//! What is counted and kept of many texts, and when.
#![allow(clippy::unwrap_used)]

use app::found::FoundColumn;
use protocol::{Span, view::DocumentView};

use super::*;
use crate::store::answered_batch;

fn mention(words: &str) -> Mention {
    Mention { span: Some(Span { start: 0, end: 1 }), ..Mention::new(words) }
}

fn text(id: usize, records: Vec<Record>) -> Found {
    let column = FoundColumn {
        column: Column::Tuned,
        model: "m".into(),
        adapter: None,
        records,
        runs: Vec::new(),
        issues: Vec::new(),
        ends: Vec::new(),
        nothing_found: false,
    };
    let document = DocumentView { id: format!("d{id}"), text: String::new(), judgements: Vec::new() };
    Found { document, columns: vec![column], schema: None, asked: None }
}

fn entity(words: &str) -> Record {
    Record::Entity { label: "person".into(), mention: mention(words) }
}

fn relation(head: &str, tail: &str) -> Record {
    Record::Relation { relation: "knows".into(), head: mention(head), tail: mention(tail) }
}

#[test]
fn names_in_most_texts_are_kept_with_some_of_their_places() {
    let texts: Vec<Found> = (0..100)
        .map(|n| text(n, vec![entity("Ada"), entity("ADA"), entity(&format!("Nobody {n}")), relation("Ada", "Bob")]))
        .collect();
    let mut counts = Counts::default();
    texts.iter().for_each(|text| counts.add(text));
    assert_eq!((counts.0["ada"], counts.0["bob"], counts.0.len()), (100, 100, 102), "a text counts once");
    let most = counts.most(2);
    assert_eq!(most, HashSet::from(["ada".to_owned(), "bob".to_owned()]));
    let mut keeper = Keeper { most, ..Keeper::default() };
    texts.into_iter().for_each(|text| keeper.take(text));
    assert_eq!(keeper.texts.len(), PLACES as usize, "the same link in the first texts");
    let first = &keeper.texts[0].columns[0].1;
    assert_eq!(first.len(), 3, "the link, and the names that it joins: {first:?}");
    let all: Vec<&Record> = keeper.texts.iter().flat_map(|t| &t.columns[0].1).collect();
    assert!(all.iter().all(|r| !r.mentions()[0].1.text.starts_with("Nobody")));
}

#[test]
fn what_does_not_stand_in_its_text_is_neither_counted_nor_kept() {
    let absent = Record::Entity { label: "person".into(), mention: Mention::new("Zoe") };
    let half = Record::Relation { relation: "r".into(), head: mention("Ada"), tail: Mention::new("Zoe") };
    let found = text(0, vec![absent, half, entity("Ada")]);
    let mut counts = Counts::default();
    counts.add(&found);
    let mut keeper = Keeper { most: counts.most(9), ..Keeper::default() };
    keeper.take(found);
    assert_eq!(keeper.texts[0].columns[0].1, [entity("Ada")]);
}

#[test]
fn a_name_that_comes_late_and_often_is_counted_however_many_there_are() {
    let mut counts = Counts::default();
    // More than are counted at a time, each in two texts.
    for group in 0..210 {
        let many = text(0, (0..1_000).map(|n| entity(&format!("{group} {n}"))).collect());
        (0..2).for_each(|_| counts.add(&many));
    }
    (0..100).for_each(|_| counts.add(&text(0, vec![entity("Ada"), entity(&format!("Nobody {}", counts.0.len()))])));
    assert!(counts.0.len() <= COUNTED, "{}", counts.0.len());
    assert_eq!(counts.most(1), HashSet::from(["ada".to_owned()]));
}

#[test]
fn types_that_a_model_makes_up_do_not_fill_the_memory() {
    let mut keeper = Keeper { most: HashSet::from(["ada".to_owned()]), ..Keeper::default() };
    for n in 0..2 * KEYS {
        keeper.take(text(n, vec![Record::Entity { label: format!("type {n}"), mention: mention("Ada") }]));
    }
    assert_eq!((keeper.texts.len(), keeper.places.len()), (KEYS, KEYS));
}

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    (folder, store)
}

async fn heads(store: &Store, sessions: usize) -> Vec<SessionView> {
    let mut heads = Vec::new();
    for _ in 0..sessions {
        let id = answered_batch(store, 12, |_| Some(0)).await;
        heads.push(store.session_head(1, &id).await.unwrap());
    }
    heads
}

/// How many texts a graph was drawn from; `None` while they are read.
async fn texts(corpora: &Corpora, head: &SessionView, answered: usize) -> Option<usize> {
    match corpora.found(1, head, answered).await.unwrap() {
        CorpusFound::Read(texts) => texts.most.map(|most| most.texts),
        CorpusFound::Reading { total, .. } => {
            assert_eq!(total, answered);
            None
        }
    }
}

#[tokio::test]
async fn a_graph_is_shown_once_it_is_read_also_when_more_texts_were_answered_meanwhile() {
    let (_folder, store) = store().await;
    let head = heads(&store, 1).await.remove(0);
    let corpora = Corpora::new(store);
    let reading = corpora.reading(1, &head, 12).unwrap();
    while reading.done.get().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // From now on nothing is read.
    let busy = Arc::clone(&corpora.one).acquire_owned().await.unwrap();
    assert_eq!(texts(&corpora, &head, 13).await, Some(12));
    assert_eq!(texts(&corpora, &head, 14).await, None, "who asks again has all of them");
    drop(busy);
    while texts(&corpora, &head, 15).await.is_none() {}
}

#[tokio::test]
async fn many_graphs_at_once_are_all_read_and_only_some_are_kept() {
    let (_folder, store) = store().await;
    let heads = heads(&store, WAITING + 1).await;
    let corpora = Corpora::new(store);
    let busy = Arc::clone(&corpora.one).acquire_owned().await.unwrap();
    let begun: Vec<_> = heads.iter().map(|head| corpora.reading(1, head, 12)).collect();
    assert!(begun.iter().take(WAITING).all(Option::is_some) && begun.last().unwrap().is_none());
    for (head, begun) in heads.iter().zip(&begun).take(WAITING) {
        assert!(Arc::ptr_eq(&corpora.reading(1, head, 12).unwrap(), begun.as_ref().unwrap()), "it goes on");
    }
    assert_eq!(texts(&corpora, heads.last().unwrap(), 12).await, None, "it waits for its turn");
    drop(busy);
    for head in &heads {
        while texts(&corpora, head, 12).await.is_none() {}
    }
    assert_eq!(corpora.all().len(), KEPT);
}
