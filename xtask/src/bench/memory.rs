//! What the memory gives: the limit of decoding, which reads every weight for each token.

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

/// In several sums, so that additions do not wait for each other.
fn sum(part: &[u8]) -> u64 {
    let mut sums = [0_u64; 32];
    for line in part.as_chunks::<256>().0 {
        for (sum, number) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*number));
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}
