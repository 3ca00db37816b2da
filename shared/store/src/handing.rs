//! Giving folders and files to the users of the parts: each part owns what it writes, and reads nothing else.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::folders::{FILE_MODE, FOLDER_MODE, THROUGH_MODE, close, close_locks, each_file, make, move_audit};
use crate::layout::{FOLDERS, Folder, RUN, Users};
use crate::{StoreError, io_error};

/// The file of settings, which each part reads.
const SETTINGS: &str = "func-server.toml";
const SETTINGS_TEXT: &str =
    "# Settings of func: its README has the table. A change holds from the next start on.\n";
/// The shared group reads the settings.
const GROUP_READS: u32 = 0o040;

/// Makes every folder of a data folder and gives it to its user. Returns a line for each thing that changed. Repeatable, and
/// one that was cut off goes on where it was: a folder is given away after what is in it.
///
/// # Errors
/// [`StoreError::Io`].
pub(crate) fn hand_out(root: &Path, users: Users) -> Result<Vec<String>, StoreError> {
    let mut lines = Vec::new();
    make(root, THROUGH_MODE)?;
    let found = fs::metadata(root).map_err(io_error("read", root))?;
    close(root, &found, found.mode() & !0o022, &mut lines)?;
    // Each part's user needs to traverse the folder.
    fs::set_permissions(root, Permissions::from_mode(found.mode() & !0o022 | 0o011))
        .map_err(io_error("open", root))?;
    for folder in &FOLDERS {
        make(&root.join(folder.name), FOLDER_MODE)?;
    }
    // While the folder that it goes to is root's still.
    move_audit(root)?;
    for folder in &FOLDERS {
        give(root, folder, users, &mut lines)?;
    }
    each_file(&root.join("keys"), |path, found| give_file(path, found, users.githost, &mut lines))?;
    close_locks(root, &mut lines)?;
    share_settings(root, users, &mut lines)?;
    Ok(lines)
}

fn give(root: &Path, folder: &Folder, users: Users, lines: &mut Vec<String>) -> Result<(), StoreError> {
    let path = root.join(folder.name);
    let found = fs::symlink_metadata(&path).map_err(io_error("read", &path))?;
    let (user, group) = folder.owner.ids(users);
    if found.uid() != user {
        // The user cannot have put anything in it yet.
        if user != 0 {
            give_all(&path, user, group)?;
        }
        lines.push(format!(
            "{} belonged to the user {}, and is the user {user}'s now",
            path.display(),
            found.uid()
        ));
    }
    if (found.uid(), found.gid()) != (user, group) {
        lchown(&path, Some(user), Some(group)).map_err(io_error("give away", &path))?;
    }
    let mode = if folder.name == RUN { THROUGH_MODE } else { folder.owner.mode() };
    fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(io_error("set the mode of", &path))
}

/// Gives everything in a folder away, and then the folder. Follows no link.
fn give_all(folder: &Path, user: u32, group: u32) -> Result<(), StoreError> {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(next) = folders.get(seen).cloned() {
        seen += 1;
        for entry in fs::read_dir(&next).map_err(io_error("read", &next))? {
            let path = entry.map_err(io_error("read", &next))?.path();
            let found = fs::symlink_metadata(&path).map_err(io_error("read", &path))?;
            match found.is_dir() {
                true => folders.push(path),
                false => lchown(&path, Some(user), Some(group)).map_err(io_error("give away", path))?,
            }
        }
    }
    for path in folders.iter().rev() {
        lchown(path, Some(user), Some(group)).map_err(io_error("give away", path))?;
    }
    Ok(())
}

/// Gives a key's file to the git host, whoever wrote it, for itself alone. One with several names is left: it is elsewhere
/// as well.
fn give_file(path: &Path, found: &Metadata, user: u32, lines: &mut Vec<String>) -> Result<(), StoreError> {
    if found.nlink() == 1 && found.uid() != user {
        lchown(path, Some(user), Some(user)).map_err(io_error("give away", path))?;
        lines.push(format!(
            "{} belonged to the user {}, and is the user {user}'s now",
            path.display(),
            found.uid()
        ));
    }
    close(path, found, FILE_MODE, lines)
}

/// Lets the parts read the settings. A container mounts the file: it has to be there.
fn share_settings(root: &Path, users: Users, lines: &mut Vec<String>) -> Result<(), StoreError> {
    let path = root.join(SETTINGS);
    if !path.exists() {
        fs::write(&path, SETTINGS_TEXT).map_err(io_error("write", &path))?;
    }
    let found = fs::metadata(&path).map_err(io_error("read", &path))?;
    if found.gid() != users.shared || found.mode() & GROUP_READS == 0 {
        lchown(&path, None, Some(users.shared)).map_err(io_error("give away", &path))?;
        let mode = found.mode() & 0o777 | GROUP_READS;
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(io_error("open", &path))?;
        lines.push(format!("{} can be read by the group {}", path.display(), users.shared));
    }
    Ok(())
}

/// Opens a file in a folder that another user may own. What that user puts in its place to have root change something else
/// is refused, without waiting: a link, a pipe, a file that has a second name.
pub(crate) fn open_plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = options.custom_flags(flags.cast_signed()).open(path)?;
    let found = file.metadata()?;
    match found.is_file() && found.nlink() <= 1 {
        true => Ok(file),
        false => Err(io::Error::other("it is no file of its own: remove it")),
    }
}

/// Gives a file that root made in another user's folder to that user, who could not use it else.
pub(crate) fn hand_over(file: &File, folder: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (made, folder) = (file.metadata()?, fs::metadata(folder)?);
    if made.uid() == 0 && folder.uid() != 0 {
        fchown(file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{DataDir, Occupancy, Part, Token};

    const USERS: Users = Users { edge: 7001, githost: 7002, shared: 7000 };

    fn facts(path: &Path) -> (u32, u32, u32) {
        let found = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (found.uid(), found.gid(), found.mode() & 0o7777)
    }

    #[test]
    fn an_older_data_folder_is_given_to_its_users_and_twice_is_the_same_as_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        for name in ["projects/blog.git/objects", "keys", "logs/blog", "run/occupied"] {
            fs::create_dir_all(root.join(name)).expect("made");
        }
        for name in ["projects/blog.git/HEAD", "keys/token", "logs/audit.log", "run/occupied/blog-v1.1"] {
            fs::write(root.join(name), "").expect("written");
        }
        let lock = root.join("run/occupied/blog-v1.1");
        fs::set_permissions(lock, Permissions::from_mode(0o600)).expect("closed");
        let outside = dir.path().join("outside");
        fs::write(&outside, "").expect("written");
        symlink(&outside, root.join("projects/blog.git/link")).expect("linked");
        hand_out(root, USERS).expect("handed out");
        for name in ["projects", "projects/blog.git", "projects/blog.git/objects", "projects/blog.git/HEAD"] {
            assert_eq!(facts(&root.join(name)).0, 7002, "{name}");
        }
        assert_eq!(facts(&outside).0, 0, "what a link leads to is left");
        assert_eq!(facts(&root.join("keys/token")), (7002, 7002, 0o600));
        assert_eq!(facts(&root.join("audit/audit.log")).0, 7002);
        assert_eq!(facts(&root.join("run/occupied/blog-v1.1")).0, 7001);
        assert_eq!(facts(&root.join("run")), (0, 0, 0o711));
        for name in ["projects", "keys", "audit", "run/githost"] {
            assert_eq!(facts(&root.join(name)), (7002, 7002, 0o700), "{name}");
        }
        for name in ["run/edge", "run/edges", "run/occupied"] {
            assert_eq!(facts(&root.join(name)), (7001, 7001, 0o700), "{name}");
        }
        for name in ["manifest", "logs"] {
            assert_eq!(facts(&root.join(name)), (0, 0, 0o700), "{name}");
        }
        assert_eq!(facts(&root.join("run/start")), (0, 7001, 0o2750));
        assert_eq!(facts(&root.join("run/deploy")), (0, 7002, 0o2750));
        assert_eq!(facts(&root.join("func-server.toml")).1, 7000);
        assert_eq!(hand_out(root, USERS).expect("twice"), [""; 0], "nothing is left to do");
    }

    #[test]
    fn parts_of_root_leave_the_users_folders_and_one_process_for_all_takes_them_back() {
        let dir = tempfile::tempdir().expect("a folder");
        hand_out(dir.path(), USERS).expect("handed out");
        for part in Part::ALL {
            DataDir::prepare(dir.path(), &[part]).expect("prepared");
        }
        assert_eq!(hand_out(dir.path(), USERS).expect("again"), [""; 0], "the parts changed nothing");
        DataDir::open(dir.path()).expect("opened");
        assert_eq!(facts(&dir.path().join("projects")), (0, 0, 0o700));
        assert_eq!(facts(&dir.path().join("run")), (0, 0, 0o700));
    }

    #[test]
    fn what_root_makes_for_another_user_is_that_users() {
        let dir = tempfile::tempdir().expect("a folder");
        let (data, _) = DataDir::hand_out(dir.path(), USERS).expect("handed out");
        Token::make_file(&data).expect("made");
        assert_eq!(facts(&Token::file(&data)), (7002, 7002, 0o600));
        assert_eq!(facts(&data.keys().join("token.sha256")), (7002, 7002, 0o600));
        let id = "blog-v1.1".parse().expect("an instance");
        let vacant = Occupancy::new(&data).vacate(&id).expect("asked").expect("vacant");
        assert_eq!(facts(&data.run("occupied/blog-v1.1")), (7001, 7001, 0o600));
        drop(vacant);
        assert_eq!((data.user(Part::Edge), data.user(Part::Githost)), (Some(7001), Some(7002)));
    }

    #[test]
    fn a_data_folder_that_was_open_to_all_is_closed_and_can_be_passed() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("opened");
        hand_out(dir.path(), USERS).expect("as root");
        assert_eq!(facts(dir.path()).2, 0o755);
    }

    /// A compromised edge or git host owns folders that root writes into.
    #[test]
    fn a_link_a_pipe_and_a_file_with_another_name_lead_root_nowhere() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        let data = DataDir::open(root).expect("its folders");
        hand_out(root, USERS).expect("as root");
        let target = root.join("manifest/current");
        let id: func_model::InstanceId = "blog-v1.1".parse().expect("an instance");
        let traps: [fn(&Path, &Path); 3] = [
            |target, trap| symlink(target, trap).expect("a link"),
            |target, trap| fs::hard_link(target, trap).expect("another name"),
            |_, trap| {
                let made = std::process::Command::new("mkfifo").arg(trap).status();
                assert!(made.expect("mkfifo runs").success());
            },
        ];
        for set in traps {
            for trap in [root.join("audit/audit.log"), root.join("run/occupied/blog-v1.1")] {
                fs::write(&target, "v7").expect("written");
                let before = facts(&target);
                let _ = fs::remove_file(&trap);
                set(&target, &trap);
                let failed = match trap.ends_with("audit.log") {
                    true => crate::Audit::new(&data).record(&record()).is_err(),
                    false => Occupancy::new(&data).vacate(&id).is_err(),
                };
                assert!(failed, "{}", trap.display());
                assert_eq!(fs::read_to_string(&target).expect("read"), "v7");
                assert_eq!(facts(&target), before);
            }
        }
    }

    fn record() -> func_model::AuditRecord {
        let by = func_model::Principal::Token { address: [127, 0, 0, 1].into() };
        crate::audited(func_model::AuditAct::Push, None, by, func_model::AuditEnd::Done, "a push")
    }
}
