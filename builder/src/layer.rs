//! Layers of an image: tars that depend on nothing but their files, so that the same site is the same image.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use func_static::compressible;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::deadline::Deadline;
use crate::embedded::SERVER;
use crate::limits::STREAM_BYTES;
use crate::repository::Repository;
use crate::site::{Site, SiteError, SiteFile};
use crate::squeeze::{Batch, Copies};

/// A layer in a temporary file.
#[derive(Debug)]
pub struct Layer {
    pub file: File,
    pub bytes: u64,
    /// The SHA-256 of the tar, hex: its diff id.
    pub sha256: String,
}

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error("write a layer")]
    Io(#[from] io::Error),
}

/// Writes the layer with the file server, which all sites share. `scratch` is a folder for the temporary file.
pub fn server(scratch: &Path) -> Result<Layer, LayerError> {
    let mut tar = LayerWriter::new(scratch)?;
    tar.file("func-static", 0o755, SERVER)?;
    Ok(tar.finish()?)
}

/// Writes the layer with a site's files and their compressed copies, under `/site`. Large files that
/// are not compressed are streamed.
pub fn site(
    repository: &Repository,
    site: &Site,
    scratch: &Path,
    deadline: &Deadline,
) -> Result<Layer, LayerError> {
    let mut tar = LayerWriter::new(scratch)?;
    tar.folder("site")?;
    let mut batch = Batch::default();
    for (path, file) in &site.files {
        deadline.check().map_err(SiteError::from)?;
        if file.bytes > STREAM_BYTES && !compressible(path, file.bytes) {
            tar.stream(repository, path, file)?;
            continue;
        }
        let bytes = read(repository, file)?;
        batch.add(path, bytes, |copy| site.files.contains_key(copy));
        if batch.is_full() {
            tar.copies(batch.squeezed())?;
            batch = Batch::default();
        }
    }
    tar.copies(batch.squeezed())?;
    Ok(tar.finish()?)
}

fn read(repository: &Repository, file: &SiteFile) -> Result<Vec<u8>, LayerError> {
    Ok(repository.bytes(file.id).map_err(SiteError::from)?)
}

struct LayerWriter {
    tar: tar::Builder<Hashing>,
    folders: BTreeSet<String>,
}

impl LayerWriter {
    fn new(scratch: &Path) -> io::Result<Self> {
        let hashing =
            Hashing { file: BufWriter::new(tempfile::tempfile_in(scratch)?), hash: Sha256::new(), bytes: 0 };
        Ok(Self { tar: tar::Builder::new(hashing), folders: BTreeSet::new() })
    }

    fn copies(&mut self, squeezed: Vec<Copies>) -> io::Result<()> {
        for Copies { path, bytes, compressed } in squeezed {
            self.file(&format!("site/{path}"), 0o644, &bytes)?;
            for (ending, copy) in compressed {
                self.file(&format!("site/{path}.{ending}"), 0o644, &copy)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.entry(path, mode, bytes.len() as u64, &mut &*bytes)
    }

    fn stream(&mut self, repository: &Repository, path: &str, file: &SiteFile) -> io::Result<()> {
        repository.stream(file.id, |content| self.entry(&format!("site/{path}"), 0o644, file.bytes, content))
    }

    fn entry(&mut self, path: &str, mode: u32, size: u64, content: &mut dyn Read) -> io::Result<()> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder)?;
        }
        let mut header = header(EntryType::Regular, mode);
        header.set_size(size);
        let mut content = content.take(size);
        self.tar.append_data(&mut header, path, &mut content)?;
        // What is cut short would spoil the tar from here on.
        if content.limit() > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Adds a folder, and those above it, unless they are there.
    fn folder(&mut self, path: &str) -> io::Result<()> {
        if !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above)?;
        }
        let mut header = header(EntryType::Directory, 0o755);
        header.set_size(0);
        self.tar.append_data(&mut header, format!("{path}/"), io::empty())
    }

    fn finish(self) -> io::Result<Layer> {
        let hashing = self.tar.into_inner()?;
        let mut file = hashing.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Layer { file, bytes: hashing.bytes, sha256: hex(&hashing.hash.finalize()) })
    }
}

/// A header without time, owner or name.
pub fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Gives bytes as hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Hashing {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
