//! The tokenizer inside a GGUF file, rebuilt from its metadata.

use checkpoint::gguf::Directory;
use tokenizers::{
    AddedToken, SplitDelimiterBehavior, Tokenizer as Inner,
    decoders::byte_level::ByteLevel as ByteLevelDecoder,
    models::bpe::{BPE, Vocab},
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
        .ignore_merges(pre == "llama-bpe")
        .build()
        .map_err(|e| e.to_string())?;
    let mut inner = Inner::new(bpe);
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
    let add_bos = d.flag("tokenizer.ggml.add_bos_token").unwrap_or(pre == "llama-bpe");
    Ok(Tokenizer::new(inner.into(), pieces, bos, add_bos, ends))
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
        other => {
            return Err(format!(
                "its text splitting \"{other}\" is not known; known are smollm, starcoder, refact, command-r, gpt-2, default, llama-bpe and qwen2. Use the model's Hugging Face folder with its tokenizer.json instead"
            ));
        }
    };
    let split = Split::new(SplitPattern::Regex(regex.into()), SplitDelimiterBehavior::Isolated, false)
        .map_err(|e| e.to_string())?;
    Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
}
