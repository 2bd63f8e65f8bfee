//! Rows of batches, as they are worked on, listed and opened.

use std::collections::HashMap;

use protocol::{
    Judgement, RunView, Sentence,
    batch::RowState,
    view::{DocumentView, ExtractionView},
};
use serde_json::{Map, Value};
use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};

use super::{Batch, Store, StoreError};

/// A row of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchRow {
    /// Where it stands, from 0.
    pub position: i64,
    /// Line or row of the file.
    pub line: i64,
    /// Its id: text or number.
    pub id: Value,
    /// Its text's document.
    pub document: Option<String>,
    /// The text; of lists only its beginning.
    pub text: String,
    /// Its other columns.
    pub extra: Map<String, Value>,
    /// Code points of the text.
    pub chars: i64,
    /// Whether it is to be done, or was.
    pub wanted: bool,
    /// Where it is; never `Running`, which only those who run it know.
    pub state: RowState,
    /// Why it failed.
    pub error: Option<Sentence>,
    /// Records found.
    pub found: i64,
}

impl BatchRow {
    /// What another column of the file has in this row. One that is called like something in the output has another name
    /// there.
    pub fn passed(&self, column: &str) -> Option<&Value> {
        let renamed = documents::rows::OWN.contains(&column).then(|| self.extra.get(&format!("input_{column}")));
        renamed.flatten().or_else(|| self.extra.get(column))
    }
}

/// A row with everything.
#[derive(Clone, Debug)]
pub struct FullRow {
    /// The row, with its whole text.
    pub row: BatchRow,
    /// What people said of its records.
    pub judgements: Vec<Judgement>,
    /// Its extractions.
    pub extractions: Vec<ExtractionView>,
    /// Their runs.
    pub runs: Vec<RunView>,
}

impl FullRow {
    /// Its text as the pages know texts.
    pub fn document(&self) -> Option<DocumentView> {
        let id = self.row.document.clone()?;
        Some(DocumentView { id, text: self.row.text.clone(), judgements: self.judgements.clone() })
    }
}

/// Excerpt of a text in lists, in code points.
const EXCERPT: i64 = 160;

const ROW: &str = "b.position, b.line, b.row_id, b.document_id, b.extra, b.chars, b.wanted, b.state, b.error, b.found";

impl Store {
    /// The next rows that are wanted and wait, from a position on, with their whole texts; none of a deleted session.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn waiting_rows(&self, batch: &Batch, from: i64, most: i64) -> Result<Vec<BatchRow>, StoreError> {
        let sql = format!(
            "SELECT {ROW}, d.text FROM batch_row b JOIN session s ON s.id = b.session_id AND s.deleted_at IS NULL
             LEFT JOIN document d ON d.id = b.document_id
             WHERE b.session_id = ? AND b.owner_id = ? AND b.state = 'waiting' AND b.wanted = 1 AND b.position >= ?
             ORDER BY b.position LIMIT ?"
        );
        let rows = sqlx::query(&sql)
            .bind(&batch.session)
            .bind(batch.owner)
            .bind(from)
            .bind(most)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(row_of).collect()
    }

    /// Rows of a list, with the beginning of their texts: from an offset on, of one state only, or of these positions.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn list_rows(
        &self,
        owner: i64,
        session: &str,
        only: Option<RowState>,
        running: &[i64],
        (offset, most): (i64, i64),
    ) -> Result<Vec<BatchRow>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(format!(
            "SELECT {ROW}, substr(d.text, 1, {EXCERPT}) AS text FROM batch_row b
             LEFT JOIN document d ON d.id = b.document_id WHERE b.session_id = "
        ));
        query.push_bind(session).push(" AND b.owner_id = ").push_bind(owner);
        filter(&mut query, only, running);
        query.push(" ORDER BY b.position LIMIT ").push_bind(most).push(" OFFSET ").push_bind(offset);
        query.build().fetch_all(&self.pool).await?.iter().map(row_of).collect()
    }

    /// How many rows such a list has.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn count_rows(
        &self,
        owner: i64,
        session: &str,
        only: Option<RowState>,
        running: &[i64],
    ) -> Result<usize, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT count(*) FROM batch_row b WHERE b.session_id = ");
        query.push_bind(session).push(" AND b.owner_id = ").push_bind(owner);
        filter(&mut query, only, running);
        let (count,): (i64,) = query.build_query_as().fetch_one(&self.pool).await?;
        Ok(count as usize)
    }

    /// A row with its whole text, judgements, extractions and runs.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn batch_row(&self, owner: i64, session: &str, position: i64) -> Result<FullRow, StoreError> {
        let rows = self.full_rows(owner, session, position, 1).await?;
        rows.into_iter().next().filter(|full| full.row.position == position).ok_or(StoreError::Missing("row"))
    }

    /// The ids that the file of a batch gives its texts, by their documents, in the file's order; none of a session that
    /// is no batch.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn row_ids(&self, owner: i64, session: &str) -> Result<Vec<(String, Value)>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT document_id, row_id FROM batch_row
             WHERE session_id = ? AND owner_id = ? AND document_id IS NOT NULL ORDER BY position",
        )
        .bind(session)
        .bind(owner)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|(document, id)| Ok((document, serde_json::from_str(&id)?))).collect()
    }

    /// So many rows from a position on, with everything.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn full_rows(&self, owner: i64, session: &str, from: i64, most: i64) -> Result<Vec<FullRow>, StoreError> {
        let sql = format!(
            "SELECT {ROW}, NULL AS text FROM batch_row b
             WHERE b.session_id = ? AND b.owner_id = ? AND b.position >= ? ORDER BY b.position LIMIT ?"
        );
        let rows = sqlx::query(&sql).bind(session).bind(owner).bind(from).bind(most).fetch_all(&self.pool).await?;
        let rows: Vec<BatchRow> = rows.iter().map(row_of).collect::<Result<_, _>>()?;
        let ids: Vec<String> = rows.iter().filter_map(|row| row.document.clone()).collect();
        let texts = self.texts(owner, session, &ids).await?;
        let mut documents: HashMap<String, DocumentView> =
            texts.documents.into_iter().map(|document| (document.id.clone(), document)).collect();
        let mut extractions = by_text(texts.extractions, |extraction| Some(&extraction.document));
        let mut runs = by_text(texts.runs, |run| run.document.as_ref());
        let whole = |mut row: BatchRow| {
            let id = row.document.as_deref().unwrap_or_default();
            let (extractions, runs) = (extractions.remove(id).unwrap_or_default(), runs.remove(id).unwrap_or_default());
            let (text, judgements) = documents.remove(id).map(|d| (d.text, d.judgements)).unwrap_or_default();
            row.text = text;
            FullRow { row, judgements, extractions, runs }
        };
        Ok(rows.into_iter().map(whole).collect())
    }
}

/// Runs or extractions by the text that they are about, in their order.
fn by_text<T>(all: Vec<T>, text: impl Fn(&T) -> Option<&String>) -> HashMap<String, Vec<T>> {
    let mut map: HashMap<String, Vec<T>> = HashMap::new();
    for one in all {
        if let Some(text) = text(&one).cloned() {
            map.entry(text).or_default().push(one);
        }
    }
    map
}

/// Adds the condition of a list. Rows that run are waiting ones of the database.
fn filter(query: &mut QueryBuilder<'_, Sqlite>, only: Option<RowState>, running: &[i64]) {
    let these = |query: &mut QueryBuilder<'_, Sqlite>, not: &str| {
        query.push(format!(" AND b.position {not} IN ("));
        let mut list = query.separated(", ");
        running.iter().for_each(|position| {
            list.push(position);
        });
        query.push(")");
    };
    match only {
        None => {}
        Some(RowState::Running) => these(query, ""),
        Some(RowState::Waiting) => {
            query.push(" AND b.state = 'waiting'");
            these(query, "NOT");
        }
        Some(state) => {
            query.push(format!(" AND b.state = '{}'", state.name()));
        }
    }
}

fn row_of(row: &SqliteRow) -> Result<BatchRow, StoreError> {
    let state: String = row.try_get("state")?;
    let error: Option<String> = row.try_get("error")?;
    let (id, extra): (String, String) = (row.try_get("row_id")?, row.try_get("extra")?);
    Ok(BatchRow {
        position: row.try_get("position")?,
        line: row.try_get("line")?,
        id: serde_json::from_str(&id)?,
        document: row.try_get("document_id")?,
        text: row.try_get::<Option<String>, _>("text")?.unwrap_or_default(),
        extra: serde_json::from_str(&extra)?,
        chars: row.try_get("chars")?,
        wanted: row.try_get("wanted")?,
        state: RowState::from_name(&state).unwrap_or(RowState::Failed),
        error: error.as_deref().map(serde_json::from_str).transpose()?,
        found: row.try_get("found")?,
    })
}
