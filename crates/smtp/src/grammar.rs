//! The grammar of SMTP's commands (RFC 5321 §4.1).
