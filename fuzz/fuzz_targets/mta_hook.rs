//! What an MTA hook answers, and the changes it asks for.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| milter::fuzz::hook(data));
