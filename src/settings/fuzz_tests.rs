//! Fuzz target: the server's file of settings.

use clap::{Args, Command, FromArgMatches};

use super::{Given, Settings};

#[test]
fn a_file_of_settings_is_read_or_refused_with_a_short_text_without_passwords() {
    let seeds = [
        "domain = \"apps.example.org\"\nidle = \"5m\"\napp-memory = \"512M\"\ntrusted-proxies = [\"10.0.0.0/8\"]\n",
        "redis = \"redis://:SECRET@host:6379\"\nown-keys = true\nfree-disk = \"auto\"\nconnections = 100\n",
        "egress-allow = \"10.0.0.5:5432, [fd00::5]:53\"\nurl = \"https://{host}\"\npoised-memory = \"2%\"\n",
    ];
    let tokens = [
        "\n",
        " = ",
        "\"",
        "[",
        "]",
        ",",
        "#",
        "%",
        "-1",
        "1e9",
        "9223372036854775807",
        "true",
        "domain",
        "redis",
        "idle",
        "redis://u:SECRET@h",
        "{host}",
        "\u{202e}",
        "\\u0000",
        "'''",
        "docker = \"tcp://u:SECRET@h\"\n",
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("settings.toml");
    let command = Given::augment_args(Command::new("func"));
    let arguments = ["func".as_ref(), "--config".as_ref(), path.as_os_str()];
    let matches = command.try_get_matches_from(arguments).expect("arguments");
    let given = Given::from_arg_matches(&matches).expect("given");
    func_fuzz::texts(&seeds, &tokens, |text| {
        std::fs::write(&path, text).expect("written");
        match Settings::read(&given) {
            Ok(settings) => assert!(!format!("{settings:?}").contains(":SECRET@"), "{settings:?}"),
            Err(e) => {
                let said = e.to_string();
                assert!(said.len() < 1_500 && !said.contains("SECRET@"), "{said}");
            }
        }
    });
}
