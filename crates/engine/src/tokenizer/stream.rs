//! Bytes of tokens into text that can be shown while it grows.

/// Text made of tokens' bytes. A character appears when its last byte has come, never as `�` before.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextStream {
    text: String,
    /// Bytes of a character that is not complete.
    rest: Vec<u8>,
}

impl TextStream {
    /// Adds a token's bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        loop {
            match std::str::from_utf8(&self.rest) {
                Ok(text) => {
                    self.text.push_str(text);
                    self.rest.clear();
                    return;
                }
                Err(error) => {
                    let (good, bad) = self.rest.split_at(error.valid_up_to());
                    self.text.push_str(&String::from_utf8_lossy(good));
                    // Bytes that no more bytes can make good are replaced; an unfinished character waits.
                    let Some(length) = error.error_len() else {
                        self.rest = bad.to_vec();
                        return;
                    };
                    self.text.push('\u{fffd}');
                    self.rest = bad[length..].to_vec();
                }
            }
        }
    }

    /// The complete characters so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_appear_when_complete() {
        let mut stream = TextStream::default();
        for byte in "中🙂".bytes() {
            stream.push(&[byte]);
            assert!(!stream.text().contains('\u{fffd}'));
        }
        assert_eq!(stream.text(), "中🙂");
        stream.push(&"文".as_bytes()[..2]);
        assert_eq!(stream.text(), "中🙂", "an unfinished character never shows");
    }

    #[test]
    fn bytes_that_can_never_be_text_are_replaced_once() {
        let mut stream = TextStream::default();
        stream.push(b"a\xff");
        stream.push(b"b\xe4\xb8c");
        assert_eq!(stream.text(), "a\u{fffd}b\u{fffd}c");
    }
}
