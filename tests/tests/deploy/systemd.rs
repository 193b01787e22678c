//! `deploy/systemd/` and the example of a configuration: systemd takes the units, and Thetis the settings.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use tests::bin;

use crate::{at, output, text};

const UNITS: [&str; 4] = [
    "nats-server.service",
    "thetis-node.service",
    "thetis-scheduler.service",
    "thetis.slice",
];

/// The units as installed, but for where the program is.
fn installed(dir: &Path) -> Result<()> {
    let thetis = bin("thetis")?.display().to_string();
    let nats = testkit::binary("nats-server")?.display().to_string();
    for unit in UNITS {
        let unit_text = text(&format!("deploy/systemd/{unit}"))?;
        fs::write(
            dir.join(unit),
            unit_text
                .replace("/usr/bin/thetis", &thetis)
                .replace("/usr/bin/nats-server", &nats),
        )?;
        let more = format!("{unit}.d");
        let from = at("deploy/systemd").join(&more);
        if from.try_exists()? {
            fs::create_dir(dir.join(&more))?;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                fs::copy(entry.path(), dir.join(&more).join(entry.file_name()))?;
            }
        }
    }
    Ok(())
}

#[test]
fn systemd_takes_the_units_and_finds_little_exposed() -> Result<()> {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("left out, for there is no systemd-analyze");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    installed(dir.path())?;
    // Its own directory first, and then where systemd looks otherwise.
    let path = format!("{}:", dir.path().display());
    for unit in UNITS {
        let mut verify = Command::new("systemd-analyze");
        verify
            .args(["verify", "--man=no"])
            .arg(dir.path().join(unit));
        let done = verify.env("SYSTEMD_UNIT_PATH", &path).output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success() && said.is_empty(), "{unit}: {said}");
        if unit.ends_with(".service") {
            let mut security = Command::new("systemd-analyze");
            security.args(["security", "--offline=true", "--threshold=20"]);
            output(security.arg(dir.path().join(unit)))?;
        }
    }
    Ok(())
}

#[test]
fn thetis_takes_the_examples_of_a_configuration() -> Result<()> {
    for (verb, path) in [
        ("node", "deploy/systemd/node.env"),
        ("scheduler", "deploy/systemd/scheduler.env"),
    ] {
        let mut check = Command::new(bin("thetis")?);
        check
            .args([verb, "--check-config", "--config"])
            .arg(at("deploy/thetis.toml"));
        let mut environment = text(path)?;
        let unit = format!("deploy/systemd/thetis-{verb}.service.d/tls.conf");
        for line in text(&unit)?.lines() {
            if let Some(setting) = line.strip_prefix("Environment=") {
                environment.push_str(setting);
                environment.push('\n');
            }
        }
        // Also those that are off.
        for line in environment.lines() {
            let line = line.strip_prefix('#').unwrap_or(line);
            if line.starts_with("THETIS_") {
                let line = line.replace("%d", "/run/credentials");
                let (key, value) = line.split_once('=').context("a setting")?;
                let of_a_key = key.ends_with("SECRET_KEY");
                check.env(
                    key,
                    if of_a_key {
                        "0".repeat(64)
                    } else {
                        value.to_owned()
                    },
                );
            }
        }
        output(&mut check)?;
    }
    Ok(())
}
