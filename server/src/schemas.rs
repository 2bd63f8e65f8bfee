//! Schemas as people write them: JSON or YAML, read with a sentence for what is wrong.

use std::path::Path;

use app::services::ServiceError;
use extract::{Schema, node::Node};

/// The longest name of a schema, in code points.
const MAX_NAME: usize = 100;
/// The longest schema read, in bytes.
const MAX_SCHEMA: usize = 200_000;

/// Reads a schema from the text of a file; one that begins as JSON does is JSON.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(text: &str, yaml: bool) -> Result<Schema, String> {
    let text = text.trim_start_matches('\u{feff}');
    if !yaml {
        return Schema::from_json(text).map_err(|e| e.to_string());
    }
    let node: Node = serde_saphyr::from_str(text).map_err(|e| {
        let said = e.to_string();
        format!("it is no YAML: {}", said.lines().next().unwrap_or_default().trim_start_matches("error: "))
    })?;
    Schema::read(&node).map_err(|e| e.to_string())
}

/// Whether a file of this name is YAML.
pub fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"))
}

/// Reads a schema that a person typed or pasted: JSON when it begins with a bracket, else YAML.
///
/// # Errors
/// It is too long, or no schema.
pub fn read(text: &str) -> Result<Schema, ServiceError> {
    if text.len() > MAX_SCHEMA {
        return Err(ServiceError::invalid(
            format!("The schema has {} bytes; at most {MAX_SCHEMA} are read.", text.len()),
            format!("抽取清单有 {} 字节，最多读取 {MAX_SCHEMA} 字节。", text.len()),
        ));
    }
    let json = text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '[']);
    parse(text, !json).map_err(|said| {
        ServiceError::invalid(format!("The schema cannot be read: {said}."), format!("无法读取抽取清单：{said}。"))
    })
}

/// A name as it is kept: one line, not empty, not too long.
///
/// # Errors
/// It is empty or too long.
pub fn name(given: &str) -> Result<String, ServiceError> {
    let name = given.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = name.chars().count();
    if name.is_empty() {
        return Err(ServiceError::invalid(
            "The name is empty: give the schema a name.",
            "名称为空：请给抽取清单起个名字。",
        ));
    }
    if length > MAX_NAME {
        return Err(ServiceError::invalid(
            format!("The name has {length} characters; at most {MAX_NAME} are allowed. Shorten it."),
            format!("名称有 {length} 个字符，最多 {MAX_NAME} 个，请缩短。"),
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_pasted_is_json_or_yaml_with_the_same_meaning() {
        let json =
            read("\u{feff} {\"language\": \"zh\", \"entities\": [\"机构\"], \"events\": {\"收购\": [\"买方\"]}}")
                .unwrap();
        assert_eq!(read("language: zh\nentities:\n  - 机构\nevents:\n  收购: [买方]\n").unwrap(), json);
        assert_eq!(read(&json.to_json()).unwrap(), json);
        assert_eq!(read(&json.to_yaml()).unwrap(), json);
        let said = |text: &str| read(text).unwrap_err().to_string();
        assert!(said("{\"entities\": [1]}").contains("entities[0]: must be a name in quotation marks"));
        assert!(said("entities: [a\nb: c").contains("it is no YAML"));
        assert!(said("people").contains("a schema is an object"), "{}", said("people"));
        assert!(said(&" ".repeat(MAX_SCHEMA + 1)).contains("at most"));
    }

    #[test]
    fn every_ready_schema_is_the_same_written_as_yaml() {
        for ready in crate::assets::schemas() {
            let schema = Schema::from_json(&ready.json).unwrap();
            assert_eq!(read(&schema.to_yaml()).unwrap(), schema, "{}", ready.id);
        }
        let odd = r##"{"entities": ["a: b", "#x", "- y", "no", "1", "é", "'", "\"", {"name": "p", "description": "a, {b} [c]\nd"}]}"##;
        let odd = Schema::from_json(odd).unwrap();
        assert_eq!(read(&odd.to_yaml()).unwrap(), odd);
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(name("  Finance \n news ").unwrap(), "Finance news");
        assert!(name(" \n").is_err());
        assert!(name(&"x".repeat(101)).is_err());
    }
}
