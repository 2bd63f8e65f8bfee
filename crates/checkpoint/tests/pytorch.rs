//! PyTorch's files are read as data: those that it makes, and those that someone made to do harm.
//!
//! The files of `fixtures/pytorch` were made by its `make.py`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use checkpoint::{BlockFormat, HuggingFace, pytorch::tensors};
use proptest::prelude::*;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch").join(name)).unwrap()
}

fn error(bytes: &[u8]) -> String {
    tensors(bytes, &PathBuf::from("m.bin")).unwrap_err().to_string()
}

/// The number `i` of those that the fixtures count up.
fn number(i: usize) -> f32 {
    i as f32 / 8.0 - 1.0
}

#[test]
fn tensors_are_those_that_were_saved() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), "{}").unwrap();
    fs::write(dir.path().join("pytorch_model.bin"), fixture("tensors.bin")).unwrap();
    let model = HuggingFace::open(dir.path()).unwrap();
    for (name, format, rows, columns, first) in [
        ("a.weight", BlockFormat::F32, 4, 6, 0),
        ("half", BlockFormat::F16, 1, 6, 0),
        ("brain", BlockFormat::Bf16, 3, 2, 0),
        ("parameter", BlockFormat::F32, 1, 6, 6),
        ("part", BlockFormat::F32, 2, 6, 12),
        ("number", BlockFormat::F32, 1, 1, 12),
    ] {
        let view = model.tensor(name).unwrap();
        assert_eq!((view.format, view.rows, view.columns), (format, rows, columns), "{name}");
        let mut got = vec![0.0; rows * columns];
        format.dequantize(view.bytes, &mut got);
        assert_eq!(got, (first..first + rows * columns).map(number).collect::<Vec<_>>(), "{name}");
    }
    assert!(model.find("position_ids").is_none(), "integers are no weights");
}

#[test]
fn earlier_and_later_versions_are_read_too() {
    let (early, now) = (fixture("legacy.bin"), fixture("tensors.bin"));
    let bytes = |file: &[u8]| {
        let found = tensors(file, Path::new("m.bin")).unwrap();
        found.into_iter().map(|t| (t.name, t.format, t.shape, file[t.from..t.to].to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(bytes(&early), bytes(&now));
    for length in (0..early.len()).step_by(7) {
        error(&early[..length]);
    }
    let found = tensors(&fixture("protocol4.bin"), Path::new("m.bin")).unwrap();
    assert_eq!((found.len(), found[0].name.as_str(), found[0].shape.as_slice()), (1, "a", &[4usize][..]));
}

#[test]
fn what_is_no_plain_dictionary_of_tensors_is_refused_by_name() {
    assert_eq!(
        error(&fixture("module.bin")),
        "m.bin holds more than plain tensors and was not read: it asks for torch.nn.modules.linear.Linear"
    );
    assert!(error(&fixture("nested.bin")).contains("its dictionary holds no tensors"));
    assert!(error(&fixture("transposed.bin")).contains("tensor a is stored in another order than its own"));
    assert!(error(b"").contains("is no zip archive"));
    assert!(error(b"hello").contains("is no zip archive"));
}

#[test]
fn a_cut_file_is_an_error_wherever_it_is_cut() {
    let bytes = fixture("tensors.bin");
    for length in (0..bytes.len()).step_by(7) {
        error(&bytes[..length]);
    }
}

/// A zip archive of stored entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (vec![], vec![]);
    for (name, content) in entries {
        let (at, size, length) = (file.len() as u32, content.len() as u32, name.len() as u16);
        let sizes = [size.to_le_bytes(), size.to_le_bytes()].concat();
        file.extend(
            [b"PK\x03\x04", &[0; 14][..], &sizes, &length.to_le_bytes(), &[0; 2], name.as_bytes(), content].concat(),
        );
        let fixed = [b"PK\x01\x02", &[0; 16][..], &sizes, &length.to_le_bytes(), &[0; 12], &at.to_le_bytes()].concat();
        directory.extend([&fixed, name.as_bytes()].concat());
    }
    let (at, count) = ((file.len() as u32).to_le_bytes(), (entries.len() as u16).to_le_bytes());
    let size = (directory.len() as u32).to_le_bytes();
    [file, directory, [b"PK\x05\x06", &[0; 4][..], &count, &count, &size, &at, &[0; 2]].concat()].concat()
}

/// The same in the form for files beyond four gigabytes: the numbers that could be too large are elsewhere.
fn large_archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (vec![], vec![]);
    let wide = |n: usize| (n as u64).to_le_bytes();
    for (name, content) in entries {
        let (at, size, length) = (wide(file.len()), wide(content.len()), (name.len() as u16).to_le_bytes());
        file.extend([b"PK\x03\x04", &[0; 14][..], &[0xff; 8], &length, &[20, 0], name.as_bytes()].concat());
        file.extend([&[1, 0, 16, 0][..], &size, &size, content].concat());
        directory.extend([b"PK\x01\x02", &[0; 16][..], &[0xff; 8], &length, &[28, 0], &[0; 10], &[0xff; 4]].concat());
        directory.extend([name.as_bytes(), &[1, 0, 24, 0], &size, &size, &at].concat());
    }
    let (from, count, size) = (wide(file.len()), wide(entries.len()), wide(directory.len()));
    let end = wide(file.len() + directory.len());
    let large = [b"PK\x06\x06", &wide(44)[..], &[0; 12], &count, &count, &size, &from].concat();
    let locator = [b"PK\x06\x07", &[0; 4][..], &end, &[1, 0, 0, 0]].concat();
    let small = [b"PK\x05\x06", &[0; 4][..], &[0xff; 12], &[0; 2]].concat();
    [file, directory, large, locator, small].concat()
}

fn pickled(program: &[u8]) -> Vec<u8> {
    archive(&[("m/data.pkl", program), ("m/data/0", &[0; 16])])
}

/// A dictionary with the tensor "a" in a storage of 16 bytes; shape and stride are instructions.
fn with_tensor(offset: &[u8], shape: &[u8], stride: &[u8]) -> Vec<u8> {
    let head =
        b"\x80\x02}U\x01actorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x04tQ";
    pickled(&[head, offset, shape, stride, b"\x89NtRs."].concat())
}

#[test]
fn a_file_written_by_hand_is_read() {
    let found = tensors(&with_tensor(b"K\x00", b"K\x02K\x02\x86", b"K\x02K\x01\x86"), Path::new("m.bin")).unwrap();
    assert_eq!((found[0].shape.as_slice(), found[0].to - found[0].from), (&[2, 2][..], 16));
}

#[test]
fn the_form_for_large_files_is_read() {
    let program = b"\x80\x02}U\x01actorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nHalfStorage\nU\x010U\x03cpuK\x02tQK\x00K\x02\x85K\x01\x85\x89NtRs.";
    let file = large_archive(&[("m/data.pkl", program), ("m/data/0", &[1, 2, 3, 4])]);
    let found = tensors(&file, Path::new("m.bin")).unwrap();
    assert_eq!((found[0].format, &file[found[0].from..found[0].to]), (Some(BlockFormat::F16), &[1, 2, 3, 4][..]));
    // The last bytes are the length of a comment, which nothing needs.
    for length in (0..file.len() - 6).step_by(3) {
        error(&file[..length]);
    }
}

#[test]
fn no_program_is_run() {
    for (program, words) in [
        (&b"cos\nsystem\n(U\x04exittR."[..], "it asks for os.system"),
        (b"\x80\x02cposix\nsystem\nU\x02ls\x85R.", "it asks for posix.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "it asks for builtins.eval"),
        (b"c__builtin__\nexec\n.", "it asks for __builtin__.exec"),
        (b"ctorch\nload\n.", "it asks for torch.load"),
        (b"ctorch.hub\nload\n.", "it asks for torch.hub.load"),
        (b"(ios\nsystem\n.", "has the instruction 0x69"),
        (b"}}\x81.", "has the instruction 0x81"),
        (b"ccollections\nOrderedDict\n(U\x01atR.", "calls a function with arguments it does not have"),
        (b"ccollections\nOrderedDict\n}b.", "sets attributes of something"),
        (b"}\x85}R.", "calls what is no function"),
    ] {
        let error = error(&pickled(program));
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn no_length_is_believed() {
    for (bytes, words) in [
        (with_tensor(b"K\x00", b"K\x05\x85", b"K\x01\x85"), "tensor a claims more bytes than its storage has"),
        (with_tensor(b"K\x03", b"K\x02\x85", b"K\x01\x85"), "claims more bytes"),
        (with_tensor(b"J\xff\xff\xff\xff", b"K\x02\x85", b"K\x01\x85"), "describes a tensor that makes no sense"),
        (
            with_tensor(b"K\x00", b"\x8a\x08\0\0\0\0\0\0\0\x40\x8a\x08\0\0\0\0\0\0\0\x40\x86", b"K\x01K\x01\x86"),
            "claims an impossible size",
        ),
        (with_tensor(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"K\x02\x85", b"K\x01\x85"), "claims more bytes"),
        (with_tensor(b"\x8a\xff", b"", b""), "beyond 64 bits"),
        (pickled(b"X\xff\xff\xff\xffabc"), "its pickle is cut off"),
        (pickled(b"h\x07."), "recalls a value that is not there"),
        (pickled(b"."), "takes a value that is not there"),
        (pickled(b"(s."), "takes a value that is not there"),
        (pickled(b"Q"), "takes a value that is not there"),
        (pickled(b"]."), "it is no dictionary of tensors"),
        (pickled(b"u"), "takes values without their beginning"),
        (pickled(&vec![b'}'; 5 << 20]), "far longer than any model's"),
        (archive(&[("m/data", b"")]), "the archive has no data.pkl"),
        (archive(&[("a/data.pkl", b"}."), ("b/data.pkl", b"}.")]), "the archive has several data.pkl"),
        (archive(&[("m/data.pkl", b"}."), ("m/byteorder", b"big")]), "not in little-endian order"),
    ] {
        let error = error(&bytes);
        assert!(error.contains(words), "{error}");
    }
    let mut far = with_tensor(b"K\x00", b"K\x02\x85", b"K\x01\x85");
    let end = far.len();
    far[end - 6..end - 2].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(error(&far).contains("points beyond the file"));
}

proptest! {
    #[test]
    fn no_garbled_file_panics_or_leads_out_of_the_file(
        cut in 0usize..4000, flips in prop::collection::vec((0usize..4000, any::<u8>()), 0..6)
    ) {
        for name in ["tensors.bin", "protocol4.bin", "legacy.bin"] {
            let mut bytes = fixture(name);
            for (at, value) in &flips {
                let at = at % bytes.len();
                bytes[at] = *value;
            }
            if cut % 3 == 0 {
                bytes.truncate(cut);
            }
            if let Ok(found) = tensors(&bytes, Path::new("m.bin")) {
                for tensor in found {
                    prop_assert!(tensor.from <= tensor.to && tensor.to <= bytes.len());
                }
            }
        }
    }

    #[test]
    fn no_program_panics(program in prop::collection::vec(
        prop::sample::select(b"}](t\x85\x86u.sQRbhqKM0Xc\n\x8a\x93\x94\x00\x01\x02e".to_vec()), 0..60
    )) {
        let _ = tensors(&pickled(&program), Path::new("m.bin"));
    }
}
