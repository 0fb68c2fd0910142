#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    latticegate_fuzz::yaml::holds(bytes);
});
