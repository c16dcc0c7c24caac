//! A crowd of unlike clients in one mailbox: each has enabled something else, all do random things, and each
//! builds its view from what it is told alone. Every so often all views must be the store's truth.
//!
//! `POSTRIDER_CROWD_SEEDS=1..500 POSTRIDER_CROWD_STEPS=2000` makes it a soak.

use super::stage::{Client, World};
use mail::{Uid, UidSet};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A row of numbers that a seed decides.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 16) % u64::from(sides)).unwrap()
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.roll(u32::try_from(words.len()).unwrap()) as usize]
    }
}

/// What a client has enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Base,
    Condstore,
    QResync,
    UidOnly,
    /// NOTIFY selected: anything is told at any time, so it never names numbers.
    Notify,
    /// NOTIFY selected-delayed, over COMPRESS.
    Delayed,
    /// Searches that are kept up to date, in IMAP4rev2.
    Context,
}

const KINDS: [Kind; 7] = [Kind::Base, Kind::Condstore, Kind::QResync, Kind::UidOnly, Kind::Notify, Kind::Delayed, Kind::Context];
const FLAGS: [&str; 4] = ["\\Seen", "\\Deleted", "\\Flagged", "Work"];

impl Kind {
    fn has_mod_seqs(self) -> bool {
        matches!(self, Self::Condstore | Self::QResync)
    }

    fn hears_vanished(self) -> bool {
        matches!(self, Self::QResync | Self::UidOnly)
    }

    fn numbers(self) -> bool {
        !matches!(self, Self::UidOnly | Self::Notify)
    }
}

/// What is believed of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Message {
    flags: Option<BTreeSet<String>>,
    mod_seq: u64,
}

struct Member {
    kind: Kind,
    client: Client,
    /// By sequence number: the Uid, as far as it is known.
    uids: Vec<Option<u32>>,
    messages: BTreeMap<u32, Message>,
    /// Every change up to here was told (QRESYNC).
    synced: u64,
    highest: u64,
    uid_validity: String,
    idle: bool,
    /// Results that are kept up to date, by tag.
    contexts: BTreeMap<u32, Vec<u32>>,
    tags: u32,
    log: Vec<String>,
}

impl Member {
    fn join(world: &mut World, kind: Kind, now: Instant) -> Self {
        let client = world.ready(now, "");
        let (uids, messages, contexts) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let mut member = Self {
            kind,
            client,
            uids,
            messages,
            synced: 0,
            highest: 0,
            uid_validity: String::new(),
            idle: false,
            contexts,
            tags: 0,
            log: Vec::new(),
        };
        match kind {
            Kind::Condstore => drop(member.say(now, "ENABLE CONDSTORE", true)),
            Kind::QResync => drop(member.say(now, "ENABLE QRESYNC", true)),
            Kind::UidOnly => drop(member.say(now, "ENABLE UIDONLY", true)),
            Kind::Delayed => drop(member.say(now, "COMPRESS DEFLATE", true)),
            Kind::Context => drop(member.say(now, "ENABLE IMAP4rev2", true)),
            Kind::Base | Kind::Notify => {}
        }
        member
    }

    fn select(&mut self, now: Instant) {
        self.uids.clear();
        self.contexts.clear();
        if self.kind == Kind::QResync && self.synced > 0 {
            let command = format!("SELECT INBOX (QRESYNC ({} {}))", self.uid_validity, self.synced);
            self.say(now, &command, true);
            // What is known is all there is but what came: Uids ascend.
            let known: Vec<_> = self.messages.keys().map(|uid| Some(*uid)).collect();
            assert!(known.len() <= self.uids.len(), "more is known than there is\n{}", self.log.join("\n"));
            self.uids.splice(..known.len(), known);
        } else {
            self.messages.clear();
            self.say(now, "SELECT INBOX", true);
        }
        self.learn(now);
        match self.kind {
            Kind::Notify => drop(self.say(now, "NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange))", true)),
            Kind::Delayed => drop(self.say(now, "NOTIFY SET (selected-delayed (MessageNew (UID FLAGS) MessageExpunge FlagChange))", true)),
            Kind::Context => {
                for search in [
                    "UID SEARCH RETURN (ALL UPDATE) FLAGGED",
                    "UID SEARCH RETURN (ALL UPDATE) NOT SUBJECT \"b\"",
                    "UID SORT RETURN (ALL UPDATE) (SUBJECT REVERSE ARRIVAL) UTF-8 UNDELETED",
                ] {
                    self.say(now, search, true);
                }
            }
            _ => {}
        }
    }

    /// Asks for what it does not know.
    fn learn(&mut self, now: Instant) {
        if self.uids.iter().any(Option::is_none) || self.messages.values().any(|message| message.flags.is_none()) {
            let mod_seqs = if self.kind.has_mod_seqs() { " MODSEQ" } else { "" };
            self.say(now, &format!("UID FETCH 1:* (UID FLAGS{mod_seqs})"), true);
        }
    }

    /// Sends a command and believes the answer. Whether messages may be taken back in it.
    fn say(&mut self, now: Instant, command: &str, may_take_back: bool) -> String {
        self.tags += 1;
        let line = format!("t{} {command}\r\n", self.tags);
        self.client.send(now, line.as_bytes());
        let said = self.hear(&format!("C: {}", line.trim_end()), may_take_back);
        let tag = format!("t{} ", self.tags);
        assert!(command.starts_with("IDLE") || said.lines().any(|line| line.starts_with(&tag)), "no reply\n{}", self.log.join("\n"));
        if may_take_back {
            self.synced = self.highest;
        }
        said
    }

    fn hear(&mut self, why: &str, may_take_back: bool) -> String {
        let said = String::from_utf8(self.client.heard()).unwrap();
        self.log.push(why.to_owned());
        self.log.push(said.clone());
        if self.log.len() > 60 {
            self.log.drain(..20);
        }
        // What stands behind a literal belongs to the same response.
        for line in said.replace("}\r\n", "} ").lines().filter_map(|line| line.strip_prefix("* ")) {
            self.believe(line, may_take_back);
        }
        said
    }

    #[track_caller]
    fn check(&self, right: bool, what: &str) {
        assert!(right, "{:?}: {what}\n{}", self.kind, self.log.join("\n"));
    }

    fn believe(&mut self, line: &str, may_take_back: bool) {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            [count, "EXISTS"] => {
                let count: usize = count.parse().unwrap();
                self.check(count >= self.uids.len(), line);
                self.uids.resize(count, None);
            }
            [number, "EXPUNGE"] => {
                self.check(!self.kind.hears_vanished() && (may_take_back || self.kind == Kind::Notify), line);
                let number: usize = number.parse().unwrap();
                self.check((1..=self.uids.len()).contains(&number), line);
                if let Some(uid) = self.uids.remove(number - 1) {
                    self.messages.remove(&uid);
                }
            }
            ["VANISHED", "(EARLIER)", uids] => {
                let uids: UidSet = uids.parse().unwrap();
                self.messages.retain(|uid, _| !uids.contains(Uid(*uid)));
            }
            ["VANISHED", uids] => {
                self.check(self.kind.hears_vanished() && may_take_back, line);
                let uids: UidSet = uids.parse().unwrap();
                for uid in uids.iter().map(|uid| uid.0) {
                    // The Uids of what came in IDLE are not known, but they ascend.
                    let ordered = self.kind != Kind::UidOnly;
                    let above =
                        self.uids.iter().position(|known| ordered && known.is_some_and(|known| known > uid)).unwrap_or(self.uids.len());
                    let at = self.uids.iter().position(|known| *known == Some(uid));
                    let at = at.or_else(|| self.uids[..above].iter().rposition(Option::is_none));
                    self.check(at.is_some(), line);
                    self.uids.remove(at.unwrap());
                }
                self.messages.retain(|uid, _| !uids.contains(Uid(*uid)));
            }
            [number, "FETCH", ..] => {
                self.check(self.kind != Kind::UidOnly, line);
                self.fetched(number.parse().unwrap(), line);
            }
            [uid, "UIDFETCH", ..] => self.uid_fetched(uid.parse().unwrap(), line),
            ["ESEARCH", ..] => self.esearch(line),
            ["OK", "[UIDVALIDITY", number, ..] => number.trim_end_matches(']').clone_into(&mut self.uid_validity),
            ["OK", "[HIGHESTMODSEQ", number, ..] => self.highest = self.highest.max(number.trim_end_matches(']').parse().unwrap()),
            _ => {}
        }
    }

    fn fetched(&mut self, number: usize, line: &str) {
        self.check((1..=self.uids.len()).contains(&number), line);
        let told = after(line, "UID ").map(|uid| uid.parse().unwrap());
        let known = self.uids[number - 1];
        self.check(known.is_none() || told.is_none() || known == told, line);
        self.uids[number - 1] = known.or(told);
        if let Some(uid) = self.uids[number - 1] {
            self.note(uid, line);
        }
    }

    /// Without numbers: what is not known yet is one of those that came.
    fn uid_fetched(&mut self, uid: u32, line: &str) {
        self.check(self.kind == Kind::UidOnly, line);
        if !self.uids.contains(&Some(uid)) {
            let free = self.uids.iter().position(Option::is_none);
            self.check(free.is_some(), line);
            self.uids[free.unwrap()] = Some(uid);
        }
        self.note(uid, line);
    }

    fn note(&mut self, uid: u32, line: &str) {
        let message = self.messages.entry(uid).or_default();
        if let Some((_, rest)) = line.split_once("FLAGS (") {
            let flags = rest.split(')').next().unwrap().split(' ');
            message.flags = Some(flags.filter(|flag| !flag.is_empty() && *flag != "\\Recent").map(str::to_owned).collect());
        }
        if let Some(mod_seq) = after(line, "MODSEQ (") {
            let mod_seq: u64 = mod_seq.parse().unwrap();
            let before = std::mem::replace(&mut message.mod_seq, mod_seq);
            self.highest = self.highest.max(mod_seq);
            self.check(mod_seq >= before, line);
        } else if self.kind.has_mod_seqs() && line.contains("FLAGS (") {
            self.check(line.contains("UID "), line);
        }
    }

    /// `ESEARCH (TAG "t3") UID ADDTO (1 7 3 9)`
    fn esearch(&mut self, line: &str) {
        let (_, rest) = line.split_once("\"t").unwrap();
        let tag: u32 = rest.split('"').next().unwrap().parse().unwrap();
        if let Some(all) = after(line, " ALL ") {
            self.contexts.insert(tag, numbers(all));
            return;
        }
        let Some((verb, pairs)) =
            [" ADDTO (", " REMOVEFROM ("].into_iter().find_map(|verb| line.split_once(verb).map(|(_, rest)| (verb, rest)))
        else {
            self.contexts.entry(tag).or_default();
            return;
        };
        self.check(self.contexts.contains_key(&tag), line);
        let mut list = self.contexts.remove(&tag).unwrap_or_default();
        let words: Vec<_> = pairs.trim_end_matches(')').split(' ').collect();
        for pair in words.chunks(2) {
            let (at, uids): (usize, _) = (pair[0].parse().unwrap(), numbers(pair[1]));
            for (place, uid) in uids.into_iter().enumerate() {
                if verb == " ADDTO (" {
                    self.check(!list.contains(&uid), line);
                    let at = if at == 0 { list.partition_point(|member| *member < uid) } else { at - 1 + place };
                    list.insert(at, uid);
                } else {
                    let found = list.iter().position(|member| *member == uid);
                    self.check(found.is_some() && (at == 0 || found == Some(at - 1)), line);
                    list.remove(found.unwrap());
                }
            }
        }
        self.contexts.insert(tag, list);
    }

    /// Does something.
    fn act(&mut self, dice: &mut Dice, world: &mut World, now: Instant) {
        if self.idle {
            if dice.roll(3) == 0 {
                self.idle = false;
                self.client.send(now, b"DONE\r\n");
                self.hear("C: DONE", true);
            }
            return;
        }
        let exists = u32::try_from(self.uids.len()).unwrap();
        let last = self.messages.keys().next_back().copied().unwrap_or(1);
        let by_uid = !self.kind.numbers() || exists == 0 || dice.roll(2) == 0;
        let (uid, top) = if by_uid { ("UID ", last) } else { ("", exists) };
        let first = dice.roll(top) + 1;
        let set = format!("{first}:{}", (first + dice.roll(4)).min(top));
        match dice.roll(16) {
            0 | 1 => drop(self.say(now, &format!("APPEND INBOX {{15+}}\r\nSubject: {}\r\n\r\nx", dice.one_of(&["a", "b", "c"])), true)),
            2..=5 => self.store(dice, now, uid, &set),
            6 => drop(self.say(now, "EXPUNGE", true)),
            7 => drop(self.say(now, &format!("UID EXPUNGE {}:{last}", dice.roll(last) + 1), true)),
            8 => drop(self.say(now, &format!("{uid}FETCH {set} (UID FLAGS)"), by_uid)),
            9 => drop(self.say(now, &format!("{uid}FETCH {set} (UID BODY[TEXT])"), by_uid)),
            10 => drop(self.say(now, &format!("{uid}SEARCH {}", dice.one_of(&["ALL", "FLAGGED", "SUBJECT b"])), by_uid)),
            11 => drop(self.say(now, &format!("{uid}COPY {set} INBOX"), true)),
            12 => drop(self.say(now, &format!("{uid}MOVE {set} Trash"), true)),
            13 => {
                self.say(now, "IDLE", true);
                self.idle = true;
                self.synced = 0;
            }
            14 if dice.roll(3) == 0 => self.come_back(dice, world, now),
            _ => drop(self.say(now, "NOOP", true)),
        }
        if !self.idle {
            self.learn(now);
        }
    }

    fn store(&mut self, dice: &mut Dice, now: Instant, uid: &str, set: &str) {
        let unchanged = match dice.roll(4) {
            0 if self.kind.has_mod_seqs() => format!("(UNCHANGEDSINCE {}) ", self.highest.saturating_sub(u64::from(dice.roll(4)))),
            _ => String::new(),
        };
        let (sign, silent) = (dice.one_of(&["", "+", "-"]), dice.one_of(&["", "", ".SILENT"]));
        let flag = dice.one_of(&FLAGS);
        let said = self.say(now, &format!("{uid}STORE {set} {unchanged}{sign}FLAGS{silent} ({flag})"), !uid.is_empty());
        if !silent.is_empty() || !said.contains(" OK ") {
            // What a silent one did, it would have to work out; it asks instead.
            self.messages.values_mut().for_each(|message| message.flags = None);
        }
    }

    /// Closes its mailbox, or its connection, and comes back.
    fn come_back(&mut self, dice: &mut Dice, world: &mut World, now: Instant) {
        if dice.roll(2) == 0 {
            self.say(now, "UNSELECT", true);
            return self.select(now);
        }
        let fresh = Self::join(world, self.kind, now);
        let old = std::mem::replace(self, fresh);
        (self.messages, self.synced, self.uid_validity, self.log) = (old.messages, old.synced, old.uid_validity, old.log);
        self.highest = self.synced;
        self.select(now);
    }

    /// Its view must be the truth.
    fn agree(&mut self, world: &World, truth: &Truth, now: Instant) {
        if self.idle {
            self.idle = false;
            self.client.send(now, b"DONE\r\n");
            self.hear("C: DONE", true);
        }
        self.say(now, "NOOP", true);
        self.learn(now);
        let uids: Option<BTreeSet<_>> = self.uids.iter().copied().collect();
        self.check(uids.as_ref() == Some(&truth.uids), &format!("the messages are {:?}, not {:?}", truth.uids, self.uids));
        if self.kind != Kind::UidOnly {
            self.check(self.uids.is_sorted(), &format!("the order {:?}", self.uids));
        }
        for (uid, message) in &self.messages {
            let flags: BTreeSet<_> = world.flags("INBOX", Uid(*uid)).iter().map(|flag| flag.to_string()).collect();
            self.check(message.flags.as_ref() == Some(&flags), &format!("the flags of {uid} are {flags:?}, not {message:?}"));
            let mod_seq = world.mod_seq("INBOX", Uid(*uid));
            self.check(
                !self.kind.has_mod_seqs() || message.mod_seq == mod_seq,
                &format!("the ModSeq of {uid} is {mod_seq}, not {message:?}"),
            );
        }
        for (list, want) in self.contexts.values().zip(&truth.results) {
            self.check(list == want, &format!("the result is {want:?}, not {list:?}"));
        }
    }
}

/// What stands behind a word, to the next space or parenthesis.
fn after<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.split_once(word).and_then(|(_, rest)| rest.split([' ', ')']).next())
}

/// `3,7:9` in its order.
fn numbers(set: &str) -> Vec<u32> {
    let ends = |part: &str| match part.split_once(':') {
        Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
        None => (part.parse().unwrap(), part.parse().unwrap()),
    };
    set.split(',').map(ends).flat_map(|(first, last): (u32, u32)| first..=last).collect()
}

struct Truth {
    uids: BTreeSet<u32>,
    /// Of the searches that are kept up to date, in the order of their tags.
    results: Vec<Vec<u32>>,
}

impl Truth {
    fn of(world: &mut World, now: Instant) -> Self {
        let uids = world.uids("INBOX").iter().map(|uid| uid.0).collect();
        let mut witness = Member::join(world, Kind::Base, now);
        witness.say(now, "SELECT INBOX", true);
        let mut result = |command: &str| {
            let said = witness.say(now, command, true);
            after(&said.replace("\r\n", " "), " ALL ").map(numbers).unwrap_or_default()
        };
        let results = vec![
            result("UID SEARCH RETURN (ALL) FLAGGED"),
            result("UID SEARCH RETURN (ALL) NOT SUBJECT \"b\""),
            result("UID SORT RETURN (ALL) (SUBJECT REVERSE ARRIVAL) UTF-8 UNDELETED"),
        ];
        Self { uids, results }
    }
}

fn run(seed: u64, steps: u32) {
    let now = Instant::now();
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World::new();
    for subject in ["a", "b", "c", "b"] {
        world.deliver("INBOX", format!("Subject: {subject}\r\n\r\ntext").as_bytes());
    }
    let mut members: Vec<_> = KINDS.into_iter().map(|kind| Member::join(&mut world, kind, now)).collect();
    for member in &mut members {
        member.select(now);
    }
    for step in 1..=steps {
        if dice.roll(12) == 0 {
            world.deliver("INBOX", format!("Subject: {}\r\n\r\nfrom outside", dice.one_of(&["a", "b", "c"])).as_bytes());
        }
        let actor = dice.roll(u32::try_from(members.len()).unwrap()) as usize;
        members[actor].act(&mut dice, &mut world, now);
        for member in &mut members {
            member.client.pump(now);
            let may_take_back = member.idle || member.kind == Kind::Notify;
            member.hear(&format!("(step {step})"), may_take_back);
        }
        if step % 40 == 0 || step == steps {
            let truth = Truth::of(&mut world, now);
            for member in &mut members {
                member.agree(&world, &truth, now);
            }
        }
    }
}

#[test]
fn every_client_agrees_with_the_store() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default);
    let range = std::env::var("POSTRIDER_CROWD_SEEDS").unwrap_or_else(|_| "1..5".into());
    let (first, last) = range.split_once("..").unwrap();
    let steps = u32::try_from(number("POSTRIDER_CROWD_STEPS", 160)).unwrap();
    for seed in first.parse().unwrap()..last.parse().unwrap() {
        println!("seed {seed}");
        run(seed, steps);
    }
}
