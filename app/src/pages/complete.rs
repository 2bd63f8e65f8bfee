//! `/pretrain`: raw completion of a prompt by the base.

use extract::hint::looks_like_instruction;
use leptos::prelude::*;
use protocol::{
    Ask, Bench, Language, SessionView,
    view::{GalleryCase, Page},
};

use super::{
    extract::{EarlierLink, last_parameters},
    work::{Work, asks_to_run, load},
};
use crate::{
    components::{CompletionCard, ErrorNotice, PageTitle, ParameterForm, ParameterPanel, RunButtons, SharePanel},
    i18n::{t, t_string, use_i18n},
    prefs::{area, language},
};

#[component]
pub fn Complete() -> impl IntoView {
    load(Page::Complete, |bench, session| view! { <CompleteBench bench session/> }.into_any())
}

#[component]
fn CompleteBench(bench: Bench, session: Option<SessionView>) -> impl IntoView {
    let i18n = use_i18n();
    let shares = session.as_ref().map(|s| s.shares.clone()).unwrap_or_default();
    let work = Work::new(Page::Complete, session);
    let last = work.items.with_untracked(|items| last_parameters(items));
    let parameters = ParameterForm::new(bench.pretrain.clone(), last.as_ref().unwrap_or(&bench.pretrain));
    let prompt = RwSignal::new(work.items.with_untracked(|items| {
        items.first().and_then(|i| i.runs.first()).map(|r| r.with_untracked(|r| r.prompt.clone())).unwrap_or_default()
    }));
    let model = format!("{} {}", bench.model.name, bench.model.format);

    let submit = move || {
        let parameters = match parameters.read() {
            Ok(parameters) => parameters,
            Err(e) => return work.refuse_parameter(&e),
        };
        let prompt = prompt.get_untracked();
        if prompt.trim().is_empty() {
            return work.refuse(t_string!(i18n, error_no_prompt));
        }
        work.start(Ask::Complete { prompt }, parameters);
    };
    let label = Signal::derive(move || {
        if work.items.with(Vec::is_empty) { t_string!(i18n, run_complete) } else { t_string!(i18n, run_again) }
            .to_owned()
    });
    view! {
        <PageTitle text=move || t_string!(i18n, nav_complete)/>
        <div class="page bench">
        <div class="main">
        <form
            class="ask" id="work" method="post" action="/run" prop:noValidate=true
            on:submit=move |ev| { ev.prevent_default(); submit() }
            on:keydown=move |ev| if asks_to_run(&ev) { ev.prevent_default(); submit() }
        >
            <input type="hidden" name="page" value="complete"/>
            <input type="hidden" name="session" value=work.session.get_untracked().unwrap_or_default()/>
                <h1>{t!(i18n, complete_title)}</h1>
                <div class="field">
                    <label for="prompt">{t!(i18n, prompt_label)}</label>
                    <textarea
                        id="prompt" name="prompt" data-testid="prompt" rows="6"
                        placeholder=move || t_string!(i18n, prompt_placeholder)
                        prop:value=move || prompt.get()
                        on:input=move |ev| prompt.set(event_target_value(&ev))
                    >{area(prompt.get_untracked())}</textarea>
                </div>
                <Show when=move || prompt.with(|p| looks_like_instruction(p))>
                    <p class="notice" data-testid="instruction-hint">
                        {t!(i18n, hint_instruction)} " " <a href="/lora">{t!(i18n, nav_extract)}</a>
                    </p>
                </Show>
                <ErrorNotice error=work.error/>
                <RunButtons
                    label running=Signal::derive(move || work.running()) sending=work.sending
                    stop=Callback::new(move |()| work.stop())
                    in_session=Signal::derive(move || work.session.with(Option::is_some)) new_session="/pretrain"
                />
                <p class="muted model-line">{model} ", " {t!(i18n, no_adapter)} " · " {bench.model.backend}</p>
        </form>
        <Show when=move || !work.items.with(Vec::is_empty)>
            <section class="results">
                {move || work.items.get().into_iter().map(|item| view! { <CompletionCard item current=true/> }).collect_view()}
                <EarlierLink work/>
            </section>
        </Show>
        <div class="results">
            <SharePanel session=work.session open=shares error=work.error records=false/>
            <Gallery cases=bench.gallery prompt/>
        </div>
        </div>
        <aside><ParameterPanel form=parameters/></aside>
        </div>
    }
}

/// The published cases by topic; a click fills the box.
#[component]
fn Gallery(cases: Vec<GalleryCase>, prompt: RwSignal<String>) -> impl IntoView {
    let i18n = use_i18n();
    let language = language();
    let mut topics: Vec<(String, Vec<GalleryCase>)> = Vec::new();
    for case in cases {
        match topics.iter_mut().find(|(topic, _)| *topic == case.topic) {
            Some((_, cases)) => cases.push(case),
            None => topics.push((case.topic.clone(), vec![case])),
        }
    }
    view! {
        <section class="gallery" data-testid="gallery">
            <h2>{t!(i18n, gallery)}</h2>
            <p class="muted">{t!(i18n, gallery_note)}</p>
            <div class="topics">
                {topics.into_iter().map(|(topic, cases)| view! {
                    <div class="topic">
                        <h3>{move || topic_title(&topic, language())}</h3>
                        {cases.into_iter().map(|case| {
                            let text = case.prompt.clone();
                            view! {
                                <button type="button" class="case" data-testid="case" on:click=move |_| {
                                    prompt.set(text.clone());
                                    to_top();
                                }>{case.prompt}</button>
                            }
                        }).collect_view()}
                    </div>
                }).collect_view()}
            </div>
        </section>
    }
}

/// The topics of the published cases, as published and in Chinese.
fn topic_title(topic: &str, language: Language) -> String {
    let zh = match topic {
        "Coding" => "编程",
        "Knowledge" => "知识",
        "Instruction Following" => "遵循指令",
        "Translation" => "翻译",
        "Generate long text in English" => "英文长文",
        "Generate long text in Chinese" => "中文长文",
        "Reasoning" => "推理",
        "" => return language.pick("Other", "其他").to_owned(),
        other => other,
    };
    language.pick(topic, zh).to_owned()
}

fn to_top() {
    #[cfg(feature = "hydrate")]
    window().scroll_to_with_x_and_y(0.0, 0.0);
}
