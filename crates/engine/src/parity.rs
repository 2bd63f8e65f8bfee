//! The promises about arithmetic, on a tiny model: our backend against the tensor library, and every way of
//! cutting a text into steps against every other, bit for bit.
#![allow(clippy::unwrap_used)]

use checkpoint::{Adapter, BlockFormat};

use crate::{
    backend::{Backend, Segment},
    candle::CandleModel,
    config::ModelConfig,
    cpu::{CpuModel, Isa},
    tiny::{Kind, write_adapter, write_model},
    weights::Source,
};

struct Files(tempfile::TempDir);

impl Files {
    fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_model(dir.path(), kind);
        write_adapter(dir.path());
        Self(dir)
    }

    fn open(&self) -> (Source, ModelConfig, Vec<Adapter>) {
        let source = Source::open(self.0.path()).unwrap();
        let config = source.config().unwrap();
        let adapter =
            Adapter::open(self.0.path(), |layer, p| (layer < config.layers).then(|| config.shape(p))).unwrap();
        (source, config, vec![adapter])
    }

    fn cpu(&self, threads: usize, isa: Isa) -> CpuModel {
        let (source, config, adapters) = self.open();
        CpuModel::load(source, config, &adapters, threads, isa, &|_, _| {}).unwrap()
    }
}

/// The scores after `tokens`, read in steps of the given lengths.
fn scores<B: Backend>(model: &mut B, tokens: &[u32], steps: &[usize], adapter: Option<usize>) -> Vec<f32> {
    let mut cache = model.cache();
    let (mut from, mut last) = (0, vec![]);
    for step in steps {
        let tokens = &tokens[from..from + step];
        let segment = Segment { tokens, cache: &mut cache, adapter, scores: 1 };
        last = model.each(&mut [segment]).unwrap().remove(0);
        from += step;
    }
    assert_eq!(from, tokens.len());
    last
}

fn text(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * i * 7 + i * 3) % 256).collect()
}

#[test]
fn our_scores_are_those_of_the_tensor_library() {
    for kind in [Kind::Llama, Kind::Qwen2] {
        let files = Files::new(kind);
        let (source, config, adapters) = files.open();
        let mut reference = CandleModel::load(source, config, &adapters).unwrap();
        for isa in [Isa::Portable, Isa::detect()] {
            let mut ours = files.cpu(2, isa);
            let mut plain = vec![];
            for adapter in [None, Some(0)] {
                let (a, b) = (
                    scores(&mut ours, &text(150), &[150], adapter),
                    scores(&mut reference, &text(150), &[100, 50], adapter),
                );
                let size = b.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                for (a, b) in a.iter().zip(&b) {
                    assert!((a - b).abs() < 1e-3 * size, "{a} {b} of {size}");
                }
                assert_ne!(a, plain, "the adapter changes the scores");
                plain = a;
            }
        }
    }
}

#[test]
fn weights_in_eight_bits_give_nearly_the_same_scores_also_where_heads_are_no_whole_blocks() {
    for kind in [Kind::Llama, Kind::LlamaOwnKeys] {
        let dir = tempfile::tempdir().unwrap();
        write_model(dir.path(), kind);
        let scores_in = |format: Option<BlockFormat>, isa: Isa| {
            let source = Source::open(dir.path()).unwrap();
            let mut config = source.config().unwrap();
            config.rounded_to = format;
            let mut model = CpuModel::load(source, config, &[], 2, isa, &|_, _| {}).unwrap();
            scores(&mut model, &text(150), &[100, 49, 1], None)
        };
        let want = scores_in(None, Isa::Portable);
        let size = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for isa in [Isa::Portable, Isa::detect()] {
            let got = scores_in(Some(BlockFormat::Q8_0), isa);
            assert_ne!(got, want);
            for (a, b) in got.iter().zip(&want) {
                assert!((a - b).abs() < 0.05 * size, "{a} {b} of {size}");
            }
        }
    }
}

#[test]
fn steps_threads_and_neighbours_change_no_bit() {
    let files = Files::new(Kind::Llama);
    let tokens = text(200);
    for adapter in [None, Some(0)] {
        let want = scores(&mut files.cpu(1, Isa::detect()), &tokens, &[200], adapter);
        for threads in [1, 2, 3] {
            let mut model = files.cpu(threads, Isa::detect());
            for steps in [vec![128, 72], vec![1, 127, 1, 70, 1], vec![3; 66].into_iter().chain([2]).collect()] {
                assert_eq!(scores(&mut model, &tokens, &steps, adapter), want, "{threads} {steps:?}");
            }
            // Beside runs with and without adapter, at other positions.
            let mut others: Vec<_> = (0..5).map(|_| model.cache()).collect();
            let mut cache = model.cache();
            let mut last = vec![];
            for (i, chunk) in tokens.chunks(40).enumerate() {
                let mut segments = vec![Segment { tokens: chunk, cache: &mut cache, adapter, scores: 1 }];
                for (j, other) in others.iter_mut().enumerate() {
                    let adapter = (j % 2 == 0).then_some(0);
                    segments.push(Segment {
                        tokens: &tokens[i * j..i * j + j + 1],
                        cache: other,
                        adapter,
                        scores: j % 2,
                    });
                }
                last = model.each(&mut segments).unwrap().swap_remove(0);
            }
            assert_eq!(last, want);
        }
    }
}

/// What reading a guess and checking each of its tokens needs.
#[test]
fn scores_after_several_tokens_are_those_after_each() {
    let files = Files::new(Kind::Llama);
    let tokens = text(20);
    let mut one = files.cpu(2, Isa::detect());
    let mut cache = one.cache();
    let mut want = Vec::new();
    for token in &tokens {
        let tokens = std::slice::from_ref(token);
        want.extend(
            one.each(&mut [Segment { tokens, cache: &mut cache, adapter: Some(0), scores: 1 }]).unwrap().remove(0),
        );
    }
    let mut cache = one.cache();
    let adapter = Some(0);
    one.each(&mut [Segment { tokens: &tokens[..15], cache: &mut cache, adapter, scores: 0 }]).unwrap();
    let mut other = one.cache();
    let mut segments = [
        Segment { tokens: &tokens[..3], cache: &mut other, adapter, scores: 2 },
        Segment { tokens: &tokens[15..], cache: &mut cache, adapter, scores: 4 },
    ];
    let got = one.each(&mut segments).unwrap();
    let row = want.len() / 20;
    assert_eq!(got, [want[row..3 * row].to_vec(), want[16 * row..].to_vec()]);
}

#[test]
fn a_remembered_beginning_gives_the_same_bits_and_is_not_changed_by_its_users() {
    let files = Files::new(Kind::Llama);
    let mut model = files.cpu(2, Isa::detect());
    let (a, mut b) = (text(180), text(180));
    b[150..].iter_mut().for_each(|t| *t = 255 - *t);
    let (want_a, want_b) = (scores(&mut model, &a, &[180], None), scores(&mut model, &b, &[180], None));
    assert_ne!(want_a, want_b);

    let mut remembered = model.cache();
    model.each(&mut [Segment { tokens: &a, cache: &mut remembered, adapter: None, scores: 0 }]).unwrap();
    for (tokens, want) in [(&b, &want_b), (&a, &want_a), (&b, &want_b)] {
        let mut cache = remembered.clone();
        CpuModel::truncate(&mut cache, 150);
        let segment = Segment { tokens: &tokens[150..], cache: &mut cache, adapter: None, scores: 1 };
        assert_eq!(model.each(&mut [segment]).unwrap().remove(0), *want);
    }
}

#[test]
fn steps_that_cannot_be_are_errors() {
    let files = Files::new(Kind::Llama);
    let mut model = files.cpu(1, Isa::detect());
    let mut cache = model.cache();
    let mut error = |tokens: &[u32]| {
        model.each(&mut [Segment { tokens, cache: &mut cache, adapter: None, scores: 1 }]).unwrap_err()
    };
    assert_eq!(error(&[9999]), "token 9999 is not in the model's vocabulary");
    assert_eq!(error(&text(301)), "position 301 is beyond the model's context");
}
