//! What a milter says, at every stage, and the changes it asks for.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| milter::fuzz::session(data));
