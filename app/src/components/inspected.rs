//! What a file or folder of weights holds, as tables: what it is, whether it fits here, and every tensor.

use leptos::prelude::*;
use protocol::job::{Inspected, MemoryNeed, ModelSizes, TensorGroup};

use super::amounts::{count, size};
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::fill,
};

/// The tables of an inspection.
#[component]
pub fn InspectedTables(found: Inspected) -> impl IntoView {
    let i18n = use_i18n();
    let stored: Vec<String> =
        found.stored.iter().map(|s| format!("{} {} ({})", count(s.numbers), s.element, size(s.bytes))).collect();
    let numbers = fill(
        t_string!(i18n, inspect_numbers),
        &[("numbers", &count(found.parameters)), ("tensors", &found.tensors), ("size", &size(found.bytes))],
    );
    let is_model = found.model.is_some();
    let tokenizer = match found.tokenizer {
        Some((kind, place, tokens)) => {
            let tokens = tokens.map(|n| fill(t_string!(i18n, inspect_tokens), &[("count", &n)]));
            Some([Some(kind), Some(place), tokens].into_iter().flatten().collect::<Vec<_>>().join(", "))
        }
        None => is_model.then(|| t_string!(i18n, inspect_no_tokenizer).to_owned()),
    };
    let adapter = found.adapter.map(|[base, rank, alpha, modules]| {
        let known = |text: String| if text.is_empty() { "–".to_owned() } else { text };
        fill(
            t_string!(i18n, inspect_adapter_of),
            &[("base", &known(base)), ("rank", &known(rank)), ("alpha", &known(alpha)), ("modules", &known(modules))],
        )
    });
    let (files, more_files) = (found.files, found.more_files);
    let (shown, all) = (found.memory, (found.machine, found.free));
    view! {
        <dl class="extra" data-testid="inspected">
            <div><dt>{t!(i18n, inspect_kind)}</dt><dd>{found.kind}</dd></div>
            <div><dt>{t!(i18n, inspect_parameters)}</dt><dd data-testid="parameters">{numbers}</dd></div>
            <div><dt>{t!(i18n, inspect_stored)}</dt><dd>{stored.join(", ")}</dd></div>
            {found.model.map(|model| view! { <div><dt>{t!(i18n, inspect_model)}</dt><dd>{sizes(&model, t_string!(i18n, inspect_sizes))}</dd></div> })}
            {adapter.map(|adapter| view! { <div><dt>{t!(i18n, inspect_adapter)}</dt><dd>{adapter}</dd></div> })}
            {tokenizer.map(|text| view! { <div><dt>{t!(i18n, inspect_tokenizer)}</dt><dd>{text}</dd></div> })}
        </dl>
        <Memory needs=shown machine=all/>
        {(files.len() > 1).then(|| view! {
            <details class="scored">
                <summary>{fill(t_string!(i18n, inspect_files), &[("count", &(files.len() + more_files))])}</summary>
                <div class="scroll"><table class="all tensors"><tbody>
                    {files.into_iter().map(|(name, bytes)| view! { <tr><th scope="row">{name}</th><td class="place">{size(bytes)}</td></tr> }).collect_view()}
                </tbody></table></div>
            </details>
        })}
        <Tensors groups=found.groups more=found.more/>
    }
}

/// A model's sizes in a line; what it does not tell is shown as a dash.
fn sizes(m: &ModelSizes, wording: &str) -> String {
    let known = |n: u64| if n == 0 { "–".to_owned() } else { n.to_string() };
    let (layers, hidden, inner, heads) = (known(m.layers), known(m.hidden), known(m.feed_forward), known(m.heads));
    let (kv, tokens, context) = (known(m.kv_heads), known(m.vocabulary), known(m.context));
    let values: [(&str, &dyn std::fmt::Display); 8] = [
        ("architecture", &m.architecture),
        ("layers", &layers),
        ("hidden", &hidden),
        ("inner", &inner),
        ("heads", &heads),
        ("kv", &kv),
        ("tokens", &tokens),
        ("context", &context),
    ];
    fill(wording, &values)
}

/// What it takes to run it, per way of loading.
#[component]
fn Memory(needs: Vec<MemoryNeed>, machine: (Option<u64>, Option<u64>)) -> impl IntoView {
    let i18n = use_i18n();
    let row = move |need: MemoryNeed| {
        let mode = match need.bits {
            None => t_string!(i18n, inspect_as_stored).to_owned(),
            Some(bits) => fill(t_string!(i18n, inspect_rounded), &[("bits", &bits)]),
        };
        let fits = need.fits.map(|fits| match fits {
            true => view! { <span class="state good">{t_string!(i18n, inspect_fits)}</span> },
            false => view! { <span class="state bad">{t_string!(i18n, inspect_fits_not)}</span> },
        });
        view! {
            <tr>
                <th scope="row">{mode}</th>
                <td class="place">{size(need.weights)}</td><td class="place">{size(need.context)}</td>
                <td class="place">{size(need.weights.saturating_add(need.context))}</td>
                <td>{fits}</td>
            </tr>
        }
    };
    let machine = match machine {
        (Some(all), Some(free)) => {
            Some(fill(t_string!(i18n, inspect_machine), &[("all", &size(all)), ("free", &size(free))]))
        }
        _ => None,
    };
    (!needs.is_empty()).then(|| {
        view! {
            <h3>{t!(i18n, inspect_memory)}</h3>
            <div class="scroll"><table class="all tensors" data-testid="memory">
                <thead><tr>
                    <th scope="col"></th><th scope="col">{t!(i18n, inspect_weights)}</th>
                    <th scope="col">{t!(i18n, inspect_context)}</th><th scope="col">{t!(i18n, inspect_sum)}</th><th scope="col"></th>
                </tr></thead>
                <tbody>{needs.into_iter().map(row).collect_view()}</tbody>
            </table></div>
            {machine.map(|text| view! { <p class="help">{text}</p> })}
        }
    })
}

/// The tensors; layers that are alike stand there once.
#[component]
fn Tensors(groups: Vec<TensorGroup>, more: usize) -> impl IntoView {
    let i18n = use_i18n();
    let shape = |shape: &[usize]| match shape {
        [] => "1".to_owned(),
        shape => shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × "),
    };
    let group = move |group: TensorGroup| {
        let bytes: u64 = group.tensors.iter().map(|t| t.bytes).sum();
        let title = group.layers.map(|layers| {
            let wording =
                if group.count > 1 { t_string!(i18n, inspect_layers) } else { t_string!(i18n, inspect_layer) };
            let text = fill(wording, &[("layers", &layers), ("count", &group.count), ("size", &size(bytes))]);
            view! { <tr class="group"><th colspan="4" scope="colgroup">{text}</th></tr> }
        });
        let rows = group.tensors.into_iter().map(|t| {
            view! {
                <tr data-testid="tensor">
                    <th scope="row">{t.name}</th><td class="place">{shape(&t.shape)}</td>
                    <td>{t.element}</td><td class="place">{size(t.bytes)}</td>
                </tr>
            }
        });
        view! { {title} {rows.collect_view()} }
    };
    view! {
        <h3>{t!(i18n, inspect_tensors)}</h3>
        <div class="scroll"><table class="all tensors" data-testid="tensors">
            <thead><tr>
                <th scope="col">{t!(i18n, inspect_name)}</th><th scope="col">{t!(i18n, inspect_shape)}</th>
                <th scope="col">{t!(i18n, inspect_type)}</th><th scope="col">{t!(i18n, inspect_size)}</th>
            </tr></thead>
            <tbody>{groups.into_iter().map(group).collect_view()}</tbody>
        </table></div>
        {(more > 0).then(|| view! { <p class="muted">{fill(t_string!(i18n, list_more), &[("count", &more)])}</p> })}
    }
}
