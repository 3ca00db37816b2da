//! Which folders there are, which part of func writes into each, and whose each is where parts run as different users.

/// A part of func that can run alone, as a user of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Githost,
    Builder,
    Edge,
    Cleaner,
}

impl Part {
    /// Every part: what `func serve all` runs.
    pub const ALL: [Self; 4] = [Self::Githost, Self::Builder, Self::Edge, Self::Cleaner];
}

/// The users of the parts. Builder and cleaner hold the engine's socket, with which anybody is root: they run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Users {
    /// The edge's user, and its group.
    pub edge: u32,
    /// The git host's user, and its group.
    pub githost: u32,
    /// The group of both, which reads the file of settings.
    pub shared: u32,
}

/// Whose a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Root,
    Edge,
    Githost,
    /// Root's, for the edge to look into.
    RootForEdge,
    /// Root's, for the git host to look into.
    RootForGithost,
}

impl Owner {
    /// Returns the user and the group.
    pub(crate) fn ids(self, users: Users) -> (u32, u32) {
        match self {
            Self::Root => (0, 0),
            Self::Edge => (users.edge, users.edge),
            Self::Githost => (users.githost, users.githost),
            Self::RootForEdge => (0, users.edge),
            Self::RootForGithost => (0, users.githost),
        }
    }

    /// Returns the mode where parts run as different users. What is made in a folder that another part looks into gets the
    /// folder's group: sockets are opened by their group.
    pub(crate) fn mode(self) -> u32 {
        match self {
            Self::Root | Self::Edge | Self::Githost => 0o700,
            Self::RootForEdge | Self::RootForGithost => 0o2750,
        }
    }
}

/// A folder in the data folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) name: &'static str,
    /// The parts that write into it. The first ones to start make it.
    pub(crate) writers: &'static [Part],
    pub(crate) owner: Owner,
}

const fn folder(name: &'static str, writers: &'static [Part], owner: Owner) -> Folder {
    Folder { name, writers, owner }
}

/// The folder of sockets, locks and gates. Others may go through it where parts run as different users.
pub(crate) const RUN: &str = "run";

/// Every folder, each after the one that it is in.
pub(crate) const FOLDERS: [Folder; 14] = [
    folder("projects", &[Part::Githost, Part::Builder], Owner::Githost),
    folder("manifest", &[Part::Builder, Part::Cleaner], Owner::Root),
    folder("keys", &[Part::Githost], Owner::Githost),
    folder("audit", &[Part::Githost, Part::Builder], Owner::Githost),
    folder("logs", &[Part::Builder, Part::Cleaner], Owner::Root),
    folder(RUN, &[Part::Builder, Part::Cleaner], Owner::Root),
    folder("run/githost", &[Part::Githost], Owner::Githost),
    folder("run/edge", &[Part::Edge], Owner::Edge),
    folder("run/edges", &[Part::Edge], Owner::Edge),
    folder("run/occupied", &[Part::Edge, Part::Cleaner], Owner::Edge),
    folder("run/poised", &[Part::Edge, Part::Cleaner], Owner::RootForEdge),
    folder("run/start", &[Part::Cleaner], Owner::RootForEdge),
    folder("run/deploy", &[Part::Builder], Owner::RootForGithost),
    // Redis alone writes into it, where compose runs one.
    folder("run/redis", &[], Owner::RootForEdge),
];
