//! Keys and values of the tokens a run has seen.

use std::sync::Arc;

use super::kernels::PIECE;
use crate::config::ModelConfig;

/// Keys and values of [`PIECE`] positions in all layers.
#[derive(Clone)]
pub(super) struct Piece {
    /// `[layer][key/value head][block of 16 positions][head size][16]`.
    pub(super) keys: Vec<f32>,
    /// `[layer][key/value head][position][head size]`.
    pub(super) values: Vec<f32>,
}

/// A run's keys and values. Cloning is cheap: pieces are shared until one of them is written.
#[derive(Clone, Default)]
pub(crate) struct Cache {
    pub(super) pieces: Vec<Arc<Piece>>,
    length: usize,
}

impl Cache {
    /// Positions filled.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Forgets everything after the first `length` positions.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        self.pieces.truncate(self.length.div_ceil(PIECE));
    }

    /// Makes room for `more` positions that may be written, and counts them as filled.
    pub(super) fn extend(&mut self, more: usize, config: &ModelConfig) {
        let first = self.length / PIECE;
        self.length += more;
        let numbers = config.layers * config.kv_heads * PIECE * config.head_size;
        while self.pieces.len() * PIECE < self.length {
            self.pieces.push(Arc::new(Piece { keys: vec![0.0; numbers], values: vec![0.0; numbers] }));
        }
        for piece in &mut self.pieces[first..] {
            Arc::make_mut(piece);
        }
    }
}
