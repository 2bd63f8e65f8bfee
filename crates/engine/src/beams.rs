//! Beam search: several answers are followed side by side, and the likeliest as a whole is given.
//!
//! The algorithm is Hugging Face's `generate(num_beams=n, do_sample=False)`, with its `length_penalty` and
//! `early_stopping`. Penalties and a guide change log-probabilities, which are not normalized again.

use std::time::Duration;

use protocol::{FinishReason, Parameters};

use crate::{
    backend::{Backend, Segment},
    guide::Guide,
    sampling::{Penalties, best, log_sum},
    transcript::{Rules, Transcript},
};

/// How to search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// How many answers are followed.
    count: usize,
    /// An answer's score is the sum of its log-probabilities over its length to this power.
    length_penalty: f32,
    /// Whether it is over when as many answers have ended as are followed.
    early_stopping: bool,
}

impl Search {
    pub(crate) fn of(parameters: &Parameters) -> Self {
        Self {
            count: parameters.beams as usize,
            length_penalty: parameters.length_penalty as f32,
            early_stopping: parameters.early_stopping,
        }
    }

    /// The score of an answer of so many tokens.
    fn score(&self, sum: f32, tokens: usize) -> f32 {
        sum / (tokens.max(1) as f32).powf(self.length_penalty)
    }
}

/// The answers of one run.
pub(crate) struct Beams<B: Backend> {
    search: Search,
    /// How many continuations are looked at.
    candidates: usize,
    /// Those that go on, best first.
    beams: Vec<Beam<B::Cache>>,
    /// Those that have ended, best first; as many as are followed at most.
    finished: Vec<Finished>,
    /// Where all of them begin.
    start: Start,
    /// Time spent on guiding them.
    guided: Duration,
    /// Whether they still read what they have said, after a restart.
    catching_up: bool,
}

struct Start {
    penalties: Penalties,
    guide: Option<Guide>,
}

#[derive(Clone)]
struct Beam<C> {
    /// Its answer.
    tokens: Vec<u32>,
    /// Of prompt and answer; `None` until the prompt was read, and after a restart.
    cache: Option<C>,
    /// What the cache has not.
    work: Vec<u32>,
    /// Sum of its tokens' log-probabilities.
    score: f32,
    penalties: Penalties,
    guide: Option<Guide>,
    transcript: Transcript,
}

struct Finished {
    /// See [`Search::score`].
    score: f32,
    tokens: Vec<u32>,
    transcript: Transcript,
    reason: FinishReason,
}

/// Tokens that each beam reads in a step after a restart.
const CATCH_UP: usize = 16;

impl<B: Backend> Beams<B> {
    pub(crate) fn new(search: Search, rules: &Rules, penalties: Penalties, guide: Option<Guide>) -> Self {
        // So many that enough are left when every end token is among them.
        let candidates = search.count * (1 + rules.ends.len()).max(2);
        Self {
            search,
            candidates,
            beams: vec![],
            finished: vec![],
            start: Start { penalties, guide },
            guided: Duration::ZERO,
            catching_up: false,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.search.count
    }

    /// Prepares the next step; `prompt` is the cache of the whole prompt. Beams that gave back their memory catch up a
    /// few tokens at a time, all together.
    pub(crate) fn go_on(&mut self, prompt: &B::Cache) {
        for beam in &mut self.beams {
            let cache = beam.cache.get_or_insert_with(|| prompt.clone());
            let done = B::length(cache) - B::length(prompt);
            let rest = beam.tokens.get(done..).unwrap_or_default();
            self.catching_up = rest.len() > CATCH_UP;
            beam.work = rest.iter().copied().take(CATCH_UP).collect();
        }
    }

    /// Tokens of each answer.
    pub(crate) fn length(&self) -> usize {
        self.beams.first().map_or(0, |beam| beam.tokens.len())
    }

    pub(crate) fn segments(&mut self, adapter: Option<usize>) -> Vec<Segment<'_, B::Cache>> {
        let scores = usize::from(!self.catching_up);
        let working = self.beams.iter_mut().filter(|beam| !beam.work.is_empty());
        let segment = |beam| {
            let Beam { cache, work, .. }: &mut Beam<B::Cache> = beam;
            Some(Segment { tokens: work, cache: cache.as_mut()?, adapter, scores })
        };
        working.filter_map(segment).collect()
    }

    pub(crate) fn rest(&mut self) {
        self.beams.iter_mut().for_each(|beam| beam.work.clear());
    }

    /// Gives back the memory.
    pub(crate) fn restart(&mut self) {
        for beam in &mut self.beams {
            beam.cache = None;
            beam.work.clear();
        }
    }

    /// Whether they still need their caches again.
    pub(crate) fn restarted(&self) -> bool {
        self.beams.iter().any(|beam| beam.cache.is_none())
    }

    /// Their caches.
    pub(crate) fn caches(&self) -> impl Iterator<Item = &B::Cache> {
        self.beams.iter().filter_map(|beam| beam.cache.as_ref())
    }

    /// Takes the scores of the prompt's last token, or of every beam's; a reason when the search is over.
    pub(crate) fn take(
        &mut self,
        scores: &mut [f32],
        prompt: &B::Cache,
        rules: &Rules,
    ) -> Result<Option<FinishReason>, String> {
        self.rest();
        if self.beams.is_empty() {
            self.beams.push(Beam {
                tokens: vec![],
                cache: Some(prompt.clone()),
                work: vec![],
                score: 0.0,
                penalties: self.start.penalties.clone(),
                guide: self.start.guide.take(),
                transcript: Transcript::default(),
            });
        }
        let mut candidates = Vec::new();
        let rows = scores.chunks_exact_mut((scores.len() / self.beams.len()).max(1));
        for (i, (beam, row)) in self.beams.iter_mut().zip(rows).enumerate() {
            let sum = log_sum(row);
            row.iter_mut().for_each(|score| *score -= sum);
            beam.penalties.apply(row);
            if let Some(guide) = &mut beam.guide {
                guide.mask(row)?;
            }
            let mut possible = best(row, self.candidates);
            possible.retain(|c| c.0 > f32::NEG_INFINITY);
            if let Some(guide) = &mut beam.guide {
                // Only what can still be closed before the limit.
                let left = rules.room.saturating_sub(beam.tokens.len());
                possible.retain(|(_, token)| guide.leaves_room(*token, left));
                if possible.is_empty()
                    && let Some(token) = guide.closes_with(left)
                {
                    possible.extend(row.get(token as usize).map(|score| (*score, token)));
                }
            }
            candidates.extend(possible.into_iter().map(|(score, token)| (beam.score + score, i, token)));
        }
        self.count_time();
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        candidates.truncate(self.candidates);

        let (search, length) = (self.search, self.length() + 1);
        let mut next = Vec::new();
        for (rank, (score, parent, token)) in candidates.into_iter().enumerate() {
            let Some(beam) = self.beams.get(parent) else { continue };
            let mut transcript = beam.transcript.clone();
            match transcript.push(token, rules) {
                // Only what is among the best can end; the rest of those that would end is dropped.
                Some(mut reason) if rank < search.count => {
                    if let Some(guide) = &beam.guide
                        && reason == FinishReason::Length
                    {
                        let mut guide = guide.clone();
                        guide.push(token)?;
                        if guide.may_end() {
                            reason = FinishReason::Stop;
                        }
                    }
                    let tokens = [&beam.tokens[..], &[token]].concat();
                    let score = search.score(score, length);
                    self.finished.push(Finished { score, tokens, transcript, reason });
                }
                Some(_) => {}
                None if next.len() < search.count => next.push((score, parent, token, transcript)),
                None => {}
            }
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(search.count);
        self.follow(next)?;
        self.count_time();

        // While there is room, or the best that goes on is better than the worst that has ended.
        let full = self.finished.len() == search.count;
        let goes_on = match (self.beams.first(), self.finished.last()) {
            (None, _) => false,
            (Some(beam), Some(worst)) if full => {
                !search.early_stopping && search.score(beam.score, length) > worst.score
            }
            (Some(_), _) => true,
        };
        if goes_on {
            return Ok(None);
        }
        self.beams.clear();
        self.finished.first().map(|best| Some(best.reason)).ok_or_else(|| "no token is possible here".into())
    }

    /// Makes the beams of the next step from those of this one.
    fn follow(&mut self, next: Vec<(f32, usize, u32, Transcript)>) -> Result<(), String> {
        let mut children = vec![0; self.beams.len()];
        next.iter().for_each(|child| children[child.1] += 1);
        let mut parents: Vec<_> = self.beams.drain(..).map(Some).collect();
        for (score, parent, token, transcript) in next {
            children[parent] -= 1;
            // The last child has its parent's cache to itself: nothing of it need be copied.
            let beam = if children[parent] == 0 { parents[parent].take() } else { parents[parent].clone() };
            let Some(mut beam) = beam else { continue };
            beam.tokens.push(token);
            beam.penalties.took(token);
            if let Some(guide) = &mut beam.guide {
                guide.push(token)?;
            }
            (beam.score, beam.transcript) = (score, transcript);
            self.beams.push(beam);
        }
        Ok(())
    }

    /// The text of the best answer so far, and its tokens.
    pub(crate) fn best(&self) -> (&str, usize) {
        let score = |b: &Beam<B::Cache>| self.search.score(b.score, b.tokens.len());
        let going = self.beams.first().map(|b| (score(b), &b.transcript, b.tokens.len()));
        let ended = self.finished.first().map(|f| (f.score, &f.transcript, f.tokens.len()));
        let best = match (going, ended) {
            (Some(going), Some(ended)) if going.0 > ended.0 => Some(going),
            (going, ended) => ended.or(going),
        };
        best.map_or(("", 0), |(_, transcript, tokens)| (transcript.text(), tokens))
    }

    /// See [`Transcript::show_all`].
    pub(crate) fn show_all(&mut self) {
        self.beams.iter_mut().for_each(|beam| beam.transcript.show_all());
    }

    fn count_time(&mut self) {
        let guides = self.beams.iter_mut().filter_map(|beam| beam.guide.as_mut());
        self.guided += guides.map(Guide::take_spent).sum::<Duration>();
    }

    /// Time spent on guiding them.
    pub(crate) fn guided(&self) -> Duration {
        self.guided
    }
}

#[cfg(test)]
mod tests;
