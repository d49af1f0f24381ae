//! Control groups that a keeper could not remove, since it was killed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use placet_model::Digest;

/// The control groups of the daemon with this folder for sockets.
pub fn groups_of(run: &Path) -> Vec<PathBuf> {
    let digest = Digest::of(run.as_os_str().as_encoded_bytes());
    let name = format!("placet-{}", digest.short());
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let hierarchies = match controllers {
            "" => vec!["/sys/fs/cgroup".into(), "/sys/fs/cgroup/unified".into()],
            named => vec![Path::new("/sys/fs/cgroup").join(named)],
        };
        let groups = hierarchies
            .iter()
            .map(|home| home.join(path.trim_start_matches('/')).join(&name));
        found.extend(groups.filter(|group| group.is_dir()));
    }
    found
}

/// Removes the control groups of a daemon that was killed, once its processes have left them. What
/// does not end stays.
pub fn remove_groups(run: &Path) {
    for group in groups_of(run) {
        let entries = fs::read_dir(&group).into_iter().flatten().flatten();
        // Only folders are groups; the rest are the kernel's files.
        let inner = entries.map(|entry| entry.path()).filter(|it| it.is_dir());
        let inner: Vec<_> = inner.collect();
        for group in inner.iter().chain([&group]) {
            let until = Instant::now() + Duration::from_secs(1);
            while fs::remove_dir(group).is_err() && Instant::now() < until {
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
}
