//! The tokenizer of LLaMA 3, a list of ranks: what it becomes cuts text as the libraries do that such lists are for.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use checkpoint::{
    Source,
    convert::{self, Vocabulary},
    diff::Outcome,
    write::{Container, Content, WriteOptions},
};
use common::{folder, numbers, options, quiet};
use serde_json::Value;
use tokenizers::Tokenizer;

/// Entries of the list in the fixtures; the special tokens have the numbers behind them.
const ENTRIES: usize = 506;
const ROWS: usize = ENTRIES + 256;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiktoken").join(name)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Every text becomes the tokens that transformers and tiktoken make of it, and the text again.
fn cuts_as_they_do(tokenizer: &Tokenizer) {
    for case in json(&fixture("texts.json")).as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let found = tokenizer.encode(text, false).unwrap();
        let wanted: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(found.get_ids(), wanted, "{text:?}");
        assert_eq!(tokenizer.decode(found.get_ids(), false).unwrap(), text);
    }
}

/// The original files of a model with that tokenizer.
fn original(at: &Path, parameters: &str) {
    let matrix = |name, rows: usize, columns: usize| (name, vec![rows, columns], numbers(rows, rows * columns));
    let tensors = [
        matrix("tok_embeddings.weight", ROWS, 32),
        matrix("output.weight", ROWS, 32),
        ("norm.weight", vec![32], numbers(1, 32)),
        matrix("layers.0.attention.wq.weight", 32, 32),
        matrix("layers.0.attention.wk.weight", 16, 32),
        matrix("layers.0.attention.wv.weight", 16, 32),
        matrix("layers.0.attention.wo.weight", 32, 32),
        matrix("layers.0.feed_forward.w1.weight", 64, 32),
        matrix("layers.0.feed_forward.w2.weight", 32, 64),
        matrix("layers.0.feed_forward.w3.weight", 64, 32),
        ("layers.0.attention_norm.weight", vec![32], numbers(2, 32)),
        ("layers.0.ffn_norm.weight", vec![32], numbers(3, 32)),
    ];
    folder(at, Container::PyTorch, &tensors, u64::MAX);
    fs::remove_file(at.join("config.json")).unwrap();
    fs::rename(at.join("pytorch_model.bin"), at.join("consolidated.00.pth")).unwrap();
    fs::write(at.join("params.json"), parameters).unwrap();
    fs::copy(fixture("tokenizer.model"), at.join("tokenizer.model")).unwrap();
}

const LATER: &str = r#"{"dim": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "norm_eps": 1e-5,
    "rope_theta": 500000.0, "use_scaled_rope": true}"#;

fn converted(from: &Path, to: &Path) -> Outcome {
    convert::to_folder(&Source::open(from).unwrap(), to, &options(Container::Safetensors), &quiet).unwrap()
}

#[test]
fn an_original_llama_3_becomes_a_folder_with_a_tokenizer_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    original(&at("original"), LATER);
    let done = converted(&at("original"), &at("hf"));
    assert!(done.notes.iter().all(|note| !note.en.contains("tokenizer")), "{:?}", done.notes);
    let tokenizer = Tokenizer::from_file(at("hf/tokenizer.json")).unwrap();
    cuts_as_they_do(&tokenizer);
    let begin = ENTRIES as u32;
    assert_eq!(tokenizer.encode("a", true).unwrap().get_ids()[0], begin, "a text begins with its token");
    assert_eq!(tokenizer.token_to_id("<|eot_id|>"), Some(begin + 9));
    assert_eq!(tokenizer.token_to_id("<|reserved_special_token_247|>"), Some(begin + 255));
    for name in ["config.json", "generation_config.json"] {
        let config = json(&at("hf").join(name));
        assert_eq!((&config["bos_token_id"], &config["eos_token_id"]), (&begin.into(), &(begin + 1).into()), "{name}");
    }
    let settings = json(&at("hf/tokenizer_config.json"));
    assert_eq!((&settings["eos_token"], &settings["chat_template"]), (&"<|end_of_text|>".into(), &Value::Null));

    // And by way of a GGUF file.
    let hf = Source::open(&at("hf")).unwrap();
    convert::to_gguf(&hf, &at("m.gguf"), None, &WriteOptions::new("convert"), &quiet).unwrap();
    converted(&at("m.gguf"), &at("back"));
    cuts_as_they_do(&Tokenizer::from_file(at("back/tokenizer.json")).unwrap());
}

#[test]
fn a_folder_that_says_instruct_gets_the_published_form_of_conversations() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    original(&at("Tiny-8B-Instruct"), LATER);
    let done = converted(&at("Tiny-8B-Instruct"), &at("hf"));
    assert!(done.notes.iter().any(|note| note.en.contains("the published form of them was written")));
    let settings = json(&at("hf/tokenizer_config.json"));
    assert_eq!(settings["eos_token"], "<|eot_id|>");
    let template = settings["chat_template"].as_str().unwrap();
    assert!(template.contains(r"'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>'"), "{template}");
    assert_eq!(json(&at("hf/config.json"))["eos_token_id"], ENTRIES + 9);
}

#[test]
fn the_first_models_of_the_generation_have_fewer_names() {
    let dir = tempfile::tempdir().unwrap();
    original(&dir.path().join("original"), &LATER.replace("true", "false"));
    let list = dir.path().join("original/tokenizer.model");
    let vocabulary = Vocabulary::from_tokenizer_model(&list).unwrap();
    assert_eq!(vocabulary.entries[ENTRIES + 4].text, "<|reserved_special_token_2|>");
    assert_eq!(vocabulary.entries[ENTRIES + 9].text, "<|eot_id|>");
    let vocabulary = Vocabulary::from_tokenizer_model(&fixture("tokenizer.model")).unwrap();
    assert_eq!(vocabulary.entries[ENTRIES + 4].text, "<|finetune_right_pad_id|>");
    let Content::Bytes(file) = &vocabulary.companions()[0].content else { panic!() };
    cuts_as_they_do(&Tokenizer::from_bytes(file).unwrap());
}

#[test]
fn a_list_that_was_cut_short_is_told_by_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    original(&at("original"), LATER);
    let list = fs::read_to_string(fixture("tokenizer.model")).unwrap();
    let cut: Vec<&str> = list.lines().take(ENTRIES - 1).collect();
    fs::write(at("original/tokenizer.model"), cut.join("\n")).unwrap();
    let said = "it has 761 entries with the special tokens, the model 762: it is of another model, or was cut short";
    let done = converted(&at("original"), &at("hf"));
    assert!(done.notes[0].en.contains("the tokenizer is only copied") && done.notes[0].en.contains(said));
    assert!(!at("hf/tokenizer.json").exists());
    let source = Source::open(&at("original")).unwrap();
    let error = convert::to_gguf(&source, &at("m.gguf"), None, &WriteOptions::new("convert"), &quiet).unwrap_err();
    assert!(error.to_string().contains(said), "{error}");
}
