//! The name of a page.

use leptos::{prelude::*, text_prop::TextProp};
use leptos_meta::Title;

/// What the window is called while the page is shown.
#[component]
pub fn PageTitle(#[prop(into)] text: TextProp) -> impl IntoView {
    // The server writes the head once the page is whole, where no signal can be read any more: it takes the words of now.
    #[cfg(feature = "ssr")]
    let text = TextProp::from(text.get());
    view! { <Title text/> }
}
