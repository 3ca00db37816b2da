//! The audit log: `audit/audit.log` for what was done, `audit/audit-refused.log` for what was refused, so that strangers push
//! nobody's deeds out of it. A JSON line each, rotated at a size, one older file kept.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use func_model::limits::AUDIT_FILE_BYTES;
use func_model::{AppName, AuditAct, AuditEnd, AuditRecord, Principal, plain_line};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::handing::{hand_over, open_plain};
use crate::lock::is_at;
use crate::{DataDir, StoreError, io_error, tail};

const DONE: &str = "audit";
const REFUSED: &str = "audit-refused";
/// The longest detail.
const DETAIL_CHARS: usize = 400;
/// How often, and how long apart, a writer tries for the file that another has locked.
const TRIES: u32 = 200;
const TRY_EVERY: Duration = Duration::from_millis(5);

/// The audit log of an installation. Several processes may write to it.
#[derive(Debug, Clone)]
pub struct Audit {
    folder: PathBuf,
}

/// Makes a record of this moment.
pub fn audited(
    act: AuditAct,
    app: Option<&AppName>,
    by: Principal,
    end: AuditEnd,
    detail: &str,
) -> AuditRecord {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let detail = plain_line(detail).chars().take(DETAIL_CHARS).collect();
    AuditRecord { at_ms, act, app: app.cloned(), by, end, detail, unlisted: 0 }
}

/// Returns the principal of a user of this machine, with the name that /etc/passwd has for it.
pub fn local(uid: u32) -> Principal {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    Principal::Local { uid, name }
}

impl Audit {
    pub fn new(data: &DataDir) -> Self {
        Self { folder: data.audit() }
    }

    /// Appends a record, whole and synced. Waits up to a second for another writer.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn record(&self, record: &AuditRecord) -> Result<(), StoreError> {
        let name = match record.end {
            AuditEnd::Done | AuditEnd::Failed => DONE,
            AuditEnd::Refused => REFUSED,
        };
        let path = self.folder.join(format!("{name}.log"));
        let line = serde_json::to_string(record).map_err(|e| io_error("write", &path)(e.into()))?;
        for _ in 0..TRIES {
            let mut file = open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    sleep(TRY_EVERY);
                    continue;
                }
                Err(e) => return Err(io_error("lock", &path)(e.into())),
            }
            if !is_at(&file, &path) {
                continue;
            }
            if file.metadata().map_err(io_error("read", &path))?.len() >= AUDIT_FILE_BYTES {
                fs::rename(&path, self.folder.join(format!("{name}.log.1")))
                    .map_err(io_error("rename", &path))?;
                continue;
            }
            let write = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data());
            return write.map_err(io_error("write", &path));
        }
        Err(io_error("lock", &path)(ErrorKind::WouldBlock.into()))
    }

    /// Returns the last `lines` records, of one app or of all, the newest last. Lines that hold none are left out.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn last(&self, lines: usize, app: Option<&AppName>) -> Result<Vec<AuditRecord>, StoreError> {
        let mut records = Vec::new();
        for name in [DONE, REFUSED] {
            let read = tail(&self.folder, name, usize::MAX)?;
            let read = read.iter().filter_map(|line| serde_json::from_str::<AuditRecord>(line).ok());
            records.extend(read.filter(|record| app.is_none() || record.app.as_ref() == app));
        }
        records.sort_by_key(|record| record.at_ms);
        let older = records.len().saturating_sub(lines);
        Ok(records.split_off(older))
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    let mut options = File::options();
    let file =
        open_plain(options.append(true).create(true).mode(0o600), path).map_err(io_error("open", path))?;
    hand_over(&file, path.parent().unwrap_or(path)).map_err(io_error("give away", path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(octet: u8) -> Principal {
        Principal::Token { address: [127, 0, 0, octet].into() }
    }

    #[test]
    fn many_writers_lose_no_record_when_the_file_is_rotated() {
        let dir = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(dir.path()).expect("its folders");
        let audit = Audit::new(&data);
        let full = vec![b'\n'; usize::try_from(AUDIT_FILE_BYTES).expect("it fits") - 1_000];
        fs::write(dir.path().join("audit/audit.log"), full).expect("written");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let audit = audit.clone();
                scope.spawn(move || {
                    for _ in 0..10 {
                        let record =
                            audited(AuditAct::Push, None, by(writer), AuditEnd::Done, "refs\u{202e}");
                        audit.record(&record).expect("written");
                    }
                });
            }
        });
        let records = audit.last(usize::MAX, None).expect("read");
        assert_eq!(records.len(), 40);
        assert!(records.iter().all(|record| record.detail == "refs"));
        assert!(dir.path().join("audit/audit.log.1").exists());
    }

    #[test]
    fn refusals_have_a_file_of_their_own_and_are_read_in_order_with_the_rest() {
        let dir = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(dir.path()).expect("its folders");
        let audit = Audit::new(&data);
        for (at_ms, end) in [(3, AuditEnd::Done), (2, AuditEnd::Refused), (1, AuditEnd::Failed)] {
            let record = AuditRecord { at_ms, ..audited(AuditAct::Login, None, by(1), end, "") };
            audit.record(&record).expect("written");
        }
        let at = |records: Vec<AuditRecord>| records.iter().map(|record| record.at_ms).collect::<Vec<_>>();
        assert_eq!(at(audit.last(9, None).expect("read")), [1, 2, 3]);
        assert_eq!(at(audit.last(1, None).expect("read")), [3]);
        assert!(audit.last(9, Some(&"blog".parse().expect("a name"))).expect("read").is_empty());
    }

    #[test]
    fn a_local_user_has_a_name_if_the_machine_knows_it() {
        assert_eq!(local(0).to_string(), "local user root (0)");
        assert_eq!(local(4_000_000).to_string(), "local user 4000000");
    }
}
