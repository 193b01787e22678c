//! `SELECT`: which rows, which of their columns, page by page.

mod shape;

use std::cmp::Ordering;

use super::ast::{Condition, Operator, Select, Selector};
use super::coordinate::Coordinator;
use super::fail::Fail;
use super::row::{Row, decode, token_of};
use super::session::{Parameters, Rows, Session};
use super::table::{self, Known};
use super::types::Type;
use super::value::Scope;
use super::{system, view};
use crate::schema::definition::{Column, Definition, Place};
pub(super) use shape::columns;
use shape::{elements, limit, show};

/// Rows of a page when the client does not say; also how many are read at a time to be counted.
const PAGE: usize = 5000;

/// Most partitions that `IN` may ask for.
const PARTITIONS: usize = 100;

impl Session<'_> {
    /// Answers a `SELECT`.
    ///
    /// # Errors
    /// As the server words them; see the tests.
    pub(crate) fn select(&self, select: &Select, given: &Parameters) -> Result<Rows, Fail> {
        let keyspace = table::keyspace_of(&select.table, self.keyspace)?;
        if let Some(virtual_table) = system::table(self, &keyspace, &select.table.name) {
            let (definition, rows) = virtual_table?;
            let mut query = Query::new(self, select, given, &definition, keyspace)?;
            rows.into_iter().for_each(|row| query.add(row));
            return query.finish(None);
        }
        let known = table::find(self.sim, &keyspace, &select.table.name)?;
        let mut query = Query::new(self, select, given, &known.definition, keyspace)?;
        query.check(&known)?;
        let next = query.fetch(self, &known, given)?;
        query.finish(next)
    }
}

/// A condition with its values.
struct Test {
    column: usize,
    operator: Operator,
    values: Vec<Option<Vec<u8>>>,
}

/// A `SELECT` being answered.
struct Query<'a> {
    select: &'a Select,
    definition: &'a Definition,
    keyspace: String,
    tests: Vec<Test>,
    /// Tokens from the one to the other.
    tokens: (i64, i64),
    limit: Option<usize>,
    rows: Vec<Row>,
    count: usize,
}

impl<'a> Query<'a> {
    fn new(
        session: &Session<'_>,
        select: &'a Select,
        given: &Parameters,
        definition: &'a Definition,
        keyspace: String,
    ) -> Result<Self, Fail> {
        let udts = session.udts(&keyspace);
        let scope = Scope {
            bound: &given.bound,
            udts: &udts,
            now: given.now,
        };
        let mut query = Self {
            select,
            definition,
            keyspace,
            tests: Vec::new(),
            tokens: (i64::MIN, i64::MAX),
            limit: limit(select, &scope)?.map(|limit| limit.saturating_sub(given.seen)),
            rows: Vec::new(),
            count: 0,
        };
        for condition in &select.conditions {
            if condition.token {
                query.narrow(condition, &scope)?;
            } else {
                let test = query.test(condition, &scope)?;
                query.tests.push(test);
            }
        }
        Ok(query)
    }

    fn narrow(&mut self, condition: &Condition, scope: &Scope<'_>) -> Result<(), Fail> {
        let value = scope.value(&condition.terms[0], &Type::BIGINT)?;
        let bytes = value.and_then(|value| <[u8; 8]>::try_from(value).ok());
        let token = i64::from_be_bytes(bytes.ok_or_else(|| Fail::invalid("Invalid null token"))?);
        let (low, high) = &mut self.tokens;
        match condition.operator {
            Operator::Greater if token == i64::MAX => (*low, *high) = (1, 0),
            Operator::Greater => *low = (*low).max(token + 1),
            Operator::GreaterOrEqual => *low = (*low).max(token),
            Operator::Less if token == i64::MIN => (*low, *high) = (1, 0),
            Operator::Less => *high = (*high).min(token - 1),
            Operator::LessOrEqual => *high = (*high).min(token),
            Operator::Equal => (*low, *high) = ((*low).max(token), (*high).min(token)),
            Operator::In => return Err(Fail::invalid("IN relation is not supported for token")),
        }
        Ok(())
    }

    fn test(&self, condition: &Condition, scope: &Scope<'_>) -> Result<Test, Fail> {
        let name = &condition.columns[0];
        let position = self.definition.columns.iter().position(|c| c.name == *name);
        let column = position.ok_or_else(|| {
            Fail::invalid(format!(
                "Undefined column name {name} in table {}.{}",
                self.keyspace, self.select.table.name
            ))
        })?;
        let ty = &self.definition.columns[column].ty;
        let list = Type::List(ty.clone().into());
        let values = match condition.terms.as_slice() {
            [one] if condition.whole => {
                let bytes = scope.value(one, &list)?.unwrap_or_default();
                elements(&bytes)
            }
            terms => {
                let each = terms.iter().map(|term| scope.value(term, ty));
                each.collect::<Result<_, _>>()?
            }
        };
        let operator = condition.operator;
        Ok(Test {
            column,
            operator,
            values,
        })
    }

    /// Whether the conditions can be answered by keys alone.
    fn check(&self, known: &Known) -> Result<(), Fail> {
        let equal = |column: &Column| {
            let here = |test: &&Test| self.definition.columns[test.column].name == column.name;
            self.tests
                .iter()
                .filter(here)
                .any(|t| matches!(t.operator, Operator::Equal | Operator::In))
        };
        let whole = self.definition.partition().all(equal);
        let indexed = self.indexed(known).is_some();
        let by_key = |test: &Test| self.definition.columns[test.column].place != Place::Regular;
        let keyed = self.tests.iter().all(by_key) && (self.tests.is_empty() || whole);
        let mut gap = false;
        let ordered = self.definition.clustering().all(|column| {
            let used = self
                .tests
                .iter()
                .any(|t| self.definition.columns[t.column].name == column.name);
            let fine = !(used && gap);
            gap |= !equal(column);
            fine
        });
        if (keyed && ordered) || indexed || self.select.filtering {
            return Ok(());
        }
        Err(Fail::invalid(
            "Cannot execute this query as it might involve data filtering and thus may have unpredictable performance. \
             If you want to execute this query despite the performance unpredictability, use ALLOW FILTERING",
        ))
    }

    /// The condition that an index answers, and its backing table.
    fn indexed<'k>(&self, known: &'k Known) -> Option<(&Test, &'k str)> {
        self.tests.iter().find_map(|test| {
            let column = &self.definition.columns[test.column];
            let index = known
                .indexes
                .iter()
                .find(|(name, _)| *name == column.name)?;
            (test.operator == Operator::Equal).then_some((test, index.1.as_str()))
        })
    }

    /// The partitions that are asked for, if it is by their whole keys.
    fn partitions(&self) -> Result<Option<Vec<i64>>, Fail> {
        let mut keys: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
        for column in self.definition.partition() {
            let fits = |test: &&Test| {
                self.definition.columns[test.column].name == column.name
                    && matches!(test.operator, Operator::Equal | Operator::In)
            };
            let Some(test) = self.tests.iter().find(fits) else {
                return Ok(None);
            };
            let null = || {
                Fail::invalid(format!(
                    "Invalid null value in condition for column {}",
                    column.name
                ))
            };
            let mut longer = Vec::new();
            for key in &keys {
                for value in &test.values {
                    let value = value.clone().ok_or_else(null)?;
                    longer.push([key.as_slice(), &[value]].concat());
                }
            }
            keys = longer;
            if keys.len() > PARTITIONS {
                return Err(Fail::invalid("too many partitions in one IN"));
            }
        }
        let mut tokens: Vec<i64> = keys.iter().map(|key| token_of(key)).collect();
        tokens.sort_unstable();
        tokens.dedup();
        Ok(Some(tokens))
    }

    /// Reads rows until a page is full; returns the token to go on after.
    fn fetch(
        &mut self,
        session: &Session<'_>,
        known: &Known,
        given: &Parameters,
    ) -> Result<Option<i64>, Fail> {
        let coordinator = session.coordinator(given.cl);
        if let Some(tokens) = self.partitions()? {
            for token in tokens {
                self.range(&coordinator, known, (token, token), usize::MAX)?;
            }
            return Ok(None);
        }
        if let Some((test, backing)) = self.indexed(known) {
            let value = test.values[0].clone();
            for row in view::base_rows(&coordinator, known, backing, value)? {
                self.add(row);
            }
            return Ok(None);
        }
        let counting = matches!(self.select.selectors.as_slice(), [(Selector::Count, _)]);
        let page = given.page.filter(|_| !counting);
        let (mut low, high) = self.tokens;
        if let Some(after) = given.after {
            low = low.max(after.saturating_add(1));
        }
        while low <= high && !self.full() {
            let want = page.unwrap_or(PAGE);
            let far = self.range(&coordinator, known, (low, high), want)?;
            if far >= high {
                return Ok(None);
            }
            if counting {
                self.count += std::mem::take(&mut self.rows).len();
            }
            if page.is_some_and(|page| self.rows.len() >= page) {
                return Ok(Some(far));
            }
            low = far + 1;
        }
        Ok(None)
    }

    fn full(&self) -> bool {
        self.limit.is_some_and(|limit| self.rows.len() >= limit)
    }

    fn range(
        &mut self,
        coordinator: &Coordinator<'_>,
        known: &Known,
        range: (i64, i64),
        want: usize,
    ) -> Result<i64, Fail> {
        let (found, far) = coordinator.read(&known.target, range, want)?;
        let decoded = found
            .iter()
            .filter_map(|fresh| decode(self.definition, fresh));
        let mut rows: Vec<Row> = decoded.filter(|row| row.exists(self.definition)).collect();
        rows.sort_by(|a, b| self.order(a, b));
        rows.into_iter().for_each(|row| self.add(row));
        Ok(far)
    }

    /// By token, then partition key, then in the order of clustering.
    fn order(&self, a: &Row, b: &Row) -> Ordering {
        let part = |row: &Row, column: &Column| row.parts(self.definition, std::iter::once(column));
        let mut order = a.token.cmp(&b.token);
        for column in self.definition.partition() {
            order = order.then_with(|| part(a, column).cmp(&part(b, column)));
        }
        for column in self.definition.clustering() {
            order = order.then_with(|| {
                let (Some(a), Some(b)) = (part(a, column), part(b, column)) else {
                    return Ordering::Equal;
                };
                let order = column.ty.compare(&a[0], &b[0]);
                let place = Place::Clustering { descending: true };
                if column.place == place {
                    order.reverse()
                } else {
                    order
                }
            });
        }
        order
    }

    /// Takes a row in, if it meets the conditions.
    fn add(&mut self, row: Row) {
        if self.tests.iter().all(|test| self.meets(test, &row)) {
            self.rows.push(row);
        }
    }

    fn meets(&self, test: &Test, row: &Row) -> bool {
        let Some(found) = &row.values[test.column] else {
            return false;
        };
        let ty = &self.definition.columns[test.column].ty;
        let compare =
            |value: &Option<Vec<u8>>| value.as_ref().map(|value| ty.compare(found, value));
        test.values
            .iter()
            .any(|value| match (test.operator, compare(value)) {
                (_, None) => false,
                (Operator::Equal | Operator::In, Some(order)) => order.is_eq(),
                (Operator::Less, Some(order)) => order.is_lt(),
                (Operator::LessOrEqual, Some(order)) => order.is_le(),
                (Operator::Greater, Some(order)) => order.is_gt(),
                (Operator::GreaterOrEqual, Some(order)) => order.is_ge(),
            })
    }

    /// The rows as they are told; `next` is the token to go on after.
    fn finish(mut self, next: Option<i64>) -> Result<Rows, Fail> {
        self.sort()?;
        if self.select.distinct {
            self.rows.dedup_by_key(|row| row.token);
        }
        let mut next = next;
        if let Some(limit) = self.limit {
            next = next.filter(|_| self.rows.len() < limit);
            self.rows.truncate(limit);
        }
        let columns = columns(self.select, self.definition, &self.keyspace)?;
        let mut rows = Rows {
            keyspace: self.keyspace,
            table: self.select.table.name.clone(),
            columns,
            rows: Vec::new(),
            next,
        };
        if matches!(self.select.selectors.as_slice(), [(Selector::Count, _)]) {
            let count = (self.rows.len() + self.count) as u64;
            rows.rows.push(vec![Some(count.to_be_bytes().to_vec())]);
            return Ok(rows);
        }
        for row in &self.rows {
            rows.rows.push(show(self.select, self.definition, row));
        }
        Ok(rows)
    }

    /// `ORDER BY` the first clustering column, against its own order.
    fn sort(&mut self) -> Result<(), Fail> {
        let Some((name, descends)) = self.select.order.first() else {
            return Ok(());
        };
        let first = self
            .definition
            .clustering()
            .next()
            .filter(|column| column.name == *name);
        let Some(column) = first else {
            return Err(Fail::invalid(format!(
                "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got {name}"
            )));
        };
        if column.place
            != (Place::Clustering {
                descending: *descends,
            })
        {
            self.rows.reverse();
        }
        Ok(())
    }
}
