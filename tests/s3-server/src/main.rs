//! `twill-s3-server`: the test object store as a process of its own, for tests in other languages.
//!
//! ```text
//! twill-s3-server [--listen 127.0.0.1:0] [--directory D] [--bucket B]... [--access-key K] [--secret-key S]
//!                 [--latency PROFILE] [--seed N] [--page-keys N] [--threads N]
//! ```
//!
//! It prints one line of JSON, its endpoint, credentials and buckets, when it listens, and runs until it is killed.
//! How to switch it while it runs is in `control.rs`.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, bail};
use twill_s3_server::{Latency, Options, S3Server};

const USAGE: &str = "usage: twill-s3-server [--listen A:P] [--directory D] [--bucket B]... [--access-key K] \
                     [--secret-key S] [--latency PROFILE] [--seed N] [--page-keys N] [--threads N]";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let server = S3Server::start(parse(&words)?)?;
    let options = server.options();
    let ready = serde_json::json!({
        "endpoint": server.endpoint(),
        "access_key": options.access_key,
        "secret_key": options.secret_key,
        "buckets": options.buckets,
    });
    println!("{ready}");
    std::io::stdout().flush().context("telling the endpoint")?;
    loop {
        std::thread::park();
    }
}

fn parse(words: &[String]) -> Result<Options> {
    let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pair in words.chunks(2) {
        match pair {
            [name, value] if name.starts_with("--") => {
                given.entry(name.trim_start_matches("--")).or_default().push(value);
            }
            _ => bail!("{USAGE}"),
        }
    }
    let mut options = Options::default();
    for (name, values) in given {
        let value = values.last().copied().unwrap_or_default();
        let number = || value.parse().with_context(|| format!("--{name} {value}"));
        match name {
            "listen" => options.listen = value.parse().with_context(|| format!("--listen {value}"))?,
            "directory" => options.directory = Some(value.into()),
            "bucket" => options.buckets = values.into_iter().map(str::to_owned).collect(),
            "access-key" => value.clone_into(&mut options.access_key),
            "secret-key" => value.clone_into(&mut options.secret_key),
            "latency" => {
                options.latency =
                    Latency::named(value).with_context(|| format!("no latency profile is called {value}"))?;
            }
            "seed" => options.seed = number()?,
            "page-keys" => options.page_keys = Some(u16::try_from(number()?)?),
            "threads" => options.threads = usize::try_from(number()?)?,
            _ => bail!("{USAGE}"),
        }
    }
    Ok(options)
}
