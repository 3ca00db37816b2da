//! The waiting page: what a browser shows while an app starts.

use func_model::AppName;
use http::{Method, header};
use pingora::http::RequestHeader;

/// The type of the page.
pub(crate) const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// Gives the page. It loads itself again after 2 s, and has no script and nothing from elsewhere.
pub(crate) fn html(app: &AppName) -> String {
    // An app's name is a DNS label: nothing in it means anything in HTML.
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<meta http-equiv="refresh" content="2">
<title>{app} is starting</title>
<style>body {{ font: 1.1rem/1.5 system-ui, sans-serif; margin: 20vh auto; max-width: 30rem; padding: 0 1rem }}</style>
</head>
<body>
<main>
<h1>{app} is starting</h1>
<p role="status">This page loads again by itself.</p>
</main>
</body>
</html>
"#
    )
}

/// Whether a request is one of a browser that wants to show a page: GET, and `Accept` names `text/html`.
pub(crate) fn fits(request: &RequestHeader) -> bool {
    let accepts = || {
        let values = request.headers.get_all(header::ACCEPT);
        values.iter().filter_map(|value| value.to_str().ok()).any(accepts_html)
    };
    request.method == Method::GET && accepts()
}

/// Whether `text/html` is named with a weight above 0. `*/*`, which every HTTP client sends, is not enough.
///
/// Source: RFC 9110, section 12.5.1.
fn accepts_html(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        named
            && parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
                !name.trim().eq_ignore_ascii_case("q") || value.trim().parse::<f32>().is_ok_and(|q| q > 0.0)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, accept: &[&str]) -> RequestHeader {
        let mut request = RequestHeader::build(method, b"/", None).expect("a request");
        for value in accept {
            request.append_header(header::ACCEPT, *value).expect("a header");
        }
        request
    }

    #[test]
    fn a_browser_is_shown_the_page() {
        for accept in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html",
            "application/json, TEXT/HTML; charset=utf-8; q=0.1",
        ] {
            assert!(fits(&request("GET", &[accept])), "{accept}");
        }
        assert!(fits(&request("GET", &["image/png", "text/html"])));
    }

    #[test]
    fn an_api_client_never_is() {
        for accept in [
            "*/*",
            "text/*",
            "application/json",
            "text/html;q=0",
            "text/html;level=1;Q=0.000, */*",
            "text/html;q=x",
            "text/htmlx",
            "text/event-stream",
            "",
        ] {
            assert!(!fits(&request("GET", &[accept])), "{accept}");
        }
        assert!(!fits(&request("GET", &[])));
        for method in ["HEAD", "POST", "PUT", "OPTIONS"] {
            assert!(!fits(&request(method, &["text/html"])), "{method}");
        }
    }

    #[test]
    fn the_page_says_what_is_starting_and_needs_nothing_from_elsewhere() {
        let app = "a".repeat(40).parse().expect("the longest name");
        let page = html(&app);
        assert!(page.len() < 1_024, "{} bytes", page.len());
        assert!(page.contains(&format!("<title>{app} is starting</title>")));
        for needed in ["<html lang=\"en\">", "http-equiv=\"refresh\" content=\"2\"", "color-scheme"] {
            assert!(page.contains(needed), "{needed}");
        }
        for unwanted in ["<script", "http://", "https://", "src=", "href=", "url("] {
            assert!(!page.contains(unwanted), "{unwanted}");
        }
    }
}
