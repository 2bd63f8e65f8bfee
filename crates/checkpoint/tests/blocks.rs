//! Every block format unpacks to the numbers that the reference unpacks it to.
//!
//! `fixtures/blocks.json` was made once with the Python package `gguf` 0.19.0 (`gguf.quants.dequantize`) from
//! random bytes with ordinary scales.
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
