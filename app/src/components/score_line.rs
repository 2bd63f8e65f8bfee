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

/// Where the true share lies, with 95 % confidence, when `part` of `whole` were so in a sample: Wilson's interval, 0 to 1.
pub fn wilson(part: usize, whole: usize) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    if whole == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (whole as f64, part as f64 / whole as f64);
    let middle = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0))
}

/// `66.7 % (35.0–88.0)`.
pub fn with_interval(part: usize, whole: usize) -> String {
    let (low, high) = wilson(part, whole);
    format!("{} ({:.1}–{:.1})", percent(part, whole), 100.0 * low, 100.0 * high)
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
    fn an_interval_is_wilsons_and_stays_within_nothing_and_all() {
        // Values of the published formula for 8 of 10, and for the ends.
        let (low, high) = wilson(8, 10);
        assert!((low - 0.490).abs() < 0.001 && (high - 0.943).abs() < 0.001, "{low} {high}");
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        assert!(wilson(5, 5).0 > 0.56 && wilson(5, 5).1 == 1.0);
        assert_eq!(with_interval(8, 10), "80.0 % (49.0–94.3)");
    }

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
