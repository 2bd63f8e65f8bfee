//! The people who own sessions. One, so far.

use super::{Store, StoreError};

/// An owner as the login needs them.
#[derive(Clone, sqlx::FromRow)]
pub struct Account {
    /// Their id, the `owner_id` of their rows.
    pub id: i64,
    /// The name they log in with.
    pub name: String,
    /// Their password's hash; `None` until it is set.
    pub password_hash: Option<String>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Store {
    /// An owner by id.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn account(&self, id: i64) -> Result<Option<Account>, StoreError> {
        let query = sqlx::query_as("SELECT id, name, password_hash FROM owner WHERE id = ?");
        Ok(query.bind(id).fetch_optional(&self.pool).await?)
    }

    /// An owner by name, whatever its case.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn account_named(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let query = sqlx::query_as("SELECT id, name, password_hash FROM owner WHERE name = ?");
        Ok(query.bind(name).fetch_optional(&self.pool).await?)
    }

    /// Names an owner and sets the password, unless one is set already: `false` then, and nothing is changed.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn set_first_password(&self, id: i64, name: &str, password_hash: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE owner SET name = ?, password_hash = ? WHERE id = ? AND password_hash IS NULL")
            .bind(name)
            .bind(password_hash)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}
