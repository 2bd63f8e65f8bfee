//! The panel of sampling parameters, drawn from the one table.

use std::collections::BTreeMap;

use leptos::prelude::*;
use protocol::{PARAMETERS, ParameterError, ParameterSpec, Parameters, params::ParameterKind};

use crate::{
    i18n::{t, use_i18n},
    prefs::{area, language},
};

/// What stands in the controls, valid or not, so that nothing typed is lost by an error.
#[derive(Clone, Copy)]
pub struct ParameterForm {
    defaults: StoredValue<Parameters>,
    texts: RwSignal<BTreeMap<&'static str, String>>,
    error: RwSignal<Option<ParameterError>>,
}

impl ParameterForm {
    /// Controls that start from `now` and can be set back to `defaults`.
    pub fn new(defaults: Parameters, now: &Parameters) -> Self {
        let texts = texts(now);
        Self { defaults: StoredValue::new(defaults), texts: RwSignal::new(texts), error: RwSignal::new(None) }
    }

    /// The parameters as typed.
    ///
    /// # Errors
    /// The first that cannot be used; it is also shown beside its control.
    pub fn read(self) -> Result<Parameters, ParameterError> {
        let mut parameters = self.defaults.get_value();
        let result = self
            .texts
            .with_untracked(|texts| texts.iter().try_for_each(|(name, text)| parameters.set_text(name, text)));
        self.error.set(result.clone().err());
        result.map(|()| parameters)
    }

    /// Other defaults; what a person has changed stays.
    pub fn set_defaults(self, defaults: Parameters) {
        let changed = untrack(|| self.changed());
        self.defaults.set_value(defaults);
        if !changed {
            self.reset();
        }
    }

    fn reset(self) {
        self.texts.set(texts(&self.defaults.get_value()));
        self.error.set(None);
    }

    fn changed(self) -> bool {
        self.texts.with(|now| self.defaults.with_value(|d| *now != texts(d)))
    }
}

fn texts(parameters: &Parameters) -> BTreeMap<&'static str, String> {
    PARAMETERS.iter().map(|spec| (spec.name, parameters.text_of(spec.name))).collect()
}

/// A labelled control for every parameter, with its range and a sentence of help.
#[component]
pub fn ParameterPanel(
    form: ParameterForm,
    /// Whether the page extracts: it alone has what concerns records.
    #[prop(optional)]
    extracts: bool,
) -> impl IntoView {
    let i18n = use_i18n();
    let shown = PARAMETERS.iter().filter(|spec| extracts || !spec.extracts);
    // On a narrow page they would stand between a person and the work. Without scripts the stylesheet decides.
    let panel = NodeRef::<leptos::html::Details>::new();
    Effect::new(move |_| {
        if let Some(panel) = panel.get() {
            if is_wide() {
                let _ = panel.set_attribute("open", "");
            }
            let _ = panel.set_attribute("data-ready", "");
        }
    });
    view! {
        <details class="parameters opens-when-wide" data-testid="parameters" node_ref=panel>
            <summary>{t!(i18n, parameters)}</summary>
            <div class="fields">
                {shown.map(|spec| view! { <Control spec form/> }).collect_view()}
            </div>
            <button type="button" class="quiet" disabled=move || !form.changed() on:click=move |_| form.reset()>
                {t!(i18n, parameters_reset)}
            </button>
        </details>
    }
}

/// Whether there is room for more than the work itself; as in the stylesheet.
fn is_wide() -> bool {
    #[cfg(feature = "hydrate")]
    {
        window().match_media("(min-width: 44rem)").ok().flatten().is_none_or(|query| query.matches())
    }
    #[cfg(not(feature = "hydrate"))]
    true
}

/// The control of one parameter, for a form that has no others.
#[component]
pub fn ParameterField(form: ParameterForm, name: &'static str) -> impl IntoView {
    PARAMETERS.iter().find(|spec| spec.name == name).map(|spec| view! { <Control spec form/> })
}

#[component]
fn Control(spec: &'static ParameterSpec, form: ParameterForm) -> impl IntoView {
    let language = language();
    let name = spec.name;
    let field = format!("param-{}", spec.flag());
    let help_id = format!("help-{name}");
    let value = move || form.texts.with(|t| t.get(name).cloned().unwrap_or_default());
    let set = move |text: String| form.texts.update(|t| drop(t.insert(name, text)));
    let error =
        move || form.error.get().filter(|e| e.parameter == name).map(|e| e.message.in_language(language()).to_owned());
    let wrong = move || form.error.with(|e| e.as_ref().is_some_and(|e| e.parameter == name));
    let fixed = matches!(spec.kind, ParameterKind::Number { min, max, .. } if min == max);
    let control = match spec.kind {
        ParameterKind::Number { min, max, step, .. } => view! {
            <input
                type="number" id=field.clone() form="work" name=field.clone() data-testid=field.clone()
                min=min max=max step=step inputmode="decimal"
                value=value() prop:value=value
                readonly={min == max}
                aria-describedby=help_id.clone() aria-invalid=move || wrong().then_some("true")
                on:input=move |ev| set(event_target_value(&ev))
            />
        }
        .into_any(),
        ParameterKind::OptionalWhole => view! {
            <input
                type="text" id=field.clone() form="work" name=field.clone() data-testid=field.clone() inputmode="numeric" autocomplete="off"
                value=value() prop:value=value
                aria-describedby=help_id.clone() aria-invalid=move || wrong().then_some("true")
                on:input=move |ev| set(event_target_value(&ev))
            />
        }
        .into_any(),
        ParameterKind::Strings => view! {
            <textarea
                rows="2" id=field.clone() form="work" name=field.clone() data-testid=field.clone() spellcheck="false"
                prop:value=value
                aria-describedby=help_id.clone() aria-invalid=move || wrong().then_some("true")
                on:input=move |ev| set(event_target_value(&ev))
            >{area(value())}</textarea>
        }
        .into_any(),
        ParameterKind::Switch => {
            let option = |choice: &'static str, en: &'static str, zh: &'static str| {
                view! { <option value=choice selected=move || value() == choice>{move || language().pick(en, zh)}</option> }
            };
            view! {
                <select
                    id=field.clone() form="work" name=field.clone() data-testid=field.clone()
                    prop:value=value
                    aria-describedby=help_id.clone() aria-invalid=move || wrong().then_some("true")
                    on:change=move |ev| set(event_target_value(&ev))
                >
                    {option("on", "On", "开")}
                    {option("off", "Off", "关")}
                </select>
            }
            .into_any()
        }
    };
    view! {
        <div class="field" class:fixed=fixed title=move || spec.help_in(language())>
            <label for=field>{move || spec.label_in(language())}</label>
            {control}
            <p class="help" id=help_id>{move || spec.help_in(language())}</p>
            {move || error().map(|sentence| view! { <p class="error" role="alert">{sentence}</p> })}
        </div>
    }
}
