//! The whole inspection of a message.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mailauth::fuzz::message(data));
