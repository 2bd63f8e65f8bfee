//! Where an answer ends before its end token: stop strings and loops.

/// The longest period of a loop, in tokens.
const LONGEST_PERIOD: usize = 64;

/// Where the first stop string begins, if there is one; else how much of the text's end could be the
/// beginning of one, and must not be shown yet. Both in bytes from the text's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The text ends here.
    At(usize),
    /// The text up to here can be shown.
    ShowTo(usize),
}

/// Looks for stop strings. `from` is a byte before which none can begin.
pub(crate) fn find_stop(text: &str, stops: &[String], from: usize) -> Stop {
    let mut from = from.min(text.len());
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    let tail = &text[from..];
    if let Some(at) = stops.iter().filter_map(|stop| tail.find(stop.as_str())).min() {
        return Stop::At(from + at);
    }
    let held = tail.char_indices().map(|(i, _)| i).find(|i| stops.iter().any(|stop| stop.starts_with(&tail[*i..])));
    Stop::ShowTo(held.map_or(text.len(), |i| from + i))
}

/// Notices when an answer has begun to repeat itself word for word.
#[derive(Clone, Debug)]
pub(crate) struct LoopDetector {
    tokens: Vec<u32>,
    /// For each period: how many of the last tokens equal the one a period before.
    equal: [usize; LONGEST_PERIOD],
}

impl Default for LoopDetector {
    fn default() -> Self {
        Self { tokens: vec![], equal: [0; LONGEST_PERIOD] }
    }
}

impl LoopDetector {
    /// Takes a token. When the answer now ends in a loop, gives how many tokens there are up to the end of the
    /// loop's first round.
    ///
    /// A loop is at least four rounds. Short periods need more: rows of a table, runs of dashes or spaces and
    /// arrays of zeros are no loops until they are longer than people write them.
    pub(crate) fn push(&mut self, token: u32) -> Option<usize> {
        self.tokens.push(token);
        let n = self.tokens.len();
        let mut shortest = None;
        for period in 1..=LONGEST_PERIOD.min(n - 1) {
            let equal = &mut self.equal[period - 1];
            *equal = if self.tokens[n - 1 - period] == token { *equal + 1 } else { 0 };
            // Four rounds of a period are also rounds of its multiples: the shortest counts.
            if shortest.is_none() && *equal >= 3 * period {
                shortest = Some((period, *equal));
            }
        }
        let (period, equal) = shortest?;
        let least = match period {
            1..=2 => 64,
            3..=8 => 48,
            _ => 0,
        };
        (equal + period >= least).then_some(n - equal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn a_stop_string_ends_the_text_before_it() {
        assert_eq!(find_stop("abc### d", &stops(&["###", "d"]), 0), Stop::At(3));
        assert_eq!(find_stop("abc", &stops(&["c", "bc"]), 0), Stop::At(1));
    }

    #[test]
    fn what_could_become_a_stop_string_is_held_back() {
        assert_eq!(find_stop("abc##", &stops(&["###"]), 0), Stop::ShowTo(3));
        assert_eq!(find_stop("ab#c", &stops(&["###"]), 0), Stop::ShowTo(4));
        assert_eq!(find_stop("中文\n", &stops(&["\n###", "文x"]), 0), Stop::ShowTo(6));
        assert_eq!(find_stop("文", &stops(&["文x"]), 2), Stop::ShowTo(0));
        assert_eq!(find_stop("abc", &[], 0), Stop::ShowTo(3));
    }

    /// How many tokens are left when a loop is noticed, and after how many tokens it was.
    fn notice(tokens: impl IntoIterator<Item = u32>) -> Option<(usize, usize)> {
        let mut detector = LoopDetector::default();
        tokens.into_iter().enumerate().find_map(|(i, t)| Some((detector.push(t)?, i + 1)))
    }

    #[test]
    fn a_sentence_said_four_times_is_a_loop_and_is_kept_once() {
        let intro = 0..5u32;
        let sentence = || 100..112u32;
        let tokens = intro.chain((0..9).flat_map(|_| sentence()));
        assert_eq!(notice(tokens), Some((5 + 12, 5 + 4 * 12)));
        assert_eq!(notice(std::iter::repeat_n(7, 200)), Some((1, 64)));
    }

    #[test]
    fn lists_tables_and_code_are_no_loops() {
        // A list whose items differ in one word.
        assert_eq!(notice((0..100).flat_map(|i| [1, 2, 1000 + i, 3, 4])), None);
        // Three times the same line.
        assert_eq!(notice((0..3).flat_map(|_| 0..30).chain(500..600)), None);
        // The rule under a table's head, an array of twenty zeros, a line of fifty dashes.
        assert_eq!(notice((0..12).flat_map(|_| [8, 9]).chain(10..20)), None);
        assert_eq!(notice((0..20).flat_map(|_| [5, 6]).chain(10..20)), None);
        assert_eq!(notice(std::iter::repeat_n(7, 50).chain(10..20)), None);
    }
}
