//! Relations as arcs over the text. They are drawn in the browser, which alone knows where words stand; elsewhere, and
//! where they could not be read, relations stand in the list only.

use leptos::{html, prelude::*};
use protocol::{Record, text::slice_chars};

use super::{
    judge_keys::{Judging, Row},
    marked::{color_class, origin_class},
};

/// More relations or a longer text than this make a thicket of arcs.
pub const MAX_ARCS: usize = 12;
pub const MAX_CHARS: usize = 1200;

/// How the relations of a text are drawn over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// There are none.
    None,
    /// As arcs.
    Arcs,
    /// Not at all: there are too many, or the text is too long.
    TooMany,
}

/// How the relations of a text can be drawn over it.
pub fn drawn(text: &str, rows: &[Row]) -> Drawn {
    let relations = rows.iter().filter(|r| matches!(r.record, Record::Relation { .. }) && r.record.grounded()).count();
    match relations {
        0 => Drawn::None,
        1..=MAX_ARCS if text.chars().count() <= MAX_CHARS => Drawn::Arcs,
        _ => Drawn::TooMany,
    }
}

/// An arc in pixels of the text's box.
#[derive(Clone, Debug, PartialEq)]
struct Arc {
    tag: String,
    key: String,
    class: String,
    label: String,
    path: String,
    x: f64,
    y: f64,
}

/// Where a mention begins, its middle and its upper edge in pixels of the text's box.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spot {
    x: f64,
    top: f64,
}

/// A long name would lie over its neighbours; the whole of it stands in the list.
fn shortened(name: &str) -> String {
    const MOST: usize = 22;
    let short = slice_chars(name, 0, MOST);
    if short.len() < name.len() { format!("{short}…") } else { name.to_owned() }
}

/// The curve from a spot to another, and where its label stands: its highest point, or halfway between two lines.
/// `lift` is how far it rises over the words.
fn curve(from: Spot, to: Spot, lift: f64) -> (String, f64, f64) {
    let (x1, y1, x2, y2) = (from.x, from.top, to.x, to.top);
    let peak = y1.min(y2) - lift;
    let path = format!("M{x1:.1} {y1:.1}C{x1:.1} {peak:.1} {x2:.1} {peak:.1} {x2:.1} {y2:.1}");
    // A cubic's middle: an eighth of each end and three of each handle.
    let (x, y) = (f64::midpoint(x1, x2), (y1 + y2) / 8.0 + peak * 0.75);
    (path, x, y)
}

/// The layer over the text.
#[component]
pub fn Arcs(judging: Judging, container: NodeRef<html::Div>) -> impl IntoView {
    let arcs = RwSignal::new(Vec::<Arc>::new());
    let measure = move || {
        let rows = judging.layers.get_untracked();
        let names = judging.names();
        let mut found: Vec<Arc> = Vec::new();
        for row in rows.iter().filter(|r| r.record.grounded()) {
            let Record::Relation { relation, head, tail } = &row.record else { continue };
            let spot = |span: Option<protocol::Span>| span.and_then(|s| spot_of(container, s.start));
            let (Some(from), Some(to)) = (spot(head.span), spot(tail.span)) else { continue };
            // Arcs that begin or end at the same words rise differently, so that their labels can be read.
            let near = found.iter().filter(|a| (a.x - f64::midpoint(from.x, to.x)).abs() < 160.0).count();
            let lift = 14.0 + 14.0 * (near.min(2) as f64);
            let (path, x, y) = curve(from, to, lift);
            found.push(Arc {
                tag: row.tag.clone(),
                key: row.key.clone(),
                class: format!("{} {}", color_class(relation, &names), origin_class(&row.origins)),
                label: shortened(relation),
                path,
                x,
                y,
            });
        }
        if arcs.try_get_untracked().is_some_and(|old| old != found) {
            arcs.set(found);
        }
    };
    Effect::new(move |_| {
        judging.layers.track();
        request_animation_frame(measure);
    });
    Effect::new(move |_| {
        let handle = window_event_listener(leptos::ev::resize, move |_| measure());
        on_cleanup(move || handle.remove());
    });
    view! {
        <svg class="arcs" aria-hidden="true" data-testid="arcs">
            {move || arcs.get().into_iter().map(|arc| {
                let (tag, key) = (StoredValue::new(arc.tag), StoredValue::new(arc.key));
                let refused = move || key.with_value(|k| judging.verdict(k)).is_some_and(|v| matches!(v, protocol::Verdict::Wrong | protocol::Verdict::Corrected));
                view! {
                    <g class=arc.class class:lit=move || tag.with_value(|t| judging.is_lit(t)) class:refused=refused>
                        <path d=arc.path></path>
                        <text x=format!("{:.1}", arc.x) y=format!("{:.1}", arc.y + 3.0)>{arc.label}</text>
                    </g>
                }
            }).collect_view()}
        </svg>
    }
}

/// The middle of the words that begin at a code point of the text.
fn spot_of(container: NodeRef<html::Div>, start: usize) -> Option<Spot> {
    #[cfg(feature = "hydrate")]
    {
        let area = container.try_get_untracked().flatten()?;
        let mark = area.query_selector(&format!("mark[data-at='{start}']")).ok().flatten()?;
        // Of words on two lines, the part on the first.
        let rects = mark.get_client_rects();
        let (outer, inner) = (area.get_bounding_client_rect(), rects.item(0)?);
        Some(Spot { x: inner.left() - outer.left() + inner.width() / 2.0, top: inner.top() - outer.top() })
    }
    #[cfg(not(feature = "hydrate"))]
    {
        let _ = (container, start);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arc_rises_over_the_higher_of_its_ends_and_its_label_stands_in_its_middle() {
        let (path, x, y) = curve(Spot { x: 10.0, top: 40.0 }, Spot { x: 110.0, top: 40.0 }, 16.0);
        assert_eq!(path, "M10.0 40.0C10.0 24.0 110.0 24.0 110.0 40.0");
        assert_eq!((x, y), (60.0, 28.0));
    }
}
