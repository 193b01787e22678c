//! What the server says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;

use super::{
    s3::{Words, checksum},
    state::Object,
};

/// Keys on one page of a listing.
const PAGE: usize = 1000;
/// The header of a checksum.
const CHECKSUM: &str = "x-amz-checksum-crc32";

/// An answer.
pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// In bytes; as the answer claims.
    length: u64,
}

impl Reply {
    /// Without a body.
    pub(super) fn of(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            length: 0,
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn with_body(mut self, body: Bytes) -> Self {
        self.length = body.len() as u64;
        self.body = body;
        self
    }

    /// As the answer to a `HEAD` of something `length` bytes long.
    pub(super) fn without_body(mut self, length: u64) -> Self {
        self.length = length;
        self
    }

    /// With an `ETag`, and the checksum of what was stored if it came with one.
    pub(super) fn tagged(self, crc32: Option<u32>) -> Self {
        let tagged = self.with("ETag", "\"null\"");
        match crc32 {
            Some(crc32) => tagged.with(CHECKSUM, BASE64_STANDARD.encode(crc32.to_be_bytes())),
            None => tagged,
        }
    }

    pub(super) fn dated(self) -> Self {
        self.with("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
    }

    /// With the `ETag` and the checksum of something else.
    pub(super) fn falsified(mut self) -> Self {
        for (name, value) in &mut self.headers {
            match *name {
                "ETag" => "\"other\"".clone_into(value),
                // A checksum that nothing but a body of the right four bytes has.
                CHECKSUM => *value = BASE64_STANDARD.encode([0xde, 0xad, 0xbe, 0xef]),
                _ => {}
            }
        }
        self
    }

    /// As it goes over the wire.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self { status, length, .. } = self;
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(*status));
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if *status != 204 {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        head.push_str("\r\n");
        let mut text = head.into_bytes();
        text.extend_from_slice(&self.body);
        text
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        503 => "Slow Down",
        _ => "Error",
    }
}

pub(super) fn xml(text: &str) -> Reply {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{text}");
    let reply = Reply::of(200).with("Content-Type", "application/xml");
    reply.with_body(text.into())
}

pub(super) fn error(status: u16, code: &str) -> Reply {
    let text = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    Reply {
        status,
        ..xml(&text)
    }
}

/// A page of the objects that the query asks for, in both versions of that request.
pub(super) fn listing(objects: &BTreeMap<String, Object>, words: &Words) -> Reply {
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
             <ETag>\"null\"</ETag><Size>{}</Size></Contents>",
            escape(key),
            object.stored.bytes
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
    xml(&format!(
        "<ListBucketResult><IsTruncated>{more}</IsTruncated><KeyCount>{count}</KeyCount>{page}</ListBucketResult>"
    ))
}

/// The keys in the body of a request to delete many.
pub(super) fn keys_to_delete(body: &str) -> impl Iterator<Item = String> {
    let keys = body.split("<Key>").skip(1);
    keys.filter_map(|rest| rest.split_once("</Key>"))
        .map(|(key, _)| unescape(key))
}

/// The parts in the body of a request to complete an upload: their numbers, with the checksums they
/// are listed with.
pub(super) fn parts(body: &str) -> Result<Vec<(u32, Option<u32>)>> {
    let inside = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(value.to_owned())
    };
    let listed = body.split("<Part>").skip(1).map(|part| {
        let number = inside(part, "PartNumber").context("a part has a number")?;
        let crc32 = inside(part, "ChecksumCRC32").map(|text| checksum(&text));
        Ok((number.parse()?, crc32.transpose()?))
    });
    listed.collect()
}

/// A body, or the part of it that was asked for.
pub(super) fn range(body: &Bytes, asked: Option<(usize, usize)>) -> Reply {
    let Some((first, last)) = asked else {
        return Reply::of(200).with_body(body.clone());
    };
    if first >= body.len() {
        return error(416, "InvalidRange");
    }
    let last = last.min(body.len() - 1);
    let content = format!("bytes {first}-{last}/{}", body.len());
    let reply = Reply::of(206).with("Content-Range", content);
    reply.with_body(body.slice(first..=last))
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
