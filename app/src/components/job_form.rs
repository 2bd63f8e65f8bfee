//! What to do with model files: one form per operation, all with the same few fields. Plain forms, so that they work
//! without scripts; what was entered comes back with the reason when it cannot be meant so.

use leptos::prelude::*;
use protocol::{
    Sentence,
    job::{FoundFiles, JobRequest, Operation, RefusedJob, WeightsView},
};

use super::amounts::size;
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::{area, fill, language},
};

/// The name of an operation.
pub fn operation_name(operation: Operation) -> impl Fn() -> String + Copy + Send + Sync {
    let i18n = use_i18n();
    move || {
        match operation {
            Operation::Convert => t_string!(i18n, op_convert),
            Operation::Quantize => t_string!(i18n, op_quantize),
            Operation::Merge => t_string!(i18n, op_merge),
            Operation::Recover => t_string!(i18n, op_recover),
            Operation::Diff => t_string!(i18n, op_diff),
            Operation::Inspect => t_string!(i18n, op_inspect),
            Operation::Verify => t_string!(i18n, op_verify),
            Operation::Download => t_string!(i18n, op_download),
            Operation::Perplexity => t_string!(i18n, op_perplexity),
            Operation::Setup => t_string!(i18n, op_setup),
        }
        .to_owned()
    }
}

/// The address of the form with these fields filled in.
pub fn form_path(request: &JobRequest) -> String {
    let mut path = format!("/admin/weights?operation={}", request.operation.name());
    for name in JobRequest::FIELDS.iter().filter(|name| !request.field(name).is_empty()) {
        path.push_str(&format!("&{name}={}", escaped(request.field(name))));
    }
    path
}

/// A text as it can stand in the query of an address.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The operations to choose from, and the form of the chosen one.
#[component]
pub fn JobForm(view: WeightsView, entered: JobRequest) -> impl IntoView {
    let i18n = use_i18n();
    let operation = entered.operation;
    let refused = view.refused.clone();
    let help = move || match operation {
        Operation::Convert => t_string!(i18n, op_convert_help),
        Operation::Quantize => t_string!(i18n, op_quantize_help),
        Operation::Merge => t_string!(i18n, op_merge_help),
        Operation::Recover => t_string!(i18n, op_recover_help),
        Operation::Diff => t_string!(i18n, op_diff_help),
        Operation::Inspect => t_string!(i18n, op_inspect_help),
        Operation::Verify => t_string!(i18n, op_verify_help),
        Operation::Download => t_string!(i18n, op_download_help),
        Operation::Perplexity => t_string!(i18n, op_perplexity_help),
        Operation::Setup => t_string!(i18n, op_setup_help),
    };
    let tabs = Operation::ALL.map(|one| {
        // The model stays where the next operation has one too.
        let keeps = one != Operation::Download && operation != Operation::Download;
        let input = if keeps { entered.input.clone() } else { String::new() };
        let path = form_path(&JobRequest { input, ..JobRequest::new(one) });
        let current = (one == operation).then_some("true");
        view! { <a href=path aria-current=current data-testid=format!("operation-{}", one.name())>{operation_name(one)}</a> }
    });
    view! {
        <nav class="tabs" aria-label=move || t_string!(i18n, weights_operations)>{tabs.into_iter().collect_view()}</nav>
        <form class="ask job-form" method="post" action="/admin/weights/start" data-testid="job-form">
            <input type="hidden" name="operation" value=operation.name()/>
            <p>{help}</p>
            <Fields view entered refused/>
            <div class="buttons">
                <button class="primary" data-testid="start">{operation_name(operation)}</button>
            </div>
        </form>
    }
}

/// The fields of the operation.
#[component]
fn Fields(view: WeightsView, entered: JobRequest, refused: Option<RefusedJob>) -> impl IntoView {
    let i18n = use_i18n();
    let operation = entered.operation;
    let label = move |name: &'static str| {
        Signal::derive(move || {
            match (operation, name) {
                (Operation::Download, "input") => t_string!(i18n, job_what),
                (Operation::Merge, "input") => t_string!(i18n, job_base),
                (Operation::Recover | Operation::Diff | Operation::Setup, "input") => t_string!(i18n, job_raw),
                (Operation::Inspect | Operation::Verify, "input") => t_string!(i18n, job_file),
                (Operation::Recover | Operation::Setup, "other") => t_string!(i18n, job_difference),
                (Operation::Diff, "other") => t_string!(i18n, job_tuned),
                (Operation::Verify, "other") => t_string!(i18n, job_list),
                (_, "out") => t_string!(i18n, job_out),
                (_, "mirror") => t_string!(i18n, job_mirror),
                (_, "shard") => t_string!(i18n, job_shard),
                (_, "calibration") => t_string!(i18n, job_calibration),
                (_, "text") => t_string!(i18n, job_text),
                (_, "adapters") => t_string!(i18n, job_adapter),
                (_, "include") => t_string!(i18n, job_include),
                (_, "exclude") => t_string!(i18n, job_exclude),
                (_, "revision") => t_string!(i18n, job_revision),
                _ => t_string!(i18n, job_model),
            }
            .to_owned()
        })
    };
    let folder = view.folder.clone();
    let help = move |name: &'static str| {
        let folder = folder.clone();
        Signal::derive(move || match name {
            "out" => fill(t_string!(i18n, job_out_help), &[("folder", &folder)]),
            "mirror" => t_string!(i18n, job_mirror_help).to_owned(),
            "list" => t_string!(i18n, job_list_help).to_owned(),
            "what" => t_string!(i18n, job_what_help).to_owned(),
            "shard" => t_string!(i18n, job_shard_help).to_owned(),
            "calibration" | "text" => t_string!(i18n, job_text_help).to_owned(),
            "include" => t_string!(i18n, job_include_help).to_owned(),
            "published" => t_string!(i18n, job_published_help).to_owned(),
            _ => t_string!(i18n, job_model_help).to_owned(),
        })
    };
    let said = |name: &str| refused.as_ref().filter(|r| r.field == name).map(|r| r.sentence.clone());
    let text = |name: &'static str, list: &'static str, about: Option<&'static str>| {
        let value = entered.field(name).to_owned();
        let help = about.map(help.clone());
        view! { <TextField name label=label(name) help value list refused=said(name)/> }
    };
    // What few people need is folded away, unless something is wrong with it or it was filled in.
    let fold = ["shard", "calibration", "text", "include", "exclude", "revision"];
    let unfolded = entered.to == "gptq"
        || fold
            .iter()
            .any(|name| !entered.field(name).is_empty() || refused.as_ref().is_some_and(|r| r.field == *name));
    let more = move |fields: Vec<AnyView>| {
        view! {
            <details class="more" open=unfolded>
                <summary data-testid="more-fields">{t!(i18n, job_more)}</summary>
                <div class="choices">{fields}</div>
            </details>
        }
    };
    let (hf_or_gguf, folders) = (&["hf", "gguf", "pytorch"][..], &["hf", "pytorch"][..]);
    let to = |forms| view! { <FormSelect forms chosen=entered.to.clone() refused=said("to")/> };
    let dtype = |rounded| view! { <TypeSelect rounded keep=true chosen=entered.dtype.clone() refused=said("dtype")/> };
    let fields = match operation {
        Operation::Convert => view! {
            {text("input", "found-models", Some("model"))}
            <div class="choices">{to(hf_or_gguf)} {dtype(true)} {text("out", "", Some("out"))}</div>
            {more(vec![text("shard", "", Some("shard")).into_any()])}
        }
        .into_any(),
        Operation::Quantize => {
            let (quick, gptq) = (entered.quick == "on", entered.gptq == "on");
            let with_text = vec![
                to(&["gguf", "gptq"]).into_any(),
                text("calibration", "", Some("calibration")).into_any(),
                text("text", "", Some("text")).into_any(),
            ];
            view! {
                {text("input", "found-models", Some("model"))}
                <div class="choices">
                    <TypeSelect rounded=true keep=false chosen=entered.dtype.clone() refused=said("dtype")/>
                    {text("out", "", Some("out"))}
                </div>
                <label class="check"><input type="checkbox" name="gptq" value="on" checked=gptq data-testid="field-gptq"/>{t!(i18n, job_with_gptq)}</label>
                <label class="check"><input type="checkbox" name="quick" value="on" checked=quick data-testid="field-quick"/>{t!(i18n, job_quick)}</label>
                {more(with_text)}
            }
            .into_any()
        }
        Operation::Merge => {
            let only = match view.adapters.as_slice() {
                [one] if entered.adapters.is_empty() => one.name.clone(),
                _ => entered.adapters.clone(),
            };
            view! {
                {text("input", "found-models", Some("model"))}
                <AdapterLines value=only found=view.adapters.clone() refused=said("adapters")/>
                <div class="choices">{to(hf_or_gguf)} {dtype(true)} {text("out", "", Some("out"))}</div>
                {more(vec![text("shard", "", Some("shard")).into_any()])}
            }
            .into_any()
        }
        Operation::Recover | Operation::Diff => view! {
            {text("input", "found-models", Some("model"))}
            {text("other", "found-models", None)}
            <div class="choices">{to(folders)} {dtype(false)} {text("out", "", Some("out"))}</div>
            {more(vec![text("shard", "", Some("shard")).into_any()])}
        }
        .into_any(),
        Operation::Inspect => text("input", "found-files", Some("model")).into_any(),
        Operation::Verify => view! {
            {text("input", "found-files", Some("model"))}
            <div class="choices">
                <KnownSelect names=view.with_sums.clone() chosen=entered.known.clone() refused=said("known")/>
                {text("other", "", Some("list"))}
            </div>
        }
        .into_any(),
        Operation::Download => view! {
            {text("input", "published", Some("what"))}
            <div class="choices">
                <PartSelect chosen=entered.part.clone()/>
                {text("mirror", "", Some("mirror"))}
            </div>
            {more(vec![
                text("include", "", Some("include")).into_any(),
                text("exclude", "", None).into_any(),
                text("revision", "", None).into_any(),
            ])}
        }
        .into_any(),
        Operation::Perplexity => view! {
            {text("input", "found-models", Some("model"))}
            {text("text", "", Some("text"))}
        }
        .into_any(),
        Operation::Setup => {
            let merged = entered.merged == "on";
            view! {
                {text("input", "found-models", Some("model"))}
                <div class="choices">
                    {text("other", "published", Some("published"))}
                    {text("adapters", "published", Some("published"))}
                </div>
                <label class="check"><input type="checkbox" name="merged" value="on" checked=merged data-testid="field-merged"/>{t!(i18n, job_merged)}</label>
                <div class="choices">
                    <GgufSelect chosen=entered.dtype.clone() refused=said("dtype")/>
                    {text("mirror", "", Some("mirror"))} {text("out", "", Some("out"))}
                </div>
            }
            .into_any()
        }
    };
    view! {
        {fields}
        <datalist id="found-models">{options(&view.models)}</datalist>
        <datalist id="found-files">{options(&view.models)} {options(&view.adapters)}</datalist>
        <datalist id="published">
            {view.published.into_iter().map(|(name, title)| view! { <option value=name>{title}</option> }).collect_view()}
        </datalist>
    }
}

fn options(found: &[FoundFiles]) -> impl IntoView + use<> {
    let one = |one: &FoundFiles| view! { <option value=one.name.clone()>{size(one.bytes)}</option> };
    found.iter().map(one).collect_view()
}

/// What is wrong with a field, below it.
#[component]
fn Refused(name: &'static str, said: Option<Sentence>) -> impl IntoView {
    let language = language();
    said.map(|said| {
        view! {
            <p class="error" role="alert" id=format!("wrong-{name}") data-testid="refused">
                {move || said.in_language(language()).to_owned()}
            </p>
        }
    })
}

/// What says that a field is wrong: `aria-invalid` and the place of the reason.
fn invalid(name: &str, said: &Option<Sentence>) -> (Option<&'static str>, Option<String>) {
    (said.as_ref().map(|_| "true"), said.as_ref().map(|_| format!("wrong-{name}")))
}

#[component]
fn TextField(
    name: &'static str,
    label: Signal<String>,
    help: Option<Signal<String>>,
    value: String,
    /// The list of what could be entered.
    list: &'static str,
    refused: Option<Sentence>,
) -> impl IntoView {
    let (wrong, why) = invalid(name, &refused);
    let list = Some(list).filter(|list| !list.is_empty());
    view! {
        <div class="field">
            <label for=name>{label}</label>
            <input
                type="text" id=name name=name value=value list=list autocomplete="off" spellcheck="false" maxlength="1000"
                aria-invalid=wrong aria-describedby=why data-testid=format!("field-{name}")
            />
            <Refused name said=refused/>
            {help.map(|help| view! { <p class="help">{help}</p> })}
        </div>
    }
}

/// Adapters, one on each line.
#[component]
fn AdapterLines(value: String, found: Vec<FoundFiles>, refused: Option<Sentence>) -> impl IntoView {
    let i18n = use_i18n();
    let (wrong, why) = invalid("adapters", &refused);
    let names = found.into_iter().map(|one| one.name).collect::<Vec<_>>().join(", ");
    view! {
        <div class="field">
            <label for="adapters">{t!(i18n, job_adapters)}</label>
            <textarea
                id="adapters" name="adapters" rows="2" spellcheck="false" maxlength="4000" aria-invalid=wrong
                aria-describedby=why data-testid="field-adapters"
            >{area(value)}</textarea>
            <Refused name="adapters" said=refused/>
            <p class="help">{move || {
                let names = if names.is_empty() { t_string!(i18n, job_no_adapters) } else { &names };
                fill(t_string!(i18n, job_adapters_help), &[("names", &names)])
            }}</p>
        </div>
    }
}

/// A list to choose from.
#[component]
fn Choice(
    name: &'static str,
    label: Signal<String>,
    /// Names and what they are called.
    options: Vec<(String, Signal<String>)>,
    chosen: String,
    refused: Option<Sentence>,
) -> impl IntoView {
    let (wrong, why) = invalid(name, &refused);
    view! {
        <div class="field">
            <label for=name>{label}</label>
            <select id=name name=name aria-invalid=wrong aria-describedby=why data-testid=format!("field-{name}")>
                {options.into_iter().map(|(value, label)| {
                    let selected = value == chosen;
                    view! { <option value=value selected=selected>{label}</option> }
                }).collect_view()}
            </select>
            <Refused name said=refused/>
        </div>
    }
}

#[component]
fn FormSelect(forms: &'static [&'static str], chosen: String, refused: Option<Sentence>) -> impl IntoView {
    let i18n = use_i18n();
    let named = |form: &&'static str| {
        let form = *form;
        let label = Signal::derive(move || {
            match form {
                "gguf" => t_string!(i18n, job_gguf),
                "gptq" => t_string!(i18n, job_gptq),
                "pytorch" => t_string!(i18n, job_pytorch),
                _ => t_string!(i18n, job_hf),
            }
            .to_owned()
        });
        (form.to_owned(), label)
    };
    let label = Signal::derive(move || t_string!(i18n, job_to).to_owned());
    view! { <Choice name="to" label options=forms.iter().map(named).collect() chosen refused/> }
}

#[component]
fn TypeSelect(
    /// Whether numbers may be rounded to blocks.
    rounded: bool,
    /// Whether they may stay as they are; otherwise they are to be rounded.
    keep: bool,
    chosen: String,
    refused: Option<Sentence>,
) -> impl IntoView {
    let i18n = use_i18n();
    const PLAIN: [(&str, u8); 3] = [("f32", 32), ("f16", 16), ("bf16", 16)];
    const ROUNDED: [(&str, u8); 5] = [("q4_k", 4), ("q4_0", 4), ("q4_1", 4), ("q6_k", 6), ("q8_0", 8)];
    let mut options: Vec<(String, Signal<String>)> = Vec::new();
    if keep {
        options.push((String::new(), Signal::derive(move || t_string!(i18n, job_as_is).to_owned())));
        options.extend(PLAIN.map(|(name, _)| (name.to_owned(), Signal::derive(move || name.to_uppercase()))));
    }
    if rounded {
        options.extend(ROUNDED.map(|(name, bits)| {
            let label = move || {
                let bits = fill(t_string!(i18n, job_bits), &[("bits", &bits)]);
                let only = if keep { t_string!(i18n, job_only_gguf) } else { "" };
                format!("{} · {bits}{only}", name.to_uppercase())
            };
            (name.to_owned(), Signal::derive(label))
        }));
    }
    let label = Signal::derive(move || t_string!(i18n, job_dtype).to_owned());
    view! { <Choice name="dtype" label options chosen refused/> }
}

/// Whether a GGUF file is written too, and what its numbers are stored as.
#[component]
fn GgufSelect(chosen: String, refused: Option<Sentence>) -> impl IntoView {
    let i18n = use_i18n();
    let mut options = vec![(String::new(), Signal::derive(move || t_string!(i18n, job_no_gguf).to_owned()))];
    options.extend(
        ["q4_k", "q6_k", "q8_0", "f16"].map(|name| (name.to_owned(), Signal::derive(move || name.to_uppercase()))),
    );
    let label = Signal::derive(move || t_string!(i18n, job_gguf_too).to_owned());
    view! { <Choice name="dtype" label options chosen refused/> }
}

#[component]
fn KnownSelect(names: Vec<String>, chosen: String, refused: Option<Sentence>) -> impl IntoView {
    let i18n = use_i18n();
    let mut options = vec![(String::new(), Signal::derive(move || t_string!(i18n, job_known_by_itself).to_owned()))];
    options.extend(names.into_iter().map(|name| (name.clone(), Signal::derive(move || name.clone()))));
    let label = Signal::derive(move || t_string!(i18n, job_known).to_owned());
    view! { <Choice name="known" label options chosen refused/> }
}

#[component]
fn PartSelect(chosen: String) -> impl IntoView {
    let i18n = use_i18n();
    let options = vec![
        (String::new(), Signal::derive(move || t_string!(i18n, job_part_both).to_owned())),
        ("base".to_owned(), Signal::derive(move || t_string!(i18n, job_part_base).to_owned())),
        ("adapter".to_owned(), Signal::derive(move || t_string!(i18n, job_part_adapter).to_owned())),
    ];
    let label = Signal::derive(move || t_string!(i18n, job_part).to_owned());
    view! { <Choice name="part" label options chosen refused=None/> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_entered_stands_in_the_address() {
        let request = JobRequest { input: "/a b/ü&x".into(), to: "hf".into(), ..JobRequest::new(Operation::Convert) };
        assert_eq!(form_path(&request), "/admin/weights?operation=convert&input=/a%20b/%C3%BC%26x&to=hf");
    }
}
