//! A clock that one process alone sees: its copy of the kernel's vDSO is changed, so that what it asks there for the time
//! of day is moved. A static program has no other library in which that could be done.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The clock of one running process.
pub struct Clock {
    pid: u32,
    memory: File,
    /// Where the vDSO is, and in it `clock_gettime`.
    vdso: std::ops::Range<u64>,
    entry: u64,
}

impl Clock {
    pub fn of(pid: u32) -> Self {
        assert_eq!(
            std::env::consts::ARCH,
            "x86_64",
            "the code below is for x86_64: write it for this machine too"
        );
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
        let line = maps.lines().find(|line| line.ends_with("[vdso]")).expect("a vDSO");
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let address = |hex: &str| u64::from_str_radix(hex, 16).expect("an address");
        let vdso = address(from)..address(to);
        let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"));
        let memory = memory.expect("its memory; this test changes a process: run it as root");
        let mut image = vec![0; (vdso.end - vdso.start) as usize];
        memory.read_exact_at(&mut image, vdso.start).expect("read");
        let entry = vdso.start + symbol(&image, "__vdso_clock_gettime");
        Self { pid, memory, vdso, entry }
    }

    /// Lets the process see a time of day that is moved by `seconds` from the machine's own.
    pub fn move_by(&self, seconds: i64) {
        loop {
            self.signal("STOP");
            // Nobody may be amid what is changed.
            let free = self.is_stopped() && self.threads().iter().all(|at| !self.vdso.contains(at));
            if free {
                self.memory.write_all_at(&code(seconds), self.entry).expect("written");
            }
            self.signal("CONT");
            if free {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: &str) {
        let sent = std::process::Command::new("kill").args(["-s", signal, &self.pid.to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    fn tasks(&self, file: &str) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).expect("its threads");
        tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join(file)).ok()).collect()
    }

    fn is_stopped(&self) -> bool {
        self.tasks("stat").iter().all(|stat| stat.rsplit(") ").next().is_some_and(|s| s.starts_with('T')))
    }

    /// Where each thread is: the last word of `/proc/<pid>/task/<tid>/syscall`.
    fn threads(&self) -> Vec<u64> {
        let at = |text: &String| {
            let word = text.split_whitespace().last()?.strip_prefix("0x")?;
            u64::from_str_radix(word, 16).ok()
        };
        self.tasks("syscall").iter().filter_map(at).collect()
    }
}

/// `clock_gettime` by the real system call, moved if the time of day is asked for.
fn code(seconds: i64) -> Vec<u8> {
    let before = [
        0xb8, 0xe4, 0, 0, 0, // mov eax, 228
        0x0f, 0x05, // syscall
        0x85, 0xff, // test edi, edi: CLOCK_REALTIME
        0x74, 0x05, // jz to the movabs
        0x83, 0xff, 0x05, // cmp edi, 5: CLOCK_REALTIME_COARSE
        0x75, 0x0d, // jne to the ret
        0x48, 0xb9, // movabs rcx, seconds
    ];
    let after = [
        0x48, 0x01, 0x0e, // add [rsi], rcx
        0xc3, // ret
    ];
    [&before[..], &seconds.to_le_bytes(), &after].concat()
}

/// Finds a symbol in an ELF image of 64 bits, by its dynamic symbol table.
fn symbol(image: &[u8], name: &str) -> u64 {
    let number = |at: usize, bytes: usize| {
        image[at..at + bytes].iter().rev().fold(0_usize, |n, byte| n << 8 | usize::from(*byte))
    };
    let (sections, count) = (number(40, 8), number(60, 2));
    let section = |n: usize| sections + n * 64;
    let table = (0..count).map(section).find(|at| number(at + 4, 4) == 11).expect("a dynamic symbol table");
    let names = number(section(number(table + 40, 4)) + 24, 8);
    let (symbols, bytes) = (number(table + 24, 8), number(table + 32, 8));
    let named = |at: &usize| image[names + number(*at, 4)..].starts_with(format!("{name}\0").as_bytes());
    let found = (symbols..symbols + bytes).step_by(24).find(named).expect("the symbol");
    number(found + 8, 8) as u64
}
