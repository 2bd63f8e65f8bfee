//! Tensors whose numbers come from a file, or are computed of others while they are asked for.

use std::ops::Range;

use crate::{Element, TensorView, map};

/// What is known of a tensor beside its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub element: Element,
}

impl Info {
    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Numbers in a row: the last dimension; 1 for a single number.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Bytes it takes; checked when the file was opened.
    pub fn bytes(&self) -> usize {
        self.element.bytes(self.count()).unwrap_or(0)
    }
}

/// A tensor's numbers, row after row. Every part of them can be asked for, by many threads at once.
pub trait Numbers: Send + Sync {
    /// The numbers from place `from` on, as many as `out` holds. For quantized tensors `from` begins a block.
    fn read(&self, from: usize, out: &mut [f32]);

    /// The numbers in their stored form, as many as `out` holds; `false` where there is no such form.
    fn copy(&self, from: usize, out: &mut [u8]) -> bool {
        let _ = (from, out);
        false
    }

    /// The stored form of all numbers, where it lies in one piece.
    fn whole(&self) -> Option<&[u8]> {
        None
    }
    /// Says that all was read: what was kept for the next part is let go of.
    fn done(&self) {}
}

/// A tensor that can be read.
pub struct Tensor<'a> {
    /// Name, shape, and the form it is stored in.
    pub info: Info,
    /// Its numbers.
    pub numbers: Box<dyn Numbers + 'a>,
}

impl<'a> Tensor<'a> {
    /// A tensor of numbers in memory or in a mapped file, in their own order.
    pub fn stored(info: Info, bytes: &'a [u8]) -> Self {
        let element = info.element;
        Self { info, numbers: Box::new(Stored { element, bytes }) }
    }

    /// A tensor of numbers that were computed.
    pub(crate) fn computed(name: impl Into<String>, shape: Vec<usize>, numbers: Vec<f32>) -> Self {
        let info = Info { name: name.into(), shape, element: Element::F32 };
        Self { info, numbers: Box::new(Computed(numbers)) }
    }

    /// The same tensor by another name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.info.name = name.into();
        self
    }

    /// All numbers. For small tensors.
    pub fn to_vec(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.info.count()];
        self.numbers.read(0, &mut all);
        all
    }

    /// The tensor as a matrix in memory, where it lies in one piece and holds weights.
    pub fn view(&self) -> Option<TensorView<'_>> {
        let (format, columns) = (self.info.element.format()?, self.info.columns());
        let rows = self.info.shape.iter().rev().skip(1).product();
        Some(TensorView { format, rows, columns, bytes: self.numbers.whole()? })
    }
}

impl std::fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.info.fmt(f)
    }
}

/// The pieces of `length` numbers from place `from` on that lie within one row of `columns`: the row, the columns,
/// and the places of the piece counted from `from`.
pub fn rows(from: usize, length: usize, columns: usize) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    let columns = columns.max(1);
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= length {
            return None;
        }
        let (row, column) = ((from + done) / columns, (from + done) % columns);
        let n = (columns - column).min(length - done);
        let piece = (row, column..column + n, done..done + n);
        done += n;
        Some(piece)
    })
}

/// Numbers in memory.
struct Computed(Vec<f32>);

impl Numbers for Computed {
    fn read(&self, from: usize, out: &mut [f32]) {
        out.iter_mut().zip(self.0.get(from..).unwrap_or_default()).for_each(|(o, x)| *o = *x);
    }

    fn copy(&self, from: usize, out: &mut [u8]) -> bool {
        Element::F32.pack(self.0.get(from..).unwrap_or_default(), out)
    }
}

/// Numbers that lie one after the other.
struct Stored<'a> {
    element: Element,
    bytes: &'a [u8],
}

impl Stored<'_> {
    fn at(&self, from: usize) -> &[u8] {
        let at = from / self.element.block() * self.element.block_bytes();
        self.bytes.get(at..).unwrap_or_default()
    }
}

impl Numbers for Stored<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        self.element.unpack(self.at(from), out);
    }

    fn copy(&self, from: usize, out: &mut [u8]) -> bool {
        let bytes = self.at(from);
        let n = bytes.len().min(out.len());
        out[..n].copy_from_slice(&bytes[..n]);
        true
    }

    fn whole(&self) -> Option<&[u8]> {
        Some(self.bytes)
    }
}

/// Numbers of a mapped file that lie one after the other.
pub(super) struct Mapped<'a> {
    pub(super) map: &'a map::Mapped,
    /// Where in the file they begin.
    pub(super) from: usize,
    pub(super) bytes: &'a [u8],
    pub(super) element: Element,
}

impl Mapped<'_> {
    /// Where a number's block begins.
    fn place(&self, from: usize) -> usize {
        from / self.element.block() * self.element.block_bytes()
    }
}

/// Bytes that are looked at at a time. Fewer are read in the map.
const SOME: usize = 1 << 16;

impl Numbers for Mapped<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        let (block, bytes) = (self.element.block(), self.element.block_bytes());
        let at = self.place(from);
        if out.len() / block * bytes < SOME {
            self.element.unpack(self.bytes.get(at..).unwrap_or_default(), out);
            return;
        }
        let (blocks, end) = (SOME / bytes, self.from + self.bytes.len());
        for (at, out) in (self.from + at..).step_by(blocks * bytes).zip(out.chunks_mut(blocks * block)) {
            let length = out.len() / block * bytes;
            self.map.show(at, length, end, |bytes| self.element.unpack(bytes, out));
        }
    }

    fn copy(&self, from: usize, out: &mut [u8]) -> bool {
        let at = self.place(from);
        let n = self.bytes.len().saturating_sub(at).min(out.len());
        self.map.copy(self.from + at, &mut out[..n]);
        true
    }

    fn whole(&self) -> Option<&[u8]> {
        Some(self.bytes)
    }
}

/// Numbers in another order than their own, such as a matrix that was saved transposed.
pub(super) struct Strided<'a> {
    pub(super) element: Element,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
    pub(super) bytes: &'a [u8],
}

impl Strided<'_> {
    fn number(&self, mut place: usize) -> &[u8] {
        let mut at = 0;
        for (d, s) in self.shape.iter().zip(&self.stride).rev() {
            at += place % d * s;
            place /= d;
        }
        let size = self.element.block_bytes();
        self.bytes.get(at * size..(at + 1) * size).unwrap_or_default()
    }
}

/// Numbers that are gathered before they are turned: one by one, the call takes longer than the work.
const GATHERED: usize = 512;

impl Numbers for Strided<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        let mut bytes = vec![0; GATHERED.min(out.len()) * self.element.block_bytes()];
        for (some, out) in out.chunks_mut(GATHERED).enumerate() {
            let bytes = &mut bytes[..out.len() * self.element.block_bytes()];
            self.copy(from + some * GATHERED, bytes);
            self.element.unpack(bytes, out);
        }
    }

    fn copy(&self, from: usize, out: &mut [u8]) -> bool {
        for (i, o) in out.chunks_exact_mut(self.element.block_bytes()).enumerate() {
            o.copy_from_slice(self.number(from + i));
        }
        true
    }
}

/// Matrices that are one together.
pub(super) struct Joined<'a> {
    pub(super) parts: Vec<Tensor<'a>>,
    pub(super) element: Element,
    pub(super) lie: Lie,
}

/// How matrices lie that are one together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// One below the other.
    Stacked,
    /// Each row is a row of the first, then of the second, and so on.
    SideBySide,
}

impl Joined<'_> {
    /// Calls `each` with every piece of a part: the part, the place in it, and the places in what is asked for.
    fn pieces(&self, from: usize, length: usize, mut each: impl FnMut(&Tensor<'_>, usize, Range<usize>)) {
        // One below the other, they are as side by side in a single row.
        let width = |part: &Tensor<'_>| match self.lie {
            Lie::Stacked => part.info.count(),
            Lie::SideBySide => part.info.columns(),
        };
        let columns = self.parts.iter().map(width).sum();
        for (row, wanted, place) in rows(from, length, columns) {
            let mut before = 0;
            for part in &self.parts {
                let width = width(part);
                let (a, b) = (wanted.start.max(before), wanted.end.min(before + width));
                if a < b {
                    let at = place.start + (a - wanted.start);
                    each(part, row * width + (a - before), at..at + (b - a));
                }
                before += width;
            }
        }
    }
}

impl Numbers for Joined<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        self.pieces(from, out.len(), |part, at, place| part.numbers.read(at, &mut out[place]));
    }

    fn copy(&self, from: usize, out: &mut [u8]) -> bool {
        let size = self.element.block_bytes();
        let mut all = true;
        self.pieces(from, out.len() / size, |part, at, place| {
            all &= part.numbers.copy(at, &mut out[place.start * size..place.end * size]);
        });
        all
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::BlockFormat;

    fn bytes(numbers: impl IntoIterator<Item = u16>) -> Vec<u8> {
        numbers.into_iter().flat_map(u16::to_le_bytes).collect()
    }

    fn info(shape: &[usize]) -> Info {
        Info { name: "x".into(), shape: shape.into(), element: Element::U16 }
    }

    /// Every part of the numbers is what it is in the whole, in both forms.
    fn parts_agree(numbers: &dyn Numbers, want: &[u16]) {
        for from in 0..want.len() {
            for to in from + 1..=want.len() {
                let (mut read, mut copied) = (vec![0.0; to - from], vec![0; (to - from) * 2]);
                numbers.read(from, &mut read);
                assert!(numbers.copy(from, &mut copied));
                assert_eq!(copied, bytes(want[from..to].iter().copied()));
                assert_eq!(read, want[from..to].iter().map(|n| f32::from(*n)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn strided_joined_and_stacked_numbers_are_read_in_any_part() {
        let six = bytes(0..6);
        parts_agree(&Stored { element: Element::U16, bytes: &six }, &[0, 1, 2, 3, 4, 5]);
        let transposed = Strided { element: Element::U16, shape: vec![3, 2], stride: vec![1, 3], bytes: &six };
        parts_agree(&transposed, &[0, 3, 1, 4, 2, 5]);
        // More than are turned at once.
        let many = bytes(0..1200);
        let long = Strided { element: Element::U16, shape: vec![600, 2], stride: vec![1, 600], bytes: &many };
        let mut read = vec![0.0; 1199];
        long.read(1, &mut read);
        assert!(read.iter().enumerate().all(|(i, x)| *x == (i.div_ceil(2) + (i + 1) % 2 * 600) as f32));
        let (four, two) = (bytes(10..14), bytes(20..22));
        let part = |shape: &[usize], bytes| Tensor::stored(info(shape), bytes);
        let parts = vec![part(&[2, 3], six.as_slice()), part(&[2, 1], &two), part(&[2, 2], &four)];
        let joined = Joined { parts, element: Element::U16, lie: Lie::SideBySide };
        parts_agree(&joined, &[0, 1, 2, 20, 10, 11, 3, 4, 5, 21, 12, 13]);
        let parts = vec![part(&[1, 2], &two), part(&[2, 2], &four)];
        let stacked = Joined { parts, element: Element::U16, lie: Lie::Stacked };
        parts_agree(&stacked, &[20, 21, 10, 11, 12, 13]);
    }

    #[test]
    fn long_parts_of_a_file_are_what_its_map_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let numbers: Vec<u16> = (0..100_000u32).map(|i| (i * 7919 % 65_521) as u16).collect();
        std::fs::write(&path, [&[1, 2, 3][..], &bytes(numbers.iter().copied())].concat()).unwrap();
        let map = map::Mapped::open(&path).unwrap();
        let mapped = Mapped { map: &map, from: 3, bytes: &map.bytes()[3..], element: Element::U16 };
        for (from, length) in [(0, 5), (1, 32_767), (7, 32_768), (40_000, 60_000), (0, 100_000), (99_999, 1)] {
            let wanted = &numbers[from..from + length];
            let (mut read, mut copied) = (vec![0.0; length], vec![0; length * 2]);
            mapped.read(from, &mut read);
            assert!(mapped.copy(from, &mut copied));
            assert!(read.iter().zip(wanted).all(|(x, n)| *x == f32::from(*n)), "{length} from {from}");
            assert_eq!(copied, bytes(wanted.iter().copied()), "{length} from {from}");
        }
        // Behind the last there is nothing, and nothing is written over.
        let mut read = vec![0.5; 40_000];
        mapped.read(90_000, &mut read);
        assert!(read[9999] == f32::from(numbers[99_999]) && read[10_000..].iter().all(|x| *x == 0.5));
    }

    #[test]
    fn a_view_is_a_matrix() {
        let info = Info { name: "x".into(), shape: vec![2, 3, 1], element: Element::Block(BlockFormat::F16) };
        let tensor = Tensor::stored(info, &[0; 12]);
        assert_eq!(tensor.view().map(|v| (v.rows, v.columns, v.bytes.len())), Some((6, 1, 12)));
    }
}
