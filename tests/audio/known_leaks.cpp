// What LeakSanitizer need not report: libsndfile 1.2 leaks the encoders of the files that these
// tests write with it (Vorbis always, mp3 where it refuses the format). It is only read with
// outside of tests, and tests/fuzz/fuzz_audio.cpp watches that without this list.
extern "C" const char* __lsan_default_suppressions();  // its name is LeakSanitizer's

extern "C" const char* __lsan_default_suppressions() {
  return "leak:vorbis_info_init\n"
         "leak:vorbis_encode_setup_init\n"
         "leak:lame_init\n";
}
