//! Packing numbers into the K formats: super-blocks of 256 whose groups have scales of their own, themselves packed.
//!
//! A group's scale is not the one that just reaches its largest number: some twenty near it are tried, each improved by
//! least squares, and the one with the smallest weighted error wins. Large numbers weigh more, since they multiply
//! larger activations. The layouts are those that [`crate::BlockFormat::dequantize`] reads.

use half::f16;

/// Packs 256 numbers as `Q4_K`: eight groups of 32, each with a scale and a minimum of six bits.
pub(crate) fn pack_q4k(numbers: &[f32], out: &mut [u8]) {
    let mut steps = [(0.0f32, 0.0f32); 8];
    for (step, group) in steps.iter_mut().zip(numbers.chunks_exact(32)) {
        *step = with_minimum(group, 15.0);
    }
    let most = |part: fn(&(f32, f32)) -> f32| steps.iter().map(part).fold(0.0, f32::max);
    // What six bits times a common factor can say.
    let (d, d_inverse) = factor(most(|s| s.0) / 63.0);
    let (min, min_inverse) = factor(most(|s| s.1) / 63.0);
    out.fill(0);
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    out[2..4].copy_from_slice(&f16::from_f32(min).to_le_bytes());
    for (g, ((scale, least), group)) in steps.iter().zip(numbers.chunks_exact(32)).enumerate() {
        let (s, m) = (six_bits(scale * d_inverse), six_bits(least * min_inverse));
        put_six(&mut out[4..16], g, s, m);
        let (step, shift) = (d * f32::from(s), min * f32::from(m));
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let quants = &mut out[16 + g / 2 * 32..][..32];
        for (q, x) in quants.iter_mut().zip(group) {
            *q |= (((x + shift) * inverse).round().clamp(0.0, 15.0) as u8) << (g % 2 * 4);
        }
    }
}

/// Packs 256 numbers as `Q6_K`: sixteen groups of 16, each with a scale of eight bits.
pub(crate) fn pack_q6k(numbers: &[f32], out: &mut [u8]) {
    let mut scales = [0.0f32; 16];
    for (scale, group) in scales.iter_mut().zip(numbers.chunks_exact(16)) {
        *scale = symmetric(group, 32.0);
    }
    let most = scales.iter().fold(0.0f32, |most, s| if s.abs() > most.abs() { *s } else { most });
    // The widest scale becomes -128, which the other end of a byte does not reach.
    let (d, inverse) = factor(most / -128.0);
    out.fill(0);
    out[208..210].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (g, (scale, group)) in scales.iter().zip(numbers.chunks_exact(16)).enumerate() {
        let s = (scale * inverse).round().clamp(-128.0, 127.0) as i8;
        out[192 + g] = s as u8;
        let step = d * f32::from(s);
        let inverse = if step == 0.0 { 0.0 } else { 1.0 / step };
        for (k, x) in group.iter().enumerate() {
            let q = ((x * inverse).round().clamp(-32.0, 31.0) + 32.0) as u8;
            // Two halves of 128; in each, four runs of 32 share 64 low bytes and 32 high bytes.
            let i = g * 16 + k;
            let (half, run, j) = (i / 128, i % 128 / 32, i % 32);
            out[half * 64 + (run % 2) * 32 + j] |= (q & 15) << (run / 2 * 4);
            out[128 + half * 32 + j] |= (q >> 4) << (run * 2);
        }
    }
}

/// A factor as its half-precision form has it, and its inverse, which is zero where it would not be finite. Where that
/// form is coarse it is the next larger one, so that what is counted in it does not exceed what six or eight bits hold.
fn factor(d: f32) -> (f32, f32) {
    let mut half = f16::from_f32(d);
    if half.to_f32().abs() < d.abs() * 0.996 {
        half = f16::from_bits(half.to_bits() + 1);
    }
    let d = half.to_f32();
    let inverse = 1.0 / d;
    if d.is_finite() && inverse.is_finite() { (d, inverse) } else { (if d.is_finite() { d } else { 0.0 }, 0.0) }
}

fn six_bits(x: f32) -> u8 {
    x.round().clamp(0.0, 63.0) as u8
}

/// The opposite of [`crate::blocks::k_scale`].
fn put_six(packed: &mut [u8], group: usize, scale: u8, least: u8) {
    if group < 4 {
        packed[group] |= scale;
        packed[group + 4] |= least;
    } else {
        packed[group + 4] |= (scale & 15) | (least & 15) << 4;
        packed[group - 4] |= (scale >> 4) << 6;
        packed[group] |= (least >> 4) << 6;
    }
}

/// Scale and minimum (as what is subtracted, never negative) that fit numbers best with `0..=top` steps.
fn with_minimum(numbers: &[f32], top: f32) -> (f32, f32) {
    let (least, most) = numbers.iter().fold((0.0f32, f32::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
    if most <= least {
        return (0.0, -least);
    }
    let mean = (numbers.iter().map(|x| x * x).sum::<f32>() / numbers.len() as f32).sqrt();
    let weight = |x: f32| mean + x.abs();
    let error = |scale: f32, least: f32| {
        let inverse = 1.0 / scale;
        numbers.iter().fold(0.0, |sum, x| {
            let q = ((x - least) * inverse).round().clamp(0.0, top);
            let off = scale * q + least - x;
            sum + weight(*x) * off * off
        })
    };
    let mut best = ((most - least) / top, least);
    let mut smallest = error(best.0, best.1);
    for tried in 0..=20 {
        let inverse = (top - 1.0 + 0.1 * tried as f32) / (most - least);
        // The line through steps and numbers, by weighted least squares.
        let (mut w, mut q1, mut q2, mut x1, mut qx) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for x in numbers {
            let q = ((x - least) * inverse).round().clamp(0.0, top);
            let weight = weight(*x);
            (w, q1, q2) = (w + weight, q1 + weight * q, q2 + weight * q * q);
            (x1, qx) = (x1 + weight * x, qx + weight * q * x);
        }
        let determinant = w * q2 - q1 * q1;
        if determinant <= 0.0 {
            continue;
        }
        let (mut scale, mut shift) = ((w * qx - x1 * q1) / determinant, (q2 * x1 - q1 * qx) / determinant);
        if shift > 0.0 {
            (scale, shift) = (if q2 > 0.0 { qx / q2 } else { 0.0 }, 0.0);
        }
        if scale.is_finite() && scale > 0.0 {
            let off = error(scale, shift);
            if off < smallest {
                (best, smallest) = ((scale, shift), off);
            }
        }
    }
    (best.0, -best.1)
}

/// The scale that fits numbers best with steps from `-top` to `top - 1`.
fn symmetric(numbers: &[f32], top: f32) -> f32 {
    let most = numbers.iter().fold(0.0f32, |most, x| if x.abs() > most.abs() { *x } else { most });
    if most == 0.0 || !most.is_finite() {
        return 0.0;
    }
    let (mut best, mut gain) = (most / -top, f32::MIN);
    for tried in -9..=9 {
        let inverse = -(top + 0.1 * tried as f32) / most;
        let (mut qx, mut q2) = (0.0f32, 0.0f32);
        for x in numbers {
            let q = (x * inverse).round().clamp(-top, top - 1.0);
            // The weight is the number's square.
            (qx, q2) = (qx + x * x * q * x, q2 + x * x * q * q);
        }
        if q2 > 0.0 && qx * qx / q2 > gain {
            (best, gain) = (qx / q2, qx * qx / q2);
        }
    }
    best
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use crate::BlockFormat::{self, Q4_0, Q4K, Q6K};

    fn back(format: BlockFormat, numbers: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0xff; format.row_bytes(numbers.len()).unwrap()];
        assert!(format.quantize(numbers, &mut bytes));
        let mut out = vec![0.0; numbers.len()];
        format.dequantize(&bytes, &mut out);
        out
    }

    fn off(format: BlockFormat, numbers: &[f32]) -> f64 {
        let square = |x: f32| f64::from(x) * f64::from(x);
        let wrong: f64 = numbers.iter().zip(back(format, numbers)).map(|(x, y)| square(x - y)).sum();
        (wrong / numbers.iter().map(|x| square(*x)).sum::<f64>()).sqrt()
    }

    /// Bell-shaped, as weights are.
    fn weights(seed: u32) -> Vec<f32> {
        let mut x = seed;
        let mut uniform = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 8) as f32 / (1 << 24) as f32
        };
        (0..256).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
    }

    #[test]
    fn errors_are_those_of_four_and_six_bits() {
        for seed in 0..20 {
            let numbers = weights(seed);
            assert!(off(Q4K, &numbers) < 0.08, "{}", off(Q4K, &numbers));
            assert!(off(Q4K, &numbers) < off(Q4_0, &numbers));
            assert!(off(Q6K, &numbers) < 0.02, "{}", off(Q6K, &numbers));
        }
    }

    #[test]
    fn equal_numbers_and_zeros_come_back() {
        assert_eq!(back(Q4K, &[0.0; 256]), [0.0; 256]);
        assert_eq!(back(Q6K, &[0.0; 256]), [0.0; 256]);
        for value in [1.0f32, -1.0, 1e-3] {
            for (format, bound) in [(Q4K, 0.02), (Q6K, 0.02)] {
                assert!(off(format, &[value; 256]) < bound, "{value} {}", format.name());
            }
        }
    }

    proptest! {
        #[test]
        fn wide_and_narrow_groups_beside_each_other_are_wrong_by_little(
            numbers in prop::collection::vec(-1.0f32..1.0, 256), sizes in prop::collection::vec(0.05f32..1.0, 8)
        ) {
            let numbers: Vec<f32> = numbers.iter().enumerate().map(|(i, x)| x * sizes[i / 32]).collect();
            let widest = numbers.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (format, bound) in [(Q4K, 0.16), (Q6K, 0.05)] {
                for (x, y) in numbers.iter().zip(back(format, &numbers)) {
                    prop_assert!((x - y).abs() <= bound * widest, "{} {x} {y}", format.name());
                }
            }
        }

        #[test]
        fn nothing_panics(bits in prop::collection::vec(any::<u32>(), 256)) {
            let numbers: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            back(Q4K, &numbers);
            back(Q6K, &numbers);
        }
    }
}
