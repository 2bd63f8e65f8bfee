//! A row of chips: types or roles to ask for, each on or off, in an order that can be changed.

use leptos::{ev::KeyboardEvent, html, prelude::*};

use crate::i18n::{t_string, use_i18n};

/// A type or role that can be asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chip {
    pub name: String,
    /// The roles of an event, as a list.
    pub roles: String,
    pub on: bool,
    /// Whether the adapter was trained on it for this task and language.
    pub taught: bool,
}

/// Moves one of a list by one place; not beyond the ends.
pub fn swap<T>(list: &mut [T], index: usize, later: bool) {
    let other = if later { index + 1 } else { index.wrapping_sub(1) };
    if index < list.len() && other < list.len() {
        list.swap(index, other);
    }
}

/// The chips, and a box where more are typed or pasted. With `Alt` and an arrow the chip that has the focus moves.
#[component]
pub fn ChipRow(
    #[prop(into)] chips: Signal<Vec<Chip>>,
    /// The name of the row, when it stands before it.
    #[prop(optional, into)]
    label: Option<Signal<&'static str>>,
    /// What the box is for.
    #[prop(into)]
    hint: Signal<&'static str>,
    /// The name with which the chips are sent without scripts.
    #[prop(optional)]
    field: Option<&'static str>,
    /// The box is for longer names.
    #[prop(optional)]
    roomy: bool,
    toggle: Callback<usize>,
    add: Callback<String>,
    shift: Callback<(usize, bool)>,
) -> impl IntoView {
    let i18n = use_i18n();
    let row = NodeRef::<html::Div>::new();
    let new = RwSignal::new(String::new());
    let ordering = RwSignal::new(false);
    let take = move || {
        if new.with_untracked(|new| !new.trim().is_empty()) {
            add.run(new.get_untracked());
        }
        new.set(String::new());
    };
    let move_by = move |index: usize, later: bool, of: &'static str| {
        let to = if later { index + 1 } else { index.wrapping_sub(1) };
        if to < chips.with_untracked(Vec::len) {
            shift.run((index, later));
            focus(row, of, to);
        }
    };
    let on_key = move |ev: KeyboardEvent, index: usize| {
        let later = match ev.key().as_str() {
            "ArrowLeft" | "ArrowUp" => false,
            "ArrowRight" | "ArrowDown" => true,
            _ => return,
        };
        if ev.alt_key() && !ev.ctrl_key() && !ev.meta_key() {
            ev.prevent_default();
            move_by(index, later, "input");
        }
    };
    let arrow = move |index: usize, later: bool| {
        let (sign, of) = if later { ("→", ".later") } else { ("←", ".sooner") };
        let name = move || if later { t_string!(i18n, chip_later) } else { t_string!(i18n, chip_sooner) };
        let class = if later { "icon later" } else { "icon sooner" };
        view! { <button type="button" class=class title=name aria-label=name on:click=move |_| move_by(index, later, of)>{sign}</button> }
    };
    let one = move |(index, chip): (usize, Chip)| {
        let Chip { name, roles, on, taught } = chip;
        let title = (!taught).then(|| t_string!(i18n, not_taught));
        view! {
            <span class="chip-place">
                {move || ordering.get().then(|| arrow(index, false))}
                <label class="chip" class:untaught=!taught title=title>
                    <input type="checkbox" name=field value=name.clone() checked=on prop:checked=on
                        on:change=move |_| toggle.run(index) on:keydown=move |ev| on_key(ev, index)/>
                    <span>
                        {name}
                        {(!roles.is_empty()).then(|| view! { <small class="roles">" " {roles}</small> })}
                        {(!taught).then(|| view! { <small>" " {move || if label.is_some() { t_string!(i18n, not_taught_mark) } else { t_string!(i18n, not_taught_short) }}</small> })}
                    </span>
                </label>
                {move || ordering.get().then(|| arrow(index, true))}
            </span>
        }
    };
    view! {
        <div class="chips" role="group" node_ref=row aria-label=move || label.map(|label| label.get())>
            {label.map(|label| view! { <span class="row-label">{move || label.get()}</span> })}
            {move || chips.get().into_iter().enumerate().map(one).collect_view()}
            <textarea
                class="chip-new" class:roomy=roomy rows="1" autocomplete="off" enterkeyhint="done"
                placeholder=move || hint.get() aria-label=move || hint.get() prop:value=move || new.get()
                on:input=move |ev| new.set(event_target_value(&ev))
                on:blur=move |_| take()
                on:keydown=move |ev| {
                    if ev.key() == "Enter" && !ev.shift_key() && !ev.is_composing() && !ev.ctrl_key() && !ev.meta_key() {
                        ev.prevent_default();
                        take();
                    }
                }
            ></textarea>
            <Show when=move || { chips.with(|chips| chips.len() > 1) }>
                <button type="button" class="link order" data-testid="chip-order" aria-pressed=move || ordering.get().to_string()
                    title=move || t_string!(i18n, chip_order_help) on:click=move |_| ordering.update(|on| *on = !*on)>
                    {move || if ordering.get() { t_string!(i18n, chip_order_done) } else { t_string!(i18n, chip_order) }}
                </button>
            </Show>
        </div>
    }
}

/// Gives the focus to what is found at a place of the row, once that is drawn.
fn focus(row: NodeRef<html::Div>, selector: &'static str, index: usize) {
    #[cfg(feature = "hydrate")]
    request_animation_frame(move || {
        use wasm_bindgen::JsCast as _;
        let Some(row) = row.try_get_untracked().flatten() else { return };
        let place = row.query_selector_all(".chip-place").ok().and_then(|places| places.item(index as u32));
        let place = place.and_then(|place| place.dyn_into::<web_sys::Element>().ok());
        let found = place.and_then(|place| place.query_selector(selector).ok().flatten());
        if let Some(found) = found.and_then(|found| found.dyn_into::<web_sys::HtmlElement>().ok()) {
            let _ = found.focus();
        }
    });
    #[cfg(not(feature = "hydrate"))]
    let _ = (row, selector, index);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_move_by_one_place_and_not_beyond_the_ends() {
        let mut list = ["a", "b", "c"];
        for (index, later) in [(0, false), (2, true), (0, true), (2, false), (7, true)] {
            swap(&mut list, index, later);
        }
        assert_eq!(list, ["b", "c", "a"]);
    }
}
