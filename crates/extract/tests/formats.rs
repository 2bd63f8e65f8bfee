//! Every answer format: as models write it, one line a case, and what holds for all of them. A line of `expected` is a
//! record as `words@start:label`, or an issue as `! kind words`.
#![allow(clippy::unwrap_used)]

use extract::{Parsed, parse};
use proptest::prelude::*;
use protocol::{
    Asking, EventPart, Format, Language, Record, SchemaChoice, Task,
    record::{Argument, Mention},
    text::slice_chars,
};
use serde_json::{Map, Value, json};

const TYPES: [&str; 4] = ["founder", "located in", "收购", "a, b"];
const ROLES: [&str; 3] = ["buyer", "price", "金额"];

fn asked(format: Format, task: Task, only: Option<EventPart>) -> SchemaChoice {
    let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    let asking = Asking { only, ..Asking::in_format(format) };
    SchemaChoice { task, language: Language::En, types: own(&TYPES), roles: own(&ROLES), asking }
}

fn shown(parsed: &Parsed) -> Vec<String> {
    let place = |m: &Mention| format!("{}@{}", m.text, m.span.map_or("-".to_owned(), |s| s.start.to_string()));
    let record = |r: &Record| match r {
        Record::Entity { label, mention } => format!("{}:{label}", place(mention)),
        Record::Relation { relation, head, tail } => format!("{} -{relation}-> {}", place(head), place(tail)),
        Record::Event { label, trigger, arguments } => {
            let list: Vec<_> = arguments.iter().map(|a| format!("{}:{}", place(&a.mention), a.role)).collect();
            format!("{}:{label} [{}]", place(trigger), list.join(", "))
        }
    };
    let issue = |i: &extract::Issue| format!("! {} {}", i.kind.name(), i.words);
    let nothing = parsed.nothing_found.then(|| "nothing".to_owned());
    parsed.records.iter().map(record).chain(parsed.issues.iter().map(issue)).chain(nothing).collect()
}

fn check(choice: &SchemaChoice, source: &str, cases: &[(&str, &[&str])]) {
    for (answer, expected) in cases {
        let parsed = parse::records(answer, source, Some(choice), true);
        assert_eq!(shown(&parsed), *expected, "\nanswer: {answer}");
    }
}

const TEXT: &str = "Acme <UK>, Ltd was founded by Ann; Bob's Inc bought Acme for 1,000 dollars.";

#[test]
fn tuples_in_angle_brackets() {
    check(
        &asked(Format::Angles, Task::Entities, None),
        TEXT,
        &[
            ("<Ann, founder> <Bob's Inc, a, b>", &["Ann@30:founder", "Bob's Inc@35:a, b"]),
            ("＜Ann，founder＞\n<Acme <UK>, Ltd, founder>", &["Ann@30:founder", "Acme <UK>, Ltd@0:founder"]),
            (
                "Here they are: <Ann, founder>, <Ann, founder>",
                &["Ann@30:founder", "! duplicate Ann, founder", "! other_text Here they are"],
            ),
            ("<'Ann', \"founder\"> <Bo", &["Ann@30:founder", "! broken_off <Bo"]),
            ("(Ann, founder)", &["Ann@30:founder"]),
            ("None", &["nothing"]),
        ],
    );
    check(
        &asked(Format::Angles, Task::Relations, None),
        TEXT,
        &[
            ("<Acme <UK>, Ltd, founder, Ann>", &["Acme <UK>, Ltd@0 -founder-> Ann@30"]),
            (
                "<Acme, founder, Ann>; <Acme, owner, Ann>",
                &["Acme@52 -founder-> Ann@30", "! not_in_schema Acme, owner, Ann"],
            ),
        ],
    );
}

#[test]
fn events_in_angle_brackets() {
    check(
        &asked(Format::Angles, Task::Events, None),
        TEXT,
        &[
            (
                "<收购, bought, buyer#Bob's Inc; price#1,000 dollars>",
                &["bought@45:收购 [Bob's Inc@35:buyer, 1,000 dollars@61:price]"],
            ),
            ("<a, b, bought, buyer#Acme <UK>, Ltd>", &["bought@45:a, b [Acme <UK>, Ltd@0:buyer]"]),
            (
                "<收购，bought，buyer＃Bob's Inc；金额＃1,000 dollars>。",
                &["bought@45:收购 [Bob's Inc@35:buyer, 1,000 dollars@61:金额]"],
            ),
            (
                "<收购, bought, buyer#Bob's Inc, price#1,000 dollars>",
                &["bought@45:收购 [Bob's Inc@35:buyer, 1,000 dollars@61:price]"],
            ),
            ("<bought, 收购, buyer#NAN; price#>", &["bought@45:收购 []"]),
            ("<收购, bought>", &["bought@45:收购 []"]),
            ("<收购, bought, role#Ann>", &["bought@45:收购 []", "! not_in_schema Ann, role"]),
            ("<收购, bought, buyer#Bob", &["! broken_off <收购, bought, buyer#Bob"]),
            ("<收购> <收购, bought>", &["bought@45:收购 []", "! unreadable 收购"]),
        ],
    );
    check(
        &asked(Format::Angles, Task::Events, Some(EventPart::Triggers)),
        TEXT,
        &[("<收购, bought> <founder, founded>", &["bought@45:收购 []", "founded@19:founder []"])],
    );
    check(
        &asked(Format::Angles, Task::Events, Some(EventPart::Arguments)),
        TEXT,
        &[("<Bob's Inc, buyer> <Ann, seller>", &["Bob's Inc@35:buyer", "! not_in_schema Ann, seller"])],
    );
}

#[test]
fn a_line_for_each_relation() {
    check(
        &asked(Format::Lines, Task::Relations, None),
        TEXT,
        &[
            (
                "founder: Acme <UK>, Ltd, Ann\n收购：Bob's Inc，Acme",
                &["Acme <UK>, Ltd@0 -founder-> Ann@30", "Bob's Inc@35 -收购-> Acme@52"],
            ),
            (
                "The relations are:\n1. founder: Acme, Ann\n- a, b: Ann, Acme",
                &["Acme@52 -founder-> Ann@30", "Ann@30 -a, b-> Acme@52"],
            ),
            ("founder: Acme, Ann\nThat is all.", &["Acme@52 -founder-> Ann@30", "! unreadable That is all."]),
            ("owner: Acme, Ann", &["! not_in_schema Acme, owner, Ann"]),
            ("founder: Acme", &["! unreadable founder: Acme"]),
            ("(Acme, founder, Ann)", &["Acme@52 -founder-> Ann@30"]),
            ("输入中包含的关系三元组是：founder：Acme，Ann。", &["Acme@52 -founder-> Ann@30"]),
            ("None", &["nothing"]),
        ],
    );
}

#[test]
fn lists_of_json_objects() {
    check(
        &asked(Format::Json, Task::Relations, None),
        TEXT,
        &[
            (
                r#"[{"head": "Acme", "relation": "founder", "tail": "Ann"}, {"head": "Bob"#,
                &["Acme@52 -founder-> Ann@30", r#"! broken_off {"head": "Bob"#],
            ),
            (
                "```json\n[{'head': 'Acme', 'relation': 'founder', 'tail': 'Ann'}]\n``` I hope this helps.",
                &["Acme@52 -founder-> Ann@30", "! other_text I hope this helps"],
            ),
            ("[]", &["nothing"]),
        ],
    );
    check(
        &asked(Format::Json, Task::Events, None),
        TEXT,
        &[(
            r#"[{"trigger": "bought", "type": "收购", "arguments": [{"argument": "Bob's Inc", "role": "buyer"}, {"role": "price", "argument": "1,000 dollars"}]}, {"trigger": "founded"}]"#,
            &["bought@45:收购 [Bob's Inc@35:buyer, 1,000 dollars@61:price]", r#"! unreadable {"trigger": "founded"}"#],
        )],
    );
    check(
        &asked(Format::Json, Task::Events, Some(EventPart::Arguments)),
        TEXT,
        &[(r#"[{"argument": "Bob's Inc", "role": "buyer"}]"#, &["Bob's Inc@35:buyer"])],
    );
}

#[test]
fn objects_with_the_asked_types_as_keys() {
    check(
        &asked(Format::OnekeJson, Task::Entities, None),
        TEXT,
        &[
            (
                r#"{"founder": ["Ann"], "收购": [], "located in": ["Acme", "Bob's Inc"]}"#,
                &["Ann@30:founder", "Acme@52:located in", "Bob's Inc@35:located in"],
            ),
            (r#"{"founder": [], "收购": []}"#, &["nothing"]),
            (
                r#"The answer: {"founder": ["Ann", "Bob"#,
                &["Ann@30:founder", r#"! broken_off "Bob"#, "! other_text The answer"],
            ),
            (r#"{"founder": ["Ann"], "收购": ["Acme""#, &["Ann@30:founder", r#"! broken_off "Acme""#]),
            (r#"{"founder": ["Ann"]"#, &["Ann@30:founder", "! broken_off ]"]),
            (
                "{'founder': ['Ann'], 'owner': ['Acme']} Done.",
                &["Ann@30:founder", "! not_in_schema Acme, owner", "! other_text Done"],
            ),
            (r#"{"entities": {"founder": "Ann"}}"#, &["Ann@30:founder"]),
            (r#"[{"entity": "Ann", "type": "founder"}]"#, &["Ann@30:founder"]),
            ("(Ann, founder)", &["Ann@30:founder"]),
        ],
    );
    check(
        &asked(Format::OnekeJson, Task::Relations, None),
        TEXT,
        &[
            (
                r#"{"founder": [{"subject": "Acme", "object": "Ann"}, {"subject": "NAN", "object": "NAN"}], "收购": [{"subject": "Bob's Inc", "obj"#,
                &["Acme@52 -founder-> Ann@30", r#"! broken_off {"subject": "Bob's Inc", "obj"#],
            ),
            (r#"{"founder": ["Ann"]}"#, &["! unreadable Ann"]),
        ],
    );
    check(
        &asked(Format::OnekeJson, Task::Events, None),
        TEXT,
        &[
            (
                r#"{"收购": [{"trigger": "bought", "arguments": {"buyer": "Bob's Inc", "price": ["1,000 dollars"], "金额": "NAN"}}], "founder": []}"#,
                &["bought@45:收购 [Bob's Inc@35:buyer, 1,000 dollars@61:price]"],
            ),
            (
                r#"{"收购": [{"trigger": "bought", "arguments": {"buyer": ["Bob's Inc", "Ann"]}}, {"trigger": "fou"#,
                &["bought@45:收购 [Bob's Inc@35:buyer, Ann@30:buyer]", r#"! broken_off {"trigger": "fou"#],
            ),
        ],
    );
    check(
        &asked(Format::OnekeJson, Task::Events, Some(EventPart::Triggers)),
        TEXT,
        &[(r#"{"收购": ["bought"], "founder": ["founded"]}"#, &["bought@45:收购 []", "founded@19:founder []"])],
    );
    check(
        &asked(Format::OnekeJson, Task::Events, Some(EventPart::Arguments)),
        TEXT,
        &[
            (
                r#"{"收购": [{"trigger": "bought", "arguments": {"buyer": "Bob's Inc", "price": "NAN"}}]}"#,
                &["Bob's Inc@35:buyer"],
            ),
            (r#"{"收购": {"buyer": "Bob's Inc"}}"#, &["Bob's Inc@35:buyer"]),
            (r#"{"收购": [{"arguments": {}}]}"#, &["nothing"]),
        ],
    );
}

#[test]
fn issues_say_where_in_the_answer() {
    let answer = "说：<Ann, founder> <Bob, owner> <Bo";
    let parsed = parse::records(answer, TEXT, Some(&asked(Format::Angles, Task::Entities, None)), true);
    let at: Vec<_> = parsed.issues.iter().map(|i| i.at.map(|at| slice_chars(answer, at.start, at.end))).collect();
    assert_eq!(at, [Some("Bob"), Some("<Bo"), Some("说")]);
}

/// Words that a mention can be made of; what would end it in a format only stands where the text decides.
fn words() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "Ann",
        "Bob's Inc",
        "Smith, John",
        "Acme (UK) Ltd",
        "1,000 dollars",
        "阳光城集团",
        "say \"hi\"",
        "🙂 x",
        "a-b",
    ])
    .prop_map(str::to_owned)
}

fn mention() -> impl Strategy<Value = Mention> {
    words().prop_map(|words| Mention::new(&words))
}

fn record(task: Task) -> BoxedStrategy<Record> {
    let label = prop::sample::select(TYPES.to_vec()).prop_map(str::to_owned);
    match task {
        Task::Entities => (label, mention()).prop_map(|(label, mention)| Record::Entity { label, mention }).boxed(),
        Task::Relations => (label, mention(), mention())
            .prop_map(|(relation, head, tail)| Record::Relation { relation, head, tail })
            .boxed(),
        Task::Events => {
            let role = prop::sample::select(ROLES.to_vec()).prop_map(str::to_owned);
            let argument = (role, mention()).prop_map(|(role, mention)| Argument { role, mention });
            (label, mention(), prop::collection::vec(argument, 0..3))
                .prop_map(|(label, trigger, mut arguments)| {
                    arguments.sort_by_key(|a| ROLES.iter().position(|role| *role == a.role));
                    Record::Event { label, trigger, arguments }
                })
                .boxed()
        }
    }
}

/// Records of one task, each once, in the order in which every format can say them.
fn records() -> impl Strategy<Value = (Task, Vec<Record>)> {
    prop::sample::select(Task::ALL.to_vec()).prop_flat_map(|task| {
        prop::collection::vec(record(task), 1..5).prop_map(move |mut records| {
            let label = |r: &Record| TYPES.iter().position(|name| *name == label_of(r));
            records.sort_by_key(label);
            let mut once: Vec<Record> = Vec::new();
            for record in records {
                if !once.contains(&record) {
                    once.push(record);
                }
            }
            (task, once)
        })
    })
}

fn label_of(record: &Record) -> &str {
    match record {
        Record::Entity { label, .. } | Record::Event { label, .. } => label,
        Record::Relation { relation, .. } => relation,
    }
}

/// The records as a model writes them that keeps to the format.
fn written(format: Format, records: &[Record]) -> String {
    let one = |record: &Record| match (format, record) {
        (Format::Tuples, Record::Entity { label, mention }) => format!("({}, {label})", mention.text),
        (Format::Tuples, Record::Relation { relation, head, tail }) => {
            format!("({}, {relation}, {})", head.text, tail.text)
        }
        (Format::Tuples, Record::Event { label, trigger, arguments }) => {
            let list: Vec<_> = arguments.iter().map(|a| format!("({}, {})", a.mention.text, a.role)).collect();
            format!("({}, {label}, [{}])", trigger.text, list.join(", "))
        }
        (Format::Angles, Record::Entity { label, mention }) => format!("<{}, {label}>", mention.text),
        (Format::Angles, Record::Relation { relation, head, tail }) => {
            format!("<{}, {relation}, {}>", head.text, tail.text)
        }
        (Format::Angles, Record::Event { label, trigger, arguments }) => {
            let list: Vec<_> = arguments.iter().map(|a| format!("{}#{}", a.role, a.mention.text)).collect();
            let comma = if list.is_empty() { "" } else { ", " };
            format!("<{label}, {}{comma}{}>", trigger.text, list.join("; "))
        }
        (Format::Lines, Record::Relation { relation, head, tail }) => {
            format!("{relation}: {}, {}\n", head.text, tail.text)
        }
        (_, Record::Entity { label, mention }) => json!({"entity": mention.text, "type": label}).to_string(),
        (_, Record::Relation { relation, head, tail }) => {
            json!({"head": head.text, "relation": relation, "tail": tail.text}).to_string()
        }
        (_, Record::Event { label, trigger, arguments }) => {
            let list: Vec<_> = arguments.iter().map(|a| json!({"argument": a.mention.text, "role": a.role})).collect();
            json!({"trigger": trigger.text, "type": label, "arguments": list}).to_string()
        }
    };
    match format {
        Format::OnekeJson => by_type(records),
        Format::Json => format!("[{}]", records.iter().map(one).collect::<Vec<_>>().join(", ")),
        _ => records.iter().map(one).collect::<Vec<_>>().join(" "),
    }
}

/// Written out by hand, for the keys in the order of the types.
fn by_type(records: &[Record]) -> String {
    let mut object = String::from("{");
    for name in TYPES {
        let of_type: Vec<Value> = records
            .iter()
            .filter(|record| label_of(record) == name)
            .map(|record| match record {
                Record::Entity { mention, .. } => json!(mention.text),
                Record::Relation { head, tail, .. } => json!({"subject": head.text, "object": tail.text}),
                Record::Event { trigger, arguments, .. } => {
                    let mut roles: Map<String, Value> = Map::new();
                    for role in ROLES {
                        let words: Vec<_> =
                            arguments.iter().filter(|a| a.role == role).map(|a| a.mention.text.clone()).collect();
                        let value = match words.as_slice() {
                            [] => json!("NAN"),
                            [one] => json!(one),
                            many => json!(many),
                        };
                        roles.insert(role.to_owned(), value);
                    }
                    json!({"trigger": trigger.text, "arguments": roles})
                }
            })
            .collect();
        if object.len() > 1 {
            object.push_str(", ");
        }
        object.push_str(&format!("{}: {}", json!(name), json!(of_type)));
    }
    object + "}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_written_in_a_format_are_read_again((task, records) in records()) {
        // Words stand in the text, and where a comma could part them in two ways, the text decides.
        let source = records
            .iter()
            .flat_map(Record::mentions)
            .map(|(_, mention)| mention.text.clone())
            .collect::<Vec<_>>()
            .join(" | ");
        for format in Format::ALL.into_iter().filter(|format| format.has(task)) {
            let answer = written(format, &records);
            let parsed = parse::records(&answer, &source, Some(&asked(format, task, None)), true);
            let said = |records: &[Record]| records.iter().map(without_places).collect::<Vec<_>>();
            prop_assert_eq!(said(&parsed.records), said(&records), "{}", answer);
            prop_assert_eq!(&parsed.issues, &vec![], "{}", answer);
        }
    }

    #[test]
    fn whatever_happens_to_an_answer_it_is_read_and_only_grows(
        (task, records) in records(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6_u8), 0..6),
    ) {
        for format in Format::ALL {
            for only in [None, Some(EventPart::Triggers), Some(EventPart::Arguments)] {
                let mut answer: Vec<char> = written(format, &records).chars().collect();
                for (from, to, what) in &edits {
                    let (a, b) = (from.index(answer.len() + 1), to.index(answer.len() + 1));
                    let (a, b) = (a.min(b), a.max(b));
                    match what {
                        0 => drop(answer.drain(a..b)),
                        1 => answer.truncate(b),
                        2 => answer[a..b].reverse(),
                        3 => answer.splice(a..a, "<>{}[]\"#：；,\\".chars()).for_each(drop),
                        4 => answer.splice(a..b, "{\"founder\": [".chars()).for_each(drop),
                        _ => {
                            let part = answer[a..b].to_vec();
                            answer.splice(b..b, part).for_each(drop);
                        }
                    }
                    answer.truncate(400);
                }
                let answer: String = answer.into_iter().collect();
                let choice = asked(format, task, only);
                let mut before = Vec::new();
                for (end, _) in answer.char_indices() {
                    let now = parse::records(&answer[..end], TEXT, Some(&choice), false).records;
                    prop_assert!(now.starts_with(&before), "{:?} then {:?} in {}", before, now, answer);
                    before = now;
                }
                let last = parse::records(&answer, TEXT, Some(&choice), true);
                prop_assert!(last.records.starts_with(&before), "{:?} at last {:?} in {}", before, last.records, answer);
                for issue in &last.issues {
                    let length = answer.chars().count();
                    prop_assert!(issue.at.is_none_or(|at| at.start < at.end && at.end <= length));
                }
            }
        }
    }
}

fn without_places(record: &Record) -> Record {
    let mut record = record.clone();
    for mention in record.mentions_mut() {
        *mention = Mention::new(&mention.text);
    }
    record
}

#[test]
fn hostile_answers_are_read_in_time_in_every_format() {
    let source = "x xx y ".repeat(3000);
    let parts = [
        "<",
        "<x",
        ">",
        "<x, ",
        "<founder, x, buyer#",
        "; buyer#x",
        "#",
        ",",
        "{",
        "{\"",
        "{\"founder\": [",
        "\"x\", ",
        "[",
        "founder: x, ",
        "{\"founder\": {",
        "\"a\": ",
        "'",
        "\\",
        "\n",
        "x>",
        "{\"trigger\": \"x\", \"arguments\": {",
        "1. ",
        ": ",
    ];
    for part in parts {
        for prefix in ["", "<", "{\"founder\": [", "{\"founder\": [{\"trigger\": \"x\", \"arguments\": {", "founder: "]
        {
            let answer = format!("{prefix}{}", part.repeat(20_000 / part.len()));
            for format in Format::ALL {
                for task in Task::ALL {
                    let parsed = parse::records(&answer, &source, Some(&asked(format, task, None)), true);
                    assert!(parsed.records.len() <= answer.len(), "{prefix}{part}…");
                }
            }
        }
    }
}
