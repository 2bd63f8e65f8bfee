//! Plain Rust: what runs where nothing else does, and what the others are tested against.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use super::Simd;

/// Plain Rust.
#[derive(Clone, Copy)]
pub(in super::super) struct Portable;

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
    unsafe fn bring(_: *const u8) {}
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
        unsafe { p.cast::<[u8; 16]>().read() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn load_signed(p: *const u8) -> Self::F {
        unsafe { p.cast::<[i8; 16]>().read() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::F) {
        unsafe { p.cast::<[f32; 16]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: Self::F) {
        unsafe { p.cast::<[u16; 16]>().write_unaligned(v.map(|x| half::f16::from_f32(x).to_bits())) }
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
    unsafe fn greatest_size(a: Self::F, b: Self::F) -> f32 {
        f32::from_bits(a.into_iter().chain(b).fold(0, |greatest, x| greatest.max(x.abs().to_bits())))
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut i8, v: [Self::F; 2]) -> [i32; 2] {
        let v = v.map(|half| half.map(|x| x as i32));
        unsafe { p.cast::<[[i8; 16]; 2]>().write_unaligned(v.map(|half| half.map(|x| x as i8))) };
        v.map(|half| half.into_iter().sum())
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
    unsafe fn with_upper(low: Self::B, upper: Self::B, from: usize, mask: u8) -> Self::B {
        let mut out = low;
        for i in 0..64 {
            out[i] |= ((u32::from(upper[i]) << 4 >> from) as u8) & mask;
        }
        out
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
