//! What each request does.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use crc32fast::Hasher;
use percent_encoding::percent_decode_str;

use super::{
    connection::text,
    reply::{Reply, error, keys_to_delete, listing, parts, range, xml},
    server::Shared,
    state::{Kind, Object, Taken, kept, lock},
};

/// What a request's query says, decoded.
pub(super) type Words = HashMap<String, String>;

/// A request, without its body.
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) key: String,
    pub(super) words: Words,
    /// Of the body as it is sent, in bytes.
    pub(super) length: u64,
    /// Of the content, where the body comes in pieces that are framed.
    pub(super) decoded_length: Option<u64>,
    /// Whether it does.
    pub(super) framed: bool,
    /// Whether the client waits for a word before it sends the body.
    pub(super) expects: bool,
    /// The checksum it came with.
    pub(super) crc32: Option<u32>,
    range: Option<(usize, usize)>,
    only_new: bool,
}

impl Request {
    pub(super) fn read(head: &httparse::Request<'_, '_>) -> Result<Self> {
        let method = head.method.context("a request has a method")?;
        let target = head.path.context("a request has a target")?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_prefix('/').context("a target begins with /")?;
        let (_, key) = path.split_once('/').unwrap_or((path, ""));
        let words: Words = query
            .split('&')
            .filter(|word| !word.is_empty())
            .map(word)
            .collect();
        let mut request = Self {
            kind: kind(method, key, &words),
            key: decoded(key),
            words,
            length: 0,
            decoded_length: None,
            framed: false,
            expects: false,
            crc32: None,
            range: None,
            only_new: false,
        };
        for header in head.headers.iter() {
            request.note(header)?;
        }
        Ok(request)
    }

    fn note(&mut self, header: &httparse::Header<'_>) -> Result<()> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            self.length = text(header)?.parse()?;
        } else if is("x-amz-decoded-content-length") {
            self.decoded_length = Some(text(header)?.parse()?);
        } else if is("content-encoding") {
            self.framed = text(header)?.contains("aws-chunked");
        } else if is("expect") {
            self.expects = true;
        } else if is("x-amz-checksum-crc32") {
            self.crc32 = Some(checksum(text(header)?)?);
        } else if is("range") {
            self.range = parse_range(text(header)?);
        } else if is("if-none-match") {
            self.only_new = true;
        } else {
            // As Amazon's: it takes no body whose length it does not know.
            ensure!(!is("transfer-encoding"), "bodies must have a length");
        }
        Ok(())
    }

    /// Whether its body will be looked at.
    pub(super) fn keep(&self) -> bool {
        let listed = [Kind::CompleteMultipartUpload, Kind::DeleteObjects].contains(&self.kind);
        listed || (self.kind == Kind::PutObject && kept(&self.key))
    }
}

fn word(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (decoded(name), decoded(&value.replace('+', " ")))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The CRC-32 in a header or a document.
pub(super) fn checksum(text: &str) -> Result<u32> {
    let bytes = BASE64_STANDARD
        .decode(text)
        .context("a checksum is base64")?;
    let bytes = bytes.try_into().ok().context("a CRC-32 has four bytes")?;
    Ok(u32::from_be_bytes(bytes))
}

fn parse_range(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn kind(method: &str, key: &str, words: &Words) -> Kind {
    let has = |name| words.contains_key(name);
    match (method, key.is_empty()) {
        ("PUT", false) if has("uploadId") => Kind::UploadPart,
        ("PUT", false) => Kind::PutObject,
        ("POST", false) if has("uploads") => Kind::CreateMultipartUpload,
        ("POST", false) if has("uploadId") => Kind::CompleteMultipartUpload,
        ("DELETE", false) if has("uploadId") => Kind::AbortMultipartUpload,
        ("DELETE", false) => Kind::DeleteObject,
        ("GET", false) if !has("uploadId") => Kind::GetObject,
        ("HEAD", false) => Kind::HeadObject,
        ("GET", true) if has("location") => Kind::GetBucketLocation,
        ("GET", true) => Kind::ListObjects,
        ("HEAD", true) => Kind::HeadBucket,
        ("PUT", true) => Kind::CreateBucket,
        ("POST", true) if has("delete") => Kind::DeleteObjects,
        _ => Kind::Unknown,
    }
}

/// Does what is asked, and says what came of it.
pub(super) fn handle(shared: &Shared, request: Request, taken: Taken) -> Reply {
    let state = &shared.state;
    match request.kind {
        Kind::PutObject => put(shared, request, taken),
        Kind::UploadPart => part(shared, &request, taken),
        Kind::CreateMultipartUpload => begin(shared, &request.key),
        Kind::CompleteMultipartUpload => complete(shared, request, &taken),
        Kind::AbortMultipartUpload => {
            lock(&state.uploads).remove(&request.words["uploadId"]);
            Reply::of(204)
        }
        Kind::GetObject => get(shared, &request),
        Kind::HeadObject => head(shared, &request.key),
        Kind::DeleteObject => {
            lock(&state.objects).remove(&request.key);
            Reply::of(204)
        }
        Kind::DeleteObjects => {
            let body = taken.body.unwrap_or_default();
            let mut objects = lock(&state.objects);
            for key in keys_to_delete(&String::from_utf8_lossy(&body)) {
                objects.remove(&key);
            }
            xml("<DeleteResult/>")
        }
        Kind::ListObjects => listing(&lock(&state.objects), &request.words),
        Kind::GetBucketLocation => xml("<LocationConstraint/>"),
        Kind::HeadBucket | Kind::CreateBucket => Reply::of(200),
        Kind::Unknown => error(501, "NotImplemented"),
    }
}

/// Whether a body is what its checksum says; counted if not.
fn sound(shared: &Shared, crc: Option<&Hasher>, expected: Option<u32>) -> bool {
    let found = crc.map(|crc| crc.clone().finalize());
    let sound = found.is_none() || expected.is_none() || found == expected;
    if !sound {
        shared.state.count_damaged();
    }
    sound
}

fn put(shared: &Shared, request: Request, taken: Taken) -> Reply {
    if !sound(shared, taken.crc.as_ref(), request.crc32) {
        return error(400, "BadDigest");
    }
    if request.only_new && lock(&shared.state.objects).contains_key(&request.key) {
        return error(412, "PreconditionFailed");
    }
    shared.state.insert(request.key, Object::from(taken));
    Reply::of(200).tagged(request.crc32)
}

fn part(shared: &Shared, request: &Request, taken: Taken) -> Reply {
    if !sound(shared, taken.crc.as_ref(), request.crc32) {
        return error(400, "BadDigest");
    }
    let number = request.words.get("partNumber").and_then(|n| n.parse().ok());
    let Some(number) = number else {
        return error(400, "InvalidArgument");
    };
    match lock(&shared.state.uploads).get_mut(&request.words["uploadId"]) {
        Some(parts) => parts.insert(number, taken),
        None => return error(404, "NoSuchUpload"),
    };
    Reply::of(200).tagged(request.crc32)
}

fn begin(shared: &Shared, key: &str) -> Reply {
    let id = shared.state.name_upload();
    lock(&shared.state.uploads).insert(id.clone(), super::state::Parts::new());
    xml(&format!(
        "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
         </InitiateMultipartUploadResult>"
    ))
}

/// An object is its listed parts, in their order.
fn complete(shared: &Shared, request: Request, taken: &Taken) -> Reply {
    let body = taken.body.as_deref().unwrap_or_default();
    let Ok(listed) = parts(&String::from_utf8_lossy(body)) else {
        return error(400, "MalformedXML");
    };
    let mut uploads = lock(&shared.state.uploads);
    let Some(stored) = uploads.get(&request.words["uploadId"]) else {
        return error(404, "NoSuchUpload");
    };
    let mut whole = Taken {
        crc: shared.options.check.then(Hasher::new),
        ..Taken::default()
    };
    for (number, crc32) in listed {
        let Some(part) = stored.get(&number) else {
            return error(400, "InvalidPart");
        };
        if !sound(shared, part.crc.as_ref(), crc32) {
            return error(400, "InvalidPart");
        }
        whole.bytes += part.bytes;
        whole.crc = whole.crc.zip(part.crc.as_ref()).map(|(mut crc, more)| {
            crc.combine(more);
            crc
        });
    }
    if !sound(shared, whole.crc.as_ref(), request.crc32) {
        return error(400, "BadDigest");
    }
    uploads.remove(&request.words["uploadId"]);
    drop(uploads);
    let answer = format!(
        "<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>{}</Key><ETag>\"null\"</ETag>\
         </CompleteMultipartUploadResult>",
        request.key
    );
    shared.state.insert(request.key, Object::from(whole));
    xml(&answer)
}

fn get(shared: &Shared, request: &Request) -> Reply {
    let object = lock(&shared.state.objects).get(&request.key).cloned();
    match object {
        None => error(404, "NoSuchKey"),
        Some(Object { body: None, .. }) => error(501, "NotImplemented"),
        Some(Object {
            body: Some(body), ..
        }) => range(&body, request.range),
    }
}

fn head(shared: &Shared, key: &str) -> Reply {
    match lock(&shared.state.objects).get(key) {
        None => Reply::of(404),
        Some(object) => Reply::of(200)
            .tagged(None)
            .dated()
            .without_body(object.stored.bytes),
    }
}
