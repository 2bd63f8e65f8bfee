//! The numbers that a block of a format can hold, once its scales are fixed.

use half::f16;

use crate::{
    BlockFormat,
    BlockFormat::{Q4_0, Q4_1, Q4K},
};

/// A format of four bits, each number of which is `low + q * step` with a `q` from 0 to 15.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    format: BlockFormat,
    /// Bytes of scales before the quants.
    head: usize,
    /// Quants whose low halves lie before those of the next as many, in the same bytes.
    side: usize,
}

impl Grid {
    /// That of a format, where it is such a one.
    pub(super) fn of(format: BlockFormat) -> Option<Self> {
        let (head, side) = match format {
            Q4_0 => (2, 16),
            Q4_1 => (4, 16),
            Q4K => (16, 32),
            _ => return None,
        };
        Some(Self { format, head, side })
    }

    pub(super) fn block(self) -> usize {
        self.format.block()
    }

    pub(super) fn block_bytes(self) -> usize {
        self.format.block_bytes()
    }

    /// Chooses the scales for numbers as plain rounding would, and gives the lowest number and the step of each place.
    pub(super) fn fit(self, numbers: &[f32], block: &mut [u8], steps: &mut [(f32, f32)]) {
        self.format.quantize(numbers, block);
        let mut of_quants = |quants: u8, out: &mut [f32]| {
            block[self.head..].fill(quants);
            self.format.dequantize(block, out);
        };
        let (mut low, mut high) = ([0.0f32; LARGEST], [0.0f32; LARGEST]);
        let (low, high) = (&mut low[..self.block()], &mut high[..self.block()]);
        of_quants(0xff, high);
        of_quants(0, low);
        for (step, (low, high)) in steps.iter_mut().zip(low.iter().zip(high.iter())) {
            *step = (*low, (high - low) / 15.0);
        }
    }

    /// Chooses one scale and a whole zero for all numbers of a group, as files of GPTQ models have them: a number is
    /// `scale * (quant - zero)`. Gives the lowest number and the step.
    pub(super) fn fit_group(numbers: &[f32]) -> (f32, f32) {
        let (least, most) = numbers.iter().fold((0.0f32, 0.0f32), |(a, b), x| (a.min(*x), b.max(*x)));
        // A group of zeros has any scale.
        let width = if least == most { 2.0 } else { most - least };
        let scale = f16::from_f32(width / 15.0).max(f16::MIN_POSITIVE).to_f32();
        // A zero of nought is stored less one, which readers take for different things.
        let zero = if least == most { 8.0 } else { (-least / scale).round().clamp(1.0, 15.0) };
        (-zero * scale, scale)
    }

    /// Begins a block of such a group.
    pub(super) fn begin(self, (low, scale): (f32, f32), block: &mut [u8], steps: &mut [(f32, f32)]) {
        block.fill(0);
        block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        block[2..4].copy_from_slice(&f16::from_f32(low).to_le_bytes());
        steps.fill((low, scale));
    }

    /// Writes the number of the grid that is nearest, and gives it.
    pub(super) fn put(self, block: &mut [u8], place: usize, number: f32, (low, step): (f32, f32)) -> f32 {
        let quant = if step == 0.0 { 0.0 } else { ((number - low) / step).round().clamp(0.0, 15.0) };
        let (pair, within) = (place / (2 * self.side), place % (2 * self.side));
        let byte = &mut block[self.head + pair * self.side + within % self.side];
        *byte |= (quant as u8) << (within / self.side * 4);
        low + quant * step
    }
}

/// Numbers of the largest block.
const LARGEST: usize = 256;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_what_is_read() {
        for format in [Q4_0, Q4_1, Q4K] {
            let grid = Grid::of(format).unwrap();
            let numbers: Vec<f32> = (0..format.block()).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
            let mut block = vec![0xaa; format.block_bytes()];
            let mut steps = vec![(0.0, 0.0); format.block()];
            grid.fit(&numbers, &mut block, &mut steps);
            let put: Vec<f32> =
                numbers.iter().enumerate().map(|(i, x)| grid.put(&mut block, i, *x, steps[i])).collect();
            let mut read = vec![0.0; format.block()];
            format.dequantize(&block, &mut read);
            for ((x, put), (read, step)) in numbers.iter().zip(&put).zip(read.iter().zip(&steps)) {
                assert!((put - read).abs() < 1e-5, "{}: {put} {read}", format.name());
                // Beyond the last step only the end of Q4_0's grid is farther away.
                assert!((x - read).abs() <= step.1.abs() * if format == Q4_0 { 1.01 } else { 0.52 });
            }
        }
    }

    #[test]
    fn a_group_has_a_whole_zero_and_holds_nought() {
        for numbers in [vec![-0.3f32, 0.1, 0.2], vec![0.5, 0.9], vec![-2.0, -0.1], vec![0.0; 4]] {
            let (low, scale) = Grid::fit_group(&numbers);
            let zero = -low / scale;
            assert!((1.0..=15.0).contains(&zero) && zero.fract() == 0.0, "{numbers:?}: {zero}");
            let (grid, mut block, mut steps) = (Grid::of(Q4_1).unwrap(), [0xaa; 20], [(0.0, 0.0); 32]);
            grid.begin((low, scale), &mut block, &mut steps);
            for (place, x) in numbers.iter().enumerate() {
                let put = grid.put(&mut block, place, *x, steps[place]);
                assert!((put - x).abs() <= scale * 1.01, "{put} for {x}");
            }
            assert_eq!(grid.put(&mut block, 9, 0.0, steps[9]), 0.0);
        }
    }

    #[test]
    fn equal_numbers_have_no_steps() {
        let grid = Grid::of(Q4_1).unwrap();
        let (mut block, mut steps) = ([0; 20], [(9.0, 9.0); 32]);
        grid.fit(&[0.25; 32], &mut block, &mut steps);
        assert_eq!((steps[7], grid.put(&mut block, 7, 5.0, steps[7])), ((0.25, 0.0), 0.25));
    }
}
