//! `docs/deployment.md`, followed: three servers of NATS, three schedulers and a cluster, each at an address of its
//! own, all of it over TLS, with the page's commands and the files of `deploy/`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use testkit::{Process, eventually, s3::SeaweedFs};
use tests::{Shape, Sim, TableSpec, bin, compare};

use crate::{
    at,
    nats::{users, with_tls},
    output, text,
};

const LIMIT: Duration = Duration::from_secs(120);
const COPY: &str = "00000000-0000-4000-8000-0000000000c2";
const ADMIN: &str = "an-admin-of-the-test-0123456789";

/// The page's commands below a heading: what stands between the lines of three ticks.
fn commands(heading: &str) -> Result<Vec<String>> {
    let page = text("docs/deployment.md")?;
    let (_, section) = page
        .split_once(&format!("\n## {heading}"))
        .context(heading.to_owned())?;
    let section = section.split("\n## ").next().context("a section")?;
    let blocks = section.split("\n```").skip(1).step_by(2);
    Ok(blocks
        .map(|block| block.trim_start_matches(char::is_alphanumeric).to_owned())
        .collect())
}

/// The installation: what runs where.
struct Place {
    /// The three bytes that all addresses begin with.
    net: String,
    dir: TempDir,
    running: BTreeMap<String, Process>,
    sims: [Sim; 2],
    s3: SeaweedFs,
}

impl Place {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let shape = |name: &str, nodes| Shape {
            dcs: vec![("dc1".to_owned(), nodes)],
            ..Shape::new(name, nodes)
        };
        let s3 = SeaweedFs::start().await?;
        s3.bucket("my-backups").await?;
        fs::create_dir(dir.path().join("logs"))?;
        let sims = [
            Sim::start(shape("prod", 3), dir.path()).await?,
            Sim::start(shape("prod-copy", 2), dir.path()).await?,
        ];
        let [a, b] = [rand::random_range(16..240), rand::random_range(1..250)];
        let place = Self {
            net: format!("127.{a}.{b}"),
            dir,
            running: BTreeMap::new(),
            sims,
            s3,
        };
        std::os::unix::fs::symlink(at("deploy"), place.path("deploy"))?;
        Ok(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The page's addresses, and names of machines, as they are here.
    fn here(&self, text: &str) -> String {
        let net = &self.net;
        let mut here = text
            .replace("10.0.1.", &format!("{net}.1"))
            .replace("10.0.2.", &format!("{net}.2"));
        for n in 1..=3 {
            for machine in ["nats", "scheduler"] {
                for (begin, end) in [("://", ":"), ("//", ":")] {
                    let name = format!("{begin}{machine}{n}{end}");
                    here = here.replace(&name, &format!("{begin}{net}.1{n}{end}"));
                }
            }
        }
        here
    }

    /// Runs commands of the page, where its files are.
    fn run(&self, commands: &str, environment: &[(&str, &str)]) -> Result<String> {
        let thetis = bin("thetis")?;
        let path = format!(
            "{}:{}",
            thetis.parent().context("a directory")?.display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", &self.here(commands)])
            .current_dir(self.dir.path());
        shell.env("PATH", path).env_remove("THETIS_CONFIG");
        output(shell.envs(environment.iter().copied()))
    }

    /// Starts a program as its unit does.
    fn serve(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let log = self.path(&format!("{name}.log"));
        let process = Process::start(command, &log)?;
        self.running.insert(name.to_owned(), process);
        Ok(())
    }

    /// What a unit's drop-in says, with the certificates of this machine.
    fn unit(&self, unit: &str, machine: &str, environment: &Path) -> Result<Vec<(String, String)>> {
        let drop_in = text(&format!("deploy/systemd/{unit}.service.d/tls.conf"))?;
        let tls = self.path("tls");
        let mut credentials = BTreeMap::new();
        for line in drop_in
            .lines()
            .filter_map(|line| line.strip_prefix("LoadCredential="))
        {
            let (name, from) = line.split_once(':').context(line.to_owned())?;
            let ending = from.rsplit('.').next().context("an ending")?;
            let file = match from.ends_with("/tokens") {
                true => self.path("tokens"),
                false => tls.join(format!("{machine}.{ending}")),
            };
            credentials.insert(name.to_owned(), file.display().to_string());
        }
        let mut all = Vec::new();
        for line in drop_in
            .lines()
            .filter_map(|line| line.strip_prefix("Environment="))
        {
            let (key, value) = line.split_once('=').context(line.to_owned())?;
            let value = match value.strip_prefix("%d/") {
                Some(name) => credentials.get(name).context(name.to_owned())?.clone(),
                None => value.replace("/etc/thetis/tls", &tls.display().to_string()),
            };
            all.push((key.to_owned(), value));
        }
        let file = fs::read_to_string(environment)?;
        let settings = file.lines().filter(|line| !line.starts_with('#'));
        all.extend(
            settings
                .filter_map(|line| line.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        all.push(("THETIS_STORE__S3__ENDPOINT".to_owned(), self.s3.endpoint()));
        Ok(all)
    }

    /// The configuration for a machine: the page's file, listening at the machine's address.
    fn config(&self, name: &str, address: &str) -> Result<PathBuf> {
        let config = self
            .here(&text("deploy/thetis.toml")?)
            .replace("0.0.0.0", address);
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, config)?;
        Ok(path)
    }

    fn nats(&mut self, n: u32) -> Result<()> {
        let (name, address) = (format!("nats{n}"), format!("{}.1{n}", self.net));
        let dir = self.path(&name);
        fs::create_dir_all(&dir)?;
        for (from, to) in [
            (format!("nats{n}.crt"), "server.crt"),
            (format!("nats{n}.key"), "server.key"),
            ("ca.crt".to_owned(), "ca.crt"),
        ] {
            fs::copy(self.path("tls").join(from), dir.join(to))?;
        }
        let config = with_tls(&self.here(&text("deploy/nats/cluster.conf")?), &dir)
            .replace("server_name: nats1", &format!("server_name: {name}"))
            .replace("0.0.0.0", &address)
            .replace("127.0.0.1:8222", &format!("{address}:8222"))
            .replace("/var/lib/nats", &dir.join("data").display().to_string());
        fs::write(dir.join("nats.conf"), config)?;
        fs::copy(self.path("users.conf"), dir.join("users.conf"))?;
        let mut command = Command::new(testkit::binary("nats-server")?);
        command.arg("-c").arg(dir.join("nats.conf"));
        self.serve(&name, &mut command)
    }

    fn scheduler(&mut self, n: u32) -> Result<()> {
        let (name, address) = (format!("scheduler{n}"), format!("{}.1{n}", self.net));
        let settings = self.unit("thetis-scheduler", &name, &self.path("scheduler.env"))?;
        let mut command = Command::new(bin("thetis")?);
        command
            .arg("scheduler")
            .arg("--config")
            .arg(self.config(&name, &address)?);
        self.serve(&name, command.envs(settings))
    }

    fn node(&mut self, sim: usize, n: usize) -> Result<()> {
        let at = self.sims[sim].nodes[n].clone();
        let name = format!("{}-{n}", self.sims[sim].name());
        let address = format!("{}.2{}", self.net, sim * 10 + n + 1);
        let from = self.path(&format!("{name}.env"));
        let lines = text("deploy/systemd/node.env")?
            .replace("00000000-0000-4000-8000-000000000001", &at.host_id)
            .replace("change-me-4", &format!("of-{}", at.host_id));
        fs::write(&from, self.with_keys(&lines))?;
        // Nodes have three certificates between them: the second cluster's show the first's.
        let mut settings = self.unit("thetis-node", &format!("node{}", n + 1), &from)?;
        settings.push(("THETIS_NODE__API".to_owned(), at.api));
        let mut command = Command::new(bin("thetis")?);
        command
            .arg("node")
            .arg("--config")
            .arg(self.config(&name, &address)?);
        self.serve(&name, command.envs(settings))
    }

    fn with_keys(&self, environment: &str) -> String {
        environment
            .replace(
                "ACCESS_KEY_ID=change-me",
                &format!("ACCESS_KEY_ID={}", SeaweedFs::ACCESS_KEY),
            )
            .replace(
                "SECRET_ACCESS_KEY=change-me",
                &format!("SECRET_ACCESS_KEY={}", SeaweedFs::SECRET_KEY),
            )
    }

    fn logs(&self) -> String {
        let mut all = String::new();
        for name in self.running.keys() {
            let log = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(8).collect();
            for line in last.into_iter().rev() {
                writeln!(all, "{name}: {line}").expect("a String takes all");
            }
        }
        all
    }
}

#[tokio::test]
async fn who_follows_the_page_has_three_servers_over_tls_and_a_backup_that_restores() -> Result<()>
{
    let mut place = Place::start().await?;
    followed(&mut place).await.with_context(|| place.logs())
}

async fn followed(place: &mut Place) -> Result<()> {
    // 2. Certificates.
    let [certificates] = &commands("2. Certificates")?[..] else {
        anyhow::bail!("one block of commands makes certificates")
    };
    place.run(certificates, &[])?;

    // 3. Users, of both clusters.
    let steps = commands("7. The first backup")?.concat();
    let (_, id) = steps.split_once("--id ").context("the cluster's id")?;
    let prod = id.split_whitespace().next().context("an id")?.to_owned();
    let mut list = "scheduler change-me-1\nadmin change-me-3\n".to_owned();
    for (sim, cluster) in place.sims.iter().zip([prod.as_str(), COPY]) {
        for node in &sim.nodes {
            writeln!(list, "{id} of-{id} dc1 {cluster}", id = node.host_id)?;
        }
    }
    fs::write(place.path("users.conf"), users(&list)?)?;

    // 4. NATS.
    for n in 1..=3 {
        place.nats(n)?;
    }
    // 5. Schedulers.
    fs::write(
        place.path("scheduler.env"),
        place.with_keys(&text("deploy/systemd/scheduler.env")?),
    )?;
    fs::write(place.path("tokens"), format!("admin ops {ADMIN}\n"))?;
    for n in 1..=3 {
        place.scheduler(n)?;
    }
    // 6. Beside each node.
    for sim in 0..2 {
        for n in 0..place.sims[sim].nodes.len() {
            place.node(sim, n)?;
        }
    }

    // 7. The first backup.
    let table = TableSpec {
        keyspace: "shop".to_owned(),
        name: "users".to_owned(),
        tablets: false,
        copies: 2,
    };
    place.sims[0].create(std::slice::from_ref(&table)).await?;
    place.sims[0].load(&table, 1, 64 << 10, 4).await?;
    let (begin, rest) = steps
        .split_once('\n')
        .context("an environment, and commands")?;
    let begin = match begin.trim().is_empty() {
        true => rest.split_once('\n').context("commands")?,
        false => (begin, rest),
    };
    let environment = place.here(begin.0);
    ensure!(
        environment.contains("THETIS_API_URL=https://"),
        "{environment}"
    );
    let url = environment
        .split("THETIS_API_URL=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let url = url.context("an address")?.to_owned();
    let environment = [
        ("THETIS_API_URL", url.as_str()),
        ("THETIS_API_CA_FILE", "tls/ca.crt"),
        ("THETIS_API_TOKEN", ADMIN),
    ];
    let host = place.sims[0].nodes[0].address.clone();
    let add = format!(
        "thetis cluster add --name prod-copy --host {} --id {COPY}",
        place.sims[1].nodes[0].address
    );
    eventually("both clusters to be added", LIMIT, async || {
        let known = place.run("thetis cluster list", &environment)?;
        if !known.contains(&prod) {
            let add = begin
                .1
                .lines()
                .find(|line| line.starts_with("thetis cluster add"));
            let add = add.context("a command")?.replace("10.0.2.1", &host);
            place.run(&add, &environment)?;
        }
        if !known.contains(COPY) {
            place.run(&add, &environment)?;
        }
        Ok(())
    })
    .await?;
    let restore = "thetis restore";
    let mut tag = String::new();
    for line in begin.1.lines().filter(|line| line.starts_with("thetis ")) {
        if line.starts_with("thetis cluster add") {
            continue;
        }
        let line = match line.split_once("-T sm_") {
            Some((before, after)) => {
                let (_, after) = after.split_once(' ').context("more")?;
                format!("{before}-T {tag} {after}")
            }
            None => line.to_owned(),
        };
        let said = place
            .run(&line, &environment)
            .with_context(|| line.clone())?;
        if line.starts_with("thetis backup list") {
            let found = said.split_whitespace().find(|word| word.starts_with("sm_"));
            found.with_context(|| said.clone())?.clone_into(&mut tag);
        }
    }
    ensure!(
        begin.1.contains(restore) && !tag.is_empty(),
        "the page restores"
    );
    compare(
        &place.sims[0].fingerprints().await?,
        &place.sims[1].fingerprints().await?,
    )?;

    // Any one of three may be lost, of each.
    place.running.remove("nats2");
    place.running.remove("scheduler1");
    let other = url.replace(&format!("{}.11:", place.net), &format!("{}.13:", place.net));
    let environment = [
        ("THETIS_API_URL", other.as_str()),
        environment[1],
        environment[2],
    ];
    eventually("a backup without them", LIMIT, async || {
        place
            .run("thetis start -c prod backup/nightly --wait", &environment)
            .map(drop)
    })
    .await?;
    // Nobody comes in without TLS, a certificate, or a token.
    let strangers = [
        [
            ("THETIS_API_URL", other.replace("https", "http")),
            ("THETIS_API_CA_FILE", "tls/ca.crt".to_owned()),
            ("THETIS_API_TOKEN", ADMIN.to_owned()),
        ],
        [
            ("THETIS_API_URL", other.clone()),
            ("THETIS_API_CA_FILE", "/dev/null".to_owned()),
            ("THETIS_API_TOKEN", ADMIN.to_owned()),
        ],
        [
            ("THETIS_API_URL", other.clone()),
            ("THETIS_API_CA_FILE", "tls/ca.crt".to_owned()),
            ("THETIS_API_TOKEN", "somebody-else-0123456789".to_owned()),
        ],
    ];
    for stranger in strangers {
        let stranger = stranger
            .each_ref()
            .map(|(key, value)| (*key, value.as_str()));
        ensure!(
            place.run("thetis cluster list", &stranger).is_err(),
            "{stranger:?} came in"
        );
    }
    let complaints: Vec<String> = (1..=3)
        .map(|n| fs::read_to_string(place.path(&format!("nats{n}.log"))).unwrap_or_default())
        .collect();
    ensure!(!complaints.concat().contains("Violation"), "{complaints:?}");
    Ok(())
}
