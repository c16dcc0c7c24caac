//! Answers a session's questions from the store.
