//! What came of a job: a model that was written, what rounding cost, files that are right or wrong, what a file holds.

use leptos::prelude::*;
use protocol::job::{FetchedFile, FileState, JobRequest, Measured, Operation, Outcome, Quantized, Verified, Written};

use super::{amounts::size, inspected::InspectedTables, job_form::form_path};
use crate::{
    i18n::{t, t_string, use_i18n},
    prefs::fill,
};

/// The result of a job.
#[component]
pub fn JobResult(outcome: Outcome) -> impl IntoView {
    match outcome {
        Outcome::Written(written) => view! { <WrittenModel written/> }.into_any(),
        Outcome::Quantized(quantized) => view! { <Cost quantized=*quantized/> }.into_any(),
        Outcome::Verified(found) => view! { <Files found/> }.into_any(),
        Outcome::Inspected(found) => view! { <InspectedTables found=*found/> }.into_any(),
        Outcome::Fetched(files) => view! { <Fetched files/> }.into_any(),
        Outcome::Scored(measured) => view! { <Score measured/> }.into_any(),
    }
}

/// A button that begins an operation that needs nothing but a file.
#[component]
pub fn AtOnce(operation: Operation, input: String) -> impl IntoView {
    let i18n = use_i18n();
    let label = move || match operation {
        Operation::Verify => t_string!(i18n, op_verify),
        _ => t_string!(i18n, op_inspect),
    };
    view! {
        <form method="post" action="/admin/weights/start">
            <input type="hidden" name="operation" value=operation.name()/>
            <input type="hidden" name="input" value=input/>
            <button class="quiet" data-testid=format!("{}-it", operation.name())>{label}</button>
        </form>
    }
}

/// Where a model lies, and how it is told from any other.
#[component]
fn WrittenModel(written: Written) -> impl IntoView {
    let i18n = use_i18n();
    let (tensors, bytes) = (written.tensors, size(written.bytes));
    let counts = fill(t_string!(i18n, job_tensors_size), &[("count", &tensors), ("size", &bytes)]);
    let known = written.known.map(|title| fill(t_string!(i18n, job_sum_known), &[("title", &title)]));
    let path = written.path;
    let quantize = form_path(&JobRequest { input: path.clone(), ..JobRequest::new(Operation::Quantize) });
    view! {
        <dl class="extra" data-testid="written">
            <div><dt>{t!(i18n, job_lies)}</dt><dd data-testid="result-path">{path.clone()}</dd></div>
            <div><dt>{t!(i18n, job_holds)}</dt><dd>{counts}</dd></div>
            {written.sum.map(|sum| view! { <div><dt>{t!(i18n, job_sum)}</dt><dd>{format!("{sum:.4}")} " " {known}</dd></div> })}
            <div>
                <dt>{t!(i18n, job_manifest)}</dt>
                <dd>{written.manifest} <br/> "SHA-256 " <code data-testid="manifest-sha256">{written.manifest_sha256}</code></dd>
            </div>
            <div><dt>{t!(i18n, job_serve)}</dt><dd><code>{format!("knowlm serve --model '{path}'")}</code></dd></div>
        </dl>
        <div class="buttons">
            <AtOnce operation=Operation::Inspect input=path.clone()/>
            <AtOnce operation=Operation::Verify input=path/>
            <a class="button quiet" href=quantize data-testid="quantize-it">{t!(i18n, op_quantize)}</a>
        </div>
    }
}

/// What rounding cost.
#[component]
fn Cost(quantized: Quantized) -> impl IntoView {
    let i18n = use_i18n();
    let Quantized {
        written,
        dtype,
        bytes_before,
        bytes_after,
        layers,
        worst,
        outputs,
        calibration_tokens,
        before,
        after,
    } = quantized;
    let sizes = fill(
        t_string!(i18n, job_smaller),
        &[("dtype", &dtype), ("after", &size(bytes_after)), ("before", &size(bytes_before))],
    );
    let measured = |m: Measured| format!("{:.4} ± {:.4}", m.value, m.error);
    let change = before.zip(after).map(|(b, a)| format!("{:+.2} %", (a.value / b.value - 1.0) * 100.0));
    let perplexity = (before.is_some() || after.is_some()).then(|| {
        view! {
            <div class="scroll">
                <table class="headline" data-testid="perplexity">
                    <thead><tr>
                        <th scope="col"></th><th scope="col">{t!(i18n, job_before_it)}</th>
                        <th scope="col">{t!(i18n, job_after_it)}</th><th scope="col">{t!(i18n, job_change)}</th>
                    </tr></thead>
                    <tbody><tr>
                        <th scope="row">{t!(i18n, job_perplexity)}</th>
                        <td>{before.map(measured)}</td><td>{after.map(measured)}</td><td>{change}</td>
                    </tr></tbody>
                </table>
            </div>
        }
    });
    let most = layers.iter().filter_map(|(_, error)| *error).fold(0.0, f64::max);
    let layer = move |(layer, error): (Option<u64>, Option<f64>)| {
        let name = match layer {
            Some(layer) => fill(t_string!(i18n, job_layer), &[("layer", &layer)]),
            None => t_string!(i18n, job_no_layer).to_owned(),
        };
        let share = error.filter(|_| most > 0.0).map_or(0.0, |error| error / most);
        view! {
            <tr>
                <th scope="row">{name}</th>
                <td class="place">{error.map_or_else(|| "–".to_owned(), |error| format!("{error:.5}"))}</td>
                <td class="bar"><meter min="0" max="1" value=format!("{share:.3}") aria-hidden="true"></meter></td>
            </tr>
        }
    };
    let worst = worst.map(|(name, element, error)| {
        fill(t_string!(i18n, job_worst), &[("name", &name), ("dtype", &element), ("error", &format!("{error:.5}"))])
    });
    let outputs = (!outputs.is_empty()).then(|| {
        let row = move |(layer, error, plain): (usize, f64, f64)| {
            let name = fill(t_string!(i18n, job_layer), &[("layer", &layer)]);
            view! {
                <tr>
                    <th scope="row">{name}</th>
                    <td class="place">{format!("{error:.5}")}</td>
                    <td class="place">{format!("{plain:.5}")}</td>
                </tr>
            }
        };
        let help = fill(t_string!(i18n, job_outputs_help), &[("count", &calibration_tokens)]);
        view! {
            <details class="scored" data-testid="outputs" open>
                <summary>{t!(i18n, job_outputs)}</summary>
                <p class="help">{help}</p>
                <div class="scroll"><table class="all tensors">
                    <thead><tr>
                        <th scope="col"></th><th scope="col">"GPTQ"</th><th scope="col">{t!(i18n, job_plain_rounding)}</th>
                    </tr></thead>
                    <tbody>{outputs.into_iter().map(row).collect_view()}</tbody>
                </table></div>
            </details>
        }
    });
    view! {
        <p data-testid="smaller">{sizes}</p>
        {perplexity}
        <WrittenModel written/>
        {outputs}
        <details class="scored" data-testid="layers">
            <summary>{t!(i18n, job_layers)}</summary>
            <p class="help">{t!(i18n, job_layers_help)} " " {worst}</p>
            <div class="scroll"><table class="all tensors"><tbody>{layers.into_iter().map(layer).collect_view()}</tbody></table></div>
        </details>
    }
}

/// How well a model foretells a text.
#[component]
fn Score(measured: Measured) -> impl IntoView {
    let i18n = use_i18n();
    let Measured { value, error, tokens } = measured;
    view! {
        <dl class="extra" data-testid="score">
            <div><dt>{t!(i18n, job_perplexity)}</dt><dd>{format!("{value:.4} ± {error:.4}")}</dd></div>
            <div><dt>{t!(i18n, job_scored)}</dt><dd>{tokens}</dd></div>
        </dl>
    }
}

/// Files, right or wrong; what is wrong and how to put it right stands first.
#[component]
fn Files(found: Verified) -> impl IntoView {
    let i18n = use_i18n();
    let fetch = found.known_as.clone().map(|name| {
        let path = form_path(&JobRequest { input: name.clone(), ..JobRequest::new(Operation::Download) });
        (name, path)
    });
    let known = fetch.clone().map(|(name, _)| fill(t_string!(i18n, verify_known), &[("name", &name)]));
    let again = fetch.filter(|_| !found.ok).map(|(name, path)| {
        view! { <p><a class="button" href=path>{fill(t_string!(i18n, verify_again), &[("name", &name)])}</a></p> }
    });
    let tensors = found.tensors.map(|(right, all, manifest)| {
        fill(t_string!(i18n, verify_tensors), &[("right", &right), ("all", &all), ("manifest", &manifest)])
    });
    let file = move |file: protocol::job::VerifiedFile| {
        let (class, state) = match file.state {
            FileState::Right => ("state good", t_string!(i18n, verify_right)),
            FileState::Readable => ("state", t_string!(i18n, verify_readable)),
            FileState::Wrong => ("state bad", t_string!(i18n, verify_wrong)),
            FileState::Missing => ("state bad", t_string!(i18n, verify_missing)),
        };
        view! {
            <tr data-testid="verified-file">
                <th scope="row">{file.file}</th>
                <td><span class=class>{state}</span></td>
                <td class="place">{file.bytes.map(size)}</td>
                <td class="place">{file.by}</td>
            </tr>
        }
    };
    let more = (found.more > 0).then(|| fill(t_string!(i18n, list_more), &[("count", &found.more)]));
    view! {
        <p data-testid="verdict" class=if found.ok { "notice good" } else { "notice error" }>
            {if found.ok { t_string!(i18n, verify_ok) } else { t_string!(i18n, verify_not_ok) }} " " {known}
        </p>
        <ul class="problems" data-testid="problems">
            {found.problems.into_iter().map(|problem| view! {
                <li class="notice error">
                    <strong>{problem.file}</strong> {problem.tensor.map(|tensor| format!(" · {tensor}"))} ": " {problem.what}
                    <p class="muted">{problem.remedy}</p>
                </li>
            }).collect_view()}
        </ul>
        {more.map(|more| view! { <p class="muted">{more}</p> })}
        {again}
        {tensors.map(|tensors| view! { <p data-testid="verified-tensors">{tensors}</p> })}
        <div class="scroll"><table class="all tensors"><tbody>{found.files.into_iter().map(file).collect_view()}</tbody></table></div>
    }
}

/// Files that came.
#[component]
fn Fetched(files: Vec<FetchedFile>) -> impl IntoView {
    let i18n = use_i18n();
    let file = move |file: FetchedFile| {
        let state = if file.was_there { t_string!(i18n, fetched_before) } else { t_string!(i18n, fetched_now) };
        view! {
            <tr data-testid="fetched-file">
                <th scope="row">{file.path}</th>
                <td class="place">{size(file.bytes)}</td>
                <td>{state} {file.checked.then(|| format!(" · {}", t_string!(i18n, fetched_checked)))}</td>
            </tr>
        }
    };
    view! { <div class="scroll"><table class="all tensors"><tbody>{files.into_iter().map(file).collect_view()}</tbody></table></div> }
}
