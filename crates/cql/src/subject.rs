//! What a statement does to what.

use crate::{canon, lex::Token};

/// What a statement does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// `CREATE`.
    Create,
    /// `ALTER`.
    Alter,
    /// `GRANT`.
    Grant,
    /// `ATTACH`.
    Attach,
    /// Something else, or something that is not understood.
    #[default]
    Other,
}

/// What a statement is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A keyspace.
    Keyspace,
    /// A type of a user.
    Type,
    /// A function.
    Function,
    /// An aggregate.
    Aggregate,
    /// A table.
    Table,
    /// A secondary index, whatever makes it.
    Index,
    /// A materialized view.
    View,
    /// A service level.
    ServiceLevel,
    /// A role or user.
    Role,
    /// A right, a membership, or a service level of a role.
    Grant,
    /// Not understood.
    #[default]
    Other,
}

impl Kind {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Keyspace => "keyspace",
            Self::Type => "type",
            Self::Function => "function",
            Self::Aggregate => "aggregate",
            Self::Table => "table",
            Self::Index => "index",
            Self::View => "view",
            Self::ServiceLevel => "service level",
            Self::Role => "role",
            Self::Grant => "grant",
            Self::Other => "statement",
        }
    }

    /// The keywords by which CQL knows it; none for what cannot be dropped or altered by name.
    pub(crate) fn keywords(self) -> Option<&'static str> {
        Some(match self {
            Self::Keyspace => "KEYSPACE",
            Self::Type => "TYPE",
            Self::Function => "FUNCTION",
            Self::Aggregate => "AGGREGATE",
            Self::Table => "TABLE",
            Self::Index => "INDEX",
            Self::View => "MATERIALIZED VIEW",
            Self::ServiceLevel => "SERVICE LEVEL",
            Self::Role => "ROLE",
            Self::Grant | Self::Other => return None,
        })
    }
}

/// The table a view or an index is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Base {
    /// Its keyspace; empty if the statement does not say.
    pub keyspace: String,
    /// Its name.
    pub table: String,
}

/// What a statement does to what. Names are without quotes, and folded if they had none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub kind: Kind,
    /// In which keyspace; empty for what is in none, or if the statement does not say. A
    /// keyspace's own name, for a keyspace.
    pub keyspace: String,
    /// The name; empty for an index without one and for a grant.
    pub name: String,
    /// The types of a function's or an aggregate's arguments, without the keyspace it is in itself.
    pub arguments: Vec<String>,
    /// The table of a view or an index.
    pub base: Option<Base>,
}

/// Which tokens hold a name: that of the keyspace, if there, and the name itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) keyspace: Option<usize>,
    pub(crate) name: usize,
}

/// Where in a statement things stand, as numbers of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// The subject's name.
    pub(crate) name: Option<Named>,
    /// The base table's.
    pub(crate) base: Option<Named>,
    /// Before which token `IF NOT EXISTS` goes; none where it is there, or cannot be.
    pub(crate) guard: Option<usize>,
    /// What follows the name.
    pub(crate) body: usize,
}

/// Reads what a statement does to what. What is not understood is [`Kind::Other`].
pub(crate) fn read(text: &str, tokens: &[Token]) -> (Subject, Places) {
    Reader {
        text,
        tokens,
        at: 0,
    }
    .statement()
    .unwrap_or_default()
}

struct Reader<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    /// Takes these keywords, all or none.
    fn take(&mut self, keywords: &[&str]) -> bool {
        let ahead = self.tokens[self.at..].iter();
        let fits = ahead.zip(keywords).filter(|(t, k)| t.is(self.text, k));
        let all = fits.count() == keywords.len();
        if all {
            self.at += keywords.len();
        }
        all
    }

    fn symbol(&self, at: usize, symbol: char) -> bool {
        let token = self.tokens.get(at);
        token.is_some_and(|t| t.is_symbol(self.text, symbol))
    }

    fn name_at(&self, at: usize) -> Option<String> {
        self.tokens.get(at)?.name(self.text)
    }

    /// Takes `name` or `keyspace.name`.
    fn named(&mut self) -> Option<Named> {
        let first = self.at;
        self.name_at(first)?;
        if !self.symbol(first + 1, '.') {
            self.at = first + 1;
            return Some(Named {
                keyspace: None,
                name: first,
            });
        }
        self.name_at(first + 2)?;
        self.at = first + 3;
        Some(Named {
            keyspace: Some(first),
            name: first + 2,
        })
    }

    fn keyspace(&self, named: Named) -> String {
        let keyspace = named.keyspace.and_then(|at| self.name_at(at));
        keyspace.unwrap_or_default()
    }

    fn statement(mut self) -> Option<(Subject, Places)> {
        if self.take(&["CREATE"]) {
            let replaced = self.take(&["OR", "REPLACE"]);
            let kind = self.kind()?;
            let before = self.at;
            let guarded = self.take(&["IF", "NOT", "EXISTS"]);
            let guard = (!guarded && !replaced).then_some(before);
            self.named_subject(Verb::Create, kind, guard)
        } else if self.take(&["ALTER"]) {
            let kind = self.kind()?;
            self.take(&["IF", "EXISTS"]);
            self.named_subject(Verb::Alter, kind, None)
        } else if self.take(&["GRANT"]) {
            Some(self.grant(Verb::Grant))
        } else if self.take(&["ATTACH"]) {
            Some(self.grant(Verb::Attach))
        } else {
            None
        }
    }

    fn grant(&self, verb: Verb) -> (Subject, Places) {
        let subject = Subject {
            verb,
            kind: Kind::Grant,
            ..Subject::default()
        };
        let places = Places {
            body: self.at,
            ..Places::default()
        };
        (subject, places)
    }

    fn kind(&mut self) -> Option<Kind> {
        const KINDS: [(&[&str], Kind); 15] = [
            (&["KEYSPACE"], Kind::Keyspace),
            (&["SCHEMA"], Kind::Keyspace),
            (&["TABLE"], Kind::Table),
            (&["COLUMNFAMILY"], Kind::Table),
            (&["TYPE"], Kind::Type),
            (&["MATERIALIZED", "VIEW"], Kind::View),
            (&["INDEX"], Kind::Index),
            (&["CUSTOM", "INDEX"], Kind::Index),
            (&["FUNCTION"], Kind::Function),
            (&["AGGREGATE"], Kind::Aggregate),
            (&["ROLE"], Kind::Role),
            (&["USER"], Kind::Role),
            (&["SERVICE", "LEVEL"], Kind::ServiceLevel),
            (&["SERVICE_LEVEL"], Kind::ServiceLevel),
            (&["SERVICELEVEL"], Kind::ServiceLevel),
        ];
        let found = KINDS.into_iter().find(|(words, _)| self.take(words));
        found.map(|(_, kind)| kind)
    }

    fn named_subject(
        mut self,
        verb: Verb,
        kind: Kind,
        guard: Option<usize>,
    ) -> Option<(Subject, Places)> {
        let mut subject = Subject {
            verb,
            kind,
            ..Subject::default()
        };
        let mut places = Places {
            guard,
            ..Places::default()
        };
        if kind == Kind::Role {
            subject.name = self.role()?;
        } else if kind != Kind::Index || !self.tokens.get(self.at)?.is(self.text, "ON") {
            let named = self.named()?;
            places.name = Some(named);
            subject.keyspace = self.keyspace(named);
            subject.name = self.name_at(named.name)?;
        }
        if kind == Kind::Keyspace {
            subject.keyspace.clone_from(&subject.name);
        }
        places.body = self.at;
        if verb == Verb::Create {
            self.of_kind(&mut subject, &mut places)?;
        }
        Some((subject, places))
    }

    /// A role's name may be a string, too.
    fn role(&mut self) -> Option<String> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        token.name(self.text).or_else(|| token.content(self.text))
    }

    /// What only some kinds have.
    fn of_kind(&mut self, subject: &mut Subject, places: &mut Places) -> Option<()> {
        match subject.kind {
            Kind::View => {
                let mut ahead = self.at..self.tokens.len();
                self.at = ahead.find(|at| self.tokens[*at].is(self.text, "FROM"))?;
                self.base(subject, places)
            }
            Kind::Index => {
                let on = self.tokens.get(self.at)?.is(self.text, "ON");
                on.then(|| self.base(subject, places))??;
                subject.keyspace = subject.base.as_ref()?.keyspace.clone();
                Some(())
            }
            Kind::Function => {
                subject.arguments = self.arguments(1, &subject.keyspace)?;
                Some(())
            }
            Kind::Aggregate => {
                subject.arguments = self.arguments(0, &subject.keyspace)?;
                Some(())
            }
            Kind::Table | Kind::Type => self.symbol(self.at, '(').then_some(()),
            Kind::Keyspace | Kind::ServiceLevel | Kind::Role | Kind::Grant | Kind::Other => {
                Some(())
            }
        }
    }

    /// The table after `ON` or `FROM`.
    fn base(&mut self, subject: &mut Subject, places: &mut Places) -> Option<()> {
        self.at += 1;
        let named = self.named()?;
        places.base = Some(named);
        subject.base = Some(Base {
            keyspace: self.keyspace(named),
            table: self.name_at(named.name)?,
        });
        Some(())
    }

    /// The types between brackets, each after `skip` tokens, and without the keyspace they are in.
    fn arguments(&self, skip: usize, keyspace: &str) -> Option<Vec<String>> {
        self.symbol(self.at, '(').then_some(())?;
        let inner = canon::inner(self.text, self.tokens, self.at)?;
        let parts = canon::parts(self.text, self.tokens, inner);
        let types = parts.into_iter().map(|part| {
            let part = (part.start + skip).min(part.end)..part.end;
            canon::local(self.text, self.tokens, part, keyspace)
        });
        Some(types.collect())
    }
}
