//! AVX-512 with VNNI, and with BF16 where the processor has it.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::arch::x86_64::*;

use super::{
    Simd,
    avx2::{EXP, EXP_FIRST, LN_2, sum_halves, two_sums},
    dot_pairs_plain, store_bf16_plain,
};

/// AVX-512 with VNNI.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512<const BF16: bool>;

// SAFETY (all functions): the caller runs on a processor with the features of `Isa::Avx512`, or of `Isa::Avx512Bf16`; loads and
// stores are unaligned and within what the caller vouches for.
impl<const BF16: bool> Simd for Avx512<BF16> {
    type F = __m512;
    type I = __m512i;
    type B = __m512i;
    type Small = __m512i;
    const CENTERED: bool = false;
    const ROWS: usize = 8;
    const REGISTERS: usize = 32;
    const QUERIES: usize = 4;

    #[inline(always)]
    unsafe fn bring(p: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
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
    unsafe fn load_signed(p: *const u8) -> Self::F {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::F) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: Self::F) {
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)) }
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
            // In this order what is no number stays so.
            let v = _mm512_max_ps(_mm512_set1_ps(-87.0), v);
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
    unsafe fn greatest_size(a: Self::F, b: Self::F) -> f32 {
        unsafe {
            let size = |v| _mm512_castps_si512(_mm512_abs_ps(v));
            f32::from_bits(_mm512_reduce_max_epi32(_mm512_max_epi32(size(a), size(b))) as u32)
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut i8, v: [Self::F; 2]) -> [i32; 2] {
        unsafe {
            let (a, b) = (_mm512_cvttps_epi32(v[0]), _mm512_cvttps_epi32(v[1]));
            _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(a));
            _mm_storeu_si128(p.add(16).cast(), _mm512_cvtepi32_epi8(b));
            let a = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64::<1>(a));
            let b = _mm256_add_epi32(_mm512_castsi512_si256(b), _mm512_extracti64x4_epi64::<1>(b));
            two_sums(a, b)
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
    unsafe fn store_bf16(p: *mut u16, v: Self::F) {
        if BF16 {
            unsafe { p.cast::<__m256bh>().write_unaligned(_mm512_cvtneps_pbh(v)) }
        } else {
            unsafe { store_bf16_plain::<Self>(p, v) }
        }
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: Self::F, w: *const u8, x: u32) -> Self::F {
        if BF16 {
            unsafe {
                let x: __m512bh = std::mem::transmute(_mm512_set1_epi32(x as i32));
                _mm512_dpbf16_ps(acc, w.cast::<__m512bh>().read_unaligned(), x)
            }
        } else {
            unsafe { dot_pairs_plain::<Self>(acc, w, x) }
        }
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
    unsafe fn with_upper(low: Self::B, upper: Self::B, from: usize, mask: u8) -> Self::B {
        unsafe {
            let moved = if from < 4 {
                _mm512_sll_epi16(upper, _mm_cvtsi32_si128(4 - from as i32))
            } else {
                _mm512_srl_epi16(upper, _mm_cvtsi32_si128(from as i32 - 4))
            };
            _mm512_or_si512(low, _mm512_and_si512(moved, _mm512_set1_epi8(mask as i8)))
        }
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
    unsafe fn dot(acc: Self::I, w: Self::B, x: i32) -> Self::I {
        unsafe { _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x)) }
    }
}
