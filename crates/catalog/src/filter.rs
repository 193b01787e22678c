//! Which keyspaces, tables and datacenters a run takes: globs, as ScyllaDB Manager reads them.
//!
//! A pattern is `keyspace` or `keyspace.table`; `*` stands for any text, `?` for one character,
//! `[ab]` for one of some. A `!` before it excludes. Patterns count in order, and the last that
//! fits decides: `shop,!shop.tmp*,shop.tmp_keep`. Without patterns, or when the first one
//! excludes, all is taken to begin with.

use globset::{GlobBuilder, GlobMatcher};

/// A pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern `{}` is not valid: {why}", .pattern.escape_default())]
pub struct InvalidPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

/// Chooses tables by keyspace and name.
#[derive(Clone, Debug)]
pub struct Filter {
    rules: Vec<Rule<Option<GlobMatcher>>>,
}

/// Chooses datacenters.
#[derive(Clone, Debug)]
pub struct DcFilter {
    rules: Vec<Rule<()>>,
}

/// One pattern: whom it fits and what then.
#[derive(Clone, Debug)]
struct Rule<T> {
    include: bool,
    first: GlobMatcher,
    rest: T,
}

impl Filter {
    /// Reads patterns, each `keyspace` or `keyspace.table`, with `!` before it to exclude.
    ///
    /// # Errors
    /// [`InvalidPattern`], which names the first that is wrong.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, InvalidPattern> {
        let rules = patterns.iter().map(|pattern| {
            let pattern = pattern.as_ref();
            let (include, body) = sign(pattern)?;
            let (keyspace, table) = match body.split_once('.') {
                Some((keyspace, table)) => (keyspace, Some(table)),
                None => (body, None),
            };
            let table = table
                .map(|table| glob(pattern, table, "table"))
                .transpose()?;
            Ok(Rule {
                include,
                first: glob(pattern, keyspace, "keyspace")?,
                rest: table,
            })
        });
        rules.collect::<Result<_, _>>().map(|rules| Self { rules })
    }

    /// Whether the table is taken.
    #[must_use]
    pub fn takes(&self, keyspace: &str, table: &str) -> bool {
        decide(&self.rules, |rule| {
            rule.first.is_match(keyspace) && rule.rest.as_ref().is_none_or(|t| t.is_match(table))
        })
    }
}

impl DcFilter {
    /// Reads patterns, each a datacenter, with `!` before it to exclude.
    ///
    /// # Errors
    /// [`InvalidPattern`], which names the first that is wrong.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, InvalidPattern> {
        let rules = patterns.iter().map(|pattern| {
            let pattern = pattern.as_ref();
            let (include, body) = sign(pattern)?;
            Ok(Rule {
                include,
                first: glob(pattern, body, "datacenter")?,
                rest: (),
            })
        });
        rules.collect::<Result<_, _>>().map(|rules| Self { rules })
    }

    /// Whether the datacenter is taken.
    #[must_use]
    pub fn takes(&self, dc: &str) -> bool {
        decide(&self.rules, |rule| rule.first.is_match(dc))
    }
}

fn decide<T>(rules: &[Rule<T>], fits: impl Fn(&Rule<T>) -> bool) -> bool {
    let all = rules.first().is_none_or(|rule| !rule.include);
    let last = rules.iter().rev().find(|rule| fits(rule));
    last.map_or(all, |rule| rule.include)
}

fn sign(pattern: &str) -> Result<(bool, &str), InvalidPattern> {
    let wrong = |why: &str| InvalidPattern {
        pattern: pattern.to_owned(),
        why: why.to_owned(),
    };
    let (include, body) = match pattern.strip_prefix('!') {
        Some(body) => (false, body),
        None => (true, pattern),
    };
    match body {
        "" => Err(wrong("it is empty")),
        _ if body.contains('!') => Err(wrong("`!` may stand only at the start")),
        _ if body
            .chars()
            .any(|c| c.is_whitespace() || c == '/' || c.is_control()) =>
        {
            Err(wrong(
                "spaces, slashes and control characters are not allowed",
            ))
        }
        _ => Ok((include, body)),
    }
}

fn glob(pattern: &str, part: &str, what: &str) -> Result<GlobMatcher, InvalidPattern> {
    let wrong = |why: String| InvalidPattern {
        pattern: pattern.to_owned(),
        why,
    };
    if part.is_empty() {
        return Err(wrong(format!("the {what} is missing")));
    }
    GlobBuilder::new(part)
        .literal_separator(false)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|cause| wrong(cause.kind().to_string()))
}

/// Why a table never goes into a backup, whatever the patterns say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Its keyspace belongs to ScyllaDB itself.
    System,
    /// State of lightweight transactions, useless elsewhere.
    Paxos,
    /// A log of changes, which is written anew.
    CdcLog,
}

/// Keyspaces whose rows are of use to the one node that holds them. All begin with `system`, but
/// the list is what decides for a cluster that shows more than its users' keyspaces.
const SYSTEM: [&str; 9] = [
    "system",
    "system_schema",
    "system_auth",
    "system_distributed",
    "system_distributed_everywhere",
    "system_traces",
    "system_virtual_schema",
    "system_replicated_keys",
    "system_views",
];

/// ScyllaDB's own notes on snapshots, in `system_distributed`. Never to be restored.
pub const SNAPSHOT_TABLES: [&str; 7] = [
    "snapshots",
    "snapshot_nodes",
    "snapshot_keyspaces",
    "snapshot_tables",
    "snapshot_tablets",
    "snapshot_sstables",
    "snapshot_remote_locations",
];

/// Whether a table is one no backup takes, and why. Only users' keyspaces are taken.
#[must_use]
pub fn skip(keyspace: &str, table: &str) -> Option<Skip> {
    if SYSTEM.contains(&keyspace) {
        Some(Skip::System)
    } else if table.ends_with("$paxos") {
        Some(Skip::Paxos)
    } else if table.ends_with("_scylla_cdc_log") {
        Some(Skip::CdcLog)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(patterns: &[&str], table: &str) -> bool {
        let (keyspace, table) = table.split_once('.').unwrap();
        Filter::new(patterns).unwrap().takes(keyspace, table)
    }

    #[test]
    fn without_patterns_all_is_taken() {
        assert!(takes(&[], "shop.users"));
        assert!(DcFilter::new::<&str>(&[]).unwrap().takes("dc1"));
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        assert!(takes(&["shop"], "shop.users"));
        assert!(!takes(&["shop"], "shopping.users"));
        assert!(takes(&["shop*"], "shopping.users"));
        assert!(takes(&["shop.users"], "shop.users"));
        assert!(!takes(&["shop.users"], "shop.orders"));
        assert!(takes(&["s?op.*"], "shop.orders"));
        let patterns = ["shop", "!shop.tmp*", "shop.tmp_keep"];
        assert!(takes(&patterns, "shop.users"));
        assert!(!takes(&patterns, "shop.tmp1"));
        assert!(takes(&patterns, "shop.tmp_keep"));
        assert!(!takes(&patterns, "other.t"));
    }

    #[test]
    fn excluding_first_takes_the_rest() {
        assert!(takes(&["!shop"], "other.t"));
        assert!(!takes(&["!shop"], "shop.t"));
        assert!(!takes(&["!*"], "shop.t"));
    }

    #[test]
    fn a_table_name_may_hold_dots() {
        assert!(takes(&["alternator_a.a.b"], "alternator_a.a.b"));
        assert!(takes(&["alternator_*"], "alternator_a.a.b"));
        assert!(!takes(&["alternator_a.a"], "alternator_a.a.b"));
    }

    #[test]
    fn a_wrong_pattern_is_named() {
        for (pattern, why) in [
            ("", "empty"),
            ("!", "empty"),
            (".t", "keyspace is missing"),
            ("ks.", "table is missing"),
            ("a!b", "only at the start"),
            ("a b", "spaces"),
            ("a/b", "slashes"),
            ("[a", "unclosed"),
        ] {
            let error = Filter::new(&[pattern]).unwrap_err();
            assert_eq!(error.pattern, pattern);
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(DcFilter::new(&["dc1", ""]).is_err());
    }

    #[test]
    fn datacenters_are_chosen_alike() {
        let filter = DcFilter::new(&["dc*", "!dc2"]).unwrap();
        assert!(filter.takes("dc1") && !filter.takes("dc2") && !filter.takes("eu"));
    }

    #[test]
    fn what_no_backup_takes_is_skipped() {
        assert_eq!(skip("system_distributed", "snapshots"), Some(Skip::System));
        assert_eq!(skip("shop", "users$paxos"), Some(Skip::Paxos));
        assert_eq!(skip("shop", "users_scylla_cdc_log"), Some(Skip::CdcLog));
        assert_eq!(skip("shop", "users"), None);
        assert_eq!(skip("system_of_mine", "users"), None);
    }
}
