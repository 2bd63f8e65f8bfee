//! Every block format unpacks to the numbers that the reference unpacks it to, and those that are written are
//! packed to the reference's bytes.
//!
//! `fixtures/blocks.json` was made once with the Python package `gguf` 0.19.0 (`gguf.quants.dequantize`) from
//! random bytes with ordinary scales; `fixtures/quantize.json` with `gguf.quants.quantize` from random numbers of several
//! sizes, a block of zeros and a block of one number.
#![allow(clippy::unwrap_used, missing_docs)]

use checkpoint::BlockFormat;
use serde_json::Value;

#[test]
fn blocks_unpack_as_the_reference_unpacks_them() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/blocks.json")).unwrap();
    assert_eq!(cases.len(), BlockFormat::ALL.len() - 1, "all but F32");
    for case in cases {
        let name = case["format"].as_str().unwrap();
        let format = BlockFormat::ALL.into_iter().find(|f| f.name() == name).unwrap();
        let hex = case["bytes"].as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        let want: Vec<f32> = case["numbers"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect();
        let mut numbers = vec![0.0; want.len()];
        format.dequantize(&bytes, &mut numbers);
        for (got, want) in numbers.iter().zip(&want) {
            assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0), "{name}: {got} {want}");
        }
    }
}

#[test]
fn numbers_are_packed_as_the_reference_packs_them() {
    let case: Value = serde_json::from_str(include_str!("fixtures/quantize.json")).unwrap();
    let numbers: Vec<f32> = case["numbers"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect();
    let bytes = case["bytes"].as_object().unwrap();
    assert_eq!(bytes.len(), 6);
    for (name, want) in bytes {
        let format = BlockFormat::ALL.into_iter().find(|f| f.name() == name).unwrap();
        let mut out = vec![0; format.row_bytes(numbers.len()).unwrap()];
        assert!(format.quantize(&numbers, &mut out));
        let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, want.as_str().unwrap(), "{name}");
    }
}

/// What is written in blocks of 256 is read by others as what was meant: `fixtures/kblocks.py` had the Python package
/// `gguf` unpack what was packed here.
#[test]
fn what_is_packed_in_large_blocks_is_read_by_the_reference() {
    let made: Value = serde_json::from_str(include_str!("fixtures/kblocks.json")).unwrap();
    let list =
        |value: &Value| -> Vec<f32> { value.as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect() };
    let numbers = list(&made["numbers"]);
    // How far a number may be off, of the largest of its row.
    for (format, most) in [(BlockFormat::Q4K, 0.08), (BlockFormat::Q6K, 0.02)] {
        let case = &made["formats"][format.name()];
        let mut packed = vec![0; format.row_bytes(numbers.len()).unwrap()];
        assert!(format.quantize(&numbers, &mut packed));
        let hex: String = packed.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, case["bytes"].as_str().unwrap(), "{}: run kblocks.py again", format.name());
        let theirs = list(&case["read"]);
        let mut ours = vec![0.0; numbers.len()];
        format.dequantize(&packed, &mut ours);
        for (row, (numbers, theirs)) in numbers.chunks(256).zip(theirs.chunks(256)).enumerate() {
            let largest = numbers.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            for (i, ((meant, theirs), ours)) in numbers.iter().zip(theirs).zip(&ours[row * 256..]).enumerate() {
                assert!((ours - theirs).abs() <= 1e-6 * theirs.abs().max(1e-3), "{} row {row}, {i}", format.name());
                assert!((meant - theirs).abs() <= most * largest, "{} row {row}, {i}", format.name());
            }
        }
    }
}
