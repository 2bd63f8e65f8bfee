//! Breaking files at random, and watching how they are read.

use std::{
    env, fs,
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use super::memory;

/// A small file may take so much memory, and a hundred times its own size beside.
const MEMORY: usize = 8 << 20;

/// No file of a few kilobytes may take longer.
const LONGEST: Duration = Duration::from_secs(3);

/// Numbers that are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }

    /// Breaks a file in one to six places.
    fn break_up(&mut self, whole: &[u8], other: &[u8]) -> Vec<u8> {
        const ODD: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff_ffff, 1 << 60, u64::MAX, 0x7fff_ffff_ffff_ffff];
        let mut bytes = whole.to_vec();
        for _ in 0..=self.roll(6) {
            // Beginnings and ends say more than the middle.
            let near = |dice: &mut Self, length: usize| match dice.roll(3) {
                0 => dice.roll(length.min(64)),
                1 => length.saturating_sub(1 + dice.roll(length.min(256))),
                _ => dice.roll(length),
            };
            let at = near(self, bytes.len());
            if bytes.is_empty() {
                break;
            }
            match self.roll(6) {
                0 => bytes[at] ^= 1 << self.roll(8),
                1 => bytes[at] = self.roll(256) as u8,
                2 => {
                    let number = ODD[self.roll(ODD.len())].to_le_bytes();
                    let width = [1, 2, 4, 8][self.roll(4)].min(bytes.len() - at);
                    bytes[at..at + width].copy_from_slice(&number[..width]);
                }
                3 => bytes.truncate(at),
                4 => {
                    let from = self.roll(other.len());
                    let length = self.roll(64).min(other.len() - from).min(bytes.len() - at);
                    bytes[at..at + length].copy_from_slice(&other[from..from + length]);
                }
                _ => {
                    let piece = bytes[at..(at + 40).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    }
}

/// Breaks the file again and again, and has it read.
pub fn fuzz(whole: &[u8], name: &str, read: impl Fn(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    fuzz_in(dir.path(), whole, name, read);
}

/// The same in a folder with other files.
pub fn fuzz_in(dir: &Path, whole: &[u8], name: &str, read: impl Fn(&Path)) {
    let seconds = set("KNOWLM_FUZZ_SECONDS").unwrap_or(1);
    let seed = set("KNOWLM_FUZZ_SEED").filter(|seed| *seed != 0).unwrap_or(0x9e37_79b9_7f4a_7c15);
    eprintln!("{name}: KNOWLM_FUZZ_SEED={seed}");
    let path = dir.join(name);
    let mut dice = Dice(seed);
    let (started, mut count) = (Instant::now(), 0);
    fs::write(&path, whole).unwrap();
    read(&path);
    while started.elapsed() < Duration::from_secs(seconds) {
        let broken = dice.break_up(whole, whole);
        fs::write(&path, &broken).unwrap();
        // A machine that does other things may be slow once; a file that takes long does so each time.
        let most = (broken.len() * 100).max(MEMORY);
        let took = || {
            let begun = Instant::now();
            let memory = memory::most(|| read(&path));
            assert!(memory < most, "case {count} of {name}, {} bytes, took {memory} bytes of memory", broken.len());
            begun.elapsed()
        };
        let quick = took() < LONGEST || took() < LONGEST;
        assert!(quick, "case {count} of {name} took longer than {LONGEST:?}, twice");
        count += 1;
    }
    eprintln!("{name}: {count} files");
}

/// A number of the environment.
fn set<T: FromStr>(name: &str) -> Option<T> {
    env::var(name).ok()?.parse().ok()
}
