//! A site: which file a path stands for, and in which of its forms it is sent.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::coding::Coding;
use crate::condition::Validators;
use crate::kind::{compressible, content_type};
use crate::path::SitePath;
use crate::tag::Hashes;
use crate::tree::{Entry, Tree};

/// The page of a folder.
const INDEX: &str = "index.html";

/// The page for what is not there.
const NOT_FOUND: &str = "404.html";

/// Times up to here are what tools write when they want none: 0 and 1, and 1980-01-01, where zip begins, in any zone.
const NORMALISED_UNTIL: Duration = Duration::from_hours(24 * 3653);

/// One folder of files.
#[derive(Debug)]
pub struct Site {
    tree: Tree,
    hashes: Hashes,
}

/// What a path stands for.
#[derive(Debug)]
pub enum Found {
    File(Asset),
    /// A folder with a page, asked for without its final slash; its name.
    Folder(String),
    Nothing,
}

/// A file of the site, open.
#[derive(Debug)]
pub struct Asset {
    name: String,
    file: File,
    metadata: Metadata,
}

/// One form of an asset: its own bytes, or a compressed copy of them.
#[derive(Debug)]
pub struct Representation {
    pub file: File,
    pub len: u64,
    pub coding: Coding,
    pub content_type: &'static str,
    /// Whether another client may get another form.
    pub varies: bool,
    pub validators: Validators,
}

impl Site {
    /// Opens the folder to serve.
    ///
    /// # Errors
    /// If it is not a folder, or cannot be reached.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { tree: Tree::open(root)?, hashes: Hashes::default() })
    }

    /// Finds the file itself, then the folder with a page, then the page whose `.html` was left out.
    ///
    /// # Errors
    /// If something is there and cannot be read.
    pub fn find(&self, path: &SitePath) -> io::Result<Found> {
        let page = match path {
            SitePath::Folder(name) => self.asset(&in_folder(name))?,
            SitePath::File(name) => match self.tree.entry(name)? {
                Some(Entry::File(file, metadata)) => Some(Asset { name: name.clone(), file, metadata }),
                Some(Entry::Folder) if self.asset(&in_folder(name))?.is_some() => {
                    return Ok(Found::Folder(name.clone()));
                }
                Some(Entry::Folder) | None => self.asset(&format!("{name}.html"))?,
            },
        };
        Ok(page.map_or(Found::Nothing, Found::File))
    }

    /// Gives the site's own page for what is not there.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn not_found(&self) -> io::Result<Option<Asset>> {
        self.asset(NOT_FOUND)
    }

    /// Gives what identifies the asset's own bytes.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn validators(&self, asset: &Asset) -> io::Result<Validators> {
        let tag = self.hashes.tag(&asset.file, &asset.metadata, Coding::Identity)?;
        Ok(Validators { tag, modified: modified(&asset.metadata) })
    }

    /// Gives the asset's own bytes.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn identity(&self, asset: Asset) -> io::Result<Representation> {
        Ok(Representation {
            validators: self.validators(&asset)?,
            len: asset.metadata.len(),
            coding: Coding::Identity,
            content_type: content_type(&asset.name),
            varies: asset.varies(),
            file: asset.file,
        })
    }

    /// Gives the first of the wanted forms that the site has.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn negotiated(&self, asset: Asset, wanted: &[Coding]) -> io::Result<Representation> {
        if asset.varies() {
            for coding in wanted.iter().copied().filter(|coding| *coding != Coding::Identity) {
                if let Some(copy) = self.copy(&asset, coding)? {
                    return Ok(copy);
                }
            }
        }
        self.identity(asset)
    }

    fn copy(&self, asset: &Asset, coding: Coding) -> io::Result<Option<Representation>> {
        let Some(copy) = self.asset(&format!("{}{}", asset.name, coding.suffix()))? else { return Ok(None) };
        let tag = self.hashes.tag(&copy.file, &copy.metadata, coding)?;
        Ok(Some(Representation {
            validators: Validators { tag, modified: modified(&asset.metadata) },
            len: copy.metadata.len(),
            coding,
            content_type: content_type(&asset.name),
            varies: true,
            file: copy.file,
        }))
    }

    fn asset(&self, name: &str) -> io::Result<Option<Asset>> {
        Ok(match self.tree.entry(name)? {
            Some(Entry::File(file, metadata)) => Some(Asset { name: name.to_owned(), file, metadata }),
            Some(Entry::Folder) | None => None,
        })
    }
}

impl Asset {
    fn varies(&self) -> bool {
        compressible(&self.name, self.metadata.len())
    }
}

fn in_folder(name: &str) -> String {
    if name.is_empty() { INDEX.to_owned() } else { format!("{name}/{INDEX}") }
}

/// Gives the time of the last change in whole seconds, unless it is normalised or lies ahead of the clock.
fn modified(metadata: &Metadata) -> Option<SystemTime> {
    let modified = metadata.modified().ok()?;
    let since_epoch = Duration::from_secs(modified.duration_since(UNIX_EPOCH).ok()?.as_secs());
    (since_epoch > NORMALISED_UNTIL && modified <= SystemTime::now()).then(|| UNIX_EPOCH + since_epoch)
}
