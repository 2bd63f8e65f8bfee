//! The box for the text to extract from: typed, pasted, or out of a file that is chosen or dropped on it.

use leptos::{ev::DragEvent, prelude::*};
use protocol::batch::OpenedFile;

use super::{SchemaForm, schema_whole::Texts};
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::{area, fill, language},
};

/// What a file picker offers.
const ACCEPTED: &str = ".txt,.text,.md,.markdown,.csv,.tsv,.xlsx,.jsonl,.ndjson,.html,.htm,.pdf,.docx";

/// A file on its way into the box, and what came of it.
#[derive(Clone, Debug, PartialEq)]
enum Opening {
    Reading(String),
    /// The name, and what it replaced.
    Text(String, String),
    /// The upload's id, its name and its rows.
    Table(String, String, usize),
    Refused(protocol::Sentence),
    /// No answer came back.
    Unreachable,
}

#[component]
pub fn TextBox(schema: SchemaForm, texts: Texts, #[prop(optional)] required: bool) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let Texts { typed: text, split } = texts;
    let opening = RwSignal::new(None::<Opening>);
    let over = RwSignal::new(false);
    let take = move |new: String| {
        schema.text_changed(&new);
        text.set(new);
    };
    let open = move |file: File| {
        let name = name_of(&file);
        opening.set(Some(Opening::Reading(name.clone())));
        send(file, &name.clone(), move |opened| {
            // The page may have been left meanwhile.
            let Some(before) = text.try_get_untracked() else { return };
            opening.set(Some(match opened {
                Some(OpenedFile::Text(new)) => {
                    split.set(false);
                    take(new);
                    Opening::Text(name, before)
                }
                Some(OpenedFile::Table(upload)) => Opening::Table(upload.id, upload.name, upload.rows),
                Some(OpenedFile::Refused(why)) => Opening::Refused(why),
                None => Opening::Unreachable,
            }));
        });
    };
    let on_over = move |ev: DragEvent| {
        // Words that are dragged are the box's own affair.
        if has_files(&ev) {
            ev.prevent_default();
            over.set(true);
        }
    };
    let on_drop = move |ev: DragEvent| {
        over.set(false);
        if let Some(file) = dropped(&ev) {
            ev.prevent_default();
            open(file);
        }
    };
    let undo = move |before: String| {
        take(before);
        opening.set(None);
    };
    let said = move || {
        let view = match opening.get()? {
            Opening::Reading(name) => {
                let line = move || fill(t_string!(i18n, file_reading), &[("name", &name)]);
                view! { <p class="help" role="status">{line}</p> }.into_any()
            }
            Opening::Text(name, before) => {
                let line = move || fill(t_string!(i18n, file_opened), &[("name", &name)]);
                let back = (!before.trim().is_empty()).then(|| view! {
                    <button type="button" class="link" data-testid="file-undo" on:click=move |_| undo(before.clone())>{t!(i18n, file_undo)}</button>
                });
                view! { <p class="help" role="status" data-testid="file-opened">{line} " " {back}</p> }.into_any()
            }
            Opening::Table(id, name, rows) => {
                let line = move || fill(t_string!(i18n, file_table), &[("name", &name), ("count", &rows)]);
                let path = format!("/batch?upload={id}");
                view! { <p class="notice" role="status" data-testid="file-table">{line} " " <a href=path>{t!(i18n, file_to_batch)}</a></p> }
                    .into_any()
            }
            Opening::Refused(why) => {
                let line = move || why.in_language(language()).to_owned();
                view! { <p class="notice error" role="alert" data-testid="file-refused">{line}</p> }.into_any()
            }
            Opening::Unreachable => {
                view! { <p class="notice error" role="alert" data-testid="file-refused">{t!(i18n, file_unreachable)}</p> }
                    .into_any()
            }
        };
        Some(view)
    };
    view! {
        <div class="field">
            <label for="input">{t!(i18n, text_label)}</label>
            <textarea
                id="input" name="input" data-testid="input" rows="6" required=required class:over=move || over.get()
                placeholder=move || t_string!(i18n, text_placeholder)
                prop:value=move || text.get()
                on:input=move |ev| take(event_target_value(&ev))
                on:dragover=on_over on:dragleave=move |_| over.set(false) on:drop=on_drop
            >{area(text.get_untracked())}</textarea>
            <p class="help open-text">
                <label class="link">
                    {t!(i18n, file_open)}
                    <input type="file" class="visually-hidden" accept=ACCEPTED data-testid="open-text"
                        on:change=move |ev| if let Some(file) = chosen(&ev) { open(file) }/>
                </label>
                " " {t!(i18n, file_open_help)}
            </p>
            {said}
        </div>
    }
}

#[cfg(feature = "hydrate")]
mod browser {
    use leptos::{ev, task::spawn_local};
    use protocol::batch::OpenedFile;
    use wasm_bindgen::JsCast as _;
    use wasm_bindgen_futures::JsFuture;
    pub use web_sys::File;
    use web_sys::{FileList, HtmlInputElement, RequestInit, Response};

    pub fn name_of(file: &File) -> String {
        file.name()
    }

    /// The file that was chosen. The next choice is told even if it is the same file.
    pub fn chosen(ev: &ev::Event) -> Option<File> {
        let input = ev.target()?.dyn_into::<HtmlInputElement>().ok()?;
        let file = input.files()?.get(0);
        input.set_value("");
        file
    }

    pub fn dropped(ev: &ev::DragEvent) -> Option<File> {
        let transfer = js_sys::Reflect::get(ev, &"dataTransfer".into()).ok()?;
        let files: FileList = js_sys::Reflect::get(&transfer, &"files".into()).ok()?.dyn_into().ok()?;
        files.get(0)
    }

    /// While it is dragged a file is not told, but that it is one.
    pub fn has_files(ev: &ev::DragEvent) -> bool {
        let transfer = js_sys::Reflect::get(ev, &"dataTransfer".into());
        let types = transfer.and_then(|transfer| js_sys::Reflect::get(&transfer, &"types".into()));
        types.is_ok_and(|types| js_sys::Array::from(&types).includes(&"Files".into(), 0))
    }

    /// Sends a file to be read; `None` comes back when there was no answer.
    pub fn send(file: File, name: &str, then: impl FnOnce(Option<OpenedFile>) + 'static) {
        let address = format!("/files/open?name={}", String::from(js_sys::encode_uri_component(name)));
        spawn_local(async move { then(answer(&address, &file).await) });
    }

    async fn answer(address: &str, file: &File) -> Option<OpenedFile> {
        let init = RequestInit::new();
        init.set_method("POST");
        init.set_body(file.as_ref());
        let sent = leptos::prelude::window().fetch_with_str_and_init(address, &init);
        let response: Response = JsFuture::from(sent).await.ok()?.dyn_into().ok()?;
        let text = JsFuture::from(response.text().ok()?).await.ok()?.as_string()?;
        serde_json::from_str(&text).ok()
    }
}

/// There are files in the browser only.
#[cfg(not(feature = "hydrate"))]
mod browser {
    use leptos::ev;
    use protocol::batch::OpenedFile;

    #[derive(Clone, Copy)]
    pub struct File;

    pub fn name_of(_: &File) -> String {
        String::new()
    }

    pub fn chosen(_: &ev::Event) -> Option<File> {
        None
    }

    pub fn dropped(_: &ev::DragEvent) -> Option<File> {
        None
    }

    pub fn has_files(_: &ev::DragEvent) -> bool {
        false
    }

    pub fn send(_: File, _: &str, _: impl FnOnce(Option<OpenedFile>) + 'static) {}
}

use browser::{File, chosen, dropped, has_files, name_of, send};
