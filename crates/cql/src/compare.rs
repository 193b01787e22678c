//! Whether what is there is what would be made, and if not, where it differs, in sentences.
//!
//! White space, the case of keywords, quotes without need, the order of columns, options and of a
//! map's entries, and ids do not count. An option that only one side names does, for what it is
//! where it is not named depends on the version.

use std::{collections::BTreeMap, fmt};

use crate::{Kind, Object, Schema, make, object::Key, table::Form};

/// What of an object differs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aspect {
    /// It is not there at all.
    Missing,
    /// A column of a table or a field of a type.
    Column(String),
    /// The primary key, or the order of a type's fields.
    Key,
    /// A column that was dropped, so that older data of it is not shown.
    Dropped(String),
    /// An option after `WITH`, by its name in lower case.
    Option(String),
    /// What a view selects, an index is on, a function does, or a statement that is not understood.
    Definition,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// What.
    pub aspect: Aspect,
    /// A sentence for people, without a full stop.
    pub text: String,
}

/// An object that is not as it would be made, or is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub kind: Kind,
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub name: String,
    /// The text of what is there, without secrets; none if it is not.
    pub existing: Option<String>,
    /// The text of what would be made, without secrets.
    pub wanted: String,
    /// Where they differ; at least one.
    pub details: Vec<Detail>,
}

impl Difference {
    /// Whether it is just not there, so that it can be made.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.existing.is_none()
    }

    /// Where they differ, on one line.
    #[must_use]
    pub fn what(&self) -> String {
        let details: Vec<_> = self.details.iter().map(|d| d.text.as_str()).collect();
        details.join("; ")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = match self.kind {
            Kind::Grant | Kind::Other => self.name.clone(),
            Kind::Keyspace
            | Kind::Type
            | Kind::Function
            | Kind::Aggregate
            | Kind::Table
            | Kind::Index
            | Kind::View
            | Kind::ServiceLevel
            | Kind::Role => make::shown(&self.name),
        };
        if !self.keyspace.is_empty() && self.kind != Kind::Keyspace {
            name = format!("{}.{name}", make::shown(&self.keyspace));
        }
        write!(f, "{} `{name}`: {}", self.kind.word(), self.what())
    }
}

/// Whether two objects of one kind are the same but for their names.
#[must_use]
pub fn same(a: &Object, b: &Object) -> bool {
    a.kind == b.kind && details(a, b).is_empty()
}

/// What of `wanted` is not in `existing`, or is otherwise there. What is only in `existing` is of no
/// interest. A superuser that exists is accepted as it is: its like is in every cluster.
#[must_use]
pub fn differences(existing: &Schema, wanted: &Schema) -> Vec<Difference> {
    let existing = existing.objects.iter().map(|o| (o.key(), o));
    let existing: BTreeMap<Key, &Object> = existing.collect();
    let differ = |wanted: &Object| {
        let Some(there) = existing.get(&wanted.key()) else {
            let text = "it is not here".to_owned();
            let aspect = Aspect::Missing;
            return Some(difference(None, wanted, vec![Detail { aspect, text }]));
        };
        let details = details(there, wanted);
        (!details.is_empty()).then(|| difference(Some(there), wanted, details))
    };
    wanted.objects.iter().filter_map(differ).collect()
}

/// What rows of `wanted`'s tables would lose in the tables of `existing` that are called the same: columns
/// that are not there, are of another type or were dropped since, and other keys. What is only in
/// `existing` loses nothing.
#[must_use]
pub fn losses(existing: &Schema, wanted: &Schema) -> Vec<Difference> {
    let mut all = differences(existing, wanted);
    all.retain_mut(|difference| {
        let (kind, keyspace, name) = (difference.kind, &difference.keyspace, &difference.name);
        let mut objects = wanted.objects.iter();
        let object = objects.find(|o| (o.kind, &o.keyspace, &o.name) == (kind, keyspace, name));
        let columns = object.map(|o| Form::of(o).columns).unwrap_or_default();
        difference.details.retain(|detail| match &detail.aspect {
            Aspect::Column(name) | Aspect::Dropped(name) => columns.contains_key(name),
            Aspect::Key => true,
            Aspect::Missing | Aspect::Option(_) | Aspect::Definition => false,
        });
        !difference.details.is_empty()
    });
    all
}

fn difference(existing: Option<&Object>, wanted: &Object, details: Vec<Detail>) -> Difference {
    let text = |object: &Object| {
        let statements = object.statements.iter();
        let shown: Vec<_> = statements.map(|s| format!("{};", s.shown())).collect();
        shown.join("\n")
    };
    Difference {
        kind: wanted.kind,
        keyspace: wanted.keyspace.clone(),
        name: wanted.name.clone(),
        existing: existing.map(text),
        wanted: text(wanted),
        details,
    }
}

/// Where two objects differ.
fn details(existing: &Object, wanted: &Object) -> Vec<Detail> {
    let (here, backup) = (Form::of(existing), Form::of(wanted));
    let superuser = here.options.get("superuser").is_some_and(|v| v == "true");
    if wanted.kind == Kind::Role && superuser {
        return Vec::new();
    }
    let part = if wanted.kind == Kind::Type {
        "field"
    } else {
        "column"
    };
    let mut details = maps(part, &here.columns, &backup.columns, Aspect::Column);
    let mut texts = |aspect: Aspect, what: &str, here: &str, backup: &str| {
        let text = format!("{what} is `{here}` here and `{backup}` in the backup");
        details.extend((here != backup).then_some(Detail { aspect, text }));
    };
    texts(Aspect::Key, "the primary key", &here.key, &backup.key);
    if wanted.kind == Kind::Type && here.columns == backup.columns {
        let [here, backup] = [&here, &backup].map(|form| form.order.join(", "));
        texts(Aspect::Key, "the order of its fields", &here, &backup);
    }
    texts(
        Aspect::Definition,
        "it",
        &here.definition,
        &backup.definition,
    );
    let [others, others_backup] = [&here, &backup].map(|form| form.others.join("; "));
    texts(
        Aspect::Definition,
        "what else is done",
        &others,
        &others_backup,
    );
    let dropped = maps(
        "dropped column",
        &here.dropped,
        &backup.dropped,
        Aspect::Dropped,
    );
    let options = maps("option", &here.options, &backup.options, Aspect::Option);
    details.into_iter().chain(dropped).chain(options).collect()
}

/// Where what two sides say of each name differs.
fn maps(
    what: &str,
    here: &BTreeMap<String, String>,
    backup: &BTreeMap<String, String>,
    aspect: fn(String) -> Aspect,
) -> Vec<Detail> {
    let mut names: Vec<_> = here.keys().chain(backup.keys()).collect();
    names.sort();
    names.dedup();
    let detail = |name: &String| {
        let text = match (here.get(name), backup.get(name)) {
            (Some(here), Some(backup)) if here == backup => return None,
            (Some(here), Some(backup)) => {
                format!("{what} `{name}` is `{here}` here and `{backup}` in the backup")
            }
            (Some(here), None) => {
                format!("{what} `{name}` (`{here}`) is here and not in the backup")
            }
            (None, backup) => {
                let backup = backup.map_or("", String::as_str);
                format!("{what} `{name}` (`{backup}`) is in the backup and not here")
            }
        };
        let aspect = aspect(name.clone());
        Some(Detail { aspect, text })
    };
    names.into_iter().filter_map(detail).collect()
}
