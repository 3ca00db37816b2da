//! Removing what tests made, through the `docker` command: it works while a test panics.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Once;

/// Runs `docker`, and gives the words that it prints; none if it fails.
pub fn docker(args: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(args).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Removes everything of one installation of a test.
pub fn remove_all(installation: &str) {
    assert!(installation.starts_with("functest-"), "{installation} is not a test's");
    let label = format!("label=func.installation={installation}");
    remove(&["ps", "-aq", "--no-trunc", "--filter", &label], &["rm", "-f", "-v"]);
    remove(&["network", "ls", "-q", "--filter", &label], &["network", "rm"]);
    remove(&["volume", "ls", "-q", "--filter", &label], &["volume", "rm"]);
    remove_rules(installation);
    func_runner::remove_group(installation);
    remove(&["images", "-aq", "--no-trunc", "--filter", &label], &["rmi", "-f"]);
}

/// Removes an installation's rules from every firewall tool, on a thread of its own: tests are in a runtime.
fn remove_rules(installation: &str) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let remove = || {
        let Ok(runtime) = runtime() else { return };
        for firewall in func_runner::Firewall::all() {
            // Absent is done, and without the right there are none.
            let _ = runtime.block_on(firewall.remove(installation));
        }
    };
    std::thread::scope(|scope| drop(scope.spawn(remove)));
}

fn remove(list: &[&str], verb: &[&str]) {
    let found: BTreeSet<String> = docker(list).into_iter().collect();
    if !found.is_empty() {
        docker(&verb.iter().copied().chain(found.iter().map(String::as_str)).collect::<Vec<_>>());
    }
}

/// Removes, once a run, what was left by runs that were ended.
pub fn sweep_once() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        let format = ["--filter", "label=func.test", "--format", "{{.Label \"func.installation\"}}"];
        let mut left: BTreeSet<String> = BTreeSet::new();
        for list in [&["ps", "-a"][..], &["network", "ls"]] {
            left.extend(docker(&[list, &format].concat()));
        }
        let images = docker(&["images", "-aq", "--no-trunc", "--filter", "label=func.installation"]);
        let label = "{{index .Config.Labels \"func.installation\"}}";
        for image in images {
            left.extend(docker(&["image", "inspect", "--format", label, &image]));
        }
        left.iter().filter(|name| of_a_dead_run(name)).for_each(|name| remove_all(name));
    });
}

fn of_a_dead_run(installation: &str) -> bool {
    let pid = installation.strip_prefix("functest-").and_then(|rest| rest.split('-').next());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}
