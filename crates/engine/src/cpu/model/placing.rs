//! Queries, keys and values of a row take their place: turned by the row's position, keys and values in its cache.
#![allow(unsafe_code)]

use half::f16;

use super::{
    super::{
        attention::PIECE,
        kernels,
        load::Layer,
        rows::Rows,
        simd::{Isa, Simd},
        team::Parts,
    },
    qkv_width,
};
use crate::config::{MAX_HEAD, ModelConfig, Rotary};

/// Turns queries and keys by their positions, and puts keys and values into caches.
pub(super) struct Placing<'a> {
    pub(super) isa: Isa,
    pub(super) config: &'a ModelConfig,
    pub(super) layer: &'a Layer,
    /// The layer's number.
    pub(super) index: usize,
    pub(super) rows: &'a Rows,
    /// Of each position the cosines of its angles, then their sines.
    pub(super) turns: &'a [f32],
    /// Whether keys and values are kept in half precision.
    pub(super) half: bool,
}

impl Placing<'_> {
    /// Does it for a key/value head of a row, and for the queries that look at it. `qkv`: of all rows.
    ///
    /// # Safety
    /// No other thread uses these heads of the row, nor this head and position of its cache.
    pub(super) unsafe fn place(&self, row: usize, kv_head: usize, qkv: Parts<'_, f32>) {
        let c = self.config;
        let (d, group) = (c.head_size, c.heads / c.kv_heads);
        let position = self.rows.positions[row];
        let (cos, sin) = self.turns[position * d..][..d].split_at(d / 2);
        // SAFETY: the caller's promise.
        let part = |head: usize| unsafe { qkv.part(row * qkv_width(c) + head * d, d) };
        let turned = |head: usize, norm: usize| {
            let head = part(head);
            if let Some(norms) = &self.layer.head_norms {
                let mut plain = [0.0; MAX_HEAD];
                plain[..d].copy_from_slice(head);
                kernels::normalize(self.isa, &plain[..d], &norms[norm], c.norm_epsilon, head);
            }
            turn(self.isa, head, cos, sin, c.rotary);
            head
        };
        for head in kv_head * group..(kv_head + 1) * group {
            turned(head, 0);
        }
        let (key, value) = (turned(c.heads + kv_head, 1), part(c.heads + c.kv_heads + kv_head));
        let (keys, values) = self.rows.caches[self.rows.segments[row]].0[position / PIECE];
        let (from, at) = ((self.index * c.kv_heads + kv_head) * PIECE * d, position % PIECE);
        // Keys of sixteen positions lie side by side.
        let (key_at, value_at) = (from + at / 16 * 16 * d + at % 16, from + at * d);
        // SAFETY: the piece has `PIECE * d` numbers for this layer and head, is this run's to write (`Cache::extend`), and
        // this head and position are written here only.
        unsafe {
            if self.half {
                self.store_half(key, keys.cast::<f16>().add(key_at), 16);
                self.store_half(value, values.cast::<f16>().add(value_at), 1);
            } else {
                store(key, keys.cast::<f32>().add(key_at), 16);
                store(value, values.cast::<f32>().add(value_at), 1);
            }
        }
    }

    /// As [`store`] does, in half precision.
    ///
    /// # Safety
    /// As there.
    unsafe fn store_half(&self, numbers: &[f32], to: *mut f16, step: usize) {
        let mut halves = [f16::ZERO; 64];
        for (i, numbers) in numbers.chunks(halves.len()).enumerate() {
            let halves = &mut halves[..numbers.len()];
            halve(self.isa, numbers, halves);
            // SAFETY: the caller's promise.
            unsafe { store(halves, to.add(i * 64 * step), step) };
        }
    }
}

kernels! {
    /// Turns the pairs of a head's numbers by a position's angles.
    fn turn(head: &mut [f32], cos: &[f32], sin: &[f32], rotary: Rotary);
    /// Numbers in half precision.
    fn halve(numbers: &[f32], halves: &mut [f16]);
}

mod generic {
    use super::*;

    #[inline(always)]
    pub(super) unsafe fn turn<S: Simd>(head: &mut [f32], cos: &[f32], sin: &[f32], rotary: Rotary) {
        let angles = cos.iter().zip(sin);
        match rotary {
            Rotary::Interleaved => {
                for (pair, (cos, sin)) in head.chunks_exact_mut(2).zip(angles) {
                    (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
                }
            }
            Rotary::Halves => {
                let (first, second) = head.split_at_mut(head.len() / 2);
                for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
            }
        }
    }

    #[inline(always)]
    pub(super) unsafe fn halve<S: Simd>(numbers: &[f32], halves: &mut [f16]) {
        assert!(numbers.len().is_multiple_of(16) && numbers.len() == halves.len());
        for i in (0..numbers.len()).step_by(16) {
            // SAFETY: both have sixteen more; an `f16` is its sixteen bits.
            unsafe { S::store_f16(halves.as_mut_ptr().add(i).cast(), S::load(numbers.as_ptr().add(i))) };
        }
    }
}

/// Writes numbers to every `step`-th place from `to` on.
///
/// # Safety
/// There is room, and no other thread uses these places.
unsafe fn store<T: Copy>(numbers: &[T], to: *mut T, step: usize) {
    for (i, number) in numbers.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { to.add(i * step).write(*number) };
    }
}
