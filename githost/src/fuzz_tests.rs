//! Fuzz targets: commands, paths and key files at the developers' door.

use func_model::Principal;

use crate::call::{self, Call, Protocol};
use crate::keys;

#[test]
fn a_command_names_one_app_or_is_refused() {
    let seeds = ["git-receive-pack '/blog.git'", "git upload-pack blog", "git-upload-pack '/it'\\''s.git'"];
    let tokens = [
        "'",
        "\\",
        " ",
        "/",
        "..",
        ".git",
        "git-",
        "git ",
        "receive-pack",
        "\0",
        "\n",
        "--upload-pack=x",
        ";",
    ];
    func_fuzz::texts(&seeds, &tokens, |text| {
        let by = Principal::Token { address: [127, 0, 0, 1].into() };
        if let Ok(call) = Call::from_command(text.as_bytes(), Protocol::from_text(text), by) {
            assert!(text.replace(['\'', '\\'], "").contains(call.app.as_str()), "{text}");
        }
        if let Ok(app) = call::app(text) {
            let rest = text.replacen(app.as_str(), "", 1);
            assert!(["", "/", ".git", "/.git"].contains(&rest.as_str()), "{text}");
        }
    });
}

#[test]
fn a_line_of_a_key_file_lets_in_the_key_that_it_shows() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    let command = format!("command=\"echo \\\"a, b\\\" c\",no-pty {key} me");
    let restricted = format!("restrict,no-pty {key} me@home");
    let tokens =
        [" ", ",", "\"", "\\", "=", "#", "\t", "restrict", "from=\"10.0.0.0/8\"", "ssh-rsa ", "AAAA", key];
    func_fuzz::texts(&[key, &command, &restricted], &tokens, |text| {
        for line in text.lines().filter(|line| keys::admits(line)) {
            let limits = ["command=", "from=", "cert-authority"];
            let options = line.split("ssh-").next().unwrap_or_default();
            assert!(!limits.iter().any(|limit| options.starts_with(limit)), "{line}");
            assert!(line.split_ascii_whitespace().any(|word| word.starts_with("AAAA")), "{line}");
        }
    });
}
