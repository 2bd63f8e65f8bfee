//! Small pages made without the app: logins, refusals, the link of a share. They need no scripts.

use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use protocol::{Language, view::NewShare};

use super::Asker;

/// A text as it can stand in HTML, also in an attribute's quotes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A page around a body of HTML.
pub fn page(status: StatusCode, language: Language, title: &str, body: &str) -> Response {
    let (code, title) = (language.code(), escape(title));
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"{code}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · KnowLM Studio</title>\n<link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">\n\
         <link rel=\"stylesheet\" href=\"/pkg/knowlm.css\">\n</head>\n<body>\n<main class=\"plain\">\n<h1>{title}</h1>\n\
         {body}\n</main>\n</body>\n</html>\n"
    );
    (status, Html(html)).into_response()
}

/// A page that says one sentence and leads back.
pub fn refusal(status: StatusCode, language: Language, sentence: &str, back: &str) -> Response {
    refusal_with(status, language, sentence, &[], back)
}

/// A page that says one sentence, shows what was typed so that it can be copied, each under its name, and leads back.
pub fn refusal_with(
    status: StatusCode,
    language: Language,
    sentence: &str,
    typed: &[(&str, &str)],
    back: &str,
) -> Response {
    let title = language.pick("That did not work", "未能完成");
    let body = format!(
        "<p class=\"notice warn\" role=\"alert\">{}</p>\n{}<p><a href=\"{}\">{}</a></p>",
        escape(sentence),
        typed_html(language, typed),
        escape(back),
        language.pick("Back", "返回")
    );
    page(status, language, title, &body)
}

/// A page that says what was deleted below a path, offers to bring it back, and leads to the path.
pub fn deleted(language: Language, said: &str, path: &str, id: &str) -> Response {
    let body = format!(
        "<form method=\"post\" action=\"{path}/{}/restore\"><button data-testid=\"undo\">{}</button></form>\n\
         <p><a href=\"{path}\">{}</a></p>",
        escape(id),
        language.pick("Undo", "撤销"),
        language.pick("Back", "返回")
    );
    page(StatusCode::OK, language, said, &body)
}

/// A page with a link that was just made. `file`: the path of what can be sent instead where only this computer can open it.
pub fn link(asker: Asker, title: &str, share: &NewShare, file: &str, back: &str) -> Response {
    let (language, url) = (asker.language, escape(&share.url));
    let mut body = format!("<p><a data-testid=\"share-link\" href=\"{url}\">{url}</a></p>\n");
    if share.local_only {
        let said = language.pick(
            "Only this computer can open this link. To send it to somebody, start the server with --public-url, or send a file:",
            "此链接只能在本机打开。要发给别人，请用 --public-url 启动服务器，或发送文件：",
        );
        let download = language.pick("download it", "下载");
        body += &format!("<p data-testid=\"local-only\">{said} <a href=\"{}\">{download}</a></p>\n", escape(file));
    }
    body += &format!("<p><a href=\"{}\">{}</a></p>", escape(back), language.pick("Back", "返回"));
    page(StatusCode::OK, language, title, &body)
}

fn typed_html(language: Language, typed: &[(&str, &str)]) -> String {
    if typed.is_empty() {
        return String::new();
    }
    let note =
        language.pick("This is what you typed; copy it before you go back.", "以下是您输入的内容，返回前可以复制。");
    let mut html = format!("<p>{note}</p>\n");
    for (name, text) in typed {
        // A browser takes the first line break after the tag away.
        let text = escape(text);
        html.push_str(&format!(
            "<p><label>{}<textarea readonly rows=\"8\">\n{text}</textarea></label></p>\n",
            escape(name)
        ));
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_shown_whole_with_its_first_line_break() {
        let html = typed_html(Language::En, &[("Text", "\n</textarea><b>")]);
        assert!(html.contains("<textarea readonly rows=\"8\">\n\n&lt;/textarea&gt;&lt;b&gt;</textarea>"), "{html}");
        assert_eq!(typed_html(Language::En, &[]), "");
    }

    #[test]
    fn nothing_in_a_text_becomes_markup() {
        assert_eq!(escape("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
    }
}
