//! Loops compiled for more than the least that the program needs of a processor.

/// Runs a loop with the widest instructions that this processor has. What comes out is what the plain loop gives, bit
/// for bit: the order of the arithmetic stays as it is written.
///
/// What is to run so must be in the closure itself, marked `#[inline(always)]`; what it calls is compiled as ever.
#[inline(always)]
pub(crate) fn quick<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
