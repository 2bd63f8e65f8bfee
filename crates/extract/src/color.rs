//! Colours of types. Colour always means type: the same type has the same colour in text, table and graph.

/// How many colours the stylesheet has for types.
pub const COLORS: u8 = 12;

/// The colour of a type label, `0..COLORS`: its position in the schema's types, else a hash of its name, so that a
/// type keeps its colour wherever it appears. Case does not matter.
pub fn label_color(label: &str, schema_types: &[String]) -> u8 {
    let label = label.trim().to_lowercase();
    let colors = usize::from(COLORS);
    let place = schema_types.iter().position(|t| t.trim().to_lowercase() == label);
    let color = place.unwrap_or_else(|| {
        let hash = label.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        hash as usize % colors
    });
    (color % colors) as u8
}

/// The colour of a name of any kind: by its place in the first of the schema's lists that has it (entity types, relations,
/// event types, roles), else by its letters.
pub fn color_of(name: &str, lists: &[Vec<String>]) -> u8 {
    let wanted = name.trim().to_lowercase();
    let has = |list: &&Vec<String>| list.iter().any(|n| n.trim().to_lowercase() == wanted);
    label_color(name, lists.iter().find(has).map_or(&[], Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_of_the_schema_is_coloured_by_its_position_and_any_other_by_its_name() {
        let types: Vec<String> = (0..14).map(|i| format!("type {i}")).collect();
        assert_eq!(label_color("type 3", &types), 3);
        assert_eq!(label_color(" Type 3", &types), 3);
        assert_eq!(label_color("type 13", &types), 1);
        assert_eq!(label_color("brand", &types), label_color("Brand", &[]));
        assert!(label_color("品牌", &[]) < COLORS);
    }

    #[test]
    fn a_relation_is_coloured_by_its_place_among_the_relations() {
        let lists = [vec!["person".to_owned()], vec!["founder".to_owned(), "spouse".to_owned()]];
        assert_eq!((color_of("Spouse", &lists), color_of("person", &lists)), (1, 0));
        assert_eq!(color_of("other", &lists), label_color("other", &[]));
    }
}
