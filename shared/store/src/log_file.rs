//! Log files under `logs/<app>/`: appended, rotated at a size, one older file kept.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use func_model::limits::{LOG_FILE_BYTES, LOG_LINE_BYTES};

use crate::disk::{make_dir, remove};
use crate::{StoreError, io_error};

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl LogFile {
    /// Opens, or makes, `<dir>/<name>.log`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(dir: &Path, name: &str) -> Result<Self, StoreError> {
        make_dir(dir)?;
        let path = dir.join(format!("{name}.log"));
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let bytes = file.metadata().map_err(io_error("read", &path))?.len();
        Ok(Self { path, file, bytes })
    }

    /// Appends one line, cut at the longest allowed; moves a full file to `<name>.log.1` first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn line(&mut self, line: &str) -> Result<(), StoreError> {
        if self.bytes >= LOG_FILE_BYTES {
            self.rotate()?;
        }
        let mut end = line.len().min(LOG_LINE_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let text = format!("{}\n", &line[..end]);
        self.file.write_all(text.as_bytes()).map_err(io_error("write", &self.path))?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), StoreError> {
        let old = self.path.with_extension("log.1");
        fs::rename(&self.path, old).map_err(io_error("rename", &self.path))?;
        self.file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(io_error("open", &self.path))?;
        self.bytes = 0;
        Ok(())
    }
}

/// Removes `<dir>/<name>.log`, the file before it, and `dir` if nothing else is in it.
///
/// # Errors
/// [`StoreError::Io`].
pub fn remove_log(dir: &Path, name: &str) -> Result<(), StoreError> {
    for file_name in [format!("{name}.log.1"), format!("{name}.log")] {
        remove(&dir.join(file_name))?;
    }
    match fs::remove_dir(dir) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(io_error("remove", dir)(e))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads the last `lines` lines of `<dir>/<name>.log` and the file before it; none if there is none.
///
/// # Errors
/// [`StoreError::Io`].
pub fn tail(dir: &Path, name: &str, lines: usize) -> Result<Vec<String>, StoreError> {
    let mut last = VecDeque::with_capacity(lines.min(10_000));
    for file_name in [format!("{name}.log.1"), format!("{name}.log")] {
        let path = dir.join(file_name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(io_error("open", path)(e)),
        };
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(io_error("read", &path))?;
            if last.len() == lines {
                last.pop_front();
            }
            if lines > 0 {
                last.push_back(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }
    Ok(last.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_rotated_and_no_line_of_the_last_two_is_lost() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut log = LogFile::open(dir.path(), "build").expect("opened");
        let long = "ä".repeat(LOG_LINE_BYTES);
        let count = LOG_FILE_BYTES / LOG_LINE_BYTES as u64 + 10;
        for n in 0..count {
            log.line(&format!("{n} {long}")).expect("written");
        }
        let lines = tail(dir.path(), "build", 100_000).expect("read");
        assert_eq!(lines.len() as u64, count);
        assert!(lines.iter().all(|l| l.len() <= LOG_LINE_BYTES));
        assert!(dir.path().join("build.log.1").exists());
        assert_eq!(tail(dir.path(), "build", 1).expect("read").len(), 1);
        assert!(tail(dir.path(), "none", 5).expect("read").is_empty());
    }

    #[test]
    fn one_log_of_two_is_removed_and_with_the_last_its_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path().join("blog");
        for name in ["build", "instance"] {
            LogFile::open(&dir, name).and_then(|mut log| log.line("a line")).expect("written");
        }
        remove_log(&dir, "instance").expect("removed");
        assert_eq!(tail(&dir, "build", 5).expect("read"), ["a line"]);
        assert!(tail(&dir, "instance", 5).expect("read").is_empty());
        remove_log(&dir, "build").expect("removed");
        remove_log(&dir, "build").expect("twice is the same as once");
        assert!(!dir.exists());
    }
}
