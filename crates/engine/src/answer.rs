//! One answer, token by token.

use protocol::{Alternative, FinishReason, TokenLogprob};

use crate::{
    guide::{Guide, REFUSALS},
    lookup::Guess,
    sampling::{Penalties, Sampler, best, log_sum},
    transcript::{Rules, Transcript},
};

/// An answer that is chosen token by token.
pub(crate) struct One {
    sampler: Sampler,
    penalties: Penalties,
    pub guide: Option<Guide>,
    pub transcript: Transcript,
    lookup: bool,
    /// What the current step computes beside what is known: tokens that must come, then guessed ones.
    forced: Vec<u32>,
    guess: Guess,
    /// Tokens that were guessed and computed, and how many of them were right.
    pub guessed: u32,
    pub accepted: u32,
    alternatives: Option<usize>,
    pub logprobs: Vec<TokenLogprob>,
}

impl One {
    pub(crate) fn new(
        sampler: Sampler,
        penalties: Penalties,
        guide: Option<Guide>,
        lookup: bool,
        alternatives: Option<usize>,
    ) -> Self {
        Self {
            sampler,
            penalties,
            guide,
            transcript: Transcript::default(),
            lookup,
            forced: vec![],
            guess: Guess::default(),
            guessed: 0,
            accepted: 0,
            alternatives,
            logprobs: vec![],
        }
    }

    /// Whether tokens are guessed.
    pub(crate) fn guesses(&self) -> bool {
        self.lookup
    }

    /// Prepares what the next step computes beyond `tokens`, which are those of prompt and answer: at most `room`.
    ///
    /// Tokens that must come are among it where they were not taken at once, because their log-probabilities are wanted:
    /// they cost a row each in place of a step.
    pub(crate) fn look_ahead(&mut self, tokens: &[u32], room: usize, guess: impl FnOnce(&[u32]) -> Guess) {
        self.rest();
        if let Some(guide) = self.guide.as_mut().filter(|_| self.alternatives.is_some()) {
            self.forced = guide.forced();
            self.forced.truncate(room);
        }
        if self.lookup {
            self.guess = match self.forced.as_slice() {
                [] => guess(tokens),
                forced => guess(&[tokens, forced].concat()),
            };
            self.guess.limit(room - self.forced.len());
        }
    }

    /// What [`One::look_ahead`] prepared.
    pub(crate) fn ahead(&self) -> impl Iterator<Item = u32> {
        self.forced.iter().chain(self.guess.tokens()).copied()
    }

    /// Forgets what was prepared.
    pub(crate) fn rest(&mut self) {
        self.forced.clear();
        self.guess = Guess::default();
    }

    /// Chooses tokens by the rows of scores: the first, and further ones while the choice is what was prepared. Gives how
    /// many of those were right, and a reason when the answer ends.
    pub(crate) fn take(
        &mut self,
        rows: &mut [f32],
        tokens: &mut Vec<u32>,
        rules: &Rules,
        learn: impl FnOnce(&Guess, &[u32]),
    ) -> Result<(Option<FinishReason>, usize), String> {
        let ahead: Vec<u32> = self.ahead().collect();
        let (forced, guess) = (std::mem::take(&mut self.forced).len(), std::mem::take(&mut self.guess));
        let base = tokens.len();
        let reason = self.follow(rows, &ahead, tokens, rules)?;
        let chosen = tokens.get(base..).unwrap_or_default();
        let right = ahead.iter().zip(chosen).take_while(|(a, b)| a == b).count();
        self.guessed += guess.tokens().len() as u32;
        self.accepted += right.saturating_sub(forced) as u32;
        learn(&guess, chosen.get(forced..).unwrap_or_default());
        Ok((reason, right))
    }

    fn follow(
        &mut self,
        rows: &mut [f32],
        ahead: &[u32],
        tokens: &mut Vec<u32>,
        rules: &Rules,
    ) -> Result<Option<FinishReason>, String> {
        let base = tokens.len();
        let vocabulary = rows.len() / (ahead.len() + 1);
        loop {
            let row = (tokens.len() - base) * vocabulary;
            let Some(scores) = rows.get_mut(row..row + vocabulary).filter(|row| !row.is_empty()) else {
                return Ok(None);
            };
            if let Some(reason) = self.choose(scores, tokens, rules)? {
                return Ok(Some(reason));
            }
            if !ahead.starts_with(&tokens[base..]) {
                return Ok(None);
            }
        }
    }

    /// Chooses a token, and takes those that must follow it.
    fn choose(
        &mut self,
        scores: &mut [f32],
        tokens: &mut Vec<u32>,
        rules: &Rules,
    ) -> Result<Option<FinishReason>, String> {
        // The model's own probabilities, before anything changes the scores. A guide leaves those of possible tokens as
        // they are, so that none are copied where nobody asks for alternatives.
        let own = self.alternatives.map(|n| {
            let kept = (n > 0 || self.penalties.change()).then(|| scores.to_vec());
            (kept, log_sum(scores), best(scores, n))
        });
        self.penalties.apply(scores);
        if let Some(guide) = &mut self.guide {
            guide.mask(scores)?;
        }
        let token = self.choose_with_room(scores, rules)?;
        if let Some((kept, sum, top)) = own {
            let scores = kept.as_deref().unwrap_or(scores);
            let said = |(score, id): (f32, u32)| {
                let bytes = rules.tokenizer.piece(id).to_vec();
                let token = String::from_utf8_lossy(&bytes).into_owned();
                Alternative { id, token, bytes, logprob: score - sum }
            };
            let chosen = said((scores.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY), token));
            self.logprobs.push(TokenLogprob { chosen, top: top.into_iter().map(said).collect() });
        }
        let mut reason = self.push(token, tokens, rules)?;
        // Where log-probabilities are wanted they are computed, see `look_ahead`.
        if self.alternatives.is_none() {
            let forced = self.guide.as_mut().filter(|_| reason.is_none()).map(Guide::forced);
            for token in forced.unwrap_or_default() {
                if reason.is_none() {
                    reason = self.push(token, tokens, rules)?;
                }
            }
        }
        Ok(reason)
    }

    /// Chooses a token after which a guided answer can still be closed before its limit.
    fn choose_with_room(&mut self, scores: &mut [f32], rules: &Rules) -> Result<u32, String> {
        const NONE: &str = "no token is possible here";
        let left = rules.room.saturating_sub(self.transcript.tokens());
        let Some(guide) = &mut self.guide else { return self.sampler.choose(scores).ok_or_else(|| NONE.to_owned()) };
        let mut first = None;
        for _ in 0..REFUSALS {
            let Some(token) = self.sampler.choose(scores) else { break };
            if guide.leaves_room(token, left) {
                return Ok(token);
            }
            first.get_or_insert(token);
            if let Some(score) = scores.get_mut(token as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
        first.and_then(|first| guide.closes_with(left).or(Some(first))).ok_or_else(|| NONE.to_owned())
    }

    fn push(&mut self, token: u32, tokens: &mut Vec<u32>, rules: &Rules) -> Result<Option<FinishReason>, String> {
        tokens.push(token);
        self.penalties.took(token);
        let reason = self.transcript.push(token, rules);
        if let Some(guide) = &mut self.guide
            && matches!(reason, None | Some(FinishReason::Length))
        {
            guide.push(token)?;
            if guide.ended() || (reason.is_some() && guide.may_end()) {
                self.transcript.show_all();
                return Ok(Some(FinishReason::Stop));
            }
        }
        Ok(reason)
    }
}
