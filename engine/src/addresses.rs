//! Network addresses as PostgreSQL reads, writes and sends them: `inet` and `cidr`.
//!
//! Arrow has no such type: values are texts, kept in the form in which PostgreSQL prints them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// What an address starts with in binary. Source: PostgreSQL, `network_send`; these are its own numbers.
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 3;

/// A host or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    ip: IpAddr,
    /// Bits of the network.
    bits: u8,
    /// A network, whose bits after the mask are zeros.
    is_network: bool,
}

impl Address {
    /// Reads `192.168.0.1`, `10.1.2.3/8`, `::1/64`; of a network the zeros at the end may be left out.
    ///
    /// `None` if it is no address, or a network with bits after its mask.
    pub fn read(text: &str, is_network: bool) -> Option<Self> {
        let (host, mask) = match text.trim().split_once('/') {
            Some((host, mask)) => (host, Some(mask)),
            None => (text.trim(), None),
        };
        let (ip, own_bits) = if host.contains(':') {
            (IpAddr::V6(host.parse().ok()?), 128)
        } else {
            let parts = host.split('.').count();
            if parts < 4 && (is_network || mask.is_some()) {
                (
                    IpAddr::V4(abbreviated(host)?),
                    u8::try_from(parts * 8).ok()?,
                )
            } else {
                (IpAddr::V4(host.parse().ok()?), 32)
            }
        };
        let bits = match mask {
            None => own_bits,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        let address = Self {
            ip,
            bits,
            is_network,
        };
        let fits = bits <= address.width() && !(is_network && address.has_host());
        fits.then_some(address)
    }

    /// Reads what [`Self::to_binary`] writes. `None` if it is nothing of the kind.
    pub fn from_binary(bytes: &[u8]) -> Option<Self> {
        let [family, bits, is_network, length, octets @ ..] = bytes else {
            return None;
        };
        let ip = match (*family, *length) {
            (FAMILY_V4, 4) => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
            (FAMILY_V6, 16) => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
            _ => return None,
        };
        let address = Self {
            ip,
            bits: *bits,
            is_network: *is_network != 0,
        };
        let fits = *bits <= address.width() && !(address.is_network && address.has_host());
        fits.then_some(address)
    }

    /// The bytes that PostgreSQL sends.
    pub fn to_binary(self) -> Vec<u8> {
        let (family, octets) = match self.ip {
            IpAddr::V4(ip) => (FAMILY_V4, ip.octets().to_vec()),
            IpAddr::V6(ip) => (FAMILY_V6, ip.octets().to_vec()),
        };
        let length = self.width() / 8;
        let mut out = vec![family, self.bits, u8::from(self.is_network), length];
        out.extend(octets);
        out
    }

    /// Bits of an address of its family.
    fn width(self) -> u8 {
        if self.ip.is_ipv4() { 32 } else { 128 }
    }

    /// Whether bits are set after the mask.
    fn has_host(self) -> bool {
        let value = match self.ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
            IpAddr::V6(ip) => ip.to_bits(),
        };
        value.checked_shl(u32::from(self.bits)).unwrap_or(0) != 0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        if self.is_network || self.bits != self.width() {
            write!(f, "/{}", self.bits)?;
        }
        Ok(())
    }
}

/// `10.1` as `10.1.0.0`.
fn abbreviated(host: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    for (slot, part) in octets.iter_mut().zip(host.split('.')) {
        if !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *slot = part.parse().ok()?;
    }
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, whether it is a network, and what PostgreSQL 15 prints of it.
    fn check(text: &str, is_network: bool, printed: Option<&str>) {
        let read = Address::read(text, is_network);
        let shown = read.map(|address| address.to_string());
        assert_eq!(shown.as_deref(), printed, "{text}");
        if let Some(address) = read {
            assert_eq!(Address::from_binary(&address.to_binary()), read, "{text}");
        }
    }

    #[test]
    fn addresses_are_printed_as_postgresql_prints_them() {
        check("192.168.0.1", false, Some("192.168.0.1"));
        check("192.168.0.1/32", false, Some("192.168.0.1"));
        check("192.168.0.1/24", false, Some("192.168.0.1/24"));
        check("10.1/16", false, Some("10.1.0.0/16"));
        check("10.1", false, None);
        check("::1", false, Some("::1"));
        check("2001:DB8::1/64", false, Some("2001:db8::1/64"));
        check("1.2.3.256", false, None);
        check("1.2.3.4/33", false, None);
        check("1.2.3.4/", false, None);
        check("1.2.3.4/+8", false, None);
        check("", false, None);
        check("1.2.3.4.5", false, None);
    }

    #[test]
    fn networks_have_no_bits_after_their_mask() {
        check("10", true, Some("10.0.0.0/8"));
        check("192.168.1", true, Some("192.168.1.0/24"));
        check("192.168.1.0/24", true, Some("192.168.1.0/24"));
        check("1.2.3.4", true, Some("1.2.3.4/32"));
        check("192.168.1.5/24", true, None);
        check("0.0.0.0/0", true, Some("0.0.0.0/0"));
        check("::/0", true, Some("::/0"));
        check("2001:db8::/32", true, Some("2001:db8::/32"));
    }

    #[test]
    fn bytes_are_those_of_postgresql() {
        let host = Address::read("10.0.0.1", false).unwrap();
        assert_eq!(host.to_binary(), [2, 32, 0, 4, 10, 0, 0, 1]);
        let network = Address::read("10.0.0.0/8", true).unwrap();
        assert_eq!(network.to_binary(), [2, 8, 1, 4, 10, 0, 0, 0]);
        for bad in [
            &b""[..],
            b"\x02\x20\0",
            b"\x02\x21\0\x04\x01\x02\x03\x04",
            b"\x09\x20\0\x04\x01\x02\x03\x04",
        ] {
            assert_eq!(Address::from_binary(bad), None, "{bad:?}");
        }
    }
}
