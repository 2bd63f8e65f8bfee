//! The tokenizer inside a GGUF file, rebuilt from its metadata.

use checkpoint::gguf::Directory;
use tokenizers::{
    AddedToken, SplitDelimiterBehavior, Tokenizer as Inner,
    decoders::byte_level::ByteLevel as ByteLevelDecoder,
    models::bpe::{BPE, Vocab},
    normalizers::NFC,
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::{Tokenizer, pieces::byte_level};

/// A token that is never text: `<|im_end|>`.
const CONTROL: i64 = 3;
/// A token that is found in text before everything else.
const USER_DEFINED: i64 = 4;
/// A token no text becomes.
const UNUSED: i64 = 5;

pub(super) fn build(d: &Directory) -> Result<Tokenizer, String> {
    let model = d.text("tokenizer.ggml.model").ok_or("the file has no tokenizer")?;
    match model {
        "gpt2" => {}
        "llama" => return super::sentencepiece::from_gguf(d),
        other => {
            return Err(format!(
                "it is of the kind \"{other}\"; of GGUF files byte-level BPE (\"gpt2\") and SentencePiece (\"llama\") are read. Use the model's Hugging Face folder with its tokenizer.json instead"
            ));
        }
    }
    let tokens = d.texts("tokenizer.ggml.tokens").ok_or("the file has no vocabulary")?;
    let merges = d.texts("tokenizer.ggml.merges").ok_or("the file has no merges")?;
    let kinds = d.integers("tokenizer.ggml.token_type").unwrap_or(&[]);
    let kind = |id: usize| kinds.get(id).copied().unwrap_or(1);
    let pre = d.text("tokenizer.ggml.pre").unwrap_or("default");

    let vocabulary: Vocab = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| kind(*id) != UNUSED)
        .map(|(id, token)| Ok((token.clone(), u32::try_from(id).map_err(|_| "the vocabulary is too large")?)))
        .collect::<Result<_, &str>>()?;
    let merges = merges
        .iter()
        .map(|merge| {
            let (a, b) = merge.split_once(' ').ok_or_else(|| format!("the merge \"{merge}\" is not two words"))?;
            Ok((a.to_owned(), b.to_owned()))
        })
        .collect::<Result<Vec<_>, String>>()?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .ignore_merges(whole_words(pre))
        .build()
        .map_err(|e| e.to_string())?;
    let mut inner = Inner::new(bpe);
    if pre == "qwen2" {
        // As the tokenizer.json of these models does.
        inner.with_normalizer(Some(NFC)).map_err(|e| e.to_string())?;
    }
    inner.with_pre_tokenizer(Some(pre_tokenizer(pre)?));
    inner.with_decoder(Some(ByteLevelDecoder::default()));
    let of_kind = |wanted: i64, special: bool| {
        let tokens = tokens.iter().enumerate().filter(move |(id, _)| kind(*id) == wanted);
        tokens.map(move |(_, token)| AddedToken::from(token.clone(), special).normalized(false)).collect::<Vec<_>>()
    };
    inner.add_special_tokens(of_kind(CONTROL, true)).map_err(|e| e.to_string())?;
    inner.add_tokens(of_kind(USER_DEFINED, false)).map_err(|e| e.to_string())?;

    let pieces = tokens
        .iter()
        .enumerate()
        .map(|(id, token)| match kind(id) {
            CONTROL | UNUSED => Box::default(),
            USER_DEFINED => token.as_bytes().into(),
            _ => byte_level(token),
        })
        .collect();
    let id = |key: &str| d.integer(key).and_then(|id| u32::try_from(id).ok());
    let ends = ["eos_token_id", "eot_token_id", "eom_token_id"]
        .into_iter()
        .filter_map(|name| id(&format!("tokenizer.ggml.{name}")))
        .collect();
    let bos = id("tokenizer.ggml.bos_token_id");
    // What llama.cpp assumes where the file does not say.
    let add_bos = d.flag("tokenizer.ggml.add_bos_token").unwrap_or(whole_words(pre));
    Ok(Tokenizer::new(inner.into(), pieces, bos, add_bos, ends))
}

/// Whether a piece of text that is a token is not merged from others. The same models begin a prompt with their begin
/// token.
fn whole_words(pre: &str) -> bool {
    matches!(pre, "llama-bpe" | "tekken")
}

/// How text is cut before merging, by the name that GGUF files give it.
fn pre_tokenizer(name: &str) -> Result<PreTokenizerWrapper, String> {
    let regex = match name {
        "smollm" | "starcoder" | "refact" | "command-r" => {
            return Ok(Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()]).into());
        }
        "gpt-2" | "default" => return Ok(ByteLevel::new(false, true, true).into()),
        "llama-bpe" => {
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        }
        "qwen2" => {
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        }
        "tekken" => {
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        }
        other => {
            return Err(format!(
                "its text splitting \"{other}\" is not known; known are smollm, starcoder, refact, command-r, gpt-2, default, llama-bpe, qwen2 and tekken. Use the model's Hugging Face folder with its tokenizer.json instead"
            ));
        }
    };
    let split = Split::new(SplitPattern::Regex(regex.into()), SplitDelimiterBehavior::Isolated, false)
        .map_err(|e| e.to_string())?;
    Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use checkpoint::gguf::Value;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        pre: String,
        tokens: Vec<String>,
        merges: Vec<String>,
        texts: Vec<Text>,
    }

    #[derive(Deserialize)]
    struct Text {
        text: String,
        tokens: Vec<u32>,
    }

    /// The cases were made by the `make.py` beside them, with the patterns that the models were published with.
    #[test]
    fn texts_are_cut_as_by_the_published_patterns() {
        let cases = include_str!("../../tests/fixtures/splitting/cases.json");
        let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
        assert_eq!(cases.iter().map(|case| case.pre.as_str()).collect::<Vec<_>>(), ["llama-bpe", "qwen2", "tekken"]);
        for case in cases {
            let mut d = Directory::default();
            let begins = case.pre != "qwen2";
            for (key, value) in [
                ("model", Value::Text("gpt2".into())),
                ("pre", Value::Text(case.pre.clone())),
                ("tokens", Value::Texts(case.tokens)),
                ("merges", Value::Texts(case.merges)),
                ("bos_token_id", Value::Integer(7)),
            ] {
                d.metadata.insert(format!("tokenizer.ggml.{key}"), value);
            }
            let tokenizer = build(&d).unwrap();
            for Text { text, tokens } in &case.texts {
                assert_eq!(tokenizer.encode(text).unwrap(), *tokens, "{} {text:?}", case.pre);
                let pieces: Vec<u8> = tokens.iter().flat_map(|token| tokenizer.piece(*token)).copied().collect();
                // Its normalizer writes accents as one character.
                let kept = case.pre == "qwen2" || pieces == text.as_bytes();
                assert!(kept, "{} {text:?}", case.pre);
            }
            let prompt = tokenizer.prompt("a", None).unwrap();
            assert_eq!((prompt[0] == 7, prompt.len()), (begins, 1 + usize::from(begins)), "{}", case.pre);
        }
    }

    #[test]
    fn splitting_that_is_not_known_is_named() {
        let error = pre_tokenizer("viking").err().unwrap();
        assert!(error.contains("\"viking\" is not known") && error.contains("tekken"), "{error}");
    }
}
