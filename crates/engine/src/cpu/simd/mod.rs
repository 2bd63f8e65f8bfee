//! Sixteen numbers at a time, on whatever the processor has.
//!
//! Every kernel is written once, over [`Simd`], and compiled three times: for AVX-512 with VNNI, for AVX2
//! with FMA, and in plain Rust for everything else. Which one runs is decided once, at start.
#![allow(unsafe_code)]
// Each function needs that the processor has the set it is for (`Isa::detect` decides), and that pointers are
// good for the sixteen numbers or 64 bytes it reads or writes. The kernels state why that holds.
#![allow(clippy::missing_safety_doc)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::EngineError;

#[cfg(target_arch = "x86_64")]
pub(super) use self::{avx2::Avx2, avx512::Avx512};
pub(super) use portable::Portable;

/// Which instruction set the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// AVX-512 F, BW, DQ, VL and VNNI; and BF16: for weights stored so, activations are rounded to that, too.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain Rust.
    Portable,
}

impl Isa {
    /// The best this processor has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                return if is_x86_feature_detected!("avx512bf16") { Self::Avx512Bf16 } else { Self::Avx512 };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// The best, or the lesser one that the environment variable `KNOWLM_SIMD` names: for measuring, and for finding out
    /// whether a kernel is at fault.
    ///
    /// # Errors
    /// There is no such set, or this processor does not have it.
    pub(crate) fn choose() -> Result<Self, EngineError> {
        let Some(wanted) = std::env::var_os("KNOWLM_SIMD").filter(|v| !v.is_empty()) else { return Ok(Self::detect()) };
        let sets = Self::all();
        let chosen = sets.iter().find(|isa| isa.code() == wanted);
        chosen.copied().ok_or_else(|| EngineError::InstructionSet {
            wanted: wanted.to_string_lossy().into_owned(),
            sets: sets.iter().map(|isa| isa.code()).collect::<Vec<_>>().join(", "),
        })
    }

    /// What `KNOWLM_SIMD` calls it.
    fn code(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Those that this processor has.
    pub(crate) fn all() -> Vec<Self> {
        match Self::detect() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => vec![Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16],
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => vec![Self::Portable, Self::Avx2, Self::Avx512],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => vec![Self::Portable, Self::Avx2],
            Self::Portable => vec![Self::Portable],
        }
    }

    /// Whether it multiplies pairs of `bf16`.
    pub(crate) fn pairs(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => true,
            _ => false,
        }
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => "AVX-512 with BF16",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            Self::Portable => "portable",
        }
    }
}

/// Sixteen floats, sixteen integers, 64 bytes.
pub(super) trait Simd: Copy {
    /// Sixteen floats.
    type F: Copy;
    /// Sixteen integers.
    type I: Copy;
    /// 64 unsigned bytes.
    type B: Copy;
    /// Sums of [`Simd::dot_small`].
    type Small: Copy;
    /// Whether [`Simd::dot`] takes 128 off each of its bytes.
    const CENTERED: bool;
    /// Rows of activations that a matrix tile is multiplied with at once; bounded by the registers.
    const ROWS: usize;
    /// How many vectors of sixteen floats the registers hold.
    const REGISTERS: usize;
    /// Attention queries that keys and values are multiplied with at once; bounded likewise.
    const QUERIES: usize;

    /// Asks for the 64 bytes around `p`, wherever it points, to be in the cache soon.
    unsafe fn bring(p: *const u8);
    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn load_f16(p: *const u16) -> Self::F;
    unsafe fn load_bf16(p: *const u16) -> Self::F;
    /// Sixteen unsigned bytes as floats.
    unsafe fn load_bytes(p: *const u8) -> Self::F;
    /// Sixteen signed bytes as floats.
    unsafe fn load_signed(p: *const u8) -> Self::F;
    unsafe fn store(p: *mut f32, v: Self::F);
    /// In half precision, rounded to the nearest, halves to even.
    unsafe fn store_f16(p: *mut u16, v: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `b` where either is no number.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `e` to the power of each; arguments are at most about 80. What is no number stays so.
    unsafe fn exp(v: Self::F) -> Self::F;

    /// The greatest absolute value of both; no number where one of them is none. (As bits, without their signs, these lie
    /// above all numbers.)
    unsafe fn greatest_size(a: Self::F, b: Self::F) -> f32;
    /// Stores 32 whole numbers from -128 to 127 as bytes; gives the sums of both halves.
    unsafe fn store_bytes(p: *mut i8, v: [Self::F; 2]) -> [i32; 2];

    unsafe fn integers(x: i32) -> Self::I;
    unsafe fn add_integers(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn floats(v: Self::I) -> Self::F;
    unsafe fn bytes(p: *const u8) -> Self::B;
    unsafe fn low_nibbles(b: Self::B) -> Self::B;
    unsafe fn high_nibbles(b: Self::B) -> Self::B;
    /// Each byte of `low`, with bits of the byte of `upper` beside it: those that `mask` leaves when bit `from` has become
    /// bit 4.
    unsafe fn with_upper(low: Self::B, upper: Self::B, from: usize, mask: u8) -> Self::B;
    /// No sums yet.
    unsafe fn small() -> Self::Small;
    /// Adds to each sum the product of its four bytes with the four signed bytes of `x` (each from -127 on); at most
    /// eight times where the bytes are at most 15, four times where they are at most 31, twice where at most 63.
    unsafe fn dot_small(acc: Self::Small, w: Self::B, x: i32) -> Self::Small;
    /// The sums as integers.
    unsafe fn small_integers(acc: Self::Small) -> Self::I;
    /// Adds to each integer the product of its four bytes (less 128, where [`Simd::CENTERED`]) with the four signed
    /// bytes of `x`.
    unsafe fn dot(acc: Self::I, w: Self::B, x: i32) -> Self::I;

    /// As `bf16`, rounded to the nearest, halves to even.
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: Self::F) {
        // SAFETY: the caller's promise.
        unsafe { store_bf16_plain::<Self>(p, v) }
    }

    /// Adds to each the products of a pair of `bf16` with the pair in `x`; `w`: sixteen pairs.
    #[inline(always)]
    unsafe fn dot_pairs(acc: Self::F, w: *const u8, x: u32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { dot_pairs_plain::<Self>(acc, w, x) }
    }

    /// Sum of the sixteen, always added in the same order.
    #[inline(always)]
    unsafe fn sum(v: Self::F) -> f32 {
        let mut a = [0.0f32; 16];
        // SAFETY: `a` holds sixteen floats.
        unsafe { Self::store(a.as_mut_ptr(), v) };
        for width in [8, 4, 2, 1] {
            for i in 0..width {
                a[i] += a[i + width];
            }
        }
        a[0]
    }

    /// The greatest of the sixteen.
    #[inline(always)]
    unsafe fn greatest(v: Self::F) -> f32 {
        let mut a = [0.0f32; 16];
        // SAFETY: `a` holds sixteen floats.
        unsafe { Self::store(a.as_mut_ptr(), v) };
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// [`Simd::store_bf16`] where there is no instruction for it.
#[inline(always)]
unsafe fn store_bf16_plain<S: Simd>(p: *mut u16, v: S::F) {
    let mut a = [0.0f32; 16];
    // SAFETY: `a` holds sixteen floats; the caller's promise.
    unsafe {
        S::store(a.as_mut_ptr(), v);
        p.cast::<[u16; 16]>().write_unaligned(a.map(|x| half::bf16::from_f32(x).to_bits()));
    }
}

/// [`Simd::dot_pairs`] where there is no instruction for it: only tests ask for that.
#[inline(always)]
unsafe fn dot_pairs_plain<S: Simd>(acc: S::F, w: *const u8, x: u32) -> S::F {
    let float = |bits: u32| f32::from_bits(bits << 16);
    // SAFETY: the caller's promise; the arrays hold sixteen floats.
    unsafe {
        let pairs = w.cast::<[u32; 16]>().read_unaligned();
        let (first, second) = (pairs.map(|p| float(p & 0xffff)), pairs.map(|p| float(p >> 16)));
        let acc = S::fma(S::load(first.as_ptr()), S::splat(float(x & 0xffff)), acc);
        S::fma(S::load(second.as_ptr()), S::splat(float(x >> 16)), acc)
    }
}
