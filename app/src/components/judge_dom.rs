//! What judging asks of the browser: where the focus is, where it goes next, and which words are selected. Without a
//! browser there is nothing to ask.

use leptos::{ev::KeyboardEvent, html, prelude::*, web_sys::EventTarget};

/// Whether a key press goes into a field.
pub fn is_typing(ev: &KeyboardEvent) -> bool {
    dom::is_field(ev.target())
}

/// Whether a key press goes to something that Enter and Space act on.
pub fn is_on_control(ev: &KeyboardEvent) -> bool {
    dom::matches(ev.target(), "a, button, summary, label, [role=button], [contenteditable]")
}

/// Whether a key press goes to nothing in particular.
pub fn is_on_nothing(ev: &KeyboardEvent) -> bool {
    dom::matches(ev.target(), "body, main")
}

pub(super) fn record_of(target: Option<EventTarget>) -> Option<String> {
    dom::record_of(target)
}

/// The words selected in the page, for a new record.
pub(super) fn selected_words() -> String {
    dom::selected_words()
}

/// Puts the focus on the first record inside an element, else on the element itself, once the page is drawn.
pub fn focus_first(inside: NodeRef<html::Div>) {
    request_animation_frame(move || dom::focus(inside, ""));
}

/// Puts the focus on the record of a tag.
pub(super) fn focus(root: NodeRef<html::Div>, tag: &str) {
    dom::focus(root, tag);
}

/// Moves the focus to the next or the previous record of the view that it is in.
pub(super) fn step(root: NodeRef<html::Div>, by: i32) {
    dom::step(root, by);
}

#[cfg(feature = "hydrate")]
mod dom {
    use leptos::{html, prelude::*};
    use wasm_bindgen::JsCast as _;
    use web_sys::{Element, EventTarget, HtmlElement};

    pub fn record_of(target: Option<EventTarget>) -> Option<String> {
        let element: Element = target?.dyn_into().ok()?;
        element.closest("[data-record]").ok().flatten()?.get_attribute("data-record")
    }

    pub fn matches(target: Option<EventTarget>, selector: &str) -> bool {
        target.and_then(|t| t.dyn_into::<Element>().ok()).is_some_and(|e| e.matches(selector).unwrap_or(false))
    }

    pub fn is_field(target: Option<EventTarget>) -> bool {
        let Some(element) = target.and_then(|t| t.dyn_into::<HtmlElement>().ok()) else { return false };
        element.is_content_editable()
            || element.matches("textarea, select, input:not([type=checkbox]):not([type=radio])").unwrap_or(false)
    }

    pub fn selected_words() -> String {
        let selection = window().get_selection().ok().flatten();
        selection.and_then(|s| s.to_string().as_string()).map(|s| s.trim().to_owned()).unwrap_or_default()
    }

    /// The elements that can have the focus, each record's first, in the order of the page.
    fn stops(root: NodeRef<html::Div>) -> Vec<HtmlElement> {
        let Some(root) = root.try_get_untracked().flatten() else { return Vec::new() };
        let Ok(list) = root.query_selector_all("[data-record][tabindex]") else { return Vec::new() };
        // The parts of a picture are no HTML elements, and yet can have the focus as those can.
        (0..list.length()).filter_map(|i| Some(list.item(i)?.unchecked_into::<HtmlElement>())).collect()
    }

    /// An empty tag: the first.
    pub fn focus(root: NodeRef<html::Div>, tag: &str) {
        let stops = stops(root);
        // Rows before marks in the text: a row shows the whole record.
        let of = |row: bool| {
            stops.iter().find(|e| {
                let wanted = tag.is_empty() || e.get_attribute("data-record").as_deref() == Some(tag);
                wanted && e.matches("mark").unwrap_or(false) != row
            })
        };
        if let Some(element) = of(true).or_else(|| of(false)) {
            let _ = element.focus();
        } else if let Some(area) = root.try_get_untracked().flatten() {
            let _ = area.focus();
        }
    }

    /// Moves the focus to the next or the previous record of the view that it is in.
    pub fn step(root: NodeRef<html::Div>, by: i32) {
        let Some(area) = root.try_get_untracked().flatten() else { return };
        let stops = stops(root);
        let active = document().active_element();
        let view = |e: &Element| e.closest("[data-view]").ok().flatten();
        let here = active.as_ref().and_then(|a| a.closest("[data-record]").ok().flatten());
        let Some(here) = here.filter(|h| area.contains(Some(h))) else {
            let first = stops.iter().find(|e| e.tab_index() == 0 && !e.matches("mark").unwrap_or(false));
            if let Some(first) = first.or(stops.first()) {
                let _ = first.focus();
            }
            return;
        };
        let inside = view(&here);
        let same: Vec<&HtmlElement> = stops.iter().filter(|e| view(e) == inside).collect();
        let place = same.iter().position(|e| e.is_same_node(Some(&here)));
        let next = place.and_then(|p| p.checked_add_signed(by as isize)).and_then(|p| same.get(p));
        if let Some(next) = next {
            let _ = next.focus();
        }
    }
}

#[cfg(not(feature = "hydrate"))]
mod dom {
    use leptos::{html, prelude::*};

    use super::EventTarget;

    pub fn record_of(_target: Option<EventTarget>) -> Option<String> {
        None
    }

    pub fn matches(_target: Option<EventTarget>, _selector: &str) -> bool {
        false
    }

    pub fn is_field(_target: Option<EventTarget>) -> bool {
        false
    }

    pub fn selected_words() -> String {
        String::new()
    }

    pub fn focus(_root: NodeRef<html::Div>, _tag: &str) {}

    pub fn step(_root: NodeRef<html::Div>, _by: i32) {}
}
