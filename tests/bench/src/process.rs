//! What a process costs.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// How often a process is looked at for what can't be seen once it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What a process has cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ran {
    /// From its start to its end.
    pub(crate) took: Duration,
    /// User and system time, all threads.
    pub(crate) cpu: Duration,
    /// Of memory, in bytes.
    pub(crate) peak: u64,
    /// Read from disks, in bytes.
    pub(crate) read: u64,
    /// What it has printed.
    pub(crate) output: String,
}

/// Runs a command to its end.
///
/// # Errors
/// When it fails, or takes longer than `limit`; with what it said.
pub(crate) fn run(mut command: Command, limit: Duration) -> Result<Ran> {
    let mut output = tempfile::tempfile()?;
    let name = command.get_program().to_os_string();
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()
        .with_context(|| format!("starting {name:?}"))?;
    let mut ran = wait(&child, began, limit)?;
    let status = child.wait()?;
    ran.output = read(&mut output)?;
    ensure!(
        status.success(),
        "{name:?} ended with {status}: {}",
        ran.output
    );
    Ok(ran)
}

/// Waits until a process has ended, and looks at it before it is gone.
fn wait(child: &Child, began: Instant, limit: Duration) -> Result<Ran> {
    let (id, pid) = (child.id(), Pid::from_child(child));
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut peak, mut read) = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                peak = ::tests::peak(id).unwrap_or(peak);
                read = bytes_read(id).unwrap_or(read);
                if began.elapsed() > limit {
                    let _ = kill_process(pid, Signal::KILL);
                }
                thread::sleep(LOOK);
            }
            (peak, read)
        });
        let waited = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
        let took = began.elapsed();
        let cpu = ::tests::cpu(id);
        ended.store(true, Ordering::Relaxed);
        let (peak, read) = watch.join().expect("watching does not panic");
        waited?;
        Ok(Ran {
            took,
            cpu: cpu?,
            peak,
            read,
            output: String::new(),
        })
    })
}

fn read(output: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Bytes that a process has caused to be read from disks.
///
/// # Errors
/// When there is no such process.
pub(crate) fn bytes_read(id: u32) -> Result<u64> {
    let io = fs::read_to_string(format!("/proc/{id}/io"))?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(line.context("a process has read bytes")?.parse()?)
}

/// Has a process' peak of memory begin anew, at what it has now.
///
/// # Errors
/// When there is no such process.
pub(crate) fn forget_peak(id: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{id}/clear_refs"), "5")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn time_output_and_failure_are_seen() -> Result<()> {
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo done";
        let ran = run(shell(busy), Duration::from_secs(60))?;
        assert_eq!(ran.output, "done\n");
        assert!(ran.cpu >= Duration::from_millis(10) && ran.cpu <= ran.took * 2);
        assert!(ran.peak > 0);
        let error = run(shell("echo broken; exit 3"), Duration::from_secs(60)).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
        let error = run(shell("exec sleep 60"), Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("signal"), "{error}");
        Ok(())
    }
}
