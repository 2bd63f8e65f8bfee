//! Links to frozen copies of sessions. Only a hash of a link's token is stored.
//!
//! Of a large batch no copy is made: the answers of a row never change once it is done, so a list of its texts is enough, with
//! what had been said of them.

use protocol::view::{ShareView, Snapshot};
use sqlx::SqliteExecutor;

use super::{Store, StoreError, Texts, now_ms, queue::ANSWERED};

/// A link that is open.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenShare {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: i64,
    /// What it shows; without the texts where they are listed apart.
    pub snapshot: Snapshot,
    /// How many texts are listed apart.
    pub texts: usize,
}

impl Store {
    /// Stores a snapshot of an owner's session under the hash of a token.
    ///
    /// # Errors
    /// The session is not the owner's.
    pub async fn insert_share(
        &self,
        owner: i64,
        id: &str,
        token_hash: &str,
        snapshot: &Snapshot,
    ) -> Result<(), StoreError> {
        insert(&self.pool, owner, id, token_hash, snapshot).await
    }

    /// Stores a link to a large batch: the snapshot without its texts, and the list of those that have answers.
    ///
    /// # Errors
    /// The session is not the owner's.
    pub async fn insert_batch_share(
        &self,
        owner: i64,
        id: &str,
        token_hash: &str,
        snapshot: &Snapshot,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        insert(&mut *tx, owner, id, token_hash, snapshot).await?;
        let sql = format!(
            "INSERT INTO share_text (share_id, position, owner_id, document_id, judgements)
             SELECT ?, b.position, b.owner_id, b.document_id,
                 (SELECT json_group_array(json(judgement)) FROM (SELECT j.judgement FROM judgement j
                  WHERE j.document_id = b.document_id AND j.owner_id = b.owner_id ORDER BY j.created_at, j.record_key))
             FROM batch_row b WHERE b.session_id = ? AND b.owner_id = ? AND {ANSWERED}"
        );
        sqlx::query(&sql).bind(id).bind(&snapshot.session.id).bind(owner).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// The open links of a session, oldest first.
    pub(super) async fn shares(&self, owner: i64, session: &str) -> Result<Vec<ShareView>, StoreError> {
        let rows: Vec<(String, i64, String)> = sqlx::query_as(
            "SELECT id, created_at, note FROM share
             WHERE session_id = ? AND owner_id = ? AND revoked_at IS NULL ORDER BY id",
        )
        .bind(session)
        .bind(owner)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(id, created_at, note)| ShareView { id, created_at, note }).collect())
    }

    /// Changes the note of an open link.
    ///
    /// # Errors
    /// The link is not the owner's, or closed.
    pub async fn annotate(&self, owner: i64, share: &str, note: &str) -> Result<ShareView, StoreError> {
        let row: Option<(String, i64, String)> = sqlx::query_as(
            "UPDATE share SET note = ? WHERE id = ? AND owner_id = ? AND revoked_at IS NULL
             RETURNING id, created_at, note",
        )
        .bind(note)
        .bind(share)
        .bind(owner)
        .fetch_optional(&self.pool)
        .await?;
        let (id, created_at, note) = row.ok_or(StoreError::Missing("link"))?;
        Ok(ShareView { id, created_at, note })
    }

    /// Closes a link for good, and gives its session; what it showed is kept no longer.
    ///
    /// # Errors
    /// The link is not the owner's. One already closed is no error.
    pub async fn revoke(&self, owner: i64, share: &str) -> Result<String, StoreError> {
        let mut tx = self.pool.begin().await?;
        let row: Option<(String,)> = sqlx::query_as(
            "UPDATE share SET revoked_at = coalesce(revoked_at, ?), snapshot = '', note = '' WHERE id = ? AND owner_id = ?
             RETURNING session_id",
        )
        .bind(now_ms())
        .bind(share)
        .bind(owner)
        .fetch_optional(&mut *tx)
        .await?;
        let (session,) = row.ok_or(StoreError::Missing("link"))?;
        sqlx::query("DELETE FROM share_text WHERE share_id = ? AND owner_id = ?")
            .bind(share)
            .bind(owner)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(session)
    }

    /// What an open link shows, whoever asks. Links to deleted sessions are closed while those are.
    ///
    /// # Errors
    /// There is no open link with this token.
    pub async fn open_share(&self, token_hash: &str) -> Result<OpenShare, StoreError> {
        let row: Option<(String, i64, String, String, i64)> = sqlx::query_as(
            "SELECT h.id, h.owner_id, h.snapshot, h.note, (SELECT count(*) FROM share_text t WHERE t.share_id = h.id)
             FROM share h JOIN session s ON s.id = h.session_id
             WHERE h.token_hash = ? AND h.revoked_at IS NULL AND s.deleted_at IS NULL",
        )
        .bind(token_hash)
        .fetch_optional(&self.pool)
        .await?;
        let (id, owner, json, note, texts) = row.ok_or(StoreError::Missing("link"))?;
        let snapshot: Snapshot = serde_json::from_str(&json)?;
        Ok(OpenShare { id, owner, snapshot: Snapshot { note, ..snapshot }, texts: texts as usize })
    }

    /// So many of the texts that are listed apart, in the order of the file, as they were when the link was made.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn shared_texts(&self, share: &OpenShare, from: usize, most: usize) -> Result<Texts, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT document_id, judgements FROM share_text WHERE share_id = ? AND owner_id = ?
             ORDER BY position LIMIT ? OFFSET ?",
        )
        .bind(&share.id)
        .bind(share.owner)
        .bind(most as i64)
        .bind(from as i64)
        .fetch_all(&self.pool)
        .await?;
        self.as_shared(share, rows).await
    }

    /// One of the texts that are listed apart, as it was when the link was made; nothing where it is not one of them.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn shared_text(&self, share: &OpenShare, document: &str) -> Result<Texts, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT document_id, judgements FROM share_text WHERE document_id = ? AND share_id = ? AND owner_id = ?",
        )
        .bind(document)
        .bind(&share.id)
        .bind(share.owner)
        .fetch_all(&self.pool)
        .await?;
        self.as_shared(share, rows).await
    }

    /// Texts, each with what had been said of it, as they were when a link was made.
    async fn as_shared(&self, share: &OpenShare, rows: Vec<(String, String)>) -> Result<Texts, StoreError> {
        let ids: Vec<String> = rows.iter().map(|(id, _)| id.clone()).collect();
        let mut texts = self.texts(share.owner, &share.snapshot.session.id, &ids).await?;
        let place = |id: &str| ids.iter().position(|known| known == id).unwrap_or(ids.len());
        texts.documents.sort_by_key(|document| place(&document.id));
        for document in &mut texts.documents {
            let said = rows.iter().find(|(id, _)| *id == document.id);
            document.judgements = said.map(|(_, json)| serde_json::from_str(json)).transpose()?.unwrap_or_default();
        }
        // What was asked about these texts since is not shown.
        let then = share.snapshot.shared_at;
        texts.runs.retain(|run| run.created_at <= then && run.status.is_final());
        texts.runs.sort_by_key(|run| run.document.as_deref().map_or(ids.len(), place));
        texts.extractions.retain(|extraction| extraction.created_at <= then);
        Ok(texts)
    }
}

async fn insert(
    by: impl SqliteExecutor<'_>,
    owner: i64,
    id: &str,
    token_hash: &str,
    snapshot: &Snapshot,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "INSERT INTO share (id, owner_id, session_id, token_hash, note, snapshot, created_at)
         SELECT ?, s.owner_id, s.id, ?, ?, ?, ? FROM session s WHERE s.id = ? AND s.owner_id = ? AND s.deleted_at IS NULL",
    )
    .bind(id)
    .bind(token_hash)
    .bind(&snapshot.note)
    .bind(serde_json::to_string(snapshot)?)
    .bind(snapshot.shared_at)
    .bind(&snapshot.session.id)
    .bind(owner)
    .execute(by)
    .await?;
    if done.rows_affected() == 0 { Err(StoreError::Missing("session")) } else { Ok(()) }
}
