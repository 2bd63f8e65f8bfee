//! The pages' forms for browsers without scripts, and downloads. With scripts the pages call server functions instead.

use app::services::{Owner, ServiceError, Services};
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use protocol::{
    AdapterManifest, Ask, Asking, EventPart, Format, Language, PARAMETERS, SchemaChoice, Sentence, StartRuns, Task,
    view::{NamedSchema, Page, Snapshot},
};
use tokio::sync::Semaphore;

use super::{AppState, Asker, plain, site};
use crate::pool::{refused_by_store, refused_parameter};

/// Sessions that are drawn as files at a time.
static DRAWING: Semaphore = Semaphore::const_new(2);

/// The fields of a form; a name may come several times.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Line breaks are what they were before the browser sent them.
    pub(super) fn read(body: &[u8]) -> Self {
        let fields = form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n")));
        Self(fields.collect())
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, v)| n == name && !v.trim().is_empty()).map(|(_, v)| v.clone()).collect()
    }

    /// What a person has written, with names for people.
    fn typed(&self, language: Language) -> Vec<(&'static str, &str)> {
        let names = [("prompt", "Prompt", "提示"), ("instruction", "Instruction", "指令"), ("input", "Text", "文本")];
        let typed = names.map(|(name, en, zh)| (language.pick(en, zh), self.get(name)));
        typed.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }

    fn ask(&self, page: Page, manifest: Option<&AdapterManifest>, whole: Option<NamedSchema>) -> Ask {
        let input = self.get("input");
        let texts = || match self.get("split") {
            "on" => extract::text::split_texts(input),
            _ => vec![input.to_owned()],
        };
        // The wording that the page was drawn with goes out of date with the first chip that is changed: it is made
        // again from the chips. What a person has written stays.
        let drawn = self.get("instruction") == self.get("instruction_made") && self.schema(manifest).is_some();
        let instruction = || if drawn { String::new() } else { self.get("instruction").to_owned() };
        match page {
            Page::Complete => Ask::Complete { prompt: self.get("prompt").to_owned() },
            Page::Extract | Page::Compare if whole.is_some() => {
                let compare = page == Page::Compare;
                Ask::Schema { schema: whole.unwrap_or_default(), texts: texts(), compare, asking: self.asking() }
            }
            Page::Extract => Ask::Extract { instruction: instruction(), texts: texts(), schema: self.schema(manifest) },
            Page::Compare => Ask::Compare {
                instruction: instruction(),
                texts: texts(),
                schema: self.schema(manifest),
                raw_base: self.has("raw_base"),
            },
        }
    }

    /// The answer format, the part of events, and the instructions that a person has changed.
    pub(super) fn asking(&self) -> Asking {
        let all = |name| self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.clone());
        let instructions = all("question_made").zip(all("question"));
        Asking {
            instructions: instructions.filter(|(made, own)| made != own).collect(),
            format: Format::from_name(self.get("format")),
            only: EventPart::from_name(self.get("event_part")),
            with_examples: self.has("with_examples"),
            ..Asking::default()
        }
    }

    /// What the chips ask for. Without scripts the types cannot follow when another task or language is chosen: where
    /// none of them was taught for it, the first schema taught for it stands in.
    fn schema(&self, manifest: Option<&AdapterManifest>) -> Option<SchemaChoice> {
        let types = self.all("types");
        let task = Task::from_code(self.get("task"))?;
        let language =
            Language::from_code(self.get("language")).unwrap_or_else(|| Language::of_text(self.get("input")));
        let choice = (!types.is_empty()).then(|| SchemaChoice {
            task,
            language,
            types,
            roles: self.all("roles"),
            asking: self.asking().of(task),
        })?;
        let first = manifest.into_iter().flat_map(|m| &m.taught).find(|t| t.task == task && t.language == language);
        match first {
            Some(taught) if !extract::prompt::taught(manifest, &choice).types.contains(&true) => {
                Some(SchemaChoice { types: taught.types.clone(), roles: taught.roles.clone(), ..choice })
            }
            _ => Some(choice),
        }
    }
}

/// `POST /run`: starts runs and shows their session. One that cannot be run is kept there too, with the reason, so that
/// nothing typed is lost.
pub async fn run(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    body: Bytes,
) -> Response {
    let fields = Fields::read(&body);
    let page = Page::from_name(fields.get("page")).unwrap_or(Page::Extract);
    let chosen = Some(fields.get("adapter").to_owned()).filter(|name| !name.is_empty());
    let mut parameters = match page {
        Page::Complete => state.studio.defaults(None).pretrain,
        Page::Extract | Page::Compare => {
            state.studio.defaults(state.studio.pool.adapter_named(chosen.as_deref()).as_ref()).lora
        }
    };
    let mut refused = None;
    for spec in PARAMETERS {
        let name = format!("param-{}", spec.flag());
        if fields.has(&name)
            && let Err(error) = parameters.set_text(spec.name, fields.get(&name))
        {
            refused.get_or_insert(refused_parameter(&error));
        }
    }
    let session = Some(fields.get("session").to_owned()).filter(|s| !s.is_empty());
    let pool = &state.studio.pool;
    let adapter = pool.adapter_named(chosen.as_deref());
    let whole = match fields.get("task") {
        "all" => match state.studio.schema(owner, fields.get("schema")).await {
            Ok((schema, _)) => Some(schema.named(asker.language)),
            // It was deleted meanwhile: what was typed goes back to the person.
            Err(error) => return refused_with(&fields, asker.language, &error, page),
        },
        _ => None,
    };
    let ask = fields.ask(page, adapter.as_ref().map(|a| &a.manifest), whole);
    let mut request = StartRuns { session, ask, adapter: chosen, parameters, language: asker.language };

    let mut started = match refused {
        Some(error) => Err(error),
        None => pool.run(owner, request.clone()).await,
    };
    if matches!(started, Err(ServiceError::NotFound(_))) {
        // The session was deleted meanwhile: what was typed opens a new one.
        request.session = None;
        started = pool.run(owner, request.clone()).await;
    }
    if let Err(error @ (ServiceError::Invalid(_) | ServiceError::Busy { .. })) = &started {
        started = pool.keep_refused(owner, request, error).await;
    }
    match started {
        Ok(started) => Redirect::to(&format!("/sessions/{}", started.session)).into_response(),
        // What could not even be kept goes back to the person.
        Err(error) => refused_with(&fields, asker.language, &error, page),
    }
}

/// A refusal that gives back what was typed.
fn refused_with(fields: &Fields, language: Language, error: &ServiceError, page: Page) -> Response {
    let typed = fields.typed(language);
    plain::refusal_with(status_of(error), language, &error.sentence(language), &typed, page.path())
}

/// `POST /runs/{id}/stop`: stops a run and shows its session.
pub async fn stop(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
) -> Response {
    let run = state.studio.run(owner, &id).await;
    let stopped = run.map(|run| {
        state.studio.pool.stop(owner, &id);
        format!("/sessions/{}", run.session)
    });
    onward(asker, stopped, "/sessions")
}

/// `POST /extractions/{id}/stop`: stops the runs of an extraction and shows its session.
pub async fn stop_extraction(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
) -> Response {
    let unfinished = state.studio.store.unfinished(owner.0, &id).await.map_err(refused_by_store);
    let stopped = unfinished.map(|(session, runs)| {
        runs.iter().for_each(|run| state.studio.pool.stop(owner, run));
        format!("/sessions/{session}")
    });
    onward(asker, stopped, "/sessions")
}

/// `POST /extractions/{id}/missing`: asks the parts of an extraction again that have no answer, and shows its session.
pub async fn ask_missing(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
) -> Response {
    let asked = state.studio.pool.ask_missing(owner, &id, asker.language).await;
    onward(asker, asked.map(|(session, _)| format!("/sessions/{session}")), "/sessions")
}

/// `GET /sessions/{id}/export.html`: the session as one file that needs nothing else.
pub async fn export(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
) -> Response {
    // A long session takes a while to draw, and much memory.
    let _place = DRAWING.acquire().await;
    let snapshot: Snapshot = match state.studio.preview(owner, &id).await {
        Ok(snapshot) => snapshot,
        Err(error) => return failed(asker, &error, "/sessions"),
    };
    let title = attachment(SESSION, &snapshot.session.title, "html");
    let root = state.leptos.site_root.to_string();
    let language = asker.language;
    // Not on the threads that serve.
    let draw = move || app::export::snapshot_html(snapshot, &site::stylesheet(&root), language);
    match tokio::task::spawn_blocking(draw).await {
        Ok(html) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
                (header::CONTENT_DISPOSITION, title),
            ];
            (headers, html).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a session could not be drawn");
            let sentence = Sentence::new(
                "The file could not be made; the server's log says why. Try again.",
                "无法生成文件，原因见服务器日志。请重试。",
            );
            failed(asker, &ServiceError::Internal(sentence), "/sessions")
        }
    }
}

/// The plain name of a session's downloads.
pub(super) const SESSION: &str = "knowlm-session";

/// The header of a download: its title in full for browsers that read RFC 8187, a plain name for others.
pub(super) fn attachment(plain: &str, title: &str, ending: &str) -> HeaderValue {
    let name: String = form_urlencoded::byte_serialize(title.as_bytes()).collect();
    let name = name.replace('+', "%20").replace('*', "%2A");
    let disposition = format!("attachment; filename=\"{plain}.{ending}\"; filename*=UTF-8''{name}.{ending}");
    HeaderValue::from_str(&disposition).unwrap_or(HeaderValue::from_static("attachment"))
}

/// `POST /prefs`: language and theme, remembered in cookies; back to where the form was.
pub async fn prefs(headers: HeaderMap, body: Bytes) -> Response {
    let fields = Fields::read(&body);
    let known: [(&str, &[&str]); 2] = [("lang", &["en", "zh"]), ("theme", &["light", "dark", "system"])];
    let mut response = Redirect::to(&referring_path(&headers)).into_response();
    for (name, values) in known {
        if let Some(value) = values.iter().find(|v| **v == fields.get(name)) {
            let cookie = format!("{name}={value}; Path=/; Max-Age=31536000; SameSite=Lax");
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
    }
    response
}

/// The path of the page that a form was on, if it is ours.
fn referring_path(headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let uri = text(header::REFERER).and_then(|r| r.parse::<Uri>().ok());
    let ours = uri.filter(|u| u.authority().map(axum::http::uri::Authority::as_str) == text(header::HOST));
    let path = ours.and_then(|u| u.path_and_query().map(|p| p.as_str().to_owned()));
    path.filter(|p| is_own_path(p)).unwrap_or_else(|| "/".into())
}

/// Whether an address to go to stays on this server.
pub fn is_own_path(path: &str) -> bool {
    // Browsers leave tabs and line breaks out of an address and take a backslash for a slash: `/<tab>/host` is `//host`.
    path.starts_with('/') && !path.starts_with("//") && !path.contains(|c: char| c == '\\' || c.is_control())
}

/// The address that the asker of a form uses, as its `Host` header tells it.
pub(super) fn origin(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    format!("http://{host}")
}

/// Leads on to a path, or says why that cannot be, with the way `back`.
pub(super) fn onward(asker: Asker, to: Result<String, ServiceError>, back: &str) -> Response {
    match to {
        Ok(path) => Redirect::to(&path).into_response(),
        Err(error) => failed(asker, &error, back),
    }
}

/// Says what went wrong, with the way `back`.
pub(super) fn failed(asker: Asker, error: &ServiceError, back: &str) -> Response {
    plain::refusal(status_of(error), asker.language, &error.sentence(asker.language), back)
}

/// The status of an answer that says so.
pub fn status_of(error: &ServiceError) -> StatusCode {
    match error {
        ServiceError::Invalid(_) => StatusCode::BAD_REQUEST,
        ServiceError::NotFound(_) => StatusCode::NOT_FOUND,
        ServiceError::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
        ServiceError::Internal(_) | ServiceError::Unreachable => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_form_is_read_with_repeated_names_and_plain_line_breaks() {
        let fields =
            Fields::read(b"page=extract&task=ner&types=a&types=b+c&types=&input=x%0D%0Ay&split=on&language=zh");
        let Ask::Extract { texts, schema, instruction } = fields.ask(Page::Extract, None, None) else {
            panic!("not an extraction")
        };
        assert_eq!(texts, ["x", "y"]);
        assert_eq!(instruction, "");
        let schema = schema.unwrap();
        assert_eq!((schema.types, schema.language), (vec!["a".to_owned(), "b c".to_owned()], Language::Zh));
    }

    #[test]
    fn a_free_instruction_has_no_schema() {
        let fields = Fields::read(b"instruction=Do&input=x&raw_base=on&task=ner");
        let Ask::Compare { schema, raw_base, .. } = fields.ask(Page::Compare, None, None) else {
            panic!("not a comparison")
        };
        assert_eq!((schema, raw_base), (None, true));
    }

    #[test]
    fn an_instruction_is_made_again_from_changed_chips_unless_a_person_wrote_it() {
        let ask = |body: &[u8]| match Fields::read(body).ask(Page::Extract, None, None) {
            Ask::Extract { instruction, texts, .. } => (instruction, texts.len()),
            _ => panic!("not an extraction"),
        };
        let drawn = b"task=ner&types=a&instruction=List&instruction_made=List&input=x%0Ay&split=off";
        assert_eq!(ask(drawn), (String::new(), 1));
        assert_eq!(ask(b"task=ner&types=a&instruction=Mine&instruction_made=List&input=x").0, "Mine");
        assert_eq!(ask(b"instruction=Do&instruction_made=Do&input=x").0, "Do", "without chips it is all there is");
    }

    #[test]
    fn instructions_of_a_whole_schema_that_were_changed_are_asked_and_no_others() {
        let body = b"task=all&question_made=A&question=&question_made=B&question=Mine&question_made=C&question=C";
        let asking = Fields::read(body).asking();
        assert_eq!(asking.instructions, [("A".into(), String::new()), ("B".into(), "Mine".into())].into());
        assert_eq!(asking.wording("A".into()), "A", "an emptied box asks as before");
    }

    #[test]
    fn types_that_cannot_follow_the_task_are_replaced_by_taught_ones() {
        let manifest = checkpoint::find::assets_dir().unwrap().join("adapters/ie-smollm2");
        let manifest = checkpoint::adapter::read_manifest(&manifest).unwrap();
        let schema = |body: &[u8]| Fields::read(body).schema(Some(&manifest)).unwrap().types;
        assert!(schema(b"task=ee&language=en&types=person&types=location").contains(&"adverse event".to_owned()));
        assert_eq!(schema(b"task=ner&language=en&types=person&types=brand"), ["person", "brand"]);
    }

    #[test]
    fn what_a_person_wrote_can_be_given_back() {
        let fields = Fields::read(b"instruction=Do&input=%0D%0Ax&prompt=&types=a");
        assert_eq!(fields.typed(Language::Zh), [("指令", "Do"), ("文本", "\nx")]);
    }

    #[test]
    fn only_plain_paths_stay_on_this_server() {
        for ours in ["/", "/lora", "/sessions?search=中文", "/sessions/a#b"] {
            assert!(is_own_path(ours), "{ours}");
        }
        for other in
            ["", "lora", "//evil.example", "/\\evil.example", "/\t/evil.example", "/\n/evil", "/\r/evil", "/\0"]
        {
            assert!(!is_own_path(other), "{other:?}");
        }
    }

    #[test]
    fn a_form_leads_back_to_a_page_of_ours_only() {
        let path = |referer: &str| {
            let headers = [(header::HOST, "localhost:7860"), (header::REFERER, referer)];
            referring_path(&headers.into_iter().map(|(n, v)| (n, v.parse().unwrap())).collect())
        };
        assert_eq!(path("http://localhost:7860/sessions?search=a"), "/sessions?search=a");
        assert_eq!(path("http://evil.example/sessions"), "/");
        assert_eq!(path("http://localhost:7860//evil.example"), "/");
    }
}
