//! What pages look like, and what they may do: nothing but show themselves and send forms home.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--no:#b3261e}\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem}dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}\
section,fieldset{border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem;margin:1rem 0}\
label{display:block}input[type=text],input:not([type]){font:inherit;width:16rem;max-width:100%}\
button,.button{font:inherit;padding:.4rem 1rem;border-radius:.4rem;border:1px solid var(--line);background:var(--soft);cursor:pointer;text-decoration:none;color:inherit;display:inline-block}\
button.no{color:var(--no)}blockquote{border-left:3px solid var(--line);margin:.5rem 0;padding:.1rem 1rem;white-space:pre-wrap;overflow-wrap:anywhere}\
.over{opacity:.6}nav{display:flex;justify-content:space-between;gap:1rem}nav form{margin:0}";

/// A page, or a place to go.
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    body: Markup,
    /// A further origin that forms may end up at: the client's, behind our own answer.
    onward: Option<String>,
}

impl Page {
    pub(super) fn new(title: &'static str, body: Markup) -> Self {
        Self { status: StatusCode::OK, title, body, onward: None }
    }
    /// What a form leads to: a redirect to this origin.
    pub(super) fn onward(mut self, origin: String) -> Self {
        self.onward = Some(origin);
        self
    }
    /// Something that isn't done, and what to do about it.
    pub(super) fn refused(what: &str, remedy: &str) -> Self {
        let body = html! { h1 { "Not done" } p { (shown(what)) } p { (remedy) } };
        Self { status: StatusCode::FORBIDDEN, ..Self::new("Not done", body) }
    }
    pub(super) fn failed(status: StatusCode, what: &str) -> Self {
        let body = html! { h1 { "Not done" } p { (shown(what)) } };
        Self { status, ..Self::new("Not done", body) }
    }
    pub(super) fn with(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let Self { status, title, body, onward } = self;
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) " – Placet" }
                    link rel="stylesheet" href="/people.css";
                }
                body { main { (body) } }
            }
        };
        let onward = onward.map(|origin| format!(" {origin}")).unwrap_or_default();
        let policy = format!(
            "default-src 'none'; style-src 'self'; form-action 'self'{onward}; base-uri 'none'; frame-ancestors 'none'"
        );
        let mut response = (status, document.into_string()).into_response();
        let headers = response.headers_mut();
        let fixed = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "same-origin"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        match HeaderValue::from_str(&policy) {
            Ok(policy) => drop(headers.insert(header::CONTENT_SECURITY_POLICY, policy)),
            // A page without its policy isn't shown.
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
        response
    }
}

/// `GET /people.css`
pub(super) async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, STYLE).into_response()
}

/// Texts of others as they are: what would turn or hide the text around it is named instead of done.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(
            c,
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        );
        if turns || (c.is_control() && c != '\n') {
            out.extend(format!("⟨U+{:04X}⟩", u32::from(c)).chars());
        } else {
            out.push(c);
        }
    }
    out
}

/// A button that is a form of its own.
pub(super) fn button(action: &str, form: &str, hidden: &[(&str, &str)], class: &str, text: &str) -> Markup {
    html! {
        form method="post" action=(action) {
            input type="hidden" name="form" value=(form);
            @for (name, value) in hidden { input type="hidden" name=(name) value=(value); }
            button type="submit" class=(class) { (text) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn con_2_text_that_turns_or_hides_is_named() {
        assert_eq!(shown("a\u{202e}b\u{1b}[31m\nc"), "a⟨U+202E⟩b⟨U+001B⟩[31m\nc");
        let page = html! { p { (shown("<img src=x onerror=alert(1)>")) } }.into_string();
        assert_eq!(page, "<p>&lt;img src=x onerror=alert(1)&gt;</p>");
    }

    #[test]
    fn a_page_runs_nothing_and_is_framed_by_nobody() {
        let response = Page::new("T", html! {}).onward("http://127.0.0.1:9".to_owned()).into_response();
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy
                .starts_with("default-src 'none'; style-src 'self'; form-action 'self' http://127.0.0.1:9;")
        );
        assert!(policy.ends_with("frame-ancestors 'none'") && !policy.contains("script"), "{policy}");
    }
}
