//! Links to sockets at the paths that older edges and builders use.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::Path;

use func_runner::START_SOCKET;
use func_store::DataDir;

/// Leads from where the socket for starts was to where it is: an edge that is upgraded last asks there until then.
pub(crate) fn link_start(data: &DataDir) -> io::Result<()> {
    let file = format!("{START_SOCKET}.sock");
    let (old, new) = (data.run(&file), data.run(&format!(".{file}.new")));
    let to = Path::new(START_SOCKET).join(&file);
    if fs::read_link(&old).is_ok_and(|leads| leads == to) {
        return Ok(());
    }
    match fs::remove_file(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    symlink(to, &new)?;
    fs::rename(new, old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_place_of_the_socket_leads_to_the_new_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(dir.path()).expect("its folders");
        fs::write(data.run("start.sock"), "as an older cleaner left it").expect("written");
        fs::write(data.socket(START_SOCKET), "here").expect("written");
        for _ in 0..2 {
            link_start(&data).expect("linked");
            assert_eq!(fs::read_to_string(data.run("start.sock")).expect("read"), "here");
        }
    }
}
