//! One file a page.

mod admin;
mod batch;
mod compare;
mod complete;
mod corpus;
mod corpus_places;
mod extract;
mod review;
mod review_order;
mod review_parts;
mod schemas;
mod scores;
mod session;
mod sessions;
mod shared;
mod shared_schema;
mod weights;
mod work;

use leptos::prelude::*;
use protocol::Sentence;

pub use admin::Admin;
pub use batch::Batch;
pub use compare::Compare;
pub use complete::Complete;
pub use corpus::Corpus;
pub use extract::Extract;
pub use review::Review;
pub use schemas::{EditSchema, Schemas};
pub use scores::Scores;
pub use session::Session;
pub use sessions::{Moment, Sessions};
pub use shared::Shared;
#[cfg(feature = "ssr")]
pub use shared::SnapshotBody;
pub use shared_schema::SharedSchema;
pub use weights::Weights;

use crate::{
    components::PageTitle,
    i18n::{t, t_string, use_i18n},
    prefs::language,
    services::ServiceError,
};

/// A page that could not be drawn: the sentence, and a way back.
pub fn error_page(error: &ServiceError) -> AnyView {
    let i18n = use_i18n();
    let language = language();
    #[cfg(feature = "ssr")]
    error.set_status();
    let error = error.clone();
    view! {
        <section class="page empty" id="work">
            <PageTitle text=move || t_string!(i18n, not_available)/>
            <h1>{t!(i18n, not_available)}</h1>
            <p data-testid="page-error">{move || error.sentence(language())}</p>
            <p><a href="/">{t!(i18n, back_home)}</a></p>
        </section>
    }
    .into_any()
}

/// An address that leads nowhere.
#[component]
pub fn NotFound() -> impl IntoView {
    let i18n = use_i18n();
    let sentence = t_string!(i18n, no_such_page);
    error_page(&ServiceError::NotFound(Sentence::new(sentence, sentence)))
}
