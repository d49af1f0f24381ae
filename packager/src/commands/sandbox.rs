//! The namespace in which build commands run: the build folder is `/build`, `/tmp` is their own,
//! and everything else is there to be read.

use std::ffi::{CStr, CString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, getgid, getuid, pivot_root, sethostname, write};

use super::environment::MAPPED_ROOT;

/// Everything that is needed to enter the namespace, made before the fork: between fork and exec
/// no memory may be allocated.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    flags: CloneFlags,
    uid_map: Vec<u8>,
    gid_map: Vec<u8>,
    /// The folder that becomes `/`.
    root: CString,
    /// What is there to be read, and where.
    readable: Vec<(CString, CString)>,
    /// What may be written, and where.
    writable: Vec<(CString, CString)>,
}

/// The folders of a sandbox, as the rest of the machine sees them.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    /// What becomes `/build`.
    pub(crate) build: &'a Path,
    /// What becomes `/tmp`.
    pub(crate) temporary: &'a Path,
    /// An empty folder to put the namespace together in.
    pub(crate) stage: &'a Path,
    /// Other folders in which commands may write.
    pub(crate) writable: &'a [PathBuf],
}

impl Sandbox {
    /// Prepares the namespace and tries it out.
    ///
    /// # Errors
    ///
    /// The kernel, or who one is on this machine, does not allow it.
    pub(crate) fn prepare(places: &Places<'_>) -> io::Result<Self> {
        // Who may mount keeps every right over owners of files; everybody else may mount only in a
        // user namespace.
        let alone = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
        let attempts = [alone, alone | CloneFlags::CLONE_NEWUSER];
        let mut sandbox = Self::new(places)?;
        let mut result = Ok(());
        for flags in attempts {
            sandbox.flags = flags;
            result = sandbox.try_out();
            if result.is_ok() {
                break;
            }
        }
        result.map(|()| sandbox)
    }

    fn new(places: &Places<'_>) -> io::Result<Self> {
        let stage = places.stage;
        let readable = skeleton(stage)?;
        let mut writable = vec![
            (
                places.build.to_owned(),
                inside(stage, Path::new(MAPPED_ROOT)),
            ),
            (places.temporary.to_owned(), stage.join("tmp")),
        ];
        let shared_memory = places.temporary.join(".shm");
        if Path::new("/dev/shm").is_dir() {
            DirBuilder::new().mode(0o1777).create(&shared_memory)?;
            writable.push((shared_memory, stage.join("dev/shm")));
        }
        let others = places.writable.iter();
        writable.extend(others.map(|path| (path.clone(), inside(stage, path))));
        let (uid, gid) = (getuid(), getgid());
        Ok(Self {
            flags: CloneFlags::empty(),
            uid_map: format!("{uid} {uid} 1").into_bytes(),
            gid_map: format!("{gid} {gid} 1").into_bytes(),
            root: text(stage)?,
            readable: texts(&readable)?,
            writable: texts(&writable)?,
        })
    }

    fn try_out(&self) -> io::Result<()> {
        let mut command = Command::new("true");
        command.stdin(Stdio::null());
        self.confine(&mut command);
        command.status().map(drop)
    }

    /// Has `command` run in the namespace, with `/build` as its folder.
    pub(crate) fn confine(&self, command: &mut Command) {
        let sandbox = self.clone();
        #[expect(
            unsafe_code,
            reason = "`enter` makes system calls alone, with texts made before the fork"
        )]
        unsafe {
            std::os::unix::process::CommandExt::pre_exec(command, move || {
                sandbox.enter().map_err(io::Error::from)
            });
        }
    }

    fn enter(&self) -> nix::Result<()> {
        unshare(self.flags)?;
        if self.flags.contains(CloneFlags::CLONE_NEWUSER) {
            put(c"/proc/self/setgroups", b"deny")?;
            put(c"/proc/self/uid_map", &self.uid_map)?;
            put(c"/proc/self/gid_map", &self.gid_map)?;
        }
        sethostname("build")?;
        change(c"/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
        bind(&self.root, &self.root)?;
        change(&self.root, MsFlags::MS_UNBINDABLE)?;
        for (from, to) in &self.readable {
            bind(from, to)?;
        }
        make_read_only(&self.root)?;
        for (from, to) in &self.writable {
            bind(from, to)?;
        }
        chdir(self.root.as_c_str())?;
        pivot_root(c".", c".")?;
        umount2(c".", MntFlags::MNT_DETACH)?;
        chdir(MAPPED_ROOT)
    }
}

/// Makes the folders and links of `/` anew in `stage`; gives what has to be bound where.
fn skeleton(stage: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut bound = Vec::new();
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        let place = stage.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, place)?;
        } else if kind.is_dir() {
            fs::create_dir(&place)?;
            if !["build", "tmp"].iter().any(|own| entry.file_name() == *own) {
                bound.push((entry.path(), place));
            }
        }
    }
    for own in ["build", "tmp"] {
        DirBuilder::new().recursive(true).create(stage.join(own))?;
    }
    Ok(bound)
}

/// Where the absolute `path` is once `stage` is the root.
fn inside(stage: &Path, path: &Path) -> PathBuf {
    stage.join(path.strip_prefix("/").unwrap_or(path))
}

fn texts(pairs: &[(PathBuf, PathBuf)]) -> io::Result<Vec<(CString, CString)>> {
    pairs
        .iter()
        .map(|(from, to)| Ok((text(from)?, text(to)?)))
        .collect()
}

fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn put(path: &CStr, bytes: &[u8]) -> nix::Result<()> {
    let file = open(path, OFlag::O_WRONLY, Mode::empty())?;
    write(&file, bytes).map(drop)
}

fn bind(from: &CStr, to: &CStr) -> nix::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from), to, None::<&CStr>, flags, None::<&CStr>)
}

fn change(place: &CStr, flags: MsFlags) -> nix::Result<()> {
    mount(None::<&CStr>, place, None::<&CStr>, flags, None::<&CStr>)
}

/// With everything that is mounted below, which a remount would leave as it is.
fn make_read_only(root: &CStr) -> nix::Result<()> {
    let root = open(root, OFlag::O_PATH, Mode::empty())?;
    // `struct mount_attr`: what to set (MOUNT_ATTR_RDONLY), what to clear, propagation, user namespace.
    let wanted: [u64; 4] = [1, 0, 0, 0];
    #[expect(
        unsafe_code,
        reason = "no crate wraps the call; descriptor, text and structure outlive it"
    )]
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            root.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            wanted.as_ptr(),
            size_of_val(&wanted),
        )
    };
    nix::errno::Errno::result(result).map(drop)
}
