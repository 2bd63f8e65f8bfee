//! Attention that looks at no more than the last positions: how wide the window of each layer is.
//!
//! A row at position `p` looks at the positions from `p + 1 - width` to `p`. What no layer looks at any more stays in memory
//! all the same: a run may go back to it, and another may begin alike.

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_row_looks_at_as_many_positions_as_the_window_is_wide() {
        let windows = [None, Some(4)];
        let seen = |layer, position| position + 1 - first(&windows, layer, position);
        assert_eq!((seen(0, 9), seen(1, 0), seen(1, 3), seen(1, 4), seen(1, 9)), (10, 1, 4, 4, 4));
        assert_eq!(first(&[], 5, 9), 0);
        assert!(within(windows.into(), 4).is_empty());
        assert_eq!(within(windows.into(), 5), windows);
    }
}
