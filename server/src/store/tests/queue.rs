//! The order of a review, page by page.

use std::collections::{HashMap, HashSet};

use protocol::review::{Order, State};

use super::{
    bounds::{answered, fail, weighed},
    *,
};

/// All pages of a list of so many texts, from the first on.
async fn pages(store: &Store, session: &str, list: List, most: i64) -> Vec<QueuePage> {
    let mut pages = vec![store.queue(ME, session, list, Start::First, most).await.unwrap()];
    loop {
        let last = pages.last().unwrap().ids.last().unwrap();
        let next = store.queue(ME, session, list, Start::After(last), most).await.unwrap();
        if next.ids.is_empty() {
            return pages;
        }
        pages.push(next);
    }
}

#[tokio::test]
async fn thousands_of_texts_are_reviewed_page_by_page_the_doubtful_first() {
    let (_folder, store) = store().await;
    let id = answered(&store, 6_000, |n| Some(n % 7)).await;
    let all = pages(&store, &id, List::default(), 100).await;
    assert_eq!(all.len(), 60);
    let ids: Vec<&String> = all.iter().flat_map(|page| &page.ids).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 6_000, "each once");
    assert!(all.iter().enumerate().all(|(n, page)| page.before == 100 * n));
    let texts = store.texts(ME, &id, &all[0].ids).await.unwrap();
    let numbers: HashSet<String> = (0..100).map(|n| format!("Text {}", 7 * n + 6)).collect();
    assert_eq!(texts.documents.iter().map(|d| d.text.clone()).collect::<HashSet<_>>(), numbers);
    assert_eq!((texts.runs.len(), texts.extractions.len()), (100, 100));

    // Backwards, and from the middle, these are the same pages.
    let back = store.queue(ME, &id, List::default(), Start::Before(&all[3].ids[0]), 100).await.unwrap();
    assert_eq!(back, all[2]);
    let at = store.queue(ME, &id, List::default(), Start::At(&all[3].ids[0]), 100).await.unwrap();
    assert_eq!(at, all[3]);
    let unknown = store.queue(ME, &id, List::default(), Start::After("nowhere"), 100).await.unwrap();
    assert_eq!(unknown, all[0]);
    assert!(store.queue(OTHER, &id, List::default(), Start::First, 100).await.unwrap().ids.is_empty());
}

#[tokio::test]
async fn texts_about_which_variants_disagree_are_an_order_of_their_own() {
    let (_folder, store) = store().await;
    let id = answered(&store, 700, |n| Some(n % 7)).await;
    let list = List { order: Order::Differs, only: None };
    let all = pages(&store, &id, list, 100).await;
    assert!(all.iter().enumerate().all(|(n, page)| (page.before, page.ids.len()) == (100 * n, 100)));
    let texts = store.texts(ME, &id, &all[0].ids).await.unwrap();
    assert!(texts.documents.iter().all(|d| d.text[5..].parse::<usize>().unwrap() % 7 == 0), "they differ most");
    let back = store.queue(ME, &id, list, Start::Before(&all[3].ids[0]), 100).await.unwrap();
    assert_eq!(back, all[2]);
    let open = |order| store.next_open(ME, &id, order, "");
    assert_eq!(open(Order::Differs).await.unwrap().as_ref(), all[0].ids.first());
    assert_ne!(open(Order::Doubt).await.unwrap().as_ref(), all[0].ids.first());
}

#[tokio::test]
async fn a_page_begins_where_the_index_says() {
    let (_folder, store) = store().await;
    let starts = [(Start::After("d"), "<?"), (Start::At("d"), "<?"), (Start::Before("d"), ">?")];
    for (order, (start, sought)) in [Order::Doubt, Order::Differs].into_iter().flat_map(|o| starts.map(|s| (o, s))) {
        let list = List { order, only: None };
        let (query, _) = crate::store::queue::page(ME, "s", list, (start, Some((3, 500))), 100);
        let rows = sqlx::query(&format!("EXPLAIN QUERY PLAN {}", query.sql())).fetch_all(store.pool()).await.unwrap();
        let plan = rows.iter().map(|row| sqlx::Row::get::<String, _>(row, "detail")).collect::<Vec<_>>().join("; ");
        let by = format!("batch_row_by_{name} (session_id=? AND {name}{sought})", name = order.name());
        assert!(plan.contains(&by), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn texts_that_failed_stand_in_the_order_and_have_no_answer() {
    let (_folder, store) = store().await;
    let id = answered(&store, 20, |n| Some(n % 7)).await;
    let failed = fail(&store, &id, &[4, 12], Some(1000)).await;
    assert_eq!(store.queue_counts(ME, &id).await.unwrap(), QueueCounts { states: [18, 0, 0, 2], unread: 0 });
    let page = async |only| store.queue(ME, &id, List { only, ..List::default() }, Start::First, 99).await.unwrap().ids;
    let all = page(None).await;
    assert_eq!((all.len(), &all[..2]), (20, &failed[..]));
    assert_eq!(
        (page(Some(State::Failed)).await, page(Some(State::Unreviewed)).await),
        (failed.clone(), all[2..].to_vec())
    );
    assert_eq!(store.queue_ids(ME, &id).await.unwrap(), all[2..]);
    assert_eq!(store.answered(ME, &id, 0, 99).await.unwrap().len(), 18);
    assert_eq!(store.next_open(ME, &id, Order::Doubt, "").await.unwrap().as_ref(), Some(&all[2]));
    let why = store.failed_of(ME, &id, &all).await.unwrap();
    let reasons: HashMap<&str, &str> = why.iter().map(|(id, said)| (id.as_str(), said.zh.as_str())).collect();
    assert_eq!(reasons, failed.iter().map(|id| (id.as_str(), "出错了。")).collect());
    assert!(store.failed_of(OTHER, &id, &all).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_said_of_texts_moves_none_of_them_and_nothing_is_passed_over() {
    let (_folder, store) = store().await;
    let id = answered(&store, 50, |n| Some(n / 10)).await;
    let order = store.queue_ids(ME, &id).await.unwrap();
    store.accept(ME, &order[0], &[judgement("Text", Verdict::Right)]).await.unwrap();
    store.accept(ME, &order[1], &[judgement("Text", Verdict::Wrong)]).await.unwrap();
    assert_eq!(store.queue_ids(ME, &id).await.unwrap(), order);
    assert_eq!(store.queue_counts(ME, &id).await.unwrap(), QueueCounts { states: [48, 1, 1, 0], unread: 0 });
    let only = async |state| {
        store.queue(ME, &id, List { only: Some(state), ..List::default() }, Start::First, 9).await.unwrap()
    };
    assert_eq!(only(State::Accepted).await.ids, order[..1]);
    assert_eq!(only(State::Corrected).await.ids, order[1..2]);
    assert!(only(State::Failed).await.ids.is_empty());
    let open = only(State::Unreviewed).await;
    assert_eq!((open.ids.as_slice(), open.before), (&order[2..11], 0));

    // All of the page are gone through: the next page goes on behind it.
    for text in &open.ids {
        store.accept(ME, text, &[]).await.unwrap();
    }
    let unreviewed = List { only: Some(State::Unreviewed), ..List::default() };
    let next = store.queue(ME, &id, unreviewed, Start::After(&order[10]), 9).await.unwrap();
    assert_eq!(next.ids, order[11..20]);
    assert_eq!(store.next_open(ME, &id, Order::Doubt, &order[3]).await.unwrap().as_ref(), Some(&order[11]));
    assert_eq!(
        store.next_open(ME, &id, Order::Doubt, &order[49]).await.unwrap().as_ref(),
        Some(&order[11]),
        "from the beginning"
    );
    assert_eq!(store.judged(ME, &id).await.unwrap().len(), 11);
}

#[tokio::test]
async fn texts_that_nobody_has_looked_at_stand_at_the_end_until_somebody_does() {
    let (_folder, store) = store().await;
    let id = answered(&store, 4, |n| (n > 1).then_some(0)).await;
    let positions = async || {
        let answered = store.answered(ME, &id, 0, 9).await.unwrap();
        let place = |id: &String| answered.iter().find(|(_, other)| other == id).unwrap().0;
        store.queue_ids(ME, &id).await.unwrap().iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(positions().await, [2, 3, 0, 1]);
    let unread = store.undoubted(ME, &id, 9).await.unwrap();
    assert_eq!((unread.len(), store.queue_counts(ME, &id).await.unwrap().unread), (2, 2));
    store.set_weights(OTHER, &[(unread[0].clone(), weighed(9))]).await.unwrap();
    assert_eq!(positions().await, [2, 3, 0, 1], "not by another person");
    store.set_weights(ME, &[(unread[1].clone(), weighed(9)), (unread[0].clone(), weighed(0))]).await.unwrap();
    assert_eq!(positions().await, [1, 0, 2, 3]);
    assert!(store.undoubted(ME, &id, 9).await.unwrap().is_empty());
}
