//! The rows of a batch, a page at a time, and one of them opened.

use leptos::prelude::*;
use protocol::batch::{BatchView, RowCard, RowState, RowView};

use super::{ComparisonCard, ErrorNotice, ExtractionCard, Pager};
use crate::{
    i18n::{t, t_string, use_i18n},
    live,
    prefs::{fill, language},
    services::ServiceError,
};

/// Where in a batch one is.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The batch's session.
    pub session: String,
    /// Page of its rows, from 1.
    pub page: usize,
    /// Rows in this state only.
    pub only: Option<RowState>,
    /// The row that is open.
    pub row: Option<usize>,
}

impl Place {
    /// Its address.
    pub fn path(&self) -> String {
        let mut path = format!("/batch?session={}", self.session);
        if let Some(only) = self.only {
            path.push_str(&format!("&only={}", only.name()));
        }
        if self.page > 1 {
            path.push_str(&format!("&page={}", self.page));
        }
        if let Some(row) = self.row {
            path.push_str(&format!("&row={row}#row"));
        }
        path
    }
}

/// The name of a state.
fn name_of(state: RowState) -> impl Fn() -> String + Copy + Send + Sync {
    let i18n = use_i18n();
    move || {
        match state {
            RowState::Waiting => t_string!(i18n, row_waiting),
            RowState::Running => t_string!(i18n, row_running),
            RowState::Done => t_string!(i18n, row_done),
            RowState::Nothing => t_string!(i18n, row_nothing),
            RowState::Failed => t_string!(i18n, row_failed),
        }
        .to_owned()
    }
}

fn class_of(state: RowState) -> &'static str {
    match state {
        RowState::Waiting => "state",
        RowState::Running => "state live",
        RowState::Done => "state good",
        RowState::Nothing => "state muted",
        RowState::Failed => "state bad",
    }
}

/// A page of rows, and the way to the others.
#[component]
pub fn BatchRows(batch: RwSignal<BatchView>, place: Place) -> impl IntoView {
    let i18n = use_i18n();
    let counts = Memo::new(move |_| batch.with(|b| b.counts));
    let rows = Memo::new(move |_| batch.with(|b| b.rows.clone()));
    let pages = Memo::new(move |_| batch.with(|b| (b.page, b.pages)));
    let filters = {
        let place = place.clone();
        let filter = move |only: Option<RowState>| {
            let to = Place { page: 1, only, row: None, ..place.clone() };
            let count = move || {
                let c = counts.get();
                match only {
                    None => c.total,
                    Some(RowState::Waiting) => c.total - c.ended() - c.running,
                    Some(RowState::Running) => c.running,
                    Some(RowState::Done) => c.done,
                    Some(RowState::Nothing) => c.nothing,
                    Some(RowState::Failed) => c.failed,
                }
            };
            let current = (place.only == only).then_some("true");
            let name = move || match only {
                None => t_string!(i18n, row_all).to_owned(),
                Some(state) => name_of(state)(),
            };
            view! { <a href=to.path() aria-current=current data-testid=format!("only-{}", only.map_or("all", RowState::name))>{name} " " <small>{count}</small></a> }
        };
        std::iter::once(None).chain(RowState::ALL.map(Some)).map(filter).collect_view()
    };
    let row = {
        let place = place.clone();
        move |row: RowView| view! { <Row row place=place.clone()/> }
    };
    let to_page = move |by: isize| {
        let place = place.clone();
        move || {
            let (page, pages) = pages.get();
            let to = page.checked_add_signed(by).filter(|to| (1..=pages).contains(to));
            to.map(|page| Place { page, row: None, ..place.clone() }.path())
        }
    };
    let (previous, next) = (Signal::derive(to_page(-1)), Signal::derive(to_page(1)));
    let here = Signal::derive(move || {
        let (page, pages) = pages.get();
        fill(t_string!(i18n, page_of), &[("page", &page), ("pages", &pages)])
    });
    view! {
        <section class="rows">
            <nav class="tabs" aria-label=move || t_string!(i18n, row_filter)>{filters}</nav>
            <div class="scroll">
                <table class="all batch-rows" data-testid="batch-rows">
                    <thead><tr>
                        <th scope="col">{t!(i18n, row_id)}</th><th scope="col">{t!(i18n, row_text)}</th>
                        <th scope="col">{t!(i18n, row_state)}</th><th scope="col">{t!(i18n, row_found)}</th>
                    </tr></thead>
                    <tbody>{move || rows.get().into_iter().map(&row).collect_view()}</tbody>
                </table>
            </div>
            <Show when=move || rows.with(Vec::is_empty)><p class="empty">{t!(i18n, row_none)}</p></Show>
            <Pager previous next place=here/>
        </section>
    }
}

#[component]
fn Row(row: RowView, place: Place) -> impl IntoView {
    let language = language();
    let open = place.row == Some(row.position);
    let to = Place { row: Some(row.position), ..place }.path();
    let state = row.state;
    // What was not asked for is not waiting for anything.
    let idle = state == RowState::Waiting && !row.wanted;
    let error = row.error;
    view! {
        <tr data-testid="batch-row" data-state=state.name() class:lit=open>
            <th scope="row"><a href=to>{row.id}</a></th>
            <td class="what">
                <span class="excerpt">{row.excerpt}</span>
                {error.map(|said| view! { <p class="error">{move || said.in_language(language()).to_owned()}</p> })}
            </td>
            <td class="place">{if idle { view! { "–" }.into_any() } else { view! { <span class=class_of(state)>{name_of(state)}</span> }.into_any() }}</td>
            <td class="place">{(state == RowState::Done).then_some(row.found)}</td>
        </tr>
    }
}

/// A row opened: its other columns, its text and what was found.
#[component]
pub fn BatchRow(card: RowCard, place: Place) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let error = RwSignal::new(None::<ServiceError>);
    let close = Place { row: None, ..place }.path();
    let (id, line, said) = (card.row.id.clone(), card.row.line, card.row.error.clone());
    let unread = card.document.as_ref().filter(|_| card.runs.is_empty()).map(|document| document.text.clone());
    let items = live::items(card.runs, card.document.into_iter().collect(), card.extractions);
    let shown = items.into_iter().map(|item| {
        if item.is_comparison() {
            view! { <ComparisonCard item read_only=false error/> }.into_any()
        } else {
            view! { <ExtractionCard item read_only=false error/> }.into_any()
        }
    });
    view! {
        <section class="results row-card" id="row" data-testid="row-card">
            <div class="foot">
                <h2>{id} " " <small class="muted">{move || fill(t_string!(i18n, row_line), &[("line", &line)])}</small></h2>
                <a href=close data-testid="close-row">{t!(i18n, row_close)}</a>
            </div>
            {(!card.extra.is_empty()).then(|| view! {
                <dl class="extra">{card.extra.into_iter().map(|(name, value)| view! { <div><dt>{name}</dt><dd>{value}</dd></div> }).collect_view()}</dl>
            })}
            {said.map(|said| view! { <p class="notice error">{move || said.in_language(language()).to_owned()}</p> })}
            <ErrorNotice error/>
            {unread.map(|text| view! { <p class="completion card">{text}</p> })}
            {shown.collect_view()}
        </section>
    }
}
