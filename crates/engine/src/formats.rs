//! Models whose matrices are stored in each of the formats of GGUF files: scores of whole models, and that a row's are
//! its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use checkpoint::{Adapter, BlockFormat, Projection, adapter::Factors};
use protocol::AdapterManifest;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    backend::{Backend, Segment},
    candle::CandleModel,
    cpu::{CpuModel, Isa},
    tiny_gguf::{TinyGguf, VOCABULARY},
    weights::Source,
};

fn saved(model: &TinyGguf) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    model.save(file.path());
    file
}

fn cpu(file: &tempfile::NamedTempFile, adapters: &[Adapter], threads: usize, isa: Isa) -> CpuModel {
    let source = Source::open(file.path()).unwrap();
    let config = source.config().unwrap();
    CpuModel::load(source, config, adapters, threads, isa, &|_, _| {}).unwrap()
}

fn text(seed: u64, n: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(0..VOCABULARY as u32)).collect()
}

/// By how much scores differ, as a share of their size.
fn distance(got: &[f32], want: &[f32]) -> f32 {
    let square = |x: f32| x * x;
    let off: f32 = got.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    (off / want.iter().map(|b| square(*b)).sum::<f32>()).sqrt()
}

/// The numbers that the formats stand for are held against those of the `gguf` package by `checkpoint`'s tests; here
/// single precision computes with them.
#[test]
fn scores_in_every_format_are_those_of_the_numbers_it_stands_for() {
    use BlockFormat::{Bf16, F16, F32};
    let tokens = text(1, 90);
    for format in BlockFormat::ALL {
        let stored = TinyGguf::new(format);
        let plain = saved(&stored.plain());
        let source = Source::open(plain.path()).unwrap();
        let config = source.config().unwrap();
        let mut reference = CandleModel::load(source, config, &[]).unwrap();
        let (mut reference_cache, file) = (reference.cache(), saved(&stored));
        let segment = Segment { tokens: &tokens, cache: &mut reference_cache, adapter: None, scores: 90 };
        let want = reference.each(&mut [segment]).unwrap().remove(0);
        for isa in Isa::all() {
            // Nothing is rounded but the last digits; keys and values to half precision; activations to bytes, or to `bf16`
            // where there are instructions for it, too.
            let bound = match format {
                F32 => 1e-5,
                Bf16 if isa.pairs() => 0.01,
                F16 | Bf16 => 1e-3,
                _ => 0.04,
            };
            let mut model = cpu(&file, &[], 2, isa);
            let mut cache = model.cache();
            let segment = Segment { tokens: &tokens, cache: &mut cache, adapter: None, scores: 90 };
            let got = model.each(&mut [segment]).unwrap().remove(0);
            let off = distance(&got, &want);
            println!("{} {} {off}", format.name(), isa.name());
            assert!(off < bound, "{} {}: {off}", format.name(), isa.name());
        }
    }
}

/// Random changes of some projections.
fn adapter(c: &crate::config::ModelConfig) -> Adapter {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut factors = BTreeMap::new();
    let rank = 5;
    for (layer, p) in
        (0..c.layers).flat_map(|layer| [Projection::Q, Projection::V, Projection::Down].map(|p| (layer, p)))
    {
        let (outputs, inputs) = c.shape(p);
        let mut random = |n: usize| (0..n).map(|_| rng.random_range(-0.1..0.1)).collect();
        let (a, b) = (random(rank * inputs), random(outputs * rank));
        factors.insert((layer, p), Factors { scale: 2.0, a, b, rank, inputs, outputs });
    }
    Adapter { rank, factors, manifest: AdapterManifest::unknown("") }
}

/// A run: its text, its adapter, and of how many tokens another has read the same.
struct Run {
    tokens: Vec<u32>,
    adapter: Option<usize>,
    known: usize,
}

/// Sixteen at once, each at its own pace, some of which find their beginning remembered.
#[test]
fn quantized_rows_are_the_same_bits_alone_and_among_fifteen_others() {
    for (format, isa) in [BlockFormat::Q4_0, BlockFormat::Q4_1, BlockFormat::Q4K, BlockFormat::Q8_0, BlockFormat::Bf16]
        .into_iter()
        .flat_map(|format| Isa::all().into_iter().map(move |isa| (format, isa)))
    {
        let file = saved(&TinyGguf::new(format));
        let adapters = [adapter(&Source::open(file.path()).unwrap().config().unwrap())];
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let beginning = text(7, 100);
        let runs: Vec<Run> = (0..16)
            .map(|i| {
                let known = if i % 3 == 0 { rng.random_range(1..100) } else { 0 };
                let own = text(100 + i, rng.random_range(20..90));
                Run { tokens: [&beginning[..known], &own].concat(), adapter: (i % 2 == 0).then_some(0), known }
            })
            .collect();
        let mut alone = cpu(&file, &adapters, 1, isa);
        let mut read = |run: &Run| {
            let mut cache = alone.cache();
            let segment = Segment { tokens: &run.tokens, cache: &mut cache, adapter: run.adapter, scores: 1 };
            alone.each(&mut [segment]).unwrap().remove(0)
        };
        let want: Vec<_> = runs.iter().map(&mut read).collect();

        let mut model = cpu(&file, &adapters, 2, isa);
        let mut remembered = [None, Some(0)].map(|adapter| {
            let mut cache = model.cache();
            for tokens in beginning.chunks(33) {
                model.each(&mut [Segment { tokens, cache: &mut cache, adapter, scores: 0 }]).unwrap();
            }
            cache
        });
        for reuse in [false, true] {
            let mut caches: Vec<_> = (runs.iter())
                .map(|run| {
                    let mut cache =
                        if reuse { remembered[usize::from(run.adapter.is_some())].clone() } else { model.cache() };
                    CpuModel::truncate(&mut cache, run.known);
                    cache
                })
                .collect();
            let mut last = vec![vec![]; runs.len()];
            while runs.iter().zip(&caches).any(|(run, cache)| cache.len() < run.tokens.len()) {
                let (mut of, mut segments) = (vec![], vec![]);
                for (i, (run, cache)) in runs.iter().zip(&mut caches).enumerate() {
                    let left = &run.tokens[cache.len()..];
                    let step = if rng.random() { 1 } else { rng.random_range(1..40) };
                    if !left.is_empty() {
                        of.push(i);
                        let tokens = &left[..left.len().min(step)];
                        segments.push(Segment { tokens, cache, adapter: run.adapter, scores: 1 });
                    }
                }
                let scores = model.each(&mut segments).unwrap();
                of.into_iter().zip(scores).for_each(|(i, scores)| last[i] = scores);
            }
            for (i, (got, want)) in last.iter().zip(&want).enumerate() {
                assert!(got == want, "{} {}: run {i}, reuse {reuse}", format.name(), isa.name());
            }
        }
        remembered.iter_mut().for_each(|cache| CpuModel::truncate(cache, 0));
    }
}
