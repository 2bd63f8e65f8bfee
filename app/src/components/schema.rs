//! Choosing what to extract: task, language and types as chips, and the instruction they make.

use leptos::prelude::*;
use protocol::{
    AdapterManifest, Format, Language, SchemaChoice, Task, Taught,
    view::{Bench, NamedSchema},
};

use super::{
    chips::{Chip, ChipRow, swap},
    questions::PromptPreview,
    schema_entries::typed_names,
    schema_whole::{SaveAsSchema, SchemaList, Texts, WholeChips, WholeForm},
};
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::{area, language},
};

/// The choice as it stands, and the instruction it makes unless a person has edited that.
#[derive(Clone, Copy)]
pub struct SchemaForm {
    manifest: StoredValue<Option<AdapterManifest>>,
    /// A whole schema, in place of one task.
    pub whole: WholeForm,
    texts: Texts,
    /// `None`: a free instruction.
    pub task: RwSignal<Option<Task>>,
    pub language: RwSignal<Language>,
    /// Name of the taught schema the chips come from.
    pub taught: RwSignal<String>,
    pub types: RwSignal<Vec<Chip>>,
    pub roles: RwSignal<Vec<Chip>>,
    pub instruction: RwSignal<String>,
    /// Whether a person has changed the instruction by hand.
    pub edited: RwSignal<bool>,
    /// The wording a person had written before the chips were used again, to go back to.
    own: RwSignal<String>,
    /// Whether a person has chosen language or types; the text then no longer chooses them.
    touched: RwSignal<bool>,
}

impl SchemaForm {
    /// Starts with the adapter's first schema, or as a past run was asked.
    pub fn new(
        bench: &Bench,
        texts: Texts,
        past: Option<(Option<SchemaChoice>, String)>,
        whole: Option<&NamedSchema>,
    ) -> Self {
        let manifest = bench.adapter.as_ref().map(|a| a.manifest.clone());
        let form = Self {
            manifest: StoredValue::new(manifest),
            whole: WholeForm::new(bench, texts, whole),
            texts,
            task: RwSignal::new(Some(Task::Entities)),
            language: RwSignal::new(Language::En),
            taught: RwSignal::new(String::new()),
            types: RwSignal::new(Vec::new()),
            roles: RwSignal::new(Vec::new()),
            instruction: RwSignal::new(String::new()),
            edited: RwSignal::new(false),
            own: RwSignal::new(String::new()),
            touched: RwSignal::new(past.is_some()),
        };
        form.load_first();
        if let Some((choice, instruction)) = past {
            match choice {
                Some(choice) => {
                    form.whole.asking.set(choice.asking.clone());
                    form.load_choice(&choice);
                }
                None => form.task.set(None),
            }
            form.edited.set(form.wording() != Some(instruction.clone()));
            form.instruction.set(instruction);
        }
        form
    }

    /// Goes on with another adapter: the same choice, in the words that this one was taught.
    pub fn set_adapter(self, manifest: AdapterManifest) {
        self.whole.set_adapter(manifest.clone());
        self.manifest.set_value(Some(manifest));
        if let Some(choice) = untrack(|| self.choice()) {
            self.load_choice(&choice);
            self.refresh();
        }
    }

    /// The format or the part of events is another one: the instruction says so, unless a person has written it.
    pub fn asking_changed(self) {
        self.refresh();
    }

    /// Whether a format is chosen that the adapter was not taught.
    pub fn format_is_new(self) -> bool {
        let task = self.task.get().unwrap_or(Task::Relations);
        let own = self.manifest.with_value(|m| m.as_ref().map(|m| m.format.as_ref().and_then(|f| f.of(task))));
        // One that cannot say what is asked is not asked for.
        let says = |format: &Format| self.whole.on.get() || format.has(task);
        let named = self.whole.asking.with(|asking| asking.format).filter(says);
        named.is_some_and(|named| own.is_some_and(|own| own.unwrap_or(Format::Tuples) != named))
    }

    /// The choice, if there is a task; a free instruction has none.
    pub fn choice(self) -> Option<SchemaChoice> {
        let on = |chips: RwSignal<Vec<Chip>>| {
            chips.with(|c| c.iter().filter(|c| c.on).map(|c| c.name.clone()).collect::<Vec<_>>())
        };
        let task = self.task.get()?;
        Some(SchemaChoice {
            task,
            language: self.language.get(),
            types: on(self.types),
            roles: on(self.roles),
            asking: self.whole.asking.with(|asking| asking.of(task)),
        })
    }

    /// The taught schemas of the chosen task and language.
    fn offered(self) -> Vec<Taught> {
        let (task, language) = (self.task.get(), self.language.get());
        self.manifest.with_value(|m| {
            m.iter()
                .flat_map(|m| &m.taught)
                .filter(|t| Some(t.task) == task && t.language == language)
                .cloned()
                .collect()
        })
    }

    fn wording(self) -> Option<String> {
        let choice = untrack(|| self.choice())?;
        Some(self.manifest.with_value(|m| extract::prompt::instruction(m.as_ref(), &choice)))
    }

    /// Whether the adapter is asked for more types than are chosen.
    fn asks_for_more(self) -> bool {
        let choice = self.choice().filter(|_| !self.edited.get());
        choice.is_some_and(|choice| {
            self.manifest.with_value(|m| {
                extract::prompt::taught_as(m.as_ref(), &choice).is_none()
                    && extract::prompt::taught_with(m.as_ref(), &choice).is_some()
            })
        })
    }

    fn refresh(self) {
        if !self.edited.get_untracked() {
            self.instruction.set(self.wording().unwrap_or_default());
        }
    }

    fn load_first(self) {
        match untrack(|| self.offered()).into_iter().next() {
            Some(schema) => self.load(&schema),
            None => {
                let names = match self.language.get_untracked() {
                    Language::En => ["person", "organization", "location"],
                    Language::Zh => ["人物", "机构", "地点"],
                };
                self.taught.set(String::new());
                self.types.set(names.map(|n| Chip { name: n.into(), on: true, ..Chip::default() }).to_vec());
                self.roles.set(Vec::new());
                self.refresh();
            }
        }
    }

    /// The chips are about to write the instruction: what a person wrote is put aside.
    fn put_aside(self) {
        let written = self.instruction.get_untracked();
        if self.edited.get_untracked() && !written.trim().is_empty() {
            self.own.set(written);
        }
        self.edited.set(false);
    }

    fn bring_back(self) {
        self.instruction.set(self.own.get_untracked());
        self.own.set(String::new());
        self.edited.set(true);
    }

    fn load(self, schema: &Taught) {
        let chips = |names: &[String]| {
            names
                .iter()
                .map(|n| Chip { name: n.clone(), on: true, taught: true, ..Chip::default() })
                .collect::<Vec<_>>()
        };
        self.task.set(Some(schema.task));
        self.language.set(schema.language);
        self.taught.set(schema.name.clone());
        self.types.set(chips(&schema.types));
        self.roles.set(chips(&schema.roles));
        self.put_aside();
        self.refresh();
    }

    fn load_choice(self, choice: &SchemaChoice) {
        self.task.set(Some(choice.task));
        self.language.set(choice.language);
        let taught = self.manifest.with_value(|m| extract::prompt::taught(m.as_ref(), choice));
        let chips = |names: &[String], taught: &[bool]| {
            names
                .iter()
                .zip(taught)
                .map(|(n, t)| Chip { name: n.clone(), on: true, taught: *t, ..Chip::default() })
                .collect::<Vec<_>>()
        };
        self.types.set(chips(&choice.types, &taught.types));
        self.roles.set(chips(&choice.roles, &taught.roles));
        let name = self.manifest.with_value(|m| extract::prompt::taught_as(m.as_ref(), choice).map(|t| t.name.clone()));
        self.taught.set(name.unwrap_or_default());
    }

    fn choose_task(self, task: Option<Task>) {
        self.whole.on.set(false);
        self.task.set(task);
        self.put_aside();
        match task {
            Some(_) => self.load_first(),
            None => self.instruction.set(String::new()),
        }
    }

    fn choose_language(self, language: Language) {
        if self.language.get_untracked() != language {
            self.language.set(language);
            if self.task.get_untracked().is_some() {
                self.load_first();
            }
        }
    }

    fn choose_schema(self, name: &str) {
        let schema = self.manifest.with_value(|m| m.as_ref().and_then(|m| m.schema(name)).cloned());
        if let Some(schema) = schema {
            self.touched.set(true);
            self.load(&schema);
        }
    }

    /// Sets everything as an example asks for it.
    pub fn load_schema(self, name: &str) {
        self.choose_schema(name);
        self.touched.set(false);
        self.whole.follow(self.language.get_untracked());
    }

    /// The text chooses the language as long as nobody has.
    pub fn text_changed(self, text: &str) {
        if text.chars().any(char::is_alphabetic) {
            self.whole.follow(Language::of_text(text));
        }
        if !self.touched.get_untracked() && !self.edited.get_untracked() && text.chars().any(char::is_alphabetic) {
            self.choose_language(Language::of_text(text));
        }
    }

    fn toggle(self, chips: RwSignal<Vec<Chip>>, index: usize) {
        self.touched.set(true);
        chips.update(|c| {
            if let Some(chip) = c.get_mut(index) {
                chip.on = !chip.on;
            }
        });
        self.refresh();
    }

    fn shift(self, chips: RwSignal<Vec<Chip>>, index: usize, later: bool) {
        self.touched.set(true);
        chips.update(|chips| swap(chips, index, later));
        self.refresh();
    }

    /// Adds names that were typed or pasted, and marks those that were taught.
    fn add(self, chips: RwSignal<Vec<Chip>>, typed: &str) {
        self.touched.set(true);
        chips.update(|c| {
            for (name, _) in typed_names(typed, false) {
                match c.iter_mut().find(|c| c.name == name) {
                    Some(chip) => chip.on = true,
                    None => c.push(Chip { name, on: true, ..Chip::default() }),
                }
            }
        });
        self.mark_taught();
        self.refresh();
    }

    fn mark_taught(self) {
        let all =
            |chips: RwSignal<Vec<Chip>>| chips.with_untracked(|c| c.iter().map(|c| c.name.clone()).collect::<Vec<_>>());
        let Some(choice) = untrack(|| self.choice()) else { return };
        let choice = SchemaChoice { types: all(self.types), roles: all(self.roles), ..choice };
        let taught = self.manifest.with_value(|m| extract::prompt::taught(m.as_ref(), &choice));
        for (chips, taught) in [(self.types, taught.types), (self.roles, taught.roles)] {
            chips.update(|chips| chips.iter_mut().zip(taught).for_each(|(chip, taught)| chip.taught = taught));
        }
    }

    /// What will be asked, question by question, in the words in which it will be.
    fn asked(self) -> Signal<Vec<(Option<SchemaChoice>, String)>> {
        let questions = self.whole.questions();
        Signal::derive(move || {
            if !self.whole.on.get() {
                return vec![(self.choice(), self.instruction.get())];
            }
            let worded = |q| {
                let super::questions::Question { choice, made } = q;
                (Some(choice), self.whole.asking.with(|a| a.wording(made)))
            };
            questions.get().into_iter().map(worded).collect()
        })
    }
}

/// Task, language, topic, types, roles, and the instruction; or a whole schema, where one can be asked.
#[component]
pub fn SchemaPicker(form: SchemaForm, #[prop(optional)] whole: bool) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let one_task = move || !(whole && form.whole.on.get());
    let all = whole.then(|| {
        view! {
            <label class="chip">
                <input
                    type="radio" name="task" value="all" data-testid="task-all"
                    checked={form.whole.on.get_untracked()} prop:checked=move || form.whole.on.get()
                    on:change=move |_| form.whole.on.set(true)
                />
                <span>{t!(i18n, task_all)}</span>
            </label>
        }
    });
    let tasks = move || {
        [Some(Task::Entities), Some(Task::Relations), Some(Task::Events), None]
            .into_iter()
            .map(|task| {
                let label = move || match task {
                    Some(Task::Entities) => t_string!(i18n, task_entities),
                    Some(Task::Relations) => t_string!(i18n, task_relations),
                    Some(Task::Events) => t_string!(i18n, task_events),
                    None => t_string!(i18n, task_free),
                };
                view! {
                    <label class="chip">
                        <input
                            type="radio" name="task" value=task.map_or("", Task::code)
                            checked={untrack(one_task) && form.task.get_untracked() == task}
                            prop:checked=move || one_task() && form.task.get() == task
                            on:change=move |_| form.choose_task(task)
                        />
                        <span>{label}</span>
                    </label>
                }
            })
            .collect_view()
    };
    let languages = move || {
        [(Language::En, "English"), (Language::Zh, "中文")]
            .into_iter()
            .map(|(code, label)| view! {
                <label class="chip">
                    <input
                        type="radio" name="language" value=code.code()
                        checked={form.language.get_untracked() == code} prop:checked=move || form.language.get() == code
                        on:change=move |_| { form.touched.set(true); form.choose_language(code) }
                    />
                    <span>{label}</span>
                </label>
            })
            .collect_view()
    };
    let topics = move || {
        form.offered()
            .into_iter()
            .map(|t| {
                let selected = form.taught.get() == t.name;
                let title = t.title.in_language(language()).to_owned();
                view! { <option value=t.name selected=selected>{title}</option> }
            })
            .collect_view()
    };
    let quality = move || {
        form.offered().into_iter().find(|t| t.name == form.taught.get()).map(|t| {
            let sentence =
                if t.experimental { t_string!(i18n, quality_experimental) } else { t_string!(i18n, quality_taught) };
            view! { <span class="tag" class:warn=t.experimental title=sentence>{format!("F1 {:.0}", t.dev_f1)}</span> }
        })
    };
    view! {
        <fieldset class="schema">
            <legend class="visually-hidden">{t!(i18n, what_to_extract)}</legend>
            <div class="chips" role="radiogroup" aria-label=move || t_string!(i18n, what_to_extract)>{all}{tasks}</div>
            {whole.then(|| view! { <SchemaList form=form.whole/> })}
            <Show when=move || !one_task()>
                <WholeChips form=form.whole/>
            </Show>
            <Show when=move || one_task() && form.task.get().is_some()>
                <div class="chips">
                    {languages}
                    <Show when=move || { form.offered().len() > 1 }>
                        <select class="topic" aria-label=move || t_string!(i18n, topic)
                            on:change=move |ev| form.choose_schema(&event_target_value(&ev))>
                            {topics}
                            <Show when=move || form.taught.get().is_empty()>
                                <option value="" selected>{t!(i18n, topic_own)}</option>
                            </Show>
                        </select>
                    </Show>
                    {quality}
                </div>
                <OwnChips form chips=form.types field="types"/>
                <Show when=move || form.task.get() == Some(Task::Events)>
                    <p class="row-label">{t!(i18n, roles)}</p>
                    <OwnChips form chips=form.roles field="roles"/>
                </Show>
            </Show>
        </fieldset>
        {whole.then(|| view! { <SaveAsSchema form=form.whole choice=Signal::derive(move || form.choice())/> })}
        <Show when=move || one_task() && form.asks_for_more()>
            <p class="help" data-testid="asked-together">{t!(i18n, asked_together)}</p>
        </Show>
        <div class="field" hidden=move || !one_task()>
            <div class="label-row">
                <label for="instruction">{t!(i18n, instruction)}</label>
                <Show when=move || form.edited.get() && form.task.get().is_some()>
                    <button type="button" class="link" on:click=move |_| { form.put_aside(); form.refresh() }>
                        {t!(i18n, instruction_reset)}
                    </button>
                </Show>
                <Show when=move || !form.edited.get() && !form.own.with(String::is_empty)>
                    <button type="button" class="link" data-testid="own-wording" on:click=move |_| form.bring_back()>
                        {t!(i18n, instruction_own)}
                    </button>
                </Show>
            </div>
            <textarea
                id="instruction" name="instruction" data-testid="instruction" rows="2"
                placeholder=move || t_string!(i18n, instruction_placeholder)
                prop:value=move || form.instruction.get()
                on:input=move |ev| { form.edited.set(true); form.instruction.set(event_target_value(&ev)) }
            >{area(form.instruction.get_untracked())}</textarea>
            // Without scripts the chips cannot rewrite the instruction: the server does, if it is still this one.
            <input type="hidden" name="instruction_made" value=form.instruction.get_untracked()/>
        </div>
        <PromptPreview manifest=form.whole.manifest asked=form.asked() texts=Signal::derive(move || form.texts.all()) parts=form.whole.on/>
    }
}

#[component]
fn OwnChips(form: SchemaForm, chips: RwSignal<Vec<Chip>>, field: &'static str) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <ChipRow
            chips field hint=Signal::derive(move || t_string!(i18n, type_add))
            toggle=Callback::new(move |index| form.toggle(chips, index))
            add=Callback::new(move |typed: String| form.add(chips, &typed))
            shift=Callback::new(move |(index, later)| form.shift(chips, index, later))
        />
    }
}
