//! Links to a saved schema: made with one click, listed, closed again.

use leptos::{prelude::*, task::spawn_local};
use protocol::view::{NewShare, ShareView};

use super::share::copy;
use crate::{
    api,
    i18n::{t, t_string, use_i18n},
    pages::Moment,
    prefs::fill,
    services::ServiceError,
};

/// The links of a schema. A link shows the version that was the newest when it was made.
#[component]
pub fn SchemaShare(id: String, open: Vec<ShareView>, error: RwSignal<Option<ServiceError>>) -> impl IntoView {
    let i18n = use_i18n();
    let links = RwSignal::new(open);
    let made = RwSignal::new(None::<NewShare>);
    let copied = RwSignal::new(false);
    let sending = RwSignal::new(false);
    let action = format!("/schemas/{id}/share");
    let id = StoredValue::new(id);
    let list = move || {
        spawn_local(async move {
            if let Ok(open) = api::schema_links(id.get_value()).await {
                links.try_set(open);
            }
        });
    };
    let share = move |ev: leptos::ev::SubmitEvent| {
        ev.prevent_default();
        if sending.get_untracked() {
            return;
        }
        sending.set(true);
        copied.set(false);
        error.set(None);
        spawn_local(async move {
            let origin = location().origin().unwrap_or_default();
            match api::share_schema(id.get_value(), origin).await {
                Ok(share) => {
                    made.set(Some(share));
                    list();
                }
                Err(e) => error.set(Some(e)),
            }
            sending.try_set(false);
        });
    };
    let revoke = move |share: String| {
        spawn_local(async move {
            match api::revoke_schema(share.clone()).await {
                Ok(_) => {
                    links.update(|links| links.retain(|link| link.id != share));
                    made.update(|made| {
                        made.take_if(|made| made.id == share);
                    });
                }
                Err(e) => error.set(Some(e)),
            }
        });
    };
    view! {
        <div class="share">
            <form method="post" action=action on:submit=share>
                <button type="submit" class="quiet" data-testid="share" aria-busy=move || sending.get().then_some("true")>{t!(i18n, schema_share)}</button>
                " " <span class="help">{t!(i18n, schema_share_help)}</span>
            </form>
            {move || made.get().map(|share| {
                let url = share.url.clone();
                view! {
                    <div class="notice good" data-testid="share-made">
                        <p>
                            <a data-testid="share-link" href=share.url.clone() target="_blank" rel="noopener external">{share.url.clone()}</a> " "
                            <button type="button" class="link" on:click=move |_| { copy(&url); copied.set(true) }>
                                {move || if copied.get() { t_string!(i18n, copied) } else { t_string!(i18n, copy) }}
                            </button>
                        </p>
                        {share.local_only.then(|| view! { <p class="help">{t!(i18n, schema_share_local)}</p> })}
                    </div>
                }
            })}
            <Show when=move || !links.with(Vec::is_empty)>
                <ul class="links" data-testid="open-links">
                    {move || links.get().into_iter().map(|link| {
                        let (share, action) = (link.id.clone(), format!("/schema-shares/{}/revoke", link.id));
                        let shown = move || fill(t_string!(i18n, schema_share_open), &[("version", &link.note)]);
                        view! {
                            <li>
                                {shown} " " <span class="muted"><Moment at=link.created_at/></span> " "
                                <form method="post" action=action on:submit=move |ev| { ev.prevent_default(); revoke(share.clone()) }>
                                    <button class="link" data-testid="revoke">{t!(i18n, revoke)}</button>
                                </form>
                            </li>
                        }
                    }).collect_view()}
                </ul>
            </Show>
        </div>
    }
}
