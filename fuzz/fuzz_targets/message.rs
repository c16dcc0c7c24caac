//! Whole messages: the index of parts, ENVELOPE, BODYSTRUCTURE, sections, decoded text.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mail::fuzz::message(data));
