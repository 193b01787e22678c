//! A client's connection: from frames to statements, and back.

mod frame;

use std::io;
use std::sync::Arc;

use cassandra_protocol::consistency::Consistency;
use cassandra_protocol::frame::Opcode;
use cassandra_protocol::frame::events::SimpleServerEvent;
use cassandra_protocol::frame::message_auth_success::BodyReqAuthSuccess;
use cassandra_protocol::frame::message_authenticate::BodyResAuthenticate;
use cassandra_protocol::frame::message_batch::{BatchQuerySubj, BodyReqBatch};
use cassandra_protocol::frame::message_request::RequestBody;
use cassandra_protocol::query::QueryParams;
use cassandra_protocol::types::{CBytes, CBytesShort};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::fail::Fail;
use super::parse::{self, Parsed};
use super::prepare::Prepared;
use super::session::{Outcome, Parameters, Session};
use super::wire;
use crate::cluster::Sim;
use crate::fault::CQL;
use crate::node::{Health, Node};
use frame::{act, bound, request_of, stream_of, supported};

/// Bytes a request may have.
const BODY: u32 = 256 << 20;
/// Bytes of a frame's header.
const HEADER: usize = 9;

/// Talks with a client until it leaves, or breaks the protocol.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn converse(sim: Arc<Sim>, node: Arc<Node>, stream: TcpStream) -> io::Result<()> {
    let (mut read, write) = stream.into_split();
    let mut client = Client {
        sim,
        node,
        write: Arc::new(Mutex::new(write)),
        events: JoinSet::new(),
        started: false,
        entered: false,
        user: None,
        keyspace: None,
    };
    while let Some(frame) = next(&mut read).await? {
        let mut health = client.node.health.subscribe();
        // The sender lives in the node, so this ends only when it no longer hangs.
        let _ = health.wait_for(|health| *health != Health::Hung).await;
        let Some(answer) = client.answer(&frame).await else {
            break;
        };
        let close = answer.is_err();
        let bytes = answer.unwrap_or_else(|fail| wire::error(stream_of(&frame), fail));
        client.write.lock().await.write_all(&bytes).await?;
        if close {
            break;
        }
    }
    Ok(())
}

/// A whole frame; `None` when the client left or sends too much.
async fn next(read: &mut OwnedReadHalf) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![0; HEADER];
    match read.read_exact(&mut frame).await {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let length = u32::from_be_bytes([frame[5], frame[6], frame[7], frame[8]]);
    if length > BODY {
        return Ok(None);
    }
    let whole = HEADER + usize::try_from(length).expect("at most 256 MiB");
    frame.resize(whole, 0);
    read.read_exact(&mut frame[HEADER..]).await?;
    Ok(Some(frame))
}

struct Client {
    sim: Arc<Sim>,
    node: Arc<Node>,
    write: Arc<Mutex<OwnedWriteHalf>>,
    /// Sends the client what it registered for.
    events: JoinSet<()>,
    /// `STARTUP` came.
    started: bool,
    /// Statements are taken.
    entered: bool,
    /// Who logged in.
    user: Option<String>,
    keyspace: Option<String>,
}

impl Client {
    /// The answer to a frame; an error of it ends the connection, other errors are answers. `None` when a fault
    /// takes the connection away.
    async fn answer(&mut self, frame: &[u8]) -> Option<Result<Vec<u8>, Fail>> {
        let (stream, request) = match request_of(frame) {
            Ok(read) => read,
            Err(fail) => return Some(Err(fail)),
        };
        if !self.entered {
            return Some(self.set_up(stream, request));
        }
        let text = self.text(&request);
        let strike = self.sim.faults.strike(self.node.index, CQL, "", &text);
        tokio::time::sleep(strike.before).await;
        let done = match strike.instead {
            Some(action) => act(action).await?,
            None => self.request(stream, request).await,
        };
        tokio::time::sleep(strike.after).await;
        let done = match strike.finally {
            Some(action) => act(action).await?,
            None => done,
        };
        Some(Ok(done.unwrap_or_else(|fail| wire::error(stream, fail))))
    }

    /// The statements of a request, as faults look at them.
    fn text(&self, request: &RequestBody) -> String {
        let known = |id: &CBytesShort| {
            let id = id.clone().into_bytes().unwrap_or_default();
            self.prepared(&id)
                .map(|known| known.text.clone())
                .unwrap_or_default()
        };
        match request {
            RequestBody::Query(query) => query.query.clone(),
            RequestBody::Execute(execute) => known(&execute.id),
            RequestBody::Batch(batch) => {
                let texts = batch.queries.iter().map(|query| match &query.subject {
                    BatchQuerySubj::QueryString(text) => text.clone(),
                    BatchQuerySubj::PreparedId(id) => known(id),
                });
                texts.collect::<Vec<_>>().join("; ")
            }
            RequestBody::Startup(_)
            | RequestBody::Options(_)
            | RequestBody::Prepare(_)
            | RequestBody::Register(_)
            | RequestBody::AuthResponse(_)
            | _ => String::new(),
        }
    }

    /// What comes before statements are taken.
    fn set_up(&mut self, stream: i16, request: RequestBody) -> Result<Vec<u8>, Fail> {
        match request {
            RequestBody::Options(_) => Ok(wire::frame(Opcode::Supported, stream, &supported())),
            RequestBody::Startup(startup) => {
                if let Some(compression) = startup.map.get("COMPRESSION") {
                    return Err(Fail::protocol(format!(
                        "Unknown compression algorithm: {compression}"
                    )));
                }
                self.started = true;
                Ok(self.start(stream))
            }
            RequestBody::AuthResponse(response) if self.started => {
                self.log_in(response.data.as_slice().unwrap_or_default())?;
                let success = BodyReqAuthSuccess {
                    data: CBytes::new_null(),
                };
                Ok(wire::frame(Opcode::AuthSuccess, stream, &success))
            }
            RequestBody::Query(_)
            | RequestBody::Prepare(_)
            | RequestBody::Execute(_)
            | RequestBody::Register(_)
            | RequestBody::Batch(_)
            | RequestBody::AuthResponse(_)
            | _ => Err(Fail::protocol(
                "Unexpected message: the connection has not been set up",
            )),
        }
    }

    fn start(&mut self, stream: i16) -> Vec<u8> {
        if !self.sim.config.cql_auth {
            self.entered = true;
            return wire::empty(Opcode::Ready, stream);
        }
        let data = "org.apache.cassandra.auth.PasswordAuthenticator".to_owned();
        wire::frame(Opcode::Authenticate, stream, &BodyResAuthenticate { data })
    }

    /// Takes `\0user\0password`.
    fn log_in(&mut self, token: &[u8]) -> Result<(), Fail> {
        let wrong = || Fail::credentials("Username and/or password are incorrect");
        let mut parts = token.split(|byte| *byte == 0).skip(1);
        let mut part =
            || std::str::from_utf8(parts.next().unwrap_or_default()).map_err(|_| wrong());
        let (name, password) = (part()?, part()?);
        let model = self.sim.model();
        let role = model.access.lets_in(name, password).ok_or_else(wrong)?;
        if !role.login {
            return Err(Fail::credentials(format!(
                "{name} is not permitted to log in"
            )));
        }
        self.user = Some(name.to_owned());
        self.entered = true;
        Ok(())
    }

    async fn request(&mut self, stream: i16, request: RequestBody) -> Result<Vec<u8>, Fail> {
        match request {
            RequestBody::Query(query) => {
                let parsed = parse::statement(&query.query)?;
                let keyspace = query
                    .query_params
                    .keyspace
                    .clone()
                    .or(self.keyspace.clone());
                self.run(stream, Arc::new(parsed), keyspace, query.query_params)
                    .await
            }
            RequestBody::Prepare(prepare) => {
                let keyspace = prepare.keyspace.or(self.keyspace.clone());
                self.prepare(stream, Prepared::new(prepare.query, keyspace)?)
            }
            RequestBody::Execute(execute) => {
                let id = execute.id.into_bytes().unwrap_or_default();
                let known = self.prepared(&id)?;
                let keyspace = known.keyspace.clone();
                let parsed = Arc::new(known.parsed.clone());
                self.run(stream, parsed, keyspace, execute.query_parameters)
                    .await
            }
            RequestBody::Batch(batch) => self.batch(stream, batch).await,
            RequestBody::Register(register) => {
                if register.events.contains(&SimpleServerEvent::SchemaChange) {
                    self.forward();
                }
                Ok(wire::empty(Opcode::Ready, stream))
            }
            RequestBody::Options(_) => Ok(wire::frame(Opcode::Supported, stream, &supported())),
            RequestBody::Startup(_) | RequestBody::AuthResponse(_) => {
                Err(Fail::protocol("Unexpected message"))
            }
            _ => Err(Fail::protocol("Unknown message")),
        }
    }

    /// Sends changes of the schema to the client from now on.
    fn forward(&mut self) {
        let mut changes = self.sim.cql.changes.subscribe();
        let write = Arc::clone(&self.write);
        self.events.spawn(async move {
            while let Ok(change) = changes.recv().await {
                let sent = write.lock().await.write_all(&wire::event(&change)).await;
                if sent.is_err() {
                    return;
                }
            }
        });
    }

    fn session<'a>(&'a self, keyspace: Option<&'a str>) -> Session<'a> {
        Session {
            sim: &self.sim,
            node: &self.node,
            user: self.user.as_deref(),
            keyspace,
        }
    }

    fn prepared(&self, id: &[u8]) -> Result<Arc<Prepared>, Fail> {
        let known = self.node.prepared.lock().expect("no panic while held");
        known.get(id).cloned().ok_or_else(|| Fail::unprepared(id))
    }

    fn prepare(&self, stream: i16, prepared: Prepared) -> Result<Vec<u8>, Fail> {
        let session = self.session(prepared.keyspace.as_deref());
        let shape = session.shape(&prepared.parsed)?;
        let udts = session.udts(&shape.bound.keyspace);
        let id = prepared.id();
        let answer = wire::prepared(
            stream,
            &id,
            &shape.bound,
            shape.key,
            shape.result.as_ref(),
            &udts,
        );
        let mut known = self.node.prepared.lock().expect("no panic while held");
        known.insert(id, Arc::new(prepared));
        Ok(answer)
    }

    /// Runs a statement to its end, even when the client hangs up.
    async fn run(
        &mut self,
        stream: i16,
        parsed: Arc<Parsed>,
        keyspace: Option<String>,
        params: QueryParams,
    ) -> Result<Vec<u8>, Fail> {
        let given = self.parameters(params, &parsed.bound)?;
        let seen = given.seen;
        let (sim, node, user) = (
            Arc::clone(&self.sim),
            Arc::clone(&self.node),
            self.user.clone(),
        );
        let work = self.sim.tracker.spawn_blocking(move || {
            let keyspace = keyspace.as_deref();
            let session = Session {
                sim: &sim,
                node: &node,
                user: user.as_deref(),
                keyspace,
            };
            session.run(&parsed, &given)
        });
        let outcome = work.await.map_err(|e| Fail::server(e.to_string()))??;
        if let Outcome::Use(keyspace) = &outcome {
            self.keyspace = Some(keyspace.clone());
        }
        let udts = match &outcome {
            Outcome::Rows(rows) => self.session(None).udts(&rows.keyspace),
            Outcome::Void | Outcome::Use(_) | Outcome::Changed(_) => Default::default(),
        };
        Ok(wire::outcome(stream, outcome, &udts, seen))
    }

    async fn batch(&mut self, stream: i16, batch: BodyReqBatch) -> Result<Vec<u8>, Fail> {
        let mut last = wire::empty(Opcode::Ready, stream);
        for query in batch.queries {
            let (parsed, keyspace) = match query.subject {
                BatchQuerySubj::QueryString(text) => {
                    (parse::statement(&text)?, self.keyspace.clone())
                }
                BatchQuerySubj::PreparedId(id) => {
                    let known = self.prepared(&id.into_bytes().unwrap_or_default())?;
                    (known.parsed.clone(), known.keyspace.clone())
                }
            };
            let params = QueryParams {
                consistency: batch.consistency,
                values: Some(query.values),
                timestamp: batch.timestamp,
                ..QueryParams::default()
            };
            last = self.run(stream, Arc::new(parsed), keyspace, params).await?;
        }
        Ok(last)
    }

    fn parameters(
        &self,
        params: QueryParams,
        names: &[Option<String>],
    ) -> Result<Parameters, Fail> {
        let state = params.paging_state.as_ref().and_then(CBytes::as_slice);
        let page = state.map(wire::page_of).transpose()?;
        let size = params.page_size.and_then(|size| usize::try_from(size).ok());
        Ok(Parameters {
            bound: bound(params.values, names)?,
            cl: consistency(params.consistency),
            page: size.filter(|size| *size > 0),
            after: page.map(|(token, _)| token),
            seen: page.map_or(0, |(_, seen)| seen),
            now: params.timestamp.unwrap_or_else(|| self.sim.stamp()),
        })
    }
}

/// Reads at `ANY` are those of one replica.
fn consistency(cl: Consistency) -> Consistency {
    if cl == Consistency::Any {
        Consistency::One
    } else {
        cl
    }
}
