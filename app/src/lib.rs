//! What people see: pages, components and the server functions behind them.
//!
//! The same code renders on the server (feature `ssr`) and takes over in the browser (feature
//! `hydrate`). It knows no model, no tensor and no SQL: it asks [`services`].
#![allow(missing_docs)] // components are documented where they are not plain from their name

pub mod api;
pub mod batches;
mod components;
pub mod doubts;
#[cfg(feature = "ssr")]
pub mod export;
mod filing;
pub mod found;
mod heavy;
mod live;
mod pages;
mod prefs;
pub mod reviews;
pub mod scores;
mod shell;
pub mod weights;

pub mod services;

pub use shell::{App, shell};

// The macro in place of a build script: the latter's crate brings the data of all locales of the world.
#[allow(deprecated)]
mod locales {
    leptos_i18n::load_locales!();
}
use locales::i18n;

/// Takes over the page that the server rendered. Called by the page's script.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    leptos::mount::hydrate_body(App);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Of two sentences with one key the later would silently stand for both.
    #[test]
    fn every_key_stands_once_in_both_languages() {
        let keys = [include_str!("../locales/en.json"), include_str!("../locales/zh.json")].map(|file| {
            let keys: Vec<&str> = file.lines().filter_map(|line| Some(line.trim().split_once("\":")?.0)).collect();
            let once: BTreeSet<&str> = keys.iter().copied().collect();
            assert_eq!(once.len(), keys.len(), "a key stands twice");
            once
        });
        assert_eq!(keys[0], keys[1]);
    }
}
