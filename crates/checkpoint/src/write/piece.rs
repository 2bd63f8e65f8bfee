//! A piece of a tensor on its way into a file: read, packed, hashed and added up part by part, so that each part stays near
//! the processor from the first of these steps to the last.

use sha2::{Digest, Sha256};

use super::{Planned, WriteError, target::hex};
use crate::{
    Element,
    map::PAGE,
    sum::{Exact, Naive},
};

/// Numbers that are written at a time. A multiple of every block.
pub(super) const PIECE: usize = 1 << 20;

/// Numbers that are worked on at a time. A multiple of every block.
const PART: usize = 1 << 15;

/// The bits of a tensor's sums in 64 and 32 bits.
pub(super) type Sums = (u64, u32);

/// What is found out about a tensor while it is written.
pub(super) struct Checks {
    sha: Sha256,
    /// For archives.
    crc: Option<crc32fast::Hasher>,
    sums: Option<(Exact, Naive)>,
}

impl Checks {
    /// For a tensor of so many numbers.
    pub(super) fn new(count: usize, with_crc: bool, with_sums: bool) -> Self {
        Self {
            sha: Sha256::new(),
            crc: with_crc.then(crc32fast::Hasher::new),
            sums: with_sums.then(|| (Exact::default(), Naive::new(count))),
        }
    }

    /// Takes in the next part: its bytes, and as many numbers to unpack them into.
    fn add(&mut self, element: Element, bytes: &[u8], numbers: &mut [f32]) {
        self.sha.update(bytes);
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        if let Some((exact, naive)) = &mut self.sums {
            // The numbers as they are stored, which may be rounded.
            element.unpack(bytes, numbers);
            exact.add(numbers);
            naive.add(numbers);
        }
    }

    /// The checksum for the archive, SHA-256, and the sums.
    pub(super) fn end(self) -> (u32, String, Option<Sums>) {
        let sums = self.sums.map(|(exact, naive)| (exact.end().to_bits(), naive.end().to_bits()));
        (self.crc.map_or(0, crc32fast::Hasher::finalize), hex(&self.sha.finalize()), sums)
    }
}

/// A thread's memory.
#[derive(Default)]
pub(super) struct Buffers {
    numbers: Vec<f32>,
    bytes: Vec<u8>,
    /// How many of the bytes are still to be written.
    held: usize,
}

impl Buffers {
    /// Writes a piece of a tensor, in the form that it is to have, behind what was held back of the one before; all that is
    /// there now.
    pub(super) fn fill(
        &mut self,
        planned: &Planned<'_>,
        from: usize,
        count: usize,
        checks: &mut Checks,
    ) -> Result<&[u8], WriteError> {
        let (info, element) = (&planned.tensor.info, planned.element);
        let size = |count: usize| element.bytes(count).unwrap_or(0);
        self.bytes.resize((PAGE + size(PIECE)).max(self.bytes.len()), 0);
        self.numbers.resize(PART, 0.0);
        let end = self.held + size(count);
        let piece = &mut self.bytes[self.held..end];
        let is_kept = element == info.element && planned.tensor.numbers.copy(from, piece);
        for (at, bytes) in (0..count).step_by(PART).zip(piece.chunks_mut(size(PART).max(1))) {
            let numbers = &mut self.numbers[..PART.min(count - at)];
            if !is_kept {
                planned.tensor.numbers.read(from + at, numbers);
                if !element.pack(numbers, bytes) {
                    return Err(WriteError::Misfit {
                        tensor: info.name.clone(),
                        shape: info.shape.clone(),
                        element: element.name(),
                        container: "weights",
                    });
                }
            }
            checks.add(element, bytes, numbers);
        }
        if let Some((exact, _)) = &mut checks.sums {
            exact.end_piece();
        }
        Ok(&self.bytes[..end])
    }

    /// Holds back what is there from a place on, up to `end`: less than a page.
    pub(super) fn hold(&mut self, from: usize, end: usize) {
        self.bytes.copy_within(from..end, 0);
        self.held = end - from;
    }
}
