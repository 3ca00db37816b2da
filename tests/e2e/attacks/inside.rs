//! What an app may do and use: as much as it needs, and no more than its operator allows.

use crate::client::Repo;
use crate::world::{World, docker, until};

/// What images of servers do that start as root: they give their files away, and become another user.
const AS_OFFICIAL_IMAGES_DO: &str = "FROM busybox:stable
RUN mkdir -p /www/cgi-bin && echo hello > /www/index.html
COPY --chmod=755 fill /www/cgi-bin/fill
EXPOSE 80
CMD [\"sh\", \"-c\", \"chown -R 1000:1000 /www && exec httpd -f -p 80 -u 1000:1000 -h /www\"]
";

/// Writes 64 MiB to the app's own files, and answers.
const FILL: &str = "#!/bin/sh
dd if=/dev/zero of=/www/full bs=1M count=64 2>/dev/null
printf 'Content-Type: text/plain\\r\\n\\r\\nfilled\\n'
";

fn repo(world: &World, config: &str) -> Repo {
    let repo = Repo::empty(world);
    repo.write("Dockerfile", AS_OFFICIAL_IMAGES_DO);
    repo.write("fill", FILL);
    repo.write("func.toml", config);
    repo.commit("as official images do");
    repo
}

#[test]
fn an_app_becomes_another_user_and_gets_no_more_than_its_operator_allows() {
    let world = World::with(&[("app-memory", "64M"), ("app-memory-max", "128M"), ("app-pids-max", "32")]);
    let official = repo(&world, "");
    official.push(&world.ssh_url("web")).succeeded();
    assert_eq!(world.get("web.localhost", "/index.html").1, "hello\n");
    let name = format!("{}-web-v1.1", world.installation);
    let shown = |format: &str| docker(&["inspect", "-f", format, &name]);
    assert_eq!(shown("{{.HostConfig.Memory}}"), (64 * 1024 * 1024).to_string());

    for (config, told) in [
        ("limits.memory = \"1024G\"", "a size from 8M to 128M (this server's limit)"),
        ("limits.pids = 100000", "from 8 to 32 (this server's limit)"),
        ("capabilities = [\"SYS_ADMIN\"]", "a list of CHOWN, DAC_OVERRIDE, "),
        // Taken away, and told why it does not start.
        ("capabilities = []", "hint: an app has the capabilities CHOWN, DAC_OVERRIDE, "),
        ("read-only = true", "hint: `read-only = true` in func.toml leaves /tmp and /run to write to"),
    ] {
        official.write("func.toml", config);
        official.commit(config);
        let said = official.push(&world.ssh_url("web")).failed();
        assert!(said.contains(told), "{config}: {said}");
        assert_eq!(world.get("web.localhost", "/index.html").0, 200, "{config}: the old release serves");
    }
}

#[test]
fn an_app_that_fills_the_disk_is_ended_and_its_log_says_so() {
    let world = World::new();
    repo(&world, "limits.disk = \"16M\"").push(&world.ssh_url("web")).succeeded();
    assert_eq!(world.get("web.localhost", "/cgi-bin/fill").1, "filled\n");
    until("it is ended", || {
        let said = world.func(&["logs", "web"]).stdout;
        String::from_utf8_lossy(&said).contains("and may write 16 MiB (`limits.disk` in func.toml)")
    });
    until("it serves again, with fresh files", || world.get("web.localhost", "/full").0 == 404);
}
