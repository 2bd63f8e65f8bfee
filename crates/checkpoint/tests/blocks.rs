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
