//! What the scheduler needs of whatever computes a model.

/// One run's part of a step: some tokens that follow what its cache holds.
pub(crate) struct Segment<'a, C> {
    pub tokens: &'a [u32],
    pub cache: &'a mut C,
    /// Index of the adapter to apply.
    pub adapter: Option<usize>,
    /// Whether the scores after the last token are wanted.
    pub scores: bool,
}

/// Computes a model.
///
/// A segment's result must not depend on the other segments, nor on how its tokens were cut into segments.
pub(crate) trait Backend: Send + 'static {
    /// Keys and values of a run. Clones are cheap.
    type Cache: Clone + Send;

    /// A cache for a new run.
    fn cache(&self) -> Self::Cache;
    /// Positions a cache holds.
    fn length(cache: &Self::Cache) -> usize;
    /// Forgets all positions from `length` on.
    fn truncate(cache: &mut Self::Cache, length: usize);
    /// Reads the tokens of each segment, and gives the scores of the next token for those that want them.
    ///
    /// # Errors
    /// The device failed; nothing is known of the caches then.
    fn forward(&mut self, segments: &mut [Segment<'_, Self::Cache>]) -> Result<Vec<Option<Vec<f32>>>, String>;
}
