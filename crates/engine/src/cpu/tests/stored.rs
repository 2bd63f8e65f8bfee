//! Keys and values of one head, as a cache has them.

use std::ops::Range;

use half::f16;
use rand_chacha::ChaCha8Rng;

use super::{
    super::{
        attention::{self, History, PIECE, Query, TOGETHER},
        simd::Isa,
    },
    random,
};

/// Random keys and values. What lies behind the last position is no number.
pub(super) struct Stored {
    /// `[position][head size]`.
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
    head_size: usize,
    half: bool,
}

impl Stored {
    pub(super) fn new(rng: &mut ChaCha8Rng, head_size: usize, positions: usize, half: bool) -> Self {
        // Numbers that half precision keeps as they are.
        let mut random = || random(rng, head_size * positions).iter().map(|x| f16::from_f32(*x).to_f32()).collect();
        Self { keys: random(), values: random(), head_size, half }
    }

    pub(super) fn set_key(&mut self, position: usize, number: usize, to: f32) {
        self.keys[position * self.head_size + number] = to;
    }

    pub(super) fn set_value(&mut self, position: usize, number: usize, to: f32) {
        self.values[position * self.head_size + number] = to;
    }

    /// What queries that look at some positions each get.
    pub(super) fn attend(&self, isa: Isa, queries: &[Vec<f32>], ranges: &[Range<usize>]) -> Vec<Vec<f32>> {
        let d = self.head_size;
        let positions = self.keys.len() / d;
        let mut k = vec![vec![f32::NAN; PIECE * d]; positions.div_ceil(PIECE)];
        let mut v = k.clone();
        for p in 0..positions {
            for i in 0..d {
                k[p / PIECE][p % PIECE / 16 * 16 * d + i * 16 + p % 16] = self.keys[p * d + i];
                v[p / PIECE][p % PIECE * d + i] = self.values[p * d + i];
            }
        }
        let bytes = |x: &f32| match self.half {
            true => f16::from_f32(*x).to_le_bytes().to_vec(),
            false => x.to_le_bytes().to_vec(),
        };
        let stored = |pieces: &[Vec<f32>]| -> Vec<Vec<u8>> {
            pieces.iter().map(|piece| piece.iter().flat_map(bytes).collect()).collect()
        };
        let (k, v) = (stored(&k), stored(&v));
        let pieces: Vec<_> = k.iter().zip(&v).map(|(k, v)| (k.as_ptr().cast_mut(), v.as_ptr().cast_mut())).collect();
        let history = History { pieces: &pieces, half: self.half, from: 0, head_size: d, far: queries.len() < 3 };
        let mut out = vec![vec![0.0; d]; queries.len()];
        let mut asked: Vec<Query<'_>> = (queries.iter().zip(ranges).zip(&mut out))
            .map(|((numbers, range), out)| Query { numbers, from: range.start, to: range.end, out })
            .collect();
        let mut scores = vec![0.0; TOGETHER * attention::scratch(positions)];
        attention::attend(isa, &mut asked, &history, history.keys(), &mut scores);
        out
    }
}
