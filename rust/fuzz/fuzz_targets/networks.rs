//! Lists of networks, as a program may get them from its configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| core::fuzzing::networks(data));
