//! A wire between two networks on which real packets are late and get lost: two network devices
//! whose other ends are in this process (`/dev/net/tun`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

/// What becomes of the packets of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// A packet arrives so much later, in each direction.
    pub delay: Duration,
    /// One in so many packets is lost.
    pub loses_one_in: u32,
}

/// Packets that are on their way at a time; more are lost, as in any queue.
const ON_THE_WAY: usize = 10_000;

/// More than a packet of an ordinary network has.
const PACKET_MAX: usize = 4_096;

/// Makes the two devices, and carries packets between them until they are removed. What arrives at
/// `other` is counted in bytes.
///
/// # Errors
///
/// This process may make no devices, or the system has none of this kind.
pub(crate) fn lay(one: &str, other: &str, weather: Weather) -> io::Result<Arc<AtomicU64>> {
    let (one, other) = (Arc::new(device(one)?), Arc::new(device(other)?));
    let arrived = Arc::<AtomicU64>::default();
    carry(
        Arc::clone(&one),
        Arc::clone(&other),
        weather,
        Arc::clone(&arrived),
    );
    carry(other, one, weather, Arc::default());
    Ok(arrived)
}

/// A device of this name whose packets are read from, and written to, the file.
fn device(name: &str) -> io::Result<File> {
    let path = "/dev/net/tun";
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    attach(&file, name)?;
    Ok(file)
}

#[expect(
    unsafe_code,
    reason = "no library of the tree makes such devices; the request is a plain value that outlives the call"
)]
fn attach(file: &File, name: &str) -> io::Result<()> {
    // SAFETY: all zeros are a valid value of this plain structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()).take(15) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = flags.try_into().expect("two low bits");
    // SAFETY: the file is open, and the kernel reads and writes the request alone.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    nix::errno::Errno::result(answer)?;
    Ok(())
}

/// Carries packets one way; ends when the devices are gone.
fn carry(from: Arc<File>, to: Arc<File>, weather: Weather, arrived: Arc<AtomicU64>) {
    let (sender, packets) = sync_channel(ON_THE_WAY);
    thread::spawn(move || {
        let mut packet = [0; PACKET_MAX];
        while let Ok(length @ 1..) = (&*from).read(&mut packet) {
            let due = Instant::now() + weather.delay;
            if !rand::random_ratio(1, weather.loses_one_in) {
                // Where the queue is full, it is lost too.
                let _ = sender.try_send((due, packet[..length].to_vec()));
            }
        }
    });
    thread::spawn(move || deliver(&packets, &to, &arrived));
}

fn deliver(packets: &Receiver<(Instant, Vec<u8>)>, mut to: &File, arrived: &AtomicU64) {
    for (due, packet) in packets {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A device that is down takes none: the wire is cut.
        if let Ok(length) = to.write(&packet) {
            arrived.fetch_add(length as u64, Ordering::Relaxed);
        }
    }
}
