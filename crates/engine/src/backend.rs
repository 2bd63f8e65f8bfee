//! What the scheduler needs of whatever computes a model.

use std::sync::Arc;

use crate::memory::Memory;

/// One run's part of a step: some tokens that follow what its cache holds.
pub(crate) struct Segment<'a, C> {
    pub tokens: &'a [u32],
    pub cache: &'a mut C,
    /// Index of the adapter to apply.
    pub adapter: Option<usize>,
    /// After how many of the last tokens scores are wanted.
    pub scores: usize,
}

/// The unit in which caches take memory. Caches that began alike share pages until one of them writes to one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// Positions that it holds.
    pub positions: usize,
    pub bytes: usize,
}

/// Computes a model.
///
/// A segment's result must not depend on the other segments, nor on how its tokens were cut into segments.
pub(crate) trait Backend: Send + 'static {
    /// Keys and values of a run. Clones are cheap.
    type Cache: Clone + Send;
    /// The weights of an adapter as it computes with them. They outlive it: one that is made anew gets the same.
    type Adapter: Send + Sync + 'static;

    /// Makes an adapter the one of this index, in place of another; with none, that one's memory is given back.
    fn set_adapter(&mut self, index: usize, adapter: Option<Arc<Self::Adapter>>);
    /// A cache for a new run.
    fn cache(&self) -> Self::Cache;
    /// Positions a cache holds.
    fn length(cache: &Self::Cache) -> usize;
    /// Forgets all positions from `length` on.
    fn truncate(cache: &mut Self::Cache, length: usize);
    /// What caches are made of.
    fn page(&self) -> Page;
    /// The pages of a cache, as numbers that are equal for a page that caches share.
    fn pages(cache: &Self::Cache) -> impl Iterator<Item = usize>;
    /// Pages that may have to be made when a cache grows by `more` positions.
    fn needed(cache: &Self::Cache, more: usize, memory: &Memory) -> usize {
        memory.needed(Self::length(cache), more)
    }
    /// Reads the tokens of each segment, and makes `scores` hold what they want: rows of the vocabulary's length, one
    /// after the other, in the order of the segments. It is handed in so that its memory is used again.
    ///
    /// # Errors
    /// The device failed; nothing is known of the caches then.
    fn forward(&mut self, segments: &mut [Segment<'_, Self::Cache>], scores: &mut Vec<f32>) -> Result<(), String>;

    /// The scores of each segment apart.
    #[cfg(test)]
    fn each(&mut self, segments: &mut [Segment<'_, Self::Cache>]) -> Result<Vec<Vec<f32>>, String> {
        let mut scores = Vec::new();
        self.forward(segments, &mut scores)?;
        let wanted = |s: &Segment<'_, Self::Cache>| s.scores.min(s.tokens.len());
        let vocabulary = scores.len() / segments.iter().map(wanted).sum::<usize>().max(1);
        Ok(segments.iter().map(|s| scores.drain(..wanted(s) * vocabulary).collect()).collect())
    }
}
