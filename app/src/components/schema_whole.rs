//! Choosing a whole schema to ask for: a ready or saved one, with chips to leave types out, add some, and order them.

use std::collections::BTreeSet;

use extract::{
    Schema,
    schema::{EventType, Item, RelationType},
    text::split_texts,
};
use leptos::{prelude::*, task::spawn_local};
use protocol::{
    AdapterManifest, Asking, Language, SchemaChoice, Task,
    view::{Bench, NamedSchema, SaveSchema, SchemaView},
};

use super::{
    chips::{Chip, ChipRow, swap},
    questions::{Question, Questions},
    schema_entries::typed_names,
};
use crate::{
    api,
    i18n::{t, t_string, use_i18n},
    prefs::language,
    services::ServiceError,
};

/// The texts that are asked about, as they stand in the page.
#[derive(Clone, Copy)]
pub struct Texts {
    /// What was typed.
    pub typed: RwSignal<String>,
    /// Whether every line is a text of its own.
    pub split: RwSignal<bool>,
}

impl Texts {
    /// The texts, tracked; a blank one where there is none.
    pub fn all(self) -> Vec<String> {
        let texts = self.typed.with(|typed| if self.split.get() { split_texts(typed) } else { vec![typed.clone()] });
        if texts.is_empty() { vec![String::new()] } else { texts }
    }
}

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
    pub manifest: RwSignal<Option<AdapterManifest>>,
    /// How to ask, for a whole schema and for one task.
    pub asking: RwSignal<Asking>,
    /// The languages that it is asked in: its own, else those of the texts, as the server takes them.
    languages: Memo<Vec<Language>>,
}

impl WholeForm {
    /// Starts with a ready schema of the text's language, or as a past extraction was asked.
    pub fn new(bench: &Bench, texts: Texts, past: Option<&NamedSchema>) -> Self {
        let schema = RwSignal::new(Schema::default());
        let languages = move |_: Option<&Vec<Language>>| match schema.with(|schema| schema.language) {
            Some(language) => vec![language],
            None => {
                let mut languages: Vec<Language> = texts.all().iter().map(|text| Language::of_text(text)).collect();
                languages.sort_unstable();
                languages.dedup();
                languages
            }
        };
        let form = Self {
            on: RwSignal::new(past.is_some()),
            schemas: RwSignal::new(bench.schemas.clone()),
            picked: RwSignal::new(String::new()),
            schema,
            off: RwSignal::new(BTreeSet::new()),
            touched: RwSignal::new(past.is_some()),
            manifest: RwSignal::new(bench.adapter.as_ref().map(|a| a.manifest.clone())),
            asking: RwSignal::new(Asking::default()),
            languages: Memo::new(languages),
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

    /// Goes on with the schema of this id.
    pub fn choose(self, id: &str) {
        self.touched.set(true);
        self.pick(id);
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

    fn toggle(self, task: Task, index: usize) {
        let Some(name) = untrack(|| self.named(task)).into_iter().nth(index).map(|(name, _)| name) else { return };
        self.touched.set(true);
        self.off.update(|off| {
            let chip = (task, name);
            if !off.remove(&chip) {
                off.insert(chip);
            }
        });
    }

    fn shift(self, task: Task, index: usize, later: bool) {
        self.touched.set(true);
        self.schema.update(|schema| match task {
            Task::Entities => swap(&mut schema.entities, index, later),
            Task::Relations => swap(&mut schema.relations, index, later),
            Task::Events => swap(&mut schema.events, index, later),
        });
    }

    /// Adds types that were typed or pasted; events can have their roles with them, `merger: buyer, seller`.
    fn add(self, task: Task, typed: &str) {
        let named = typed_names(typed, task == Task::Events);
        self.touched.set(true);
        self.off.update(|off| {
            for (name, _) in &named {
                off.remove(&(task, name.clone()));
            }
        });
        self.schema.update(|schema| named.into_iter().for_each(|(name, roles)| add(schema, task, &name, &roles)));
    }

    /// The types of a task, each with its roles.
    fn named(self, task: Task) -> Vec<(String, Vec<String>)> {
        self.schema.with(|schema| match task {
            Task::Entities => schema.entities.iter().map(|i| (i.name.clone(), Vec::new())).collect(),
            Task::Relations => schema.relations.iter().map(|r| (r.item.name.clone(), Vec::new())).collect(),
            Task::Events => schema
                .events
                .iter()
                .map(|e| (e.item.name.clone(), e.roles.iter().map(|r| r.name.clone()).collect()))
                .collect(),
        })
    }

    /// A task's chips. One was taught if it was in every language that is asked in.
    fn chips(self, task: Task) -> Vec<Chip> {
        let named = self.named(task);
        let types: Vec<String> = named.iter().map(|(name, _)| name.clone()).collect();
        let taught_in = |language: &Language| {
            let choice = SchemaChoice {
                task,
                language: *language,
                types: types.clone(),
                roles: Vec::new(),
                asking: Asking::default(),
            };
            self.manifest.with(|m| extract::prompt::taught(m.as_ref(), &choice).types)
        };
        let taught: Vec<Vec<bool>> = self.languages.with(|languages| languages.iter().map(taught_in).collect());
        let chip = |off: &BTreeSet<(Task, String)>, index: usize, (name, roles): (String, Vec<String>)| Chip {
            on: !off.contains(&(task, name.clone())),
            taught: taught.iter().all(|taught| taught.get(index).copied().unwrap_or(false)),
            roles: roles.join(", "),
            name,
        };
        self.off.with(|off| named.into_iter().enumerate().map(|(i, named)| chip(off, i, named)).collect())
    }

    /// What will be asked: every question once, however many texts and parts it is asked about.
    pub fn questions(self) -> Memo<Vec<Question>> {
        Memo::new(move |_| self.asked_now())
    }

    fn asked_now(self) -> Vec<Question> {
        let schema = self.chosen();
        // Own words make no other question.
        let asking = self.asking.with(|a| Asking { instructions: Default::default(), ..a.clone() });
        let of = |manifest: Option<&AdapterManifest>, language: &Language| {
            let choices = schema.questions(*language, manifest, &asking);
            let made = |choice: SchemaChoice| {
                let made = extract::prompt::instruction(manifest, &choice);
                Question { choice, made }
            };
            choices.into_iter().map(made).collect::<Vec<_>>()
        };
        let mut questions: Vec<Question> = self.manifest.with(|manifest| {
            self.languages.with(|all| all.iter().flat_map(|language| of(manifest.as_ref(), language)).collect())
        });
        let mut seen = BTreeSet::new();
        questions.retain(|question| seen.insert(question.made.clone()));
        questions
    }

    /// How it is asked: of a person's own words those that belong to its questions.
    ///
    /// # Errors
    /// One of them is blank.
    pub fn asked_how(self) -> Result<Asking, ()> {
        let questions = untrack(|| self.asked_now());
        let mut asking = self.asking.get_untracked();
        asking.instructions.retain(|made, _| questions.iter().any(|question| question.made == *made));
        if asking.instructions.values().any(|own| own.trim().is_empty()) { Err(()) } else { Ok(asking) }
    }

    /// Whether any of its types has an example that could be given to the model.
    pub fn has_examples(self) -> bool {
        let with_examples = Asking { with_examples: true, ..Asking::default() };
        let asked = self.chosen().questions(Language::En, None, &with_examples);
        asked.iter().any(|question| !question.asking.examples.is_empty())
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

/// Adds a type to a schema; to an event that it has, the roles that are new.
fn add(schema: &mut Schema, task: Task, name: &str, roles: &[String]) {
    match task {
        Task::Entities if schema.entities.iter().all(|i| i.name != name) => schema.entities.push(Item::named(name)),
        Task::Relations if schema.relations.iter().all(|r| r.item.name != name) => {
            schema.relations.push(RelationType { item: Item::named(name), ..RelationType::default() });
        }
        Task::Events => {
            let roles = roles.iter().map(|role| Item::named(role));
            match schema.events.iter_mut().find(|e| e.item.name == name) {
                Some(event) => {
                    for role in roles {
                        if event.roles.iter().all(|known| known.name != role.name) {
                            event.roles.push(role);
                        }
                    }
                }
                None => schema.events.push(EventType { item: Item::named(name), roles: roles.collect() }),
            }
        }
        _ => {}
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
                on:change=move |ev| form.choose(&event_target_value(&ev))>
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
    view! {
        <div class="whole">
            <WholeRow form task=Task::Entities/>
            <WholeRow form task=Task::Relations/>
            <WholeRow form task=Task::Events/>
        </div>
        <Questions form/>
    }
}

fn task_name(task: Task) -> impl Fn() -> &'static str + Copy + Send + Sync + 'static {
    let i18n = use_i18n();
    move || match task {
        Task::Entities => t_string!(i18n, task_entities),
        Task::Relations => t_string!(i18n, task_relations),
        Task::Events => t_string!(i18n, task_events),
    }
}

#[component]
fn WholeRow(form: WholeForm, task: Task) -> impl IntoView {
    let i18n = use_i18n();
    let label = Signal::derive(task_name(task));
    let hint = Signal::derive(move || match task {
        Task::Events => t_string!(i18n, event_add),
        _ => t_string!(i18n, type_add),
    });
    view! {
        <ChipRow
            chips=Memo::new(move |_| form.chips(task)) label hint roomy=task == Task::Events
            toggle=Callback::new(move |index| form.toggle(task, index))
            add=Callback::new(move |typed: String| form.add(task, &typed))
            shift=Callback::new(move |(index, later)| form.shift(task, index, later))
        />
    }
}

/// The types of a whole schema, to be read; those that the adapter was not taught are marked.
#[component]
pub fn WholeTypes(form: WholeForm) -> impl IntoView {
    let i18n = use_i18n();
    let row = move |task: Task| {
        let label = task_name(task);
        let one = move |chip: Chip| {
            let untaught = !chip.taught;
            view! {
                <span class="chip" class:untaught=untaught title=untaught.then(|| t_string!(i18n, not_taught))>
                    <span>
                        {chip.name}
                        {(!chip.roles.is_empty()).then(|| view! { <small class="roles">" " {chip.roles}</small> })}
                        {untaught.then(|| view! { <small>" " {t!(i18n, not_taught_mark)}</small> })}
                    </span>
                </span>
            }
        };
        move || {
            let chips = form.chips(task);
            (!chips.is_empty()).then(|| view! {
                <div class="chips" role="group" aria-label=label><span class="row-label">{label}</span> {chips.into_iter().map(one).collect_view()}</div>
            })
        }
    };
    view! { <div class="whole" data-testid="types">{Task::ALL.map(row)}</div> }
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
