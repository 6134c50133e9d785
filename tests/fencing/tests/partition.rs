//! A writer in a network namespace of its own, whose link is cut while it commits. Needs root and `ip`; says so, by name,
//! where it cannot run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use twill_s3_server::Latency;
use twill_tests_fencing::appender::Task;
use twill_tests_fencing::scene::{Said, Scene};

/// A namespace, and a pair of devices between it and this one. Removed when dropped.
struct Namespace {
    name: String,
    device: String,
    here: Ipv4Addr,
}

impl Namespace {
    /// `number` keeps tests of one process apart. `Err`: why there is none.
    fn make(number: u8) -> Result<Self, String> {
        let process = std::process::id() % 10_000;
        let namespace = Self {
            name: format!("twill-{process}-{number}"),
            device: format!("tw{process}n{number}"),
            // Addresses that are set aside for benchmarks; a /30 of its own for each.
            here: Ipv4Addr::new(198, 19, number, u8::try_from(process % 60 * 4).unwrap() + 1),
        };
        let [a, b, c, last] = namespace.here.octets();
        let there = format!("{a}.{b}.{c}.{}/30", last + 1);
        let (name, device) = (namespace.name.as_str(), namespace.device.as_str());
        let peer = format!("{device}p");
        ip(&["netns", "add", name])?;
        ip(&["link", "add", device, "type", "veth", "peer", "name", &peer, "netns", name])?;
        ip(&["addr", "add", &format!("{}/30", namespace.here), "dev", device])?;
        ip(&["link", "set", device, "up"])?;
        ip(&["-n", name, "addr", "add", &there, "dev", &peer])?;
        ip(&["-n", name, "link", "set", &peer, "up"])?;
        Ok(namespace)
    }

    fn cut(&self) {
        ip(&["link", "set", &self.device, "down"]).unwrap();
    }

    /// The address stays with the device while it is down.
    fn heal(&self) {
        ip(&["link", "set", &self.device, "up"]).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["link", "del", &self.device]).ok();
        ip(&["netns", "del", &self.name]).ok();
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// A store that the namespace reaches over its link, and others without it; or nothing, which is said aloud.
fn prepared(test: &str, number: u8) -> Option<(Namespace, Scene)> {
    match Namespace::make(number) {
        Ok(namespace) => {
            let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            let mut scene =
                Scene::listening(env!("CARGO_BIN_EXE_appender"), Latency::constant(10.0), listen).unwrap();
            scene.login.endpoint = format!("http://{}:{}", namespace.here, scene.server.address().port());
            Some((namespace, scene))
        }
        Err(why) => {
            // Not through the macro, whose words the test harness keeps to itself.
            let said = format!("SKIPPED {test}: no network namespace here: {why}\n");
            std::io::stderr().write_all(said.as_bytes()).unwrap();
            None
        }
    }
}

fn task(writer: &str) -> Task {
    Task { writer: writer.to_owned(), ..Task::default() }
}

/// Cuts a writer off while it commits, lets another take over, and heals the link when `heal_when` says so.
fn cut_off(
    test: &str,
    number: u8,
    deadline: Duration,
    wait_for_despair: bool,
) -> Option<(Said, Said, Scene)> {
    let (namespace, scene) = prepared(test, number)?;
    let endless = Task { commits: 100_000, at_once: 8, deadline, ..task("cut") };
    let inside = ["ip", "netns", "exec", namespace.name.as_str()];
    let mut cut = scene.start_by(&endless, &inside).unwrap();
    cut.hear_until(|_, said| said.acknowledged.len() >= 40).unwrap();
    namespace.cut();
    // The others reach the store without the link.
    let near = Task { commits: 30, ..task("near") };
    let loopback = format!("http://127.0.0.1:{}", scene.server.address().port());
    let mut reachable = scene;
    let far = std::mem::replace(&mut reachable.login.endpoint, loopback);
    let near = reachable.complete(&near).unwrap();
    let cut = if wait_for_despair {
        let said = cut.finish().unwrap();
        namespace.heal();
        said
    } else {
        namespace.heal();
        cut.finish().unwrap()
    };
    reachable.login.endpoint = far;
    assert_eq!(near.acknowledged.len(), 30, "{near:?}");
    Some((cut, near, reachable))
}

#[test]
fn a_writer_whose_link_heals_finds_itself_fenced() {
    let test = "a_writer_whose_link_heals_finds_itself_fenced";
    let Some((cut, near, scene)) = cut_off(test, 1, Duration::from_secs(40), false) else { return };
    assert!(cut.unknown.is_empty(), "{:?}", cut.unknown);
    assert!(cut.not_applied.values().any(|why| why.contains("fenced")), "{:?}", cut.not_applied);
    scene.judge(&[], &[&cut, &near]).unwrap();
}

#[test]
fn a_writer_whose_link_stays_cut_says_that_it_does_not_know() {
    let test = "a_writer_whose_link_stays_cut_says_that_it_does_not_know";
    let Some((cut, near, scene)) = cut_off(test, 2, Duration::from_secs(4), true) else { return };
    assert!(!cut.unknown.is_empty(), "nothing was in doubt: {cut:?}");
    assert!(cut.unknown.values().all(|why| why.contains("did not settle")), "{:?}", cut.unknown);
    scene.judge(&[], &[&cut, &near]).unwrap();
}
