//! Hosts of a small network of their own: network namespaces behind a bridge, whose cables can be pulled.
//!
//! Needs root and `ip` (package iproute2). Everything made here is named after this process and goes with its value;
//! what a process that was killed has left is removed by the next.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Begins the names of bridges, links and namespaces, which have 15 characters at most.
const PREFIX: &str = "tarnt";

/// A bridge on this machine with hosts behind it. This machine is the first address, host `n` the `n + 2`nd.
#[derive(Debug)]
pub(crate) struct Network {
    /// `tarnt`, the process id in base 36, and a letter.
    name: String,
    /// 10.`subnet`.0/24.
    subnet: [u8; 2],
    hosts: u8,
}

impl Network {
    /// Makes a bridge and `hosts` namespaces behind it.
    ///
    /// # Errors
    /// Why this process may not, in words.
    pub(crate) fn new(hosts: u8) -> Result<Self, String> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        remove_abandoned()?;
        let serial = COUNT.fetch_add(1, Ordering::SeqCst);
        let id = std::process::id();
        // From here on, dropping it removes what was made.
        let network = Self {
            name: format!("{PREFIX}{}{}", base36(id), char::from(b'a' + serial % 26)),
            subnet: free_subnet()?,
            hosts,
        };
        let bridge = &network.name;
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {}/24 dev {bridge}", network.here()))?;
        ip(&format!("link set {bridge} up"))?;
        for host in 0..hosts {
            let (space, cable) = (network.space(host), network.cable(host));
            ip(&format!("netns add {space}"))?;
            ip(&format!(
                "link add {cable} type veth peer name eth0 netns {space}"
            ))?;
            ip(&format!("link set {cable} master {bridge} up"))?;
            ip(&format!("-n {space} link set lo up"))?;
            let address = network.address(host);
            ip(&format!("-n {space} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {space} link set eth0 up"))?;
        }
        Ok(network)
    }

    /// The address of this machine on the bridge.
    pub(crate) fn here(&self) -> Ipv4Addr {
        let [a, b] = self.subnet;
        Ipv4Addr::new(10, a, b, 1)
    }

    /// The address of a host.
    pub(crate) fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b] = self.subnet;
        Ipv4Addr::new(10, a, b, host + 2)
    }

    /// The same command, run on a host: same files and processes, another network.
    pub(crate) fn on(&self, host: u8, command: &Command) -> Command {
        let mut there = Command::new("ip");
        there
            .args(["netns", "exec", &self.space(host)])
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => there.env(key, value),
                None => there.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            there.current_dir(folder);
        }
        there
    }

    /// Takes the host's cable out of the bridge: nothing that it sends arrives, nothing is refused.
    pub(crate) fn pull(&self, host: u8) {
        ip(&format!("link set {} nomaster", self.cable(host))).unwrap();
    }

    /// Puts it back.
    pub(crate) fn plug(&self, host: u8) {
        ip(&format!(
            "link set {} master {}",
            self.cable(host),
            self.name
        ))
        .unwrap();
    }

    /// Turns the host's network card off, or on again.
    pub(crate) fn card(&self, host: u8, on: bool) {
        let state = if on { "up" } else { "down" };
        ip(&format!("-n {} link set eth0 {state}", self.space(host))).unwrap();
    }

    /// Keeps the hosts from reaching each other; they still reach this machine.
    pub(crate) fn isolate(&self, isolated: bool) {
        let state = if isolated { "on" } else { "off" };
        for host in 0..self.hosts {
            let cable = self.cable(host);
            ip(&format!(
                "link set {cable} type bridge_slave isolated {state}"
            ))
            .unwrap();
        }
    }

    fn space(&self, host: u8) -> String {
        format!("{}{host}", self.name)
    }

    /// This machine's end of the host's cable.
    fn cable(&self, host: u8) -> String {
        format!("{}{host}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was not made cannot be removed, and no test fails of it. Cables go with their namespaces.
        for host in 0..self.hosts {
            let _ = ip(&format!("netns del {}", self.space(host)));
            let _ = ip(&format!("link del {}", self.cable(host)));
        }
        let _ = ip(&format!("link del {}", self.name));
    }
}

/// Removes namespaces and bridges of processes that are gone.
fn remove_abandoned() -> Result<(), String> {
    let gone = |name: &str| {
        let id = name.strip_prefix(PREFIX)?;
        let id = id.trim_end_matches(|c: char| c.is_ascii_digit());
        let id = u32::from_str_radix(id.get(..id.len().checked_sub(1)?)?, 36).ok()?;
        (!Path::new(&format!("/proc/{id}")).exists()).then(|| name.to_owned())
    };
    let words = |text: String| -> Vec<String> {
        let separators = |c: char| c.is_whitespace() || c == ':' || c == '@';
        let names = text.split(separators).filter_map(gone);
        names.collect()
    };
    for space in words(ip("netns list")?) {
        let _ = ip(&format!("netns del {space}"));
    }
    for link in words(ip("-o link")?) {
        let _ = ip(&format!("link del {link}"));
    }
    Ok(())
}

/// The first of some subnets that no link of this machine has.
fn free_subnet() -> Result<[u8; 2], String> {
    let taken = ip("-o -4 addr")?;
    (0..=255)
        .map(|b| [217, b])
        .find(|[a, b]| !taken.contains(&format!(" 10.{a}.{b}.")))
        .ok_or_else(|| "no subnet of 10.217.0.0/16 is free".to_owned())
}

fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        digits.push(char::from_digit(number % 36, 36).unwrap());
        number /= 36;
    }
    // A letter ends it, so that numbers of hosts can follow.
    digits.iter().rev().collect()
}

fn ip(arguments: &str) -> Result<String, String> {
    let failed = |why: String| format!("`ip {arguments}`: {why}");
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(String::from_utf8_lossy(&stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Hands connections on, byte for byte: makes a server on loopback reachable at another address of this machine.
pub(crate) struct Forwarder {
    address: SocketAddr,
    _accepts: AbortOnDropHandle<()>,
}

impl Forwarder {
    /// From a free port of `address` to `endpoint` (`http://host:port`).
    pub(crate) async fn start(address: Ipv4Addr, endpoint: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let accepts = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let upstream = upstream.clone();
                tokio::spawn(async move {
                    // A side that leaves is no matter of ours.
                    if let Ok(mut server) = TcpStream::connect(&upstream).await {
                        let _ = client.set_nodelay(true);
                        let _ = server.set_nodelay(true);
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Ok(Self {
            address,
            _accepts: AbortOnDropHandle::new(accepts),
        })
    }

    /// Its URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}
