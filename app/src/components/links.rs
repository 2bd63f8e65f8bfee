//! Links to something of one's own, a session or a schema: made with one click, shown with what to know of them, listed, and closed
//! again. Without scripts the same forms go to the server.

use std::pin::Pin;

use leptos::{ev::SubmitEvent, prelude::*, task::spawn_local};
use protocol::view::{NewShare, ShareView};

use crate::{
    api,
    filing::in_order,
    i18n::{t, t_string, use_i18n},
    pages::Moment,
    services::ServiceError,
};

/// A link on its way.
pub type Making = Pin<Box<dyn Future<Output = Result<NewShare, ServiceError>>>>;

/// The links to one thing.
#[derive(Clone, Copy)]
pub struct Links {
    /// Those that are open, oldest first.
    open: RwSignal<Vec<ShareView>>,
    /// The one just made: only now its address is known.
    made: RwSignal<Option<NewShare>>,
    sending: RwSignal<bool>,
    error: RwSignal<Option<ServiceError>>,
}

impl Links {
    /// With those that are open; `error` is told what the server refuses.
    pub fn new(open: Vec<ShareView>, error: RwSignal<Option<ServiceError>>) -> Self {
        Self { open: RwSignal::new(open), made: RwSignal::new(None), sending: RwSignal::new(false), error }
    }

    /// The id of the link just made, not tracked.
    pub fn made(self) -> Option<String> {
        self.made.with_untracked(|made| made.as_ref().map(|made| made.link.id.clone()))
    }

    /// Shows an open link as it is now.
    pub fn put(self, link: ShareView) {
        self.open.try_update(|open| {
            if let Some(known) = open.iter_mut().find(|known| known.id == link.id) {
                *known = link;
            }
        });
    }

    /// Waits for a link that is being made, behind everything that was said before it.
    fn make(self, sent: Making) {
        self.error.set(None);
        self.sending.set(true);
        in_order(async move {
            match sent.await {
                Ok(made) => {
                    self.open.try_update(|open| open.push(made.link.clone()));
                    self.made.try_set(Some(made));
                }
                Err(e) => {
                    self.error.try_set(Some(e));
                }
            }
            self.sending.try_set(false);
        });
    }

    fn close(self, id: String) {
        spawn_local(async move {
            match api::revoke(id.clone()).await {
                Ok(_) => {
                    self.open.try_update(|open| open.retain(|link| link.id != id));
                    self.made.try_update(|made| made.take_if(|made| made.link.id == id));
                }
                Err(e) => {
                    self.error.try_set(Some(e));
                }
            }
        });
    }
}

/// The button that makes a link. `send` asks for it, with the address that the browser uses; `action` is where the form goes without
/// scripts.
#[component]
pub fn LinkButton<S: Fn(String) -> Making + Send + 'static>(
    links: Links,
    #[prop(into)] action: Signal<String>,
    send: S,
) -> impl IntoView {
    let i18n = use_i18n();
    let submit = move |ev: SubmitEvent| {
        ev.prevent_default();
        if !links.sending.get_untracked() {
            links.make(send(location().origin().unwrap_or_default()));
        }
    };
    view! {
        <form method="post" action=move || action.get() on:submit=submit>
            <button type="submit" class="quiet" data-testid="share" aria-busy=move || links.sending.get().then_some("true")>
                {move || if links.sending.get() { t_string!(i18n, share_making) } else { t_string!(i18n, share) }}
            </button>
        </form>
    }
}

/// The link just made, with what else there is to it. `local` is said where only this computer can open it.
#[component]
pub fn MadeLink(
    links: Links,
    #[prop(into)] local: Signal<String>,
    #[prop(optional)] children: Option<ChildrenFn>,
) -> impl IntoView {
    let i18n = use_i18n();
    let made = move |NewShare { url, local_only, .. }: NewShare| {
        let copied = RwSignal::new(false);
        let copying = {
            let url = url.clone();
            move |_| {
                copy(&url);
                copied.set(true);
            }
        };
        view! {
            <div class="notice good" data-testid="share-made">
                <p>
                    <a data-testid="share-link" href=url target="_blank" rel="noopener external">{url.clone()}</a> " "
                    <button type="button" class="link" on:click=copying>
                        {move || if copied.get() { t_string!(i18n, copied) } else { t_string!(i18n, copy) }}
                    </button>
                </p>
                {local_only.then(|| view! { <p class="help"><strong data-testid="local-only">{move || local.get()}</strong></p> })}
                {children.as_ref().map(|children| children())}
            </div>
        }
    };
    move || links.made.get().map(&made)
}

/// The open links, each with its note and the button that closes it.
#[component]
pub fn OpenLinks(links: Links) -> impl IntoView {
    let i18n = use_i18n();
    let line = move |ShareView { id, created_at, note }: ShareView| {
        let action = format!("/shares/{id}/revoke");
        let note = (!note.trim().is_empty()).then(|| format!("{} · ", note.trim()));
        let close = move |ev: SubmitEvent| {
            ev.prevent_default();
            links.close(id.clone());
        };
        view! {
            <li>
                {t!(i18n, share_open)} " " <span class="muted">{note} <Moment at=created_at/></span> " "
                <form method="post" action=action on:submit=close>
                    <button class="link" data-testid="revoke">{t!(i18n, revoke)}</button>
                </form>
            </li>
        }
    };
    view! {
        <Show when=move || !links.open.with(Vec::is_empty)>
            <ul class="links" data-testid="open-links">{move || links.open.get().into_iter().map(line).collect_view()}</ul>
        </Show>
    }
}

/// Puts a text on the clipboard, where the browser allows it.
fn copy(text: &str) {
    #[cfg(feature = "hydrate")]
    let _ = window().navigator().clipboard().write_text(text);
    #[cfg(not(feature = "hydrate"))]
    let _ = text;
}
