//! The bytes behind a vocabulary's entries.

use tokenizers::Tokenizer;

/// The byte that a character of a byte-level vocabulary stands for. GPT-2's vocabulary writes printable bytes
/// as themselves, and the others as the characters from U+0100 on, in order.
pub(super) fn byte_of(c: char) -> Option<u8> {
    let plain = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let n = u32::from(c);
    if n < 256 {
        return u8::try_from(n).ok().filter(|_| plain(n));
    }
    (0..256u32).filter(|b| !plain(*b)).nth((n - 256) as usize).and_then(|b| u8::try_from(b).ok())
}

/// The bytes of an entry of a byte-level vocabulary; entries written otherwise stand for themselves.
pub(super) fn byte_level(entry: &str) -> Box<[u8]> {
    entry.chars().map(byte_of).collect::<Option<Box<[u8]>>>().unwrap_or_else(|| entry.as_bytes().into())
}

/// The bytes of an entry of a SentencePiece vocabulary: `▁` is a space, `<0x0A>` is a byte.
pub(super) fn sentence_piece(entry: &str) -> Box<[u8]> {
    if let Some(hex) = entry.strip_prefix("<0x").and_then(|e| e.strip_suffix('>'))
        && let Ok(byte) = u8::from_str_radix(hex, 16)
    {
        return [byte].into();
    }
    entry.replace('▁', " ").into_bytes().into()
}

/// The bytes of every token of a `tokenizer.json`; none for its special tokens.
pub(super) fn of_tokenizer(tokenizer: &Tokenizer, vocabulary: usize) -> Result<Vec<Box<[u8]>>, String> {
    let decoder = tokenizer.get_decoder().map(serde_json::to_string).transpose().map_err(|e| e.to_string())?;
    let decoder = decoder.unwrap_or_default();
    let bytes: fn(&str) -> Box<[u8]> = if decoder.contains("ByteLevel") {
        byte_level
    } else if decoder.contains("ByteFallback") || decoder.contains("Metaspace") {
        sentence_piece
    } else {
        return Err("it has neither a ByteLevel nor a ByteFallback nor a Metaspace decoder".into());
    };
    let added = tokenizer.get_added_tokens_decoder();
    let count = vocabulary.max(tokenizer.get_vocab_size(true));
    Ok((0..count as u32)
        .map(|id| match (added.get(&id), tokenizer.id_to_token(id)) {
            (Some(token), _) if token.special => Box::default(),
            (Some(token), _) => token.content.as_bytes().into(),
            (None, Some(entry)) => bytes(&entry),
            (None, None) => Box::default(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_of_256_is_complete() {
        let mut seen: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn entries_stand_for_bytes() {
        assert_eq!(&*byte_level("Ġthe"), b" the");
        assert_eq!(&*byte_level("Ċ"), b"\n");
        assert_eq!(&*byte_level("ä¸Ń"), "中".as_bytes());
        assert_eq!(&*byte_level("中"), "中".as_bytes());
        assert_eq!(&*sentence_piece("▁the"), b" the");
        assert_eq!(&*sentence_piece("<0x0A>"), b"\n");
    }
}
