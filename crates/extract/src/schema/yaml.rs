//! Schemas written down as YAML.

use super::Schema;
use crate::node::Node;

impl Schema {
    /// The schema as a file in YAML. Read again, it is the same schema.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        if let Ok(Node::Map(entries)) = serde_json::from_str(&self.to_json()) {
            map(&entries, 0, &mut out);
        }
        out
    }
}

fn map(entries: &[(String, Node)], depth: usize, out: &mut String) {
    for (key, value) in entries {
        out.push_str(&"  ".repeat(depth));
        out.push_str(&scalar(key));
        out.push(':');
        match value {
            Node::Map(inner) if !inner.is_empty() => {
                out.push('\n');
                map(inner, depth + 1, out);
            }
            Node::List(list) if !list.is_empty() => {
                out.push('\n');
                for one in list {
                    out.push_str(&"  ".repeat(depth + 1));
                    out.push_str("- ");
                    out.push_str(&flow(one));
                    out.push('\n');
                }
            }
            other => {
                out.push(' ');
                out.push_str(&flow(other));
                out.push('\n');
            }
        }
    }
}

/// A value on one line.
fn flow(node: &Node) -> String {
    match node {
        Node::Null => "null".into(),
        Node::Bool(value) => value.to_string(),
        Node::Number(number) => number.clone(),
        Node::Text(text) => scalar(text),
        Node::List(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Node::Map(entries) => {
            let entry = |(key, value): &(String, Node)| format!("{}: {}", scalar(key), flow(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Text as it is where nothing could be taken for something else, else in quotation marks.
fn scalar(text: &str) -> String {
    let plain = text.chars().next().is_some_and(char::is_alphabetic)
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        && !text.ends_with(' ')
        && !matches!(
            text.to_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n" | "nan" | "inf"
        );
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_schema_reads_as_people_write_yaml() {
        let json = r#"{"language": "zh", "title": {"en": "A: b", "zh": "财务"}, "entities": ["机构", "no", "job title"],
            "relations": [{"name": "founder", "head": "organization"}], "events": {"收购": ["买方"], "罢工": []}}"#;
        let expected = "language: zh\ntitle:\n  en: \"A: b\"\n  zh: 财务\nentities:\n  - 机构\n  - \"no\"\n  - job title\n\
            relations:\n  - {name: founder, head: [organization]}\nevents:\n  收购:\n    - 买方\n  罢工: []\n";
        assert_eq!(Schema::from_json(json).unwrap().to_yaml(), expected);
    }
}
