//! Attention that looks at no more than the last positions: how wide the window of each layer is.
//!
//! A row at position `p` looks at the positions from `p + 1 - width` to `p`. What no layer looks at any more stays in memory
//! all the same: a run may go back to it, and another may begin alike.

use checkpoint::gguf::Directory;

/// Layers beyond this are refused elsewhere.
const MOST: usize = 1000;

/// Of each layer, its window; none where it looks at everything. Empty where all do.
pub(crate) type Windows = Vec<Option<usize>>;

/// The first position that a row at `position` looks at in a layer.
pub(crate) fn first(windows: &[Option<usize>], layer: usize, position: usize) -> usize {
    windows.get(layer).copied().flatten().map_or(0, |width| (position + 1).saturating_sub(width))
}

/// Without the windows that the context does not reach.
pub(crate) fn within(windows: Windows, context: usize) -> Windows {
    let windows: Windows = windows.into_iter().map(|w| w.filter(|width| *width < context)).collect();
    if windows.iter().any(Option::is_some) { windows } else { vec![] }
}

/// From the metadata of a GGUF file, as llama.cpp reads them.
pub(crate) fn of_gguf(d: &Directory, architecture: &str, layers: usize) -> Result<Windows, String> {
    let key = format!("{architecture}.attention.sliding_window");
    let width = d.integer(&key).and_then(|n| usize::try_from(n).ok());
    let Some(width) = width.filter(|width| *width > 0) else { return Ok(vec![]) };
    let pattern = format!("{key}_pattern");
    let slides: Vec<bool> = match d.integers(&pattern) {
        Some(slides) if slides.len() != layers => {
            return Err(format!("its metadata says {pattern} of {} layers, it has {layers}", slides.len()));
        }
        Some(slides) => slides.iter().map(|slides| *slides != 0).collect(),
        None => {
            // Of so many layers, the last looks at everything.
            let every = d.integer(&pattern).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            (0..layers.min(MOST)).map(|layer| every.is_none_or(|n| layer % n < n - 1)).collect()
        }
    };
    Ok(slides.into_iter().map(|slides| slides.then_some(width)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use checkpoint::gguf::Value;

    #[test]
    fn a_row_looks_at_as_many_positions_as_the_window_is_wide() {
        let windows = [None, Some(4)];
        let seen = |layer, position| position + 1 - first(&windows, layer, position);
        assert_eq!((seen(0, 9), seen(1, 0), seen(1, 3), seen(1, 4), seen(1, 9)), (10, 1, 4, 4, 4));
        assert_eq!(first(&[], 5, 9), 0);
        assert!(within(windows.into(), 4).is_empty());
        assert_eq!(within(windows.into(), 5), windows);
    }

    #[test]
    fn a_gguf_file_says_which_layers_have_a_window() {
        let mut d = Directory::default();
        let mut with = |key: &str, value: Value| {
            d.metadata.insert(format!("llama.attention.{key}"), value);
            of_gguf(&d, "llama", 4)
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
