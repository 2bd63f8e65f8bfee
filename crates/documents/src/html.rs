//! Web pages: their words, a line for each block. Scripts, styles and what only browsers need are left out.
//!
//! Only the tokenizer of HTML is used, no tree is built: however deeply elements are nested, it is a loop.

use std::cell::RefCell;

use encoding_rs::Encoding;
use html5ever::{
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts, states::RawKind,
    },
};

use super::DocumentError;

/// How far into a page its encoding can be named.
const HEAD: usize = 4096;

/// The encoding that a page says it is in.
pub fn charset(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(HEAD)]).to_ascii_lowercase();
    let (_, label) = head.split_once("charset=").or_else(|| head.split_once("encoding="))?;
    let label = label.trim_start_matches(['"', '\'', ' ']);
    let end = label.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | ':' | '.'));
    Encoding::for_label(&label.as_bytes()[..end.unwrap_or(label.len())])
}

/// Reads the words of a page.
pub fn read(html: &str) -> Result<String, DocumentError> {
    let tokenizer = Tokenizer::new(Words::default(), TokenizerOpts::default());
    let queue = BufferQueue::default();
    for part in pieces(html) {
        queue.push_back(StrTendril::from_slice(part));
        // Scripts are not run, so nothing is ever waited for.
        let _ = tokenizer.feed(&queue);
    }
    tokenizer.end();
    Ok(tokenizer.sink.page.into_inner().finish())
}

/// Parts of a text that the tokenizer's own strings can hold.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    const PIECE: usize = 1 << 20;
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut end = rest.len().min(PIECE);
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (part, after) = rest.split_at(end);
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// The words so far.
#[derive(Default)]
struct Page {
    text: String,
    /// White space is due before the next word.
    space: bool,
    /// The element whose content is being left out.
    without: Option<String>,
    /// Inside `pre`, where white space counts.
    verbatim: bool,
}

impl Page {
    fn words(&mut self, words: &str) {
        if self.without.is_some() {
            return;
        }
        if self.verbatim {
            return self.text.push_str(words);
        }
        for c in words.chars() {
            if c.is_ascii_whitespace() {
                self.space = true;
                continue;
            }
            if std::mem::take(&mut self.space) && !self.text.is_empty() && !self.text.ends_with(['\n', '\t']) {
                self.text.push(' ');
            }
            self.text.push(c);
        }
    }

    /// Ends the line, if one has begun.
    fn line(&mut self) {
        self.space = false;
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.truncate(self.text.trim_end_matches(['\t', ' ']).len());
            self.text.push('\n');
        }
    }

    /// Leaves an empty line.
    fn paragraph(&mut self) {
        self.line();
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn tag(&mut self, tag: &Tag) -> Option<RawKind> {
        let name: &str = &tag.name;
        let opens = tag.kind == TagKind::StartTag;
        if let Some(element) = &self.without {
            if !opens && element == name {
                self.without = None;
            }
            return None;
        }
        let raw = match name {
            "script" => Some(RawKind::ScriptData),
            "style" | "iframe" | "noembed" | "noframes" | "xmp" => Some(RawKind::Rawtext),
            "title" | "textarea" => Some(RawKind::Rcdata),
            _ => None,
        };
        if opens && (raw.is_some() || matches!(name, "noscript" | "template" | "svg" | "math" | "select" | "object")) {
            if !tag.self_closing || raw.is_some() {
                self.without = Some(name.to_owned());
            }
            return raw;
        }
        match name {
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "dl" | "table" | "blockquote" | "article"
            | "section" | "header" | "footer" | "main" | "aside" | "nav" | "figure" | "hr" | "form" => self.paragraph(),
            "pre" => {
                self.paragraph();
                self.verbatim = opens;
            }
            "br" | "div" | "li" | "tr" | "dt" | "dd" | "option" | "caption" | "figcaption" | "address" | "details"
            | "summary" | "body" | "head" | "html" => self.line(),
            "td" | "th" if !opens => {
                self.space = false;
                self.text.push('\t');
            }
            _ => {}
        }
        None
    }

    fn finish(mut self) -> String {
        self.text.truncate(self.text.trim_end().len());
        self.text
    }
}

#[derive(Default)]
struct Words {
    page: RefCell<Page>,
}

impl TokenSink for Words {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut page = self.page.borrow_mut();
        match token {
            Token::CharacterTokens(words) => page.words(&words),
            Token::TagToken(tag) => {
                if let Some(raw) = page.tag(&tag) {
                    return TokenSinkResult::RawData(raw);
                }
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn page(html: &str) -> String {
        read(html).unwrap()
    }

    #[test]
    fn blocks_are_lines_and_white_space_is_one() {
        let html = "<!DOCTYPE html><html><head><title>T</title><style>p{}</style></head><body><h1>阳光城  集团</h1>\n\
            <p>A&amp;B <b>bought</b>\n  C&nbsp;D&#128578;.</p><ul><li>one<li>two</ul><table><tr><td>x</td><td>y</td></tr></table>\
            <pre>a\n  b</pre>end";
        assert_eq!(page(html), "阳光城 集团\n\nA&B bought C\u{a0}D🙂.\n\none\ntwo\n\nx\ty\n\na\n  b\n\nend");
    }

    #[test]
    fn scripts_and_what_pretends_to_end_them_are_left_out() {
        let html = "a<script>var x = '<p>no</p>'; if (1 < 2) {}</script>b<noscript><p>off</p></noscript><!-- c -->d\
            <svg><text>no</text></svg><textarea></p>no</textarea>e<iframe><p>no</iframe>f";
        assert_eq!(page(html), "abdef");
    }

    #[test]
    fn broken_and_deep_pages_end() {
        assert_eq!(page(&format!("{}deep", "<div><b>".repeat(300_000))), "deep");
        assert_eq!(page("x <script>never closed"), "x");
        assert_eq!(page("a < b && c &unknown; &amp"), "a < b && c &unknown; &");
        assert!(page(&"&amp;".repeat(300_000)).len() == 300_000);
    }

    #[test]
    fn a_page_names_its_encoding() {
        assert_eq!(charset(b"<meta charset=\"gb2312\">").unwrap().name(), "GBK");
        let html = "<meta http-equiv='Content-Type' content='text/html; charset=windows-1252'>\u{20}";
        assert_eq!(charset(html.as_bytes()).unwrap().name(), "windows-1252");
        assert_eq!(charset(b"<p>"), None);
    }
}
