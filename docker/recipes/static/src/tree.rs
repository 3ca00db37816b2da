//! The folder that is served, and the only way to open something in it.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::limits::OPEN_TRIES;

/// A folder out of which no name leads, neither by `..` nor through a link.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    links: Links,
}

/// What happens to symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    /// The kernel follows them as long as they stay below the root.
    StayBelow,
    /// None is followed: this kernel, or the sandbox around it, has no `openat2`.
    Refused,
}

/// What a name stands for.
#[derive(Debug)]
pub enum Entry {
    File(File, Metadata),
    Folder,
}

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Tree {
    /// Opens the root and finds out what the kernel can do.
    ///
    /// # Errors
    /// If the root is not a folder, or cannot be reached.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = openat(CWD, root, STEP, Mode::empty())?;
        let links = match openat2(&root, ".", STEP, Mode::empty(), ResolveFlags::BENEATH) {
            Ok(_) => Links::StayBelow,
            Err(_) => Links::Refused,
        };
        Ok(Self { root, links })
    }

    /// Opens what a relative name without `..` stands for; `None` if there is nothing that could be served.
    ///
    /// Links that leave the root, and what is neither file nor folder, are nothing.
    ///
    /// # Errors
    /// If it is there and may not be read, or the machine is out of descriptors or fails.
    pub fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        let opened = match self.links {
            Links::StayBelow => self.resolve(name),
            Links::Refused => self.walk(name),
        };
        let file = match opened {
            Ok(descriptor) => File::from(descriptor),
            Err(error) if is_absence(error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        Ok(match metadata.file_type() {
            kind if kind.is_file() => Some(Entry::File(file, metadata)),
            kind if kind.is_dir() => Some(Entry::Folder),
            _ => None,
        })
    }

    fn resolve(&self, name: &str) -> Result<OwnedFd, Errno> {
        let below = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
        let mut opened = Err(Errno::AGAIN);
        for _ in 0..OPEN_TRIES {
            opened = openat2(&self.root, name, OPEN, Mode::empty(), below);
            if !matches!(opened, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        opened
    }

    /// Opens folder by folder, each by its own descriptor, so that nothing can be exchanged on the way.
    fn walk(&self, name: &str) -> Result<OwnedFd, Errno> {
        let Some((folders, last)) = name.rsplit_once('/') else {
            return openat(&self.root, name, OPEN.union(OFlags::NOFOLLOW), Mode::empty());
        };
        let mut folder = openat(&self.root, ".", STEP, Mode::empty())?;
        for step in folders.split('/') {
            folder = openat(&folder, step, STEP.union(OFlags::NOFOLLOW), Mode::empty())?;
        }
        openat(&folder, last, OPEN.union(OFlags::NOFOLLOW), Mode::empty())
    }
}

/// Says whether an error means "nothing here": `XDEV` is a link that leaves the root, `NXIO` a socket.
fn is_absence(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::NAMETOOLONG
            | Errno::NXIO
            | Errno::INVAL
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn folder() -> tempfile::TempDir {
        let outside = tempfile::tempdir().expect("make a folder");
        fs::write(outside.path().join("secret"), "secret").expect("write a file");
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("a/b")).expect("make folders");
        fs::write(root.join("a/b/file"), "content").expect("write a file");
        symlink("../secret", root.join("up")).expect("make a link");
        symlink(outside.path(), root.join("out")).expect("make a link");
        symlink("/proc/self/root", root.join("magic")).expect("make a link");
        symlink("loop", root.join("loop")).expect("make a link");
        symlink("a/b", root.join("inside")).expect("make a link");
        outside
    }

    fn trees(outside: &tempfile::TempDir) -> [Tree; 2] {
        let open = || Tree::open(&outside.path().join("root")).expect("open the root");
        [Tree { links: Links::StayBelow, ..open() }, Tree { links: Links::Refused, ..open() }]
    }

    #[test]
    fn files_and_folders_are_found_with_and_without_the_kernels_help() {
        let outside = folder();
        for tree in trees(&outside) {
            assert!(matches!(tree.entry("a/b/file"), Ok(Some(Entry::File(..)))), "{tree:?}");
            assert!(matches!(tree.entry("a/b"), Ok(Some(Entry::Folder))), "{tree:?}");
            assert!(matches!(tree.entry("a"), Ok(Some(Entry::Folder))), "{tree:?}");
            for absent in ["b", "a/file", "a/b/file/c", "a/x/y", &"n".repeat(300), &"n/".repeat(3000)] {
                assert!(matches!(tree.entry(absent), Ok(None)), "{tree:?} {absent}");
            }
        }
    }

    #[test]
    fn no_link_leaves_the_root_with_or_without_the_kernels_help() {
        let outside = folder();
        for tree in trees(&outside) {
            for name in ["up", "out/secret", "out", "magic", "magic/etc/passwd", "loop", "loop/a"] {
                assert!(matches!(tree.entry(name), Ok(None)), "{tree:?} {name}");
            }
        }
    }

    #[test]
    fn a_link_that_stays_inside_is_followed_where_the_kernel_helps() {
        let outside = folder();
        let [helped, alone] = trees(&outside);
        assert!(matches!(helped.entry("inside/file"), Ok(Some(Entry::File(..)))));
        assert!(matches!(alone.entry("inside/file"), Ok(None)));
    }

    #[test]
    fn this_machine_has_the_kernels_help() {
        let outside = folder();
        assert_eq!(Tree::open(outside.path()).expect("open the root").links, Links::StayBelow);
    }
}
