//! UIDBATCHES (RFC 10022): ranges of Uids that cut the mailbox into batches of equally many messages, the
//! newest first, so that a client can bound what one command touches without sequence numbers.
//!
//! Not a search: `$` stays as it is (§3.4). The view knows every Uid, so that an answer costs its ranges, not
//! the mailbox; that is why nothing is remembered of how often a client asks (§3.1.1 lets us).

use crate::imap::command::Command;
use crate::imap::grammar::{Fault, Parsed, Parser};
use crate::imap::response::{self, Status};
use crate::imap::serve::{self, Outcome, Server};
use mail::uid_set::UidSet;
use mail::{SeqNum, Uid};

/// `UIDBATCHES 2000 10:20`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidBatches {
    /// Messages of a batch.
    pub messages: u32,
    /// Which batches, from 1; all if none are named.
    pub batches: Option<(u32, u32)>,
}

/// Fewest messages of a batch (RFC 10022 §3.1.3.2).
const MESSAGES_MIN: u32 = 500;
/// Most batches of one answer. Our own bound: RFC 10022 §3.1.7 asks for 200 of the smallest; these are 256 KiB.
const BATCHES_MAX: u32 = 10_000;

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar, or the batches stand in the wrong order.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let messages = parser.nz_number()?;
    let mut batches = None;
    if parser.accept(b' ') && !parser.is_done() {
        let first = parser.nz_number()?;
        parser.octet(b':', "a colon and the last batch")?;
        let last = parser.nz_number()?;
        if last < first {
            let status = Status::bad("Batches are named from the lower to the higher").code("CLIENTBUG");
            return Err(Fault::Refused(Box::new(status)));
        }
        batches = Some((first, last));
    }
    Ok(Command::UidBatches(UidBatches { messages, batches }))
}

impl UidBatches {
    /// Answers from the view.
    pub(crate) async fn run(self, server: &mut Server, tag: &str) -> Outcome {
        if self.messages < MESSAGES_MIN {
            return Err(Status::no("TOOFEW", format!("A batch has at least {MESSAGES_MIN} messages")));
        }
        let ranges = self.ranges(&server.selected()?.uids)?;
        let mut data = b"* UIDBATCHES (TAG ".to_vec();
        response::string(&mut data, tag.as_bytes(), false);
        data.push(b')');
        for (at, (high, low)) in ranges.into_iter().enumerate() {
            data.push(if at == 0 { b' ' } else { b',' });
            response::number(&mut data, high.0);
            data.push(b':');
            response::number(&mut data, low.0);
        }
        data.extend_from_slice(b"\r\n");
        let last = server.finish(Status::ok("Done"), true).await?;
        Ok(serve::before(data, last))
    }

    /// The batches' ends, the higher one first; without a gap between them, and down to Uid 1.
    fn ranges(self, uids: &UidSet) -> Result<Vec<(Uid, Uid)>, Status> {
        let exists = uids.len();
        let there_are = exists.div_ceil(self.messages);
        let (first, last) = self.batches.unwrap_or((1, there_are));
        let last = last.min(there_are);
        if last.saturating_sub(first) >= BATCHES_MAX {
            return Err(Status::no("TOOMANY", format!("No more than {BATCHES_MAX} batches at once")));
        }
        let ends = |batch: u32| {
            let number = exists.checked_sub(self.messages.checked_mul(batch - 1)?)?;
            let high = uids.nth(SeqNum(number))?;
            let below = number.checked_sub(self.messages).and_then(|number| uids.nth(SeqNum(number)));
            Some((high, below.map_or(Uid(1), Uid::next)))
        };
        Ok((first..=last).filter_map(ends).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(messages: u32, batches: Option<(u32, u32)>, uids: &UidSet) -> String {
        let ranges = UidBatches { messages, batches }.ranges(uids).unwrap();
        ranges.iter().map(|(high, low)| format!("{high}:{low}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn batches_cut_the_mailbox_from_its_end() {
        let dense = UidSet::range(Uid(1), Uid(7000));
        assert_eq!(shown(2000, None, &dense), "7000:5001,5000:3001,3000:1001,1000:1");
        assert_eq!(shown(2000, Some((1, 5)), &dense), "7000:5001,5000:3001,3000:1001,1000:1");
        assert_eq!(shown(2000, Some((2, 3)), &dense), "5000:3001,3000:1001");
        assert_eq!(shown(2000, Some((6, 8)), &dense), "");
        assert_eq!(shown(7000, None, &dense), "7000:1");
        assert_eq!(shown(u32::MAX, Some((1, u32::MAX)), &dense), "7000:1");
        assert_eq!(shown(500, None, &UidSet::new()), "");
    }

    #[test]
    fn no_batch_holds_more_than_was_asked_for() {
        let sparse: UidSet = (1..=3000).map(|n| Uid(n * 7)).collect();
        for (high, low) in (UidBatches { messages: 800, batches: None }).ranges(&sparse).unwrap() {
            assert!(sparse.intersect(&UidSet::range(low, high)).len() <= 800);
        }
        assert_eq!(shown(800, Some((4, 4)), &sparse), "4200:1");
    }

    #[test]
    fn an_answer_has_a_bound() {
        let huge = UidSet::range(Uid(1), Uid(10_000_000));
        assert!(UidBatches { messages: 500, batches: None }.ranges(&huge).is_err());
        assert!(UidBatches { messages: 500, batches: Some((19_999, 20_001)) }.ranges(&huge).is_ok());
    }
}
