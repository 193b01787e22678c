//! `thetis token create|list|revoke`.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    error::{Exit, Failure},
    human::{age, time},
    output::{agreed, note},
    shape::{MadeToken, Token},
    table::{Align, Columns},
    verbs::{Client, done},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  thetis token create ci --role operator
  thetis token list
  thetis token revoke ci

It takes the role admin. The first token stands in `scheduler.tokens_file`.";

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token and print it; it cannot be seen again
    Create(CreateArgs),
    /// List the tokens that were made, without what has to be shown
    #[command(after_help = "Examples:\n  thetis token list\n  thetis token list --output json")]
    List,
    /// Revoke a token; who shows it is not let in any more
    Revoke(RevokeArgs),
}

/// A token to make.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis token create ci --role operator
  thetis token create grafana --role viewer --expires-in 365d
  thetis token create robot --role admin --expires-in never")]
pub(crate) struct CreateArgs {
    /// What it is called in notes on who changed what: letters, digits, - and _
    name: String,
    /// What it allows: viewer, operator or admin
    #[arg(long)]
    role: String,
    /// How long it holds, as 12h or 90d, or never
    #[arg(long, value_name = "SPAN", default_value = "90d")]
    expires_in: String,
}

/// A token to revoke.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  thetis token revoke ci
  thetis token revoke ci --yes")]
pub(crate) struct RevokeArgs {
    /// Its name
    name: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(client: &Client, verb: TokenVerb) -> Result<(), Failure> {
    match verb {
        TokenVerb::Create(args) => create(client, &args).await,
        TokenVerb::List => list(client).await,
        TokenVerb::Revoke(args) => revoke(client, &args).await,
    }
}

async fn create(client: &Client, args: &CreateArgs) -> Result<(), Failure> {
    let CreateArgs {
        name,
        role,
        expires_in,
    } = args;
    let body = json!({"name": name, "role": role, "expires_in": expires_in});
    let answer = client.api.post(&["tokens"], &body).await?;
    client.output.answer(&answer, |made: MadeToken| {
        let ends = match made.expires_at {
            Some(_) => format!("until {}", time(made.expires_at.as_deref())),
            None => "for ever".to_owned(),
        };
        note(&format!(
            "keep this: it cannot be seen again. It lets `{name}` in as {role}, {ends}"
        ));
        made.token
    })
}

async fn list(client: &Client) -> Result<(), Failure> {
    let answer = client.api.get(&["tokens"], &[]).await?;
    client.output.answer(&answer, |tokens: Vec<Token>| {
        if tokens.is_empty() {
            note("no tokens were made; those of `scheduler.tokens_file` are not shown");
            return String::new();
        }
        let headings = ["NAME", "ROLE", "MADE", "BY", "ENDS"].map(|heading| (heading, Align::Left));
        let mut columns = Columns::new(client.output.colour(), &headings);
        let now = Timestamp::now();
        for token in tokens {
            let ends = match (token.expired, &token.expires_at) {
                (true, ends) => format!("{}, over", time(ends.as_deref())),
                (false, None) => "never".to_owned(),
                (false, ends) => time(ends.as_deref()),
            };
            let made = age(token.created_at.as_deref(), now);
            columns.row([token.name, token.role, made, token.created_by, ends]);
        }
        columns.text()
    })
}

async fn revoke(client: &Client, args: &RevokeArgs) -> Result<(), Failure> {
    let RevokeArgs { name, yes } = args;
    if !yes && client.output.can_ask() && !agreed(&format!("Revoke the token {name}?")) {
        return Err(Failure::new(Exit::Failed, "nothing was revoked"));
    }
    client.api.delete(&["tokens", name], &[]).await?;
    done(client.output, &format!("token {name} is revoked"))
}
