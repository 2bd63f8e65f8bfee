//! Small things that every answer is full of, done quickly: hashing names, and finding words in a text.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

/// A map of few, short keys.
pub(crate) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;
/// A set of the same.
pub(crate) type QuickSet<K> = HashSet<K, BuildHasherDefault<Mixer>>;

/// Multiplies and rotates, eight bytes at a time. Keys that are made to collide cost time in proportion to the answer they
/// stand in, which is short.
#[derive(Default)]
pub(crate) struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let last = rest.iter().rev().fold(rest.len() as u64, |word, byte| (word << 8) | u64::from(*byte));
        self.mix(last);
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn finish(&self) -> u64 {
        // The map looks at the upper bits and at the lower ones.
        self.0 ^ (self.0 >> 32)
    }
}

/// Needles up to this many bytes are looked for byte by byte: preparing a better search takes longer than the search.
const SHORT: usize = 48;

/// The offsets of words in a text that do not overlap, at most `most`.
pub(crate) fn offsets(text: &str, words: &str, most: usize) -> Vec<usize> {
    let (bytes, wanted) = (text.as_bytes(), words.as_bytes());
    let Some((first, rest)) = wanted.split_first().filter(|_| wanted.len() <= SHORT) else {
        return text.match_indices(words).take(most).map(|(at, _)| at).collect();
    };
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(ahead) = bytes.get(at..) {
        let Some(next) = ahead.iter().position(|byte| byte == first) else { break };
        at += next + 1;
        if bytes.get(at..).is_some_and(|behind| behind.starts_with(rest)) {
            found.push(at - 1);
            at += rest.len();
            if found.len() == most {
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_as_the_standard_library_finds_them() {
        let long = "ab".repeat(40);
        for text in ["", "a", "aaaa", "中中文中", "abcabcab", "x🙂🙂y", &long] {
            for words in ["a", "aa", "中", "中文", "abc", "🙂", "abcd", &long] {
                for most in [1, 2, 100] {
                    let expected: Vec<usize> = text.match_indices(words).take(most).map(|(at, _)| at).collect();
                    assert_eq!(offsets(text, words, most), expected, "{words} in {text}");
                }
            }
        }
    }

    #[test]
    fn keys_that_differ_in_one_byte_are_told_apart() {
        let hash = |key: &str| {
            let mut mixer = Mixer::default();
            std::hash::Hash::hash(key, &mut mixer);
            mixer.finish()
        };
        let keys = ["", "a", "b", "ab", "ba", "abcdefgh", "abcdefghi", "abcdefgh\0", "机构", "机关"];
        let different: HashSet<u64> = keys.iter().map(|key| hash(key)).collect();
        assert_eq!(different.len(), keys.len());
    }
}
