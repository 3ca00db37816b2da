//! A stream of bytes on its way to the engine, whose own error is not lost among the engine's.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::ByteStream;

/// The stream as it was, but its first error is put aside.
pub(crate) struct Watched {
    bytes: ByteStream,
    broken: Arc<Mutex<Option<io::Error>>>,
}

/// Where the error is put.
pub(crate) struct Broken(Arc<Mutex<Option<io::Error>>>);

impl Watched {
    pub(crate) fn new(bytes: ByteStream) -> (Self, Broken) {
        let broken = Arc::new(Mutex::new(None));
        (Self { bytes, broken: broken.clone() }, Broken(broken))
    }
}

impl Broken {
    /// Gives the error, if the stream ended with one.
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Stream for Watched {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.bytes.poll_next_unpin(cx).map_err(|error| {
            let kind = error.kind();
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            kind.into()
        })
    }
}
