//! The original HTTP API, and the health check. Answers here are not kept as sessions.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use engine::{CancelHandle, EngineEvent, GenerateRequest, Outcome, SubmitError};
use protocol::{FinishReason, PARAMETERS, Parameters};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::AppState;

/// After how many seconds a refused caller may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// What is asked.
#[derive(Debug, Deserialize)]
struct GenerateCall {
    instruction: String,
    #[serde(default)]
    input: Option<String>,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
}

/// What is answered, whatever the status.
#[derive(Debug, Serialize)]
struct Generated {
    generated_text: String,
    num_output_tokens_cf: u32,
    error: Option<String>,
}

/// `POST /generate`: instruction and optional input in the prompt template, answered with the adapter of LoRA mode.
/// Closing the connection stops it.
pub async fn generate(State(state): State<AppState>, body: Bytes) -> Response {
    let (call, parameters) = match read(&body) {
        Ok(read) => read,
        Err(sentence) => return refused(StatusCode::BAD_REQUEST, sentence),
    };
    let pool = &state.studio.pool;
    let place = match pool.admit(1) {
        Ok(mut places) => places.pop(),
        Err(error) => return busy(&error.to_string()),
    };
    let adapter = pool.adapter();
    let manifest = adapter.as_ref().map(|a| &a.manifest);
    let prompt = extract::prompt::prompt(manifest, None, &call.instruction, call.input.as_deref());
    let request = GenerateRequest::new(prompt, adapter.map(|a| a.name), parameters);
    let (said, heard) = oneshot::channel();
    let mut said = Some(said);
    let sink = move |event| {
        let _place = &place;
        if let EngineEvent::Done(outcome) = event
            && let Some(said) = said.take()
        {
            // Fails only when the caller has gone.
            let _ = said.send(outcome);
        }
    };
    let generator = std::sync::Arc::clone(pool.generator());
    let submitted = tokio::task::spawn_blocking(move || {
        let handle = generator.submit(request, Box::new(sink))?;
        Ok::<_, SubmitError>(StopOnDrop(handle))
    });
    let _stop = match submitted.await {
        Ok(Ok(stop)) => stop,
        Ok(Err(error)) if error.is_busy() => return busy(&error.to_string()),
        Ok(Err(SubmitError::Stopping)) => {
            return refused(StatusCode::SERVICE_UNAVAILABLE, SubmitError::Stopping.to_string());
        }
        Ok(Err(error)) => return refused(StatusCode::BAD_REQUEST, error.to_string()),
        Err(_) => return refused(StatusCode::INTERNAL_SERVER_ERROR, "The request could not be queued.".into()),
    };
    match heard.await {
        Ok(outcome) => answered(outcome),
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "The model stopped without an answer.".into()),
    }
}

/// `GET /is_ready`: whether requests are taken.
pub async fn is_ready(State(state): State<AppState>) -> Json<bool> {
    // The server listens only once the model is loaded; it is not ready while it stops, nor while a broken model is
    // loaded again.
    Json(!*state.closing.borrow() && state.studio.pool.generator().is_ready())
}

/// `GET /health`: 200 while runs are computed, 503 while a broken model is loaded again.
pub async fn health(State(state): State<AppState>) -> (StatusCode, Json<Value>) {
    let ready = state.studio.pool.generator().is_ready();
    let (code, status) = if ready {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the model is being loaded again")
    };
    (code, Json(json!({ "status": status, "version": env!("CARGO_PKG_VERSION") })))
}

/// Stops a run whose caller has gone; one that has ended does not mind.
struct StopOnDrop(CancelHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn answered(outcome: Outcome) -> Response {
    let status = match outcome.finish_reason {
        FinishReason::Error => StatusCode::INTERNAL_SERVER_ERROR,
        FinishReason::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let interrupted = || "The server is stopping; this is the answer so far.".to_owned();
    let error = outcome.error.or_else(|| (outcome.finish_reason == FinishReason::Interrupted).then(interrupted));
    let body = Generated { generated_text: outcome.text, num_output_tokens_cf: outcome.completion_tokens, error };
    (status, Json(body)).into_response()
}

fn refused(status: StatusCode, sentence: String) -> Response {
    let body = Generated { generated_text: String::new(), num_output_tokens_cf: 0, error: Some(sentence) };
    (status, Json(body)).into_response()
}

fn busy(sentence: &str) -> Response {
    let mut response = refused(StatusCode::TOO_MANY_REQUESTS, sentence.to_owned());
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

fn read(body: &[u8]) -> Result<(GenerateCall, Parameters), String> {
    let call: GenerateCall = serde_json::from_slice(body).map_err(|e| {
        format!("The body must be JSON like {{\"instruction\": \"…\", \"input\": \"…\", \"parameters\": {{}}}}: {e}.")
    })?;
    if call.instruction.trim().is_empty() {
        return Err("The instruction is empty.".into());
    }
    let parameters = parameters(call.parameters.as_ref().unwrap_or(&Map::new()))?;
    Ok((call, parameters))
}

/// The original's defaults with what was given over them. Names that are not ours are ignored, as they were there.
fn parameters(given: &Map<String, Value>) -> Result<Parameters, String> {
    let mut parameters = Parameters { temperature: 1.0, max_new_tokens: 16, ..Parameters::neutral() };
    for (name, value) in given {
        let name = match name.as_str() {
            "max_tokens" => "max_new_tokens",
            "num_beams" => "beams",
            name => name,
        };
        match (name, value) {
            (_, Value::Null) => {}
            ("top_k", Value::Number(n)) if n.as_i64() == Some(-1) => parameters.top_k = 0,
            ("stop", Value::String(stop)) => parameters.stop = vec![stop.clone()],
            ("stop", Value::Array(stops)) => {
                parameters.stop = stops.iter().map(|s| s.as_str().unwrap_or_default().to_owned()).collect();
            }
            ("stop", _) => return Err("stop: must be a text or a list of texts".into()),
            (name, value) if PARAMETERS.iter().any(|spec| spec.name == name) => {
                parameters.set_text(name, &value.to_string()).map_err(|e| e.to_string())?;
            }
            _ => {}
        }
    }
    parameters.validate().map_err(|e| e.to_string())?;
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp)]
    use super::*;

    fn read_parameters(json: &str) -> Result<Parameters, String> {
        let body = format!(r#"{{"instruction": "Do", "parameters": {json}}}"#);
        read(body.as_bytes()).map(|(_, parameters)| parameters)
    }

    #[test]
    fn defaults_are_those_of_the_original() {
        let p = read_parameters("{}").unwrap();
        assert_eq!((p.temperature, p.top_p, p.top_k, p.max_new_tokens), (1.0, 1.0, 0, 16));
        assert!(read(br#"{"instruction": "Do"}"#).is_ok());
    }

    #[test]
    fn unknown_parameters_are_ignored_and_minus_one_switches_top_k_off() {
        let p = read_parameters(
            r#"{"top_k": -1, "max_tokens": 20, "temperature": 0, "stop": ["END"], "best_of": 2, "seed": 7}"#,
        );
        let p = p.unwrap();
        assert_eq!((p.top_k, p.max_new_tokens, p.temperature, p.seed), (0, 20, 0.0, Some(7)));
        assert_eq!(p.stop, ["END"]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_range() {
        assert!(read_parameters(r#"{"temperature": 7}"#).unwrap_err().contains("from 0 to 2"));
        assert!(read_parameters(r#"{"max_tokens": "many"}"#).unwrap_err().contains("whole number"));
        assert!(read_parameters(r#"{"stop": 3}"#).is_err());
        assert!(read(b"{}").unwrap_err().contains("instruction"));
        assert!(read(br#"{"instruction": " "}"#).unwrap_err().contains("empty"));
    }
}
