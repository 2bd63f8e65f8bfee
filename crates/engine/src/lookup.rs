//! Guessing an answer's next tokens from what was said before.
//!
//! Extraction copies words of the prompt and repeats the form of its own answers. So what followed the last few
//! tokens there is likely to follow them here. Guessed tokens are computed in the same step as the newest one; those
//! that the run then chooses itself have cost little, the others are forgotten. The text never depends on it.

use std::collections::{HashMap, VecDeque};

/// The longest sequence that is looked for.
const LONGEST: usize = 6;
/// The most tokens guessed at once.
const MOST: usize = 8;
/// What one more row costs, in steps of one row: 0.15 to 0.25 with small models, an adapter at the upper end.
const ROW: f32 = 0.2;
/// Tokens of recent answers that are kept.
const RECENT: usize = 8192;
/// The most contexts whose odds are remembered.
const CONTEXTS: usize = 8192;
/// How often a guess is right before anything was learned, by how many tokens agree.
const PRIOR: [f32; LONGEST] = [0.35, 0.6, 0.75, 0.85, 0.9, 0.92];
/// How many observations that counts for, and after how many old ones count half.
const PRIOR_WEIGHT: f32 = 2.0;
const MEMORY: f32 = 32.0;

/// What a guess rests on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Context {
    adapter: Option<usize>,
    /// Whether it is copied from an answer, not from the prompt.
    answer: bool,
    /// How many tokens agree.
    agree: usize,
    /// The token before; `None` is what holds of all tokens, from which each one's odds start.
    after: Option<u32>,
}

impl Context {
    fn of_all(self) -> Self {
        Self { after: None, ..self }
    }
}

/// Tokens that may come next.
#[derive(Default)]
pub(crate) struct Guess {
    tokens: Vec<u32>,
    contexts: Vec<Context>,
    /// How many of them are worth computing.
    worth: usize,
}

impl Guess {
    /// Those that are worth computing.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens[..self.worth]
    }

    /// Computes no more than `most` of them.
    pub(crate) fn limit(&mut self, most: usize) {
        self.worth = self.worth.min(most);
    }
}

/// Recent answers, and what guesses are worth.
#[derive(Default)]
pub(crate) struct Lookup {
    /// Newest first, each after the last tokens of its prompt.
    recent: VecDeque<(Option<usize>, Vec<u32>)>,
    /// How often guesses were right, and how many there were.
    odds: HashMap<Context, (f32, f32)>,
}

impl Lookup {
    /// Guesses what follows `tokens`, of which the first `prompt` are no answer, as far as it is worth computing beside
    /// `answering` runs, this one included.
    pub(crate) fn guess(&self, adapter: Option<usize>, tokens: &[u32], prompt: usize, answering: usize) -> Guess {
        let mut guess = Guess::default();
        let Some(&last) = tokens.last() else { return guess };
        let own = find(tokens, tokens).map(|found| (found.at >= prompt, found));
        let earlier =
            self.recent.iter().filter(|(of, _)| *of == adapter).filter_map(|(_, answer)| find(answer, tokens));
        let earlier = earlier.reduce(|best, found| if found.agree > best.agree { found } else { best });
        // What was right more often; the run's own words when in doubt.
        let odds = |(answer, found): &(bool, Found<'_>)| {
            self.odds_of(Context { adapter, answer: *answer, agree: found.agree, after: Some(last) })
        };
        let best = match (own, earlier.map(|found| (true, found))) {
            (Some(own), Some(earlier)) => Some(if odds(&earlier) > odds(&own) { earlier } else { own }),
            (own, earlier) => own.or(earlier),
        };
        let Some((answered, Found { follows, agree, .. })) = best else { return guess };
        // A right guess saves this run's share of a step.
        let share = (1.0 + ROW * answering.saturating_sub(1) as f32) / answering.max(1) as f32;
        let (mut odds, mut previous) = (1.0, last);
        for (i, token) in follows.iter().copied().take(MOST).enumerate() {
            let agree = (agree + i).min(LONGEST);
            let context = Context { adapter, answer: answered, agree, after: Some(previous) };
            odds *= self.odds_of(context);
            if odds * share >= ROW {
                guess.worth = i + 1;
            }
            guess.tokens.push(token);
            guess.contexts.push(context);
            previous = token;
        }
        guess
    }

    fn odds_of(&self, context: Context) -> f32 {
        let prior = PRIOR.get(context.agree.saturating_sub(1)).copied().unwrap_or(0.0);
        [context.of_all(), context].iter().fold(prior, |prior, context| {
            let (right, all) = self.odds.get(context).copied().unwrap_or_default();
            (right + prior * PRIOR_WEIGHT) / (all + PRIOR_WEIGHT)
        })
    }

    /// Learns from what was chosen; also about guesses that were not worth computing, so that they can become so.
    pub(crate) fn learn(&mut self, guess: &Guess, chosen: &[u32]) {
        if self.odds.len() > CONTEXTS {
            self.odds.clear();
        }
        for ((context, guessed), chosen) in guess.contexts.iter().zip(&guess.tokens).zip(chosen) {
            for context in [context.of_all(), *context] {
                let (right, all) = self.odds.entry(context).or_default();
                if *all >= MEMORY {
                    *right /= 2.0;
                    *all /= 2.0;
                }
                *right += f32::from(u8::from(guessed == chosen));
                *all += 1.0;
            }
            if guessed != chosen {
                break;
            }
        }
    }

    /// Remembers an answer; `prompt` is how many of the tokens are not its own.
    pub(crate) fn remember(&mut self, adapter: Option<usize>, tokens: &[u32], prompt: usize) {
        let answer = tokens.get(prompt.saturating_sub(LONGEST)..).unwrap_or_default();
        if answer.len() > RECENT / 4 {
            return;
        }
        self.recent.push_front((adapter, answer.to_vec()));
        while self.recent.iter().map(|(_, answer)| answer.len()).sum::<usize>() > RECENT {
            self.recent.pop_back();
        }
    }

    /// Forgets what was learnt of an adapter.
    pub(crate) fn forget(&mut self, adapter: usize) {
        self.recent.retain(|(of, _)| *of != Some(adapter));
        self.odds.retain(|context, _| context.adapter != Some(adapter));
    }
}

/// What followed the longest of the last sequences of `tokens` in what was said, the newest of equals.
struct Found<'a> {
    follows: &'a [u32],
    /// Where that begins.
    at: usize,
    agree: usize,
}

fn find<'a>(said: &'a [u32], tokens: &[u32]) -> Option<Found<'a>> {
    let last = tokens.last()?;
    let mut best: Option<Found<'a>> = None;
    for (i, token) in said.iter().enumerate().rev() {
        if token != last || i + 1 == said.len() {
            continue;
        }
        let agree = said[..=i].iter().rev().zip(tokens.iter().rev()).take(LONGEST).take_while(|(a, b)| a == b).count();
        if best.as_ref().is_none_or(|best| agree > best.agree) {
            best = Some(Found { follows: &said[i + 1..], at: i + 1, agree });
            if agree == LONGEST {
                break;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(lookup: &Lookup, adapter: Option<usize>, tokens: &[u32], answering: usize) -> Vec<u32> {
        lookup.guess(adapter, tokens, tokens.len(), answering).tokens().to_vec()
    }

    #[test]
    fn the_longest_agreement_decides_and_the_newest_of_equals() {
        let lookup = Lookup::default();
        // After 1 2 came 7; after another 2 came 8 and, later, 9.
        let said = [1, 2, 7, 5, 2, 8, 6, 2, 9, 4];
        let first = |tokens: &[u32]| guess(&lookup, None, &[&said[..], tokens].concat(), 1).first().copied();
        assert_eq!(first(&[1, 2]), Some(7));
        assert_eq!(first(&[3, 2]), Some(9));
        assert_eq!(first(&[77]), None);
    }

    #[test]
    fn earlier_answers_of_the_same_adapter_are_sources() {
        let mut lookup = Lookup::default();
        lookup.remember(Some(0), &[90, 91, 1, 2, 3], 2);
        assert_eq!(guess(&lookup, Some(0), &[90, 91], 1), [1, 2, 3]);
        assert!(guess(&lookup, None, &[90, 91], 1).is_empty());
        for i in 0..100 {
            lookup.remember(None, &vec![i; 1000], 0);
        }
        assert!(lookup.recent.iter().map(|(_, a)| a.len()).sum::<usize>() <= RECENT);
    }

    #[test]
    fn guesses_that_fail_are_given_up_until_they_would_have_been_right() {
        let mut lookup = Lookup::default();
        let tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2];
        let alone = guess(&lookup, None, &tokens, 1).len();
        assert!(alone >= 2 && alone > guess(&lookup, None, &tokens, 16).len(), "many runs guess less");
        for _ in 0..20 {
            lookup.learn(&lookup.guess(None, &tokens, 11, 1), &[77]);
        }
        assert!(guess(&lookup, None, &tokens, 1).is_empty());
        for _ in 0..100 {
            lookup.learn(&lookup.guess(None, &tokens, 11, 1), &tokens[2..]);
        }
        assert_eq!(guess(&lookup, None, &tokens, 1).len(), MOST);
    }
}
