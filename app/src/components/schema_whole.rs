//! Choosing a whole schema to ask for: a ready or saved one, with chips to leave types out or add some.

use std::collections::BTreeSet;

use extract::{
    Schema,
    schema::{EventType, Item, RelationType},
};
use leptos::{prelude::*, task::spawn_local};
use protocol::{
    AdapterManifest, Asking, Language, SchemaChoice, Task,
    view::{Bench, NamedSchema, SaveSchema, SchemaView},
};

use crate::{
    api,
    i18n::{t, t_string, use_i18n},
    prefs::{fill, language},
    services::ServiceError,
};

/// The schema as it stands.
#[derive(Clone, Copy)]
pub struct WholeForm {
    /// Whether a whole schema is asked, and not one task.
    pub on: RwSignal<bool>,
    /// The schemas to choose from.
    pub schemas: RwSignal<Vec<SchemaView>>,
    /// Id of the schema that the chips come from; empty for chips of one's own.
    picked: RwSignal<String>,
    schema: RwSignal<Schema>,
    /// Chips that are switched off.
    off: RwSignal<BTreeSet<(Task, String)>>,
    /// Whether a person has chosen; the text then no longer does.
    touched: RwSignal<bool>,
    manifest: RwSignal<Option<AdapterManifest>>,
    /// How to ask, for a whole schema and for one task.
    pub asking: RwSignal<Asking>,
}

impl WholeForm {
    /// Starts with a ready schema of the text's language, or as a past extraction was asked.
    pub fn new(bench: &Bench, past: Option<&NamedSchema>) -> Self {
        let form = Self {
            on: RwSignal::new(past.is_some()),
            schemas: RwSignal::new(bench.schemas.clone()),
            picked: RwSignal::new(String::new()),
            schema: RwSignal::new(Schema::default()),
            off: RwSignal::new(BTreeSet::new()),
            touched: RwSignal::new(past.is_some()),
            manifest: RwSignal::new(bench.adapter.as_ref().map(|a| a.manifest.clone())),
            asking: RwSignal::new(Asking::default()),
        };
        match past {
            Some(past) => {
                form.schema.set(Schema::from_json(&past.json).unwrap_or_default());
                let same = |s: &&SchemaView| Some(&s.id) == past.id.as_ref() && s.json == past.json;
                let id = bench.schemas.iter().find(same).map(|s| s.id.clone());
                form.picked.set(id.unwrap_or_default());
            }
            None => form.follow(Language::En),
        }
        form
    }

    /// Takes the first ready schema in the language of a text, as long as nobody has chosen one.
    pub fn follow(self, language: Language) {
        if self.touched.get_untracked() {
            return;
        }
        let wanted = format!("people-places-organizations-{}", language.code());
        let id = self.schemas.with_untracked(|schemas| {
            let named = schemas.iter().find(|s| s.id == wanted);
            named.or_else(|| schemas.iter().find(|s| s.language == Some(language))).map(|s| s.id.clone())
        });
        if let Some(id) = id.filter(|id| self.picked.with_untracked(|picked| picked != id)) {
            self.pick(&id);
        }
    }

    fn pick(self, id: &str) {
        let found = self.schemas.with_untracked(|s| s.iter().find(|s| s.id == id).cloned());
        let Some(found) = found else { return };
        self.picked.set(found.id);
        self.schema.set(Schema::from_json(&found.json).unwrap_or_default());
        self.off.set(BTreeSet::new());
    }

    /// The schema without the chips that are switched off.
    fn chosen(self) -> Schema {
        let mut schema = self.schema.get();
        self.off.with(|off| {
            let on = |task, name: &str| !off.contains(&(task, name.to_owned()));
            schema.entities.retain(|i| on(Task::Entities, &i.name));
            schema.relations.retain(|r| on(Task::Relations, &r.item.name));
            schema.events.retain(|e| on(Task::Events, &e.item.name));
        });
        schema
    }

    /// What is asked for; it has the name of the picked schema only while it is that.
    pub fn asked(self, language: Language) -> NamedSchema {
        let json = self.chosen().to_json();
        let picked = self.picked.get();
        let same = |s: &&SchemaView| s.id == picked && s.json == json;
        let named = self.schemas.with(|schemas| schemas.iter().find(same).map(|s| s.named(language)));
        named.unwrap_or(NamedSchema { json, ..NamedSchema::default() })
    }

    /// Whether nothing is asked for.
    pub fn is_empty(self) -> bool {
        let schema = self.chosen();
        schema.entities.is_empty() && schema.relations.is_empty() && schema.events.is_empty()
    }

    fn language(self) -> Language {
        self.schema.with(|s| s.language).unwrap_or_default()
    }

    fn toggle(self, task: Task, name: &str) {
        self.touched.set(true);
        self.off.update(|off| {
            let chip = (task, name.to_owned());
            if !off.remove(&chip) {
                off.insert(chip);
            }
        });
    }

    /// Adds a type; an event can be typed with its roles, `merger: buyer, seller`.
    fn add(self, task: Task, typed: &str) {
        let (name, roles) = typed.split_once([':', '：']).filter(|_| task == Task::Events).unwrap_or((typed, ""));
        let Some(name) = Some(name.trim()).filter(|name| !name.is_empty()) else { return };
        self.touched.set(true);
        self.off.update(|off| {
            off.remove(&(task, name.to_owned()));
        });
        self.schema.update(|schema| match task {
            Task::Entities if schema.entities.iter().all(|i| i.name != name) => schema.entities.push(Item::named(name)),
            Task::Relations if schema.relations.iter().all(|r| r.item.name != name) => {
                schema.relations.push(RelationType { item: Item::named(name), ..RelationType::default() });
            }
            Task::Events => {
                let roles = extract::text::split_names(roles).iter().map(|role| Item::named(role)).collect::<Vec<_>>();
                match schema.events.iter_mut().find(|e| e.item.name == name) {
                    Some(event) => {
                        for role in roles {
                            if event.roles.iter().all(|known| known.name != role.name) {
                                event.roles.push(role);
                            }
                        }
                    }
                    None => schema.events.push(EventType { item: Item::named(name), roles }),
                }
            }
            _ => {}
        });
    }

    /// A task's chips: name, roles, whether it is on, whether it was taught.
    fn chips(self, task: Task) -> Vec<(String, String, bool, bool)> {
        let language = self.language();
        let named: Vec<(String, Vec<String>)> = self.schema.with(|schema| match task {
            Task::Entities => schema.entities.iter().map(|i| (i.name.clone(), Vec::new())).collect(),
            Task::Relations => schema.relations.iter().map(|r| (r.item.name.clone(), Vec::new())).collect(),
            Task::Events => schema
                .events
                .iter()
                .map(|e| (e.item.name.clone(), e.roles.iter().map(|r| r.name.clone()).collect()))
                .collect(),
        });
        let types = named.iter().map(|(name, _)| name.clone()).collect();
        let choice = SchemaChoice { task, language, types, roles: Vec::new(), asking: Asking::default() };
        let taught = self.manifest.with(|m| extract::prompt::taught(m.as_ref(), &choice));
        self.off.with(|off| {
            let chip = |((name, roles), taught): ((String, Vec<String>), bool)| {
                let on = !off.contains(&(task, name.clone()));
                (name, roles.join(", "), on, taught)
            };
            named.into_iter().zip(taught.types).map(chip).collect()
        })
    }

    /// The instructions that it comes to.
    fn instructions(self) -> Vec<String> {
        let (schema, language) = (self.chosen(), self.language());
        self.manifest.with(|manifest| {
            let asked = self.asking.with(|asking| schema.questions(language, manifest.as_ref(), asking));
            asked.iter().map(|choice| extract::prompt::instruction(manifest.as_ref(), choice)).collect()
        })
    }

    /// Goes on with another adapter.
    pub fn set_adapter(self, manifest: AdapterManifest) {
        self.manifest.set(Some(manifest));
    }

    /// Takes a schema that was just saved.
    fn saved(self, schema: SchemaView) {
        let id = schema.id.clone();
        self.schemas.update(|schemas| {
            schemas.retain(|s| s.id != id);
            schemas.insert(0, schema);
        });
        self.touched.set(true);
        self.pick(&id);
        self.on.set(true);
    }
}

/// The list of schemas, grouped by language. Without scripts it is all there is to choose a schema with.
#[component]
pub fn SchemaList(form: WholeForm) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let group = move |of: Option<Language>| {
        let picked = form.picked.get();
        let options = form.schemas.with(|schemas| {
            let of_language = schemas.iter().filter(|s| s.language == of);
            of_language
                .map(|s| {
                    let selected = s.id == picked;
                    view! { <option value=s.id.clone() selected=selected>{s.named(language()).title()}</option> }
                })
                .collect::<Vec<_>>()
        });
        let label = match of {
            Some(Language::En) => "English",
            Some(Language::Zh) => "中文",
            None => t_string!(i18n, schema_any_language),
        };
        (!options.is_empty()).then(|| view! { <optgroup label=label>{options}</optgroup> })
    };
    view! {
        <div class="schema-pick" class:idle=move || !form.on.get()>
            <label for="schema">{t!(i18n, schema)}</label>
            <select id="schema" name="schema" data-testid="schema"
                prop:value=move || form.picked.get()
                on:change=move |ev| { form.touched.set(true); form.pick(&event_target_value(&ev)) }>
                {move || group(Some(Language::En))}
                {move || group(Some(Language::Zh))}
                {move || group(None)}
                <Show when=move || form.picked.with(String::is_empty)>
                    <option value="" selected>{t!(i18n, topic_own)}</option>
                </Show>
            </select>
            <a href="/schemas" data-testid="schemas-link">{t!(i18n, schemas_edit)}</a>
        </div>
    }
}

/// The chips of a whole schema, and the instructions they make.
#[component]
pub fn WholeChips(form: WholeForm) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="whole">
            <WholeRow form task=Task::Entities/>
            <WholeRow form task=Task::Relations/>
            <WholeRow form task=Task::Events/>
        </div>
        <details class="instructions" data-testid="instructions">
            <summary>{move || fill(t_string!(i18n, instructions_made), &[("count", &form.instructions().len())])}</summary>
            {move || form.instructions().into_iter().map(|text| view! { <pre>{text}</pre> }).collect_view()}
            <p class="help">{t!(i18n, instructions_help)}</p>
        </details>
    }
}

#[component]
fn WholeRow(form: WholeForm, task: Task) -> impl IntoView {
    let i18n = use_i18n();
    let new = RwSignal::new(String::new());
    let add = move || {
        form.add(task, &new.get_untracked());
        new.set(String::new());
    };
    let label = move || match task {
        Task::Entities => t_string!(i18n, task_entities),
        Task::Relations => t_string!(i18n, task_relations),
        Task::Events => t_string!(i18n, task_events),
    };
    let hint = move || match task {
        Task::Events => t_string!(i18n, event_add),
        _ => t_string!(i18n, type_add),
    };
    view! {
        <div class="chips" role="group" aria-label=label>
            <span class="row-label">{label}</span>
            {move || form.chips(task).into_iter().map(|(name, roles, on, taught)| {
                let title = (!taught).then(|| t_string!(i18n, not_taught));
                let toggled = name.clone();
                view! {
                    <label class="chip" class:untaught=!taught title=title>
                        <input type="checkbox" checked=on prop:checked=on on:change=move |_| form.toggle(task, &toggled)/>
                        <span>
                            {name}
                            {(!roles.is_empty()).then(|| view! { <small class="roles">" " {roles}</small> })}
                            {(!taught).then(|| view! { <small>" " {t!(i18n, not_taught_mark)}</small> })}
                        </span>
                    </label>
                }
            }).collect_view()}
            <input
                class="chip-new" class:roomy=task == Task::Events type="text" size="8" autocomplete="off" enterkeyhint="done"
                placeholder=hint aria-label=hint prop:value=move || new.get()
                on:input=move |ev| new.set(event_target_value(&ev))
                on:blur=move |_| add()
                on:keydown=move |ev| {
                    if ev.key() == "Enter" && !ev.is_composing() && !ev.ctrl_key() && !ev.meta_key() {
                        ev.prevent_default();
                        add();
                    }
                }
            />
        </div>
    }
}

/// Saves what is chosen as a schema. `choice` is that of a single task, used while no whole schema is asked.
#[component]
pub fn SaveAsSchema(form: WholeForm, #[prop(into)] choice: Signal<Option<SchemaChoice>>) -> impl IntoView {
    let i18n = use_i18n();
    let name = RwSignal::new(None::<String>);
    let error = RwSignal::new(None::<ServiceError>);
    let language = language();
    let save = move || {
        let Some(typed) = name.get_untracked() else { return };
        let schema = match untrack(|| (!form.on.get()).then(|| choice.get()).flatten()) {
            Some(choice) => Schema::of_choice(&choice),
            None => untrack(|| form.chosen()),
        };
        spawn_local(async move {
            match api::keep_schema(SaveSchema { id: None, name: typed, text: schema.to_json() }).await {
                Ok(saved) => {
                    form.saved(saved);
                    name.set(None);
                    error.set(None);
                }
                Err(e) => error.set(Some(e)),
            }
        });
    };
    view! {
        <Show when=move || form.on.get() || choice.with(Option::is_some)>
            <p class="save-schema">
                <Show when=move || name.with(Option::is_some) fallback=move || view! {
                    <button type="button" class="link" data-testid="save-as-schema" on:click=move |_| name.set(Some(String::new()))>
                        {t!(i18n, schema_save_as)}
                    </button>
                }>
                    <label>
                        {t!(i18n, schema_name)} " "
                        <input type="text" data-testid="schema-name" maxlength="100" prop:value=move || name.get().unwrap_or_default()
                            on:input=move |ev| name.set(Some(event_target_value(&ev)))
                            on:keydown=move |ev| match ev.key().as_str() {
                                "Enter" if !ev.is_composing() => { ev.prevent_default(); ev.stop_propagation(); save() }
                                "Escape" if !ev.is_composing() => { ev.stop_propagation(); name.set(None) }
                                _ => {}
                            }/>
                    </label>
                    " "
                    <button type="button" class="quiet" data-testid="schema-save" on:click=move |_| save()>{t!(i18n, save)}</button>
                    <button type="button" class="quiet" on:click=move |_| { name.set(None); error.set(None) }>{t!(i18n, cancel)}</button>
                </Show>
                {move || error.get().map(|e| view! { <span class="error" role="alert">{e.sentence(language())}</span> })}
            </p>
        </Show>
    }
}
