//! JSON values as YAML, for `--output yaml`.

use std::fmt::Write as _;

use serde_json::Value;

/// `value` as a YAML document that reads back as the same value.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value, 0);
    out
}

fn write_value(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let margin = margin(out, indent);
                let _infallible = write!(out, "{:margin$}{}:", "", text(key));
                write_nested(out, value, indent);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                let margin = margin(out, indent);
                let _infallible = write!(out, "{:margin$}- ", "");
                write_value(out, value, indent + 2);
            }
        }
        Value::String(string) => out.push_str(&line(&text(string))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::Array(_) => {
            out.push_str(&line(&value.to_string()));
        }
    }
}

/// What comes first in an item stands right behind the item's dash.
fn margin(out: &str, indent: usize) -> usize {
    if out.ends_with("- ") { 0 } else { indent }
}

/// A value behind its key: on the same line if it fits on one.
fn write_nested(out: &mut String, value: &Value, indent: usize) {
    let block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    out.push(if block { '\n' } else { ' ' });
    write_value(out, value, indent + 2);
}

fn line(text: &str) -> String {
    format!("{text}\n")
}

/// Text that cannot be taken for anything else stands bare; all other text as in JSON, which YAML reads.
fn text(text: &str) -> String {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'/');
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(word);
    let reserved = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if plain && !reserved.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_maps_nest() {
        let value = serde_json::json!([
            {"id": "0192", "ok": true, "tags": [], "nodes": [{"dc": "dc1", "up": null}, {"dc": "no"}]},
            {},
            [1, [2, "x y"]],
        ]);
        let expected = concat!(
            "- id: \"0192\"\n  nodes:\n    - dc: dc1\n      up: null\n    - dc: \"no\"\n  ok: true\n  tags: []\n",
            "- {}\n",
            "- - 1\n  - - 2\n    - \"x y\"\n",
        );
        assert_eq!(to_yaml(&value), expected);
    }
}
