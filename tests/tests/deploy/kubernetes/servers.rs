//! `deploy/kubernetes/nats.conf`: as what is tested elsewhere, but for where it runs; three servers with it agree.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use queue::{Queue, Settings};
use testkit::{eventually, free_port, nats::Nats};

use super::{README, nats_url, rendered::Rendered};
use crate::{at, output, text, word};

const LIMIT: Duration = Duration::from_secs(60);

/// The settings of a configuration of nats-server, without comments and TLS.
fn settings(path: &str) -> Result<Vec<String>> {
    let config = text(path)?;
    let lines = config.lines().map(str::trim);
    let setting = |line: &&str| line.contains(": ") && !line.starts_with('#');
    Ok(lines.filter(setting).map(str::to_owned).collect())
}

#[test]
fn nats_has_the_settings_that_are_tested_and_room_for_them() -> Result<()> {
    let ours = settings("deploy/kubernetes/nats.conf")?;
    for setting in settings("deploy/nats/cluster.conf")? {
        let own = ["server_name:", "http:"]
            .iter()
            .any(|key| setting.starts_with(key));
        ensure!(own || ours.contains(&setting), "{setting}");
    }
    let Some(rendered) = Rendered::new()? else {
        return Ok(());
    };
    let servers = rendered.get("StatefulSet", "nats")?;
    let spec = &servers["spec"];
    let (readme, config) = (text(README)?, text("deploy/kubernetes/nats.conf")?);
    let count = spec["replicas"].as_u64().context("replicas")?;
    let hosts = (0..count).map(|number| format!("nats-{number}.{}", word(&spec["serviceName"])));
    for host in hosts {
        ensure!(
            config.contains(&format!("\"nats://{host}:6222\"")),
            "{host}"
        );
        ensure!(
            readme.contains(&host),
            "{README}: no certificate for {host}"
        );
    }
    ensure!(
        config.matches("\"nats://").count() as u64 == count,
        "routes"
    );
    let url = nats_url(&rendered)?;
    let host = url
        .trim_start_matches("tls://")
        .split(':')
        .next()
        .unwrap_or_default();
    ensure!(readme.contains(host), "{README}: no certificate for {host}");
    // GiB, of which a part is for the server.
    let number = |text: &str| {
        text.trim_matches(|c: char| !c.is_ascii_digit())
            .parse::<u64>()
    };
    let room = &spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
    let most = ours
        .iter()
        .find_map(|line| line.strip_prefix("max_file_store: "));
    ensure!(
        number(word(room))? >= 2 * number(most.context("a limit")?)?,
        "{room}"
    );
    let leaving: u64 = ours
        .iter()
        .filter_map(|line| line.strip_prefix("lame_duck_")?.split_once(": "))
        .map(|(_, time)| number(time).context("seconds"))
        .sum::<Result<_>>()?;
    let grace = spec["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    ensure!(
        leaving > 0 && Some(leaving) < grace,
        "{leaving} s of {grace:?}"
    );
    Ok(())
}

/// The configuration as it stands, but for addresses, files and users.
fn config(number: usize, routes: [u16; 3], monitor: u16, dir: &Path) -> Result<String> {
    let users = "authorization { users: [ { user: scheduler, password: secret } ] }";
    let mut config = text("deploy/kubernetes/nats.conf")?
        .replace("$POD_NAME", &format!("nats-{number}"))
        .replace("0.0.0.0:8222", &format!("127.0.0.1:{monitor}"))
        .replace("0.0.0.0:6222", &format!("127.0.0.1:{}", routes[number]))
        .replace("/etc/nats/tls", &dir.display().to_string())
        .replace(
            "/run/nats/nats",
            &dir.join(format!("{number}")).display().to_string(),
        )
        .replace("include \"users.conf\"", users);
    for (number, port) in routes.iter().enumerate() {
        let host = format!("nats-{number}.nats-headless:6222");
        config = config.replace(&host, &format!("127.0.0.1:{port}"));
    }
    // testkit says these itself.
    let own = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("store_dir:") && !line.starts_with("listen: \"0.0.0.0:4222\"")
    };
    Ok(config.lines().filter(own).collect::<Vec<_>>().join("\n"))
}

/// Three servers on this machine, where each answers probes, and what a scheduler needs to reach them.
fn cluster(dir: &Path) -> Result<(Vec<Nats>, [u16; 3], Settings)> {
    let mut certs = Command::new("sh");
    certs.arg(at("deploy/certs.sh")).arg(dir).arg("tls");
    output(certs.args(["127.0.0.1", "localhost"]))?;
    let routes = [free_port(), free_port(), free_port()];
    let monitors = [free_port(), free_port(), free_port()];
    let servers = (0..3)
        .map(|number| Nats::with_config(&config(number, routes, monitors[number], dir)?))
        .collect::<Result<Vec<_>>>()?;
    let urls = servers
        .iter()
        .map(|nats| nats.url().replace("nats:", "tls:"));
    let mut settings = Settings {
        url: urls.collect::<Vec<_>>().join(","),
        user: Some("scheduler".to_owned()),
        password: Some("secret".into()),
        replicas: 3,
        ..Settings::default()
    };
    settings.tls.ca = Some(dir.join("ca.crt"));
    Ok((servers, monitors, settings.answered_at("scheduler")))
}

#[tokio::test]
async fn three_servers_agree_answer_the_probes_and_heed_the_signals() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (_servers, monitors, settings) = cluster(dir.path())?;
    eventually("three servers that agree", LIMIT, async || {
        Ok(Queue::connect(&settings, "test").await?.ensure().await?)
    })
    .await?;
    let manifest = text("deploy/kubernetes/nats.yaml")?;
    let lines = manifest.lines().map(str::trim);
    let probes: Vec<&str> = lines
        .filter_map(|line| line.strip_prefix("path: /healthz"))
        .collect();
    ensure!(probes.len() == 3, "{probes:?}");
    for (port, query) in monitors
        .iter()
        .flat_map(|port| probes.iter().map(move |query| (port, query)))
    {
        let url = format!("http://127.0.0.1:{port}/healthz{query}");
        eventually(&url, LIMIT, async || {
            reqwest::get(&url).await?.error_for_status()?;
            Ok(())
        })
        .await?;
    }
    // As the README has rights read anew, and as `preStop` has clients go elsewhere.
    for (signal, told) in [("reload", "--signal reload="), ("ldm", "--signal, ldm=")] {
        let to = format!("{signal}={}", dir.path().join("0.pid").display());
        let mut send = Command::new(testkit::binary("nats-server")?);
        output(send.arg("--signal").arg(to))?;
        ensure!(
            manifest.contains(told) || text(README)?.contains(told),
            "{told}"
        );
    }
    eventually("two that go on", LIMIT, async || {
        Ok(Queue::connect(&settings, "test").await?.ensure().await?)
    })
    .await
}
