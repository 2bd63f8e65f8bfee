//! The pages that look at all texts of a session. A batch is reviewed page by page, in an order that the store keeps; its graph
//! is drawn from what [`crate::corpus`] keeps of it where it is too large to be read as a whole.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use app::{
    doubts::{Weight, sample},
    found::{Found, found},
    reviews::{CorpusFound, CorpusView, Excerpt, ReviewServices, ReviewView},
    services::{Owner, ServiceError, Services},
};
use async_trait::async_trait;
use protocol::{
    SessionView, Span,
    review::{Order, Part, Wanted},
};

use crate::{
    corpus::{self, Corpora},
    held,
    pool::refused_by_store,
    services::Studio,
    store::{List, Start, Store},
};

/// Texts on a page of a review.
const PAGE: usize = 100;
/// Texts looked at for their doubts at a time.
const GROUP: i64 = 200;
/// The most places that are shown at once, and characters around each.
const PLACES: usize = 100;
const AROUND: usize = 1000;

/// Reviews and graphs of a running server.
pub struct Reviews {
    studio: Arc<Studio>,
    corpora: Corpora,
    /// Batches whose doubts are being looked at.
    doubting: Arc<Mutex<HashSet<String>>>,
}

impl Reviews {
    /// Those of the sessions of a server.
    pub fn new(studio: Arc<Studio>) -> Arc<Self> {
        let corpora = Corpora::new(studio.store.clone());
        Arc::new(Self { studio, corpora, doubting: Arc::default() })
    }

    fn store(&self) -> &Store {
        &self.studio.store
    }

    /// A part of a batch's review.
    async fn part(&self, owner: i64, head: SessionView, wanted: &Wanted) -> Result<ReviewView, ServiceError> {
        let (store, id) = (self.store(), head.id.clone());
        let counts = store.queue_counts(owner, &id).await.map_err(refused_by_store)?;
        if counts.unread > 0 {
            self.doubt(owner, &head);
        }
        let all: usize = counts.states.iter().sum();
        let of = |state| counts.states.iter().zip(protocol::review::State::ALL).find(|(_, s)| *s == state);
        let (order, before, total) = match &wanted.check {
            Some(seed) => {
                let mut ids = store.queue_ids(owner, &id).await.map_err(refused_by_store)?;
                let seed = seed.clone();
                let drawn = corpus::computed(move || {
                    let drawn = sample(ids.iter(), &seed);
                    ids.retain(|id| drawn.contains(id));
                    ids
                });
                let ids = drawn.await?;
                let total = ids.len();
                (ids, 0, total)
            }
            None => {
                // Few texts are on one page, which filters them itself.
                let show = wanted.show.filter(|_| all > PAGE);
                let list = List { order: wanted.order, only: show };
                let total = show.map_or(all, |show| of(show).map_or(0, |(count, _)| *count));
                let start = match (&wanted.text, &wanted.after, &wanted.before) {
                    _ if total <= PAGE => Start::First,
                    (Some(text), ..) => Start::At(text),
                    (_, Some(after), _) => Start::After(after),
                    (.., Some(before)) => Start::Before(before),
                    _ => Start::First,
                };
                let mut page = store.queue(owner, &id, list, start, PAGE as i64).await.map_err(refused_by_store)?;
                if total > PAGE && *wanted == (Wanted { order: wanted.order, ..Wanted::default() }) {
                    // Who comes back goes on where they were.
                    let open = store.next_open(owner, &id, wanted.order, "").await.map_err(refused_by_store)?;
                    if let Some(open) = open.filter(|open| !page.ids.contains(open)) {
                        let at = Start::At(&open);
                        page = store.queue(owner, &id, list, at, PAGE as i64).await.map_err(refused_by_store)?;
                    }
                }
                (page.ids, page.before, total)
            }
        };
        let texts = store.texts(owner, &id, &order).await.map_err(refused_by_store)?;
        let reviewed = store.reviewed_of(owner, &order).await.map_err(refused_by_store)?;
        let failed = store.failed_of(owner, &id, &order).await.map_err(refused_by_store)?;
        let part = Part { order, before, total, counts: counts.states, unread: counts.unread };
        Ok(ReviewView { session: texts.of(head), reviewed, failed, part: Some(part) })
    }

    /// Looks at the doubts of a batch's texts that were answered before anybody noted them, while others are served.
    fn doubt(&self, owner: i64, head: &SessionView) {
        let doubting = Arc::clone(&self.doubting);
        if !held(&doubting).insert(head.id.clone()) {
            return;
        }
        let (store, head) = (self.store().clone(), head.clone());
        tokio::spawn(async move {
            if let Err(error) = look(&store, owner, &head).await {
                tracing::error!(%error, session = head.id, "the doubts of a batch could not be noted");
            }
            held(&doubting).remove(&head.id);
        });
    }
}

async fn look(store: &Store, owner: i64, head: &SessionView) -> Result<(), ServiceError> {
    loop {
        let ids = store.undoubted(owner, &head.id, GROUP).await.map_err(refused_by_store)?;
        if ids.is_empty() {
            return Ok(());
        }
        let all = ids.clone();
        let noted = corpus::parsed(store, owner, head, &ids, move |texts| weighed(all, &texts)).await?;
        store.set_weights(owner, &noted).await.map_err(refused_by_store)?;
    }
}

/// How doubtful texts are, and how far variants disagree about them; one without any answer has failed.
fn weighed(ids: Vec<String>, texts: &[Found]) -> Vec<(String, Weight)> {
    let of = |id: &str| texts.iter().find(|text| text.document.id == id).map(Weight::of);
    let noted = |id: String| {
        let weight = of(&id).unwrap_or(Weight::FAILED);
        (id, weight)
    };
    ids.into_iter().map(noted).collect()
}

#[async_trait]
impl ReviewServices for Reviews {
    async fn review(&self, owner: Owner, session: &str, wanted: Wanted) -> Result<ReviewView, ServiceError> {
        if self.store().is_batch(owner.0, session).await.map_err(refused_by_store)? {
            let head = self.store().session_head(owner.0, session).await.map_err(refused_by_store)?;
            return self.part(owner.0, head, &wanted).await;
        }
        let reviewed = self.studio.reviewed(owner, session).await?;
        let session = self.studio.session(owner, session).await?;
        Ok(ReviewView { session, reviewed, failed: Vec::new(), part: None })
    }

    async fn next_open(
        &self,
        owner: Owner,
        session: &str,
        order: Order,
        after: &str,
    ) -> Result<Option<String>, ServiceError> {
        self.store().next_open(owner.0, session, order, after).await.map_err(refused_by_store)
    }

    async fn corpus(&self, owner: Owner, session: &str) -> Result<CorpusView, ServiceError> {
        let edits = self.studio.graph_edits(owner, session).await?;
        let head = self.store().session_head(owner.0, session).await.map_err(refused_by_store)?;
        let found = if self.studio.is_large(owner, session).await?.is_some() {
            let answered = self.store().answered_count(owner.0, session).await.map_err(refused_by_store)?;
            let mut found = self.corpora.found(owner.0, &head, answered).await?;
            if let CorpusFound::Read(texts) = &mut found {
                let said = corpus::with_judgements(self.store(), owner.0, &mut texts.texts).await;
                said.map_err(refused_by_store)?;
            }
            found
        } else {
            let session = self.studio.session(owner, session).await?;
            CorpusFound::Read(corpus::computed(move || corpus::whole(found(session))).await?)
        };
        Ok(CorpusView { session: head, edits, found })
    }

    async fn excerpts(
        &self,
        owner: Owner,
        session: &str,
        places: Vec<(String, Span)>,
        around: usize,
    ) -> Result<Vec<Excerpt>, ServiceError> {
        let around = around.min(AROUND);
        let mut excerpts = Vec::new();
        for (document, span) in places.into_iter().take(PLACES) {
            let at = span.start.saturating_sub(around);
            let most = span.end.saturating_sub(at).saturating_add(around).min(10 * AROUND);
            let text = self.store().excerpt(owner.0, session, &document, (at, most)).await.map_err(refused_by_store)?;
            excerpts.extend(text.map(|text| Excerpt { document, at, text }));
        }
        Ok(excerpts)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::{Duration, Instant};

    use protocol::{Judgement, Record, Verdict, record::Mention, review::State};

    use super::*;
    use crate::{
        pool::tests::{server, studio},
        store::{answered_batch, fail_rows},
    };

    const ME: Owner = Owner(1);

    async fn soon<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(Instant::now() < until, "it takes too long");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_large_batch_is_reviewed_drawn_and_shared_page_by_page() {
        let s = server(8).await;
        let reviews = Reviews::new(Arc::new(studio(&s)));
        let studio = &reviews.studio;
        let id = answered_batch(&s.store, 5_050, |n| (n > 9).then_some(n % 3)).await;
        assert!(studio.session(ME, &id).await.is_err(), "too large as a whole");

        let all = Wanted::default();
        let first = reviews.review(ME, &id, all.clone()).await.unwrap();
        let part = first.part.unwrap();
        assert_eq!((part.order.len(), part.total, part.before), (PAGE, 5_050, 0));
        assert_eq!((part.counts, first.session.documents.len()), ([5_050, 0, 0, 0], PAGE));
        soon(async || {
            let unread = reviews.review(ME, &id, all.clone()).await.unwrap().part.unwrap().unread;
            (unread == 0).then_some(())
        })
        .await;
        let check = Wanted { check: Some("a".into()), ..Wanted::default() };
        let sample = reviews.review(ME, &id, check.clone()).await.unwrap();
        assert_eq!((sample.session.documents.len(), sample.part.unwrap().total), (50, 50));
        let last = reviews.review(ME, &id, Wanted { before: part.order.last().cloned(), ..all }).await.unwrap();
        assert_eq!(last.part.unwrap().order, part.order[..PAGE - 1]);
        let other = Owner(2);
        assert!(reviews.review(other, &id, check).await.is_err() && reviews.corpus(other, &id).await.is_err());
        let places = vec![(part.order[0].clone(), Span { start: 0, end: 4 })];
        assert_eq!(reviews.excerpts(ME, &id, places.clone(), 0).await.unwrap()[0].text, "Text");
        assert!(reviews.excerpts(other, &id, places, 0).await.unwrap().is_empty());
        assert_eq!(studio.preview_text(ME, &id, &part.order[0]).await.unwrap().session.documents.len(), 1);
        assert!(studio.preview_text(other, &id, &part.order[0]).await.is_err());

        let text = part.order[0].clone();
        let record = Record::Entity { label: "person".into(), mention: Mention::new("Text") };
        let said = Judgement { record, verdict: Verdict::Wrong, correction: None };
        studio.accept(ME, &text, vec![said.clone()]).await.unwrap();
        assert_eq!(reviews.next_open(ME, &id, Order::Doubt, &text).await.unwrap().as_ref(), part.order.get(1));
        let scores = studio.scores(ME, &id, None, None).await.unwrap();
        assert_eq!((scores.texts, scores.judged), (5_050, 1));

        let found = soon(async || match reviews.corpus(ME, &id).await.unwrap().found {
            CorpusFound::Read(texts) => Some(texts),
            CorpusFound::Reading { read, total } => {
                assert!(read <= total && total == 5_050);
                None
            }
        });
        let found = found.await;
        let most = found.most.unwrap();
        assert_eq!((most.names, most.of, most.texts), (200, 5_051, 5_050));
        assert!(found.texts.len() <= 220, "{}", found.texts.len());

        let link = studio.share(ME, &id, "look", "").await.unwrap();
        let token = link.url.rsplit('/').next().unwrap();
        studio.unjudge(ME, &text, &said.record.key()).await.unwrap();
        let shown = studio.shared(token, 203).await.unwrap();
        assert_eq!((shown.pages, shown.page, shown.texts), (202, 202, 5_050));
        assert_eq!(shown.snapshot.session.documents.len(), 25);
        let judged = async || {
            let mut judged = Vec::new();
            for page in 1..=202 {
                let shown = studio.shared(token, page).await.unwrap().snapshot.session;
                judged.extend(shown.documents.into_iter().filter(|d| !d.judgements.is_empty()).map(|d| d.id));
            }
            judged
        };
        assert_eq!(judged().await, std::slice::from_ref(&text), "as it was when the link was made");
        assert_eq!(studio.opened(token).await.unwrap().snapshot.reviewed, [text], "what a person had gone through");
        studio.revoke(ME, &link.link.id).await.unwrap();
        assert!(studio.shared(token, 1).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn judged_texts_that_are_too_long_together_are_not_read_for_their_scores() {
        let s = server(8).await;
        let studio = studio(&s);
        let id = answered_batch(&s.store, 4, |_| Some(0)).await;
        let long = "UPDATE document SET text = 'Text' || hex(zeroblob(6500000))";
        sqlx::query(long).execute(s.store.pool()).await.unwrap();
        let texts = s.store.queue_ids(1, &id).await.unwrap();
        studio.accept(ME, &texts[0], Vec::new()).await.unwrap();
        assert_eq!(studio.scores(ME, &id, None, None).await.unwrap().judged, 1, "one is little enough");
        for text in &texts {
            studio.accept(ME, text, Vec::new()).await.unwrap();
        }
        let refused = studio.scores(ME, &id, None, None).await.unwrap_err().to_string();
        assert!(refused.contains("too much to be scored") && refused.contains("48 MB"), "{refused}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_text_that_failed_is_in_the_review_with_its_reason_until_it_is_answered() {
        let s = server(8).await;
        let reviews = Reviews::new(Arc::new(studio(&s)));
        let id = answered_batch(&s.store, 120, |n| Some(n % 3)).await;
        let failed = fail_rows(&s.store, &id, &[7, 70], None).await;
        // Noted before anybody knew how doubtful a failure is.
        let unread = async |show| {
            let wanted = Wanted { show, ..Wanted::default() };
            let view = reviews.review(ME, &id, wanted).await.unwrap();
            (view.part.clone().unwrap().unread == 0).then_some(view)
        };
        let first = soon(async || unread(None).await).await;
        let part = first.part.unwrap();
        assert_eq!((part.counts, part.total), ([118, 0, 0, 2], 120));
        assert_eq!(part.order[..2], failed, "they stand first");
        let said: Vec<_> = first.failed.iter().map(|(_, reason)| reason.en.as_str()).collect();
        assert_eq!(said, ["It broke."; 2]);
        let only = unread(Some(State::Failed)).await.unwrap();
        assert_eq!((only.part.unwrap().order, only.session.documents.len()), (failed.clone(), 2));
        assert_eq!(
            reviews.next_open(ME, &id, Order::Doubt, "").await.unwrap().as_ref(),
            part.order.get(2),
            "there is no answer in them"
        );
        let sample = Wanted { check: Some("a".into()), ..Wanted::default() };
        let sample = reviews.review(ME, &id, sample).await.unwrap();
        assert!(sample.failed.is_empty() && sample.session.documents.len() == 50);

        s.store.want_rows(1, &id, true).await.unwrap();
        assert_eq!(unread(None).await.unwrap().part.unwrap().counts, [118, 0, 0, 0], "they wait");
    }
}
