//! `/sessions/{id}/review`: the texts of a session, the doubtful first, gone through with the keyboard.

use std::collections::{BTreeMap, HashSet};

use extract::judge;
use leptos::{ev, html, prelude::*, task::spawn_local};
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};
use protocol::{Judgement, SessionView, Verdict};

use super::{
    error_page,
    review_order::{Doubt, SAMPLE, State, Text, sample},
    session::SessionLinks,
};
use crate::{
    api,
    components::{
        ComparisonCard, ErrorNotice, ExtractionCard, OnlyChanged, focus_first, is_on_control, is_on_nothing, is_typing,
        put, undo, with_interval,
    },
    found::{newest, of_item},
    heavy::heavy,
    i18n::{t, t_string, use_i18n},
    live::{self, Connection},
    prefs::fill,
    services::ServiceError,
};

/// Rows of the list that are drawn before and after the current one.
const AROUND: usize = 60;

#[component]
pub fn Review() -> impl IntoView {
    let params = use_params_map();
    let data = Resource::new_blocking(
        move || params.with(|p| p.get("id").unwrap_or_default()),
        |id| async move {
            let session = api::session(id.clone()).await?;
            let reviewed = api::reviewed(id).await?;
            Ok::<_, ServiceError>((session, reviewed))
        },
    );
    view! {
        <Suspense fallback=|| view! { <p class="page muted" aria-busy="true">"…"</p> }>
            {move || Suspend::new(async move {
                match data.await {
                    Ok((session, reviewed)) => view! { <Queue session reviewed/> }.into_any(),
                    Err(error) => error_page(&error),
                }
            })}
        </Suspense>
    }
}

#[component]
fn Queue(session: SessionView, reviewed: Vec<String>) -> impl IntoView {
    let i18n = use_i18n();
    let connection = expect_context::<Connection>();
    let error = RwSignal::new(None::<ServiceError>);
    OnlyChanged::provide();
    let (id, title) = (session.id.clone(), session.title.clone());
    let fresh_seed = session.updated_at.to_string();
    let items = newest(live::items(session.runs, session.documents, session.extractions));
    Effect::new({
        let items = items.clone();
        move |_| live::follow(&items, connection)
    });
    on_cleanup(live::leave);
    let mut texts: Vec<Text> = heavy(|| items.into_iter().filter_map(Text::of).collect());
    // The order is made once: a text does not move while it is judged.
    texts.sort_by_key(|t| std::cmp::Reverse(t.weight()));
    let query = use_query_map();
    let seed = query.with_untracked(|q| q.get("check")).filter(|s| !s.is_empty());
    if let Some(seed) = &seed {
        let drawn = sample(&texts, seed);
        texts.retain(|t| drawn.contains(&t.id));
    }
    let filter = query.with_untracked(|q| q.get("show")).unwrap_or_default();
    let filter = RwSignal::new(State::ALL.into_iter().find(|s| s.code() == filter));
    let reviewed = RwSignal::new(reviewed.into_iter().collect::<HashSet<String>>());
    let asked = query.with_untracked(|q| q.get("text"));
    let first = asked.filter(|id| texts.iter().any(|t| t.id == *id)).or_else(|| {
        let open = |t: &&Text| reviewed.with_untracked(|r| !r.contains(&t.id));
        texts.iter().find(open).or(texts.first()).map(|t| t.id.clone())
    });
    let current = RwSignal::new(first);
    let all_done = RwSignal::new(false);
    let texts = StoredValue::new(texts);
    let state = move |text: &Text| State::of(text, reviewed.with(|r| r.contains(&text.id)));
    // The one being looked at stays in the list, whatever becomes of it.
    let listed = Memo::new(move |_| {
        let wanted = filter.get();
        let shown = current.get();
        texts.with_value(|texts| {
            let keep = |t: &&Text| wanted.is_none_or(|w| state(t) == w) || shown.as_ref() == Some(&t.id);
            texts.iter().filter(keep).map(|t| t.id.clone()).collect::<Vec<_>>()
        })
    });
    let counts = Memo::new(move |_| {
        texts.with_value(|texts| State::ALL.map(|s| texts.iter().filter(|t| state(t) == s).count()))
    });
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
        if let Some(id) = next {
            show(id);
        }
    };
    let to_next_open = move || {
        let next = texts.with_value(|texts| {
            let here = current.get_untracked().and_then(|c| texts.iter().position(|t| t.id == c)).map_or(0, |h| h + 1);
            let open = |t: &&Text| reviewed.with_untracked(|r| !r.contains(&t.id));
            texts.iter().skip(here).find(open).or_else(|| texts.iter().find(open)).map(|t| t.id.clone())
        });
        match next {
            Some(id) => show(id),
            None => all_done.set(true),
        }
    };
    let accept = move || {
        let Some(text) =
            current.get_untracked().and_then(|c| texts.with_value(|t| t.iter().find(|t| t.id == c).cloned()))
        else {
            return;
        };
        let (Some(document), Some(found)) = (text.item.document.clone(), of_item(&text.item)) else { return };
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
        to_next_open();
        spawn_local(async move {
            if let Err(e) = api::accept(text.id.clone(), judgements.clone()).await {
                // Only what this has filed is taken back: the person may have gone on judging.
                document.update(|d| judgements.iter().for_each(|j| undo(&mut d.judgements, j, None)));
                if new {
                    reviewed.try_update(|r| r.remove(&text.id));
                }
                error.set(Some(e));
            }
        });
    };
    let reopen = move || {
        let Some(id) = current.get_untracked() else { return };
        let was = reviewed.try_update(|r| r.remove(&id)).unwrap_or(false);
        focus_first(card);
        spawn_local(async move {
            if let Err(e) = api::reopen(id.clone()).await {
                if was {
                    reviewed.try_update(|r| r.insert(id));
                }
                error.set(Some(e));
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
    let is_reviewed = move || current.get().is_some_and(|c| reviewed.with(|r| r.contains(&c)));
    let state_name = move |state: State| match state {
        State::Unreviewed => t_string!(i18n, state_unreviewed),
        State::Accepted => t_string!(i18n, state_accepted),
        State::Corrected => t_string!(i18n, state_corrected),
        State::Failed => t_string!(i18n, state_failed),
    };
    let total = texts.with_value(Vec::len);
    let tab = move |wanted: Option<State>| {
        let count = move || match wanted {
            Some(wanted) => State::ALL.iter().zip(counts.get()).find(|(s, _)| **s == wanted).map_or(0, |(_, n)| n),
            None => total,
        };
        let code = wanted.map_or("all", State::code);
        view! {
            <a href=format!("?show={code}") rel="external" data-testid=format!("show-{code}")
                aria-current=move || (filter.get() == wanted).then_some("true")
                on:click=move |ev| { ev.prevent_default(); filter.set(wanted) }>
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
                <a class=move || format!("queue-row {}", now.get().code()) href=format!("?text={id}") rel="external" tabindex="-1"
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
            if item.is_comparison() {
                view! { <ComparisonCard item read_only=false error/> }.into_any()
            } else {
                view! { <ExtractionCard item read_only=false error/> }.into_any()
            }
        })
    };
    let checking = seed.is_some();
    let back = format!("/sessions/{id}");
    view! {
        <Title text=move || format!("{} · {title}", t_string!(i18n, review_title))/>
        <section class="page review" id="work">
            <h1>{t!(i18n, review_title)}</h1>
            <p class="muted"><a href=back.clone() data-testid="back">{session.title}</a> <SessionLinks id/></p>
            <div class="review-bar">
                <nav class="tabs" aria-label=move || t_string!(i18n, review_title)>
                    {tab(None)} {State::ALL.into_iter().map(|s| tab(Some(s))).collect_view()}
                </nav>
                {if checking {
                    view! { <a href=format!("{back}/review") rel="external" data-testid="check-end">{t!(i18n, check_end)}</a> }.into_any()
                } else {
                    view! {
                        <a class="button quiet" href=format!("?check={fresh_seed}") rel="external" data-testid="check" title=move || t_string!(i18n, check_help)>
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
            {(total == 0).then(|| view! { <p class="empty" data-testid="review-empty">{t!(i18n, review_empty)}</p> })}
            <div class="review-body" class:hidden=move || total == 0>
                <ol class="queue" data-testid="queue">{move || rows().into_iter().map(row).collect_view()}</ol>
                <div class="review-card" tabindex="-1" node_ref=card data-testid="review-card">
                    {body}
                    <div class="buttons review-buttons">
                        <button type="button" class="quiet" data-testid="previous" on:click=move |_| step(-1)>{t!(i18n, previous)} <kbd>"K"</kbd></button>
                        <button type="button" class="quiet" data-testid="next" on:click=move |_| step(1)>{t!(i18n, next)} <kbd>"J"</kbd></button>
                        <Show when=is_reviewed fallback=move || view! {
                            <button type="button" class="primary" data-testid="accept" title=move || t_string!(i18n, accept_help) on:click=move |_| accept()>{t!(i18n, accept)} <kbd>"↵"</kbd></button>
                        }>
                            <button type="button" class="quiet" data-testid="reopen" on:click=move |_| reopen()>{t!(i18n, reopen)}</button>
                        </Show>
                        <span class="help">{t!(i18n, accept_help)}</span>
                    </div>
                </div>
            </div>
        </section>
    }
}

/// Why a text stands where it does.
#[component]
fn DoubtTags(doubts: BTreeMap<Doubt, usize>) -> impl IntoView {
    let i18n = use_i18n();
    let name = move |doubt: Doubt| match doubt {
        Doubt::Failed => t_string!(i18n, doubt_failed),
        Doubt::Repeated => t_string!(i18n, doubt_repeated),
        Doubt::CutOff => t_string!(i18n, doubt_cut_off),
        Doubt::Unreadable => t_string!(i18n, doubt_unreadable),
        Doubt::NotInText => t_string!(i18n, not_in_text),
        Doubt::Check => t_string!(i18n, unsure),
        Doubt::Issues => t_string!(i18n, doubt_issues),
        Doubt::Differs => t_string!(i18n, doubt_differs),
    };
    let tag = move |(doubt, count): (Doubt, usize)| {
        let class = if doubt == Doubt::Failed { "tag bad" } else { "tag warn" };
        view! { <span class=class data-testid="doubt">{move || name(doubt)} {(count > 1).then(|| format!(" {count}"))}</span> }
    };
    view! { <span class="doubts">{doubts.into_iter().map(tag).collect_view()}</span> }
}

/// What a random sample says of all texts, as far as it has been gone through.
#[component]
fn CheckLine(texts: StoredValue<Vec<Text>>, reviewed: RwSignal<HashSet<String>>) -> impl IntoView {
    let i18n = use_i18n();
    let sums = Memo::new(move |_| {
        let (mut done, mut score) = (0, judge::Score::default());
        texts.with_value(|texts| {
            for text in texts.iter().filter(|t| reviewed.with(|r| r.contains(&t.id))) {
                let judgements = text.judgements();
                let grounded = of_item(&text.item).and_then(|f| f.main().map(|c| c.grounded())).unwrap_or_default();
                score += judge::score(&grounded, &judgements);
                done += 1;
            }
            (done, texts.len(), score)
        })
    });
    move || {
        let (done, all, s) = sums.get();
        let line = fill(
            t_string!(i18n, check_line),
            &[
                ("done", &done),
                ("all", &all),
                ("precision", &with_interval(s.right, s.found)),
                ("recall", &with_interval(s.right, s.right + s.missed)),
            ],
        );
        view! { <p class="notice" data-testid="check-line">{line}</p> }
    }
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
