//! What a request comes to: one draft for each run, with the exact prompt.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use engine::Grammar;
use extract::Schema;
use protocol::{
    Ask, Asking, Column, Language, Mode, SchemaChoice, Sentence, Span,
    text::slice_chars,
    view::{AdapterInfo, NamedSchema, Page},
};

use crate::questions::{Questions, Reading};

/// The most texts of one request.
pub const MAX_TEXTS: usize = 50;
/// The longest prompt, instruction or text looked at, in code points: far beyond any context, yet quick to count.
pub const MAX_CHARS: usize = 200_000;
/// The most runs of one request.
pub const MAX_RUNS: usize = 5_000;
/// Length of a title, in code points.
const TITLE: usize = 40;

/// A run to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The text it is about; the drafts of one text share it.
    pub text: Option<Arc<str>>,
    /// Which text of the request, from 1.
    pub number: Option<usize>,
    /// Of how many.
    pub of: usize,
    /// How its prompt was made.
    pub mode: Mode,
    /// Which model answers.
    pub column: Column,
    /// The adapter applied.
    pub adapter: Option<String>,
    /// The whole schema that it is a part of; those of one text and column make one extraction.
    pub whole: Option<Arc<NamedSchema>>,
    /// The part of the text that it is about, when that is not all of it.
    pub part: Option<Span>,
    /// What was asked for.
    pub schema: Option<SchemaChoice>,
    /// The instruction.
    pub instruction: String,
    /// The exact prompt.
    pub prompt: String,
    /// What its answer can look like, where that is known.
    pub guide: Option<Grammar>,
}

/// The runs of a request, text by text; of a comparison the base's first. Those of a schema go through a text from its
/// beginning to its end.
///
/// # Errors
/// A sentence that says what is missing or too much.
pub fn drafts(ask: &Ask, adapter: Option<&AdapterInfo>, reading: Reading<'_>) -> Result<Vec<Draft>, Sentence> {
    match ask {
        Ask::Complete { prompt } => {
            if prompt.trim().is_empty() {
                return Err(Sentence::new(
                    "The prompt is empty: type the beginning of a text, and the model goes on from there.",
                    "提示为空：请输入一段文字的开头，模型会接着写。",
                ));
            }
            check_length(("prompt", "提示"), prompt)?;
            Ok(vec![Draft {
                text: None,
                number: None,
                of: 1,
                mode: Mode::Pretrain,
                column: Column::Base,
                adapter: None,
                whole: None,
                part: None,
                schema: None,
                instruction: String::new(),
                prompt: prompt.clone(),
                guide: None,
            }])
        }
        Ask::Extract { instruction, texts, schema } => {
            let schema = resolved(schema.as_ref(), adapter);
            let instruction = wording(instruction, schema.as_ref(), adapter)?;
            let texts = texts_of(texts, schema.is_some())?;
            let column = if adapter.is_some() { Column::Tuned } else { Column::Base };
            let one = |(number, text): (usize, &String)| Draft {
                text: (!text.is_empty()).then(|| text.as_str().into()),
                number: Some(number + 1),
                of: texts.len(),
                mode: Mode::Lora,
                column,
                adapter: adapter.map(|a| a.name.clone()),
                whole: None,
                part: None,
                schema: schema.clone(),
                instruction: instruction.clone(),
                prompt: extract::prompt::prompt(
                    adapter.map(|a| &a.manifest),
                    schema.as_ref(),
                    &instruction,
                    Some(text),
                ),
                guide: guide(adapter, schema.as_ref(), &instruction, text),
            };
            Ok(texts.iter().enumerate().map(one).collect())
        }
        Ask::Compare { instruction, texts, schema, raw_base } => {
            let adapter = adapter.ok_or_else(no_adapter)?;
            let schema = resolved(schema.as_ref(), Some(adapter));
            let instruction = wording(instruction, schema.as_ref(), Some(adapter))?;
            let texts = texts_of(texts, schema.is_some())?;
            let pair = |(number, text): (usize, &String)| {
                let tuned = Draft {
                    text: Some(text.as_str().into()),
                    number: Some(number + 1),
                    of: texts.len(),
                    mode: Mode::Lora,
                    column: Column::Tuned,
                    adapter: Some(adapter.name.clone()),
                    whole: None,
                    part: None,
                    schema: schema.clone(),
                    instruction: instruction.clone(),
                    prompt: extract::prompt::prompt(Some(&adapter.manifest), schema.as_ref(), &instruction, Some(text)),
                    // A comparison shows what the models say by themselves.
                    guide: None,
                };
                let mut base = Draft { column: Column::Base, adapter: None, ..tuned.clone() };
                if *raw_base {
                    base.mode = Mode::Pretrain;
                    base.prompt = if text.is_empty() { instruction.clone() } else { text.clone() };
                }
                [base, tuned]
            };
            Ok(texts.iter().enumerate().flat_map(pair).collect())
        }
        Ask::Schema { schema, texts, compare, asking } => whole(schema, texts, (*compare, asking), adapter, reading),
    }
}

/// The runs that a whole schema takes.
fn whole(
    named: &NamedSchema,
    texts: &[String],
    (compare, asking): (bool, &Asking),
    adapter: Option<&AdapterInfo>,
    reading: Reading<'_>,
) -> Result<Vec<Draft>, Sentence> {
    let schema = Schema::from_json(&named.json).map_err(|error| {
        let said = error.to_string();
        Sentence::new(format!("The schema cannot be used: {said}."), format!("抽取清单无法使用：{said}。"))
    })?;
    let columns: &[Column] = match (compare, adapter) {
        (true, None) => return Err(no_adapter()),
        (true, Some(_)) => &[Column::Base, Column::Tuned],
        (false, None) => &[Column::Base],
        (false, Some(_)) => &[Column::Tuned],
    };
    let texts = texts_of(texts, true)?;
    asking.instructions.values().try_for_each(|own| check_length(("instruction", "指令"), own))?;
    let manifest = adapter.map(|a| &a.manifest);
    let mut asked: BTreeMap<Language, Questions> = BTreeMap::new();
    let named = Arc::new(named.clone());
    let mut drafts = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let language = schema.language.unwrap_or_else(|| Language::of_text(text));
        if let Entry::Vacant(new) = asked.entry(language) {
            let questions = Questions::of(&schema, language, manifest, asking, reading);
            new.insert(questions.map_err(|none| {
                let said = none.sentence();
                Sentence::new(format!("There is no room for the text: {}.", said.en), format!("{}。", said.zh))
            })?);
        }
        let Some(questions) = asked.get(&language) else { continue };
        let parts = questions.parts(text, reading);
        // Counted before they are made: each has its prompt.
        if drafts.len() + parts.len() * questions.choices.len() * columns.len() > MAX_RUNS {
            return Err(Sentence::new(
                format!(
                    "This would take more than {MAX_RUNS} answers. Give fewer or shorter texts, or use `knowlm extract`."
                ),
                format!("这需要超过 {MAX_RUNS} 个回答。请减少或缩短文本，或使用 `knowlm extract`。"),
            ));
        }
        let in_parts = parts.len() > 1;
        let shared: Arc<str> = text.as_str().into();
        for span in parts {
            let words = slice_chars(text, span.start, span.end);
            for (choice, instruction) in &questions.choices {
                for &column in columns {
                    let adapter = adapter.filter(|_| column == Column::Tuned);
                    drafts.push(Draft {
                        text: Some(Arc::clone(&shared)),
                        number: Some(number + 1),
                        of: texts.len(),
                        mode: Mode::Lora,
                        column,
                        adapter: adapter.map(|a| a.name.clone()),
                        whole: Some(Arc::clone(&named)),
                        part: in_parts.then_some(span),
                        schema: Some(choice.clone()),
                        instruction: instruction.clone(),
                        // A text that is read at once is given as it is.
                        prompt: extract::prompt::prompt(
                            manifest,
                            Some(choice),
                            instruction,
                            Some(if in_parts { words } else { text }),
                        ),
                        // A comparison shows what the models say by themselves.
                        guide: if compare { None } else { guide(adapter, Some(choice), instruction, words) },
                    });
                }
            }
        }
    }
    Ok(drafts)
}

fn no_adapter() -> Sentence {
    Sentence::new(
        "There is no adapter to compare the base with: start the server with --adapter NAME=PATH.",
        "没有可与基座对比的适配器：请用 --adapter NAME=PATH 启动服务器。",
    )
}

/// The form of the answers to an instruction, when types made it and nobody has changed it since.
pub fn guide(
    adapter: Option<&AdapterInfo>,
    schema: Option<&SchemaChoice>,
    instruction: &str,
    text: &str,
) -> Option<Grammar> {
    let (manifest, choice) = (adapter.map(|a| &a.manifest), schema?);
    let made = instruction == extract::prompt::instruction(manifest, choice);
    made.then(|| extract::guide::lark(manifest, choice, text)).flatten().map(Grammar::Records)
}

/// What is asked for, with the answer format that it will be asked in.
fn resolved(schema: Option<&SchemaChoice>, adapter: Option<&AdapterInfo>) -> Option<SchemaChoice> {
    schema.map(|choice| extract::prompt::resolve(adapter.map(|a| &a.manifest), choice.clone()))
}

/// The instruction as given, or the one its schema makes.
fn wording(given: &str, schema: Option<&SchemaChoice>, adapter: Option<&AdapterInfo>) -> Result<String, Sentence> {
    check_length(("instruction", "指令"), given)?;
    if !given.trim().is_empty() {
        return Ok(given.to_owned());
    }
    match schema {
        Some(choice) if !choice.types.is_empty() => {
            Ok(extract::prompt::instruction(adapter.map(|a| &a.manifest), choice))
        }
        Some(_) => Err(Sentence::new(
            "There is nothing to extract: choose at least one type, or write an instruction.",
            "没有要抽取的内容：请至少选择一个类型，或填写指令。",
        )),
        None => Err(Sentence::new(
            "The instruction is empty: write what to do, or choose types to extract.",
            "指令为空：请写明要做什么，或选择要抽取的类型。",
        )),
    }
}

fn texts_of(texts: &[String], needed: bool) -> Result<Vec<String>, Sentence> {
    let mut texts: Vec<String> =
        texts.iter().map(|t| if t.trim().is_empty() { String::new() } else { t.clone() }).collect();
    if texts.len() > 1 {
        texts.retain(|t| !t.is_empty());
    }
    if texts.is_empty() {
        texts.push(String::new());
    }
    if needed && texts.iter().all(String::is_empty) {
        return Err(Sentence::new(
            "The text is empty: paste the text to extract from.",
            "文本为空：请粘贴要抽取的文本。",
        ));
    }
    if texts.len() > MAX_TEXTS {
        return Err(Sentence::new(
            format!("There are {} texts; one request may have at most {MAX_TEXTS}. Split them.", texts.len()),
            format!("共有 {} 段文本；一次最多 {MAX_TEXTS} 段，请分批提交。", texts.len()),
        ));
    }
    for text in &texts {
        check_length(("text", "文本"), text)?;
    }
    Ok(texts)
}

fn check_length((en, zh): (&str, &str), text: &str) -> Result<(), Sentence> {
    let chars = text.chars().count();
    if chars > MAX_CHARS {
        return Err(Sentence::new(
            format!(
                "The {en} has {chars} characters, far more than the model can read ({MAX_CHARS} are looked at): split it."
            ),
            format!("{zh}有 {chars} 个字符，远超模型可读的长度（最多接受 {MAX_CHARS} 个）：请拆分。"),
        ));
    }
    Ok(())
}

/// The page a request is made on.
pub fn page(ask: &Ask) -> Page {
    match ask {
        Ask::Complete { .. } => Page::Complete,
        Ask::Extract { .. } | Ask::Schema { compare: false, .. } => Page::Extract,
        Ask::Compare { .. } | Ask::Schema { compare: true, .. } => Page::Compare,
    }
}

/// The title of a session that opens with these runs: the first words of the text, or of the instruction or prompt.
pub fn title(drafts: &[Draft], language: Language) -> String {
    let Some(first) = drafts.first() else { return String::new() };
    let text = first.text.as_deref().filter(|t| !t.is_empty());
    let source = text.unwrap_or(if first.instruction.is_empty() { &first.prompt } else { &first.instruction });
    let words = first_words(source);
    if words.is_empty() { language.pick("Untitled", "未命名").to_owned() } else { words }
}

/// At most 40 code points of a text on one line, cut between words where there are any.
fn first_words(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        let room = TITLE.saturating_sub(line.chars().count() + usize::from(!line.is_empty()));
        let long = word.chars().count() > room;
        if long && !line.is_empty() {
            line.push('…');
            return line;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().take(room));
        if long {
            line.push('…');
            return line;
        }
    }
    line
}

#[cfg(test)]
mod tests;
