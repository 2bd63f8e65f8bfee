//! Where a share lies that was seen in a sample of texts.
//!
//! Texts are drawn, not records: the records of one text are right or wrong together more often than chance has it. So the
//! share is a ratio of two sums over texts, its variance that of the ratio estimator (Cochran, *Sampling Techniques*, 1977,
//! section 6), and its interval Wilson's with as many records as would have that variance if each were drawn by itself
//! (Korn and Graubard, 1998).

use super::score_line::percent;

/// The normal distribution's 97.5th percentile.
const Z: f64 = 1.959_964;

/// Wilson's interval of a share that was seen among `n`, which need not be whole.
fn wilson(share: f64, n: f64) -> (f64, f64) {
    let middle = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0))
}

/// As how many records drawn one by one those of these texts tell of the share: `(part, whole)` of each text.
fn effective(texts: &[(usize, usize)], share: f64, whole: usize) -> f64 {
    let with_some = texts.iter().filter(|(_, whole)| *whole > 0).count() as f64;
    let records = whole as f64;
    // All or none are so: the texts do not tell how far they differ, and each counts as one.
    if share <= 0.0 || share >= 1.0 || with_some < 2.0 {
        return with_some.max(1.0);
    }
    let squares: f64 = texts.iter().map(|(part, whole)| (*part as f64 - share * *whole as f64).powi(2)).sum();
    let variance = with_some / (with_some - 1.0) * squares / (records * records);
    let n = share * (1.0 - share) / variance;
    if n.is_finite() { n.clamp(1.0, records) } else { records }
}

/// The 95 % interval of a share, 0 to 1, by what it was in each text: `(part, whole)`.
pub fn over_texts(texts: &[(usize, usize)]) -> (f64, f64) {
    let (part, whole) = sums(texts);
    if whole == 0 {
        return (0.0, 1.0);
    }
    let share = part as f64 / whole as f64;
    wilson(share, effective(texts, share, whole))
}

fn sums(texts: &[(usize, usize)]) -> (usize, usize) {
    texts.iter().fold((0, 0), |(part, whole), (p, w)| (part + p, whole + w))
}

/// `66.7 % (35.0–88.0)`.
pub fn with_interval(texts: &[(usize, usize)]) -> String {
    let (part, whole) = sums(texts);
    let (low, high) = over_texts(texts);
    format!("{} ({:.1}–{:.1})", percent(part, whole), 100.0 * low, 100.0 * high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close((a, b): (f64, f64), (c, d): (f64, f64)) -> bool {
        (a - c).abs() < 0.001 && (b - d).abs() < 0.001
    }

    #[test]
    fn of_texts_with_one_record_each_it_is_nearly_wilsons_and_stays_within_nothing_and_all() {
        let texts: Vec<(usize, usize)> = (0..10).map(|n| (usize::from(n < 8), 1)).collect();
        // Wilson's formula for 8 of 10 is 0.490 to 0.943; the variance of a sample has one less in its denominator.
        let (low, high) = over_texts(&texts);
        assert!((0.46..=0.49).contains(&low) && (0.943..0.955).contains(&high), "{low} {high}");
        assert_eq!(over_texts(&[]), (0.0, 1.0));
        assert_eq!(over_texts(&[(0, 0), (0, 0)]), (0.0, 1.0));
        assert!(close(over_texts(&[(1, 1); 5]), (0.566, 1.0)), "Wilson's for 5 of 5");
    }

    #[test]
    fn records_that_are_right_or_wrong_together_say_less_than_as_many_by_themselves() {
        // 80 of 100 records either way: in texts that are all right or all wrong, and in texts alike.
        let together: Vec<_> = (0..10).map(|n| (if n < 8 { 10 } else { 0 }, 10)).collect();
        let alike = [(8, 10); 10];
        let width = |texts: &[(usize, usize)]| {
            let (low, high) = over_texts(texts);
            high - low
        };
        assert!(width(&together) > 2.5 * width(&alike), "{} {}", width(&together), width(&alike));
        assert!(close(over_texts(&alike), (0.711, 0.867)), "Wilson's for 80 of 100, and no narrower");
        assert!(width(&[(50, 50)]) > width(&[(10, 10); 5]), "one text is one, however much is in it");
        assert_eq!(with_interval(&[(2, 3), (0, 0)]), "66.7 % (9.4–97.5)");
    }
}
