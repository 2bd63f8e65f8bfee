//! Room to close: a guided answer is brought to an end before its limit.
//!
//! In the last tokens that an answer may have, a token is taken only when the grammar can still be brought to an end
//! after it. Whether it can is found by following the grammar byte by byte: what is certain, then marks that close, then
//! others; straight on first, and nearest first where that does not lead to an end in time. A way that was found is kept for as long as it stays one, so that most tokens cost no search.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::Instant,
};

use llguidance::{
    Matcher,
    toktrie::{SimpleVob, TokEnv, TokTrie},
};

use super::Guide;

/// An answer is watched when it may have so many more tokens.
const WATCHED: usize = 64;
/// So many tokens that leave no room are refused one by one; then only the way to the end is left.
pub(crate) const REFUSALS: usize = 4;
/// States of the grammar that one search looks at.
const LOOKED_AT: usize = 400;
/// The longest end that is sought, in bytes.
const LONGEST: usize = 512;
/// After how many tokens an answer that could not be closed is looked at again.
const AGAIN: usize = 8;
/// What a byte costs that leads nowhere new, such as one more letter of a free text, or that goes on where a mark may
/// close.
const IDLE: u32 = 8;
/// What a mark costs that is hardly ever the end of free text.
const UNLIKELY: u32 = 64;

/// What is known of an answer's nearest end.
#[derive(Clone, Default)]
pub(super) enum End {
    /// Nothing.
    #[default]
    Unknown,
    /// The tokens that lead there.
    Way(Vec<u32>),
    /// It could not be reached when so many tokens were left.
    Beyond(usize),
}

impl Guide {
    /// Whether an answer that goes on with a token, the first of `left` that it may have, can end within them.
    pub(crate) fn leaves_room(&mut self, token: u32, left: usize) -> bool {
        if !self.closes || left > WATCHED || self.ends.contains(&token) || self.matcher.is_stopped() {
            return true;
        }
        let start = Instant::now();
        let fits = self.fits(token, left);
        self.spent += start.elapsed();
        fits
    }

    fn fits(&mut self, token: u32, left: usize) -> bool {
        if self.find_end(left).is_none() {
            // What has no room is not steered.
            return true;
        }
        let (Ok(env), End::Way(way)) = (self.matcher.tok_env(), &self.end) else { return true };
        let mut next = self.matcher.clone();
        if next.consume_token(token).is_err() {
            return true;
        }
        let hint = after(way, token, &env);
        let Some(way) = closing(&mut next, &hint, left - 1, &env) else { return false };
        self.next_ends.push((token, way));
        true
    }

    /// The next token on the way to the answer's nearest end, where that is at most `left` tokens away; one that ends
    /// it, where it is complete.
    pub(crate) fn closes_with(&mut self, left: usize) -> Option<u32> {
        let next = self.find_end(left)?.first().copied();
        next.or_else(|| self.ends.first().copied())
    }

    fn find_end(&mut self, left: usize) -> Option<&[u32]> {
        let unknown = match &self.end {
            End::Unknown => true,
            End::Way(way) => way.len() > left,
            End::Beyond(then) => left + AGAIN <= *then,
        };
        if unknown {
            let found = self.matcher.tok_env().ok().and_then(|env| closing(&mut self.matcher.clone(), &[], left, &env));
            self.end = found.map_or(End::Beyond(left), End::Way);
        }
        match &self.end {
            End::Way(way) => Some(way),
            End::Unknown | End::Beyond(_) => None,
        }
    }

    /// Whether the answer is complete as it stands.
    pub(crate) fn may_end(&mut self) -> bool {
        self.matcher.is_stopped() || self.matcher.is_accepting().unwrap_or(false)
    }

    /// Follows the way to the end by a token that was taken.
    pub(super) fn follow_end(&mut self, token: u32) {
        let known = self.next_ends.drain(..).find(|(of, _)| *of == token);
        self.end = match (known, std::mem::take(&mut self.end)) {
            (Some((_, way)), _) => End::Way(way),
            (None, End::Beyond(left)) => End::Beyond(left),
            (None, End::Way(way)) if way.first() == Some(&token) => End::Way(way.into_iter().skip(1).collect()),
            (None, _) => End::Unknown,
        };
    }
}

/// What is left of a way after a token, if it went on along it; else the way.
fn after(way: &[u32], token: u32, env: &TokEnv) -> Vec<u32> {
    if way.first() == Some(&token) {
        return way.get(1..).unwrap_or_default().to_vec();
    }
    let trie = env.tok_trie();
    let bytes = trie.decode_raw(way);
    match bytes.strip_prefix(trie.token(token)) {
        Some(rest) if !rest.is_empty() => env.tokenize_bytes(rest),
        Some(_) => vec![],
        None => way.to_vec(),
    }
}

/// The tokens to a near end of the grammar, at most so many: those of `hint` where they lead there.
fn closing(matcher: &mut Matcher, hint: &[u32], most: usize, env: &TokEnv) -> Option<Vec<u32>> {
    if ends(matcher) {
        return Some(vec![]);
    }
    if !hint.is_empty() && hint.len() <= most && leads_to_end(matcher, hint) {
        return Some(hint.to_vec());
    }
    search(matcher, most, env, Order::Onward).or_else(|| search(matcher, most, env, Order::Nearest))
}

/// These bytes as at most so many tokens that the grammar takes to its end.
fn written(matcher: &Matcher, bytes: &[u8], most: usize, env: &TokEnv) -> Option<Vec<u32>> {
    let tokens = env.tokenize_bytes(bytes);
    if tokens.len() <= most && leads_to_end(matcher, &tokens) {
        return Some(tokens);
    }
    let single = |byte: &u8| env.tok_trie().token_id(&[*byte]);
    bytes.iter().map(single).collect::<Option<Vec<u32>>>().filter(|tokens| tokens.len() <= most)
}

fn ends(matcher: &mut Matcher) -> bool {
    matcher.is_stopped() || matcher.is_accepting().unwrap_or(false)
}

fn leads_to_end(matcher: &Matcher, tokens: &[u32]) -> bool {
    let mut matcher = matcher.clone();
    matcher.try_consume_tokens(tokens).is_ok_and(|n| n == tokens.len()) && ends(&mut matcher)
}

/// A state of the grammar that a search has reached.
struct State {
    matcher: Matcher,
    bytes: Vec<u8>,
    /// What the state before allowed, and which one that was.
    before: u64,
    parent: usize,
    /// Whether it was put back because it allows the same.
    idle: bool,
}

/// Which states a search looks at first.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Those it has come furthest with, of those with as few turns away from the likeliest end.
    Onward,
    /// Those with the fewest bytes.
    Nearest,
}

/// The tokens that bring the grammar to an end.
fn search(matcher: &Matcher, most: usize, env: &TokEnv, order: Order) -> Option<Vec<u32>> {
    let trie = env.tok_trie();
    let longest = trie.max_token_len().saturating_mul(most).min(LONGEST);
    let first = State { matcher: matcher.clone(), bytes: vec![], before: 0, parent: usize::MAX, idle: false };
    let mut open = Open { order, states: vec![], queue: BinaryHeap::new() };
    open.push(0, first);
    let mut seen = HashSet::new();
    for _ in 0..LOOKED_AT {
        let (cost, index, mut state) = open.pop()?;
        if ends(&mut state.matcher) {
            if let Some(tokens) = written(matcher, &state.bytes, most, env) {
                return Some(tokens);
            }
            continue;
        }
        if state.bytes.len() >= longest {
            continue;
        }
        let forced = state.matcher.compute_ff_bytes();
        if !forced.is_empty() {
            if state.take(&forced, trie) {
                open.push(cost, state);
            }
            continue;
        }
        let Ok(allowed) = state.matcher.compute_mask() else { continue };
        let signature = BuildHasherDefault::<DefaultHasher>::default().hash_one(allowed.as_slice());
        // Of a state's ways to the same place the first is the shortest.
        if !state.idle && !seen.insert((signature, state.parent, state.bytes.len())) {
            continue;
        }
        if order == Order::Nearest && signature == state.before && !state.idle {
            state.idle = true;
            open.push(cost + IDLE, state);
            continue;
        }
        for (byte, extra) in worth_trying(&allowed, trie) {
            let mut next = State {
                matcher: state.matcher.clone(),
                bytes: state.bytes.clone(),
                before: signature,
                parent: index,
                idle: false,
            };
            if next.take(&[byte], trie) {
                open.push(cost + extra, next);
            }
        }
    }
    None
}

/// The states that a search has still to look at.
struct Open {
    order: Order,
    states: Vec<Option<(u32, State)>>,
    /// By cost; of equals those that were thought of first.
    queue: BinaryHeap<Reverse<(u32, Reverse<usize>, usize)>>,
}

impl Open {
    /// Adds a state and what it cost beside its bytes.
    fn push(&mut self, cost: u32, state: State) {
        let bytes = state.bytes.len();
        let (first, then) = match self.order {
            Order::Onward => (cost, bytes),
            Order::Nearest => (cost + bytes as u32, 0),
        };
        self.queue.push(Reverse((first, Reverse(then), self.states.len())));
        self.states.push(Some((cost, state)));
    }

    fn pop(&mut self) -> Option<(u32, usize, State)> {
        let Reverse((_, _, index)) = self.queue.pop()?;
        let (cost, state) = self.states.get_mut(index)?.take()?;
        Some((cost, index, state))
    }
}

impl State {
    fn take(&mut self, bytes: &[u8], trie: &TokTrie) -> bool {
        self.bytes.extend_from_slice(bytes);
        bytes.iter().all(|byte| {
            trie.token_id(&[*byte]).is_some_and(|token| self.matcher.try_consume_tokens(&[token]).is_ok_and(|n| n == 1))
        })
    }
}

/// The bytes that may lead to the end, of those that may come next, and what is added to their cost. Within free text
/// these are marks that may close it, a quote before others, and one byte that goes on.
fn worth_trying(allowed: &SimpleVob, trie: &TokTrie) -> Vec<(u8, u32)> {
    /// Marks that may close something, the likeliest first.
    const CLOSING: &[u8] = b"}])\"'>;.\n";
    /// The same within free text.
    const ENDING: &[u8] = b"})],;.:|<'>\n\t /";
    let may = |byte: u8| trie.token_id(&[byte]).is_some_and(|token| allowed.is_allowed(token));
    let printable = (b' '..=b'~').filter(|byte| may(*byte)).count();
    if printable < 60 {
        let closing = CLOSING.iter().copied().filter(|byte| may(*byte));
        let extra = if closing.clone().next().is_some() { IDLE } else { 0 };
        // Of digits the lowest and the highest stand for all.
        let mut digits = (b'0'..=b'9').filter(|byte| may(*byte));
        let (lowest, highest) = (digits.next(), digits.next_back());
        let same = |byte: u8| byte.is_ascii_digit() && Some(byte) != lowest && Some(byte) != highest;
        let others = (0..=u8::MAX).filter(|byte| !CLOSING.contains(byte) && may(*byte) && !same(*byte));
        return closing.map(|byte| (byte, 0)).chain(others.map(|byte| (byte, extra))).collect();
    }
    let ending = ENDING.iter().copied().filter(|byte| may(*byte)).map(|byte| (byte, UNLIKELY));
    let extra = if may(b'"') { IDLE } else { 0 };
    let on = (b'a'..=b'z').chain(0..=u8::MAX).find(|byte| may(*byte)).map(|byte| (byte, extra));
    may(b'"').then_some((b'"', 0)).into_iter().chain(on).chain(ending).collect()
}
