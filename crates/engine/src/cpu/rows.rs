//! The rows of a step, and where the keys and values of each lie.
#![allow(unsafe_code)]

use std::ops::Range;

use super::{attention::TOGETHER, cache::Cache};
use crate::{backend::Segment, config::ModelConfig};

/// The rows of a step.
pub(super) struct Rows {
    pub(super) tokens: Vec<u32>,
    pub(super) positions: Vec<usize>,
    pub(super) adapters: Vec<Option<usize>>,
    /// Which segment a row belongs to.
    pub(super) segments: Vec<usize>,
    /// Up to [`TOGETHER`] rows of one segment each.
    pub(super) blocks: Vec<Range<usize>>,
    /// Each segment's keys and values, piece by piece.
    pub(super) caches: Vec<Pointers>,
    pub(super) any_adapter: bool,
}

/// Keys and values of each piece of a cache.
pub(super) struct Pointers(pub(super) Vec<(*mut u8, *mut u8)>);

// SAFETY: the pieces that the pointers lead to belong to caches borrowed for the whole step. Within a parallel
// step each row writes only its own position, and what is read was written in an earlier one, or by the same thread
// just before where each row is of another segment (`Rows::apart`).
unsafe impl Sync for Pointers {}

impl Rows {
    pub(super) fn new(segments: &mut [Segment<'_, Cache>], config: &ModelConfig) -> Result<Self, String> {
        let mut rows = Self {
            tokens: vec![],
            positions: vec![],
            adapters: vec![],
            segments: vec![],
            blocks: vec![],
            caches: vec![],
            any_adapter: false,
        };
        for (index, segment) in segments.iter_mut().enumerate() {
            let from = segment.cache.len();
            if from + segment.tokens.len() > config.context {
                return Err(format!("position {} is beyond the model's context", from + segment.tokens.len()));
            }
            if let Some(token) = segment.tokens.iter().find(|t| **t as usize >= config.vocabulary) {
                return Err(format!("token {token} is not in the model's vocabulary"));
            }
            // Makes every piece that is written this cache's own.
            segment.cache.extend(segment.tokens.len()).map_err(|e| format!("no memory for a longer text: {e}"))?;
            rows.caches.push(Pointers(segment.cache.pieces.iter().map(|piece| piece.pointers()).collect()));
            rows.any_adapter |= segment.adapter.is_some() && !segment.tokens.is_empty();
            let (first, end) = (rows.count(), rows.count() + segment.tokens.len());
            rows.blocks.extend((first..end).step_by(TOGETHER).map(|row| row..end.min(row + TOGETHER)));
            for (i, token) in segment.tokens.iter().enumerate() {
                rows.tokens.push(*token);
                rows.positions.push(from + i);
                rows.adapters.push(segment.adapter);
                rows.segments.push(index);
            }
        }
        Ok(rows)
    }

    /// Whether each is of another segment.
    pub(super) fn apart(&self) -> bool {
        self.segments.is_sorted_by(|a, b| a < b)
    }

    pub(super) fn count(&self) -> usize {
        self.tokens.len()
    }
}
