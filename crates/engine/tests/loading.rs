//! What a model's folder or file may look like, from loading to an answer.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, reason = "no adapter is written here")]
mod tiny;

use std::{fs, path::Path};

use checkpoint::find::find_model;
use engine::{ChatMessage, EngineOptions, GenerateRequest, Generator, LoadAs, LocalEngine};
use protocol::{FinishReason, Mode, Parameters};

/// The first 259 pieces of the SentencePiece model in the fixtures, which are three control pieces and 256 bytes, and
/// the settings behind the pieces.
fn byte_pieces() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sentencepiece/tokenizer.model");
    let file = fs::read(path).unwrap();
    let (mut at, mut count, mut cut) = (0, 0, 0);
    while file[at] == 0x0a {
        // A field that holds one piece, shorter than 128 bytes.
        at += 2 + usize::from(file[at + 1]);
        count += 1;
        if count == 259 {
            cut = at;
        }
    }
    [&file[..cut], &file[at..]].concat()
}

fn greedy(prompt: &str) -> GenerateRequest {
    let mut parameters = Parameters::published(Mode::Pretrain);
    (parameters.max_new_tokens, parameters.temperature) = (6, 0.0);
    GenerateRequest::new(prompt.into(), None, parameters)
}

#[test]
fn a_folder_with_a_sentencepiece_model_is_loaded_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_model(dir.path(), tiny::Kind::Llama);
    fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    fs::write(dir.path().join("tokenizer.model"), byte_pieces()).unwrap();
    let engine = LocalEngine::load(EngineOptions::new(dir.path()), |_| {}).unwrap();
    let byte = |b: u8| u32::from(b) + 3;
    assert_eq!(
        engine.tokenize("ab").unwrap(),
        [&"▁".bytes().map(byte).collect::<Vec<_>>()[..], &[byte(b'a'), byte(b'b')]].concat()
    );
    let outcome = engine.generate(greedy("ab"), |_| {}).unwrap();
    assert_eq!(outcome.prompt_tokens, 6, "with the token that begins a text");
    assert!([FinishReason::Length, FinishReason::Stop, FinishReason::Repeat].contains(&outcome.finish_reason));
    assert!(engine.chat_template().is_none());

    fs::write(dir.path().join("tokenizer.model"), "IQ== 0\nIg== 1\n").unwrap();
    let error = LocalEngine::load(EngineOptions::new(dir.path()), |_| {}).err().unwrap().to_string();
    assert!(error.contains("tokenizer.model is no SentencePiece model"), "{error}");
}

#[test]
fn weights_can_be_rounded_while_loading_and_the_backend_says_so() {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_model(dir.path(), tiny::Kind::Qwen2);
    for (load_as, words) in [
        (LoadAs::Stored, None),
        (LoadAs::EightBit, Some(", weights rounded to Q8_0 while loading")),
        (LoadAs::FourBit, Some(", weights rounded to Q4_0 while loading")),
    ] {
        let mut options = EngineOptions::new(dir.path());
        options.load_as = load_as;
        let engine = LocalEngine::load(options, |_| {}).unwrap();
        let model = engine.model();
        assert_eq!(model.format, "F32", "the format is that of the file");
        assert_eq!(words.is_some_and(|w| model.backend.ends_with(w)), words.is_some(), "{}", model.backend);
        assert_eq!(model.backend.contains("rounded"), words.is_some());
        assert!(engine.generate(greedy("ab"), |_| {}).unwrap().completion_tokens > 0);
    }
}

#[test]
fn a_folders_chat_template_is_read() {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_model(dir.path(), tiny::Kind::Llama);
    let settings = serde_json::json!({
        "bos_token": {"content": "<bos>"}, "eos_token": "<unheard of>",
        "chat_template": "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}\n{% endfor %}",
    });
    fs::write(dir.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
    let engine = LocalEngine::load(EngineOptions::new(dir.path()), |_| {}).unwrap();
    let messages = [ChatMessage { role: "user".into(), content: "<b>Hi</b>".into() }];
    let text = engine.chat_template().unwrap().render(&messages, true).unwrap();
    assert_eq!(text, "<bos>[user] <b>Hi</b>\n", "what is no token is left out");
}

#[test]
fn the_default_models_chat_template_is_chatml() {
    let model = match find_model(None, None) {
        Ok(model) => model,
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    };
    let engine = LocalEngine::load(EngineOptions::new(model), |_| {}).unwrap();
    let messages = [ChatMessage { role: "user".into(), content: "Hello".into() }];
    let text = engine.chat_template().unwrap().render(&messages, true).unwrap();
    assert!(text.starts_with("<|im_start|>system\n"), "{text}");
    assert!(text.ends_with("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"), "{text}");
}
