//! GPTQ: rounding the columns of a matrix one after the other, and making the columns that follow take back what each
//! did wrong, as far as the inputs seen of a calibration text allow.
//!
//! Source: Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
//! Transformers" (2022). What is rounded to is the grid of a block format of GGUF files: each block's scale is fitted
//! when its first column is reached, to what its numbers have become by then.

mod factor;
mod grid;
mod kept;

use std::{
    sync::{Mutex, PoisonError},
    thread,
};

use factor::Factor;
use grid::Grid;
pub use kept::{Entry, Kept};
use serde::{Deserialize, Serialize};

use crate::BlockFormat;

/// Columns after which the rest of a row is told of the errors.
const COLUMNS: usize = 128;
/// Rows that a thread works on at a time.
const ROWS: usize = 16;
/// Numbers of a row that share a scale in files of GPTQ models, where nothing else is asked for.
pub const GROUP: usize = 128;
/// The blocks that [`To::Groups`] makes.
pub(crate) const GROUPED: BlockFormat = BlockFormat::Q4_1;
/// Part of the mean of the diagonal that is added to it, so that what the text did not show stays as it is.
pub(crate) const DAMPING: f64 = 0.01;
/// The largest number that the scale of a block can tell of.
const LARGEST: f32 = 65504.0;

/// What is rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The blocks of a format: `Q4_0`, `Q4_1` or `Q4K`.
    Blocks(BlockFormat),
    /// As files of GPTQ models have it: [`GROUP`] numbers of a row share a scale and a whole zero.
    Groups,
}

impl To {
    /// The format of the blocks that come of it; those of a group have the same scale and minimum.
    pub fn format(self) -> BlockFormat {
        match self {
            Self::Blocks(format) => format,
            Self::Groups => GROUPED,
        }
    }
}

/// Why a matrix was not rounded.
#[derive(Debug, thiserror::Error)]
pub enum GptqError {
    /// The format is none that this can round to.
    #[error("GPTQ rounds to q4_0, q4_1 and q4_k, not to {0}")]
    Format(&'static str),
    /// The matrix does not fit.
    #[error("a matrix of {numbers} numbers has no rows of {columns} that are whole {format} blocks")]
    Shape {
        /// Its numbers.
        numbers: usize,
        /// Numbers of a row.
        columns: usize,
        /// The format.
        format: &'static str,
    },
    /// The inputs are no numbers.
    #[error(
        "the calibration text leads to inputs that are no finite numbers; take another text, or check the weights with `knowlm weights verify`"
    )]
    Inputs,
    /// The weights are no numbers.
    #[error(
        "it has weights that are no finite numbers, or larger than 16 bits can hold; check the model with `knowlm weights verify`, or fetch it again"
    )]
    Weights,
}

/// Whether [`Inputs::round`] rounds to the blocks of a format.
pub fn rounds_to(format: BlockFormat) -> bool {
    Grid::of(format).is_some()
}

/// What the inputs of a matrix are like: the sums of their products with each other, and what follows of them.
#[derive(Debug)]
pub struct Inputs {
    columns: usize,
    /// `Xᵀ X`, row after row.
    products: Vec<f32>,
    factor: Factor,
}

/// A rounded matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// Its blocks, row after row.
    pub bytes: Vec<u8>,
    /// How far its outputs are from those of the original, on the calibration text.
    pub errors: OutputErrors,
}

/// Squares of outputs over all rows of a calibration text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputErrors {
    /// Of what the outputs are off by.
    pub gptq: f64,
    /// Of what they would be off by, were every number rounded by itself.
    pub plain: f64,
    /// Of the outputs.
    pub outputs: f64,
}

impl OutputErrors {
    /// The root of the mean squared error over that of the outputs.
    pub fn relative(&self) -> f64 {
        relative(self.gptq, self.outputs)
    }

    /// The same for plain rounding.
    pub fn relative_plain(&self) -> f64 {
        relative(self.plain, self.outputs)
    }
}

impl std::ops::Add for OutputErrors {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { gptq: self.gptq + other.gptq, plain: self.plain + other.plain, outputs: self.outputs + other.outputs }
    }
}

fn relative(errors: f64, squares: f64) -> f64 {
    if errors == 0.0 { 0.0 } else { (errors / squares).sqrt() }
}

impl Inputs {
    /// Of `Xᵀ X`, the products of the inputs' columns with each other; as many rows as columns.
    ///
    /// # Errors
    /// They are no finite numbers, or not of a square.
    pub fn new(products: Vec<f32>, threads: usize) -> Result<Self, GptqError> {
        let columns = products.len().isqrt();
        if columns * columns != products.len() || products.iter().any(|x| !x.is_finite()) {
            return Err(GptqError::Inputs);
        }
        // A larger damping makes a factor of what rounding errors spoilt.
        let mut damping = [DAMPING, 10.0 * DAMPING, 100.0 * DAMPING].into_iter();
        let factor = damping.find_map(|d| Factor::new(&products, columns, d, threads)).ok_or(GptqError::Inputs)?;
        Ok(Self { columns, products, factor })
    }

    /// Rounds a matrix of rows of inputs' length.
    ///
    /// # Errors
    /// The format or the shape does not fit, or the weights are no finite numbers.
    pub fn round(&self, weights: &[f32], to: To, threads: usize) -> Result<Rounded, GptqError> {
        let (columns, format) = (self.columns, to.format());
        let group = (to == To::Groups).then_some(GROUP);
        let grid = Grid::of(format).ok_or(GptqError::Format(format.name()))?;
        let misfit = GptqError::Shape { numbers: weights.len(), columns, format: format.name() };
        let row_bytes = format.row_bytes(columns).filter(|n| *n > 0).ok_or(misfit)?;
        if !weights.len().is_multiple_of(columns) {
            return Err(GptqError::Shape { numbers: weights.len(), columns, format: format.name() });
        }
        // Nothing compares with what is no number.
        if !weights.iter().all(|x| x.abs() <= LARGEST) {
            return Err(GptqError::Weights);
        }
        let mut bytes = vec![0; weights.len() / columns * row_bytes];
        let errors = Mutex::new(vec![OutputErrors::default(); bytes.len().div_ceil(ROWS * row_bytes)]);
        let pieces: Mutex<Vec<_>> =
            Mutex::new(weights.chunks(ROWS * columns).zip(bytes.chunks_mut(ROWS * row_bytes)).enumerate().collect());
        thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).pop();
                        let Some((number, (weights, bytes))) = piece else { break };
                        self.round_rows(weights, bytes, grid, group);
                        let found = self.errors(weights, bytes, format);
                        if let Some(place) = errors.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
                            *place = found;
                        }
                    }
                });
            }
        });
        // Added up in order, so that the sum does not depend on the threads.
        let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        let errors = errors.into_iter().fold(OutputErrors::default(), |a, b| a + b);
        Ok(Rounded { bytes, errors })
    }

    /// Rounds some rows, which no others have to do with.
    fn round_rows(&self, weights: &[f32], bytes: &mut [u8], grid: Grid, group: Option<usize>) {
        let (columns, block) = (self.columns, grid.block());
        let row_bytes = columns / block * grid.block_bytes();
        let step = COLUMNS.max(block);
        let mut weights = weights.to_vec();
        let mut errors = vec![0.0f32; weights.len() / columns * step];
        let mut steps = vec![vec![(0.0f32, 0.0f32); block]; weights.len() / columns];
        let mut shared = vec![(0.0f32, 0.0f32); weights.len() / columns];
        for first in (0..columns).step_by(step) {
            let end = columns.min(first + step);
            for i in first..end {
                let factors = self.factor.row(i);
                let rows = weights.chunks_exact_mut(columns).zip(bytes.chunks_exact_mut(row_bytes));
                let scales = steps.iter_mut().zip(&mut shared);
                for ((row, bytes), ((steps, shared), errors)) in rows.zip(scales.zip(errors.chunks_exact_mut(step))) {
                    let block_bytes = &mut bytes[i / block * grid.block_bytes()..][..grid.block_bytes()];
                    match group {
                        None if i % block == 0 => grid.fit(&row[i..i + block], block_bytes, steps),
                        Some(group) if i % block == 0 => {
                            if i % group == 0 {
                                *shared = Grid::fit_group(&row[i..columns.min(i + group)]);
                            }
                            grid.begin(*shared, block_bytes, steps);
                        }
                        _ => {}
                    }
                    let rounded = grid.put(block_bytes, i % block, row[i], steps[i % block]);
                    let error = (row[i] - rounded) / factors[i];
                    errors[i - first] = error;
                    add(&mut row[i + 1..end], &factors[i + 1..end], -error);
                }
            }
            if end == columns {
                break;
            }
            for i in first..end {
                let factors = &self.factor.row(i)[end..];
                for (row, errors) in weights.chunks_exact_mut(columns).zip(errors.chunks_exact(step)) {
                    add(&mut row[end..], factors, -errors[i - first]);
                }
            }
        }
    }

    /// How far the outputs of rounded rows are off.
    fn errors(&self, weights: &[f32], bytes: &[u8], format: BlockFormat) -> OutputErrors {
        let columns = self.columns;
        let row_bytes = bytes.len() / (weights.len() / columns).max(1);
        let (mut packed, mut back) = (vec![0; row_bytes], vec![0.0f32; columns]);
        let mut total = OutputErrors::default();
        for (row, bytes) in weights.chunks_exact(columns).zip(bytes.chunks_exact(row_bytes)) {
            format.dequantize(bytes, &mut back);
            total.gptq += self.squares(row.iter().zip(&back).map(|(x, y)| x - y).collect());
            format.quantize(row, &mut packed);
            format.dequantize(&packed, &mut back);
            total.plain += self.squares(row.iter().zip(&back).map(|(x, y)| x - y).collect());
            total.outputs += self.squares(row.to_vec());
        }
        total
    }

    /// The sum of the squares of what a row makes of the inputs.
    fn squares(&self, row: Vec<f32>) -> f64 {
        let products = self.products.chunks_exact(self.columns.max(1));
        row.iter()
            .zip(products)
            .map(|(x, products)| f64::from(*x) * f64::from(dot(&row, products)))
            .sum::<f64>()
            .max(0.0)
    }
}

/// `to += factor * from`.
fn add(to: &mut [f32], from: &[f32], factor: f32) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

/// The sum of the products, in lanes that the processor adds up side by side.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut lanes = [0.0f32; 16];
    for (a, b) in a.iter().zip(b) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (x, y))| *lane += x * y);
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f32>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use BlockFormat::{Q4_0, Q4_1, Q4K, Q8_0};

    /// Bell-shaped numbers, as weights and inputs are.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut x = seed;
        let mut uniform = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 8) as f32 / (1 << 24) as f32
        };
        (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
    }

    /// Inputs whose columns have to do with each other: a few causes, and some noise.
    fn correlated(rows: usize, columns: usize) -> Vec<f32> {
        let (causes, mix, noise) = (numbers(rows * 8, 1), numbers(8 * columns, 2), numbers(rows * columns, 3));
        let at = |i: usize, j: usize| {
            let told: f32 = (0..8).map(|k| causes[i * 8 + k] * mix[k * columns + j]).sum();
            told + 0.3 * noise[i * columns + j]
        };
        (0..rows * columns).map(|n| at(n / columns, n % columns)).collect()
    }

    fn products(inputs: &[f32], columns: usize) -> Vec<f32> {
        let mut sums = vec![0.0; columns * columns];
        for row in inputs.chunks_exact(columns) {
            for (x, sums) in row.iter().zip(sums.chunks_exact_mut(columns)) {
                add(sums, row, *x);
            }
        }
        sums
    }

    /// The squared difference of the outputs, straight from the inputs.
    fn off(inputs: &[f32], weights: &[f32], bytes: &[u8], format: BlockFormat, columns: usize) -> f64 {
        let mut back = vec![0.0; weights.len()];
        format.dequantize(bytes, &mut back);
        let wrong: Vec<f32> = weights.iter().zip(&back).map(|(x, y)| x - y).collect();
        let outputs = inputs.chunks(columns).flat_map(|x| wrong.chunks(columns).map(move |w| f64::from(dot(x, w))));
        outputs.map(|y| y * y).sum()
    }

    #[test]
    fn outputs_are_nearer_than_those_of_plain_rounding() {
        let (columns, rows) = (512, 40);
        let (inputs, weights) = (correlated(2000, columns), numbers(rows * columns, 4));
        let seen = Inputs::new(products(&inputs, columns), 2).unwrap();
        for (format, part) in [(Q4_0, 0.25), (Q4_1, 0.25), (Q4K, 0.3)] {
            let rounded = seen.round(&weights, To::Blocks(format), 2).unwrap();
            let mut plain = vec![0; rounded.bytes.len()];
            format.quantize(&weights, &mut plain);
            let gptq = off(&inputs, &weights, &rounded.bytes, format, columns);
            let rounding = off(&inputs, &weights, &plain, format, columns);
            assert!(gptq < part * rounding, "{}: {gptq} of {rounding}", format.name());
            // What is reported is what there is.
            let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.01;
            assert!(near(rounded.errors.gptq, gptq) && near(rounded.errors.plain, rounding), "{:?}", rounded.errors);
            assert!(rounded.errors.relative() < rounded.errors.relative_plain());
            // However many threads there are.
            assert_eq!(rounded, seen.round(&weights, To::Blocks(format), 1).unwrap());
        }
    }

    #[test]
    fn inputs_that_have_nothing_to_do_with_each_other_leave_plain_rounding() {
        // Multiples of 1/16 in steps that half-precision has exactly, and no number between two steps.
        let columns = 64;
        let weights: Vec<f32> = (0..columns * 8).map(|i| ((i * 7) % 16) as f32 / 8.0 - 1.0 + 0.03).collect();
        let mut squares = vec![0.0; columns * columns];
        (0..columns).for_each(|i| squares[i * columns + i] = 1.0 + i as f32);
        let seen = Inputs::new(squares, 1).unwrap();
        for format in [Q4_0, Q4_1] {
            let mut plain = vec![0; format.row_bytes(weights.len()).unwrap()];
            format.quantize(&weights, &mut plain);
            let rounded = seen.round(&weights, To::Blocks(format), 1).unwrap();
            assert_eq!(rounded.bytes, plain, "{}", format.name());
            assert_eq!(rounded.errors.gptq, rounded.errors.plain);
        }
    }

    #[test]
    fn groups_share_a_scale_and_a_whole_zero() {
        // The last group is a shorter one.
        let (columns, rows) = (320, 16);
        let (inputs, weights) = (correlated(1000, columns), numbers(rows * columns, 4));
        let seen = Inputs::new(products(&inputs, columns), 2).unwrap();
        let rounded = seen.round(&weights, To::Groups, 2).unwrap();
        for row in rounded.bytes.chunks(columns / 32 * 20) {
            let blocks: Vec<&[u8]> = row.chunks(20).collect();
            assert!(blocks.chunks(GROUP / 32).all(|group| group.iter().all(|block| block[..4] == group[0][..4])));
        }
        assert!(rounded.errors.gptq < 0.4 * rounded.errors.plain, "{:?}", rounded.errors);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let seen = Inputs::new(vec![1.0], 1).unwrap();
        assert!(seen.round(&[1.0], To::Blocks(Q8_0), 1).unwrap_err().to_string().contains("not to Q8_0"));
        assert!(seen.round(&[1.0], To::Blocks(Q4_0), 1).unwrap_err().to_string().contains("whole Q4_0 blocks"));
        assert!(Inputs::new(vec![f32::NAN], 1).unwrap_err().to_string().contains("no finite numbers"));
        assert!(rounds_to(Q4K) && !rounds_to(Q8_0));
        // A text that says nothing at all leaves plain rounding.
        let nothing = Inputs::new(vec![0.0; 32 * 32], 1).unwrap();
        assert!(nothing.round(&numbers(64, 1), To::Blocks(Q4_1), 1).is_ok());
        // Weights that someone broke.
        for odd in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e30] {
            let mut weights = numbers(64, 1);
            weights[40] = odd;
            for to in [To::Blocks(Q4_0), To::Blocks(Q4_1), To::Groups] {
                let error = nothing.round(&weights, to, 1).unwrap_err().to_string();
                assert!(error.contains("weights that are no finite numbers"), "{odd}: {error}");
            }
        }
    }
}
