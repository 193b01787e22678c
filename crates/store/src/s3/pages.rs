//! The pages of a listing, and how to tell that a server never comes to their end.

use crate::{Error, error::Attempt};

/// Pages with nothing on them that may follow each other: a server may look through so many keys
/// that are gone before it finds one.
const EMPTY: u32 = 1_000;

/// Where a listing goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    token: Option<String>,
    first: Option<String>,
    empty: u32,
}

impl Pages {
    /// What the next page is asked for with.
    pub(super) fn token(&self) -> Option<String> {
        self.token.clone()
    }

    /// Notes what was answered: `first` is the first name on the page, `next` says where the next
    /// one begins. `None` after the last page.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server would say the same again and again.
    pub(super) fn after(
        self,
        attempt: &Attempt<'_>,
        first: Option<&str>,
        next: (Option<bool>, Option<String>),
    ) -> Result<Option<Self>, Error> {
        let (Some(true), Some(token)) = next else {
            return Ok(None);
        };
        let again = self.token.as_ref() == Some(&token)
            || first.is_some() && self.first.as_deref() == first;
        let empty = match first {
            Some(_) => 0,
            None => self.empty + 1,
        };
        if again || empty >= EMPTY {
            let cause = "its listing does not come to an end: it goes on where it was before; the \
                         server is not one of S3, or is broken";
            return Err(attempt.refused(cause.to_owned()));
        }
        Ok(Some(Self {
            token: Some(token),
            first: first.map(str::to_owned),
            empty,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows pages, each with its first name and its token, to the end or to the error.
    fn follow(pages: &[(Option<&str>, &str)]) -> Result<usize, String> {
        let attempt = Attempt {
            action: "list",
            key: "a/",
            place: "s3:b",
        };
        let mut at = Pages::default();
        for (number, (first, token)) in pages.iter().enumerate() {
            let next = (Some(!token.is_empty()), Some((*token).to_owned()));
            match at.after(&attempt, *first, next) {
                Ok(Some(next)) => at = next,
                Ok(None) => return Ok(number + 1),
                Err(cause) => return Err(cause.to_string()),
            }
        }
        Ok(pages.len())
    }

    #[test]
    fn a_listing_that_goes_round_in_circles_is_left() {
        let good = [
            (Some("a"), "1"),
            (None, "2"),
            (Some("b"), "3"),
            (Some("c"), ""),
        ];
        assert_eq!(follow(&good), Ok(4));
        let same_token = [(Some("a"), "1"), (Some("b"), "1"), (Some("c"), "")];
        let same_page = [(Some("a"), "1"), (Some("a"), "2"), (Some("a"), "")];
        for wrong in [same_token, same_page] {
            let said = follow(&wrong).unwrap_err();
            assert!(said.contains("s3:b refused to list `a/`"), "{said}");
        }
        let tokens: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
        let empty: Vec<_> = tokens.iter().map(|token| (None, token.as_str())).collect();
        assert!(
            follow(&empty)
                .unwrap_err()
                .contains("does not come to an end")
        );
        assert_eq!(follow(&empty[..999]), Ok(999));
    }
}
