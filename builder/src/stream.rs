//! Bytes that a thread writes, as a stream for the engine.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use func_runner::ByteStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::limits::{CHUNK_BYTES, CHUNKS_WAITING};

/// The writing end. Waits for the reader; an error once the reader is gone.
pub struct StreamWriter {
    tx: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for StreamWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(CHUNK_BYTES)];
        match self.tx.blocking_send(Ok(Bytes::copy_from_slice(part))) {
            Ok(()) => Ok(part.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `write` on a thread, and gives what it writes; its error is the stream's last item. Dropping the stream ends
/// the writing at its next byte.
pub fn written(
    write: impl FnOnce(&mut BufWriter<StreamWriter>) -> io::Result<()> + Send + 'static,
) -> ByteStream {
    let (tx, rx) = mpsc::channel(CHUNKS_WAITING);
    tokio::task::spawn_blocking(move || {
        let mut writer = BufWriter::with_capacity(CHUNK_BYTES, StreamWriter { tx: tx.clone() });
        let ended = write(&mut writer).and_then(|()| writer.flush());
        if let Err(e) = ended {
            // The reader may be gone: then nobody needs the error.
            let _ = tx.blocking_send(Err(e));
        }
    });
    Box::pin(ReceiverStream::new(rx))
}
