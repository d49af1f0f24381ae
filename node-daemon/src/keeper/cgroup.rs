//! Control groups: each process with all its children in a group of its own, which bounds what they
//! use and ends them together.
//!
//! The unified hierarchy (version 2) is used where the daemon may make groups in it. Controllers
//! that the system has not given to it are taken from the older hierarchies, where those are.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use placet_model::{Digest, Limits, ProcessName};

/// SIGKILL takes effect within milliseconds, unless a process hangs in the kernel.
const WITHIN: Duration = Duration::from_secs(1);

/// Microseconds in which `cpuPercent` is counted.
const PERIOD: u64 = 100_000;

/// What the processes of one daemon are grouped in; empty where the system has nothing.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The daemon's own folder in the unified hierarchy.
    unified: Option<PathBuf>,
    /// The daemon's own folders in older hierarchies, with the controller of each.
    older: Vec<(Controller, PathBuf)>,
    /// Controllers of the unified hierarchy.
    controllers: Vec<Controller>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Memory,
    Tasks,
    Processor,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Tasks, Self::Processor];

    /// Its name in the kernel.
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Tasks => "pids",
            Self::Processor => "cpu",
        }
    }

    /// What is limited by it, by the name in a package file, and the text that sets the limit.
    fn limit(self, limits: &Limits) -> Option<(&'static str, String)> {
        let text = |number: u64| number.to_string();
        match self {
            Self::Memory => Some(("memoryBytes", text(limits.memory_bytes?))),
            Self::Tasks => Some(("tasks", text(limits.tasks?))),
            Self::Processor => {
                let quota = u64::from(limits.cpu_percent?) * PERIOD / 100;
                Some(("cpuPercent", text(quota)))
            }
        }
    }

    /// The file that sets the limit, and what is written to it.
    fn setting(self, is_unified: bool, value: &str) -> (&'static str, String) {
        match (self, is_unified) {
            (Self::Memory, true) => ("memory.max", value.to_owned()),
            (Self::Memory, false) => ("memory.limit_in_bytes", value.to_owned()),
            (Self::Tasks, _) => ("pids.max", value.to_owned()),
            (Self::Processor, true) => ("cpu.max", format!("{value} {PERIOD}")),
            (Self::Processor, false) => ("cpu.cfs_quota_us", value.to_owned()),
        }
    }
}

/// A process cannot be given its group.
#[derive(Debug, thiserror::Error)]
pub(super) enum GroupError {
    #[error(
        "its package limits `{limit}`, for which this system gives no control group (`{controller}`): run placetd with delegated control groups (`Delegate=yes` under systemd), or leave the limit out"
    )]
    Missing {
        limit: &'static str,
        controller: &'static str,
    },
    #[error(
        "failed to set up its control group `{path}`; placetd has to be able to write there: see who mounts it, and that nobody else manages it"
    )]
    File { path: PathBuf, source: io::Error },
}

impl Groups {
    /// Looks for what the system has, in the folder `/sys/fs/cgroup`, for the daemon with this
    /// folder for sockets, which no other daemon uses.
    pub(super) fn find(run: &Path) -> Self {
        let digest = Digest::of(run.as_os_str().as_encoded_bytes());
        let name = format!("placet-{}", digest.short());
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut groups = Self::default();
        for line in own.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            // An earlier keeper of this process may have moved to a group of its own.
            let path = path.strip_suffix("/keeper").unwrap_or(path);
            let path = path.trim_start_matches('/');
            if controllers.is_empty() {
                groups.use_unified(path, &name);
            } else {
                groups.use_older(controllers, path, &name);
            }
        }
        let taken = std::mem::take(&mut groups.older);
        let is_new =
            |(controller, _): &(Controller, PathBuf)| !groups.controllers.contains(controller);
        groups.older = taken.into_iter().filter(is_new).collect();
        groups
    }

    fn use_unified(&mut self, path: &str, name: &str) {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let mut homes = roots.iter().map(|root| Path::new(root).join(path));
        let Some(home) = homes.find(|home| home.join("cgroup.controllers").exists()) else {
            return;
        };
        let own = home.join(name);
        if fs::create_dir(&own).is_err() && !own.is_dir() {
            return;
        }
        self.controllers = delegate(&home, &own);
        self.unified = Some(own);
    }

    fn use_older(&mut self, controllers: &str, path: &str, name: &str) {
        for controller in Controller::ALL {
            if !controllers.split(',').any(|name| name == controller.name()) {
                continue;
            }
            let home = Path::new("/sys/fs/cgroup").join(controllers).join(path);
            let own = home.join(name);
            if fs::create_dir(&own).is_ok() || own.is_dir() {
                self.older.push((controller, own));
            }
        }
    }

    /// Makes the group of a process; the files in which a child writes `0` to join it.
    pub(super) fn make(
        &self,
        process: &ProcessName,
        limits: &Limits,
    ) -> Result<Vec<OwnedFd>, GroupError> {
        let mut joined = Vec::new();
        if let Some(unified) = &self.unified {
            self.make_own(unified)?;
            let group = unified.join(process.as_str());
            make_folder(&group)?;
            for controller in &self.controllers {
                set(&group, *controller, true, limits)?;
            }
            joined.push(open(&group)?);
        }
        for (controller, own) in &self.older {
            self.make_own(own)?;
            let group = own.join(process.as_str());
            make_folder(&group)?;
            set(&group, *controller, false, limits)?;
            joined.push(open(&group)?);
        }
        for controller in Controller::ALL {
            let older = self.older.iter().any(|(known, _)| *known == controller);
            if let Some((limit, _)) = controller.limit(limits)
                && !older
                && !self.controllers.contains(&controller)
            {
                let controller = controller.name();
                return Err(GroupError::Missing { limit, controller });
            }
        }
        Ok(joined)
    }

    /// Makes the daemon's own folder in a hierarchy, if somebody has removed it.
    fn make_own(&self, own: &Path) -> Result<(), GroupError> {
        if own.is_dir() {
            return Ok(());
        }
        tracing::warn!(group = %own.display(), "somebody removed the control group of placetd: it is made anew");
        make_folder(own)?;
        if self.unified.as_deref() == Some(own)
            && let Some(home) = own.parent()
        {
            delegate(home, own);
        }
        Ok(())
    }

    /// Ends all that is left in the group of a process, at once; false if nothing can be ended so.
    pub(super) fn kill(&self, process: &ProcessName) -> bool {
        let group = self.unified.as_ref().map(|own| own.join(process.as_str()));
        group.is_some_and(|group| fs::write(group.join("cgroup.kill"), "1").is_ok())
    }

    /// True if a process is in the group of `process`.
    pub(super) fn holds(&self, process: &ProcessName, pid: i32) -> bool {
        let Some(own) = &self.unified else {
            return false;
        };
        let Some(home) = own.file_name().and_then(|name| name.to_str()) else {
            return false;
        };
        let end = format!("/{home}/{process}");
        let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mut unified = lines.lines().filter_map(|line| line.strip_prefix("0::"));
        unified.any(|path| path.ends_with(&end))
    }

    /// Removes the group of a process, which is empty.
    pub(super) fn remove(&self, process: &ProcessName) {
        let older = self.older.iter().map(|(_, own)| own);
        for own in self.unified.iter().chain(older) {
            // Fails while something is in it; then the next keeper removes it.
            let _ = fs::remove_dir(own.join(process.as_str()));
        }
    }

    /// Ends what an earlier keeper left in its groups.
    pub(super) fn end_survivors(&self) {
        for group in self.all() {
            // Only the unified hierarchy has this.
            let _ = fs::write(group.join("cgroup.kill"), "1");
        }
    }

    /// Removes the groups of processes, once what was ended has left them.
    pub(super) fn remove_all(&self) {
        let until = Instant::now() + WITHIN;
        for group in self.all() {
            while fs::remove_dir(&group).is_err_and(|error| is_busy(&error)) {
                if Instant::now() > until {
                    tracing::warn!(group = %group.display(), "an earlier keeper's control group is still in use");
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// The groups of all processes, in every hierarchy.
    fn all(&self) -> Vec<PathBuf> {
        let older = self.older.iter().map(|(_, own)| own);
        let owns = self.unified.iter().chain(older);
        let entries = owns.flat_map(|own| fs::read_dir(own).into_iter().flatten().flatten());
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.end_survivors();
        self.remove_all();
        let older = self.older.iter().map(|(_, own)| own);
        for own in self.unified.iter().chain(older) {
            let _ = fs::remove_dir(own);
        }
    }
}

/// Has the controllers of `home` handed down to the groups in `own`; says which.
///
/// A group with processes of its own hands nothing down (but the root). Where the daemon is alone
/// in its group, as under systemd with `Delegate=yes`, it moves to a group beside `own` first.
fn delegate(home: &Path, own: &Path) -> Vec<Controller> {
    let offered = fs::read_to_string(home.join("cgroup.controllers")).unwrap_or_default();
    let offered: Vec<_> = Controller::ALL
        .into_iter()
        .filter(|controller| {
            offered
                .split_whitespace()
                .any(|name| name == controller.name())
        })
        .collect();
    if offered.is_empty() {
        return offered;
    }
    let hand_down = |controller: &Controller| {
        let order = format!("+{}", controller.name());
        fs::write(home.join("cgroup.subtree_control"), &order).is_ok()
            && fs::write(own.join("cgroup.subtree_control"), &order).is_ok()
    };
    if !offered.iter().all(hand_down) {
        let keeper = home.join("keeper");
        let _ = fs::create_dir(&keeper);
        let _ = fs::write(keeper.join("cgroup.procs"), "0");
    }
    offered.into_iter().filter(hand_down).collect()
}

/// True while something is in a group that was to be removed.
fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}

fn make_folder(group: &Path) -> Result<(), GroupError> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(GroupError::File {
            path: group.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

fn set(
    group: &Path,
    controller: Controller,
    is_unified: bool,
    limits: &Limits,
) -> Result<(), GroupError> {
    let value = controller.limit(limits).map(|(_, value)| value);
    // A group may be left from a process with other limits.
    let unlimited = match (controller, is_unified) {
        (Controller::Memory | Controller::Processor, false) => "-1",
        _ => "max",
    };
    let (file, text) = controller.setting(is_unified, value.as_deref().unwrap_or(unlimited));
    let path = group.join(file);
    fs::write(&path, text).map_err(|source| GroupError::File { path, source })
}

fn open(group: &Path) -> Result<OwnedFd, GroupError> {
    let path = group.join("cgroup.procs");
    match File::options().write(true).open(&path) {
        Ok(file) => Ok(file.into()),
        Err(source) => Err(GroupError::File { path, source }),
    }
}
