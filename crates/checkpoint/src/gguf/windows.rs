//! How far back the layers of a model look, as llama.cpp writes and reads it.

use super::Directory;

/// Layers beyond this are no model's.
const MOST: usize = 1000;

impl Directory {
    /// Of each layer, how many positions a row looks at, itself included; none where it looks at all before it. Empty where
    /// no layer has such a window.
    ///
    /// # Errors
    /// The metadata speak of another number of layers.
    pub fn windows(&self, architecture: &str, layers: usize) -> Result<Vec<Option<usize>>, String> {
        let key = format!("{architecture}.attention.sliding_window");
        let width = self.integer(&key).and_then(|n| usize::try_from(n).ok());
        let Some(width) = width.filter(|width| *width > 0) else { return Ok(vec![]) };
        let pattern = format!("{key}_pattern");
        let slides: Vec<bool> = match self.integers(&pattern) {
            Some(slides) if slides.len() != layers => {
                return Err(format!("its metadata says {pattern} of {} layers, it has {layers}", slides.len()));
            }
            Some(slides) => slides.iter().map(|slides| *slides != 0).collect(),
            None => {
                // Of so many layers, the last looks at everything.
                let every = self.integer(&pattern).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
                (0..layers.min(MOST)).map(|layer| every.is_none_or(|n| layer % n < n - 1)).collect()
            }
        };
        Ok(slides.into_iter().map(|slides| slides.then_some(width)).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::Value, *};

    #[test]
    fn a_gguf_file_says_which_layers_have_a_window() {
        let mut d = Directory::default();
        let mut with = |key: &str, value: Value| {
            d.metadata.insert(format!("llama.attention.{key}"), value);
            d.windows("llama", 4)
        };
        assert!(with("head_count", Value::Integer(4)).unwrap().is_empty());
        assert!(with("sliding_window", Value::Integer(0)).unwrap().is_empty());
        assert_eq!(with("sliding_window", Value::Integer(8)).unwrap(), [Some(8); 4]);
        let every = with("sliding_window_pattern", Value::Integer(2)).unwrap();
        assert_eq!(every, [Some(8), None, Some(8), None]);
        let each = with("sliding_window_pattern", Value::Integers(vec![0, 0, 1, 1])).unwrap();
        assert_eq!(each, [None, None, Some(8), Some(8)]);
        let error = with("sliding_window_pattern", Value::Integers(vec![1])).unwrap_err();
        assert_eq!(error, "its metadata says llama.attention.sliding_window_pattern of 1 layers, it has 4");
    }
}
