//! Precision, recall and F1 against what people said, with the counts they are made of.

use extract::judge::Score;
use leptos::prelude::*;

use crate::{
    i18n::{t_string, use_i18n},
    prefs::fill,
};

/// `66.7 %`; a dash where there is nothing to count.
pub fn percent(part: usize, whole: usize) -> String {
    if whole == 0 { "–".into() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

/// The records found that were judged: what precision is over.
pub fn judged(score: Score) -> usize {
    score.right + score.wrong
}

/// The records that are to be found: what recall is over.
pub fn gold(score: Score) -> usize {
    score.right + score.missed
}

/// F1 as a percentage: twice what is right over what was judged and what is to be found.
pub fn f1(score: Score) -> String {
    percent(2 * score.right, judged(score) + gold(score))
}

/// The line below the counts, as soon as anything is judged.
#[component]
pub fn ScoreLine(score: Memo<Score>) -> impl IntoView {
    let i18n = use_i18n();
    move || {
        let s = score.get();
        (judged(s) + gold(s) > 0).then(|| {
            let line = fill(
                t_string!(i18n, score_line),
                &[
                    ("precision", &percent(s.right, judged(s))),
                    ("recall", &percent(s.right, gold(s))),
                    ("f1", &f1(s)),
                    ("right", &s.right),
                    ("judged", &judged(s)),
                    ("gold", &gold(s)),
                ],
            );
            view! { <p class="muted score-line" data-testid="score-line">{line}</p> }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_over_what_was_judged_and_what_is_to_be_found() {
        let score = Score { found: 5, right: 2, wrong: 1, missed: 2, unjudged: 2 };
        assert_eq!(
            (percent(score.right, judged(score)), percent(score.right, gold(score))),
            ("66.7 %".into(), "50.0 %".into())
        );
        assert_eq!(f1(score), "57.1 %");
        assert_eq!(f1(Score::default()), "–");
    }
}
