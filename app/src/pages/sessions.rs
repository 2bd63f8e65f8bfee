//! `/sessions`: everything that was run, newest first.

use leptos::{prelude::*, task::spawn_local};
use leptos_router::hooks::use_query_map;
use protocol::{SessionSummary, view::Page};

use super::error_page;
use crate::{
    api,
    components::{ErrorNotice, PageTitle},
    i18n::{t, t_string, use_i18n},
    prefs::fill,
    services::ServiceError,
};

#[component]
pub fn Sessions() -> impl IntoView {
    let i18n = use_i18n();
    let search = RwSignal::new(use_query_map().with_untracked(|q| q.get("q").unwrap_or_default()));
    let changes = RwSignal::new(0u32);
    let deleted = RwSignal::new(None::<(String, String)>);
    let error = RwSignal::new(None::<ServiceError>);
    let list = Resource::new_blocking(move || (search.get(), changes.get()), |(search, _)| api::sessions(search));
    let set_deleted = move |id: String, title: String, gone: bool| {
        spawn_local(async move {
            match api::set_deleted(id.clone(), gone).await {
                Ok(()) => {
                    deleted.set(gone.then_some((id, title)));
                    changes.update(|n| *n += 1);
                }
                Err(e) => error.set(Some(e)),
            }
        });
    };
    view! {
        <PageTitle text=move || t_string!(i18n, nav_sessions)/>
        <section class="page" id="work">
            <h1>{t!(i18n, sessions_title)}</h1>
            <form method="get" action="/sessions" class="search" role="search" on:submit=move |ev| ev.prevent_default()>
                <input
                    type="search" name="q" data-testid="search" autocomplete="off"
                    placeholder=move || t_string!(i18n, search_placeholder) aria-label=move || t_string!(i18n, search_placeholder)
                    value=search.get_untracked() prop:value=move || search.get()
                    on:input=move |ev| search.set(event_target_value(&ev))
                />
            </form>
            <ErrorNotice error/>
            {move || deleted.get().map(|(id, title)| view! {
                <p class="notice" role="status" data-testid="deleted">
                    {t!(i18n, session_deleted)} " “" {title.clone()} "” "
                    <button type="button" class="link" data-testid="undo" on:click=move |_| set_deleted(id.clone(), title.clone(), false)>{t!(i18n, undo)}</button>
                </p>
            })}
            <Transition fallback=|| view! { <p class="muted" aria-busy="true">"…"</p> }>
                {move || Suspend::new(async move {
                    match list.await {
                        Err(e) => error_page(&e),
                        Ok(sessions) if sessions.is_empty() => view! {
                            <p class="empty" data-testid="no-sessions">
                                {move || if search.with(String::is_empty) { t_string!(i18n, sessions_empty) } else { t_string!(i18n, sessions_no_match) }}
                            </p>
                        }.into_any(),
                        Ok(sessions) => view! {
                            <ul class="session-list" data-testid="session-list">
                                {sessions.into_iter().map(|s| {
                                    let (id, title) = (s.id.clone(), s.title.clone());
                                    let action = format!("/sessions/{id}/delete");
                                    view! {
                                        <li>
                                            <Summary session=s/>
                                            <form method="post" action=action on:submit=move |ev| { ev.prevent_default(); set_deleted(id.clone(), title.clone(), true) }>
                                                <button class="quiet" data-testid="delete">{t!(i18n, delete)}</button>
                                            </form>
                                        </li>
                                    }
                                }).collect_view()}
                            </ul>
                        }.into_any(),
                    }
                })}
            </Transition>
        </section>
    }
}

#[component]
fn Summary(session: SessionSummary) -> impl IntoView {
    let i18n = use_i18n();
    let page = session.page;
    let path = format!("/sessions/{}", session.id);
    view! {
        <div>
            <a href=path>{session.title}</a>
            <p class="excerpt">{session.excerpt}</p>
            <p class="muted">
                {move || match page {
                    Page::Extract => t_string!(i18n, nav_extract),
                    Page::Complete => t_string!(i18n, nav_complete),
                    Page::Compare => t_string!(i18n, nav_compare),
                }}
                " · " {move || fill(t_string!(i18n, answers_count), &[("count", &session.runs)])}
                {(session.judgements > 0).then(|| view! { " · " {move || fill(t_string!(i18n, judgements_count), &[("count", &session.judgements)])} })}
                {session.shared.then(|| view! { " · " {t!(i18n, shared)} })}
                " · " <Moment at=session.updated_at/>
            </p>
        </div>
    }
}

/// A time, written by the server in UTC and by the browser in its own zone.
#[component]
pub fn Moment(at: i64) -> impl IntoView {
    let text = RwSignal::new(utc(at));
    Effect::new(move |_| local(at).map(|t| text.set(t)));
    view! { <time datetime=utc(at).replacen(' ', "T", 1).replace(" UTC", "Z")>{move || text.get()}</time> }
}

/// `2026-01-31 09:05 UTC`, from milliseconds since 1970 (days to date after Howard Hinnant's `civil_from_days`).
fn utc(at: i64) -> String {
    let (days, minutes) = (at.div_euclid(86_400_000), at.rem_euclid(86_400_000) / 60_000);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

fn local(at: i64) -> Option<String> {
    #[cfg(feature = "hydrate")]
    {
        use js_sys::Date;
        #[allow(clippy::cast_precision_loss)]
        let date = Date::new(&wasm_bindgen::JsValue::from_f64(at as f64));
        Some(format!(
            "{:04}-{:02}-{:02} {:02}:{:02}",
            date.get_full_year(),
            date.get_month() + 1,
            date.get_date(),
            date.get_hours(),
            date.get_minutes()
        ))
    }
    #[cfg(not(feature = "hydrate"))]
    {
        let _ = at;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn utc_writes_dates_of_any_year() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_769_850_300_000), "2026-01-31 09:05 UTC");
        assert_eq!(utc(-60_000), "1969-12-31 23:59 UTC");
    }
}
