use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SessionTokenMode, SignableBody, SignableRequest,
        SigningSettings, UriPathNormalizationMode,
    },
    sign::v4,
};

use super::*;

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TIME: &str = "20130524T000000Z";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn scope() -> Scope {
    Scope {
        region: "us-east-1".to_owned(),
        service: "s3".to_owned(),
    }
}

/// The examples of "Authenticating Requests: Using the Authorization Header" in the API reference
/// of S3.
#[test]
fn published_examples_get_their_published_signatures() {
    let host = ("host", "examplebucket.s3.amazonaws.com");
    let put = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let (empty, time) = (("x-amz-content-sha256", EMPTY), ("x-amz-date", TIME));
    let examples: [(Canonical<'_>, &str); 4] = [
        (
            Canonical {
                method: "GET",
                path: "/test.txt",
                query: "",
                headers: &[host, ("range", "bytes=0-9"), empty, time],
                payload: EMPTY,
            },
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            Canonical {
                method: "PUT",
                path: &format!("/{}", encode("test$file.text", true)),
                query: "",
                headers: &[
                    ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                    host,
                    ("x-amz-content-sha256", put),
                    time,
                    ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ],
                payload: put,
            },
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            Canonical {
                method: "GET",
                path: "/",
                query: "lifecycle=",
                headers: &[host, empty, time],
                payload: EMPTY,
            },
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            Canonical {
                method: "GET",
                path: "/",
                query: "max-keys=2&prefix=J",
                headers: &[host, empty, time],
                payload: EMPTY,
            },
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ];
    let signer = Signer::new(ID, SECRET);
    for (request, expected) in examples {
        let said = signer.authorization(&request, &scope(), TIME);
        let (rest, signature) = said.rsplit_once("Signature=").unwrap();
        assert_eq!(signature, expected, "{} {}", request.method, request.query);
        let names: Vec<_> = request.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let credential = format!("Credential={ID}/20130524/us-east-1/s3/aws4_request");
        assert_eq!(
            rest,
            format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, ")
        );
    }
}

/// The SDK's signer says the same, on any day, of any key.
#[test]
fn the_sdk_signs_alike() {
    let signer = Signer::new(ID, SECRET);
    let identity = Credentials::new(ID, SECRET, None, None, "test").into();
    for (key, days) in [
        ("a b+c%d~e/ü€😀", 20_000),
        ("(x)'!*,;:@&=$?#[]", 19_782),
        ("plain", 0),
    ] {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + 45_296);
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.session_token_mode = SessionTokenMode::Include;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name("s3")
            .time(at)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let path = format!("/b/{}", encode(key, true));
        let query = "partNumber=7&uploadId=a-b";
        let url = format!("https://h:9000{path}?{query}");
        let headers = [("host", "h:9000"), ("x-amz-checksum-crc32", "y/Q5Jg==")];
        let request = SignableRequest::new(
            "PUT",
            &url,
            headers.into_iter(),
            SignableBody::UnsignedPayload,
        );
        let (theirs, _) = aws_sigv4::http_request::sign(request.unwrap(), &params)
            .unwrap()
            .into_parts();
        let theirs = theirs.headers().find(|(name, _)| *name == "authorization");
        let time = time(at);
        let ours = signer.authorization(
            &Canonical {
                method: "PUT",
                path: &path,
                query,
                headers: &[
                    headers[0],
                    headers[1],
                    ("x-amz-content-sha256", UNSIGNED),
                    ("x-amz-date", &time),
                ],
                payload: UNSIGNED,
            },
            &Scope {
                region: "eu-west-1".to_owned(),
                ..scope()
            },
            &time,
        );
        assert_eq!(theirs, Some(("authorization", ours.as_str())), "{key}");
    }
}

#[test]
fn a_time_is_written_as_in_the_examples() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
    assert_eq!(time(at), TIME);
}

#[test]
fn a_body_in_pieces_has_the_hash_of_the_whole() {
    assert_eq!(hash(&[]), EMPTY);
    let pieces = ["Welcome to ", "Amazon S3."].map(|text| text.as_bytes().into());
    assert_eq!(
        hash(&pieces),
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    );
}
