//! The way between the pages of a long list.

use leptos::prelude::*;

use crate::i18n::{t, t_string, use_i18n};

/// Links to the page before and the next, where there are such, and between them where one is.
#[component]
pub fn Pager(
    /// Address of the page before.
    #[prop(into)]
    previous: Signal<Option<String>>,
    /// Address of the next one.
    #[prop(into)]
    next: Signal<Option<String>>,
    /// Which part of the list is shown, in words.
    #[prop(into)]
    place: Signal<String>,
) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <nav class="pager" aria-label=move || t_string!(i18n, review_pages)>
            {move || previous.get().map(|path| view! { <a class="button quiet" rel="prev" href=path data-testid="page-before">{t!(i18n, page_before)}</a> })}
            <span class="muted" data-testid="page">{place}</span>
            {move || next.get().map(|path| view! { <a class="button quiet" rel="next" href=path data-testid="page-next">{t!(i18n, page_next)}</a> })}
        </nav>
    }
}
