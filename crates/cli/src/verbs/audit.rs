//! `thetis audit`.

use clap::Args;

use crate::{
    error::Failure,
    human::time,
    output::note,
    shape::Audit,
    table::{Align, Columns},
    verbs::Client,
};

/// Which notes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis audit
  thetis audit -c prod --since 24h
  thetis audit --since 2026-01-31T00:00:00Z --limit 1000 --output json")]
pub(crate) struct AuditArgs {
    /// Only what was asked of a cluster, by name or id
    #[arg(
        long,
        short,
        env = "THETIS_CLUSTER",
        hide_env_values = true,
        value_name = "CLUSTER"
    )]
    cluster: Option<String>,
    /// How far back, as 24h, or from when on; notes are kept for a year
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// The last so many
    #[arg(long, value_name = "COUNT", default_value = "100")]
    limit: u32,
}

pub(crate) async fn run(client: &Client, args: &AuditArgs) -> Result<(), Failure> {
    let limit = args.limit.to_string();
    let mut query = vec![("since", args.since.as_str()), ("limit", &limit)];
    query.extend(args.cluster.as_deref().map(|cluster| ("cluster", cluster)));
    let answer = client.api.get(&["audit"], &query).await?;
    client.output.answer(&answer, |notes: Vec<Audit>| {
        if notes.is_empty() {
            note("nothing was changed");
            return String::new();
        }
        let headings = [
            "AT", "WHO", "ROLE", "OVER", "STATUS", "ACTION", "TARGET", "HASH",
        ];
        let headings = headings.map(|heading| (heading, Align::Left));
        let mut columns = Columns::new(client.output.colour(), &headings);
        for note in notes {
            let status = match note.status {
                0 => String::new(),
                status => status.to_string(),
            };
            let action = match note.unnoted {
                0 => note.action,
                more => format!("{} (and {more} before it)", note.action),
            };
            let hash = note.hash.chars().take(12).collect();
            let at = time(note.at.as_deref());
            columns.row([
                at,
                note.who,
                note.role,
                note.over,
                status,
                action,
                note.target,
                hash,
            ]);
        }
        columns.text()
    })
}
