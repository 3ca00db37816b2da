//! Compressed copies of a site's files, made on all processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use func_static::{brotli, compressible, gzip, worthwhile};

use crate::limits::{BATCH_BYTES, BATCH_FILES};

/// A file and its compressed copies by their endings.
#[derive(Debug, Default)]
pub struct Copies {
    pub path: String,
    pub bytes: Vec<u8>,
    pub compressed: Vec<(&'static str, Vec<u8>)>,
}

type Compressor = fn(&[u8]) -> Vec<u8>;

/// A compressed copy by its ending.
const KINDS: &[(&str, Compressor)] = &[("br", brotli), ("gz", gzip)];

/// Files that are compressed together.
#[derive(Debug, Default)]
pub struct Batch {
    files: Vec<Copies>,
    work: Vec<Work>,
    bytes: usize,
}

#[derive(Debug)]
struct Work {
    file: usize,
    ending: &'static str,
    compress: Compressor,
}

impl Batch {
    /// Adds a file. `exists` says whether the site has a file of a copy's name already: that one is kept.
    pub fn add(&mut self, path: &str, bytes: Vec<u8>, exists: impl Fn(&str) -> bool) {
        if compressible(path, bytes.len() as u64) {
            for (ending, compress) in KINDS {
                if !exists(&format!("{path}.{ending}")) {
                    self.work.push(Work { file: self.files.len(), ending, compress: *compress });
                }
            }
        }
        self.bytes += bytes.len();
        self.files.push(Copies { path: path.to_owned(), bytes, compressed: Vec::new() });
    }

    /// Whether it should be compressed before more is added.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.files.len() >= BATCH_FILES
    }

    /// Compresses, and gives the files in the order in which they were added. Copies that gain too little are left out.
    pub fn squeezed(self) -> Vec<Copies> {
        let Self { mut files, work, .. } = self;
        let done: Vec<Mutex<Vec<u8>>> = work.iter().map(|_| Mutex::default()).collect();
        let next = AtomicUsize::new(0);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(work.len());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(work) = work.get(at) else { return };
                        let copy = (work.compress)(&files[work.file].bytes);
                        *done[at].lock().unwrap_or_else(PoisonError::into_inner) = copy;
                    }
                });
            }
        });
        for (work, copy) in work.iter().zip(done) {
            let copy = copy.into_inner().unwrap_or_else(PoisonError::into_inner);
            let file = &mut files[work.file];
            if worthwhile(file.bytes.len(), copy.len()) {
                file.compressed.push((work.ending, copy));
            }
        }
        files
    }
}
