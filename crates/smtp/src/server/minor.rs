//! RSET, NOOP, HELP, VRFY, EXPN, QUIT (RFC 5321 §4.1.1.5 to §4.1.1.10).

use super::{Answer, Ask, Asked, COMMANDS, Server, Then, reply};
use crate::Reply;

impl Server {
    pub(super) fn rset(&mut self, args: &str) {
        if !args.is_empty() {
            return self.say(&Reply::new(501, (5, 5, 4), "RSET takes no parameters"));
        }
        if self.idle_command() {
            self.reset(Then::Say(Reply::new(250, (2, 0, 0), "OK")));
        }
    }

    pub(super) fn noop(&mut self, _: &str) {
        if self.idle_command() {
            self.say(&Reply::new(250, (2, 0, 0), "OK"));
        }
    }

    pub(super) fn help(&mut self, _: &str) {
        if !self.idle_command() {
            return;
        }
        let shown = |verb| !FOREIGN.contains(&verb) && (self.xclient || verb != "XCLIENT");
        let ours = COMMANDS.iter().filter(|command| command.roles.contains(&self.config.role) && shown(command.verb));
        let verbs: Vec<_> = ours.map(|command| command.verb).collect();
        self.say(&Reply::new(214, (2, 0, 0), format!("Commands: {}", verbs.join(" "))));
    }

    pub(super) fn vrfy(&mut self, args: &str) {
        if args.is_empty() {
            return self.say(&Reply::new(501, (5, 5, 4), "Syntax: VRFY name"));
        }
        if self.idle_command() {
            self.ask(Ask::Verify(args.to_owned()), Asked::Verify);
        }
    }

    pub(super) fn verified(&mut self, answer: Answer) {
        let unsaid = Reply::new(252, (2, 5, 2), "Cannot verify; send mail and see");
        self.say(&reply(answer, unsaid));
    }

    pub(super) fn expn(&mut self, args: &str) {
        if args.is_empty() {
            return self.say(&Reply::new(501, (5, 5, 4), "Syntax: EXPN name"));
        }
        if self.idle_command() {
            self.ask(Ask::Expand(args.to_owned()), Asked::Expand);
        }
    }

    pub(super) fn expanded(&mut self, answer: Answer) {
        self.say(&reply(answer, Reply::new(502, (5, 5, 1), "Lists are not shown")));
    }

    pub(super) fn quit(&mut self, args: &str) {
        if !args.is_empty() {
            return self.say(&Reply::new(501, (5, 5, 4), "QUIT takes no parameters"));
        }
        self.give_up(&Reply::new(221, (2, 0, 0), "Bye"));
    }

    pub(super) fn foreign(&mut self, _: &str) {
        self.give_up(&Reply::new(421, (4, 7, 0), "This is a mail server"));
    }
}

/// Verbs of HTTP.
const FOREIGN: &[&str] = &["GET", "POST", "CONNECT"];
