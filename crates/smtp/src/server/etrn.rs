//! ETRN: a host asks for the mail that waits for it (RFC 1985). The mail comes over connections that we make to
//! its hosts, never back over this one, so that asking gains nobody a stranger's mail.

use super::{Answer, Ask, Asked, Server, reply};
use crate::Reply;

/// Longest node name, octets (RFC 5321 §4.5.3.1.2).
const NODE_OCTETS_MAX: usize = 255;

impl Server {
    pub(super) fn etrn(&mut self, args: &str) {
        if !self.config.etrn {
            return self.say(&Reply::new(502, (5, 5, 1), "ETRN is not offered"));
        }
        let blank = args.contains([' ', '\t']);
        if args.is_empty() || blank || args.len() > NODE_OCTETS_MAX {
            return self.say(&Reply::new(501, (5, 5, 4), "Syntax: ETRN domain"));
        }
        if self.idle_command() {
            self.ask(Ask::Etrn(args.to_owned()), Asked::Etrn);
        }
    }

    pub(super) fn etrn_answered(&mut self, answer: Answer) {
        self.say(&reply(answer, Reply::new(250, (2, 0, 0), "Queuing started")));
    }
}
