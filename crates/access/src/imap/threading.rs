//! Threads made of messages: the algorithms REFERENCES and ORDEREDSUBJECT (RFC 5256 §3), and REFS, which is
//! REFERENCES without a look at subjects, the thread that got a message last standing last
//! (draft-ietf-morg-inthread).
//!
//! Not the reading of messages: [`crate::imap::commands::thread`] hands in what their digests say.
//!
//! Invariants
//! - Messages are handed in in the order of the mailbox; every one of them comes out once.
//! - No recursion: a conversation can be as long as a mailbox. Time is nearly linear: where looking for a
//!   loop would take longer than [`ANCESTORS_MAX`], one is assumed.

use mail::Uid;
use std::collections::HashMap;

/// How threads are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// By subject alone.
    OrderedSubject,
    /// By what a message refers to, then by subject.
    References,
    /// By what a message refers to.
    Refs,
}

/// What threads are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The message.
    pub uid: Uid,
    /// Sent date, or INTERNALDATE if it has none, milliseconds (RFC 5256 §2.2).
    pub sent: i64,
    /// INTERNALDATE, milliseconds.
    pub came: i64,
    /// The base subject, folded.
    pub subject: String,
    /// The subject marks a reply or a forward.
    pub is_reply: bool,
}

/// Longest way up that is walked to find out whether a link would make a loop.
pub const ANCESTORS_MAX: usize = 1000;

/// A message, or the place of one that is referred to and is not here.
#[derive(Debug, Default)]
struct Node {
    member: Option<Member>,
    parent: Option<usize>,
    /// Something has this one for a parent.
    is_parent: bool,
}

/// Collects messages.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<Node>,
    ids: HashMap<Box<str>, usize>,
}

impl Builder {
    /// How many messages and places of messages there are.
    pub const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Takes the next message. Step (1) of REFERENCES.
    pub fn add<'a>(&mut self, member: Member, id: Option<&str>, references: impl IntoIterator<Item = &'a str>) {
        let mut last = None;
        for reference in references {
            let node = self.place(reference);
            // (A): links that stand are not changed.
            if let Some(parent) = last.filter(|_| self.node(node).is_some_and(|node| node.parent.is_none())) {
                self.link(parent, node);
            }
            last = Some(node);
        }
        let node = self.home(id);
        // (B): the message itself knows best.
        if let Some(found) = self.nodes.get_mut(node) {
            found.parent = None;
            found.member = Some(member);
        }
        if let Some(parent) = last {
            self.link(parent, node);
        }
    }

    fn node(&self, at: usize) -> Option<&Node> {
        self.nodes.get(at)
    }

    fn new_node(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    /// The place of a message id.
    fn place(&mut self, id: &str) -> usize {
        if let Some(node) = self.ids.get(id) {
            return *node;
        }
        let node = self.new_node();
        self.ids.insert(id.into(), node);
        node
    }

    /// Where a message goes: a second one of the same id gets a place of its own.
    fn home(&mut self, id: Option<&str>) -> usize {
        let place = id.map(|id| self.place(id));
        match place.filter(|node| self.node(*node).is_some_and(|node| node.member.is_none())) {
            Some(node) => node,
            None => self.new_node(),
        }
    }

    fn link(&mut self, parent: usize, child: usize) {
        if parent == child || self.is_below(parent, child) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(child) {
            node.parent = Some(parent);
        }
        if let Some(node) = self.nodes.get_mut(parent) {
            node.is_parent = true;
        }
    }

    /// Whether `node` stands below `above`.
    fn is_below(&self, node: usize, above: usize) -> bool {
        if !self.node(above).is_some_and(|above| above.is_parent) {
            return false;
        }
        let mut at = node;
        for _ in 0..ANCESTORS_MAX {
            match self.node(at).and_then(|node| node.parent) {
                None => return false,
                Some(parent) if parent == above => return true,
                Some(parent) => at = parent,
            }
        }
        true
    }

    /// The threads.
    pub fn threads(self, algorithm: Algorithm) -> Threads {
        let mut threads = match algorithm {
            Algorithm::OrderedSubject => Threads::by_subject(self.nodes.into_iter().filter_map(|node| node.member)),
            Algorithm::References | Algorithm::Refs => Threads::pruned(self.nodes),
        };
        match algorithm {
            Algorithm::OrderedSubject => {}
            Algorithm::References => {
                threads.sort();
                threads.merge_subjects();
                threads.sort();
            }
            Algorithm::Refs => threads.sort_by_latest(),
        }
        threads
    }
}

/// A message and those below it; without a message it only holds them together.
#[derive(Debug, Default)]
struct Branch {
    member: Option<Member>,
    children: Vec<usize>,
}

/// Threads in their order.
#[derive(Debug, Default)]
pub struct Threads {
    branches: Vec<Branch>,
    roots: Vec<usize>,
}

impl Threads {
    /// ORDEREDSUBJECT: the first of a subject has the others below it.
    fn by_subject(members: impl Iterator<Item = Member>) -> Self {
        let mut members: Vec<_> = members.collect();
        members.sort_by(|a, b| (&a.subject, a.sent, a.uid).cmp(&(&b.subject, b.sent, b.uid)));
        let mut threads = Self::default();
        for (at, member) in members.into_iter().enumerate() {
            let root = threads.roots.last().copied().filter(|root| threads.subject(*root) == Some(&member.subject));
            match root.and_then(|root| threads.branches.get_mut(root)) {
                Some(root) => root.children.push(at),
                None => threads.roots.push(at),
            }
            threads.branches.push(Branch { member: Some(member), children: Vec::new() });
        }
        threads.sort_roots();
        threads
    }

    /// Steps (2) and (3) of REFERENCES: what is not here is taken out, and those below it move up, but not
    /// several of them to the top.
    fn pruned(nodes: Vec<Node>) -> Self {
        let melted = melted(&nodes);
        let mut threads = Self { branches: nodes.iter().map(|_| Branch::default()).collect(), roots: Vec::new() };
        for (at, node) in nodes.into_iter().enumerate() {
            let parent = node.parent.and_then(|parent| melted.get(parent).copied());
            if let Some(parent) = parent.filter(|_| node.member.is_some()).and_then(|parent| threads.branches.get_mut(parent)) {
                parent.children.push(at);
            } else if node.parent.is_none() {
                threads.roots.push(at);
            }
            if let Some(branch) = threads.branches.get_mut(at) {
                branch.member = node.member;
            }
        }
        let roots = std::mem::take(&mut threads.roots);
        threads.roots = roots.into_iter().filter_map(|root| threads.kept_root(root)).collect();
        threads
    }

    /// What stands at the top for a root: itself, its only child, or nothing.
    fn kept_root(&self, root: usize) -> Option<usize> {
        let branch = self.branches.get(root)?;
        match branch.children.as_slice() {
            _ if branch.member.is_some() => Some(root),
            [] => None,
            [only] => Some(*only),
            _ => Some(root),
        }
    }

    fn member(&self, at: usize) -> Option<&Member> {
        self.branches.get(at).and_then(|branch| branch.member.as_ref())
    }

    /// The message itself, or the first below it.
    fn shown(&self, at: usize) -> Option<&Member> {
        self.member(at).or_else(|| self.member(*self.branches.get(at)?.children.first()?))
    }

    fn subject(&self, at: usize) -> Option<&str> {
        self.shown(at).map(|member| member.subject.as_str())
    }

    fn is_reply(&self, at: usize) -> bool {
        self.member(at).is_some_and(|member| member.is_reply)
    }

    fn is_empty_place(&self, at: usize) -> bool {
        self.member(at).is_none()
    }

    /// Steps (4) and (6): siblings by sent date, then by their order in the mailbox.
    fn sort(&mut self) {
        for at in 0..self.branches.len() {
            let mut children = self.branches.get_mut(at).map(|branch| std::mem::take(&mut branch.children)).unwrap_or_default();
            children.sort_by_key(|child| self.member(*child).map(|member| (member.sent, member.uid)));
            if let Some(branch) = self.branches.get_mut(at) {
                branch.children = children;
            }
        }
        self.sort_roots();
    }

    fn sort_roots(&mut self) {
        let mut roots = std::mem::take(&mut self.roots);
        roots.sort_by_key(|root| self.shown(*root).map(|member| (member.sent, member.uid)));
        self.roots = roots;
    }

    /// REFS: threads by when they got their last message.
    fn sort_by_latest(&mut self) {
        self.sort();
        let mut roots: Vec<_> = self.roots.iter().map(|root| (self.latest(*root), *root)).collect();
        roots.sort_unstable();
        self.roots = roots.into_iter().map(|(_, root)| root).collect();
    }

    fn latest(&self, root: usize) -> Option<(i64, Uid)> {
        let mut latest = None;
        let mut todo = vec![root];
        while let Some(branch) = todo.pop().and_then(|at| self.branches.get(at)) {
            latest = latest.max(branch.member.as_ref().map(|member| (member.came, member.uid)));
            todo.extend(&branch.children);
        }
        latest
    }

    /// Step (5): threads of one subject become one.
    fn merge_subjects(&mut self) {
        let roots = std::mem::take(&mut self.roots);
        let mut table: HashMap<String, usize> = HashMap::new();
        for root in &roots {
            let Some(subject) = self.subject(*root).filter(|subject| !subject.is_empty()) else { continue };
            match table.get(subject).copied() {
                None => drop(table.insert(subject.to_owned(), *root)),
                Some(known) if self.gives_way(known, *root) => drop(table.insert(subject.to_owned(), *root)),
                Some(_) => {}
            }
        }
        let mut kept = Vec::with_capacity(roots.len());
        // Where a new place for both was made, the one that was in the table is no root any more.
        let mut moved = std::collections::HashSet::new();
        for root in roots {
            let subject = self.subject(root).filter(|subject| !subject.is_empty()).map(str::to_owned);
            let known = subject.as_ref().and_then(|subject| table.get(subject).copied());
            match (subject, known) {
                (Some(subject), Some(known)) if known != root => {
                    if let Some(both) = self.merge(known, root) {
                        moved.insert(known);
                        table.insert(subject, both);
                        kept.push(both);
                    }
                }
                _ => kept.push(root),
            }
        }
        self.roots = kept.into_iter().filter(|root| !moved.contains(root)).collect();
    }

    /// Step (5)(B)(iv): whether another stands for a subject better than the one that is known.
    fn gives_way(&self, known: usize, root: usize) -> bool {
        !self.is_empty_place(known) && (self.is_empty_place(root) || (self.is_reply(known) && !self.is_reply(root)))
    }

    /// Puts a thread to the one that is known for its subject; a new place if it was made for both.
    fn merge(&mut self, known: usize, root: usize) -> Option<usize> {
        if self.is_empty_place(known) && self.is_empty_place(root) {
            let children = self.branches.get_mut(root).map(|branch| std::mem::take(&mut branch.children)).unwrap_or_default();
            self.branches.get_mut(known)?.children.extend(children);
            return None;
        }
        if self.is_empty_place(known) || (self.is_reply(root) && !self.is_reply(known)) {
            self.branches.get_mut(known)?.children.push(root);
            return None;
        }
        self.branches.push(Branch { member: None, children: vec![known, root] });
        Some(self.branches.len() - 1)
    }

    /// Appends `(2)(3 6 (4 23)(44 7 96))`, with the numbers that messages have for the client.
    pub fn write(&self, out: &mut Vec<u8>, number: impl Fn(&mut Vec<u8>, Uid)) {
        let mut todo: Vec<_> = self.roots.iter().rev().map(|root| Step::Thread(*root)).collect();
        while let Some(step) = todo.pop() {
            match step {
                Step::Close => out.push(b')'),
                Step::Thread(at) => {
                    out.push(b'(');
                    todo.extend([Step::Close, Step::Member(at)]);
                }
                Step::Member(at) => {
                    let Some(branch) = self.branches.get(at) else { continue };
                    if let Some(member) = &branch.member {
                        number(out, member.uid);
                        out.extend_from_slice(if branch.children.is_empty() { b"" } else { b" " });
                    }
                    match branch.children.as_slice() {
                        [only] => todo.push(Step::Member(*only)),
                        many => todo.extend(many.iter().rev().map(|child| Step::Thread(*child))),
                    }
                }
            }
        }
    }
}

/// What is to be written next.
enum Step {
    Thread(usize),
    Member(usize),
    Close,
}

/// Of each node the one that stands for it: itself, or for a message that is not here the next one above it
/// that is, or the topmost.
fn melted(nodes: &[Node]) -> Vec<usize> {
    let mut found: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut way = Vec::new();
    for start in 0..nodes.len() {
        let mut at = start;
        let end = loop {
            let known = found.get(at).copied().flatten();
            if let Some(known) = known {
                break known;
            }
            way.push(at);
            match nodes.get(at) {
                Some(Node { member: None, parent: Some(parent), .. }) => at = *parent,
                _ => break at,
            }
        };
        for passed in way.drain(..) {
            if let Some(slot) = found.get_mut(passed) {
                *slot = Some(end);
            }
        }
    }
    found.into_iter().enumerate().map(|(at, end)| end.unwrap_or(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `id < reference reference: subject @ date`, one message a word list; `Re` marks a reply.
    fn threads(algorithm: Algorithm, messages: &[(&str, &[&str], &str, i64)]) -> String {
        let mut builder = Builder::default();
        for (at, (id, references, subject, sent)) in messages.iter().enumerate() {
            let uid = Uid(u32::try_from(at).unwrap() + 1);
            let base = subject.trim_start_matches("Re ");
            let member = Member { uid, sent: *sent, came: i64::from(uid.0), subject: base.into(), is_reply: base != *subject };
            builder.add(member, Some(id).filter(|id| !id.is_empty()).copied(), references.iter().copied());
        }
        written(&builder.threads(algorithm))
    }

    fn written(threads: &Threads) -> String {
        let mut out = Vec::new();
        threads.write(&mut out, |out, uid| out.extend_from_slice(uid.to_string().as_bytes()));
        String::from_utf8(out).unwrap()
    }

    fn refer(messages: &[(&str, &[&str], &str, i64)]) -> String {
        threads(Algorithm::References, messages)
    }

    #[test]
    fn the_tree_of_the_rfc() {
        // RFC 5256 §4: (2)(3 6 (4 23)(44 7 96)), renumbered by the order of the mailbox.
        let messages: [(&str, &[&str], &str, i64); 8] = [
            ("2", &[], "x", 1),
            ("3", &[], "y", 2),
            ("4", &["3", "6"], "", 4),
            ("6", &["3"], "", 3),
            ("7", &["3", "6", "44"], "", 8),
            ("23", &["4"], "", 5),
            ("44", &["6"], "", 6),
            ("96", &["44", "7"], "", 9),
        ];
        assert_eq!(refer(&messages), "(1)(2 4 (3 6)(7 5 8))");
        assert_eq!(threads(Algorithm::Refs, &messages), "(1)(2 4 (3 6)(7 5 8))");
    }

    #[test]
    fn siblings_of_a_missing_parent_stand_together() {
        assert_eq!(refer(&[("a", &["gone"], "", 1), ("b", &["gone"], "", 2)]), "((1)(2))");
        assert_eq!(refer(&[("a", &["gone"], "", 1)]), "(1)");
        assert_eq!(refer(&[("a", &["g1", "g2"], "", 1), ("b", &["g1", "g3"], "", 2)]), "((1)(2))");
        assert_eq!(refer(&[("a", &[], "", 1), ("b", &["a", "gone"], "", 2), ("c", &["a", "gone"], "", 3)]), "(1 (2)(3))");
    }

    #[test]
    fn loops_and_doubles_are_left_out() {
        assert_eq!(refer(&[("a", &["b"], "", 1), ("b", &["a"], "", 2)]), "(2 1)");
        assert_eq!(refer(&[("a", &["a"], "", 1)]), "(1)");
        assert_eq!(refer(&[("a", &["x", "y", "x"], "", 1)]), "(1)");
        assert_eq!(refer(&[("a", &[], "", 1), ("a", &[], "", 2), ("b", &["a"], "", 3)]), "(1 3)(2)");
        assert_eq!(refer(&[("", &[], "", 1), ("", &[], "", 2)]), "(1)(2)");
    }

    #[test]
    fn truncated_references_are_mended() {
        let messages: [(&str, &[&str], &str, i64); 3] = [("a", &[], "", 1), ("c", &["a"], "", 3), ("b", &["a"], "", 2)];
        assert_eq!(refer(&messages), "(1 (3)(2))");
        assert_eq!(refer(&[("c", &["a", "b"], "", 3), ("b", &["z"], "", 2)]), "(2 1)");
    }

    #[test]
    fn subjects_are_gathered() {
        assert_eq!(refer(&[("a", &[], "s", 1), ("b", &[], "Re s", 2)]), "(1 2)");
        assert_eq!(refer(&[("a", &[], "Re s", 1), ("b", &[], "s", 2)]), "(2 1)");
        assert_eq!(refer(&[("a", &[], "s", 1), ("b", &[], "s", 2)]), "((1)(2))");
        assert_eq!(refer(&[("a", &[], "Re s", 1), ("b", &[], "Re s", 2), ("c", &[], "Re s", 3)]), "((1)(2)(3))");
        assert_eq!(refer(&[("a", &["g"], "s", 1), ("b", &["g"], "s", 2), ("c", &[], "Re s", 3)]), "((1)(2)(3))");
        assert_eq!(refer(&[("a", &["g"], "s", 1), ("b", &["g"], "s", 2), ("c", &["h"], "s", 3), ("d", &["h"], "s", 4)]), "((1)(2)(3)(4))");
        assert_eq!(refer(&[("a", &[], "", 1), ("b", &[], "", 2)]), "(1)(2)");
    }

    #[test]
    fn refs_leaves_subjects_alone_and_sorts_by_what_came_last() {
        let messages: [(&str, &[&str], &str, i64); 3] = [("a", &[], "s", 1), ("b", &[], "Re s", 2), ("c", &["a"], "Re s", 3)];
        assert_eq!(threads(Algorithm::Refs, &messages), "(2)(1 3)");
    }

    #[test]
    fn ordered_subject_is_flat() {
        let messages: [(&str, &[&str], &str, i64); 6] =
            [("", &[], "b", 3), ("", &[], "a", 5), ("", &[], "b", 2), ("", &[], "c", 1), ("", &[], "Re b", 4), ("", &[], "a", 6)];
        assert_eq!(threads(Algorithm::OrderedSubject, &messages), "(4)(3 (1)(5))(2 6)");
    }

    #[test]
    fn a_long_conversation_takes_no_stack_and_little_time() {
        let mut builder = Builder::default();
        let ids: Vec<_> = (0..200_000).map(|at| at.to_string()).collect();
        for (at, id) in ids.iter().enumerate() {
            let uid = Uid(u32::try_from(at).unwrap() + 1);
            let member = Member { uid, sent: 0, came: 0, subject: String::new(), is_reply: false };
            builder.add(member, Some(id), at.checked_sub(1).map(|at| ids[at].as_str()));
        }
        let out = written(&builder.threads(Algorithm::References));
        assert!(out.starts_with("(1 2 3 ") && out.ends_with(" 199999 200000)"));
    }

    proptest! {
        #[test]
        fn every_message_comes_out_once(
            messages in prop::collection::vec((0_u8..12, prop::collection::vec(0_u8..12, 0..5), 0_u8..4, any::<bool>(), 0_i64..5), 0..30),
        ) {
            for algorithm in [Algorithm::OrderedSubject, Algorithm::References, Algorithm::Refs] {
                let mut builder = Builder::default();
                for (at, (id, references, subject, is_reply, sent)) in messages.iter().enumerate() {
                    let uid = Uid(u32::try_from(at).unwrap() + 1);
                    let subject = if *subject == 0 { String::new() } else { subject.to_string() };
                    let member = Member { uid, sent: *sent, came: *sent, subject, is_reply: *is_reply };
                    let references: Vec<_> = references.iter().map(u8::to_string).collect();
                    builder.add(member, Some(&id.to_string()), references.iter().map(String::as_str));
                }
                let out = written(&builder.threads(algorithm));
                let mut numbers: Vec<u32> = out.split(['(', ')', ' ']).filter_map(|word| word.parse().ok()).collect();
                numbers.sort_unstable();
                prop_assert_eq!(numbers, (1..=u32::try_from(messages.len()).unwrap()).collect::<Vec<_>>(), "{}", out);
                prop_assert_eq!(out.matches('(').count(), out.matches(')').count());
                prop_assert!(!out.contains("()") && !out.contains(" )"), "{}", out);
            }
        }
    }
}
