//! A model rounded in groups, written as a folder of packed matrices, and read again.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use checkpoint::{
    BlockFormat, Element, Source, convert,
    gptq::{GROUP, Inputs, Kept, OutputErrors, To},
    write::{Container, WriteOptions},
};
use common::{Named, folder, numbers, quiet, read};

/// Two groups and a shorter one in each row.
const COLUMNS: usize = 2 * GROUP + 32;
const ROWS: usize = 16;
const UP: &str = "model.layers.0.mlp.up_proj";

#[test]
fn packed_matrices_are_read_as_the_numbers_they_were_rounded_to() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model: [Named; 2] = [
        ("model.layers.0.mlp.up_proj.weight", vec![ROWS, COLUMNS], numbers(1, ROWS * COLUMNS)),
        ("model.norm.weight", vec![32], numbers(2, 32)),
    ];
    folder(&at("model"), Container::Safetensors, &model, u64::MAX);
    let mut products = vec![0.0; COLUMNS * COLUMNS];
    (0..COLUMNS).for_each(|i| products[i * COLUMNS + i] = 1.0);
    let rounded = Inputs::new(products, 1).unwrap().round(&model[0].2, To::Groups, 1).unwrap();
    let mut wanted = vec![0.0; ROWS * COLUMNS];
    To::Groups.format().dequantize(&rounded.bytes, &mut wanted);
    let mut kept = Kept::new(&at("kept"), "test").unwrap();
    kept.put(model[0].0, 0, [ROWS, COLUMNS], To::Groups.format(), &rounded.bytes, rounded.errors).unwrap();
    kept.end().unwrap();

    let source = Source::open(&at("model")).unwrap();
    convert::to_packed(&source, &kept, &at("packed"), &WriteOptions::new("quantize"), &quiet).unwrap();
    let packed = Source::open(&at("packed")).unwrap();
    let shape = |part: &str| {
        let info = packed.tensor(&format!("{UP}.{part}")).unwrap().info;
        (info.shape, info.element)
    };
    // As AutoGPTQ has them: eight inputs in a word, and eight outputs of a group's zeros.
    assert_eq!(shape("qweight"), (vec![COLUMNS / 8, ROWS], Element::I32));
    assert_eq!(shape("qzeros"), (vec![3, ROWS / 8], Element::I32));
    assert_eq!(shape("scales"), (vec![3, ROWS], Element::Block(BlockFormat::F16)));
    assert_eq!(shape("g_idx"), (vec![COLUMNS], Element::I32));
    let config = std::fs::read_to_string(at("packed").join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let layout = &config["quantization_config"];
    assert_eq!((&layout["true_sequential"], &layout["damp_percent"]), (&false.into(), &0.01.into()));
    assert_eq!((&layout["quant_method"], &layout["bits"]), (&"gptq".into(), &4.into()));
    assert_eq!((&layout["group_size"], &layout["checkpoint_format"]), (&128.into(), &"gptq".into()));

    let again = read(&at("packed"));
    assert_eq!(again["model.norm.weight"].1, model[1].2, "these are exact in sixteen bits");
    let (shape, found) = &again[model[0].0];
    assert_eq!(*shape, [ROWS, COLUMNS]);
    for (i, (x, y)) in found.iter().zip(&wanted).enumerate() {
        // A block's minimum is rounded to sixteen bits, a whole zero times the scale is not.
        assert!((x - y).abs() <= 2e-3 * (1.0 + y.abs()), "{i}: {x} and {y}");
    }
    let widest = model[0].2.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let step = 2.0 * widest / 15.0;
    assert!(found.iter().zip(&model[0].2).all(|(x, y)| (x - y).abs() <= 1.1 * step), "and near the model's own");
}

#[test]
fn blocks_without_a_scale_spoil_no_other_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model: [Named; 1] = [("model.layers.0.mlp.up_proj.weight", vec![8, 32], numbers(1, 256))];
    folder(&at("model"), Container::Safetensors, &model, u64::MAX);
    // Scale and minimum of the third row: 0 and 0, then infinite and no number; those of the others 1 and -5.
    for odd in [[0, 0, 0, 0], [0, 0x7c, 0xff, 0xff]] {
        let mut blocks = [&[0, 0x3c, 0, 0xc5][..], &[0; 16]].concat().repeat(8);
        blocks[40..44].copy_from_slice(&odd);
        let mut kept = Kept::new(&at("kept"), "test").unwrap();
        kept.put(model[0].0, 0, [8, 32], To::Groups.format(), &blocks, OutputErrors::default()).unwrap();
        kept.end().unwrap();
        let source = Source::open(&at("model")).unwrap();
        let options = WriteOptions { overwrite: true, ..WriteOptions::new("quantize") };
        convert::to_packed(&source, &kept, &at("packed"), &options, &quiet).unwrap();
        let packed = Source::open(&at("packed")).unwrap();
        let mut zeros = [0; 4];
        assert!(packed.tensor(&format!("{UP}.qzeros")).unwrap().numbers.copy(0, &mut zeros));
        assert_eq!(u32::from_le_bytes(zeros), 0x4444_4044, "each less one");
    }
}

#[test]
fn only_what_was_rounded_in_groups_is_packed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model: [Named; 1] = [("model.layers.0.mlp.up_proj.weight", vec![4, 32], numbers(1, 128))];
    folder(&at("model"), Container::Safetensors, &model, u64::MAX);
    let mut kept = Kept::new(&at("kept"), "test").unwrap();
    kept.put(model[0].0, 0, [4, 32], BlockFormat::Q4_0, &[0; 4 * 18], OutputErrors::default()).unwrap();
    kept.end().unwrap();
    let source = Source::open(&at("model")).unwrap();
    let error = convert::to_packed(&source, &kept, &at("x"), &WriteOptions::new("quantize"), &quiet).unwrap_err();
    assert!(error.to_string().contains("cannot be packed"), "{error}");
    assert!(!at("x").exists());
}
