//! The fast kernels against plain arithmetic.
#![allow(clippy::unwrap_used)]

use checkpoint::{BlockFormat, TensorView};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    kernels::{self, Activations, Deltas, Linear, Target},
    pack::{Dense, Kind, Packed, Packer, dense, in_bytes},
    simd::Isa,
    team::Parts,
    tiles::Soon,
};

mod random;
mod stored;

use stored::Stored;

fn pack(view: TensorView<'_>) -> Packed {
    pack_with(Packer::default(), view)
}

fn pack_with<'a>(mut packer: Packer<'a>, view: TensorView<'a>) -> Packed {
    packer.add(view);
    packer.pack(2, &|_| {}).unwrap().remove(0)
}

fn pack_dense(numbers: &[f32], rows: usize, columns: usize) -> Packed {
    pack_made(&dense(numbers, rows, columns))
}

fn pack_made(made: &Dense) -> Packed {
    let mut packer = Packer::default();
    packer.add_dense(made.form, &made.bytes);
    packer.pack(1, &|_| {}).unwrap().remove(0)
}

fn random(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Random bytes of a format, with scales that are ordinary numbers.
fn random_tensor(rng: &mut ChaCha8Rng, format: BlockFormat, rows: usize, columns: usize) -> Vec<u8> {
    if format.block() == 1 {
        let numbers = random(rng, rows * columns);
        return match format {
            BlockFormat::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            BlockFormat::F16 => numbers.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
            _ => numbers.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect(),
        };
    }
    let mut bytes: Vec<u8> = (0..format.row_bytes(columns).unwrap() * rows).map(|_| rng.random()).collect();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        let mut put = |at: usize| {
            let scale = half::f16::from_f32(rng.random_range(-0.1..0.1));
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        };
        match format {
            BlockFormat::Q6K => put(208),
            BlockFormat::Q8_0 | BlockFormat::Q4_0 | BlockFormat::Q5_0 => put(0),
            _ => {
                put(0);
                put(2);
            }
        }
    }
    bytes
}

/// Rows of activations, rounded.
fn rounded(isa: Isa, x: &[f32], rows: usize, columns: usize) -> Activations {
    let mut activations = Activations::new(columns, true);
    activations.reserve(rows);
    activations.numbers[..x.len()].copy_from_slice(x);
    let parts = activations.parts();
    for row in 0..rows {
        // SAFETY: the only thread.
        #[allow(unsafe_code)]
        unsafe {
            parts.quantize(isa, row);
        }
    }
    activations
}

fn run_linear(isa: Isa, m: Linear<'_>, x: &[f32], rows: usize, stride: usize) -> Vec<f32> {
    let activations = rounded(isa, x, rows, m.weight.columns);
    let mut out = vec![1.0; rows * stride];
    let target = Target { out: Parts::new(&mut out), stride, at: 1, add: true };
    kernels::linear(isa, m, &activations, rows, 0..m.weight.tiles(), target);
    out
}

#[test]
fn every_format_multiplies_as_its_unpacked_numbers_do() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (rows, columns, inputs) = (21, 256, 11);
    for format in BlockFormat::ALL {
        let bytes = random_tensor(&mut rng, format, rows, columns);
        let view = TensorView { format, rows, columns, bytes: &bytes };
        let numbers = crate::weights::numbers(&view);
        let packed = pack(view.clone());
        let x = random(&mut rng, inputs * columns);
        for isa in Isa::all() {
            let out = run_linear(
                isa,
                Linear { weight: &packed, bias: None, deltas: None, then: Soon::NOTHING },
                &x,
                inputs,
                rows + 2,
            );
            for i in 0..inputs {
                assert_eq!(out[i * (rows + 2)], 1.0, "the column before is left alone");
                for r in 0..rows {
                    let terms = x[i * columns..][..columns].iter().zip(&numbers[r * columns..][..columns]);
                    let (want, size) = terms.fold((1.0f64, 0.0f64), |(sum, size), (a, b)| {
                        let term = f64::from(*a) * f64::from(*b);
                        (sum + term, size + term * term)
                    });
                    let got = f64::from(out[i * (rows + 2) + 1 + r]);
                    // Rounding an activation to a byte is wrong by at most half of 1/127.
                    assert!(
                        (got - want).abs() < 0.02 * size.sqrt() + 1e-3,
                        "{} {}: {got} {want}",
                        format.name(),
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (rows, columns, inputs) = (32, 512, 15);
    for format in BlockFormat::ALL {
        let bytes = random_tensor(&mut rng, format, rows, columns);
        let packed = pack(TensorView { format, rows, columns, bytes: &bytes });
        let b = pack_dense(&random(&mut rng, rows * 16), rows, 16);
        let z = random(&mut rng, inputs * 16);
        let x = random(&mut rng, inputs * columns);
        for isa in Isa::all() {
            // One row with the adapter by itself, then many next to each other.
            let adapters: Vec<_> = (0..inputs).map(|i| (i == 0 || i > 2).then_some(0)).collect();
            let together = {
                let b = [Some(&b)];
                let deltas = Some(Deltas { b: &b, rows: &adapters, z: &z, at: 0, stride: 16 });
                run_linear(
                    isa,
                    Linear { weight: &packed, bias: None, deltas, then: Soon::NOTHING },
                    &x,
                    inputs,
                    rows + 2,
                )
            };
            for i in 0..inputs {
                let b = [Some(&b)];
                let deltas = Some(Deltas { b: &b, rows: &adapters[i..=i], z: &z[i * 16..], at: 0, stride: 16 });
                let alone = run_linear(
                    isa,
                    Linear { weight: &packed, bias: None, deltas, then: Soon::NOTHING },
                    &x[i * columns..][..columns],
                    1,
                    rows + 2,
                );
                assert_eq!(alone, together[i * (rows + 2)..][..rows + 2], "{} {}", format.name(), isa.name());
            }
        }
    }
}

#[test]
fn low_rank_factors_add_b_times_a() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (outputs, inputs, rank) = (48, 64, 5);
    let (a, b, x) = (random(&mut rng, rank * inputs), random(&mut rng, outputs * rank), random(&mut rng, inputs));
    let zero = vec![0u8; outputs * inputs * 4];
    let weight = pack(TensorView { format: BlockFormat::F32, rows: outputs, columns: inputs, bytes: &zero });
    let (packed_a, packed_b) = (pack_dense(&a, rank, inputs), pack_dense(&b, outputs, rank));
    for isa in Isa::all() {
        let mut z = vec![0.0; 16];
        kernels::narrow(isa, &packed_a, 2.0, &x, &mut z, 16, Soon::NOTHING);
        let (beside, stride) = ([&x[..], &x, &x, &x, &x].concat(), 48);
        let mut of_all = vec![0.0; 5 * stride];
        kernels::narrow(isa, &packed_a, 2.0, &beside, &mut of_all, stride, Soon::NOTHING);
        assert!(of_all.chunks(stride).all(|of_one| of_one[..16] == z), "{}", isa.name());
        let b_of = [Some(&packed_b)];
        let deltas = Some(Deltas { b: &b_of, rows: &[Some(0)], z: &z, at: 0, stride: 16 });
        let bias = vec![0.5; outputs];
        let out = run_linear(
            isa,
            Linear { weight: &weight, bias: Some(&bias), deltas, then: Soon::NOTHING },
            &x,
            1,
            outputs + 1,
        );
        for o in 0..outputs {
            let want: f32 = (0..rank)
                .map(|r| 2.0 * b[o * rank + r] * (0..inputs).map(|i| a[r * inputs + i] * x[i]).sum::<f32>())
                .sum();
            assert!((out[o + 1] - 1.5 - want).abs() < 1e-4, "{}", isa.name());
        }
    }
}

#[test]
fn rounded_factors_are_near_at_any_size() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for size in [1e-12, 1e-3, 1.0, 7e9] {
        let (rank, columns) = (19, 96);
        let a: Vec<f32> = random(&mut rng, rank * columns).iter().map(|x| x * size).collect();
        let x = random(&mut rng, columns);
        let made = in_bytes(&a, rank, columns);
        assert_eq!(made.form.kind, Kind::Signed);
        let packed = pack_made(&made);
        for isa in Isa::all() {
            let mut z = vec![0.0; 32];
            kernels::narrow(isa, &packed, made.unit, &x, &mut z, 32, Soon::NOTHING);
            for (a, z) in a.chunks(columns).zip(&z) {
                let want: f32 = a.iter().zip(&x).map(|(a, x)| a * x).sum();
                assert!((want - z).abs() < 0.08 * size, "{want} {z} {size} {}", isa.name());
            }
            assert!(z[rank..].iter().all(|z| *z == 0.0));
        }
    }
    // What has no such form stays as it is.
    for (odd, kind) in [(f32::NAN, Kind::F32), (f32::INFINITY, Kind::F16), (1e-44, Kind::F32)] {
        assert_eq!(in_bytes(&[0.0, odd], 1, 2).form.kind, kind, "{odd}");
    }
    let nothing = pack_made(&in_bytes(&[0.0; 48], 3, 16));
    assert!(nothing.tile(0).iter().all(|byte| *byte == 0));
}

#[test]
fn attention_is_that_of_the_textbook_alone_and_beside_others() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let cases = [
        (64, vec![0..1; 1]),
        (64, vec![0..16, 0..15, 0..17]),
        (80, vec![0..37; 7]),
        (128, vec![0..300, 0..298, 0..299, 0..1, 0..129]),
        // Windows that move.
        (64, vec![163..200, 164..201, 165..202, 166..203]),
        (32, vec![15..16, 16..17, 17..18, 31..33, 0..40, 70..100]),
    ];
    for ((d, ranges), half) in cases.iter().flat_map(|case| [(case, false), (case, true)]) {
        let d = *d;
        let stored = Stored::new(&mut rng, d, ranges.iter().map(|r| r.end).max().unwrap(), half);
        let numbers: Vec<Vec<f32>> = ranges.iter().map(|_| random(&mut rng, d)).collect();
        for isa in Isa::all() {
            let together = stored.attend(isa, &numbers, ranges);
            for (i, range) in ranges.iter().enumerate() {
                let alone = stored.attend(isa, &numbers[i..=i], &ranges[i..=i]);
                assert_eq!(alone[0], together[i], "{}", isa.name());
                let (keys, values) = (&stored.keys, &stored.values);
                let scores: Vec<f64> = (range.clone())
                    .map(|p| (0..d).map(|c| f64::from(numbers[i][c] * keys[p * d + c])).sum::<f64>())
                    .map(|dot| (dot / (d as f64).sqrt()).exp())
                    .collect();
                let total: f64 = scores.iter().sum();
                for c in 0..d {
                    let terms = range.clone().zip(&scores);
                    let want: f64 = terms.map(|(p, score)| score / total * f64::from(values[p * d + c])).sum();
                    assert!((f64::from(together[i][c]) - want).abs() < 1e-5, "{} d {d} {range:?}", isa.name());
                }
            }
        }
    }
}

#[test]
fn the_norm_is_that_of_the_textbook() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (x, weight) = (random(&mut rng, 96), random(&mut rng, 96));
    let rms = (x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 96.0 + 1e-5).sqrt();
    for isa in Isa::all() {
        let mut out = vec![0.0; 96];
        kernels::normalize(isa, &x, &weight, 1e-5, &mut out);
        for i in 0..96 {
            assert!((f64::from(out[i]) - f64::from(x[i]) / rms * f64::from(weight[i])).abs() < 1e-5);
        }
    }
}
