//! The pages of logins: plain forms that need no scripts.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use protocol::Language;

use super::{Auth, AuthSession, FIRST_OWNER, Login, backend::Credentials};
use crate::{
    http::{AppState, Asker, is_own_path, plain},
    links::hash,
};

/// The shortest password, and the longest name and password, in code points.
const MIN_PASSWORD: usize = 8;
const MAX_PASSWORD: usize = 1000;
const MAX_NAME: usize = 200;

fn field(form: &[u8], name: &str) -> String {
    form_urlencoded::parse(form).find(|(n, _)| n == name).map(|(_, v)| v.into_owned()).unwrap_or_default()
}

/// Where to go after logging in.
fn next_of(form: &[u8]) -> String {
    Some(field(form, "next")).filter(|n| is_own_path(n)).unwrap_or_else(|| "/".into())
}

fn login(state: &AppState) -> Option<&Login> {
    match &*state.auth {
        Auth::Login(login) => Some(login),
        Auth::None => None,
    }
}

/// `GET /login`.
pub async fn login_page(asker: Asker, auth: AuthSession, RawQuery(query): RawQuery) -> Response {
    let next = next_of(query.unwrap_or_default().as_bytes());
    if auth.user.is_some() {
        return Redirect::to(&next).into_response();
    }
    login_form(StatusCode::OK, asker.language, &next, "", None)
}

fn login_form(status: StatusCode, language: Language, next: &str, name: &str, notice: Option<&str>) -> Response {
    let body = format!(
        "{}<form method=\"post\" action=\"/login\" class=\"login\">\n\
         <input type=\"hidden\" name=\"next\" value=\"{}\">\n\
         <label>{}<input name=\"name\" autocomplete=\"username\" required autofocus value=\"{}\"></label>\n\
         <label>{}<input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\n\
         <button class=\"primary\">{}</button>\n</form>",
        notice_html(notice),
        plain::escape(next),
        language.pick("Name", "名称"),
        plain::escape(name),
        language.pick("Password", "密码"),
        language.pick("Log in", "登录"),
    );
    plain::page(status, language, language.pick("Log in", "登录"), &body)
}

fn notice_html(notice: Option<&str>) -> String {
    notice.map(|n| format!("<p class=\"notice warn\" role=\"alert\">{}</p>\n", plain::escape(n))).unwrap_or_default()
}

/// `POST /login`.
pub async fn log_in(State(state): State<AppState>, asker: Asker, mut auth: AuthSession, body: Bytes) -> Response {
    let Some(login) = login(&state) else { return Redirect::to("/").into_response() };
    let language = asker.language;
    let (name, password, next) = (field(&body, "name").trim().to_owned(), field(&body, "password"), next_of(&body));
    let wrong = language.pick("Name and password do not fit together.", "名称或密码不正确。");
    if name.chars().count() > MAX_NAME || password.chars().count() > MAX_PASSWORD {
        // Nobody's: none can be set up.
        return login_form(StatusCode::UNAUTHORIZED, language, &next, "", Some(wrong));
    }
    let Ok(turn) = Arc::clone(&login.hashing).try_acquire_owned() else {
        let notice =
            language.pick("Others are logging in right now: try again in a moment.", "当前登录请求较多，请稍后再试。");
        return login_form(StatusCode::TOO_MANY_REQUESTS, language, &next, &name, Some(notice));
    };
    if let Some(wait) = login.attempts.wait(&name, Instant::now()) {
        let seconds = wait.as_secs() + 1;
        let notice = match language {
            Language::En => format!("Too many wrong passwords: wait {seconds} seconds, then try again."),
            Language::Zh => format!("密码错误次数过多：请等待 {seconds} 秒后再试。"),
        };
        return login_form(StatusCode::TOO_MANY_REQUESTS, language, &next, &name, Some(&notice));
    }
    let given = Credentials { name: name.clone(), password, turn };
    match auth.authenticate(given).await {
        Ok(Some(user)) => match auth.login(&user).await {
            Ok(()) => {
                login.attempts.succeeded(&name);
                Redirect::to(&next).into_response()
            }
            Err(error) => broken(language, &error),
        },
        Ok(None) => login_form(StatusCode::UNAUTHORIZED, language, &next, &name, Some(wrong)),
        Err(error) => broken(language, &error),
    }
}

/// `POST /logout`.
pub async fn log_out(asker: Asker, mut auth: AuthSession) -> Response {
    match auth.logout().await {
        Ok(_) => Redirect::to("/login").into_response(),
        Err(error) => broken(asker.language, &error),
    }
}

/// `GET /setup?token=…`.
pub async fn setup_page(State(state): State<AppState>, asker: Asker, RawQuery(query): RawQuery) -> Response {
    let token = field(query.unwrap_or_default().as_bytes(), "token");
    if !login(&state).is_some_and(|login| login.is_setup_token(&token)) {
        return used_up(asker.language);
    }
    setup_form(StatusCode::OK, asker.language, &token, "", None)
}

fn setup_form(status: StatusCode, language: Language, token: &str, name: &str, notice: Option<&str>) -> Response {
    let body = format!(
        "<p>{}</p>\n{}<form method=\"post\" action=\"/setup\" class=\"login\">\n\
         <input type=\"hidden\" name=\"token\" value=\"{}\">\n\
         <label>{}<input name=\"name\" autocomplete=\"username\" required maxlength=\"{MAX_NAME}\" autofocus value=\"{}\"></label>\n\
         <label>{}<input name=\"password\" type=\"password\" autocomplete=\"new-password\" required minlength=\"{MIN_PASSWORD}\"></label>\n\
         <button class=\"primary\">{}</button>\n</form>",
        language.pick(
            "This link works once. Choose the name and the password you will log in with.",
            "此链接只能使用一次。请设置登录用的名称和密码。"
        ),
        notice_html(notice),
        plain::escape(token),
        language.pick("Name", "名称"),
        plain::escape(name),
        language.pick("Password, 8 characters or more", "密码（至少 8 个字符）"),
        language.pick("Set up", "完成设置"),
    );
    plain::page(status, language, language.pick("Set up KnowLM Studio", "设置 KnowLM Studio"), &body)
}

/// `POST /setup`.
pub async fn set_up(State(state): State<AppState>, asker: Asker, mut auth: AuthSession, body: Bytes) -> Response {
    let language = asker.language;
    let Some(login) = login(&state) else { return Redirect::to("/").into_response() };
    let (token, name, password) =
        (field(&body, "token"), field(&body, "name").trim().to_owned(), field(&body, "password"));
    if !login.is_setup_token(&token) {
        return used_up(language);
    }
    let notice = if name.is_empty() || name.chars().count() > MAX_NAME {
        language.pick("The name needs 1 to 200 characters.", "名称须为 1 到 200 个字符。")
    } else if !(MIN_PASSWORD..=MAX_PASSWORD).contains(&password.chars().count()) {
        language.pick("The password needs 8 to 1000 characters.", "密码须为 8 到 1000 个字符。")
    } else {
        match login.backend.set_first_password(FIRST_OWNER.0, &name, password).await {
            Ok(Some(user)) => {
                login.use_up();
                return match auth.login(&user).await {
                    Ok(()) => Redirect::to("/").into_response(),
                    Err(error) => broken(language, &error),
                };
            }
            Ok(None) => return used_up(language),
            Err(error) => return broken(language, &error),
        }
    };
    setup_form(StatusCode::BAD_REQUEST, language, &token, &name, Some(notice))
}

impl Login {
    fn is_setup_token(&self, token: &str) -> bool {
        self.setup.lock().is_ok_and(|setup| setup.as_deref() == Some(hash(token).as_str()))
    }

    fn use_up(&self) {
        if let Ok(mut setup) = self.setup.lock() {
            *setup = None;
        }
    }
}

fn used_up(language: Language) -> Response {
    let sentence = language.pick(
        "This set-up link has been used or is not complete. Start the server again for a new one, or log in.",
        "此设置链接已使用或不完整。请重启服务器获取新链接，或直接登录。",
    );
    plain::refusal(StatusCode::FORBIDDEN, language, sentence, "/login")
}

fn broken(language: Language, error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "a login could not be handled");
    let sentence = language.pick(
        "The login could not be stored; the server's log says why. Try again.",
        "登录信息无法保存，请查看服务器日志后重试。",
    );
    plain::refusal(StatusCode::INTERNAL_SERVER_ERROR, language, sentence, "/login")
}
