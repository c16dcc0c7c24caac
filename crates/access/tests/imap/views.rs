//! Several clients do random things in one mailbox. Each builds its view from what it is told, and all
//! views must be the mailbox's truth in the end; no number may move when it must not.

use super::stage::{Client, World};
use mail::{Flag, Flags, Uid};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeSet;
use std::time::Instant;

/// What one simulated client believes.
#[derive(Default)]
struct View {
    /// By sequence number: the Uid and the flags, as far as they were told.
    messages: Vec<(Option<u32>, Option<BTreeSet<String>>)>,
    qresync: bool,
}

/// One thing that a client does; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    Append,
    Store { at: u32, to: u32, mode: u8, flag: u8, silent: bool, by_uid: bool },
    Expunge,
    Fetch { at: u32, to: u32, by_uid: bool },
    Body { at: u32 },
    Search,
    Noop,
    Move { at: u32 },
    Copy { at: u32 },
    Idle,
}

const FLAGS: [&str; 4] = ["\\Seen", "\\Deleted", "\\Flagged", "Work"];

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let store = (any::<u32>(), 0..4_u32, 0..3_u8, 0..4_u8, any::<bool>(), any::<bool>())
        .prop_map(|(at, to, mode, flag, silent, by_uid)| Step::Store { at, to, mode, flag, silent, by_uid });
    let fetch = (any::<u32>(), 0..4_u32, any::<bool>()).prop_map(|(at, to, by_uid)| Step::Fetch { at, to, by_uid });
    let step = prop_oneof![
        3 => Just(Step::Append),
        6 => store,
        2 => Just(Step::Expunge),
        3 => fetch,
        1 => any::<u32>().prop_map(|at| Step::Body { at }),
        1 => Just(Step::Search),
        3 => Just(Step::Noop),
        1 => any::<u32>().prop_map(|at| Step::Move { at }),
        1 => any::<u32>().prop_map(|at| Step::Copy { at }),
        1 => Just(Step::Idle),
    ];
    prop::collection::vec((0..3_usize, step), 1..40)
}

impl View {
    /// The command of a step, and whether messages may be taken back in its answer.
    fn command(&self, step: &Step) -> (String, bool) {
        let exists = u32::try_from(self.messages.len()).unwrap();
        let number = |at: u32| at % exists.max(1) + 1;
        let span = |at: u32, to: u32| format!("{}:{}", number(at), (number(at) + to).min(exists.max(1)));
        match step {
            Step::Append => ("APPEND INBOX {15+}\r\nSubject: a\r\n\r\nx".into(), true),
            Step::Store { at, to, mode, flag, silent, by_uid } => {
                let verb = if *by_uid { "UID STORE" } else { "STORE" };
                let sign = ["", "+", "-"][usize::from(*mode)];
                let silent = if *silent { ".SILENT" } else { "" };
                let set = if *by_uid { format!("{}:{}", at % 20 + 1, at % 20 + 1 + to) } else { span(*at, *to) };
                (format!("{verb} {set} {sign}FLAGS{silent} ({})", FLAGS[usize::from(*flag)]), *by_uid)
            }
            Step::Expunge => ("EXPUNGE".into(), true),
            Step::Fetch { at, to, by_uid: false } => (format!("FETCH {} (UID FLAGS)", span(*at, *to)), false),
            Step::Fetch { by_uid: true, .. } => ("UID FETCH 1:* (FLAGS)".into(), true),
            Step::Body { at } => (format!("FETCH {} BODY[TEXT]", number(*at)), false),
            Step::Search => ("SEARCH ALL".into(), false),
            Step::Noop => ("NOOP".into(), true),
            Step::Move { at } => (format!("MOVE {} Trash", number(*at)), true),
            Step::Copy { at } => (format!("COPY {} INBOX", number(*at)), true),
            Step::Idle => ("IDLE\r\nDONE".into(), true),
        }
    }

    /// Believes what it is told.
    fn hear(&mut self, said: &str, may_take_back: bool) {
        // What stands behind a literal belongs to the same response.
        for line in said.replace("}\r\n", "} ").lines().filter_map(|line| line.strip_prefix("* ")) {
            let words: Vec<_> = line.split(' ').collect();
            match words.as_slice() {
                [count, "EXISTS"] => {
                    let count: usize = count.parse().unwrap();
                    assert!(count >= self.messages.len(), "EXISTS takes nothing back: {line}");
                    self.messages.resize_with(count, Default::default);
                }
                [number, "EXPUNGE"] => {
                    assert!(may_take_back && !self.qresync, "no EXPUNGE now: {line}");
                    self.messages.remove(number.parse::<usize>().unwrap() - 1);
                }
                ["VANISHED", uids] => {
                    assert!(may_take_back && self.qresync, "no VANISHED now: {line}");
                    let uids: mail::UidSet = uids.parse().unwrap();
                    self.messages.retain(|(uid, _)| uid.is_none_or(|uid| !uids.contains(Uid(uid))));
                }
                [number, "FETCH", ..] => self.fetched(number.parse().unwrap(), line),
                _ => {}
            }
        }
    }

    fn fetched(&mut self, number: usize, line: &str) {
        let message = self.messages.get_mut(number - 1).unwrap_or_else(|| panic!("no such message: {line}"));
        if let Some((_, rest)) = line.split_once("UID ") {
            let uid = rest.split([' ', ')']).next().unwrap().parse().unwrap();
            assert!(message.0.is_none_or(|known| known == uid), "the Uid at {number} was {:?}: {line}", message.0);
            message.0 = Some(uid);
        }
        if let Some((_, rest)) = line.split_once("FLAGS (") {
            let flags = rest.split(')').next().unwrap();
            message.1 = Some(flags.split(' ').filter(|flag| !flag.is_empty() && *flag != "\\Recent").map(str::to_owned).collect());
        }
    }

    /// What a silent STORE means for the client that sent it, unless the server has told otherwise.
    fn assume(&mut self, step: &Step, command: &str, said: &str) {
        let Step::Store { mode, flag, silent: true, by_uid, .. } = step else { return };
        if !said.contains("OK") {
            // Some are gone: which of the others were changed the client must ask.
            return self.messages.iter_mut().for_each(|message| message.1 = None);
        }
        let (first, last) = command.split(' ').find(|word| word.contains(':')).unwrap().split_once(':').unwrap();
        let named: std::ops::RangeInclusive<u32> = first.parse().unwrap()..=last.parse().unwrap();
        let told: Vec<_> = said.lines().filter(|line| line.contains("FLAGS (")).filter_map(|line| line.strip_prefix("* ")).collect();
        for (at, (uid, flags)) in self.messages.iter_mut().enumerate() {
            let number = u32::try_from(at).unwrap() + 1;
            let is_named = if *by_uid { uid.is_some_and(|uid| named.contains(&uid)) } else { named.contains(&number) };
            let start = if *by_uid { format!("UID {} ", uid.unwrap_or(0)) } else { format!("{number} FETCH ") };
            if !is_named || told.iter().any(|line| line.contains(&start)) {
                continue;
            }
            let (Some(flags), flag) = (flags, FLAGS[usize::from(*flag)].to_owned()) else { continue };
            match mode {
                0 => *flags = BTreeSet::from([flag]),
                1 => drop(flags.insert(flag)),
                _ => drop(flags.remove(&flag)),
            }
        }
    }
}

fn shown(flags: &Flags) -> BTreeSet<String> {
    flags.iter().map(|flag: Flag| flag.to_string()).collect()
}

fn say(client: &mut Client, now: Instant, command: &str) -> String {
    client.send(now, format!("t {command}\r\n").as_bytes());
    String::from_utf8(client.heard()).unwrap()
}

fn run(steps: &[(usize, Step)]) {
    let now = Instant::now();
    let mut world = World::new();
    for _ in 0..4 {
        world.deliver("INBOX", b"Subject: first\r\n\r\ntext");
    }
    let mut clients: Vec<_> = (0..3).map(|_| (world.ready(now, ""), View::default())).collect();
    clients[2].1.qresync = true;
    say(&mut clients[2].0, now, "ENABLE QRESYNC");
    for (client, view) in &mut clients {
        view.hear(&say(client, now, "SELECT INBOX"), false);
        view.hear(&say(client, now, "FETCH 1:* (UID FLAGS)"), false);
    }
    for (at, step) in steps {
        let (client, view) = &mut clients[*at];
        let (command, may_take_back) = view.command(step);
        let said = say(client, now, &command);
        assert!(said.lines().any(|line| line.starts_with("t ")), "no tagged reply to {command}: {said}");
        // The reply to a silent STORE comes before news, if there are any.
        view.hear(&said, may_take_back);
        view.assume(step, &command, &said);
        // What has just come is asked for, as real clients do: VANISHED names Uids.
        if view.messages.iter().any(|(uid, _)| uid.is_none()) {
            let first = view.messages.iter().position(|(uid, _)| uid.is_none()).unwrap() + 1;
            view.hear(&say(client, now, &format!("FETCH {first}:* (UID FLAGS)")), false);
        }
    }
    let truth = world.uids("INBOX");
    for (number, (client, view)) in clients.iter_mut().enumerate() {
        view.hear(&say(client, now, "NOOP"), true);
        if view.messages.iter().any(|(uid, flags)| uid.is_none() || flags.is_none()) {
            view.hear(&say(client, now, "FETCH 1:* (UID FLAGS)"), false);
        }
        let believed: Vec<_> = view.messages.iter().map(|(uid, _)| uid.unwrap()).collect();
        assert_eq!(believed, truth.iter().map(|uid| uid.0).collect::<Vec<_>>(), "the messages of client {number}");
        for (uid, flags) in &view.messages {
            let uid = Uid(uid.unwrap());
            assert_eq!(flags.as_ref().unwrap(), &shown(&world.flags("INBOX", uid)), "the flags of {uid} at client {number}");
        }
    }
}

#[test]
fn every_view_becomes_the_truth() {
    let mut runner = TestRunner::new(Config { cases: 64, ..Config::default() });
    runner
        .run(&steps(), |steps| {
            run(&steps);
            Ok(())
        })
        .unwrap();
}
