//! Headers: how a message is written, and the trace it belongs to (W3C `traceparent`).

use async_nats::HeaderMap;
use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
};
use protocol::{DecodeError, Encoding};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const CONTENT_TYPE: &str = "Content-Type";

/// Headers for a message that this span sends.
pub(crate) fn headers(encoding: Encoding) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, encoding.content_type());
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut Carrier(&mut headers));
    });
    headers
}

/// How the message with these headers is written.
pub(crate) fn encoding(headers: Option<&HeaderMap>) -> Result<Encoding, DecodeError> {
    let header = headers
        .and_then(|headers| headers.get(CONTENT_TYPE))
        .map(async_nats::HeaderValue::as_str);
    Encoding::from_content_type(header)
}

/// Makes `span` a part of the trace that the headers name, if they do.
pub(crate) fn continue_in(span: &Span, headers: Option<&HeaderMap>) {
    let Some(headers) = headers else { return };
    let context =
        global::get_text_map_propagator(|propagator| propagator.extract(&Reader(headers)));
    // Fails only where no tracing layer listens, and then there is nothing to tell.
    drop(span.set_parent(context));
}

const TRACEPARENT: &str = "traceparent";

/// The trace that is gone on with now, as W3C's `traceparent`; empty if there is none.
#[must_use]
pub fn traceparent() -> String {
    let mut headers = HeaderMap::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut Carrier(&mut headers));
    });
    let found = headers.get(TRACEPARENT);
    found
        .map(|found| found.as_str().to_owned())
        .unwrap_or_default()
}

/// Makes `span` a part of the trace that a `traceparent` names; what is none changes nothing.
pub fn continue_trace(span: &Span, traceparent: &str) {
    let mut headers = HeaderMap::new();
    // What is sent from outside may hold what no header does.
    if let Ok(value) = traceparent.parse::<async_nats::HeaderValue>() {
        headers.insert(TRACEPARENT, value);
        continue_in(span, Some(&headers));
    }
}

struct Carrier<'a>(&'a mut HeaderMap);

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty `tracestate` is no header at all.
        if !value.is_empty() {
            self.0.insert(key, value);
        }
    }
}

struct Reader<'a>(&'a HeaderMap);

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(async_nats::HeaderValue::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}
