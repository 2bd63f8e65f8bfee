//! Chat templates: how a model wants a conversation written.
//!
//! A template is a Jinja program in the model's files: `chat_template` in `tokenizer_config.json`, the file
//! `chat_template.jinja`, or `tokenizer.chat_template` in a GGUF file. It is run in a sandbox: it sees the messages and the
//! names of two tokens, and its steps and what it writes are counted, so that one that never ends is an error.

use std::{io, path::Path};

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, context, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;
use serde_json::Value;

use crate::{tokenizer::Tokenizer, weights::Source};

/// Steps that a template may take; a conversation of a thousand messages takes some fifty thousand.
const STEPS: u64 = 2_000_000;
/// What a template may write beside the messages, and how often it may write those, in bytes.
const ROOM: usize = 1 << 20;
const TIMES: usize = 4;
/// The longest template; real ones have some 10 kB.
const MAX_TEMPLATE: usize = 1 << 20;

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// Why a conversation was not written.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The template says that the conversation cannot be: two messages of one role after each other, say.
    #[error("The model's chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template itself does not work.
    #[error("The model's chat template cannot be used: {0}. Write the prompt out instead")]
    Template(String),
}

/// A model's chat template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    template: String,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// A template; `bos_token` and `eos_token` are what it calls so.
    pub fn new(template: impl Into<String>, bos_token: impl Into<String>, eos_token: impl Into<String>) -> Self {
        Self { template: template.into(), bos_token: bos_token.into(), eos_token: eos_token.into() }
    }

    /// The template of a model, when it has one.
    pub(crate) fn of(source: &Source, tokenizer: &Tokenizer) -> Option<Self> {
        match source {
            Source::Gguf(file) => {
                let d = file.directory();
                let word = |name: &str| {
                    let id = d.integer(&format!("tokenizer.ggml.{name}"))?;
                    d.texts("tokenizer.ggml.tokens")?.get(usize::try_from(id).ok()?).cloned()
                };
                let word = |name: &str| word(name).unwrap_or_default();
                Some(Self::new(d.text("tokenizer.chat_template")?, word("bos_token_id"), word("eos_token_id")))
            }
            Source::HuggingFace(folder) => Self::of_folder(folder.path(), tokenizer),
        }
    }

    fn of_folder(folder: &Path, tokenizer: &Tokenizer) -> Option<Self> {
        let json = std::fs::read(folder.join("tokenizer_config.json")).unwrap_or_default();
        let settings: Value = serde_json::from_slice(&json).unwrap_or_default();
        let file = std::fs::read_to_string(folder.join("chat_template.jinja")).ok();
        let template = file.or_else(|| named(settings.get("chat_template")?))?;
        let word = |name: &str| {
            let token = settings.get(name)?;
            let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
            // A word that is no token would become text.
            tokenizer.id(text).map(|_| text.to_owned())
        };
        Some(Self::new(template, word("bos_token").unwrap_or_default(), word("eos_token").unwrap_or_default()))
    }

    /// Writes a conversation; with `add_generation_prompt` up to where the model's answer begins.
    ///
    /// # Errors
    /// The template refuses the conversation, is damaged, or does not end.
    pub fn render(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String, ChatError> {
        if self.template.len() > MAX_TEMPLATE {
            return Err(ChatError::Template(format!("it has {} bytes", self.template.len())));
        }
        let mut environment = Environment::new();
        // As in Hugging Face's transformers.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| ChatError::Template(sentence(&e)))?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(STEPS));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |reason: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason).with_source(Raised))
        });
        // Templates that ask for today's date get the day of their examples: the same prompt on every day.
        environment.add_function("strftime_now", |_format: String| "26 Jul 2024".to_owned());
        let template = environment.template_from_str(&self.template).map_err(|e| ChatError::Template(sentence(&e)))?;
        let context = context! {
            messages => Serde(messages), add_generation_prompt,
            bos_token => self.bos_token.as_str(), eos_token => self.eos_token.as_str(),
        };
        let said: usize = messages.iter().map(|m| m.content.len()).sum();
        let mut out = Bounded { bytes: vec![], room: said.saturating_mul(TIMES).saturating_add(ROOM), full: false };
        let rendered = template.render_captured_to(context, &mut out).map(|_| ());
        if out.full {
            return Err(ChatError::Template(format!("it writes more than {} bytes", out.bytes.len())));
        }
        rendered.map_err(|error| match std::error::Error::source(&error) {
            Some(source) if source.is::<Raised>() => {
                ChatError::Refused(error.detail().unwrap_or("it gives no reason").to_owned())
            }
            _ => ChatError::Template(sentence(&error)),
        })?;
        Ok(String::from_utf8_lossy(&out.bytes).into_owned())
    }
}

/// What a template writes, as far as there is room.
struct Bounded {
    bytes: Vec<u8>,
    room: usize,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.room {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Marks errors that a template raised itself.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

fn sentence(error: &Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), |d| format!("{}: {d}", error.kind()));
    error.line().map_or_else(|| what.clone(), |line| format!("{what} (line {line})"))
}

/// A template, or of several the one called "default".
fn named(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let all = value.as_array()?;
    let default = all.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"))?;
    default.get("template")?.as_str().map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The template of SmolLM2 and Qwen2.
    const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    /// In the manner of Llama 3's.
    const LLAMA_3: &str = "{{- bos_token }}
{%- set ns = namespace(first=true) %}
{%- for message in messages %}
    {%- if message.role not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('The role ' + message.role + ' is not known') }}
    {%- endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'].strip() + '<|eot_id|>' }}
    {%- set ns.first = false %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
";

    fn conversation(messages: &[(&str, &str)]) -> Vec<ChatMessage> {
        messages.iter().map(|(r, c)| ChatMessage { role: (*r).into(), content: (*c).into() }).collect()
    }

    #[test]
    fn the_default_models_template_adds_its_system_message() {
        let template = ChatTemplate::new(CHATML, "<|im_start|>", "<|im_end|>");
        assert_eq!(
            template.render(&conversation(&[("user", "Hello <|x|> & \"you\"")]), true).unwrap(),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nHello <|x|> & \"you\"<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(
            template
                .render(&conversation(&[("system", "Be brief."), ("user", "Hi"), ("assistant", "Hi.")]), false)
                .unwrap(),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n"
        );
    }

    #[test]
    fn the_manner_of_llama_3_is_rendered_without_stray_spaces() {
        let template = ChatTemplate::new(LLAMA_3, "<|begin_of_text|>", "<|eot_id|>");
        assert_eq!(
            template.render(&conversation(&[("system", "Be brief."), ("user", "  中文? ")]), true).unwrap(),
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n中文?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        );
        assert_eq!(
            template.render(&conversation(&[("tool", "x")]), true).unwrap_err().to_string(),
            "The model's chat template refuses this conversation: The role tool is not known"
        );
    }

    #[test]
    fn templates_that_do_not_work_are_errors() {
        let error = |template: &str| ChatTemplate::new(template, "", "").render(&[], true).unwrap_err().to_string();
        assert!(error("{% for %}").starts_with("The model's chat template cannot be used: syntax error"));
        assert!(
            error("{% for i in range(100000) %}{% for j in range(100000) %}{% set x = j %}{% endfor %}{% endfor %}")
                .contains("fuel")
        );
        let long = "{% set x = 'abcdefgh' * 100000 %}{% for i in range(1000) %}{{ x }}{% endfor %}";
        assert!(error(long).contains("it writes more than"), "{}", error(long));
        assert!(error("{% include 'other' %}").contains("cannot be used"));
        assert!(error(&" ".repeat(2 << 20)).contains("it has 2097152 bytes"));
    }

    #[test]
    fn of_several_templates_the_default_is_meant() {
        let value = serde_json::json!([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]);
        assert_eq!(named(&value).as_deref(), Some("b"));
        assert_eq!(named(&serde_json::json!("c")).as_deref(), Some("c"));
        assert_eq!(named(&serde_json::json!(null)), None);
    }
}
