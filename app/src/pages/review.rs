//! `/sessions/{id}/review`: the texts of a session, the doubtful first, gone through with the keyboard.

use std::collections::HashSet;

use extract::judge;
use leptos::{ev, html, prelude::*};
use leptos_router::{
    NavigateOptions,
    hooks::{use_navigate, use_params_map, use_query_map},
    params::ParamsMap,
};
use protocol::{
    Judgement, Verdict,
    review::{Order, State, Wanted},
};

use super::{
    error_page,
    review_order::{self, Text},
    review_parts::{CheckLine, DoubtTags, FailedCard, OrderChoice, Places, query_of},
    session::SessionLinks,
};
use crate::{
    api,
    components::{
        ComparisonCard, ErrorNotice, ExtractionCard, OnlyChanged, PageTitle, focus_first, is_on_control, is_on_nothing,
        is_typing, put, undo,
    },
    doubts::{SAMPLE, sample},
    filing::{heard, in_order},
    found::{newest, of_item},
    heavy::heavy,
    i18n::{t, t_string, use_i18n},
    live::{self, Connection},
    prefs::fill,
    reviews::{self, ReviewView},
    services::ServiceError,
};

/// Rows of the list that are drawn before and after the current one.
const AROUND: usize = 60;

#[component]
pub fn Review() -> impl IntoView {
    let (params, query) = (use_params_map(), use_query_map());
    let asked = Memo::new(move |_| (params.with(|p| p.get("id").unwrap_or_default()), query.with(wanted)));
    let data = Resource::new_blocking(
        move || asked.get(),
        |(id, wanted)| async move { Ok::<_, ServiceError>((reviews::get_review(id, wanted.clone()).await?, wanted)) },
    );
    view! {
        <Suspense fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                match data.await {
                    Ok((texts, wanted)) => view! { <Queue texts wanted/> }.into_any(),
                    Err(error) => error_page(&error),
                }
            })}
        </Suspense>
    }
}

/// What the address asks for.
fn wanted(query: &ParamsMap) -> Wanted {
    let get = |name: &str| query.get(name).filter(|value| !value.is_empty());
    Wanted {
        order: get("order").and_then(|order| Order::from_name(&order)).unwrap_or_default(),
        show: get("show").and_then(|show| State::from_name(&show)),
        check: get("check"),
        text: get("text"),
        after: get("after"),
        before: get("before"),
    }
}

/// The texts of a session in the order of their doubt; of a batch those of one page, the order of which the server knows.
#[component]
fn Queue(texts: ReviewView, wanted: Wanted) -> impl IntoView {
    let ReviewView { session, reviewed, failed, part } = texts;
    let i18n = use_i18n();
    let connection = expect_context::<Connection>();
    let error = RwSignal::new(None::<ServiceError>);
    OnlyChanged::provide();
    let (id, title) = (session.id.clone(), session.title.clone());
    let fresh_seed = session.updated_at.to_string();
    let unanswered: Vec<Text> = failed
        .into_iter()
        .filter_map(|(id, why)| Some(Text::failed_by(session.documents.iter().find(|d| d.id == id)?.clone(), why)))
        .collect();
    let items = newest(live::items(session.runs, session.documents, session.extractions));
    Effect::new({
        let items = items.clone();
        move |_| live::follow(&items, connection)
    });
    on_cleanup(live::leave);
    let mut texts: Vec<Text> = heavy(|| items.into_iter().filter_map(Text::of).chain(unanswered).collect());
    let checking = wanted.check.is_some();
    let can_differ = wanted.order == Order::Differs || texts.iter().any(|t| t.differs.is_some());
    let ordered = query_of(wanted.order);
    // A sample is on one page, whatever it is drawn from; and so are few texts.
    let part = part.filter(|p| !checking && p.order.len() < p.counts.iter().sum());
    let paged = part.is_some();
    // The order is made once: a text does not move while it is judged.
    match &part {
        Some(part) => texts.sort_by_key(|t| part.order.iter().position(|id| *id == t.id)),
        None => texts.sort_by_key(|t| std::cmp::Reverse(t.weight(wanted.order))),
    }
    if let Some(seed) = &wanted.check {
        let drawn = sample(texts.iter().map(|t| &t.id), seed);
        texts.retain(|t| drawn.contains(&t.id));
    }
    // Of a page the server has left out what is not to be shown.
    let filter = RwSignal::new(wanted.show.filter(|_| !paged));
    let reviewed = RwSignal::new(reviewed.into_iter().collect::<HashSet<String>>());
    let first = wanted.text.clone().filter(|id| texts.iter().any(|t| t.id == *id)).or_else(|| {
        let of_list =
            || texts.iter().filter(|t| filter.get_untracked().is_none_or(|w| untrack(|| state_of(t, reviewed)) == w));
        let first = match (&wanted.after, &wanted.before) {
            (Some(_), _) => texts.first(),
            (None, Some(_)) => texts.last(),
            (None, None) => of_list().find(|t| is_open(t, reviewed)).or(of_list().next()).or(texts.first()),
        };
        first.map(|t| t.id.clone())
    });
    let current = RwSignal::new(first);
    let all_done = RwSignal::new(false);
    let texts = StoredValue::new(texts);
    let state = move |text: &Text| state_of(text, reviewed);
    // The one being looked at stays in the list, whatever becomes of it.
    let listed = Memo::new(move |_| {
        let wanted = filter.get();
        let shown = current.get();
        texts.with_value(|texts| {
            let keep = |t: &&Text| wanted.is_none_or(|w| state(t) == w) || shown.as_ref() == Some(&t.id);
            texts.iter().filter(keep).map(|t| t.id.clone()).collect::<Vec<_>>()
        })
    });
    let here = move || texts.with_value(|texts| State::ALL.map(|s| texts.iter().filter(|t| state(t) == s).count()));
    // How many there are on other pages.
    let elsewhere = match &part {
        Some(part) => {
            let here = untrack(here);
            std::array::from_fn(|i| {
                part.counts.get(i).zip(here.get(i)).map_or(0, |(all, here)| all.saturating_sub(*here))
            })
        }
        None => [0_usize; 4],
    };
    let counts = Memo::new(move |_| {
        let here = here();
        std::array::from_fn::<usize, 4, _>(|i| here.get(i).zip(elsewhere.get(i)).map_or(0, |(a, b)| a + b))
    });
    let places = StoredValue::new(Places::new(&id, &wanted, part.as_ref()));
    let navigate = use_navigate();
    let go = StoredValue::new(move |path: &str| navigate(path, NavigateOptions::default()));
    let card = NodeRef::<html::Div>::new();
    let show = move |id: String| {
        all_done.set(false);
        current.set(Some(id));
        focus_first(card);
        scroll_to_current();
    };
    let step = move |by: isize| {
        let next = listed.with_untracked(|ids| {
            let here = current.get_untracked().and_then(|c| ids.iter().position(|id| *id == c));
            ids.get(here.map_or(0, |h| h.saturating_add_signed(by))).cloned()
        });
        let page = places.with_value(|places| if by > 0 { places.next.clone() } else { places.previous.clone() });
        match (next, page) {
            (Some(id), _) if current.with_untracked(|c| c.as_ref() != Some(&id)) => show(id),
            // Not before what was said of this page has arrived: the next one is drawn with it.
            (_, Some(page)) => in_order(async move {
                go.try_with_value(|go| go(&page));
            }),
            _ => {}
        }
    };
    // The next text of this page that nobody has gone through; of a session without pages also one before.
    let open_here = move || {
        texts.with_value(|texts| {
            let here = current.get_untracked().and_then(|c| texts.iter().position(|t| t.id == c)).map_or(0, |h| h + 1);
            let open = |t: &&Text| is_open(t, reviewed);
            let first = || texts.iter().find(open).filter(|_| !paged);
            texts.iter().skip(here).find(open).or_else(first).map(|t| t.id.clone())
        })
    };
    // The one behind the end of this page, which the server knows; nothing for who has gone on to another text.
    let to_open_elsewhere = move |accepted: String| async move {
        let stayed = move || current.try_get_untracked().flatten().as_ref() == Some(&accepted);
        let last = texts.try_with_value(|texts| texts.last().map(|t| t.id.clone())).flatten();
        // Without them the page has been left.
        let Some((last, places)) = last.zip(places.try_get_value()) else { return };
        match heard(error, || reviews::next_open(places.session.clone(), places.order, last.clone())).await {
            Ok(Some(_)) if !stayed() => {}
            Ok(Some(id)) if texts.try_with_value(|t| t.iter().any(|t| t.id == id)).unwrap_or(false) => show(id),
            Ok(Some(id)) => {
                go.try_with_value(|go| go(&places.to_open(&id)));
            }
            Ok(None) => {
                all_done.try_set(true);
            }
            Err(e) => {
                error.try_set(Some(e));
            }
        }
    };
    let accept = move || {
        let Some(text) =
            current.get_untracked().and_then(|c| texts.with_value(|t| t.iter().find(|t| t.id == c).cloned()))
        else {
            return;
        };
        let (Some(document), Some(found)) = (text.item.document.clone(), of_item(&text.item)) else { return };
        if text.reason.is_some() {
            return error.set(Some(ServiceError::invalid(
                "This text has no answer to accept. Try it again first.",
                "此文本没有可确认的回答，请先重试。",
            )));
        }
        if found.columns.iter().flat_map(|c| &c.ends).any(|(status, _)| !status.is_final()) {
            return error.set(Some(ServiceError::invalid(
                "This text is still being worked on. Wait for the end of its runs, then accept it.",
                "此文本仍在处理中，请等运行结束后再确认。",
            )));
        }
        let before = document.with_untracked(|d| d.judgements.clone());
        let grounded = found.main().map(|c| c.grounded()).unwrap_or_default();
        let open = grounded.into_iter().filter(|r| judge::verdict(&before, r).is_none());
        let judgements: Vec<Judgement> =
            open.map(|record| Judgement { record, verdict: Verdict::Right, correction: None }).collect();
        document.update(|d| judgements.iter().for_each(|j| put(&mut d.judgements, j.clone())));
        let new = reviewed.try_update(|r| r.insert(text.id.clone())).unwrap_or(false);
        error.set(None);
        let next = open_here();
        let page_is_done = paged && next.is_none();
        in_order(async move {
            if let Err(e) = heard(error, || api::accept(text.id.clone(), judgements.clone())).await {
                // Only what this has filed is taken back: the person may have gone on judging.
                document.update(|d| judgements.iter().for_each(|j| undo(&mut d.judgements, j, None)));
                if new {
                    reviewed.try_update(|r| r.remove(&text.id));
                }
                all_done.try_set(false);
                error.try_set(Some(e));
            } else if page_is_done {
                to_open_elsewhere(text.id).await;
            }
        });
        match next {
            Some(id) => show(id),
            None => all_done.set(!page_is_done),
        }
    };
    let reopen = move || {
        let Some(id) = current.get_untracked() else { return };
        let was = reviewed.try_update(|r| r.remove(&id)).unwrap_or(false);
        focus_first(card);
        in_order(async move {
            if let Err(e) = heard(error, || api::reopen(id.clone())).await {
                if was {
                    reviewed.try_update(|r| r.insert(id));
                }
                error.try_set(Some(e));
            }
        });
    };
    Effect::new(move |_| {
        // As soon as it is there: a page that is gone to in the browser is drawn after its data has come.
        if card.get().is_some() {
            focus_first(card);
        }
    });
    Effect::new(move |_| {
        let handle = window_event_listener(ev::keydown, move |ev| {
            if ev.ctrl_key() || ev.meta_key() || ev.alt_key() || ev.is_composing() || is_typing(&ev) {
                return;
            }
            // Of a key held down only steps are taken again and again.
            match ev.key().to_lowercase().as_str() {
                "j" | "n" => step(1),
                "k" | "p" => step(-1),
                "enter" | " " if !is_on_control(&ev) => {
                    if !ev.repeat() {
                        accept();
                    }
                }
                "arrowdown" | "arrowup" | "1" | "2" | "e" if is_on_nothing(&ev) => focus_first(card),
                _ => return,
            }
            ev.prevent_default();
        });
        on_cleanup(move || handle.remove());
    });
    let has_answer = Memo::new(move |_| {
        let here = current.get();
        texts.with_value(|texts| texts.iter().any(|t| Some(&t.id) == here.as_ref() && t.reason.is_none()))
    });
    let is_reviewed = move || current.get().is_some_and(|c| reviewed.with(|r| r.contains(&c)));
    let state_name = move |state: State| match state {
        State::Unreviewed => t_string!(i18n, state_unreviewed),
        State::Accepted => t_string!(i18n, state_accepted),
        State::Corrected => t_string!(i18n, state_corrected),
        State::Failed => t_string!(i18n, state_failed),
    };
    let total = texts.with_value(Vec::len) + elsewhere.iter().sum::<usize>();
    let none = texts.with_value(Vec::is_empty);
    let shown_state = wanted.show;
    let tab = move |wanted: Option<State>| {
        let count = move || match wanted {
            Some(wanted) => State::ALL.iter().zip(counts.get()).find(|(s, _)| **s == wanted).map_or(0, |(_, n)| n),
            None => total,
        };
        let code = wanted.map_or("all", State::name);
        let current = move || if paged { shown_state == wanted } else { filter.get() == wanted };
        view! {
            <a href=format!("?show={code}{ordered}") rel="external" data-testid=format!("show-{code}")
                aria-current=move || current().then_some("true")
                on:click=move |ev| if !paged { ev.prevent_default(); filter.set(wanted) }>
                {move || wanted.map_or(t_string!(i18n, state_all), state_name)} " " <span class="count" data-testid=format!("count-{code}")>{count}</span>
            </a>
        }
    };
    let rows = move || {
        let ids = listed.get();
        let here = current.get().and_then(|c| ids.iter().position(|id| *id == c)).unwrap_or(0);
        let from = here.saturating_sub(AROUND);
        let window: Vec<String> = ids.into_iter().skip(from).take(2 * AROUND).collect();
        texts.with_value(|all| {
            window.iter().filter_map(|id| all.iter().find(|t| t.id == *id)).cloned().collect::<Vec<_>>()
        })
    };
    let row = move |text: Text| {
        let (id, doubts) = (text.id.clone(), text.doubts.clone());
        let here = {
            let id = id.clone();
            move || current.with(|c| c.as_ref() == Some(&id))
        };
        let now = Memo::new({
            let text = text.clone();
            move |_| state(&text)
        });
        view! {
            <li>
                <a class=move || format!("queue-row {}", now.get().name()) href=format!("?text={id}{ordered}") rel="external" tabindex="-1"
                    data-testid="queue-row" aria-current=move || here().then_some("true")
                    on:click=move |ev| { ev.prevent_default(); show(id.clone()) }>
                    <span class="queue-state" role="img" aria-label=move || state_name(now.get()) title=move || state_name(now.get())>
                        {move || match now.get() { State::Unreviewed => "○", State::Accepted => "✓", State::Corrected => "✎", State::Failed => "!" }}
                    </span>
                    <span class="queue-text">{text.excerpt}</span>
                    <DoubtTags doubts/>
                </a>
            </li>
        }
    };
    let shown = Memo::new(move |_| current.get());
    let body = move || {
        let text = shown.get().and_then(|c| texts.with_value(|t| t.iter().find(|t| t.id == c).cloned()));
        text.map(|text| {
            let item = text.item;
            if let Some((reason, document)) = text.reason.zip(item.document.clone()) {
                let session = places.with_value(|places| places.session.clone());
                view! { <FailedCard document reason session/> }.into_any()
            } else if item.is_comparison() {
                view! { <ComparisonCard item read_only=false error/> }.into_any()
            } else {
                view! { <ExtractionCard item read_only=false error/> }.into_any()
            }
        })
    };
    let unread = part.as_ref().map_or(0, |part| part.unread);
    let back = format!("/sessions/{id}");
    view! {
        <PageTitle text=move || format!("{} · {title}", t_string!(i18n, review_title))/>
        <section class="page review" id="work">
            <h1>{t!(i18n, review_title)}</h1>
            <p class="muted"><a href=back.clone() data-testid="back">{session.title}</a> <SessionLinks id/></p>
            <div class="review-bar">
                <nav class="tabs" aria-label=move || t_string!(i18n, review_title)>
                    {tab(None)} {State::ALL.into_iter().map(|s| tab(Some(s))).collect_view()}
                </nav>
                {(can_differ && !checking).then(|| view! { <OrderChoice order=wanted.order show=shown_state/> })}
                {if checking {
                    view! { <a href=format!("{back}/review?{}", ordered.trim_start_matches('&')) rel="external" data-testid="check-end">{t!(i18n, check_end)}</a> }.into_any()
                } else {
                    view! {
                        <a class="button quiet" href=format!("?check={fresh_seed}{ordered}") rel="external" data-testid="check" title=move || t_string!(i18n, check_help)>
                            {move || fill(t_string!(i18n, check), &[("count", &SAMPLE)])}
                        </a>
                    }.into_any()
                }}
            </div>
            {checking.then(|| view! { <CheckLine texts reviewed/> })}
            <ErrorNotice error/>
            <Show when=move || all_done.get()>
                <p class="notice good" role="status" data-testid="all-done">{t!(i18n, review_done)} " " <a href=format!("{}/scores", back.clone())>{t!(i18n, scores_title)}</a></p>
            </Show>
            {(unread > 0).then(|| view! {
                <p class="notice" role="status" data-testid="review-unread">{move || fill(t_string!(i18n, review_unread), &[("count", &unread)])}</p>
            })}
            {(total == 0).then(|| view! { <p class="empty" data-testid="review-empty">{t!(i18n, review_empty)}</p> })}
            {(total > 0 && none).then(|| view! { <p class="empty">{t!(i18n, row_none)}</p> })}
            <div class="review-body" class:hidden=none>
                <div class="queue-side">
                    <ol class="queue" data-testid="queue">{move || rows().into_iter().map(row).collect_view()}</ol>
                    {places.with_value(Places::pager)}
                </div>
                <div class="review-card" tabindex="-1" node_ref=card data-testid="review-card">
                    {body}
                    <div class="buttons review-buttons">
                        <button type="button" class="quiet" data-testid="previous" on:click=move |_| step(-1)>{t!(i18n, previous)} <kbd>"K"</kbd></button>
                        <button type="button" class="quiet" data-testid="next" on:click=move |_| step(1)>{t!(i18n, next)} <kbd>"J"</kbd></button>
                        <Show when=is_reviewed fallback=move || view! {
                            <button type="button" class="primary" hidden=move || !has_answer.get() data-testid="accept" title=move || t_string!(i18n, accept_help) on:click=move |_| accept()>{t!(i18n, accept)} <kbd>"↵"</kbd></button>
                        }>
                            <button type="button" class="quiet" data-testid="reopen" on:click=move |_| reopen()>{t!(i18n, reopen)}</button>
                        </Show>
                        <span class="help" hidden=move || !has_answer.get()>{t!(i18n, accept_help)}</span>
                    </div>
                </div>
            </div>
        </section>
    }
}

/// Where a text is.
fn state_of(text: &Text, reviewed: RwSignal<HashSet<String>>) -> State {
    review_order::state(text, reviewed.with(|r| r.contains(&text.id)))
}

/// Whether a text has an answer that nobody has gone through.
fn is_open(text: &Text, reviewed: RwSignal<HashSet<String>>) -> bool {
    text.reason.is_none() && reviewed.with_untracked(|r| !r.contains(&text.id))
}

/// Keeps the current row of the list in sight.
fn scroll_to_current() {
    #[cfg(feature = "hydrate")]
    request_animation_frame(|| {
        use wasm_bindgen::JsCast as _;
        let row = document().query_selector(".queue-row[aria-current]").ok().flatten();
        let list = document().query_selector(".queue").ok().flatten();
        let row = row.and_then(|r| r.dyn_into::<web_sys::HtmlElement>().ok());
        if let Some((row, list)) = row.zip(list) {
            // Not scroll_into_view: that would move the page too.
            let middle = row.offset_top() - (list.client_height() - row.offset_height()) / 2;
            list.set_scroll_top(middle);
        }
    });
}
