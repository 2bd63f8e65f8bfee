//! Sessions: opened by the first run, listed, searched, renamed, deleted and brought back.

use protocol::{
    RunView, SessionSummary, SessionView,
    text::{byte_offset, slice_chars},
    view::{DocumentView, ExtractionView, Page},
};
use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};

use super::{Store, StoreError, extraction, like, now_ms, run};

/// The most sessions a list shows, and the most words a search looks for.
const MAX_LISTED: i64 = 300;
const MAX_WORDS: usize = 8;
/// Length of an excerpt, in code points, and how much of it stands before a match.
const EXCERPT: usize = 140;
const BEFORE_MATCH: usize = 40;

/// Runs to be stored together, with the session and the texts they need.
#[derive(Clone, Debug)]
pub struct NewRuns {
    /// The session they belong to.
    pub session: String,
    /// Title and page, when the session is to be opened.
    pub open: Option<(String, Page)>,
    /// The texts that are not in the session yet.
    pub documents: Vec<DocumentView>,
    /// The extractions that own some of the runs.
    pub extractions: Vec<ExtractionView>,
    /// The runs.
    pub runs: Vec<RunView>,
}

impl Store {
    /// Stores runs with their texts, and opens their session if it is new: all of it or nothing.
    ///
    /// # Errors
    /// The session is not the owner's, or the database refuses.
    pub async fn insert_runs(&self, owner: i64, new: &NewRuns) -> Result<(), StoreError> {
        let now = now_ms();
        let mut tx = self.pool.begin().await?;
        match &new.open {
            Some((title, page)) => {
                sqlx::query(
                    "INSERT INTO session (id, owner_id, title, page, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
                )
                .bind(&new.session)
                .bind(owner)
                .bind(title)
                .bind(page.name())
                .bind(now)
                .bind(now)
                .execute(&mut *tx)
                .await?;
            }
            None => {
                let done = sqlx::query(
                    "UPDATE session SET updated_at = ? WHERE id = ? AND owner_id = ? AND deleted_at IS NULL",
                )
                .bind(now)
                .bind(&new.session)
                .bind(owner)
                .execute(&mut *tx)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::Missing("session"));
                }
            }
        }
        for document in &new.documents {
            sqlx::query("INSERT INTO document (id, owner_id, session_id, text, created_at) VALUES (?, ?, ?, ?, ?)")
                .bind(&document.id)
                .bind(owner)
                .bind(&new.session)
                .bind(&document.text)
                .bind(now)
                .execute(&mut *tx)
                .await?;
        }
        for one in &new.extractions {
            extraction::insert(&mut tx, owner, one).await?;
        }
        for one in &new.runs {
            run::insert(&mut tx, owner, one).await?;
        }
        Ok(tx.commit().await?)
    }

    /// A whole session that is not deleted.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn session(&self, owner: i64, id: &str) -> Result<SessionView, StoreError> {
        Ok(SessionView {
            documents: self.documents(owner, id).await?,
            runs: self.runs(owner, id).await?,
            extractions: self.extractions(owner, id).await?,
            ..self.session_head(owner, id).await?
        })
    }

    /// Whether a session is an owner's batch.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn is_batch(&self, owner: i64, session: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM batch WHERE session_id = ? AND owner_id = ?)";
        let (known,): (bool,) = sqlx::query_as(sql).bind(session).bind(owner).fetch_one(&self.pool).await?;
        Ok(known)
    }

    /// How many texts and runs the session of a batch has; `None` for one that is no batch.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn batch_size(&self, owner: i64, session: &str) -> Result<Option<(i64, i64)>, StoreError> {
        let row = sqlx::query_as(
            "SELECT (SELECT count(*) FROM document d WHERE d.session_id = b.session_id),
                    (SELECT count(*) FROM run r WHERE r.session_id = b.session_id)
             FROM batch b WHERE b.session_id = ? AND b.owner_id = ?",
        )
        .bind(session)
        .bind(owner)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row)
    }

    /// Bytes of a session's texts, prompts and answers, which are not read for that.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn session_bytes(&self, owner: i64, session: &str) -> Result<i64, StoreError> {
        let (bytes,): (i64,) = sqlx::query_as(
            "SELECT coalesce((SELECT sum(octet_length(text)) FROM document WHERE session_id = s.id), 0)
                  + coalesce((SELECT sum(octet_length(prompt) + octet_length(text)) FROM run WHERE session_id = s.id), 0)
             FROM session s WHERE s.id = ? AND s.owner_id = ?",
        )
        .bind(session)
        .bind(owner)
        .fetch_optional(&self.pool)
        .await?
        .ok_or(StoreError::Missing("session"))?;
        Ok(bytes)
    }

    /// A session that is not deleted, without its texts, extractions and runs.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn session_head(&self, owner: i64, id: &str) -> Result<SessionView, StoreError> {
        let row: Option<(String, String, i64, i64)> = sqlx::query_as(
            "SELECT title, page, created_at, updated_at FROM session
             WHERE id = ? AND owner_id = ? AND deleted_at IS NULL",
        )
        .bind(id)
        .bind(owner)
        .fetch_optional(&self.pool)
        .await?;
        let (title, page, created_at, updated_at) = row.ok_or(StoreError::Missing("session"))?;
        Ok(SessionView {
            id: id.to_owned(),
            title,
            page: Page::from_name(&page).unwrap_or(Page::Extract),
            created_at,
            updated_at,
            documents: Vec::new(),
            runs: Vec::new(),
            extractions: Vec::new(),
            shares: self.shares(owner, id).await?,
        })
    }

    /// An owner's sessions, newest first. With words to search for, those that hold every one of them in title, texts,
    /// prompts or answers; letters match in either case within ASCII.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn sessions(&self, owner: i64, search: &str) -> Result<Vec<SessionSummary>, StoreError> {
        let words: Vec<&str> = search.split_whitespace().take(MAX_WORDS).collect();
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT s.id, s.title, s.page, s.updated_at,
             (SELECT count(*) FROM run r WHERE r.session_id = s.id AND r.extraction_id IS NULL)
                + (SELECT count(*) FROM extraction x WHERE x.session_id = s.id) AS runs,
             (SELECT count(*) FROM judgement j JOIN document d ON d.id = j.document_id WHERE d.session_id = s.id)
                AS judgements,
             EXISTS (SELECT 1 FROM share h WHERE h.session_id = s.id AND h.revoked_at IS NULL) AS shared, ",
        );
        match words.first() {
            None => {
                query.push(
                    "coalesce((SELECT d.text FROM document d WHERE d.session_id = s.id ORDER BY d.id DESC LIMIT 1),
                 (SELECT r.prompt FROM run r WHERE r.session_id = s.id ORDER BY r.id DESC LIMIT 1), '') AS excerpt",
                );
            }
            Some(word) => {
                query.push("coalesce((SELECT d.text FROM document d WHERE d.session_id = s.id AND d.text LIKE ");
                query.push_bind(like(word)).push(" ESCAPE '\\' ORDER BY d.id DESC LIMIT 1), ");
                query.push("(SELECT r.text FROM run r WHERE r.session_id = s.id AND r.text LIKE ");
                query.push_bind(like(word)).push(" ESCAPE '\\' ORDER BY r.id DESC LIMIT 1), ");
                query.push("(SELECT r.prompt FROM run r WHERE r.session_id = s.id AND r.prompt LIKE ");
                query.push_bind(like(word)).push(" ESCAPE '\\' ORDER BY r.id DESC LIMIT 1), ");
                query.push("(SELECT d.text FROM document d WHERE d.session_id = s.id ORDER BY d.id DESC LIMIT 1), ");
                query.push("(SELECT r.prompt FROM run r WHERE r.session_id = s.id ORDER BY r.id DESC LIMIT 1), '')");
                query.push(" AS excerpt");
            }
        }
        query.push(" FROM session s WHERE s.deleted_at IS NULL AND s.owner_id = ").push_bind(owner);
        for word in &words {
            let pattern = like(word);
            query.push(" AND (s.title LIKE ").push_bind(pattern.clone()).push(" ESCAPE '\\'");
            query.push(" OR EXISTS (SELECT 1 FROM document d WHERE d.session_id = s.id AND d.text LIKE ");
            query.push_bind(pattern.clone()).push(" ESCAPE '\\')");
            query.push(" OR EXISTS (SELECT 1 FROM run r WHERE r.session_id = s.id AND (r.text LIKE ");
            query.push_bind(pattern.clone()).push(" ESCAPE '\\' OR r.prompt LIKE ");
            query.push_bind(pattern).push(" ESCAPE '\\')))");
        }
        query.push(" ORDER BY s.updated_at DESC, s.id DESC LIMIT ").push_bind(MAX_LISTED);
        let rows = query.build().fetch_all(&self.pool).await?;
        rows.iter().map(|row| summary(row, words.first().copied())).collect()
    }

    /// Gives a session a new title.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn rename(&self, owner: i64, session: &str, title: &str) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE session SET title = ? WHERE id = ? AND owner_id = ? AND deleted_at IS NULL")
            .bind(title)
            .bind(session)
            .bind(owner)
            .execute(&self.pool)
            .await?;
        if done.rows_affected() == 0 { Err(StoreError::Missing("session")) } else { Ok(()) }
    }

    /// Deletes a session, or brings it back.
    ///
    /// # Errors
    /// It is not the owner's, or purged already.
    pub async fn set_deleted(&self, owner: i64, session: &str, deleted: bool) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE session SET deleted_at = ? WHERE id = ? AND owner_id = ?")
            .bind(deleted.then(now_ms))
            .bind(session)
            .bind(owner)
            .execute(&self.pool)
            .await?;
        if done.rows_affected() == 0 { Err(StoreError::Missing("session")) } else { Ok(()) }
    }

    /// Removes the sessions deleted before a time, with everything in them.
    pub(super) async fn purge(&self, deleted_before: i64) -> Result<u64, StoreError> {
        let done =
            sqlx::query("DELETE FROM session WHERE deleted_at < ?").bind(deleted_before).execute(&self.pool).await?;
        Ok(done.rows_affected())
    }
}

fn summary(row: &SqliteRow, word: Option<&str>) -> Result<SessionSummary, StoreError> {
    let page: String = row.try_get("page")?;
    let text: String = row.try_get("excerpt")?;
    Ok(SessionSummary {
        id: row.try_get("id")?,
        title: row.try_get("title")?,
        page: Page::from_name(&page).unwrap_or(Page::Extract),
        runs: row.try_get("runs")?,
        judgements: row.try_get("judgements")?,
        shared: row.try_get("shared")?,
        excerpt: excerpt(&text, word),
        updated_at: row.try_get("updated_at")?,
    })
}

/// The beginning of a text, or the words around the first match, on one line.
fn excerpt(text: &str, word: Option<&str>) -> String {
    let at = word.and_then(|w| text.to_ascii_lowercase().find(&w.to_ascii_lowercase())).unwrap_or(0);
    let chars_before = text.get(..at).map_or(0, |before| before.chars().count());
    let start = chars_before.saturating_sub(BEFORE_MATCH);
    let part = slice_chars(text, start, start + EXCERPT);
    let cut = byte_offset(text, start + EXCERPT) < text.len();
    let line = part.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{}{line}{}", if start > 0 { "…" } else { "" }, if cut { "…" } else { "" })
}
