//! Streams both ways between a client and git. At most a few chunks are held; a slow side slows the other.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::HostError;
use crate::limits::{CHUNK_BYTES, STDERR_BYTES};
use crate::process::{Pipes, Process};

/// What a client sends: ends where its input ends; an error means that the client left.
pub(crate) type Input = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The client's side of a call.
pub(crate) struct Wire {
    pub(crate) input: Input,
    /// Its receiver goes when the client leaves.
    pub(crate) output: mpsc::Sender<Bytes>,
    /// Set when the client left, or must.
    pub(crate) left: CancellationToken,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(u8),
    /// The client left, and git was ended.
    Left,
    /// The time was up, and git was ended.
    TooLong,
}

/// What is known of a call after its end.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) ending: Ending,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// The last bytes of git's standard error.
    pub(crate) stderr: String,
}

/// Connects the client and git until git ends, the client leaves or `limit` is over; git does not outlive this.
/// What the client sent after git had ended is still in `wire.input`.
///
/// # Errors
/// [`HostError::Wait`], [`HostError::Spawn`].
pub(crate) async fn relay(
    mut process: Process,
    wire: &mut Wire,
    limit: Duration,
) -> Result<Report, HostError> {
    let Pipes { stdin, stdout, stderr } = process.pipes()?;
    let Wire { input, output, left } = wire;
    let (mut bytes_in, mut bytes_out, mut complaint) = (0, 0, Vec::new());
    let ending = {
        let feeding = feed(input, stdin, left, &mut bytes_in);
        let answer = async {
            let pumping = pump(stdout, output, left, &mut bytes_out);
            tokio::join!(pumping, listen(stderr, &mut complaint), process.wait()).2
        };
        let talk = async {
            tokio::pin!(feeding, answer);
            tokio::select! {
                status = &mut answer => status,
                () = &mut feeding => answer.await,
            }
        };
        tokio::select! {
            status = talk => Ending::Exited(status?),
            () = left.cancelled() => Ending::Left,
            () = output.closed() => Ending::Left,
            () = tokio::time::sleep(limit) => Ending::TooLong,
        }
    };
    process.end().await?;
    let stderr = String::from_utf8_lossy(&complaint).trim().to_owned();
    Ok(Report { ending, bytes_in, bytes_out, stderr })
}

async fn feed(input: &mut Input, stdin: ChildStdin, left: &CancellationToken, count: &mut u64) {
    let mut stdin = Some(stdin);
    while let Some(chunk) = input.next().await {
        let Ok(chunk) = chunk else {
            left.cancel();
            return;
        };
        *count += chunk.len() as u64;
        if let Some(pipe) = &mut stdin
            && pipe.write_all(&chunk).await.is_err()
        {
            // Git reads no more. The rest is thrown away, so that the client comes to read git's answer.
            stdin = None;
        }
    }
}

async fn pump(
    mut stdout: ChildStdout,
    output: &mpsc::Sender<Bytes>,
    left: &CancellationToken,
    count: &mut u64,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        // A pipe fails only when it is gone, and then so is git.
        let Ok(read @ 1..) = stdout.read_buf(&mut buffer).await else { return };
        *count += read as u64;
        if output.send(buffer.split().freeze()).await.is_err() {
            left.cancel();
            return;
        }
    }
}

/// Reads all of it, so that git never waits for us, and keeps the last few KiB.
async fn listen(mut stderr: ChildStderr, kept: &mut Vec<u8>) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        let over = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..over);
    }
}
