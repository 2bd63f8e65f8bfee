//! What recent prompts have in common with the next one is not computed again.
//!
//! Keys and values of a prefix are the same bits whatever follows, because a row's arithmetic does not depend
//! on the rows beside it. So an answer is the same with and without this.

use std::collections::VecDeque;

struct Entry<C> {
    adapter: Option<usize>,
    tokens: Vec<u32>,
    cache: C,
}

/// The caches of the last few prompts, newest first.
pub(crate) struct PrefixCache<C> {
    entries: VecDeque<Entry<C>>,
    capacity: usize,
}

/// How many of the first tokens are equal.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl<C: Clone> PrefixCache<C> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::new(), capacity }
    }

    /// The cache that shares the longest beginning with `tokens`, and how long that is.
    pub(crate) fn find(&mut self, adapter: Option<usize>, tokens: &[u32]) -> Option<(C, usize)> {
        let (index, length) = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.adapter == adapter)
            .map(|(i, e)| (i, common(&e.tokens, tokens)))
            .max_by_key(|(i, length)| (*length, std::cmp::Reverse(*i)))
            .filter(|(_, length)| *length > 0)?;
        let entry = self.entries.remove(index)?;
        let cache = entry.cache.clone();
        self.entries.push_front(entry);
        Some((cache, length))
    }

    /// Remembers a prompt's cache.
    pub(crate) fn insert(&mut self, adapter: Option<usize>, tokens: Vec<u32>, cache: C) {
        self.entries.retain(|e| e.adapter != adapter || !tokens.starts_with(&e.tokens));
        self.entries.push_front(Entry { adapter, tokens, cache });
        self.entries.truncate(self.capacity);
    }

    /// Forgets the prompts of an adapter.
    pub(crate) fn forget(&mut self, adapter: usize) {
        self.entries.retain(|e| e.adapter != Some(adapter));
    }

    /// Forgets the one not used for longest; false when there is none.
    pub(crate) fn evict(&mut self) -> bool {
        self.entries.pop_back().is_some()
    }

    /// Whether anything is remembered at all.
    pub(crate) fn is_on(&self) -> bool {
        self.capacity > 0
    }

    pub(crate) fn caches(&self) -> impl Iterator<Item = &C> {
        self.entries.iter().map(|e| &e.cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_common_beginning_of_the_same_adapter_is_found() {
        let mut cache = PrefixCache::new(3);
        cache.insert(None, vec![1, 2, 3], "a");
        cache.insert(None, vec![1, 2, 4, 5], "b");
        cache.insert(Some(0), vec![1, 2, 3, 4], "c");
        assert_eq!(cache.find(None, &[1, 2, 3, 4]), Some(("a", 3)));
        assert_eq!(cache.find(Some(0), &[1, 9]), Some(("c", 1)));
        assert_eq!(cache.find(Some(1), &[1, 2]), None);
        assert_eq!(cache.find(None, &[9]), None);
        cache.forget(0);
        assert_eq!((cache.find(Some(0), &[1, 2]), cache.find(None, &[1])), (None, Some(("a", 1))));
    }

    #[test]
    fn the_one_not_used_for_longest_goes_first() {
        let mut cache = PrefixCache::new(2);
        cache.insert(None, vec![1], "a");
        cache.insert(None, vec![2], "b");
        cache.find(None, &[1]);
        cache.insert(None, vec![3], "c");
        assert_eq!(cache.find(None, &[2]), None);
        assert_eq!(cache.find(None, &[1]), Some(("a", 1)));
        // A longer prompt replaces its own beginning.
        cache.insert(None, vec![1, 7], "d");
        assert_eq!(cache.find(None, &[3]), Some(("c", 1)));
        let mut none = PrefixCache::new(0);
        none.insert(None, vec![1], "a");
        assert_eq!(none.find(None, &[1]), None);
        assert!(cache.evict() && cache.evict() && !cache.evict());
    }
}
