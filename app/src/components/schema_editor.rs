//! The editor of a schema: its entries as rows that can be named, described, moved and taken out, and the same as text.

use extract::Schema;
use leptos::{ev::KeyboardEvent, prelude::*, task::spawn_local};
use protocol::{AdapterManifest, Language, view::SchemaView};

use super::schema_entries::{Draft, Entries, Entry, Kind, add, remove, shift};
use crate::{
    api,
    i18n::{t, t_string, use_i18n},
    prefs::{area, language},
    services::ServiceError,
};

/// What the rows of an editor share.
#[derive(Clone)]
struct Shared {
    manifest: StoredValue<Option<AdapterManifest>>,
    draft: Draft,
}

/// Edits a schema, and saves it: as a new one, or as a new version of one. `saved` hears of it.
#[component]
pub fn SchemaEditor(
    /// The saved schema; `None` for a new one.
    id: Option<String>,
    name: String,
    schema: Schema,
    manifest: Option<AdapterManifest>,
    saved: Callback<SchemaView>,
) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let draft = Draft::of(&schema);
    let name = RwSignal::new(name);
    let error = RwSignal::new(None::<ServiceError>);
    let sending = RwSignal::new(false);
    // What a person typed as text, until it is taken over.
    let typed = RwSignal::new(None::<String>);
    let made = {
        let draft = draft.clone();
        Memo::new(move |_| draft.schema().to_json())
    };
    let text = move || typed.get().unwrap_or_else(|| made.get());
    let shared = StoredValue::new(Shared { manifest: StoredValue::new(manifest), draft: draft.clone() });

    let take_over = {
        let draft = draft.clone();
        move || {
            let Some(text) = typed.get_untracked() else { return };
            let draft = draft.clone();
            spawn_local(async move {
                match api::read_schema(text).await {
                    Ok(json) => {
                        draft.load(&Schema::from_json(&json).unwrap_or_default());
                        typed.set(None);
                        error.set(None);
                    }
                    Err(e) => error.set(Some(e)),
                }
            });
        }
    };
    // A file is taken over at once; one that cannot be read stands in the text, with the reason.
    let open_file = {
        let take_over = take_over.clone();
        move |ev: leptos::ev::Event| {
            let take_over = take_over.clone();
            read_file(&ev, move |text| {
                typed.set(Some(text));
                take_over();
            });
        }
    };
    let save = {
        let draft = draft.clone();
        move || {
            if sending.get_untracked() {
                return;
            }
            sending.set(true);
            let request =
                protocol::view::SaveSchema { id: id.clone(), name: name.get_untracked(), text: untrack(text) };
            let draft = draft.clone();
            spawn_local(async move {
                match api::keep_schema(request).await {
                    Ok(view) => {
                        if typed.get_untracked().is_some() {
                            draft.load(&Schema::from_json(&view.json).unwrap_or_default());
                            typed.set(None);
                        }
                        error.set(None);
                        saved.run(view);
                    }
                    Err(e) => error.set(Some(e)),
                }
                sending.set(false);
            });
        }
    };
    let save = StoredValue::new(save);
    let chosen = {
        let draft = draft.clone();
        move || draft.language.get()
    };
    let choose = draft.language.clone();
    let languages = [(None, "any"), (Some(Language::En), "en"), (Some(Language::Zh), "zh")]
        .into_iter()
        .map(|(code, value)| {
            let (chosen, choose) = (chosen.clone(), choose.clone());
            let checked = untrack(&chosen) == code;
            view! {
                <label class="chip">
                    <input type="radio" name="schema-language" value=value checked=checked prop:checked=move || chosen() == code
                        on:change=move |_| choose.set(code)/>
                    <span>{move || match code {
                        Some(Language::En) => "English",
                        Some(Language::Zh) => "中文",
                        None => t_string!(i18n, schema_any_language),
                    }}</span>
                </label>
            }
        })
        .collect_view();
    let sections = [
        (Kind::Entity, draft.entities.clone()),
        (Kind::Relation, draft.relations.clone()),
        (Kind::Event, draft.events),
    ]
    .into_iter()
    .map(|(kind, list)| {
        let count = {
            let list = list.clone();
            move || list.with(Vec::len)
        };
        view! {
            <section class="entries" data-testid=kind_name(kind)>
                <h2>{move || kind_label(kind, i18n)} " " <span class="muted">{count}</span></h2>
                <EntryRows list kind shared/>
            </section>
        }
    })
    .collect_view();
    view! {
        <div class="schema-editor with-scripts" data-testid="schema-editor"
            on:keydown=move |ev| if ev.key() == "Enter" && (ev.ctrl_key() || ev.meta_key()) && !ev.is_composing() {
                ev.prevent_default();
                save.with_value(|save| save());
            }>
            <label class="field">
                {t!(i18n, schema_name)}
                <input type="text" name="name" form="schema-text" data-testid="name" maxlength="100" required
                    value=name.get_untracked() prop:value=move || name.get()
                    on:input=move |ev| name.set(event_target_value(&ev))/>
            </label>
            <div class="only-scripts">
                <p class="row-label">{t!(i18n, schema_asks_in)}</p>
                <div class="chips">{languages}</div>
                {sections}
                <datalist id="entity-types">
                    {move || shared.with_value(|s| s.draft.schema()).entities.into_iter().map(|i| view! { <option value=i.name></option> }).collect_view()}
                </datalist>
                <p class="help">{t!(i18n, schema_keys)}</p>
            </div>
            <details class="as-text" data-testid="as-text">
                <summary>{t!(i18n, schema_as_text)}</summary>
                <textarea name="text" form="schema-text" data-testid="schema-text" rows="14" spellcheck="false" aria-label=move || t_string!(i18n, schema_as_text)
                    prop:value=text
                    on:input=move |ev| typed.set(Some(event_target_value(&ev)))>{area(untrack(text))}</textarea>
                <p class="help">{t!(i18n, schema_text_help)}</p>
                <label class="open-file only-scripts">
                    {t!(i18n, schema_open_file)} " "
                    <input type="file" accept=".json,.yaml,.yml" data-testid="open-file" on:change=open_file/>
                </label>
                <Show when=move || typed.with(Option::is_some)>
                    <p class="buttons">
                        <button type="button" class="quiet" data-testid="take-over" on:click={let take_over = take_over.clone(); move |_| take_over()}>{t!(i18n, schema_take_over)}</button>
                        <button type="button" class="quiet" on:click=move |_| { typed.set(None); error.set(None) }>{t!(i18n, cancel)}</button>
                    </p>
                </Show>
            </details>
            {move || error.get().map(|e| view! { <p class="notice error" role="alert" data-testid="error">{move || e.sentence(language())}</p> })}
            <p class="buttons">
                <button type="submit" form="schema-text" class="primary" data-testid="save" disabled=move || sending.get()
                    on:click=move |ev| { ev.prevent_default(); save.with_value(|save| save()) }>
                    {t!(i18n, save)} <kbd>"Ctrl ↵"</kbd>
                </button>
            </p>
        </div>
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Entity => "entities",
        Kind::Relation => "relations",
        Kind::Event => "events",
        Kind::Role => "roles",
    }
}

fn kind_label(kind: Kind, i18n: leptos_i18n::I18nContext<crate::i18n::Locale>) -> &'static str {
    match kind {
        Kind::Entity => t_string!(i18n, task_entities),
        Kind::Relation => t_string!(i18n, task_relations),
        Kind::Event => t_string!(i18n, task_events),
        Kind::Role => t_string!(i18n, roles),
    }
}

/// The entries of a list, and where more are typed or pasted.
#[component]
fn EntryRows(list: Entries, kind: Kind, shared: StoredValue<Shared>) -> impl IntoView {
    let i18n = use_i18n();
    let new = RwSignal::new(String::new());
    let hint = move || match kind {
        Kind::Event => t_string!(i18n, entry_add_event),
        Kind::Role => t_string!(i18n, entry_add_role),
        _ => t_string!(i18n, entry_add),
    };
    let add = {
        let list = list.clone();
        move || {
            add(&list, kind, &new.get_untracked());
            new.set(String::new());
        }
    };
    let on_enter = {
        let add = add.clone();
        move |ev: KeyboardEvent| {
            if ev.key() == "Enter" && !ev.shift_key() && !ev.ctrl_key() && !ev.meta_key() && !ev.is_composing() {
                ev.prevent_default();
                add();
            }
        }
    };
    let each = {
        let list = list.clone();
        move || list.get()
    };
    view! {
        <ul class="entry-rows">
            <For each key=|entry| entry.key children=move |entry| view! { <EntryRow entry list=list.clone() kind shared/> }/>
        </ul>
        <textarea class="entry-new" rows="1" data-testid=format!("add-{}", kind_name(kind)) placeholder=hint aria-label=hint
            prop:value=move || new.get() on:input=move |ev| new.set(event_target_value(&ev))
            on:keydown=on_enter on:blur=move |_| add()></textarea>
    }
}

#[component]
fn EntryRow(entry: Entry, list: Entries, kind: Kind, shared: StoredValue<Shared>) -> AnyView {
    let i18n = use_i18n();
    let Entry { key, name, description, examples, head, tail, roles } = entry.clone();
    let taught = {
        let name = name.clone();
        Memo::new(move |_| {
            shared.with_value(|s| {
                let language = s.draft.language.get();
                s.manifest.with_value(|m| name.with(|n| n.is_empty() || kind.is_taught(m.as_ref(), language, n)))
            })
        })
    };
    let open = RwSignal::new(entry.says_more());
    let id = format!("entry-{key}");
    let move_by = {
        let (list, id) = (list.clone(), id.clone());
        move |down: bool| {
            shift(&list, key, down);
            focus_later(id.clone());
        }
    };
    let keys = {
        let (move_by, list) = (move_by.clone(), list.clone());
        move |ev: KeyboardEvent| match ev.key().as_str() {
            "ArrowUp" | "ArrowDown" if ev.alt_key() => {
                ev.prevent_default();
                ev.stop_propagation();
                move_by(ev.key() == "ArrowDown");
            }
            // An emptied name is taken out.
            "Enter" if !ev.ctrl_key() && !ev.meta_key() && !ev.is_composing() => ev.prevent_default(),
            "Delete" if ev.alt_key() => {
                ev.prevent_default();
                remove(&list, key);
            }
            _ => {}
        }
    };
    let field = |value: ArcRwSignal<String>, label: Signal<String>, list: Option<&'static str>| {
        let shown = value.clone();
        view! {
            <label>
                {label}
                <input type="text" list=list value=shown.get_untracked() prop:value=move || shown.get() on:input=move |ev| value.set(event_target_value(&ev))/>
            </label>
        }
    };
    let label = move |text: fn(leptos_i18n::I18nContext<crate::i18n::Locale>) -> &'static str| {
        Signal::derive(move || text(i18n).to_owned())
    };
    let more = move || {
        view! {
            <div class="more">
                {field(description.clone(), label(|i18n| t_string!(i18n, entry_description)), None)}
                {field(examples.clone(), label(|i18n| t_string!(i18n, entry_examples)), None)}
                {(kind == Kind::Relation).then(|| view! {
                    {field(head.clone(), label(|i18n| t_string!(i18n, entry_head)), Some("entity-types"))}
                    {field(tail.clone(), label(|i18n| t_string!(i18n, entry_tail)), Some("entity-types"))}
                })}
            </div>
        }
    };
    let rename = name.clone();
    let (up, down, gone) = (move_by.clone(), move_by, list);
    view! {
        <li class="entry" class:untaught=move || !taught.get() data-testid="entry">
            <div class="entry-line">
                <input type="text" id=id data-testid="entry-name" maxlength="100" aria-label=move || kind_label(kind, i18n)
                    value=name.get_untracked() prop:value=move || name.get() on:input=move |ev| rename.set(event_target_value(&ev)) on:keydown=keys/>
                <Show when=move || !taught.get()>
                    <small class="not-taught" data-testid="not-taught" title=move || t_string!(i18n, not_taught)>{t!(i18n, not_taught_mark)}</small>
                </Show>
                <button type="button" class="icon" data-testid="up" title=move || t_string!(i18n, move_up) aria-label=move || t_string!(i18n, move_up) on:click=move |_| up(false)>"↑"</button>
                <button type="button" class="icon" data-testid="down" title=move || t_string!(i18n, move_down) aria-label=move || t_string!(i18n, move_down) on:click=move |_| down(true)>"↓"</button>
                <button type="button" class="icon" data-testid="more" title=move || t_string!(i18n, entry_more) aria-label=move || t_string!(i18n, entry_more)
                    aria-expanded=move || open.get().to_string() on:click=move |_| open.update(|o| *o = !*o)>"…"</button>
                <button type="button" class="icon" data-testid="remove" title=move || t_string!(i18n, remove) aria-label=move || t_string!(i18n, remove) on:click=move |_| remove(&gone, key)>"✕"</button>
            </div>
            {move || open.get().then(&more)}
            {(kind == Kind::Event).then(|| view! { <div class="roles-of"><EntryRows list=roles kind=Kind::Role shared/></div> })}
        </li>
    }
    .into_any()
}

/// Gives the text of the file that was chosen to `then`.
fn read_file(ev: &leptos::ev::Event, then: impl Fn(String) + 'static) {
    #[cfg(feature = "hydrate")]
    {
        use wasm_bindgen::{JsCast as _, prelude::Closure};
        let input = ev.target().and_then(|t| t.dyn_into::<web_sys::HtmlInputElement>().ok());
        let Some(file) = input.and_then(|i| i.files()).and_then(|files| files.get(0)) else { return };
        let Ok(reader) = web_sys::FileReader::new() else { return };
        let read = reader.clone();
        let loaded = Closure::once_into_js(move || {
            if let Some(text) = read.result().ok().and_then(|text| text.as_string()) {
                then(text);
            }
        });
        reader.set_onload(Some(loaded.unchecked_ref()));
        let _ = reader.read_as_text(&file);
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = (ev, then);
}

/// Gives the focus to an element that is being moved.
fn focus_later(id: String) {
    #[cfg(feature = "hydrate")]
    request_animation_frame(move || {
        use wasm_bindgen::JsCast as _;
        let element = document().get_element_by_id(&id).and_then(|e| e.dyn_into::<web_sys::HtmlElement>().ok());
        if let Some(element) = element {
            let _ = element.focus();
        }
    });
    #[cfg(not(feature = "hydrate"))]
    let _ = id;
}
