//! A tiny app for the tests of the runner: `MODE` says how it behaves. It is static and runs `FROM scratch`.
//!
//! | `MODE` | what it does |
//! |---|---|
//! | `serve` (or none) | answers HTTP on `$PORT` |
//! | `deaf` | answers, and does not end on SIGTERM (as process 1 it ignores it by itself) |
//! | `late` | listens, and answers /healthz with 503 for its first 300 ms |
//! | `sick` | answers /healthz with 503 for ever |
//! | `silent` | prints a line and never listens |
//! | `exit` | prints `LINES` lines on its standard error, and ends with `STATUS` |
//! | `eat` | uses memory until it is ended |
//!
//! Paths: `/` says hello, `/env` the environment, `/status` its /proc/self/status, `/self` all that its process was
//! given by who started it, `/limits` the limits of its cgroup, `/cgroups` its place among them, `/eat/<MiB>` keeps memory,
//! `/connect/<addr>` whether a TCP connection to an address can be made, `/print/<text>` prints a line,
//! `/write/<path>` writes a file, `/fill/<MiB>` a large one, `/become/<uid>` gives a folder to a user and runs a process as that user,
//! `/broken` prints a line that is not UTF-8 and one that is too long.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use tokio::signal::unix::{SignalKind, signal};

/// What this process was given when it began.
static GIVEN: LazyLock<String> = LazyLock::new(given);

fn main() {
    LazyLock::force(&GIVEN);
    let mode = env::var("MODE").unwrap_or_default();
    match mode.as_str() {
        "exit" => exit_with_words(),
        "eat" => eat(),
        "silent" => {
            println!("I never listen");
            loop {
                thread::park();
            }
        }
        "deaf" => println!("I hear no SIGTERM"),
        _ => {
            let (listens, heard) = mpsc::channel();
            thread::spawn(move || end_on_sigterm(&listens));
            // Who is reachable hears SIGTERM.
            heard.recv().expect("a handler");
        }
    }
    serve(&mode);
}

fn serve(mode: &str) {
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let begun = Instant::now();
    let listener = match TcpListener::bind(format!("0.0.0.0:{port}")) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {port}: {error}");
            process::exit(3);
        }
    };
    println!("listening on {port}");
    for connection in listener.incoming().flatten() {
        let mode = mode.to_owned();
        thread::spawn(move || answer(connection, &mode, begun));
    }
}

fn answer(mut connection: TcpStream, mode: &str, begun: Instant) {
    let mut request = [0; 4096];
    let read = connection.read(&mut request).unwrap_or(0);
    let text = String::from_utf8_lossy(&request[..read]).into_owned();
    let path = text.split(' ').nth(1).unwrap_or("/");
    let well = match mode {
        "sick" => false,
        "late" => begun.elapsed() > Duration::from_millis(300),
        _ => true,
    };
    let (status, body) = match path {
        "/healthz" if !well => ("503 Service Unavailable", "not yet".to_owned()),
        path => ("200 OK", body(path)),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = connection.write_all(format!("{head}{body}").as_bytes());
}

fn body(path: &str) -> String {
    if let Some(addr) = path.strip_prefix("/connect/") {
        return connect(addr);
    }
    if let Some(text) = path.strip_prefix("/print/") {
        println!("{text}");
        return "printed".to_owned();
    }
    let said = |done: std::io::Result<()>| match done {
        Ok(()) => "written".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    };
    if let Some(path) = path.strip_prefix("/write") {
        return said(fs::write(path, "x"));
    }
    if let Some(mib) = path.strip_prefix("/eat/") {
        vec![1_u8; mib.parse::<usize>().unwrap_or_default() << 20].leak();
        return "eaten".to_owned();
    }
    if let Some(mib) = path.strip_prefix("/fill/") {
        return said(fs::write("/filled", vec![b'x'; mib.parse::<usize>().unwrap_or_default() << 20]));
    }
    if let Some(user) = path.strip_prefix("/become/") {
        return become_user(user).unwrap_or_else(|error| format!("{:?}", error.kind()));
    }
    match path {
        "/env" => env::vars().map(|(name, value)| format!("{name}={value}\n")).collect(),
        "/status" => fs::read_to_string("/proc/self/status").unwrap_or_default(),
        "/self" => GIVEN.clone(),
        "/mounts" => fs::read_to_string("/proc/self/mounts").unwrap_or_default(),
        "/limits" => limits(),
        "/cgroups" => fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        "/broken" => {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(b"bad \xff\xfe bytes\n");
            let _ = out.write_all(&[b"long ".to_vec(), vec![b'x'; 100_000], b"\nafter\n".to_vec()].concat());
            let _ = out.flush();
            "printed".to_owned()
        }
        _ => "hello".to_owned(),
    }
}

/// What a process has from who started it: a line each, without what differs from start to start.
fn given() -> String {
    const STATUS: [&str; 21] = [
        "Name",
        "Umask",
        "Tgid",
        "PPid",
        "Uid",
        "Gid",
        "Groups",
        "NSpid",
        "Threads",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "Cpus_allowed",
    ];
    let text = |path: &str| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let link = |path: &str| fs::read_link(path).map(|to| to.display().to_string()).unwrap_or_default();
    let mut lines: Vec<String> = ["cmdline", "environ", "comm", "oom_score_adj", "limits", "personality"]
        .iter()
        .map(|name| format!("{name}: {:?}", text(&format!("/proc/1/{name}"))))
        .collect();
    lines.extend(
        ["exe", "cwd", "root"].iter().map(|name| format!("{name}: {}", link(&format!("/proc/1/{name}")))),
    );
    let status = text("/proc/1/status");
    let told = |line: &&str| line.split_once(':').is_some_and(|(name, _)| STATUS.contains(&name));
    lines.extend(status.lines().filter(told).map(str::to_owned));
    let fds = fs::read_dir("/proc/1/fd").into_iter().flatten().flatten();
    let mut fds: Vec<String> = fds
        .map(|fd| {
            let to = link(&fd.path().display().to_string());
            // A pipe's and a socket's number is its own.
            format!("fd {}: {}", fd.file_name().display(), to.split(':').next().unwrap_or_default())
        })
        .collect();
    fds.sort();
    lines.extend(fds);
    lines.join("\n")
}

fn connect(addr: &str) -> String {
    let Ok(addr) = addr.parse::<SocketAddr>() else { return "not an address".to_owned() };
    match TcpStream::connect_timeout(&addr, Duration::from_secs(2)) {
        Ok(_) => "connected".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Does what servers do that start as root: makes a folder, gives it to another user, and runs a process as that one.
fn become_user(user: &str) -> std::io::Result<String> {
    let user: u32 = user.parse().map_err(|_| ErrorKind::InvalidInput)?;
    fs::create_dir_all("/become")?;
    std::os::unix::fs::chown("/become", Some(user), Some(user))?;
    let mut other = process::Command::new("/proc/self/exe");
    let ended = other.env("MODE", "exit").env("STATUS", "42").uid(user).gid(user).status()?;
    Ok(format!("it ran, and ended with {}", ended.code().unwrap_or_default()))
}

/// The limits, from cgroup v1 or v2, whichever there is.
fn limits() -> String {
    let first = |paths: [&str; 2]| {
        let text = paths.iter().find_map(|path| fs::read_to_string(path).ok());
        text.unwrap_or_default().trim().to_owned()
    };
    let memory = first(["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    let pids = first(["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"]);
    let cpu = first(["/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"]);
    format!("memory={memory}\npids={pids}\ncpu={cpu}\n")
}

fn exit_with_words() {
    let lines: u32 = env::var("LINES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for n in 1..lines {
        eprintln!("line {n}");
    }
    eprintln!("the end is near");
    process::exit(env::var("STATUS").ok().and_then(|s| s.parse().ok()).unwrap_or(1));
}

fn eat() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 1024 * 1024]);
    }
}

/// Process 1 gets only the signals that it has a handler for.
fn end_on_sigterm(listens: &mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut sigterm = signal(SignalKind::terminate()).expect("a handler");
        listens.send(()).expect("main waits");
        sigterm.recv().await;
        println!("SIGTERM came");
        process::exit(0);
    });
}
