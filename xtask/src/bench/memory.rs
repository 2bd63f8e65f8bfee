//! What the memory gives: the limit of decoding, which reads every weight for each token.

use std::{hint::black_box, thread, time::Instant};

/// Bytes that each thread reads: more than caches hold.
const EACH: usize = 256 << 20;
/// How often.
const TIMES: usize = 4;

/// Bytes per second that so many threads read together, the best of several times.
pub fn bytes_per_second(threads: usize) -> f64 {
    let data = vec![1_u64; threads * EACH / 8];
    let mut best = 0.0_f64;
    for _ in 0..TIMES {
        let start = Instant::now();
        thread::scope(|scope| {
            for part in data.chunks(EACH / 8) {
                scope.spawn(move || black_box(sum(part)));
            }
        });
        best = best.max((data.len() * 8) as f64 / start.elapsed().as_secs_f64());
    }
    best
}

/// In several sums, so that additions do not wait for each other.
fn sum(part: &[u64]) -> u64 {
    let mut sums = [0_u64; 32];
    for line in part.chunks_exact(32) {
        for (sum, number) in sums.iter_mut().zip(line) {
            *sum = sum.wrapping_add(*number);
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}
