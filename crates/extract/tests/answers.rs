//! The answer formats, one line a case. A line of `expected` is a record as `words@start:label`, with `-` for words
//! that are not in the text, or an issue as `! kind words`.
#![allow(clippy::unwrap_used)]

use extract::{Parsed, parse};
use protocol::{Asking, Language, Record, SchemaChoice, Task, record::Mention};

fn schema(task: Task, types: &[&str], roles: &[&str]) -> SchemaChoice {
    let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    SchemaChoice { task, language: Language::En, types: own(types), roles: own(roles), asking: Asking::default() }
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
    let kind = |i: &extract::Issue| serde_json::to_value(i.kind).unwrap().as_str().unwrap().to_owned();
    let issue = |i: &extract::Issue| format!("! {} {}", kind(i), i.words);
    let nothing = parsed.nothing_found.then(|| "nothing".to_owned());
    parsed.records.iter().map(record).chain(parsed.issues.iter().map(issue)).chain(nothing).collect()
}

fn check(schema: Option<&SchemaChoice>, done: bool, source: &str, answer: &str, expected: &[&str]) {
    assert_eq!(shown(&parse::records(answer, source, schema, done)), expected, "\nanswer: {answer}\ntext: {source}");
}

#[test]
fn entities() {
    let asked = schema(Task::Entities, &["person", "organization", "money", "机构", "日期"], &[]);
    for (source, answer, expected) in [
        ("Ada met Bob.", "(Ada, person) (Bob, person)", &["Ada@0:person", "Bob@8:person"][..]),
        (
            "2019年12月22日,阳光城集团",
            "(2019年12月22日,日期)(阳光城集团,机构)",
            &["2019年12月22日@0:日期", "阳光城集团@12:机构"],
        ),
        ("阳光城集团", "（阳光城集团，机构）", &["阳光城集团@0:机构"]),
        (
            "“Smith, John” of Acme (UK) Ltd",
            "(Smith, John, person) (Acme (UK) Ltd, organization)",
            &["Smith, John@1:person", "Acme (UK) Ltd@17:organization"],
        ),
        ("1,000 dollars", "(1,000 dollars, money)", &["1,000 dollars@0:money"]),
        ("smile :-) Inc", "(:-), organization) (Inc, organization)", &[":-)@6:organization", "Inc@10:organization"]),
        ("A :( b", "(:(, organization) (A, person)", &[":(@2:organization", "A@0:person"]),
        ("Ada", "[('Ada', 'Person')]", &["Ada@0:person"]),
        ("Ada, Bob", "(Ada, person), (Bob, person).", &["Ada@0:person", "Bob@5:person"]),
        ("Ada", "[{\"entity\": \"Ada\", \"type\": \"person\"}]", &["Ada@0:person"]),
        ("Ada and ada", "(ada lovelace, person)", &["ada lovelace@-:person", "! not_in_text ada lovelace"]),
        ("Ada", "(Ada, robot)", &["! not_in_schema Ada, robot"]),
        ("Ada", "(Ada, robot) (Ada, robot)", &["! not_in_schema Ada, robot", "! duplicate Ada, robot"]),
        ("Ada Ada", "(Ada, person) (Ada, person) (Ada, person)", &["Ada@0:person", "! duplicate Ada, person"]),
        ("the Sun, a sun", "(Sun, person) (sun, person)", &["Sun@4:person", "sun@11:person"]),
        ("Ada", "(Ada, person) (Bob", &["Ada@0:person", "! broken_off (Bob"]),
        ("Ada", "Here they are: (Ada, person)", &["Ada@0:person", "! other_text Here they are"]),
        ("Ada", "Ada is a person.", &["! unreadable Ada is a person"]),
        ("Ada, Bob", "(Ada, spouse, Bob)", &["! unreadable Ada, spouse, Bob"]),
        ("Ada", "(Ada (Bob, robot) (Ada, person)", &["Ada@0:person", "! unreadable Ada (Bob, robot"]),
        ("Ada", "None", &["nothing"]),
        ("Ada", " 无。", &["nothing"]),
        ("Ada", "  ", &["! empty "]),
    ] {
        check(Some(&asked), true, source, answer, expected);
    }
}

#[test]
fn relations() {
    let asked = schema(Task::Relations, &["founder", "located in", "位于", "朋友"], &[]);
    let zh = "旧金山大桥在圣弗朗西斯科，John的朋友Merry";
    for (source, answer, expected) in [
        ("Ann founded Acme.", "(Acme, founder, Ann)", &["Acme@12 -founder-> Ann@0"][..]),
        ("旧金山大桥在圣弗朗西斯科", "(旧金山大桥,位于,圣弗朗西斯科)", &["旧金山大桥@0 -位于-> 圣弗朗西斯科@6"]),
        (
            "Doe, Jane of Acme (UK) Ltd, Leeds",
            "(Acme (UK) Ltd, founder, Doe, Jane)",
            &["Acme (UK) Ltd@13 -founder-> Doe, Jane@0"],
        ),
        ("the founder of X is founder, Y", "(X, founder, founder, Y)", &["X@15 -founder-> founder, Y@20"]),
        ("A is in B", "(A, inside, B)", &["! not_in_schema A, inside, B"]),
        ("A, B", "(A, B)", &["! unreadable A, B"]),
        (
            zh,
            "[{'head':'旧金山大桥', 'relation':'位于', 'tail':'圣弗朗西斯科'}, {\"head\": \"John\", \"relation\": \"朋友\", \"tail\": \"Merry\"}]",
            &["旧金山大桥@0 -位于-> 圣弗朗西斯科@6", "John@13 -朋友-> Merry@20"],
        ),
        (
            "O'Neil's Pub in Cork",
            "[{'head': 'O'Neil's Pub', 'relation': 'located in', 'tail': 'Cork'}]",
            &["O'Neil's Pub@0 -located in-> Cork@16"],
        ),
        (
            zh,
            "[{'head':'旧金山大桥', 'relation':'位于', 'tail':'圣弗",
            &["! broken_off {'head':'旧金山大桥', 'relation':'位于', 'tail':'圣弗"],
        ),
        (zh, "[{'head':'John', 'tail':'Merry'}]", &["! unreadable John, Merry"]),
        (
            zh,
            "输入中包含的关系三元组是：位于：旧金山大桥，圣弗朗西斯科；朋友：John，Merry。",
            &["旧金山大桥@0 -位于-> 圣弗朗西斯科@6", "John@13 -朋友-> Merry@20"],
        ),
        (
            zh,
            "输入中包含的关系三元组是：位于旧金山大桥；朋友：John,Merry",
            &["John@13 -朋友-> Merry@20", "! unreadable 位于旧金山大桥"],
        ),
    ] {
        check(Some(&asked), true, source, answer, expected);
    }
}

#[test]
fn events() {
    let asked = schema(Task::Events, &["adverse event", "收购"], &["treatment", "effect", "主体机构", "金额"]);
    let rash = "Aspirin (ASA), 1,000 mg, induced a rash.";
    for (source, answer, expected) in [
        (
            rash,
            "(induced, adverse event, [(Aspirin (ASA), 1,000 mg, treatment), (a rash, effect)])",
            &["induced@25:adverse event [Aspirin (ASA), 1,000 mg@0:treatment, a rash@33:effect]"][..],
        ),
        (
            "甲公司以5亿元收购乙。",
            "(收购,收购,[(甲公司,主体机构),(5亿元,金额)])",
            &["收购@7:收购 [甲公司@0:主体机构, 5亿元@4:金额]"],
        ),
        ("甲公司以5亿元收购乙。", "（收购，收购，[（甲公司，主体机构）]）", &["收购@7:收购 [甲公司@0:主体机构]"]),
        (rash, "(induced, adverse event, [])", &["induced@25:adverse event []"]),
        (rash, "(induced, adverse event)", &["induced@25:adverse event []"]),
        (
            rash,
            "(induced, adverse event, [(a rash, effect)] (induced, adverse event, [(rash, effect))",
            &["induced@25:adverse event [a rash@33:effect]", "induced@25:adverse event [rash@35:effect]"],
        ),
        (
            rash,
            "(induced, adverse event, [(rash, outcome)])",
            &["induced@25:adverse event []", "! not_in_schema rash, outcome"],
        ),
        (rash, "(induced, harm, [(rash, effect)])", &["! not_in_schema induced, harm"]),
        (
            rash,
            "(induced, adverse event, [(rash, effect), rash])",
            &["induced@25:adverse event [rash@35:effect]", "! unreadable rash"],
        ),
        (rash, "(induced, adverse event, [(a rash, eff", &["! broken_off (induced, adverse event, [(a rash, eff"]),
    ] {
        check(Some(&asked), true, source, answer, expected);
    }
}

#[test]
fn without_a_schema_the_shape_decides() {
    for (source, answer, expected) in [
        ("Ada met Bob.", "[(Ada, 人名), (Bob, 人名)]", &["Ada@0:人名", "Bob@8:人名"][..]),
        ("Ada met Bob.", "(Ada, friend, Bob)", &["Ada@0 -friend-> Bob@8"]),
        (
            "Smith, John paid 1,000 dollars",
            "(Smith, John, person) (1,000 dollars, money)",
            &["Smith, John@0:person", "1,000 dollars@17:money"],
        ),
        ("Doe, Jane runs Acme, Inc", "(Doe, Jane, runs, Acme, Inc)", &["Doe, Jane@0 -runs-> Acme, Inc@15"]),
        ("they plan a trip to Rome", "(trip, travel, [(Rome, place)])", &["trip@12:travel [Rome@20:place]"]),
        ("Ada", "A poem (for you, dear reader) about Ada (the first).", &[]),
        ("Ada", "", &["! empty "]),
        ("Ada", "(Ada, person) (Bob", &["Ada@0:person", "! broken_off (Bob"]),
    ] {
        check(None, true, source, answer, expected);
    }
}

#[test]
fn while_an_answer_grows_only_whole_records_are_read_and_its_end_is_no_issue() {
    let asked = schema(Task::Entities, &["person"], &[]);
    let source = "Ada met Bob.";
    for (answer, expected) in [
        ("", &[][..]),
        ("(Ada", &[]),
        ("(Ada, person", &[]),
        ("(Ada, person)", &["Ada@0:person"]),
        ("(Ada, person) (Bob, rob", &["Ada@0:person"]),
        ("(Ada, robot)", &[]),
        ("(Ada, robot) (", &["! not_in_schema Ada, robot"]),
        ("Non", &[]),
    ] {
        check(Some(&asked), false, source, answer, expected);
    }
}

#[test]
fn the_offered_examples_are_well_formed_and_hold_the_words_they_promise() {
    let json =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/examples/examples.json")).unwrap();
    let examples: Vec<protocol::Example> = serde_json::from_str(&json).unwrap();
    assert!(!examples.is_empty());
    for example in examples {
        assert!(!example.title.en.is_empty() && !example.title.zh.is_empty() && !example.finds.is_empty());
        for words in &example.finds {
            assert!(example.text.contains(words), "{words} is not in: {}", example.text);
        }
    }
}
