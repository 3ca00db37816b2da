//! The start, the limits and the end of a server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use func_static::{Bounds, Site, serve};
use tokio::sync::oneshot;

use crate::world::{Folder, ask, binary, connect, folder, until};

/// A server inside the test, with bounds that a test can wait for.
struct Inside {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

fn inside(folder: &Folder, bounds: Bounds) -> Inside {
    let site = Arc::new(Site::open(&folder.path("")).expect("open the site"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    listener.set_nonblocking(true).expect("make it non-blocking");
    let addr = listener.local_addr().expect("it has an address");
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("make a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("take the listener");
            serve(listener, site, bounds, async { drop(stopped.await) }).await;
        });
    });
    Inside { addr, stop, thread }
}

fn big(folder: &Folder) {
    let file = std::fs::File::create(folder.path("big.bin")).expect("make the file");
    file.set_len(64 * 1024 * 1024).expect("set its size");
}

/// Starts a download and reads nothing of it.
fn download(addr: SocketAddr) -> TcpStream {
    let mut stream = connect(addr);
    stream.write_all(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n").expect("send the request");
    stream.peek(&mut [0]).expect("the answer begins");
    stream
}

#[test]
fn a_stop_lets_a_download_end_and_takes_no_new_guest() {
    let mut site = folder().file("a.txt", "a").serve();
    big(&site.folder);
    let mut running = download(site.addr);
    site.terminate();
    until("the door is closed", || TcpStream::connect(site.addr).is_err().then_some(()));

    let mut received = Vec::new();
    running.read_to_end(&mut received).expect("read it all");
    assert!(received.len() > 64 * 1024 * 1024, "{}", received.len());
    drop(running);
    let (status, _) = site.ended();
    assert!(status.success(), "{status}");
}

#[test]
fn a_stop_does_not_wait_for_idle_connections() {
    let folder = folder().file("a.txt", "a");
    let site = inside(&folder, Bounds { farewell: Duration::ZERO, ..Bounds::USUAL });
    let mut idle = connect(site.addr);
    idle.write_all(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").expect("send the request");
    idle.peek(&mut [0]).expect("the answer begins");
    let _silent = connect(site.addr);
    let start = Instant::now();
    site.stop.send(()).expect("it runs");
    site.thread.join().expect("it ended");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_stop_waits_until_the_client_has_closed_after_its_last_answer() {
    let mut site = folder().file("a.txt", "a").serve();
    let mut guest = site.connect();
    guest.write_all(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").expect("send the request");
    guest.peek(&mut [0]).expect("the answer begins");
    site.terminate();
    let mut answer = Vec::new();
    guest.read_to_end(&mut answer).expect("read until the server closes its side");
    // The time is what is tested: nothing happens that could be waited for.
    std::thread::sleep(Duration::from_millis(300));
    assert!(site.runs());
    drop(guest);
    let (status, took) = site.ended();
    assert!(status.success() && took < Duration::from_secs(2), "{status} {took:?}");
}

#[test]
fn a_stop_ends_what_takes_too_long() {
    let folder = folder();
    big(&folder);
    let site = inside(&folder, Bounds { drain: Duration::from_millis(200), ..Bounds::USUAL });
    let _stalled = download(site.addr);
    let start = Instant::now();
    site.stop.send(()).expect("it runs");
    site.thread.join().expect("it ended");
    assert!(
        (Duration::from_millis(200)..Duration::from_secs(5)).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_head_that_does_not_end_is_cut_off() {
    let folder = folder().file("a.txt", "a");
    let site = inside(&folder, Bounds { head: Duration::from_millis(200), ..Bounds::USUAL });
    for start in ["", "GET /a.txt HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
        let mut slow = connect(site.addr);
        slow.write_all(start.as_bytes()).expect("send the start of a head");
        let begin = Instant::now();
        slow.read_to_end(&mut Vec::new()).expect("the server closes the connection");
        assert!(begin.elapsed() < Duration::from_secs(10), "{start} {:?}", begin.elapsed());
    }
    assert_eq!(ask(site.addr, "GET", "/a.txt", &[]).text(), "a");
}

#[test]
fn a_download_may_take_longer_than_a_head() {
    let folder = folder();
    big(&folder);
    let site = inside(&folder, Bounds { head: Duration::from_millis(100), ..Bounds::USUAL });
    let mut slow = download(site.addr);
    // The time is what is tested: nothing happens that could be waited for.
    std::thread::sleep(Duration::from_millis(400));
    let mut received = vec![0; 64 * 1024 * 1024];
    slow.read_exact(&mut received).expect("read it all");
}

#[test]
fn a_guest_beyond_the_limit_waits_for_a_seat() {
    let folder = folder().file("a.txt", "a");
    let site = inside(&folder, Bounds { connections: 2, ..Bounds::USUAL });
    let seated = [connect(site.addr), connect(site.addr)];
    for mut guest in &seated {
        guest.write_all(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").expect("send the request");
        guest.peek(&mut [0]).expect("the answer begins");
    }
    let mut waiting = connect(site.addr);
    waiting.write_all(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").expect("send the request");
    waiting.set_read_timeout(Some(Duration::from_millis(300))).expect("set the timeout");
    waiting.peek(&mut [0]).expect_err("nobody answers yet");

    drop(seated);
    waiting.set_read_timeout(Some(crate::world::PATIENCE)).expect("set the timeout");
    waiting.peek(&mut [0]).expect("the answer begins");
}

#[test]
fn more_guests_than_readers_are_all_served() {
    let site = folder().file("a.txt", "content").serve();
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| assert_eq!(site.get("/a.txt").text(), "content"));
        }
    });
}

#[test]
fn a_wrong_setting_ends_it_before_it_listens() {
    for (port, root, code, told) in [
        ("http", ".", 2, "func-static: PORT is http; a number from 0 to 65535 is allowed\n"),
        ("0", "--port", 2, "func-static: unexpected argument --port; usage: func-static [ROOT]\n"),
        ("0", "/nowhere", 1, "func-static: cannot serve /nowhere: No such file or directory (os error 2)\n"),
        ("0", "/etc/passwd", 1, "func-static: cannot serve /etc/passwd: Not a directory (os error 20)\n"),
    ] {
        let output = binary().env("PORT", port).arg(root).output().expect("run it");
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), told);
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("0.0.0.0:0").expect("bind a port");
    let port = taken.local_addr().expect("it has an address").port();
    let output = binary().env("PORT", port.to_string()).arg(".").output().expect("run it");
    let told =
        format!("func-static: cannot listen on 0.0.0.0:{port}: Address already in use (os error 98)\n");
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
        (Some(1), told.as_str())
    );
}

#[test]
fn help_tells_all_settings() {
    let output = binary().arg("--help").output().expect("run it");
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(output.status.success() && text.contains("PORT") && text.contains("[ROOT]"), "{text}");
}
