//! The build engine's container: what it may use, and what it is given.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, SystemInfoCgroupDriverEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, InspectContainerOptions, LogsOptions, StartContainerOptions,
};
use futures_util::StreamExt;

use crate::call::{ASK, WORK, call, present};
use crate::docker::MADE;
use crate::gate_program::hex;
use crate::poise::bind;
use crate::{Docker, RunnerError, resolver};

const SCRIPT: &str = include_str!("start.sh");
/// Capabilities of the nested engine, which sets up namespaces. Build steps get Docker's usual fourteen.
const CAPABILITIES: [&str; 18] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_CHROOT",
    "SYS_PTRACE",
];
/// Half of what all apps together have when both want all CPUs.
const CPU_SHARES: i64 = 512;
/// The kernel ends builds before apps, whose value is 500.
const OOM_SCORE_ADJ: i64 = 700;
/// Processes of all steps, and how many more the engine itself may have.
const STEPS_PIDS: i64 = 4_096;
const ENGINE_PIDS: i64 = 1_024;
/// Memory that steps leave to the engine itself.
const ENGINE_BYTES: u64 = 256 << 20;
const LOG_BYTES: &str = "4m";
/// The first build waits for this; an engine without a way to a registry finds that out within seconds.
const PULL: Duration = Duration::from_secs(3 * 60);
/// Lines of its log that explain why it ended.
const LAST_LINES: &str = "3";

impl Docker {
    pub(super) async fn describe_build_engine(&self) -> Result<ContainerCreateBody, RunnerError> {
        let engine = self.engine().await?;
        let about = call("describe itself", ASK, engine.info()).await?;
        let is_slice = about.cgroup_driver == Some(SystemInfoCgroupDriverEnum::SYSTEMD);
        let mut body = ContainerCreateBody {
            image: Some(self.config().builds.image.clone()),
            entrypoint: Some(["/bin/sh", "-euc", SCRIPT].map(str::to_owned).to_vec()),
            cmd: Some(Vec::new()),
            env: Some(self.build_environment()?),
            labels: Some(self.labels()),
            host_config: Some(self.build_limits(is_slice)),
            ..Default::default()
        };
        // As a value its keys are sorted.
        let value = serde_json::to_value(&body).map_err(|e| refused(&e))?;
        let made = hex(value.to_string().as_bytes());
        body.labels.get_or_insert_default().insert(MADE.to_owned(), made);
        Ok(body)
    }

    fn build_environment(&self) -> Result<Vec<String>, RunnerError> {
        let folder = self.build_folder();
        let prepared = fs::create_dir_all(&folder)
            .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)))
            .and_then(|()| fs::metadata(&folder));
        let about = prepared.map_err(|e| refused(&format_args!("{}: {e}", folder.display())))?;
        let steps_bytes = self.config().builds.memory_bytes;
        Ok(vec![
            format!("STEPS_MEMORY={steps_bytes}"),
            format!("STEPS_PIDS={STEPS_PIDS}"),
            format!("SOCKET_GROUP={}", about.gid()),
            format!("CACHE_BYTES={}", self.config().builds.cache_bytes),
            "DOCKER_TLS_CERTDIR=".to_owned(),
        ])
    }

    fn build_limits(&self, is_slice: bool) -> HostConfig {
        let memory = self.config().builds.memory_bytes.saturating_add(ENGINE_BYTES);
        let memory = i64::try_from(memory).unwrap_or(i64::MAX);
        let mut mounts = vec![self.build_volume(), shared(&self.build_folder().display().to_string())];
        mounts.extend(resolver::file(&self.run_folder()).map(|file| bind(&file, "/etc/resolv.conf")));
        HostConfig {
            network_mode: Some(self.build_name()),
            memory: Some(memory),
            memory_swap: Some(memory),
            pids_limit: Some(STEPS_PIDS + ENGINE_PIDS),
            cpu_shares: Some(CPU_SHARES),
            // Beside the group of all apps, so that the two share CPUs by their weights.
            cgroup_parent: Some(if is_slice { "-.slice" } else { "/" }.to_owned()),
            // An engine that maps root to another user gives that user none of the capabilities.
            userns_mode: Some("host".to_owned()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            oom_score_adj: Some(OOM_SCORE_ADJ),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            // The filter of the engine that serves would be inherited by steps, which get the build engine's own.
            security_opt: Some(
                ["seccomp=unconfined", "apparmor=unconfined", "label=disable"].map(str::to_owned).to_vec(),
            ),
            masked_paths: Some(Vec::new()),
            readonly_paths: Some(Vec::new()),
            privileged: Some(false),
            init: Some(true),
            mounts: Some(mounts),
            tmpfs: Some(HashMap::from([
                ("/run".to_owned(), String::new()),
                ("/tmp".to_owned(), String::new()),
            ])),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([
                    ("max-size".to_owned(), LOG_BYTES.to_owned()),
                    ("max-file".to_owned(), "1".to_owned()),
                ])),
            }),
            ..Default::default()
        }
    }

    fn build_volume(&self) -> Mount {
        Mount {
            typ: Some(MountType::VOLUME),
            source: Some(self.build_name()),
            target: Some("/var/lib/docker".to_owned()),
            volume_options: Some(MountVolumeOptions { labels: Some(self.labels()), ..Default::default() }),
            ..Default::default()
        }
    }

    /// Whether the container runs, and is what would be made now.
    pub(super) async fn is_build_engine_running(
        &self,
        wanted: &ContainerCreateBody,
    ) -> Result<bool, RunnerError> {
        let name = self.build_name();
        let asked = self.engine().await?.inspect_container(&name, None::<InspectContainerOptions>);
        let Some(found) = present(call("look at the build engine", ASK, asked).await)? else {
            return Ok(false);
        };
        let made = found.config.and_then(|config| config.labels).and_then(|mut labels| labels.remove(MADE));
        let is_wanted = made.as_ref() == wanted.labels.as_ref().and_then(|labels| labels.get(MADE));
        Ok(is_wanted && found.state.and_then(|state| state.running).unwrap_or(false))
    }

    /// Makes the container and starts it. Its image is pulled where it is missing and there is a registry.
    pub(super) async fn start_build_engine(
        &self,
        description: ContainerCreateBody,
    ) -> Result<(), RunnerError> {
        self.pull_build_engine().await?;
        self.make_build_network().await?;
        let (engine, name) = (self.engine().await?, self.build_name());
        let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
        let created = engine.create_container(Some(options), description);
        call("make the build engine", WORK, created).await?;
        let started = engine.start_container(&name, None::<StartContainerOptions>);
        Ok(call("start the build engine", WORK, started).await?)
    }

    async fn pull_build_engine(&self) -> Result<(), RunnerError> {
        if self.has_build_image().await? {
            return Ok(());
        }
        let (engine, image) = (self.engine().await?, &self.config().builds.image);
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let options = CreateImageOptions {
            from_image: Some(name.to_owned()),
            tag: Some(tag.to_owned()),
            ..Default::default()
        };
        let mut told = Box::pin(engine.create_image(Some(options), None, None));
        let all = async {
            while let Some(message) = told.next().await {
                message?;
            }
            Ok(())
        };
        Ok(call("pull the image of the build engine", PULL, all).await?)
    }

    /// Returns the end of the container's log if it has ended.
    pub(super) async fn last_words_of_build_engine(&self) -> Result<Option<String>, RunnerError> {
        let (engine, name) = (self.engine().await?, self.build_name());
        let asked = engine.inspect_container(&name, None::<InspectContainerOptions>);
        let found = present(call("look at the build engine", ASK, asked).await)?;
        if found.and_then(|found| found.state?.running).unwrap_or(false) {
            return Ok(None);
        }
        let options =
            LogsOptions { stdout: true, stderr: true, tail: LAST_LINES.to_owned(), ..Default::default() };
        let lines = engine.logs(&name, Some(options)).map(|line| line.map(|line| line.to_string()));
        let lines = call("read the build engine's log", ASK, async {
            Ok(lines.filter_map(|line| std::future::ready(line.ok())).collect::<Vec<_>>().await)
        });
        let said = lines.await.unwrap_or_default().concat();
        Ok(Some(format!("it ended: {}", said.trim())))
    }
}

fn refused(error: &dyn std::fmt::Display) -> RunnerError {
    RunnerError::Refused { verb: "run the build engine", said: error.to_string() }
}

/// The folder with the engine's socket.
fn shared(folder: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(folder.to_owned()),
        target: Some("/run/func".to_owned()),
        ..Default::default()
    }
}
