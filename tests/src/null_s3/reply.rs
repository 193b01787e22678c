//! What the server says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{Object, Words};

/// Keys on one page of a listing.
const PAGE: usize = 1000;

pub(super) fn xml(text: String) -> Response {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{text}");
    ([(header::CONTENT_TYPE, "application/xml")], text).into_response()
}

pub(super) fn error(status: StatusCode, code: &str) -> Response {
    let text = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    (status, xml(text)).into_response()
}

/// A page of the objects that the query asks for, in both versions of that request.
pub(super) fn listing(objects: &BTreeMap<String, Object>, words: &Words) -> Response {
    let word = |name: &str| words.get(name).map_or("", String::as_str);
    let prefix = word("prefix");
    let after = word("continuation-token").max(word("marker"));
    let (mut page, mut folders, mut last) = (String::new(), BTreeSet::new(), None);
    let mut more = false;
    let mut count = 0;
    for (key, object) in objects.range(prefix.to_owned()..) {
        if !key.starts_with(prefix) {
            break;
        }
        if key.as_str() <= after {
            continue;
        }
        if count == PAGE {
            more = true;
            break;
        }
        last = Some(key);
        let rest = &key[prefix.len()..];
        if let (false, Some(at)) = (word("delimiter").is_empty(), rest.find('/')) {
            folders.insert(&key[..=prefix.len() + at]);
            continue;
        }
        count += 1;
        let _ = write!(
            page,
            "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
             <ETag>\"none\"</ETag><Size>{}</Size></Contents>",
            escape(key),
            object.bytes
        );
    }
    for folder in folders {
        let _ = write!(
            page,
            "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
            escape(folder)
        );
    }
    if let (true, Some(last)) = (more, last) {
        let last = escape(last);
        let _ = write!(
            page,
            "<NextContinuationToken>{last}</NextContinuationToken><NextMarker>{last}</NextMarker>"
        );
    }
    xml(format!(
        "<ListBucketResult><IsTruncated>{more}</IsTruncated><KeyCount>{count}</KeyCount>{page}</ListBucketResult>"
    ))
}

/// The keys in the body of a request to delete many.
pub(super) fn keys_to_delete(body: &str) -> impl Iterator<Item = String> {
    let keys = body.split("<Key>").skip(1);
    keys.filter_map(|rest| rest.split_once("</Key>"))
        .map(|(key, _)| unescape(key))
}

/// A body, or the part of it that was asked for.
pub(super) fn range(body: &Bytes, headers: &HeaderMap) -> Response {
    let asked = headers.get(header::RANGE).and_then(|text| {
        let (first, last) = text
            .to_str()
            .ok()?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
    });
    let Some((first, last)) = asked else {
        return body.clone().into_response();
    };
    if first >= body.len() {
        return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
    }
    let last = last.min(body.len() - 1);
    let content = format!("bytes {first}-{last}/{}", body.len());
    let part = body.slice(first..=last);
    let status = StatusCode::PARTIAL_CONTENT;
    (status, [(header::CONTENT_RANGE, content)], part).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}
