//! Feeds the parser answers that no model should write, for as long as one likes, and measures it on good ones.
//!
//! `cargo run --release -p extract --example fuzz -- SECONDS [FILE]`; FILE has a JSON object with `input` and `output` in
//! each line, and may say what was asked in `kind` (`ner`, `re`, `ee`) and `schema` (names, or names and roles). Ends with a panic, and the answer that caused it, when something does not hold.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/holds/mod.rs"]
mod holds;

use std::time::{Duration, Instant};

use extract::{chunk, doubt, graph, layout, parse, together};
use protocol::{Asking, EventPart, FinishReason, Format, Language, SchemaChoice, Span, Task, text::slice_chars};

/// Good answers with their texts, where there is no file.
const ANSWERS: [(&str, &str); 10] = [
    ("Ada met Bob in Paris.", "(Ada, person) (Bob, person) (Paris, place)"),
    ("2019年12月22日,阳光城集团收购协信地产。", "(2019年12月22日,日期)(阳光城集团,机构)(协信地产,机构)"),
    ("Ann founded Acme (UK) Ltd.", "(Acme (UK) Ltd, founder, Ann)"),
    ("Aspirin induced a rash.", "(induced, adverse event, [(Aspirin, treatment), (a rash, effect)])"),
    ("旧金山大桥在圣弗朗西斯科", "[{'head':'旧金山大桥', 'relation':'位于', 'tail':'圣弗朗西斯科'}]"),
    ("旧金山大桥在圣弗朗西斯科", "输入中包含的关系三元组是：位于：旧金山大桥，圣弗朗西斯科。"),
    ("Aspirin induced a rash.", "<adverse event, induced, treatment#Aspirin; effect#a rash>"),
    ("Ann founded Acme (UK) Ltd.", "founder: Acme (UK) Ltd, Ann\n位于：Acme，Ltd"),
    (
        "Ann founded Acme (UK) Ltd.",
        r#"{"founder": [{"subject": "Acme (UK) Ltd", "object": "Ann"}], "person": ["Ann"]}"#,
    ),
    (
        "Aspirin induced a rash.",
        r#"{"adverse event": [{"trigger": "induced", "arguments": {"treatment": ["Aspirin"], "effect": "NAN"}}]}"#,
    ),
];

/// What formats are made of.
const PIECES: [&str; 41] = [
    "(",
    ")",
    "（",
    "）",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    ",",
    "，",
    ", ",
    " ",
    "\n",
    "'",
    "\"",
    ":",
    "：",
    ";",
    "；",
    "。",
    "\\",
    "#",
    "None",
    "无",
    "关系三元组是：",
    "head",
    "tail",
    "relation",
    "🙂",
    "İ",
    "\u{301}",
    "\u{0}",
    "\u{feff}",
    "1,000",
    "treatment#",
    "{\"person\": [",
    "NAN",
    "person",
    "机构",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * n.max(1) as u128) >> 64) as usize
    }
}

/// Cuts, repeats, moves and mixes until little is left of an answer's form.
fn mutated(random: &mut Random, answers: &[(String, String)]) -> String {
    let mut chars: Vec<char> = answers[random.below(answers.len())].1.chars().collect();
    for _ in 0..1 + random.below(8) {
        let (a, b) = (random.below(chars.len() + 1), random.below(chars.len() + 1));
        let (a, b) = (a.min(b), a.max(b));
        match random.below(7) {
            0 => drop(chars.drain(a..b)),
            1 => chars.truncate(b),
            2 => {
                let part = chars[a..b].to_vec();
                for _ in 0..random.below(6) {
                    chars.splice(b..b, part.iter().copied());
                }
            }
            3 => chars[a..b].reverse(),
            4 => {
                let other: Vec<char> = answers[random.below(answers.len())].1.chars().collect();
                chars.splice(a..b, other);
            }
            _ => drop(chars.splice(a..a, PIECES[random.below(PIECES.len())].chars()).collect::<Vec<_>>()),
        }
        chars.truncate(20_000);
    }
    chars.into_iter().collect()
}

/// Any way of asking.
fn asking(random: &mut Random) -> Asking {
    let only = [None, None, Some(EventPart::Triggers), Some(EventPart::Arguments)][random.below(4)];
    Asking { format: Format::ALL.get(random.below(Format::ALL.len() + 1)).copied(), only, ..Asking::default() }
}

/// What a line says was asked.
fn choice(task: Task, schema: &serde_json::Value) -> SchemaChoice {
    let names = |list: &serde_json::Value| {
        list.as_array().into_iter().flatten().filter_map(|n| n.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let (types, roles) = if task == Task::Events { (&schema[0], &schema[1]) } else { (schema, &schema["none"]) };
    SchemaChoice { task, language: Language::En, types: names(types), roles: names(roles), asking: Asking::default() }
}

/// Everything that holds for every answer.
fn check(answer: &str, source: &str, schema: Option<&SchemaChoice>, cut: usize) {
    let parsed = holds::read(answer, source, schema);
    let early: String = answer.chars().take(cut).collect();
    holds::grows(&parse::records(&early, source, schema, false), &parsed, answer);
    let doubted = doubt::records(answer, source, schema, Some(&[(cut, -2.0).into()]), &[early]);
    assert_eq!(doubted.records.len(), parsed.records.len(), "{answer:?}");
    let found =
        graph::Source { document: "1", records: &parsed.records, judgements: &[], origin: graph::Origin::Tuned };
    let drawn = layout::layout(&graph::build(&[found], &graph::Edits::default()).strongest(40));
    assert!(drawn.width > 0);
    if let Some(choice) = schema {
        let lengths = chunk::Lengths { usual: 20, longest: 40, overlap: 5 };
        let parts: Vec<Span> = chunk::parts(source, lengths, |part| part.chars().count());
        let part = |span: Span| extract::merge::Part {
            task: choice.task,
            span,
            parsed: parse::records(answer, slice_chars(source, span.start, span.end), schema, true),
            finish: FinishReason::Stop,
            run: None,
        };
        let whole = extract::Schema::of_choice(choice);
        let parts: Vec<_> = parts.into_iter().map(part).collect();
        together::records(&whole, parts.clone());
        extract::merge::merge(&whole, parts);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(10);
    let mut asked: Vec<Option<SchemaChoice>> = Vec::new();
    let answers: Vec<(String, String)> = match arguments.next() {
        Some(path) => std::fs::read_to_string(path)
            .expect("the file can be read")
            .lines()
            .map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).expect("lines of JSON");
                asked.push(row["kind"].as_str().and_then(Task::from_code).map(|task| choice(task, &row["schema"])));
                let field = |name: &str| row[name].as_str().expect("input and output are text").to_owned();
                (field("input"), field("output"))
            })
            .collect(),
        None => ANSWERS.iter().map(|(input, output)| ((*input).to_owned(), (*output).to_owned())).collect(),
    };
    let types = ["person", "place", "机构", "日期", "founder", "位于", "adverse event", "a, b"];
    let schemas = holds::schemas(&types, &["treatment", "effect", "主体机构"]);
    let (began, mut bytes) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(1) {
        for (index, (source, answer)) in answers.iter().enumerate() {
            let own = asked.get(index).and_then(Option::as_ref);
            std::hint::black_box(parse::records(answer, source, own, true));
            bytes += answer.len() + source.len();
        }
    }
    println!("parsing: {:.1} MB/s of answers and texts", bytes as f64 / began.elapsed().as_secs_f64() / 1e6);

    let (began, mut random, mut tried) = (Instant::now(), Random(20_261_123), 0_u64);
    while began.elapsed() < Duration::from_secs(seconds) {
        let answer = mutated(&mut random, &answers);
        let (source, _) = &answers[random.below(answers.len())];
        for schema in &schemas {
            let cut = random.below(answer.chars().count() + 1);
            let mut schema = schema.clone();
            if let Some(choice) = &mut schema {
                choice.asking = asking(&mut random);
            }
            check(&answer, source, schema.as_ref(), cut);
        }
        tried += 1;
    }
    println!("{tried} answers in {seconds} s: nothing that does not hold");
}
