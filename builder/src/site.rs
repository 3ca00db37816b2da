//! The files of a static site, found in a commit.

use std::collections::BTreeMap;

use func_model::Revision;
use git2::{Oid, Tree, TreeEntry};
use thiserror::Error;

use crate::app_file;
use crate::deadline::{Deadline, Overdue};
use crate::limits::{SITE_BYTES, SITE_DEPTH, SITE_FILE_BYTES, SITE_FILES};
use crate::repository::{Repository, RepositoryError, is_file, is_folder, is_link};

/// The folder that is the site, when there is one.
const PUBLIC: &str = "public";
/// The one hidden folder that belongs to a site whose files are at the root.
const WELL_KNOWN: &str = ".well-known";
/// The longest target of a link.
const LINK_BYTES: u64 = 4_096;

/// Why a commit's files are no site.
#[derive(Debug, Error)]
pub enum SiteError {
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Overdue(#[from] Overdue),
    #[error("the site has no files")]
    Empty,
    #[error("the site has more than {SITE_FILES} files")]
    Many,
    #[error("the site has more than {} MiB", SITE_BYTES / (1024 * 1024))]
    Large,
    #[error("{path} has more than {} MiB", SITE_FILE_BYTES / (1024 * 1024))]
    LargeFile { path: String },
    #[error("{path} lies deeper than {SITE_DEPTH} folders")]
    Deep { path: String },
    #[error("{path} has a name that is not UTF-8")]
    Name { path: String },
    #[error("{path} is a link to {target}, which is not a file of the site")]
    Link { path: String, target: String },
}

/// One file of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteFile {
    pub id: Oid,
    pub bytes: u64,
}

/// The files of a site by their paths, `css/a.css`.
#[derive(Debug, Default)]
pub struct Site {
    pub files: BTreeMap<String, SiteFile>,
}

impl Site {
    /// Finds the site's files: those of `public/` if there is one; else those at the root, without func.toml and what
    /// begins with a dot. A link to a file of the site is that file. Submodules are left out.
    ///
    /// # Errors
    /// [`SiteError`], by what is wrong.
    pub fn find(
        repository: &Repository,
        revision: &Revision,
        deadline: &Deadline,
    ) -> Result<Self, SiteError> {
        let root = repository.tree(revision)?;
        let public = root.get_name(PUBLIC).filter(is_folder).map(|entry| entry.id());
        let mut walk = Walk {
            repository,
            deadline,
            hidden: public.is_some(),
            found: BTreeMap::new(),
            links: Vec::new(),
        };
        match public {
            Some(id) => walk.folder(&repository.subtree(id)?, "", 0)?,
            None => walk.folder(&root, "", 0)?,
        }
        let site = walk.finish()?;
        if site.files.is_empty() {
            return Err(SiteError::Empty);
        }
        if site.files.values().map(|file| file.bytes).sum::<u64>() > SITE_BYTES {
            return Err(SiteError::Large);
        }
        Ok(site)
    }
}

struct Walk<'a> {
    repository: &'a Repository,
    deadline: &'a Deadline,
    /// Whether names that begin with a dot are taken.
    hidden: bool,
    found: BTreeMap<String, SiteFile>,
    links: Vec<(String, Oid)>,
}

impl Walk<'_> {
    fn folder(&mut self, tree: &Tree<'_>, under: &str, depth: usize) -> Result<(), SiteError> {
        if depth > SITE_DEPTH {
            return Err(SiteError::Deep { path: under.to_owned() });
        }
        for entry in tree {
            let Ok(name) = std::str::from_utf8(entry.name_bytes()) else {
                let shown = String::from_utf8_lossy(entry.name_bytes());
                return Err(SiteError::Name { path: format!("{under}{shown}") });
            };
            if self.takes(name, under) {
                self.entry(&entry, &format!("{under}{name}"), depth)?;
            }
        }
        Ok(())
    }

    fn takes(&self, name: &str, under: &str) -> bool {
        let own = under.is_empty() && name == app_file::NAME;
        self.hidden || (!own && (name == WELL_KNOWN || !name.starts_with('.')))
    }

    fn entry(&mut self, entry: &TreeEntry<'_>, path: &str, depth: usize) -> Result<(), SiteError> {
        // Folders are not counted: the same few in one another can be more than all time.
        self.deadline.check()?;
        if self.found.len() + self.links.len() >= SITE_FILES {
            return Err(SiteError::Many);
        }
        if is_folder(entry) {
            let tree = self.repository.subtree(entry.id())?;
            return self.folder(&tree, &format!("{path}/"), depth + 1);
        }
        if is_link(entry) {
            self.links.push((path.to_owned(), entry.id()));
        } else if is_file(entry) {
            let bytes = self.repository.size(entry.id())?;
            if bytes > SITE_FILE_BYTES {
                return Err(SiteError::LargeFile { path: path.to_owned() });
            }
            self.found.insert(path.to_owned(), SiteFile { id: entry.id(), bytes });
        }
        Ok(())
    }

    /// Puts the files that links lead to in their places.
    fn finish(self) -> Result<Site, SiteError> {
        let mut files = self.found.clone();
        for (path, id) in &self.links {
            let target = self.target(*id)?;
            let file = resolve(path, &target).and_then(|resolved| self.found.get(&resolved));
            let Some(file) = file else {
                return Err(SiteError::Link {
                    path: path.clone(),
                    target: target.escape_debug().to_string(),
                });
            };
            files.insert(path.clone(), *file);
        }
        Ok(Site { files })
    }

    fn target(&self, id: Oid) -> Result<String, SiteError> {
        if self.repository.size(id)? > LINK_BYTES {
            return Ok("...".to_owned());
        }
        Ok(String::from_utf8_lossy(&self.repository.bytes(id)?).into_owned())
    }
}

/// Gives the path that a link leads to, seen from the site's root; `None` if it leads out of it.
fn resolve(link: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{Pushed, minute};

    fn found(files: &[(&str, &str)]) -> Result<Vec<String>, SiteError> {
        let pushed = Pushed::new();
        let revision = pushed.commit(files);
        let repository = Repository::open(&pushed.path()).expect("opened");
        Site::find(&repository, &revision, &minute()).map(|site| site.files.into_keys().collect())
    }

    #[test]
    fn public_is_the_site_when_there_is_one() {
        let files =
            [("public/a.html", "a"), ("public/.well-known/x", "x"), ("index.html", "no"), ("src/x", "x")];
        assert_eq!(found(&files).expect("a site"), [".well-known/x", "a.html"]);
    }

    #[test]
    fn at_the_root_func_toml_and_hidden_files_are_no_part_of_the_site() {
        let files = [
            ("index.html", "a"),
            ("func.toml", ""),
            ("docs/func.toml", ""),
            (".env", "secret"),
            ("a/.env", "secret"),
            (".github/x.yml", ""),
            (".well-known/security.txt", "x"),
        ];
        let expected = [".well-known/security.txt", "docs/func.toml", "index.html"];
        assert_eq!(found(&files).expect("a site"), expected);
    }

    #[test]
    fn a_link_to_a_file_of_the_site_is_that_file_and_every_other_link_is_refused() {
        let site = [("public/a.html", "a"), ("public/b/c.html", "-> ../a.html")];
        assert_eq!(found(&site).expect("a site"), ["a.html", "b/c.html"]);
        for target in ["/etc/passwd", "../secret", "../../../etc/passwd", "b", "missing", "c.html"] {
            let link = format!("-> {target}");
            let files = [("public/b/x", "x"), ("public/c.html", link.as_str()), ("secret", "s")];
            assert!(matches!(found(&files), Err(SiteError::Link { .. })), "{target}");
        }
    }

    #[test]
    fn a_site_without_files_is_refused() {
        assert!(matches!(found(&[(".hidden", "x")]), Err(SiteError::Empty)));
    }

    /// Forty folders, each of which holds the next one twice: 2^40 folders in a few kilobytes.
    #[test]
    fn folders_without_end_are_walked_no_longer_than_the_build_time() {
        let pushed = Pushed::new();
        let git = git2::Repository::open_bare(pushed.path()).expect("opened");
        let mut tree = git.treebuilder(None).and_then(|empty| empty.write()).expect("a tree");
        for _ in 0..40 {
            let mut folder = git.treebuilder(None).expect("a tree");
            folder.insert("a", tree, 0o040_000).expect("added");
            folder.insert("b", tree, 0o040_000).expect("added");
            tree = folder.write().expect("a tree");
        }
        let me = git2::Signature::now("t", "t@t").expect("a name");
        let tree = git.find_tree(tree).expect("written");
        let revision = git.commit(None, &me, &me, "x", &tree, &[]).expect("a commit");
        let revision = revision.to_string().parse().expect("a revision");
        let repository = Repository::open(&pushed.path()).expect("opened");
        let soon = Deadline::new(Duration::from_millis(200), Default::default());
        assert!(matches!(Site::find(&repository, &revision, &soon), Err(SiteError::Overdue(_))));
    }

    #[test]
    fn a_link_is_resolved_inside_the_site_and_never_out_of_it() {
        assert_eq!(resolve("a/b.html", "../c.html").as_deref(), Some("c.html"));
        assert_eq!(resolve("a/b.html", "./d/../c.html").as_deref(), Some("a/c.html"));
        assert_eq!(resolve("b.html", "../etc/passwd"), None);
        assert_eq!(resolve("b.html", "/etc/passwd"), None);
    }
}
