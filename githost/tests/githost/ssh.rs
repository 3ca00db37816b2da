//! The SSH door: whose key is known, what is served, how a command ends.

use std::fs;

use crate::world::{Said, Way, World, finished, world};

async fn push_with(world: &World, keys: &[&str], branch: &str) -> Said {
    let url = world.url(Way::Ssh, "blog");
    let mut command = world.git_command("work", &["push", &url, &format!("main:{branch}")]);
    command.env("GIT_SSH_COMMAND", world.ssh_line(keys));
    finished(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ed25519_ecdsa_and_rsa_keys_are_let_in() {
    let world = world().await;
    world.project("work").await;
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = world.key(kind, kind).await;
        fs::write(world.authorized_keys(), format!("# {kind}\n\n{key}")).expect("written");
        let said = push_with(&world, &[kind], kind).await;
        assert!(said.ok, "{kind}: {}", said.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_signature_with_sha_1_is_refused() {
    let world = world().await;
    let key = world.key("rsa", "rsa").await;
    fs::write(world.authorized_keys(), key).expect("written");
    let line = world.ssh_line(&["rsa"]);
    for (algorithm, status) in [("rsa-sha2-256", 1), ("rsa-sha2-512", 1), ("ssh-rsa", 255)] {
        let options = format!("-o PubkeyAcceptedAlgorithms={algorithm}");
        let said = world.shell(&format!("{line} {options} {} ls", world.ssh_target())).await;
        assert_eq!(said.status, Some(status), "{algorithm}: {}", said.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_and_a_password_are_refused() {
    let world = world().await;
    world.project("work").await;
    world.key("stranger", "ed25519").await;
    let said = push_with(&world, &["stranger"], "main").await;
    assert!(!said.ok && said.text.contains("Permission denied (publickey)"), "{}", said.text);
    assert!(!world.repository("blog").exists());
    let said = world
        .shell(&format!(
            "{} -o PreferredAuthentications=password {} ls",
            world.ssh_line(&[]),
            world.ssh_target()
        ))
        .await;
    assert!(said.text.contains("Permission denied (publickey)"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_authorized_keys_holds_at_once() {
    let world = world().await;
    world.project("work").await;
    let key = world.key("new", "ed25519").await;
    assert!(!push_with(&world, &["new"], "one").await.ok);
    fs::write(world.authorized_keys(), &key).expect("written");
    let said = push_with(&world, &["new"], "two").await;
    assert!(said.ok, "{}", said.text);
    assert!(!push_with(&world, &["me"], "three").await.ok, "the removed key is out");
    fs::remove_file(world.authorized_keys()).expect("removed");
    assert!(!push_with(&world, &["new"], "four").await.ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_extra_files_are_let_in_and_limited_ones_are_not() {
    let world = world().await;
    world.project("work").await;
    let key = world.key("extra", "ed25519").await;
    assert!(push_with(&world, &["extra"], "one").await.ok);
    fs::write(world.dir.path().join("extra.pub"), format!("from=\"10.0.0.1\" {key}")).expect("written");
    assert!(!push_with(&world, &["extra"], "two").await.ok);
    fs::write(world.dir.path().join("extra.pub"), format!("no-pty,restrict {key}")).expect("written");
    assert!(push_with(&world, &["extra"], "three").await.ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn six_wrong_keys_may_be_offered_and_no_more() {
    let world = world().await;
    world.project("work").await;
    let names: Vec<String> = (0..7).map(|number| format!("wrong{number}")).collect();
    for name in &names {
        world.key(name, "ed25519").await;
    }
    let mut keys: Vec<&str> = names.iter().map(String::as_str).collect();
    keys.push("me");
    let said = push_with(&world, &keys, "one").await;
    assert!(!said.ok && said.text.contains("Too many authentication attempts"), "{}", said.text);
    let said = push_with(&world, &keys[2..], "two").await;
    assert!(said.ok, "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_a_subsystem_and_other_programs_are_refused_with_help() {
    let world = world().await;
    let help = "func: this is a git host: git push ssh://";
    for arguments in ["", "ls -la /", "git-upload-archive blog", "git-shell", "'git-receive-pack blog; id'"] {
        let said = world.ssh(arguments).await;
        assert!(said.text.contains(help) && said.status == Some(1), "{arguments}: {said:?}");
    }
    let said = world.ssh("-tt").await;
    assert!(!said.ok && said.text.contains("PTY allocation request failed"), "{said:?}");
    let line = world.ssh_line(&["me"]);
    let said = world.shell(&format!("{line} -s {} sftp", world.ssh_target())).await;
    assert!(said.text.contains(help) && said.status == Some(1), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding_is_refused() {
    let world = world().await;
    let line = world.ssh_line(&["me"]);
    let there = world.http;
    let said = world.shell(&format!("{line} -W {there} {} < /dev/null", world.ssh_target())).await;
    assert!(!said.ok && said.text.contains("stdio forwarding failed"), "{said:?}");
    let back = "-o ExitOnForwardFailure=yes -N -R 0:127.0.0.1:1";
    let said = world.shell(&format!("{line} {back} {}", world.ssh_target())).await;
    assert!(!said.ok && said.text.contains("forwarding failed"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_deploy_fails_the_push_although_git_took_it() {
    let world = world().await;
    world.project("work").await;
    world.hook("echo building; echo failed > \"$FUNC_VERDICT\"; exit 0");
    let said = world.git("work", &["push", &world.url(Way::Ssh, "blog"), "main"]).await;
    assert!(!said.ok && said.text.contains("remote: building"), "{}", said.text);
    let pushed = world.id(&world.dir.path().join("work"), "main").await;
    assert_eq!(world.id(&world.repository("blog"), "refs/heads/main").await, pushed);
    world.hook("echo fine");
    world.must("work", &["push", &world.url(Way::Ssh, "blog"), "main:other"]).await;
    world.hook("exit 7");
    world.must("work", &["push", &world.url(Way::Ssh, "blog"), "main:third"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_leaves_no_complaint_about_the_connection() {
    let world = world().await;
    world.project("work").await;
    for number in 0..20 {
        let said =
            world.must("work", &["push", &world.url(Way::Ssh, "blog"), &format!("main:b{number}")]).await;
        assert!(!said.contains("hung up") && !said.contains("rror"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_key_stays_the_same_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = world().await;
    let scan =
        |world: &World| format!("ssh-keyscan -p {} 127.0.0.1 2>/dev/null | cut -d' ' -f2-", world.ssh.port());
    let first = world.shell(&scan(&world)).await.text;
    assert!(first.starts_with("ssh-ed25519 "), "{first}");
    world.shutdown.cancel();
    world.left().await;
    world.start();
    assert_eq!(world.shell(&scan(&world)).await.text, first);
    let mode = fs::metadata(world.data.keys().join("ssh_host_ed25519")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_at_most_eight_channels() {
    let world = world().await;
    world.project("work").await;
    let socket = world.dir.path().join("mux");
    let mux = format!("{} -o ControlPath={}", world.ssh_line(&["me"]), socket.display());
    let said = world.shell(&format!("{mux} -f -N -o ControlMaster=yes {}", world.ssh_target())).await;
    assert!(said.ok, "{}", said.text);
    // Each waits for its input's end.
    let held: Vec<_> = (0..8)
        .map(|_| {
            let mut command = world.command("sh");
            command.args(["-c", &format!("exec {mux} {} git-receive-pack blog", world.ssh_target())]);
            command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
            command.spawn().expect("ssh starts")
        })
        .collect();
    crate::world::until("all run", || world.processes() >= 8).await;
    let said = world.shell(&format!("{mux} -o ControlMaster=no {} ls", world.ssh_target())).await;
    assert!(said.text.contains("Session open refused by peer"), "{}", said.text);
    drop(held);
    crate::world::until("they are gone", || world.processes() == 0).await;
    let said = world.shell(&format!("{mux} {} ls", world.ssh_target())).await;
    assert!(said.text.starts_with("func:"), "a place is free again: {}", said.text);
    world.shell(&format!("{mux} -O exit {}", world.ssh_target())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_and_a_clone_survive_many_exchanges_of_keys() {
    let world = world().await;
    world.project("work").await;
    world.noise("work", 12_000_000).await;
    let url = world.url(Way::Ssh, "blog");
    let line = format!("{} -o RekeyLimit=1M", world.ssh_line(&["me"]));
    for arguments in [["push", &url, "main"], ["clone", &url, "copy"]] {
        let mut command = world.git_command("work", &arguments);
        command.env("GIT_SSH_COMMAND", &line);
        let said = finished(command).await;
        assert!(said.ok, "{}", said.text);
    }
    let pushed = world.id(&world.dir.path().join("work"), "main").await;
    assert_eq!(world.id(&world.dir.path().join("work/copy"), "HEAD").await, pushed);
}
