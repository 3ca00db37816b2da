//! The name servers of instances: a file of ours in place of the engine's, whose server names every other container.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const NAME: &str = "resolv.conf";
/// Everybody in an instance may read it.
const MODE: u32 = 0o644;
/// The host's own, and where systemd keeps the real ones when that names only its stub.
const HOSTS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// As many as the C library asks.
const SERVERS_MAX: usize = 3;

/// Returns the name servers that instances get: those given, else the host's own; none if it has only a stub of its own.
pub fn name_servers(given: &[IpAddr]) -> Vec<IpAddr> {
    wanted(given, &hosts()).1
}

fn hosts() -> [String; 2] {
    HOSTS.map(|path| fs::read_to_string(path).unwrap_or_default())
}

/// Writes the file and returns the name servers in it: those given, else the host's. Without any there is no file, and
/// instances ask the engine's server. Repeatable; containers that run see the change.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn put(dir: &Path, given: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
    let (text, servers) = wanted(given, &hosts());
    let path = dir.join(NAME);
    if servers.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(servers),
        };
    }
    if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
        // In place: containers have this file mounted, not its name.
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(MODE).open(&path)?;
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        file.write_all(text.as_bytes())?;
    }
    Ok(servers)
}

/// Returns the file, if instances get it.
pub(crate) fn file(dir: &Path) -> Option<PathBuf> {
    let path = dir.join(NAME);
    path.is_file().then_some(path)
}

/// Returns the text of the file, and the servers in it.
fn wanted(given: &[IpAddr], hosts: &[String]) -> (String, Vec<IpAddr>) {
    let usable = |text: &String| servers(text).filter(|addr| !addr.is_loopback()).collect::<Vec<_>>();
    let host = hosts.iter().find(|text| !usable(text).is_empty());
    let mut servers = match given {
        [] => host.map(usable).unwrap_or_default(),
        given => given.to_vec(),
    };
    servers.truncate(SERVERS_MAX);
    let mut text = String::from("# Written by func: see the setting `dns`.\n");
    servers.iter().for_each(|addr| text.push_str(&format!("nameserver {addr}\n")));
    let kept = |line: &&str| ["search ", "options "].iter().any(|word| line.starts_with(word));
    host.map(String::as_str).unwrap_or_default().lines().filter(kept).for_each(|line| {
        text.push_str(line.trim_end());
        text.push('\n');
    });
    (text, servers)
}

fn servers(text: &str) -> impl Iterator<Item = IpAddr> {
    let words = text.lines().map(str::split_whitespace);
    words
        .filter_map(|mut words| (words.next()? == "nameserver").then(|| words.next()?.parse().ok()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn a_stub_on_loopback_is_passed_over_for_the_real_servers() {
        let stub = "nameserver 127.0.0.53\nsearch stub.example\n".to_owned();
        let real = "# x\nnameserver 10.0.0.53\nnameserver fd00::53\nsearch lan.example\n".to_owned();
        let (text, servers) = wanted(&[], &[stub.clone(), real]);
        assert_eq!(servers, addrs(&["10.0.0.53", "fd00::53"]));
        assert!(text.ends_with("nameserver 10.0.0.53\nnameserver fd00::53\nsearch lan.example\n"), "{text}");
        assert_eq!(wanted(&[], &[stub, String::new()]).1, addrs(&[]));
    }

    #[test]
    fn given_servers_go_before_the_hosts_and_three_are_enough() {
        let host = "nameserver 10.0.0.53\n".to_owned();
        let given = addrs(&["9.9.9.9", "1.1.1.1", "8.8.8.8", "8.8.4.4"]);
        assert_eq!(wanted(&given, &[host]).1, given[..3]);
    }

    #[test]
    fn the_file_is_written_in_place_and_goes_when_there_are_no_servers() {
        let dir = tempfile::tempdir().expect("a folder");
        let inode = || {
            std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.path().join(NAME)).expect("it is there"))
        };
        put(dir.path(), &addrs(&["9.9.9.9"])).expect("written");
        let before = inode();
        put(dir.path(), &addrs(&["1.1.1.1"])).expect("written");
        assert_eq!(inode(), before, "containers see the change");
        assert!(file(dir.path()).is_some());
    }
}
