//! The body of a response: a text of ours, or a part of a file, read as fast as the client takes it.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::limits::CHUNK_BYTES;
use crate::range::Span;

/// What is still to be sent; never more than one chunk of it is in memory.
#[derive(Debug)]
pub struct Content {
    /// Bytes not yet sent, those in `next` included.
    left: u64,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Ready(Bytes, Rest),
    Unread(Rest),
    Reading(JoinHandle<io::Result<(Bytes, Rest)>>),
}

/// The part of a file that comes after what was read; `None` when that was all.
type Rest = Option<Unread>;

#[derive(Debug)]
struct Unread {
    file: File,
    span: Span,
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Self {
        Self { left: text.len() as u64, next: Next::Ready(Bytes::from_static(text.as_bytes()), None) }
    }
}

impl Content {
    /// Gives no bytes.
    pub fn empty() -> Self {
        Self { left: 0, next: Next::Unread(None) }
    }

    /// Gives a part of a file, of which nothing is read yet.
    pub fn part(file: File, span: Span) -> Self {
        Self { left: span.bytes, next: Next::Unread(Some(Unread { file, span })) }
    }

    /// Reads the first chunk here and now, on a thread that may block: most files need no further one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn begun(self) -> io::Result<Self> {
        let next = match self.next {
            Next::Unread(Some(unread)) => {
                let (chunk, rest) = unread.read()?;
                Next::Ready(chunk, rest)
            }
            next @ (Next::Ready(..) | Next::Unread(None) | Next::Reading(_)) => next,
        };
        Ok(Self { next, ..self })
    }
}

impl Unread {
    /// Reads one chunk.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file has become shorter: the connection then ends, so that nobody takes it for whole.
    fn read(self) -> io::Result<(Bytes, Rest)> {
        let Self { file, span } = self;
        let size = span.bytes.min(CHUNK_BYTES);
        let mut chunk = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        file.read_exact_at(&mut chunk, span.start)?;
        let after = Span { start: span.start + size, bytes: span.bytes - size };
        let rest = (after.bytes > 0).then_some(Self { file, span: after });
        Ok((Bytes::from(chunk), rest))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match mem::replace(&mut self.next, Next::Unread(None)) {
                Next::Ready(chunk, rest) => {
                    self.left -= chunk.len() as u64;
                    self.next = Next::Unread(rest);
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                Next::Unread(None) => return Poll::Ready(None),
                Next::Unread(Some(unread)) => self.next = Next::Reading(spawn_blocking(|| unread.read())),
                Next::Reading(mut task) => match Pin::new(&mut task).poll(context) {
                    Poll::Pending => {
                        self.next = Next::Reading(task);
                        return Poll::Pending;
                    }
                    Poll::Ready(read) => {
                        let (chunk, rest) = read.map_err(io::Error::other)??;
                        self.next = Next::Ready(chunk, rest);
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
