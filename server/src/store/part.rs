//! Parts of a session that is too large to be read as a whole.

use std::collections::HashMap;

use protocol::{
    Judgement, RunView, SessionView,
    view::{DocumentView, ExtractionView},
};
use sqlx::{QueryBuilder, Sqlite};

use super::{Store, StoreError, document::with_judgements, extraction, run};

/// Some texts of a session, with what was found in them and said of it.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// The texts, in the order of their ids, with their judgements.
    pub documents: Vec<DocumentView>,
    /// The runs about them, oldest first.
    pub runs: Vec<RunView>,
    /// The extractions that own some of these, oldest first.
    pub extractions: Vec<ExtractionView>,
}

impl Texts {
    /// The session that has these texts alone.
    pub fn of(self, head: SessionView) -> SessionView {
        SessionView { documents: self.documents, runs: self.runs, extractions: self.extractions, ..head }
    }
}

impl Store {
    /// Those of some texts that are an owner's, in this session. A few hundred at a time.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn texts(&self, owner: i64, session: &str, ids: &[String]) -> Result<Texts, StoreError> {
        let mut query = about("SELECT id, text FROM document WHERE session_id = ", owner, session);
        listed(&mut query, "id", ids).push(" ORDER BY id");
        let texts: Vec<(String, String)> = query.build_query_as().fetch_all(&self.pool).await?;
        // A text's judgements are its owner's; the session is that of the texts just read.
        let mut judgements = self.judgements_of(owner, ids).await?;
        // The plus has them sought by their texts: those of the session are many more.
        let mut query = about(&format!("SELECT {} FROM run r WHERE +r.session_id = ", run::COLUMNS), owner, session);
        listed(&mut query, "document_id", ids).push(" ORDER BY r.id");
        let runs = query.build().fetch_all(&self.pool).await?;
        let mut query =
            about(&format!("SELECT {} FROM extraction WHERE +session_id = ", extraction::COLUMNS), owner, session);
        listed(&mut query, "document_id", ids).push(" ORDER BY id");
        let extractions = query.build().fetch_all(&self.pool).await?;
        Ok(Texts {
            documents: texts.into_iter().map(|text| with_judgements(text, &mut judgements)).collect(),
            runs: runs.iter().map(run::view).collect::<Result<_, _>>()?,
            extractions: extractions.iter().map(extraction::view).collect::<Result<_, _>>()?,
        })
    }

    /// What an owner has said of some texts. A few hundred at a time.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn judgements_of(
        &self,
        owner: i64,
        ids: &[String],
    ) -> Result<HashMap<String, Vec<Judgement>>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT document_id, judgement FROM judgement WHERE owner_id = ");
        query.push_bind(owner);
        listed(&mut query, "document_id", ids).push(" ORDER BY created_at, record_key");
        by_text(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// What an owner has said of the texts of a session.
    ///
    /// # Errors
    /// The database refuses.
    pub(super) async fn judgements_in(
        &self,
        owner: i64,
        session: &str,
    ) -> Result<HashMap<String, Vec<Judgement>>, StoreError> {
        let filed: Vec<(String, String)> = sqlx::query_as(
            "SELECT j.document_id, j.judgement FROM judgement j JOIN document d ON d.id = j.document_id
             WHERE d.session_id = ? AND d.owner_id = ? ORDER BY j.created_at, j.record_key",
        )
        .bind(session)
        .bind(owner)
        .fetch_all(&self.pool)
        .await?;
        by_text(filed)
    }

    /// So many code points of a text of a session, from one on; `None` where there is no such text.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn excerpt(
        &self,
        owner: i64,
        session: &str,
        document: &str,
        (from, most): (usize, usize),
    ) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as(
            "SELECT substr(text, ? + 1, ?) FROM document WHERE id = ? AND session_id = ? AND owner_id = ?",
        )
        .bind(from as i64)
        .bind(most as i64)
        .bind(document)
        .bind(session)
        .bind(owner)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(text,)| text))
    }

    /// How many runs some texts have, and the bytes of texts, prompts and answers, which are not read for that.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn size_of(&self, owner: i64, ids: &[String]) -> Result<(i64, i64), StoreError> {
        let mut query =
            QueryBuilder::<Sqlite>::new("SELECT coalesce(sum(octet_length(text)), 0) FROM document WHERE owner_id = ");
        query.push_bind(owner);
        let (texts,): (i64,) = listed(&mut query, "id", ids).build_query_as().fetch_one(&self.pool).await?;
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT count(*), coalesce(sum(octet_length(prompt) + octet_length(text)), 0) FROM run WHERE owner_id = ",
        );
        query.push_bind(owner);
        let (runs, answers): (i64, i64) =
            listed(&mut query, "document_id", ids).build_query_as().fetch_one(&self.pool).await?;
        Ok((runs, texts + answers))
    }

    /// The texts of a session that its owner has gone through or said something of.
    ///
    /// # Errors
    /// The session is not the owner's.
    pub async fn judged(&self, owner: i64, session: &str) -> Result<Vec<String>, StoreError> {
        self.known_session(owner, session).await?;
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT d.id FROM document d WHERE d.session_id = ? AND d.owner_id = ?
             AND (EXISTS (SELECT 1 FROM review v WHERE v.document_id = d.id AND v.owner_id = d.owner_id)
                  OR EXISTS (SELECT 1 FROM judgement j WHERE j.document_id = d.id AND j.owner_id = d.owner_id))
             ORDER BY d.id",
        )
        .bind(session)
        .bind(owner)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }
}

fn by_text(filed: Vec<(String, String)>) -> Result<HashMap<String, Vec<Judgement>>, StoreError> {
    let mut judgements: HashMap<String, Vec<Judgement>> = HashMap::new();
    for (document, judgement) in filed {
        judgements.entry(document).or_default().push(serde_json::from_str(&judgement)?);
    }
    Ok(judgements)
}

/// A query about a session of an owner, up to its conditions.
fn about<'q>(select: &str, owner: i64, session: &'q str) -> QueryBuilder<'q, Sqlite> {
    let mut query = QueryBuilder::new(select);
    query.push_bind(session).push(" AND owner_id = ").push_bind(owner);
    query
}

/// Adds the condition that a column is one of these.
pub(super) fn listed<'a, 'q>(
    query: &'a mut QueryBuilder<'q, Sqlite>,
    column: &str,
    these: &'q [impl AsRef<str>],
) -> &'a mut QueryBuilder<'q, Sqlite> {
    query.push(format!(" AND {column} IN ("));
    let mut list = query.separated(", ");
    for one in these {
        list.push_bind(one.as_ref());
    }
    query.push(")")
}
