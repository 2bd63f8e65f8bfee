//! What PEFT's `rank_pattern` and `alpha_pattern` say of single layers.

use std::{fmt, marker::PhantomData};

use regex::{Regex, RegexBuilder};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

/// More are those of no real adapter.
const MAX_PATTERNS: usize = 4096;

/// Values by the names of modules, in the order of the file: the first that fits counts.
///
/// The names are regular expressions that the end of a module's name matches, from a dot on. What Python's have and ours
/// have not (looking around, references back) is not understood.
#[derive(Debug)]
pub(crate) struct Pattern<T>(Vec<(String, Option<Regex>, T)>);

impl<T> Default for Pattern<T> {
    fn default() -> Self {
        Self(vec![])
    }
}

impl<T> Pattern<T> {
    /// The values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, _, value)| value)
    }

    /// An expression that is not understood.
    pub(crate) fn odd(&self) -> Option<&str> {
        self.0.iter().find(|(_, regex, _)| regex.is_none()).map(|(key, ..)| key.as_str())
    }

    /// What is said of a module.
    pub(crate) fn of(&self, module: &str) -> Option<&T> {
        let fits = |regex: &Option<Regex>| regex.as_ref().is_some_and(|regex| regex.is_match(module));
        self.0.iter().find(|(_, regex, _)| fits(regex)).map(|(_, _, value)| value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pattern<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Pattern<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of names and numbers, or null")
            }

            fn visit_unit<E>(self) -> Result<Pattern<T>, E> {
                Ok(Pattern::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pattern<T>, A::Error> {
                let mut pairs = vec![];
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if pairs.len() == MAX_PATTERNS {
                        return Err(A::Error::custom("it has more patterns than any real adapter"));
                    }
                    let made = RegexBuilder::new(&format!(r"^(?:.*\.)?(?:{key})$")).size_limit(1 << 20).build();
                    pairs.push((key, made.ok(), value));
                }
                Ok(Pattern(pairs))
            }
        }
        deserializer.deserialize_any(Pairs(PhantomData))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_that_ends_a_modules_counts() {
        let text = r#"{"z_proj": 1, "layers.1.mlp.up_proj": 2, "up_proj": 3, "^a.b$": 4, "layers\\.7\\.q": 5}"#;
        let pattern: Pattern<u32> = serde_json::from_str(text).unwrap();
        let of = |module: &str| pattern.of(module).copied();
        assert_eq!(of("model.layers.1.mlp.up_proj"), Some(2));
        assert_eq!(of("model.layers.11.mlp.up_proj"), Some(3));
        assert_eq!((of("model.wrap_up_proj"), of("x.z_proj")), (None, Some(1)));
        assert_eq!((of("a.b"), of("x.a.b"), of("layers.7.q")), (Some(4), None, Some(5)));
        assert_eq!(pattern.odd(), None);
        let odd: Pattern<u32> = serde_json::from_str(r#"{"(q|k)_proj": 1, "(?=up)up_proj": 2}"#).unwrap();
        assert_eq!((odd.odd(), odd.of("x.k_proj"), odd.of("x.v_proj")), (Some("(?=up)up_proj"), Some(&1), None));
        assert_eq!(serde_json::from_str::<Pattern<u32>>("null").unwrap().values().count(), 0);
    }
}
