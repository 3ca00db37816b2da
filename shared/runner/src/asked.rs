//! What a build may ask for, beyond its own files.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use func_model::Asks;

use crate::BuildFailed;

/// What holds for a build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub installation: &'a str,
    /// Images of apps may be built on.
    pub from_apps: bool,
    /// Nothing but these rules keeps the build from the machine's own network.
    pub on_hosts_network: bool,
}

/// The oldest minor version of `docker/dockerfile:1` that keeps the caches of two apps apart.
const SYNTAX_MINOR_MIN: u32 = 3;

impl Rules<'_> {
    /// Refuses a build that asks for what it may not have.
    ///
    /// # Errors
    /// [`BuildFailed::Refused`].
    pub(crate) fn check(&self, asks: &Asks) -> Result<(), BuildFailed> {
        if let Some(syntax) = asks.syntax.as_deref().filter(|syntax| !is_known_syntax(syntax)) {
            return refused(
                format!("`# syntax={syntax}` names a program that func does not run"),
                "leave the line out, or name docker/dockerfile:1 (1.3 or later, without a digest)",
            );
        }
        if self.from_apps {
            return self.check_downloads(asks);
        }
        if let Some(image) = asks.images.iter().find(|image| self.is_of_app(image)) {
            return refused(
                format!("{image} is the image of an app, and no other app may read it"),
                "build on an image that is no app's; whoever runs this server can allow it with `from-apps`",
            );
        }
        self.check_downloads(asks)
    }

    fn check_downloads(&self, asks: &Asks) -> Result<(), BuildFailed> {
        if !self.on_hosts_network {
            return Ok(());
        }
        if let Some(unclear) = asks.unclear.first() {
            return refused(
                format!("func cannot tell what `{unclear}` in the Dockerfile stands for"),
                "write it without variables, or give them values with ARG in the Dockerfile",
            );
        }
        let near = asks.downloads.iter().find(|address| host(address).is_none_or(is_near));
        near.map_or(Ok(()), |address| {
            refused(
                format!("ADD {address}: the server's own network is not for builds"),
                "put the file into the repository, or download it in a RUN from a public address",
            )
        })
    }

    /// Whether an image is one of this installation's apps, or of another's on the same engine.
    fn is_of_app(&self, image: &str) -> bool {
        let name = image.to_ascii_lowercase();
        let name = ["docker.io/", "index.docker.io/"]
            .iter()
            .fold(name.as_str(), |name, registry| name.strip_prefix(registry).unwrap_or(name));
        let Some((owner, _)) = name.split_once('/') else { return false };
        let is_other = owner
            .strip_prefix("func-")
            .is_some_and(|id| id.len() == 6 && id.chars().all(|c| c.is_ascii_hexdigit()));
        owner == self.installation || owner == "func" || is_other
    }
}

fn refused(said: String, hint: &'static str) -> Result<(), BuildFailed> {
    Err(BuildFailed::Refused { said, hint })
}

/// Whether a reader of Dockerfiles is BuildKit's own, of a version that heeds what func tells it. Another one could
/// mount any app's cache; and so could an old one, behind a digest.
fn is_known_syntax(image: &str) -> bool {
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let Some(tag) = name.strip_prefix("docker/dockerfile") else { return false };
    let Some(tag) = tag.strip_prefix(':') else { return tag.is_empty() };
    let version = tag.strip_suffix("-labs").unwrap_or(tag);
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(1)), None, None, None) => true,
        (Some(Ok(1)), Some(Ok(minor)), None | Some(Ok(_)), None) => minor >= SYNTAX_MINOR_MIN,
        _ => ["latest", "labs"].contains(&version),
    }
}

/// Returns the host of an address: `https://user@host:80/path`, `git@host:path`.
fn host(address: &str) -> Option<&str> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(v6, _)| v6),
        None => host.split(':').next(),
    }
    .filter(|host| !host.is_empty())
}

/// Whether a host is this machine, or on a network that is not public. Names are not looked up: what a name stands for
/// may change until it is asked for.
fn is_near(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if let Ok(ip) = host.parse::<IpAddr>() {
        return is_near_ip(ip);
    }
    // A name whose last part is a number is an address to some resolvers: 2130706433, 0x7f.1, 127.1.
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.starts_with("0x") || last.chars().all(|c| c.is_ascii_digit());
    let is_local = ["localhost", "local", "internal", "localdomain"].contains(&last) || !host.contains('.');
    is_number || is_local
}

fn is_near_ip(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_near_v4(ip),
        IpAddr::V6(ip) => is_near_v6(ip),
    }
}

fn is_near_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || a == 0
        || shared
}

fn is_near_v6(ip: Ipv6Addr) -> bool {
    let embedded = ip.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || ip.is_multicast()
        || embedded
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules<'_> = Rules { installation: "func-0a1b2c", from_apps: false, on_hosts_network: true };

    fn check(rules: Rules<'_>, dockerfile: &str) -> Result<(), String> {
        rules.check(&Asks::read(dockerfile)).map_err(|e| e.to_string())
    }

    #[test]
    fn no_app_builds_on_an_apps_image_however_it_is_named() {
        for image in [
            "func-0a1b2c/blog:v1",
            "docker.io/func-0a1b2c/blog",
            "index.docker.io/func/blog:v1@sha256:0",
            "func-ffffff/blog:v1",
        ] {
            for line in [
                format!("FROM {image}"),
                format!("FROM scratch\nCOPY --from={image} / /"),
                format!("ARG X={image}\nFROM $X"),
            ] {
                let said = check(RULES, &line).expect_err(&line);
                assert!(said.contains("is the image of an app"), "{said}");
            }
        }
        for fine in
            ["busybox:stable", "funcs/blog", "library/func-0a1b2c", "example.org/func/x", "func-tool/x"]
        {
            assert_eq!(check(RULES, &format!("FROM {fine}")), Ok(()));
        }
        let allowed = Rules { from_apps: true, ..RULES };
        assert_eq!(check(allowed, "FROM func-0a1b2c/blog:v1"), Ok(()));
    }

    #[test]
    fn only_readers_of_dockerfiles_that_heed_func_are_run() {
        for known in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker.io/docker/dockerfile:1.3",
            "docker/dockerfile:1.7-labs",
        ] {
            assert_eq!(check(RULES, &format!("# syntax={known}\nFROM scratch")), Ok(()), "{known}");
        }
        for other in [
            "docker/dockerfile:1.2",
            "docker/dockerfile:1.0-experimental",
            "docker/dockerfile:1@sha256:00",
            "docker/dockerfile:2",
            "docker/dockerfilex:1",
            "func-0a1b2c/blog:v1",
            "evil/frontend",
        ] {
            let said = check(RULES, &format!("# syntax={other}\nFROM scratch")).expect_err(other);
            assert!(said.contains("does not run"), "{said}");
        }
    }

    #[test]
    fn on_the_hosts_network_nothing_near_is_downloaded() {
        for near in [
            "http://127.0.0.1:8000/x",
            "http://a:b@127.9.9.9",
            "http://[::1]/x",
            "http://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/latest",
            "http://metadata.google.internal/",
            "https://LOCALHOST./x",
            "http://x.localhost",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://127.1/",
            "http://0/",
            "http://10.1.2.3",
            "http://172.17.0.1/x",
            "http://printer/",
            "git@127.0.0.1:x/y.git",
            "http:///x",
        ] {
            let said = check(RULES, &format!("FROM scratch\nADD {near} /x")).expect_err(near);
            assert!(said.contains("own network"), "{near}: {said}");
            let confined = Rules { on_hosts_network: false, ..RULES };
            assert_eq!(check(confined, &format!("FROM scratch\nADD {near} /x")), Ok(()));
        }
        for far in
            ["https://example.org/x", "http://8.8.8.8/x", "http://[2606:4700::1]/x", "git@example.org:x/y"]
        {
            assert_eq!(check(RULES, &format!("FROM scratch\nADD {far} /x")), Ok(()));
        }
        let said = check(RULES, "FROM scratch\nADD ${SOMETHING#x} /x").expect_err("unclear");
        assert!(said.contains("${SOMETHING#x}"), "{said}");
    }
}
