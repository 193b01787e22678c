//! Which texts are keys: those that mean the same object on every provider.

use crate::Error;

/// The longest key S3 and Azure take, in bytes.
const LONGEST: usize = 1024;

/// Refuses what some provider would refuse, change, or take for a way out of a directory.
pub(crate) fn check(key: &str) -> Result<(), Error> {
    let wrong = |why| {
        Err(Error::Key {
            key: key.to_owned(),
            why,
        })
    };
    if key.is_empty() {
        return wrong("it is empty");
    }
    if key.len() > LONGEST {
        return wrong("it is longer than 1024 bytes");
    }
    if key.chars().any(char::is_control) {
        return wrong("it holds a control character");
    }
    if key.contains('\\') {
        return wrong("it holds a backslash");
    }
    for segment in key.split('/') {
        match segment {
            "" => return wrong("it starts or ends with `/`, or holds `//`"),
            "." | ".." => return wrong("it holds a `.` or `..` segment"),
            crate::local::TEMPORARY => return wrong("it names the directory of temporary files"),
            _ => {}
        }
    }
    Ok(())
}

/// As [`check`], for the beginning of keys: may be empty, or end in `/`.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), Error> {
    let whole = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.is_empty() {
        return Ok(());
    }
    check(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_means_the_same_everywhere() {
        for key in ["a", "a/b.c", "backup/sst/x y/ü+%&=?#", "..a/b..", "a/.b"] {
            assert!(check(key).is_ok(), "{key}");
        }
        for key in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            "..",
            "../a",
            "a/../b",
            "a/.",
            "./a",
            "a\\b",
            "a\nb",
            ".thetis-tmp/a",
        ] {
            assert!(check(key).is_err(), "{key}");
        }
        assert!(check(&"a".repeat(1025)).is_err());
        assert!(check_prefix("").is_ok());
        assert!(check_prefix("a/b/").is_ok());
        assert!(check_prefix("a/b").is_ok());
        assert!(check_prefix("/").is_err());
        assert!(check_prefix("../").is_err());
    }
}
