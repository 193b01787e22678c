//! The types of columns: as written, as the protocol tells them, and how their values compare.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use cassandra_protocol::frame::message_result::{
    CTuple, CUdt, ColType, ColTypeOption, ColTypeOptionValue,
};
use serde::{Deserialize, Serialize};

use super::parse::Parser;
use crate::schema::name;

/// Types by name that hold no other types.
const NATIVES: &[(&str, ColType)] = &[
    ("ascii", ColType::Ascii),
    ("bigint", ColType::Bigint),
    ("blob", ColType::Blob),
    ("boolean", ColType::Boolean),
    ("counter", ColType::Counter),
    ("date", ColType::Date),
    ("decimal", ColType::Decimal),
    ("double", ColType::Double),
    ("duration", ColType::Duration),
    ("float", ColType::Float),
    ("inet", ColType::Inet),
    ("int", ColType::Int),
    ("smallint", ColType::Smallint),
    ("text", ColType::Varchar),
    ("time", ColType::Time),
    ("timestamp", ColType::Timestamp),
    ("timeuuid", ColType::Timeuuid),
    ("tinyint", ColType::Tinyint),
    ("uuid", ColType::Uuid),
    ("varint", ColType::Varint),
];

/// The fields of each user-defined type of a keyspace, in order.
pub(crate) type Udts = BTreeMap<String, Vec<(String, Type)>>;

/// The type of a column, field or element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) enum Type {
    Native(ColType),
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Tuple(Vec<Type>),
    Udt(String),
    Frozen(Box<Type>),
}

impl Type {
    pub(crate) const TEXT: Self = Self::Native(ColType::Varchar);
    pub(crate) const BOOLEAN: Self = Self::Native(ColType::Boolean);
    pub(crate) const BLOB: Self = Self::Native(ColType::Blob);
    pub(crate) const INT: Self = Self::Native(ColType::Int);
    pub(crate) const BIGINT: Self = Self::Native(ColType::Bigint);

    /// The native type of that name; `varchar` is another name of `text`.
    pub(crate) fn native(name: &str) -> Option<Self> {
        let name = if name == "varchar" { "text" } else { name };
        let found = NATIVES.iter().find(|(known, _)| *known == name)?;
        Some(Self::Native(found.1))
    }

    /// Without `frozen<>` around it.
    pub(crate) fn bare(&self) -> &Self {
        if let Self::Frozen(inner) = self {
            return inner.bare();
        }
        self
    }

    /// Whether its values can only be replaced as a whole.
    pub(crate) fn frozen(&self) -> bool {
        match self {
            Self::Native(_) | Self::Frozen(_) | Self::Tuple(_) => true,
            Self::List(_) | Self::Set(_) | Self::Map(..) | Self::Udt(_) => false,
        }
    }

    pub(crate) fn is_counter(&self) -> bool {
        *self == Self::Native(ColType::Counter)
    }

    /// The user-defined types it is made of, itself first.
    pub(crate) fn udts(&self) -> Vec<&str> {
        match self {
            Self::Native(_) => Vec::new(),
            Self::Udt(name) => vec![name],
            Self::List(inner) | Self::Set(inner) | Self::Frozen(inner) => inner.udts(),
            Self::Map(key, value) => [key.udts(), value.udts()].concat(),
            Self::Tuple(parts) => parts.iter().flat_map(Self::udts).collect(),
        }
    }

    /// As the protocol describes it. `udts` are those of `keyspace`.
    pub(crate) fn wire(&self, keyspace: &str, udts: &Udts) -> ColTypeOption {
        let inner = |ty: &Self| Box::new(ty.wire(keyspace, udts));
        let (id, value) = match self {
            Self::Native(id) => (*id, None),
            Self::Frozen(ty) => return ty.wire(keyspace, udts),
            Self::List(ty) => (ColType::List, Some(ColTypeOptionValue::CList(inner(ty)))),
            Self::Set(ty) => (ColType::Set, Some(ColTypeOptionValue::CSet(inner(ty)))),
            Self::Map(key, value) => {
                let map = ColTypeOptionValue::CMap(inner(key), inner(value));
                (ColType::Map, Some(map))
            }
            Self::Tuple(parts) => {
                let types = parts.iter().map(|ty| ty.wire(keyspace, udts)).collect();
                let tuple = ColTypeOptionValue::TupleType(CTuple { types });
                (ColType::Tuple, Some(tuple))
            }
            Self::Udt(name) => {
                let fields = udts.get(name).map(Vec::as_slice).unwrap_or_default();
                let field = |(name, ty): &(String, Self)| (name.clone(), ty.wire(keyspace, udts));
                let udt = CUdt {
                    ks: keyspace.to_owned(),
                    udt_name: name.clone(),
                    descriptions: fields.iter().map(field).collect(),
                };
                (ColType::Udt, Some(ColTypeOptionValue::UdtType(udt)))
            }
        };
        ColTypeOption { id, value }
    }

    /// The order of two values in a clustering key.
    pub(crate) fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        // Numbers have the sign in their first byte; the others go byte by byte.
        let signed = |a: &[u8], b: &[u8]| {
            let sign = |bytes: &[u8]| bytes.first().is_some_and(|byte| byte & 0x80 != 0);
            (sign(b), a).cmp(&(sign(a), b))
        };
        let Self::Native(id) = self.bare() else {
            return a.cmp(b);
        };
        match id {
            ColType::Bigint
            | ColType::Int
            | ColType::Smallint
            | ColType::Tinyint
            | ColType::Counter
            | ColType::Timestamp
            | ColType::Time => signed(a, b),
            ColType::Double | ColType::Float => float(a).total_cmp(&float(b)),
            ColType::Varint => integer(a).cmp(&integer(b)),
            ColType::Decimal => decimal(a).total_cmp(&decimal(b)),
            ColType::Timeuuid => (ticks(a), a).cmp(&(ticks(b), b)),
            ColType::Custom
            | ColType::Ascii
            | ColType::Blob
            | ColType::Boolean
            | ColType::Uuid
            | ColType::Varchar
            | ColType::Inet
            | ColType::Date
            | ColType::Duration
            | ColType::List
            | ColType::Map
            | ColType::Set
            | ColType::Udt
            | ColType::Tuple
            | _ => a.cmp(b),
        }
    }
}

fn float(bytes: &[u8]) -> f64 {
    match (<[u8; 8]>::try_from(bytes), <[u8; 4]>::try_from(bytes)) {
        (Ok(long), _) => f64::from_be_bytes(long),
        (_, Ok(short)) => f32::from_be_bytes(short).into(),
        _ => f64::NAN,
    }
}

/// A two's complement number of any length up to 16 bytes.
pub(crate) fn integer(bytes: &[u8]) -> i128 {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let start = if negative { -1 } else { 0 };
    bytes
        .iter()
        .fold(start, |sum, byte| (sum << 8) | i128::from(*byte))
}

fn decimal(bytes: &[u8]) -> f64 {
    let Some((scale, digits)) = bytes.split_first_chunk() else {
        return f64::NAN;
    };
    #[expect(clippy::cast_precision_loss, reason = "only an order of values")]
    let unscaled = integer(digits) as f64;
    unscaled / 10f64.powi(i32::from_be_bytes(*scale))
}

/// The time inside a version 1 UUID.
fn ticks(uuid: &[u8]) -> u64 {
    let Some(high) = uuid.first_chunk::<8>() else {
        return 0;
    };
    let word = u64::from_be_bytes(*high);
    let (low, mid, top) = (word >> 32, (word >> 16) & 0xffff, word & 0xfff);
    top << 48 | mid << 32 | low
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native(id) => {
                let known = NATIVES.iter().find(|(_, known)| known == id);
                f.write_str(known.map_or("custom", |(name, _)| name))
            }
            Self::List(ty) => write!(f, "list<{ty}>"),
            Self::Set(ty) => write!(f, "set<{ty}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Frozen(ty) => write!(f, "frozen<{ty}>"),
            Self::Udt(udt) => f.write_str(&name(udt)),
            Self::Tuple(parts) => {
                let parts: Vec<_> = parts.iter().map(Self::to_string).collect();
                write!(f, "tuple<{}>", parts.join(", "))
            }
        }
    }
}

impl From<Type> for String {
    fn from(ty: Type) -> Self {
        ty.to_string()
    }
}

impl TryFrom<String> for Type {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = Parser::new(&text).and_then(|mut parser| parser.whole(Parser::a_type));
        parsed.map_err(|_| format!("no type: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_as_they_are_written() {
        for text in [
            "int",
            "map<text, frozen<list<\"Odd Type\">>>",
            "frozen<tuple<int, set<uuid>>>",
        ] {
            let ty = Type::try_from(text.to_owned()).unwrap();
            assert_eq!(ty.to_string(), text);
        }
        assert!(Type::try_from("list<int".to_owned()).is_err());
    }

    #[test]
    fn numbers_compare_by_value() {
        let int = |n: i32| n.to_be_bytes();
        assert_eq!(Type::INT.compare(&int(-1), &int(1)), Ordering::Less);
        assert_eq!(Type::INT.compare(&int(-2), &int(-1)), Ordering::Less);
        assert_eq!(Type::INT.compare(&int(7), &int(3)), Ordering::Greater);
        assert_eq!(Type::TEXT.compare(b"a", b"b"), Ordering::Less);
    }
}
