//! The numbers of a merged tensor, computed while they are asked for.

use std::{ops::Range, sync::OnceLock};

use super::lora::Lie;
use crate::{
    Tensor,
    quick::quick,
    source::{Numbers, rows},
};

/// `W + scale B A`.
pub(super) struct Merged<'a> {
    pub(super) base: Tensor<'a>,
    pub(super) a: Tensor<'a>,
    pub(super) b: Tensor<'a>,
    pub(super) lie: Lie,
    pub(super) scale: f32,
}

impl Merged<'_> {
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
    fn right(&self) -> Vec<f32> {
        let (rank, columns) = (self.rank(), self.base.info.columns());
        match self.lie {
            Lie::Straight => self.a.to_vec(),
            Lie::Across => {
                let b = self.b.to_vec();
                let mut right = vec![0.0; b.len()];
                for column in 0..columns {
                    (0..rank).for_each(|k| right[k * columns + column] = b[column * rank + k]);
                }
                right
            }
        }
    }
}

impl Numbers for Merged<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        self.base.numbers.read(from, out);
        let (rank, columns) = (self.rank(), self.base.info.columns().max(1));
        let first = from / columns;
        let (left, right) = (self.left(first..(from + out.len()).div_ceil(columns)), self.right());
        let mut sums = [0.0; STRIP];
        for (row, wanted, place) in rows(from, out.len(), columns) {
            let left = &left[(row - first) * rank..][..rank];
            for (strip, out) in out[place].chunks_mut(STRIP).enumerate() {
                let at = wanted.start + strip * STRIP;
                let (sums, scale) = (&mut sums[..out.len()], self.scale);
                quick(
                    #[inline(always)]
                    || {
                        sums.fill(0.0);
                        for (k, x) in left.iter().enumerate() {
                            // Rounded once, by the fused instruction that libraries use too. A processor that has
                            // none calls a function for each number: the same bits, many times slower.
                            let numbers = &right[k * columns + at..][..sums.len()];
                            sums.iter_mut().zip(numbers).for_each(|(sum, y)| *sum = x.mul_add(*y, *sum));
                        }
                        out.iter_mut().zip(sums).for_each(|(o, sum)| *o += *sum * scale);
                    },
                );
            }
        }
    }
}

/// Columns that are computed at a time: so many sums stay near the processor.
const STRIP: usize = 1024;

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
            Tensor { info, numbers: Box::new(Merged { base, a, b, lie, scale: 2.0 }) }
        };
        let straight = merged(&[3, 2], Lie::Straight);
        assert_eq!(straight.to_vec(), [3.0, 5.0, 7.0, 9.0, 9.0, 13.0]);
        assert_eq!(merged(&[2, 3], Lie::Across).to_vec(), [3.0, 7.0, 9.0, 5.0, 9.0, 13.0]);
        let mut part = [0.0; 3];
        straight.numbers.read(3, &mut part);
        assert_eq!(part, [9.0, 9.0, 13.0]);
    }

    #[test]
    fn rows_get_their_lengths() {
        let (w, a, b, m) = (bytes(&[2.0, 4.0, 6.0, 8.0]), bytes(&[1.0, 0.0]), bytes(&[1.0, 0.0]), bytes(&[10.0, 5.0]));
        let merged = Merged {
            base: tensor(&[2, 2], &w),
            a: tensor(&[1, 2], &a),
            b: tensor(&[2, 1], &b),
            lie: Lie::Straight,
            scale: 1.0,
        };
        let rows = Lengthened::new(merged, tensor(&[2], &m), 1.0);
        let mut out = [0.0; 4];
        rows.read(0, &mut out);
        assert_eq!(out, [6.0, 8.0, 3.0, 4.0]);
    }
}
