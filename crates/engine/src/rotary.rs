//! How positions are turned into angles, and how that is stretched for longer contexts.
//!
//! Sources: the rotary embeddings of Hugging Face's transformers, and of llama.cpp where a GGUF file says what
//! to do. Each stretching is a change of the frequencies that is fixed when the model is loaded:
//!
//! - `linear`: all waves are longer by a factor.
//! - `llama3`: long waves are longer by a factor, short ones stay, those between are mixed.
//! - `yarn`: the same with another mixture, and the turned vectors are longer, too.
//! - `dynamic`: nothing changes within the original context. Beyond it, transformers stretches the angles anew with
//!   every forward pass, so that what a token gives depends on how the text was cut into passes. Here they are those of
//!   one pass over the whole context that the model is loaded for: the same however a text is cut, whatever runs beside
//!   it. A model that is not loaded for more than its original context is not changed.

use std::f64::consts::TAU;

/// How the angles of a model are stretched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    /// Not at all.
    None,
    Linear {
        factor: f64,
    },
    /// For texts of `length` positions.
    Dynamic {
        factor: f64,
        original: f64,
        length: f64,
    },
    Llama3 {
        factor: f64,
        /// Waves that turn less often than this in the original context are long.
        low: f64,
        /// Waves that turn more often than this are short.
        high: f64,
        original: f64,
    },
    Yarn {
        factor: f64,
        /// Waves that turn more often than this are short.
        fast: f64,
        /// Waves that turn less often than this are long.
        slow: f64,
        original: f64,
        /// Whether the borders of the mixture are whole pairs.
        whole: bool,
        /// What turned vectors are multiplied with.
        length: f64,
    },
}

/// Angle per position of each pair, and what the turned pair is multiplied with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turns {
    pub frequencies: Vec<f64>,
    pub length: f64,
}

/// What the yarn method multiplies turned vectors with when nothing else is said.
pub(crate) fn yarn_length(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
}

impl Scaling {
    /// The turns of heads of `size` numbers.
    pub(crate) fn turns(&self, base: f64, size: usize) -> Turns {
        let plain = |i: usize| base.powf(-2.0 * i as f64 / size as f64);
        let pairs = 0..size / 2;
        let (frequencies, length) = match *self {
            Self::None => (pairs.map(plain).collect(), 1.0),
            Self::Linear { factor } => (pairs.map(|i| plain(i) / factor).collect(), 1.0),
            Self::Dynamic { factor, original, length } => {
                let longer = factor * length.max(original) / original - (factor - 1.0);
                let base = base * longer.powf(size as f64 / (size as f64 - 2.0));
                (pairs.map(|i| base.powf(-2.0 * i as f64 / size as f64)).collect(), 1.0)
            }
            Self::Llama3 { factor, low, high, original } => {
                let stretch = |frequency: f64| {
                    let turns = original * frequency / TAU;
                    let short = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * ((1.0 - short) / factor + short)
                };
                (pairs.map(|i| stretch(plain(i))).collect(), 1.0)
            }
            Self::Yarn { factor, fast, slow, original, whole, length } => {
                // The pair that turns so often in the original context.
                let pair = |turns: f64| size as f64 * (original / (turns * TAU)).ln() / (2.0 * base.ln());
                let (mut from, mut to) = (pair(fast), pair(slow));
                if whole {
                    (from, to) = (from.floor(), to.ceil());
                }
                (from, to) = (from.max(0.0), to.min(size as f64 - 1.0));
                if from == to {
                    to += 0.001;
                }
                let stretch = |i: usize| {
                    let long = ((i as f64 - from) / (to - from)).clamp(0.0, 1.0);
                    plain(i) * (long / factor + 1.0 - long)
                };
                (pairs.map(stretch).collect(), length)
            }
        };
        Turns { frequencies, length }
    }

    /// Says what is impossible in it.
    pub(crate) fn checked(self) -> Result<Self, String> {
        let positive = |name: &str, x: f64| match x.is_finite() && x > 0.0 {
            true => Ok(()),
            false => Err(format!("its rotary scaling has the {name} {x}, which is impossible")),
        };
        match &self {
            Self::None => {}
            Self::Linear { factor } => positive("factor", *factor)?,
            Self::Dynamic { factor, original, length } => {
                positive("factor", *factor)?;
                positive("original context", *original)?;
                positive("context", *length)?;
            }
            Self::Llama3 { factor, low, high, original } => {
                positive("factor", *factor)?;
                positive("original context", *original)?;
                positive("high frequency factor", *high)?;
                positive("distance of its frequency factors", high - low)?;
            }
            Self::Yarn { factor, fast, slow, original, length, .. } => {
                positive("factor", *factor)?;
                positive("beta_fast", *fast)?;
                positive("beta_slow", *slow)?;
                positive("original context", *original)?;
                positive("attention factor", *length)?;
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_3_stretches_only_long_waves() {
        let plain = Scaling::None.turns(500_000.0, 128).frequencies;
        let scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let scaled = scaling.turns(500_000.0, 128).frequencies;
        assert_eq!((plain[0], scaled[0]), (1.0, 1.0));
        assert_eq!(scaled[63], plain[63] / 8.0);
    }

    #[test]
    fn yarn_stretches_long_waves_and_lengthens() {
        let length = yarn_length(4.0, 1.0);
        assert!((length - 1.138_629).abs() < 1e-6);
        let scaling = Scaling::Yarn { factor: 4.0, fast: 32.0, slow: 1.0, original: 32768.0, whole: true, length };
        let (plain, turns) = (Scaling::None.turns(1e6, 128).frequencies, scaling.turns(1e6, 128));
        assert_eq!((turns.frequencies[0], turns.length), (1.0, length));
        assert_eq!(turns.frequencies[63], plain[63] / 4.0);
        assert!(turns.frequencies.windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn dynamic_angles_are_the_plain_ones_up_to_the_original_context() {
        let turns = |length| Scaling::Dynamic { factor: 2.0, original: 64.0, length }.turns(10000.0, 32).frequencies;
        assert_eq!(turns(64.0), Scaling::None.turns(10000.0, 32).frequencies);
        assert_eq!(turns(1.0), turns(64.0));
        // Twice the length: the base is 3^(32/30) times as great.
        let longer = Scaling::None.turns(10000.0 * 3f64.powf(32.0 / 30.0), 32).frequencies;
        assert_eq!(turns(128.0), longer);
    }

    #[test]
    fn impossible_numbers_are_named() {
        let error = |scaling: Scaling| scaling.checked().err().unwrap_or_default();
        assert_eq!(error(Scaling::Linear { factor: 0.0 }), "its rotary scaling has the factor 0, which is impossible");
        assert!(error(Scaling::Llama3 { factor: 8.0, low: 4.0, high: 4.0, original: 8192.0 }).contains("distance"));
        assert!(error(Scaling::Linear { factor: f64::NAN }).contains("NaN"));
    }
}
