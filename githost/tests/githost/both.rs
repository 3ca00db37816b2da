//! What holds for a push and a clone, whichever door they take.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use func_model::limits::DISK_REPORT_MS_MAX;
use func_model::{DiskBudget, DiskReport, DiskUsage};
use func_store::write_disk_report;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::world::{LIMIT, WAYS, Way, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_push_makes_the_repository_and_a_clone_gives_back_what_was_pushed() {
    let world = world().await;
    world.project("work").await;
    for way in WAYS {
        let app = format!("blog-{way:?}").to_lowercase();
        assert!(!world.repository(&app).exists());
        world.must("work", &["push", &world.url(way, &app), "main"]).await;
        let pushed = world.id(&world.dir.path().join("work"), "main").await;
        assert_eq!(world.id(&world.repository(&app), "refs/heads/main").await, pushed);
        let copy = format!("copy-{app}");
        world.must(".", &["clone", "--quiet", &world.url(way, &format!("{app}.git")), &copy]).await;
        assert_eq!(world.id(&world.dir.path().join(&copy), "HEAD").await, pushed);
        let text = std::fs::read_to_string(world.dir.path().join(copy).join("index.html")).expect("a file");
        assert_eq!(text, "hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_speaks_protocol_version_2_and_older_ones() {
    let world = world().await;
    world.project("work").await;
    world.must("work", &["push", &world.url(Way::Ssh, "blog"), "main"]).await;
    for way in WAYS {
        for version in ["0", "1", "2"] {
            let (setting, copy) = (format!("protocol.version={version}"), format!("copy-{way:?}-{version}"));
            let url = world.url(way, "blog");
            let mut command = world.git_command(".", &["-c", &setting, "clone", &url, &copy]);
            command.env("GIT_TRACE_PACKET", "1");
            let said = crate::world::finished(command).await;
            assert!(said.ok, "{way:?} {version}: {}", said.text);
            let is_v2 = said.text.contains("< version 2");
            assert_eq!(is_v2, version == "2", "{way:?} {version}: {}", said.text);
            // A push is never version 2, whatever the client asks for.
            world.must("work", &["-c", &setting, "push", &url, &format!("main:v{version}-{way:?}")]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_may_leave_out_the_blobs() {
    let world = world().await;
    world.project("work").await;
    for way in WAYS {
        let (url, copy) = (world.url(way, "blog"), format!("copy-{way:?}"));
        world.must("work", &["push", &url, "main"]).await;
        let said = world.must(".", &["clone", "--bare", "--filter=blob:none", &url, &copy]).await;
        assert!(!said.contains("filtering not recognized"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_pushes_tags_deletions_and_several_refs_at_once_are_accepted() {
    let world = world().await;
    for way in WAYS {
        let (work, app) = (format!("work-{way:?}"), format!("blog-{way:?}").to_lowercase());
        let (url, there) = (world.url(way, &app), world.repository(&app));
        world.project(&work).await;
        world.must(&work, &["tag", "--annotate", "v1", "--message", "one"]).await;
        world.must(&work, &["push", &url, "main", "main:other", "main:third", "v1"]).await;
        for name in ["refs/heads/main", "refs/heads/other", "refs/heads/third", "refs/tags/v1"] {
            assert!(world.id(&there, name).await.is_some(), "{way:?} {name}");
        }
        world.must(&work, &["commit", "--quiet", "--amend", "--message", "again"]).await;
        let refused = world.git(&work, &["push", &url, "main"]).await;
        assert!(!refused.ok && refused.text.contains("non-fast-forward"), "{}", refused.text);
        world.must(&work, &["push", "--force", &url, "main"]).await;
        let mine = world.id(&world.dir.path().join(&work), "main").await;
        assert_eq!(world.id(&there, "refs/heads/main").await, mine);
        // Even the branch that HEAD names.
        world.must(&work, &["push", "--atomic", &url, ":main", ":refs/tags/v1", "main:new"]).await;
        assert_eq!(world.id(&there, "refs/heads/main").await, None);
        assert_eq!(world.id(&there, "refs/tags/v1").await, None);
        assert_eq!(world.id(&there, "refs/heads/new").await, mine);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_hook_arrives_while_the_hook_still_runs() {
    let world = world().await;
    world.project("work").await;
    for way in WAYS {
        let go = world.dir.path().join(format!("go-{way:?}"));
        let go_text = go.display();
        world.hook(&format!("echo first\nwhile [ ! -e {go_text} ]; do sleep 0.02; done\necho second"));
        let url = world.url(way, &format!("blog-{way:?}").to_lowercase());
        let mut command = world.git_command("work", &["push", &url, "main"]);
        let mut push = command.stderr(Stdio::piped()).spawn().expect("git starts");
        let mut lines = BufReader::new(push.stderr.take().expect("a pipe")).lines();
        let mut seen = Vec::new();
        let watching = async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                if line.contains("remote: first") {
                    std::fs::write(&go, "").expect("written");
                }
                seen.push(line);
            }
        };
        tokio::time::timeout(LIMIT, watching).await.unwrap_or_else(|_| panic!("{way:?}: no line came"));
        assert!(push.wait().await.expect("it ends").success());
        let at = |text| seen.iter().position(|line| line.contains(text));
        assert!(at("remote: first") < at("remote: second") && at("remote: second").is_some(), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hook_knows_the_app_and_nothing_of_the_hosts_environment() {
    let world = world().await;
    world.project("work").await;
    world.hook("env | sort; test -w \"$FUNC_VERDICT\" && echo writable");
    for way in WAYS {
        let said = world.must("work", &["push", &world.url(way, "blog"), &format!("main:{way:?}")]).await;
        assert!(said.contains("remote: FUNC_APP=blog"), "{said}");
        assert!(said.contains("remote: writable"), "{said}");
        assert!(said.contains(&format!("remote: FUNC_DATA={}", world.data.root().display())), "{said}");
        assert!(!said.contains("CARGO"), "{said}");
        assert_eq!(std::fs::read_dir(world.data.git()).expect("read").count(), 0, "no verdict is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_pushes_at_once_all_arrive() {
    let world = world().await;
    world.project("work").await;
    let pushes = (0..8).map(|number| {
        let (world, way) = (&world, WAYS[number % 2]);
        async move { world.git("work", &["push", &world.url(way, "blog"), &format!("main:b{number}")]).await }
    });
    for said in futures_util::future::join_all(pushes).await {
        assert!(said.ok, "{}", said.text);
    }
    for number in 0..8 {
        let there = world.id(&world.repository("blog"), &format!("refs/heads/b{number}")).await;
        assert!(there.is_some(), "b{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_name_is_refused_with_what_is_allowed() {
    let world = world().await;
    world.project("work").await;
    for way in WAYS {
        for name in ["UPPER", "a_b", "-a", "%2e%2e%2fx", "a/b", "~/blog", "blog//x", &"a".repeat(41)] {
            let said = world.git("work", &["push", &world.url(way, name), "main"]).await;
            assert!(!said.ok, "{way:?} {name}");
            assert!(
                said.text.contains("is not an app name: use 1 to 40 of a-z"),
                "{way:?} {name}: {}",
                said.text
            );
        }
    }
    let said = world.ssh("git-receive-pack \"'../x'\"").await;
    assert!(said.status == Some(1) && said.text.contains("is not an app name"), "{}", said.text);
    assert!(world.data.repositories().expect("read").is_empty());
    assert_eq!(std::fs::read_dir(world.data.projects()).expect("read").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_of_what_was_never_pushed_says_so_and_makes_nothing() {
    let world = world().await;
    for way in WAYS {
        let said = world.git(".", &["clone", &world.url(way, "blog"), "copy"]).await;
        assert!(!said.ok && said.text.contains("there is no app `blog` yet"), "{way:?}: {}", said.text);
    }
    assert!(world.data.repositories().expect("read").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_over_the_limit_is_refused_and_changes_nothing() {
    let mut world = world().await;
    world.shutdown.cancel();
    world.left().await;
    world.push_bytes_max = 100_000;
    world.start();
    world.project("work").await;
    let first = world.id(&world.dir.path().join("work"), "main").await;
    for way in WAYS {
        world.must("work", &["push", &world.url(way, &format!("blog-{way:?}").to_lowercase()), "main"]).await;
    }
    world.noise("work", 12_000_000).await;
    for way in WAYS {
        let app = format!("blog-{way:?}").to_lowercase();
        let said = world.git("work", &["push", &world.url(way, &app), "main"]).await;
        assert!(
            !said.ok && said.text.contains("pack exceeds maximum allowed size"),
            "{way:?}: {}",
            said.text
        );
        assert_eq!(world.id(&world.repository(&app), "refs/heads/main").await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_push_and_an_empty_clone_work() {
    let world = world().await;
    world.project("work").await;
    for way in WAYS {
        let url = world.url(way, &format!("blog-{way:?}").to_lowercase());
        let said = world.git("work", &["push", &url, ":nothing"]).await;
        assert!(said.text.contains("remote ref does not exist"), "{way:?}: {}", said.text);
        world.must(".", &["clone", &url, &format!("copy-{way:?}")]).await;
        world.must("work", &["push", &url, "main"]).await;
        assert!(world.must("work", &["push", &url, "main"]).await.contains("up-to-date"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_a_push_end_and_takes_no_new_one() {
    for way in WAYS {
        let mut world = world().await;
        world.project("work").await;
        let (begun, go) = (world.dir.path().join("begun"), world.dir.path().join("go"));
        let (begun_text, go_text) = (begun.display(), go.display());
        world.hook(&format!("touch {begun_text}; while [ ! -e {go_text} ]; do sleep 0.02; done; echo done"));
        let push = tokio::spawn(crate::world::finished(
            world.git_command("work", &["push", &world.url(way, "blog"), "main"]),
        ));
        crate::world::until("the hook runs", || begun.exists()).await;
        world.shutdown.cancel();
        let address = if way == Way::Ssh { world.ssh } else { world.http };
        crate::world::until("the port is closed", || std::net::TcpStream::connect(address).is_err()).await;
        std::fs::write(&go, "").expect("written");
        let said = push.await.expect("no panic");
        assert!(said.ok && said.text.contains("remote: done"), "{way:?}: {}", said.text);
        world.left().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_what_does_not_end() {
    for way in WAYS {
        let mut world = world().await;
        world.shutdown.cancel();
        world.left().await;
        world.drain = Duration::from_millis(200);
        world.start();
        world.project("work").await;
        let begun = world.dir.path().join("begun");
        world.hook(&format!("touch {}; sleep 1000", begun.display()));
        let push = tokio::spawn(crate::world::finished(
            world.git_command("work", &["push", &world.url(way, "blog"), "main"]),
        ));
        crate::world::until("the hook runs", || begun.exists()).await;
        world.shutdown.cancel();
        world.left().await;
        assert!(!push.await.expect("no panic").ok);
        crate::world::until("all processes are gone", || world.processes() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_deploy_outlasts_the_limit_is_stored_and_told_where_its_deploy_goes_on() {
    let mut world = world().await;
    world.shutdown.cancel();
    world.left().await;
    world.command_within = Duration::from_secs(2);
    world.start();
    world.project("work").await;
    world.hook("echo building; sleep 1000");
    for way in WAYS {
        let app = format!("blog-{way:?}").to_lowercase();
        let command = world.git_command("work", &["push", &world.url(way, &app), "main"]);
        let said = crate::world::finished(command).await;
        assert!(!said.ok, "{way:?}: {}", said.text);
        assert!(said.text.contains("building"), "{way:?}: {}", said.text);
        let hint = format!("if git has taken the push, its deploy goes on: func logs --build {app}");
        assert!(said.text.contains(&hint), "{way:?}: {}", said.text);
        let pushed = world.id(&world.dir.path().join("work"), "main").await;
        assert_eq!(world.id(&world.repository(&app), "refs/heads/main").await, pushed, "{way:?}");
    }
}

/// What the client hears is the reason, and no repository is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_a_disk_that_is_nearly_full_is_refused_before_anything_is_stored() {
    let mut world = world().await;
    world.project("work").await;
    world.must("work", &["push", &world.url(Way::Ssh, "before"), "main"]).await;
    world.shutdown.cancel();
    world.left().await;
    world.free_bytes_min = Some(u64::MAX);
    world.start();
    for way in WAYS {
        let said = world.git("work", &["push", &world.url(way, "blog"), "main"]).await;
        assert!(!said.ok && said.text.contains("disk is nearly full"), "{way:?}: {}", said.text);
        assert!(!world.repository("blog").exists(), "{way:?}");
        let copy = format!("copy-{way:?}");
        world.must(".", &["clone", "--quiet", &world.url(way, "before"), &copy]).await;
    }
}

/// The cleaner's report decides until it is 15 minutes old.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_beyond_the_disk_budget_is_refused_before_anything_is_stored() {
    let world = world().await;
    world.project("work").await;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as u64;
    let write = |at_ms, budget_mib: u64| {
        let usage = DiskUsage { own_bytes: 3 << 20, ..DiskUsage::default() };
        let budget = DiskBudget::Whole(budget_mib << 20);
        let report = DiskReport::new(at_ms, &usage, &BTreeSet::new(), budget);
        write_disk_report(&world.data, &report).expect("written");
    };
    write(now_ms, 2);
    for way in WAYS {
        let said = world.git("work", &["push", &world.url(way, "blog"), "main"]).await;
        assert!(!said.ok && said.text.contains("3.0 MiB of 2.0 MiB"), "{way:?}: {}", said.text);
        assert!(said.text.contains("func df"), "{way:?}: {}", said.text);
        assert!(!world.repository("blog").exists(), "{way:?}");
    }
    write(now_ms, 3);
    world.must("work", &["push", &world.url(Way::Ssh, "blog"), "main"]).await;
    write(now_ms - DISK_REPORT_MS_MAX - 1, 2);
    world.must("work", &["push", &world.url(Way::Ssh, "shop"), "main"]).await;
    std::fs::write(world.data.run("deploy/disk.json"), "{").expect("spoilt");
    world.must("work", &["push", &world.url(Way::Http, "third"), "main"]).await;
}

/// Modes and names as programs of 2005 wrote them are let in, folders that would be outside of a checkout are not.
#[tokio::test(flavor = "multi_thread")]
async fn objects_are_checked_and_old_flaws_that_harm_nobody_are_let_in() {
    let world = world().await;
    world.project("work").await;
    let script = r#"
        set -e
        blob=$(printf x | git hash-object -w --stdin)
        bytes=$(printf %s "$blob" | sed 's/../\\x&/g')
        old=$({ printf '100644 f\0'; printf "$bytes"; printf '040000 g\0'; printf "$(git mktree </dev/null | sed 's/../\\x&/g')"; } | git hash-object -t tree -w --stdin --literally)
        out=$({ printf '100644 ..\0'; printf "$bytes"; } | git hash-object -t tree -w --stdin --literally)
        git update-ref refs/heads/old $(printf 'tree %s\nauthor <a> 1 +051800\ncommitter A<a> 1 +0000\n\nx\n' $old | git hash-object -t commit -w --stdin --literally)
        git update-ref refs/heads/out $(git commit-tree -m x $out)
    "#;
    let mut command = world.command("bash");
    command.args(["-c", script]).current_dir(world.dir.path().join("work"));
    let said = crate::world::finished(command).await;
    assert!(said.ok, "{}", said.text);
    let url = world.url(Way::Ssh, "blog");
    world.must("work", &["push", &url, "old:main"]).await;
    let said = world.git("work", &["push", &url, "out:other"]).await;
    assert!(!said.ok && said.text.contains("hasDotdot"), "{}", said.text);
}

/// Git would run this one for the refs of a repository that shares objects; it stands for all that a configuration names.
#[tokio::test(flavor = "multi_thread")]
async fn no_program_that_a_repositorys_configuration_names_is_run() {
    let world = world().await;
    world.project("work").await;
    for way in WAYS {
        let (url, there) = (world.url(way, "blog"), world.repository("blog"));
        world.must("work", &["push", &url, &format!("main:before-{way:?}")]).await;
        let (config, mark) = (there.join("config"), world.dir.path().join("mark"));
        let program = format!("[core]\n\talternateRefsCommand = touch {} #\n", mark.display());
        let own = std::fs::read_to_string(&config).expect("read");
        std::fs::write(&config, format!("{own}{program}")).expect("written");
        let shared = world.dir.path().join("work/.git/objects");
        std::fs::write(there.join("objects/info/alternates"), format!("{}\n", shared.display()))
            .expect("written");
        world.must("work", &["push", &url, &format!("main:after-{way:?}")]).await;
        assert!(!mark.exists(), "{way:?}");
        assert_eq!(std::fs::read_to_string(&config).expect("read"), own, "{way:?}");
    }
}
