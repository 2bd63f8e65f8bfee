//! Where a name or an arrow of a session's graph stands: the sentences, fetched when they are wanted.

use extract::graph::Place;
use leptos::{prelude::*, task::spawn_local};
use protocol::{Record, Span, text::slice_chars};

use crate::{
    components::Origin,
    i18n::{t, use_i18n},
    prefs::language,
    reviews::{self, CorpusText},
    services::ServiceError,
};

/// The most places that are listed of a name.
const PLACES: usize = 50;
/// The most characters of a sentence before and after the words.
const AROUND: usize = 120;

/// A place: its text, and which words of it are meant.
pub type Stand = (String, Span, Vec<Span>);

/// Where a name or an arrow stands, each place once.
pub fn stands(
    places: &[Place],
    texts: StoredValue<Vec<CorpusText>>,
    words: fn(&Record, Option<Span>) -> Vec<Span>,
) -> Vec<Stand> {
    let mut list: Vec<Stand> = Vec::new();
    texts.with_value(|texts| {
        for place in places {
            let Some(span) = place.span else { continue };
            if list.iter().any(|(d, s, _)| *d == place.document && *s == span) || list.len() >= PLACES {
                continue;
            }
            let Some(text) = texts.iter().find(|t| t.document == place.document) else { continue };
            let column = text.columns.iter().find(|(column, _)| Origin::from(*column) == place.origin);
            let record = column.zip(place.record).and_then(|((_, records), index)| records.get(index));
            list.push((place.document.clone(), span, record.map_or_else(|| vec![span], |r| words(r, Some(span)))));
        }
    });
    list
}

/// The sentences that places stand in, each with a link to its text. They are fetched when they are wanted.
#[component]
pub fn Places(places: Vec<Stand>, session: StoredValue<String>) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let shown = RwSignal::new(None::<Result<Vec<(String, Parts)>, ServiceError>>);
    spawn_local(async move {
        let wanted = places.iter().map(|(document, span, _)| (document.clone(), *span)).collect();
        let Some(session) = session.try_get_value() else { return };
        let sentences = reviews::get_excerpts(session, wanted, AROUND).await.map(|excerpts| {
            let one = |(document, span, words): &Stand| {
                let at = span.start.saturating_sub(AROUND);
                let excerpt = excerpts.iter().find(|e| e.document == *document && e.at == at)?;
                let moved = |s: &Span| Some(Span { start: s.start.checked_sub(at)?, end: s.end.checked_sub(at)? });
                let words: Vec<Span> = words.iter().filter_map(moved).collect();
                Some((document.clone(), sentence(&excerpt.text, moved(span)?, &words)))
            };
            places.iter().filter_map(one).collect()
        });
        shown.try_set(Some(sentences));
    });
    let link = move |document: &str| session.with_value(|s| format!("/sessions/{s}/review?text={document}"));
    let list = move |sentences: Vec<(String, Parts)>| {
        let one = move |(document, parts): (String, Parts)| {
            let part = |(words, marked): (String, bool)| {
                if marked { view! { <b>{words}</b> }.into_any() } else { words.into_any() }
            };
            view! {
                <li>
                    {parts.into_iter().map(part).collect_view()}
                    " " <a href=link(&document) rel="external">{t!(i18n, open_text)}</a>
                </li>
            }
        };
        view! { <ul class="places" data-testid="places">{sentences.into_iter().map(one).collect_view()}</ul> }
    };
    view! {
        <h3>{t!(i18n, places)}</h3>
        {move || match shown.get() {
            None => view! { <p class="muted" aria-busy="true">"…"</p> }.into_any(),
            Some(Ok(sentences)) => list(sentences).into_any(),
            Some(Err(error)) => view! { <p class="error" role="alert">{error.sentence(language())}</p> }.into_any(),
        }}
    }
}

/// The words of a node at a place.
pub fn node_words(_: &Record, span: Option<Span>) -> Vec<Span> {
    span.into_iter().collect()
}

/// The words that an edge joins at a place: those of its record.
pub fn edge_words(record: &Record, _: Option<Span>) -> Vec<Span> {
    record.mentions().into_iter().filter_map(|(_, m)| m.span).collect()
}

/// Words of a sentence; those that are meant are `true`.
type Parts = Vec<(String, bool)>;

/// The sentence around a place, in parts; those of the words themselves are `true`.
fn sentence(text: &str, around: Span, words: &[Span]) -> Parts {
    let chars: Vec<char> = text.chars().collect();
    let ends = |c: &char| matches!(c, '。' | '！' | '？' | '!' | '?' | '\n');
    // A full stop ends a sentence when a space follows.
    let is_end = |i: usize| {
        chars.get(i).is_some_and(|c| ends(c) || (*c == '.' && chars.get(i + 1).is_none_or(|n| n.is_whitespace())))
    };
    let (start, end) = (around.start.min(chars.len()), around.end.min(chars.len()));
    let from = (0..start).rev().find(|i| is_end(*i)).map_or(0, |i| i + 1).max(start.saturating_sub(AROUND));
    let to = (end..chars.len()).find(|i| is_end(*i)).map_or(chars.len(), |i| i + 1).min(end + AROUND);
    let mut marks: Vec<Span> = words.iter().copied().filter(|s| from <= s.start && s.end <= to).collect();
    marks.sort_unstable();
    let mut parts = Vec::new();
    let mut at = from;
    let mut push = |from: usize, to: usize, marked: bool| {
        if from < to {
            parts.push((slice_chars(text, from, to).to_owned(), marked));
        }
    };
    for mark in marks {
        push(at, mark.start.max(at), false);
        push(mark.start.max(at), mark.end, true);
        at = mark.end.max(at);
    }
    push(at, to, false);
    if let Some((first, _)) = parts.first_mut() {
        *first = first.trim_start().to_owned();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, around: (usize, usize), words: &[(usize, usize)]) -> String {
        let span = |(start, end): (usize, usize)| Span { start, end };
        let words: Vec<Span> = words.iter().copied().map(span).collect();
        let part = |(words, marked): (String, bool)| if marked { format!("[{words}]") } else { words };
        sentence(text, span(around), &words).into_iter().map(part).collect()
    }

    #[test]
    fn a_place_is_shown_in_its_sentence_with_its_words_marked() {
        assert_eq!(shown("Hi. Ann met Bob. Bye.", (4, 15), &[(12, 15), (4, 7)]), "[Ann] met [Bob].");
        assert_eq!(shown("v1.2 runs", (0, 4), &[(0, 4)]), "[v1.2] runs");
        assert_eq!(shown("你好。张三在北京。再见。", (3, 5), &[(3, 5)]), "[张三]在北京。");
        assert_eq!(shown("short", (0, 99), &[]), "short");
    }
}
