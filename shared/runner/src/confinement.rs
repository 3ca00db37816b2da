//! What an instance may do and use: its capabilities, its limits, its files.

use std::collections::HashMap;

use bollard::models::{
    HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};
use func_model::{Capability, Release, Resources};

use crate::image::Shape;
use crate::poise::bind;
use crate::{Docker, resolver};

/// The engine's own log of an instance: one file of this size is kept.
const ENGINE_LOG_BYTES: &str = "4m";

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How much sooner than others the kernel ends an instance when the machine's memory is used up: before every part of
/// func, the engine and the system's services, which all are at 0 or below.
const OOM_SCORE_ADJ: i64 = 500;

/// What programs write to beside their data; in memory when an instance's files are read-only.
const SCRATCH: [&str; 2] = ["/tmp", "/run"];

impl Docker {
    /// Returns what an instance of a release gets: what the release was allowed, within what the server allows now.
    pub(crate) fn limits(&self, release: &Release) -> Resources {
        release.limits.at_most(self.config().max)
    }

    /// Describes what the container of a release may do and use. Beyond its own processes and files that is nothing.
    pub(crate) fn confined(&self, release: &Release, shape: &Shape) -> HostConfig {
        let limits = self.limits(release);
        let memory = i64::try_from(limits.memory_bytes).unwrap_or(i64::MAX);
        HostConfig {
            network_mode: Some(self.installation().to_owned()),
            memory: Some(memory),
            // Memory and swap together: no swap.
            memory_swap: Some(memory),
            nano_cpus: Some(i64::from(limits.cpus_milli) * 1_000_000),
            pids_limit: Some(i64::from(limits.pids)),
            oom_score_adj: Some(OOM_SCORE_ADJ),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(kept(&release.capabilities, shape)),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            privileged: Some(false),
            ipc_mode: Some("private".to_owned()),
            cgroup_parent: self.parent().map(|parent| parent.name().to_owned()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            // Every user of an instance may listen on port 80: its ports are its own.
            sysctls: Some(HashMap::from([(
                "net.ipv4.ip_unprivileged_port_start".to_owned(),
                "0".to_owned(),
            )])),
            init: Some(false),
            storage_opt: self.storage(release),
            readonly_rootfs: Some(release.read_only),
            tmpfs: Some(tmpfs(release.read_only, &shape.volumes, limits)),
            // No core dumps on the host's disk. Open files are as the engine's own: it may not be able to give more.
            ulimits: Some(vec![ResourcesUlimits {
                name: Some("core".to_owned()),
                soft: Some(0),
                hard: Some(0),
            }]),
            // The ledger decides what runs.
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            // The engine's own name server would name every other app.
            mounts: resolver::file(&self.run_folder()).map(|file| vec![bind(&file, RESOLV_CONF)]),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([
                    ("max-size".to_owned(), ENGINE_LOG_BYTES.to_owned()),
                    ("max-file".to_owned(), "2".to_owned()),
                ])),
            }),
            ..Default::default()
        }
    }
}

/// Returns the capabilities of a container: none if its image names a user who is not root.
fn kept(capabilities: &[Capability], shape: &Shape) -> Vec<String> {
    let kept = capabilities.iter().filter(|_| shape.is_root);
    kept.map(|capability| capability.name().to_owned()).collect()
}

/// Gives an instance memory in place of its image's volumes: otherwise the engine makes a folder on the host's disk for
/// each. It starts empty (what the image has at that path is not seen), everybody may write to it, what is in it counts
/// as the instance's memory, and it is gone with the instance. Where files are read-only, so it is with what programs
/// write to beside their data.
fn tmpfs(read_only: bool, volumes: &[String], limits: Resources) -> HashMap<String, String> {
    let options = |bytes: u64| format!("rw,exec,nosuid,nodev,mode=1777,size={bytes}");
    let scratch = SCRATCH.iter().filter(|_| read_only);
    let scratch = scratch.map(|path| ((*path).to_owned(), options(limits.tmp_bytes)));
    let volumes = volumes.iter().map(|path| (clean_path(path), options(limits.memory_bytes)));
    // A volume that the image declares goes first: it is larger.
    scratch.chain(volumes).collect()
}

/// Gives a path as the engine compares it: from the root, without `.`, `..`, and slashes that say nothing.
fn clean_path(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use func_model::RESOURCES;

    use super::*;

    #[test]
    fn a_volume_is_found_however_its_path_is_written() {
        for path in ["/data", "/data/", "//data/.", "/x/../data", "data"] {
            assert_eq!(clean_path(path), "/data", "{path}");
        }
        assert_eq!(clean_path("/var/lib/db"), "/var/lib/db");
    }

    #[test]
    fn only_what_starts_as_root_keeps_capabilities() {
        let shape = |is_root| Shape { volumes: Vec::new(), command: Vec::new(), is_root };
        assert_eq!(kept(&[Capability::Chown, Capability::Setuid], &shape(true)), ["CHOWN", "SETUID"]);
        assert_eq!(kept(&Capability::ALL, &shape(false)), Vec::<String>::new());
        assert_eq!(kept(&[], &shape(true)), Vec::<String>::new());
    }

    #[test]
    fn read_only_files_leave_tmp_and_run_and_a_volume_of_the_same_path_is_as_large_as_any() {
        let size = |mounts: &HashMap<String, String>, path: &str| {
            mounts.get(path).and_then(|options| options.rsplit_once("size=")).map(|(_, size)| size.to_owned())
        };
        let mounts = tmpfs(true, &["/tmp/".to_owned(), "/data".to_owned()], RESOURCES);
        assert_eq!(size(&mounts, "/run"), Some(RESOURCES.tmp_bytes.to_string()));
        assert_eq!(size(&mounts, "/tmp"), Some(RESOURCES.memory_bytes.to_string()));
        assert_eq!(mounts.len(), 3);
        assert!(tmpfs(false, &[], RESOURCES).is_empty());
    }
}
