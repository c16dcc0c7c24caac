//! What one message may cost.
//!
//! Invariant: whatever a message or a key record holds, the work is bounded by these numbers times its length.

use crate::spf;

/// Bounds of the checks of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of each SPF evaluation.
    pub spf: spf::Limits,
    /// Most DKIM signatures that are verified, from the top. Default 10 (RFC 6376 §8.4 wants a bound);
    /// the others are passed over.
    pub signatures_max: usize,
    /// Most octets of one signature field. Default 16,384; longer: `permerror`.
    pub signature_octets_max: usize,
    /// Most names in a signature's `h=`. Default 500; more: `permerror`.
    pub signed_fields_max: usize,
    /// Fewest bits of an RSA key. Default 1,024 (RFC 8301 §3.2); fewer: `policy`.
    pub rsa_bits_min: u32,
    /// Most bits of an RSA key. Default 4,096 (RFC 8301 §3.2 asks for no more); more: `policy`.
    pub rsa_bits_max: u32,
    /// How far ahead of our clock a signature may be dated, seconds. Default 86,400.
    pub clock_skew_seconds: u64,
    /// Most ARC sets. Default 50 (RFC 8617 §4.2.1); more: the chain fails.
    pub arc_sets_max: usize,
    /// Most authors' domains that are looked at for DMARC. Default 4; more: `permerror`.
    pub author_domains_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            spf: spf::Limits::default(),
            signatures_max: 10,
            signature_octets_max: 16_384,
            signed_fields_max: 500,
            rsa_bits_min: 1024,
            rsa_bits_max: 4096,
            clock_skew_seconds: 86_400,
            arc_sets_max: 50,
            author_domains_max: 4,
        }
    }
}
