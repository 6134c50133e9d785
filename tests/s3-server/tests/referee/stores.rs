//! The stores that are judged, and how each is started.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3CopyIfNotExists};
use object_store::{ClientOptions, RetryConfig};
use twill_s3_server::{Login, Options, S3Server};

const BUCKET: &str = "referee";

const MOTO: &str = "5.2.5";

/// The newest that there is: its repository is archived.
const MINIO: &str = "v0.0.0-20260212201848-7aac2a2c5b7c";

/// Building MinIO from nothing takes about two minutes and a half on two cores.
const MINIO_BUILD_LIMIT: Duration = Duration::from_secs(180);

const MOTO_INSTALL_LIMIT: Duration = Duration::from_secs(120);

const START_LIMIT: Duration = Duration::from_secs(30);

/// A store to be judged, or why not.
pub(crate) enum Candidate {
    Ready(Store),
    Skipped { name: &'static str, reason: String },
    Failed { name: &'static str, reason: String },
}

/// A store and its client.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) name: &'static str,
    pub(crate) client: AmazonS3,
    /// Checks that go otherwise than on S3, and what happens instead.
    pub(crate) differs: &'static [(&'static str, &'static str)],
    login: Login,
    _running: Arc<Running>,
}

/// Dies with the last clone.
enum Running {
    InProcess { _server: Box<S3Server>, _directory: Option<tempfile::TempDir> },
    Child { child: std::sync::Mutex<Child>, _directory: Option<tempfile::TempDir> },
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Child { child, .. } = self {
            let child = child.get_mut().unwrap();
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Store {
    fn new(
        name: &'static str,
        login: Login,
        differs: &'static [(&'static str, &'static str)],
        running: Running,
    ) -> Result<Self> {
        let client = copying_client(&login)?;
        Ok(Self { name, client, differs, login, _running: Arc::new(running) })
    }

    /// The same server, another bucket.
    pub(crate) fn elsewhere(&self, bucket: &str) -> Result<Self> {
        self.with(Login { bucket: bucket.to_owned(), ..self.login.clone() })
    }

    /// The same server, with a wrong secret and with an unknown key.
    pub(crate) fn strangers(&self) -> Result<[Self; 2]> {
        Ok([
            self.with(Login { secret_key: "wrong-secret-key".to_owned(), ..self.login.clone() })?,
            self.with(Login { access_key: "nobody-at-all".to_owned(), ..self.login.clone() })?,
        ])
    }

    fn with(&self, login: Login) -> Result<Self> {
        Ok(Self { client: copying_client(&login)?, login, ..self.clone() })
    }
}

/// [`Login::client`], which besides copies by conditional completion.
fn copying_client(login: &Login) -> Result<AmazonS3> {
    login.client()?;
    let options = ClientOptions::new().with_allow_http(true).with_timeout(login.timeout);
    let retry = RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() };
    Ok(AmazonS3Builder::new()
        .with_endpoint(&login.endpoint)
        .with_bucket_name(&login.bucket)
        .with_access_key_id(&login.access_key)
        .with_secret_access_key(&login.secret_key)
        .with_region("us-east-1")
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
        .with_client_options(options)
        .with_retry(retry)
        .build()?)
}

/// Starts a store.
type Start = fn() -> Result<Store, Excuse>;

/// Every store, started one by one.
pub(crate) fn candidates() -> impl Iterator<Item = Candidate> {
    let starts: [(&'static str, Start); 4] = [
        ("test server, in memory", || Ok(ours(None)?)),
        ("test server, in a directory", || Ok(ours(Some(tempfile::tempdir().context("a directory")?))?)),
        ("moto", moto),
        ("MinIO", minio),
    ];
    starts.into_iter().map(|(name, start)| {
        let wish = wish(name);
        if wish == Some(false) {
            return Candidate::Skipped { name, reason: "forbidden by the environment".to_owned() };
        }
        match start() {
            Ok(store) => Candidate::Ready(store),
            Err(Excuse::Missing(reason)) if wish != Some(true) => Candidate::Skipped { name, reason },
            Err(Excuse::Missing(reason)) => Candidate::Failed { name, reason },
            Err(Excuse::Broken(error)) => Candidate::Failed { name, reason: format!("{error:#}") },
        }
    })
}

/// Whether the environment forces or forbids a store.
fn wish(name: &str) -> Option<bool> {
    let variable = match name {
        "moto" => "TWILL_REFEREE_MOTO",
        "MinIO" => "TWILL_REFEREE_MINIO",
        _ => return None,
    };
    std::env::var(variable).ok().filter(|value| !value.is_empty()).map(|value| value != "0")
}

/// Why a store is not there.
enum Excuse {
    /// It cannot be had on this machine.
    Missing(String),
    /// It should have started.
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Excuse {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

fn ours(directory: Option<tempfile::TempDir>) -> Result<Store> {
    let name = if directory.is_some() { "test server, in a directory" } else { "test server, in memory" };
    let options = Options {
        directory: directory.as_ref().map(|directory| directory.path().to_owned()),
        buckets: vec![BUCKET.to_owned()],
        ..Options::default()
    };
    let server = S3Server::start(options)?;
    let login = Login::to(&server, BUCKET);
    Store::new(name, login, &[], Running::InProcess { _server: Box::new(server), _directory: directory })
}

/// Where fetched programs are kept between runs.
fn kept(name: &str) -> Result<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("referee").join(name);
    std::fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    Ok(place)
}

/// Runs a command to its end, within `limit`; what it says is kept in `log`.
fn run(command: &mut Command, limit: Duration, log: &Path) -> Result<()> {
    let out = std::fs::File::create(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let begun = now();
    loop {
        if let Some(status) = child.try_wait()? {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            ensure!(status.success(), "{command:?}: {status}: {}", said.lines().last().unwrap_or_default());
            return Ok(());
        }
        if now() - begun > limit {
            child.kill().ok();
            child.wait().ok();
            bail!("not done within {} s", limit.as_secs());
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "patience with other programs is measured in real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "another program is waited for")]
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

/// moto's check and its put are two steps, so one request at a time is let in.
const MOTO_PROGRAM: &str = r#"
import threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server, WSGIRequestHandler
application = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()
def serialised(environ, start_response):
    with one_at_a_time:
        return list(application(environ, start_response))
class Quiet(WSGIRequestHandler):
    def log(self, *ignored): pass
server = make_server("127.0.0.1", 0, serialised, threaded=True, request_handler=Quiet)
print(server.port, flush=True)
server.serve_forever()
"#;

fn moto() -> Result<Store, Excuse> {
    let place = kept(&format!("moto-{MOTO}"))?;
    let python = place.join("venv/bin/python");
    let ready = place.join("ready");
    if !ready.exists() {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(place.join("venv"));
        run(&mut venv, MOTO_INSTALL_LIMIT, &place.join("venv.log"))
            .map_err(|error| Excuse::Missing(format!("python3 makes no virtual environment: {error:#}")))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", &format!("moto[server]=={MOTO}")]);
        run(&mut pip, MOTO_INSTALL_LIMIT, &place.join("pip.log"))
            .map_err(|error| Excuse::Missing(format!("pip does not install it: {error:#}")))?;
        std::fs::write(&ready, "").context("moto is ready")?;
    }
    let mut child = Command::new(&python)
        .args(["-c", MOTO_PROGRAM])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting moto")?;
    let mut line = String::new();
    let out = child.stdout.take().context("no output")?;
    let running = Running::Child { child: std::sync::Mutex::new(child), _directory: None };
    BufReader::new(out).read_line(&mut line).context("moto's port")?;
    let port: u16 = line.trim().parse().with_context(|| format!("moto said {line:?}"))?;
    let login = foreign_login(port, "testing", "testing-secret");
    make_bucket(&login)?;
    Ok(Store::new("moto", login, MOTO_DIFFERS, running)?)
}

const MOTO_DIFFERS: &[(&str, &str)] = &[("wrong_credentials_are_denied", "it lets everybody in")];

fn minio() -> Result<Store, Excuse> {
    let place = kept(&format!("minio-{MINIO}"))?;
    let program = place.join("minio");
    if !program.exists() {
        if Command::new("go").arg("version").output().is_err() {
            return Err(Excuse::Missing("go, which builds it, is not installed".to_owned()));
        }
        let mut install = Command::new("go");
        install
            .args(["install", &format!("github.com/minio/minio@{MINIO}")])
            .env("GOBIN", &place)
            .env("GOFLAGS", "-buildvcs=false")
            .current_dir(&place);
        run(&mut install, MINIO_BUILD_LIMIT, &place.join("go.log")).map_err(|error| {
            Excuse::Missing(format!("go does not build it: {error:#} (the next run goes on where it was)"))
        })?;
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("a port")?.port();
    let directory = tempfile::tempdir().context("a directory")?;
    let (access_key, secret_key) = ("referee-access", "referee-secret");
    let child = Command::new(&program)
        .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
        .arg(directory.path())
        .env("MINIO_ROOT_USER", access_key)
        .env("MINIO_ROOT_PASSWORD", secret_key)
        .env("MINIO_BROWSER", "off")
        .env("MINIO_UPDATE", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting MinIO")?;
    let running = Running::Child { child: std::sync::Mutex::new(child), _directory: Some(directory) };
    let login = foreign_login(port, access_key, secret_key);
    make_bucket(&login)?;
    Ok(Store::new("MinIO", login, MINIO_DIFFERS, running)?)
}

const MINIO_DIFFERS: &[(&str, &str)] = &[];

fn foreign_login(port: u16, access_key: &str, secret_key: &str) -> Login {
    Login {
        endpoint: format!("http://127.0.0.1:{port}"),
        bucket: BUCKET.to_owned(),
        access_key: access_key.to_owned(),
        secret_key: secret_key.to_owned(),
        timeout: Duration::from_secs(60),
    }
}

/// Makes the bucket as soon as the server answers. `object_store` makes no buckets, but it signs a URL for the object
/// with the empty key, which is the bucket itself.
fn make_bucket(login: &Login) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = now();
    loop {
        let made = runtime.block_on(put_bucket(login));
        match made {
            Ok(()) => return Ok(()),
            Err(error) if now() - begun > START_LIMIT => return Err(error.context("making a bucket")),
            Err(_) => pause(),
        }
    }
}

async fn put_bucket(login: &Login) -> Result<()> {
    use object_store::signer::Signer;
    let root = login.client()?;
    let url = root
        .signed_url(reqwest::Method::PUT, &object_store::path::Path::default(), Duration::from_secs(60))
        .await?;
    let reply = reqwest::Client::new().put(url).body("").header("content-length", "0").send().await?;
    let status = reply.status();
    let body = reply.text().await.unwrap_or_default();
    ensure!(status.is_success() || body.contains("BucketAlready"), "{status}: {body}");
    Ok(())
}
