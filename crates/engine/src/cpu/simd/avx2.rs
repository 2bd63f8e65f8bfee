//! AVX2 with FMA: sixteen numbers are two halves. Also what AVX-512 shares with it.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::arch::x86_64::*;

use super::Simd;

/// Coefficients of the exponential on half an octave around 1 (Cephes' `expf`).
pub(super) const EXP: [f32; 5] = [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5];
pub(super) const EXP_FIRST: f32 = 1.987_569_1e-4;
/// The natural logarithm of 2 in two parts, the first exact in few bits.
pub(super) const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// AVX2 with FMA: two halves.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2;

/// One half of the exponential; see the AVX-512 one.
#[inline(always)]
unsafe fn exp_half(v: __m256) -> __m256 {
    unsafe {
        // In this order what is no number stays so.
        let v = _mm256_max_ps(_mm256_set1_ps(-87.0), v);
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
pub(super) unsafe fn sum_halves(low: __m256, high: __m256) -> f32 {
    unsafe {
        let eight = _mm256_add_ps(low, high);
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

/// The sums of two times eight integers.
#[inline(always)]
pub(super) unsafe fn two_sums(a: __m256i, b: __m256i) -> [i32; 2] {
    unsafe {
        let pairs = _mm256_hadd_epi32(a, b);
        let pairs = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        let sums = _mm_hadd_epi32(pairs, pairs);
        [_mm_cvtsi128_si32(sums), _mm_extract_epi32::<1>(sums)]
    }
}

/// One half of [`Simd::with_upper`].
#[inline(always)]
unsafe fn upper_half(low: __m256i, upper: __m256i, from: usize, mask: u8) -> __m256i {
    unsafe {
        let moved = if from < 4 {
            _mm256_sll_epi16(upper, _mm_cvtsi32_si128(4 - from as i32))
        } else {
            _mm256_srl_epi16(upper, _mm_cvtsi32_si128(from as i32 - 4))
        };
        _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(mask as i8)))
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
    unsafe fn bring(p: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
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
            [p, p.add(8)]
                .map(|p| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())))))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> Self::F {
        unsafe { [p, p.add(8)].map(|p| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_signed(p: *const u8) -> Self::F {
        unsafe { [p, p.add(8)].map(|p| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())))) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::F) {
        unsafe {
            _mm256_storeu_ps(p, v[0]);
            _mm256_storeu_ps(p.add(8), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: Self::F) {
        unsafe {
            _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[0]));
            _mm_storeu_si128(p.add(8).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[1]));
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
    unsafe fn greatest_size(a: Self::F, b: Self::F) -> f32 {
        unsafe {
            let size = |v| _mm256_castps_si256(_mm256_andnot_ps(_mm256_set1_ps(-0.0), v));
            let a = _mm256_max_epi32(size(a[0]), size(a[1]));
            let b = _mm256_max_epi32(size(b[0]), size(b[1]));
            let eight = _mm256_max_epi32(a, b);
            let four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            let two = _mm_max_epi32(four, _mm_unpackhi_epi64(four, four));
            let one = _mm_max_epi32(two, _mm_shuffle_epi32::<1>(two));
            f32::from_bits(_mm_cvtsi128_si32(one) as u32)
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut i8, v: [Self::F; 2]) -> [i32; 2] {
        unsafe {
            let mut sums = [_mm256_setzero_si256(); 2];
            for (half, v) in v.into_iter().enumerate() {
                let [a, b] = [_mm256_cvttps_epi32(v[0]), _mm256_cvttps_epi32(v[1])];
                sums[half] = _mm256_add_epi32(a, b);
                let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
                let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                _mm_storeu_si128(p.add(half * 16).cast(), bytes);
            }
            two_sums(sums[0], sums[1])
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
    #[inline(always)]
    unsafe fn with_upper(low: Self::B, upper: Self::B, from: usize, mask: u8) -> Self::B {
        unsafe { [upper_half(low[0], upper[0], from, mask), upper_half(low[1], upper[1], from, mask)] }
    }
    // A product of a nibble and a byte is at most 15 * 127; sixteen bits hold the sum of two of them eight times. So
    // with more bits for fewer times.
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
}
