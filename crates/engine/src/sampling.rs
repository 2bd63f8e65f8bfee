//! From scores to a token, in the order and with the meaning of Hugging Face's processors: bias, repetition
//! penalty, then OpenAI's presence and frequency penalties; temperature, top-k, top-p, min-p.

use std::collections::{HashMap, HashSet};

use protocol::Parameters;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What changes a run's scores before a token is chosen.
#[derive(Clone)]
pub(crate) struct Penalties {
    bias: Vec<(u32, f32)>,
    repetition: f32,
    presence: f32,
    frequency: f32,
    /// Tokens of prompt and answer.
    seen: HashSet<u32>,
    /// How often the answer has each token.
    counts: HashMap<u32, u32>,
}

impl Penalties {
    pub(crate) fn new(parameters: &Parameters, bias: Vec<(u32, f32)>, prompt: &[u32]) -> Self {
        Self {
            bias,
            repetition: parameters.repetition_penalty as f32,
            presence: parameters.presence_penalty as f32,
            frequency: parameters.frequency_penalty as f32,
            seen: prompt.iter().copied().collect(),
            counts: HashMap::new(),
        }
    }

    /// Counts a token of the answer.
    pub(crate) fn took(&mut self, token: u32) {
        self.seen.insert(token);
        *self.counts.entry(token).or_default() += 1;
    }

    /// Whether any score is changed.
    pub(crate) fn change(&self) -> bool {
        !self.bias.is_empty() || self.repetition != 1.0 || self.presence != 0.0 || self.frequency != 0.0
    }

    pub(crate) fn apply(&self, scores: &mut [f32]) {
        for (token, bias) in &self.bias {
            if let Some(score) = scores.get_mut(*token as usize) {
                *score += bias;
            }
        }
        if self.repetition != 1.0 {
            for token in &self.seen {
                if let Some(score) = scores.get_mut(*token as usize) {
                    *score = if *score > 0.0 { *score / self.repetition } else { *score * self.repetition };
                }
            }
        }
        if self.presence != 0.0 || self.frequency != 0.0 {
            for (token, count) in &self.counts {
                if let Some(score) = scores.get_mut(*token as usize) {
                    *score -= self.presence + self.frequency * *count as f32;
                }
            }
        }
    }
}

/// Chooses one run's tokens.
pub(crate) struct Sampler {
    temperature: f64,
    top_p: f64,
    top_k: usize,
    min_p: f64,
    rng: ChaCha8Rng,
}

impl Sampler {
    pub(crate) fn new(parameters: &Parameters, seed: u64) -> Self {
        Self {
            temperature: parameters.temperature,
            top_p: parameters.top_p,
            top_k: parameters.top_k as usize,
            min_p: parameters.min_p,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The next token; `None` when no token is possible.
    pub(crate) fn choose(&mut self, scores: &[f32]) -> Option<u32> {
        if self.temperature == 0.0 { greatest(scores) } else { self.draw(scores) }
    }

    fn draw(&mut self, scores: &[f32]) -> Option<u32> {
        let mut ranked = if self.top_k > 0 {
            Ranked::new(best(scores, self.top_k))
        } else {
            Ranked::new(scores.iter().copied().zip(0..).filter(|c| c.0 > f32::NEG_INFINITY).collect())
        };
        let best = ranked.get(0)?.0;
        let weight = |c: (f32, u32)| (f64::from(c.0 - best) / self.temperature).exp();
        // How many are left after the cuts, and their weights together. The likeliest weighs 1.
        let all = || ranked.candidates.iter().map(|c| weight(*c)).sum::<f64>();
        let (kept, sum) = if self.top_p < 1.0 || self.min_p > 0.0 {
            // The smallest set of the likeliest tokens that reaches `top_p`; always at least one.
            let enough = if self.top_p < 1.0 { self.top_p * all() } else { f64::INFINITY };
            let (mut kept, mut sum) = (0, 0.0);
            while let Some(candidate) = ranked.get(kept)
                && (kept == 0 || weight(candidate) >= self.min_p)
            {
                kept += 1;
                sum += weight(candidate);
                if sum >= enough {
                    break;
                }
            }
            (kept, sum)
        } else {
            (ranked.candidates.len(), all())
        };
        // Nothing is drawn where there is no choice: what a guide forces leaves later draws as they are, whether or not it
        // was computed.
        if kept == 1 {
            return ranked.get(0).map(|only| only.1);
        }
        let mut point = self.rng.random::<f64>() * sum;
        for i in 0..kept {
            let candidate = ranked.get(i)?;
            point -= weight(candidate);
            if point < 0.0 {
                return Some(candidate.1);
            }
        }
        // What rounding left over belongs to the likeliest.
        Some(ranked.get(0)?.1)
    }
}

/// Candidates by score, greatest first; the token's number decides between equals, so that the order is always
/// the same. Sorted only as far as somebody looks.
struct Ranked {
    candidates: Vec<(f32, u32)>,
    sorted: usize,
}

impl Ranked {
    fn new(candidates: Vec<(f32, u32)>) -> Self {
        Self { candidates, sorted: 0 }
    }

    fn order(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
        b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
    }

    /// Keeps the first `n` only.
    fn keep(&mut self, n: usize) {
        if n < self.candidates.len() {
            self.candidates.select_nth_unstable_by(n, Self::order);
            self.candidates.truncate(n);
        }
    }

    fn get(&mut self, i: usize) -> Option<(f32, u32)> {
        while i >= self.sorted && self.sorted < self.candidates.len() {
            let rest = &mut self.candidates[self.sorted..];
            // At first a few, then as many as there are already.
            let more = self.sorted.max(64).min(rest.len());
            if more < rest.len() {
                rest.select_nth_unstable_by(more, Self::order);
            }
            rest[..more].sort_unstable_by(Self::order);
            self.sorted += more;
        }
        self.candidates.get(i).copied()
    }
}

/// Scores that are looked at together.
const BLOCK: usize = 64;

/// The greatest score of each block; many scores are compared at a time.
fn block_maxima(scores: &[f32]) -> Vec<f32> {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let of_block = |block: &[f32]| {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let parts = block.chunks_exact(16);
        let rest = parts.remainder().iter().copied().fold(f32::NEG_INFINITY, greater);
        for part in parts {
            for (lane, score) in lanes.iter_mut().zip(part) {
                *lane = greater(*lane, *score);
            }
        }
        lanes.into_iter().fold(rest, greater)
    };
    scores.chunks(BLOCK).map(of_block).collect()
}

/// The tokens with the greatest scores, greatest first; at most `n`, and only possible ones.
pub(crate) fn best(scores: &[f32], n: usize) -> Vec<(f32, u32)> {
    if n == 0 {
        return vec![];
    }
    let maxima = block_maxima(scores);
    // As many blocks have a score of at least this: so no less can be among the best.
    let least = if (1..maxima.len()).contains(&n) {
        *maxima.clone().select_nth_unstable_by(n - 1, |a, b| b.total_cmp(a)).1
    } else {
        f32::NEG_INFINITY
    };
    let mut ranked = Ranked::new(vec![]);
    for ((block, greatest), number) in scores.chunks(BLOCK).zip(&maxima).zip(0u32..) {
        if *greatest >= least && *greatest > f32::NEG_INFINITY {
            let numbered = block.iter().copied().zip(number * BLOCK as u32..);
            ranked.candidates.extend(numbered.filter(|c| c.0 >= least && c.0 > f32::NEG_INFINITY));
        }
    }
    ranked.keep(n);
    ranked.candidates.sort_unstable_by(Ranked::order);
    ranked.candidates
}

/// The natural logarithm of the sum of the scores' exponentials: a score less this is its log-probability.
pub(crate) fn log_sum(scores: &[f32]) -> f32 {
    let greatest = block_maxima(scores).into_iter().fold(f32::NEG_INFINITY, f32::max);
    let of_block = |block: &[f32]| {
        let mut lanes = [0.0_f32; 16];
        let parts = block.chunks_exact(16);
        let rest: f32 = parts.remainder().iter().map(|s| exp(s - greatest)).sum();
        for part in parts {
            for (lane, score) in lanes.iter_mut().zip(part) {
                *lane += exp(score - greatest);
            }
        }
        f64::from(lanes.into_iter().sum::<f32>() + rest)
    };
    let sum: f64 = scores.chunks(BLOCK).map(of_block).sum();
    (f64::from(greatest) + sum.ln()) as f32
}

/// The exponential of what is not above 0, to a few units in the last place: without branches or calls, so that many are
/// computed at a time. It is computed of a whole vocabulary for every token whose probability somebody wants to know.
fn exp(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = if x > -87.0 { x } else { -87.0 };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let octaves = rounded - ROUND;
    let x = x - octaves * LN_2[0] - octaves * LN_2[1];
    // Cephes' `expf` on half an octave around 1.
    let p = 1.987_569_1e-4 * x + 1.398_2e-3;
    let p = ((p * x + 8.333_452e-3) * x + 4.166_579_6e-2) * x + 1.666_666_5e-1;
    let p = (p * x + 0.5) * x * x + x + 1.0;
    p * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23)
}

/// The token with the greatest score; the first of equals.
fn greatest(scores: &[f32]) -> Option<u32> {
    let mut best = (f32::NEG_INFINITY, None);
    for (score, block) in block_maxima(scores).into_iter().zip(0..) {
        if score > best.0 {
            best = (score, Some(block));
        }
    }
    let from = best.1? * BLOCK;
    scores.get(from..)?.iter().position(|score| *score == best.0).map(|at| (from + at) as u32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::Mode;

    fn parameters(change: impl Fn(&mut Parameters)) -> Parameters {
        let mut p = Parameters::published(Mode::Pretrain);
        (p.temperature, p.top_p, p.top_k, p.repetition_penalty) = (1.0, 1.0, 0, 1.0);
        change(&mut p);
        p
    }

    fn sampler(change: impl Fn(&mut Parameters)) -> Sampler {
        Sampler::new(&parameters(change), 7)
    }

    fn counts(mut sampler: Sampler, scores: &[f32]) -> Vec<usize> {
        let mut counts = vec![0; scores.len()];
        for _ in 0..4000 {
            counts[sampler.choose(scores).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_greatest() {
        let mut greedy = sampler(|p| p.temperature = 0.0);
        assert_eq!(greedy.choose(&[0.0, 2.0, 2.0, f32::NAN]), Some(1));
        assert_eq!(greedy.choose(&[f32::NEG_INFINITY; 3]), None);
        assert_eq!(sampler(|_| {}).choose(&[f32::NEG_INFINITY; 3]), None);
    }

    #[test]
    fn the_repetition_penalty_divides_positive_and_multiplies_negative_scores_of_seen_tokens() {
        let mut penalties = Penalties::new(&parameters(|p| p.repetition_penalty = 2.0), vec![], &[0, 2]);
        let mut scores = [3.0, 2.0, -1.0];
        penalties.apply(&mut scores);
        assert_eq!(scores, [1.5, 2.0, -2.0]);
        // What was answered counts from then on.
        penalties.took(1);
        penalties.apply(&mut scores);
        assert_eq!(scores, [0.75, 1.0, -4.0]);
    }

    #[test]
    fn presence_and_frequency_count_the_answer_only_and_a_bias_comes_first() {
        let p = parameters(|p| (p.presence_penalty, p.frequency_penalty) = (0.5, 0.25));
        let mut penalties = Penalties::new(&p, vec![(0, 1.0), (9, 1.0)], &[0, 2]);
        penalties.took(1);
        penalties.took(1);
        let mut scores = [3.0, 2.0, -1.0];
        penalties.apply(&mut scores);
        assert_eq!(scores, [4.0, 1.0, -1.0]);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let scores = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let c = counts(sampler(|_| {}), &scores);
        for (count, share) in c.iter().zip([0.5, 0.3, 0.2]) {
            assert!((*count as f64 / 4000.0 - share).abs() < 0.03, "{c:?}");
        }
        let cold = counts(sampler(|p| p.temperature = 0.25), &scores);
        assert!(cold[0] > c[0]);
    }

    #[test]
    fn top_k_top_p_and_min_p_cut_the_tail() {
        let scores = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        assert_eq!(counts(sampler(|p| p.top_k = 2), &scores)[2], 0);
        // 0.5 alone does not reach 0.6; 0.5 + 0.3 does.
        let c = counts(sampler(|p| p.top_p = 0.6), &scores);
        assert!(c[1] > 0 && c[2] == 0, "{c:?}");
        assert_eq!(counts(sampler(|p| p.top_p = 0.0), &scores), [4000, 0, 0]);
        // 0.2 is less than half of 0.5; 0.3 is not.
        let c = counts(sampler(|p| p.min_p = 0.5), &scores);
        assert!(c[1] > 0 && c[2] == 0, "{c:?}");
        assert_eq!(counts(sampler(|p| p.min_p = 1.0), &scores), [4000, 0, 0]);
    }

    #[test]
    fn a_long_tail_is_sorted_as_far_as_needed_and_no_token_is_lost() {
        let scores: Vec<f32> = (0..3000).map(|i| ((i * 7919) % 3000) as f32 / 100.0).collect();
        let mut ranked = Ranked::new(scores.iter().copied().zip(0..).collect());
        let all: Vec<f32> = (0..3000).map(|i| ranked.get(i).unwrap().0).collect();
        assert!(all.is_sorted_by(|a, b| a >= b));
        assert_eq!(ranked.get(3000), None);
        for n in [1, 3, 64, 1000, 2999, 3000, 4000] {
            let mut all: Vec<(f32, u32)> = scores.iter().copied().zip(0..).collect();
            all.sort_by(Ranked::order);
            all.truncate(n);
            assert_eq!(best(&scores, n), all);
        }
        assert_eq!(greatest(&scores), Some(best(&scores, 1)[0].1));
        assert_eq!(best(&[f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY], 3), [(1.0, 1)]);
        assert_eq!(best(&scores, 3).iter().map(|c| c.0).collect::<Vec<_>>(), [29.99, 29.98, 29.97]);
    }

    #[test]
    fn the_probabilities_of_a_vocabulary_add_up_to_one() {
        assert!((log_sum(&[0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()])).abs() < 1e-6);
        for x in [0.0, -1e-6, -0.3, -1.0, -7.77, -30.0, -86.0] {
            let of_library = f32::exp(x);
            assert!((exp(x) - of_library).abs() <= 4e-7 * of_library, "{x}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37, "what a guide forbids adds nothing");
        for size in [1, 15, 64, 100, 49_152] {
            let scores: Vec<f32> = (0..size).map(|i| ((i * 7919) % 3001) as f32 / 100.0 - 12.0).collect();
            let sum = log_sum(&scores);
            let all: f64 = scores.iter().map(|s| f64::from(s - sum).exp()).sum();
            assert!((all - 1.0).abs() < 1e-5, "{size}: {all}");
        }
    }
}
