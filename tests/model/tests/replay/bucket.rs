//! A bucket whose every request waits until the driver lets it through, in the way the driver says.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use futures_util::{FutureExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

#[derive(Clone)]
pub enum Request {
    Put { path: Path, payload: PutPayload, options: PutOptions },
    Get { path: Path, options: GetOptions },
    List { prefix: Path },
    Delete { path: Path },
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { path, .. } => write!(f, "PUT {path}"),
            Self::Get { path, .. } => write!(f, "GET {path}"),
            Self::List { prefix } => write!(f, "LIST {prefix}"),
            Self::Delete { path } => write!(f, "DELETE {path}"),
        }
    }
}

enum Reply {
    Put(Result<PutResult>),
    Get(Result<GetResult>),
    List(Vec<Result<ObjectMeta>>),
    Delete(Result<Path>),
}

/// How a request is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It takes effect and is answered.
    Answered,
    /// It takes effect, and its sender hears of a time-out.
    ReplyLost,
    /// It takes no effect (yet), and its sender hears of a time-out.
    TimedOut,
}

#[derive(Default)]
struct Cell {
    reply: Option<Reply>,
    waker: Option<Waker>,
}

struct Waiting {
    id: u64,
    client: u8,
    request: Request,
    cell: Arc<Mutex<Cell>>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: Vec<Waiting>,
}

/// The bucket, seen by the driver.
#[derive(Clone, Default)]
pub struct Bucket {
    objects: Arc<InMemory>,
    queue: Arc<Mutex<Queue>>,
}

/// The bucket, seen by one process.
#[derive(Clone)]
pub struct Client {
    bucket: Bucket,
    client: u8,
}

fn timed_out() -> Error {
    Error::Generic { store: "replay", source: "no answer".into() }
}

impl Bucket {
    pub fn client(&self, client: u8) -> Client {
        Client { bucket: self.clone(), client }
    }

    /// The first waiting request of a client that is of a kind.
    pub fn find(&self, client: u8, which: impl Fn(&Request) -> bool) -> Option<u64> {
        let queue = self.queue.lock().unwrap();
        queue.waiting.iter().find(|of| of.client == client && which(&of.request)).map(|of| of.id)
    }

    pub fn waiting(&self) -> Vec<(u8, Request)> {
        self.queue.lock().unwrap().waiting.iter().map(|of| (of.client, of.request.clone())).collect()
    }

    /// Lets a request through; gives what it was.
    pub fn pass(&self, id: u64, pass: Pass) -> Request {
        let waiting = {
            let mut queue = self.queue.lock().unwrap();
            let at = queue.waiting.iter().position(|of| of.id == id).unwrap();
            queue.waiting.remove(at)
        };
        let reply = if pass == Pass::TimedOut {
            Self::refuse(&waiting.request)
        } else {
            let done = self.apply(&waiting.request);
            if pass == Pass::ReplyLost { Self::refuse(&waiting.request) } else { done }
        };
        let mut cell = waiting.cell.lock().unwrap();
        cell.reply = Some(reply);
        if let Some(waker) = cell.waker.take() {
            waker.wake();
        }
        waiting.request
    }

    fn refuse(request: &Request) -> Reply {
        match request {
            Request::Put { .. } => Reply::Put(Err(timed_out())),
            Request::Get { .. } => Reply::Get(Err(timed_out())),
            Request::List { .. } => Reply::List(vec![Err(timed_out())]),
            Request::Delete { .. } => Reply::Delete(Err(timed_out())),
        }
    }

    fn apply(&self, request: &Request) -> Reply {
        match request.clone() {
            Request::Put { path, payload, options } => {
                Reply::Put(self.objects.put_opts(&path, payload, options).now_or_never().unwrap())
            }
            Request::Get { path, options } => {
                Reply::Get(self.objects.get_opts(&path, options).now_or_never().unwrap())
            }
            Request::List { prefix } => {
                Reply::List(self.objects.list(Some(&prefix)).collect().now_or_never().unwrap())
            }
            Request::Delete { path } => {
                Reply::Delete(self.objects.delete(&path).now_or_never().unwrap().map(|()| path))
            }
        }
    }

    /// A request that nobody waits for takes effect.
    pub fn arrive(&self, request: &Request) {
        drop(self.apply(request));
    }

    /// Every object below a folder.
    pub fn objects(&self, folder: &Path) -> Vec<(Path, bytes::Bytes)> {
        let listed: Vec<ObjectMeta> =
            self.objects.list(Some(folder)).try_collect().now_or_never().unwrap().unwrap();
        listed
            .into_iter()
            .map(|object| {
                let found = self.objects.get(&object.location).now_or_never().unwrap().unwrap();
                (object.location, found.bytes().now_or_never().unwrap().unwrap())
            })
            .collect()
    }
}

/// A request under way. Dropped, it is taken back.
struct Call {
    bucket: Bucket,
    id: u64,
    cell: Arc<Mutex<Cell>>,
}

impl Future for Call {
    type Output = Reply;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let mut cell = self.cell.lock().unwrap();
        match cell.reply.take() {
            Some(reply) => Poll::Ready(reply),
            None => {
                cell.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.bucket.queue.lock().unwrap().waiting.retain(|of| of.id != self.id);
    }
}

impl Client {
    fn call(&self, request: Request) -> Call {
        let mut queue = self.bucket.queue.lock().unwrap();
        queue.next += 1;
        let (id, cell) = (queue.next, Arc::new(Mutex::new(Cell::default())));
        queue.waiting.push(Waiting { id, client: self.client, request, cell: Arc::clone(&cell) });
        Call { bucket: self.bucket.clone(), id, cell }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.client)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.client)
    }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.call(Request::Put { path: path.clone(), payload, options }).await {
            Reply::Put(reply) => reply,
            _ => unreachable!("a PUT is answered as one"),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "multipart".into(), implementer: "replay".into() })
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.call(Request::Get { path: path.clone(), options }).await {
            Reply::Get(reply) => reply,
            _ => unreachable!("a GET is answered as one"),
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let client = self.clone();
        let delete = move |path: Result<Path>| {
            let client = client.clone();
            async move {
                match client.call(Request::Delete { path: path? }).await {
                    Reply::Delete(reply) => reply,
                    _ => unreachable!("a DELETE is answered as one"),
                }
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (client, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let listed = async move {
            match client.call(Request::List { prefix }).await {
                Reply::List(reply) => stream::iter(reply),
                _ => unreachable!("a LIST is answered as one"),
            }
        };
        stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented { operation: "delimiter".into(), implementer: "replay".into() })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: "replay".into() })
    }
}
