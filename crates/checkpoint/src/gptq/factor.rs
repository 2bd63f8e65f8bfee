//! What GPTQ needs of the inputs: the upper factor `U` of `(H + damping)⁻¹ = Uᵀ U`.
//!
//! With rows and columns counted from the end, `H` is `L Lᵀ` (Cholesky), and then `U` is the inverse of `L`, counted
//! back: one factorization and the inverse of a triangle, instead of the inverse of `H` and its factorization.

use std::thread;

/// Columns of the factorization, and of the inverse, that are computed together.
const PANEL: usize = 32;

/// The upper factor, row after row; what is left of the diagonal is zero.
#[derive(Debug)]
pub(super) struct Factor {
    size: usize,
    numbers: Vec<f32>,
}

impl Factor {
    /// `None` where `H` with this part of its mean diagonal added is not positive, as far as 64 bits tell.
    pub(super) fn new(products: &[f32], size: usize, damping: f64, threads: usize) -> Option<Self> {
        let diagonal: f64 = (0..size).map(|i| f64::from(products[i * size + i])).sum();
        let mean = diagonal / size.max(1) as f64;
        let added = if mean > 0.0 { damping * mean } else { 1.0 };
        let mut l: Vec<f64> = products.iter().rev().map(|x| f64::from(*x)).collect();
        (0..size).for_each(|i| l[i * size + i] += added);
        cholesky(&mut l, size, threads)?;
        let mut numbers = inverse_columns(&l, size, threads);
        // From the columns of the inverse counted from the end to the rows of it counted from the beginning.
        for i in 0..size {
            for j in 0..size - i - 1 {
                numbers.swap(i * size + j, (size - 1 - j) * size + size - 1 - i);
            }
        }
        numbers.iter().all(|x| x.is_finite()).then_some(Self { size, numbers })
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.size..][..self.size]
    }
}

/// Puts `L` in the place of the lower half; `None` where there is none.
fn cholesky(a: &mut [f64], size: usize, threads: usize) -> Option<()> {
    for first in (0..size).step_by(PANEL) {
        let end = size.min(first + PANEL);
        let (head, tail) = a.split_at_mut(end * size);
        for i in first..end {
            let (above, row) = head.split_at_mut(i * size);
            let row = &mut row[..size];
            for j in first..i {
                let other = &above[j * size..][..size];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            let square = row[i] - dot(&row[..i], &row[..i]);
            if !(square > 0.0 && square.is_finite()) {
                return None;
            }
            row[i] = square.sqrt();
        }
        let head = &*head;
        let share = (tail.len() / size.max(1)).div_ceil(threads.max(1)).max(1);
        thread::scope(|scope| {
            for rows in tail.chunks_mut(share * size) {
                scope.spawn(move || {
                    for row in rows.chunks_exact_mut(size) {
                        for j in first..end {
                            let other = &head[j * size..][..size];
                            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
                        }
                    }
                });
            }
        });
    }
    Some(())
}

/// The columns of the inverse of `L`, one after the other.
fn inverse_columns(l: &[f64], size: usize, threads: usize) -> Vec<f32> {
    let mut columns = vec![0.0f32; size * size];
    let strips: Vec<_> = columns.chunks_mut(PANEL * size).enumerate().collect();
    // The first strips have the most to do: each thread gets one of the first, one of the next, and so on.
    let mut shares: Vec<Vec<_>> = (0..threads.max(1)).map(|_| Vec::new()).collect();
    for (number, strip) in strips {
        shares[number % threads.max(1)].push((number * PANEL, strip));
    }
    thread::scope(|scope| {
        for share in shares {
            scope.spawn(move || share.into_iter().for_each(|(first, strip)| invert_strip(l, size, first, strip)));
        }
    });
    columns
}

/// Columns of the inverse from `first` on.
fn invert_strip(l: &[f64], size: usize, first: usize, out: &mut [f32]) {
    // A row of the strip holds one number of each of its columns.
    let mut rows = vec![[0.0f64; PANEL]; size - first];
    for i in first..size {
        let (done, rest) = rows.split_at_mut(i - first);
        let Some(row) = rest.first_mut() else { break };
        if i - first < PANEL {
            row[i - first] = 1.0;
        }
        for (factor, other) in l[i * size + first..][..i - first].iter().zip(done.iter()) {
            row.iter_mut().zip(other).for_each(|(x, y)| *x -= factor * y);
        }
        let inverse = 1.0 / l[i * size + i];
        row.iter_mut().for_each(|x| *x *= inverse);
    }
    for (place, column) in out.chunks_exact_mut(size).enumerate() {
        column[first..].iter_mut().zip(&rows).for_each(|(x, row)| *x = row[place] as f32);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0f64; 8];
    for (a, b) in a.iter().zip(b) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (x, y))| *lane += x * y);
    }
    lanes.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f64>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_that_of_the_inverse() {
        for size in [1, 5, 32, 33, 100] {
            // X Xᵀ of some numbers, which is positive.
            let x: Vec<f64> = (0..size * size).map(|i| ((i * 7919 + 13) % 101) as f64 / 50.0 - 1.0).collect();
            let at = |i: usize, j: usize| (0..size).map(|k| x[i * size + k] * x[j * size + k]).sum::<f64>();
            let h: Vec<f32> = (0..size * size).map(|n| at(n / size, n % size) as f32).collect();
            let factor = Factor::new(&h, size, 0.01, 3).unwrap();
            let mean: f64 = (0..size).map(|i| f64::from(h[i * size + i])).sum::<f64>() / size as f64;
            for i in 0..size {
                assert!(factor.row(i)[..i].iter().all(|x| *x == 0.0));
                // H Uᵀ U is one.
                for j in 0..size {
                    let product: f64 = (0..size)
                        .map(|k| {
                            let damped = f64::from(h[i * size + k]) + if i == k { 0.01 * mean } else { 0.0 };
                            let inverse = |m: usize| f64::from(factor.row(m)[k]) * f64::from(factor.row(m)[j]);
                            damped * (0..size).map(inverse).sum::<f64>()
                        })
                        .sum();
                    assert!((product - if i == j { 1.0 } else { 0.0 }).abs() < 1e-3, "{size}: {i} {j} {product}");
                }
            }
            let one = Factor::new(&h, size, 0.01, 1).unwrap();
            assert_eq!(one.numbers, factor.numbers);
        }
    }

    #[test]
    fn what_is_not_positive_has_none() {
        assert!(Factor::new(&[1.0, 4.0, 4.0, 1.0], 2, 0.01, 1).is_none());
        assert!(Factor::new(&[f32::NAN], 1, 0.01, 1).is_none());
    }
}
