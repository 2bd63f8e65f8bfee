//! From scores to a token, in the order and with the meaning of Hugging Face's processors: repetition
//! penalty, temperature, top-k, top-p.

use std::collections::HashSet;

use protocol::Parameters;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Chooses one run's tokens.
pub(crate) struct Sampler {
    temperature: f64,
    top_p: f64,
    top_k: usize,
    penalty: f32,
    /// Tokens of prompt and answer, kept only for the penalty.
    seen: HashSet<u32>,
    rng: ChaCha8Rng,
}

impl Sampler {
    pub(crate) fn new(parameters: &Parameters, seed: u64, prompt: &[u32]) -> Self {
        Self {
            temperature: parameters.temperature,
            top_p: parameters.top_p,
            top_k: parameters.top_k as usize,
            penalty: parameters.repetition_penalty as f32,
            seen: prompt.iter().copied().collect(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The next token. Changes the scores.
    pub(crate) fn next(&mut self, scores: &mut [f32]) -> u32 {
        self.penalize(scores);
        let token = if self.temperature == 0.0 { greatest(scores) } else { self.draw(scores) };
        self.seen.insert(token);
        token
    }

    fn penalize(&self, scores: &mut [f32]) {
        if self.penalty == 1.0 {
            return;
        }
        for token in &self.seen {
            if let Some(score) = scores.get_mut(*token as usize) {
                *score = if *score > 0.0 { *score / self.penalty } else { *score * self.penalty };
            }
        }
    }

    fn draw(&mut self, scores: &[f32]) -> u32 {
        let mut candidates: Vec<(f32, u32)> = scores.iter().copied().zip(0..).collect();
        // Greatest first; the token's number decides between equals, so that the order is always the same.
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if self.top_k > 0 && self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, order);
            candidates.truncate(self.top_k);
        }
        candidates.sort_unstable_by(order);
        let Some(best) = candidates.first().map(|c| c.0) else { return 0 };
        let mut weights: Vec<f64> =
            candidates.iter().map(|c| (f64::from(c.0 - best) / self.temperature).exp()).collect();
        if self.top_p < 1.0 {
            // The smallest set of the likeliest tokens that reaches `top_p`; always at least one.
            let total: f64 = weights.iter().sum();
            let mut sum = 0.0;
            let reached = weights.iter().position(|w| {
                sum += w;
                sum >= self.top_p * total
            });
            weights.truncate(reached.map_or(weights.len(), |i| i + 1));
        }
        let mut point = self.rng.random::<f64>() * weights.iter().sum::<f64>();
        let chosen = weights.iter().position(|w| {
            point -= w;
            point < 0.0
        });
        candidates[chosen.unwrap_or(0)].1
    }
}

/// The token with the greatest score; the first of equals.
fn greatest(scores: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (score, token) in scores.iter().copied().zip(0..) {
        if score > best.0 {
            best = (score, token);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Mode;

    fn sampler(change: impl Fn(&mut Parameters), prompt: &[u32]) -> Sampler {
        let mut p = Parameters::published(Mode::Pretrain);
        (p.temperature, p.top_p, p.top_k, p.repetition_penalty) = (1.0, 1.0, 0, 1.0);
        change(&mut p);
        Sampler::new(&p, 7, prompt)
    }

    fn counts(mut sampler: Sampler, scores: &[f32]) -> Vec<usize> {
        let mut counts = vec![0; scores.len()];
        for _ in 0..4000 {
            counts[sampler.next(&mut scores.to_vec()) as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_greatest() {
        assert_eq!(sampler(|p| p.temperature = 0.0, &[]).next(&mut [0.0, 2.0, 2.0, f32::NAN]), 1);
    }

    #[test]
    fn the_penalty_divides_positive_and_multiplies_negative_scores_of_seen_tokens() {
        let greedy = |p: &mut Parameters| (p.temperature, p.repetition_penalty) = (0.0, 2.0);
        let mut scores = [3.0, 2.0, -1.0];
        assert_eq!(sampler(greedy, &[0, 2]).next(&mut scores), 1);
        assert_eq!(scores, [1.5, 2.0, -2.0]);
        // What was answered counts from then on.
        let mut s = sampler(greedy, &[]);
        assert_eq!((s.next(&mut [3.0, 2.0]), s.next(&mut [3.0, 2.0])), (0, 1));
    }

    #[test]
    fn draws_follow_the_distribution() {
        let scores = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let c = counts(sampler(|_| {}, &[]), &scores);
        for (count, share) in c.iter().zip([0.5, 0.3, 0.2]) {
            assert!((*count as f64 / 4000.0 - share).abs() < 0.03, "{c:?}");
        }
        let cold = counts(sampler(|p| p.temperature = 0.25, &[]), &scores);
        assert!(cold[0] > c[0]);
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let scores = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        assert_eq!(counts(sampler(|p| p.top_k = 2, &[]), &scores)[2], 0);
        // 0.5 alone does not reach 0.6; 0.5 + 0.3 does.
        let c = counts(sampler(|p| p.top_p = 0.6, &[]), &scores);
        assert!(c[1] > 0 && c[2] == 0, "{c:?}");
        assert_eq!(counts(sampler(|p| p.top_p = 0.0, &[]), &scores), [4000, 0, 0]);
    }
}
