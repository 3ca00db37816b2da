//! A folder of files, a server on it, and a client that sends exactly what it is told.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The longest that any test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A time that no tool writes by itself: 2021-01-01T00:00:00Z.
pub const DATE: &str = "Fri, 01 Jan 2021 00:00:00 GMT";
pub const DATE_SECS: u64 = 1_609_459_200;

/// The files of a site, below a folder that also holds what must never be served.
pub struct Folder {
    outside: TempDir,
}

/// Gives an empty site; a file named `secret` lies beside it.
pub fn folder() -> Folder {
    let outside = tempfile::tempdir().expect("make a folder");
    fs::create_dir(outside.path().join("site")).expect("make the site");
    fs::write(outside.path().join("secret"), "secret").expect("write the secret");
    Folder { outside }
}

impl Folder {
    pub fn path(&self, name: &str) -> PathBuf {
        self.outside.path().join("site").join(name)
    }

    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it is below the site")).expect("make its folder");
        fs::write(&path, content).expect("write the file");
        self.dated(name, DATE_SECS)
    }

    pub fn dated(self, name: &str, secs: u64) -> Self {
        let file = File::options().write(true).open(self.path(name)).expect("open the file");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(secs)).expect("set its time");
        self
    }

    pub fn link(self, name: &str, target: impl AsRef<Path>) -> Self {
        std::os::unix::fs::symlink(target, self.path(name)).expect("make a link");
        self
    }

    pub fn serve(self) -> Served {
        let mut process = binary().env("PORT", "0").arg(self.path("")).spawn().expect("start the server");
        let mut line = String::new();
        let output = process.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).expect("read its first line");
        let addr: SocketAddr =
            line.trim_end().strip_prefix("listening on ").expect(&line).parse().expect(&line);
        Served { folder: self, process, addr: (Ipv4Addr::LOCALHOST, addr.port()).into() }
    }
}

/// Gives the command that starts the server, with its output piped.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_func-static"));
    command.env_remove("PORT").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running server; it ends with the test.
pub struct Served {
    pub folder: Folder,
    pub addr: SocketAddr,
    process: Child,
}

impl Served {
    pub fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[])
    }

    pub fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Reply {
        self.ask("GET", target, headers)
    }

    pub fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
        ask(self.addr, method, target, headers)
    }

    /// Sends bytes as they are, and gives all that comes back.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        exchange(self.addr, bytes)
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("send the signal");
    }

    /// Says whether the process has not ended.
    pub fn runs(&mut self) -> bool {
        self.process.try_wait().expect("ask for its status").is_none()
    }

    /// Waits for the end of the process, and says how it was and how long it took.
    pub fn ended(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let status = until("the server ends", || self.process.try_wait().expect("ask for its status"));
        (status, start.elapsed())
    }

    /// Gives the most memory that the process has ever held, in bytes.
    pub fn memory_peak(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("read its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A response, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// Takes apart what came on a connection with one request.
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("the head ends");
        let head = std::str::from_utf8(&bytes[..end]).expect("the head is text");
        let (first, lines) = head.split_once("\r\n").expect("there are headers");
        let status = first.split(' ').nth(1).expect("there is a status").parse().expect("it is a number");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header has a value");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self { status, headers: lines.split("\r\n").map(header).collect(), body: bytes[end + 4..].to_vec() }
    }

    /// Gives a header that may be there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is there twice");
        value
    }

    pub fn tag(&self) -> &str {
        self.header("etag").expect("it has a tag")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
}

pub fn ask(addr: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{lines}\r\n");
    Reply::parse(&exchange(addr, request.as_bytes()))
}

pub fn exchange(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(addr);
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut chunk = [0; 64 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        answer.extend_from_slice(&chunk[..read]);
    }
    answer
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("connect to the server");
    stream.set_read_timeout(Some(PATIENCE)).expect("set the timeout");
    stream
}

/// Asks again and again until there is an answer.
pub fn until<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let start = SystemTime::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(start.elapsed().is_ok_and(|elapsed| elapsed < PATIENCE), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
