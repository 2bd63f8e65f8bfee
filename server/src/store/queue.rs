//! The texts of a batch in the order of their review: the doubtful first, or those about which variants disagree; as they stand
//! in the file where that is the same. Those that failed are the most doubtful. The order does not depend on what people say, so that pages of it hold while they
//! say it.

use app::doubts::Weight;
use protocol::{
    Sentence,
    review::{Order, State},
};
use sqlx::{QueryBuilder, Sqlite};

use super::{Store, StoreError, part::listed};

/// Which texts, in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// By what they are ordered.
    pub order: Order,
    /// Those in this state only.
    pub only: Option<State>,
}

impl List {
    /// The column that it is ordered by.
    fn column(self) -> &'static str {
        match self.order {
            Order::Doubt => "b.doubt",
            Order::Differs => "b.differs",
        }
    }
}

/// Where a page of the order begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// With the first text.
    First,
    /// With this one.
    At(&'a str),
    /// Behind this one.
    After(&'a str),
    /// So that it ends before this one.
    Before(&'a str),
}

/// A page of the order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueuePage {
    /// The texts.
    pub ids: Vec<String>,
    /// How many stand before them.
    pub before: usize,
}

/// How many texts are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// In the order of [`State::ALL`].
    pub states: [usize; 4],
    /// Of them, texts whose doubt nobody has looked at: they stand at the end.
    pub unread: usize,
}

/// Rows that have an answer; a failed one has none.
pub(super) const ANSWERED: &str = "b.state IN ('done', 'nothing') AND b.document_id IS NOT NULL";
/// Rows that have ended, and have a text to look at.
const QUEUED: &str = "b.state IN ('done', 'nothing', 'failed') AND b.document_id IS NOT NULL";
const REVIEWED: &str =
    "EXISTS (SELECT 1 FROM review v WHERE v.document_id = b.document_id AND v.owner_id = b.owner_id)";
/// Something in it was not right.
const CHANGED: &str = "EXISTS (SELECT 1 FROM judgement j WHERE j.document_id = b.document_id
    AND j.owner_id = b.owner_id AND json_extract(j.judgement, '$.verdict') <> 'right')";

impl Store {
    /// How many texts of a batch are in which state.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn queue_counts(&self, owner: i64, session: &str) -> Result<QueueCounts, StoreError> {
        let sql = format!(
            "SELECT count(*), total(seen), total(seen AND {CHANGED}), total(NOT seen AND b.state = 'failed'),
                 total(doubt < 0) FROM (SELECT b.*, {REVIEWED} AS seen FROM batch_row b
                   WHERE b.session_id = ? AND b.owner_id = ? AND {QUEUED}) b"
        );
        let (all, seen, changed, failed, unread): (i64, f64, f64, f64, f64) =
            sqlx::query_as(&sql).bind(session).bind(owner).fetch_one(&self.pool).await?;
        let (all, seen, changed, failed) = (all as usize, seen as usize, changed as usize, failed as usize);
        Ok(QueueCounts { states: [all - seen - failed, seen - changed, changed, failed], unread: unread as usize })
    }

    /// How many texts of a batch have answers.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn answered_count(&self, owner: i64, session: &str) -> Result<usize, StoreError> {
        // The owner is asked of the batch, so that its rows are counted from an index alone.
        let sql = format!(
            "SELECT count(*) FROM batch_row b
             WHERE b.session_id = (SELECT session_id FROM batch WHERE session_id = ? AND owner_id = ?) AND {ANSWERED}"
        );
        let (count,): (i64,) = sqlx::query_as(&sql).bind(session).bind(owner).fetch_one(&self.pool).await?;
        Ok(count as usize)
    }

    /// At most so many texts of a list. A text that is not in the order is taken for
    /// the first.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn queue(
        &self,
        owner: i64,
        session: &str,
        list: List,
        start: Start<'_>,
        most: i64,
    ) -> Result<QueuePage, StoreError> {
        let key = self.start_key(owner, session, list, start).await?;
        let ids = self.page_ids(owner, session, list, (start, key), most).await?;
        // The first page has nothing before it, which need not be counted.
        let (Some(first), Some(_)) = (ids.first(), key) else { return Ok(QueuePage { ids, before: 0 }) };
        let Some(key) = self.queue_key(owner, session, list, first).await? else { return Ok(QueuePage::default()) };
        let mut query = queued("SELECT count(*)", owner, session, list.only);
        behind(&mut query, list, key, "<");
        let (before,): (i64,) = query.build_query_as().fetch_one(&self.pool).await?;
        Ok(QueuePage { ids, before: before as usize })
    }

    /// The texts of a page, which begins where a key says, or with the first of all.
    async fn page_ids(
        &self,
        owner: i64,
        session: &str,
        list: List,
        (start, key): (Start<'_>, Option<(i64, i64)>),
        most: i64,
    ) -> Result<Vec<String>, StoreError> {
        let (mut query, backwards) = page(owner, session, list, (start, key), most);
        let rows: Vec<(String,)> = query.build_query_as().fetch_all(&self.pool).await?;
        let mut ids: Vec<String> = rows.into_iter().map(|(id,)| id).collect();
        if backwards {
            ids.reverse();
        }
        Ok(ids)
    }

    /// The next text in an order that has an answer and that nobody has gone through, after one, else from the beginning.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn next_open(
        &self,
        owner: i64,
        session: &str,
        order: Order,
        after: &str,
    ) -> Result<Option<String>, StoreError> {
        let list = List { order, only: Some(State::Unreviewed) };
        for start in [Start::After(after), Start::First] {
            let key = self.start_key(owner, session, list, start).await?;
            let next = self.page_ids(owner, session, list, (start, key), 1).await?;
            if let Some(id) = next.into_iter().next() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// All texts of the order that have answers.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn queue_ids(&self, owner: i64, session: &str) -> Result<Vec<String>, StoreError> {
        let mut query = rows_of("SELECT b.document_id", owner, session, ANSWERED);
        query.push(" ORDER BY b.doubt DESC, b.position");
        let rows: Vec<(String,)> = query.build_query_as().fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Texts of a batch that have answers, in the order of the file, from a position on; each with its position.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn answered(
        &self,
        owner: i64,
        session: &str,
        from: i64,
        most: i64,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        let mut query = rows_of("SELECT b.position, b.document_id", owner, session, ANSWERED);
        query.push(" AND b.position >= ").push_bind(from).push(" ORDER BY b.position LIMIT ").push_bind(most);
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// Some of the texts whose doubt nobody has looked at.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn undoubted(&self, owner: i64, session: &str, most: i64) -> Result<Vec<String>, StoreError> {
        let mut query = rows_of("SELECT b.document_id", owner, session, QUEUED);
        query.push(" AND b.doubt < 0 LIMIT ").push_bind(most);
        let rows: Vec<(String,)> = query.build_query_as().fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Notes how doubtful texts are, and how far variants disagree about them.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn set_weights(&self, owner: i64, weights: &[(String, Weight)]) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        for (document, weight) in weights {
            sqlx::query("UPDATE batch_row SET doubt = ?, differs = ? WHERE document_id = ? AND owner_id = ?")
                .bind(weight.doubt as i64)
                .bind(weight.differs as i64)
                .bind(document)
                .bind(owner)
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Those of some texts of a batch that failed, each with why.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn failed_of(
        &self,
        owner: i64,
        session: &str,
        texts: &[String],
    ) -> Result<Vec<(String, Sentence)>, StoreError> {
        let failed = "b.state = 'failed' AND b.error IS NOT NULL";
        let mut query = rows_of("SELECT b.document_id, b.error", owner, session, failed);
        listed(&mut query, "b.document_id", texts);
        let rows: Vec<(String, String)> = query.build_query_as().fetch_all(&self.pool).await?;
        rows.into_iter().map(|(id, said)| Ok((id, serde_json::from_str(&said)?))).collect()
    }

    /// Where the text stands that a page is told by.
    async fn start_key(
        &self,
        owner: i64,
        session: &str,
        list: List,
        start: Start<'_>,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        match start {
            Start::First => Ok(None),
            Start::At(id) | Start::After(id) | Start::Before(id) => self.queue_key(owner, session, list, id).await,
        }
    }

    /// Where a text stands.
    async fn queue_key(
        &self,
        owner: i64,
        session: &str,
        list: List,
        id: &str,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        let select = format!("SELECT {}, b.position", list.column());
        let mut query = rows_of(&select, owner, session, QUEUED);
        query.push(" AND b.document_id = ").push_bind(id);
        Ok(query.build_query_as().fetch_optional(&self.pool).await?)
    }
}

/// A query about some rows of an owner's batch.
fn rows_of<'q>(select: &str, owner: i64, session: &'q str, which: &str) -> QueryBuilder<'q, Sqlite> {
    let mut query = QueryBuilder::new(format!("{select} FROM batch_row b WHERE b.session_id = "));
    query.push_bind(session).push(" AND b.owner_id = ").push_bind(owner).push(format!(" AND {which}"));
    query
}

/// A query about the texts of the order, of one state only if one is named.
fn queued<'q>(select: &str, owner: i64, session: &'q str, only: Option<State>) -> QueryBuilder<'q, Sqlite> {
    let mut query = rows_of(select, owner, session, QUEUED);
    query.push(match only {
        None => String::new(),
        Some(State::Unreviewed) => format!(" AND b.state <> 'failed' AND NOT {REVIEWED}"),
        Some(State::Accepted) => format!(" AND {REVIEWED} AND NOT {CHANGED}"),
        Some(State::Corrected) => format!(" AND {REVIEWED} AND {CHANGED}"),
        Some(State::Failed) => format!(" AND b.state = 'failed' AND NOT {REVIEWED}"),
    });
    query
}

/// The query of a page, and whether it is read from its end.
pub(super) fn page<'q>(
    owner: i64,
    session: &'q str,
    list: List,
    (start, key): (Start<'_>, Option<(i64, i64)>),
    most: i64,
) -> (QueryBuilder<'q, Sqlite>, bool) {
    let mut query = queued("SELECT b.document_id", owner, session, list.only);
    let column = list.column();
    let backwards = key.is_some() && matches!(start, Start::Before(_));
    if let Some(key) = key {
        // Follows from the next condition, but from this one alone the index knows where to begin.
        query.push(format!(" AND {column} {} ", if backwards { ">=" } else { "<=" })).push_bind(key.0);
        behind(
            &mut query,
            list,
            key,
            match start {
                Start::Before(_) => "<",
                Start::At(_) => ">=",
                _ => ">",
            },
        );
    }
    let (down, up) = if backwards { ("", " DESC") } else { (" DESC", "") };
    query.push(format!(" ORDER BY {column}{down}, b.position{up}"));
    query.push(" LIMIT ").push_bind(most);
    (query, backwards)
}

/// Adds the condition that a row stands before, at or behind a place, by the sign that its position is compared with.
fn behind(query: &mut QueryBuilder<'_, Sqlite>, list: List, (weight, position): (i64, i64), sign: &str) {
    let column = list.column();
    let heavier = if sign == "<" { ">" } else { "<" };
    query.push(format!(" AND ({column} {heavier} ")).push_bind(weight);
    query.push(format!(" OR {column} = ")).push_bind(weight);
    query.push(format!(" AND b.position {sign} ")).push_bind(position).push(")");
}
