//! Entries for fuzzing.
