//! Our own backend for processors: no tensor library between the weights and the kernels.

#[macro_use]
mod dispatch;

mod attention;
mod beside;
mod cache;
mod factors;
mod kernels;
mod load;
mod memory;
mod model;
mod pack;
mod rows;
mod simd;
mod team;
mod tiles;

#[cfg(test)]
mod tests;

pub(crate) use load::pack_adapter;
pub(crate) use model::CpuModel;
pub(crate) use simd::Isa;
