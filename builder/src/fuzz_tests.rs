//! Fuzz targets: what a pushed repository says about itself.

use func_model::Allowance;

use crate::app_file;
use crate::ignore::Ignore;

#[test]
fn a_func_toml_is_refused_with_a_text_or_keeps_to_what_is_allowed() {
    let seeds = [
        "port = 3000\nhosts = [\"www.example.org\"]\nidle = \"5m\"\nwarm-at = [\"0 7 * * MON-FRI\"]\n",
        "capabilities = []\nread-only = true\n[env]\nA = \"b\"\n[limits]\nmemory = \"512M\"\ncpus = 0.5\npids = 64\n",
        "freeze = \"auto\"\nmin = 1\nhealth = \"/up\"\ndrain = \"10m\"\nlimits.tmp = \"64M\"\n",
    ];
    let tokens = [
        "\n",
        " = ",
        "\"",
        "[",
        "]",
        "{",
        "}",
        "#",
        "'''",
        "\\u0000",
        "1e308",
        "-1",
        "nan",
        "inf",
        "true",
        "0x10",
        "[limits]\n",
        "[env]\n",
        "port",
        "hosts",
        "memory",
        "cpus",
        "18446744073709551616",
        "\u{202e}",
        "\0",
        "[[",
        ".",
        "PORT",
    ];
    let allowance = Allowance::default();
    func_fuzz::texts(&seeds, &tokens, |text| match app_file::parse(text, &allowance) {
        Ok(config) => {
            assert!(config.port != Some(0) && config.min <= 1);
            assert!(config.limits.memory_bytes >= func_model::LEAST.memory_bytes);
            assert!(config.limits.cpus_milli >= func_model::LEAST.cpus_milli);
            assert!(config.limits.pids >= func_model::LEAST.pids);
        }
        Err(e) => assert!(e.to_string().len() < 1_000, "a long error: {e}"),
    });
}

/// Matches one part in the plainest way, which takes long.
fn plainly(pattern: &[char], text: &[char]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some('*'), _) => plainly(&pattern[1..], text) || (!text.is_empty() && plainly(pattern, &text[1..])),
        (Some('?'), Some(_)) => plainly(&pattern[1..], &text[1..]),
        (Some(p), Some(t)) => p == t && plainly(&pattern[1..], &text[1..]),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[test]
fn a_pattern_matches_what_it_matches_when_all_ways_are_tried() {
    let seeds = ["*.md\nsrc/main.rs", "a*b?c\naxxbyc", "?*a*\nbca"];
    func_fuzz::texts(&seeds, &["*", "?", "a", "b", "*a", "**"], |text| {
        let Some((pattern, path)) = text.split_once('\n') else { return };
        let is_plain = |c: char| c.is_ascii_lowercase() || matches!(c, '*' | '?' | '.');
        let fits = |text: &str| (1..=14).contains(&text.len()) && text.chars().all(is_plain);
        if !fits(pattern) || !fits(path) || [".", "..", "**"].contains(&pattern) || path.contains(['*', '?'])
        {
            return;
        }
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(Ignore::parse(pattern).leaves_out(path), plainly(&chars(pattern), &chars(path)));
    });
}

#[test]
fn a_dockerignore_is_read_whatever_is_in_it() {
    let seeds =
        ["node_modules\n*.md\n!README.md\n**/target\n[a-z]x?\n", "*\n!src\n\\#a\n[^]]\n[]\n[a-\n[^\n[!a]"];
    let tokens =
        ["*", "**", "**/", "?", "[", "]", "^", "-", "\\", "!", "#", "/", "../", "\n", " ", "\u{feff}", "é"];
    func_fuzz::texts(&seeds, &tokens, |text| {
        let ignore = Ignore::parse(text);
        for path in ["src/main.rs", "a/b/c/d", "README.md", "é", "target", text] {
            ignore.leaves_out(path);
        }
        assert!(!ignore.leaves_out("Dockerfile"));
    });
}
