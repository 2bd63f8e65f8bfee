//! Half-precision numbers, one by one and without a branch, so that [`quick`](crate::quick::quick) makes loops of them that
//! turn many at once. The `half` crate has the processor's own instructions for it, but calls a function for every eight
//! numbers.

/// The exponent of a number of 32 bits that is 2 to this power.
const fn power(of_two: i32) -> u32 {
    ((of_two + 127) as u32) << 23
}

/// The number that these bits are.
#[inline(always)]
pub(crate) fn unpack(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes)) << 16;
    let (sign, magnitude) = (bits & 1 << 31, bits << 1);
    // The exponent as it is in 32 bits, or 112 too high where that makes it that of infinity.
    let normal = f32::from_bits((magnitude >> 4) + (224 << 23)) * f32::from_bits(power(-112));
    // Below the least exponent there is a whole number of the smallest steps: behind one half, they are its last bits.
    let small = f32::from_bits(magnitude >> 17 | power(-1)) - 0.5;
    let magnitude = if magnitude < 1 << 27 { small } else { normal };
    f32::from_bits(sign | magnitude.to_bits())
}

/// The bits of the number that is nearest, of two the even one.
#[inline(always)]
pub(crate) fn pack(number: f32) -> [u8; 2] {
    let bits = number.to_bits();
    let (sign, magnitude) = (bits >> 16 & 0x8000, bits & !(1 << 31));
    // Added to one half, the last bits are a whole number of the smallest steps, rounded as all sums are.
    let small = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(power(-1));
    // Half of what is cut off, or a little less where that would make an even number odd; the exponent is 112 lower.
    let normal = magnitude.wrapping_add(0xfff + (magnitude >> 13 & 1)).wrapping_sub(112 << 23) >> 13;
    let infinite = if magnitude > power(128) { 0x7e00 | magnitude >> 13 & 0x3ff } else { 0x7c00 };
    let finite = if magnitude < power(-14) { small } else { normal };
    ((sign | if magnitude < power(16) { finite } else { infinite }) as u16).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn every_number_and_those_halfway_between_two_are_as_the_plain_way_has_them() {
        let same = |number: f32| {
            for number in [number, number.next_up(), number.next_down()].into_iter().flat_map(|x| [x, -x]) {
                assert_eq!(u16::from_le_bytes(pack(number)), f16::from_f32(number).to_bits(), "{number:e}");
            }
        };
        for bits in 0..=u16::MAX {
            let (ours, plain) = (unpack(bits.to_le_bytes()), f16::from_bits(bits).to_f32());
            assert_eq!(ours.to_bits(), plain.to_bits(), "{bits:#x}");
            same(plain);
            let next = f16::from_bits(bits.wrapping_add(1)).to_f32();
            same((plain + next) / 2.0);
        }
        // Where the largest number ends and infinity begins, and what is too small for either form.
        [65_504.0, 65_520.0, 65_536.0, f32::MAX, f32::MIN_POSITIVE, 1e-45, 2.0f32.powi(-25)].into_iter().for_each(same);
        for bits in [0x7f80_0001, 0x7f80_2000, 0x7fc0_0000, 0xff92_3456] {
            let number = f32::from_bits(bits);
            assert_eq!(u16::from_le_bytes(pack(number)), f16::from_f32(number).to_bits(), "{bits:#x}");
        }
    }
}
