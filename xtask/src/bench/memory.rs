//! What the memory gives to a plain sum: about the limit of decoding, which reads every weight for each token.

use std::{hint::black_box, thread, time::Instant};

use anyhow::{Context, Result};
use memmap2::MmapMut;

/// Bytes that each thread reads: more than caches hold.
const EACH: usize = 256 << 20;
/// How often.
const TIMES: usize = 4;

/// Bytes per second that so many threads read together, the best of several times; on huge pages where the system has
/// them, as the weights are.
///
/// # Errors
/// There is not so much memory.
pub fn bytes_per_second(threads: usize) -> Result<f64> {
    let mut data = MmapMut::map_anon(threads * EACH).context("no memory to measure its speed with")?;
    #[cfg(target_os = "linux")]
    // A system that has none reads small ones.
    let _ = data.advise(memmap2::Advice::HugePage);
    data.fill(1);
    let mut best = 0.0_f64;
    for _ in 0..TIMES {
        let start = Instant::now();
        thread::scope(|scope| {
            for part in data.chunks(EACH) {
                scope.spawn(move || black_box(sum(part)));
            }
        });
        best = best.max(data.len() as f64 / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Of several stretches side by side, in several sums: so neither additions nor the memory wait for each other.
fn sum(part: &[u8]) -> u64 {
    let [a, b, c, d] = [0, 1, 2, 3].map(|quarter| &part[part.len() / 4 * quarter..][..part.len() / 4]);
    let lines = |part| <[u8]>::as_chunks::<64>(part).0;
    let mut sums = [0_u64; 8];
    for (((a, b), c), d) in lines(a).iter().zip(lines(b)).zip(lines(c)).zip(lines(d)) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let number = |line: &[u8; 64]| line.as_chunks::<8>().0.get(i).map_or(0, |n| u64::from_le_bytes(*n));
            *sum = sum.wrapping_add(number(a)).wrapping_add(number(b)).wrapping_add(number(c)).wrapping_add(number(d));
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read() {
        assert_eq!(sum(&[1; 1024]), 128 * 0x0101_0101_0101_0101);
        let speed = bytes_per_second(2).unwrap();
        println!("{:.1} GB/s", speed / 1e9);
        assert!(speed > 0.0);
    }
}
