//! Poised and plain are the same to the app, and to who is told why it does not start.

use func_runner::{How, OverMemory, StartError};
use serde_json::{Value, json};

use crate::images::probe;
use crate::world::{App, LONG, get, world};

/// Gives what an app's process was given: started plainly, then made ahead and let go.
async fn both(config: Value, files: &[(&str, &[u8], u32)], env: &[(&str, &str)]) -> String {
    let world = world().await;
    let id = world.release_of(config, files, App { mode: "serve", env, ..App::default() }).await;
    let plain = world.start(&id).await;
    assert_eq!(plain.how, How::Made);
    let given_plain = get(plain.addr, "/self").await;
    world.runner.stop(&id, LONG).await.unwrap();
    world.poise(&id).await;
    let poised = world.start(&id).await;
    assert_eq!(poised.how, How::Opened);
    assert_same(&get(poised.addr, "/self").await, &given_plain);
    given_plain
}

fn assert_same(poised: &str, plain: &str) {
    assert_eq!(poised.lines().count(), plain.lines().count(), "{poised}\n\n{plain}");
    for (poised, plain) in poised.lines().zip(plain.lines()) {
        assert_eq!(poised, plain);
    }
}

fn has(given: &str, line: &str) {
    assert!(given.lines().any(|given| given.replace('\t', " ").trim_end() == line), "{line} in {given}");
}

#[tokio::test]
async fn an_image_from_scratch_with_an_entry_point() {
    let given =
        both(json!({ "Entrypoint": ["/probe"] }), &[("probe", &probe(), 0o755)], &[("A", "b c")]).await;
    for line in ["cmdline: \"/probe\\0\"", "exe: /probe", "cwd: /", "Tgid: 1", "Threads: 1", "fd 1: pipe"] {
        has(&given, line);
    }
    assert!(given.contains("A=b c\\0") && given.contains("HOSTNAME=blog\\0"), "{given}");
}

#[tokio::test]
async fn an_entry_point_with_arguments_and_a_command() {
    let config = json!({ "Entrypoint": ["/probe", "-v", ""], "Cmd": ["a b", "--", "é"] });
    let given = both(config, &[("probe", &probe(), 0o755)], &[]).await;
    has(&given, "cmdline: \"/probe\\0-v\\0\\0a b\\0--\\0é\\0\"");
}

#[tokio::test]
async fn a_command_in_shell_form() {
    let config = json!({ "Cmd": ["/bin/sh", "-c", "exec serve --now"] });
    let given = both(config, &[("bin/sh", &probe(), 0o755)], &[]).await;
    has(&given, "cmdline: \"/bin/sh\\0-c\\0exec serve --now\\0\"");
    has(&given, "exe: /bin/sh");
}

#[tokio::test]
async fn a_user_that_is_not_root() {
    let files: &[(&str, &[u8], u32)] = &[
        ("probe", &probe(), 0o755),
        ("etc/passwd", b"web:x:1234:5678::/home/web:/bin/sh\n", 0o644),
        ("etc/group", b"web:x:5678:\nextra:x:777:web\n", 0o644),
    ];
    let given = both(json!({ "Entrypoint": ["/probe"], "User": "web" }), files, &[]).await;
    has(&given, "Uid: 1234 1234 1234 1234");
    has(&given, "Gid: 5678 5678 5678 5678");
    has(&given, "Groups: 777 5678");
    has(&given, "CapEff: 0000000000000000");
    assert!(given.contains("HOME=/home/web\\0"), "{given}");
}

#[tokio::test]
async fn a_user_that_is_a_number_and_a_folder_to_work_in() {
    let config = json!({ "Cmd": ["./probe"], "User": "1000:1001", "WorkingDir": "/srv/app" });
    let given = both(config, &[("srv/app/probe", &probe(), 0o755)], &[]).await;
    for line in
        ["Uid: 1000 1000 1000 1000", "cwd: /srv/app", "exe: /srv/app/probe", "cmdline: \"./probe\\0\""]
    {
        has(&given, line);
    }
}

#[tokio::test]
async fn a_command_that_is_looked_up_in_the_images_path() {
    let files: &[(&str, &[u8], u32)] = &[
        ("opt/notes/probe", b"no program", 0o644),
        ("opt/tools/probe/x", b"", 0o755),
        ("opt/bin/probe", &probe(), 0o755),
    ];
    let config =
        json!({ "Cmd": ["probe"], "Env": ["PATH=/nowhere:/opt/notes:/opt/tools:/opt/bin:/probe", "B=1"] });
    let given = both(config, files, &[("B", "2")]).await;
    has(&given, "cmdline: \"probe\\0\"");
    has(&given, "exe: /opt/bin/probe");
    assert!(given.contains("B=2\\0") && !given.contains("B=1\\0"), "{given}");
}

/// Gives why it does not start: plainly, and made ahead and let go.
async fn both_fail(config: Value, files: &[(&str, &[u8], u32)], app: App<'_>) -> [StartError; 2] {
    let world = world().await;
    let id = world.release_of(config, files, app).await;
    let plain = world.start_fails(&id, LONG).await;
    world.is_empty().await;
    let poised = match world.runner.poise(&id).await {
        Ok(_) => world.start_fails(&id, LONG).await,
        Err(error) => error,
    };
    world.is_empty().await;
    assert_eq!(std::fs::read_dir(world.data.gates()).map_or(0, Iterator::count), 0, "no gate is left");
    [plain, poised]
}

#[tokio::test]
async fn an_exit_status_with_the_last_lines() {
    let env = [("STATUS", "126"), ("LINES", "3")];
    let app = App { mode: "exit", env: &env, ..App::default() };
    let errors = both_fail(json!({ "Cmd": ["/probe"] }), &[("probe", &probe(), 0o755)], app).await;
    for error in errors {
        let StartError::Exited { status, tail, memory, .. } = error else { panic!("{error:?}") };
        assert_eq!((status, memory), (126, OverMemory::No));
        assert_eq!(tail, ["line 1", "line 2", "the end is near"]);
    }
}

#[tokio::test]
async fn a_command_that_is_not_there_or_may_not_run() {
    let files: &[(&str, &[u8], u32)] = &[("notes", b"no program", 0o644), ("bin/x", b"", 0o755)];
    for command in ["/nope", "nope", "/notes", "/bin", "./nope"] {
        let errors = both_fail(json!({ "Cmd": [command] }), files, App::default()).await;
        let said = errors.map(|error| match error {
            StartError::NoCommand { said, .. } => said,
            error => panic!("{command}: {error:?}"),
        });
        assert!(said[1].contains(&format!("\"{command}\": ")), "{said:?}");
        // Older runcs look at the permissions only.
        if command != "/bin" {
            assert_eq!(said[0], said[1]);
        }
    }
}

#[tokio::test]
async fn a_file_that_is_no_program_is_named() {
    let files: &[(&str, &[u8], u32)] = &[("app", b"no program", 0o755)];
    let [plain, poised] = both_fail(json!({ "Cmd": ["/app"] }), files, App::default()).await;
    let StartError::Exited { tail, .. } = plain else { panic!("{plain:?}") };
    assert!(tail.concat().contains("exec format error"), "{tail:?}");
    let StartError::NoCommand { said, .. } = poised else { panic!("{poised:?}") };
    assert_eq!(said, "\"/app\": exec format error");
}

#[tokio::test]
async fn no_command_at_all_and_a_user_that_does_not_exist() {
    for config in [json!({}), json!({ "Cmd": ["/probe"], "User": "nobody-here" })] {
        let errors = both_fail(config, &[("probe", &probe(), 0o755)], App::default()).await;
        let said = errors.map(|error| match error {
            StartError::NoCommand { said, .. } => said,
            error => panic!("{error:?}"),
        });
        assert_eq!(said[0], said[1]);
    }
}
