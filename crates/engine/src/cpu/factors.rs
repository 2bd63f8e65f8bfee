//! What the rows' adapters add to the matrices of a layer.
#![allow(unsafe_code)]

use std::{ops::Range, sync::Arc};

use checkpoint::Projection;

use super::{
    kernels::{self, Deltas, Linear},
    load::{Layer, PackedAdapter},
    pack::Packed,
    rows::Rows,
    simd::Isa,
    team::Parts,
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

    /// A projection with what the rows' adapters add; its `z` is the `i`-th of a row.
    pub(super) fn linear(&'a self, layer: &'a Layer, projection: Projection, z: &'a [f32], i: usize) -> Linear<'a> {
        let p = projection as usize;
        let (at, stride) = (i * self.rank, 3 * self.rank);
        let deltas = self.any.then_some(Deltas { b: &self.b[p], rows: self.rows, z, at, stride });
        Linear { weight: &layer.projections[p], bias: layer.biases[p].as_deref(), deltas }
    }

    /// Makes `z` of some rows for some projections. `x`: their numbers, row by row.
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
                if let Some(factors) = &adapter.factors[self.layer][*projection as usize] {
                    kernels::narrow(isa, &factors.a, factors.scale, x, &mut z[i * self.rank..], stride);
                }
            }
        }
    }
}
