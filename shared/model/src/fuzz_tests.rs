//! Fuzz targets: names, lines and files that others write, and what is shown of them.

use std::collections::BTreeMap;

use crate::config::{duration_ms, size_bytes};
use crate::{
    AppName, Asks, Destination, HostName, RefUpdate, Revision, Route, RouteTable, host_of, plain_line,
    plain_text, redacted, redacted_url,
};

#[test]
fn a_host_leads_to_the_app_that_it_names_however_it_is_written() {
    let domain: HostName = "localhost".parse().expect("a host");
    let app: AppName = "blog".parse().expect("an app");
    let number = "blog-v1".parse::<crate::ReleaseId>().expect("a release").number;
    let route =
        Route { number, hosts: vec!["www.example.org".parse().expect("a host")], waiting_page: false };
    let table = RouteTable::new(domain, &BTreeMap::from([(app, route)]));
    let seeds =
        ["blog.localhost:8080", "Blog.LOCALHOST.", "www.example.org", "[::1]:80", "user@blog.localhost"];
    let tokens =
        [".", ":", "-", "_", "@", "/", "%2e", "[", "]", "80", "blog", "localhost", "\0", " ", "ı", "K"];
    func_fuzz::texts(&seeds, &tokens, |text| {
        let Ok(host) = host_of(text) else { return };
        for other in
            [host.to_string(), format!("{host}:80"), format!("{host}."), host.as_str().to_uppercase()]
        {
            assert_eq!(host_of(&other).as_ref(), Ok(&host), "{other}");
        }
        assert!(host.as_str().bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
        let is_routed = matches!(host.as_str(), "blog.localhost" | "www.example.org");
        assert_eq!(table.release(&host).is_some(), is_routed, "{host}");
    });
}

#[test]
fn names_are_written_as_they_are_read() {
    let id = "a".repeat(40);
    let seeds = ["blog", "blog-v7", "blog-v7.1", "10.0.0.5:5432", "[fd00::/8]:53", &id];
    func_fuzz::texts(&seeds, &["-", "v", ".", ":", "/", "0", "+", "[", "]", "-v1", " "], |text| {
        if let Ok(name) = text.parse::<AppName>() {
            assert_eq!(name.as_str(), text);
        }
        if let Ok(revision) = text.parse::<Revision>() {
            assert_eq!(revision.as_str(), text);
        }
        if let Ok(release) = text.parse::<crate::ReleaseId>() {
            assert_eq!(release.to_string(), text);
        }
        if let Ok(instance) = text.parse::<crate::InstanceId>() {
            assert_eq!(instance.to_string(), text);
        }
        if let Ok(destination) = text.parse::<Destination>() {
            assert_eq!(destination.to_string().parse(), Ok(destination));
        }
    });
}

#[test]
fn a_line_of_a_hook_is_read_whole_or_not_at_all() {
    let (zero, id) = ("0".repeat(40), "a".repeat(40));
    let (seed, other) = (format!("{zero} {id} refs/heads/main\n"), format!("{id} {zero} refs/tags/v1"));
    func_fuzz::texts(&[&seed, &other], &[" ", "\n", "\r", "\0", "refs/heads/", &id, &zero, ".."], |text| {
        let Ok(update) = RefUpdate::from_line(text) else { return };
        let line = text.trim_end_matches(['\n', '\r']);
        assert!(line.ends_with(&format!(" {}", update.name)) && !update.name.is_empty());
        let new = line.split(' ').nth(1).expect("the new id");
        assert!(update.new.map_or(new.bytes().all(|b| b == b'0'), |revision| revision.as_str() == new));
    });
}

#[test]
fn nothing_that_steers_a_terminal_is_left_and_cleaning_twice_changes_nothing() {
    let seeds = [
        "\u{1b}[1;31mred\u{1b}[0m\tand\u{1b}]0;title\u{7}\n",
        "a\u{1b}P1\u{1b}\\b\u{9b}2J",
        "👩\u{200d}🚒 pay\u{200d}pal",
    ];
    let tokens = [
        "\u{1b}",
        "\u{1b}[",
        "\u{1b}]",
        "\u{1b}\\",
        "\u{7}",
        "\u{9b}",
        "\u{9d}",
        "[",
        "]",
        ";",
        "1",
        "m",
        "P",
        "^",
        "\u{200c}",
        "\u{200d}",
        "\u{202e}",
        "\u{feff}",
        "\u{e0041}",
        "\u{fe0f}",
        "👩",
        "क",
        "\n",
        "\t",
        "\r",
        " ",
        "(B",
    ];
    func_fuzz::texts(&seeds, &tokens, |text| {
        let plain = plain_text(text);
        assert!(!plain.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{plain:?}");
        let hides = |c: char| matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}');
        assert!(!plain.contains(hides), "{plain:?}");
        assert_eq!(plain_text(&plain), plain);
        assert!(!plain_line(text).contains(char::is_control));
    });
}

#[test]
fn no_password_of_a_url_is_shown_whatever_stands_around_it() {
    let seeds = [
        "fetch https://USER:SECRET@host/x failed",
        "http://proxy.example/https://USER:SECRET@host/x",
        "redis://:SECRET@host:6379/0?token=SECRET&a=b",
        "http://a.example/?next=https://u:SECRET@host#token=SECRET",
        "ssh://u:SECRET@host, https://[::1]:80/x,redis+unix:///r.sock?pass=SECRET",
    ];
    let tokens = [
        "://",
        "https://u:SECRET@h",
        "?token=SECRET",
        "?",
        "&",
        "#",
        "/",
        ":",
        " ",
        "\"",
        "'",
        ",",
        "ssh",
        "[::1]",
        "80",
        "=",
    ];
    func_fuzz::texts(&seeds, &tokens, |text| {
        let shown = redacted(text);
        assert!(!["://u:SECRET@h", "://:SECRET@h"].iter().any(|url| shown.contains(url)), "{shown}");
        assert_eq!(redacted(&shown), shown, "hidden once more");
        assert!(!redacted_url(text).contains("://u:SECRET@h"), "{text}");
    });
}

#[test]
fn no_image_of_a_dockerfile_is_missed_whatever_stands_before_it() {
    let seeds = [
        "# syntax=docker/dockerfile:1\nARG V=1\nFROM base:$V AS one\nRUN --mount=type=cache,target=/c,from=x true\n",
        "FROM a\nCOPY --from=b / /\nRUN <<A cat && <<\"B\"\nx\nA\ny\nB\n",
        "# escape=`\nFROM ${X:-${Y:+z}} `\n AS q\n",
    ];
    let tokens = [
        "FROM ",
        "RUN ",
        "COPY --from=",
        "ARG ",
        "ONBUILD ",
        "<<EOF",
        "EOF\n",
        "\\\n",
        "`\n",
        "#",
        "# escape=`\n",
        "\n",
        "\r\n",
        "$",
        "${",
        "}",
        ":-",
        ":+",
        "'",
        "\"",
        "\\",
        "--",
        " AS ",
        "a",
        "--mount=",
        ",from=",
        "=",
        "\u{feff}",
    ];
    func_fuzz::texts(&seeds, &tokens, |text| {
        Asks::read(text);
        // An instruction of its own ends whatever goes on from the lines before.
        let asks = Asks::read(&format!("{text}\nRUN true\nFROM registry.example/victim\n"));
        assert!(asks.images.contains("registry.example/victim"), "{asks:?}");
    });
}

#[test]
fn times_and_sizes_mean_the_same_in_their_smallest_unit() {
    let seeds = ["90s", "5m", "2 h", "1d", "500ms", "256MiB", "1G", "18446744073709551615"];
    func_fuzz::texts(&seeds, &["0", "9", " ", "m", "s", "K", "G", "ib", "-", "+", ".", "%"], |text| {
        if let Some(ms) = duration_ms(text) {
            assert_eq!(duration_ms(&format!("{ms}ms")), Some(ms));
        }
        if let Some(bytes) = size_bytes(text) {
            assert_eq!(size_bytes(&bytes.to_string()), Some(bytes));
        }
    });
}
