//! Sharing a saved schema.

use leptos::prelude::*;
use protocol::view::ShareView;

use super::links::{LinkButton, Links, MadeLink, Making, OpenLinks};
use crate::{
    api,
    i18n::{t, t_string, use_i18n},
    services::ServiceError,
};

/// The links of a schema. A link shows the version that was the newest when it was made.
#[component]
pub fn SchemaShare(id: String, open: Vec<ShareView>, error: RwSignal<Option<ServiceError>>) -> impl IntoView {
    let i18n = use_i18n();
    let links = Links::new(open, error);
    let action = format!("/schemas/{id}/share");
    let send = move |origin| -> Making { Box::pin(api::share_schema(id.clone(), origin)) };
    view! {
        <div class="share">
            <div class="buttons"><LinkButton links action send/> <span class="help">{t!(i18n, schema_share_help)}</span></div>
            <MadeLink links local=Signal::derive(move || t_string!(i18n, schema_share_local).to_owned())/>
            <OpenLinks links/>
        </div>
    }
}
