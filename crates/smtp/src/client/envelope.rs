//! One transaction: MAIL, RCPT and DATA, pipelined where that is offered (RFC 2920), and its replies.

use super::{Ask, Asked, Class, Client, Outcome, Stage, State, Transaction};
use crate::Reply;
use crate::client::stuff::Stuff;
use crate::grammar::encode_xtext;
use mail::{BodyType, Late, Notify, Priority, Recipient, Ret};
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;

/// The transaction under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) transaction: Transaction,
    /// One for each recipient, once it is decided.
    pub(super) outcomes: Vec<Option<Outcome>>,
    /// Commands not yet sent.
    commands: VecDeque<(Sent, Vec<u8>)>,
    /// What was sent and has no reply yet, with its octets.
    waiting: VecDeque<(Sent, usize)>,
    /// Why MAIL was refused, or DATA.
    refusal: Option<Outcome>,
    /// Recipients the server took.
    accepted: VecDeque<usize>,
    /// Octets of the message handed over.
    pub(super) offset: u64,
    /// The state of dot-stuffing; `None` where BDAT is used.
    pub(super) stuff: Option<Stuff>,
}

/// A command that has a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Rset,
    Mail,
    /// The recipient with this index.
    Rcpt(usize),
    Data,
    /// The end of the message.
    End,
}

impl Client {
    /// Starts a transaction, or reports at once why it cannot be.
    pub(super) fn begin(&mut self, transaction: Transaction) {
        let outcomes = vec![None; transaction.envelope.recipients.len()];
        let asked_before = self.running.is_some();
        if let Some(body) = self.convert_to(&transaction).filter(|_| !asked_before && !self.ended && !outcomes.is_empty()) {
            self.running = Some(Running::new(transaction, outcomes));
            return self.ask(Ask::Convert(body), Asked::Convert);
        }
        let unfit = self.unfit(&transaction);
        self.running = Some(Running::new(transaction, outcomes));
        if self.ended {
            return self.fail(&Outcome::ours(Stage::Idle, (4, 4, 2), "The connection was closed"));
        }
        if self.running.as_ref().is_some_and(|running| running.outcomes.is_empty()) {
            return self.all_refused();
        }
        if let Some(outcome) = unfit {
            return self.conclude(&outcome, true);
        }
        self.state = State::Transaction;
        self.queue_commands();
        self.pump();
    }

    /// What the message has to be for this server (RFC 3030 §3, RFC 6152 §3); `None`: what it is.
    ///
    /// What needs SMTPUTF8 is 8-bit by its header: it is not converted, and not sent where that is not offered.
    fn convert_to(&self, transaction: &Transaction) -> Option<BodyType> {
        let takes_binary = self.offers.binary_mime && self.chunking();
        let takes_8bit = self.offers.eight_bit_mime || self.offers.smtputf8;
        match transaction.envelope.body {
            BodyType::SevenBit => None,
            BodyType::BinaryMime if takes_binary => None,
            BodyType::EightBitMime if takes_8bit || needs_smtputf8(transaction) => None,
            _ if takes_8bit => Some(BodyType::EightBitMime),
            _ => Some(BodyType::SevenBit),
        }
    }

    /// RFC 3030 §3, RFC 6152 §3: then it is returned.
    pub(super) fn unconvertible(&mut self) {
        let outcome = Outcome::ours(Stage::Mail, (5, 6, 3), "The server does not take such octets, and the message cannot be converted");
        self.conclude(&outcome, true);
    }

    /// What this server cannot take, whoever the recipients are.
    fn unfit(&self, transaction: &Transaction) -> Option<Outcome> {
        let Transaction { envelope, octets, .. } = transaction;
        if needs_smtputf8(transaction) && !self.offers.smtputf8 {
            return Some(Outcome::ours(Stage::Mail, (5, 6, 7), "The server does not take addresses or headers beyond ASCII"));
        }
        // Who answers did not convert it, or not enough: that would be asked for ever.
        if self.convert_to(transaction).is_some() {
            return Some(Outcome::ours(Stage::Mail, (5, 6, 1), "The server does not take such octets"));
        }
        // A report goes on without the extension rather than not at all (RFC 8689 §5).
        if envelope.require_tls && !self.offers.requiretls && envelope.reverse_path.0.is_some() {
            return Some(Outcome::ours(Stage::Mail, (5, 7, 30), "The server does not offer REQUIRETLS"));
        }
        if let Some(late) = self.too_late(transaction) {
            return Some(late);
        }
        let size_max = self.offers.size_max.filter(|max| octets > max)?;
        Some(Outcome::ours(Stage::Mail, (5, 3, 4), format!("The server takes no message larger than {size_max} octets")))
    }

    /// What is to be returned when it is late goes on to nobody who would not do so (RFC 2852 §4.1.4).
    fn too_late(&self, transaction: &Transaction) -> Option<Outcome> {
        let at = transaction.terms.returned_at()?;
        let seconds_left = at.seconds() - transaction.now.seconds();
        if seconds_left <= 0 {
            return Some(Outcome::ours(Stage::Mail, (5, 4, 7), "The time by which it was to be delivered is over"));
        }
        if !self.offers.deliver_by {
            return Some(Outcome::ours(Stage::Mail, (5, 3, 3), "The server does not return messages that are late"));
        }
        let min = self.offers.deliver_by_min.filter(|min| seconds_left < *min)?;
        Some(Outcome::ours(Stage::Mail, (5, 3, 3), format!("The server needs at least {min} seconds to deliver")))
    }

    pub(super) fn chunking(&self) -> bool {
        self.config.chunking && self.offers.chunking
    }

    fn queue_commands(&mut self) {
        let mut commands = VecDeque::new();
        if self.dirty {
            commands.push_back((Sent::Rset, b"RSET\r\n".to_vec()));
        }
        let Some(running) = &self.running else { return };
        commands.push_back((Sent::Mail, self.mail(&running.transaction)));
        let recipients = &running.transaction.envelope.recipients;
        let admitted = self.admitted(recipients);
        for (n, recipient) in recipients.iter().enumerate().filter(|(n, _)| admitted.contains(n)) {
            commands.push_back((Sent::Rcpt(n), self.rcpt(recipient)));
        }
        if !self.chunking() {
            commands.push_back((Sent::Data, b"DATA\r\n".to_vec()));
        }
        self.dirty = true;
        self.mails += 1;
        let Some(running) = &mut self.running else { return };
        running.commands = commands;
        for (_, late) in running.outcomes.iter_mut().enumerate().filter(|(n, _)| !admitted.contains(n)) {
            *late = Some(Outcome::ours(Stage::Rcpt, (4, 5, 3), "Too many recipients for one transaction"));
        }
    }

    /// The places of those recipients that fit one transaction: our own bound, and the server's (RFC 9422 §4).
    fn admitted(&self, recipients: &[Recipient]) -> BTreeSet<usize> {
        let limits = self.offers.limits;
        let recipients_max = self.config.limits.recipients_max.min(limits.recipients.unwrap_or(usize::MAX));
        let (mut admitted, mut domains) = (BTreeSet::new(), BTreeSet::new());
        for (n, recipient) in recipients.iter().enumerate() {
            let domain = recipient.address.domain();
            let new = !domains.contains(domain);
            let crowded = new && limits.domains.is_some_and(|max| domains.len() >= max);
            if admitted.len() < recipients_max && !crowded {
                domains.insert(domain);
                admitted.insert(n);
            }
        }
        admitted
    }

    fn mail(&self, transaction: &Transaction) -> Vec<u8> {
        let Transaction { envelope, octets, .. } = transaction;
        let mut line = format!("MAIL FROM:<{}>", envelope.reverse_path);
        if self.offers.size {
            let _ = write!(line, " SIZE={octets}");
        }
        match envelope.body {
            BodyType::EightBitMime if self.offers.eight_bit_mime => line += " BODY=8BITMIME",
            BodyType::BinaryMime => line += " BODY=BINARYMIME",
            _ => {}
        }
        if needs_smtputf8(transaction) {
            line += " SMTPUTF8";
        }
        if envelope.require_tls && self.offers.requiretls {
            line += " REQUIRETLS";
        }
        if self.offers.dsn {
            match envelope.ret {
                Some(Ret::Full) => line += " RET=FULL",
                Some(Ret::Headers) => line += " RET=HDRS",
                None => {}
            }
            if let Some(id) = &envelope.envelope_id {
                let _ = write!(line, " ENVID={}", encode_xtext(id));
            }
        }
        line += &self.terms(transaction);
        (line + "\r\n").into_bytes()
    }

    /// What is asked of the time, where the server understands it.
    fn terms(&self, transaction: &Transaction) -> String {
        let Transaction { terms, now, .. } = transaction;
        let mut words = String::new();
        if self.offers.mt_priority && terms.priority != Priority::NORMAL {
            let _ = write!(words, " MT-PRIORITY={}", terms.priority);
        }
        if let Some(by) = terms.deliver_by.filter(|_| self.offers.deliver_by) {
            let seconds = (by.at.seconds() - now.seconds()).clamp(-SECONDS_MAX, SECONDS_MAX);
            let (late, trace) = (if by.late == Late::Return { "R" } else { "N" }, if by.trace { "T" } else { "" });
            let _ = write!(words, " BY={seconds};{late}{trace}");
        }
        words
    }

    fn rcpt(&self, recipient: &Recipient) -> Vec<u8> {
        let mut line = format!("RCPT TO:<{}>", recipient.address);
        if self.offers.dsn {
            if let Some(notify) = recipient.notify {
                let _ = write!(line, " NOTIFY={}", notify_words(notify));
            }
            if let Some((kind, address)) = recipient.original.as_ref().and_then(|original| original.split_once(';')) {
                let _ = write!(line, " ORCPT={kind};{}", encode_xtext(address));
            }
        }
        (line + "\r\n").into_bytes()
    }

    /// Sends what may be sent: everything up to the window where pipelining is offered, else one command.
    fn pump(&mut self) {
        let window = if self.offers.pipelining { self.config.limits.pipelined_octets_max } else { 0 };
        let Some(running) = &mut self.running else { return };
        let mut in_flight: usize = running.waiting.iter().map(|(_, octets)| octets).sum();
        let mut bytes = Vec::new();
        while let Some((_, line)) = running.commands.front()
            && (in_flight == 0 || in_flight + line.len() <= window)
            && let Some((sent, line)) = running.commands.pop_front()
        {
            in_flight += line.len();
            running.waiting.push_back((sent, line.len()));
            bytes.extend_from_slice(&line);
        }
        if !bytes.is_empty() {
            self.send(bytes);
        }
    }

    /// The command whose reply comes next.
    pub(super) fn waiting_for(&self) -> Option<Sent> {
        self.running.as_ref()?.waiting.front().map(|(sent, _)| *sent)
    }

    /// Nothing was said about this message if an old connection breaks at MAIL: it was closed meanwhile.
    pub(super) fn transaction_stage(&self) -> Stage {
        match self.waiting_for() {
            None | Some(Sent::Rset | Sent::Mail) if self.used => Stage::Idle,
            None | Some(Sent::Rset | Sent::Mail) => Stage::Mail,
            Some(Sent::Rcpt(_)) => Stage::Rcpt,
            Some(Sent::Data) => Stage::Data,
            Some(Sent::End) => Stage::EndOfData,
        }
    }

    pub(super) fn transaction_replied(&mut self, reply: Reply) {
        let stage = self.transaction_stage();
        if reply.code == 421 {
            return self.fail(&Outcome::from_reply(stage, reply));
        }
        let Some(running) = &mut self.running else { return };
        match running.waiting.pop_front() {
            Some((Sent::Rset, _)) if !reply.is_positive() => {
                let refused = Outcome { class: Class::Transient, ..Outcome::from_reply(stage, reply) };
                return self.fail(&refused);
            }
            Some((Sent::Rset, _)) | None => {}
            Some((Sent::Mail, _)) => running.mail_replied(reply),
            Some((Sent::Rcpt(n), _)) => running.rcpt_replied(n, reply),
            Some((Sent::Data, _)) => return self.data_replied(reply),
            Some((Sent::End, _)) => return self.end_replied(reply),
        }
        if running.hopeless() {
            // What was not sent yet need not be.
            running.commands.clear();
        }
        self.pump();
        self.envelope_done();
    }

    /// All of the envelope is answered and no DATA is on its way: BDAT, or the end.
    fn envelope_done(&mut self) {
        let Some(running) = &self.running else { return };
        if !running.waiting.is_empty() || !running.commands.is_empty() {
            return;
        }
        if running.accepted.is_empty() {
            return self.all_refused();
        }
        self.start_bdat();
    }

    /// Nobody is left to deliver to.
    fn all_refused(&mut self) {
        let refusal = self.running.as_mut().and_then(|running| running.refusal.take());
        let none = || Outcome::ours(Stage::Rcpt, (4, 5, 0), "The server took no recipient");
        self.conclude(&refusal.unwrap_or_else(none), true);
    }

    /// With nobody accepted the server should not have said 354; an empty message ends it (RFC 2920 §3.1).
    fn data_replied(&mut self, reply: Reply) {
        let Some(running) = &mut self.running else { return };
        match (reply.code, running.accepted.is_empty()) {
            (354, false) => self.start_data(),
            (354, true) => {
                running.waiting.push_back((Sent::End, 0));
                self.send(b".\r\n".to_vec());
            }
            (_, true) => self.all_refused(),
            (code, false) => self.conclude(&Outcome::from_reply(Stage::Data, reply), code >= 400),
        }
    }

    /// The message has been sent: its end is to be answered, in LMTP once for each recipient.
    pub(super) fn message_sent(&mut self) {
        let Some(running) = &mut self.running else { return };
        let verdicts = if self.config.lmtp { running.accepted.len() } else { 1 };
        running.waiting.extend(std::iter::repeat_n((Sent::End, 0), verdicts));
        self.state = State::Transaction;
    }

    fn end_replied(&mut self, reply: Reply) {
        let Some(running) = &mut self.running else { return };
        self.dirty = false;
        let in_step = reply.is_positive() || reply.code >= 400;
        let outcome = Outcome::from_reply(Stage::EndOfData, reply);
        if running.accepted.is_empty() && running.waiting.is_empty() {
            return self.all_refused();
        }
        let decided = if self.config.lmtp { 1 } else { running.accepted.len() };
        for n in running.accepted.drain(..decided) {
            if let Some(recipient) = running.outcomes.get_mut(n) {
                *recipient = Some(outcome.clone());
            }
        }
        if running.waiting.is_empty() {
            self.conclude(&outcome, in_step);
        }
    }

    pub(super) fn ask_body(&mut self) {
        let offset = self.running.as_ref().map_or(0, |running| running.offset);
        self.state = State::Ready;
        self.ask(Ask::Body { offset }, Asked::Body);
    }
}

impl Running {
    fn new(transaction: Transaction, outcomes: Vec<Option<Outcome>>) -> Self {
        Self {
            transaction,
            outcomes,
            commands: VecDeque::new(),
            waiting: VecDeque::new(),
            refusal: None,
            accepted: VecDeque::new(),
            offset: 0,
            stuff: None,
        }
    }

    fn mail_replied(&mut self, reply: Reply) {
        if !reply.is_positive() {
            self.refusal = Some(Outcome::from_reply(Stage::Mail, reply));
        }
    }

    fn rcpt_replied(&mut self, n: usize, reply: Reply) {
        if self.refusal.is_some() {
            return;
        }
        if reply.is_positive() {
            self.accepted.push_back(n);
        } else if let Some(outcome) = self.outcomes.get_mut(n) {
            *outcome = Some(Outcome::from_reply(Stage::Rcpt, reply));
        }
    }

    /// MAIL was refused, or every RCPT: what is left cannot succeed.
    fn hopeless(&self) -> bool {
        let only_data_left = matches!(self.commands.front(), Some((Sent::Data, _)));
        self.refusal.is_some() || (only_data_left && self.waiting.is_empty() && self.accepted.is_empty())
    }
}

/// Nine digits (RFC 2852 §4).
const SECONDS_MAX: i64 = 999_999_999;

/// Whether an address or, as the envelope says, the header needs it.
fn needs_smtputf8(transaction: &Transaction) -> bool {
    let envelope = &transaction.envelope;
    let sender_beyond = envelope.reverse_path.0.as_ref().is_some_and(|address| !address.is_ascii());
    envelope.smtputf8 || sender_beyond || envelope.recipients.iter().any(|recipient| !recipient.address.is_ascii())
}

fn notify_words(notify: Notify) -> String {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let wanted: Vec<_> = words.iter().filter(|(wanted, _)| *wanted).map(|(_, word)| *word).collect();
    if wanted.is_empty() { "NEVER".to_owned() } else { wanted.join(",") }
}
