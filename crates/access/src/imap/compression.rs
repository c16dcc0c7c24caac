//! COMPRESS=DEFLATE (RFC 4978): the octets of a connection, deflated both ways.
//!
//! Not the command: `commands/compress.rs` says when it may begin, and the session decides when more is
//! inflated. Not a codec either: `miniz_oxide` is that.
//!
//! ```text
//!   peer ─▶ push ─▶ waiting ─ inflate, a step at a time ─▶ Inbox         text ─ deflate ─▶ peer
//! ```
//!
//! Invariants
//! - A step of inflating yields at most [`STEP_OCTETS`], and ends where a block ends that said something:
//!   what follows UNAUTHENTICATE is never taken for deflated octets.
//! - Whatever was deflated can be inflated by the peer at once: each piece ends in a flush to a whole octet.
//! - Between blocks no codec is kept, only what the next block may refer to: of what we sent
//!   [`SENT_OCTETS`], of what came at most the 32 KiB of DEFLATE's window. So an idle connection costs
//!   1.2 KiB and what its client has said, no more than 33 KiB.

use miniz_oxide::DataFormat;
use miniz_oxide::deflate::CompressionLevel;
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, compress_to_output};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{BlockBoundaryState, DecompressorOxide, decompress};
use std::cell::RefCell;

/// Most octets that one step of inflating yields. Our own bound.
pub const STEP_OCTETS: usize = 16 * 1024;
/// How far back DEFLATE refers (RFC 1951 §2).
const WINDOW_OCTETS: usize = 32 * 1024;
/// What we remember of what we sent, so that the next answer can refer to it. Our own bound: responses repeat
/// themselves within a few lines.
const SENT_OCTETS: usize = 1024;

thread_local! {
    /// A compressor is large (300 KB) and needed for moments: it belongs to the thread.
    static DEFLATE: RefCell<CompressorOxide> =
        RefCell::new(CompressorOxide::with_format_and_level(DataFormat::Raw, CompressionLevel::BestSpeed));
}

/// Both directions of a compressed connection.
#[derive(Default)]
pub struct Compression {
    /// What came and was not inflated yet.
    waiting: Vec<u8>,
    /// The last octets that were inflated.
    heard: Vec<u8>,
    /// The last octets that were deflated.
    sent: Vec<u8>,
    place: Place,
}

/// Where in its stream the peer is.
enum Place {
    /// At the start, or between two blocks.
    Between(BlockBoundaryState),
    /// Within a block, or within what stands before it.
    Within(Box<DecompressorOxide>),
    /// Behind the last block.
    End,
}

impl Default for Place {
    fn default() -> Self {
        Self::Between(BlockBoundaryState::default())
    }
}

/// What came is not DEFLATE, or something follows its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a DEFLATE stream")]
pub struct Broken;

impl Compression {
    /// Takes what the peer sent.
    pub fn push(&mut self, octets: &[u8]) {
        self.waiting.extend_from_slice(octets);
    }

    /// Whether something waits to be inflated.
    pub fn has_input(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Inflates until something was said, at most [`STEP_OCTETS`]; empty if more must come first.
    ///
    /// # Errors
    /// When it is no DEFLATE. Nothing more can be understood.
    pub fn inflate(&mut self) -> Result<Vec<u8>, Broken> {
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let mut codec = match std::mem::take(&mut self.place) {
            Place::Between(state) => Box::new(DecompressorOxide::from_block_boundary_state(&state)),
            Place::Within(codec) => codec,
            Place::End => return Err(Broken),
        };
        let start = self.heard.len();
        let mut window = vec![0; start + STEP_OCTETS];
        window.get_mut(..start).ok_or(Broken)?.copy_from_slice(&self.heard);
        let (status, taken, octets) = step(&mut codec, &self.waiting, &mut window, start);
        self.place = match status {
            TINFLStatus::Done => Place::End,
            TINFLStatus::BlockBoundary => codec.block_boundary_state().map(Place::Between).ok_or(Broken)?,
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => Place::Within(codec),
            _ => return Err(Broken),
        };
        self.waiting.drain(..taken.min(self.waiting.len()));
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        let end = start + octets;
        if octets > 0 {
            self.heard = window.get(end.saturating_sub(WINDOW_OCTETS)..end).unwrap_or_default().to_vec();
        }
        Ok(window.get(start..end).unwrap_or_default().to_vec())
    }

    /// Deflates a piece of output, flushed.
    pub fn deflate(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() / 2 + 16);
        DEFLATE.with_borrow_mut(|codec| {
            codec.reset();
            // The peer has read this already: its window holds it, whoever's compressor it went through.
            compress_to_output(codec, &self.sent, TDEFLFlush::Sync, |_| true);
            compress_to_output(codec, text, TDEFLFlush::Sync, |octets| {
                out.extend_from_slice(octets);
                true
            });
        });
        self.remember(text);
        out
    }

    fn remember(&mut self, text: &[u8]) {
        if text.len() < SENT_OCTETS {
            self.sent.drain(..(self.sent.len() + text.len()).saturating_sub(SENT_OCTETS));
            self.sent.extend_from_slice(text);
        } else {
            self.sent = text.get(text.len() - SENT_OCTETS..).unwrap_or_default().to_vec();
        }
    }

    /// What came behind the peer's last block, when the compression ends (RFC 8437 §4.1).
    pub fn into_rest(self) -> Vec<u8> {
        self.waiting
    }

    /// Octets on the heap.
    #[cfg(test)]
    fn octets(&self) -> usize {
        let codec = if matches!(self.place, Place::Within(_)) { size_of::<DecompressorOxide>() } else { 0 };
        self.waiting.capacity() + self.heard.capacity() + self.sent.capacity() + codec
    }
}

/// Inflates to the end of the first block that says something: how that ended, octets taken, octets said. Blocks
/// that say nothing cost next to nothing.
fn step(codec: &mut DecompressorOxide, waiting: &[u8], window: &mut [u8], start: usize) -> (TINFLStatus, usize, usize) {
    let flags = TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut all = 0;
    loop {
        let input = waiting.get(all..).unwrap_or_default();
        let (status, taken, octets) = decompress(codec, input, window, start, flags);
        all += taken;
        if status != TINFLStatus::BlockBoundary || octets > 0 || all >= waiting.len() {
            return (status, all, octets);
        }
    }
}

/// Neither what came nor what was sent is shown.
impl std::fmt::Debug for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compression").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// A fuzzer's entry: any octets, in two pieces, as a peer's stream.
pub fn fuzz(data: &[u8]) {
    let mut compression = Compression::default();
    let (first, second) = data.split_at(data.len() / 2);
    for piece in [first, second] {
        compression.push(piece);
        while let Ok(said) = compression.inflate() {
            assert!(said.len() <= STEP_OCTETS, "a step has its bound");
            if said.is_empty() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What zlib makes of three NOOPs, with a partial, a full and a final flush behind them.
    const PARTIAL: &str = "4a3454f0f3f70fe0e50208a04423280320c0128da10c00";
    const SYNC_FULL_BLOCK: &str = "4a3454f0f3f70fe0e502000000ffff4a34823200000000ffff";

    fn octets(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn inflated(compression: &mut Compression, pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in pieces {
            compression.push(&piece);
            while compression.has_input() {
                all.extend(compression.inflate().unwrap());
            }
        }
        all
    }

    #[test]
    fn every_kind_of_flush_is_heard_at_once_however_it_is_cut() {
        for (hex, want) in [(PARTIAL, "a1 NOOP\r\na2 NOOP\r\na3 NOOP\r\n"), (SYNC_FULL_BLOCK, "a1 NOOP\r\na2 NOOP\r\n")] {
            let stream = octets(hex);
            for size in 1..stream.len() {
                let said = inflated(&mut Compression::default(), stream.chunks(size).map(<[u8]>::to_vec));
                assert_eq!(String::from_utf8(said).unwrap(), want, "{size}");
            }
        }
        // A partial flush ends within an octet: what it flushed is there all the same.
        let mut compression = Compression::default();
        assert_eq!(inflated(&mut compression, [octets(&PARTIAL[..22])]), b"a1 NOOP\r\n");
    }

    #[test]
    fn what_is_no_deflate_is_refused() {
        for hex in ["ffff", "060606", "6133204e4f4f500d0a"] {
            let mut compression = Compression::default();
            compression.push(&octets(hex));
            assert_eq!(compression.inflate(), Err(Broken), "{hex}");
        }
        let mut compression = Compression::default();
        compression.push(&octets("030041"));
        assert_eq!(compression.inflate(), Ok(Vec::new()));
        assert_eq!(compression.inflate(), Err(Broken), "an octet behind the end");
    }

    #[test]
    fn a_bomb_comes_out_in_steps() {
        let mut sender = Compression::default();
        let bomb = sender.deflate(&vec![b'a'; 4 << 20]);
        assert!(bomb.len() < 64 * 1024);
        let mut compression = Compression::default();
        compression.push(&bomb);
        let mut all = 0;
        while compression.has_input() || all < 4 << 20 {
            let said = compression.inflate().unwrap();
            assert!(!said.is_empty() && said.len() <= STEP_OCTETS);
            assert!(compression.octets() < bomb.len() + 128 * 1024);
            all += said.len();
            if all == 4 << 20 {
                break;
            }
        }
        assert_eq!(all, 4 << 20);
    }

    #[test]
    fn an_idle_one_is_small_and_still_refers_back() {
        let (mut sender, mut receiver) = (Compression::default(), Compression::default());
        let line = "* 4711 FETCH (UID 4711 FLAGS (\\Seen \\Answered))\r\na1 OK Done\r\n";
        let sizes: Vec<_> = (0..3)
            .map(|_| {
                let piece = sender.deflate(line.as_bytes());
                let size = piece.len();
                assert_eq!(inflated(&mut receiver, [piece]), line.as_bytes());
                size
            })
            .collect();
        assert!(sizes[1] < 24, "what was said before is referred to: {sizes:?}");
        println!("{sizes:?} octets for {}; sender {}, receiver {}", line.len(), sender.octets(), receiver.octets());
        assert!(sender.octets() <= 2 * SENT_OCTETS && receiver.octets() < 1024);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(pieces in prop::collection::vec(prop::collection::vec(0..4_u8, 0..3000), 0..20), cut in 1..2000_usize) {
            let (mut sender, mut receiver) = (Compression::default(), Compression::default());
            let stream: Vec<_> = pieces.iter().flat_map(|piece| sender.deflate(piece)).collect();
            let said = inflated(&mut receiver, stream.chunks(cut).map(<[u8]>::to_vec));
            prop_assert_eq!(said, pieces.concat());
        }

        #[test]
        fn nothing_panics(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz(&octets);
        }
    }
}
