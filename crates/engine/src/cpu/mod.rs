//! Our own backend for processors: no tensor library between the weights and the kernels.

#[macro_use]
mod dispatch;

mod attention;
mod cache;
mod kernels;
mod memory;
mod model;
mod pack;
mod simd;
mod team;

#[cfg(test)]
mod tests;

pub(crate) use model::{CpuModel, pack_adapter};
pub(crate) use simd::Isa;
