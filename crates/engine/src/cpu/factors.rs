//! What the rows' adapters add to the matrices of a layer.
#![allow(unsafe_code)]

use std::{ops::Range, sync::Arc};

use checkpoint::Projection;

use super::{
    beside::Beside,
    kernels::{self, Deltas, Linear},
    load::{Layer, PackedAdapter},
    pack::Packed,
    rows::Rows,
    simd::Isa,
    team::Parts,
    tiles::Soon,
};

/// The factors of all adapters in one layer.
pub(super) struct Factors<'a> {
    adapters: &'a [Option<Arc<PackedAdapter>>],
    layer: usize,
    /// `B` by projection and adapter.
    b: [Vec<Option<&'a Packed>>; 7],
    rows: &'a [Option<usize>],
    any: bool,
    /// Numbers of `z` for one projection.
    rank: usize,
}

impl<'a> Factors<'a> {
    pub(super) fn of(adapters: &'a [Option<Arc<PackedAdapter>>], rank: usize, layer: usize, rows: &'a Rows) -> Self {
        let b = Projection::ALL.map(|p| {
            if !rows.any_adapter {
                return vec![];
            }
            let b = |a: &'a PackedAdapter| a.factors[layer][p as usize].as_ref().map(|f| &f.b);
            adapters.iter().map(|a| a.as_deref().and_then(b)).collect()
        });
        Self { adapters, layer, b, rows: &rows.adapters, any: rows.any_adapter, rank }
    }

    /// Whether any row has an adapter.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// What is read first in a step with some projections of a layer by the thread that has a part of it, the one from
    /// `first` on, of `of`.
    pub(super) fn first_read<const N: usize>(
        &self,
        (layers, index): (&[Layer], usize),
        step: [Projection; N],
        (first, of): (usize, usize),
    ) -> Soon {
        let factors = |adapter: &Option<usize>| {
            let adapter = self.adapters.get((*adapter)?)?.as_deref()?;
            step.iter().find_map(|p| adapter.factors[index][*p as usize].as_ref())
        };
        match self.rows.iter().find_map(factors) {
            Some(factors) => Soon::of(factors.a.tile(0)),
            None => Beside(step.map(|p| &layers[index].projections[p as usize])).start(first, of),
        }
    }

    /// A projection with what the rows' adapters add; its `z` is the `i`-th of a row. `then`: see [`Linear`].
    pub(super) fn linear(
        &'a self,
        layer: &'a Layer,
        projection: Projection,
        z: &'a [f32],
        i: usize,
        then: Soon,
    ) -> Linear<'a> {
        let p = projection as usize;
        let (at, stride) = (i * self.rank, 3 * self.rank);
        let deltas = self.any.then_some(Deltas { b: &self.b[p], rows: self.rows, z, at, stride });
        Linear { weight: &layer.projections[p], bias: layer.biases[p].as_deref(), deltas, then }
    }

    /// Makes `z` of some rows for some projections. `x`: their numbers, row by row. `then`: what is probably read next.
    ///
    /// # Safety
    /// No other thread uses these rows of `z`.
    pub(super) unsafe fn narrow(
        &self,
        isa: Isa,
        rows: Range<usize>,
        projections: &[Projection],
        x: &[f32],
        z: Parts<'_, f32>,
        then: Soon,
    ) {
        if !self.any || rows.is_empty() {
            return;
        }
        let (columns, stride) = (x.len() / rows.len(), 3 * self.rank);
        let mut end = 0;
        for alike in self.rows[rows.clone()].chunk_by(PartialEq::eq) {
            let these = end..end + alike.len();
            end = these.end;
            let Some(Some(adapter)) = alike[0].and_then(|a| self.adapters.get(a)) else { continue };
            let x = &x[these.start * columns..these.end * columns];
            // SAFETY: the caller's promise.
            let z = unsafe { z.part((rows.start + these.start) * stride, these.len() * stride) };
            for (i, projection) in projections.iter().enumerate() {
                let factors = |p: &Projection| adapter.factors[self.layer][*p as usize].as_ref();
                if let Some(of_this) = factors(projection) {
                    let next = projections.get(i + 1).and_then(factors).map_or(then, |next| Soon::of(next.a.tile(0)));
                    let (z, scale) = (&mut z[i * self.rank..], of_this.scale);
                    kernels::narrow(isa, &of_this.a, scale, x, z, stride, next);
                }
            }
        }
    }
}
