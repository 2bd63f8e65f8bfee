//! The numbers of a merged tensor, computed while they are asked for.

use std::{
    ops::Range,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use super::lora::Lie;
use crate::{
    Tensor,
    quick::quick,
    source::{Numbers, rows},
};

/// `W + scale B A`.
pub(super) struct Merged<'a> {
    base: Tensor<'a>,
    a: Tensor<'a>,
    b: Tensor<'a>,
    lie: Lie,
    scale: f32,
    /// The factor that every part needs as a whole, from the first part to the last.
    right: Mutex<Option<Arc<Right>>>,
}

/// Columns that are computed at a time: so many sums fit into a processor's registers.
const WIDE: usize = 64;

/// For [`WIDE`] columns after the other, their numbers of each of the rank: in the order in which they are needed. Behind
/// the last column there are zeros.
type Right = Vec<[f32; WIDE]>;

impl<'a> Merged<'a> {
    pub(super) fn new(base: Tensor<'a>, a: Tensor<'a>, b: Tensor<'a>, lie: Lie, scale: f32) -> Self {
        Self { base, a, b, lie, scale, right: Mutex::new(None) }
    }

    fn rank(&self) -> usize {
        self.a.info.shape.first().copied().unwrap_or(1)
    }

    /// For each of these rows of the result, what the rows of the other factor are multiplied with.
    fn left(&self, rows: Range<usize>) -> Vec<f32> {
        let rank = self.rank();
        let mut left = vec![0.0; rows.len() * rank];
        match self.lie {
            Lie::Straight => self.b.numbers.read(rows.start * rank, &mut left),
            Lie::Across => {
                let (all, count) = (self.a.info.columns(), rows.len());
                let mut of_rank = vec![0.0; count];
                for k in 0..rank {
                    self.a.numbers.read(k * all + rows.start, &mut of_rank);
                    of_rank.iter().enumerate().for_each(|(row, x)| left[row * rank + k] = *x);
                }
            }
        }
        left
    }

    /// The other factor: one row of the result's columns for each of the rank.
    fn right(&self) -> Arc<Right> {
        let mut kept = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert_with(|| {
            let (rank, columns) = (self.rank(), self.base.info.columns());
            let mut right = vec![[0.0; WIDE]; columns.div_ceil(WIDE) * rank];
            let mut put = |k: usize, column: usize, x: f32| right[column / WIDE * rank + k][column % WIDE] = x;
            match self.lie {
                Lie::Straight => {
                    let a = self.a.to_vec();
                    let of_rank = a.chunks(columns.max(1)).enumerate();
                    of_rank.for_each(|(k, row)| row.iter().enumerate().for_each(|(column, x)| put(k, column, *x)));
                }
                Lie::Across => {
                    let b = self.b.to_vec();
                    let columns = b.chunks(rank.max(1)).enumerate();
                    columns.for_each(|(column, all)| all.iter().enumerate().for_each(|(k, x)| put(k, column, *x)));
                }
            }
            Arc::new(right)
        })
        .clone()
    }
}

impl Numbers for Merged<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        self.base.numbers.read(from, out);
        let (rank, columns, scale) = (self.rank().max(1), self.base.info.columns().max(1), self.scale);
        let first = from / columns;
        let (left, right) = (self.left(first..(from + out.len()).div_ceil(columns)), self.right());
        let rows: Vec<_> = rows(from, out.len(), columns).collect();
        quick(
            #[inline(always)]
            || {
                // The same numbers of the one factor for all rows: they stay near the processor.
                for (right, begin) in right.chunks(rank).zip((0..).step_by(WIDE)) {
                    for (row, wanted, place) in &rows {
                        let (a, b) = (wanted.start.max(begin), wanted.end.min(begin + WIDE));
                        if a >= b {
                            continue;
                        }
                        let sums = products(&left[(row - first) * rank..], right);
                        let out = &mut out[place.start + (a - wanted.start)..][..b - a];
                        match <&mut [f32; WIDE]>::try_from(&mut *out) {
                            Ok(out) => out.iter_mut().zip(&sums).for_each(|(o, sum)| *o += *sum * scale),
                            Err(_) => out.iter_mut().zip(&sums[a - begin..]).for_each(|(o, sum)| *o += *sum * scale),
                        }
                    }
                }
            },
        );
    }

    fn done(&self) {
        *self.right.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.base.numbers.done();
    }
}

/// For some columns, the sum over the rank.
#[inline(always)]
fn products(left: &[f32], right: &[[f32; WIDE]]) -> [f32; WIDE] {
    let mut sums = [0.0f32; WIDE];
    for (x, numbers) in left.iter().zip(right) {
        // Rounded once, by the fused instruction that libraries use too. A processor that has none calls a function for
        // each number: the same bits, many times slower.
        sums.iter_mut().zip(numbers).for_each(|(sum, y)| *sum = x.mul_add(*y, *sum));
    }
    sums
}

/// A merged matrix whose rows are brought to given lengths (DoRA), or its columns where the factors lie across.
pub(super) struct Lengthened<'a> {
    merged: Merged<'a>,
    lengths: Tensor<'a>,
    weight: f32,
    /// What each row or column is multiplied with.
    factors: OnceLock<Vec<f32>>,
}

impl<'a> Lengthened<'a> {
    /// There is a length for each row, or for each column; the base is brought towards it by `weight`.
    pub(super) fn new(merged: Merged<'a>, lengths: Tensor<'a>, weight: f32) -> Self {
        Self { merged, lengths, weight, factors: OnceLock::new() }
    }

    fn factors(&self) -> &[f32] {
        self.factors.get_or_init(|| {
            let info = &self.merged.base.info;
            let (columns, rows) = (info.columns().max(1), info.shape.first().copied().unwrap_or(0));
            let mut squares = vec![0.0f64; self.lengths.info.count()];
            // Some rows at a time, since each time the factors are read.
            let some = (1 << 18) / columns + 1;
            let mut numbers = vec![0.0; some.min(rows) * columns];
            for first in (0..rows).step_by(some) {
                let numbers = &mut numbers[..some.min(rows - first) * columns];
                self.merged.read(first * columns, numbers);
                let square = |x: &f32| f64::from(*x) * f64::from(*x);
                match self.merged.lie {
                    Lie::Straight => {
                        let squares = squares.iter_mut().skip(first);
                        squares.zip(numbers.chunks(columns)).for_each(|(s, row)| *s = row.iter().map(square).sum());
                    }
                    Lie::Across => numbers
                        .chunks(columns)
                        .for_each(|row| squares.iter_mut().zip(row).for_each(|(s, x)| *s += square(x))),
                }
            }
            let lengths = self.lengths.to_vec();
            lengths.iter().zip(squares).map(|(length, square)| length / square.sqrt() as f32).collect()
        })
    }
}

impl Numbers for Lengthened<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        self.merged.read(from, out);
        let factors = self.factors();
        let columns = self.merged.base.info.columns();
        for (row, wanted, place) in rows(from, out.len(), columns) {
            let out = &mut out[place];
            match self.merged.lie {
                Lie::Straight => {
                    let factor = factors.get(row).copied().unwrap_or(1.0);
                    out.iter_mut().for_each(|x| *x *= factor);
                }
                Lie::Across => {
                    out.iter_mut().zip(factors.get(wanted).unwrap_or_default()).for_each(|(x, factor)| *x *= factor);
                }
            }
        }
        toward(&self.merged.base, from, out, self.weight);
    }

    fn done(&self) {
        self.merged.done();
    }
}

/// A tensor in the place of another, towards which the other is brought by a weight.
pub(super) struct Instead<'a> {
    pub(super) base: Tensor<'a>,
    pub(super) new: Tensor<'a>,
    pub(super) weight: f32,
}

impl Numbers for Instead<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        self.new.numbers.read(from, out);
        toward(&self.base, from, out, self.weight);
    }

    fn done(&self) {
        self.base.numbers.done();
    }
}

/// What lies between the base, 0, and these numbers, 1.
fn toward(base: &Tensor<'_>, from: usize, numbers: &mut [f32], weight: f32) {
    if weight == 1.0 {
        return;
    }
    let mut old = vec![0.0; numbers.len()];
    base.numbers.read(from, &mut old);
    numbers.iter_mut().zip(old).for_each(|(x, old)| *x = old + weight * (*x - old));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Element, source::Info};

    fn bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn tensor<'a>(shape: &[usize], bytes: &'a [u8]) -> Tensor<'a> {
        Tensor::stored(Info { name: "x".into(), shape: shape.into(), element: Element::F32 }, bytes)
    }

    #[test]
    fn a_change_is_added_whichever_way_it_lies() {
        // Three outputs, two inputs, rank two.
        let (w, a, b) = (bytes(&[1.0; 6]), bytes(&[1.0, 2.0, 3.0, 4.0]), bytes(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]));
        let merged = |shape: &[usize], lie| {
            let (base, a, b) = (tensor(shape, &w), tensor(&[2, 2], &a), tensor(&[3, 2], &b));
            let info = base.info.clone();
            Tensor { info, numbers: Box::new(Merged::new(base, a, b, lie, 2.0)) }
        };
        let straight = merged(&[3, 2], Lie::Straight);
        assert_eq!(straight.to_vec(), [3.0, 5.0, 7.0, 9.0, 9.0, 13.0]);
        assert_eq!(merged(&[2, 3], Lie::Across).to_vec(), [3.0, 7.0, 9.0, 5.0, 9.0, 13.0]);
        let mut part = [0.0; 3];
        straight.numbers.read(3, &mut part);
        assert_eq!(part, [9.0, 9.0, 13.0]);
    }

    #[test]
    fn every_part_is_what_the_plain_sums_give_bit_for_bit() {
        // More columns than are computed at a time, and no multiple of that.
        let (height, width, rank) = (5, 2 * WIDE + 3, 3);
        let numbers = |seed: usize, count: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * 7919 + seed) % 251) as f32 / 173.0 - 0.7).collect()
        };
        let (w, a, b) = (numbers(1, height * width), numbers(2, rank * width), numbers(3, height * rank));
        let plain: Vec<f32> = (0..height * width)
            .map(|i| {
                let (row, column) = (i / width, i % width);
                let sum = (0..rank).fold(0.0f32, |sum, k| b[row * rank + k].mul_add(a[k * width + column], sum));
                w[i] + sum * 0.3
            })
            .collect();
        let turned = |numbers: &[f32], columns: usize| -> Vec<f32> {
            (0..columns).flat_map(|column| numbers.iter().skip(column).step_by(columns).copied()).collect()
        };
        let [w, straight_a, straight_b] = [&w, &a, &b].map(|numbers| bytes(numbers));
        // The same product of the factors in the places of each other.
        let [across_a, across_b] = [turned(&b, rank), turned(&a, width)].map(|numbers| bytes(&numbers));
        for merged in [
            Merged::new(
                tensor(&[height, width], &w),
                tensor(&[rank, width], &straight_a),
                tensor(&[height, rank], &straight_b),
                Lie::Straight,
                0.3,
            ),
            Merged::new(
                tensor(&[height, width], &w),
                tensor(&[rank, height], &across_a),
                tensor(&[width, rank], &across_b),
                Lie::Across,
                0.3,
            ),
        ] {
            for part in [1, 7, WIDE, 200, height * width] {
                let mut out = vec![0.0; height * width];
                out.chunks_mut(part).enumerate().for_each(|(i, out)| merged.read(i * part, out));
                assert!(out.iter().zip(&plain).all(|(x, y)| x.to_bits() == y.to_bits()), "parts of {part}");
                merged.done();
                assert!(merged.right.lock().unwrap().is_none());
            }
        }
    }

    #[test]
    fn rows_get_their_lengths() {
        let (w, a, b, m) = (bytes(&[2.0, 4.0, 6.0, 8.0]), bytes(&[1.0, 0.0]), bytes(&[1.0, 0.0]), bytes(&[10.0, 5.0]));
        let (base, a, b) = (tensor(&[2, 2], &w), tensor(&[1, 2], &a), tensor(&[2, 1], &b));
        let merged = Merged::new(base, a, b, Lie::Straight, 1.0);
        let rows = Lengthened::new(merged, tensor(&[2], &m), 1.0);
        let mut out = [0.0; 4];
        rows.read(0, &mut out);
        assert_eq!(out, [6.0, 8.0, 3.0, 4.0]);
    }
}
