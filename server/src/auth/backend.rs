//! Names and passwords against the store.

use std::sync::LazyLock;

use app::services::Owner;
use axum_login::{AuthUser, AuthnBackend, UserId};
use tokio::sync::OwnedSemaphorePermit;

use crate::store::{Account, Store, StoreError};

/// The login of a request.
pub type AuthSession = axum_login::AuthSession<Backend>;

/// Somebody with a password.
#[derive(Clone, Debug)]
pub struct User {
    account: Account,
    password_hash: String,
}

impl User {
    /// As the services know them.
    pub fn owner(&self) -> Owner {
        Owner(self.account.id)
    }

    fn of(account: Account) -> Option<Self> {
        let password_hash = account.password_hash.clone()?;
        Some(Self { account, password_hash })
    }
}

impl AuthUser for User {
    type Id = i64;

    fn id(&self) -> i64 {
        self.account.id
    }

    /// Another password ends every login.
    fn session_auth_hash(&self) -> &[u8] {
        self.password_hash.as_bytes()
    }
}

/// What a person types.
pub struct Credentials {
    /// Their name.
    pub name: String,
    /// Their password.
    pub password: String,
    /// The right to compute a hash, held until that is done even if the person has gone.
    pub turn: OwnedSemaphorePermit,
}

/// Looks people up in the store.
#[derive(Clone, Debug)]
pub struct Backend {
    store: Store,
}

impl Backend {
    /// Over a store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// An account by id.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn account(&self, id: i64) -> Result<Option<Account>, StoreError> {
        self.store.account(id).await
    }

    /// Sets name and password of an owner who has none, and gives them as they can log in.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn set_first_password(&self, id: i64, name: &str, password: String) -> Result<Option<User>, StoreError> {
        let hashed = tokio::task::spawn_blocking(move || password_auth::generate_hash(password)).await;
        let Ok(hashed) = hashed else { return Ok(None) };
        if !self.store.set_first_password(id, name, &hashed).await? {
            return Ok(None);
        }
        Ok(self.store.account(id).await?.and_then(User::of))
    }
}

impl AuthnBackend for Backend {
    type User = User;
    type Credentials = Credentials;
    type Error = StoreError;

    async fn authenticate(&self, given: Credentials) -> Result<Option<User>, StoreError> {
        // A name that nobody has takes as long as a wrong password.
        static NOBODY: LazyLock<String> = LazyLock::new(|| password_auth::generate_hash("nobody"));
        let user = self.store.account_named(&given.name).await?.and_then(User::of);
        let check = tokio::task::spawn_blocking(move || {
            let hash = user.as_ref().map_or(NOBODY.as_str(), |u| &u.password_hash);
            let right = password_auth::verify_password(given.password, hash).is_ok();
            drop(given.turn);
            user.filter(|_| right)
        });
        Ok(check.await.unwrap_or(None))
    }

    async fn get_user(&self, id: &UserId<Self>) -> Result<Option<User>, StoreError> {
        Ok(self.store.account(*id).await?.and_then(User::of))
    }
}
