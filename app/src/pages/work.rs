//! What the three work pages have in common: loading, starting, stopping, and following runs.

use leptos::{ev, prelude::*, task::spawn_local};
use leptos_router::hooks::use_query_map;
use protocol::{Ask, Bench, Language, ParameterError, Parameters, SessionView, StartRuns, view::Page};

use super::error_page;
use crate::{
    api,
    live::{self, Connection, Item},
    prefs::language,
    services::ServiceError,
};

/// Loads what a work page is drawn from: the bench, and the session named in the address.
pub fn load(page: Page, draw: fn(Bench, Option<SessionView>) -> AnyView) -> impl IntoView {
    let session = use_query_map().with_untracked(|q| q.get("session"));
    let data = Resource::new_blocking(
        || (),
        move |()| {
            let session = session.clone();
            async move {
                let bench = api::get_bench().await?;
                let session = match session {
                    Some(id) => Some(api::session(id).await?).filter(|s| s.page == page),
                    None => None,
                };
                Ok::<_, ServiceError>((bench, session))
            }
        },
    );
    view! {
        <Suspense fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                match data.await {
                    Ok((bench, session)) => draw(bench, session),
                    Err(error) => error_page(&error),
                }
            })}
        </Suspense>
    }
}

/// The state of a work page.
#[derive(Clone, Copy)]
pub struct Work {
    page: Page,
    /// The session that runs of this page join.
    pub session: RwSignal<Option<String>>,
    /// What the newest request asked for.
    pub items: RwSignal<Vec<Item>>,
    /// Answers of this session before it.
    pub earlier: RwSignal<usize>,
    /// Why the last request failed.
    pub error: RwSignal<Option<ServiceError>>,
    /// A request is on its way.
    pub sending: RwSignal<bool>,
    /// The adapter to answer with, where it is not the default one.
    pub adapter: RwSignal<Option<String>>,
    connection: Connection,
    language: StoredValue<Language>,
}

impl Work {
    /// The state of a page that goes on with `session`, or starts empty.
    pub fn new(page: Page, session: Option<SessionView>) -> Self {
        let connection = expect_context::<Connection>();
        let id = session.as_ref().map(|s| s.id.clone());
        let (items, earlier) =
            live::newest(session.map(|s| live::items(s.runs, s.documents, s.extractions)).unwrap_or_default());
        let tracked = language();
        let work = Self {
            page,
            session: RwSignal::new(id),
            items: RwSignal::new(items),
            earlier: RwSignal::new(earlier),
            error: RwSignal::new(None),
            sending: RwSignal::new(false),
            adapter: RwSignal::new(None),
            connection,
            language: StoredValue::new(untrack(tracked)),
        };
        Effect::new(move |_| work.language.set_value(tracked()));
        Effect::new(move |_| work.items.with_untracked(|items| live::follow(items, connection)));
        on_cleanup(live::leave);
        // Escape stops, wherever the focus is.
        Effect::new(move |_| {
            let handle = window_event_listener(ev::keydown, move |ev| {
                if ev.key() == "Escape" && !ev.is_composing() && work.running_untracked() {
                    ev.prevent_default();
                    work.stop();
                }
            });
            on_cleanup(move || handle.remove());
        });
        work
    }

    /// Whether a run of the newest request goes on, tracked.
    pub fn running(self) -> bool {
        self.items.with(|items| items.iter().flat_map(|i| &i.runs).any(|r| r.with(|v| !v.status.is_final())))
    }

    fn running_untracked(self) -> bool {
        untrack(|| self.running())
    }

    /// Starts runs and shows them. What was typed stays where it is, whatever comes back.
    pub fn start(self, ask: Ask, parameters: Parameters) {
        if self.sending.get_untracked() || self.running_untracked() {
            return;
        }
        self.sending.set(true);
        self.error.set(None);
        let request = StartRuns {
            session: self.session.get_untracked(),
            ask,
            adapter: self.adapter.get_untracked(),
            parameters,
            language: self.language.get_value(),
        };
        spawn_local(async move {
            let answer = api::start(request).await;
            let Some(session) = self.session.try_get_untracked() else {
                return; // the page was left meanwhile; the runs go on and are found under sessions
            };
            match answer {
                Ok(started) => {
                    let items = live::items(started.runs, started.documents, started.extractions);
                    self.earlier.update(|n| *n += self.items.with_untracked(Vec::len));
                    live::follow(&items, self.connection);
                    self.items.set(items);
                    if session.as_ref() != Some(&started.session) {
                        show_address(&format!("{}?session={}", self.page.path(), started.session));
                        self.session.set(Some(started.session));
                    }
                }
                Err(error) => self.error.set(Some(error)),
            }
            self.sending.set(false);
        });
    }

    /// Shows a mistake that was found before anything was sent.
    pub fn refuse(self, sentence: &str) {
        self.error.set(Some(ServiceError::invalid(sentence, sentence)));
    }

    /// Shows a parameter that cannot be used.
    pub fn refuse_parameter(self, error: &ParameterError) {
        self.error.set(Some(ServiceError::invalid(error.sentence(Language::En), error.sentence(Language::Zh))));
    }

    /// Stops what goes on; the text so far is kept.
    pub fn stop(self) {
        let runs: Vec<String> = self.items.with_untracked(|items| {
            items
                .iter()
                .flat_map(|i| &i.runs)
                .filter_map(|r| r.with_untracked(|v| (!v.status.is_final()).then(|| v.id.clone())))
                .collect()
        });
        spawn_local(async move {
            if let Err(error) = api::stop(runs).await {
                self.error.set(Some(error));
            }
        });
    }
}

/// Whether a key press asks to run: Ctrl or Command with Enter, and no input method is composing.
pub fn asks_to_run(ev: &ev::KeyboardEvent) -> bool {
    ev.key() == "Enter" && (ev.ctrl_key() || ev.meta_key()) && !ev.is_composing()
}

/// Shows where the page can be found again, without loading it.
fn show_address(path: &str) {
    #[cfg(feature = "hydrate")]
    if let Ok(history) = window().history() {
        let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(path));
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = path;
}
