//! An answer as the model wrote it, with the places marked that an issue is about.

use extract::Issue;
use leptos::prelude::*;
use protocol::{Language, Span, text::slice_chars};

use crate::{
    live::{Document, Run, answer},
    prefs::language,
};

/// A stretch of an answer, with what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    text: String,
    said: Vec<String>,
}

/// The answer cut where a place begins or ends that an issue is about. Places may overlap; an empty one is left out.
fn pieces(answer: &str, issues: &[Issue], language: Language) -> Vec<Piece> {
    let length = answer.chars().count();
    let inside = |span: Span| Some(Span { end: span.end.min(length), ..span }).filter(|span| span.start < span.end);
    let places: Vec<(Span, String)> =
        issues.iter().filter_map(|issue| Some((issue.at.and_then(inside)?, issue.sentence(language)))).collect();
    let mut cuts: Vec<usize> = places.iter().flat_map(|(span, _)| [span.start, span.end]).chain([0, length]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let piece = |pair: &[usize]| {
        let [start, end] = *pair else { return None };
        let covers = |(span, _): &&(Span, String)| span.start <= start && end <= span.end;
        let said = places.iter().filter(covers).map(|(_, said)| said.clone()).collect();
        Some(Piece { text: slice_chars(answer, start, end).to_owned(), said })
    };
    cuts.windows(2).filter_map(piece).collect()
}

/// The answer of a run. What an issue is about can be reached with the keyboard, and says what the issue is.
#[component]
pub fn RawAnswer(
    run: Run,
    /// The text that it is about.
    document: Option<Document>,
) -> impl IntoView {
    let language = language();
    // Only answers that are read for records have issues.
    let parsed = run.with_untracked(|r| r.schema.is_some()).then(|| answer(run.clone(), document));
    let pieces = move || {
        let issues = parsed.as_ref().map(|parsed| parsed.with(|p| p.issues.clone())).unwrap_or_default();
        run.with(|r| pieces(&r.text, if r.status.is_final() { &issues } else { &[] }, language()))
    };
    let draw = |Piece { text, said }: Piece| match said.as_slice() {
        [] => text.into_any(),
        _ => {
            let said = said.join("\n");
            let name = format!("{text}: {said}");
            view! { <mark class="issue" tabindex="0" role="note" title=said.clone() aria-label=name data-said=said data-testid="issue-place">{text}</mark> }
                .into_any()
        }
    };
    view! { <pre data-testid="raw">{move || pieces().into_iter().map(draw).collect_view()}</pre> }
}

#[cfg(test)]
mod tests {
    use super::*;
    use extract::IssueKind;

    fn issue(kind: IssueKind, at: Option<(usize, usize)>) -> Issue {
        let at = at.map(|(start, end)| Span { start, end });
        Issue { kind, words: "w".into(), record: None, argument: None, at, count: 1 }
    }

    #[test]
    fn places_are_cut_out_in_code_points_and_may_overlap() {
        let issues = [
            issue(IssueKind::OtherText, Some((0, 2))),
            issue(IssueKind::Duplicate, Some((1, 4))),
            issue(IssueKind::BrokenOff, Some((6, 90))),
            issue(IssueKind::Empty, None),
            issue(IssueKind::Unreadable, Some((3, 3))),
        ];
        let cut = pieces("🙂中abc(xy", &issues, Language::En);
        let shown: Vec<_> = cut.iter().map(|p| (p.text.as_str(), p.said.len())).collect();
        assert_eq!(shown, [("🙂", 1), ("中", 2), ("ab", 1), ("c(", 0), ("xy", 1)]);
        assert!(cut[0].said[0].starts_with("The answer holds other text"));
    }

    #[test]
    fn an_answer_without_issues_is_one_piece_and_an_empty_one_none() {
        let cut = pieces("(Ada, person)", &[], Language::En);
        assert_eq!(cut, [Piece { text: "(Ada, person)".into(), said: Vec::new() }]);
        assert_eq!(pieces("", &[issue(IssueKind::Empty, Some((0, 5)))], Language::En), []);
    }
}
