//! A request taken apart: path, query parameters, body.

use bytes::Bytes;

use crate::answer::Fail;

#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: String,
    /// Decoded, without one trailing slash.
    segments: Vec<String>,
    query: Vec<(String, String)>,
    path: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    /// Method, path and query as they came.
    pub(crate) text: String,
}

impl Call {
    pub(crate) fn new(method: String, path: &str, query: &str, body: Bytes) -> Self {
        let text = if query.is_empty() {
            format!("{method} {path}")
        } else {
            format!("{method} {path}?{query}")
        };
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments = path.split('/').skip(1).map(decode).collect();
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        Self {
            method,
            segments,
            query,
            path: Vec::new(),
            body,
            text,
        }
    }

    pub(crate) fn matches(&self, method: &str, pattern: &str) -> bool {
        self.method == method
            && pattern.split('/').skip(1).count() == self.segments.len()
            && pattern
                .split('/')
                .skip(1)
                .zip(&self.segments)
                .all(|(wanted, given)| {
                    wanted.starts_with('{') && !given.is_empty() || wanted == given
                })
    }

    /// Names the path parameters.
    pub(crate) fn bind(&mut self, pattern: &'static str) {
        self.path = pattern
            .split('/')
            .skip(1)
            .zip(&self.segments)
            .filter_map(|(wanted, given)| {
                Some((wanted.strip_prefix('{')?.strip_suffix('}')?, given.clone()))
            })
            .collect();
    }

    /// A path parameter of the route.
    pub(crate) fn path(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(known, _)| *known == name);
        &found.expect("the route has this parameter").1
    }

    pub(crate) fn query_names(&self) -> impl Iterator<Item = &str> {
        self.query.iter().map(|(name, _)| name.as_str())
    }

    /// A query parameter, if given, even empty.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A query parameter; empty when absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.query(name).unwrap_or_default()
    }

    /// Every value of a repeated parameter.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.query
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// A comma list; empty when absent.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.text(name)
            .split(',')
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// `true`, `false`, `1` or `0` in any case.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Fail> {
        let value = self.text(name);
        match value.to_ascii_lowercase().as_str() {
            "" => Ok(default),
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(Fail::bad(format!(
                "{name} ({value}): type error - should be bool"
            ))),
        }
    }

    /// Exactly `true` or `false`.
    pub(crate) fn strict_flag(&self, name: &str, default: bool) -> Result<bool, Fail> {
        match self.text(name) {
            "" => Ok(default),
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Fail::runtime("Parameter must be either 'true' or 'false'")),
        }
    }

    /// Keyspace and table of a `ks:cf` path parameter.
    pub(crate) fn keyspace_and_table(&self, name: &str) -> Result<(&str, &str), Fail> {
        self.path(name).split_once(':').ok_or_else(|| {
            Fail::bad("Column family name should be in keyspace:column_family format")
        })
    }
}

/// Undoes percent encoding; `+` is a space.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |digit: &u8| {
            char::from(*digit)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        rest = after;
        match (first, after) {
            (b'%', [high, low, end @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                bytes.push(hex(high).unwrap_or(0) << 4 | hex(low).unwrap_or(0));
                rest = end;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_apart() {
        let mut call = Call::new(
            "GET".into(),
            "/a/ks%3At/",
            "x=1%2F2&y=&list=a,,b",
            Bytes::new(),
        );
        assert!(call.matches("GET", "/a/{name}"));
        assert!(!call.matches("POST", "/a/{name}"));
        assert!(!call.matches("GET", "/a"));
        call.bind("/a/{name}");
        assert_eq!(call.keyspace_and_table("name"), Ok(("ks", "t")));
        assert_eq!(call.text("x"), "1/2");
        assert_eq!((call.query("y"), call.query("z")), (Some(""), None));
        assert_eq!(call.list("list"), ["a", "b"]);
        assert!(call.flag("x", false).is_err());
    }
}
