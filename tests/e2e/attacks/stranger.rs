//! Connections of strangers: from any address of the loopback network, held open and looked at.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};

use crate::world::LIMIT;

/// Connects to a door from an address of this machine's loopback network.
pub fn connect(door: SocketAddr, from: [u8; 4]) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((from, 0))).expect("an address of the loopback network");
        socket.connect(door).await.expect("connected").into_std().expect("a stream")
    });
    stream.set_nonblocking(false).expect("set");
    stream.set_read_timeout(Some(LIMIT)).expect("set");
    stream
}

/// Whether the other side has closed a connection.
pub fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    let mut buffer = [0; 4_096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Reads what comes until the other side closes.
pub fn rest(mut stream: &TcpStream) -> String {
    stream.set_nonblocking(false).expect("set");
    let mut bytes = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
