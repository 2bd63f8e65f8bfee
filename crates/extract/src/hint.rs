//! A hint for prompts that are typed on the wrong page.

/// Words that only stand in an extraction instruction, Chinese.
const CHINESE: &[&str] = &[
    "抽取",
    "三元组",
    "实体类型",
    "关系类型",
    "事件类型",
    "关系列表",
    "实体列表",
    "事件列表",
    "论元",
    "触发词",
    "命名实体",
    "实体识别",
    "列出文本中的实体",
    "提取实体",
    "提取关系",
    "提取事件",
    "提取出实体",
];

/// The same, English, in lower case.
const ENGLISH: &[&str] = &[
    "named entit",
    "entity type",
    "relation type",
    "event type",
    "relation extraction",
    "event extraction",
    "entity recognition",
    "information extraction",
    "relation triple",
    "knowledge triple",
    "(head, relation, tail)",
    "(entity, type)",
    "event trigger",
];

/// English verbs that ask for an extraction when one of [`OBJECTS`] follows in the same sentence.
const VERBS: &[&str] = &["extract", "list", "identify", "find", "recognize", "recognise", "tag", "label"];

const OBJECTS: &[&str] = &["entity", "entities", "triple", "triples", "triplet", "triplets"];

/// Objects that "extract" alone can have; "list the events of 1969" is a fair completion prompt.
const EXTRACTED: &[&str] = &[
    "relation",
    "relations",
    "relationship",
    "relationships",
    "event",
    "events",
    "person",
    "persons",
    "companies",
    "places",
    "dates",
    "people",
    "organization",
    "organizations",
    "organisation",
    "organisations",
    "location",
    "locations",
    "names",
    "keywords",
    "information",
    "facts",
];

/// How many words may stand between the verb and its object.
const REACH: usize = 10;

/// Whether a prompt for plain completion reads like an instruction to extract something. Conservative: a prompt that
/// is not clearly one gets no hint.
pub fn looks_like_instruction(prompt: &str) -> bool {
    if CHINESE.iter().any(|w| prompt.contains(w)) || (prompt.contains("提取") && prompt.contains("实体")) {
        return true;
    }
    let prompt = prompt.to_lowercase();
    if ENGLISH.iter().any(|w| prompt.contains(w)) {
        return true;
    }
    prompt.split(['.', '?', '!', '\n', ':', ';']).any(|sentence| {
        let words: Vec<&str> = sentence.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
        words.iter().enumerate().filter(|(_, word)| VERBS.contains(word)).any(|(at, verb)| {
            let is_object = |w: &&str| OBJECTS.contains(w) || (*verb == "extract" && EXTRACTED.contains(w));
            words.iter().skip(at + 1).take(REACH).any(is_object)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extraction_instructions_are_told_from_prompts_to_complete() {
        for (expected, prompt) in [
            (true, "Extract all people and organizations from the following text: Ada met Bob."),
            (true, "List every entity in the text with its type. Types: person."),
            (true, "Please identify the named entities below."),
            (true, "Extract all persons from the text."),
            (true, "Text: Ada met Bob.\nGive me the relation triples."),
            (
                true,
                "我将给你个输入，请根据事件类型列表：['旅游行程']，论元角色列表：['旅游地点']，从输入中抽取出可能包含的事件",
            ),
            (
                true,
                "从给定的文本中提取出可能的实体和实体类型，可选的实体类型为['地点', '人名']，以（实体，实体类型）的格式回答。",
            ),
            (true, "我希望你根据关系列表从给定的输入中抽取所有可能的关系三元组，并以JSON字符串的格式回答"),
            (true, "列出文本中的实体：张三去了北京"),
            (false, ""),
            (false, "use python to write the bubble sort algorithm."),
            (false, "自然语言处理是"),
            (false, "你非常了解一些健康生活的习惯，请列举几个健康生活的建议："),
            (false, "You are good at translating English into Chinese. Translate the following sentence into Chinese:"),
            (false, "Can you help me write a formal email to a potential business partner proposing a joint venture?"),
            (false, "Question: Roger has 5 tennis balls. He buys 2 more cans of tennis balls."),
            (false, "Vanilla extract is made from"),
            (false, "Make a list of the events of 1969."),
            (false, "The dentist had to extract the tooth because"),
            (false, "你对中国的大学了解的非常多。请介绍一下浙江大学。答案："),
        ] {
            assert_eq!(looks_like_instruction(prompt), expected, "{prompt}");
        }
    }
}
