//! The packets of the milter protocol: four octets of length, one of kind, and the data.
//!
//! Not their meaning: `command` and `response` know that.
//!
//! Invariant: a packet longer than the bound is noticed by its length, before its octets are kept.

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its kind: a letter, mostly.
    pub kind: u8,
    /// Its data.
    pub data: Vec<u8>,
}

/// Why octets are no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketError {
    /// The length is 0: there is not even a kind.
    Empty,
    /// The length is beyond the bound; the length.
    TooLong(usize),
}

/// Octets of a packet before its data.
const HEAD_OCTETS: usize = 5;

/// A packet as it goes over the wire. Data beyond 2³²-2 octets would be cut; nobody makes any.
pub fn encode(kind: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(HEAD_OCTETS + data.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(data);
    out
}

/// Packets that come in pieces.
#[derive(Debug)]
pub struct Reader {
    bytes: Vec<u8>,
    octets_max: usize,
}

impl Reader {
    /// A reader of packets with at most `octets_max` octets behind the length.
    pub const fn new(octets_max: usize) -> Self {
        Self { bytes: Vec::new(), octets_max }
    }

    /// Appends what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether octets wait that are no whole packet yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next packet; `None` if none is whole.
    ///
    /// # Errors
    /// When the octets can be no packet; the connection is of no use then.
    pub fn packet(&mut self) -> Result<Option<Packet>, PacketError> {
        let Some(length) = self.bytes.first_chunk::<4>().map(|octets| u32::from_be_bytes(*octets)) else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(PacketError::Empty);
        }
        if length > self.octets_max {
            return Err(PacketError::TooLong(length));
        }
        let (Some(kind), Some(data)) = (self.bytes.get(4).copied(), self.bytes.get(HEAD_OCTETS..4 + length)) else { return Ok(None) };
        let packet = Packet { kind, data: data.to_vec() };
        self.bytes.drain(..4 + length);
        Ok(Some(packet))
    }
}

/// Numbers and texts of a packet's data, one after another.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a>(&'a [u8]);

impl<'a> Data<'a> {
    /// All of a packet's data.
    pub const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The next number of 32 bits.
    pub fn number(&mut self) -> Option<u32> {
        let (octets, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*octets))
    }

    /// The next text, which ends with NUL.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|octet| *octet == 0)?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..).unwrap_or_default();
        Some(text)
    }

    /// The next text; where the sender forgot the NUL at the end, up to there. `None` if nothing is left.
    pub fn last_text(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        self.text().or_else(|| Some(std::mem::take(&mut self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_in_any_split() {
        let bytes = [encode(b'c', b""), encode(b'h', b"X-A\0b\0"), encode(b'a', b"")].concat();
        assert_eq!(bytes[..5], [0, 0, 0, 1, b'c']);
        for step in 1..bytes.len() {
            let (mut reader, mut found) = (Reader::new(64), Vec::new());
            for part in bytes.chunks(step) {
                reader.push(part);
                while let Some(packet) = reader.packet().unwrap() {
                    found.push((packet.kind, packet.data));
                }
            }
            assert_eq!(found, [(b'c', vec![]), (b'h', b"X-A\0b\0".to_vec()), (b'a', vec![])]);
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_errors() {
        let mut reader = Reader::new(10);
        reader.push(&[0, 0, 0, 0]);
        assert_eq!(reader.packet(), Err(PacketError::Empty));
        let mut reader = Reader::new(10);
        reader.push(&[0, 0, 0, 11]);
        assert_eq!(reader.packet(), Err(PacketError::TooLong(11)));
        let mut reader = Reader::new(10);
        reader.push(&[0, 0, 0]);
        assert_eq!(reader.packet(), Ok(None));
    }

    #[test]
    fn data_is_taken_apart() {
        let mut data = Data::new(b"\0\0\x01\x02one\0two\0three");
        assert_eq!((data.number(), data.text(), data.text()), (Some(258), Some(&b"one"[..]), Some(&b"two"[..])));
        assert_eq!((data.text(), data.last_text(), data.last_text()), (None, Some(&b"three"[..]), None));
        assert_eq!(Data::new(b"\0\0").number(), None);
    }
}
