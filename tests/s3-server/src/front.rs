//! The HTTP side: from a request's first byte to its reply's last, with latency and faults in between.
//!
//! ```text
//! arrival ─ count ─ read the body ─ wait ─ EFFECT (s3s: signature, operation) ─ wait ─ reply
//!                                   └──── latency and delays, drawn at arrival ────┘
//! ```
//!
//! Invariants:
//! 1. Once its body has arrived a request runs to its end, whether or not its client is still there: what a client gave
//!    up on may take effect later, as it may in a real store.
//! 2. A reply that is dropped closes the connection, and nothing of the reply is sent.
//! 3. The control endpoint, at `/-/`, has no latency and no faults and is not counted.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use s3s::service::S3Service;

use crate::control;
use crate::faults::{Action, Replied, usual_code};
use crate::journal::Ending;
use crate::latency::Drawn;
use crate::request::Target;
use crate::state::State;

/// A reply's body.
pub(crate) type ReplyBody = Pin<Box<dyn hyper::body::Body<Data = Bytes, Error = Broken> + Send>>;

/// The connection is to break here.
#[derive(Debug, thiserror::Error)]
#[error("the connection breaks here, as a fault asked for")]
pub(crate) struct Broken;

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A reply whose body has been read.
type Reply = Response<Bytes>;

/// What arrived.
type Asked = Request<Bytes>;

/// Pieces of a slowed body leave so often.
const SLOW_STEP: Duration = Duration::from_millis(10);

/// Answers requests.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) service: S3Service,
    pub(crate) state: Arc<State>,
}

impl Front {
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Result<Response<ReplyBody>, Broken> {
        if let Some(command) = request.uri().path().strip_prefix("/-/").map(str::to_owned) {
            let body = request.into_body().collect().await.map_err(|_| Broken)?.to_bytes();
            return Ok(control::answer(&self.state, &command, &body).map(whole));
        }
        let target = Target::of(request.method(), request.uri(), request.headers());
        let arrived = self.state.since_start();
        let (drawn, mut actions) = self.state.draw(&target);
        if let Some(refusal) = self.state.too_often(&target, arrived) {
            actions.push(refusal);
        }
        let number = self.state.journal.arrived(&target, arrived, !actions.is_empty());
        let mut ending = Ending { status: None, bytes_in: 0, bytes_out: 0, took: Duration::ZERO };
        let (parts, body) = request.into_parts();
        let replied = match body.collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                ending.bytes_in = u64::try_from(body.len()).unwrap_or(u64::MAX);
                let asked = Request::from_parts(parts, body);
                let run = self.clone().run(asked, arrived, drawn, actions.clone());
                tokio::spawn(run).await.unwrap_or(Err(Broken))
            }
            Err(_) => Err(Broken),
        };
        if let Ok(reply) = &replied {
            ending.status = Some(reply.status().as_u16());
            ending.bytes_out = u64::try_from(reply.body().len()).unwrap_or(u64::MAX);
        }
        ending.took = self.state.since_start().saturating_sub(arrived);
        self.state.journal.ended(number, target.kind, &ending);
        replied.map(|reply| damaged(reply, &actions))
    }

    /// One request from its wait to its reply.
    async fn run(
        self,
        asked: Asked,
        arrived: Duration,
        drawn: Drawn,
        actions: Vec<Action>,
    ) -> Result<Reply, Broken> {
        let (mut before, mut after) = (drawn.until_effect, drawn.whole);
        for action in &actions {
            if let Action::Delay { before_ms, after_ms } = action {
                before += Duration::from_millis(*before_ms);
                after += Duration::from_millis(*before_ms + *after_ms);
            }
        }
        self.state.sleep_until(arrived + before).await;
        if actions.contains(&Action::DropRequest) {
            return Err(Broken);
        }
        let injected = actions.iter().find_map(injected_answer);
        let reply = match injected {
            Some((reply, false)) => Ok(reply),
            Some((reply, true)) => self.effect(asked, &actions).await.map(|_| reply),
            None => self.effect(asked, &actions).await,
        };
        self.state.sleep_until(arrived + after).await;
        if actions.contains(&Action::DropReply) {
            return Err(Broken);
        }
        reply
    }

    /// Lets the store see the request, twice if so told.
    async fn effect(&self, asked: Asked, actions: &[Action]) -> Result<Reply, Broken> {
        let repeated = actions.iter().find_map(|action| {
            let Action::Duplicate { later_ms, reply } = action else { return None };
            Some((Duration::from_millis(*later_ms), *reply))
        });
        let Some((later, replied)) = repeated else { return self.call(asked).await };
        let first = self.call(asked.clone()).await;
        let front = self.clone();
        let second = tokio::spawn(async move {
            tokio::time::sleep(later).await;
            front.call(asked).await
        });
        match replied {
            Replied::First => first,
            Replied::Second => second.await.unwrap_or(Err(Broken)),
        }
    }

    async fn call(&self, asked: Asked) -> Result<Reply, Broken> {
        let reply = self.service.call(asked.map(s3s::Body::from)).await.map_err(|_| Broken)?;
        let (parts, body) = reply.into_parts();
        let body = BodyExt::collect(body).await.map_err(|_| Broken)?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}

/// The reply that a fault puts in place of the store's, and whether the request takes effect all the same.
fn injected_answer(action: &Action) -> Option<(Reply, bool)> {
    let Action::Answer { status, code, applied } = action else { return None };
    let code = code.as_deref().unwrap_or_else(|| usual_code(*status));
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>injected fault</Message></Error>"
    );
    let mut reply = Response::new(Bytes::from(xml));
    *reply.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let xml = hyper::header::HeaderValue::from_static("application/xml");
    reply.headers_mut().insert(hyper::header::CONTENT_TYPE, xml);
    Some((reply, *applied))
}

fn whole(body: Bytes) -> ReplyBody {
    Box::pin(Full::new(body).map_err(Broken::from))
}

/// The reply with its body slowed or cut.
fn damaged(reply: Reply, actions: &[Action]) -> Response<ReplyBody> {
    let cut = actions.iter().find_map(|action| {
        let Action::CutBody { after_bytes } = action else { return None };
        usize::try_from(*after_bytes).ok()
    });
    let pace = actions.iter().find_map(|action| {
        let Action::SlowBody { bytes_per_second } = action else { return None };
        usize::try_from((*bytes_per_second).max(1)).ok()
    });
    if cut.is_none() && pace.is_none() {
        return reply.map(whole);
    }
    reply.map(|body| {
        let kept = cut.map_or(body.len(), |cut| cut.min(body.len()));
        let step_bytes = pace.map_or(kept, |pace| (pace / 100).max(1)).max(1);
        let step = pace.map_or(Duration::ZERO, |pace| SLOW_STEP.max(Duration::from_secs(1) / clamp(pace)));
        let pieces = pieces(&body.slice(..kept), step_bytes);
        let paced = stream::iter(pieces).then(move |piece| async move {
            tokio::time::sleep(step).await;
            Ok(Frame::data(piece))
        });
        let broken = stream::iter(cut.filter(|cut| *cut < body.len()).map(|_| Err(Broken)));
        let ended: ReplyBody = Box::pin(StreamBody::new(paced.chain(broken)));
        ended
    })
}

fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn pieces(body: &Bytes, bytes: usize) -> Vec<Bytes> {
    body.chunks(bytes).map(|piece| body.slice_ref(piece)).collect()
}
