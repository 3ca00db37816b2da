//! The table of settings.

/// One setting. Its flag is `--<name>`, its variable `FUNC_<NAME>`, its key in func-server.toml `<name>`.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    pub default: &'static str,
    /// What it is for, in one sentence without a full stop.
    pub help: &'static str,
}

impl Setting {
    /// Gives the name of its variable, `FUNC_EDGE_LISTEN`.
    pub fn variable(&self) -> String {
        format!("FUNC_{}", self.name.replace('-', "_").to_uppercase())
    }
}

const fn setting(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, default, help }
}

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    setting("data", super::DATA, "the folder for repositories, manifests, keys and logs"),
    setting("domain", "localhost", "apps answer at `<app>.<domain>`"),
    setting(
        "edge-listen",
        "127.0.0.1:8080",
        "where requests come in: addresses with ports, separated by commas",
    ),
    setting("ssh-listen", "127.0.0.1:7022", "where git comes in over SSH; `off` for nowhere"),
    setting("http-listen", "127.0.0.1:7080", "where git comes in over HTTP; `off` for nowhere"),
    setting(
        "redis",
        "memory",
        "the ledger: `redis://host:port`, `redis+unix:///path`, or `memory` for `serve all`",
    ),
    setting("redis-prefix", "func:", "what the names of func's keys in Redis begin with"),
    setting("docker", "/var/run/docker.sock", "the Docker engine: a socket's path, or `tcp://host:port`"),
    setting("branch", "main", "the branch whose pushes are deployed"),
    setting(
        "url",
        "",
        "how an app's URL is printed, with `{host}` in it; by default http and the edge's port",
    ),
    setting(
        "idle",
        "60s",
        "how long an app may be unused before it is stopped, from 5s to 24h; func.toml may say otherwise",
    ),
    setting(
        "poised-memory",
        "2%",
        "memory for instances that are made ahead, about 4M each: a size, a share of the machine, or `0` for none",
    ),
    setting(
        "frozen-memory",
        "10%",
        "memory that paused instances may keep, together: a size, a share of the machine, or `0` for none",
    ),
    setting(
        "apps-memory",
        "80%",
        "the most memory that all apps use together, a size or a share of the machine: beyond it one of them is ended",
    ),
    setting("app-memory", "512M", "the memory of an app whose func.toml says nothing"),
    setting(
        "app-memory-max",
        "50%",
        "the most that an app may ask for: a size, or a share of the machine; what is live gets no more from its next start on",
    ),
    setting("app-cpus", "1", "the CPUs of an app whose func.toml says nothing"),
    setting("app-cpus-max", "", "the most that an app may ask for; by default all of the machine's"),
    setting("app-pids", "256", "the processes and threads of an app whose func.toml says nothing"),
    setting("app-pids-max", "4096", "the most that an app may ask for"),
    setting("app-disk", "1G", "what an app whose func.toml says nothing may write to its own files"),
    setting("app-disk-max", "10G", "the most that an app may ask for"),
    setting("build-time", "15m", "how long one build may take, from 10s to 24h"),
    setting(
        "build-engine",
        "auto",
        "where builds run: `apart`, an engine in a container of its own; `shared`, the engine that serves; `auto`, apart where the machine can",
    ),
    setting(
        "build-memory",
        "50%",
        "the most memory of all builds at once: a size, or a share of the machine; only apart, as the next two",
    ),
    setting("build-disk", "20G", "the most disk space that may go during one build, from 100M"),
    setting(
        "build-egress",
        "internet",
        "what builds reach: `internet`, `none`, or `all` for private networks as well; never the host or apps",
    ),
    setting("from-apps", "no", "let an app's Dockerfile build on the images of apps: `yes` or `no`"),
    setting("push-size", "8G", "the largest push, from 1M"),
    setting(
        "free-disk",
        "auto",
        "how much of the data folder's disk stays free: with less, pushes are refused; `auto`: 1G, or a twentieth of a small disk",
    ),
    setting(
        "disk",
        "60%",
        "the most disk that images, build cache, repositories and logs take together: a size, or a share of the disk; beyond it what was used least recently goes, then pushes are refused",
    ),
    setting("context-size", "8G", "the most that the files of one commit may be when it is built, from 1M"),
    setting(
        "retire-drain",
        "1h",
        "how long requests in flight may take at a release that was replaced, from 1s to 24h; func.toml may say otherwise",
    ),
    setting("drain", "30s", "how long requests in flight may take when func is stopped, up to 24h"),
    setting(
        "egress",
        "internet",
        "what apps reach: `internet`, `none`, or `all` for private networks as well; never the host, link-local addresses, other apps",
    ),
    setting(
        "egress-allow",
        "",
        "what else apps reach over TCP, also on the host or in a container: `10.0.0.5:5432`, separated by commas",
    ),
    setting("dns", "", "the name servers of apps, separated by commas; by default the host's own"),
    setting(
        "trusted-proxies",
        "",
        "addresses or networks (`10.0.0.0/8`) of proxies in front, whose X-Forwarded headers are believed",
    ),
    setting(
        "connections",
        "auto",
        "how many connections the edge has open at once; `auto`: 20000, or fewer if there are fewer file descriptors",
    ),
    setting(
        "connections-per-address",
        "2000",
        "how many of them one IPv4 address, or one IPv6 /64, may have; trusted proxies are not counted",
    ),
    setting("head-size", "32K", "the largest head of a request, from 1K to 256K"),
    setting("head-time", "15s", "how long a request's head may take, from 1s to 5m"),
    setting("keep-alive", "75s", "how long a connection is kept without a request, from 1s to 1h"),
    setting(
        "body-rate",
        "256",
        "bytes a second that a client sends or takes at least, over a minute; `0`: any byte in a minute will do",
    ),
    setting("own-keys", "no", "let in the public keys in ~/.ssh of the user who runs func: `yes` or `no`"),
    setting(
        "log",
        "info",
        "what is logged: `error`, `warn`, `info`, `debug`, or a filter like `func_edge=debug`",
    ),
    setting("log-format", "text", "`text` or `json`"),
];

/// The rows of the table in the README.
#[cfg(test)]
pub fn readme_rows() -> Vec<String> {
    let row = |s: &Setting| {
        let default = if s.default.is_empty() { String::new() } else { format!("`{}`", s.default) };
        format!("| `{}` | `{}` | {} | {} |", s.name, s.variable(), default, s.help)
    };
    SETTINGS.iter().map(row).collect()
}
