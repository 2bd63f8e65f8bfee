//! Sixteen numbers at a time, on whatever the processor has.
//!
//! Every kernel is written once, over [`Simd`], and compiled three times: for AVX-512 with VNNI, for AVX2
//! with FMA, and in plain Rust for everything else. Which one runs is decided once, at start.
#![allow(unsafe_code)]
// Each function needs that the processor has the set it is for (`Isa::detect` decides), and that pointers are
// good for the sixteen numbers or 64 bytes it reads or writes. The kernels state why that holds.
#![allow(clippy::missing_safety_doc)]

use crate::EngineError;

/// Which instruction set the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
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
                return Self::Avx512;
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
            Self::Avx512 => vec![Self::Portable, Self::Avx2, Self::Avx512],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => vec![Self::Portable, Self::Avx2],
            Self::Portable => vec![Self::Portable],
        }
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
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

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn load_f16(p: *const u16) -> Self::F;
    unsafe fn load_bf16(p: *const u16) -> Self::F;
    /// Sixteen unsigned bytes as floats.
    unsafe fn load_bytes(p: *const u8) -> Self::F;
    unsafe fn store(p: *mut f32, v: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `e` to the power of each; arguments are at most about 80.
    unsafe fn exp(v: Self::F) -> Self::F;

    unsafe fn abs(v: Self::F) -> Self::F;
    /// Stores 32 whole numbers from -128 to 127 as bytes; gives their sum.
    unsafe fn store_bytes(p: *mut i8, v: [Self::F; 2]) -> i32;

    unsafe fn integers(x: i32) -> Self::I;
    unsafe fn add_integers(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn floats(v: Self::I) -> Self::F;
    unsafe fn bytes(p: *const u8) -> Self::B;
    unsafe fn low_nibbles(b: Self::B) -> Self::B;
    unsafe fn high_nibbles(b: Self::B) -> Self::B;
    /// No sums yet.
    unsafe fn small() -> Self::Small;
    /// Adds to each sum the product of its four bytes (each at most 15) with the four signed bytes of `x` (each from
    /// -127 on); at most eight times.
    unsafe fn dot_small(acc: Self::Small, w: Self::B, x: i32) -> Self::Small;
    /// The sums as integers.
    unsafe fn small_integers(acc: Self::Small) -> Self::I;
    /// Adds to each integer the product of its four bytes (less 128, where [`Simd::CENTERED`]) with the four signed
    /// bytes of `x`.
    unsafe fn dot(acc: Self::I, w: Self::B, x: i32) -> Self::I;
    /// The same for bytes up to 127, never centered.
    unsafe fn dot_half(acc: Self::I, w: Self::B, x: i32) -> Self::I;

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

/// Plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable;

#[inline(always)]
fn zip(a: [f32; 16], b: [f32; 16], f: impl Fn(f32, f32) -> f32) -> [f32; 16] {
    let mut out = [0.0; 16];
    for i in 0..16 {
        out[i] = f(a[i], b[i]);
    }
    out
}

// SAFETY (all functions): no instruction set is needed; pointers are read and written unaligned, within the
// sixteen numbers or 64 bytes the caller vouches for.
impl Simd for Portable {
    type F = [f32; 16];
    type I = [i32; 16];
    type B = [u8; 64];
    type Small = [i32; 16];
    const CENTERED: bool = false;
    const ROWS: usize = 1;
    const REGISTERS: usize = 8;
    const QUERIES: usize = 1;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::F {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::F {
        unsafe { p.cast::<[f32; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self::F {
        unsafe { p.cast::<[u16; 16]>().read_unaligned() }.map(|h| half::f16::from_bits(h).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self::F {
        unsafe { p.cast::<[u16; 16]>().read_unaligned() }.map(|h| f32::from_bits(u32::from(h) << 16))
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> Self::F {
        unsafe { p.cast::<[u8; 16]>().read().map(f32::from) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::F) {
        unsafe { p.cast::<[f32; 16]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        zip(zip(a, b, |a, b| a * b), c, |ab, c| ab + c)
    }
    #[inline(always)]
    unsafe fn exp(v: Self::F) -> Self::F {
        v.map(f32::exp)
    }
    #[inline(always)]
    unsafe fn abs(v: Self::F) -> Self::F {
        v.map(f32::abs)
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut i8, v: [Self::F; 2]) -> i32 {
        let v = v.map(|half| half.map(|x| x as i32));
        unsafe { p.cast::<[[i8; 16]; 2]>().write_unaligned(v.map(|half| half.map(|x| x as i8))) };
        v.into_iter().flatten().sum()
    }
    #[inline(always)]
    unsafe fn integers(x: i32) -> Self::I {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn add_integers(a: Self::I, b: Self::I) -> Self::I {
        let mut out = a;
        for i in 0..16 {
            out[i] += b[i];
        }
        out
    }
    #[inline(always)]
    unsafe fn floats(v: Self::I) -> Self::F {
        v.map(|i| i as f32)
    }
    #[inline(always)]
    unsafe fn bytes(p: *const u8) -> Self::B {
        unsafe { p.cast::<[u8; 64]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn low_nibbles(b: Self::B) -> Self::B {
        b.map(|b| b & 15)
    }
    #[inline(always)]
    unsafe fn high_nibbles(b: Self::B) -> Self::B {
        b.map(|b| b >> 4)
    }
    #[inline(always)]
    unsafe fn small() -> Self::Small {
        [0; 16]
    }
    #[inline(always)]
    unsafe fn dot_small(acc: Self::Small, w: Self::B, x: i32) -> Self::Small {
        unsafe { Self::dot(acc, w, x) }
    }
    #[inline(always)]
    unsafe fn small_integers(acc: Self::Small) -> Self::I {
        acc
    }
    #[inline(always)]
    unsafe fn dot_half(acc: Self::I, w: Self::B, x: i32) -> Self::I {
        unsafe { Self::dot(acc, w, x) }
    }
    #[inline(always)]
    unsafe fn dot(acc: Self::I, w: Self::B, x: i32) -> Self::I {
        let x = x.to_le_bytes().map(|b| i32::from(b as i8));
        let mut out = acc;
        for i in 0..16 {
            for j in 0..4 {
                out[i] += i32::from(w[i * 4 + j]) * x[j];
            }
        }
        out
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    /// Coefficients of the exponential on half an octave around 1 (Cephes' `expf`).
    const EXP: [f32; 5] = [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5];
    const EXP_FIRST: f32 = 1.987_569_1e-4;
    /// The natural logarithm of 2 in two parts, the first exact in few bits.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

    /// AVX-512 with VNNI.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    // SAFETY (all functions): the caller runs on a processor with the features of `Isa::Avx512`; loads and
    // stores are unaligned and within what the caller vouches for.
    impl Simd for Avx512 {
        type F = __m512;
        type I = __m512i;
        type B = __m512i;
        type Small = __m512i;
        const CENTERED: bool = false;
        const ROWS: usize = 8;
        const REGISTERS: usize = 32;
        const QUERIES: usize = 4;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::F {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self::F {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn load_f16(p: *const u16) -> Self::F {
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const u16) -> Self::F {
            unsafe { _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())), 16)) }
        }
        #[inline(always)]
        unsafe fn load_bytes(p: *const u8) -> Self::F {
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: Self::F) {
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn exp(v: Self::F) -> Self::F {
            unsafe {
                let v = _mm512_max_ps(v, _mm512_set1_ps(-87.0));
                let n = _mm512_roundscale_ps::<0>(_mm512_mul_ps(v, _mm512_set1_ps(std::f32::consts::LOG2_E)));
                let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2[0]), v);
                let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2[1]), r);
                let mut p = _mm512_set1_ps(EXP_FIRST);
                for c in EXP {
                    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
                }
                let p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r), _mm512_set1_ps(1.0));
                _mm512_scalef_ps(p, n)
            }
        }
        #[inline(always)]
        unsafe fn abs(v: Self::F) -> Self::F {
            unsafe { _mm512_abs_ps(v) }
        }
        #[inline(always)]
        unsafe fn store_bytes(p: *mut i8, v: [Self::F; 2]) -> i32 {
            unsafe {
                let (a, b) = (_mm512_cvttps_epi32(v[0]), _mm512_cvttps_epi32(v[1]));
                _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(a));
                _mm_storeu_si128(p.add(16).cast(), _mm512_cvtepi32_epi8(b));
                _mm512_reduce_add_epi32(_mm512_add_epi32(a, b))
            }
        }
        #[inline(always)]
        unsafe fn sum(v: Self::F) -> f32 {
            unsafe { sum_halves(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)) }
        }
        #[inline(always)]
        unsafe fn greatest(v: Self::F) -> f32 {
            unsafe { _mm512_reduce_max_ps(v) }
        }
        #[inline(always)]
        unsafe fn integers(x: i32) -> Self::I {
            unsafe { _mm512_set1_epi32(x) }
        }
        #[inline(always)]
        unsafe fn add_integers(a: Self::I, b: Self::I) -> Self::I {
            unsafe { _mm512_add_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn floats(v: Self::I) -> Self::F {
            unsafe { _mm512_cvtepi32_ps(v) }
        }
        #[inline(always)]
        unsafe fn bytes(p: *const u8) -> Self::B {
            unsafe { _mm512_loadu_si512(p.cast()) }
        }
        #[inline(always)]
        unsafe fn low_nibbles(b: Self::B) -> Self::B {
            unsafe { _mm512_and_si512(b, _mm512_set1_epi8(15)) }
        }
        #[inline(always)]
        unsafe fn high_nibbles(b: Self::B) -> Self::B {
            unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(b), _mm512_set1_epi8(15)) }
        }
        #[inline(always)]
        unsafe fn small() -> Self::Small {
            unsafe { _mm512_setzero_si512() }
        }
        #[inline(always)]
        unsafe fn dot_small(acc: Self::Small, w: Self::B, x: i32) -> Self::Small {
            unsafe { _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x)) }
        }
        #[inline(always)]
        unsafe fn small_integers(acc: Self::Small) -> Self::I {
            acc
        }
        #[inline(always)]
        unsafe fn dot_half(acc: Self::I, w: Self::B, x: i32) -> Self::I {
            unsafe { _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x)) }
        }
        #[inline(always)]
        unsafe fn dot(acc: Self::I, w: Self::B, x: i32) -> Self::I {
            unsafe { _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x)) }
        }
    }

    /// AVX2 with FMA: two halves.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2;

    /// One half of the exponential; see the AVX-512 one.
    #[inline(always)]
    unsafe fn exp_half(v: __m256) -> __m256 {
        unsafe {
            let v = _mm256_max_ps(v, _mm256_set1_ps(-87.0));
            let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_ps(
                v,
                _mm256_set1_ps(std::f32::consts::LOG2_E),
            ));
            let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2[0]), v);
            let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2[1]), r);
            let mut p = _mm256_set1_ps(EXP_FIRST);
            for c in EXP {
                p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
            }
            let p = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r), _mm256_set1_ps(1.0));
            let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
            _mm256_mul_ps(p, _mm256_castsi256_ps(power))
        }
    }

    /// Sum of sixteen, in the order of [`Simd::sum`].
    #[inline(always)]
    unsafe fn sum_halves(low: __m256, high: __m256) -> f32 {
        unsafe {
            let eight = _mm256_add_ps(low, high);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    #[inline(always)]
    unsafe fn dot_lane(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1))) }
    }

    // SAFETY (all functions): the caller runs on a processor with the features of `Isa::Avx2`; loads and stores
    // are unaligned and within what the caller vouches for.
    impl Simd for Avx2 {
        type F = [__m256; 2];
        type I = [__m256i; 2];
        type B = [__m256i; 2];
        type Small = [__m256i; 2];
        const CENTERED: bool = true;
        const ROWS: usize = 2;
        const REGISTERS: usize = 8;
        const QUERIES: usize = 2;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::F {
            unsafe { [_mm256_set1_ps(x); 2] }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self::F {
            unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
        }
        #[inline(always)]
        unsafe fn load_f16(p: *const u16) -> Self::F {
            unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(p.cast())), _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast()))] }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const u16) -> Self::F {
            unsafe {
                [p, p.add(8)].map(|p| {
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()))))
                })
            }
        }
        #[inline(always)]
        unsafe fn load_bytes(p: *const u8) -> Self::F {
            unsafe { [p, p.add(8)].map(|p| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())))) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: Self::F) {
            unsafe {
                _mm256_storeu_ps(p, v[0]);
                _mm256_storeu_ps(p.add(8), v[1]);
            }
        }
        #[inline(always)]
        unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
            unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
            unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
            unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
            unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }
        #[inline(always)]
        unsafe fn exp(v: Self::F) -> Self::F {
            unsafe { [exp_half(v[0]), exp_half(v[1])] }
        }
        #[inline(always)]
        unsafe fn abs(v: Self::F) -> Self::F {
            unsafe { v.map(|v| _mm256_andnot_ps(_mm256_set1_ps(-0.0), v)) }
        }
        #[inline(always)]
        unsafe fn store_bytes(p: *mut i8, v: [Self::F; 2]) -> i32 {
            unsafe {
                let mut sums = _mm256_setzero_si256();
                for (half, v) in v.into_iter().enumerate() {
                    let [a, b] = [_mm256_cvttps_epi32(v[0]), _mm256_cvttps_epi32(v[1])];
                    sums = _mm256_add_epi32(sums, _mm256_add_epi32(a, b));
                    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
                    let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                    _mm_storeu_si128(p.add(half * 16).cast(), bytes);
                }
                let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
                let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b01_00_11_10>(sums));
                _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_shuffle_epi32::<0b10_11_00_01>(sums)))
            }
        }
        #[inline(always)]
        unsafe fn sum(v: Self::F) -> f32 {
            unsafe { sum_halves(v[0], v[1]) }
        }
        #[inline(always)]
        unsafe fn integers(x: i32) -> Self::I {
            unsafe { [_mm256_set1_epi32(x); 2] }
        }
        #[inline(always)]
        unsafe fn add_integers(a: Self::I, b: Self::I) -> Self::I {
            unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn floats(v: Self::I) -> Self::F {
            unsafe { [_mm256_cvtepi32_ps(v[0]), _mm256_cvtepi32_ps(v[1])] }
        }
        #[inline(always)]
        unsafe fn bytes(p: *const u8) -> Self::B {
            unsafe { [_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())] }
        }
        #[inline(always)]
        unsafe fn low_nibbles(b: Self::B) -> Self::B {
            unsafe { b.map(|b| _mm256_and_si256(b, _mm256_set1_epi8(15))) }
        }
        #[inline(always)]
        unsafe fn high_nibbles(b: Self::B) -> Self::B {
            unsafe { b.map(|b| _mm256_and_si256(_mm256_srli_epi16::<4>(b), _mm256_set1_epi8(15))) }
        }
        // A product of a nibble and a byte is at most 15 * 127; sixteen bits hold the sum of two of them eight times.
        #[inline(always)]
        unsafe fn small() -> Self::Small {
            unsafe { [_mm256_setzero_si256(); 2] }
        }
        #[inline(always)]
        unsafe fn dot_small(acc: Self::Small, w: Self::B, x: i32) -> Self::Small {
            unsafe {
                let x = _mm256_set1_epi32(x);
                [
                    _mm256_add_epi16(acc[0], _mm256_maddubs_epi16(w[0], x)),
                    _mm256_add_epi16(acc[1], _mm256_maddubs_epi16(w[1], x)),
                ]
            }
        }
        #[inline(always)]
        unsafe fn small_integers(acc: Self::Small) -> Self::I {
            unsafe {
                let ones = _mm256_set1_epi16(1);
                [_mm256_madd_epi16(acc[0], ones), _mm256_madd_epi16(acc[1], ones)]
            }
        }
        // Two products of a byte up to 255 with a signed byte can exceed sixteen bits, where the instruction
        // saturates; two of a byte up to 128 cannot. So the bytes are centered, and their signs given to `x`.
        #[inline(always)]
        unsafe fn dot(acc: Self::I, w: Self::B, x: i32) -> Self::I {
            unsafe {
                let x = _mm256_set1_epi32(x);
                let w = w.map(|w| _mm256_xor_si256(w, _mm256_set1_epi8(-128)));
                [
                    dot_lane(acc[0], _mm256_abs_epi8(w[0]), _mm256_sign_epi8(x, w[0])),
                    dot_lane(acc[1], _mm256_abs_epi8(w[1]), _mm256_sign_epi8(x, w[1])),
                ]
            }
        }
        #[inline(always)]
        unsafe fn dot_half(acc: Self::I, w: Self::B, x: i32) -> Self::I {
            unsafe {
                let x = _mm256_set1_epi32(x);
                [dot_lane(acc[0], w[0], x), dot_lane(acc[1], w[1], x)]
            }
        }
    }
}
