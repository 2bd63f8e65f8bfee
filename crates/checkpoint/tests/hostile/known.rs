//! Files that once took all memory, or minutes: what is said of each.

use std::{fs, path::Path};

use checkpoint::{Source, SourceError, convert, convert::Vocabulary, gguf::Directory, write::WriteOptions};

use super::{made, memory, zip};

fn error(result: Result<impl Sized, impl std::fmt::Display>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn packed_matrices_without_outputs() {
    let dir = tempfile::tempdir().unwrap();
    let header = r#"{"x.qweight": {"dtype": "I32", "shape": [1099511627776, 0], "data_offsets": [0, 0]},
        "x.qzeros": {"dtype": "I32", "shape": [1, 0], "data_offsets": [0, 0]},
        "x.scales": {"dtype": "F16", "shape": [1, 0], "data_offsets": [0, 0]}}"#;
    fs::write(dir.path().join("model.safetensors"), made::safetensors(header, 0)).unwrap();
    fs::write(dir.path().join("quantize_config.json"), r#"{"bits": 4}"#).unwrap();
    let source = Source::open(dir.path()).unwrap();
    assert!(error(convert::as_huggingface(&source)).contains("the parts of x do not fit"));
}

#[test]
fn embeddings_without_numbers_are_filled_up_with_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let header = r#"{"model.embed_tokens.weight": {"dtype": "F16", "shape": [4294967295, 0], "data_offsets": [0, 0]}}"#;
    fs::write(dir.path().join("model.safetensors"), made::safetensors(header, 0)).unwrap();
    let config = r#"{"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 1}"#;
    fs::write(dir.path().join("config.json"), config).unwrap();
    fs::write(dir.path().join("tokenizer.model"), made::sentencepiece(&["<unk>", "a"])).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let out = dir.path().join("out.gguf");
    let told = error(convert::to_gguf(&source, &out, None, &WriteOptions::new("test"), &|_, _| true));
    assert!(told.contains("it has 2 entries, the model 4294967295, far more"), "{told}");
}

#[test]
fn an_entry_with_a_great_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    fs::write(&path, r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 4194303}, "merges": []}}"#).unwrap();
    let told = error(Vocabulary::from_tokenizer_json(&path));
    assert!(told.contains("it has 2 entries, and one of them is number 4194303"), "{told}");
}

#[test]
fn entries_of_a_million_bytes_and_entries_made_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.model");
    let long = "a".repeat(1 << 20);
    fs::write(&path, made::sentencepiece(&["<unk>", "a", &long])).unwrap();
    assert!(error(Vocabulary::from_tokenizer_model(&path)).contains("an entry of it is 1048576 bytes long"));
    fs::write(&path, format!("YQ== 0\n{} 1\n", "YWFh".repeat(1 << 19))).unwrap();
    assert!(error(Vocabulary::from_tokenizer_model(&path)).contains("line 2 of it has an entry far longer"));
    // Each is any of those before it and the rest.
    let chain: Vec<String> = (1..=500).map(|n| "a".repeat(n)).collect();
    let pieces: Vec<&str> = ["<unk>"].into_iter().chain(chain.iter().map(String::as_str)).collect();
    fs::write(&path, made::sentencepiece(&pieces)).unwrap();
    let told = error(Vocabulary::from_tokenizer_model(&path));
    assert!(told.contains("its 501 entries can be made of each other in far more ways"), "{told}");
}

#[test]
fn a_list_of_tokens_that_is_no_list() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.model");
    let file = fs::File::create(&path).unwrap();
    // It takes no room on the disk.
    file.set_len(1 << 40).unwrap();
    let taken = memory::most(|| assert!(error(Vocabulary::from_tokenizer_model(&path)).contains("no such model has")));
    assert!(taken < 200 << 20, "{taken}");
}

/// A PyTorch file with this program in place of its dictionary.
fn pickled(program: &[u8]) -> Vec<u8> {
    zip("m/data.pkl", &[b"\x80\x02", program, b"."].concat())
}

fn read(file: &[u8]) -> (Result<Source, SourceError>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.bin");
    fs::write(&path, file).unwrap();
    let mut read = None;
    let taken = memory::most(|| read = Some(Source::open(&path)));
    (read.unwrap(), taken)
}

#[test]
fn a_long_name_that_is_given_again_and_again() {
    let name = "n".repeat(2 << 20);
    let long = [&[b'X'][..], &(name.len() as u32).to_le_bytes(), name.as_bytes(), b"q\0"].concat();
    let again = [&b"}("[..], &long, &b"h\0N".repeat(100_000), b"u"].concat();
    let (read, taken) = read(&pickled(&again));
    assert!(error(read).contains("save a model's state_dict()"));
    assert!(taken < 64 << 20, "{taken}");
}

#[test]
fn programs_that_make_nothing_but_values() {
    for instruction in [&b"}"[..], b"]", b"N", b"(", b")", b"K\x01", b"(\x94", b"N\x94", b"X\0\0\0\0"] {
        let program = instruction.repeat((4 << 20) / instruction.len() - 16);
        let (read, taken) = read(&pickled(&program));
        assert!(error(read).contains("its pickle"));
        assert!(taken < 64 << 20, "{instruction:?} took {taken} bytes");
    }
}

#[test]
fn arrays_of_bytes_in_metadata_take_what_they_take_in_the_file() {
    let count = 4 << 20;
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend([0u64, 1, 1].map(u64::to_le_bytes).concat());
    file.push(b'k');
    file.extend([9u32, 0].map(u32::to_le_bytes).concat());
    file.extend((count as u64).to_le_bytes());
    file.resize(file.len() + count, 7);
    let taken = memory::most(|| drop(Directory::parse(&file, Path::new("m.gguf")).unwrap()));
    assert!(taken < 2 * count, "{taken}");
}

/// Links are followed wherever they lead, since the caches of model hubs are made of links; what is not a file at their
/// end is refused, and names that lead out of the folder are.
#[test]
#[cfg(unix)]
fn links_lead_anywhere_but_to_what_is_no_file() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // As the hub's cache has it.
    fs::create_dir_all(at("models--a--b/blobs")).unwrap();
    let snapshot = at("models--a--b/snapshots/0123");
    fs::create_dir_all(&snapshot).unwrap();
    let header = r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#;
    fs::write(at("models--a--b/blobs/1"), made::safetensors(header, 8)).unwrap();
    fs::write(at("models--a--b/blobs/2"), "{}").unwrap();
    symlink("../../blobs/1", snapshot.join("model.safetensors")).unwrap();
    symlink("../../blobs/2", snapshot.join("config.json")).unwrap();
    let source = Source::open(&snapshot).unwrap();
    assert_eq!(source.tensor("a").unwrap().to_vec(), [0.0, 0.0]);
    let companions = convert::companions(&source, None, &mut vec![]).unwrap();
    assert_eq!(companions[0].name, "config.json");
    drop(source);

    let folder = at("folder");
    fs::create_dir(&folder).unwrap();
    let refused = |target: &str| {
        let shard = folder.join("shard.safetensors");
        let _ = fs::remove_file(&shard);
        symlink(target, &shard).unwrap();
        fs::write(folder.join("model.safetensors.index.json"), r#"{"weight_map": {"a": "shard.safetensors"}}"#)
            .unwrap();
        error(Source::open(&folder))
    };
    for target in ["/dev/zero", "/dev/tty", "..", "shard.safetensors", "gone"] {
        let told = refused(target);
        assert!(told.contains("shard.safetensors cannot be read"), "{target}: {told}");
    }
    assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    assert!(refused("../pipe").contains("it is no file"));
    for name in ["../model.safetensors", "/etc/passwd", "a/../../x", ".."] {
        let index = format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
        fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
        assert!(error(Source::open(&folder)).contains("is not in the same folder"));
    }
    // A configuration that never ends.
    fs::remove_file(folder.join("model.safetensors.index.json")).unwrap();
    fs::write(folder.join("model.safetensors"), made::safetensors(header, 8)).unwrap();
    symlink("/dev/zero", folder.join("params.json")).unwrap();
    fs::rename(folder.join("model.safetensors"), folder.join("consolidated.00.pth")).unwrap();
    assert!(Source::open(&folder).is_err());
}
