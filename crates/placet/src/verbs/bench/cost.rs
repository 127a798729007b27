//! What processes and threads cost, as the kernel counts it (proc(5)).

use std::{path::Path, time::Duration};

/// One tick of `/proc/PID/stat`: USER_HZ is 100 on every platform that we run on.
const TICK: Duration = Duration::from_millis(10);

/// Whose time is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Payer {
    /// A whole process, threads that have ended among it.
    Process(u32),
    /// One thread of this process, `PID/task/TID`.
    Thread(String),
}

impl Payer {
    /// The calling thread.
    pub(super) fn this_thread() -> Option<Self> {
        let link = std::fs::read_link("/proc/thread-self").ok()?;
        Some(Self::Thread(link.to_str()?.to_owned()))
    }

    /// The time on a processor so far, user and system; none where the kernel doesn't tell.
    pub(super) fn spent(&self) -> Option<Duration> {
        match self {
            Self::Process(id) => ticks(&read(&format!("{id}/stat"))?),
            Self::Thread(path) => match read(&format!("{path}/schedstat")) {
                Some(text) => Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?)),
                None => ticks(&read(&format!("{path}/stat"))?),
            },
        }
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(Path::new("/proc").join(path)).ok()
}

/// `utime` and `stime`, the 14th and 15th field; the second field is a name that may hold anything but ends at the
/// last `)`.
fn ticks(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    TICK.checked_mul(user.checked_add(system)?)
}

/// A line of `/proc/PID/status` in kB: `VmRSS`, `VmHWM`.
pub(super) fn memory_kb(process: u32, name: &str) -> Option<u64> {
    let status = read(&format!("{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The processor's name and how many there are.
pub(super) fn machine() -> (String, usize) {
    let name = read("cpuinfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?.to_owned();
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (name.unwrap_or_else(|| "unknown".to_owned()), cores)
}

/// The load average of the last minute, as the kernel writes it.
pub(super) fn load_average() -> String {
    read("loadavg").and_then(|text| text.split_whitespace().next().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read_behind_any_name() {
        let stat = "17 (a) b) (c) S 1 17 17 0 -1 4194560 90 0 0 0 250 50 0 0 20 0 4 0 100 1 2";
        assert_eq!(ticks(stat), Some(Duration::from_secs(3)));
        assert_eq!(ticks("17 (a S 1"), None);
    }

    #[test]
    fn work_costs_and_memory_is_there() {
        let me = Payer::this_thread().unwrap();
        let before = me.spent().unwrap();
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(60) {
            std::hint::black_box((0..1000_u64).sum::<u64>());
        }
        assert!(me.spent().unwrap() > before);
        assert!(memory_kb(std::process::id(), "VmRSS").unwrap() > 500);
    }
}
