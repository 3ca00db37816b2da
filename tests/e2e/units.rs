//! The systemd units: what systemd says of them, and the system calls that they leave to the public doors.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

/// The most that the public doors may be exposed, in tenths: 0 is best, 100 worst.
const EXPOSURE_MAX: u32 = 30;

fn docker_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker")
}

fn unit(part: &str) -> PathBuf {
    docker_folder().join(format!("func-{part}.service"))
}

fn analyze(args: &[&str], file: &Path) -> Output {
    Command::new("systemd-analyze").args(args).arg(file).output().expect("systemd-analyze runs")
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn the_units_of_the_public_doors_expose_less_than_3_of_10() {
    let exposed = |part: &str, tenths: u32| {
        let threshold = format!("--threshold={tenths}");
        let out = analyze(&["security", "--offline=yes", "--no-pager", &threshold], &unit(part));
        assert!(said(&out).contains("Overall exposure level"), "{}", said(&out));
        out
    };
    for part in ["edge", "githost"] {
        let out = exposed(part, EXPOSURE_MAX);
        assert!(out.status.success(), "{}", said(&out));
    }
    assert!(!exposed("edge", 1).status.success(), "the check can fail");
    assert!(!exposed("cleaner", EXPOSURE_MAX).status.success(), "it is nearly root, and the check can tell");
}

#[test]
fn systemd_takes_every_unit_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let verify = |name: &str, change: &dyn Fn(String) -> String| {
        let text = std::fs::read_to_string(docker_folder().join(name)).expect("a unit");
        let file = folder.path().join(name);
        let text = text.replace("/usr/local/bin/func", env!("CARGO_BIN_EXE_func"));
        std::fs::write(&file, change(text)).expect("written");
        said(&analyze(&["verify", "--man=no"], &file))
    };
    let names = ["func", "func-prepare", "func-githost", "func-builder", "func-edge", "func-cleaner"];
    for name in names.map(|name| format!("{name}.service")) {
        let told = verify(&name, &|text| text);
        let ours: Vec<&str> = told.lines().filter(|line| line.contains(&name)).collect();
        assert!(ours.is_empty(), "{ours:#?}");
    }
    let told = verify("func-edge.service", &|text| text.replace("ProtectSystem", "ProtectSytem"));
    assert!(told.contains("ProtectSytem"), "the check can fail: {told}");
}

#[test]
fn the_users_of_the_units_have_the_numbers_that_func_gives_folders_to() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("etc")).expect("made");
    for (file, text) in [("passwd", "root:x:0:0::/root:/bin/sh\n"), ("group", "root:x:0:\n")] {
        std::fs::write(root.path().join("etc").join(file), text).expect("written");
    }
    let mut sysusers = Command::new("systemd-sysusers");
    sysusers.arg("--root").arg(root.path()).arg(docker_folder().join("func-sysusers.conf"));
    let out = sysusers.output().expect("systemd-sysusers runs");
    assert!(out.status.success(), "{}", said(&out));
    let made = |file: &str| std::fs::read_to_string(root.path().join("etc").join(file)).expect("read");
    for user in ["func-edge:x:7001:7001:", "func-githost:x:7002:7002:"] {
        assert!(made("passwd").contains(user), "{}", made("passwd"));
    }
    assert!(made("group").contains("func:x:7000:func-edge,func-githost"), "{}", made("group"));
    let prepare = Command::new(env!("CARGO_BIN_EXE_func")).args(["prepare", "--help"]).output();
    let help = said(&prepare.expect("func runs"));
    for id in ["7000", "7001", "7002"] {
        assert!(help.contains(&format!("[default: {id}]")), "{help}");
    }
}

/// Writes a seccomp profile for Docker with the system calls that a part's unit leaves it.
pub fn write_seccomp_profile(part: &str, file: &Path) {
    let text = std::fs::read_to_string(unit(part)).expect("a unit");
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    // systemd allows these with every list.
    let mut calls = expanded("@default");
    for line in &lines {
        match line.strip_prefix('~') {
            Some(denied) => calls = &calls - &denied.split(' ').flat_map(expanded).collect(),
            None => calls.extend(line.split(' ').flat_map(expanded)),
        }
    }
    assert!(calls.contains("read") && !calls.contains("mount"), "{lines:?}");
    let allowed: Vec<String> = calls.into_iter().collect();
    let architecture = format!("SCMP_ARCH_{}", std::env::consts::ARCH.to_uppercase());
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [architecture],
        "syscalls": [{ "names": allowed, "action": "SCMP_ACT_ALLOW" }],
    });
    std::fs::write(file, profile.to_string()).expect("written");
}

/// The system calls of a group, by systemd's own tables; a call itself is one.
fn expanded(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return [name.to_owned()].into();
    }
    let out = analyze(&["syscall-filter", "--no-pager"], Path::new(name));
    assert!(out.status.success(), "{}", said(&out));
    let text = said(&out);
    let members =
        text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    members.flat_map(expanded).collect()
}
