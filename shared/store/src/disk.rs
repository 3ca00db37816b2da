//! The folders, and writing to them so that a crash leaves the old file or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use func_model::AppName;
use sha2::{Digest, Sha256};

use crate::{Part, StoreError, Users, folders, handing, io_error};

/// The data folder and the places in it.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Opens a data folder for all parts, as [`DataDir::prepare`] does.
    ///
    /// # Errors
    /// As [`DataDir::prepare`].
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::prepare(root, &Part::ALL).map(|(data, _)| data)
    }

    /// Makes the folders that these parts write into and that are missing, and puts right those that are open to others than
    /// the user who runs func: manifests hold the apps' variables, repositories their code. Root also takes what belongs to
    /// others, but for what [`DataDir::hand_out`] gave them. Returns a line for each thing that changed, or could not.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a folder cannot be made or read.
    pub fn prepare(root: &Path, parts: &[Part]) -> Result<(Self, Vec<String>), StoreError> {
        let changes = folders::prepare(root, parts)?;
        Ok((Self::at(root)?, changes))
    }

    /// Makes every folder and gives each to the user of the part that it is for, with what is in it: for root, before parts
    /// start as users of their own. Returns a line for each thing that changed.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn hand_out(root: &Path, users: Users) -> Result<(Self, Vec<String>), StoreError> {
        let changes = handing::hand_out(root, users)?;
        Ok((Self::at(root)?, changes))
    }

    /// Opens a data folder that is there, and changes nothing: for commands.
    ///
    /// # Errors
    /// [`StoreError::Io`] if there is none.
    pub fn at(root: &Path) -> Result<Self, StoreError> {
        Ok(Self { root: root.canonicalize().map_err(io_error("find", root))? })
    }

    /// Gives the folder itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Gives `projects/`.
    pub fn projects(&self) -> PathBuf {
        self.root.join("projects")
    }

    /// Gives the app's bare repository; it may not exist.
    pub fn repository(&self, app: &AppName) -> PathBuf {
        self.projects().join(format!("{app}.git"))
    }

    /// Gives the apps that have a repository.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the folder cannot be read.
    pub fn repositories(&self) -> Result<Vec<AppName>, StoreError> {
        names(&self.projects(), ".git")
    }

    /// Gives `manifest/`.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("manifest")
    }

    /// Gives `keys/`.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Gives the app's folder of logs; it may not exist.
    pub fn logs(&self, app: &AppName) -> PathBuf {
        self.root.join("logs").join(app.as_str())
    }

    /// Gives a place in `run/`.
    pub fn run(&self, name: &str) -> PathBuf {
        self.root.join("run").join(name)
    }

    /// Gives the folder of the edges' sockets, `run/edges/`, one of each edge; it may not exist.
    pub fn edges(&self) -> PathBuf {
        self.run("edges")
    }

    /// Gives the folder of the gates of poised containers, `run/poised/`; it may not exist.
    pub fn gates(&self) -> PathBuf {
        self.run("poised")
    }

    /// Gives the folder of what the git host alone writes while it runs, `run/githost/`.
    pub fn git(&self) -> PathBuf {
        self.run("githost")
    }

    /// Gives a socket by its name: `builder` and `cleaner` are for commands; `deploy` (for git's hooks), `start` (for whoever
    /// holds a claim) and `edge` are in folders of their own, for other users to reach.
    pub fn socket(&self, name: &str) -> PathBuf {
        let file = format!("{name}.sock");
        match name {
            "deploy" | "start" | "edge" => self.run(name).join(file),
            _ => self.run(&file),
        }
    }

    /// Gives the socket at which an edge hands over its door at `address`.
    pub fn upgrade_socket(&self, address: SocketAddr) -> PathBuf {
        self.run("edge").join(format!("upgrade-{address}.sock"))
    }

    /// Gives the user of a part, by whose its folder in `run/` is; `None` if it has none yet.
    pub fn user(&self, part: Part) -> Option<u32> {
        let folder = match part {
            Part::Githost => self.git(),
            Part::Edge => self.run("edge"),
            Part::Builder | Part::Cleaner => self.run(""),
        };
        fs::metadata(folder).ok().map(|found| found.uid())
    }

    /// Gives `audit/`.
    pub fn audit(&self) -> PathBuf {
        self.root.join("audit")
    }

    /// Gives the name under which this installation's containers, images and network are known to the engine:
    /// `func` for /var/func, else `func-` and 6 digits that depend on the folder, so that two never meet.
    pub fn installation(&self) -> String {
        if self.root == Path::new("/var/func") {
            return "func".to_owned();
        }
        let hash = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        let digits: String = hash.iter().take(3).map(|b| format!("{b:02x}")).collect();
        format!("func-{digits}")
    }
}

/// Gives the app names among a folder's entries that end with `suffix`.
pub(crate) fn names(dir: &Path, suffix: &str) -> Result<Vec<AppName>, StoreError> {
    let mut apps = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        let entry = entry.map_err(io_error("read", dir))?;
        let name = entry.file_name();
        let app = name.to_str().and_then(|n| n.strip_suffix(suffix)).and_then(|n| n.parse().ok());
        apps.extend(app);
    }
    apps.sort();
    Ok(apps)
}

/// Writes a file that is whole or not there: to a temporary file, synced, renamed, the folder synced.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    place(path, bytes, mode, |file, path| file.persist(path).map(drop).map_err(|e| e.error))
}

/// As `replace`, but fails if the file is there already.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let placed =
        place(path, bytes, mode, |file, path| file.persist_noclobber(path).map(drop).map_err(|e| e.error));
    match placed {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            Err(StoreError::Exists { path: path.to_owned() })
        }
        other => other,
    }
}

fn place(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    persist: impl FnOnce(tempfile::NamedTempFile, &Path) -> io::Result<()>,
) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    make_dir(dir)?;
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        handing::hand_over(file.as_file(), dir)?;
        file.as_file().sync_all()?;
        persist(file, path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(io_error("write", path))
}

/// Makes a folder, and those above it that are missing, for the own user alone.
pub(crate) fn make_dir(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("make", path))
}

/// Reads a file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("read", path)(e)),
    }
}

/// Removes a file; it is no error if there is none.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io_error("remove", path)(e)),
    }
}
