//! The forms of the page of model files. None of it needs scripts.

use app::services::{Owner, ServiceError};
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use protocol::job::{JobRequest, Operation};

use super::{
    AppState, Asker,
    forms::{Fields, failed, onward},
    plain,
};
use crate::jobs::{Act, NotBegun};

/// The page.
const PAGE: &str = "/admin/weights";
/// What was entered goes back to the page in its address, if it is not longer than browsers and proxies take.
const MAX_ADDRESS: usize = 6000;

/// `POST /admin/weights/start`: takes a job on and shows it; what cannot be meant as it is goes back to the form, where
/// it is checked again and the reason said.
pub async fn begin(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    body: Bytes,
) -> Response {
    let fields = Fields::read(&body);
    let mut request = JobRequest::new(Operation::from_name(fields.get("operation")).unwrap_or_default());
    for name in JobRequest::FIELDS {
        request.set(name, fields.get(name).trim());
    }
    match state.jobs.begin(owner, request.clone()).await {
        Ok(id) => Redirect::to(&format!("{PAGE}?job={id}")).into_response(),
        Err(NotBegun::Refused(refused)) => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("operation", request.operation.name());
            let entered = JobRequest::FIELDS.map(|name| (name, request.field(name)));
            let entered = entered.into_iter().filter(|(_, value)| !value.is_empty());
            let query = query.extend_pairs(entered.clone()).append_pair("entered", "on").finish();
            if query.len() <= MAX_ADDRESS {
                return Redirect::to(&format!("{PAGE}?{query}")).into_response();
            }
            let (language, typed) = (asker.language, entered.collect::<Vec<_>>());
            let sentence = refused.sentence.in_language(language);
            plain::refusal_with(StatusCode::BAD_REQUEST, language, sentence, &typed, PAGE)
        }
        Err(NotBegun::Failed(error)) => failed(asker, &error, PAGE),
    }
}

/// `POST /admin/weights/{id}/{act}`: stop, on or forget.
pub async fn act(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path((id, act)): Path<(String, String)>,
) -> Response {
    let act = Act::from_name(&act);
    let done = match act {
        Some(act) => state.jobs.act(owner, &id, act).await,
        None => Err(ServiceError::invalid("There is no such step.", "没有这个操作。")),
    };
    let page = if act == Some(Act::Forget) { PAGE.to_owned() } else { format!("{PAGE}?job={id}") };
    onward(asker, done.map(|()| page), PAGE)
}
