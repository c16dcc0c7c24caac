//! What is agreed when a milter is first spoken to: version, what it may change, what it wants to hear.
//!
//! We offer version 6 with every action and every choice that we know; the milter answers with its own version, from 2
//! up, and takes what it needs. A milter that asks for more than was offered is refused.

use crate::packet::{Data, encode};
use crate::symbols::Wanted;

/// The kind of a packet of negotiation, both ways.
pub(crate) const NEGOTIATE: u8 = b'O';

/// Version of the protocol that we speak.
const VERSION: u32 = 6;
/// The oldest version that we understand.
const VERSION_MIN: u32 = 2;

/// What a milter may change: the bits `SMFIF_ADDHDRS`, `CHGBODY`, `ADDRCPT`, `DELRCPT`, `CHGHDRS`,
/// `QUARANTINE`, `CHGFROM`, `ADDRCPT_PAR`, `SETSYMLIST`.
const ACTIONS: u32 = 0x1ff;

/// What a milter may choose about the protocol: the bits `SMFIP_NOCONNECT` to `SMFIP_HDR_LEADSPC`, `SMFIP_MDS_256K` and
/// `SMFIP_MDS_1M`.
const CHOICES: u32 = 0x001f_ffff | MDS_256K | MDS_1M;

const MDS_256K: u32 = 0x1000_0000;
const MDS_1M: u32 = 0x2000_0000;

/// One choice of a milter about the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Choice {
    /// It does not want to hear of the connection.
    NoConnect = 0x1,
    /// Nor of HELO.
    NoHelo = 0x2,
    /// Nor of MAIL.
    NoMail = 0x4,
    /// Nor of RCPT.
    NoRcpt = 0x8,
    /// Nor the body.
    NoBody = 0x10,
    /// Nor the header.
    NoHeader = 0x20,
    /// Nor the end of the header.
    NoEndOfHeader = 0x40,
    /// It does not answer to fields of the header.
    SilentHeader = 0x80,
    /// It does not want to hear of DATA.
    NoData = 0x200,
    /// It may say that it has seen enough of the body.
    Skip = 0x400,
    /// It wants to hear of recipients that were refused already.
    RefusedRcpt = 0x800,
    /// It does not answer to the connection.
    SilentConnect = 0x1000,
    /// Nor to HELO.
    SilentHelo = 0x2000,
    /// Nor to MAIL.
    SilentMail = 0x4000,
    /// Nor to RCPT.
    SilentRcpt = 0x8000,
    /// Nor to DATA.
    SilentData = 0x1_0000,
    /// Nor to the end of the header.
    SilentEndOfHeader = 0x4_0000,
    /// Nor to pieces of the body.
    SilentBody = 0x8_0000,
    /// It wants the values of fields with the blank behind the colon, and gives them so.
    LeadingSpace = 0x10_0000,
}

/// What was agreed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The milter's version.
    pub version: u32,
    actions: u32,
    choices: u32,
    /// The macros it wants.
    pub wanted: Wanted,
}

/// Why nothing can be agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionsError {
    /// The packet is too short.
    Short,
    /// The version is none that we understand.
    Version(u32),
    /// It wants to change what was not offered; the bits.
    Actions(u32),
    /// It chooses what was not offered; the bits.
    Choices(u32),
}

impl Options {
    /// The packet that offers everything.
    pub fn offer() -> Vec<u8> {
        encode(NEGOTIATE, &[VERSION.to_be_bytes(), ACTIONS.to_be_bytes(), CHOICES.to_be_bytes()].concat())
    }

    /// Reads the milter's answer.
    ///
    /// # Errors
    /// When it is cut off or asks for what was not offered.
    pub fn parse(data: &[u8]) -> Result<Self, OptionsError> {
        let mut data = Data::new(data);
        let (Some(version), Some(actions), Some(choices)) = (data.number(), data.number(), data.number()) else {
            return Err(OptionsError::Short);
        };
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(OptionsError::Version(version));
        }
        if actions & !ACTIONS != 0 {
            return Err(OptionsError::Actions(actions & !ACTIONS));
        }
        if choices & !CHOICES != 0 {
            return Err(OptionsError::Choices(choices & !CHOICES));
        }
        Ok(Self { version, actions, choices, wanted: Wanted::parse(data) })
    }

    /// Whether the milter made this choice.
    pub const fn has(&self, choice: Choice) -> bool {
        self.choices & choice as u32 != 0
    }

    /// Whether the milter said that it might do what these bits mean.
    pub(crate) const fn may(&self, action: u32) -> bool {
        self.actions & action != 0
    }

    /// Most octets of data in one packet to the milter.
    pub const fn data_octets_max(&self) -> usize {
        match self.choices & (MDS_256K | MDS_1M) {
            0 => 64 * 1024 - 1,
            MDS_256K => 256 * 1024 - 1,
            _ => 1024 * 1024 - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: u32, actions: u32, choices: u32) -> Vec<u8> {
        [version.to_be_bytes(), actions.to_be_bytes(), choices.to_be_bytes()].concat()
    }

    #[test]
    fn the_offer_is_version_6_with_everything() {
        assert_eq!(Options::offer(), [0, 0, 0, 13, b'O', 0, 0, 0, 6, 0, 0, 1, 0xff, 0x30, 0x1f, 0xff, 0xff]);
    }

    #[test]
    fn what_was_offered_may_be_taken() {
        for (version, actions, choices, want) in [
            (6, 0x1ff, 0x301f_ffff, Ok(())),
            (2, 0x3f, 0x7f, Ok(())),
            (6, 0, 0, Ok(())),
            (1, 0, 0, Err(OptionsError::Version(1))),
            (7, 0, 0, Err(OptionsError::Version(7))),
            (6, 0x201, 0, Err(OptionsError::Actions(0x200))),
            (6, 0, 0x8000_0001, Err(OptionsError::Choices(0x8000_0000))),
        ] {
            assert_eq!(Options::parse(&answer(version, actions, choices)).map(|_| ()), want);
        }
        assert_eq!(Options::parse(&[0; 11]), Err(OptionsError::Short));
    }

    #[test]
    fn choices_are_known_by_their_bits() {
        let options = Options::parse(&answer(6, 0x11, 0x2010_0411)).unwrap();
        assert!(options.has(Choice::NoConnect) && options.has(Choice::NoBody) && options.has(Choice::Skip));
        assert!(options.has(Choice::LeadingSpace) && !options.has(Choice::NoHelo));
        assert!(options.may(0x01) && options.may(0x10) && !options.may(0x02));
        assert_eq!(options.data_octets_max(), 1_048_575);
        assert_eq!(Options::parse(&answer(6, 0, 0x1000_0000)).unwrap().data_octets_max(), 262_143);
        assert_eq!(Options::default().data_octets_max(), 65_535);
    }
}
