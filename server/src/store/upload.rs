//! Files that were read and wait for their columns to be chosen. Their rows lie in a file; here is what is shown of them.

use protocol::batch::UploadView;
use sqlx::Row;

use super::{Store, StoreError, now_ms};

impl Store {
    /// Stores what is shown of an uploaded file.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn insert_upload(&self, owner: i64, upload: &UploadView) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO upload (id, owner_id, name, columns, row_count, preview, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&upload.id)
        .bind(owner)
        .bind(&upload.name)
        .bind(serde_json::to_string(&upload.columns)?)
        .bind(upload.rows as i64)
        .bind(serde_json::to_string(&upload.preview)?)
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// An uploaded file.
    ///
    /// # Errors
    /// It is not the owner's.
    pub async fn upload(&self, owner: i64, id: &str) -> Result<UploadView, StoreError> {
        let row = sqlx::query("SELECT name, columns, row_count, preview FROM upload WHERE id = ? AND owner_id = ?")
            .bind(id)
            .bind(owner)
            .fetch_optional(&self.pool)
            .await?
            .ok_or(StoreError::Missing("file"))?;
        let (columns, preview): (String, String) = (row.try_get("columns")?, row.try_get("preview")?);
        Ok(UploadView {
            id: id.to_owned(),
            name: row.try_get("name")?,
            columns: serde_json::from_str(&columns)?,
            rows: row.try_get::<i64, _>("row_count")? as usize,
            preview: serde_json::from_str(&preview)?,
        })
    }

    /// Forgets the owner's uploads beyond the newest few; their ids.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn delete_old_uploads(&self, owner: i64, keep: i64) -> Result<Vec<String>, StoreError> {
        let gone: Vec<(String,)> = sqlx::query_as(
            "DELETE FROM upload WHERE id IN
             (SELECT id FROM upload WHERE owner_id = ? ORDER BY id DESC LIMIT -1 OFFSET ?) RETURNING id",
        )
        .bind(owner)
        .bind(keep)
        .fetch_all(&self.pool)
        .await?;
        Ok(gone.into_iter().map(|(id,)| id).collect())
    }

    /// Forgets the uploads of anybody that were made before a time; their ids.
    pub(super) async fn purge_uploads(&self, before: i64) -> Result<Vec<String>, StoreError> {
        let gone: Vec<(String,)> = sqlx::query_as("DELETE FROM upload WHERE created_at < ? RETURNING id")
            .bind(before)
            .fetch_all(&self.pool)
            .await?;
        Ok(gone.into_iter().map(|(id,)| id).collect())
    }

    /// The ids of all uploads, for tidying their files.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn uploads(&self) -> Result<Vec<String>, StoreError> {
        let ids: Vec<(String,)> = sqlx::query_as("SELECT id FROM upload").fetch_all(&self.pool).await?;
        Ok(ids.into_iter().map(|(id,)| id).collect())
    }
}
