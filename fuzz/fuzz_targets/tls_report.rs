//! TLS reports, and mails that carry them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mta::fuzz::tls_report(data));
