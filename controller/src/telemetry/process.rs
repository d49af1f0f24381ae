//! What the system knows of this process, under the names that every dashboard expects.

use std::fmt;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;

/// The kernel counts process times in hundredths of a second for everybody outside of it.
const TICKS: f64 = 100.0;

/// Reads everything anew each time that somebody asks.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut gauge = |name, help, unit: Option<Unit>, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), kind)?)
        };
        gauge(
            "process_resident_memory",
            "Resident memory size.",
            Some(Unit::Bytes),
            resident_bytes(),
        )?;
        gauge(
            "process_start_time",
            "Start time of the process since the Unix epoch.",
            Some(Unit::Seconds),
            start_time(),
        )?;
        gauge(
            "process_open_fds",
            "Open file descriptors.",
            None,
            open_descriptors(),
        )?;
        if let Some(seconds) = cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            let kind = counter.metric_type();
            let help = "User and system CPU time spent.";
            let unit = Some(&Unit::Seconds);
            counter.encode(encoder.encode_descriptor("process_cpu", help, unit, kind)?)?;
        }
        let build = Info::new([
            ("version", env!("CARGO_PKG_VERSION")),
            ("architecture", std::env::consts::ARCH),
        ]);
        let kind = build.metric_type();
        let help = "What was built.";
        build.encode(encoder.encode_descriptor("placet_build", help, None, kind)?)
    }
}

fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let time = |time: TimeVal| {
        let whole = Duration::from_secs(time.tv_sec().try_into().ok()?);
        Some(whole + Duration::from_micros(time.tv_usec().try_into().ok()?))
    };
    let both = time(usage.user_time())? + time(usage.system_time())?;
    Some(both.as_secs_f64())
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Ticks since the machine started, as the kernel says; the clock says when that was.
fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in brackets and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let started: f64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some((now.as_secs_f64() - uptime + started / TICKS).round())
}

fn open_descriptors() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the folder that was just read.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}
