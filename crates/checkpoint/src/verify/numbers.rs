//! The published sum of all numbers, which tells a model in any files: the same tensors in safetensors files, or in
//! PyTorch's files of another program, have other checksums.

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use protocol::Sentence;

use super::sums::Counter;
use crate::{
    known::{PublishedModel, PublishedSum, published_sum},
    source::{Source, Tensor},
    sum::Naive,
};

/// What the tensors of a folder add up to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub sum: f32,
    /// What the published sums say of it.
    pub said: Option<PublishedSum>,
}

/// Numbers that are in memory at a time.
const PIECE: usize = 1 << 20;

/// Adds up the tensors of a folder as the original system did; none where it cannot be read as a whole.
pub(super) fn add_up(folder: &Path, threads: usize, progress: &(dyn Fn(u64, u64) + Sync)) -> Option<Added> {
    let source = Source::open(folder).ok()?;
    let tensors = source.tensors();
    let bytes: u64 = tensors.iter().map(|t| t.info.bytes() as u64).sum();
    let counter = Counter::new(bytes, progress);
    let next = AtomicUsize::new(0);
    let sums = Mutex::new(vec![0.0f32; tensors.len()]);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, tensors.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(tensor) = tensors.get(place) else { break };
                    let sum = of(tensor, &counter);
                    sums.lock().unwrap_or_else(|e| e.into_inner())[place] = sum;
                }
            });
        }
    });
    let sums = sums.into_inner().unwrap_or_else(|e| e.into_inner());
    let sum = sums.iter().fold(0.0f32, |sum, x| sum + x);
    let weights = tensors.iter().filter(|t| !crate::diff::is_rotary(&t.info.name));
    let numbers = weights.map(|t| t.info.count() as u64).fold(0, u64::saturating_add);
    let in_32_bits = tensors.iter().all(|t| t.info.element == crate::Element::F32);
    Some(Added { sum, said: published_sum(sum, numbers, in_32_bits) })
}

fn of(tensor: &Tensor<'_>, counter: &Counter<'_>) -> f32 {
    let count = tensor.info.count();
    let mut sum = Naive::new(count);
    let mut numbers = vec![0.0; PIECE.min(count)];
    for from in (0..count).step_by(PIECE) {
        let numbers = &mut numbers[..PIECE.min(count - from)];
        tensor.numbers.read(from, numbers);
        sum.add(numbers);
        counter.add(tensor.info.element.bytes(numbers.len()).unwrap_or(0) as u64);
    }
    sum.end()
}

/// Whether files that have none of a model's published checksums hold its numbers all the same: a note, or what is wrong.
pub(super) fn judge(model: &PublishedModel, added: Option<Added>) -> Result<Sentence, String> {
    let title = &model.title;
    let others = "its files have none of the published checksums, which are those of the original program's .bin files";
    let Some(known) = model.tensor_sum else {
        return Err(format!(
            "{others}; nothing else was published of {title} (no sum for numbers of 16 bits), so nothing tells whether \
             these are its numbers: verify the original weights and the difference that it was made of"
        ));
    };
    let Some(added) = added else {
        return Err(format!("{others}, and it cannot be read as a model to add its numbers up"));
    };
    let (sum, value, tolerance) = (added.sum, known.value, known.tolerance);
    match added.said {
        Some(PublishedSum::Equal(found)) if found.name == model.name => Ok(Sentence::new(
            format!(
                "the files have other bytes than the published ones; their numbers add up to {sum:.4}, the published sum of \
                 {title} ({value}, give or take {tolerance})"
            ),
            format!(
                "文件的字节与公布的不同；所有数值之和为 {sum:.4}，与 {title} 公布的总和（{value} ± {tolerance}）相符"
            ),
        )),
        Some(PublishedSum::Unknown(_)) => {
            Err(format!("{others}; the sum of {title} was published for numbers of 32 bits, and these have fewer"))
        }
        Some(_) => Err(format!(
            "{others}, and its numbers add up to {sum:.4}; those of {title} add up to {value}, give or take {tolerance}"
        )),
        None => Err(format!("{others}, and it has not as many numbers as {title} ({})", known.numbers)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::known::by_name;

    #[test]
    fn other_files_with_the_published_sum_are_the_model() {
        let (full, half) = (by_name("zhixi-13b-base-fp32").unwrap(), by_name("zhixi-13b-base-fp16").unwrap());
        let numbers = full.tensor_sum.unwrap().numbers;
        let judged = |model, sum, numbers, in_32_bits| {
            let added = Added { sum, said: published_sum(sum, numbers, in_32_bits) };
            judge(model, Some(added)).map(|note| note.en)
        };
        assert!(judged(full, 94052.29, numbers, true).unwrap().contains("add up to 94052.2891, the published sum of"));
        assert!(judged(full, 94052.5, numbers, true).unwrap_err().contains("add up to 94052.5000; those of"));
        assert!(judged(full, 94052.29, numbers, false).unwrap_err().contains("32 bits, and these have fewer"));
        assert!(judged(full, 94052.29, 7, true).unwrap_err().contains("not as many numbers"));
        assert!(judged(half, 94052.29, numbers, false).unwrap_err().contains("nothing else was published"));
        assert!(judge(full, None).unwrap_err().contains("cannot be read"));
    }
}
