//! What matrices are multiplied with: rows, and for adapters `z`, see [`Factors`].
//!
//! Many rows are shared out among the threads. A few are made by every thread for itself: that is sooner done than
//! told to the others.
#![allow(unsafe_code)]

use std::ops::Range;

use checkpoint::Projection;

use super::super::{
    factors::Factors,
    kernels::{self, ActivationParts, Activations},
    simd::Isa,
    team::{Parts, Team},
    tiles::Soon,
};

/// So many rows, and fewer, every thread makes for itself.
pub(super) const FEW: usize = 3;

/// Numbers of `z` for a step of `rows` rows.
pub(super) fn room_for_z(rows: usize, threads: usize, rank: usize) -> usize {
    rows.max(threads * FEW) * 3 * rank
}

/// How rows of the residual stream are normalized.
#[derive(Clone, Copy)]
pub(super) struct Normalizing<'a> {
    pub(super) isa: Isa,
    /// The residual stream.
    pub(super) x: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) epsilon: f32,
}

impl Normalizing<'_> {
    /// Makes row `to` from row `from` of the stream.
    ///
    /// # Safety
    /// No other thread uses row `to`.
    pub(super) unsafe fn row(&self, from: usize, out: ActivationParts<'_>, to: usize) {
        let columns = self.weight.len();
        let x = &self.x[from * columns..][..columns];
        // SAFETY: the caller's promise.
        unsafe {
            kernels::normalize(self.isa, x, self.weight, self.epsilon, out.row(to));
            out.quantize(self.isa, to);
        }
    }
}

/// The normalized rows that some projections of a layer are multiplied with.
pub(super) struct Normalized<'a> {
    how: Normalizing<'a>,
    factors: &'a Factors<'a>,
    projections: &'a [Projection],
    count: usize,
    made: Made<'a>,
}

enum Made<'a> {
    Together(&'a Activations, &'a [f32]),
    /// Room for each thread's.
    Apart(Parts<'a, Activations>, Parts<'a, f32>, usize),
}

impl<'a> Normalized<'a> {
    /// `copies` are one for each thread; `z` has [`room_for_z`].
    pub(super) fn new(
        team: &mut Team,
        how: Normalizing<'a>,
        (factors, projections): (&'a Factors<'a>, &'a [Projection]),
        count: usize,
        copies: &'a mut [Activations],
        z: &'a mut [f32],
    ) -> Self {
        if count <= FEW {
            let each = z.len() / copies.len();
            let made = Made::Apart(Parts::new(copies), Parts::new(z), each);
            return Self { how, factors, projections, count, made };
        }
        {
            let (out, z) = (copies[0].parts(), Parts::new(z));
            team.split(count, &|_, rows| {
                // SAFETY: the ranges do not overlap.
                unsafe { fill(how, factors, projections, rows, out, z, Soon::NOTHING) }
                Soon::NOTHING
            });
        }
        Self { how, factors, projections, count, made: Made::Together(&copies[0], z) }
    }

    /// The rows and `z`, for a thread. `then`: what it reads next.
    ///
    /// # Safety
    /// What the same thread was given before is no longer in use.
    pub(super) unsafe fn of(&self, thread: usize, then: Soon) -> (&'a Activations, &'a [f32]) {
        match &self.made {
            Made::Together(rows, z) => (rows, z),
            Made::Apart(copies, z, each) => {
                // SAFETY: each thread has its own, which is free.
                unsafe {
                    let copy = &mut copies.part(thread, 1)[0];
                    let z = z.part(thread * each, *each);
                    let (rows, parts) = (0..self.count, Parts::new(&mut *z));
                    fill(self.how, self.factors, self.projections, rows, copy.parts(), parts, then);
                    (copy, z)
                }
            }
        }
    }
}

/// # Safety
/// No other thread uses these rows of `out` and `z`.
unsafe fn fill(
    how: Normalizing<'_>,
    factors: &Factors<'_>,
    projections: &[Projection],
    rows: Range<usize>,
    out: ActivationParts<'_>,
    z: Parts<'_, f32>,
    then: Soon,
) {
    // SAFETY: the caller's promise.
    unsafe {
        rows.clone().for_each(|row| how.row(row, out, row));
        factors.narrow(how.isa, rows.clone(), projections, out.rows(rows), z, then);
    }
}

/// `z` of one projection whose rows are there.
pub(super) struct Narrowed<'a> {
    isa: Isa,
    factors: &'a Factors<'a>,
    projection: Projection,
    count: usize,
    rows: &'a Activations,
    made: Z<'a>,
}

enum Z<'a> {
    Together(&'a [f32]),
    /// Room for each thread's.
    Apart(Parts<'a, f32>, usize),
}

impl<'a> Narrowed<'a> {
    /// `z` has [`room_for_z`].
    pub(super) fn new(
        team: &mut Team,
        isa: Isa,
        (factors, projection): (&'a Factors<'a>, Projection),
        count: usize,
        rows: &'a Activations,
        z: &'a mut [f32],
    ) -> Self {
        if count <= FEW {
            let each = z.len() / team.threads();
            return Self { isa, factors, projection, count, rows, made: Z::Apart(Parts::new(z), each) };
        }
        if factors.any() {
            let z = Parts::new(z);
            team.split(count, &|_, range| {
                // SAFETY: the ranges do not overlap.
                unsafe { factors.narrow(isa, range.clone(), &[projection], rows.rows(range), z, Soon::NOTHING) }
                Soon::NOTHING
            });
        }
        Self { isa, factors, projection, count, rows, made: Z::Together(z) }
    }

    /// `z` for a thread. `then`: what it reads next.
    ///
    /// # Safety
    /// What the same thread was given before is no longer in use.
    pub(super) unsafe fn of(&self, thread: usize, then: Soon) -> &'a [f32] {
        match &self.made {
            Z::Together(z) => z,
            Z::Apart(z, each) => {
                // SAFETY: each thread has its own, which is free.
                unsafe {
                    let (z, rows) = (z.part(thread * each, *each), 0..self.count);
                    let x = self.rows.rows(rows.clone());
                    self.factors.narrow(self.isa, rows, &[self.projection], x, Parts::new(&mut *z), then);
                    z
                }
            }
        }
    }
}
