//! Terms of statements become values of the protocol.

use std::net::IpAddr;

use cassandra_protocol::frame::message_result::ColType;
use uuid::Uuid;

use super::fail::Fail;
use super::types::{Type, Udts};
use crate::schema::time_uuid;

/// What stands for a value in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Uuid(String),
    Blob(Vec<u8>),
    List(Vec<Term>),
    /// `{a, b}`; also an empty map.
    Set(Vec<Term>),
    /// `{a: b}`; field names of user-defined types are text.
    Map(Vec<(Term, Term)>),
    Tuple(Vec<Term>),
    Call(String, Vec<Term>),
    /// The bound value of that number.
    Bound(usize),
}

impl Term {
    /// A text, number, id or truth value as it is written.
    pub(crate) fn plain(self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(text) | Self::Uuid(text) => Some(text),
            Self::Bool(value) => Some(value.to_string()),
            Self::Null => Some("null".to_owned()),
            Self::Blob(_)
            | Self::List(_)
            | Self::Set(_)
            | Self::Map(_)
            | Self::Tuple(_)
            | Self::Call(..)
            | Self::Bound(_) => None,
        }
    }
}

/// Values for the `?`s of a statement; `None` is null.
pub(crate) type Bound = [Option<Vec<u8>>];

/// What values are made with: those bound, and the keyspace's types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) bound: &'a Bound,
    pub(crate) udts: &'a Udts,
    /// Of the statement, microseconds.
    pub(crate) now: i64,
}

impl Scope<'_> {
    /// The value of `term` as a `ty`; `None` is null.
    ///
    /// # Errors
    /// When the term is none of that type.
    pub(crate) fn value(&self, term: &Term, ty: &Type) -> Result<Option<Vec<u8>>, Fail> {
        let wrong = || Fail::invalid(format!("Invalid constant ({term:?}) for type {ty}"));
        match (term, ty.bare()) {
            (Term::Null, _) => Ok(None),
            (Term::Bound(at), _) => match self.bound.get(*at) {
                Some(value) => Ok(value.clone()),
                None => Err(Fail::invalid("Invalid amount of bind variables")),
            },
            (Term::Call(name, arguments), bare) => self.call(name, arguments, bare),
            (term, Type::Native(id)) => native(term, *id).ok_or_else(wrong).map(Some),
            (Term::List(list), Type::List(of)) => self.sequence(list, of).map(Some),
            (Term::Set(list), Type::Set(of)) => {
                let mut values = self.values(list, of)?;
                values.sort_by(|a, b| of.compare(a, b));
                values.dedup();
                Ok(Some(counted(&values, values.len())))
            }
            (Term::Map(pairs), Type::Map(key, value)) => self.map(pairs, key, value).map(Some),
            (Term::Set(none), Type::Map(..)) if none.is_empty() => Ok(Some(counted(&[], 0))),
            (Term::Tuple(terms), Type::Tuple(types)) if terms.len() <= types.len() => {
                let mut bytes = Vec::new();
                for (term, ty) in terms.iter().zip(types) {
                    append(&mut bytes, self.value(term, ty)?.as_deref());
                }
                Ok(Some(bytes))
            }
            (Term::Map(pairs), Type::Udt(name)) => self.udt(pairs, name).map(Some),
            _ => Err(wrong()),
        }
    }

    fn values(&self, terms: &[Term], ty: &Type) -> Result<Vec<Vec<u8>>, Fail> {
        let some = |term| {
            let value = self.value(term, ty)?;
            value.ok_or_else(|| Fail::invalid("null is not supported inside collections"))
        };
        terms.iter().map(some).collect()
    }

    fn sequence(&self, terms: &[Term], ty: &Type) -> Result<Vec<u8>, Fail> {
        let values = self.values(terms, ty)?;
        Ok(counted(&values, values.len()))
    }

    fn map(&self, pairs: &[(Term, Term)], key: &Type, value: &Type) -> Result<Vec<u8>, Fail> {
        let (keys, values): (Vec<_>, Vec<_>) = pairs.iter().cloned().unzip();
        let keys = self.values(&keys, key)?.into_iter();
        let mut made: Vec<_> = keys.zip(self.values(&values, value)?).collect();
        made.sort_by(|(a, _), (b, _)| key.compare(a, b));
        let flat: Vec<Vec<u8>> = made.into_iter().flat_map(|(k, v)| [k, v]).collect();
        Ok(counted(&flat, flat.len() / 2))
    }

    fn udt(&self, pairs: &[(Term, Term)], name: &str) -> Result<Vec<u8>, Fail> {
        let fields = self.udts.get(name).map(Vec::as_slice).unwrap_or_default();
        let known = |field: &Term| matches!(field, Term::Text(text) if fields.iter().any(|(name, _)| name == text));
        if let Some((field, _)) = pairs.iter().find(|(field, _)| !known(field)) {
            return Err(Fail::invalid(format!(
                "Unknown field {field:?} in value of user defined type {name}"
            )));
        }
        let mut bytes = Vec::new();
        for (field, ty) in fields {
            let given = pairs
                .iter()
                .find(|(name, _)| *name == Term::Text(field.clone()));
            let value = given.map_or(Ok(None), |(_, term)| self.value(term, ty))?;
            append(&mut bytes, value.as_deref());
        }
        Ok(bytes)
    }

    fn call(&self, name: &str, arguments: &[Term], ty: &Type) -> Result<Option<Vec<u8>>, Fail> {
        let millis = || (self.now / 1000).to_be_bytes().to_vec();
        match (name, arguments, ty) {
            ("uuid", [], Type::Native(ColType::Uuid)) => {
                Ok(Some(Uuid::new_v4().into_bytes().into()))
            }
            ("now", [], Type::Native(ColType::Timeuuid | ColType::Uuid)) => {
                Ok(Some(time_uuid().into_bytes().into()))
            }
            ("currenttimestamp" | "now", [], Type::Native(ColType::Timestamp)) => {
                Ok(Some(millis()))
            }
            ("textasblob", [term], Type::Native(ColType::Blob)) => self.value(term, &Type::TEXT),
            ("intasblob", [term], Type::Native(ColType::Blob)) => self.value(term, &Type::INT),
            ("bigintasblob", [term], Type::Native(ColType::Blob)) => {
                self.value(term, &Type::BIGINT)
            }
            _ => Err(Fail::invalid(format!("Unknown function '{name}'"))),
        }
    }
}

/// `[int] n` and the values with their lengths.
fn counted(values: &[Vec<u8>], count: usize) -> Vec<u8> {
    let mut bytes = length(count).to_vec();
    values
        .iter()
        .for_each(|value| append(&mut bytes, Some(value)));
    bytes
}

/// Appends a value with its length, or null.
pub(crate) fn append(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => {
            bytes.extend(length(value.len()));
            bytes.extend(value);
        }
        None => bytes.extend((-1i32).to_be_bytes()),
    }
}

fn length(of: usize) -> [u8; 4] {
    u32::try_from(of).expect("values are small").to_be_bytes()
}

/// A map of texts, as values of `map<text, text>` are.
pub(crate) fn text_map<'a>(pairs: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let flat: Vec<Vec<u8>> = pairs
        .flat_map(|(key, value)| [key.as_bytes().to_vec(), value.to_vec()])
        .collect();
    counted(&flat, flat.len() / 2)
}

/// A list or set of values.
pub(crate) fn sequence(values: &[Vec<u8>]) -> Vec<u8> {
    counted(values, values.len())
}

fn native(term: &Term, id: ColType) -> Option<Vec<u8>> {
    match (term, id) {
        (Term::Text(text), ColType::Ascii | ColType::Varchar) => Some(text.clone().into_bytes()),
        (Term::Text(text), ColType::Inet) => Some(inet(text.parse().ok()?)),
        (Term::Text(text), ColType::Timestamp) => timestamp(text),
        (Term::Text(text), ColType::Date) => date(text),
        (Term::Text(text), ColType::Time) => time(text),
        (Term::Blob(bytes), ColType::Blob) => Some(bytes.clone()),
        (Term::Bool(value), ColType::Boolean) => Some(vec![u8::from(*value)]),
        (Term::Uuid(text), ColType::Uuid | ColType::Timeuuid) => {
            Some(Uuid::parse_str(text).ok()?.into_bytes().into())
        }
        (Term::Number(text), id) => number(text, id),
        _ => None,
    }
}

fn number(text: &str, id: ColType) -> Option<Vec<u8>> {
    match id {
        ColType::Tinyint => Some(text.parse::<i8>().ok()?.to_be_bytes().into()),
        ColType::Smallint => Some(text.parse::<i16>().ok()?.to_be_bytes().into()),
        ColType::Int => Some(text.parse::<i32>().ok()?.to_be_bytes().into()),
        ColType::Bigint | ColType::Counter | ColType::Timestamp | ColType::Time => {
            Some(text.parse::<i64>().ok()?.to_be_bytes().into())
        }
        ColType::Float => Some(text.parse::<f32>().ok()?.to_be_bytes().into()),
        ColType::Double => Some(text.parse::<f64>().ok()?.to_be_bytes().into()),
        ColType::Date => Some(text.parse::<u32>().ok()?.to_be_bytes().into()),
        ColType::Varint => Some(shortest(text.parse().ok()?)),
        ColType::Decimal => decimal(text),
        ColType::Duration => duration(text),
        ColType::Custom
        | ColType::Ascii
        | ColType::Blob
        | ColType::Boolean
        | ColType::Uuid
        | ColType::Varchar
        | ColType::Timeuuid
        | ColType::Inet
        | ColType::List
        | ColType::Map
        | ColType::Set
        | ColType::Udt
        | ColType::Tuple
        | _ => None,
    }
}

/// A two's complement number in as few bytes as it needs.
fn shortest(number: i128) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let spare = |at: &usize| {
        let (this, next) = (bytes[*at], bytes[*at + 1]);
        this == 0 && next & 0x80 == 0 || this == 0xff && next & 0x80 != 0
    };
    let start = (0..bytes.len() - 1).take_while(spare).count();
    bytes[start..].to_vec()
}

fn decimal(text: &str) -> Option<Vec<u8>> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse().ok()?),
        None => (text, 0i32),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = i32::try_from(fraction.len()).ok()? - exponent;
    let unscaled = format!("{whole}{fraction}").parse().ok()?;
    Some([scale.to_be_bytes().to_vec(), shortest(unscaled)].concat())
}

pub(crate) fn inet(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Days since 1970, from the middle of the range of unsigned numbers.
fn date(text: &str) -> Option<Vec<u8>> {
    let date: jiff::civil::Date = text.parse().ok()?;
    let days = jiff::civil::date(1970, 1, 1).until(date).ok()?.get_days();
    Some(((1i64 << 31) + i64::from(days)).to_be_bytes()[4..].to_vec())
}

/// Nanoseconds since midnight.
fn time(text: &str) -> Option<Vec<u8>> {
    let time: jiff::civil::Time = text.parse().ok()?;
    let nanos = time
        .duration_since(jiff::civil::time(0, 0, 0, 0))
        .as_nanos();
    Some(i64::try_from(nanos).ok()?.to_be_bytes().into())
}

/// Milliseconds since 1970; without a zone the text is of UTC.
fn timestamp(text: &str) -> Option<Vec<u8>> {
    // `+0000` as cqlsh writes it is not among what jiff reads.
    let text = text.replace("+0000", "Z");
    let zoned = text.parse::<jiff::Timestamp>().ok();
    let civil = || text.parse::<jiff::civil::DateTime>().ok();
    let at = zoned.or_else(|| {
        civil()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|z| z.timestamp())
    })?;
    Some(at.as_millisecond().to_be_bytes().into())
}

/// Months, days and nanoseconds from `1y2mo3w4d5h6m7s8ms9us10ns`.
pub(crate) fn duration(text: &str) -> Option<Vec<u8>> {
    let (text, sign) = match text.strip_prefix('-') {
        Some(rest) => (rest, -1),
        None => (text, 1),
    };
    let (mut months, mut days, mut nanos) = (0i64, 0i64, 0i64);
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        match &rest[..unit] {
            "y" => months += 12 * amount,
            "mo" => months += amount,
            "w" => days += 7 * amount,
            "d" => days += amount,
            "h" => nanos += amount * 3_600_000_000_000,
            "m" => nanos += amount * 60_000_000_000,
            "s" => nanos += amount * 1_000_000_000,
            "ms" => nanos += amount * 1_000_000,
            "us" => nanos += amount * 1000,
            "ns" => nanos += amount,
            _ => return None,
        }
        rest = &rest[unit..];
    }
    Some(
        [months, days, nanos]
            .iter()
            .flat_map(|n| vint(n * sign))
            .collect(),
    )
}

/// A signed number in as many bytes as its first one tells by leading ones.
fn vint(number: i64) -> Vec<u8> {
    let zigzag = ((number << 1) ^ (number >> 63)).cast_unsigned();
    let extra = (0..8)
        .find(|extra| zigzag < 1 << (7 * (extra + 1)))
        .unwrap_or(8);
    let bytes = zigzag.to_be_bytes();
    if extra == 8 {
        return [&[0xff], &bytes[..]].concat();
    }
    let mut tail = bytes[7 - extra..].to_vec();
    tail[0] |= !(0xffu8 >> extra);
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(term: Term, ty: &str) -> Result<Option<Vec<u8>>, Fail> {
        let ty = Type::try_from(ty.to_owned()).unwrap();
        let udts = Udts::from([(
            "u".into(),
            vec![("a".into(), Type::INT), ("b".into(), Type::TEXT)],
        )]);
        let scope = Scope {
            bound: &[],
            udts: &udts,
            now: 0,
        };
        scope.value(&term, &ty)
    }

    fn some(term: Term, ty: &str) -> Vec<u8> {
        value(term, ty).unwrap().unwrap()
    }

    #[test]
    fn numbers_have_their_types_length() {
        let n = |text: &str| Term::Number(text.into());
        assert_eq!(some(n("-2"), "tinyint"), [0xfe]);
        assert_eq!(some(n("258"), "varint"), [1, 2]);
        assert_eq!(some(n("128"), "varint"), [0, 128]);
        assert_eq!(some(n("-128"), "varint"), [128]);
        assert_eq!(some(n("1.25"), "decimal"), [0, 0, 0, 2, 125]);
        assert_eq!(some(n("1mo2d3ns"), "duration"), [2, 4, 6]);
        assert!(value(n("300"), "tinyint").is_err());
        assert!(value(n("1"), "text").is_err());
    }

    #[test]
    fn times_are_those_of_utc() {
        let text = |text: &str| Term::Text(text.into());
        assert_eq!(some(text("1970-01-02"), "date"), [0x80, 0, 0, 1]);
        assert_eq!(
            some(text("00:00:01"), "time"),
            1_000_000_000i64.to_be_bytes()
        );
        let second = 1000i64.to_be_bytes();
        assert_eq!(some(text("1970-01-01 00:00:01"), "timestamp"), second);
        assert_eq!(
            some(text("1970-01-01 00:00:01.000+0000"), "timestamp"),
            second
        );
    }

    #[test]
    fn collections_carry_counts_and_lengths() {
        let n = |text: &str| Term::Number(text.into());
        let set = Term::Set(vec![n("2"), n("1"), n("2")]);
        assert_eq!(
            some(set, "set<tinyint>"),
            [0, 0, 0, 2, 0, 0, 0, 1, 1, 0, 0, 0, 1, 2]
        );
        let udt = Term::Map(vec![(Term::Text("b".into()), Term::Text("x".into()))]);
        assert_eq!(some(udt, "u"), [255, 255, 255, 255, 0, 0, 0, 1, b'x']);
        assert!(value(Term::List(vec![Term::Null]), "list<int>").is_err());
    }
}
