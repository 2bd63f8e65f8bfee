//! The sums of a tensor's numbers: in 64 bits, and in 32 bits as PyTorch adds them up on one thread, bit for bit.
//!
//! The original system told by the latter whether a model was recovered rightly. In 32 bits a sum depends on the order in which
//! it is made: here there are 32 sums side by side, each of which is added to one of a higher level now and then so that
//! small numbers are not lost beside a large sum. What is left over at the end is added eight at a time, then one by one.

use crate::quick::quick;

/// Sums side by side: four registers of eight numbers.
const LANES: usize = 32;
const WIDE: usize = 8;
const LEVELS: usize = 4;

/// A sum that is being made.
#[derive(Clone, Debug)]
pub(crate) struct Naive {
    levels: [[f32; LANES]; LEVELS],
    /// Groups of [`LANES`] numbers so far.
    groups: usize,
    /// Two to this power are the groups that are added up before a level is added to the next.
    power: u32,
    rest: [f32; LANES],
    left: usize,
}

impl Naive {
    /// Of so many numbers.
    pub(crate) fn new(count: usize) -> Self {
        let groups = count / LANES;
        // The least power of two that is not below, as a number of bits; one for the smallest.
        let bits = if groups <= 2 { 1 } else { usize::BITS - (groups - 1).leading_zeros() };
        let power = (bits / LEVELS as u32).max(4);
        Self { levels: [[0.0; LANES]; LEVELS], groups: 0, power, rest: [0.0; LANES], left: 0 }
    }

    /// Adds the next numbers.
    pub(crate) fn add(&mut self, mut numbers: &[f32]) {
        if self.left > 0 {
            let (first, more) = numbers.split_at(numbers.len().min(LANES - self.left));
            self.rest[self.left..][..first.len()].copy_from_slice(first);
            self.left += first.len();
            numbers = more;
            if self.left < LANES {
                return;
            }
            self.left = 0;
            let rest = self.rest;
            self.add_groups(&[rest]);
        }
        let (groups, rest) = numbers.as_chunks::<LANES>();
        self.add_groups(groups);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.left = rest.len();
    }

    fn add_groups(&mut self, mut groups: &[[f32; LANES]]) {
        let step = 1 << self.power;
        while !groups.is_empty() {
            let (some, more) = groups.split_at(groups.len().min(step - self.groups % step));
            let before = self.levels[0];
            self.levels[0] = quick(
                #[inline(always)]
                || {
                    let mut sums = before;
                    for group in some {
                        sums.iter_mut().zip(group).for_each(|(sum, x)| *sum += x);
                    }
                    sums
                },
            );
            self.groups += some.len();
            groups = more;
            if self.groups.is_multiple_of(step) {
                self.carry(step - 1);
            }
        }
    }

    /// Adds each level to the next, as far as those are full.
    fn carry(&mut self, mask: usize) {
        for level in 1..LEVELS {
            let below = std::mem::replace(&mut self.levels[level - 1], [0.0; LANES]);
            self.levels[level].iter_mut().zip(below).for_each(|(sum, x)| *sum += x);
            if self.groups & mask << (level as u32 * self.power) != 0 {
                break;
            }
        }
    }

    /// The sum.
    pub(crate) fn end(self) -> f32 {
        let mut sums = self.levels[0];
        for level in &self.levels[1..] {
            sums.iter_mut().zip(level).for_each(|(sum, x)| *sum += x);
        }
        let (sums, others) = sums.split_at_mut(WIDE);
        let (eights, last) = self.rest[..self.left].as_chunks::<WIDE>();
        for eight in eights {
            sums.iter_mut().zip(eight).for_each(|(sum, x)| *sum += x);
        }
        for other in others.chunks(WIDE) {
            sums.iter_mut().zip(other).for_each(|(sum, x)| *sum += x);
        }
        let last = last.iter().fold(0.0, |sum, x| sum + x);
        sums.iter().fold(last, |sum, x| sum + x)
    }
}

/// A sum in 64 bits that is being made: eight side by side, which are added up at the end of every piece. Where pieces end
/// decides on the last bits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exact {
    lanes: [f64; WIDE],
    rest: f64,
    sum: f64,
}

impl Exact {
    /// Adds the next numbers of a piece. But for the last of it they are a multiple of eight.
    pub(crate) fn add(&mut self, numbers: &[f32]) {
        let (eights, rest) = numbers.as_chunks::<WIDE>();
        let before = self.lanes;
        self.lanes = quick(
            #[inline(always)]
            || {
                let mut lanes = before;
                for eight in eights {
                    lanes.iter_mut().zip(eight).for_each(|(lane, x)| *lane += f64::from(*x));
                }
                lanes
            },
        );
        self.rest += rest.iter().map(|x| f64::from(*x)).sum::<f64>();
    }

    /// Ends a piece.
    pub(crate) fn end_piece(&mut self) {
        self.sum += self.lanes.iter().sum::<f64>() + self.rest;
        (self.lanes, self.rest) = ([0.0; WIDE], 0.0);
    }

    /// The sum of all pieces that were ended.
    pub(crate) fn end(self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums that PyTorch 2.15 gave on one thread, by the count of numbers.
    const PYTORCH: [(usize, f32); 11] = [
        (1, -0.341_618_48),
        (7, 1.302_312_1),
        (8, 0.741_040_47),
        (31, 1.970_520_6),
        (32, 1.692_485_8),
        (33, 2.212_139_1),
        (1000, 23.271_687),
        (4096, 94.210_45),
        (40_000, 904.046_63),
        ((1 << 20) + 7, 23_641.398),
        ((1 << 20) * 3 + 19, 70_917.47),
    ];

    #[test]
    fn sums_are_those_of_pytorch_in_pieces_of_any_length() {
        for (count, wanted) in PYTORCH {
            let numbers: Vec<f32> = (0..count).map(|i| ((i * 7919 + 104_729) % 251) as f32 / 173.0 - 0.7).collect();
            for piece in [count, 7, 4096] {
                let mut sum = Naive::new(count);
                numbers.chunks(piece).for_each(|some| sum.add(some));
                assert_eq!(sum.end().to_bits(), wanted.to_bits(), "{count} numbers in pieces of {piece}");
            }
        }
    }

    #[test]
    fn exact_sums_do_not_depend_on_how_a_piece_was_cut() {
        let numbers: Vec<f32> = (0..10_003).map(|i| ((i * 7919 + 104_729) % 251) as f32 / 173.0 - 0.7).collect();
        let sum = |parts: usize| {
            let mut sum = Exact::default();
            for piece in numbers.chunks(4096) {
                piece.chunks(parts).for_each(|part| sum.add(part));
                sum.end_piece();
            }
            sum.end()
        };
        assert_eq!([8, 64, 1000].map(|parts| sum(parts).to_bits()), [sum(4096).to_bits(); 3]);
        assert!((sum(4096) - numbers.iter().map(|x| f64::from(*x)).sum::<f64>()).abs() < 1e-9);
    }
}
