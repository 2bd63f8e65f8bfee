//! Kernels of all instruction sets against the plain ones, over random shapes; and each row alone against the same row
//! among others, bit for bit.

use std::ops::Range;

use super::*;

/// Shapes for each kernel, and each kind of weights.
const ROUNDS: usize = 12;

fn sets() -> impl Iterator<Item = Isa> {
    Isa::all().into_iter().filter(|isa| *isa != Isa::Portable)
}

/// Numbers of very different sizes; some blocks are all zero.
fn uneven(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    let mut numbers = random(rng, n);
    for block in numbers.chunks_mut(16) {
        let size = if rng.random_ratio(1, 8) { 0.0 } else { 10f32.powi(rng.random_range(-3..3)) };
        block.iter_mut().for_each(|x| *x *= size);
    }
    numbers
}

/// Columns that a format can have.
fn columns(rng: &mut ChaCha8Rng, format: BlockFormat) -> usize {
    match format.block() {
        1 => 16 * rng.random_range(1..40),
        32 => 32 * rng.random_range(1..20),
        block => block * rng.random_range(1..4),
    }
}

/// A matrix, what is added to its results, and what it is multiplied with.
struct Case {
    weight: Packed,
    bias: Option<Vec<f32>>,
    /// `B` of two adapters.
    b: Option<[Packed; 2]>,
    adapters: Vec<Option<usize>>,
    z: Vec<f32>,
    rank: usize,
}

impl Case {
    fn new(rng: &mut ChaCha8Rng, format: BlockFormat, rows: usize, columns: usize, inputs: usize) -> Self {
        let bytes = random_tensor(rng, format, rows, columns);
        let rank = rng.random_range(1..20);
        let stride = stride(rank);
        let b = rng.random::<bool>().then(|| [(); 2].map(|()| factor(rng, rows, rank)));
        let packer = if rng.random() { Packer::of_pairs() } else { Packer::default() };
        Self {
            weight: pack_with(packer, TensorView { format, rows, columns, bytes: &bytes }),
            bias: rng.random::<bool>().then(|| random(rng, rows)),
            b,
            adapters: (0..inputs).map(|_| rng.random_range(0..3usize).checked_sub(1)).collect(),
            z: random(rng, inputs * stride),
            rank,
        }
    }

    /// Calls with what some of the rows need.
    fn with<R>(&self, rows: Range<usize>, run: impl FnOnce(Linear<'_>) -> R) -> R {
        let stride = stride(self.rank);
        let b: Vec<Option<&Packed>> = self.b.iter().flatten().map(Some).collect();
        let (adapters, z) = (&self.adapters[rows.clone()], &self.z[rows.start * stride..rows.end * stride]);
        let deltas = self.b.is_some().then_some(Deltas { b: &b, rows: adapters, z, at: 2, stride });
        run(Linear { weight: &self.weight, bias: self.bias.as_deref(), deltas, then: Soon::NOTHING })
    }
}

/// A factor of an adapter, as it is or rounded.
fn factor(rng: &mut ChaCha8Rng, rows: usize, columns: usize) -> Packed {
    let numbers = random(rng, rows * columns);
    pack_made(&if rng.random() { in_bytes(&numbers, rows, columns) } else { dense(&numbers, rows, columns) })
}

/// From one row of `z` to the next.
fn stride(rank: usize) -> usize {
    rank.next_multiple_of(16) + 3
}

fn close(got: &[f32], want: &[f32], what: &str) {
    let size = want.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 3e-5 * size, "{what}, number {i}: {got} {want} of {size}");
    }
}

#[test]
fn rounding_to_bytes_is_the_same_to_the_bit() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..200 {
        let columns = 16 * rng.random_range(1..60);
        let x = uneven(&mut rng, columns);
        let want = rounded(Isa::Portable, &x, 1, columns);
        for isa in sets() {
            let got = rounded(isa, &x, 1, columns);
            assert_eq!(got.bytes, want.bytes, "{}", isa.name());
            assert_eq!((&got.scales, &got.sums, &got.halves), (&want.scales, &want.sums, &want.halves));
            assert_eq!(got.pairs, want.pairs, "{}", isa.name());
        }
    }
}

#[test]
fn matrices_of_every_format_and_shape() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    for format in BlockFormat::ALL {
        for _ in 0..ROUNDS {
            let (columns, rows, inputs) =
                (columns(&mut rng, format), rng.random_range(1..70), rng.random_range(1..40usize));
            let case = Case::new(&mut rng, format, rows, columns, inputs);
            let x = random(&mut rng, inputs * columns);
            let what = |isa: Isa| format!("{} {} {rows} x {columns}, {inputs} rows", format.name(), isa.name());
            let run = |isa, which: Range<usize>| {
                let x = &x[which.start * columns..which.end * columns];
                case.with(which.clone(), |m| run_linear(isa, m, x, which.len(), rows + 2))
            };
            let want = run(Isa::Portable, 0..inputs);
            for isa in Isa::all() {
                let got = run(isa, 0..inputs);
                close(&got, &want, &what(isa));
                for i in 0..inputs {
                    let alone = run(isa, i..i + 1);
                    assert_eq!(alone, got[i * (rows + 2)..][..rows + 2], "{}, row {i} alone", what(isa));
                }
            }
        }
    }
}

#[test]
fn gates_of_every_format_and_shape() {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    for format in BlockFormat::ALL {
        for _ in 0..ROUNDS {
            // The two may be stored in different ways.
            let other = BlockFormat::ALL[rng.random_range(0..BlockFormat::ALL.len())];
            let columns = columns(&mut rng, if other.block() > format.block() { other } else { format });
            let (rows, inputs) = (rng.random_range(1..70), rng.random_range(1..40usize));
            let gate = Case::new(&mut rng, format, rows, columns, inputs);
            let up = Case::new(&mut rng, other, rows, columns, inputs);
            let x = random(&mut rng, inputs * columns);
            let run = |isa, which: Range<usize>| {
                let count = which.len();
                let activations = rounded(isa, &x[which.start * columns..which.end * columns], count, columns);
                let mut out = vec![0.0; count * rows];
                let tiles = gate.weight.tiles();
                gate.with(which.clone(), |g| {
                    up.with(which.clone(), |u| {
                        // In two pieces, as two threads would have it.
                        for tiles in [0..tiles / 2, tiles / 2..tiles] {
                            let target = Target { out: Parts::new(&mut out), stride: rows, at: 0, add: false };
                            kernels::gated(isa, g, u, &activations, count, tiles, target);
                        }
                    });
                });
                out
            };
            let want = run(Isa::Portable, 0..inputs);
            for isa in Isa::all() {
                let what = format!("{} {} {} {rows} x {columns}", format.name(), other.name(), isa.name());
                let got = run(isa, 0..inputs);
                close(&got, &want, &what);
                for i in 0..inputs {
                    assert_eq!(run(isa, i..i + 1), got[i * rows..][..rows], "{what}, row {i} alone");
                }
            }
        }
    }
}

#[test]
fn norms_and_low_rank_factors_of_every_shape() {
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    for _ in 0..10 * ROUNDS {
        let (columns, inputs, rank) = (16 * rng.random_range(1..80), rng.random_range(1..20), rng.random_range(1..40));
        let (x, weight) = (uneven(&mut rng, inputs * columns), random(&mut rng, columns));
        let a = factor(&mut rng, rank, columns);
        let stride = a.tiles() * 16 + rng.random_range(0..20);
        let norm = |isa, x: &[f32]| {
            let mut out = vec![0.0; columns];
            kernels::normalize(isa, x, &weight, 1e-5, &mut out);
            out
        };
        let narrow = |isa, x: &[f32]| {
            let mut z = vec![0.0; x.len() / columns * stride];
            kernels::narrow(isa, &a, 1.5, x, &mut z, stride, Soon::NOTHING);
            z
        };
        let (want_norm, want) = (norm(Isa::Portable, &x[..columns]), narrow(Isa::Portable, &x));
        for isa in Isa::all() {
            close(&norm(isa, &x[..columns]), &want_norm, isa.name());
            let got = narrow(isa, &x);
            close(&got, &want, isa.name());
            for (alone, got) in x.chunks(columns).zip(got.chunks(stride)) {
                assert_eq!(narrow(isa, alone), got, "{} {columns} x {rank}", isa.name());
            }
        }
    }
}

#[test]
fn attention_of_every_shape_and_window() {
    let mut rng = ChaCha8Rng::seed_from_u64(15);
    for round in 0..8 * ROUNDS {
        let (d, longest, half) = (16 * rng.random_range(1..12), rng.random_range(1..400), round % 2 == 0);
        let stored = Stored::new(&mut rng, d, longest, half);
        let ranges: Vec<Range<usize>> = (0..rng.random_range(1..12))
            .map(|_| {
                let to = rng.random_range(1..=longest);
                let from = if rng.random::<bool>() { 0 } else { rng.random_range(0..to) };
                from..to
            })
            .collect();
        let queries: Vec<_> = ranges.iter().map(|_| random(&mut rng, d)).collect();
        let want = stored.attend(Isa::Portable, &queries, &ranges);
        for isa in Isa::all() {
            let got = stored.attend(isa, &queries, &ranges);
            let what = format!("{} d {d} half {half} {ranges:?}", isa.name());
            close(&got.concat(), &want.concat(), &what);
            for (i, got) in got.iter().enumerate() {
                let alone = stored.attend(isa, &queries[i..=i], &ranges[i..=i]);
                assert_eq!(alone[0], *got, "{what}, query {i} alone");
            }
        }
    }
}

/// What damaged weights give must be seen, or a text would be wrong and nobody knew.
#[test]
fn what_is_no_number_is_seen_in_all_results_of_its_row_and_of_no_other() {
    let mut rng = ChaCha8Rng::seed_from_u64(16);
    let (rows, inputs) = (20, 11);
    let seen = |results: &[f32]| results.iter().all(|x| !x.is_finite());
    let bad = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let formats = BlockFormat::ALL.map(|format| (format, false)).into_iter().chain([(BlockFormat::Bf16, true)]);
    for ((format, pairs), bad) in formats.flat_map(|format| bad.map(|bad| (format, bad))) {
        let columns = columns(&mut rng, format);
        let bytes = random_tensor(&mut rng, format, rows, columns);
        let packer = if pairs { Packer::of_pairs() } else { Packer::default() };
        let weight = pack_with(packer, TensorView { format, rows, columns, bytes: &bytes });
        let m = Linear { weight: &weight, bias: None, deltas: None, then: Soon::NOTHING };
        let mut x = random(&mut rng, inputs * columns);
        let damaged = rng.random_range(0..inputs);
        x[damaged * columns + rng.random_range(0..columns)] = bad;
        for isa in Isa::all() {
            let activations = rounded(isa, &x, inputs, columns);
            let mut gated = vec![0.0; inputs * rows];
            let target = Target { out: Parts::new(&mut gated), stride: rows, at: 0, add: false };
            kernels::gated(isa, m, m, &activations, inputs, 0..weight.tiles(), target);
            let linear = run_linear(isa, m, &x, inputs, rows + 1);
            for i in 0..inputs {
                let what = format!("{bad} {} {}, row {i} of {damaged}", format.name(), isa.name());
                let linear = &linear[i * (rows + 1) + 1..][..rows];
                assert_eq!(seen(linear), i == damaged, "{what}");
                assert_eq!(linear.iter().any(|x| !x.is_finite()), i == damaged, "{what}");
                // A gate below all numbers is zero times an infinity, or no number.
                assert_eq!(gated[i * rows..][..rows].iter().any(|x| !x.is_finite()), i == damaged, "{what}");
            }
        }
    }
}

#[test]
fn what_is_no_number_is_seen_by_those_that_look_at_it() {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let (d, longest) = (32, 90);
    for (bad, half) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().flat_map(|b| [(b, true), (b, false)]) {
        for part in ["query", "key", "value"] {
            let mut stored = Stored::new(&mut rng, d, longest, half);
            let ranges = [0..90, 0..41, 41..90, 0..40, 40..41];
            let mut queries: Vec<_> = ranges.iter().map(|_| random(&mut rng, d)).collect();
            let (position, number) = (40, rng.random_range(0..d));
            match part {
                "query" => queries[2][number] = bad,
                "key" => stored.set_key(position, number, bad),
                _ => stored.set_value(position, number, bad),
            }
            for isa in Isa::all() {
                let out = stored.attend(isa, &queries, &ranges);
                for (i, range) in ranges.iter().enumerate() {
                    let hit = if part == "query" { i == 2 } else { range.contains(&position) };
                    let what = format!("{bad} in a {part}, {range:?}, {}", isa.name());
                    assert_eq!(out[i].iter().any(|x| !x.is_finite()), hit, "{what}");
                }
            }
        }
    }
}
