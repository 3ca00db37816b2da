//! For build scripts: builds a small static program of this workspace, whose bytes become a part of the crate that is
//! being built.
//!
//! It is built once for all profiles, as a small static release, in a target folder of its own: cargo holds the lock
//! of the outer one while this runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Smaller before faster.
const PROFILE: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];
/// What the outer cargo sets for its own compiler calls, and what would change the inner ones.
const LEAKS: &[&str] = &[
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_LINKER",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "OUT_DIR",
    "TARGET",
    "HOST",
    "PROFILE",
    "OPT_LEVEL",
    "DEBUG",
    "NUM_JOBS",
];

/// Builds the program `name` of a crate, and puts it into `OUT_DIR` under that name, for `include_bytes!`. `crate_dir`
/// is relative to the crate that is being built.
///
/// # Panics
/// If it cannot be built: that is how a build script fails.
pub fn program(name: &str, crate_dir: &str) {
    let crate_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join(crate_dir);
    for path in ["src", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", crate_dir.join(path).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(variable("OUT_DIR"));
    let target = variable("TARGET");
    let workspace = target_dir(&out, &target);
    let embedded = workspace.join("embedded");
    build(name, &crate_dir, &embedded, &target);
    let built = embedded.join(&target).join("release").join(name);
    let copied = fs::copy(&built, out.join(name));
    if let Err(e) = copied {
        panic!("copy {}: {e}", built.display());
    }
}

fn build(name: &str, crate_dir: &Path, embedded: &Path, target: &str) {
    let mut cargo = Command::new(variable("CARGO"));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if LEAKS.contains(&text.as_ref())
            || text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_FEATURE_")
            || text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_PROFILE_")
            || text.starts_with("DEP_")
        {
            cargo.env_remove(&name);
        }
    }
    // A caller's RUSTFLAGS go before the configuration's; these go before both.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo.envs(PROFILE.iter().copied());
    cargo.args(["build", "--release", "--locked", "--bin", name, "--target", target]);
    cargo.arg("--manifest-path").arg(crate_dir.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(embedded);
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("the build of {name} ended with {status}"),
        Err(e) => panic!("run cargo for {name}: {e}"),
    }
}

/// Gives the target folder of the outer build: the nearest that cargo marked, above the one of a named target.
fn target_dir<'a>(out: &'a Path, target: &str) -> &'a Path {
    let marked = out.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists());
    match marked {
        Some(dir) if dir.file_name().is_some_and(|name| name == target) => dir.parent().unwrap_or(dir),
        Some(dir) => dir,
        None => out,
    }
}

fn variable(name: &str) -> String {
    match env::var(name) {
        Ok(value) => value,
        Err(e) => panic!("{name} is set by cargo: {e}"),
    }
}
