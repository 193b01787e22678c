//! `proto-schemas/` and the code say the same.
//!
//! Change a message and these fail. If older builds can still read what you now write (a new
//! optional field), run `make golden` and commit; otherwise add a version first.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{fs, path::PathBuf};

use protocol::{Audit, Command, Encoding, Event, Job, Message, Notice, schema};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto-schemas/v1")
}

/// Compares a file with what the code makes; writes it instead when `UPDATE_GOLDEN` is set.
fn same(name: &str, made: &[u8]) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(&path, made).unwrap();
    }
    let stands = fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}; run `make golden`"));
    assert!(
        stands == made,
        "{name} differs from what the code makes; run `make golden` and look at the difference"
    );
}

fn pretty(value: &serde_json::Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap();
    text.push(b'\n');
    text
}

fn sample<M: Message + PartialEq + std::fmt::Debug>(name: &str, message: &M) {
    let json: serde_json::Value = serde_json::from_slice(&message.encode(Encoding::Json)).unwrap();
    same(&format!("{name}.json"), &pretty(&json));
    same(
        &format!("{name}.msgpack"),
        &message.encode(Encoding::MessagePack),
    );
    for (encoding, file) in [(Encoding::Json, "json"), (Encoding::MessagePack, "msgpack")] {
        let stands = fs::read(folder().join(format!("{name}.{file}"))).unwrap();
        assert_eq!(
            &M::decode(&stands, encoding).unwrap(),
            message,
            "{name}.{file}"
        );
    }
}

#[test]
fn every_job_is_read_and_written_as_its_sample() {
    let mut requests = ["backup", "restore", "delete", "validate", "clear"].into_iter();
    for job in schema::jobs() {
        let name = if job.kind() == "request" {
            format!("job.request.{}", requests.next().unwrap())
        } else {
            format!("job.{}", job.kind())
        };
        sample(&name, &job);
    }
}

#[test]
fn every_event_is_read_and_written_as_its_sample() {
    for event in schema::events() {
        sample(
            &format!("event.{}", Event::clone(&event).fact.kind()),
            &event,
        );
    }
}

#[test]
fn every_command_is_read_and_written_as_its_sample() {
    for command in schema::commands() {
        sample(&format!("command.{}", command.kind()), &command);
    }
    sample("answer", &schema::answer());
    for note in schema::audits() {
        let name = match &note {
            Audit::Asked { .. } => "audit.asked",
            Audit::Refused { .. } => "audit.refused",
            Audit::Removed { .. } => "audit.removed",
        };
        sample(name, &note);
    }
}

#[test]
fn a_notice_is_read_and_written_as_its_sample() {
    let notice = schema::notice();
    let made = notice.encode(Encoding::Json);
    let json: serde_json::Value = serde_json::from_slice(&made).unwrap();
    same("notice.run_ended.json", &pretty(&json));
    assert_eq!(Notice::decode(&made, Encoding::Json).unwrap(), notice);
    same("notice.schema.json", &pretty(&schema::of_notices()));
}

#[test]
fn the_schemas_are_the_codes() {
    same("job.schema.json", &pretty(&schema::of_jobs()));
    same("event.schema.json", &pretty(&schema::of_events()));
    same("command.schema.json", &pretty(&schema::of_commands()));
    same("answer.schema.json", &pretty(&schema::of_answers()));
    same("audit.schema.json", &pretty(&schema::of_audit()));
}

#[test]
fn no_kind_is_without_a_sample() {
    let kinds = |schema: &serde_json::Value| schema["oneOf"].as_array().map_or(0, Vec::len);
    let made: std::collections::BTreeSet<_> = schema::jobs().iter().map(Job::kind).collect();
    assert_eq!(made.len(), kinds(&schema::of_jobs()));
    assert_eq!(schema::events().len(), kinds(&schema::of_events()));
    assert_eq!(schema::commands().len(), kinds(&schema::of_commands()));
    let kinds = schema::commands()
        .iter()
        .map(Command::kind)
        .collect::<Vec<_>>();
    assert_eq!(kinds, Command::KINDS);
}
