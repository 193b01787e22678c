//! The threads of a process, and the CPUs they may use.

use std::io;

use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

use crate::RuntimeConfig;

/// The highest number a CPU may have here.
const MOST: usize = CpuSet::MAX_CPU;

/// Threads as the configuration wants them.
///
/// # Errors
/// When the system refuses, as for CPUs that are not there.
pub(crate) fn build(config: &RuntimeConfig) -> io::Result<Runtime> {
    let cpus = config.cpus.as_deref().map(parse).transpose();
    let cpus = cpus.map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    if let Some(cpus) = &cpus {
        let mut set = CpuSet::new();
        for cpu in cpus {
            set.set(*cpu);
        }
        // What is started by this thread is bound to them as well.
        sched_setaffinity(None, &set)?;
    }
    let mut builder = Builder::new_multi_thread();
    builder.enable_all();
    match (config.threads, cpus) {
        (0, None) => {}
        (0, Some(cpus)) => drop(builder.worker_threads(cpus.len())),
        (threads, _) => drop(builder.worker_threads(threads)),
    }
    builder.build()
}

/// Reads `0-3,8`: each number once, in order.
pub(crate) fn parse(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("`{text}` is no list of CPUs; write it as 2 or 0-3,8");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= MOST {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse("3"), Ok(vec![3]));
        assert_eq!(parse("0-2,8, 1"), Ok(vec![0, 1, 2, 8]));
        for text in ["", "a", "2-1", "1-", "-1", "0,,1", "99999"] {
            assert!(parse(text).unwrap_err().contains("0-3,8"), "{text}");
        }
    }

    #[test]
    fn work_is_done_on_the_cpus_that_were_named() {
        // In a thread of its own, for all that is started later is bound as well.
        let work = std::thread::spawn(|| {
            let config = RuntimeConfig {
                threads: 2,
                cpus: Some("0".to_owned()),
            };
            let runtime = build(&config).unwrap();
            let work = runtime.spawn_blocking(|| rustix::thread::sched_getaffinity(None).unwrap());
            let set = runtime.block_on(work).unwrap();
            (set.count(), set.is_set(0), runtime.metrics().num_workers())
        });
        assert_eq!(work.join().unwrap(), (1, true, 2));
    }

    #[test]
    fn cpus_that_are_not_there_are_refused() {
        let work = std::thread::spawn(|| {
            let config = RuntimeConfig {
                threads: 0,
                cpus: Some("1023".to_owned()),
            };
            build(&config).is_err()
        });
        assert!(work.join().unwrap());
    }
}
